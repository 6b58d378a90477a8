package rlwe

import (
	"testing"

	"github.com/consensys/gnark/constraint"
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

func TestEverySecretIsCommitted(t *testing.T) {
	in := honest(t, tiny4)
	sys := compile(t, in.shape)
	if w := uncommitted(sys); len(w) > 0 {
		t.Fatalf("%d secret inputs are not under the commitment, the first is wire %d", len(w), w[0])
	}
	if got := sys.R1CS.CommitmentInfo.(constraint.Groth16Commitments)[0].PublicAndCommitmentCommitted; len(got) != 2 || got[0] != 1 || got[1] != 2 {
		t.Fatalf("the committed public inputs are wires %v, want the statement's 1 and 2", got)
	}
}

// uncommitted lists the secret inputs that are not under the commitment.
func uncommitted(sys *System) []int {
	under := map[int]bool{}
	for _, w := range sys.committed {
		under[w] = true
	}
	var out []int
	public, secret := sys.R1CS.GetNbPublicVariables(), sys.R1CS.GetNbSecretVariables()
	for w := public; w < public+secret; w++ {
		if !under[w] {
			out = append(out, w)
		}
	}
	return out
}
