package disk

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"credence/aggregator/blob"
	"credence/fl"
)

const (
	blobs   = "blobs"
	staging = "staging"
	tmp     = "tmp"

	// DefaultQuota is how much an uploader may leave unfinished, in bytes.
	DefaultQuota = 4 << 30
	// fileCost is added to the size of each unfinished upload, so that the
	// quota bounds their number too: 4 KiB, a block of most file systems.
	fileCost = 4096
)

// Options configures a store. The zero value is good.
type Options struct {
	// Quota bounds one uploader's unfinished uploads, in bytes on disk, each
	// counted with 4 KiB more; 0 means DefaultQuota.
	Quota int64
}

// Store implements blob.Store and blob.Staging.
type Store struct {
	fs    FS
	dir   string // for messages
	quota int64

	mu    sync.Mutex
	locks map[upload]*lock     // uploads that somebody works on
	held  map[upload]extent    // what is known of uploads on disk
	usage map[fl.NodeID]*usage // of uploaders seen since the start
}

var (
	_ blob.Store   = (*Store)(nil)
	_ blob.Staging = (*Store)(nil)
)

// Open opens the store in a directory, making it (mode 0700) when there is
// none.
func Open(dir string, options Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("blob: %s: %w", dir, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("blob: making %s: %w", abs, full(err))
	}
	if err := syncParent(abs); err != nil {
		return nil, fmt.Errorf("blob: making %s: %w", abs, full(err))
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("blob: opening %s: %w", abs, err)
	}
	s, err := OpenFS(rooted{root}, abs, options)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

func syncParent(dir string) error {
	d, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// OpenFS opens the store on a file system; name is what messages call it.
func OpenFS(files FS, name string, options Options) (*Store, error) {
	if options.Quota == 0 {
		options.Quota = DefaultQuota
	}
	if options.Quota < 0 {
		return nil, fmt.Errorf("blob: quota of %d bytes: want 0 for the default, or more", options.Quota)
	}
	s := &Store{
		fs: files, dir: name, quota: options.Quota,
		locks: make(map[upload]*lock), held: make(map[upload]extent), usage: make(map[fl.NodeID]*usage),
	}
	// Every directory is there, durably, before the first blob comes: what is
	// put later needs one directory synced and no more.
	dirs := []string{blobs, staging, tmp}
	for i := range 256 {
		dirs = append(dirs, fmt.Sprintf("%s/%02x", blobs, i))
	}
	for _, dir := range dirs {
		if err := files.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, s.failed("making "+dir, err)
		}
	}
	for _, dir := range []string{".", blobs} {
		if err := files.SyncDir(dir); err != nil {
			return nil, s.failed("syncing "+dir, err)
		}
	}
	return s, nil
}

// Close releases the directory. What was stored stays.
func (s *Store) Close() error {
	if err := s.fs.Close(); err != nil {
		return s.failed("closing", err)
	}
	return nil
}

// failed says what was being done, where, and what to do about a full disk.
func (s *Store) failed(doing string, err error) error {
	return fmt.Errorf("blob: %s: %s: %w", s.dir, doing, full(err))
}

func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: the disk that holds the blobs is full: nothing of this call was kept; free some space and repeat it: %w", blob.ErrFull, err)
	}
	return err
}

// place is where a finished blob lies.
func place(digest fl.Digest) (dir, name string) {
	hex := digest.String()
	dir = blobs + "/" + hex[:2]
	return dir, dir + "/" + hex[2:]
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, data []byte) (fl.Digest, error) {
	digest := fl.DigestBytes(data)
	err := s.keep(ctx, digest, func(w io.Writer) (fl.Digest, error) {
		_, err := io.Copy(w, reading(ctx, bytes.NewReader(data)))
		return digest, err // it was computed of these very bytes
	})
	return digest, err
}

// keep makes the store hold a blob, durably. write writes it, to a file that
// nobody sees, and returns the digest of what it wrote; the file becomes
// visible when that is the blob's, else ErrCorrupt. A blob that is there already is checked, and replaced when it is damaged.
func (s *Store) keep(ctx context.Context, digest fl.Digest, write func(io.Writer) (fl.Digest, error)) error {
	dir, name := place(digest)
	doing := "storing " + digest.String()
	held, err := s.verified(ctx, digest)
	if err != nil {
		return s.failed(doing, err)
	}
	if !held {
		if err := s.install(digest, name, write); err != nil {
			return s.failed(doing, err)
		}
	}
	// Also when it was there: whoever put it may not have come to this yet.
	if err := s.fs.SyncDir(dir); err != nil {
		return s.failed(doing, err)
	}
	return nil
}

func (s *Store) install(digest fl.Digest, name string, write func(io.Writer) (fl.Digest, error)) error {
	from := tmp + "/" + rand.Text()
	f, err := s.fs.OpenFile(from, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	written, err := write(f)
	if err == nil && written != digest {
		err = fmt.Errorf("%w: %s: the content has digest %s", blob.ErrCorrupt, digest, written)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.fs.Rename(from, name)
	}
	if err != nil {
		// What cannot be removed now is swept later.
		if undo := s.fs.Remove(from); undo != nil && !errors.Is(undo, fs.ErrNotExist) {
			err = errors.Join(err, undo)
		}
	}
	return err
}

// verified reports whether the store holds the blob undamaged.
func (s *Store) verified(ctx context.Context, digest fl.Digest) (bool, error) {
	r, _, err := s.Open(ctx, digest)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, r)
	err = errors.Join(err, r.Close())
	if errors.Is(err, blob.ErrCorrupt) {
		return false, nil
	}
	return err == nil, err
}

// open opens a finished blob and returns its size.
func (s *Store) open(digest fl.Digest) (File, int64, error) {
	_, name := place(digest)
	f, err := s.fs.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: %s", blob.ErrNotFound, digest)
	}
	if err != nil {
		return nil, 0, s.failed("opening "+digest.String(), err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(s.failed("opening "+digest.String(), err), f.Close())
	}
	return f, info.Size(), nil
}

// Get implements blob.Store.
func (s *Store) Get(ctx context.Context, digest fl.Digest) ([]byte, error) {
	r, size, err := s.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.Grow(int(size) + bytes.MinRead) // else the last read doubles it
	_, err = out.ReadFrom(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, digest fl.Digest) (io.ReadCloser, int64, error) {
	f, size, err := s.open(digest)
	if err != nil {
		return nil, 0, err
	}
	return &verifier{ctx: ctx, store: s, file: f, digest: digest, sum: sha256.New()}, size, nil
}

// verifier reads a blob and, at its end, compares the digest.
type verifier struct {
	ctx    context.Context
	store  *Store
	file   File
	digest fl.Digest
	sum    hash.Hash
}

// Read implements io.Reader.
func (v *verifier) Read(p []byte) (int, error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := v.file.Read(p)
	_, _ = v.sum.Write(p[:n]) // a hash.Hash never returns an error
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, v.store.failed("reading "+v.digest.String(), err)
	case fl.Digest(v.sum.Sum(nil)) != v.digest:
		return n, fmt.Errorf("%w: %s in %s: the file is damaged; put the blob again to replace it", blob.ErrCorrupt, v.digest, v.store.dir)
	}
	return n, io.EOF
}

// Close implements io.Closer.
func (v *verifier) Close() error { return v.file.Close() }

// ReadAt implements blob.Store. Behind the end there is nothing, and that is
// no error.
func (s *Store) ReadAt(ctx context.Context, digest fl.Digest, offset int64, length int) (data []byte, size int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if offset < 0 || length < 0 {
		return nil, 0, fmt.Errorf("blob: reading %d bytes of %s at %d: want neither to be negative", length, digest, offset)
	}
	f, size, err := s.open(digest)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data = make([]byte, max(0, min(int64(length), size-offset)))
	if _, err := f.ReadAt(data, offset); err != nil {
		return nil, 0, s.failed("reading "+digest.String(), err)
	}
	return data, size, nil
}

// Size implements blob.Store.
func (s *Store) Size(ctx context.Context, digest fl.Digest) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	_, name := place(digest)
	info, err := s.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s", blob.ErrNotFound, digest)
	}
	if err != nil {
		return 0, s.failed("looking up "+digest.String(), err)
	}
	return info.Size(), nil
}

// Delete implements blob.Store. Deleting what is not there succeeds.
func (s *Store) Delete(ctx context.Context, digest fl.Digest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, name := place(digest)
	if err := s.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.failed("deleting "+digest.String(), err)
	}
	if err := s.fs.SyncDir(dir); err != nil {
		return s.failed("deleting "+digest.String(), err)
	}
	return nil
}

// reading stops a copy when the context ends.
func reading(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Each calls f for every blob that is stored, in order of their digests, until
// it returns an error. A file that no blob can have is passed over.
func (s *Store) Each(ctx context.Context, f func(digest fl.Digest) error) error {
	return s.each(blobs, func(first string, _ fs.FileInfo) error {
		return s.each(blobs+"/"+first, func(rest string, _ fs.FileInfo) error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			digest, err := fl.ParseDigest(first + rest)
			if err != nil {
				return nil //nolint:nilerr // somebody else's file
			}
			return f(digest)
		})
	})
}
