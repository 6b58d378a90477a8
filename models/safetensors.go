package models

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/maruel/safetensors"
)

// WriteSafetensors writes params as a safetensors file with the model's tensor
// names and shapes, float32, and the specification in the metadata. metadata
// adds the caller's own entries (nil for none; "format" and "credence.*" are
// reserved). The bytes are a function of the arguments.
func (m *Model) WriteSafetensors(w io.Writer, params []float32, metadata map[string]string) error {
	if err := m.CheckParameters(params); err != nil {
		return err
	}
	all, err := m.fileMetadata(metadata)
	if err != nil {
		return err
	}
	file := safetensors.File{Metadata: all}
	for _, t := range m.tensors {
		shape := make([]uint64, len(t.Shape))
		for i, d := range t.Shape {
			shape[i] = uint64(d)
		}
		file.Tensors = append(file.Tensors, safetensors.Tensor{Name: t.Name, DType: safetensors.F32, Shape: shape, Data: tensorBytes(params, t)})
	}
	if err := file.Serialize(w); err != nil {
		return fmt.Errorf("models: write safetensors: %w", err)
	}
	return nil
}

// ReadSafetensors reads a file that WriteSafetensors wrote, possibly rewritten
// by another safetensors library: the tensors may be in any order, but there
// must be exactly those of the specification in the metadata, of its shapes,
// float32 and finite.
func ReadSafetensors(r io.Reader) (File, error) {
	data, err := readFile(r)
	if err != nil {
		return File{}, err
	}
	// The library accepts headers up to 100 MB; ours are small.
	if len(data) < 8 {
		return File{}, fmt.Errorf("models: read safetensors: %d bytes are too few for a header", len(data))
	}
	if n := binary.LittleEndian.Uint64(data); n > maxHeader-8 || n > uint64(len(data)-8) {
		return File{}, fmt.Errorf("models: read safetensors: the header claims %d bytes of a file of %d: this is no safetensors file of ours, or it is truncated", n, len(data))
	}
	file, err := safetensors.Parse(data)
	if err != nil {
		return File{}, fmt.Errorf("models: read safetensors: %w", err)
	}
	m, own, err := splitMetadata(file.Metadata)
	if err != nil {
		return File{}, err
	}
	tensors := make(map[string]safetensors.Tensor, len(file.Tensors))
	for _, t := range file.Tensors {
		if _, ok := tensors[t.Name]; ok {
			return File{}, fmt.Errorf("models: read safetensors: tensor %q %w", clip(t.Name), errTwice)
		}
		tensors[t.Name] = t
	}
	params, err := m.assemble(len(tensors), func(name string) ([]uint64, []byte, error) {
		t, ok := tensors[name]
		if !ok {
			return nil, nil, fmt.Errorf("models: read safetensors: tensor %s is missing", name)
		}
		if t.DType != safetensors.F32 {
			return nil, nil, fmt.Errorf("models: read safetensors: tensor %s is of type %q: want F32", name, clip(string(t.DType)))
		}
		return t.Shape, t.Data, nil
	})
	if err != nil {
		return File{}, err
	}
	return File{Model: m, Params: params, Metadata: own}, nil
}
