package federation_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/experiments/federation"
	"credence/fl"
	"credence/fl/translog"
)

// TestEverythingIsLogged runs a job and reads the log afterwards: every party
// has kept a checkpoint of it, every document of every round is in it, and
// the ciphertexts of rounds that are over are gone.
func TestEverythingIsLogged(t *testing.T) {
	c := newClinic(t, "insecure-rlwe64-d1-v1", func(o *federation.Options) { o.Aggregator.Retain = time.Millisecond })
	eye, err := c.Enrol(t.Context(), aggregator.InviteOptions{Node: "eye", Roles: []fl.Role{fl.RoleObserver}}, client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	witness, err := c.Connect(eye)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = witness.Close() }()
	if _, err := c.owner.SubmitJob(t.Context(), c.job(2)); err != nil {
		t.Fatal(err)
	}
	if v := c.await(time.Minute); v.GetPhase() != "done" {
		t.Fatalf("the job is %s: %s", v.GetPhase(), v.GetReason())
	}
	if _, err := witness.Witness(t.Context(), time.Now); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	logged := map[fl.Digest]fl.Envelope{}
	checkpoint, err := c.owner.ReadLog(t.Context(), func(e client.LogEntry) error {
		counts[e.Kind]++
		if doc, err := fl.DecodeEnvelope(e.Bytes); err == nil {
			logged[doc.Digest()] = doc
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checkpoint.Cosigned == 0 || len(checkpoint.Witnesses) != 1 || checkpoint.Witnesses[0] != "eye" {
		t.Errorf("cosigned at %d by %v", checkpoint.Cosigned, checkpoint.Witnesses)
	}
	for kind, least := range map[string]int{
		"genesis/v1": 1, "enrolment/v1": 6, "epoch-plan/v1": 1, "seal-key/v1": 4, "key-commitment/v1": 4, "key-reveal/v1": 4, "key-dealing/v1": 4,
		"epoch-key/v1": 1, "job/v1": 1, "job-join/v1": 3, "plan/v1": 2, "noise-dealing/v1": 6, "update-header/v1": 6, "seal/v1": 2,
		"decryption-share/v1": 6, "manifest/v1": 2, "transaction/v1": 4,
	} {
		if counts[kind] < least {
			t.Errorf("%d entries of kind %s, want at least %d", counts[kind], kind, least)
		}
	}
	for _, node := range c.nodes {
		note, err := os.ReadFile(filepath.Join(c.NodeDir(node), "checkpoint"))
		if err != nil {
			t.Errorf("%s kept no checkpoint: %v", node, err)
			continue
		}
		if _, err := c.owner.CompareCheckpoint(t.Context(), note); err != nil {
			t.Errorf("the checkpoint of %s: %v", node, err)
		}
	}
	// The ciphertexts are gone; every document that names them is there.
	deadline := time.After(10 * time.Second)
	for {
		kept, err := c.Aggregator().Store().KeptRounds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) == 0 {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("%d rounds are not pruned", len(kept))
		case <-time.After(20 * time.Millisecond):
		}
	}
	stored := map[string]bool{}
	err = filepath.WalkDir(filepath.Join(c.NodeDir("aggregator"), "blobs"), func(path string, _ fs.DirEntry, err error) error {
		stored[filepath.Base(filepath.Dir(path))+filepath.Base(path)] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range logged {
		var h fl.UpdateHeader
		var m fl.Manifest
		switch doc.Kind {
		case h.Kind():
			if err := doc.Read(&h); err != nil {
				t.Fatal(err)
			}
			if stored[h.Ciphertexts[0].Digest.String()] {
				t.Errorf("a ciphertext of %s is left", h.Node)
			}
		case m.Kind():
			if err := doc.Read(&m); err != nil {
				t.Fatal(err)
			}
			if !stored[m.Model.String()] {
				t.Errorf("model %d is gone", m.Version)
			}
		}
	}
	if _, err := c.owner.CompareCheckpoint(t.Context(), []byte("x")); errors.Is(err, translog.ErrFork) {
		t.Errorf("nonsense is a fork: %v", err)
	}
}
