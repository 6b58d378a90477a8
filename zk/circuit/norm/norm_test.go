package norm

import (
	"math/big"
	"os"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/logger"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	logger.Disable()
	os.Exit(m.Run())
}

// circuit takes the same values as a list and as a histogram over 0..8 around
// 4, and bounds the norm of both.
type circuit struct {
	Values, Counts []frontend.Variable
	Bound          frontend.Variable `gnark:",public"`
}

func (c *circuit) Define(api frontend.API) error {
	a, err := OfHistogram(api, c.Counts, 4)
	if err != nil {
		return err
	}
	b, err := OfValues(api, c.Values)
	if err != nil {
		return err
	}
	api.AssertIsEqual(a, b)
	AssertAtMost(api, a, c.Bound)
	return nil
}

func TestBothFormsGiveTheNormAndItsBound(t *testing.T) {
	ccs, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder,
		&circuit{Values: make([]frontend.Variable, 7), Counts: make([]frontend.Variable, 9)})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		v := rapid.SliceOfN(rapid.IntRange(-4, 4), 7, 7).Draw(r, "values")
		counts, sum := make([]int, 9), 0
		for _, x := range v {
			counts[x+4]++
			sum += x * x
		}
		try := func(bound *big.Int) bool {
			a := &circuit{Bound: bound}
			for _, x := range v {
				a.Values = append(a.Values, x)
			}
			for _, x := range counts {
				a.Counts = append(a.Counts, x)
			}
			w, err := frontend.NewWitness(a, ecc.BN254.ScalarField())
			if err != nil {
				r.Fatal(err)
			}
			return ccs.IsSolved(w) == nil
		}
		exact := big.NewInt(int64(sum))
		top := new(big.Int).Lsh(big.NewInt(1), Bits)
		top.Sub(top, big.NewInt(1))
		for _, ok := range []*big.Int{exact, new(big.Int).Add(exact, big.NewInt(5)), top} {
			if !try(ok) {
				r.Fatalf("norm %d with bound %v refused", sum, ok)
			}
		}
		for _, bad := range []*big.Int{new(big.Int).Sub(exact, big.NewInt(1)), new(big.Int).Lsh(top, 2)} {
			if try(bad) {
				r.Fatalf("norm %d with bound %v accepted", sum, bad)
			}
		}
	})
}

func TestRefusesTablesWithoutMeaning(t *testing.T) {
	if _, err := OfHistogram(nil, make([]frontend.Variable, 1), 0); err == nil {
		t.Error("a table of one entry")
	}
	if _, err := OfHistogram(nil, make([]frontend.Variable, 4), -1); err == nil {
		t.Error("a negative centre")
	}
	if _, err := OfValues(nil, nil); err == nil {
		t.Error("no values")
	}
}
