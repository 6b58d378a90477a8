package zk

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/zk/circuit/rlwe"
	"credence/zk/circuit/table"
	"credence/zk/tabular"
)

// A TableScope says whose table, for which job, an attestation is about.
type TableScope struct {
	Genesis fl.Digest
	Job     fl.JobID
	Node    fl.NodeID
	Spec    fl.Digest // tabular.Spec.Digest: layout, schema and quantisation
}

// Scope is the scope of a node's table in a job. It reports ErrScope for a
// specification of another layout than the keys'.
func (k *TableKeys) Scope(genesis fl.Digest, job fl.JobID, node fl.NodeID, spec tabular.Spec) (TableScope, error) {
	if err := spec.Check(); err != nil {
		return TableScope{}, fmt.Errorf("%w: %w", ErrScope, err)
	}
	if spec.Layout != k.shape.Layout {
		return TableScope{}, fmt.Errorf("%w: a job with tables %s under keys of %s", ErrScope, spec.Layout.Name(), k.shape.Name())
	}
	s := TableScope{Genesis: genesis, Job: job, Node: node, Spec: spec.Digest()}
	return s, s.check()
}

func (s *TableScope) check() error {
	if s.Genesis.IsZero() || s.Spec.IsZero() || s.Job == "" || s.Node == "" {
		return fmt.Errorf("%w: genesis, job, node and table specification must be named", ErrScope)
	}
	return nil
}

func (s *TableScope) digest(shape string) fl.Digest {
	return fl.DigestOf("zk/table-scope/v1", []byte(shape), s.Genesis[:], []byte(s.Job), []byte(s.Node), s.Spec[:])
}

// A TableStatement is what a table attestation says: the table behind the
// commitment has the layout of the keys and this many rows and, with keys for
// validation, is within the limits.
type TableStatement struct {
	Scope      TableScope
	Commitment *TableCommitment
	Rows       int
	Limits     *tabular.Limits // nil for registration
}

// A TableAttestation is a proof of a TableStatement. It shows nothing else.
type TableAttestation struct {
	relation table.Relation
	copied   tableCopy
	grothProof
	opening bn254.G1Affine // KZG, the copy at the challenge
	value   fr.Element     // T(r)
}

// Relation says which of the two relations is attested.
func (a *TableAttestation) Relation() table.Relation { return a.relation }

func (k *TableKeys) checkStatement(st *TableStatement) error {
	if err := st.Scope.check(); err != nil {
		return err
	}
	l := k.shape.Layout
	switch {
	case st.Commitment == nil:
		return fmt.Errorf("%w: a table statement without a commitment", ErrScope)
	case st.Rows < 1 || st.Rows > l.Rows:
		return fmt.Errorf("%w: %d rows, tables of %s hold 1 to %d", ErrScope, st.Rows, l.Name(), l.Rows)
	case (k.shape.Relation == table.Validation) != (st.Limits != nil):
		return fmt.Errorf("%w: limits are for keys for validation and for no others, these are %s", ErrScope, k.shape.Name())
	}
	if st.Limits != nil {
		if err := l.CheckLimits(st.Rows, *st.Limits); err != nil {
			return fmt.Errorf("%w: %w", ErrScope, err)
		}
	}
	return k.srs.issued(st.Commitment)
}

// digest binds everything that the challenge must come after.
func (st *TableStatement) digest(shape string, c *tableCopy) fl.Digest {
	scope := st.Scope.digest(shape)
	point := c.point.Bytes()
	fields := [][]byte{scope[:], st.Commitment.Bytes(), number(uint64(st.Rows)), point[:]}
	if st.Limits != nil {
		limits := st.Limits.Digest()
		fields = append(fields, limits[:])
	}
	return fl.DigestOf("zk/table-proof/v1", fields...)
}

// public lists the public inputs in the circuit's order, then the challenge.
func (k *TableKeys) public(st *TableStatement, halves [2]fr.Element, value, r *fr.Element) []fr.Element {
	var rows fr.Element
	rows.SetUint64(uint64(st.Rows))
	out := []fr.Element{halves[0], halves[1], rows, *value}
	if st.Limits != nil {
		out = append(out, table.LimitsAt(*st.Limits, r))
	}
	return append(out, *r)
}

// ProveTable attests a statement about the committed table. The secret is that
// of the commitment. It returns ErrCommitment when table and commitment do not
// belong together, and tabular.ErrTable, without a figure of the data, when
// the table does not satisfy the statement.
func (k *TableKeys) ProveTable(st *TableStatement, t *tabular.Table, secret *TableSecret) (*TableAttestation, error) {
	if err := k.checkStatement(st); err != nil {
		return nil, err
	}
	if !k.CanProve() {
		return nil, fmt.Errorf("%w: %s: the proving half is missing", ErrKeys, k.shape.Name())
	}
	if t.Used != st.Rows {
		return nil, fmt.Errorf("%w: %w: the statement says %d rows, the table has %d", ErrWitness, tabular.ErrTable, st.Rows, t.Used)
	}
	if err := k.srs.CheckTable(t, secret, st.Commitment); err != nil {
		return nil, err
	}
	copied, err := k.srs.copyTable(k.shape.Layout, st.Commitment, secret, st.Scope.digest(k.shape.Name()))
	if err != nil {
		return nil, err
	}
	defer copied.Erase()
	return k.proveCopy(st, t, copied)
}

// proveCopy attests the statement by opening one copy of the commitment.
func (k *TableKeys) proveCopy(st *TableStatement, t *tabular.Table, copied *TableCopy) (*TableAttestation, error) {
	a := k.shape.NewAssignment()
	defer a.Erase()
	var limits tabular.Limits
	if st.Limits != nil {
		limits = *st.Limits
	}
	if err := a.Fill(t, copied.secret.blind, limits); err != nil {
		return nil, fmt.Errorf("zk: proving %s: %w", k.shape.Name(), err)
	}
	out := &TableAttestation{relation: k.shape.Relation, copied: copied.tableCopy}
	sides := halves(st.digest(k.shape.Name(), &out.copied))
	copy(a.Statement, sides[:])
	pass, err := k.begin(a.Vector, sides)
	if err != nil {
		return nil, err
	}
	f := table.Polynomial(t, copied.secret.blind)
	defer clear(f)
	out.value = rlwe.Evaluate(f, &pass.r)
	*a.Value = out.value
	if st.Limits != nil {
		a.Bounds[0] = table.LimitsAt(limits, &pass.r)
	}
	proof, err := k.finish(a.Vector, pass)
	if err != nil {
		return nil, err
	}
	out.grothProof = *proof
	if out.opening, err = k.srs.open(f, &pass.r); err != nil {
		return nil, err
	}
	return out, nil
}

// VerifyTable checks an attestation against its statement. It returns nil only
// if the table behind the commitment satisfies it.
func (k *TableKeys) VerifyTable(st *TableStatement, a *TableAttestation) error {
	e, err := k.tableEquation(st, a)
	if err != nil {
		return err
	}
	ok, err := k.tableRelation().accepts([]*equation{e})
	if err != nil {
		return err
	}
	if !ok {
		return st.rejected()
	}
	return nil
}

func (st *TableStatement) rejected() error {
	return fmt.Errorf("%w: job %s, the table of %s", ErrRejected, st.Scope.Job, st.Scope.Node)
}

func (k *TableKeys) tableRelation() *relation {
	return &relation{vk: k.verifying, ped: &k.verifying.CommitmentKeys[0], srs: k.srs}
}

// tableEquation checks all but the pairings.
func (k *TableKeys) tableEquation(st *TableStatement, a *TableAttestation) (*equation, error) {
	if a == nil || a.relation != k.shape.Relation {
		return nil, fmt.Errorf("%w: an attestation of another relation than %s", ErrRejected, k.shape.Relation)
	}
	if err := k.checkStatement(st); err != nil {
		return nil, err
	}
	if err := k.srs.checkCopy(k.shape.Layout, st.Commitment, &a.copied, st.Scope.digest(k.shape.Name())); err != nil {
		return nil, fmt.Errorf("job %s, the table of %s: %w", st.Scope.Job, st.Scope.Node, err)
	}
	sides := halves(st.digest(k.shape.Name(), &a.copied))
	r := challengeOf(&a.witness, sides)
	e := &equation{proof: &a.grothProof, opening: a.opening, public: k.public(st, sides, &a.value, &r), value: a.value}
	var one fr.Element
	e.opened.add(&a.copied.point, one.SetOne())
	return e, nil
}

// A TableClaim is one node's table attestation with what it should say.
type TableClaim struct {
	Statement   *TableStatement
	Attestation *TableAttestation
}

// VerifyTables checks many attestations under one key at once and returns
// those that do not hold, in order.
func (k *TableKeys) VerifyTables(claims []TableClaim) ([]Rejection, error) {
	var out []Rejection
	var pending []pendingClaim
	for i, c := range claims {
		e, err := k.tableEquation(c.Statement, c.Attestation)
		if err != nil {
			out = append(out, Rejection{Index: i, Err: err})
			continue
		}
		pending = append(pending, pendingClaim{index: i, rejected: c.Statement.rejected, eqs: []*equation{e}})
	}
	bad, err := k.tableRelation().culprits(pending)
	if err != nil {
		return nil, err
	}
	return inOrder(append(out, bad...)), nil
}

// Encoding: a magic that names relation and version, then the proof in a fixed
// number of bytes.
const (
	registrationMagic = "CZT\x01"
	validationMagic   = "CZV\x01"
)

func (a *TableAttestation) points() []*bn254.G1Affine {
	return append(a.copied.points(), &a.ar, &a.krs, &a.witness, &a.pok, &a.opening)
}

func (a *TableAttestation) scalars() []*fr.Element { return append(a.copied.scalars(), &a.value) }

// TableAttestationBytes is the length of an encoded table attestation.
const TableAttestationBytes = 4 + bn254.SizeOfG2AffineCompressed + 7*bn254.SizeOfG1AffineCompressed + 3*fr.Bytes

// Bytes encodes the attestation in TableAttestationBytes bytes.
func (a *TableAttestation) Bytes() []byte {
	out := make([]byte, 0, TableAttestationBytes)
	if a.relation == table.Validation {
		out = append(out, validationMagic...)
	} else {
		out = append(out, registrationMagic...)
	}
	return appendProof(out, &a.bs, a.points(), a.scalars())
}

// ParseTableAttestation decodes Bytes as strictly as ParseAttestation. It does
// not verify the attestation.
func ParseTableAttestation(b []byte) (*TableAttestation, error) {
	a := new(TableAttestation)
	if len(b) != TableAttestationBytes {
		return nil, fmt.Errorf("%w: a table attestation of %d bytes, want %d", ErrEncoding, len(b), TableAttestationBytes)
	}
	switch magic := string(b[:4]); magic {
	case registrationMagic:
		a.relation = table.Registration
	case validationMagic:
		a.relation = table.Validation
	default:
		return nil, fmt.Errorf("%w: not a table attestation", ErrEncoding)
	}
	if err := parseProof(b[4:], &a.bs, a.points(), a.scalars()); err != nil {
		return nil, fmt.Errorf("table attestation: %w", err)
	}
	return a, nil
}
