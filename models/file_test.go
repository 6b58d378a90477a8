package models

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/advancedclimatesystems/gonnx"
	"github.com/google/go-cmp/cmp"
	"github.com/maruel/safetensors"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

type format struct {
	write func(*Model, io.Writer, []float32, map[string]string) error
	read  func(io.Reader) (File, error)
}

var formats = map[string]format{
	"safetensors": {(*Model).WriteSafetensors, ReadSafetensors},
	"onnx":        {(*Model).WriteONNX, ReadONNX},
}

func encode(t testing.TB, f format, spec Spec, metadata map[string]string) []byte {
	t.Helper()
	m := newModel(t, spec)
	var out bytes.Buffer
	if err := f.write(m, &out, normals(m.size, 8), metadata); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestFilesComeBackBitForBit(t *testing.T) {
	for format, f := range formats {
		for name, spec := range allSpecs() {
			t.Run(format+"/"+name, func(t *testing.T) {
				m := newModel(t, spec)
				rapid.Check(t, func(t *rapid.T) {
					params := make([]float32, m.size)
					for i := range params {
						params[i] = rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32).Draw(t, "value")
					}
					params[0] = float32(math.Copysign(0, -1))
					own := rapid.MapOfN(rapid.StringMatching(`[a-z\x00" ]{1,9}`).Filter(func(s string) bool { return s != formatKey }),
						rapid.String(), 0, 4).Draw(t, "metadata")
					var out, again bytes.Buffer
					if err := f.write(m, &out, params, own); err != nil {
						t.Fatal(err)
					}
					got, err := f.read(bytes.NewReader(out.Bytes()))
					if err != nil {
						t.Fatal(err)
					}
					if !cmp.Equal(got.Model.Spec(), m.Spec()) || !cmp.Equal(bitsOf(got.Params), bitsOf(params)) || !cmp.Equal(got.Metadata, own) {
						t.Fatalf("wrote %v %v, read %v %v", params, own, got.Params, got.Metadata)
					}
					if err := f.write(got.Model, &again, got.Params, got.Metadata); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(out.Bytes(), again.Bytes()) {
						t.Fatal("the bytes are not a function of the model")
					}
				})
			})
		}
	}
}

// Published models are addressed by their content, so the encodings are pinned.
func TestEncodingsArePinned(t *testing.T) {
	want := map[string]string{
		"onnx/cnn": "970fc58e13a36ece", "onnx/logistic": "f9e986b708bde87f", "onnx/mlp-relu": "6b48c1252e80d81e",
		"safetensors/cnn": "e50b6e5d50560785", "safetensors/logistic": "c227d77f6db381c1", "safetensors/mlp-relu": "ab46a5b52444fbfb",
	}
	got := map[string]string{}
	for format, f := range formats {
		for _, name := range []string{"logistic", "mlp-relu", "cnn"} {
			m := newModel(t, allSpecs()[name])
			var out bytes.Buffer
			if err := f.write(m, &out, m.Init(1), map[string]string{"round": "3"}); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(out.Bytes())
			got[format+"/"+name] = hex.EncodeToString(sum[:8])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// gonnx, a runtime that is not ours, predicts what we predict. It has no
// max-pooling, so a cnn is left to onnxruntime in TestPythonReaders.
func TestGonnxPredictsTheSame(t *testing.T) {
	for name, spec := range allSpecs() {
		if spec.Kind == CNN {
			continue
		}
		t.Run(name, func(t *testing.T) {
			m := newModel(t, spec)
			params, data := normals(m.size, 8), someExamples(spec, 12, 6)
			runtime, err := gonnx.NewModelFromBytes(encode(t, formats["onnx"], spec, nil))
			if err != nil {
				t.Fatal(err)
			}
			x := tensor.New(tensor.WithShape(data.Rows, data.Features), tensor.WithBacking(append([]float32(nil), data.X...)))
			out, err := runtime.Run(gonnx.Tensors{onnxInput: x})
			if err != nil {
				t.Fatal(err)
			}
			got, ok := out[onnxOutput].Data().([]float32)
			if !ok || !out[onnxOutput].Shape().Eq(tensor.Shape{data.Rows, data.Classes}) {
				t.Fatalf("output %v", out[onnxOutput])
			}
			want, err := m.Predict(params, data.X)
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if math.Abs(float64(got[i]-want[i])) > 1e-5 {
					t.Errorf("probability %d is %v, want %v", i, got[i], want[i])
				}
			}
		})
	}
}

// onnxruntime and Python's safetensors read what we write, and we read what
// Python's safetensors writes.
func TestPythonReaders(t *testing.T) {
	python := os.Getenv("CREDENCE_PYTHON")
	if python == "" {
		t.Skip("set CREDENCE_PYTHON to a Python with onnxruntime, safetensors and numpy (.ci/run does)")
	}
	dir := t.TempDir()
	for name, spec := range allSpecs() {
		m := newModel(t, spec)
		params, data := normals(m.size, 8), someExamples(spec, 12, 6)
		probabilities, err := m.Predict(params, data.X)
		if err != nil {
			t.Fatal(err)
		}
		content, err := json.Marshal(map[string]any{"spec": m.Spec(), "tensors": m.Tensors(), "x": data.X, "probabilities": probabilities})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{
			"case.json":         content,
			"model.safetensors": encode(t, formats["safetensors"], spec, map[string]string{"round": "3"}),
			"model.onnx":        encode(t, formats["onnx"], spec, nil),
		} {
			if err := os.WriteFile(filepath.Join(dir, name, file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, err := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "readers.py"), dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for name, spec := range allSpecs() {
		content, err := os.ReadFile(filepath.Join(dir, name, "rewritten.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadSafetensors(bytes.NewReader(content))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !cmp.Equal(bitsOf(got.Params), bitsOf(normals(newModel(t, spec).size, 8))) || got.Metadata["round"] != "3" {
			t.Errorf("%s came back changed from Python", name)
		}
	}
}

// withHeader replaces text in a safetensors file's header and mends its length.
func withHeader(data []byte, from, to string) []byte {
	n := binary.LittleEndian.Uint64(data)
	header := strings.Replace(string(data[8:8+n]), from, to, 1)
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data[8+n:]...)
}

func TestForeignFilesAreRefused(t *testing.T) {
	spec := allSpecs()["softmax"]
	st, on := encode(t, formats["safetensors"], spec, nil), encode(t, formats["onnx"], spec, nil)
	var foreign bytes.Buffer
	one := safetensors.File{Tensors: []safetensors.Tensor{{Name: "w", DType: safetensors.F32, Shape: []uint64{1}, Data: make([]byte, 4)}}}
	if err := one.Serialize(&foreign); err != nil {
		t.Fatal(err)
	}
	infinite := append([]byte(nil), st...)
	copy(infinite[len(infinite)-4:], []byte{0, 0, 0x80, 0x7f})
	for _, c := range []struct {
		format, want string
		data         []byte
	}{
		{"safetensors", "too few for a header", st[:7]},
		{"safetensors", "or it is truncated", st[:60]},
		{"safetensors", "metadata incomplete buffer", st[:len(st)-1]},
		{"safetensors", "metadata incomplete buffer", append(append([]byte(nil), st...), 0)},
		{"safetensors", "no safetensors file of ours", on},
		{"safetensors", "no credence.spec", foreign.Bytes()},
		{"safetensors", "no credence.spec", []byte("\x02\x00\x00\x00\x00\x00\x00\x00[]")},
		{"safetensors", "no credence.spec", []byte("\x04\x00\x00\x00\x00\x00\x00\x00null")},
		{"safetensors", "layer0.bias) is not a finite", infinite},
		{"safetensors", "tensor layer0.bias is missing", withHeader(st, `"layer0.bias"`, `"layer1.bias"`)},
		{"safetensors", "appears twice", withHeader(st, `"layer0.bias"`, `"layer0.weight"`)},
		{"safetensors", `want F32`, withHeader(st, `"F32"`, `"I32"`)},
		{"safetensors", "has shape [4 3]", withHeader(st, `[3,4]`, `[4,3]`)},
		{"safetensors", "want [3 5] and 60", withHeader(st, `\"inputs\":4`, `\"inputs\":5`)},
		{"safetensors", "specification has 4", withHeader(st, `\"kind\":\"softmax\"`, `\"kind\":\"mlp\",\"hidden\":[9]`)},
		{"safetensors", "inputs is 0", withHeader(st, `\"inputs\":4`, `\"inputs\":0`)},
		{"safetensors", `format is "tf"`, withHeader(st, `"pt"`, `"tf"`)},
		{"safetensors", `"credence.x" is reserved`, withHeader(st, `"format"`, `"credence.x":"","format"`)},
		{"onnx", "no credence.spec", nil},
		{"onnx", "protobuf message is broken", st},
		{"onnx", "protobuf message is broken", on[:len(on)-1]},
		{"onnx", "not what this program writes", append(append([]byte(nil), on...), 0x38, 0x01)},
		{"onnx", "not what this program writes", bytes.Replace(on, []byte("Softmax"), []byte("Sigmoid"), 1)},
		{"onnx", "tensor layer0.bias is missing", bytes.ReplaceAll(on, []byte("layer0.bias"), []byte("layer9.bias"))},
		{"onnx", "want [3 5] and 60", bytes.Replace(on, []byte(`"inputs":4`), []byte(`"inputs":5`), 1)},
	} {
		if unchanged := map[string][]byte{"safetensors": st, "onnx": on}[c.format]; bytes.Equal(c.data, unchanged) {
			t.Errorf("%s: the case of %q changes nothing", c.format, c.want)
		}
		_, err := formats[c.format].read(bytes.NewReader(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want an error with %q, got %v", c.format, c.want, err)
		}
	}
}

// Whatever single bit flips in an ONNX file, it is refused or a parameter or
// the metadata is what changed, never the computation.
func TestFlippedBitsInONNX(t *testing.T) {
	data := encode(t, formats["onnx"], allSpecs()["cnn-relu"], map[string]string{"k": "v"})
	for i := range len(data) * 8 {
		data[i/8] ^= 1 << (i % 8)
		if got, err := ReadONNX(bytes.NewReader(data)); err == nil {
			var again bytes.Buffer
			if err := got.Model.WriteONNX(&again, got.Params, got.Metadata); err != nil || !bytes.Equal(again.Bytes(), data) {
				t.Fatalf("bit %d: accepted what we would not write", i)
			}
		}
		data[i/8] ^= 1 << (i % 8)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestOversizedFilesAreRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 64 MiB; run without -short")
	}
	for format, f := range formats {
		if _, err := f.read(endless{}); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestMetadataRefusals(t *testing.T) {
	m := newModel(t, allSpecs()["logistic"])
	many := map[string]string{}
	for i := range maxMetadata + 1 {
		many[strings.Repeat("k", i+1)] = ""
	}
	for want, own := range map[string]map[string]string{
		`"format" is reserved`:        {"format": "x"},
		`"credence.spec" is reserved`: {"credence.spec": "x"},
		`"" is reserved`:              {"": "x"},
		"is not UTF-8":                {"k": "\xff"},
		"65 metadata entries":         many,
		"65537 bytes of metadata":     {"k": strings.Repeat("v", 1<<16)},
	} {
		for format, f := range formats {
			if err := f.write(m, io.Discard, m.Init(1), own); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: want an error with %q, got %v", format, want, err)
			}
		}
	}
	most := map[string]string{"k": strings.Repeat("\x01", maxMetadataBytes-1)}
	for format, f := range formats {
		var out bytes.Buffer
		if err := f.write(m, &out, m.Init(1), most); err != nil {
			t.Fatal(err)
		}
		if _, err := f.read(&out); err != nil {
			t.Errorf("%s does not read the largest metadata that it writes: %v", format, err)
		}
	}
}

func fuzz(f *testing.F, format format) {
	for _, spec := range allSpecs() {
		f.Add(encode(f, format, spec, map[string]string{"round": "3"}))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := format.read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := format.write(got.Model, &out, got.Params, got.Metadata); err != nil {
			t.Fatal(err)
		}
		again, err := format.read(&out)
		if err != nil || !cmp.Equal(bitsOf(again.Params), bitsOf(got.Params)) || !cmp.Equal(again.Model.Spec(), got.Model.Spec()) {
			t.Fatalf("what was read does not survive a round trip: %v", err)
		}
	})
}

func FuzzReadSafetensors(f *testing.F) { fuzz(f, formats["safetensors"]) }
func FuzzReadONNX(f *testing.F)        { fuzz(f, formats["onnx"]) }

func FuzzParseSpec(f *testing.F) {
	for _, spec := range allSpecs() {
		data, err := json.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := ParseSpec(data)
		if err != nil {
			return
		}
		m, err := New(spec)
		if err != nil || m.NumParameters() < 1 || m.NumParameters() > MaxParameters {
			t.Fatalf("an accepted specification makes no model: %v", err)
		}
	})
}
