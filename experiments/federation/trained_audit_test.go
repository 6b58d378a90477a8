package federation_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"credence/client/audit"
	"credence/fl"
	"credence/fl/identity"
	"credence/fl/translog"
)

// rewrittenLog is the log of a federation whose aggregator and parties are in
// league: a document is changed, everything that names it is changed with it
// and signed anew, and so is the checkpoint.
type rewrittenLog struct {
	audit.Source
	c       *clinic
	entries [][]byte
	was     map[fl.Digest]fl.Digest // documents, as they were called before
	via     map[fl.Digest]fl.Digest // blobs that are read through another document than now
	keys    map[fl.NodeID]*identity.Keys
}

func (c *clinic) rewriteLog(entries [][]byte) *rewrittenLog {
	r := &rewrittenLog{Source: audit.Connection(c.owner), c: c, entries: slices.Clone(entries), was: map[fl.Digest]fl.Digest{}, via: map[fl.Digest]fl.Digest{}, keys: map[fl.NodeID]*identity.Keys{}}
	return r
}

// change replaces the first document of a kind for which edit says so, and all
// that follows from it.
func change[D any, P interface {
	*D
	fl.Document
}](r *rewrittenLog, edit func(*D) bool) {
	r.c.t.Helper()
	done := false
	renamed := map[string]string{}
	for i, raw := range r.entries {
		for before, after := range renamed {
			raw = bytes.ReplaceAll(raw, []byte(before), []byte(after))
		}
		var e fl.Envelope
		if json.Unmarshal(r.entries[i], &e) != nil || e.Kind == "" {
			r.entries[i] = raw // a transaction
			continue
		}
		old := e.Digest()
		if err := json.Unmarshal(raw, &e); err != nil {
			r.c.t.Fatal(err)
		}
		var d D
		if !done && e.Kind == P(&d).Kind() {
			if err := json.Unmarshal(e.Payload, &d); err != nil {
				r.c.t.Fatal(err)
			}
			if done = edit(&d); done {
				payload, err := json.Marshal(d)
				if err != nil {
					r.c.t.Fatal(err)
				}
				e.Payload = payload
			}
		}
		if e.Digest() == old {
			continue
		}
		signed := r.sign(e)
		r.entries[i] = signed.Encode()
		renamed[old.String()] = signed.Digest().String()
		r.was[signed.Digest()] = old
	}
	if !done {
		r.c.t.Fatalf("no such %T in the log", *new(D))
	}
}

// sign signs an envelope's payload anew as its signer, whatever it says.
func (r *rewrittenLog) sign(e fl.Envelope) fl.Envelope {
	r.c.t.Helper()
	keys := r.keys[e.Signer]
	if keys == nil {
		var err error
		if keys, err = identity.Load(r.c.NodeDir(e.Signer)); err != nil {
			r.c.t.Fatal(err)
		}
		r.keys[e.Signer] = keys
	}
	kind := "credence/" + string(e.Kind)
	e.Signature = ed25519.Sign(keys.Signing, fmt.Appendf(nil, "DSSEv1 %d %s %d %s %d %s", len(kind), kind, len(e.Signer), e.Signer, len(e.Payload), e.Payload))
	return e
}

func (r *rewrittenLog) Trust(ctx context.Context) (audit.Trust, error) {
	t, err := r.Source.Trust(ctx)
	t.Kept = nil
	return t, err
}

func (r *rewrittenLog) Checkpoint(context.Context) ([]byte, error) {
	var hashes tree
	for i, raw := range r.entries {
		more, err := translog.Append(int64(i), raw, hashes)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, more...)
	}
	root, err := translog.Root(int64(len(r.entries)), hashes)
	if err != nil {
		return nil, err
	}
	keys, err := identity.Load(r.c.NodeDir("aggregator"))
	if err != nil {
		return nil, err
	}
	return translog.Sign(translog.Checkpoint{Origin: translog.Origin(r.c.Aggregator().GenesisDigest()), Size: int64(len(r.entries)), Root: root}, keys.Signing)
}

func (r *rewrittenLog) Entries(_ context.Context, from, to int64) ([][]byte, error) {
	return r.entries[from:min(to, int64(len(r.entries)))], nil
}

func (r *rewrittenLog) Blob(ctx context.Context, digest, via fl.Digest) ([]byte, error) {
	if old, renamed := r.was[via]; renamed {
		via = old
	}
	if other, ok := r.via[digest]; ok {
		via = other
	}
	return r.Source.Blob(ctx, digest, via)
}

// auditLies tells an auditor what is not so about proven training; it names
// each.
func (c *clinic) auditLies() {
	c.t.Helper()
	ctx := c.t.Context()
	src := audit.Connection(c.owner)
	note, err := src.Checkpoint(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	checkpoint, err := translog.Open(note, translog.Origin(c.Aggregator().GenesisDigest()), c.Aggregator().Genesis().AggregatorKey)
	if err != nil {
		c.t.Fatal(err)
	}
	var entries [][]byte
	for int64(len(entries)) < checkpoint.Size {
		more, err := src.Entries(ctx, int64(len(entries)), checkpoint.Size)
		if err != nil {
			c.t.Fatal(err)
		}
		entries = append(entries, more...)
	}
	// What other documents say, to put into a place where it is not true.
	headers := map[uint64]map[fl.NodeID]fl.UpdateHeader{}
	ids := map[uint64]map[fl.NodeID]fl.Digest{}
	commitments := map[fl.NodeID]fl.DatasetCommitment{}
	for _, raw := range entries {
		e, err := fl.DecodeEnvelope(raw)
		if err != nil {
			continue
		}
		var h fl.UpdateHeader
		var d fl.DatasetCommitment
		if e.Read(&h) == nil {
			if headers[h.Round] == nil {
				headers[h.Round], ids[h.Round] = map[fl.NodeID]fl.UpdateHeader{}, map[fl.NodeID]fl.Digest{}
			}
			headers[h.Round][h.Node], ids[h.Round][h.Node] = h, e.Digest()
		}
		if e.Read(&d) == nil {
			commitments[d.Node] = d
		}
	}
	header := func(edit func(r *rewrittenLog, h *fl.UpdateHeader)) func(*rewrittenLog) {
		return func(r *rewrittenLog) {
			change(r, func(h *fl.UpdateHeader) bool {
				if h.Node == "beta" && h.Round == 1 {
					edit(r, h)
					return true
				}
				return false
			})
		}
	}
	dataset := func(edit func(*fl.DatasetCommitment)) func(*rewrittenLog) {
		return func(r *rewrittenLog) {
			change(r, func(d *fl.DatasetCommitment) bool {
				if d.Node == "beta" {
					edit(d)
				}
				return d.Node == "beta"
			})
		}
	}
	join := func(edit func(*fl.JobJoin)) func(*rewrittenLog) {
		return func(r *rewrittenLog) {
			change(r, func(j *fl.JobJoin) bool {
				if j.Node == "beta" {
					edit(j)
				}
				return j.Node == "beta"
			})
		}
	}
	for _, lie := range []struct {
		name string
		tell func(*rewrittenLog)
		want string // "" for no lie
	}{
		{"nothing", func(*rewrittenLog) {}, ""},
		{"more samples than were proven", join(func(j *fl.JobJoin) { j.Samples++ }), "another number of samples than its dataset commitment proves"},
		{"a join without a commitment", join(func(j *fl.JobJoin) { j.Dataset = fl.Digest{} }), "is not in the log before it"},
		{"another's commitment", join(func(j *fl.JobJoin) { j.Dataset = fl.DigestBytes([]byte("another")) }), "is not in the log before it"},
		{"a commitment without the required proof", dataset(func(d *fl.DatasetCommitment) { d.Validation = fl.Digest{} }), "requirements on data"},
		{"a commitment of other tables", dataset(func(d *fl.DatasetCommitment) { d.Spec = fl.DigestBytes([]byte("another")) }), "another layout, schema or quantisation"},
		{"a commitment that its proofs are not of", dataset(func(d *fl.DatasetCommitment) { d.Commitment = commitments["gamma"].Commitment }), "registration"},
		{"a second commitment", func(r *rewrittenLog) {
			for _, raw := range r.entries {
				e, err := fl.DecodeEnvelope(raw)
				var d fl.DatasetCommitment
				if err != nil || e.Read(&d) != nil || d.Node != "beta" {
					continue
				}
				d.CommittedAt = d.CommittedAt.Add(time.Second)
				if e.Payload, err = json.Marshal(d); err != nil {
					r.c.t.Fatal(err)
				}
				r.entries = append(r.entries, r.sign(e).Encode())
				return
			}
		}, "committed to a data set for job screening already"},
		{"an update of another's rows", header(func(_ *rewrittenLog, h *fl.UpdateHeader) { h.Dataset = headers[1]["gamma"].Dataset }), "another dataset commitment than its client joined with"},
		{"more steps than were proven", header(func(_ *rewrittenLog, h *fl.UpdateHeader) { h.Steps++ }), "another number of steps"},
		{"the training of another round", header(func(r *rewrittenLog, h *fl.UpdateHeader) {
			h.Training = headers[2]["beta"].Training
			r.via[h.Training] = ids[2]["beta"]
		}), "training attestation"},
		{"the training of another client", header(func(r *rewrittenLog, h *fl.UpdateHeader) {
			h.Training = headers[1]["gamma"].Training
			r.via[h.Training] = ids[1]["gamma"]
		}), "training attestation"},
		{"proof keys without those of the job", func(r *rewrittenLog) {
			change(r, func(k *fl.ProofKeys) bool {
				all := len(k.Circuits)
				k.Circuits = slices.DeleteFunc(k.Circuits, func(c fl.CircuitKeys) bool { return strings.HasPrefix(c.Shape, "training/") })
				return len(k.Circuits) < all
			})
		}, "it holds no keys for training/"},
		{"pay for proven training to another", func(r *rewrittenLog) {
			change(r, func(m *fl.Manifest) bool {
				at := slices.IndexFunc(m.Postings, func(p fl.Posting) bool { return p.Memo == "training" })
				m.Postings[at].Amount--
				m.Postings[at+1].Amount++
				return true
			})
		}, "is not what is due"},
	} {
		c.t.Run(lie.name, func(t *testing.T) {
			r := c.rewriteLog(entries)
			lie.tell(r)
			_, err := audit.Audit(t.Context(), r, audit.Selection{}, nil)
			var found *audit.Lie
			switch {
			case lie.want == "" && err != nil:
				t.Errorf("the log as it is: %v", err)
			case lie.want != "" && (!errors.As(err, &found) || !strings.Contains(found.Error(), lie.want)):
				t.Errorf("found %v, want %q", err, lie.want)
			}
		})
	}
}
