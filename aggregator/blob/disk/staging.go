package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"credence/aggregator/blob"
	"credence/fl"
)

// upload names an unfinished upload.
type upload struct {
	uploader fl.NodeID
	digest   fl.Digest
}

func (u upload) dir() string    { return staging + "/" + string(u.uploader) }
func (u upload) file() string   { return u.dir() + "/" + u.digest.String() }
func (u upload) String() string { return fmt.Sprintf("upload %s by %s", u.digest, u.uploader) }

// lock keeps two calls from working on one upload; uploads do not wait for
// each other.
type lock struct {
	sync.Mutex
	users int
}

func (s *Store) lock(u upload) (unlock func()) {
	s.mu.Lock()
	l := s.locks[u]
	if l == nil {
		l = new(lock)
		s.locks[u] = l
	}
	l.users++
	s.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(s.locks, u)
		}
	}
}

// begin checks the names, which become part of a path, and locks the upload.
func (s *Store) begin(ctx context.Context, uploader fl.NodeID, digest fl.Digest) (u upload, unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return upload{}, nil, err
	}
	if err := uploader.Validate(); err != nil {
		return upload{}, nil, fmt.Errorf("blob: uploader: %w", err)
	}
	u = upload{uploader, digest}
	return u, s.lock(u), nil
}

// extent returns how far an upload can be trusted, from memory or, the first
// time after a start, from its file. found is false when there is none.
func (s *Store) extent(ctx context.Context, u upload) (e extent, found bool, err error) {
	s.mu.Lock()
	e, found = s.held[u]
	s.mu.Unlock()
	if found {
		return e, true, nil
	}
	f, err := s.fs.OpenFile(u.file(), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return extent{}, false, nil
	}
	if err != nil {
		return extent{}, false, err
	}
	e, err = readFrames(reading(ctx, f), io.Discard)
	if err := errors.Join(err, f.Close()); err != nil {
		return extent{}, false, err
	}
	s.remember(u, e)
	return e, true, nil
}

func (s *Store) remember(u upload, e extent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[u] = e
}

func (s *Store) forget(u upload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, u)
	if known := s.usage[u.uploader]; known != nil {
		known.set(u.digest, 0)
	}
}

// Offset implements blob.Staging. An upload that is finished is no upload any
// more: ask Size first.
func (s *Store) Offset(ctx context.Context, uploader fl.NodeID, digest fl.Digest) (int64, error) {
	u, unlock, err := s.begin(ctx, uploader, digest)
	if err != nil {
		return 0, err
	}
	defer unlock()
	e, _, err := s.extent(ctx, u)
	if err != nil {
		return 0, s.failed("looking up "+u.String(), err)
	}
	return e.data, nil
}

// Append implements blob.Staging. When it returns, the chunk survives a
// crash. A chunk has at most MaxChunk bytes; an empty one changes nothing.
func (s *Store) Append(ctx context.Context, uploader fl.NodeID, digest fl.Digest, offset int64, chunk []byte) (int64, error) {
	if len(chunk) > MaxChunk {
		return 0, fmt.Errorf("blob: chunk of %d bytes: at most %d", len(chunk), MaxChunk)
	}
	u, unlock, err := s.begin(ctx, uploader, digest)
	if err != nil {
		return 0, err
	}
	defer unlock()
	e, _, err := s.extent(ctx, u)
	if err != nil {
		return 0, s.failed("looking up "+u.String(), err)
	}
	if offset != e.data {
		return e.data, fmt.Errorf("%w: %s: chunk at %d, and %d bytes are held", blob.ErrOffset, u, offset, e.data)
	}
	if len(chunk) == 0 {
		return e.data, nil
	}
	grown := extent{data: e.data + int64(len(chunk)), file: e.file + frameHeader + int64(len(chunk)), named: true}
	before, err := s.charge(u, grown.file+fileCost)
	if err != nil {
		return e.data, err
	}
	if err := s.write(u, e, chunk); err != nil {
		s.refund(u, before)
		if errors.Is(err, blob.ErrOffset) {
			s.forget(u)
		} else {
			s.remember(u, e) // whatever the file says now, this far it is durable
		}
		return e.data, s.failed("writing "+u.String(), err)
	}
	s.remember(u, grown)
	return grown.data, nil
}

// write writes one chunk behind what is held, and syncs it.
func (s *Store) write(u upload, e extent, chunk []byte) (err error) {
	if err := s.fs.Mkdir(u.dir(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := s.fs.OpenFile(u.file(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !e.named { // the first chunk since the start: the file must survive by its name
		if err := errors.Join(s.fs.SyncDir(u.dir()), s.fs.SyncDir(staging)); err != nil {
			return err
		}
	}
	switch size := info.Size(); {
	case size < e.file:
		return fmt.Errorf("%w: %s: the file became shorter: ask for the offset again", blob.ErrOffset, u)
	case size > e.file: // more than was acknowledged, from before a crash
		if err := f.Truncate(e.file); err != nil {
			return err
		}
	}
	if err := writeFrame(f, e, chunk); err != nil {
		// Where this does not help either, the next write does it.
		return errors.Join(err, f.Truncate(e.file))
	}
	return nil
}

func writeFrame(f File, e extent, chunk []byte) error {
	if _, err := f.WriteAt(encodeFrameHeader(e.data, chunk), e.file); err != nil {
		return err
	}
	if _, err := f.WriteAt(chunk, e.file+frameHeader); err != nil {
		return err
	}
	return f.Sync()
}

// usage is what an uploader's unfinished uploads count against its quota.
type usage struct {
	total int64
	each  map[fl.Digest]int64
}

// set sets what one upload counts and returns what it counted before.
func (g *usage) set(digest fl.Digest, cost int64) (before int64) {
	before = g.each[digest]
	g.total += cost - before
	if cost == 0 {
		delete(g.each, digest)
	} else {
		g.each[digest] = cost
	}
	return before
}

// charge sets what an upload counts, if the quota allows it, and returns what
// it counted before.
func (s *Store) charge(u upload, cost int64) (before int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.usage[u.uploader]
	if known == nil {
		if known, err = s.readUsage(u); err != nil {
			return 0, s.failed("looking up the uploads of "+string(u.uploader), err)
		}
		s.usage[u.uploader] = known
	}
	if others := known.total - known.each[u.digest]; others+cost > s.quota {
		return 0, fmt.Errorf("%w: %s: it would be %d bytes beside %d bytes of other unfinished uploads: at most %d in all: finish those first",
			blob.ErrQuota, u, cost, others, s.quota)
	}
	return known.set(u.digest, cost), nil
}

// refund takes a charge back.
func (s *Store) refund(u upload, before int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usage[u.uploader].set(u.digest, before)
}

// readUsage finds what an uploader left unfinished before this process began.
func (s *Store) readUsage(u upload) (*usage, error) {
	known := &usage{each: make(map[fl.Digest]int64)}
	err := s.each(u.dir(), func(name string, info fs.FileInfo) error {
		if digest, err := fl.ParseDigest(name); err == nil {
			known.set(digest, info.Size()+fileCost)
		}
		return nil
	})
	return known, err
}

// each calls f for every file in a directory, by name; a directory or a file that is
// not there (any more) is passed over.
func (s *Store) each(dir string, f func(name string, info fs.FileInfo) error) error {
	entries, err := s.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, entry := range entries {
		info, err := s.fs.Stat(dir + "/" + entry.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := f(entry.Name(), info); err != nil {
			return err
		}
	}
	return nil
}

// Finish implements blob.Staging. Without an upload, and with no such blob in
// the store, it is ErrNotFound.
func (s *Store) Finish(ctx context.Context, uploader fl.NodeID, digest fl.Digest) error {
	u, unlock, err := s.begin(ctx, uploader, digest)
	if err != nil {
		return err
	}
	defer unlock()
	e, found, err := s.extent(ctx, u)
	if err != nil {
		return s.failed("looking up "+u.String(), err)
	}
	if !found || e.data == 0 {
		if _, err := s.Size(ctx, digest); err != nil {
			return fmt.Errorf("finishing %s: %w", u, err)
		}
		dir, _ := place(digest)
		if err := s.fs.SyncDir(dir); err != nil {
			return s.failed("finishing "+u.String(), err)
		}
		return nil
	}
	err = s.keep(ctx, digest, func(w io.Writer) (fl.Digest, error) {
		sum := sha256.New()
		err := s.copyUpload(ctx, u, e, io.MultiWriter(w, sum))
		return fl.Digest(sum.Sum(nil)), err
	})
	if err == nil || errors.Is(err, blob.ErrCorrupt) {
		// A file that stays although the upload is over is swept later, and may
		// come back after a crash; it does no harm.
		if undo := s.fs.Remove(u.file()); undo == nil || errors.Is(undo, fs.ErrNotExist) {
			s.forget(u)
		}
	}
	return err
}

func (s *Store) copyUpload(ctx context.Context, u upload, e extent, w io.Writer) error {
	f, err := s.fs.OpenFile(u.file(), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	_, err = readFrames(reading(ctx, io.LimitReader(f, e.file)), w)
	return errors.Join(err, f.Close())
}

// Swept is what Sweep removed.
type Swept struct {
	Files int
	Bytes int64
}

// Sweep removes unfinished uploads that were not written to since a time, and
// what crashes left of files on their way into the store. It is safe beside
// uploads: one that is swept starts again at 0.
func (s *Store) Sweep(ctx context.Context, before time.Time) (swept Swept, err error) {
	remove := func(name string, info fs.FileInfo) error {
		if info.IsDir() || !info.ModTime().Before(before) {
			return nil
		}
		if err := s.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		swept.Files++
		swept.Bytes += info.Size()
		return nil
	}
	err = s.each(tmp, func(name string, info fs.FileInfo) error { return remove(tmp+"/"+name, info) })
	if err != nil {
		return swept, s.failed("sweeping", err)
	}
	err = s.each(staging, func(name string, _ fs.FileInfo) error {
		uploader := fl.NodeID(name)
		if err := uploader.Validate(); err != nil {
			return nil //nolint:nilerr // a folder that is not ours
		}
		return s.each(staging+"/"+name, func(name string, _ fs.FileInfo) error {
			digest, err := fl.ParseDigest(name)
			if err != nil {
				return nil // not ours
			}
			u, unlock, err := s.begin(ctx, uploader, digest)
			if err != nil {
				return err
			}
			defer unlock()
			info, err := s.fs.Stat(u.file()) // again: it may have been written to since
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := remove(u.file(), info); err != nil {
				return err
			}
			if info.ModTime().Before(before) {
				s.forget(u)
			}
			return nil
		})
	})
	if err != nil {
		return swept, s.failed("sweeping", err)
	}
	return swept, nil
}
