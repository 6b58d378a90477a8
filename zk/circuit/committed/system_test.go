package committed

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/constraint"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/logger"
)

func TestMain(m *testing.M) {
	logger.Disable()
	os.Exit(m.Run())
}

// product has secrets X and Y, of which it commits to those that are asked
// for, so many times.
type product struct {
	S    [2]frontend.Variable `gnark:",public"`
	X, Y frontend.Variable
	both bool
	n    int
}

func (c *product) Define(api frontend.API) error {
	api.AssertIsEqual(api.Mul(c.X, c.Y), c.S[0])
	committer, ok := api.(frontend.Committer)
	if !ok {
		return errors.New("no commitments")
	}
	for range c.n {
		values := []frontend.Variable{c.S[0], c.S[1], c.X}
		if c.both {
			values = append(values, c.Y)
		}
		r, err := committer.Commit(values...)
		if err != nil {
			return err
		}
		api.AssertIsDifferent(api.Sub(r, c.X), 0)
	}
	return nil
}

func TestCompile(t *testing.T) {
	for n, want := range map[int]bool{0: false, 1: true, 2: false} {
		if _, err := Compile("product", &product{both: true, n: n}); (err == nil) != want {
			t.Errorf("%d commitments: %v", n, err)
		}
	}
	s, err := Compile("product", &product{both: true, n: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s.PublicInputs() != 2 || s.CommittedValues() != 3 || s.Wires() < 6 || !slices.Equal(s.CommittedPublic(), []int{1, 2}) {
		t.Errorf("%d public inputs, %d committed, %d wires, committed public ones %v", s.PublicInputs(), s.CommittedValues(), s.Wires(), s.CommittedPublic())
	}
	if w := s.CommittedWires(); w[0] != 3 || w[1] != 4 || w[2] < 5 {
		t.Errorf("committed wires %v: want the two secrets and the mask", w)
	}
	if n := len(s.Uncommitted()); n != 0 {
		t.Errorf("%d secrets are not committed", n)
	}
	half, err := Compile("product", &product{n: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := half.Uncommitted(); !slices.Equal(got, []int{4}) {
		t.Errorf("uncommitted wires %v, want Y's", got)
	}
}

// The same circuit has one digest, another name or another circuit another.
func TestDigest(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, c := range []struct {
		name    string
		circuit *product
	}{{"product", &product{both: true, n: 1}}, {"other", &product{both: true, n: 1}}, {"product", &product{n: 1}}} {
		var digests [2][32]byte
		for i := range digests {
			s, err := Compile(c.name, c.circuit)
			if err != nil {
				t.Fatal(err)
			}
			if digests[i], err = s.Digest(); err != nil {
				t.Fatal(err)
			}
		}
		if digests[0] != digests[1] {
			t.Errorf("%s: two digests of one circuit", c.name)
		}
		if before, ok := seen[digests[0]]; ok {
			t.Errorf("%s has the digest of %s", c.name, before)
		}
		seen[digests[0]] = c.name
	}
}

// The mask that is fixed is the one that is committed to.
func TestCommitted(t *testing.T) {
	s, err := Compile("product", &product{both: true, n: 1})
	if err != nil {
		t.Fatal(err)
	}
	vector := make(fr.Vector, 4)
	for i := range vector {
		vector[i].SetUint64(uint64(i + 1))
	}
	var mask fr.Element
	mask.SetUint64(77)
	got := s.Committed(vector, mask)
	if len(got) != 3 || got[0] != vector[2] || got[1] != vector[3] || got[2] != mask {
		t.Errorf("committed %v", got)
	}
	w, err := s.Witness(vector)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := w.Vector().(fr.Vector); !ok || !slices.Equal(v, vector) {
		t.Error("the witness is another vector")
	}
}

// orient keeps a product's factors but puts the one of small wires right.
func TestOrient(t *testing.T) {
	s, err := Compile("product", &product{both: true, n: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, ok := s.R1CS.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok {
		t.Fatal("no commitment")
	}
	before := slices.Clone(s.R1CS.CallData)
	if err := orient(s.R1CS, c[0]); err != nil || !slices.Equal(before, s.R1CS.CallData) {
		t.Errorf("orienting twice changes the system: %v", err)
	}
	inst := s.R1CS.Instructions[0]
	s.R1CS.CallData[inst.StartCallData+1]++
	if err := orient(s.R1CS, c[0]); err == nil {
		t.Error("an unknown encoding of a constraint was accepted")
	}
}
