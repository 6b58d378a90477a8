package datasets

import (
	"bytes"
	"testing"
)

func BenchmarkReadCSV(b *testing.B) {
	d, err := Builtin(Digits)
	if err != nil {
		b.Fatal(err)
	}
	var text bytes.Buffer
	if err := WriteCSV(&text, d.Table, nil, d.Schema); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := ReadCSV("digits", bytes.NewReader(text.Bytes()), d.Schema); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuiltin(b *testing.B) {
	for _, name := range BuiltinNames() {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Builtin(name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDirichlet(b *testing.B) {
	d, err := Builtin(Digits)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Dirichlet(d.Train, 10, 0.5, 20, 1); err != nil {
			b.Fatal(err)
		}
	}
}
