package ceremony

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"pgregory.net/rapid"

	"credence/fl"
)

// tampering is one attack on a ceremony's folder. Verify must fail with the
// sentinel and name the contributor.
type tampering struct {
	name  string
	stage string
	do    func(t *testing.T, dir string)
	err   error
	names fl.NodeID // none when nobody's contribution is to blame
	next  bool      // the next contributor finds it, too
}

func resign(t *testing.T, by fl.NodeID, change func(d *Contribution)) func(fl.Envelope) fl.Envelope {
	return func(e fl.Envelope) fl.Envelope {
		d := read(t, e)
		change(&d)
		return sign(t, d, by)
	}
}

var tamperings = []tampering{
	{name: "flipped bit", stage: "powers", err: ErrDamaged, names: "borealis", do: func(t *testing.T, dir string) {
		overwrite(t, dir, raw(t, dir).Powers[1], func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
	}},
	{name: "truncated", stage: "powers", err: ErrDamaged, names: "cumulus", do: func(t *testing.T, dir string) {
		overwrite(t, dir, raw(t, dir).Powers[2], func(b []byte) []byte { return b[:len(b)-1] })
	}},
	{name: "extended", stage: "powers", err: ErrDamaged, names: "cumulus", do: func(t *testing.T, dir string) {
		overwrite(t, dir, raw(t, dir).Powers[2], func(b []byte) []byte { return append(b, 0) })
	}},
	{name: "missing", stage: "circuits", err: ErrDamaged, names: "alba", do: func(t *testing.T, dir string) {
		d := read(t, raw(t, dir).Circuits[1][0])
		if err := os.Remove(filepath.Join(dir, d.File.String())); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "file swapped for another, and the transcript with it", stage: "powers", err: ErrSignature, names: "borealis", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) {
			other := read(t, tr.Powers[0]).File
			e := &tr.Powers[1]
			e.Payload = bytes.Replace(e.Payload, []byte(read(t, *e).File.String()), []byte(other.String()), 1)
		})
	}},
	{name: "signature altered", stage: "circuits", err: ErrSignature, names: "cumulus", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.Circuits[0][2].Signature[5] ^= 1 })
	}},
	{name: "signer renamed", stage: "powers", err: ErrSignature, names: "cumulus", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.Powers[0].Signer = "cumulus" })
	}},
	{name: "signed by another key", stage: "powers", err: ErrForeign, names: "borealis", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) {
			d := read(t, tr.Powers[1])
			key := keyOf("mallory")
			d.Key = key.Public().(ed25519.PublicKey)
			e, err := fl.Sign(d, "borealis", key)
			if err != nil {
				t.Fatal(err)
			}
			tr.Powers[1] = e
		})
	}},
	{name: "by a stranger", stage: "powers", err: ErrForeign, names: "mallory", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) {
			tr.Powers[2] = resign(t, "mallory", func(*Contribution) {})(tr.Powers[2])
		})
	}},
	{name: "of another ceremony", stage: "powers", err: ErrForeign, names: "alba", do: func(t *testing.T, dir string) {
		other := stage(t, "other")
		foreign := raw(t, other).Powers[0]
		put(t, dir, file(t, other, read(t, foreign).File))
		edit(t, dir, func(tr *Transcript) { tr.Powers = []fl.Envelope{foreign} })
	}},
	{name: "copied from another ceremony and signed again", stage: "powers", err: ErrUnsound, names: "alba", do: func(t *testing.T, dir string) {
		other := stage(t, "other")
		b := file(t, other, read(t, raw(t, other).Powers[0]).File)
		edit(t, dir, func(tr *Transcript) {
			tr.Powers = []fl.Envelope{resign(t, "alba", func(d *Contribution) { d.File = put(t, dir, b) })(tr.Powers[0])}
		})
	}, next: true},
	{name: "replayed at the end", stage: "powers", err: ErrOrder, names: "alba", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.Powers = append(tr.Powers, tr.Powers[0]) })
	}},
	{name: "replayed as another's", stage: "powers", err: ErrOrder, names: "borealis", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) {
			tr.Powers[1] = resign(t, "borealis", func(*Contribution) {})(tr.Powers[0])
		})
	}},
	{name: "reordered", stage: "circuits", err: ErrOrder, names: "borealis", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) {
			c := tr.Circuits[0]
			c[0], c[1] = c[1], c[0]
		})
	}},
	{name: "dropped from the middle", stage: "powers", err: ErrOrder, names: "cumulus", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.Powers = append(tr.Powers[:1:1], tr.Powers[2]) })
	}},
	{name: "moved to another circuit", stage: "circuits", err: ErrOrder, names: "alba", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.Circuits[0], tr.Circuits[1] = tr.Circuits[1], tr.Circuits[0] })
	}},
	{name: "signed rubbish of the right length", stage: "powers", err: ErrUnsound, names: "cumulus", do: func(t *testing.T, dir string) {
		unsound(t, dir, func(b []byte, _ *powers) []byte { return bytes.Repeat([]byte{0x85}, len(b)) })
	}},
	{name: "signed, of the wrong length", stage: "powers", err: ErrDamaged, names: "cumulus", do: func(t *testing.T, dir string) {
		unsound(t, dir, func(b []byte, _ *powers) []byte { return b[:len(b)-32] })
	}},
	{name: "signed, without a contribution", stage: "powers", err: ErrUnsound, names: "cumulus", do: func(t *testing.T, dir string) {
		unsound(t, dir, func(b []byte, p *powers) []byte {
			before := file(t, dir, read(t, raw(t, dir).Powers[1]).File)
			copy(before[len(before)-32:], p.challenge)
			return before
		})
	}},
	{name: "signed, one power exchanged", stage: "powers", err: ErrUnsound, names: "cumulus", do: func(t *testing.T, dir string) {
		unsound(t, dir, func(_ []byte, p *powers) []byte {
			p.values.G1.Tau[9] = p.values.G1.Tau[8]
			return encoded(t, p)
		})
	}},
	{name: "signed, beta differs between the groups", stage: "powers", err: ErrUnsound, names: "cumulus", do: func(t *testing.T, dir string) {
		unsound(t, dir, func(_ []byte, p *powers) []byte {
			p.values.G2.Beta.Add(&p.values.G2.Beta, &p.values.G2.Tau[0])
			return encoded(t, p)
		})
	}},
	{name: "signed, alpha without its proof", stage: "powers", err: ErrUnsound, names: "cumulus", do: func(t *testing.T, dir string) {
		unsound(t, dir, func(_ []byte, p *powers) []byte {
			for i := range p.values.G1.AlphaTau {
				p.values.G1.AlphaTau[i].Double(&p.values.G1.AlphaTau[i])
			}
			return encoded(t, p)
		})
	}},
	{name: "signed, a point at infinity", stage: "powers", err: ErrUnsound, names: "cumulus", do: func(t *testing.T, dir string) {
		unsound(t, dir, func(_ []byte, p *powers) []byte {
			p.values.G1.BetaTau[3] = curve.G1Affine{}
			return encoded(t, p)
		})
	}},
	{name: "signed, a circuit's key scaled in one place", stage: "circuits", err: ErrUnsound, names: "cumulus", do: func(t *testing.T, dir string) {
		system, err := compileAs(&raw(t, dir).Start, 0)
		if err != nil {
			t.Fatal(err)
		}
		edit(t, dir, func(tr *Transcript) {
			d := read(t, tr.Circuits[0][2])
			p, err := parseCircuit(system, tr.Start.Circuits[0].Domain, file(t, dir, d.File))
			if err != nil {
				t.Fatal(err)
			}
			p.Parameters.G1.PKK[1].Double(&p.Parameters.G1.PKK[1])
			b, err := encodeCircuit(p)
			if err != nil {
				t.Fatal(err)
			}
			tr.Circuits[0][2] = resign(t, "cumulus", func(d *Contribution) { d.File = put(t, dir, b) })(tr.Circuits[0][2])
		})
	}},
	{name: "first beacon exchanged", stage: "circuits", err: ErrSeal, do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.PowersSeal.Beacon = beacon("chosen") })
	}},
	{name: "start of a circuit exchanged", stage: "circuits", err: ErrOrder, names: "alba", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.PowersSeal.Initial[0] = tr.PowersSeal.Initial[1] })
	}},
	{name: "second beacon exchanged", stage: "sealed", err: ErrSeal, do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.KeysSeal.Beacon = beacon("chosen") })
	}},
	{name: "other keys named", stage: "sealed", err: ErrSeal, do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.KeysSeal.Manifests[1] = fl.Digest{1} })
	}},
	{name: "too few left", stage: "sealed", err: ErrTranscript, do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.Circuits[0] = tr.Circuits[0][:1] })
	}},
	{name: "rules exchanged", stage: "powers", err: ErrForeign, names: "alba", do: func(t *testing.T, dir string) {
		edit(t, dir, func(tr *Transcript) { tr.Start.Minimum = 3 })
	}},
	{name: "not canonical", stage: "powers", err: ErrTranscript, do: func(t *testing.T, dir string) {
		path := filepath.Join(dir, transcriptFile)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}},
}

func encoded(t *testing.T, p *powers) []byte {
	t.Helper()
	b, err := p.bytes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// overwrite changes the file of a contribution in place.
func overwrite(t *testing.T, dir string, e fl.Envelope, change func([]byte) []byte) {
	t.Helper()
	d := read(t, e).File
	if err := os.WriteFile(filepath.Join(dir, d.String()), change(file(t, dir, d)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// unsound has the last contributor to the powers sign another file.
func unsound(t *testing.T, dir string, change func(b []byte, p *powers) []byte) {
	t.Helper()
	edit(t, dir, func(tr *Transcript) {
		b := file(t, dir, read(t, tr.Powers[2]).File)
		p, err := parsePowers(t.Context(), tr.Start.Domain, b, silent)
		if err != nil {
			t.Fatal(err)
		}
		d := put(t, dir, change(b, p))
		tr.Powers[2] = resign(t, "cumulus", func(c *Contribution) { c.File = d })(tr.Powers[2])
	})
}

func TestTamperingIsNamed(t *testing.T) {
	for _, c := range tamperings {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			dir := stage(t, c.stage)
			c.do(t, dir)
			check := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, c.err) {
					t.Fatalf("%s: got %v, want %v", what, err, c.err)
				}
				var f *Fault
				switch named := errors.As(err, &f); {
				case c.names == "" && named:
					t.Fatalf("%s: blamed %s: %v", what, f.Contributor, err)
				case c.names != "" && (!named || f.Contributor != c.names):
					t.Fatalf("%s: got %v, want it to name %s", what, err, c.names)
				case named && !strings.Contains(err.Error(), string(c.names)):
					t.Fatalf("%s: the text does not name %s: %v", what, c.names, err)
				}
			}
			_, err := Verify(t.Context(), dir, VerifyOptions{})
			check("verify", err)
			if c.next {
				_, err = Contribute(t.Context(), dir, "borealis", keyOf("borealis"), ContributeOptions{})
				check("the next contributor", err)
			}
			before := contents(t, dir)
			if _, err := Seal(t.Context(), dir, beacon("new"), SealOptions{Store: openStore(t, t.TempDir()), PassOver: true}); err == nil {
				t.Fatal("sealed")
			}
			if after := contents(t, dir); len(after) != len(before) || after[transcriptFile] != before[transcriptFile] {
				t.Fatal("a seal that failed changed the folder")
			}
		})
	}
}

// A contribution that was dropped from the end is missed by its receipt.
func TestDroppedContributionIsMissed(t *testing.T) {
	dir := t.TempDir()
	found(t, dir, Options{Participants: participants(parties...)})
	receipts := contribute(t, dir, "alba", "borealis")
	expect := VerifyOptions{Expect: []fl.Digest{receipts[1].File}}
	if _, err := Verify(t.Context(), dir, expect); err != nil {
		t.Fatal(err)
	}
	edit(t, dir, func(tr *Transcript) { tr.Powers = tr.Powers[:1] })
	if _, err := Verify(t.Context(), dir, expect); !errors.Is(err, ErrOrder) {
		t.Fatalf("got %v", err)
	}
}

// Changing any byte of a transcript is noticed.
func TestEveryByteOfTheTranscriptCounts(t *testing.T) {
	good, err := transcripts(t)[1].Encode()
	if err != nil {
		t.Fatal(err)
	}
	// The seals speak for themselves: what they say is compared with what is
	// computed (TestTamperingIsNamed).
	end := bytes.Index(good, []byte(`,"powers_seal"`))
	rapid.Check(t, func(rt *rapid.T) {
		b := bytes.Clone(good)
		at := rapid.IntRange(0, end-1).Draw(rt, "at")
		b[at] ^= byte(rapid.IntRange(1, 255).Draw(rt, "bits"))
		if _, err := ParseTranscript(b); err == nil {
			rt.Fatalf("byte %d may be changed", at)
		}
	})
}

// An encoded state decodes to itself and nothing else does.
func TestPowersRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := uint64(1) << rapid.IntRange(3, 5).Draw(rt, "log n")
		p := initialPowers(n, fl.Digest{1})
		var s [3]fr.Element
		for i := range s {
			s[i].SetUint64(rapid.Uint64Range(1, 1<<60).Draw(rt, "secret"))
		}
		if err := p.multiply(t.Context(), &s, silent); err != nil {
			rt.Fatal(err)
		}
		if err := p.contribute(t.Context(), fl.Digest{2}, silent); err != nil {
			rt.Fatal(err)
		}
		b := encoded(t, p)
		q, err := parsePowers(t.Context(), n, b, silent)
		if err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(encoded(t, q), b) {
			rt.Fatal("another encoding")
		}
		if _, err := parsePowers(t.Context(), n, b[:rapid.IntRange(0, len(b)-1).Draw(rt, "cut")], silent); err == nil {
			rt.Fatal("a truncated encoding was accepted")
		}
		if _, err := parsePowers(t.Context(), 2*n, b, silent); err == nil {
			rt.Fatal("another domain was accepted")
		}
	})
}
