package zk

import (
	"encoding/binary"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/zk/circuit/rlwe"
	"credence/zk/circuit/training"
	"credence/zk/fixedpoint"
)

func evaluate(f []fr.Element, x *fr.Element) fr.Element { return rlwe.Evaluate(f, x) }

// equations checks all of an attestation but its pairings: the equations of
// the inner parts, and that of the last.
func (t *Trainer) equations(st *TrainingStatement, a *TrainingAttestation) (inner []*equation, final *equation, err error) {
	n, err := t.check(st)
	if err != nil {
		return nil, nil, err
	}
	if a == nil || len(a.parts) != n {
		return nil, nil, fmt.Errorf("%w: the attestation of %s has not the %d parts that attest %d steps", ErrRejected, st.Scope.Client, n, len(st.Steps))
	}
	whole := st.digest()
	start := new(Commitment)
	for i, p := range a.parts {
		e, err := t.equation(st, whole, i, n, p, start)
		if err != nil {
			return nil, nil, err
		}
		if i == n-1 {
			return inner, e, nil
		}
		inner = append(inner, e)
		start = &p.end
	}
	return nil, nil, fmt.Errorf("%w: an attestation without parts", ErrRejected)
}

func (t *Trainer) equation(st *TrainingStatement, whole fl.Digest, i, n int, p *trainingPart, start *Commitment) (*equation, error) {
	k := t.keys(i, n)
	scope := fl.DigestOf("zk/training-copy/v1", whole[:], number(uint64(i)))
	if err := k.srs.checkCopy(k.shape.Layout, st.Table, &p.copied, scope); err != nil {
		return nil, fmt.Errorf("job %s, round %d, client %s: %w", st.Scope.Job, st.Scope.Round, st.Scope.Client, err)
	}
	statement := p.digest(whole, k.shape.Name(), i, n, start)
	sides := halves(statement)
	r := challengeOf(&p.witness, sides)
	steps := t.steps(st, i, n)
	a := k.shape.NewPublic()
	if err := a.Settings(st.Rows, steps, st.Quantiser); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScope, err)
	}
	copy(a.Statement, sides[:])
	p.settle(a, k.shape, st, steps, statement, &r)
	e := &equation{proof: &p.grothProof, opening: p.opening, public: append(a.Vector, r)}
	points := []*bn254.G1Affine{&p.copied.point}
	if i > 0 {
		points = append(points, start)
	}
	if i < n-1 {
		points = append(points, &p.end)
	} else {
		for j := range st.Messages {
			points = append(points, &st.Messages[j])
		}
	}
	gamma := p.foldChallenge(statement, &r)
	var weight, v fr.Element
	weight.SetOne()
	for j, y := range p.foldedValues() {
		e.opened.add(points[j], &weight)
		e.value.Add(&e.value, v.Mul(&weight, &y))
		weight.Mul(&weight, &gamma)
	}
	return e, nil
}

func (k *TrainingKeys) trainingRelation() *relation {
	return &relation{vk: k.verifying, ped: &k.verifying.CommitmentKeys[0], srs: k.srs}
}

// A TrainingClaim is one client's training attestation with what it should
// say.
type TrainingClaim struct {
	Statement   *TrainingStatement
	Attestation *TrainingAttestation
}

// VerifyTraining checks an attestation against its statement. It returns nil
// only if the statement is proven. That the messages are encrypted, and the
// table registered, is for VerifyUpdate and VerifyTable.
func (t *Trainer) VerifyTraining(st *TrainingStatement, a *TrainingAttestation) error {
	bad, err := t.VerifyTrainings([]TrainingClaim{{Statement: st, Attestation: a}})
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return bad[0].Err
	}
	return nil
}

// VerifyTrainings checks many attestations at once and returns those that do
// not hold, in order.
func (t *Trainer) VerifyTrainings(claims []TrainingClaim) ([]Rejection, error) {
	var out []Rejection
	var inner, final []pendingClaim
	for i, c := range claims {
		if c.Statement == nil {
			out = append(out, Rejection{Index: i, Err: fmt.Errorf("%w: a claim without a statement", ErrScope)})
			continue
		}
		ins, last, err := t.equations(c.Statement, c.Attestation)
		if err != nil {
			out = append(out, Rejection{Index: i, Err: err})
			continue
		}
		reject := func() error {
			return fmt.Errorf("%w: the training of job %s, round %d, client %s", ErrRejected, c.Statement.Scope.Job, c.Statement.Scope.Round, c.Statement.Scope.Client)
		}
		final = append(final, pendingClaim{index: i, rejected: reject, eqs: []*equation{last}})
		if len(ins) > 0 {
			inner = append(inner, pendingClaim{index: i, rejected: reject, eqs: ins})
		}
	}
	named := make(map[int]bool, len(out))
	for _, group := range []struct {
		keys   *TrainingKeys
		claims []pendingClaim
	}{{t.final, final}, {t.inner, inner}} {
		if len(group.claims) == 0 {
			continue
		}
		bad, err := group.keys.trainingRelation().culprits(group.claims)
		if err != nil {
			return nil, err
		}
		for _, b := range bad {
			if !named[b.Index] {
				named[b.Index] = true
				out = append(out, b)
			}
		}
	}
	return inOrder(out), nil
}

// Encoding: a magic, the number of parts, then each in a fixed number of bytes
// for its place.
const trainingMagic = "CZG\x01"

// maxTrainingParts bounds what a foreign attestation makes a party allocate.
const maxTrainingParts = fixedpoint.MaxSteps

func (p *trainingPart) points() []*bn254.G1Affine {
	out := append(p.copied.points(), &p.ar, &p.krs, &p.witness, &p.pok, &p.opening)
	if len(p.atEnd) > 0 {
		out = append(out, &p.end)
	}
	return out
}

func (p *trainingPart) scalars() []*fr.Element {
	out := append(p.copied.scalars(), &p.atTable)
	for _, v := range [][]fr.Element{p.atStart, p.atEnd, p.atMessages} {
		for i := range v {
			out = append(out, &v[i])
		}
	}
	return out
}

func (p *trainingPart) bytes() int {
	return bn254.SizeOfG2AffineCompressed + len(p.points())*bn254.SizeOfG1AffineCompressed + len(p.scalars())*fr.Bytes
}

// Bytes encodes the attestation.
func (a *TrainingAttestation) Bytes() []byte {
	out := binary.LittleEndian.AppendUint32([]byte(trainingMagic), uint32(len(a.parts)))
	for _, p := range a.parts {
		out = appendProof(out, &p.bs, p.points(), p.scalars())
	}
	return out
}

// TrainingBytes is the length of an encoded training attestation of so many
// parts, the last of which is of the shape.
func TrainingBytes(final *training.Shape, parts int) int {
	size := len(trainingMagic) + 4
	for i := range parts {
		size += newTrainingPart(final, i, parts).bytes()
	}
	return size
}

// ParseTraining decodes an attestation strictly: the exact length, every point
// on its curve, in its subgroup and canonical, every scalar reduced. It does
// not verify it.
func (t *Trainer) ParseTraining(b []byte) (*TrainingAttestation, error) {
	const header = len(trainingMagic) + 4
	if len(b) < header || string(b[:len(trainingMagic)]) != trainingMagic {
		return nil, fmt.Errorf("%w: not a training attestation", ErrEncoding)
	}
	n := int(binary.LittleEndian.Uint32(b[len(trainingMagic):]))
	if n < 1 || n > maxTrainingParts || (n > 1) != (t.inner != nil) {
		return nil, fmt.Errorf("%w: a training attestation of %d parts", ErrEncoding, n)
	}
	b = b[header:]
	a := new(TrainingAttestation)
	for i := range n {
		p := newTrainingPart(t.final.shape, i, n)
		size := p.bytes()
		if len(b) < size {
			return nil, fmt.Errorf("%w: part %d of a training attestation has %d bytes, want %d", ErrEncoding, i, len(b), size)
		}
		if err := parseProof(b[:size], &p.bs, p.points(), p.scalars()); err != nil {
			return nil, fmt.Errorf("part %d of a training attestation: %w", i, err)
		}
		a.parts, b = append(a.parts, p), b[size:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after a training attestation", ErrEncoding, len(b))
	}
	return a, nil
}
