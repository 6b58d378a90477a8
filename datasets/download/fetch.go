package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Cache is where sets are kept: the folder that CREDENCE_DATASETS names, or
// credence/datasets in the user's cache.
func Cache() string {
	if dir := os.Getenv("CREDENCE_DATASETS"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "credence", "datasets")
}

// MissingError says which file of a set is not in the cache and how it gets
// there, by this program or by hand.
type MissingError struct {
	Set   Set
	Dir   string
	File  File
	Cause error // why it could not be fetched; nil: nobody tried
}

// Error implements error.
func (e *MissingError) Error() string {
	other := ""
	if e.Set.ByHand != "" {
		other = "; or " + e.Set.ByHand + " " + e.Dir
	}
	if e.Cause == nil {
		return fmt.Sprintf("data set %s: %s is not there: run credence dataset fetch %s%s", e.Set.Name, filepath.Join(e.Dir, e.File.Name), e.Set.Name, other)
	}
	size := ""
	if e.File.Size > 0 {
		size = fmt.Sprintf("%d bytes, ", e.File.Size)
	}
	return fmt.Sprintf("data set %s: fetching %s: %v; with no network, get the file elsewhere and put it at %s (%sSHA-256 %s)%s",
		e.Set.Name, e.File.Name, e.Cause, filepath.Join(e.Dir, e.File.Name), size, e.File.SHA256, other)
}

// Unwrap returns the cause.
func (e *MissingError) Unwrap() error { return e.Cause }

// WrongError says that a file is not the one that it should be.
type WrongError struct {
	Path      string
	Size      int64
	Got, Want string // SHA-256; empty when the size differs
	WantSize  int64
}

// Error implements error.
func (e *WrongError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("%s has %d bytes and should have %d: remove it and fetch it again", e.Path, e.Size, e.WantSize)
	}
	return fmt.Sprintf("%s has SHA-256 %s and should have %s: remove it and fetch it again", e.Path, e.Got, e.Want)
}

// maxUnknown bounds a file of unknown size.
const maxUnknown = 1 << 30

// most is how many bytes the file may have.
func (f File) most() int64 {
	if f.Size == 0 {
		return maxUnknown
	}
	return f.Size
}

// check reads the file and compares its size and digest.
func (f File) check(dir string) error { return f.checkAt(filepath.Join(dir, f.Name)) }

func (f File) checkAt(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(in, f.most()+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if n > f.most() || f.Size > 0 && n != f.Size {
		if info, err := in.Stat(); err == nil {
			n = info.Size()
		}
		return &WrongError{Path: path, Size: n, WantSize: f.most()}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.SHA256 {
		return &WrongError{Path: path, Size: n, WantSize: f.Size, Got: got, Want: f.SHA256}
	}
	return nil
}

// Options of Fetch.
type Options struct {
	Client *http.Client // nil: one that gives up on a silent server
	// Progress is told how much of a file is there; it may be nil.
	Progress func(f File, have int64)
}

// silence is how long a server may take to answer.
const silence = 30 * time.Second

// Fetch brings the files of a set into a cache and checks them; what is there
// and right is left alone, what is there and wrong is an error: this program
// does not remove files that it may not have written. A transfer that broke off
// goes on where it ended. A *MissingError says what to do by hand.
func (s Set) Fetch(ctx context.Context, cache string, o Options) error {
	dir := s.Dir(cache)
	if o.Client == nil {
		transport, ok := http.DefaultTransport.(*http.Transport)
		if !ok {
			return errors.New("download: the program's HTTP transport was replaced by one of another kind")
		}
		transport = transport.Clone()
		transport.ResponseHeaderTimeout = silence
		o.Client = &http.Client{Transport: transport}
		defer transport.CloseIdleConnections()
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making the folder of data sets: %w", err)
	}
	for _, f := range s.Files {
		err := f.check(dir)
		if err == nil {
			o.tell(f, f.Size)
			continue
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := f.fetch(ctx, dir, o); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("fetching %s: %w; what arrived is kept and the next fetch goes on from there", f.Name, ctx.Err())
			}
			return &MissingError{Set: s, Dir: dir, File: f, Cause: err}
		}
	}
	return nil
}

func (o Options) tell(f File, have int64) {
	if o.Progress != nil {
		o.Progress(f, have)
	}
}

// fetch tries the addresses of a file in order.
func (f File) fetch(ctx context.Context, dir string, o Options) error {
	part := filepath.Join(dir, f.Name+".part")
	var failed error
	for _, address := range f.URLs {
		err := f.transfer(ctx, address, part, o)
		if err == nil {
			if err = f.checkAt(part); err == nil {
				return os.Rename(part, filepath.Join(dir, f.Name))
			}
			// The wrong bytes: nothing to go on from.
			err = errors.Join(err, os.Remove(part))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var named *url.Error
		if errors.As(err, &named) {
			err = named.Err // it names the address again
		}
		if failed != nil {
			failed = fmt.Errorf("%w; %s: %w", failed, address, err)
		} else {
			failed = fmt.Errorf("%s: %w", address, err)
		}
	}
	return failed
}

// transfer appends to the part of a file what is missing of it.
func (f File) transfer(ctx context.Context, address, part string, o Options) (err error) {
	out, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	have, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if f.Size > 0 && have == f.Size {
		return nil
	}
	if have > f.most() {
		have = 0
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	response, err := o.Client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end, or given up
	switch {
	case response.StatusCode == http.StatusPartialContent && strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)):
	case response.StatusCode == http.StatusOK:
		have = 0 // the server sends all of it
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable && f.Size == 0 && have > 0:
		return nil // all of it is there, as the digest will show
	default:
		return fmt.Errorf("the server answers %s", response.Status)
	}
	if err := out.Truncate(have); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if _, err := out.Seek(have, io.SeekStart); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	watched := &watch{r: io.LimitReader(response.Body, f.most()-have+1), told: func(n int64) { o.tell(f, have+n) }}
	n, err := io.Copy(out, watched)
	if err != nil {
		return fmt.Errorf("the transfer broke off after %s: %w", f.progress(have+n), err)
	}
	return out.Sync()
}

// progress says how much of the file is there.
func (f File) progress(have int64) string {
	if f.Size == 0 {
		return fmt.Sprintf("%d bytes", have)
	}
	return fmt.Sprintf("%d of %d bytes", have, f.Size)
}

// watch tells how much was read.
type watch struct {
	r    io.Reader
	n    int64
	told func(int64)
}

func (w *watch) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.n += int64(n)
	w.told(w.n)
	return n, err
}
