package models

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Versions of the exported file. Operator set 13 is what current runtimes and
// gonnx have in common; IR version 7 is the one that was released with it.
const (
	onnxIRVersion = 7
	onnxOpset     = 13
)

// Names in the exported graph.
const (
	onnxInput  = "features"      // float32 [rows, inputs]
	onnxOutput = "probabilities" // float32 [rows, classes]
	onnxImage  = "image.shape"   // constant: how a cnn reshapes its features
	onnxSelect = "logistic.logits"
)

// Field numbers of onnx.proto (onnx 1.8, IR version 7), the ones that we write.
const (
	modelIR, modelProducer, modelGraph, modelOpset, modelMetadata          = 1, 2, 7, 8, 14
	graphNode, graphName, graphInitializer, graphInput, graphOutput        = 1, 2, 5, 11, 12
	nodeInput, nodeOutput, nodeName, nodeOp, nodeAttribute                 = 1, 2, 3, 4, 5
	attributeName, attributeInt, attributeInts, attributeType              = 1, 3, 8, 20
	tensorDims, tensorType, tensorName, tensorRaw                          = 1, 2, 8, 9
	entryKey, entryValue                                                   = 1, 2
	opsetVersion                                                           = 2
	valueName, valueType, typeTensor, tensorElem, tensorShape              = 1, 2, 1, 1, 2
	shapeDim, dimValue, dimParam                                           = 1, 1, 2
	elemFloat, elemInt64, attributeTypeInt, attributeTypeInts, maxOnnxInit = 1, 7, 2, 7, 4*maxLayers + 8
)

// message is a protobuf message under construction, in canonical order. The
// encoding is ours and not a library's, so that equal models are equal bytes
// for ever and a reader can demand exactly them.
type message []byte

func (b message) varint(field protowire.Number, v int) message {
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(int64(v)))
}

func (b message) text(field protowire.Number, s string) message {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func (b message) sub(field protowire.Number, m message) message {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, m)
}

func (b message) ints(field protowire.Number, values ...int) message {
	var packed []byte
	for _, v := range values {
		packed = protowire.AppendVarint(packed, uint64(int64(v)))
	}
	return b.sub(field, packed)
}

func onnxTensor(name string, elem int, shape []int, raw []byte) message {
	return message(nil).ints(tensorDims, shape...).varint(tensorType, elem).text(tensorName, name).sub(tensorRaw, raw)
}

func onnxMatrix(name string, columns int) message {
	shape := message(nil).
		sub(shapeDim, message(nil).text(dimParam, "rows")).
		sub(shapeDim, message(nil).varint(dimValue, columns))
	t := message(nil).varint(tensorElem, elemFloat).sub(tensorShape, shape)
	return message(nil).text(valueName, name).sub(valueType, message(nil).sub(typeTensor, t))
}

func onnxInt(name string, v int) message {
	return message(nil).text(attributeName, name).varint(attributeInt, v).varint(attributeType, attributeTypeInt)
}

func onnxInts(name string, v ...int) message {
	return message(nil).text(attributeName, name).ints(attributeInts, v...).varint(attributeType, attributeTypeInts)
}

// onnxGraph is a chain of nodes, each fed by the one before.
type onnxGraph struct {
	body message
	last string // the output of the last node
}

// then appends a node; its first input is the output of the one before.
func (g *onnxGraph) then(op, output string, inputs []string, attributes ...message) {
	n := message(nil).text(nodeInput, g.last)
	for _, in := range inputs {
		n = n.text(nodeInput, in)
	}
	n = n.text(nodeOutput, output).text(nodeName, output).text(nodeOp, op)
	for _, a := range attributes {
		n = n.sub(nodeAttribute, a)
	}
	g.body = g.body.sub(graphNode, n)
	g.last = output
}

// WriteONNX writes params as an ONNX model (operator set 13) from "features",
// float32 [rows, inputs], to "probabilities", float32 [rows, classes], what
// Predict returns. The initializers are the model's tensors under their names.
// metadata is as for WriteSafetensors. The bytes are a function of the
// arguments.
func (m *Model) WriteONNX(w io.Writer, params []float32, metadata map[string]string) error {
	data, err := m.encodeONNX(params, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("models: write ONNX: %w", err)
	}
	return nil
}

func (m *Model) encodeONNX(params []float32, metadata map[string]string) ([]byte, error) {
	if err := m.CheckParameters(params); err != nil {
		return nil, err
	}
	all, err := m.fileMetadata(metadata)
	if err != nil {
		return nil, err
	}
	g := onnxGraph{last: onnxInput}
	if m.spec.Kind == CNN {
		g.then("Reshape", "image", []string{onnxImage})
	}
	activation := map[Activation]string{ReLU: "Relu", Tanh: "Tanh", Sigmoid: "Sigmoid"}[m.spec.Activation]
	for i, l := range m.layers {
		name := fmt.Sprintf("layer%d", i)
		if l.conv {
			pad := l.kernel / 2
			g.then("Conv", name+".conv", []string{l.weight.Name, l.bias.Name},
				onnxInts("kernel_shape", l.kernel, l.kernel), onnxInts("pads", pad, pad, pad, pad))
		} else {
			if i > 0 && m.layers[i-1].conv {
				g.then("Flatten", "flat", nil, onnxInt("axis", 1))
			}
			output := name + ".dense"
			if m.spec.Kind == Linear {
				output = onnxOutput
			}
			g.then("Gemm", output, []string{l.weight.Name, l.bias.Name}, onnxInt("transB", 1))
		}
		if l.activationAfter {
			g.then(activation, name+".activation", nil)
		}
		if l.conv {
			g.then("MaxPool", name+".pool", nil, onnxInts("kernel_shape", 2, 2), onnxInts("strides", 2, 2))
		}
	}
	if m.spec.Kind == Logistic {
		// softmax([0, z]) = [1-sigmoid(z), sigmoid(z)]: a column for each class,
		// as for every other kind.
		g.then("MatMul", "logits", []string{onnxSelect})
	}
	if m.spec.Kind != Linear {
		g.then("Softmax", onnxOutput, nil, onnxInt("axis", 1))
	}

	body := g.body.text(graphName, string(m.spec.Kind))
	for _, t := range m.tensors {
		body = body.sub(graphInitializer, onnxTensor(t.Name, elemFloat, t.Shape, tensorBytes(params, t)))
	}
	switch m.spec.Kind {
	case CNN:
		var raw []byte
		for _, v := range []int{-1, m.spec.Image.Channels, m.spec.Image.Height, m.spec.Image.Width} {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(int64(v)))
		}
		body = body.sub(graphInitializer, onnxTensor(onnxImage, elemInt64, []int{4}, raw))
	case Logistic:
		raw := binary.LittleEndian.AppendUint32(make([]byte, 4), math.Float32bits(1))
		body = body.sub(graphInitializer, onnxTensor(onnxSelect, elemFloat, []int{1, 2}, raw))
	}
	body = body.sub(graphInput, onnxMatrix(onnxInput, m.spec.Inputs)).sub(graphOutput, onnxMatrix(onnxOutput, m.spec.Classes))

	out := message(nil).varint(modelIR, onnxIRVersion).text(modelProducer, "credence").
		sub(modelGraph, body).sub(modelOpset, message(nil).varint(opsetVersion, onnxOpset))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		out = out.sub(modelMetadata, message(nil).text(entryKey, key).text(entryValue, all[key]))
	}
	return out, nil
}

// ReadONNX reads a file that WriteONNX wrote, byte for byte: after taking out
// the specification, the parameters and the metadata it writes them again and
// demands the same file, so a graph that computes anything else than its
// specification says is refused.
func ReadONNX(r io.Reader) (File, error) {
	data, err := readFile(r)
	if err != nil {
		return File{}, err
	}
	all := make(map[string]string)
	tensors := make(map[string][2][]byte) // packed dimensions and raw data
	err = fields(data, func(field protowire.Number, value []byte) error {
		switch field {
		case modelMetadata:
			return readEntry(all, value)
		case modelGraph:
			return fields(value, func(field protowire.Number, value []byte) error {
				if field == graphInitializer {
					return readTensor(tensors, value)
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return File{}, fmt.Errorf("models: read ONNX: %w", err)
	}
	m, own, err := splitMetadata(all)
	if err != nil {
		return File{}, err
	}
	delete(tensors, onnxImage) // not parameters; the comparison below covers them
	delete(tensors, onnxSelect)
	params, err := m.assemble(len(tensors), func(name string) ([]uint64, []byte, error) {
		t, ok := tensors[name]
		if !ok {
			return nil, nil, fmt.Errorf("models: read ONNX: tensor %s is missing", name)
		}
		shape, err := unpack(t[0])
		if err != nil {
			return nil, nil, fmt.Errorf("models: read ONNX: shape of tensor %s: %w", name, err)
		}
		return shape, t[1], nil
	})
	if err != nil {
		return File{}, err
	}
	again, err := m.encodeONNX(params, own)
	if err != nil {
		return File{}, err
	}
	if !bytes.Equal(again, data) {
		return File{}, fmt.Errorf("models: read ONNX: the file is not what this program writes for the %s that it says it holds: it was changed or written by another program", m.spec.Kind)
	}
	return File{Model: m, Params: params, Metadata: own}, nil
}

// fields calls f for each length-delimited field of a message and skips the
// others.
func fields(data []byte, f func(field protowire.Number, value []byte) error) error {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("the protobuf message is broken: %w", protowire.ParseError(n))
		}
		data = data[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, kind, data); n < 0 {
				return fmt.Errorf("the protobuf message is broken: %w", protowire.ParseError(n))
			}
			data = data[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return fmt.Errorf("the protobuf message is broken: %w", protowire.ParseError(n))
		}
		if err := f(field, value); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func readEntry(all map[string]string, data []byte) error {
	var key, value string
	err := fields(data, func(field protowire.Number, v []byte) error {
		if len(v) > maxMetadataBytes {
			return fmt.Errorf("a metadata entry of %d bytes: want at most %d", len(v), maxMetadataBytes)
		}
		switch field {
		case entryKey:
			key = string(v)
		case entryValue:
			value = string(v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, ok := all[key]; ok {
		return fmt.Errorf("metadata key %q %w", clip(key), errTwice)
	}
	if all[key] = value; len(all) > maxMetadata+2 {
		return fmt.Errorf("more than %d metadata entries", maxMetadata)
	}
	return nil
}

func readTensor(tensors map[string][2][]byte, data []byte) error {
	var name string
	var t [2][]byte
	err := fields(data, func(field protowire.Number, v []byte) error {
		switch field {
		case tensorName:
			name = clip(string(v[:min(len(v), 80)]))
		case tensorDims:
			t[0] = v
		case tensorRaw:
			t[1] = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, ok := tensors[name]; ok {
		return fmt.Errorf("tensor %q %w", name, errTwice)
	}
	if tensors[name] = t; len(tensors) > maxOnnxInit {
		return fmt.Errorf("more than %d tensors", maxOnnxInit)
	}
	return nil
}

// unpack decodes packed dimensions, at most four.
func unpack(data []byte) ([]uint64, error) {
	var out []uint64
	for len(data) > 0 {
		v, n := protowire.ConsumeVarint(data)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		if out, data = append(out, v), data[n:]; len(out) > 4 {
			return nil, errors.New("more than 4 dimensions")
		}
	}
	return out, nil
}
