//go:build unix

package zk

import (
	"os"
	"syscall"
	"testing"
	"time"

	"credence/fl"
	"credence/zk/circuit/table"
	"credence/zk/tabular"
)

// benchLayouts are the tiny layout, and with CREDENCE_FULL=1 the bundled data
// sets as four institutions hold them.
func benchLayouts() []tabular.Layout {
	if os.Getenv("CREDENCE_FULL") == "1" {
		return []tabular.Layout{breastCancerLayout, {Rows: 128, Features: 64, Kind: tabular.OneHot, Targets: 10, Bits: 10}}
	}
	return []tabular.Layout{tinyLayout}
}

var breastCancerLayout = tabular.Layout{Rows: 128, Features: 30, Kind: tabular.Binary, Targets: 1, Bits: 14}

// register commits to a table that fills nine tenths of a layout.
func register(t testing.TB, relation table.Relation, l tabular.Layout) *owner {
	t.Helper()
	o := &owner{keys: tableKeysFor(t, relation, l), table: sampleTable(t, l, max(1, l.Rows*9/10))}
	c, secret, err := o.keys.SRS().CommitTable(o.table)
	if err != nil {
		t.Fatal(err)
	}
	o.secret = secret
	o.statement = &TableStatement{
		Scope:      TableScope{Genesis: fl.Digest{1}, Job: "job", Node: "alice", Spec: fl.Digest{2}},
		Commitment: c, Rows: o.table.Used,
	}
	if relation == table.Validation {
		limits := l.NoLimits(o.table.Used)
		o.statement.Limits = &limits
	}
	return o
}

// cpu measures processor time, all cores together: on a busy machine the only
// figure that means something.
func cpu(b *testing.B, f func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	for b.Loop() {
		f()
	}
	b.ReportMetric((used()-before).Seconds()*1e3/float64(b.N), "cpu-ms/op")
}

func BenchmarkTable(b *testing.B) {
	for _, l := range benchLayouts() {
		// The larger circuit first: it needs no more powers than the other.
		for _, relation := range []table.Relation{table.Validation, table.Registration} {
			o := register(b, relation, l)
			name := o.keys.Shape().Name()
			srs := o.keys.SRS()
			b.Run(name+"/prove", func(b *testing.B) {
				cpu(b, func() { o.prove(b) })
				b.ReportMetric(float64(o.keys.circuit.Constraints()), "constraints")
			})
			encoded := o.prove(b).Bytes()
			b.Run(name+"/verify", func(b *testing.B) {
				cpu(b, func() {
					a, err := ParseTableAttestation(encoded)
					if err != nil {
						b.Fatal(err)
					}
					if err := o.keys.VerifyTable(o.statement, a); err != nil {
						b.Fatal(err)
					}
				})
			})
			if relation == table.Validation {
				continue
			}
			b.Run(l.Name()+"/commit", func(b *testing.B) {
				cpu(b, func() {
					if _, _, err := srs.CommitTable(o.table); err != nil {
						b.Fatal(err)
					}
				})
			})
			b.Run(l.Name()+"/copy", func(b *testing.B) {
				cpu(b, func() {
					c, err := srs.copyTable(l, o.statement.Commitment, o.secret, fl.Digest{1})
					if err != nil {
						b.Fatal(err)
					}
					if err := srs.checkCopy(l, o.statement.Commitment, &c.tableCopy, fl.Digest{1}); err != nil {
						b.Fatal(err)
					}
				})
			})
		}
	}
}

// A table as an institution holds it, both relations, at full size.
func TestFullSizeTables(t *testing.T) {
	if os.Getenv("CREDENCE_FULL") != "1" {
		t.Skip("full-size set-up takes half a minute: run with CREDENCE_FULL=1")
	}
	for _, relation := range []table.Relation{table.Validation, table.Registration} {
		o := register(t, relation, breastCancerLayout)
		if err := o.keys.VerifyTable(o.statement, o.prove(t)); err != nil {
			t.Errorf("%s: %v", relation, err)
		}
	}
}
