package download

import (
	"archive/tar"
	"bufio"
	"compress/bzip2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"credence/datasets"
	"credence/datasets/hdf5"
	"credence/fl"
)

const (
	tffSource = "https://www.tensorflow.org/federated/api_docs/python/tff/simulation/datasets/emnist/load_data"
	tffBase   = "https://storage.googleapis.com/tff-datasets-public/"
)

// tff is an archive of TensorFlow Federated: NAME.tar.bz2 with NAME_train.h5 and
// NAME_test.h5, in which the group examples has a group for each writer, with
// pixels (n x 28 x 28 floats in [0,1], 1 is the paper) and label (n integers).
type tff struct {
	name    string
	classes int
	writers int // that are read, in the order of their names; 0: all
}

// The parts of an archive.
func (s tff) members() [2]string { return [2]string{s.name + "_train.h5", s.name + "_test.h5"} }

func (s tff) load(dir string) (d Data, err error) {
	if err := s.unpack(dir); err != nil {
		return Data{}, err
	}
	for i, to := range []struct {
		rows  *fl.Examples
		users *[]string
	}{{&d.Train, &d.TrainUsers}, {&d.Test, &d.TestUsers}} {
		name := filepath.Join(dir, s.members()[i])
		f, err := os.Open(name)
		if err != nil {
			return Data{}, fmt.Errorf("opening the data: %w", err)
		}
		info, err := f.Stat()
		if err == nil {
			*to.rows, *to.users, err = s.read(name, f, info.Size())
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return Data{}, err
		}
	}
	return d, nil
}

// read decodes one part. Errors name a writer by place, never by name.
func (s tff) read(name string, r io.ReaderAt, size int64) (e fl.Examples, users []string, err error) {
	e = fl.Examples{Features: datasets.FEMNISTFeatures, Classes: s.classes}
	bad := func(problem string, cause error) (fl.Examples, []string, error) {
		return fl.Examples{}, nil, &datasets.Error{Kind: datasets.ErrFormat, File: name, Problem: problem, Remedy: "fetch the set again", Err: cause}
	}
	f, err := hdf5.Open(r, size)
	if err != nil {
		return bad("this is no HDF5 file of the form that is expected", err)
	}
	group, err := f.Root().Child("examples")
	if err != nil {
		return bad("it has no examples", err)
	}
	writers, err := group.Children()
	if err != nil {
		return bad("its writers cannot be listed", err)
	}
	if s.writers > 0 {
		writers = writers[:min(len(writers), s.writers)]
	}
	for place, w := range writers {
		pixels, shape, err := child(w, "pixels", hdf5.Object.Floats)
		if err != nil {
			return bad(fmt.Sprintf("writer %d: the pixels cannot be read", place+1), err)
		}
		labels, _, err := child(w, "label", hdf5.Object.Integers)
		if err != nil {
			return bad(fmt.Sprintf("writer %d: the labels cannot be read", place+1), err)
		}
		if !slices.Equal(shape, []int{len(labels), 28, 28}) {
			return bad(fmt.Sprintf("writer %d: pixels of shape %v for %d labels", place+1, shape, len(labels)), nil)
		}
		if len(e.X) > datasets.MaxValues-len(pixels) {
			return fl.Examples{}, nil, &datasets.Error{Kind: datasets.ErrLimit, File: name, Problem: fmt.Sprintf("more than %d values", datasets.MaxValues), Remedy: "take LEAF's smaller sample"}
		}
		for i, v := range pixels {
			if !(v >= 0 && v <= 1) {
				return bad(fmt.Sprintf("writer %d: pixel %d is %v, not in [0,1]", place+1, i, v), nil)
			}
		}
		for _, y := range labels {
			if y < 0 || y >= int64(s.classes) {
				return bad(fmt.Sprintf("writer %d: label %d is not in [0,%d)", place+1, y, s.classes), nil)
			}
			e.Y, users = append(e.Y, int32(y)), append(users, w.Name)
		}
		e.X, e.Rows = append(e.X, pixels...), e.Rows+len(labels)
	}
	return e, users, nil
}

// child reads an array of a group.
func child[T any](o hdf5.Object, name string, read func(hdf5.Object) ([]T, []int, error)) ([]T, []int, error) {
	c, err := o.Child(name)
	if err != nil {
		return nil, nil, err
	}
	return read(c)
}

// unpacked is the record of what came out of an archive.
type unpacked struct {
	Archive string            `json:"archive"` // SHA-256, in hexadecimal
	Files   map[string]string `json:"files"`   // of each file
}

// maxMember bounds an unpacked file; the largest real one has 2.1 GB.
const maxMember = 1 << 32

// unpack makes sure that the files of the archive are there as they came out of it.
func (s tff) unpack(dir string) error {
	archive := filepath.Join(dir, s.name+".tar.bz2")
	sum, err := digestOf(archive)
	if err != nil {
		return err
	}
	record := filepath.Join(dir, s.name+".unpacked.json")
	if s.isUnpacked(dir, record, sum) {
		return nil
	}
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("opening the data: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	out := unpacked{Archive: sum, Files: map[string]string{}}
	bad := func(problem string, cause error) error {
		return &datasets.Error{Kind: datasets.ErrFormat, File: archive, Problem: problem, Remedy: "fetch it again", Err: cause}
	}
	for n, tr := 0, tar.NewReader(bzip2.NewReader(bufio.NewReader(f))); len(out.Files) < 2; n++ {
		head, err := tr.Next()
		if err != nil || n > 64 {
			return bad(fmt.Sprintf("%d of 2 files are in the archive", len(out.Files)), err)
		}
		name := path.Base(head.Name)
		members := s.members()
		if !slices.Contains(members[:], name) || out.Files[name] != "" {
			continue
		}
		if head.Size > maxMember {
			return bad("a file of it is too large", nil)
		}
		if out.Files[name], err = writeMember(filepath.Join(dir, name), tr); err != nil {
			return bad("unpacking "+name, err)
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	if err := os.WriteFile(record, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	return nil
}

// isUnpacked compares the files with their record; a record that cannot be read
// is as good as none.
func (s tff) isUnpacked(dir, record, archive string) bool {
	text, err := os.ReadFile(record)
	var r unpacked
	if err != nil || json.Unmarshal(text, &r) != nil || r.Archive != archive {
		return false
	}
	for _, name := range s.members() {
		if sum, err := digestOf(filepath.Join(dir, name)); err != nil || sum != r.Files[name] {
			return false
		}
	}
	return true
}

func digestOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("opening the data: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading the data: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// writeMember writes a file that is there whole or not at all, and returns its
// digest.
func writeMember(name string, r io.Reader) (sum string, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), io.LimitReader(r, maxMember))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
