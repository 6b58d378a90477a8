package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"credence/client"
	"credence/fl"
	"credence/he"
	"credence/he/threshold"
)

// parameters is a model that was read, by its digest.
type parameters struct {
	digest fl.Digest
	values []float32
}

// checkPublished opens the sums of a round again and checks that its manifest
// follows.
func (a *auditor) checkPublished(ctx context.Context, r *roundLog, sums []*he.Sum) error {
	started := time.Now()
	m, plan, where := r.manifest.body, r.plan.body, r.manifest.String()
	setup := ""
	if plan.ProofLevel.Attested() {
		setup = a.proofKeysOf(r).body.Setup
	}
	for _, f := range []struct {
		what            string
		expected, found any
	}{
		{"job", r.job.spec.id, m.JobSpec}, {"epoch key", plan.EpochKey, m.EpochKey}, {"base model", plan.BaseModel, m.BaseModel},
		{"version", uint64(len(r.job.published(r.manifest.at)) + 1), m.Version}, {"proof level", plan.ProofLevel, m.ProofLevel}, {"proof set-up", setup, m.ProofSetup},
		{"time of the seal", clock(r.seal.body.SealedAt), clock(m.SealedAt)},
	} {
		if f.expected != f.found {
			return a.differs(where, "its "+f.what+" does not follow", f.expected, f.found)
		}
	}
	if err := a.checkEpsilon(r); err != nil {
		return err
	}
	if m.OpenedAt.Before(m.SealedAt) {
		return a.lie(where, "it was opened before it was sealed")
	}
	a.checked("manifests that follow from plan and seal", 1, started)

	started = time.Now()
	opened, err := a.open(ctx, r, sums)
	if err != nil {
		return err
	}
	a.checked("sums opened from the decryption shares, noise within its bound", len(sums), started)

	started = time.Now()
	contributors := make([][]fl.NodeID, len(sums))
	for i, s := range r.seal.body.Sums {
		contributors[i] = s.Contributors
	}
	spec := r.job.spec.body
	base, err := a.parameters(ctx, r.plan.String(), "base model", plan.BaseModel, r.plan.id, spec.Parameters)
	if err != nil {
		return err
	}
	state, err := a.state(ctx, r)
	if err != nil {
		return err
	}
	next, err := fl.Advance(spec.Strategy, plan, contributors, opened, base, state)
	if err != nil {
		return a.lie(where, "its sums give no model: %v", err)
	}
	if next.Figures != m.Figures {
		return a.differs(where, "its figures are not those of the sums", fmt.Sprintf("%+v", next.Figures), fmt.Sprintf("%+v", m.Figures))
	}
	if got := fl.DigestBytes(fl.EncodeParameters(next.Params)); got != m.Model {
		return a.differs(where, "the published model is not what the strategy makes of the mean", got, m.Model)
	}
	if next.Clip != m.NextClip {
		return a.differs(where, "the next clip is not what follows from the opened count", fmt.Sprintf("%+v", next.Clip), fmt.Sprintf("%+v", m.NextClip))
	}
	var kept fl.Digest
	if next.State != nil {
		kept = fl.DigestBytes(fl.EncodeParameters(next.State))
	}
	if kept != m.State {
		return a.differs(where, "the strategy's state is not what it makes of the mean", kept, m.State)
	}
	if _, err := a.parameters(ctx, where, "model", m.Model, r.manifest.id, r.job.spec.body.Parameters); err != nil {
		return err
	}
	a.checked("published models that follow from the opened sums", 1, started)
	return nil
}

// open combines the decryption shares of the holders that the manifest names.
func (a *auditor) open(ctx context.Context, r *roundLog, sums []*he.Sum) ([][]int64, error) {
	m, where := r.manifest.body, r.manifest.String()
	epoch := a.epochs[r.plan.body.EpochKey].epoch
	t := epoch.Threshold()
	if !slices.IsSorted(m.KeyHolders) || !slices.IsSorted(m.WrongShare) {
		return nil, a.lie(where, "its key holders are not sorted")
	}
	if len(m.KeyHolders) < t {
		return nil, a.differs(where, "it was opened by too few key holders", fmt.Sprintf("at least %d", t), len(m.KeyHolders))
	}
	// A share that is wrong in one sum and right in another counts for that one.
	least, most := len(m.KeyHolders)-t, len(m.KeyHolders)-t+len(m.WrongShare)
	if m.SharesChecked < least || m.SharesChecked > most {
		return nil, a.differs(where, "it claims another number of shares beyond the threshold that agreed", fmt.Sprintf("%d to %d", least, most), m.SharesChecked)
	}
	out := make([][]int64, len(sums))
	accused := map[fl.NodeID]bool{} // whose share is right in every sum
	for _, node := range m.WrongShare {
		if slices.Contains(m.KeyHolders, node) {
			return nil, a.lie(where, "%s is both a key holder and one whose share was wrong", node)
		}
		accused[node] = true
	}
	for shard, sum := range sums {
		var shares []threshold.DecryptionShare
		for _, node := range m.KeyHolders {
			share, err := a.share(ctx, r, node, shard)
			if err != nil {
				return nil, err
			}
			shares = append(shares, share)
		}
		got, err := threshold.Combine(epoch, sum, len(r.seal.body.Dealers), shares)
		if err != nil {
			return nil, a.lie(where, "the sum of shard %d does not open: %v", shard, err)
		}
		if len(got.Wrong) > 0 {
			return nil, a.lie(r.shares[fl.NodeID(got.Wrong[0])].String(), "its share of shard %d does not fit the others, and the manifest counts it", shard)
		}
		out[shard] = got.Values
		for node := range accused {
			share, err := a.share(ctx, r, node, shard)
			if err != nil {
				return nil, err
			}
			with, err := threshold.Combine(epoch, sum, len(r.seal.body.Dealers), append(slices.Clone(shares), share))
			if err != nil || len(with.Wrong) > 0 {
				delete(accused, node)
			}
		}
	}
	for node := range accused {
		return nil, a.lie(where, "it says that the decryption share of %s was wrong, and it is right", node)
	}
	return out, nil
}

// share reads one decryption share.
func (a *auditor) share(ctx context.Context, r *roundLog, node fl.NodeID, shard int) (threshold.DecryptionShare, error) {
	doc, ok := r.shares[node]
	if !ok || doc.at > r.manifest.at {
		return threshold.DecryptionShare{}, a.lie(r.manifest.String(), "it names a decryption share of %s that the log does not hold before it", node)
	}
	if err := a.counts(doc.ref); err != nil {
		return threshold.DecryptionShare{}, err
	}
	if shard >= len(doc.body.Shares) {
		return threshold.DecryptionShare{}, a.lie(doc.String(), "it holds no share of shard %d", shard)
	}
	raw, err := a.blob(ctx, doc.String(), fmt.Sprintf("decryption share of shard %d", shard), doc.body.Shares[shard].Digest, doc.id)
	return threshold.DecryptionShare{Member: string(node), Share: raw}, err
}

// parameters reads a model. The last one is kept: it is the next round's base.
func (a *auditor) parameters(ctx context.Context, where, what string, digest, via fl.Digest, n int) ([]float32, error) {
	if a.base.digest == digest && a.base.values != nil {
		return a.base.values, nil
	}
	raw, err := a.blob(ctx, where, what, digest, via)
	if err != nil {
		return nil, err
	}
	values, err := fl.DecodeParameters(raw, n)
	if err != nil {
		return nil, a.lie(fmt.Sprintf("blob %s (%s, named by %s)", digest.Short(), what, where), "%v", err)
	}
	a.base = parameters{digest, values}
	return values, nil
}

// state reads what the strategy kept with a round's base model; nil at first.
func (a *auditor) state(ctx context.Context, r *roundLog) ([]float32, error) {
	digest := r.plan.body.BaseState
	if digest.IsZero() {
		return nil, nil
	}
	spec := r.job.spec.body
	raw, err := a.blob(ctx, r.plan.String(), "strategy's state", digest, r.plan.id)
	if err != nil {
		return nil, err
	}
	values, err := fl.DecodeParameters(raw, spec.Strategy.StateSize(spec.Parameters))
	if err != nil {
		return nil, a.lie(fmt.Sprintf("blob %s (strategy's state, named by %s)", digest.Short(), r.plan), "%v", err)
	}
	return values, nil
}

// checkModel checks that a model that somebody holds is a published one.
func (a *auditor) checkModel(selected []*roundLog) error {
	if a.sel.Model == nil {
		return nil
	}
	started := time.Now()
	got := fl.DigestBytes(fl.EncodeParameters(a.sel.Model))
	var found *Lie
	for _, r := range selected {
		if r.manifest == nil || r.manifest.body.Model != got {
			continue
		}
		if found = a.checkModelFile(r); found == nil {
			a.checked(fmt.Sprintf("%s is version %d of job %s", a.sel.ModelName, r.manifest.body.Version, r.manifest.body.Job), 1, started)
			return nil
		}
	}
	if found != nil {
		return found
	}
	return a.lie(a.sel.ModelName, "its parameters have digest %s, which no published model of the audited rounds has", got)
}

// checkModelFile compares what a file says of a published model's parameters
// with the manifest and the job.
func (a *auditor) checkModelFile(r *roundLog) *Lie {
	if a.sel.ModelSpec != nil {
		var spec json.RawMessage
		work, err := client.ReadWork(r.job.spec.body)
		if err == nil {
			spec, err = client.EncodeModel(work.Model.Spec())
		}
		if err != nil {
			return a.lie(r.job.spec.String(), "%v", err)
		}
		if !bytes.Equal(spec, a.sel.ModelSpec) {
			return a.differs(a.sel.ModelName, "it describes another model than the job", string(spec), string(a.sel.ModelSpec))
		}
	}
	if a.sel.ModelMetadata == nil {
		return nil
	}
	want := client.ModelMetadata(r.manifest.body, r.manifest.id)
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got, ok := a.sel.ModelMetadata[key]; !ok || got != want[key] {
			return a.differs(a.sel.ModelName, fmt.Sprintf("it does not say of %q what %s does", key, r.manifest), want[key], got)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a.sel.ModelMetadata)) {
		if _, ok := want[key]; !ok {
			return a.lie(a.sel.ModelName, "it says something of %q, which an exported model does not", key)
		}
	}
	return nil
}
