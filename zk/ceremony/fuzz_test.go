package ceremony

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"credence/fl"
)

func FuzzParseTranscript(f *testing.F) {
	for _, name := range []string{"powers", "circuits", "sealed"} {
		b, err := os.ReadFile(filepath.Join(stage(f, name), transcriptFile))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte(`{"start":{"version":1}}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := ParseTranscript(b)
		if err != nil {
			return
		}
		again, err := tr.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("a second encoding was accepted: %v", err)
		}
		if _, err := tr.status(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzParsePowers(f *testing.F) {
	const n = 8
	p := initialPowers(n, fl.Digest{1})
	if err := p.contribute(f.Context(), fl.Digest{2}, silent); err != nil {
		f.Fatal(err)
	}
	b, err := p.bytes(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add(make([]byte, len(b)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parsePowersHead(n, b)
		p, err := parsePowers(t.Context(), n, b, silent)
		if err != nil {
			return
		}
		if again, err := p.bytes(t.Context()); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("a second encoding was accepted: %v", err)
		}
	})
}

func FuzzParseCircuit(f *testing.F) {
	dir := stage(f, "circuits")
	tr := raw(f, dir)
	system, err := compileAs(&tr.Start, 1)
	if err != nil {
		f.Fatal(err)
	}
	domain := tr.Start.Circuits[1].Domain
	b := file(f, dir, read(f, tr.Circuits[1][0]).File)
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add(make([]byte, len(b)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseCircuit(system, domain, b)
		if err != nil {
			return
		}
		if again, err := encodeCircuit(p); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("a second encoding was accepted: %v", err)
		}
	})
}
