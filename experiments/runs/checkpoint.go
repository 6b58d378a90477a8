package runs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"credence/fl"
)

// A checkpoint is one line of JSON, then the payload.
type checkpoint struct {
	Version int       `json:"version"`                  // 1
	Rounds  int       `json:"rounds"`                   // made, over all units
	Metrics int64     `json:"metrics"`                  // bytes of metrics.jsonl that belong to them
	Clients int64     `json:"clients"`                  // bytes of clients.jsonl
	Attacks int64     `json:"demonstrations,omitempty"` // bytes of demonstrations.jsonl
	Length  int       `json:"length"`                   // bytes of the payload
	SHA256  fl.Digest `json:"sha256"`                   // of the payload

	payload []byte
}

const (
	maxCheckpointHeader = 1 << 12
	maxCheckpoint       = 1 << 31 // bytes of a payload
)

// Checkpoint makes what was written so far durable and keeps payload beside
// it: Resume returns the payload of the last checkpoint that was made.
func (w *Writer) Checkpoint(payload []byte) error {
	c := checkpoint{Version: 1, Rounds: w.state.Rounds, Length: len(payload), SHA256: fl.DigestBytes(payload)}
	for _, f := range []struct {
		file *os.File
		size *int64
	}{{w.metrics, &c.Metrics}, {w.clients, &c.Clients}, {w.attacks, &c.Attacks}} {
		if err := f.file.Sync(); err != nil {
			return fmt.Errorf("writing a checkpoint: %w", err)
		}
		info, err := f.file.Stat()
		if err != nil {
			return fmt.Errorf("writing a checkpoint: %w", err)
		}
		*f.size = info.Size()
	}
	header, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	if err := replaceFile(filepath.Join(w.dir, checkpointFile), func(out io.Writer) error {
		_, err := out.Write(append(header, '\n'))
		if err == nil {
			_, err = out.Write(payload)
		}
		return err
	}); err != nil {
		return err
	}
	return w.saveState()
}

func (w *Writer) loadCheckpoint() (checkpoint, error) {
	path := filepath.Join(w.dir, checkpointFile)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return checkpoint{}, nil
	}
	if err == nil && info.Size() > maxCheckpoint+maxCheckpointHeader {
		err = fmt.Errorf("%s has %d bytes: this program did not write it", path, info.Size())
	}
	if err != nil {
		return checkpoint{}, fmt.Errorf("reading the checkpoint: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return checkpoint{}, fmt.Errorf("reading the checkpoint: %w", err)
	}
	c, err := decodeCheckpoint(text)
	if err != nil {
		return c, fmt.Errorf("%s: %w; remove it to run all rounds again", path, err)
	}
	return c, nil
}

func decodeCheckpoint(text []byte) (checkpoint, error) {
	header, payload, found := bytes.Cut(text, []byte("\n"))
	if !found || len(header) > maxCheckpointHeader {
		return checkpoint{}, errors.New("no checkpoint: its first line is missing or too long")
	}
	var c checkpoint
	if err := decodeStrictly(header, &c); err != nil {
		return checkpoint{}, fmt.Errorf("no checkpoint: %w", err)
	}
	switch {
	case c.Version != 1:
		return checkpoint{}, fmt.Errorf("a checkpoint of version %d: this program reads version 1", c.Version)
	case c.Rounds < 0 || c.Metrics < 0 || c.Clients < 0 || c.Attacks < 0:
		return checkpoint{}, errors.New("a checkpoint with a negative number")
	case c.Length != len(payload) || c.SHA256 != fl.DigestBytes(payload):
		return checkpoint{}, errors.New("the checkpoint is damaged: its contents do not match their digest")
	}
	c.payload = payload
	return c, nil
}
