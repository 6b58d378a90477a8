package zk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"pgregory.net/rapid"

	"credence/fl"
	"credence/zk/circuit/table"
	"credence/zk/tabular"
)

var tinyLayout = tabular.Layout{Rows: 6, Features: 2, Kind: tabular.Binary, Targets: 1, Bits: 6}

var tableKeys = struct {
	sync.Mutex
	srs    *SRS
	byName map[string]*TableKeys
}{byName: map[string]*TableKeys{}}

// tableKeysFor makes keys for a relation on tables of a layout. All are of one
// SRS, as they have to be.
func tableKeysFor(t testing.TB, relation table.Relation, l tabular.Layout) *TableKeys {
	t.Helper()
	s, err := table.NewShape(relation, l)
	if err != nil {
		t.Fatal(err)
	}
	tableKeys.Lock()
	defer tableKeys.Unlock()
	if tableKeys.srs == nil || tableKeys.srs.Size() < TablePowers(s) {
		if tableKeys.srs, err = NewLocalSRS(max(128, TablePowers(s))); err != nil {
			t.Fatal(err)
		}
		clear(tableKeys.byName)
	}
	if k := tableKeys.byName[s.Name()]; k != nil {
		return k
	}
	k, err := SetupTable(s, tableKeys.srs, nil)
	if err != nil {
		t.Fatal(err)
	}
	tableKeys.byName[s.Name()] = k
	return k
}

func sampleTable(t testing.TB, l tabular.Layout, n int) *tabular.Table {
	t.Helper()
	out, err := tabular.New(l, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		for j := range l.Numbers() {
			out.Row(i)[l.Number(j)] = int64(i*i+3*j)%(2*l.Half()) - l.Half()
		}
		if l.Classes() > 0 {
			if err := out.SetClass(i, i%l.Classes()); err != nil {
				t.Fatal(err)
			}
		}
	}
	out.SetMissing(0, 0)
	return out
}

// owner is a node with a committed table.
type owner struct {
	keys      *TableKeys
	table     *tabular.Table
	secret    *TableSecret
	statement *TableStatement
}

func newOwner(t testing.TB, relation table.Relation) *owner {
	t.Helper()
	o := &owner{keys: tableKeysFor(t, relation, tinyLayout), table: sampleTable(t, tinyLayout, 4)}
	c, secret, err := o.keys.SRS().CommitTable(o.table)
	if err != nil {
		t.Fatal(err)
	}
	o.secret = secret
	o.statement = &TableStatement{
		Scope:      TableScope{Genesis: fl.Digest{1}, Job: "job", Node: "alice", Spec: fl.Digest{2}},
		Commitment: c, Rows: 4,
	}
	if relation == table.Validation {
		limits := o.table.Measure()
		o.statement.Limits = &limits
	}
	return o
}

func (o *owner) prove(t testing.TB) *TableAttestation {
	t.Helper()
	a, err := o.keys.ProveTable(o.statement, o.table, o.secret)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTableRoundTrip(t *testing.T) {
	for _, relation := range []table.Relation{table.Registration, table.Validation} {
		o := newOwner(t, relation)
		a := o.prove(t)
		encoded := a.Bytes()
		if len(encoded) != 388 || TableAttestationBytes != 388 {
			t.Errorf("an attestation of %d bytes, want 388", len(encoded))
		}
		parsed, err := ParseTableAttestation(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Relation() != relation {
			t.Errorf("parsed a %s attestation as %s", relation, parsed.Relation())
		}
		if err := o.keys.VerifyTable(o.statement, parsed); err != nil {
			t.Errorf("%s: %v", relation, err)
		}
		// Two attestations share nothing: each opens a copy of its own.
		b := o.prove(t)
		for i, p := range a.points() {
			if p.Equal(b.points()[i]) {
				t.Errorf("%s: point %d is not masked", relation, i)
			}
		}
		for i, v := range a.scalars() {
			if v.Equal(b.scalars()[i]) {
				t.Errorf("%s: value %d is not masked", relation, i)
			}
		}
	}
}

// An attestation holds for the statement it was made for and for no other.
func TestTableStatementIsBound(t *testing.T) {
	for _, relation := range []table.Relation{table.Registration, table.Validation} {
		o := newOwner(t, relation)
		a := o.prove(t)
		other, _, err := o.keys.SRS().CommitTable(o.table)
		if err != nil {
			t.Fatal(err)
		}
		changes := map[string]func(st *TableStatement){
			"genesis":    func(st *TableStatement) { st.Scope.Genesis[3] ^= 1 },
			"job":        func(st *TableStatement) { st.Scope.Job = "jo" },
			"node":       func(st *TableStatement) { st.Scope.Node = "bob" },
			"spec":       func(st *TableStatement) { st.Scope.Spec[0] ^= 1 },
			"commitment": func(st *TableStatement) { st.Commitment = other },
			"fewer rows": func(st *TableStatement) { st.Rows = 3 },
			"more rows":  func(st *TableStatement) { st.Rows = 5 },
		}
		if relation == table.Validation {
			for name, change := range map[string]func(m *tabular.Limits){
				"minimum":    func(m *tabular.Limits) { m.Numbers[0].Min++ },
				"maximum":    func(m *tabular.Limits) { m.Numbers[1].Max++ },
				"mean":       func(m *tabular.Limits) { m.Numbers[1].SumMax++ },
				"variance":   func(m *tabular.Limits) { m.Numbers[0].SpreadMax++ },
				"missing":    func(m *tabular.Limits) { m.Missing[0]++ },
				"label rows": func(m *tabular.Limits) { m.Classes[1]-- },
			} {
				changes["another "+name] = func(st *TableStatement) {
					m := o.table.Measure()
					change(&m)
					st.Limits = &m
				}
			}
		}
		for name, change := range changes {
			st := *o.statement
			change(&st)
			if err := o.keys.VerifyTable(&st, a); !errors.Is(err, ErrRejected) {
				t.Errorf("%s: another %s: %v", relation, name, err)
			}
		}
		for name, change := range map[string]func(st *TableStatement){
			"no genesis":    func(st *TableStatement) { st.Scope.Genesis = fl.Digest{} },
			"no job":        func(st *TableStatement) { st.Scope.Job = "" },
			"no node":       func(st *TableStatement) { st.Scope.Node = "" },
			"no spec":       func(st *TableStatement) { st.Scope.Spec = fl.Digest{} },
			"no commitment": func(st *TableStatement) { st.Commitment = nil },
			"no rows":       func(st *TableStatement) { st.Rows = 0 },
			"too many rows": func(st *TableStatement) { st.Rows = 7 },
			"limits": func(st *TableStatement) {
				if st.Limits == nil {
					m := o.table.Measure()
					st.Limits = &m
				} else {
					st.Limits = nil
				}
			},
			"impossible limits": func(st *TableStatement) {
				m := o.table.Measure()
				m.Numbers[0].Min = m.Numbers[0].Max + 1
				st.Limits = &m
			},
		} {
			st := *o.statement
			change(&st)
			if err := o.keys.VerifyTable(&st, a); !errors.Is(err, ErrScope) {
				t.Errorf("%s: %s: %v", relation, name, err)
			}
			if _, err := o.keys.ProveTable(&st, o.table, o.secret); !errors.Is(err, ErrScope) {
				t.Errorf("%s: proving with %s: %v", relation, name, err)
			}
		}
	}
}

func TestTableScopeOfASpecification(t *testing.T) {
	o := newOwner(t, table.Registration)
	spec := tabular.Spec{Layout: tinyLayout, Frac: 4, Schema: fl.Digest{1}}
	s, err := o.keys.Scope(fl.Digest{1}, "job", "alice", spec)
	if err != nil || s.Spec != spec.Digest() {
		t.Errorf("%+v, %v", s, err)
	}
	wider, none := spec, spec
	wider.Layout.Rows++
	none.Schema = fl.Digest{}
	for name, spec := range map[string]tabular.Spec{"another layout": wider, "no schema": none} {
		if _, err := o.keys.Scope(fl.Digest{1}, "job", "alice", spec); !errors.Is(err, ErrScope) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := o.keys.Scope(fl.Digest{}, "job", "alice", spec); !errors.Is(err, ErrScope) {
		t.Errorf("no genesis: %v", err)
	}
}

// A node cannot prove what is not so, and is told before it has tried.
func TestProvingAFalseTable(t *testing.T) {
	o := newOwner(t, table.Validation)
	changed := sampleTable(t, tinyLayout, 4)
	changed.SetFeature(1, 1, changed.Feature(1, 1)+1)
	if _, err := o.keys.ProveTable(o.statement, changed, o.secret); !errors.Is(err, ErrCommitment) {
		t.Errorf("another data set than committed: %v", err)
	}
	if err := o.keys.SRS().CheckTable(changed, o.secret, o.statement.Commitment); !errors.Is(err, ErrCommitment) {
		t.Errorf("another data set than committed: %v", err)
	}
	fewer := *o.statement
	fewer.Rows = 3
	if _, err := o.keys.ProveTable(&fewer, o.table, o.secret); !errors.Is(err, tabular.ErrTable) {
		t.Errorf("fewer rows: %v", err)
	}
	outside := *o.statement
	limits := o.table.Measure()
	limits.Numbers[0].SumMax--
	limits.Numbers[0].SumMin--
	outside.Limits = &limits
	if _, err := o.keys.ProveTable(&outside, o.table, o.secret); !errors.Is(err, tabular.ErrTable) {
		t.Errorf("limits not met: %v", err)
	}
	bad := sampleTable(t, tinyLayout, 4)
	bad.SetTarget(0, 0, 2)
	if _, _, err := o.keys.SRS().CommitTable(bad); !errors.Is(err, tabular.ErrTable) {
		t.Errorf("committing to a label out of range: %v", err)
	}
	verifier := &TableKeys{keySet: &keySet{circuit: o.keys.circuit, verifying: o.keys.verifying, srs: o.keys.srs}, shape: o.keys.shape}
	if _, err := verifier.ProveTable(o.statement, o.table, o.secret); !errors.Is(err, ErrKeys) {
		t.Errorf("proving with a verifier's keys: %v", err)
	}
}

// A proof about another table, with everything right but the tie to the
// registered commitment, fails by that tie alone.
func TestOnlyTheCopyTiesTheTable(t *testing.T) {
	o := newOwner(t, table.Registration)
	richer := sampleTable(t, tinyLayout, 5)
	c, secret, err := o.keys.SRS().CommitTable(richer)
	if err != nil {
		t.Fatal(err)
	}
	st := *o.statement
	st.Rows = 5
	scope := st.Scope.digest(o.keys.shape.Name())
	copied, err := o.keys.SRS().copyTable(tinyLayout, c, secret, scope)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := o.keys.proveCopy(&st, richer, copied)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.keys.VerifyTable(&st, forged); !errors.Is(err, ErrRejected) {
		t.Errorf("a proof about another table: %v", err)
	}
	// It is a proof: for the commitment that it is a copy of the tie is there.
	if err := o.keys.SRS().checkCopy(tinyLayout, c, &copied.tableCopy, scope); err != nil {
		t.Error(err)
	}
	sides := halves(st.digest(o.keys.shape.Name(), &forged.copied))
	r := challengeOf(&forged.witness, sides)
	e := &equation{proof: &forged.grothProof, opening: forged.opening, public: o.keys.public(&st, sides, &forged.value, &r), value: forged.value}
	var one fr.Element
	e.opened.add(&forged.copied.point, one.SetOne())
	if ok, err := o.keys.tableRelation().accepts([]*equation{e}); err != nil || !ok {
		t.Errorf("the rest of the forgery should hold: %v, %v", ok, err)
	}
}

// A copy is accepted for the same table under the same scope and only then.
func TestTableCopies(t *testing.T) {
	o := newOwner(t, table.Registration)
	s, base := o.keys.SRS(), o.statement.Commitment
	scope := fl.Digest{7}
	good, err := s.copyTable(tinyLayout, base, o.secret, scope)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.checkCopy(tinyLayout, base, &good.tableCopy, scope); err != nil {
		t.Fatal(err)
	}
	if point, err := s.tablePoint(o.table, &good.secret); err != nil || !point.Equal(&good.point) {
		t.Errorf("the copy's secret does not open the copy: %v", err)
	}
	again, err := s.copyTable(tinyLayout, base, o.secret, scope)
	if err != nil || again.point.Equal(&good.point) {
		t.Errorf("two copies are alike: %v", err)
	}
	wider := tinyLayout
	wider.Rows++
	for name, try := range map[string]func(c *tableCopy) error{
		"another scope":  func(c *tableCopy) error { return s.checkCopy(tinyLayout, base, c, fl.Digest{8}) },
		"another layout": func(c *tableCopy) error { return s.checkCopy(wider, base, c, scope) },
		"a cell more": func(c *tableCopy) error {
			c.point.Add(&c.point, &s.g1[1])
			return s.checkCopy(tinyLayout, base, c, scope)
		},
		"a cell beyond the blinding": func(c *tableCopy) error {
			c.point.Add(&c.point, &s.g1[tinyLayout.Cells()+2])
			return s.checkCopy(tinyLayout, base, c, scope)
		},
		"another blinding": func(c *tableCopy) error {
			c.point.Add(&c.point, &s.g1[tinyLayout.Cells()])
			return s.checkCopy(tinyLayout, base, c, scope)
		},
		"another nonce": func(c *tableCopy) error { c.nonce = c.point; return s.checkCopy(tinyLayout, base, c, scope) },
		"another answer": func(c *tableCopy) error {
			c.answer[0], c.answer[1] = c.answer[1], c.answer[0]
			return s.checkCopy(tinyLayout, base, c, scope)
		},
		"of another commitment": func(c *tableCopy) error {
			other := *base
			other.point.Neg(&other.point)
			return s.checkCopy(tinyLayout, &other, c, scope)
		},
	} {
		c := good.tableCopy
		if err := try(&c); !errors.Is(err, ErrRejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	elsewhere := *base
	elsewhere.srs[0] ^= 1
	if err := s.checkCopy(tinyLayout, &elsewhere, &good.tableCopy, scope); !errors.Is(err, ErrKeys) {
		t.Errorf("a commitment under another SRS: %v", err)
	}
	short := &SRS{g1: s.g1[:tinyLayout.Cells()+1], g2: s.g2, t2: s.t2}
	if err := short.checkCopy(tinyLayout, base, &good.tableCopy, scope); !errors.Is(err, ErrKeys) {
		t.Errorf("an SRS that is too short: %v", err)
	}
	if _, _, err := short.CommitTable(o.table); !errors.Is(err, ErrKeys) {
		t.Errorf("committing with an SRS that is too short: %v", err)
	}
}

// Copies are equal up to blinding for any blinding and scope.
func TestTableCopiesProperty(t *testing.T) {
	o := newOwner(t, table.Registration)
	s := o.keys.SRS()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, tinyLayout.Rows).Draw(t, "rows")
		tab, err := tabular.New(tinyLayout, n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			for j := range tinyLayout.Features {
				tab.SetFeature(i, j, rapid.Int64Range(-tinyLayout.Half(), tinyLayout.Half()-1).Draw(t, "cell"))
			}
		}
		base, secret, err := s.CommitTable(tab)
		if err != nil {
			t.Fatal(err)
		}
		scope := fl.Digest{byte(rapid.IntRange(1, 255).Draw(t, "scope"))}
		c, err := s.copyTable(tinyLayout, base, secret, scope)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.checkCopy(tinyLayout, base, &c.tableCopy, scope); err != nil {
			t.Fatal(err)
		}
		if err := s.CheckTable(tab, &c.secret, &TableCommitment{point: c.point, srs: base.srs}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTablesInABatch(t *testing.T) {
	o := newOwner(t, table.Registration)
	var claims []TableClaim
	for i := range 5 {
		st := *o.statement
		st.Scope.Node = fl.NodeID(fmt.Sprint("node-", i))
		a, err := o.keys.ProveTable(&st, o.table, o.secret)
		if err != nil {
			t.Fatal(err)
		}
		claims = append(claims, TableClaim{Statement: &st, Attestation: a})
	}
	if bad, err := o.keys.VerifyTables(claims); err != nil || len(bad) > 0 {
		t.Fatalf("honest claims: %v, %v", bad, err)
	}
	*claims[1].Attestation, claims[3].Attestation = *claims[2].Attestation, nil
	damaged := *claims[4].Attestation
	damaged.value.SetOne()
	claims[4].Attestation = &damaged
	bad, err := o.keys.VerifyTables(claims)
	if err != nil || len(bad) != 3 || bad[0].Index != 1 || bad[1].Index != 3 || bad[2].Index != 4 {
		t.Fatalf("rejected %v, %v: want claims 1, 3 and 4", bad, err)
	}
	for _, b := range bad {
		if !errors.Is(b.Err, ErrRejected) {
			t.Error(b.Err)
		}
	}
	if bad, err := o.keys.VerifyTables(nil); err != nil || len(bad) > 0 {
		t.Errorf("no claims: %v, %v", bad, err)
	}
}

func TestTableEncodings(t *testing.T) {
	o := newOwner(t, table.Registration)
	good := o.prove(t).Bytes()
	for i := range good {
		b := slices.Clone(good)
		b[i] ^= 1 << (i % 8)
		a, err := ParseTableAttestation(b)
		if err == nil {
			err = o.keys.VerifyTable(o.statement, a)
		}
		if !errors.Is(err, ErrEncoding) && !errors.Is(err, ErrRejected) {
			t.Fatalf("bit %d of byte %d flipped: %v", i%8, i, err)
		}
	}
	for name, b := range map[string][]byte{
		"empty": {}, "truncated": good[:len(good)-1], "trailing": append(slices.Clone(good), 0),
		"another kind": append([]byte("CZU\x01"), good[4:]...),
		"unreduced":    append(slices.Clone(good[:len(good)-fr.Bytes]), bytes.Repeat([]byte{255}, fr.Bytes)...),
	} {
		if _, err := ParseTableAttestation(b); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := o.statement.Commitment.Bytes()
	if len(c) != 68 || TableCommitmentBytes != 68 {
		t.Errorf("a commitment of %d bytes, want 68", len(c))
	}
	if back, err := ParseTableCommitment(c); err != nil || *back != *o.statement.Commitment || back.Digest() != o.statement.Commitment.Digest() {
		t.Errorf("a commitment did not survive its encoding: %v", err)
	}
	var infinity bn254.G1Affine
	nothing := TableCommitment{point: infinity}
	for name, b := range map[string][]byte{
		"empty": {}, "truncated": c[:67], "trailing": append(slices.Clone(c), 0), "another kind": append([]byte("CZT\x01"), c[4:]...),
		"off the curve": slices.Concat(c[:4], offCurve(), c[36:]), "infinity": nothing.Bytes(),
	} {
		if _, err := ParseTableCommitment(b); !errors.Is(err, ErrEncoding) {
			t.Errorf("commitment, %s: %v", name, err)
		}
	}
}

// The secret is in a file of its owner's, comes back, and is nowhere else.
func TestTableSecretFile(t *testing.T) {
	o := newOwner(t, table.Registration)
	path := filepath.Join(t.TempDir(), "job", "table.secret")
	if err := o.secret.Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: want 0600", info.Mode(), err)
	}
	back, err := LoadTableSecret(path)
	if err != nil || *back != *o.secret {
		t.Fatalf("a secret did not survive its file: %v", err)
	}
	for _, text := range []string{fmt.Sprint(o.secret), fmt.Sprintf("%v %+v %#v", o.secret, o.secret, o.secret)} {
		if strings.Contains(text, o.secret.blind[0].String()) || !strings.Contains(text, "hidden") {
			t.Errorf("a printed secret reads %q", text)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTableSecret(path); err == nil {
		t.Error("a secret that everybody can read was accepted")
	}
	if _, err := LoadTableSecret(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	b := o.secret.Bytes()
	for name, bad := range map[string][]byte{
		"empty": {}, "truncated": b[:len(b)-1], "trailing": append(slices.Clone(b), 0), "another kind": append([]byte("CZT\x01"), b[4:]...),
		"unreduced": append(slices.Clone(b[:len(b)-fr.Bytes]), bytes.Repeat([]byte{255}, fr.Bytes)...),
	} {
		if _, err := ParseTableSecret(bad); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
	back.Erase()
	if *back != (TableSecret{}) {
		t.Error("an erased secret is still there")
	}
}

func TestTableKeyStore(t *testing.T) {
	o := newOwner(t, table.Registration)
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Save(o.keys); err != nil {
		t.Fatal(err)
	}
	a := o.prove(t)
	manifest := o.keys.Manifest()
	back, err := store.LoadTable(o.keys.Shape(), manifest.Digest(), nil)
	if err != nil || !back.CanProve() {
		t.Fatalf("loading: %v", err)
	}
	verifier, err := store.LoadTableVerifier(o.keys.Shape(), fl.Digest{}, nil)
	if err != nil || verifier.CanProve() {
		t.Fatalf("loading a verifier: %v", err)
	}
	if err := verifier.VerifyTable(o.statement, a); err != nil {
		t.Error(err)
	}
	again, err := store.LoadOrSetupTable(o.keys.Shape(), nil, nil)
	if err != nil || again.Manifest() != o.keys.Manifest() {
		t.Errorf("the store has keys and others came: %v", err)
	}
	made, err := NewTableKeys(o.keys.Shape(), o.keys.proving, o.keys.verifying, o.keys.SRS(), OriginCeremony)
	if err != nil || made.Manifest().Origin != OriginCeremony {
		t.Errorf("keys of a ceremony: %v", err)
	}
	validation := tableKeysFor(t, table.Validation, tinyLayout)
	if _, err := NewTableKeys(o.keys.Shape(), nil, validation.verifying, o.keys.SRS(), OriginLocal); !errors.Is(err, ErrKeys) {
		t.Errorf("another relation's verifying key: %v", err)
	}
	if err := validation.VerifyTable(o.statement, a); !errors.Is(err, ErrRejected) {
		t.Errorf("another relation's attestation: %v", err)
	}
	// A commitment is good for keys of its own SRS only.
	other, err := SetupTable(o.keys.Shape(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.VerifyTable(o.statement, a); !errors.Is(err, ErrKeys) {
		t.Errorf("keys of another SRS: %v", err)
	}
	if _, err := store.LoadOrSetupTable(o.keys.Shape(), other.SRS(), nil); !errors.Is(err, ErrKeys) {
		t.Errorf("a store with keys of another SRS: %v", err)
	}
}
