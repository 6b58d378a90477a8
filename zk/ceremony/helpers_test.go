package ceremony

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"credence/fl"
	"credence/zk"
	"credence/zk/circuit/rlwe"
)

const tiny = "insecure-rlwe64-d1-v1"

var parties = []fl.NodeID{"alba", "borealis", "cumulus"}

// keyOf is the signing key of a party in tests.
func keyOf(name fl.NodeID) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func participants(names ...fl.NodeID) []Participant {
	var out []Participant
	for _, n := range names {
		out = append(out, Participant{Name: n, Key: keyOf(n).Public().(ed25519.PublicKey)})
	}
	return out
}

func beacon(s string) []byte { b := sha256.Sum256([]byte(s)); return b[:] }

func found(t testing.TB, dir string, o Options) {
	t.Helper()
	o.Suite, o.AllowInsecure = tiny, true
	if _, err := Found(dir, o); err != nil {
		t.Fatal(err)
	}
}

func contribute(t testing.TB, dir string, names ...fl.NodeID) []Entry {
	t.Helper()
	var out []Entry
	for _, n := range names {
		e, err := Contribute(context.Background(), dir, n, keyOf(n), ContributeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e...)
	}
	return out
}

func seal(t testing.TB, dir, b string, store *zk.Store) *Status {
	t.Helper()
	s, err := Seal(context.Background(), dir, beacon(b), SealOptions{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openStore(t testing.TB, dir string) *zk.Store {
	t.Helper()
	s, err := zk.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// made holds ceremonies that tests copy: before the first seal, before the
// second, and sealed, of one and the same; and another one's first phase.
var made = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "ceremony-test-")
	if err != nil {
		panic(err)
	}
	return dir
})

// smallShapes are two circuits of different sizes, key shares in rings so
// small that a ceremony takes a second.
func smallShapes(suite string) ([]*rlwe.Shape, error) {
	all, err := suiteShapes(suite)
	if err != nil {
		return nil, err
	}
	small, smaller := *all[1], *all[1]
	small.Name, small.N = "small/"+suite, 16
	smaller.Name, smaller.N = "smaller/"+suite, 8
	return []*rlwe.Shape{&small, &smaller}, nil
}

func TestMain(m *testing.M) {
	shapesOf = smallShapes
	code := m.Run()
	_ = os.RemoveAll(made())
	os.Exit(code)
}

var build sync.Once

// stage returns a copy of a ceremony: "powers", "circuits", "sealed" or
// "other".
func stage(t testing.TB, name string) string {
	t.Helper()
	build.Do(func() {
		work := filepath.Join(made(), "work")
		keep := func(as, from string) {
			if err := os.CopyFS(filepath.Join(made(), as), os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
		}
		found(t, work, Options{Participants: participants(parties...)})
		contribute(t, work, parties...)
		keep("powers", work)
		seal(t, work, "first", nil)
		contribute(t, work, parties...)
		keep("circuits", work)
		seal(t, work, "second", openStore(t, filepath.Join(made(), "keys")))
		keep("sealed", work)
		other := filepath.Join(made(), "other")
		found(t, other, Options{Participants: participants(parties...)})
		contribute(t, other, parties...)
	})
	dir := filepath.Join(t.TempDir(), "ceremony")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(made(), name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// edit changes a transcript behind the package's back.
func edit(t testing.TB, dir string, change func(*Transcript)) {
	t.Helper()
	tr := raw(t, dir)
	change(tr)
	b, err := tr.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, transcriptFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// raw reads a transcript without checking it.
func raw(t testing.TB, dir string) *Transcript {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, transcriptFile))
	if err != nil {
		t.Fatal(err)
	}
	tr := new(Transcript)
	if err := json.Unmarshal(b, tr); err != nil {
		t.Fatal(err)
	}
	return tr
}

// read decodes a contribution.
func read(t testing.TB, e fl.Envelope) Contribution {
	t.Helper()
	var d Contribution
	if err := e.Read(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

// sign signs a contribution as a party would.
func sign(t testing.TB, d Contribution, by fl.NodeID) fl.Envelope {
	t.Helper()
	d.Key = keyOf(by).Public().(ed25519.PublicKey)
	e, err := fl.Sign(d, by, keyOf(by))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// put stores a file as a contribution would.
func put(t testing.TB, dir string, b []byte) fl.Digest {
	t.Helper()
	d, err := folder{dir}.put(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// contents lists a folder's files and what is in them, without the lock.
func contents(t testing.TB, dir string) map[string]fl.Digest {
	t.Helper()
	out := map[string]fl.Digest{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != lockName {
			out[e.Name()] = fl.DigestBytes(b)
		}
	}
	return out
}

// file reads a contribution's file.
func file(t testing.TB, dir string, d fl.Digest) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, d.String()))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}
