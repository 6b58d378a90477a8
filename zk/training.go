package zk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/zk/circuit/training"
	"credence/zk/fixedpoint"
)

// A TrainingStatement is what a training attestation says: the values under
// Messages are what Quantiser and Noise make of the change from Base to the
// result of Steps from Base on the table behind Table, which has Rows rows.
// The table must be registered (a TableStatement of registration with the same
// commitment and rows); that attestation shows what this one rests on, the
// form and the ranges of the cells.
type TrainingStatement struct {
	Scope     *Scope
	Table     *TableCommitment
	Rows      int
	Base      []int32 // fixedpoint.Model.Weights of the global model
	Steps     []fixedpoint.Step
	Quantiser fixedpoint.Quantiser
	Noise     []uint32
	// Messages are those of a linked attestation of the same scope
	// (Attestation.Messages), which binds them to ciphertexts.
	Messages []Commitment
}

// Messages are the commitments to the values of an update, a shard each; nil
// for an attestation that is not linked.
func (a *Attestation) Messages() []Commitment {
	if !a.shape.Link {
		return nil
	}
	out := make([]Commitment, len(a.proofs))
	for i, p := range a.proofs {
		out[i] = p.link
	}
	return out
}

// check refuses a statement that is incomplete, outside the bounds of the
// circuit or of other keys. It returns the number of parts.
func (t *Trainer) check(st *TrainingStatement) (int, error) {
	if st.Scope == nil || st.Table == nil {
		return 0, fmt.Errorf("%w: a training statement without scope or table", ErrScope)
	}
	if err := st.Scope.check(); err != nil {
		return 0, err
	}
	s := t.final.shape
	params := s.Model.Parameters()
	if len(st.Base) != params || len(st.Noise) != params {
		return 0, fmt.Errorf("%w: %d weights and %d of noise, %s has %d parameters", ErrScope, len(st.Base), len(st.Noise), s.Name(), params)
	}
	if err := fixedpoint.CheckWeights(st.Base); err != nil {
		return 0, fmt.Errorf("%w: the global model: %w", ErrScope, err)
	}
	for i, x := range st.Noise {
		if x >= 1<<fixedpoint.NoiseBits {
			return 0, fmt.Errorf("%w: noise %d has more than %d bits", ErrScope, i, fixedpoint.NoiseBits)
		}
	}
	if len(st.Messages) != len(s.Shards) || len(st.Scope.Shards) != len(s.Shards) {
		return 0, fmt.Errorf("%w: %d messages and %d assigned shards: a training covers all %d", ErrScope, len(st.Messages), len(st.Scope.Shards), len(s.Shards))
	}
	// The shards of one group where a robust rule divides the cohort.
	first := st.Scope.Shards[0]
	for i, x := range st.Scope.Shards {
		if x != first+i || first%len(s.Shards) != 0 {
			return 0, fmt.Errorf("%w: shards %v: a training covers all %d of a group", ErrScope, st.Scope.Shards, len(s.Shards))
		}
	}
	if err := t.final.srs.issued(st.Table); err != nil {
		return 0, err
	}
	return t.parts(len(st.Steps))
}

// steps are those of part i of n.
func (t *Trainer) steps(st *TrainingStatement, i, n int) []fixedpoint.Step {
	if i == n-1 {
		return st.Steps[len(st.Steps)-t.final.shape.Steps:]
	}
	per := t.inner.shape.Steps
	return st.Steps[i*per : (i+1)*per]
}

// digest binds everything but the parts' own commitments.
func (st *TrainingStatement) digest() fl.Digest {
	s := st.Scope
	ints := func(v []int32) []byte {
		out := make([]byte, 0, 4*len(v))
		for _, x := range v {
			out = binary.LittleEndian.AppendUint32(out, uint32(x))
		}
		return out
	}
	var noise, steps, messages []byte
	for _, x := range st.Noise {
		noise = binary.LittleEndian.AppendUint32(noise, x)
	}
	for _, x := range st.Steps {
		// All rows is not the empty batch, which no step has.
		steps = append(append(steps, number(x.Rate)...), number(uint64(len(x.Batch)))...)
		for _, row := range x.Batch {
			steps = append(steps, number(uint64(row))...)
		}
	}
	for i := range st.Messages {
		b := st.Messages[i].Bytes()
		messages = append(messages, b[:]...)
	}
	q := st.Quantiser
	return fl.DigestOf("zk/training/v1",
		s.Genesis[:], []byte(s.Job), number(s.Round), s.Plan[:], s.EpochKey[:], []byte(s.Client), number(uint64(s.Shards[0])), number(s.Bound),
		st.Table.Bytes(), number(uint64(st.Rows)), ints(st.Base), steps,
		number(q.Factor), number(uint64(q.Limit)), number(q.NormSquare), noise, messages)
}

// A trainingPart is one proof of a chain.
type trainingPart struct {
	copied tableCopy
	grothProof
	opening bn254.G1Affine // KZG, everything committed at the challenge
	end     bn254.G1Affine // to the weights it ends in; all parts but the last

	atTable    fr.Element
	atStart    []fr.Element // all parts but the first
	atEnd      []fr.Element // all parts but the last
	atMessages []fr.Element // the last part
}

// newTrainingPart makes room for part i of n.
func newTrainingPart(s *training.Shape, i, n int) *trainingPart {
	p := new(trainingPart)
	if i > 0 {
		p.atStart = make([]fr.Element, 1)
	}
	if i < n-1 {
		p.atEnd = make([]fr.Element, 1)
	} else {
		p.atMessages = make([]fr.Element, len(s.Shards))
	}
	return p
}

// digest binds a part's place and its commitments to the statement.
func (p *trainingPart) digest(statement fl.Digest, shape string, place, parts int, start *Commitment) fl.Digest {
	point := p.copied.point.Bytes()
	fields := [][]byte{statement[:], []byte(shape), number(uint64(place)), number(uint64(parts)), point[:]}
	for _, c := range []*Commitment{start, &p.end} { // the point at infinity where there is none
		b := c.Bytes()
		fields = append(fields, b[:])
	}
	return fl.DigestOf("zk/training-part/v1", fields...)
}

// A TrainingAttestation is a proof of a TrainingStatement: one part, or
// several, each of which starts from the weights that the one before ends in.
type TrainingAttestation struct{ parts []*trainingPart }

// Parts is the number of proofs.
func (a *TrainingAttestation) Parts() int { return len(a.parts) }

// settle sets the public inputs that a verifier computes or sees opened.
func (p *trainingPart) settle(a *training.Assignment, s *training.Shape, st *TrainingStatement, steps []fixedpoint.Step, statement fl.Digest, r *fr.Element) {
	*a.Fold = training.Fold(statement, r)
	*a.Table = p.atTable
	at := func(into []fr.Element, f func() []fr.Element) {
		if len(into) > 0 {
			into[0] = evaluate(f(), r)
		}
	}
	base := func() []fr.Element { return training.WeightPolynomial(st.Base, nil) }
	at(a.Base, base)
	at(a.Noise, func() []fr.Element { return training.NoisePolynomial(st.Noise) })
	at(a.Batches, func() []fr.Element { return s.BatchPolynomial(steps, st.Rows) })
	if len(p.atStart) == 0 {
		at(a.Start, base) // the first part of a chain starts from the public model
	}
	copy(a.Start, p.atStart)
	copy(a.End, p.atEnd)
	copy(a.Messages, p.atMessages)
}

// foldedValues lists what is opened, in the order of foldedPoints.
func (p *trainingPart) foldedValues() []fr.Element {
	return slices.Concat([]fr.Element{p.atTable}, p.atStart, p.atEnd, p.atMessages)
}

// foldChallenge is the KZG batching challenge: it comes after all claimed
// values.
func (p *trainingPart) foldChallenge(statement fl.Digest, r *fr.Element) fr.Element {
	b := r.Bytes()
	fields := [][]byte{statement[:], b[:]}
	for _, v := range p.foldedValues() {
		b := v.Bytes()
		fields = append(fields, b[:])
	}
	d := fl.DigestOf("zk/training-kzg-fold/v1", fields...)
	var out fr.Element
	out.SetBytes(d[:])
	return out
}
