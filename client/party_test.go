package client

import (
	"context"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"credence/fl"
	"credence/fl/flpb"
	"credence/models"
)

// ledgerAPI is an aggregator that answers look-ups with what a test put in it.
type ledgerAPI struct {
	flpb.FederationClient
	job          *flpb.Job
	models       []*flpb.ModelVersion
	blobs        map[fl.Digest][]byte
	transactions []*flpb.Transaction
	page         int
}

func (a *ledgerAPI) ListJobs(context.Context, *flpb.ListJobsRequest, ...grpc.CallOption) (*flpb.ListJobsResponse, error) {
	return &flpb.ListJobsResponse{Jobs: []*flpb.Job{a.job}}, nil
}

func (a *ledgerAPI) ListModels(context.Context, *flpb.ListModelsRequest, ...grpc.CallOption) (*flpb.ListModelsResponse, error) {
	return &flpb.ListModelsResponse{Models: a.models}, nil
}

func (a *ledgerAPI) Download(_ context.Context, r *flpb.DownloadRequest, _ ...grpc.CallOption) (*flpb.DownloadResponse, error) {
	data := a.blobs[fl.Digest(r.GetDigest())]
	return &flpb.DownloadResponse{Data: data, Size: int64(len(data))}, nil
}

func (a *ledgerAPI) ListTransactions(_ context.Context, r *flpb.ListTransactionsRequest, _ ...grpc.CallOption) (*flpb.ListTransactionsResponse, error) {
	rest := a.transactions[r.GetOffset():]
	n := min(a.page, len(rest))
	return &flpb.ListTransactionsResponse{Transactions: rest[:n], More: n < len(rest)}, nil
}

// published is a job with one published version, as an honest aggregator
// shows it.
type published struct {
	t        *testing.T
	key      ed25519.PrivateKey
	remote   *Remote
	api      *ledgerAPI
	manifest fl.Manifest
	params   []float32
}

func newPublished(t *testing.T) *published {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &published{t: t, key: key}
	spec := models.Spec{Kind: models.Logistic, Inputs: 2, Classes: 2}
	model, err := models.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	p.params = model.Init(3)
	genesis := fl.DigestBytes([]byte("genesis"))
	job := fl.JobSpec{
		Genesis: genesis, Job: "j", Owner: "lab", Schema: fl.DigestBytes(nil), Parameters: 3, InitialModel: genesis,
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightUniform}, Clip: fl.Clip{Value: 1},
		Rounds: 1, MinCohort: 2, RoundDeadline: 1, ProofLevel: fl.ProofNone, Rates: fl.Rates{Work: 1000},
	}
	if job.Model, err = EncodeModel(spec); err != nil {
		t.Fatal(err)
	}
	if job.Training, err = EncodeTraining(models.TrainConfig{LearningRate: 1, Epochs: 1}); err != nil {
		t.Fatal(err)
	}
	signed, err := fl.Sign(job, "lab", key)
	if err != nil {
		t.Fatal(err)
	}
	blob := fl.EncodeParameters(p.params)
	at := fl.Instant(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	p.manifest = fl.Manifest{
		Genesis: genesis, JobSpec: signed.Digest(), Job: "j", Round: 1, Version: 1, Plan: genesis, Seal: genesis, EpochKey: genesis,
		KeyHolders: []fl.NodeID{"a", "b"}, WrongShare: []fl.NodeID{}, BaseModel: genesis, Model: fl.DigestBytes(blob),
		ProofLevel: fl.ProofNone, Epsilon: "infinity", Postings: []fl.Posting{}, SealedAt: at, OpenedAt: at,
	}
	p.api = &ledgerAPI{
		job:   &flpb.Job{Spec: signed.Encode(), Phase: "done"},
		blobs: map[fl.Digest][]byte{fl.DigestBytes(blob): blob},
	}
	home := &Home{Dir: t.TempDir(), Node: "lab", GenesisID: genesis, Genesis: fl.Genesis{AggregatorKey: public}}
	p.remote = &Remote{api: p.api, blobs: p.api, home: home, chunk: uploadChunk}
	p.show(p.manifest)
	return p
}

// show makes the aggregator list a manifest.
func (p *published) show(m fl.Manifest) {
	p.t.Helper()
	e, err := fl.Sign(m, fl.AggregatorID, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.api.models = []*flpb.ModelVersion{{Job: string(m.Job), Version: m.Version, Manifest: e.Encode()}}
}

func TestPull(t *testing.T) {
	p := newPublished(t)
	for _, version := range []uint64{0, 1} {
		got, err := p.remote.Pull(t.Context(), "j", version)
		if err != nil {
			t.Fatal(err)
		}
		if got.Version.Manifest.Version != 1 || len(got.Params) != 3 || got.Params[0] != p.params[0] {
			t.Errorf("version %d: got %+v", version, got)
		}
		if m := got.Metadata(); m["job"] != "j" || m["model"] != p.manifest.Model.String() {
			t.Errorf("metadata %v", m)
		}
	}
	if _, err := p.remote.Pull(t.Context(), "j", 2); fl.CodeOf(err) != fl.CodeNotFound {
		t.Errorf("a version that is not there: %v", err)
	}
	p.api.models = nil
	if _, err := p.remote.Pull(t.Context(), "j", 0); fl.CodeOf(err) != fl.CodeNotFound {
		t.Errorf("nothing published: %v", err)
	}
}

func TestPullRefusesWhatTheManifestDoesNotSay(t *testing.T) {
	for name, change := range map[string]func(*published){
		"signed by another": func(p *published) {
			_, other, err := ed25519.GenerateKey(nil)
			if err != nil {
				t.Fatal(err)
			}
			p.key = other
			p.show(p.manifest)
		},
		"another job": func(p *published) {
			m := p.manifest
			m.JobSpec = fl.DigestBytes([]byte("another"))
			p.show(m)
		},
		"another federation": func(p *published) {
			m := p.manifest
			m.Genesis = fl.DigestBytes([]byte("another"))
			p.show(m)
		},
		"other parameters": func(p *published) {
			p.api.blobs[p.manifest.Model] = fl.EncodeParameters([]float32{1, 2, 3})
		},
		"too few parameters": func(p *published) {
			m, blob := p.manifest, fl.EncodeParameters([]float32{1})
			m.Model = fl.DigestBytes(blob)
			p.api.blobs[m.Model] = blob
			p.show(m)
		},
		"another job's version": func(p *published) {
			m := p.manifest
			m.Job = "k"
			p.show(m)
		},
	} {
		p := newPublished(t)
		change(p)
		if _, err := p.remote.Pull(t.Context(), "j", 0); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestHistoryReadsEveryPageAndRefusesWhatDoesNotBalance(t *testing.T) {
	ref := fl.DigestBytes([]byte("ref"))
	entry := func(id string, out, in int64) *flpb.Transaction {
		return &flpb.Transaction{Id: id, Ref: ref[:], Postings: []*flpb.Posting{{Account: "issuer", Amount: -out}, {Account: "party/a", Amount: in}}}
	}
	api := &ledgerAPI{page: 2, transactions: []*flpb.Transaction{entry("a", 1, 1), entry("b", 2, 2), entry("c", 3, 3), entry("d", 4, 4), entry("e", 5, 5)}}
	r := &Remote{api: api}
	got, err := r.History(t.Context(), "")
	if err != nil || len(got) != 5 || got[4].ID != "e" || got[4].Postings[1].Amount != 5 {
		t.Errorf("got %+v, %v", got, err)
	}
	api.transactions[3] = entry("d", 4, 5)
	if _, err := r.History(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "d") {
		t.Errorf("a transaction that does not balance: %v", err)
	}
	api.transactions[3] = &flpb.Transaction{Id: "d", Ref: ref[:5]}
	if _, err := r.History(t.Context(), ""); err == nil {
		t.Error("a short reference: accepted")
	}
}
