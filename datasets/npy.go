package datasets

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds on a NumPy array, below what the loader keeps in memory.
const (
	maxNPYHeader = 1 << 16 // bytes of the header's text
	maxNPYBytes  = 1 << 31 // bytes of the values
	maxNPYWidth  = 1 << 12 // bytes of one string
	maxNPYDims   = 8
)

// npy is an array of NumPy's .npy format, versions 1 to 3 (NumPy enhancement
// proposal 1; numpy.lib.format).
type npy struct {
	kind  byte // 'b' bool, 'i' 'u' 'f' numbers, 'U' 'S' strings
	width int  // bytes a value
	order binary.ByteOrder
	dims  []int
	// fortran: the first index runs fastest.
	fortran bool
	data    []byte
}

// The header is a Python dictionary with these three keys, written by
// numpy.save in this order; other programs use others, so each is looked for.
var (
	npyWhole   = regexp.MustCompile(`^\{(?:\s*'(?:descr|fortran_order|shape)'\s*:\s*(?:'[^']*'|True|False|\([0-9L,\s]*\))\s*,?){3}\s*\}\s*$`)
	npyDescr   = regexp.MustCompile(`'descr'\s*:\s*'([^']*)'`)
	npyOrder   = regexp.MustCompile(`'fortran_order'\s*:\s*(True|False)`)
	npyShape   = regexp.MustCompile(`'shape'\s*:\s*\(([0-9L,\s]*)\)`)
	npyType    = regexp.MustCompile(`^([<>|=]?)([bifuUS])([0-9]{1,5})$`)
	npyObjects = regexp.MustCompile(`'descr'\s*:\s*'\|?O`)
	npyRecords = regexp.MustCompile(`'descr'\s*:\s*\[`)
)

// readNPY decodes one array; name and column are what errors call it. Arrays
// of Python objects are pickles, which run code when Python loads them; they
// are refused, like structured types.
func readNPY(name, column string, r io.Reader) (*npy, error) {
	bad := func(kind error, problem, remedy string, cause error) error {
		return &Error{Kind: kind, File: name, Column: column, Problem: problem, Remedy: remedy, Err: cause}
	}
	var head [12]byte
	if _, err := io.ReadFull(r, head[:10]); err != nil {
		return nil, bad(ErrFormat, "the array ends in its header", "save it again with numpy.savez", err)
	}
	if string(head[:6]) != "\x93NUMPY" {
		return nil, bad(ErrFormat, "this is not a NumPy array", "save it with numpy.savez", nil)
	}
	length := int(binary.LittleEndian.Uint16(head[8:]))
	switch head[6] {
	case 1:
	case 2, 3:
		if _, err := io.ReadFull(r, head[10:]); err != nil {
			return nil, bad(ErrFormat, "the array ends in its header", "save it again with numpy.savez", err)
		}
		length = int(min(binary.LittleEndian.Uint32(head[8:]), maxNPYHeader+1))
	default:
		return nil, bad(ErrFormat, fmt.Sprintf("version %d of the array format is not known", head[6]), "versions 1 to 3 are", nil)
	}
	if length > maxNPYHeader {
		return nil, bad(ErrLimit, "the array's header is too long", fmt.Sprintf("at most %d bytes are accepted", maxNPYHeader), nil)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, bad(ErrFormat, "the array ends in its header", "save it again with numpy.savez", err)
	}
	a, problem, remedy := parseNPYHeader(string(text))
	if problem != "" {
		return nil, bad(ErrFormat, problem, remedy, nil)
	}
	size := a.width
	for _, d := range a.dims {
		if d > 0 && size > maxNPYBytes/d {
			return nil, bad(ErrLimit, fmt.Sprintf("the header announces more than %d bytes", maxNPYBytes), "split the file between nodes", nil)
		}
		size *= d
	}
	var err error
	if a.data, err = readExactly(r, size); err != nil {
		return nil, bad(ErrFormat, fmt.Sprintf("the header announces %d bytes of values, and they are not there", size), "save it again with numpy.savez", err)
	}
	if n, _ := io.ReadFull(r, head[:1]); n > 0 {
		return nil, bad(ErrFormat, fmt.Sprintf("the array goes on after the %d bytes of its header", size), "save it again with numpy.savez", nil)
	}
	return a, nil
}

// readExactly reads n bytes; memory grows with what is really there.
func readExactly(r io.Reader, n int) ([]byte, error) {
	out := make([]byte, 0, min(n, 1<<20))
	for len(out) < n {
		chunk := min(n-len(out), max(len(out), 1<<20))
		start := len(out)
		out = append(out, make([]byte, chunk)...)
		if _, err := io.ReadFull(r, out[start:]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func parseNPYHeader(text string) (a *npy, problem, remedy string) {
	switch {
	case npyObjects.MatchString(text):
		return nil, "the array holds Python objects (pickles), which this program does not load", "save numbers or strings of a fixed type, such as float32"
	case npyRecords.MatchString(text):
		return nil, "the array has a structured type", "save each field as an array of its own"
	case !npyWhole.MatchString(text):
		return nil, "the array's header is none that NumPy writes", "save it again with numpy.savez"
	}
	descr, order, shape := npyDescr.FindStringSubmatch(text), npyOrder.FindStringSubmatch(text), npyShape.FindStringSubmatch(text)
	if descr == nil || order == nil || shape == nil {
		return nil, "the array's header lacks descr, fortran_order or shape", "save it again with numpy.savez"
	}
	a = &npy{fortran: order[1] == "True", order: binary.LittleEndian}
	kind := npyType.FindStringSubmatch(descr[1])
	if kind == nil {
		return nil, "the array has a type that is not understood", "save booleans, integers, floating-point numbers or strings"
	}
	if kind[1] == ">" {
		a.order = binary.BigEndian
	}
	a.kind = kind[2][0]
	a.width, _ = strconv.Atoi(kind[3]) // at most five digits
	ok := false
	switch a.kind {
	case 'b':
		ok = a.width == 1
	case 'i', 'u':
		ok = a.width == 1 || a.width == 2 || a.width == 4 || a.width == 8
	case 'f':
		ok = a.width == 4 || a.width == 8
	case 'U':
		a.width *= 4
		ok = a.width <= maxNPYWidth
	case 'S':
		ok = a.width <= maxNPYWidth
	}
	if !ok || a.width == 0 {
		return nil, "the array has values of a size that is not understood", "save float32 or float64, integers of 1 to 8 bytes, or short strings"
	}
	for _, d := range strings.Split(shape[1], ",") {
		if d = strings.TrimSuffix(strings.TrimSpace(d), "L"); d == "" {
			continue
		}
		n, err := strconv.Atoi(d)
		if err != nil || n < 0 || n > MaxRows*64 {
			return nil, "a dimension of the array is out of range", "split the file"
		}
		a.dims = append(a.dims, n)
	}
	if len(a.dims) == 0 || len(a.dims) > maxNPYDims {
		return nil, fmt.Sprintf("the array has %d dimensions", len(a.dims)), fmt.Sprintf("1 to %d are accepted, the first one over the rows", maxNPYDims)
	}
	return a, "", ""
}

// columns counts the values of a row.
func (a *npy) columns() int {
	n := 1
	for _, d := range a.dims[1:] {
		n *= d
	}
	return n
}

// at returns where value number col (in C order) of a row is.
func (a *npy) at(row, col int) []byte {
	i := row*a.columns() + col
	if a.fortran {
		// In Fortran order index k has the stride of the product of the
		// dimensions before it.
		i = row
		stride := a.dims[0]
		rest := a.columns()
		for _, d := range a.dims[1:] {
			rest /= d
			i += col / rest % d * stride
			stride *= d
		}
	}
	return a.data[i*a.width : (i+1)*a.width]
}

// number returns a value of a numeric array.
func (a *npy) number(row, col int) float64 {
	b := a.at(row, col)
	switch a.kind {
	case 'b', 'u':
		return float64(a.unsigned(b))
	case 'i':
		return float64(a.signed(b))
	}
	if a.width == 4 {
		return float64(math.Float32frombits(a.order.Uint32(b)))
	}
	return math.Float64frombits(a.order.Uint64(b))
}

func (a *npy) unsigned(b []byte) uint64 {
	switch a.width {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(a.order.Uint16(b))
	case 4:
		return uint64(a.order.Uint32(b))
	}
	return a.order.Uint64(b)
}

func (a *npy) signed(b []byte) int64 {
	shift := 64 - 8*a.width
	return int64(a.unsigned(b)<<shift) >> shift // #nosec G115 -- two's complement is the format
}

// text returns a value as a CSV file would hold it; false: it is no text.
func (a *npy) text(row, col int) (string, bool) {
	b := a.at(row, col)
	switch a.kind {
	case 'b':
		return strconv.FormatBool(b[0] != 0), b[0] <= 1
	case 'u':
		return strconv.FormatUint(a.unsigned(b), 10), true
	case 'i':
		return strconv.FormatInt(a.signed(b), 10), true
	case 'f':
		return number(a.number(row, col)), true
	case 'S':
		s := strings.TrimRight(string(b), "\x00")
		return s, utf8.ValidString(s)
	}
	var s strings.Builder
	for ; len(b) > 0; b = b[4:] {
		r := a.order.Uint32(b)
		if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) { // #nosec G115 -- compared first
			return "", false
		}
		s.WriteRune(rune(r)) // #nosec G115 -- a valid code point
	}
	return strings.TrimRight(s.String(), "\x00"), true
}
