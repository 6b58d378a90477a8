package translog

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"credence/fl"
)

// MaxNote bounds a signed checkpoint with its cosignatures, in bytes.
const MaxNote = 64 << 10

// Sentinel errors.
var (
	ErrMalformed = errors.New("malformed log data")
	ErrUnsigned  = errors.New("checkpoint not signed by the log")
	ErrFork      = errors.New("the log was forked")
	ErrNotInLog  = errors.New("not in the log")
)

// Checkpoint is the log at one moment: how many entries it has and the root of
// the tree over them.
type Checkpoint struct {
	Origin string // names the log: "credence/" and the genesis' digest
	Size   int64
	Root   tlog.Hash
}

// Origin returns the name of a federation's log.
func Origin(genesis fl.Digest) string { return "credence/" + genesis.String() }

// text is what is signed.
func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint of %d lines: want 3", ErrMalformed, len(lines)-1)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint size %q", ErrMalformed, lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint root", ErrMalformed)
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}
	if c.text() != text {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint is not in canonical form", ErrMalformed)
	}
	return c, nil
}

// Algorithm bytes of note signatures.
const (
	algEd25519     = 1
	algCosignature = 4 // C2SP tlog-cosignature/v1
)

// key is an Ed25519 key under a name; it signs and verifies notes.
type key struct {
	name    string
	alg     byte
	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil for a verifier
	now     func() time.Time   // of a cosigner
}

// Name implements note.Signer and note.Verifier.
func (k key) Name() string { return k.name }

// KeyHash implements note.Signer and note.Verifier.
func (k key) KeyHash() uint32 {
	h := sha256.Sum256(append([]byte(k.name+"\n"+string(rune(k.alg))), k.public...))
	return binary.BigEndian.Uint32(h[:])
}

// Sign implements note.Signer.
func (k key) Sign(msg []byte) ([]byte, error) {
	if k.alg == algEd25519 {
		return ed25519.Sign(k.private, msg), nil
	}
	at := k.now().Unix()
	sig := binary.BigEndian.AppendUint64(nil, uint64(at))
	return append(sig, ed25519.Sign(k.private, cosigned(at, msg))...), nil
}

// Verify implements note.Verifier.
func (k key) Verify(msg, sig []byte) bool {
	if k.alg == algEd25519 {
		return ed25519.Verify(k.public, msg, sig)
	}
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	return at < 1<<62 && ed25519.Verify(k.public, cosigned(int64(at), msg), sig[8:])
}

func cosigned(at int64, msg []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at), msg...)
}

// Sign signs a checkpoint with the log's key.
func Sign(c Checkpoint, private ed25519.PrivateKey) ([]byte, error) {
	k := key{name: c.Origin, alg: algEd25519, private: private, public: private.Public().(ed25519.PublicKey)}
	return note.Sign(&note.Note{Text: c.text()}, k)
}

// Open verifies the log's signature on a checkpoint. Signatures of others are
// ignored.
func Open(signed []byte, origin string, public ed25519.PublicKey) (Checkpoint, error) {
	if len(signed) > MaxNote {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint of %d bytes", ErrMalformed, len(signed))
	}
	if len(public) != ed25519.PublicKeySize {
		return Checkpoint{}, fmt.Errorf("%w: key of %d bytes", ErrUnsigned, len(public))
	}
	n, err := note.Open(signed, note.VerifierList(key{name: origin, alg: algEd25519, public: public}))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint of log %q", ErrMalformed, c.Origin)
	}
	return c, nil
}

// Cosign adds a witness' timestamped signature to a signed checkpoint. The
// witness has checked that the checkpoint extends the last one it cosigned.
func Cosign(signed []byte, origin string, log ed25519.PublicKey, name string, private ed25519.PrivateKey, now func() time.Time) ([]byte, error) {
	if _, err := Open(signed, origin, log); err != nil {
		return nil, err
	}
	text, sigs, ok := bytes.Cut(signed, []byte("\n\n"))
	if !ok {
		return nil, fmt.Errorf("%w: no signatures", ErrMalformed)
	}
	k := key{name: name, alg: algCosignature, private: private, public: private.Public().(ed25519.PublicKey), now: now}
	own, err := note.Sign(&note.Note{Text: string(text) + "\n"}, k)
	if err != nil {
		return nil, fmt.Errorf("cosigning: %w", err)
	}
	_, line, _ := bytes.Cut(own, []byte("\n\n"))
	return append(append(bytes.Clone(text), "\n\n"...), append(sigs, line...)...), nil
}

// Witnesses returns which of the given witnesses (public keys by name) have
// validly cosigned a checkpoint.
func Witnesses(signed []byte, keys map[string]ed25519.PublicKey) ([]string, error) {
	verifiers := make([]note.Verifier, 0, len(keys))
	for name, public := range keys {
		verifiers = append(verifiers, key{name: name, alg: algCosignature, public: public})
	}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	names := make([]string, len(n.Sigs))
	for i, s := range n.Sigs {
		names[i] = s.Name
	}
	return names, nil
}

// Cosigned verifies that a signed checkpoint carries the log's signature and
// one witness' cosignature, and returns it with these two alone: what a log
// keeps and shows of a witness.
func Cosigned(signed []byte, origin string, log ed25519.PublicKey, name string, witness ed25519.PublicKey) ([]byte, Checkpoint, error) {
	c, err := Open(signed, origin, log)
	if err != nil {
		return nil, Checkpoint{}, err
	}
	if len(witness) != ed25519.PublicKeySize {
		return nil, Checkpoint{}, fmt.Errorf("%w: key of %s: %d bytes", ErrUnsigned, name, len(witness))
	}
	n, err := note.Open(signed, note.VerifierList(
		key{name: origin, alg: algEd25519, public: log}, key{name: name, alg: algCosignature, public: witness}))
	if err != nil {
		return nil, Checkpoint{}, fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	if len(n.Sigs) != 2 {
		return nil, Checkpoint{}, fmt.Errorf("%w: no cosignature of %s", ErrUnsigned, name)
	}
	for _, s := range n.Sigs { // a signature has one spelling, so a copy cannot differ in it
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return nil, Checkpoint{}, fmt.Errorf("%w: the signature of %s is not canonical base64", ErrUnsigned, s.Name)
		}
	}
	n.UnverifiedSigs = nil
	kept, err := note.Sign(n)
	if err != nil {
		return nil, Checkpoint{}, fmt.Errorf("keeping a cosignature: %w", err)
	}
	return kept, c, nil
}

// Merge puts the signatures of several copies of one checkpoint on one. The
// signatures are not verified.
func Merge(copies ...[]byte) ([]byte, error) {
	var merged *note.Note
	seen := map[note.Signature]bool{}
	for _, signed := range copies {
		if len(signed) > MaxNote {
			return nil, fmt.Errorf("%w: checkpoint of %d bytes", ErrMalformed, len(signed))
		}
		_, err := note.Open(signed, note.VerifierList())
		var parsed *note.UnverifiedNoteError
		if !errors.As(err, &parsed) {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if merged == nil {
			merged = &note.Note{Text: parsed.Note.Text}
		}
		if parsed.Note.Text != merged.Text {
			return nil, fmt.Errorf("%w: two different checkpoints cannot be merged", ErrMalformed)
		}
		for _, s := range parsed.Note.UnverifiedSigs {
			if !seen[s] {
				seen[s] = true
				merged.UnverifiedSigs = append(merged.UnverifiedSigs, s)
			}
		}
	}
	if merged == nil {
		return nil, fmt.Errorf("%w: no checkpoint", ErrMalformed)
	}
	signed, err := note.Sign(merged)
	if err != nil {
		return nil, fmt.Errorf("merging signatures: %w", err)
	}
	return signed, nil
}
