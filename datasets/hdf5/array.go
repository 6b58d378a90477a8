package hdf5

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The classes of number (section IV.A.2.d).
const (
	classInteger = 0
	classFloat   = 1
)

// array is how the values of an object lie in the file.
type array struct {
	shape  []int
	values int
	class  byte
	width  int // bytes of a value: 1, 2, 4 or 8
	signed bool
	raw    []byte
}

// array reads the values of an object that is an array.
func (o Object) array() (a array, err error) {
	m, err := o.messages()
	if err != nil {
		return a, err
	}
	bad := func(format string, args ...any) (array, error) {
		return array{}, fmt.Errorf("hdf5: array %s: "+format, append([]any{o.Name}, args...)...)
	}
	if m[messageFilters] != nil {
		return bad("its values are compressed or filtered: this reader knows plain ones")
	}
	if a.shape, a.values, err = space(m[messageSpace]); err != nil {
		return bad("%w", err)
	}
	kind := m[messageType]
	if len(kind) < 8 {
		return bad("it has no type")
	}
	a.class, a.width, a.signed = kind[0]&15, int(binary.LittleEndian.Uint32(kind[4:])), kind[1]&8 != 0
	switch {
	case a.class != classInteger && a.class != classFloat:
		return bad("values of class %d: this reader knows integers and floats", a.class)
	case kind[1]&1 != 0 || a.class == classFloat && kind[1]&0x40 != 0:
		return bad("its values are not little-endian")
	case a.class == classInteger && (a.width == 1 || a.width == 2 || a.width == 4 || a.width == 8):
	case a.class == classFloat && (a.width == 4 || a.width == 8):
	default:
		return bad("numbers of %d bytes: this reader knows whole ones up to 8 and floats of 4 and 8", a.width)
	}
	n := int64(a.values) * int64(a.width)
	layout := m[messageLayout]
	switch {
	case len(layout) >= 18 && layout[0] == 3 && layout[1] == 1:
		at, size := binary.LittleEndian.Uint64(layout[2:]), binary.LittleEndian.Uint64(layout[10:])
		if size != uint64(n) { // #nosec G115 -- not negative
			return bad("%d bytes for %d values of %d", size, a.values, a.width)
		}
		if n > 0 {
			a.raw, err = o.f.bytes(at, n)
		}
		return a, err
	case len(layout) >= 4 && layout[0] == 3 && layout[1] == 0:
		if int64(len(layout)-4) < n || int64(binary.LittleEndian.Uint16(layout[2:])) != n {
			return bad("fewer bytes than its %d values need", a.values)
		}
		a.raw = layout[4 : 4+n]
		return a, nil
	}
	return bad("its values are in chunks, or laid out in a way that this reader does not know")
}

// space reads the dimensions of an array (section IV.A.2.b).
func space(m []byte) (shape []int, values int, err error) {
	at := map[byte]int{1: 8, 2: 4}
	if len(m) < 4 || at[m[0]] == 0 || m[1] > maxRank || len(m) < at[m[0]]+8*int(m[1]) {
		return nil, 0, errors.New("its dimensions cannot be read")
	}
	values = 1
	for i := range int(m[1]) {
		d := binary.LittleEndian.Uint64(m[at[m[0]]+8*i:])
		if d > MaxValues || values > 0 && d > uint64(MaxValues/values) { // #nosec G115 -- positive
			return nil, 0, fmt.Errorf("it has more than %d values", MaxValues)
		}
		shape, values = append(shape, int(d)), values*int(d)
	}
	return shape, values, nil
}

// Floats reads an array of floats with its shape.
func (o Object) Floats() (values []float32, shape []int, err error) {
	a, err := o.array()
	if err != nil {
		return nil, nil, err
	}
	if a.class != classFloat {
		return nil, nil, fmt.Errorf("hdf5: array %s holds integers where floats are expected", o.Name)
	}
	values = make([]float32, a.values)
	for i := range values {
		if a.width == 4 {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(a.raw[4*i:]))
		} else {
			values[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(a.raw[8*i:])))
		}
	}
	return values, a.shape, nil
}

// Integers reads an array of integers with its shape.
func (o Object) Integers() (values []int64, shape []int, err error) {
	a, err := o.array()
	if err != nil {
		return nil, nil, err
	}
	if a.class != classInteger {
		return nil, nil, fmt.Errorf("hdf5: array %s holds floats where integers are expected", o.Name)
	}
	values = make([]int64, a.values)
	for i := range values {
		var b [8]byte
		copy(b[:], a.raw[a.width*i:a.width*(i+1)])
		v := binary.LittleEndian.Uint64(b[:])
		if a.signed { // spread the sign
			shift := 64 - 8*a.width
			values[i] = int64(v<<shift) >> shift // #nosec G115 -- two's complement
			continue
		}
		if v > math.MaxInt64 {
			return nil, nil, fmt.Errorf("hdf5: array %s: value %d is too large", o.Name, i)
		}
		values[i] = int64(v)
	}
	return values, a.shape, nil
}
