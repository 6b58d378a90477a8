package client

import (
	"context"
	"fmt"

	"credence/datasets"
	"credence/fl"
	"credence/fl/flpb"
	"credence/models"
)

// JobOptions are what an owner says about a job; the rest follows from the
// federation and the model.
type JobOptions struct {
	Job           fl.JobID
	SchemaText    string
	Model         models.Spec
	Training      models.TrainConfig
	Strategy      fl.StrategySpec
	Clip          fl.Clip
	Privacy       PrivacyOptions
	Rounds        int
	CohortSize    int // 0: every node that joined
	MinCohort     int // 0: the genesis'
	RoundDeadline int // seconds
	SampleCap     int64
	StepCap       int64
	Budget        int64
	Rates         fl.Rates
	ProofLevel    fl.ProofLevel  // "": the genesis' floor
	Trained       TrainedOptions // at level trained only
	Seed          uint64
}

// Draft returns the specification that the options and a genesis give, but for
// the owner and the digest of the genesis, and the initial model. What a
// federation needs proof keys for follows from it.
func (o JobOptions) Draft(genesis fl.Genesis) (spec fl.JobSpec, initial []byte, err error) {
	model, err := models.New(o.Model)
	if err != nil {
		return fl.JobSpec{}, nil, err
	}
	if err := o.Training.Validate(); err != nil {
		return fl.JobSpec{}, nil, err
	}
	if o.Strategy, err = CompleteStrategy(o.Strategy, o.Training, model); err != nil {
		return fl.JobSpec{}, nil, err
	}
	spec = fl.JobSpec{
		Job:    o.Job,
		Schema: fl.DigestBytes([]byte(o.SchemaText)), SchemaText: o.SchemaText,
		Parameters: model.NumParameters(), Strategy: o.Strategy, Clip: o.Clip, Rounds: o.Rounds, CohortSize: o.CohortSize,
		MinCohort: o.MinCohort, RoundDeadline: o.RoundDeadline, ProofLevel: o.ProofLevel,
		SampleCap: o.SampleCap, StepCap: o.StepCap, Budget: o.Budget, Rates: o.Rates, Seed: o.Seed,
	}
	if spec.ProofLevel == "" {
		spec.ProofLevel = genesis.ProofFloor
	}
	if spec.MinCohort == 0 {
		spec.MinCohort = genesis.MinCohort
	}
	if err := o.resolvePrivacy(genesis.Suite, &spec); err != nil {
		return fl.JobSpec{}, nil, err
	}
	if spec.Model, err = EncodeModel(o.Model); err != nil {
		return fl.JobSpec{}, nil, err
	}
	if spec.Training, err = EncodeTraining(o.Training); err != nil {
		return fl.JobSpec{}, nil, err
	}
	if spec.ProofLevel.Trained() {
		schema, err := datasets.ParseSchema("the job's schema", []byte(o.SchemaText))
		if err != nil {
			return fl.JobSpec{}, nil, err
		}
		if spec.Trained, err = trainedTerms(model.Spec(), o.Training, schema, o.Trained); err != nil {
			return fl.JobSpec{}, nil, err
		}
	}
	initial = fl.EncodeParameters(model.Init(o.Seed))
	spec.InitialModel = fl.DigestBytes(initial)
	return spec, initial, nil
}

// SubmitJob makes the initial model, uploads it and submits the job as the
// enrolled owner.
func (r *Remote) SubmitJob(ctx context.Context, o JobOptions) (fl.JobSpec, error) {
	spec, initial, err := o.Draft(r.home.Genesis)
	if err != nil {
		return fl.JobSpec{}, err
	}
	spec.Genesis, spec.Owner = r.home.GenesisID, r.home.Node
	if err := spec.Validate(); err != nil {
		return fl.JobSpec{}, err
	}
	if _, err := r.Upload(ctx, initial); err != nil {
		return fl.JobSpec{}, err
	}
	_, err = r.Submit(ctx, spec)
	return spec, err
}

// CancelJob ends a job of this owner.
func (r *Remote) CancelJob(ctx context.Context, job fl.JobID, reason string) error {
	view, err := r.Job(ctx, job)
	if err != nil {
		return err
	}
	_, err = r.Submit(ctx, fl.JobCancel{Genesis: r.home.GenesisID, JobSpec: view.SpecID, Job: job, Owner: r.home.Node, Reason: reason})
	return err
}

// JobView is a job and its progress.
type JobView struct {
	*flpb.Job
	Spec   fl.JobSpec
	SpecID fl.Digest
}

// Final reports whether the job is over.
func (v JobView) Final() bool { return v.GetPhase() != "running" }

// Job looks a job up.
func (r *Remote) Job(ctx context.Context, job fl.JobID) (JobView, error) {
	all, err := r.jobs(ctx, job)
	if err != nil {
		return JobView{}, err
	}
	if len(all) != 1 {
		return JobView{}, fl.Refuse(fl.CodeNotFound, "", "there is no job %q", job)
	}
	return all[0], nil
}

// Jobs lists every job.
func (r *Remote) Jobs(ctx context.Context) ([]JobView, error) { return r.jobs(ctx, "") }

func (r *Remote) jobs(ctx context.Context, job fl.JobID) ([]JobView, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.api.ListJobs(ctx, &flpb.ListJobsRequest{Job: string(job)})
	if err != nil {
		return nil, flpb.FromStatus(err)
	}
	var out []JobView
	for _, j := range answer.GetJobs() {
		envelope, err := fl.DecodeEnvelope(j.GetSpec())
		if err != nil {
			return nil, fmt.Errorf("listing jobs: %w", err)
		}
		v := JobView{Job: j, SpecID: envelope.Digest()}
		if err := envelope.Read(&v.Spec); err != nil {
			return nil, fmt.Errorf("listing jobs: %w", err)
		}
		out = append(out, v)
	}
	return out, nil
}

// ModelVersion is a published model: its verified manifest.
type ModelVersion struct {
	Manifest   fl.Manifest
	ManifestID fl.Digest
	Envelope   fl.Envelope
}

// Models lists the published versions of a job ("" for all jobs); every
// manifest's signature is checked.
func (r *Remote) Models(ctx context.Context, job fl.JobID) ([]ModelVersion, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.api.ListModels(ctx, &flpb.ListModelsRequest{Job: string(job)})
	if err != nil {
		return nil, flpb.FromStatus(err)
	}
	var out []ModelVersion
	for _, m := range answer.GetModels() {
		envelope, err := fl.DecodeEnvelope(m.GetManifest())
		if err != nil {
			return nil, fmt.Errorf("listing models: %w", err)
		}
		v := ModelVersion{Envelope: envelope, ManifestID: envelope.Digest()}
		if err := r.home.openOwn(m.GetManifest(), &v.Manifest); err != nil {
			return nil, fmt.Errorf("listing models: %w", err)
		}
		out = append(out, v)
	}
	return out, nil
}

// Parameters downloads the parameters of a published model.
func (r *Remote) Parameters(ctx context.Context, v ModelVersion, n int) ([]float32, error) {
	raw, err := r.Fetch(ctx, v.Manifest.Model, v.ManifestID)
	if err != nil {
		return nil, err
	}
	return fl.DecodeParameters(raw, n)
}
