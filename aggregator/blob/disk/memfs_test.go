package disk

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

// memFS is a file system in memory that knows what a power failure leaves:
// of content that was not synced any part, of directory entries that were not
// synced any subset. It makes a chosen operation fail, or every one from a
// chosen one on.
type memFS struct {
	mu      sync.Mutex
	entries map[string]*inode // as the running system sees them
	durable map[string]*inode // as the disk surely has them

	ops     int   // operations so far
	failAt  int   // which one fails; 0: none
	err     error // with what
	forever bool  // and all after it, without any effect: the machine is down
}

type inode struct {
	dir    bool
	data   []byte
	synced []byte
	mod    time.Time
}

var errDown = errors.New("the machine is down")

func newMemFS() *memFS {
	root := &inode{dir: true}
	return &memFS{entries: map[string]*inode{".": root}, durable: map[string]*inode{".": root}}
}

// op counts an operation and tells whether it fails.
func (m *memFS) op() error {
	m.ops++
	if m.failAt != 0 && (m.ops == m.failAt || m.forever && m.ops > m.failAt) {
		return m.err
	}
	return nil
}

// crash returns what is found after the power failed.
func (m *memFS) crash(random *rand.Rand) *memFS {
	after := newMemFS()
	names := make(map[string]bool)
	for name := range m.entries {
		names[name] = true
	}
	for name := range m.durable {
		names[name] = true
	}
	sorted := make([]string, 0, len(names)) // parents come before children
	for name := range names {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	seen := make(map[*inode]*inode) // a rename may have left two names
	for _, name := range sorted {
		node := m.durable[name]
		if m.entries[name] != node && random.IntN(2) == 0 {
			node = m.entries[name]
		}
		if node == nil || name == "." || after.entries[path.Dir(name)] == nil {
			continue
		}
		if seen[node] == nil {
			left := &inode{dir: node.dir, data: remains(node, random), mod: node.mod}
			left.synced = append([]byte(nil), left.data...)
			seen[node] = left
		}
		after.entries[name], after.durable[name] = seen[node], seen[node]
	}
	return after
}

// remains is the content of a file after a power failure.
func remains(node *inode, random *rand.Rand) []byte {
	old, now := node.synced, node.data
	switch random.IntN(4) {
	case 0:
		return append([]byte(nil), old...)
	case 1:
		return append([]byte(nil), now...)
	}
	// The length got there, or some of it, but only a part of the bytes.
	out := make([]byte, min(len(old), len(now))+random.IntN(max(len(old), len(now))-min(len(old), len(now))+1))
	copy(out, old)
	if cut := min(len(out), len(now)); cut > 0 {
		copy(out, now[:random.IntN(cut+1)])
	}
	return out
}

func (m *memFS) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(); err != nil {
		return nil, err
	}
	node := m.entries[name]
	switch {
	case node == nil && (flag&os.O_CREATE == 0 || m.entries[path.Dir(name)] == nil):
		return nil, fs.ErrNotExist
	case node != nil && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case node == nil:
		node = &inode{mod: time.Now()}
		m.entries[name] = node
	}
	return &memFile{fs: m, node: node, name: name}, nil
}

func (m *memFS) Mkdir(name string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(); err != nil {
		return err
	}
	if m.entries[name] != nil {
		return fs.ErrExist
	}
	m.entries[name] = &inode{dir: true}
	return nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(); err != nil {
		return err
	}
	if m.entries[from] == nil {
		return fs.ErrNotExist
	}
	m.entries[to] = m.entries[from]
	delete(m.entries, from)
	return nil
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(); err != nil {
		return err
	}
	if m.entries[name] == nil {
		return fs.ErrNotExist
	}
	delete(m.entries, name)
	return nil
}

func (m *memFS) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(); err != nil {
		return err
	}
	for child := range m.durable {
		if path.Dir(child) == name && child != "." && m.entries[child] == nil {
			delete(m.durable, child)
		}
	}
	for child, node := range m.entries {
		if path.Dir(child) == name {
			m.durable[child] = node
		}
	}
	return nil
}

func (m *memFS) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(); err != nil {
		return nil, err
	}
	if m.entries[name] == nil {
		return nil, fs.ErrNotExist
	}
	return info{path.Base(name), m.entries[name].dir, int64(len(m.entries[name].data)), m.entries[name].mod}, nil
}

func (m *memFS) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op(); err != nil {
		return nil, err
	}
	if m.entries[name] == nil {
		return nil, fs.ErrNotExist
	}
	var out []fs.DirEntry
	for child, node := range m.entries {
		if path.Dir(child) == name && child != "." {
			out = append(out, fs.FileInfoToDirEntry(info{path.Base(child), node.dir, int64(len(node.data)), node.mod}))
		}
	}
	return out, nil
}

func (m *memFS) Close() error { return nil }

// blobs returns the content of every visible blob by its digest in
// hexadecimal.
func (m *memFS) blobs() map[string][]byte {
	out := make(map[string][]byte)
	for name, node := range m.entries {
		if rest, ok := strings.CutPrefix(name, blobs+"/"); ok && !node.dir {
			out[strings.ReplaceAll(rest, "/", "")] = node.data
		}
	}
	return out
}

type info struct {
	name string
	dir  bool
	size int64
	mod  time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.mod }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

type memFile struct {
	fs   *memFS
	node *inode
	name string
	at   int64
}

func (f *memFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *memFile) ReadAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.op(); err != nil {
		return 0, err
	}
	if at >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.at)
	f.at += int64(n)
	return n, err
}

// WriteAt fails as a full disk does: after a part.
func (f *memFile) WriteAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.fs.op()
	if err != nil {
		if f.fs.ops > f.fs.failAt { // down already
			return 0, err
		}
		p = p[:len(p)/2]
	}
	if end := at + int64(len(p)); end > int64(len(f.node.data)) {
		f.node.data = append(f.node.data, make([]byte, end-int64(len(f.node.data)))...)
	}
	f.node.mod = time.Now()
	return copy(f.node.data[at:], p), err
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.op(); err != nil {
		return err
	}
	if size < int64(len(f.node.data)) {
		f.node.data = append([]byte(nil), f.node.data[:size]...)
	}
	return nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.op(); err != nil {
		return err
	}
	f.node.synced = append([]byte(nil), f.node.data...)
	return nil
}

func (f *memFile) Stat() (fs.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.op(); err != nil {
		return nil, err
	}
	return info{path.Base(f.name), false, int64(len(f.node.data)), f.node.mod}, nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.fs.op()
}

var errFull = &fs.PathError{Op: "write", Path: "memory", Err: syscall.ENOSPC}
