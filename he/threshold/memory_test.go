package threshold

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// errCrash is what every operation returns once the simulated machine is down.
var errCrash = errors.New("simulated crash")

type inode struct{ data, synced []byte }

// memory is storage in memory that tells what is visible from what would
// survive a power cut: file contents survive once fsynced, directory entries once
// their directory is. It can fail at any one mutating operation.
type memory struct {
	visible, durable map[string]*inode
	ops              int
	// failAt is the operation (from 1) that fails, 0 for none. With down, every
	// later one fails too. With done, the failing operation takes effect first.
	failAt     int
	down, done bool
	failed     bool
	torn       bool // a failing write leaves half of its data
	opened     bool
}

func newMemory() *memory {
	return &memory{visible: map[string]*inode{}, durable: map[string]*inode{}}
}

// reboot returns the storage after the process (or, with powerCut, the machine)
// went down.
func (m *memory) reboot(powerCut bool) *memory {
	out := newMemory()
	from := m.visible
	if powerCut {
		from = m.durable
	}
	for name, f := range from {
		data := f.data
		if powerCut {
			data = f.synced
		}
		n := &inode{data: slices.Clone(data), synced: slices.Clone(f.synced)}
		out.visible[name] = n
	}
	for name, f := range m.durable {
		if powerCut {
			out.durable[name] = out.visible[name]
			continue
		}
		if v := m.visible[name]; v == f {
			out.durable[name] = out.visible[name]
		} else {
			out.durable[name] = &inode{data: slices.Clone(f.data), synced: slices.Clone(f.synced)}
		}
	}
	return out
}

// step counts a mutating operation and says whether to do it and what to
// return.
func (m *memory) step() (do bool, err error) {
	if m.failed && m.down {
		return false, errCrash
	}
	m.ops++
	if m.ops == m.failAt {
		m.failed = true
		return m.done, errCrash
	}
	return true, nil
}

func (m *memory) writeSync(name string, data []byte) error {
	do, err := m.step()
	switch {
	case do:
		m.visible[name] = &inode{data: slices.Clone(data), synced: slices.Clone(data)}
	case m.torn && m.ops == m.failAt:
		half := slices.Clone(data[:len(data)/2])
		m.visible[name] = &inode{data: half, synced: half[:len(half)/2]}
	}
	return err
}

func (m *memory) rename(oldName, newName string) error {
	do, err := m.step()
	if do {
		f, ok := m.visible[oldName]
		if !ok {
			return fs.ErrNotExist
		}
		m.visible[newName] = f
		delete(m.visible, oldName)
	}
	return err
}

func (m *memory) syncDir(dir string) error {
	do, err := m.step()
	if do {
		in := func(name string, _ *inode) bool { return strings.HasPrefix(name, dir+"/") }
		maps.DeleteFunc(m.durable, in)
		for name, f := range m.visible {
			if in(name, f) {
				m.durable[name] = f
			}
		}
	}
	return err
}

func (m *memory) remove(name string) error {
	do, err := m.step()
	if do {
		delete(m.visible, name)
	}
	return err
}

func (m *memory) read(name string) ([]byte, error) {
	if m.failed && m.down {
		return nil, errCrash
	}
	f, ok := m.visible[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(f.data), nil
}

func (m *memory) list(dir string) ([]string, error) {
	if m.failed && m.down {
		return nil, errCrash
	}
	var out []string
	for name := range m.visible {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			out = append(out, rest)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (m *memory) close() error { m.opened = false; return nil }
