package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"credence/fl"
	"credence/fl/credit"
	"credence/fl/translog"
)

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func FuzzDecodeTransaction(f *testing.F) {
	grant, err := credit.Grant("alpha", 5, fl.Digest{1}, testTime)
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(grant)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"kind":"plan/v1"}`))
	f.Add(bytes.Replace(good, []byte("Z"), []byte("+00:00"), 1))
	f.Add(append(bytes.Clone(good), '\n'))
	f.Add([]byte(`{"id":"x","ref":"","postings":null,"at":"0001-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tx, err := decodeTransaction(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(tx)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%q decodes to %q, %v", raw, again, err)
		}
		if !isTransaction(raw) {
			t.Fatalf("%q is taken for a document", raw)
		}
		if _, err := fl.DecodeEnvelope(raw); err == nil {
			t.Fatalf("%q is a document as well", raw)
		}
	})
}

// aggregatorKey signs what these tests let the aggregator say.
var aggregatorKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// tiny is a federation that has done nothing but found itself.
type tiny struct {
	entries  [][]byte
	genesis  fl.Digest
	balances map[string]int64
	err      error // of Entries
	sign     ed25519.PrivateKey
	forget   int64 // entries that the checkpoint claims beside those there are
}

func newTiny(t *testing.T) *tiny {
	t.Helper()
	genesis, err := fl.Sign(fl.Genesis{
		Federation: "tiny", CreatedAt: testTime, Suite: "insecure-rlwe64-d1-v1", Committee: fl.CommitteePolicy{Members: 3, Threshold: 2}, MinCohort: 2,
		ProofFloor: fl.ProofNone, Regions: []string{}, AggregatorKey: aggregatorKey.Public().(ed25519.PublicKey), CertificateCA: fl.Digest{1},
	}, fl.AggregatorID, aggregatorKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tiny{entries: [][]byte{genesis.Encode()}, genesis: genesis.Digest(), sign: aggregatorKey}
}

func (s *tiny) Trust(context.Context) (Trust, error) {
	return Trust{Genesis: s.genesis, Key: aggregatorKey.Public().(ed25519.PublicKey)}, nil
}

func (s *tiny) Checkpoint(context.Context) ([]byte, error) {
	var hashes tree
	for i, e := range s.entries {
		more, err := translog.Append(int64(i), e, hashes)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, more...)
	}
	size := int64(len(s.entries))
	root, err := translog.Root(size, hashes)
	if err != nil {
		return nil, err
	}
	return translog.Sign(translog.Checkpoint{Origin: translog.Origin(s.genesis), Size: size + s.forget, Root: root}, s.sign)
}

func (s *tiny) Entries(_ context.Context, from, to int64) ([][]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.entries[from:min(to, int64(len(s.entries)))], nil
}

func (s *tiny) Blob(context.Context, fl.Digest, fl.Digest) ([]byte, error) { return nil, ErrMissing }

func (s *tiny) Balances(context.Context) (map[string]int64, error) { return s.balances, nil }

// TestTinyLogs: what is wrong with a log before anything happened in it.
func TestTinyLogs(t *testing.T) {
	document := func(s *tiny, doc fl.Document) {
		e, err := fl.Sign(doc, fl.AggregatorID, aggregatorKey)
		if err != nil {
			t.Fatal(err)
		}
		s.entries = append(s.entries, e.Encode())
	}
	for name, c := range map[string]struct {
		change func(*tiny)
		lie    string // "" for an error that is none
		err    string
	}{
		"nothing":           {func(*tiny) {}, "", ""},
		"another key":       {func(s *tiny) { s.sign = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }, "checkpoint not signed by the log", ""},
		"fewer than signed": {func(s *tiny) { s.forget = 2 }, "entry 1 of the log", ""},
		"an empty log":      {func(s *tiny) { s.entries = nil }, "empty log", ""},
		"no network":        {func(s *tiny) { s.err = errors.New("no network") }, "", "no network"},
		"garbage":           {func(s *tiny) { s.entries = append(s.entries, []byte("garbage")) }, "entry 1 of the log", ""},
		"a bad transaction": {func(s *tiny) { s.entries = append(s.entries, []byte(`{"id":"x"}`)) }, "entry 1 of the log", ""},
		"a second genesis":  {func(s *tiny) { s.entries = append(s.entries, s.entries[0]) }, "entry 0 already", ""},
		"another genesis":   {func(s *tiny) { s.genesis[0] ^= 1 }, "not the genesis that the auditor pinned", ""},
		"a wrong balance":   {func(s *tiny) { s.balances = map[string]int64{"party/x": 1} }, "party/x: expected 0, found 1", ""},
		"an unknown party":  {func(s *tiny) { document(s, fl.Revocation{Genesis: s.genesis, Node: "x", RevokedAt: testTime}) }, "x was never enrolled", ""},
		"a role that is odd": {func(s *tiny) {
			document(s, fl.JobCancel{Genesis: s.genesis, JobSpec: fl.Digest{1}, Job: "j", Owner: "aggregator"})
		}, "the aggregator speaks as a party", ""},
		"a later version": {func(s *tiny) {
			document(s, fl.Receipt{Genesis: s.genesis, Subject: fl.Digest{1}, Node: "x", AcceptedAt: testTime})
		}, "", "does not know such documents"},
		"a plan for no job": {func(s *tiny) {
			document(s, fl.EpochPlan{Genesis: s.genesis, Epoch: 2, Suite: "insecure-rlwe64-d1-v1", Members: []fl.NodeID{"a", "b", "c"}, Threshold: 2, OpenedAt: testTime})
		}, "without gaps: expected 1, found 2", ""},
		"a stranger in the committee": {func(s *tiny) {
			document(s, fl.EpochPlan{Genesis: s.genesis, Epoch: 1, Suite: "insecure-rlwe64-d1-v1", Members: []fl.NodeID{"a", "b", "c"}, Threshold: 2, OpenedAt: testTime})
		}, "a was not enrolled by then", ""},
	} {
		s := newTiny(t)
		c.change(s)
		calls := 0
		report, err := Audit(t.Context(), s, Selection{}, func(string, int, int) { calls++ })
		var lie *Lie
		switch {
		case errors.As(err, &lie):
			if c.lie == "" || !strings.Contains(lie.Error(), c.lie) || report.Lie != lie {
				t.Errorf("%s: lie %v, want %q", name, lie, c.lie)
			}
		case err != nil:
			if c.err == "" || !strings.Contains(err.Error(), c.err) || report.Lie != nil {
				t.Errorf("%s: error %v, want %q or the lie %q", name, err, c.err, c.lie)
			}
		case c.lie != "" || c.err != "":
			t.Errorf("%s: nothing was found", name)
		case calls == 0 || report.Size != 1:
			t.Errorf("%s: no progress, or %d entries", name, report.Size)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Audit(ended, newTiny(t), Selection{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Audit(t.Context(), newTiny(t), Selection{Job: "j"}, nil); err == nil || !strings.Contains(err.Error(), "no round") {
		t.Errorf("a job that is not there: %v", err)
	}
}

// TestCrossing: a plan names the newest key, unless that was made while the plan
// was.
func TestCrossing(t *testing.T) {
	epoch := func(at int64, id byte, closed time.Time) *epochLog {
		return &epochLog{key: &filed[fl.EpochKey]{ref: ref{at: at, id: fl.Digest{id}}, body: fl.EpochKey{ClosedAt: closed}}}
	}
	keys := func(at int64, id byte, adopted time.Time) filed[fl.ProofKeys] {
		return filed[fl.ProofKeys]{ref: ref{at: at, id: fl.Digest{id}}, body: fl.ProofKeys{AdoptedAt: adopted}}
	}
	old := testTime.Add(-time.Hour)
	for name, c := range map[string]struct {
		second time.Time // when the second one was made
		at     int64     // its entry; the plan's is 10
		named  byte      // by the plan
		want   byte
	}{
		"the newest":                  {old, 5, 2, 2},
		"an old one":                  {old, 5, 1, 2},
		"an old one that was crossed": {testTime.Add(-time.Second), 5, 1, 1},
		"the new one that crossed":    {testTime.Add(-time.Second), 5, 2, 2},
		"one that comes later":        {old, 11, 2, 1},
		"one that is not there":       {testTime, 5, 9, 2},
	} {
		a := &auditor{book: newBook()}
		a.book.epochs = []*epochLog{epoch(3, 1, old), {}, epoch(c.at, 2, c.second)}
		a.book.proofKeys = []filed[fl.ProofKeys]{keys(3, 1, old), keys(c.at, 2, c.second)}
		r := &roundLog{plan: filed[fl.Plan]{ref: ref{at: 10}, body: fl.Plan{EpochKey: fl.Digest{c.named}, ProofKeys: fl.Digest{c.named}, OpenedAt: testTime}}}
		if got := a.epochFor(r); got == nil || got.key.id != (fl.Digest{c.want}) {
			t.Errorf("%s: epoch key %v, want %d", name, got, c.want)
		}
		if got := a.proofKeysOf(r); got.id != (fl.Digest{c.want}) {
			t.Errorf("%s: proof keys %v, want %d", name, got.id, c.want)
		}
	}
	empty := &auditor{book: newBook()}
	if r := (&roundLog{}); empty.epochFor(r) != nil || !empty.proofKeysOf(r).id.IsZero() {
		t.Error("keys out of nothing")
	}
}
