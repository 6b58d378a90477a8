package zk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/he"
	"credence/zk/circuit/rlwe"
	"credence/zk/circuit/table"
	"credence/zk/circuit/training"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// trainingWorld is one federation's keys for training on tiny tables, all of
// one SRS.
type trainingWorld struct {
	suite   *he.Suite
	srs     *SRS
	linked  *Keys
	pk      *he.PublicKey
	key     *EpochKey
	trainer map[string]*Trainer
}

var tinyTraining = sync.OnceValues(func() (*trainingWorld, error) {
	w := &trainingWorld{trainer: map[string]*Trainer{}}
	var err error
	if w.suite, err = he.LookupSuite(tiny4); err != nil {
		return nil, err
	}
	if w.srs, err = NewLocalSRS(128); err != nil {
		return nil, err
	}
	shape, err := rlwe.LinkedShape(w.suite)
	if err != nil {
		return nil, err
	}
	if w.linked, err = Setup(shape, w.srs, nil); err != nil {
		return nil, err
	}
	seed := [he.SeedBytes]byte{5}
	w.pk = he.NewPublicKey(w.suite.CRS(seed).Mul(w.suite.TernaryPoly()).Neg().Add(w.suite.ErrorPoly()), seed)
	if w.key, err = w.linked.NewEpochKey(w.pk); err != nil {
		return nil, err
	}
	make := func(m fixedpoint.Model, kind tabular.Targets, steps int, batches, norm bool, part training.Part) *TrainingKeys {
		if err != nil {
			return nil
		}
		l := tabular.Layout{Rows: 6, Features: m.Features, Kind: kind, Targets: m.Outputs, Bits: 10}
		var s *training.Shape
		if s, err = training.NewShape(l, m, steps, batches, norm, part, w.suite); err != nil {
			return nil
		}
		var k *TrainingKeys
		k, err = SetupTraining(s, w.srs, nil)
		return k
	}
	logistic := fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 3, Outputs: 1}
	linear := fixedpoint.Model{Kind: fixedpoint.Linear, Features: 3, Outputs: 2}
	for name, keys := range map[string][2]*TrainingKeys{
		"logistic": {make(logistic, tabular.Binary, 2, false, false, training.Whole)},
		"chain": {
			make(linear, tabular.Real, 1, true, true, training.Last),
			make(linear, tabular.Real, 2, true, false, training.Inner),
		},
	} {
		if err != nil {
			return nil, err
		}
		if w.trainer[name], err = NewTrainer(keys[0], keys[1]); err != nil {
			return nil, err
		}
	}
	return w, nil
})

// trainee is one client with everything attested.
type trainee struct {
	world   *trainingWorld
	trainer *Trainer
	st      *TrainingStatement
	table   *tabular.Table
	secret  *TableSecret
	link    *Link
	update  *Attestation
}

// newTrainee trains, encrypts and attests the encryption.
func newTrainee(t testing.TB, trainer string, steps, batch int, client fl.NodeID) *trainee {
	t.Helper()
	w, err := tinyTraining()
	if err != nil {
		t.Fatal(err)
	}
	c := &trainee{world: w, trainer: w.trainer[trainer]}
	s := c.trainer.Shape()
	rng := rand.New(rand.NewPCG(uint64(len(client)), uint64(client[0])))
	if c.table, err = tabular.New(s.Layout, 5); err != nil {
		t.Fatal(err)
	}
	for i := range c.table.Used {
		for j := range s.Layout.Numbers() {
			c.table.Row(i)[s.Layout.Number(j)] = rng.Int64N(512) - 256
		}
		if s.Layout.Classes() > 0 {
			if err := c.table.SetClass(i, rng.IntN(s.Layout.Classes())); err != nil {
				t.Fatal(err)
			}
		}
	}
	commitment, secret, err := w.srs.CommitTable(c.table)
	if err != nil {
		t.Fatal(err)
	}
	c.secret = secret
	norm := 0.0
	if s.Norm {
		norm = 0.01
	}
	plan := fl.Plan{
		Genesis: fl.Digest{1}, Job: "job", Round: 3, Slots: w.suite.Values(), Shards: 1, WeightUnit: 4,
		Cohort: []fl.Assignment{{Node: client, Shards: []int{0}, Weight: 3}},
		Clip:   fl.Clip{Value: 0.1, Norm: norm}, ValueBits: w.suite.ValueBits(), Seed: 9,
	}
	scope, err := ScopeOf(plan, fl.Digest{2}, w.key.Digest(), client)
	if err != nil {
		t.Fatal(err)
	}
	global := make([]float32, s.Model.Parameters())
	for i := range global {
		global[i] = float32(rng.NormFloat64())
	}
	local := fixedpoint.Local{LearningRate: 0.5, Steps: steps, Batch: batch, Seed: 11}
	if c.st, err = TrainingStatementOf(plan, scope, s.Model, global, local, commitment, c.table.Used); err != nil {
		t.Fatal(err)
	}
	values, err := c.st.Train(s.Model, c.table)
	if err != nil {
		t.Fatal(err)
	}
	c.encrypt(t, values)
	return c
}

// encrypt encrypts values after some figures, and attests that.
func (c *trainee) encrypt(t testing.TB, values []int32) {
	t.Helper()
	packed := make([]int32, fl.MetricSlots, fl.MetricSlots+len(values))
	packed[0], packed[26] = 5, 63
	packed = append(packed, values...)
	ct, rnd, err := c.world.pk.EncryptForProof(packed)
	if err != nil {
		t.Fatal(err)
	}
	c.link = new(Link)
	c.update, err = c.world.linked.ProveUpdate(context.Background(), c.st.Scope, c.world.key,
		[]ShardInput{{Values: packed, Ciphertext: ct, Randomness: rnd}}, ProveOptions{Link: c.link})
	if err != nil {
		t.Fatal(err)
	}
	c.st.Messages = c.update.Messages()
}

func (c *trainee) prove(t testing.TB) *TrainingAttestation {
	t.Helper()
	a, err := c.trainer.ProveTraining(context.Background(), c.st, c.table, c.secret, c.link, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTrainingIsAttested(t *testing.T) {
	for _, tc := range []struct {
		trainer      string
		steps, batch int
		parts        int
	}{{"logistic", 2, 0, 1}, {"chain", 5, 2, 3}} {
		c := newTrainee(t, tc.trainer, tc.steps, tc.batch, "alice")
		update, err := ParseAttestation(c.world.linked.Shape(), c.update.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.world.linked.VerifyUpdate(c.st.Scope, c.world.key, update); err != nil {
			t.Fatal(err)
		}
		a, err := c.trainer.ParseTraining(c.prove(t).Bytes())
		if err != nil {
			t.Fatal(err)
		}
		// What a verifier checks beside: the registration of the same table.
		spec := tabular.Spec{Layout: c.trainer.Shape().Layout, Frac: fixedpoint.FeatureFraction, Schema: fl.Digest{4}}
		if spec.Layout.Kind == tabular.Real {
			spec.TargetFrac = fixedpoint.FeatureFraction
		}
		if err := c.trainer.Shape().Model.CheckSpec(spec); err != nil {
			t.Fatal(err)
		}
		c.register(t, spec)
		c.st.Messages = update.Messages()
		if err := c.trainer.VerifyTraining(c.st, a); err != nil || a.Parts() != tc.parts {
			t.Errorf("%s: %d parts, %v", tc.trainer, a.Parts(), err)
		}
		t.Logf("%s: %d bytes", tc.trainer, len(a.Bytes()))
	}
}

// register proves the table's registration and checks it, with keys of the
// same SRS.
func (c *trainee) register(t testing.TB, spec tabular.Spec) {
	t.Helper()
	shape, err := table.NewShape(table.Registration, spec.Layout)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := SetupTable(shape, c.world.srs, nil)
	if err != nil {
		t.Fatal(err)
	}
	st := &TableStatement{
		Scope:      TableScope{Genesis: c.st.Scope.Genesis, Job: c.st.Scope.Job, Node: c.st.Scope.Client, Spec: spec.Digest()},
		Commitment: c.st.Table, Rows: c.st.Rows,
	}
	a, err := keys.ProveTable(st, c.table, c.secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.VerifyTable(st, a); err != nil {
		t.Fatal(err)
	}
}

// Whatever a statement says differently, its proof does not hold.
func TestTrainingOfAnotherStatementIsRejected(t *testing.T) {
	c := newTrainee(t, "chain", 5, 2, "alice")
	a := c.prove(t)
	other := newTrainee(t, "chain", 5, 2, "bob")
	changes := map[string]func(st *TrainingStatement){
		"genesis":            func(st *TrainingStatement) { st.Scope.Genesis[3]++ },
		"job":                func(st *TrainingStatement) { st.Scope.Job = "other" },
		"round":              func(st *TrainingStatement) { st.Scope.Round++ },
		"plan":               func(st *TrainingStatement) { st.Scope.Plan[0]++ },
		"epoch key":          func(st *TrainingStatement) { st.Scope.EpochKey[0]++ },
		"client":             func(st *TrainingStatement) { st.Scope.Client = "bob" },
		"norm bound":         func(st *TrainingStatement) { st.Scope.Bound++ },
		"table":              func(st *TrainingStatement) { st.Table = other.st.Table },
		"fewer rows":         func(st *TrainingStatement) { st.Rows-- },
		"more rows":          func(st *TrainingStatement) { st.Rows++ },
		"starting model":     func(st *TrainingStatement) { st.Base[0]++ },
		"learning rate":      func(st *TrainingStatement) { st.Steps[4].Rate++ },
		"a row of a batch":   func(st *TrainingStatement) { swapRow(st.Steps[3].Batch, st.Rows) },
		"all rows":           func(st *TrainingStatement) { st.Steps[0].Batch = nil },
		"fewer steps":        func(st *TrainingStatement) { st.Steps = st.Steps[:3] },
		"more steps":         func(st *TrainingStatement) { st.Steps = append(st.Steps, st.Steps[:2]...) },
		"an odd step":        func(st *TrainingStatement) { st.Steps = st.Steps[:4] },
		"a row twice":        func(st *TrainingStatement) { st.Steps[0].Batch[1] = st.Steps[0].Batch[0] },
		"a row too many":     func(st *TrainingStatement) { st.Steps[0].Batch[1] = st.Rows },
		"weight":             func(st *TrainingStatement) { st.Quantiser.Factor++ },
		"clip value":         func(st *TrainingStatement) { st.Quantiser.Limit-- },
		"clip norm":          func(st *TrainingStatement) { st.Quantiser.NormSquare++ },
		"no clip norm":       func(st *TrainingStatement) { st.Quantiser.NormSquare = 0 },
		"noise":              func(st *TrainingStatement) { st.Noise[0] ^= 1 },
		"noise out of range": func(st *TrainingStatement) { st.Noise[0] = 1 << fixedpoint.NoiseBits },
		"encrypted values":   func(st *TrainingStatement) { st.Messages = other.st.Messages },
		"no messages":        func(st *TrainingStatement) { st.Messages = nil },
		"shards":             func(st *TrainingStatement) { st.Scope.Shards = []int{1} },
	}
	for name, change := range changes {
		st := cloneStatement(c.st)
		change(st)
		if err := c.trainer.VerifyTraining(st, a); !errors.Is(err, ErrRejected) && !errors.Is(err, ErrScope) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.trainer.VerifyTraining(cloneStatement(c.st), a); err != nil {
		t.Errorf("the statement itself: %v", err)
	}
}

func swapRow(batch []int, rows int) {
	for i := range rows {
		if !slices.Contains(batch, i) {
			batch[0] = i
			slices.Sort(batch)
			return
		}
	}
}

func cloneStatement(st *TrainingStatement) *TrainingStatement {
	out, scope := *st, *st.Scope
	out.Scope = &scope
	out.Base, out.Noise, out.Messages = slices.Clone(st.Base), slices.Clone(st.Noise), slices.Clone(st.Messages)
	out.Steps = slices.Clone(st.Steps)
	for i := range out.Steps {
		out.Steps[i].Batch = slices.Clone(out.Steps[i].Batch)
	}
	return &out
}

func TestTrainingBatchesNameTheCulprit(t *testing.T) {
	clients := []*trainee{newTrainee(t, "chain", 3, 3, "a"), newTrainee(t, "chain", 3, 3, "b"), newTrainee(t, "chain", 3, 3, "c")}
	var claims []TrainingClaim
	for _, c := range clients {
		claims = append(claims, TrainingClaim{Statement: c.st, Attestation: c.prove(t)})
	}
	check := func(want ...int) {
		t.Helper()
		bad, err := clients[0].trainer.VerifyTrainings(claims)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, b := range bad {
			got = append(got, b.Index)
			if !errors.Is(b.Err, ErrRejected) {
				t.Errorf("claim %d: %v", b.Index, b.Err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("rejected %v, want %v", got, want)
		}
	}
	check()
	claims[0].Attestation, claims[2].Attestation = claims[2].Attestation, claims[0].Attestation
	check(0, 2)
	claims[0].Attestation, claims[2].Attestation = claims[2].Attestation, claims[0].Attestation
	// One scalar or point of a part changed: only the pairings tell.
	for i, p := range claims[1].Attestation.parts {
		for name, bend := range map[string]func(p *trainingPart){
			"table value": func(p *trainingPart) { p.atTable.SetOne() },
			"opening":     func(p *trainingPart) { p.opening = p.krs },
			"krs":         func(p *trainingPart) { p.krs = p.opening },
			"witness":     func(p *trainingPart) { p.witness = p.krs },
			"pok":         func(p *trainingPart) { p.pok = p.krs },
			"end":         func(p *trainingPart) { p.end = p.krs },
		} {
			kept := *p
			bend(p)
			if name != "end" || i == 0 {
				check(1)
			}
			*p = kept
		}
	}
	check()
	// Parts in another order, or of two trainings.
	parts := claims[1].Attestation.parts
	claims[1].Attestation = &TrainingAttestation{parts: []*trainingPart{claims[0].Attestation.parts[0], parts[1]}}
	check(1)
	claims[1].Attestation = &TrainingAttestation{parts: parts[1:]}
	check(1)
	claims[1].Attestation = nil
	check(1)
}

// A node that is told to prove what is not so finds out before it proves.
func TestTrainingIsNotProvenOfOtherThings(t *testing.T) {
	c := newTrainee(t, "logistic", 2, 0, "alice")
	prove := func() error {
		_, err := c.trainer.ProveTraining(context.Background(), c.st, c.table, c.secret, c.link, nil)
		return err
	}
	for name, bend := range map[string]struct {
		change func()
		want   error
	}{
		"other data":     {func() { c.table.SetFeature(0, 0, c.table.Feature(0, 0)+1) }, ErrCommitment},
		"no finite data": {func() { c.table.SetFeature(0, 0, 1<<40) }, tabular.ErrTable},
		"label":          {func() { c.table.SetTarget(0, 0, 2) }, tabular.ErrTable},
		"other rows":     {func() { c.st.Rows-- }, ErrWitness},
		"other rate":     {func() { c.st.Steps[0].Rate *= 2 }, ErrCommitment},
		"diverging":      {func() { c.st.Base[0], c.st.Base[1], c.st.Base[2] = 1<<23-1, 1<<23-1, -1<<23 }, fixedpoint.ErrRange},
		"other message":  {func() { c.st.Messages = []Commitment{c.update.proofs[0].norm} }, ErrCommitment},
		"no link":        {func() { c.link = nil }, ErrCommitment},
		"padding":        {func() { c.link.shards[0].values = append(slices.Clone(c.link.shards[0].values), 1) }, ErrCommitment},
	} {
		kept, st, table, link := *c, cloneStatement(c.st), *c.table, *c.link
		table.Cells = slices.Clone(table.Cells)
		link.shards = slices.Clone(link.shards)
		c.st, c.table, c.link = st, &table, &link
		bend.change()
		if err := prove(); !errors.Is(err, bend.want) {
			t.Errorf("%s: %v, want %v", name, err, bend.want)
		}
		*c = kept
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.trainer.ProveTraining(ctx, c.st, c.table, c.secret, c.link, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := c.world.linked.ProveUpdate(context.Background(), c.st.Scope, c.world.key, make([]ShardInput, 1), ProveOptions{}); err == nil {
		t.Error("a linked update was attested without a link")
	}
	for _, s := range []string{fmt.Sprint(c.link), fmt.Sprintf("%#v", c.link)} {
		if strings.Contains(s, "values") {
			t.Errorf("a link prints as %s", s)
		}
	}
	c.link.Erase()
	if err := prove(); !errors.Is(err, ErrCommitment) {
		t.Errorf("erased link: %v", err)
	}
}

// Values that are not the training's, encrypted and attested as such, are no
// training's.
func TestInventedUpdatesAreRejected(t *testing.T) {
	c := newTrainee(t, "logistic", 2, 0, "mallory")
	honest := c.prove(t)
	values, err := c.st.Train(c.trainer.Shape().Model, c.table)
	if err != nil {
		t.Fatal(err)
	}
	values[0] = -values[0] - 1
	c.encrypt(t, values)
	if err := c.world.linked.VerifyUpdate(c.st.Scope, c.world.key, c.update); err != nil {
		t.Fatal(err)
	}
	if _, err := c.trainer.ProveTraining(context.Background(), c.st, c.table, c.secret, c.link, nil); !errors.Is(err, ErrCommitment) {
		t.Errorf("proving: %v", err)
	}
	if err := c.trainer.VerifyTraining(c.st, honest); !errors.Is(err, ErrRejected) {
		t.Errorf("the honest proof with other messages: %v", err)
	}
}

func TestTrainingEncodingIsStrict(t *testing.T) {
	c := newTrainee(t, "chain", 3, 2, "alice")
	b := c.prove(t).Bytes()
	var high fr.Element
	high.SetOne()
	for name, bad := range map[string][]byte{
		"empty":      nil,
		"magic":      append([]byte("CZX\x01"), b[4:]...),
		"truncated":  b[:len(b)-1],
		"trailing":   append(slices.Clone(b), 0),
		"no parts":   append(slices.Clone(b[:4]), 0, 0, 0, 0),
		"one part":   append(append(slices.Clone(b[:4]), 1, 0, 0, 0), b[8:]...),
		"many parts": append(append(slices.Clone(b[:4]), 255, 255, 255, 255), b[8:]...),
		"scalar":     append(slices.Clone(b[:len(b)-fr.Bytes]), fr.Modulus().Bytes()...),
		"point":      append(append(slices.Clone(b[:8]), make([]byte, 64)...), b[72:]...),
	} {
		if _, err := c.trainer.ParseTraining(bad); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseTraining(f *testing.F) {
	w, err := tinyTraining()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []struct {
		trainer string
		steps   int
	}{{"logistic", 2}, {"chain", 3}} {
		f.Add(newTrainee(f, seed.trainer, seed.steps, 0, "alice").prove(f).Bytes())
	}
	f.Add([]byte(trainingMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, trainer := range w.trainer {
			if a, err := trainer.ParseTraining(b); err == nil && string(a.Bytes()) != string(b) {
				t.Error("decoded and encoded differ")
			}
		}
	})
}

// A job's settings give one shape for all clients, or an error.
func TestTrainingShapeOfAJob(t *testing.T) {
	m := fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 3, Outputs: 1}
	l := tabular.Layout{Rows: 6, Features: 3, Kind: tabular.Binary, Targets: 1, Bits: 10}
	for name, tc := range map[string]struct {
		local fixedpoint.Local
		clip  fl.Clip
		want  string // of the name; empty: refused
	}{
		"steps":   {fixedpoint.Local{LearningRate: 1, Steps: 4}, fl.Clip{Value: 1}, "/4/whole/"},
		"epochs":  {fixedpoint.Local{LearningRate: 1, Epochs: 3}, fl.Clip{Value: 1}, "/3/whole/"},
		"batches": {fixedpoint.Local{LearningRate: 1, Steps: 4, Batch: 2}, fl.Clip{Value: 1, Norm: 2}, "/4-batches-norm/whole/"},
		"both":    {fixedpoint.Local{LearningRate: 1, Epochs: 3, Batch: 2}, fl.Clip{Value: 1}, ""},
		"neither": {fixedpoint.Local{LearningRate: 1}, fl.Clip{Value: 1}, ""},
	} {
		s, err := TrainingShapeOf(l, m, tc.local, tc.clip, suite(t, tiny4))
		if (err != nil) != (tc.want == "") || err == nil && !strings.Contains(s.Name(), tc.want) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestTrainingKeysAreKept(t *testing.T) {
	w, err := tinyTraining()
	if err != nil {
		t.Fatal(err)
	}
	store, err := OpenStore(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	keys := w.trainer["logistic"].final
	if err := store.Save(keys); err != nil {
		t.Fatal(err)
	}
	manifest := keys.Manifest()
	verifier, err := store.LoadTrainingVerifier(keys.Shape(), manifest.Digest(), nil)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := store.LoadOrSetupTraining(keys.Shape(), w.srs, nil)
	if err != nil || !loaded.CanProve() || verifier.CanProve() {
		t.Fatal(err)
	}
	c := newTrainee(t, "logistic", 2, 0, "alice")
	a := c.prove(t)
	trainer, err := NewTrainer(verifier, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := trainer.VerifyTraining(c.st, a); err != nil {
		t.Error(err)
	}
	if _, err := trainer.ProveTraining(context.Background(), c.st, c.table, c.secret, c.link, nil); !errors.Is(err, ErrKeys) {
		t.Errorf("proving without the proving half: %v", err)
	}
	chain := w.trainer["chain"]
	for name, pair := range map[string][2]*TrainingKeys{
		"whole and inner": {keys, chain.inner}, "last alone": {chain.final, nil}, "inner alone": {chain.inner, nil}, "two lasts": {chain.final, chain.final},
	} {
		if _, err := NewTrainer(pair[0], pair[1]); !errors.Is(err, ErrKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
