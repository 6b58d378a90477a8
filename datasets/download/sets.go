package download

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"credence/datasets"
	"credence/fl"
)

// The names of the sets.
const (
	MNIST         = "mnist"
	FashionMNIST  = "fashion-mnist"
	CIFAR10       = "cifar-10"
	FEMNIST       = "femnist"
	FEMNISTDigits = "femnist-digits"
)

// UserColumn names whose row it is in a set that says so: FEMNIST's writers.
const UserColumn = "user"

// File is one file of a set.
type File struct {
	Name   string   // in the cache
	URLs   []string // tried in order
	SHA256 string   // hexadecimal
	Size   int64    // bytes; 0: not known, the digest decides
}

// Set is a public data set.
type Set struct {
	Name, Title       string
	Features, Classes int
	Rows, Height      int // training and test rows together, 0 if it depends; rows of pixels
	Licence, Source   string
	Files             []File
	ByHand            string // how to make files that are read in place of Files; "": there is no such way
	classNames        []string
	scaled            bool // pixels in [0,1] already
	load              func(dir string) (Data, error)
	loadOwn           func(dir string) (Data, error) // of files put in place by hand, which have no digest; nil: there are none
}

// Data are the examples of a set; pixels are in [0,1].
type Data struct {
	Train, Test fl.Examples
	// TrainUsers and TestUsers are the writers of FEMNIST's examples; nil for
	// sets that have none.
	TrainUsers, TestUsers []string
}

func idxFiles(base []string, digests [4]string, sizes [4]int64) []File {
	names := [4]string{"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"}
	var out []File
	for i, name := range names {
		f := File{Name: name, SHA256: digests[i], Size: sizes[i]}
		for _, b := range base {
			f.URLs = append(f.URLs, b+name)
		}
		out = append(out, f)
	}
	return out
}

func digitNames() []string { return []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"} }

// Sets lists what this package knows.
func Sets() []Set {
	femnist := digitNames()
	for _, first := range []rune{'A', 'a'} {
		for c := first; c < first+26; c++ {
			femnist = append(femnist, string(c))
		}
	}
	return []Set{
		{
			Name: MNIST, Title: "MNIST handwritten digits (LeCun, Cortes and Burges 1998)", Features: 784, Classes: 10, Rows: 70000, Height: 28,
			Licence: "CC BY-SA 3.0", Source: "http://yann.lecun.com/exdb/mnist/", classNames: digitNames(), load: loadIDX,
			Files: idxFiles([]string{"https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"}, [4]string{
				"440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
				"8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
			}, [4]int64{9912422, 28881, 1648877, 4542}),
		},
		{
			Name: FashionMNIST, Title: "Fashion-MNIST articles of clothing (Xiao, Rasul and Vollgraf 2017)", Features: 784, Classes: 10, Rows: 70000, Height: 28,
			Licence: "MIT", Source: "https://github.com/zalandoresearch/fashion-mnist", load: loadIDX,
			classNames: []string{"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"},
			Files: idxFiles([]string{"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"}, [4]string{
				"3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
				"346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
			}, [4]int64{26421880, 29515, 4422102, 5148}),
		},
		{
			Name: CIFAR10, Title: "CIFAR-10 colour photographs (Krizhevsky 2009)", Features: datasets.CIFARFeatures, Classes: 10, Rows: 60000, Height: 32,
			Licence: "none stated by its authors", Source: "https://www.cs.toronto.edu/~kriz/cifar.html", load: loadCIFAR,
			classNames: []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
			Files: []File{{Name: "cifar-10-binary.tar.gz", URLs: []string{"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"},
				SHA256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", Size: 170052171}},
		},
		{
			Name: FEMNIST, Title: "FEMNIST characters by writer, the first 1,000 writers (Caldas et al. 2018)", Features: datasets.FEMNISTFeatures, Classes: datasets.FEMNISTClasses, Height: 28,
			Licence: "public domain (NIST SD 19)", Source: tffSource, classNames: femnist, scaled: true, load: tff{"fed_emnist", datasets.FEMNISTClasses, 1000}.load,
			Files: []File{{Name: "fed_emnist.tar.bz2", URLs: []string{tffBase + "fed_emnist.tar.bz2", "https://fedml.s3-us-west-1.amazonaws.com/fed_emnist.tar.bz2"},
				SHA256: "fe1ed5a502cea3a952eb105920bff8cffb32836b5173cb18a57a32c3606f3ea0"}},
			ByHand:  "run LEAF's data/femnist/preprocess.sh -s niid --sf 0.05 -k 0 -t sample, and put its data/train/*.json and data/test/*.json into the folders train and test of",
			loadOwn: loadLEAF,
		},
		{
			Name: FEMNISTDigits, Title: "FEMNIST's digits by writer, 3,383 writers (Caldas et al. 2018)", Features: datasets.FEMNISTFeatures, Classes: 10, Rows: 382705, Height: 28,
			Licence: "public domain (NIST SD 19)", Source: tffSource, classNames: digitNames(), scaled: true, load: tff{"fed_emnist_digitsonly", 10, 0}.load,
			Files: []File{{Name: "fed_emnist_digitsonly.tar.bz2", URLs: []string{tffBase + "fed_emnist_digitsonly.tar.bz2"},
				SHA256: "55333deb8546765427c385710ca5e7301e16f4ed8b60c1dc5ae224b42bd5b14b"}},
		},
	}
}

// Named finds a set.
func Named(name string) (Set, bool) {
	all := Sets()
	if i := slices.IndexFunc(all, func(s Set) bool { return s.Name == name }); i >= 0 {
		return all[i], true
	}
	return Set{}, false
}

// Names lists the names of the sets.
func Names() []string {
	var out []string
	for _, s := range Sets() {
		out = append(out, s.Name)
	}
	return out
}

// Schema describes the set as a table of pixels (0 to 255, or 0 to 1 for
// FEMNIST) that Load's examples follow: what a job for the same data carries.
func (s Set) Schema() *datasets.Schema {
	out := &datasets.Schema{Version: 1, Name: s.Name}
	for i := range s.Features {
		c := datasets.Column{Name: "pixel" + strconv.Itoa(i), Kind: datasets.Numeric}
		if !s.scaled {
			low, high := 0.0, 255.0
			c.Normalise, c.Min, c.Max = datasets.MinMax, &low, &high
		}
		out.Columns = append(out.Columns, c)
	}
	out.Columns = append(out.Columns, datasets.Column{Name: "label", Kind: datasets.Label, Classes: slices.Clone(s.classNames)})
	out.Split.Method = datasets.SplitFile
	return out
}

// Load reads a set from its folder in the cache and checks the digests of its
// files on the way. A *MissingError says what is not there.
func (s Set) Load(cache string) (Data, error) {
	dir := s.Dir(cache)
	if s.byHand(cache) {
		return s.loadOwn(dir)
	}
	for _, f := range s.Files {
		if err := f.check(dir); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return Data{}, &MissingError{Set: s, Dir: dir, File: f}
			}
			return Data{}, err
		}
	}
	return s.load(dir)
}

// byHand reports whether files that were put in place by hand are there; they are
// preferred, because somebody wanted them.
func (s Set) byHand(cache string) bool {
	if s.loadOwn == nil {
		return false
	}
	_, err := os.Stat(filepath.Join(s.Dir(cache), "train"))
	return err == nil
}

// Dir is the set's folder in a cache.
func (s Set) Dir(cache string) string { return filepath.Join(cache, s.Name) }

func loadIDX(dir string) (d Data, err error) {
	for _, part := range []struct {
		name string
		to   *fl.Examples
	}{{"train", &d.Train}, {"t10k", &d.Test}} {
		if *part.to, err = datasets.LoadIDX(filepath.Join(dir, part.name+"-images-idx3-ubyte.gz"), filepath.Join(dir, part.name+"-labels-idx1-ubyte.gz"), 10); err != nil {
			return Data{}, err
		}
	}
	return d, nil
}

// loadCIFAR reads the batches from the archive, in their order there.
func loadCIFAR(dir string) (d Data, err error) {
	name := filepath.Join(dir, "cifar-10-binary.tar.gz")
	f, err := os.Open(name)
	if err != nil {
		return d, fmt.Errorf("opening the data: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	return readCIFARArchive(name, f)
}

// maxBatch bounds a member of the archive; the real ones have 30,730,000 bytes.
const maxBatch = 1 << 26

func readCIFARArchive(name string, r io.Reader) (d Data, err error) {
	bad := func(problem string, cause error) (Data, error) {
		return Data{}, &datasets.Error{Kind: datasets.ErrFormat, File: name, Problem: problem, Remedy: "fetch it again", Err: cause}
	}
	zr, err := gzip.NewReader(bufio.NewReader(r))
	if err != nil {
		return bad("this is not a gzip file", err)
	}
	seen := map[string]bool{}
	for members, tr := 0, tar.NewReader(zr); ; members++ {
		head, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bad("this is not a tar archive", err)
		}
		batch := path.Base(head.Name)
		to := &d.Train
		switch batch {
		case "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin":
		case "test_batch.bin":
			to = &d.Test
		default:
			if head.Size > maxBatch || members > 64 {
				return bad("the archive holds more than CIFAR-10", nil)
			}
			continue
		}
		if seen[batch] || head.Size > maxBatch {
			return bad("batch "+batch+" is there twice, or too large", nil)
		}
		seen[batch] = true
		e, err := datasets.ReadCIFAR(name+": "+batch, tr)
		if err != nil {
			return Data{}, err
		}
		*to = join(*to, e)
	}
	if len(seen) != 6 {
		return bad(fmt.Sprintf("%d of 6 batches are there", len(seen)), nil)
	}
	return d, nil
}

func join(a, b fl.Examples) fl.Examples {
	if a.Rows == 0 {
		return b
	}
	a.X, a.Y = append(a.X, b.X...), append(a.Y, b.Y...)
	a.Rows += b.Rows
	return a
}

func loadLEAF(dir string) (d Data, err error) {
	for _, part := range []struct {
		name  string
		to    *fl.Examples
		users *[]string
	}{{"train", &d.Train, &d.TrainUsers}, {"test", &d.Test, &d.TestUsers}} {
		files, err := filepath.Glob(filepath.Join(dir, part.name, "*.json"))
		if err != nil || len(files) == 0 {
			return Data{}, &datasets.Error{Kind: datasets.ErrFormat, File: filepath.Join(dir, part.name), Problem: "the folder has no .json file", Remedy: "put LEAF's " + part.name + " files there"}
		}
		slices.Sort(files)
		for _, name := range files {
			f, err := os.Open(name)
			if err != nil {
				return Data{}, fmt.Errorf("opening the data: %w", err)
			}
			e, users, err := datasets.ReadLEAF(name, f, datasets.FEMNISTFeatures, datasets.FEMNISTClasses)
			if err := errors.Join(err, f.Close()); err != nil {
				return Data{}, err
			}
			*part.to, *part.users = join(*part.to, e), append(*part.users, users...)
		}
	}
	return d, nil
}

// Whereabouts says in words whether the set is in a cache, without reading it.
func (s Set) Whereabouts(cache string) string {
	if s.byHand(cache) {
		return "put in place by hand"
	}
	for _, f := range s.Files {
		if info, err := os.Stat(filepath.Join(s.Dir(cache), f.Name)); err != nil || f.Size > 0 && info.Size() != f.Size {
			if f.Size == 0 {
				return "to fetch"
			}
			total := int64(0)
			for _, f := range s.Files {
				total += f.Size
			}
			return fmt.Sprintf("to fetch, %d MB", (total+999999)/1000000)
		}
	}
	return "fetched"
}
