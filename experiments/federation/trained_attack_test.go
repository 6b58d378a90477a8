package federation_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"credence/client"
	"credence/datasets"
	"credence/fl"
	"credence/fl/flpb"
	"credence/he"
	"credence/zk"
	"credence/zk/tabular"
	"credence/zk/trained"
)

// liar is an enrolled node that the test plays: it holds real keys and real
// proof keys, so that nothing but the checks of level trained stands between
// what it sends and the sum.
type liar struct {
	*clinic
	home   *client.Home
	remote *client.Remote
	suite  *he.Suite
	keysID fl.Digest
	specID fl.Digest
	job    *trained.Job
	keys   *trained.Keys
	schema *datasets.Schema
	data   trained.Dataset // what it joined with
	commit fl.Digest

	plan   fl.Plan
	planID fl.Digest
	public *he.PublicKey
	epoch  *zk.EpochKey
	global []float32
}

func (l *liar) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// refused expects that a document is turned down with a code.
func (l *liar) refused(what string, code fl.Code, doc fl.Document) {
	l.t.Helper()
	if _, err := l.remote.Submit(l.t.Context(), doc); fl.CodeOf(err) != code {
		l.t.Errorf("%s: got %v, want code %s", what, err, code)
	}
}

func (l *liar) put(raw []byte) fl.Digest {
	l.t.Helper()
	d, err := l.remote.Upload(l.t.Context(), raw)
	l.must(err)
	return d
}

func newLiar(t *testing.T) *liar {
	c, cache := newWard(t, nil, "beta", "gamma", "delta")
	l := &liar{clinic: c}
	o := c.trainedJob(1)
	c.keysFor(cache, o)
	spec, err := c.owner.SubmitJob(t.Context(), o)
	l.must(err)
	view, err := c.owner.Job(t.Context(), "screening")
	l.must(err)
	l.specID = view.SpecID
	l.home, err = client.OpenHome(c.NodeDir("alpha"))
	l.must(err)
	l.remote, err = c.Connect(l.home)
	l.must(err)
	t.Cleanup(func() { _ = l.remote.Close() })
	l.suite, err = he.LookupSuite(l.home.Genesis.Suite)
	l.must(err)
	l.job, err = trained.Read(spec, l.suite)
	l.must(err)
	store, err := zk.OpenStore(cache)
	l.must(err)
	l.keys, err = l.job.Load(store, func(string) (fl.Digest, error) { return fl.Digest{}, nil }, true, nil)
	l.must(err)
	for l.keysID.IsZero() {
		if offer := l.offer(); offer != nil {
			copy(l.keysID[:], offer.GetProofKeys())
		}
	}
	l.schema, err = datasets.LoadSchema(filepath.Join(c.dataDir("alpha"), datasets.NodeSchemaFile))
	l.must(err)
	table, _, err := datasets.LoadTable(filepath.Join(c.dataDir("alpha"), datasets.NodeDataFile), "", l.schema, l.job.Table)
	l.must(err)
	l.data = l.committed(table)
	return l
}

// offer polls for the offer of a job, nil while there is none.
func (l *liar) offer() *flpb.OfferTask {
	l.t.Helper()
	answer, err := l.remote.API().Work(l.t.Context(), &flpb.WorkRequest{WaitMs: 500, ClockUnixMs: time.Now().UnixMilli()})
	l.must(err)
	for _, task := range answer.GetTasks() {
		if offer := task.GetOffer(); offer != nil {
			return offer
		}
	}
	return nil
}

// committed commits to a table, without proofs yet.
func (l *liar) committed(table *tabular.Table) trained.Dataset {
	l.t.Helper()
	commitment, secret, err := l.keys.Registration.SRS().CommitTable(table)
	l.must(err)
	return trained.Dataset{Table: table, Secret: secret, Document: fl.DatasetCommitment{
		Genesis: l.home.GenesisID, JobSpec: l.specID, Job: "screening", Node: "alpha", ProofKeys: l.keysID, Spec: l.job.Table.Digest(),
		Commitment: commitment.Bytes(), Rows: int64(table.Used), CommittedAt: fl.Instant(time.Now()),
	}}
}

// proven uploads the proofs of a data set and names them.
func (l *liar) proven(d trained.Dataset) fl.DatasetCommitment {
	l.t.Helper()
	registration, validation, err := l.job.Prove(l.keys, d)
	l.must(err)
	d.Document.Registration, d.Document.Validation = l.put(registration), l.put(validation)
	return d.Document
}

func (l *liar) join(dataset fl.Digest, samples int64) fl.JobJoin {
	return fl.JobJoin{Genesis: l.home.GenesisID, JobSpec: l.specID, Job: "screening", Node: "alpha", Samples: samples, Dataset: dataset, JoinedAt: fl.Instant(time.Now())}
}

// fewer returns the first rows of a table.
func (l *liar) fewer(t *tabular.Table, rows int) *tabular.Table {
	out, err := tabular.New(t.Layout, rows)
	l.must(err)
	for i := range rows {
		copy(out.Row(i), t.Row(i))
	}
	l.must(out.Check())
	return out
}

// open waits for the round and reads what an update is made of.
func (l *liar) open() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		answer, err := l.remote.API().Work(ctx, &flpb.WorkRequest{WaitMs: 500, ClockUnixMs: time.Now().UnixMilli()})
		l.must(err)
		i := slices.IndexFunc(answer.GetTasks(), func(t *flpb.Task) bool { return t.GetTrain() != nil })
		if i < 0 {
			continue
		}
		task := answer.GetTasks()[i].GetTrain()
		planDoc, err := fl.DecodeEnvelope(task.GetPlan())
		l.must(err)
		l.must(planDoc.Read(&l.plan))
		l.planID = planDoc.Digest()
		keyDoc, err := fl.DecodeEnvelope(task.GetEpochKey())
		l.must(err)
		var key fl.EpochKey
		l.must(keyDoc.Read(&key))
		raw, err := l.remote.Fetch(ctx, key.PublicKey, keyDoc.Digest())
		l.must(err)
		l.public, err = l.suite.ParsePublicKey(raw)
		l.must(err)
		l.epoch, err = l.keys.Update.NewEpochKey(l.public)
		l.must(err)
		raw, err = l.remote.Fetch(ctx, l.plan.BaseModel, l.planID)
		l.must(err)
		l.global, err = fl.DecodeParameters(raw, l.job.Spec.Parameters)
		l.must(err)
		return
	}
}

// crime is what a dishonest update differs in.
type crime struct {
	job    *trained.Job     // trained by other terms
	data   *trained.Dataset // trained on other rows
	plan   func(*fl.Plan)   // attested for another plan
	client fl.NodeID        // in another's name
	global func([]float32)  // started from another model
	header func(*fl.UpdateHeader)
}

// update makes an update with valid proofs of the wrong thing.
func (l *liar) update(c crime) fl.UpdateHeader {
	l.t.Helper()
	job, data, plan, name := l.job, l.data, l.plan, fl.NodeID("alpha")
	global := slices.Clone(l.global)
	if c.job != nil {
		job = c.job
	}
	if c.data != nil {
		data = *c.data
	}
	if c.plan != nil {
		c.plan(&plan)
	}
	if c.client != "" {
		name = c.client
	}
	if c.global != nil {
		c.global(global)
	}
	scope, err := zk.ScopeOf(plan, l.planID, l.epoch.Digest(), name)
	l.must(err)
	st, err := job.Statement(plan, scope, global, data.Document)
	l.must(err)
	values, err := st.Train(job.Model, data.Table)
	l.must(err)
	h := fl.UpdateHeader{
		Genesis: l.plan.Genesis, Plan: l.planID, EpochKey: l.plan.EpochKey, Job: "screening", Round: l.plan.Round, Node: "alpha",
		Steps: int64(l.job.Spec.Trained.Steps), ProofLevel: fl.ProofTrained, Dataset: l.commit,
	}
	att, link, ciphertext := l.encrypt(scope, values)
	proof, err := l.keys.ProveTraining(l.t.Context(), st, data, att, link, nil)
	l.must(err)
	h.Ciphertexts = []fl.ShardCiphertext{{Shard: 0, Digest: l.put(ciphertext)}}
	h.Attestation, h.Training = l.put(att.Bytes()), l.put(proof)
	if c.header != nil {
		c.header(&h)
	}
	return h
}

// encrypt encrypts values and attests the encryption, as any client can.
func (l *liar) encrypt(scope *zk.Scope, values []int32) (*zk.Attestation, *zk.Link, []byte) {
	l.t.Helper()
	packed, err := fl.PackShard(new(fl.Figures), values, l.plan.ValueBits)
	l.must(err)
	ciphertext, randomness, err := l.public.EncryptForProof(packed)
	l.must(err)
	link := new(zk.Link)
	att, err := l.keys.Update.ProveUpdate(l.t.Context(), scope, l.epoch, []zk.ShardInput{{Values: packed, Ciphertext: ciphertext, Randomness: randomness}}, zk.ProveOptions{Link: link})
	l.must(err)
	return att, link, ciphertext.Bytes()
}

// TestTrainedLies: a client with real keys tells every lie that level trained is
// there to catch, each with proofs that hold for something else. Each is
// refused with the code for a wrong proof, and the honest update is then taken.
func TestTrainedLies(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	l.liesOfJoining()
	l.open()

	terms := func(change func(*fl.TrainedTerms)) *trained.Job {
		spec := l.job.Spec
		other := *spec.Trained
		change(&other)
		spec.Trained = &other
		job, err := trained.Read(spec, l.suite)
		l.must(err)
		return job
	}
	fewer := l.committed(l.fewer(l.data.Table, l.data.Table.Used-1))
	changed := l.fewer(l.data.Table, l.data.Table.Used)
	changed.SetFeature(0, 0, changed.Feature(0, 0)+1)
	other := l.committed(changed)
	for name, c := range map[string]crime{
		"trained on other rows than committed": {data: &other},
		"trained on fewer rows":                {data: &fewer},
		"another learning rate":                {job: terms(func(t *fl.TrainedTerms) { t.LearningRate *= 2 })},
		"another order of the rows":            {job: terms(func(t *fl.TrainedTerms) { t.Seed++ })},
		"another starting model":               {global: func(w []float32) { w[0] += 0.25 }},
		"for another round":                    {plan: func(p *fl.Plan) { p.Round++ }},
		"for another client":                   {client: "beta"},
		"more steps declared":                  {header: func(h *fl.UpdateHeader) { h.Steps++ }},
		"fewer steps declared":                 {header: func(h *fl.UpdateHeader) { h.Steps-- }},
		"of another commitment": {header: func(h *fl.UpdateHeader) {
			h.Dataset = fl.DigestBytes([]byte("another"))
		}},
		"no training attestation of this job": {header: func(h *fl.UpdateHeader) { h.Training = h.Attestation }},
	} {
		l.refused(name, fl.CodeProof, l.update(c))
	}

	// Its own training, and the encryption of something else: the negated update.
	honest := l.update(crime{})
	scope, err := zk.ScopeOf(l.plan, l.planID, l.epoch.Digest(), "alpha")
	l.must(err)
	st, err := l.job.Statement(l.plan, scope, l.global, l.data.Document)
	l.must(err)
	values, err := st.Train(l.job.Model, l.data.Table)
	l.must(err)
	for i := range values {
		values[i] = -values[i]
	}
	att, link, ciphertext := l.encrypt(scope, values)
	if _, err := l.keys.ProveTraining(t.Context(), st, l.data, att, link, nil); err == nil {
		t.Error("a training of other values than were encrypted was attested")
	}
	flipped := honest
	flipped.Ciphertexts = []fl.ShardCiphertext{{Shard: 0, Digest: l.put(ciphertext)}}
	flipped.Attestation = l.put(att.Bytes())
	l.refused("the negated update under the honest training", fl.CodeProof, flipped)

	if _, err := l.remote.Submit(t.Context(), honest); err != nil {
		t.Fatalf("the honest update: %v", err)
	}
	if v := l.await(2 * time.Minute); v.GetPhase() != "done" {
		t.Fatalf("the job is %s: %s", v.GetPhase(), v.GetReason())
	}
	record, err := l.owner.Models(t.Context(), "screening")
	l.must(err)
	round, err := l.owner.RoundRecord(t.Context(), record[0])
	l.must(err)
	if !slices.Contains(round.Seal.Clients, "alpha") {
		t.Errorf("the seal holds %v", round.Seal.Clients)
	}
}

// liesOfJoining tells everything about its data that is not so, and joins.
func (l *liar) liesOfJoining() {
	l.t.Helper()
	honest := l.proven(l.data)
	doc := func(change func(*fl.DatasetCommitment)) fl.DatasetCommitment {
		d := honest
		change(&d)
		return d
	}
	rest := fl.DigestBytes([]byte("another"))
	l.refused("joining without a commitment", fl.CodeProof, l.join(rest, honest.Rows))
	l.refused("more rows than proven", fl.CodeProof, doc(func(d *fl.DatasetCommitment) { d.Rows-- }))
	l.refused("more rows than a table holds", fl.CodeProof, doc(func(d *fl.DatasetCommitment) { d.Rows = 9 }))
	l.refused("another quantisation", fl.CodeProof, doc(func(d *fl.DatasetCommitment) { d.Spec = rest }))
	l.refused("keys that there are not", fl.CodeProof, doc(func(d *fl.DatasetCommitment) { d.ProofKeys = rest }))
	l.refused("no proof of what the job requires", fl.CodeProof, doc(func(d *fl.DatasetCommitment) { d.Validation = fl.Digest{} }))
	l.refused("the registration as validation", fl.CodeProof, doc(func(d *fl.DatasetCommitment) { d.Validation = d.Registration }))
	l.refused("proofs that were not uploaded", fl.CodeNotReady, doc(func(d *fl.DatasetCommitment) { d.Registration = rest }))
	l.refused("another's name", fl.CodeNotAllowed, doc(func(d *fl.DatasetCommitment) { d.Node = "beta" }))
	other := l.committed(l.data.Table)
	l.refused("proofs of another commitment to the same rows", fl.CodeProof, doc(func(d *fl.DatasetCommitment) { d.Commitment = other.Document.Commitment }))

	signed, err := fl.Sign(honest, "alpha", l.home.Keys.Signing)
	l.must(err)
	for range 2 { // again is no second commitment
		_, err = l.remote.SubmitEnvelope(l.t.Context(), signed)
		l.must(err)
	}
	l.refused("a second commitment", fl.CodeConflict, l.proven(other))
	l.commit, l.data.Document = signed.Digest(), honest
	l.refused("more samples than proven rows", fl.CodeProof, l.join(l.commit, honest.Rows+1))
	l.refused("no dataset at level trained", fl.CodeProof, l.join(fl.Digest{}, honest.Rows))
	_, err = l.remote.Submit(l.t.Context(), l.join(l.commit, honest.Rows))
	l.must(err)
}
