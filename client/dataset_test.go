package client

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"credence/fl"
	"credence/fl/identity"
	"credence/he"
	"credence/zk"
	"credence/zk/tabular"
	"credence/zk/trained"
)

// TestCommittedDataset: a node takes up the commitment that it made, and
// declines to train when anything that the proofs rest on was lost or changed.
func TestCommittedDataset(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	suite, err := he.LookupSuite("insecure-rlwe64-d1-v1")
	must(err)
	job, err := trained.Read(fl.JobSpec{
		Genesis: fl.Digest{1}, Job: "j", Parameters: 2, Clip: fl.Clip{Value: 1}, ProofLevel: fl.ProofTrained,
		Trained: &fl.TrainedTerms{Kind: "linear", Features: 1, Outputs: 1, LearningRate: 0.1, Steps: 1, Table: "r4-f1-b10-real1", TableSchema: fl.Digest{2}},
	}, suite)
	must(err)
	store, err := zk.OpenStore(t.TempDir())
	must(err)
	_, err = job.SetUp(store, nil)
	must(err)
	keys, err := job.Load(store, func(string) (fl.Digest, error) { return fl.Digest{}, nil }, true, nil)
	must(err)
	table := func(first int64) *tabular.Table {
		out, err := tabular.New(job.Table.Layout, 3)
		must(err)
		out.SetFeature(0, 0, first)
		return out
	}
	commitment, secret, err := keys.Registration.SRS().CommitTable(table(5))
	must(err)
	proof := []byte("a proof")
	document := fl.DatasetCommitment{
		Genesis: fl.Digest{1}, JobSpec: fl.Digest{9}, Job: "j", Node: "alpha", ProofKeys: fl.Digest{3}, Spec: job.Table.Digest(), Commitment: commitment.Bytes(), Rows: 3,
		Registration: fl.DigestBytes(proof), CommittedAt: fl.Instant(time.Now()),
	}
	for name, c := range map[string]struct {
		spec   fl.Digest
		first  int64
		change func(dir string) error
		want   string // of the decline
	}{
		"as it was":                  {spec: fl.Digest{9}, first: 5},
		"another row":                {spec: fl.Digest{9}, first: 6, want: "changed since the node committed"},
		"another version of the job": {spec: fl.Digest{8}, first: 5, want: "another version"},
		"no secret":                  {spec: fl.Digest{9}, first: 5, change: func(dir string) error { return os.Remove(filepath.Join(dir, "secret")) }, want: "secret"},
		"a secret that others read":  {spec: fl.Digest{9}, first: 5, change: func(dir string) error { return os.Chmod(filepath.Join(dir, "secret"), 0o644) }, want: "readable by others"},
		"a damaged secret":           {spec: fl.Digest{9}, first: 5, change: func(dir string) error { return os.Truncate(filepath.Join(dir, "secret"), 60) }, want: "secret"},
		"a proof that is not there":  {spec: fl.Digest{9}, first: 5, change: func(dir string) error { return os.Remove(filepath.Join(dir, fl.DigestBytes(proof).String()+".att")) }, want: ".att"},
		"a proof with another content": {spec: fl.Digest{9}, first: 5, change: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, fl.DigestBytes(proof).String()+".att"), nil, 0o600)
		}, want: "does not match its name"},
		"half a document": {spec: fl.Digest{9}, first: 5, change: func(dir string) error { return os.Truncate(filepath.Join(dir, "commitment.json"), 100) }, want: "damaged"},
	} {
		home := t.TempDir()
		own, err := identity.LoadOrGenerate(home)
		must(err)
		n := &Node{home: &Home{Dir: home, Node: "alpha", Keys: own}}
		w := &work{spec: fl.JobSpec{Job: "j"}, specID: c.spec, proven: &provenWork{job: job, table: table(c.first)}}
		if d, err := n.committed(w); d != nil || err != nil {
			t.Errorf("%s: before it committed: %v, %v", name, d, err)
		}
		dir := n.datasetPath("j", "")
		signed, err := fl.Sign(document, "alpha", own.Signing)
		must(err)
		must(secret.Save(filepath.Join(dir, "secret")))
		must(identity.WriteFile(filepath.Join(dir, document.Registration.String()+".att"), proof))
		must(identity.WriteFile(filepath.Join(dir, "commitment.json"), signed.Encode()))
		if c.change != nil {
			must(c.change(dir))
		}
		d, err := n.committed(w)
		if err == nil {
			err = d.holds(keys)
		}
		var decline *declineError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.As(err, &decline) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want a decline that says %q", name, err, c.want)
		}
	}
}
