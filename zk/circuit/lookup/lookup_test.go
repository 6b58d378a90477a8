package lookup

import (
	"errors"
	"math/big"
	"os"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/constraint"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
	fcs "github.com/consensys/gnark/frontend/cs"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/logger"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	logger.Disable()
	os.Exit(m.Run())
}

type circuit struct{ Values, Counts []frontend.Variable }

func (c *circuit) Define(api frontend.API) error {
	committer, ok := api.(frontend.Committer)
	if !ok {
		return errors.New("no commitments")
	}
	r, err := committer.Commit(append(append([]frontend.Variable{}, c.Values...), c.Counts...)...)
	if err != nil {
		return err
	}
	return AssertBelow(api, r, c.Values, c.Counts)
}

func compile(t testing.TB, values, entries int) constraint.ConstraintSystem {
	t.Helper()
	ccs, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder,
		&circuit{Values: make([]frontend.Variable, values), Counts: make([]frontend.Variable, entries)})
	if err != nil {
		t.Fatal(err)
	}
	return ccs
}

// accepts solves with a fixed, arbitrary challenge: good enough where values
// are not chosen to fit it.
func accepts(t testing.TB, ccs constraint.ConstraintSystem, values, counts []int64) bool {
	t.Helper()
	a := &circuit{}
	for _, v := range values {
		a.Values = append(a.Values, v)
	}
	for _, v := range counts {
		a.Counts = append(a.Counts, v)
	}
	w, err := frontend.NewWitness(a, ecc.BN254.ScalarField())
	if err != nil {
		t.Fatal(err)
	}
	challenge := solver.OverrideHint(solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder),
		func(_ *big.Int, _, out []*big.Int) error {
			out[0].SetString("1234567890123456789012345678901234567890", 10)
			return nil
		})
	return ccs.IsSolved(w, challenge) == nil
}

// The argument accepts a vector exactly when every value is in the table and
// the counts are its histogram.
func TestAcceptsExactlyHistograms(t *testing.T) {
	const values, entries = 6, 5
	ccs := compile(t, values, entries)
	// The mask's row is gnark's.
	if got, want := ccs.GetNbConstraints(), Constraints(values, entries)+1; got != want {
		t.Errorf("%d constraints, want %d", got, want)
	}
	rapid.Check(t, func(r *rapid.T) {
		f := rapid.SliceOfN(rapid.Int64Range(0, entries-1), values, values).Draw(r, "values")
		m := make([]int64, entries)
		for _, v := range f {
			m[v]++
		}
		if !accepts(t, ccs, f, m) {
			r.Fatal("an honest vector was refused")
		}
		i := rapid.IntRange(0, values-1).Draw(r, "place")
		bent := append([]int64{}, f...)
		bent[i] = rapid.SampledFrom([]int64{-1, entries, entries + 1, 1 << 40, -(1 << 40)}).Draw(r, "outside")
		if accepts(t, ccs, bent, m) {
			r.Fatal("a value outside the table was accepted")
		}
		wrong := append([]int64{}, m...)
		wrong[rapid.IntRange(0, entries-1).Draw(r, "entry")]++
		if accepts(t, ccs, f, wrong) {
			r.Fatal("a wrong histogram was accepted")
		}
	})
}

func TestRefusesEmptyTables(t *testing.T) {
	for _, size := range [][2]int{{1, 5}, {5, 1}} {
		c := &circuit{Values: make([]frontend.Variable, size[0]), Counts: make([]frontend.Variable, size[1])}
		if _, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, c); err == nil {
			t.Errorf("%d values in a table of %d compiled", size[0], size[1])
		}
	}
}
