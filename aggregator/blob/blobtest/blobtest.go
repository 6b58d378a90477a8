// Package blobtest is the conformance suite of blob.Store and blob.Staging:
// what one implementation promises, every implementation promises. It looks
// at them through their interfaces alone.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"credence/aggregator/blob"
	"credence/fl"
)

// Quota is the quota, in bytes, that the implementation under test must give
// each uploader. The suite counts on no more overhead than Overhead a file.
const (
	Quota    = 1 << 20
	Overhead = 8 << 10
)

// Both is what the suite tests.
type Both interface {
	blob.Store
	blob.Staging
}

// Suite says how to make what is tested.
type Suite struct {
	// Open opens the store in a directory, making it when there is none.
	// Opening it again is a restart.
	Open func(t testing.TB, dir string) Both
	// Damage changes the stored content of a blob behind the store's back.
	Damage func(t testing.TB, dir string, digest fl.Digest)
}

// Run runs the suite.
func (s Suite) Run(t *testing.T) {
	t.Run("Store", s.testStore)
	t.Run("Damage", s.testDamage)
	t.Run("Upload", s.testUpload)
	t.Run("Corrupt", s.testCorrupt)
	t.Run("Apart", s.testApart)
	t.Run("Quota", s.testQuota)
	t.Run("Names", s.testNames)
	t.Run("Restart", s.testRestart)
	t.Run("Chunks", s.testChunks)
	t.Run("Race", s.testRace)
	t.Run("Cancelled", s.testCancelled)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, err, want error) {
	t.Helper()
	for _, sentinel := range []error{blob.ErrNotFound, blob.ErrCorrupt, blob.ErrOffset, blob.ErrQuota, blob.ErrFull} {
		if errors.Is(err, sentinel) != (sentinel == want) {
			t.Fatalf("got error %v, want %v", err, want)
		}
	}
}

func content(seed, n int) []byte {
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	out := make([]byte, n)
	_, _ = random.Read(out) // never fails
	return out
}

func holds(t testing.TB, s blob.Store, want []byte) {
	t.Helper()
	got, err := s.Get(context.Background(), fl.DigestBytes(want))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Fatal("another content")
	}
}

func (s Suite) testStore(t *testing.T) {
	b, ctx := s.Open(t, t.TempDir()), t.Context()
	none := fl.DigestBytes([]byte("none"))
	_, err := b.Get(ctx, none)
	wants(t, err, blob.ErrNotFound)
	_, _, err = b.Open(ctx, none)
	wants(t, err, blob.ErrNotFound)
	_, _, err = b.ReadAt(ctx, none, 0, 1)
	wants(t, err, blob.ErrNotFound)
	_, err = b.Size(ctx, none)
	wants(t, err, blob.ErrNotFound)
	must(t, b.Delete(ctx, none))

	for i, size := range []int{0, 1, 4095, 4096, 100_000, 3 << 20} {
		data := content(i, size)
		digest := fl.DigestBytes(data)
		for range 2 {
			got, err := b.Put(ctx, data)
			must(t, err)
			if got != digest {
				t.Fatalf("digest %s, want %s", got, digest)
			}
		}
		holds(t, b, data)
		n, err := b.Size(ctx, digest)
		must(t, err)
		r, streamed, err := b.Open(ctx, digest)
		must(t, err)
		all, err := io.ReadAll(r)
		must(t, errors.Join(err, r.Close()))
		if n != int64(size) || streamed != n || !bytes.Equal(all, data) {
			t.Fatalf("sizes %d and %d of %d, or another content", n, streamed, size)
		}
		for _, span := range [][2]int{{0, size}, {0, 1}, {size / 2, size}, {size, 1}, {size + 10, 5}, {0, 0}} {
			part, n, err := b.ReadAt(ctx, digest, int64(span[0]), span[1])
			must(t, err)
			from := min(span[0], size)
			if want := data[from:min(from+span[1], size)]; n != int64(size) || !bytes.Equal(part, want) {
				t.Fatalf("at %d: %d bytes of %d, want %d of %d", span[0], len(part), n, len(want), size)
			}
		}
		for _, span := range [][2]int{{-1, 1}, {0, -1}} {
			_, _, err := b.ReadAt(ctx, digest, int64(span[0]), span[1])
			if err == nil {
				t.Fatal("a negative offset or length is accepted")
			}
			wants(t, err, nil)
		}
		for range 2 {
			must(t, b.Delete(ctx, digest))
		}
		_, err = b.Get(ctx, digest)
		wants(t, err, blob.ErrNotFound)
	}
}

func (s Suite) testDamage(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	b := s.Open(t, dir)
	data := content(1, 100_000)
	digest, err := b.Put(ctx, data)
	must(t, err)
	s.Damage(t, dir, digest)
	_, err = b.Get(ctx, digest)
	wants(t, err, blob.ErrCorrupt)
	r, _, err := b.Open(ctx, digest)
	must(t, err)
	_, err = io.ReadAll(r)
	wants(t, err, blob.ErrCorrupt)
	must(t, r.Close())
	// Putting it again replaces it, and so does uploading it.
	_, err = b.Put(ctx, data)
	must(t, err)
	holds(t, b, data)
	s.Damage(t, dir, digest)
	_, err = b.Append(ctx, "a", digest, 0, data)
	must(t, err)
	must(t, b.Finish(ctx, "a", digest))
	holds(t, b, data)
}

func (s Suite) testUpload(t *testing.T) {
	b, ctx := s.Open(t, t.TempDir()), t.Context()
	data := content(2, 100_000)
	digest := fl.DigestBytes(data)
	offset := func(want int64) {
		t.Helper()
		got, err := b.Offset(ctx, "a", digest)
		must(t, err)
		if got != want {
			t.Fatalf("offset %d, want %d", got, want)
		}
	}
	offset(0)
	wants(t, b.Finish(ctx, "a", digest), blob.ErrNotFound)
	_, err := b.Append(ctx, "a", digest, 10, data[10:20])
	wants(t, err, blob.ErrOffset)
	for at := 0; at < len(data); at += 30_000 {
		chunk := data[at:min(at+30_000, len(data))]
		n, err := b.Append(ctx, "a", digest, int64(at), chunk)
		must(t, err)
		offset(int64(at + len(chunk)))
		if n != int64(at+len(chunk)) {
			t.Fatalf("append returns %d", n)
		}
		_, err = b.Append(ctx, "a", digest, int64(at), chunk) // the answer was lost
		wants(t, err, blob.ErrOffset)
	}
	n, err := b.Append(ctx, "a", digest, int64(len(data)), nil)
	must(t, err)
	if n != int64(len(data)) {
		t.Fatalf("an empty chunk moves the offset to %d", n)
	}
	_, err = b.Get(ctx, digest) // not before it is verified
	wants(t, err, blob.ErrNotFound)
	for range 2 { // the second finds it in the store
		must(t, b.Finish(ctx, "a", digest))
	}
	offset(0)
	holds(t, b, data)
	// Another one uploads what the store already holds, whole or in part.
	_, err = b.Append(ctx, "b", digest, 0, data[:10])
	must(t, err)
	must(t, b.Finish(ctx, "b", digest))
	must(t, b.Finish(ctx, "c", digest))
	holds(t, b, data)
}

func (s Suite) testCorrupt(t *testing.T) {
	b, ctx := s.Open(t, t.TempDir()), t.Context()
	data := content(3, 1000)
	digest := fl.DigestBytes(data)
	for _, wrong := range [][]byte{data[:999], append(bytes.Clone(data), 0), append([]byte{data[0] ^ 1}, data[1:]...)} {
		_, err := b.Append(ctx, "a", digest, 0, wrong)
		must(t, err)
		wants(t, b.Finish(ctx, "a", digest), blob.ErrCorrupt)
		_, err = b.Get(ctx, digest)
		wants(t, err, blob.ErrNotFound)
		offset, err := b.Offset(ctx, "a", digest)
		must(t, err)
		if offset != 0 {
			t.Fatal("the corrupt upload was not discarded")
		}
	}
	_, err := b.Append(ctx, "a", digest, 0, data)
	must(t, err)
	must(t, b.Finish(ctx, "a", digest))
	holds(t, b, data)
}

// testApart: nobody disturbs another's upload.
func (s Suite) testApart(t *testing.T) {
	b, ctx := s.Open(t, t.TempDir()), t.Context()
	data := content(4, 1000)
	digest := fl.DigestBytes(data)
	_, err := b.Append(ctx, "a", digest, 0, data[:500])
	must(t, err)
	offset, err := b.Offset(ctx, "b", digest)
	must(t, err)
	if offset != 0 {
		t.Fatal("b sees the upload of a")
	}
	_, err = b.Append(ctx, "b", digest, 0, []byte("garbage"))
	must(t, err)
	wants(t, b.Finish(ctx, "b", digest), blob.ErrCorrupt)
	_, err = b.Append(ctx, "a", digest, 500, data[500:])
	must(t, err)
	must(t, b.Finish(ctx, "a", digest))
	holds(t, b, data)
}

func (s Suite) testQuota(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	b := s.Open(t, dir)
	first, second := content(5, Quota-3*Overhead), content(6, Quota/2)
	d1, d2 := fl.DigestBytes(first), fl.DigestBytes(second)
	_, err := b.Append(ctx, "a", d1, 0, first)
	must(t, err)
	for range 2 {
		_, err = b.Append(ctx, "a", d2, 0, second)
		wants(t, err, blob.ErrQuota)
		_, err = b.Append(ctx, "a", d1, int64(len(first)), second) // nor by a longer upload
		wants(t, err, blob.ErrQuota)
		b = s.Open(t, dir) // and not by waiting for a restart
	}
	_, err = b.Append(ctx, "b", d2, 0, second) // each has a quota
	must(t, err)
	must(t, b.Finish(ctx, "a", d1))
	_, err = b.Append(ctx, "a", d2, 0, second) // finished uploads do not count
	must(t, err)
	// Nor does quota leak when uploads are discarded.
	for i := range 4 {
		junk := content(100+i, Quota-3*Overhead)
		_, err = b.Append(ctx, "c", d1, 0, junk)
		must(t, err)
		_ = b.Finish(ctx, "c", d1) // succeeds: the store holds d1
		_, err = b.Append(ctx, "c", fl.DigestBytes([]byte{byte(i)}), 0, junk)
		must(t, err)
		wants(t, b.Finish(ctx, "c", fl.DigestBytes([]byte{byte(i)})), blob.ErrCorrupt)
	}
	// Many tiny uploads are bounded too.
	for i := 0; ; i++ {
		if i > Quota/1024 {
			t.Fatalf("%d unfinished uploads of one byte are within the quota", i)
		}
		if _, err = b.Append(ctx, "d", fl.DigestBytes(fmt.Append(nil, i)), 0, []byte{0}); err != nil {
			wants(t, err, blob.ErrQuota)
			break
		}
	}
}

func (s Suite) testNames(t *testing.T) {
	b, ctx := s.Open(t, t.TempDir()), t.Context()
	digest := fl.DigestBytes(nil)
	for _, name := range []fl.NodeID{"", ".", "..", "../blobs", "a/b", "A", "a\x00", "/etc"} {
		_, err := b.Offset(ctx, name, digest)
		_, err2 := b.Append(ctx, name, digest, 0, []byte("x"))
		if err3 := b.Finish(ctx, name, digest); err == nil || err2 == nil || err3 == nil {
			t.Fatalf("the name %q is accepted: %v, %v, %v", name, err, err2, err3)
		}
	}
}

func (s Suite) testRestart(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	put, uploaded := content(7, 5000), content(8, 50_000)
	digest := fl.DigestBytes(uploaded)
	_, err := s.Open(t, dir).Put(ctx, put)
	must(t, err)
	for at := 0; at < len(uploaded); at += 9000 {
		b := s.Open(t, dir)
		offset, err := b.Offset(ctx, "a", digest)
		must(t, err)
		if offset != int64(at) {
			t.Fatalf("after a restart %d bytes are held, want %d", offset, at)
		}
		_, err = b.Append(ctx, "a", digest, offset, uploaded[at:min(at+9000, len(uploaded))])
		must(t, err)
	}
	must(t, s.Open(t, dir).Finish(ctx, "a", digest))
	b := s.Open(t, dir)
	holds(t, b, put)
	holds(t, b, uploaded)
}

// testChunks uploads random content in random chunks, with repeated and
// misplaced ones among them.
func (s Suite) testChunks(t *testing.T) {
	b := s.Open(t, t.TempDir())
	rapid.Check(t, func(r *rapid.T) {
		ctx := context.Background()
		data := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(r, "data")
		digest := fl.DigestBytes(data)
		must(t, b.Delete(ctx, digest))
		at, err := b.Offset(ctx, "a", digest)
		must(t, err)
		for at < int64(len(data)) {
			from := rapid.Int64Range(0, int64(len(data))).Draw(r, "from")
			to := rapid.Int64Range(from, int64(len(data))).Draw(r, "to")
			if rapid.Bool().Draw(r, "right") {
				from, to = at, max(to, at)
			}
			n, err := b.Append(ctx, "a", digest, from, data[from:to])
			if (err == nil) != (from == at) || (err != nil && !errors.Is(err, blob.ErrOffset)) {
				r.Fatalf("%d..%d at %d: %v", from, to, at, err)
			}
			if err == nil {
				at = to
			}
			if n != at {
				r.Fatalf("offset %d, want %d", n, at)
			}
		}
		must(t, b.Finish(ctx, "a", digest))
		holds(t, b, data)
	})
}

// testRace: several uploaders send the same blobs at once, each through
// several connections, while others put and read them.
func (s Suite) testRace(t *testing.T) {
	b, ctx := s.Open(t, t.TempDir()), t.Context()
	var group sync.WaitGroup
	for i := range 8 {
		data := content(200+i%2, 20_000)
		digest := fl.DigestBytes(data)
		uploader := fl.NodeID("n" + string(rune('a'+i%4)))
		group.Go(func() {
			for {
				at, err := b.Offset(ctx, uploader, digest)
				if err != nil {
					t.Error(err)
					return
				}
				if at == int64(len(data)) {
					break
				}
				if _, err = b.Append(ctx, uploader, digest, at, data[at:min(at+5000, int64(len(data)))]); err != nil && !errors.Is(err, blob.ErrOffset) {
					t.Error(err)
					return
				}
				if _, err := b.Size(ctx, digest); err == nil {
					break // the other connection has finished it
				}
			}
			if err := b.Finish(ctx, uploader, digest); err != nil {
				t.Error(err)
			}
			if got, err := b.Get(ctx, digest); err != nil || !bytes.Equal(got, data) {
				t.Errorf("reads another content, or %v", err)
			}
			if _, err := b.Put(ctx, data); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func (s Suite) testCancelled(t *testing.T) {
	b := s.Open(t, t.TempDir())
	data := content(9, 100)
	digest, err := b.Put(t.Context(), data)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err1 := b.Put(ctx, content(10, 100))
	_, err2 := b.Get(ctx, digest)
	_, err3 := b.Append(ctx, "a", digest, 0, data)
	err4 := b.Finish(ctx, "a", digest)
	for _, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want %v", err, context.Canceled)
		}
	}
}
