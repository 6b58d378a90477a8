package models

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// File is a model read from a file: its architecture, its parameters, and what
// the writer said about it.
type File struct {
	Model    *Model
	Params   []float32
	Metadata map[string]string // the writer's own entries, never nil
}

// Both formats carry the specification in their metadata, so that a file
// restores its model without anything beside it.
const (
	specKey        = "credence.spec"
	reservedPrefix = "credence."
	formatKey      = "format" // what Python's safetensors readers look at
	formatValue    = "pt"     // PyTorch's names and layout

	maxMetadata      = 64      // entries
	maxMetadataBytes = 1 << 16 // keys and values
	maxHeader        = 1 << 19 // bytes of a file that are not parameters; JSON may escape a byte in six
	maxFile          = 4*MaxParameters + maxHeader
)

// fileMetadata returns the entries of a file: the caller's and ours.
func (m *Model) fileMetadata(own map[string]string) (map[string]string, error) {
	if err := checkMetadata(own); err != nil {
		return nil, err
	}
	spec, err := json.Marshal(m.spec)
	if err != nil {
		return nil, fmt.Errorf("models: encode specification: %w", err)
	}
	all := map[string]string{formatKey: formatValue, specKey: string(spec)}
	maps.Copy(all, own)
	return all, nil
}

// splitMetadata takes a file's entries apart again.
func splitMetadata(all map[string]string) (*Model, map[string]string, error) {
	spec, ok := all[specKey]
	if !ok {
		return nil, nil, fmt.Errorf("models: the file has no %s in its metadata: it was not exported by this program", specKey)
	}
	if all[formatKey] != formatValue {
		return nil, nil, fmt.Errorf("models: the file's %s is %q: want %q", formatKey, clip(all[formatKey]), formatValue)
	}
	s, err := ParseSpec([]byte(spec))
	if err != nil {
		return nil, nil, err
	}
	m, err := New(s)
	if err != nil {
		return nil, nil, err
	}
	own := maps.Clone(all)
	delete(own, specKey)
	delete(own, formatKey)
	return m, own, checkMetadata(own)
}

func checkMetadata(own map[string]string) error {
	if len(own) > maxMetadata {
		return fmt.Errorf("models: %d metadata entries: want at most %d", len(own), maxMetadata)
	}
	size := 0
	for _, key := range slices.Sorted(maps.Keys(own)) {
		value := own[key]
		size += len(key) + len(value)
		switch {
		case key == "" || key == formatKey || strings.HasPrefix(key, reservedPrefix):
			return fmt.Errorf("models: metadata key %q is reserved; choose another", clip(key))
		case !utf8.ValidString(key) || !utf8.ValidString(value):
			return fmt.Errorf("models: metadata entry %q is not UTF-8", clip(key))
		}
	}
	if size > maxMetadataBytes {
		return fmt.Errorf("models: %d bytes of metadata: want at most %d", size, maxMetadataBytes)
	}
	return nil
}

// readFile reads a whole file of bounded size.
func readFile(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("models: read model file: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("models: the model file is larger than %d bytes, the most that %d parameters need", maxFile, MaxParameters)
	}
	return data, nil
}

// assemble puts the tensors of a file into one vector. tensor returns a named
// tensor's shape and little-endian bytes.
func (m *Model) assemble(count int, tensor func(name string) (shape []uint64, data []byte, err error)) ([]float32, error) {
	if count != len(m.tensors) {
		return nil, fmt.Errorf("models: the file holds %d tensors, a %s of its specification has %d", count, m.spec.Kind, len(m.tensors))
	}
	// A check of every length first: a small file must not make us allocate
	// the parameters that its specification promises.
	for _, want := range m.tensors {
		shape, data, err := tensor(want.Name)
		if err != nil {
			return nil, err
		}
		same := len(shape) == len(want.Shape)
		for i := 0; same && i < len(shape); i++ {
			same = shape[i] == uint64(want.Shape[i])
		}
		if !same || len(data) != 4*want.Length {
			return nil, fmt.Errorf("models: tensor %s has shape %v and %d bytes: want %v and %d", want.Name, shape, len(data), want.Shape, 4*want.Length)
		}
	}
	params := make([]float32, m.size)
	for _, t := range m.tensors {
		_, data, err := tensor(t.Name)
		if err != nil {
			return nil, err
		}
		for i := range t.Length {
			params[t.Offset+i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	}
	return params, m.CheckParameters(params)
}

// tensorBytes is a tensor's values as little-endian float32.
func tensorBytes(params []float32, t Tensor) []byte {
	out := make([]byte, 0, 4*t.Length)
	for _, v := range params[t.Offset:][:t.Length] {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

// clip shortens a foreign string for an error message.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

var errTwice = errors.New("appears twice")
