package zk

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/consensys/gnark-crypto/ecc/bn254"
)

// A Claim is one client's attestation with what it should be about.
type Claim struct {
	Scope       *Scope
	Attestation *Attestation
}

// A Rejection names a claim of a batch that does not hold, by its position.
type Rejection struct {
	Index int
	Err   error
}

// batchShards is how many proofs are held before they are checked together:
// enough that the shared work is small, few enough that memory stays constant.
const batchShards = 256

// VerifyUpdate checks one attestation against its scope. It returns nil only
// if every shard is proven and the total norm is within the scope's bound.
func (k *Keys) VerifyUpdate(scope *Scope, key *EpochKey, att *Attestation) error {
	eqs, err := k.updateEquations(scope, key, att)
	if err != nil {
		return err
	}
	ok, err := k.relation(key.points).accepts(eqs)
	if err != nil {
		return err
	}
	if !ok {
		return rejected(scope)
	}
	return nil
}

func rejected(scope *Scope) error {
	return fmt.Errorf("%w: job %s, round %d, client %s", ErrRejected, scope.Job, scope.Round, scope.Client)
}

// updateEquations prepares the proofs of one update.
func (k *Keys) updateEquations(scope *Scope, key *EpochKey, att *Attestation) ([]*equation, error) {
	if att == nil || att.shape.Name != k.system.Shape.Name {
		return nil, fmt.Errorf("%w: an attestation of another circuit than %s", ErrRejected, k.system.Shape.Name)
	}
	if err := k.checkUpdate(scope, key, len(att.proofs)); err != nil {
		return nil, err
	}
	v := k.relation(key.points)
	eqs := make([]*equation, len(att.proofs))
	for i, p := range att.proofs {
		var total bn254.G1Affine
		if i == len(att.proofs)-1 {
			total = att.total()
		}
		eqs[i] = v.equation(p, scope.digest(k.system.Shape.Name, i, p, &total), total, scope.Bound)
	}
	return eqs, nil
}

// VerifyUpdates checks many attestations under one epoch key and returns those
// that do not hold, in order. It takes them one by one and keeps at most a
// fixed number of proofs, so its memory does not grow with their number. When a
// batch fails, halving it finds the culprits.
func (k *Keys) VerifyUpdates(key *EpochKey, claims iter.Seq[Claim]) ([]Rejection, error) {
	var (
		out     []Rejection
		pending []pendingClaim
		held    int
		index   int
		failed  error
	)
	v := k.relation(key.points)
	flush := func() {
		bad, err := v.culprits(pending)
		out = append(out, bad...)
		pending, held, failed = pending[:0], 0, err
	}
	for c := range claims {
		eqs, err := k.updateEquations(c.Scope, key, c.Attestation)
		if err != nil {
			out = append(out, Rejection{Index: index, Err: err})
		} else {
			pending = append(pending, pendingClaim{index: index, rejected: func() error { return rejected(c.Scope) }, eqs: eqs})
			held += len(eqs)
		}
		index++
		if held >= batchShards {
			if flush(); failed != nil {
				return nil, failed
			}
		}
	}
	if flush(); failed != nil {
		return nil, failed
	}
	return inOrder(out), nil
}

// inOrder sorts rejections: claims that never reached a batch were noted
// before those that did.
func inOrder(out []Rejection) []Rejection {
	slices.SortFunc(out, func(a, b Rejection) int { return cmp.Compare(a.Index, b.Index) })
	return out
}

type pendingClaim struct {
	index    int
	rejected func() error
	eqs      []*equation
}

// culprits finds the claims that fail: one check if there are none, about
// log2(n) more for each.
func (v *relation) culprits(claims []pendingClaim) ([]Rejection, error) {
	var eqs []*equation
	for _, c := range claims {
		eqs = append(eqs, c.eqs...)
	}
	ok, err := v.accepts(eqs)
	if err != nil || ok {
		return nil, err
	}
	if len(claims) == 1 {
		return []Rejection{{Index: claims[0].index, Err: claims[0].rejected()}}, nil
	}
	left, err := v.culprits(claims[:len(claims)/2])
	if err != nil {
		return nil, err
	}
	right, err := v.culprits(claims[len(claims)/2:])
	return append(left, right...), err
}
