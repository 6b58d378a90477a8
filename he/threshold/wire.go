package threshold

import (
	"encoding/binary"
	"fmt"
)

// writer builds the package's binary encodings: fixed-width little-endian
// integers and length-prefixed byte strings, so that no two different field
// lists encode alike.
type writer struct{ b []byte }

func (w *writer) u32(v uint32)     { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64)     { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *writer) fixed(v [32]byte) { w.b = append(w.b, v[:]...) }
func (w *writer) str(v string)     { w.u32(uint32(len(v))); w.b = append(w.b, v...) }
func (w *writer) blob(v []byte)    { w.u32(uint32(len(v))); w.b = append(w.b, v...) }

// reader takes the same fields apart; the first failure sticks.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u32() uint32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

func (r *reader) u64() uint64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

func (r *reader) fixed() (out [32]byte) {
	copy(out[:], r.take(32))
	return out
}

func (r *reader) blob(limit int) []byte {
	n := r.u32()
	if n > uint32(limit) {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}

func (r *reader) str(limit int) string { return string(r.blob(limit)) }

// done reports whether everything was well formed and nothing is left over.
func (r *reader) done(what string) error {
	if r.bad {
		return fmt.Errorf("%w: %s is truncated or has a field out of range", ErrEncoding, what)
	}
	if len(r.b) != 0 {
		return fmt.Errorf("%w: %s has %d bytes too many", ErrEncoding, what, len(r.b))
	}
	return nil
}
