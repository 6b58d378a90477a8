package federation_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"credence/client"
	"credence/fl"
)

// TestOtherDataset: members that opened a round of a job with another
// commitment of a client, which they remember, refuse a seal with the one that
// it has now, though it is signed, proven, joined with and in the log: nothing
// is opened. The test writes the members' memories: no honest aggregator lets a
// client join twice.
func TestOtherDataset(t *testing.T) {
	t.Parallel()
	c, cache := newWard(t, nil, "alpha", "beta", "gamma", "delta")
	o := c.trainedJob(1)
	if _, err := c.owner.SubmitJob(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	view, err := c.owner.Job(t.Context(), "screening")
	if err != nil {
		t.Fatal(err)
	}
	first := fl.DigestBytes([]byte("another data set"))
	held, err := json.Marshal(map[fl.NodeID]fl.Digest{"alpha": first})
	if err != nil {
		t.Fatal(err)
	}
	members := []fl.NodeID{"beta", "delta", "gamma"}
	for _, m := range members {
		dir := filepath.Join(c.NodeDir(m), "pins")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, view.SpecID.String()+".json"), held, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.keysFor(cache, o) // the nodes are asked only now
	limit := time.After(2 * time.Minute)
	for _, m := range members {
		for {
			s, err := client.ReadStatus(c.NodeDir(m))
			if err == nil && strings.Contains(s.LastError, client.ErrOtherDataset.Error()) {
				if !strings.Contains(s.LastError, "alpha was held to "+first.Short()+" in job screening") {
					t.Errorf("%s does not say who and where: %s", m, s.LastError)
				}
				break
			}
			select {
			case <-limit:
				t.Fatalf("%s did not refuse the seal: %q, %v", m, s.LastError, err)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	if versions, err := c.owner.Models(t.Context(), "screening"); err != nil || len(versions) > 0 {
		t.Errorf("%d models were published, %v", len(versions), err)
	}
	for _, m := range members { // a refused round is not held
		raw, err := os.ReadFile(filepath.Join(c.NodeDir(m), "pins", view.SpecID.String()+".json"))
		if err != nil || string(raw) != string(held) {
			t.Errorf("%s holds %s, %v", m, raw, err)
		}
	}
}
