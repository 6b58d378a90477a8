package rlwe

import (
	"testing"

	"credence/he"
)

var allConstraints = []Constraint{
	CheckTernary, CheckError, CheckQuotient, CheckDigits, CheckRow0, CheckRow1, CheckPartial, CheckTotal, CheckBound,
	CommitWitness, CommitCounts, CommitMasks, CommitPartial, CommitTotal, CommitIdentity,
}

func TestHonestWitnessIsAccepted(t *testing.T) {
	for _, name := range []string{tiny1, tiny4} {
		in := honest(t, name)
		sys := compile(t, in.shape)
		t.Log(sys.Shape.Name, sys.Constraints())
		if err := in.try(t, sys, nil, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// In every circuit that is used, all that the prover chooses is fixed before
// the challenge, and so is the statement.
func TestEverySecretIsCommitted(t *testing.T) {
	for _, name := range he.Names() {
		for _, shapeOf := range []func(*he.Suite) (*Shape, error){UpdateShape, KeyShareShape} {
			sh, err := shapeOf(suite(t, name))
			if err != nil {
				t.Fatal(err)
			}
			sys := compile(t, sh)
			if w := sys.Uncommitted(); len(w) > 0 {
				t.Errorf("%s: %d secret inputs are not under the commitment, the first is wire %d", sh.Name, len(w), w[0])
			}
			got := sys.CommittedPublic()
			if len(got) != 2 || got[0] != 1 || got[1] != 2 {
				t.Errorf("%s: the committed public inputs are wires %v, want the statement's 1 and 2", sh.Name, got)
			}
		}
	}
}
