package datasets

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"credence/fl"
)

// maxIDXDims bounds the dimensions of an IDX array.
const maxIDXDims = 8

// IDX is an array in the format of the MNIST files (LeCun, Cortes and Burges,
// "THE MNIST DATABASE"): two zero bytes, a type byte, the number of
// dimensions, each dimension as a big-endian uint32, then the values, last
// dimension fastest, big-endian.
type IDX struct {
	Type byte  // 0x08 uint8, 0x09 int8, 0x0B int16, 0x0C int32, 0x0D float32, 0x0E float64
	Dims []int // at least one
	Data []float64
}

// ReadIDX decodes an IDX array. The file must end exactly where the header
// says; memory is spent on values that are there, not on those announced.
// Errors are of kind ErrFormat, ErrValue (not finite) or ErrLimit and name the
// byte.
func ReadIDX(name string, r io.Reader) (*IDX, error) {
	br := bufio.NewReader(r)
	bad := func(kind error, offset int64, problem, remedy string, cause error) error {
		return &Error{Kind: kind, File: name, Problem: fmt.Sprintf("byte %d: %s", offset, problem), Remedy: remedy, Err: cause}
	}
	var head [4]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return nil, bad(ErrFormat, 0, "the four bytes of an IDX header are not there", "check that this is an IDX file (a compressed one is named .gz)", err)
	}
	width := map[byte]int{0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}[head[2]]
	switch {
	case head[0] != 0 || head[1] != 0:
		return nil, bad(ErrFormat, 0, "an IDX file starts with two zero bytes", "check that this is an IDX file (a compressed one is named .gz)", nil)
	case width == 0:
		return nil, bad(ErrFormat, 2, fmt.Sprintf("unknown value type 0x%02x", head[2]), "check that this is an IDX file", nil)
	case head[3] < 1 || head[3] > maxIDXDims:
		return nil, bad(ErrFormat, 3, fmt.Sprintf("%d dimensions", head[3]), fmt.Sprintf("1 to %d are accepted", maxIDXDims), nil)
	}
	a := &IDX{Type: head[2]}
	count := 1
	offset := int64(4)
	for range int(head[3]) {
		var b [4]byte
		if _, err := io.ReadFull(br, b[:]); err != nil {
			return nil, bad(ErrFormat, offset, "the file ends in its header", "copy it again", err)
		}
		d := int(binary.BigEndian.Uint32(b[:]))
		if d == 0 {
			return nil, bad(ErrFormat, offset, "a dimension is zero", "there must be at least one value", nil)
		}
		if count > MaxValues/d {
			return nil, bad(ErrLimit, offset, fmt.Sprintf("the header announces more than %d values", MaxValues), "split the file", nil)
		}
		count *= d
		a.Dims = append(a.Dims, d)
		offset += 4
	}
	a.Data = make([]float64, 0, min(count, 1<<16))
	buf := make([]byte, 4096*width)
	for len(a.Data) < count {
		chunk := buf[:min(len(buf), (count-len(a.Data))*width)]
		n, err := io.ReadFull(br, chunk)
		if err != nil {
			problem := fmt.Sprintf("the header announces %d values, the file ends after %d", count, len(a.Data)+n/width)
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				problem = "the file cannot be read"
			}
			return nil, bad(ErrFormat, offset+int64(n), problem, "copy it again", err)
		}
		for i := 0; i < len(chunk); i += width {
			v := idxValue(a.Type, chunk[i:])
			if !finite32(v) {
				return nil, bad(ErrValue, offset+int64(i), "the value is not a finite number of single precision", "correct the file", nil)
			}
			a.Data = append(a.Data, v)
		}
		offset += int64(len(chunk))
	}
	switch _, err := br.ReadByte(); {
	case err == nil:
		return nil, bad(ErrFormat, offset, fmt.Sprintf("the file goes on after the %d values of its header", count), "copy it again", nil)
	case !errors.Is(err, io.EOF):
		return nil, bad(ErrFormat, offset, "the file cannot be read", "copy it again", err)
	}
	return a, nil
}

func idxValue(kind byte, b []byte) float64 {
	switch kind {
	case 0x08:
		return float64(b[0])
	case 0x09:
		return float64(int8(b[0])) // #nosec G115 -- two's complement is the format
	case 0x0B:
		return float64(int16(binary.BigEndian.Uint16(b))) // #nosec G115 -- as above
	case 0x0C:
		return float64(int32(binary.BigEndian.Uint32(b))) // #nosec G115 -- as above
	case 0x0D:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
	default:
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
}

// LoadIDX reads features and labels from two IDX files (gzip-compressed if
// their names end in .gz): the first has one example along its first dimension
// and its features along the others, the second one label in [0, classes) an
// example. Unsigned bytes are scaled by 1/255 to [0,1]; other types are taken
// as they are.
func LoadIDX(featuresPath, labelsPath string, classes int) (fl.Examples, error) {
	read := func(path string) (a *IDX, err error) {
		err = withFile(path, func(r io.Reader) error {
			a, err = ReadIDX(path, r)
			return err
		})
		return a, err
	}
	x, err := read(featuresPath)
	if err != nil {
		return fl.Examples{}, err
	}
	y, err := read(labelsPath)
	if err != nil {
		return fl.Examples{}, err
	}
	rows := x.Dims[0]
	e := fl.Examples{Rows: rows, Features: len(x.Data) / rows, Classes: classes}
	switch {
	case classes < 2 || classes > MaxClasses:
		return fl.Examples{}, &Error{Kind: ErrLabel, File: labelsPath, Problem: fmt.Sprintf("%d classes", classes), Remedy: fmt.Sprintf("2 to %d are accepted", MaxClasses)}
	case e.Features > MaxFeatures:
		return fl.Examples{}, &Error{Kind: ErrLimit, File: featuresPath, Problem: fmt.Sprintf("%d features an example", e.Features), Remedy: fmt.Sprintf("at most %d are accepted", MaxFeatures)}
	case len(y.Data) != rows || y.Dims[0] != rows:
		return fl.Examples{}, &Error{Kind: ErrFormat, File: labelsPath, Problem: fmt.Sprintf("%d labels for %d examples", len(y.Data), rows), Remedy: "check that the two files belong together"}
	}
	scale := 1.0
	if x.Type == 0x08 {
		scale = 255
	}
	e.X, e.Y = make([]float32, len(x.Data)), make([]int32, rows)
	for i, v := range x.Data {
		e.X[i] = float32(v / scale)
	}
	for i, v := range y.Data {
		if v < 0 || v >= float64(classes) || v != math.Trunc(v) {
			return fl.Examples{}, &Error{Kind: ErrLabel, File: labelsPath, Problem: fmt.Sprintf("label %d (counted from 0) is not a whole number from 0 to %d", i, classes-1), Remedy: "check the number of classes"}
		}
		e.Y[i] = int32(v)
	}
	return e, nil
}
