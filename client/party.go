package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"credence/fl"
	"credence/fl/credit"
	"credence/fl/flpb"
	"credence/models"
)

// OpenParty opens the folder of an enrolled party of any role and connects to
// its aggregator. A certificate that is near its end is renewed first, since
// an owner or an observer runs no daemon that would. The caller closes the
// connection.
func OpenParty(ctx context.Context, dir string, now func() time.Time) (*Home, *Remote, error) {
	home, err := OpenHome(dir)
	if err != nil {
		return nil, nil, err
	}
	config, err := LoadConfig(dir)
	if err != nil {
		return nil, nil, err
	}
	if home.renewDue(now()) {
		if err := home.Renew(ctx, config.Address, now); err != nil {
			return nil, nil, err
		}
	}
	remote, err := Connect(home, config.Address, now)
	if err != nil {
		return nil, nil, err
	}
	return home, remote, nil
}

// Balances returns what every account holds, as the aggregator states it.
func (r *Remote) Balances(ctx context.Context) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.api.ListBalances(ctx, &flpb.ListBalancesRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing balances: %w", flpb.FromStatus(err))
	}
	out := make(map[string]int64, len(answer.GetBalances()))
	for _, b := range answer.GetBalances() {
		out[b.GetAccount()] = b.GetCredits()
	}
	return out, nil
}

// maxHistory bounds how many transactions History takes in.
const maxHistory = 1 << 20

// History returns the transactions that touch an account ("" for all) in the
// order they were entered. Each is checked to sum to zero.
func (r *Remote) History(ctx context.Context, account string) ([]credit.Transaction, error) {
	var out []credit.Transaction
	for more := true; more; {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		answer, err := r.api.ListTransactions(call, &flpb.ListTransactionsRequest{Account: account, Offset: uint32(len(out))})
		cancel()
		if err != nil {
			return nil, fmt.Errorf("listing transactions: %w", flpb.FromStatus(err))
		}
		for _, t := range answer.GetTransactions() {
			tx := credit.Transaction{ID: t.GetId(), At: fl.Instant(time.UnixMilli(t.GetAtUnixMs()))}
			if copy(tx.Ref[:], t.GetRef()) != len(tx.Ref) {
				return nil, fmt.Errorf("listing transactions: %q refers to a digest of %d bytes", tx.ID, len(t.GetRef()))
			}
			for _, p := range t.GetPostings() {
				tx.Postings = append(tx.Postings, fl.Posting{Account: p.GetAccount(), Amount: p.GetAmount(), Memo: p.GetMemo()})
			}
			if err := tx.Validate(); err != nil {
				return nil, fmt.Errorf("listing transactions: %w", err)
			}
			out = append(out, tx)
		}
		more = answer.GetMore() && len(answer.GetTransactions()) > 0
		if len(out) > maxHistory {
			return nil, fmt.Errorf("listing transactions: more than %d: ask for one account", maxHistory)
		}
	}
	return out, nil
}

// RoundRecord is what stands behind a published model: the plan of its round
// and the seal of what was summed, both verified to be those that the manifest
// names and signed by the aggregator.
type RoundRecord struct {
	Plan fl.Plan
	Seal fl.Seal
}

// RoundRecord fetches the plan and the seal of a published version.
func (r *Remote) RoundRecord(ctx context.Context, v ModelVersion) (RoundRecord, error) {
	var rec RoundRecord
	for _, want := range []struct {
		digest fl.Digest
		into   fl.Document
	}{{v.Manifest.Plan, &rec.Plan}, {v.Manifest.Seal, &rec.Seal}} {
		envelope, err := r.Document(ctx, want.digest)
		if err != nil {
			return rec, err
		}
		if err := envelope.Open(r.home.Genesis.AggregatorKey, want.into); err != nil {
			return rec, fmt.Errorf("round %d of job %s: %w", v.Manifest.Round, v.Manifest.Job, err)
		}
	}
	return rec, nil
}

// Published is a published model with everything that is needed to write it
// to a file or to use it.
type Published struct {
	Version ModelVersion
	Spec    fl.JobSpec
	Model   *models.Model
	Params  []float32
	Own     fl.NodeID // whose own parameters are in it; "" for the published model (see PullOwn)
}

// Pull downloads a version of a job's model, 0 for the newest. It verifies the
// manifest's signature, that the job is the one that the manifest names and
// that the parameters have the manifest's digest.
func (r *Remote) Pull(ctx context.Context, job fl.JobID, version uint64) (Published, error) {
	view, err := r.Job(ctx, job)
	if err != nil {
		return Published{}, err
	}
	versions, err := r.Models(ctx, job)
	if err != nil {
		return Published{}, err
	}
	p := Published{Spec: view.Spec}
	for _, v := range versions {
		if v.Manifest.Job == job && (v.Manifest.Version == version || version == 0 && v.Manifest.Version > p.Version.Manifest.Version) {
			p.Version = v
		}
	}
	switch {
	case p.Version.Manifest.Version == 0 && version == 0:
		return Published{}, fl.Refuse(fl.CodeNotFound, "", "job %s has published no model yet", job)
	case p.Version.Manifest.Version == 0:
		return Published{}, fl.Refuse(fl.CodeNotFound, "", "job %s has published no version %d", job, version)
	case p.Version.Manifest.JobSpec != view.SpecID || p.Version.Manifest.Genesis != r.home.GenesisID:
		return Published{}, errors.New("the manifest is for another job or federation than the aggregator says")
	}
	work, err := ReadWork(p.Spec)
	if err != nil {
		return Published{}, err
	}
	p.Model = work.Model
	if p.Params, err = r.Parameters(ctx, p.Version, p.Spec.Parameters); err != nil {
		return Published{}, err
	}
	return p, p.Model.CheckParameters(p.Params)
}

// Metadata says where a model comes from, for the metadata of an exported file.
func (p Published) Metadata() map[string]string {
	out := ModelMetadata(p.Version.Manifest, p.Version.ManifestID)
	if p.Own != "" {
		out["own_parameters_of"] = string(p.Own)
	}
	return out
}

// ModelMetadata is what an exported file says of the published model of a
// manifest.
func ModelMetadata(m fl.Manifest, id fl.Digest) map[string]string {
	out := map[string]string{
		"job": string(m.Job), "version": fmt.Sprint(m.Version), "round": fmt.Sprint(m.Round), "genesis": m.Genesis.String(),
		"manifest": id.String(), "model": m.Model.String(), "proof_level": string(m.ProofLevel), "epsilon": m.Epsilon,
	}
	if m.Delta > 0 {
		out["delta"] = strconv.FormatFloat(m.Delta, 'g', -1, 64)
	}
	return out
}
