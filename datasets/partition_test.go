package datasets

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"credence/fl"
)

// genExamples draws labelled rows without features worth looking at.
func genExamples(t *rapid.T) fl.Examples {
	classes := rapid.IntRange(2, 12).Draw(t, "classes")
	y := rapid.SliceOfN(rapid.Int32Range(0, int32(classes-1)), 1, 300).Draw(t, "labels")
	return fl.Examples{Rows: len(y), Features: 1, Classes: classes, X: make([]float32, len(y)), Y: y}
}

// checkParts: every row exactly once, each part ascending and large enough.
func checkParts(t *rapid.T, parts [][]int, rows, clients, minRows int) {
	if len(parts) != clients {
		t.Fatalf("%d parts for %d clients", len(parts), clients)
	}
	seen := make([]bool, rows)
	for c, p := range parts {
		if len(p) < minRows || !slices.IsSorted(p) {
			t.Fatalf("client %d has %d rows, want at least %d, ascending", c, len(p), minRows)
		}
		for _, r := range p {
			if seen[r] {
				t.Fatalf("row %d is in two parts", r)
			}
			seen[r] = true
		}
	}
	if i := slices.Index(seen, false); i >= 0 {
		t.Fatalf("row %d is in no part", i)
	}
}

func TestPartitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genExamples(t)
		minRows := rapid.IntRange(1, e.Rows).Draw(t, "minRows")
		clients := rapid.IntRange(1, e.Rows/minRows).Draw(t, "clients")
		alpha := math.Pow(10, rapid.Float64Range(-3, 6).Draw(t, "log alpha"))
		seed := rapid.Uint64().Draw(t, "seed")
		for name, f := range map[string]func() ([][]int, error){
			"iid":       func() ([][]int, error) { return IID(e, clients, seed) },
			"dirichlet": func() ([][]int, error) { return Dirichlet(e, clients, alpha, minRows, seed) },
			"quantity":  func() ([][]int, error) { return QuantitySkew(e, clients, alpha, minRows, seed) },
			"labels":    func() ([][]int, error) { return ByLabels(e, clients, minRows, seed) },
		} {
			parts, err := f()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			checkParts(t, parts, e.Rows, clients, minRows)
			again, err := f()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(parts, again); diff != "" {
				t.Fatalf("%s: not deterministic:\n%s", name, diff)
			}
			if name == "iid" {
				for _, p := range parts {
					if n := len(p); n != e.Rows/clients && n != (e.Rows+clients-1)/clients {
						t.Fatalf("iid: %d rows of %d for one of %d", n, e.Rows, clients)
					}
				}
			}
		}
		values := make([]string, e.Rows)
		for i, y := range e.Y {
			values[i] = strconv.Itoa(int(y))
		}
		names, parts, err := ByValue(values)
		if err != nil {
			t.Fatal(err)
		}
		checkParts(t, parts, e.Rows, len(names), 1)
		for k, p := range parts {
			for _, r := range p {
				if values[r] != names[k] {
					t.Fatalf("row %d with value %s is with %s", r, values[r], names[k])
				}
			}
		}
	})
}

func TestPartitionsImpossible(t *testing.T) {
	e := fl.Examples{Rows: 10, Features: 1, Classes: 2, X: make([]float32, 10), Y: make([]int32, 10)}
	calls := map[string]func() ([][]int, error){
		"iid, too many":          func() ([][]int, error) { return IID(e, 11, 1) },
		"iid, none":              func() ([][]int, error) { return IID(e, 0, 1) },
		"dirichlet, minimum":     func() ([][]int, error) { return Dirichlet(e, 4, 1, 3, 1) },
		"dirichlet, minimum 0":   func() ([][]int, error) { return Dirichlet(e, 4, 1, 0, 1) },
		"dirichlet, overflow":    func() ([][]int, error) { return Dirichlet(e, math.MaxInt/2, 1, 4, 1) },
		"dirichlet, alpha 0":     func() ([][]int, error) { return Dirichlet(e, 4, 0, 1, 1) },
		"dirichlet, alpha NaN":   func() ([][]int, error) { return Dirichlet(e, 4, math.NaN(), 1, 1) },
		"quantity, minimum":      func() ([][]int, error) { return QuantitySkew(e, 4, 1, 3, 1) },
		"quantity, alpha infini": func() ([][]int, error) { return QuantitySkew(e, 4, math.Inf(1), 1, 1) },
		"value, no rows":         func() ([][]int, error) { _, p, err := ByValue(nil); return p, err },
	}
	for name, f := range calls {
		if parts, err := f(); !errors.Is(err, ErrPartition) || parts != nil {
			t.Errorf("%s: got %v, %v", name, parts, err)
		}
	}
	e.Y[3] = 2
	if _, err := Dirichlet(e, 2, 1, 1, 1); !errors.Is(err, ErrLabel) {
		t.Errorf("label out of range: %v", err)
	}
}

// Alpha does what it is for: the spread of a class over clients has the
// Dirichlet's mean 1/n and variance (1/n)(1-1/n)/(n*alpha+1).
func TestDirichletMoments(t *testing.T) {
	const n, draws = 5, 20000
	for _, alpha := range []float64{0.1, 0.5, 1, 10} {
		st := newStream("test", 1)
		var sum, squares float64
		for range draws {
			p := st.dirichlet(n, alpha)
			sum += p[0]
			squares += p[0] * p[0]
		}
		mean := sum / draws
		variance := squares/draws - mean*mean
		want := (1.0 / n) * (1 - 1.0/n) / (n*alpha + 1)
		if math.Abs(mean-1.0/n) > 5*math.Sqrt(want/draws) || math.Abs(variance/want-1) > 0.05 {
			t.Errorf("alpha %g: mean %.4f, variance %.5f, want %.4f and %.5f", alpha, mean, variance, 1.0/n, want)
		}
	}
}

func TestBelowIsUniform(t *testing.T) {
	st := newStream("test", 2)
	counts := make([]int, 7)
	for range 70000 {
		counts[st.below(7)]++
	}
	chi := 0.0
	for _, c := range counts {
		chi += float64((c-10000)*(c-10000)) / 10000
	}
	if chi > 30 { // 6 degrees of freedom: p < 5e-5
		t.Errorf("counts %v, chi squared %.1f", counts, chi)
	}
}

func TestApportion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.IntRange(0, 10000).Draw(t, "total")
		n := rapid.IntRange(1, 20).Draw(t, "n")
		p := newStream("test", rapid.Uint64().Draw(t, "seed")).dirichlet(n, 0.3)
		sum := 0
		for i, k := range apportion(total, p) {
			sum += k
			if math.Abs(float64(k)-p[i]*float64(total)) > 1+1e-6 {
				t.Fatalf("part %d is %d of %d, share %g", i, k, total, p[i])
			}
		}
		if sum != total {
			t.Fatalf("parts sum to %d, want %d", sum, total)
		}
	})
}

// The split keeps each class's share to within a row.
func TestSplitFraction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genExamples(t)
		p := Split{Method: SplitFraction, Fraction: rapid.Float64Range(0.01, 0.99).Draw(t, "fraction"), Seed: rapid.Uint64().Draw(t, "seed"), Stratified: rapid.Bool().Draw(t, "stratified")}
		train, test := splitFraction(e.Y, e.Classes, p)
		checkParts(t, [][]int{train, test}, e.Rows, 2, 0)
		if want := int(math.Round(p.Fraction * float64(e.Rows))); len(test) != want {
			t.Fatalf("%d test rows of %d, want %d", len(test), e.Rows, want)
		}
		if !p.Stratified {
			return
		}
		counts, inTest := countClasses(e), countClasses(e.Subset(test))
		share := float64(len(test)) / float64(e.Rows)
		for c := range counts {
			if math.Abs(float64(inTest[c])-share*float64(counts[c])) > 1+1e-6 {
				t.Fatalf("class %d: %d of %d for testing at share %g", c, inTest[c], counts[c], share)
			}
		}
	})
}
