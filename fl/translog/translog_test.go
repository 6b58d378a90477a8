package translog

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"credence/fl"
)

// memory is a log in memory.
type memory struct {
	entries [][]byte
	hashes  []tlog.Hash
}

func (m *memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("no hash %d", x)
		}
		out[i] = m.hashes[x]
	}
	return out, nil
}

func (m *memory) add(t interface{ Fatal(...any) }, entry []byte) {
	n := int64(len(m.entries))
	if FirstHash(n) != int64(len(m.hashes)) {
		t.Fatal("hashes are not stored without gaps")
	}
	hashes, err := Append(n, entry, m)
	if err != nil {
		t.Fatal(err)
	}
	m.entries, m.hashes = append(m.entries, entry), append(m.hashes, hashes...)
}

func (m *memory) at(t interface{ Fatal(...any) }, size int64) Checkpoint {
	root, err := Root(size, m)
	if err != nil {
		t.Fatal(err)
	}
	return Checkpoint{Origin: "credence/test", Size: size, Root: root}
}

func TestProofs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, fork := &memory{}, &memory{}
		n := rapid.IntRange(1, 40).Draw(t, "n")
		changed := rapid.IntRange(0, n-1).Draw(t, "changed")
		for i := range n {
			entry := fmt.Appendf(nil, "entry %d", i)
			m.add(t, entry)
			if i == changed {
				entry = []byte("another")
			}
			fork.add(t, entry)
		}
		before := int64(rapid.IntRange(1, n).Draw(t, "before"))
		index := int64(rapid.IntRange(0, n-1).Draw(t, "index"))
		old, now := m.at(t, before), m.at(t, int64(n))
		in, err := ProveInclusion(now.Size, index, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckInclusion(now, m.entries[index], in); err != nil {
			t.Fatal(err)
		}
		if err := CheckInclusion(now, []byte("not there"), in); !errors.Is(err, ErrNotInLog) {
			t.Fatalf("another entry passes: %v", err)
		}
		proof, err := ProveConsistency(now.Size, before, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckConsistency(old, now, proof); err != nil {
			t.Fatal(err)
		}
		// A log that changed an entry the old checkpoint covers has no proof.
		other := fork.at(t, int64(n))
		forged, err := ProveConsistency(other.Size, before, fork)
		if err != nil {
			t.Fatal(err)
		}
		err = CheckConsistency(old, other, forged)
		if int64(changed) < before && !errors.Is(err, ErrFork) {
			t.Fatalf("entry %d of %d changed, checkpoint at %d: %v", changed, n, before, err)
		}
		if int64(changed) >= before && err != nil {
			t.Fatalf("a log that only goes on differently is consistent with its past: %v", err)
		}
		if before > 1 {
			if err := CheckConsistency(now, m.at(t, before-1), nil); !errors.Is(err, ErrFork) {
				t.Fatalf("a log that shrank passes: %v", err)
			}
		}
	})
}

func keyPair(seed byte) (ed25519.PublicKey, ed25519.PrivateKey) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	return private.Public().(ed25519.PublicKey), private
}

func TestSignedCheckpoints(t *testing.T) {
	origin := Origin(fl.Digest{1})
	public, private := keyPair(1)
	stranger, strangerPrivate := keyPair(2)
	c := Checkpoint{Origin: origin, Size: 7, Root: tlog.Hash{9}}
	signed, err := Sign(c, private)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Open(signed, origin, public); err != nil || got != c {
		t.Fatalf("%+v %v", got, err)
	}
	// Anyone's implementation of signed notes reads it.
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(signed, note.VerifierList(verifier)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(signed, origin, stranger); !errors.Is(err, ErrUnsigned) {
		t.Errorf("another key: %v", err)
	}
	if _, err := Open(signed, Origin(fl.Digest{2}), public); !errors.Is(err, ErrUnsigned) {
		t.Errorf("another log: %v", err)
	}
	for i := range signed {
		flipped := bytes.Clone(signed)
		flipped[i] ^= 1
		if got, err := Open(flipped, origin, public); err == nil && got != c {
			t.Fatalf("bit flip at %d gives %+v", i, got)
		}
	}
	foreign, err := Sign(Checkpoint{Origin: "credence/else", Size: 1}, strangerPrivate)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign, origin, stranger); err == nil {
		t.Error("a checkpoint of another origin passes")
	}
}

func TestWitnesses(t *testing.T) {
	origin := Origin(fl.Digest{1})
	public, private := keyPair(1)
	signed, err := Sign(Checkpoint{Origin: origin, Size: 7}, private)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Unix(1_700_000_000, 0) }
	keys := map[string]ed25519.PublicKey{}
	for i, name := range []string{"north", "south"} {
		p, k := keyPair(byte(10 + i))
		keys[name] = p
		if signed, err = Cosign(signed, origin, public, name, k, now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(signed, origin, public); err != nil {
		t.Errorf("cosigned checkpoint: %v", err)
	}
	names, err := Witnesses(signed, keys)
	if err != nil || len(names) != 2 {
		t.Errorf("witnesses %v, %v", names, err)
	}
	wrong, _ := keyPair(99)
	if names, err := Witnesses(signed, map[string]ed25519.PublicKey{"north": wrong}); err != nil || len(names) != 0 {
		t.Errorf("a key that is not north's: %v, %v", names, err)
	}
	if _, err := Cosign([]byte("nonsense\n\n"), origin, public, "north", private, now); err == nil {
		t.Error("nonsense is cosigned")
	}
}

func FuzzOpen(f *testing.F) {
	origin := Origin(fl.Digest{1})
	public, private := keyPair(1)
	signed, err := Sign(Checkpoint{Origin: origin, Size: 7}, private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	witness, witnessPrivate := keyPair(3)
	cosigned, err := Cosign(signed, origin, public, "north", witnessPrivate, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cosigned)
	f.Add([]byte("a\n1\nAAAA\n\n— a b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Open(data, origin, public)
		if err == nil && (c.Size != 7 || c.Origin != origin) {
			t.Fatalf("forged %+v", c)
		}
		if kept, c, err := Cosigned(data, origin, public, "north", witness); err == nil {
			if again, same, err := Cosigned(kept, origin, public, "north", witness); err != nil || same != c || !bytes.Equal(again, kept) {
				t.Fatalf("what is kept of a cosigned checkpoint is not one: %v", err)
			}
		}
		if merged, err := Merge(data, data); err == nil {
			if again, err := Merge(merged); err != nil || !bytes.Equal(again, merged) {
				t.Fatalf("merging twice: %v", err)
			}
		}
	})
}

func TestCosignedAndMerge(t *testing.T) {
	origin := Origin(fl.Digest{1})
	public, private := keyPair(1)
	signed, err := Sign(Checkpoint{Origin: origin, Size: 7}, private)
	if err != nil {
		t.Fatal(err)
	}
	keys, notes := map[string]ed25519.PublicKey{}, [][]byte{signed}
	all := signed
	for i, name := range []string{"north", "south"} {
		p, k := keyPair(byte(10 + i))
		keys[name] = p
		if all, err = Cosign(all, origin, public, name, k, time.Now); err != nil {
			t.Fatal(err)
		}
	}
	for name, p := range keys {
		kept, c, err := Cosigned(all, origin, public, name, p)
		if err != nil || c.Size != 7 || len(kept) >= len(all) {
			t.Errorf("%s: %+v %v", name, c, err)
		}
		notes = append(notes, kept)
	}
	merged, err := Merge(append(notes, all, all)...)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := Witnesses(merged, keys); err != nil || len(names) != 2 || len(merged) != len(all) {
		t.Errorf("%v %v, %d bytes, want %d", names, err, len(merged), len(all))
	}
	if _, err := Open(merged, origin, public); err != nil {
		t.Error(err)
	}
	if _, _, err := Cosigned(signed, origin, public, "north", keys["north"]); !errors.Is(err, ErrUnsigned) {
		t.Errorf("without a cosignature: %v", err)
	}
	if _, _, err := Cosigned(all, origin, public, "north", keys["south"]); !errors.Is(err, ErrUnsigned) {
		t.Errorf("by another key: %v", err)
	}
	if _, _, err := Cosigned(all, origin, public, "north", nil); !errors.Is(err, ErrUnsigned) {
		t.Errorf("without a key: %v", err)
	}
	other, err := Sign(Checkpoint{Origin: origin, Size: 8}, private)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][][]byte{{}, {signed, other}, {[]byte("x")}, {make([]byte, MaxNote+1)}} {
		if _, err := Merge(bad...); !errors.Is(err, ErrMalformed) {
			t.Errorf("got %v", err)
		}
	}
	for _, bad := range [][][]byte{make([][]byte, maxProof+1), {nil}, {make([]byte, 33)}} {
		if _, err := DecodeHashes(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("got %v", err)
		}
	}
}
