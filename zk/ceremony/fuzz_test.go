package ceremony

import (
	"bytes"
	"testing"

	"credence/fl"
)

// transcripts are one of each phase whose files do not exist: a transcript is
// parsed without them.
func transcripts(t testing.TB) []*Transcript {
	t.Helper()
	start := Start{
		Version: 1, Suite: tiny, Domain: 8, Circuits: []Circuit{{"update/" + tiny, fl.Digest{1}, 8}, {"keyshare/" + tiny, fl.Digest{2}, 8}},
		Participants: participants(parties...), Minimum: 2, Nonce: fl.Digest{3},
	}
	tr := &Transcript{Start: start, Circuits: make([][]fl.Envelope, 2)}
	fill := func(c chain) {
		previous := c.initial
		for i, by := range parties {
			d := Contribution{Ceremony: start.ID(), Phase: c.phase, Circuit: c.shape, Sequence: i + 1, Previous: previous, File: fl.DigestOf("test", previous[:])}
			*c.entries = append(*c.entries, sign(t, d, by))
			previous = d.File
		}
	}
	out := []*Transcript{}
	keep := func() {
		b, err := tr.Encode()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseTranscript(b)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, parsed)
	}
	fill(tr.chains()[0])
	keep()
	tr.PowersSeal = &PowersSeal{Beacon: beacon("first"), Initial: []fl.Digest{{4}, {5}}}
	for _, c := range tr.chains()[1:] {
		fill(c)
	}
	keep()
	tr.KeysSeal = &KeysSeal{Beacon: beacon("second"), Manifests: []fl.Digest{{6}, {7}}}
	keep()
	return out
}

func FuzzParseTranscript(f *testing.F) {
	for _, tr := range transcripts(f) {
		b, err := tr.Encode()
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
	shapes, err := smallShapes(tiny)
	if err != nil {
		f.Fatal(err)
	}
	system, c, err := compile(shapes[1])
	if err != nil {
		f.Fatal(err)
	}
	domain := c.Domain
	initial, _ := evaluate(system, c, fl.Digest{1}, &initialPowers(domain, fl.Digest{1}).values)
	b, err := encodeCircuit(initial)
	if err != nil {
		f.Fatal(err)
	}
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
