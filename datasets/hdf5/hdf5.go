// Package hdf5 reads arrays out of HDF5 files of the oldest and commonest form:
// what h5py writes unless told otherwise. It exists for one data set, TensorFlow
// Federated's FEMNIST, because the maintained Go package for HDF5
// (gonum.org/v1/hdf5) binds the C library, and a node is one static binary. It
// knows no more than that data set needs: superblock 0 or 1 with 8-byte
// addresses, version 1 object headers, groups in version 1 B-trees, contiguous or
// compact arrays of little-endian numbers without filters. Anything else is an
// error that says so. The source is the HDF5 File Format Specification 3.0 (The
// HDF Group), whose section numbers the code names.
//
// # What it trusts
//
// Nothing in a file: every address, count and size is checked against the file's
// size and fixed bounds before anything is allocated.
package hdf5

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Bounds on what is followed and read.
const (
	MaxValues   = 1 << 28 // of one array
	maxMessages = 1 << 12 // of one object's header
	maxBlocks   = 64      // that a header goes on in
	maxEntries  = 1 << 20 // of one group
	maxHeap     = 1 << 26 // bytes of a group's names
	maxDepth    = 16      // of a B-tree
	maxRank     = 8
)

var signature = []byte("\x89HDF\r\n\x1a\n")

// File is an open file.
type File struct {
	r    io.ReaderAt
	size int64
	root Object
}

// Object is a group or an array.
type Object struct {
	f    *File
	at   uint64
	Name string
}

// Open reads the superblock (section II.A) of a file of the given size.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	head, err := f.bytes(0, 100)
	if err != nil || string(head[:8]) != string(signature) {
		return nil, errors.New("hdf5: this is no HDF5 file")
	}
	version := head[8]
	if version > 1 || head[13] != 8 || head[14] != 8 {
		return nil, fmt.Errorf("hdf5: superblock version %d with addresses of %d bytes: this reader knows versions 0 and 1 with 8", version, head[13])
	}
	at := 24 + 4*int(version)
	if base := binary.LittleEndian.Uint64(head[at:]); base != 0 {
		return nil, fmt.Errorf("hdf5: addresses count from %d: this reader knows files that begin at 0", base)
	}
	f.root = Object{f: f, at: binary.LittleEndian.Uint64(head[at+32+8:])}
	return f, nil
}

// Root returns the group that holds everything.
func (f *File) Root() Object { return f.root }

// bytes reads n bytes at an address.
func (f *File) bytes(at uint64, n int64) ([]byte, error) {
	if n < 0 || at > math.MaxInt64 || int64(at) > f.size || n > f.size-int64(at) {
		return nil, fmt.Errorf("hdf5: %d bytes at %d are beyond the file's end", n, at)
	}
	out := make([]byte, n)
	if _, err := f.r.ReadAt(out, int64(at)); err != nil && !(errors.Is(err, io.EOF) && int64(at)+n == f.size) {
		return nil, fmt.Errorf("hdf5: reading: %w", err)
	}
	return out, nil
}

// block reads n bytes that begin with a mark.
func (f *File) block(at uint64, mark string, n int64) ([]byte, error) {
	out, err := f.bytes(at, n)
	if err == nil && string(out[:4]) != mark {
		err = fmt.Errorf("hdf5: %q is expected at %d", mark, at)
	}
	return out, err
}

// The types of message that matter here (section IV.A.2).
const (
	messageSpace        = 0x01
	messageType         = 0x03
	messageLayout       = 0x08
	messageFilters      = 0x0b
	messageContinuation = 0x10
	messageGroup        = 0x11
)

// messages reads a version 1 object header (section IV.A.1.a).
func (o Object) messages() (map[uint16][]byte, error) {
	head, err := o.f.bytes(o.at, 16)
	if err != nil {
		return nil, err
	}
	if head[0] != 1 {
		return nil, fmt.Errorf("hdf5: object %s has a header of version %d: this reader knows version 1", o.Name, head[0])
	}
	type span struct{ at, n uint64 }
	out := map[uint16][]byte{}
	blocks := []span{{o.at + 16, uint64(binary.LittleEndian.Uint32(head[8:]))}}
	for count, i := 0, 0; i < len(blocks); i++ {
		if i >= maxBlocks || blocks[i].n > 1<<20 {
			return nil, fmt.Errorf("hdf5: object %s has too long a header", o.Name)
		}
		raw, err := o.f.bytes(blocks[i].at, int64(blocks[i].n)) // #nosec G115 -- at most 1<<20
		if err != nil {
			return nil, err
		}
		for len(raw) >= 8 {
			kind, n, flags := binary.LittleEndian.Uint16(raw), int(binary.LittleEndian.Uint16(raw[2:])), raw[4]
			if count++; n > len(raw)-8 || count > maxMessages {
				return nil, fmt.Errorf("hdf5: object %s has a damaged header", o.Name)
			}
			body := raw[8 : 8+n]
			raw = raw[8+n:]
			switch {
			case kind == messageContinuation && n >= 16:
				blocks = append(blocks, span{binary.LittleEndian.Uint64(body), binary.LittleEndian.Uint64(body[8:])})
			case flags&2 != 0 && (kind == messageSpace || kind == messageType || kind == messageLayout):
				return nil, fmt.Errorf("hdf5: object %s shares its description with another: this reader does not follow it", o.Name)
			default:
				out[kind] = body
			}
		}
	}
	return out, nil
}

// Children lists a group's members in the order of their names (sections III.A
// to III.D).
func (o Object) Children() ([]Object, error) {
	m, err := o.messages()
	if err != nil {
		return nil, err
	}
	table := m[messageGroup]
	if len(table) < 16 {
		return nil, fmt.Errorf("hdf5: %s is no group of the form that this reader knows", o.Name)
	}
	heap, err := o.f.block(binary.LittleEndian.Uint64(table[8:]), "HEAP", 32)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(heap[8:])
	if n > maxHeap {
		return nil, fmt.Errorf("hdf5: group %s has %d bytes of names: at most %d", o.Name, n, maxHeap)
	}
	names, err := o.f.bytes(binary.LittleEndian.Uint64(heap[24:]), int64(n))
	if err != nil {
		return nil, err
	}
	w := walk{f: o.f, names: names}
	if err := w.tree(binary.LittleEndian.Uint64(table), maxDepth); err != nil {
		return nil, err
	}
	return w.out, nil
}

// walk collects the members of a group.
type walk struct {
	f     *File
	names []byte
	out   []Object
	nodes int
}

func (w *walk) tree(at uint64, depth int) error {
	head, err := w.f.block(at, "TREE", 24)
	if err != nil {
		return err
	}
	count := int64(binary.LittleEndian.Uint16(head[6:]))
	if w.nodes++; head[4] != 0 || int(head[5]) >= depth || w.nodes > maxEntries {
		return errors.New("hdf5: a group's B-tree is damaged")
	}
	body, err := w.f.bytes(at+24, 16*count+8)
	if err != nil {
		return err
	}
	for i := range count {
		child := binary.LittleEndian.Uint64(body[16*i+8:])
		if head[5] > 0 {
			err = w.tree(child, int(head[5])) // levels fall by one
		} else {
			err = w.leaf(child)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) leaf(at uint64) error {
	head, err := w.f.block(at, "SNOD", 8)
	if err != nil {
		return err
	}
	count := int64(binary.LittleEndian.Uint16(head[6:]))
	if int64(len(w.out))+count > maxEntries {
		return fmt.Errorf("hdf5: a group of more than %d members", maxEntries)
	}
	if w.nodes++; w.nodes > maxEntries {
		return errors.New("hdf5: a group's B-tree is damaged")
	}
	body, err := w.f.bytes(at+8, 40*count)
	if err != nil {
		return err
	}
	for i := range count {
		from, end := binary.LittleEndian.Uint64(body[40*i:]), 0
		if from >= uint64(len(w.names)) {
			return errors.New("hdf5: a member's name lies outside of its group's names")
		}
		name := w.names[from:]
		for end < len(name) && name[end] != 0 {
			end++
		}
		w.out = append(w.out, Object{f: w.f, at: binary.LittleEndian.Uint64(body[40*i+8:]), Name: string(name[:end])})
	}
	return nil
}

// Child returns the member of a group with a name.
func (o Object) Child(name string) (Object, error) {
	all, err := o.Children()
	if err != nil {
		return Object{}, err
	}
	for _, c := range all {
		if c.Name == name {
			return c, nil
		}
	}
	return Object{}, fmt.Errorf("hdf5: %s has no member %q", o.Name, name)
}
