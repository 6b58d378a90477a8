package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
)

const (
	acceptedFile = "accepted.json" // signed receipt for this node's update
	settledFile  = "settled"       // how the round ended
	wrongedFile  = "wronged.json"  // what proves that a seal contradicts a receipt
)

// settleEvery is how often a node looks how the rounds ended that it holds a
// receipt of.
const settleEvery = 5 * time.Second

// place is one round of one job.
type place struct {
	job   fl.JobID
	round uint64
}

// Wronged is what convinces anybody that the aggregator did not keep to a
// receipt: both of its signatures.
type Wronged struct {
	FoundAt time.Time       `json:"found_at"`
	Reason  string          `json:"reason"`
	Receipt json.RawMessage `json:"receipt"` // receipt/v1
	Seal    json.RawMessage `json:"seal"`    // seal/v1
}

// ownInSeal compares a seal with the receipt that this node holds for its own
// update of the round: the update is in, and not later than the receipt says.
// It may be earlier: an update that was sent twice has two receipts.
func (n *Node) ownInSeal(seal fl.Seal) error {
	own, accepted, err := n.outbox.accepted(seal.Job, seal.Round)
	if err != nil {
		return err
	}
	// The signed receipt is written first: a node that was killed then has it
	// alone, and one of a version that did not keep it has the digest alone.
	receipt, signed, err := n.signedReceipt(seal.Job, seal.Round)
	switch {
	case err != nil:
		return fmt.Errorf("the receipt that this node keeps for round %d of job %s: %w", seal.Round, seal.Job, err)
	case !accepted && !signed:
		return nil
	case !accepted:
		own = receipt.Subject
	}
	at := slices.Index(seal.Headers, own)
	if at < 0 {
		return fmt.Errorf("%w: round %d of job %s", ErrLeftOut, seal.Round, seal.Job)
	}
	if signed && seal.Accepted[at].After(receipt.AcceptedAt) {
		return fmt.Errorf("%w: %s instead of %s in round %d of job %s",
			ErrAccepted, seal.Accepted[at].Format(time.RFC3339Nano), receipt.AcceptedAt.Format(time.RFC3339Nano), seal.Round, seal.Job)
	}
	return nil
}

// signedReceipt reads the aggregator's receipt for this node's update; false
// when there is none.
func (n *Node) signedReceipt(job fl.JobID, round uint64) (fl.Receipt, bool, error) {
	var receipt fl.Receipt
	raw, err := readFile(filepath.Join(n.outbox.folder(job, round), acceptedFile))
	if err != nil || raw == nil {
		return receipt, false, err
	}
	envelope, err := fl.DecodeEnvelope(raw)
	if err != nil {
		return receipt, false, err
	}
	return receipt, true, n.openAggregators(envelope, &receipt)
}

// await remembers that a round's seal must hold this node's update. The caller
// holds mu.
func (n *Node) await(job fl.JobID, round uint64) {
	if n.awaited == nil {
		n.awaited = map[place]bool{}
	}
	n.awaited[place{job, round}] = true
}

// settleAll looks how the rounds ended that this node holds a receipt of. One
// that was published without its update is reported loudly, named in the status
// and kept with both signatures of the aggregator.
func (n *Node) settleAll(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if len(n.awaited) == 0 || now.Sub(n.lookedAt).Abs() < settleEvery {
		return
	}
	n.lookedAt = now
	jobs := map[fl.JobID]*flpb.Job{}
	for p := range n.awaited {
		settled, err := n.settle(ctx, p, jobs)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrLeftOut) || errors.Is(err, ErrAccepted):
			n.report(err)
			if settled { // else it is found again
				n.note(func(s *Status) { s.Wronged = append(s.Wronged, err.Error()) })
			}
		case err != nil:
			n.log.Warn("cannot see yet how a round ended", "job", p.job, "round", p.round, "error", err)
		}
		if settled {
			delete(n.awaited, p)
		}
	}
}

// settle compares one round that is over with this node's receipt, and reports
// whether there is nothing left to see.
func (n *Node) settle(ctx context.Context, p place, jobs map[fl.JobID]*flpb.Job) (bool, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if jobs[p.job] == nil {
		answer, err := n.remote.api.ListJobs(call, &flpb.ListJobsRequest{Job: string(p.job)})
		if err != nil {
			return false, flpb.FromStatus(err)
		}
		if len(answer.GetJobs()) != 1 {
			return false, fmt.Errorf("%w: %d jobs named %s", errNonsense, len(answer.GetJobs()), p.job)
		}
		jobs[p.job] = answer.GetJobs()[0]
	}
	if j := jobs[p.job]; j.GetLastRound() == p.round && j.GetRound() != nil && !over(j.GetRound().GetPhase()) {
		return false, nil
	}
	seal, err := n.publishedSeal(call, p)
	if err != nil {
		return false, err
	}
	if seal == nil {
		return true, n.outbox.settled(p, "not published\n")
	}
	var body fl.Seal
	if err := n.openAggregators(*seal, &body); err != nil {
		return false, err
	}
	if body.Job != p.job || body.Round != p.round {
		return false, fmt.Errorf("%w: the seal of another round", errNonsense)
	}
	err = n.ownInSeal(body)
	if errors.Is(err, ErrLeftOut) || errors.Is(err, ErrAccepted) {
		if kept := n.outbox.keepWronged(p, err, fl.Instant(n.now()), *seal); kept != nil {
			return false, errors.Join(err, kept)
		}
		return true, errors.Join(err, n.outbox.settled(p, "published, and contradicts the receipt\n"))
	}
	if err != nil {
		return false, err
	}
	return true, n.outbox.settled(p, "published with this node's update\n")
}

func over(phase string) bool { return phase == "published" || phase == "aborted" }

// publishedSeal returns the seal of a round that was published, or nil.
func (n *Node) publishedSeal(ctx context.Context, p place) (*fl.Envelope, error) {
	answer, err := n.remote.api.ListModels(ctx, &flpb.ListModelsRequest{Job: string(p.job)})
	if err != nil {
		return nil, flpb.FromStatus(err)
	}
	for _, v := range answer.GetModels() {
		if v.GetRound() != p.round || v.GetJob() != string(p.job) {
			continue
		}
		var m fl.Manifest
		envelope, err := fl.DecodeEnvelope(v.GetManifest())
		if err != nil {
			return nil, err
		}
		if err := n.openAggregators(envelope, &m); err != nil {
			return nil, err
		}
		if m.Job != p.job || m.Round != p.round {
			return nil, fmt.Errorf("%w: the manifest of another round", errNonsense)
		}
		seal, err := n.remote.Document(ctx, m.Seal)
		return &seal, err
	}
	return nil, nil
}

// awaiting lists the rounds with a signed receipt of which it is not known yet
// how they ended.
func (o outbox) awaiting() (map[place]bool, error) {
	out := map[place]bool{}
	receipts, err := filepath.Glob(filepath.Join(o.dir, "*", "*", acceptedFile))
	if err != nil {
		return nil, err
	}
	for _, path := range receipts {
		dir := filepath.Dir(path)
		if _, err := os.Stat(filepath.Join(dir, settledFile)); err == nil {
			continue
		}
		round, err := strconv.ParseUint(filepath.Base(dir), 10, 64)
		if err != nil {
			continue // not a folder of the outbox
		}
		out[place{fl.JobID(filepath.Base(filepath.Dir(dir))), round}] = true
	}
	return out, nil
}

// wronged lists, by job and round, why the rounds were unjust that the outbox
// holds evidence of.
func (o outbox) wronged() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(o.dir, "*", "*", wrongedFile))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var w Wronged
		if err := json.Unmarshal(raw, &w); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, w.Reason)
	}
	return out, nil
}

func (o outbox) settled(p place, how string) error {
	return identity.WriteFile(filepath.Join(o.folder(p.job, p.round), settledFile), []byte(how))
}

func (o outbox) keepWronged(p place, reason error, at time.Time, seal fl.Envelope) error {
	dir := o.folder(p.job, p.round)
	receipt, err := os.ReadFile(filepath.Join(dir, acceptedFile))
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(Wronged{FoundAt: at, Reason: reason.Error(), Receipt: receipt, Seal: seal.Encode()}, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(filepath.Join(dir, wrongedFile), raw)
}
