package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"credence/aggregator/blob"
	"credence/fl"
)

// script is everything a store does, with a record of what was acknowledged.
type script struct {
	put, uploaded, junk []byte

	putDone, finished bool
	offset            int64 // acknowledged
	errs              []error
}

func newScript() *script {
	content := func(n int, b byte) []byte { return bytes.Repeat([]byte{b, 1, 2, 3, 4}, n/5) }
	return &script{put: content(100, 'p'), uploaded: content(400, 'u'), junk: content(50, 'j')}
}

// run goes on from wherever an earlier run stopped, until something fails.
func (c *script) run(t *testing.T, m *memFS) (done bool) {
	t.Helper()
	ctx := t.Context()
	failed := func(err error) bool {
		if err != nil {
			c.errs = append(c.errs, err)
		}
		return err != nil
	}
	s, err := OpenFS(m, "memory", Options{})
	if failed(err) {
		return false
	}
	if _, err := s.Put(ctx, c.put); failed(err) {
		return false
	}
	c.putDone = true
	digest := fl.DigestBytes(c.uploaded)
	for {
		at, err := s.Offset(ctx, "a", digest)
		if failed(err) {
			return false
		}
		if at < c.offset && !c.finished {
			t.Fatalf("%d bytes are held, %d were acknowledged", at, c.offset)
		}
		if _, err := s.Size(ctx, digest); at == int64(len(c.uploaded)) || c.finished && err == nil {
			break
		}
		end := min(at+70, int64(len(c.uploaded)))
		at, err = s.Append(ctx, "a", digest, at, c.uploaded[at:end])
		if failed(err) {
			return false
		}
		if at != end {
			t.Fatalf("append returns %d, want %d", at, end)
		}
		c.offset = at
	}
	if err := s.Finish(ctx, "a", digest); failed(err) {
		return false
	}
	c.finished = true
	// An upload with another content than it says.
	wrong := fl.DigestBytes([]byte("wrong"))
	at, err := s.Offset(ctx, "b", wrong)
	if failed(err) {
		return false
	}
	if at == 0 {
		if _, err := s.Append(ctx, "b", wrong, 0, c.junk); failed(err) {
			return false
		}
	}
	if err := s.Finish(ctx, "b", wrong); !errors.Is(err, blob.ErrCorrupt) {
		if err == nil {
			t.Fatal("an upload was finished that is not what it says")
		}
		failed(err)
		return false
	}
	if _, err := s.Sweep(ctx, time.Now().Add(-time.Hour)); failed(err) {
		return false
	}
	return true
}

// holds checks the two promises: nothing that was acknowledged is lost, and
// nothing is visible that was not verified.
func (c *script) holds(t *testing.T, m *memFS) {
	t.Helper()
	for name, data := range m.blobs() {
		if name != fl.DigestBytes(data).String() {
			t.Fatalf("blob %s is visible with a content of %d bytes with digest %s", name, len(data), fl.DigestBytes(data))
		}
	}
	s, err := OpenFS(m, "memory", Options{})
	must(t, err)
	for _, b := range []struct {
		acknowledged bool
		data         []byte
	}{{c.putDone, c.put}, {c.finished, c.uploaded}} {
		got, err := s.Get(t.Context(), fl.DigestBytes(b.data))
		if b.acknowledged && (err != nil || !bytes.Equal(got, b.data)) {
			t.Fatalf("an acknowledged blob is lost: %v", err)
		}
		if err != nil && !errors.Is(err, blob.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if offset, err := s.Offset(t.Context(), "a", fl.DigestBytes(c.uploaded)); err != nil || offset < c.offset && !c.finished {
		t.Fatalf("%d bytes are held, %d were acknowledged; %v", offset, c.offset, err)
	}
}

// operations is how many operations a run without failures makes.
func operations(t *testing.T) int {
	t.Helper()
	m := newMemFS()
	if c := newScript(); !c.run(t, m) {
		t.Fatal(c.errs)
	}
	return m.ops
}

// firstFault skips most of the 256 directories that are made first.
const firstFault = 250

// TestEveryOperationFails makes each operation fail once, then goes on: in the
// same process where it may, and at the next start.
func TestEveryOperationFails(t *testing.T) {
	n := operations(t)
	for _, cause := range []error{errFull, errors.New("input/output error")} {
		for at := firstFault; at <= n; at++ {
			m, c := newMemFS(), newScript()
			m.failAt, m.err = at, cause
			done := c.run(t, m)
			if !done && !errors.Is(errors.Join(c.errs...), cause) {
				t.Fatalf("operation %d fails with %v, and the store says %v", at, cause, c.errs)
			}
			if full := errors.Is(errors.Join(c.errs...), blob.ErrFull); full != (!done && cause == errFull) {
				t.Fatalf("operation %d of a full disk: %v", at, c.errs)
			}
			c.holds(t, m)
			if !c.run(t, m) {
				t.Fatalf("operation %d failed, and then it does not go on: %v", at, c.errs)
			}
			c.holds(t, m)
			// What was acknowledged at the second attempt survives like the rest.
			for seed := range uint64(3) {
				c.holds(t, m.crash(rand.New(rand.NewPCG(seed, uint64(at)))))
			}
		}
	}
	t.Logf("%d operations", n)
}

// TestPowerFailsAnywhere takes the power away at each operation, looks at
// what may be left, and goes on from there, with another failure on the way.
func TestPowerFailsAnywhere(t *testing.T) {
	n := operations(t)
	for at := firstFault; at <= n; at++ {
		for seed := range uint64(8) {
			random := rand.New(rand.NewPCG(seed, uint64(at)))
			m, c := newMemFS(), newScript()
			for _, stop := range []int{at, firstFault + random.IntN(n-firstFault)} {
				m.ops, m.failAt, m.err, m.forever = 0, stop, errDown, true
				c.run(t, m)
				m = m.crash(random)
				c.holds(t, m)
			}
			m.failAt = 0
			if !c.run(t, m) {
				t.Fatalf("the power failed at operation %d (seed %d), and then it does not go on: %v", at, seed, c.errs)
			}
			c.holds(t, m)
		}
	}
}

// TestSameProcessGoesOn: after a failed write the same handle resumes.
func TestSameProcessGoesOn(t *testing.T) {
	data := newScript().uploaded
	digest := fl.DigestBytes(data)
	for at := 1; at <= 60; at++ {
		m := newMemFS()
		s, err := OpenFS(m, "memory", Options{})
		must(t, err)
		m.ops, m.failAt, m.err = 0, at, errFull
		for range 2 * len(data) {
			offset, err := s.Offset(t.Context(), "a", digest)
			if err != nil {
				continue
			}
			if offset == int64(len(data)) {
				break
			}
			if n, err := s.Append(t.Context(), "a", digest, offset, data[offset:min(offset+70, int64(len(data)))]); err != nil && n != offset {
				t.Fatalf("a failed append moves the offset from %d to %d", offset, n)
			}
		}
		if err := s.Finish(t.Context(), "a", digest); err != nil {
			must(t, s.Finish(t.Context(), "a", digest))
		}
		got, err := s.Get(t.Context(), digest)
		if err != nil {
			got, err = s.Get(t.Context(), digest) // the failure came only now
		}
		must(t, err)
		if !bytes.Equal(got, data) {
			t.Fatal("another content")
		}
	}
}

// TestFinishOfAnothers: one uploader's Finish made a blob visible and failed to
// make it durable; whoever is told after that that it is held can rely on it.
func TestFinishOfAnothers(t *testing.T) {
	data := newScript().put
	digest := fl.DigestBytes(data)
	for seed := range uint64(20) {
		m := newMemFS()
		s, err := OpenFS(m, "memory", Options{})
		must(t, err)
		visible := false
		for nth := 1; !visible; nth++ {
			m.failAt, m.err = m.ops+nth, errFull
			if _, err := s.Put(t.Context(), data); err == nil {
				t.Fatal("no failure left the blob visible")
			}
			visible = len(m.blobs()) > 0
		}
		must(t, s.Finish(t.Context(), "c", digest))
		after, err := OpenFS(m.crash(rand.New(rand.NewPCG(seed, 1))), "memory", Options{})
		must(t, err)
		_, err = after.Get(t.Context(), digest)
		must(t, err)
	}
}

// TestShrunkFile: somebody else shortened the file of an upload.
func TestShrunkFile(t *testing.T) {
	m := newMemFS()
	s, err := OpenFS(m, "memory", Options{})
	must(t, err)
	digest := fl.DigestBytes([]byte("0123456789"))
	_, err = s.Append(t.Context(), "a", digest, 0, []byte("01234"))
	must(t, err)
	_, err = s.Append(t.Context(), "a", digest, 5, []byte("56"))
	must(t, err)
	node := m.entries[upload{"a", digest}.file()]
	node.data = node.data[:frameHeader+6]
	if _, err = s.Append(t.Context(), "a", digest, 7, []byte("789")); !errors.Is(err, blob.ErrOffset) {
		t.Fatalf("got %v", err)
	}
	offset, err := s.Offset(t.Context(), "a", digest)
	must(t, err)
	if offset != 5 {
		t.Fatalf("offset %d, want 5", offset)
	}
	_, err = s.Append(t.Context(), "a", digest, 5, []byte("56789"))
	must(t, err)
	must(t, s.Finish(t.Context(), "a", digest))
}

func frames(chunks ...string) []byte {
	var out []byte
	var at int64
	for _, chunk := range chunks {
		out = append(append(out, encodeFrameHeader(at, []byte(chunk))...), chunk...)
		at += int64(len(chunk))
	}
	return out
}

func TestReadFrames(t *testing.T) {
	whole := frames("one", "two", "three")
	for cut := range len(whole) + 1 {
		var out bytes.Buffer
		e, err := readFrames(bytes.NewReader(whole[:cut]), &out)
		must(t, err)
		want := extent{}
		for _, chunk := range []int64{3, 3, 5} {
			if want.file+frameHeader+chunk > int64(cut) {
				break
			}
			want.data, want.file = want.data+chunk, want.file+frameHeader+chunk
		}
		if e != want || !bytes.HasPrefix([]byte("onetwothree"), out.Bytes()) || int64(out.Len()) < e.data {
			t.Fatalf("cut at %d: %+v and %q, want %+v", cut, e, out.Bytes(), want)
		}
	}
	for bit := range 8 * len(whole) {
		bad := bytes.Clone(whole)
		bad[bit/8] ^= 1 << (bit % 8)
		e, err := readFrames(bytes.NewReader(bad), io.Discard)
		must(t, err)
		if e.file > int64(bit/8) {
			t.Fatalf("trusts %d bytes of a file with bit %d flipped", e.file, bit)
		}
	}
	broken := errors.New("broken disk")
	if _, err := readFrames(io.MultiReader(bytes.NewReader(whole[:40]), failing{broken}), io.Discard); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzReadFrames(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(frames("one"))
	f.Add(frames("one", "two"))
	f.Add(append(frames("one"), frames("two")...)) // the second at a wrong offset
	f.Add(frames("one", "two")[:40])
	f.Add(frames(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		e, err := readFrames(bytes.NewReader(data), &out)
		if err != nil {
			t.Fatal(err)
		}
		if e.file > int64(len(data)) || int64(out.Len()) < e.data {
			t.Fatalf("trusts %+v of %d bytes, with %d bytes of chunks", e, len(data), out.Len())
		}
		// What is trusted is what the encoder writes for these chunks.
		var again []byte
		rest := out.Bytes()[:e.data]
		for at := int64(0); at < e.data; {
			length, _, ok := decodeFrameHeader(data[len(again):len(again)+frameHeader], at)
			if !ok {
				t.Fatal("trusts a bad header")
			}
			again = append(append(again, encodeFrameHeader(at, rest[:length])...), rest[:length]...)
			rest, at = rest[length:], at+length
		}
		if !bytes.Equal(again, data[:e.file]) {
			t.Fatal("encoding the chunks again gives other bytes")
		}
	})
}

func BenchmarkUpload(b *testing.B) {
	for _, size := range []int{438 << 10, 16 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				copy(data, fmt.Sprintf("%20d", i))
				b.StopTimer()
				digest := fl.DigestBytes(data)
				b.StartTimer()
				for at := 0; at < size; at += 1 << 20 {
					if _, err := s.Append(b.Context(), "a", digest, int64(at), data[at:min(at+1<<20, size)]); err != nil {
						b.Fatal(err)
					}
				}
				if err := s.Finish(b.Context(), "a", digest); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Delete(b.Context(), digest); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
