package training

import (
	"testing"

	"credence/he"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

func TestCost(t *testing.T) {
	su, _ := he.LookupSuite("rlwe4096-d1-v1")
	for _, c := range []struct {
		l tabular.Layout
		m fixedpoint.Model
		n int
	}{
		{tabular.Layout{Rows: 128, Features: 30, Kind: tabular.Binary, Targets: 1, Bits: 12}, fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 30, Outputs: 1}, 1},
		{tabular.Layout{Rows: 128, Features: 30, Kind: tabular.Binary, Targets: 1, Bits: 12}, fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 30, Outputs: 1}, 10},
		{tabular.Layout{Rows: 128, Features: 64, Kind: tabular.OneHot, Targets: 10, Bits: 12}, fixedpoint.Model{Kind: fixedpoint.Softmax, Features: 64, Outputs: 10}, 1},
		{tabular.Layout{Rows: 128, Features: 64, Kind: tabular.OneHot, Targets: 10, Bits: 12}, fixedpoint.Model{Kind: fixedpoint.Softmax, Features: 64, Outputs: 10}, 4},
		{tabular.Layout{Rows: 64, Features: 64, Kind: tabular.OneHot, Targets: 10, Bits: 12}, fixedpoint.Model{Kind: fixedpoint.MLP, Features: 64, Outputs: 10, Hidden: 32}, 1},
		{tabular.Layout{Rows: 64, Features: 64, Kind: tabular.OneHot, Targets: 10, Bits: 12}, fixedpoint.Model{Kind: fixedpoint.MLP, Features: 64, Outputs: 10, Hidden: 32}, 2},
	} {
		s, err := NewShape(c.l, c.m, c.n, false, false, Whole, su)
		if err != nil {
			t.Fatal(err)
		}
		sys, err := Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(s.Name(), sys.Constraints(), sys.CommittedValues(), sys.PublicInputs(), s.PublicInputs(), len(sys.Uncommitted()))
	}
}
