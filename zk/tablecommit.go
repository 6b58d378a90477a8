package zk

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/fl/identity"
	"credence/zk/circuit/table"
	"credence/zk/tabular"
)

// Encodings: a magic that names kind and version, then a fixed number of bytes.
const (
	tableCommitmentMagic = "CZD\x01"
	tableSecretMagic     = "CZS\x01"

	// TableCommitmentBytes is the length of an encoded table commitment.
	TableCommitmentBytes = len(tableCommitmentMagic) + bn254.SizeOfG1AffineCompressed + len(fl.Digest{})
	tableSecretBytes     = len(tableSecretMagic) + table.Blinds*fr.Bytes
)

// ID identifies the trapdoor behind the powers, however many there are:
// commitments under two SRS of one ID are to the same polynomials.
func (s *SRS) ID() fl.Digest {
	t2 := s.t2.Bytes()
	return fl.DigestOf("zk/srs-id/v1", t2[:])
}

// A TableCommitment is a node's public promise of one table: a hiding KZG
// commitment to its cells, and the SRS that it was made under. It shows
// nothing of the table, not even its size. It is comparable.
type TableCommitment struct {
	point bn254.G1Affine
	srs   fl.Digest
}

// Bytes encodes the commitment in TableCommitmentBytes bytes.
func (c *TableCommitment) Bytes() []byte {
	p := c.point.Bytes()
	return append(append([]byte(tableCommitmentMagic), p[:]...), c.srs[:]...)
}

// Digest identifies the commitment.
func (c *TableCommitment) Digest() fl.Digest { return fl.DigestOf("zk/table/v1", c.Bytes()) }

// ParseTableCommitment decodes Bytes strictly: the exact length, a point of
// the curve in its one encoding, and not the point at infinity, which no
// blinded commitment is.
func ParseTableCommitment(b []byte) (*TableCommitment, error) {
	if len(b) != TableCommitmentBytes || string(b[:len(tableCommitmentMagic)]) != tableCommitmentMagic {
		return nil, fmt.Errorf("%w: not a table commitment", ErrEncoding)
	}
	b = b[len(tableCommitmentMagic):]
	c := new(TableCommitment)
	if err := parseG1(b[:bn254.SizeOfG1AffineCompressed], &c.point); err != nil {
		return nil, fmt.Errorf("table commitment: %w", err)
	}
	if c.point.IsInfinity() {
		return nil, fmt.Errorf("%w: a table commitment to nothing", ErrEncoding)
	}
	copy(c.srs[:], b[bn254.SizeOfG1AffineCompressed:])
	return c, nil
}

// A TableSecret is the blinding of a table commitment. Together with the table
// it opens the commitment, and without it nobody, the node included, can prove
// anything of the table again: keep it as long as the job runs. With it, a
// guess of the whole table can be checked against the commitment.
type TableSecret struct{ blind [table.Blinds]fr.Element }

// Bytes encodes the secret for a file that only the node reads.
func (s *TableSecret) Bytes() []byte {
	out := []byte(tableSecretMagic)
	for i := range s.blind {
		b := s.blind[i].Bytes()
		out = append(out, b[:]...)
	}
	return out
}

// ParseTableSecret decodes Bytes strictly. Its errors quote nothing.
func ParseTableSecret(b []byte) (*TableSecret, error) {
	if len(b) != tableSecretBytes || string(b[:len(tableSecretMagic)]) != tableSecretMagic {
		return nil, fmt.Errorf("%w: not the secret of a table commitment", ErrEncoding)
	}
	s := new(TableSecret)
	b = b[len(tableSecretMagic):]
	for i := range s.blind {
		if err := s.blind[i].SetBytesCanonical(b[i*fr.Bytes : (i+1)*fr.Bytes]); err != nil {
			s.Erase()
			return nil, fmt.Errorf("%w: the secret of a table commitment is damaged", ErrEncoding)
		}
	}
	return s, nil
}

// Save writes the secret to a file that only its owner can read.
func (s *TableSecret) Save(path string) error {
	b := s.Bytes()
	defer clear(b)
	return wrap("keeping the secret of a table commitment", identity.WriteFile(path, b))
}

// LoadTableSecret reads a file that Save wrote. It refuses one that others may
// read.
func LoadTableSecret(path string) (*TableSecret, error) {
	b, err := identity.ReadSecret(path)
	if err != nil {
		return nil, fmt.Errorf("zk: reading the secret of a table commitment: %w", err)
	}
	defer clear(b)
	s, err := ParseTableSecret(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Erase overwrites the secret.
func (s *TableSecret) Erase() { clear(s.blind[:]) }

// String and GoString keep the secret out of logs.
func (s *TableSecret) String() string { return "zk.TableSecret(hidden)" }

// GoString is String.
func (s *TableSecret) GoString() string { return s.String() }

// CommitTable commits to a well-formed table with fresh blinding.
func (s *SRS) CommitTable(t *tabular.Table) (*TableCommitment, *TableSecret, error) {
	if err := t.Check(); err != nil {
		return nil, nil, fmt.Errorf("zk: committing to a table: %w", err)
	}
	secret := new(TableSecret)
	for i := range secret.blind {
		if _, err := secret.blind[i].SetRandom(); err != nil {
			return nil, nil, fmt.Errorf("zk: drawing a blinding: %w", err)
		}
	}
	point, err := s.tablePoint(t, secret)
	if err != nil {
		return nil, nil, err
	}
	return &TableCommitment{point: point, srs: s.ID()}, secret, nil
}

func (s *SRS) tablePoint(t *tabular.Table, secret *TableSecret) (Commitment, error) {
	f := table.Polynomial(t, secret.blind)
	defer clear(f)
	return s.commit(f)
}

// CheckTable reports ErrCommitment when a table is not the one behind a
// commitment: what a node asks itself when it has read its files again.
func (s *SRS) CheckTable(t *tabular.Table, secret *TableSecret, c *TableCommitment) error {
	if err := t.Check(); err != nil {
		return fmt.Errorf("zk: a committed table: %w", err)
	}
	if err := s.issued(c); err != nil {
		return err
	}
	point, err := s.tablePoint(t, secret)
	if err != nil {
		return err
	}
	if !point.Equal(&c.point) {
		return fmt.Errorf("%w: the data, their schema or their quantisation changed since the node committed to them", ErrCommitment)
	}
	return nil
}

// issued reports ErrKeys when a commitment was made under another SRS.
func (s *SRS) issued(c *TableCommitment) error {
	if c.srs != s.ID() {
		return fmt.Errorf("%w: the table is committed to under SRS %s, these keys are of %s: use keys of one set-up",
			ErrKeys, c.srs.Short(), s.ID().Short())
	}
	return nil
}
