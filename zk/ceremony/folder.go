package ceremony

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"credence/fl"
	"credence/fl/identity"
)

const (
	transcriptFile = "transcript.json"
	lockName       = ".lock"
)

// A folder is the ceremony on disk.
type folder struct{ dir string }

// lock keeps other processes from changing the folder until it is released.
func (f folder) lock() (release func() error, err error) {
	l, err := lockFile(filepath.Join(f.dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, f.absent()
	}
	if err != nil {
		return nil, fmt.Errorf("ceremony: locking %s: %w", f.dir, err)
	}
	return l.Close, nil
}

func (f folder) absent() error {
	return refuse("%s holds no ceremony: start one, or fetch the folder from the institution before you", f.dir)
}

// load reads and checks the transcript.
func (f folder) load() (*Transcript, error) {
	path := filepath.Join(f.dir, transcriptFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, f.absent()
	}
	if err != nil {
		return nil, fmt.Errorf("ceremony: reading the transcript: %w", err)
	}
	if info.Size() > maxTranscript {
		return nil, fmt.Errorf("ceremony: %w: %s has %d bytes: at most %d", ErrTranscript, path, info.Size(), maxTranscript)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ceremony: reading the transcript: %w", err)
	}
	return ParseTranscript(b)
}

// save replaces the transcript: the one step that makes a change.
func (f folder) save(t *Transcript) error {
	b, err := t.Encode()
	if err != nil {
		return err
	}
	if err := identity.WriteFile(filepath.Join(f.dir, transcriptFile), b); err != nil {
		return fmt.Errorf("ceremony: %w", err)
	}
	return nil
}

// put writes a file under its digest.
func (f folder) put(b []byte) (fl.Digest, error) {
	d := fl.DigestBytes(b)
	if err := identity.WriteFile(filepath.Join(f.dir, d.String()), b); err != nil {
		return d, fmt.Errorf("ceremony: %w", err)
	}
	return d, nil
}

// get reads a file and checks it against its digest. Errors wrap ErrDamaged.
func (f folder) get(d fl.Digest) ([]byte, error) {
	path := filepath.Join(f.dir, d.String())
	info, err := os.Stat(path)
	if err == nil && info.Size() > powersBytes(maxDomain) {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrDamaged, path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: its file cannot be read: %w", ErrDamaged, err)
	}
	if fl.DigestBytes(b) != d {
		return nil, fmt.Errorf("%w: %s is not what was signed: fetch it again", ErrDamaged, path)
	}
	return b, nil
}
