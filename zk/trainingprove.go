package zk

import (
	"context"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/zk/circuit/table"
	"credence/zk/circuit/training"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// Train computes the values of a statement: what a node encrypts, a parameter
// each. It needs no keys and is what ProveTraining repeats.
func (st *TrainingStatement) Train(m fixedpoint.Model, t *tabular.Table) ([]int32, error) {
	_, q, err := st.train(m, t)
	if err != nil {
		return nil, err
	}
	return q.Values, nil
}

func (st *TrainingStatement) train(m fixedpoint.Model, t *tabular.Table) (*fixedpoint.Run, *fixedpoint.Quantised, error) {
	if t.Used != st.Rows {
		return nil, nil, fmt.Errorf("%w: the statement says %d rows, the table has %d", ErrWitness, st.Rows, t.Used)
	}
	run, err := m.Train(t, st.Base, st.Steps)
	if err != nil {
		return nil, nil, fmt.Errorf("zk: training: %w", err)
	}
	q, err := st.Quantiser.Quantise(st.Base, run.End(), st.Noise)
	if err != nil {
		return nil, nil, fmt.Errorf("zk: training: %w", err)
	}
	return run, q, nil
}

// ProveTraining attests a statement. The secret is that of the table's
// commitment; the link is what ProveUpdate filled when it attested the
// encryption of the values, under the same scope. It returns ErrCommitment
// when table, commitment, messages and link do not belong together, and an
// error of package fixedpoint when training leaves its ranges.
func (t *Trainer) ProveTraining(ctx context.Context, st *TrainingStatement, data *tabular.Table, secret *TableSecret, link *Link, progress Progress) (*TrainingAttestation, error) {
	n, err := t.check(st)
	if err != nil {
		return nil, err
	}
	if !t.CanProve() {
		return nil, fmt.Errorf("%w: %s: the proving half is missing", ErrKeys, t.final.shape.Name())
	}
	if err := t.SRS().CheckTable(data, secret, st.Table); err != nil {
		return nil, err
	}
	if data.Layout != t.final.shape.Layout {
		return nil, fmt.Errorf("%w: a table of %s for keys of %s", ErrKeys, data.Layout.Name(), t.final.shape.Name())
	}
	run, quantised, err := st.train(t.final.shape.Model, data)
	if err != nil {
		return nil, err
	}
	messages, figures, err := t.checkLink(st, quantised, link)
	if err != nil {
		return nil, err
	}
	defer func() {
		for i := range messages {
			clear(messages[i])
		}
	}()

	out := &TrainingAttestation{parts: make([]*trainingPart, n)}
	statement := st.digest()
	var start training.Masks // of the weights that the part starts from
	startPoint := new(Commitment)
	done := 0
	for i := range n {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("zk: proving a training: %w", err)
		}
		progress.report("proving training", i, n)
		steps := len(t.steps(st, i, n))
		part := &fixedpoint.Run{Model: run.Model, Table: run.Table, Start: run.Steps[done].Start, Steps: run.Steps[done : done+steps]}
		w := &training.Witness{Run: part}
		w.Masks.Start = start.End
		if i == n-1 {
			w.Base, w.Quantised, w.Figures = st.Base, quantised, figures
			for _, shard := range link.shards {
				w.Masks.Messages = append(w.Masks.Messages, shard.masks)
			}
		} else {
			for j := range w.Masks.End {
				if _, err := w.Masks.End[j].SetRandom(); err != nil {
					return nil, fmt.Errorf("zk: drawing masks of weights: %w", err)
				}
			}
		}
		proof, err := t.provePart(st, statement, i, n, w, secret, startPoint, messages)
		if err != nil {
			return nil, err
		}
		out.parts[i] = proof
		start, startPoint = w.Masks, &proof.end
		done += steps
	}
	progress.report("proving training", n, n)
	return out, nil
}

// checkLink compares the linked values with the training's, and returns the
// messages' polynomials and the figures that stand before the values.
func (t *Trainer) checkLink(st *TrainingStatement, q *fixedpoint.Quantised, link *Link) (messages [][]fr.Element, figures [][]int32, err error) {
	s := t.final.shape
	if link == nil || len(link.shards) != len(s.Shards) {
		return nil, nil, fmt.Errorf("%w: no link to the encryption of all %d shards", ErrCommitment, len(s.Shards))
	}
	for k, shard := range s.Shards {
		v := link.shards[k].values
		if len(v) < fl.MetricSlots+shard.Length {
			return nil, nil, fmt.Errorf("%w: shard %d was encrypted with %d values, want %d", ErrCommitment, k, len(v), fl.MetricSlots+shard.Length)
		}
		for i, x := range v[fl.MetricSlots:] {
			if i < shard.Length && x != q.Values[shard.Offset+i] || i >= shard.Length && x != 0 {
				return nil, nil, fmt.Errorf("%w: shard %d: the encrypted values are not the training's", ErrCommitment, k)
			}
		}
		figures = append(figures, v[:fl.MetricSlots])
		m := training.Message(v, s.N, s.Digits, s.SlotBits, link.shards[k].masks[:])
		messages = append(messages, m)
		point, err := t.SRS().commit(m)
		if err != nil {
			return nil, nil, err
		}
		if !point.Equal(&st.Messages[k]) {
			return nil, nil, fmt.Errorf("%w: shard %d: the link is not that of the statement's message", ErrCommitment, k)
		}
	}
	return messages, figures, nil
}

// provePart makes proof i of n.
func (t *Trainer) provePart(st *TrainingStatement, whole fl.Digest, i, n int, w *training.Witness, secret *TableSecret, start *Commitment, messages [][]fr.Element) (*trainingPart, error) {
	k := t.keys(i, n)
	s := k.shape
	p := newTrainingPart(s, i, n)
	scope := fl.DigestOf("zk/training-copy/v1", whole[:], number(uint64(i)))
	copied, err := k.srs.copyTable(s.Layout, st.Table, secret, scope)
	if err != nil {
		return nil, err
	}
	defer copied.Erase()
	p.copied = copied.tableCopy
	w.Masks.Blind = copied.secret.blind
	startPoly := training.WeightPolynomial(w.Run.Start, w.Masks.Start[:])
	endPoly := training.WeightPolynomial(w.Run.End(), w.Masks.End[:])
	tablePoly := table.Polynomial(w.Run.Table, copied.secret.blind)
	defer func() { clear(startPoly); clear(endPoly); clear(tablePoly) }()
	if i < n-1 {
		if p.end, err = k.srs.commit(endPoly); err != nil {
			return nil, err
		}
	}

	a := s.NewAssignment()
	defer a.Erase()
	if err := a.Fill(w, st.Quantiser); err != nil {
		return nil, fmt.Errorf("zk: proving %s: %w", s.Name(), err)
	}
	statement := p.digest(whole, s.Name(), i, n, start)
	sides := halves(statement)
	copy(a.Statement, sides[:])
	pass, err := k.begin(a.Vector, sides)
	if err != nil {
		return nil, err
	}
	opened := [][]fr.Element{tablePoly}
	p.atTable = evaluate(tablePoly, &pass.r)
	if i > 0 {
		p.atStart[0] = evaluate(startPoly, &pass.r)
		opened = append(opened, startPoly)
	}
	if i < n-1 {
		p.atEnd[0] = evaluate(endPoly, &pass.r)
		opened = append(opened, endPoly)
	} else {
		for j := range messages {
			p.atMessages[j] = evaluate(messages[j], &pass.r)
		}
		opened = append(opened, messages...)
	}
	p.settle(a, s, st, t.steps(st, i, n), statement, &pass.r)
	folded := make([]fr.Element, s.Powers())
	defer clear(folded)
	gamma := p.foldChallenge(statement, &pass.r)
	var weight, v fr.Element
	weight.SetOne()
	for _, f := range opened {
		for j := range f {
			folded[j].Add(&folded[j], v.Mul(&f[j], &weight))
		}
		weight.Mul(&weight, &gamma)
	}
	var proof *grothProof
	if err := concurrently(
		func() (err error) { proof, err = k.finish(a.Vector, pass); return err },
		func() (err error) { p.opening, err = k.srs.open(folded, &pass.r); return err },
	); err != nil {
		return nil, err
	}
	p.grothProof = *proof
	return p, nil
}
