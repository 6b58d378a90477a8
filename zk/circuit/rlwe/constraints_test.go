package rlwe

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"credence/he"
)

var update = flag.Bool("update", false, "rewrite testdata/constraints.txt")

// The cost of every circuit is pinned: shape, constraints, values it attests,
// and the committed values. A new suite without an entry fails, so does an
// entry without a suite.
func TestConstraintsArePinned(t *testing.T) {
	var got strings.Builder
	fmt.Fprintln(&got, "# shape constraints values committed")
	for _, name := range he.Names() {
		s := suite(t, name)
		for _, make := range []func(*he.Suite) (*Shape, error){UpdateShape, KeyShareShape} {
			sh, err := make(s)
			if err != nil {
				t.Fatal(err)
			}
			sys := compile(t, sh)
			fmt.Fprintln(&got, sh.Name, sys.Constraints(), sh.Values(), sys.CommittedValues())
			// Targets: 4.5 constraints a value with five digits, 5.1 with four.
			if limit := map[string]float64{"update/rlwe8192-d4-v1": 5.1}[sh.Name]; limit > 0 &&
				float64(sys.Constraints()) > limit*float64(sh.Values()) {
				t.Errorf("%s: %d constraints for %d values, more than %.1f a value", sh.Name, sys.Constraints(), sh.Values(), limit)
			}
		}
	}
	path := filepath.Join("testdata", "constraints.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got.String() {
		t.Errorf("constraints changed: if that is meant, run go test ./zk/circuit/rlwe -run Pinned -update\ngot\n%swant\n%s", got.String(), want)
	}
}

// The counts follow from the relation: 5+Digits*Limbs lookups, three Horner
// steps a coefficient, the tables, and a few dozen rows of bookkeeping.
func TestConstraintsFollowFromTheRelation(t *testing.T) {
	for _, name := range he.Names() {
		sh, err := UpdateShape(suite(t, name))
		if err != nil {
			t.Fatal(err)
		}
		lookups := sh.N*5 + sh.Limbs*sh.Values()
		squares := 0
		if sh.Limbs == 2 {
			squares = sh.Values()
		}
		tables := 3 + 2*sh.Error + 1 + 2*sh.Quotient + 1 + sh.table()
		rest := compile(t, sh).Constraints() - lookups - 3*sh.N - tables - squares
		if rest < 60 || rest > 120 {
			t.Errorf("%s: %d rows beside lookups, evaluations and tables", name, rest)
		}
	}
}

// The prover's expensive group is that of the right factors: only small,
// committed wires, the constant and the challenge may stand there, but for the
// few dozen rows outside lookups and evaluations.
func TestFullSizeWiresStandOnTheLeft(t *testing.T) {
	sh, err := UpdateShape(suite(t, "rlwe8192-d4-v1"))
	if err != nil {
		t.Fatal(err)
	}
	sys := compile(t, sh)
	small := map[int]bool{0: true}
	for _, w := range sys.CommittedWires() {
		small[w] = true
	}
	rows, wrong := sys.R1CS.GetR1Cs(), 0
	for _, row := range rows {
		for _, term := range row.R {
			w := term.WireID()
			if !small[w] && w >= sys.R1CS.GetNbPublicVariables()+sys.R1CS.GetNbSecretVariables() && w != sys.R1CS.CommitmentInfo.CommitmentIndexes()[0] {
				wrong++
				break
			}
		}
	}
	if len(rows) != sys.Constraints() || wrong > 120 {
		t.Errorf("%d of %d rows have a full-size wire on the right", wrong, len(rows))
	}
}
