package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"credence/aggregator"
	"credence/client/audit"
	"credence/fl"
	"credence/fl/credit"
	"credence/fl/translog"
	"credence/he"
)

// hashList is a tree in memory.
type hashList []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (h hashList) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = h[x]
	}
	return out, nil
}

// TestAudit runs a federation, audits it as a party and from its folder, and
// then tells every lie that it can think of.
func TestAudit(t *testing.T) {
	t.Parallel()
	f := newAudited(t, fl.ProofNone, attestedJob, plainJob)
	t.Run("as a party", f.asParty)
	t.Run("from the folder", f.fromFolder)
	t.Run("damaged", f.damaged)
	t.Run("forged", f.forged)
}

// TestAuditKeyShares: where the floor asks for it, the members' key shares are
// attested, and an audit checks them.
func TestAuditKeyShares(t *testing.T) {
	t.Parallel()
	f := newAudited(t, fl.ProofBounded)
	if !slices.ContainsFunc(f.party.Checks, func(c audit.Check) bool { return c.What == "attestations of key shares" && c.Count == 4 }) {
		t.Errorf("checked %v", f.party.Checks)
	}
	for name, lie := range map[string]struct {
		tell func(m *memory)
		want string
	}{
		"a damaged attestation": {func(m *memory) {
			_, d := find(m, func(d *fl.KeyReveal) bool { return d.Node == "gamma" })
			m.blobs[d.Attestation] = append(m.get(d.Attestation), 0)
		}, "attestation of the key share of gamma"},
		"another's attestation": {func(m *memory) {
			at, d := find(m, func(d *fl.KeyReveal) bool { return d.Node == "gamma" })
			_, other := find(m, func(d *fl.KeyReveal) bool { return d.Node == "beta" })
			d.Attestation = other.Attestation
			before, after := m.sign(at, *d)
			m.rekey(before, after)
		}, "by gamma"},
		"no attestation": {func(m *memory) {
			at, d := find(m, func(d *fl.KeyReveal) bool { return d.Node == "gamma" })
			d.Attestation = fl.Digest{}
			before, after := m.sign(at, *d)
			m.rekey(before, after)
		}, "not attested"},
		"a plan that asks for none": {func(m *memory) {
			at, d := find(m, func(*fl.EpochPlan) bool { return true })
			d.ProofKeys = fl.Digest{}
			m.sign(at, *d)
		}, "genesis' floor"},
	} {
		t.Run(name, func(t *testing.T) {
			f := f.on(t)
			f.must(withFolder(t.Context(), f.dir, nil, func(src audit.Source) error {
				m := f.read(t, src)
				lie.tell(m)
				_, err := audit.Audit(t.Context(), m, audit.Selection{}, nil)
				var found *audit.Lie
				if !errors.As(err, &found) || !strings.Contains(found.Error(), lie.want) {
					t.Errorf("found %v, want %q", err, lie.want)
				}
				return nil
			}))
		})
	}
}

func (f *audited) asParty(t *testing.T) {
	f = f.on(t)
	r := f.party
	published := len(slices.DeleteFunc(slices.Clone(r.Rounds), func(r audit.RoundReport) bool { return r.Version == 0 }))
	if published != 4 || r.Lie != nil || len(r.Kept) != 1 {
		t.Errorf("%d rounds, lie %v, extends %v", published, r.Lie, r.Kept)
	}
	if !slices.ContainsFunc(r.NotChecked, func(s string) bool { return strings.Contains(s, "without the ciphertexts") }) {
		t.Errorf("a party cannot read ciphertexts, and is told that this was not checked: %q", r.NotChecked)
	}
	for _, want := range []string{
		"entries hashed up to the signed checkpoint", "earlier checkpoints extended", "key shares that open their commitments", "self-tests that open to zero",
		"attestations of updates, in batches", "sums that are those of the attested updates", "sums opened from the decryption shares, noise within its bound",
		"published models that follow from the opened sums", "transactions recomputed: payout", "transactions recomputed: refund", "balances that follow from the log",
	} {
		if !slices.ContainsFunc(r.Checks, func(c audit.Check) bool { return c.What == want && c.Count > 0 }) {
			t.Errorf("nothing was checked of: %s", want)
		}
	}
}

func (f *audited) fromFolder(t *testing.T) {
	f = f.on(t)
	code, out, complaint := f.audit("--all", "--dir", f.dir)
	if code != exitOK || !strings.Contains(out, "No lie found: ") || !strings.Contains(out, "sums that are those of the stored ciphertexts") {
		t.Fatalf("code %d\n%s%s", code, out, complaint)
	}
	t.Log(out)
	code, out, _ = f.audit(string(attestedJob)+"/2", "--json", "--dir", f.dir)
	var r audit.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitOK || len(r.Rounds) != 1 || r.Rounds[0].Version != 2 {
		t.Errorf("code %d, %v, rounds %v", code, err, r.Rounds)
	}
	note := filepath.Join(t.TempDir(), "note")
	f.must(os.WriteFile(note, f.note, 0o600))
	if code, out, complaint := f.audit(string(plainJob), "--checkpoint", note, "--genesis", r.Genesis.String(), "--model", f.model, "--dir", f.dir); code != exitLie || !strings.Contains(complaint, "no published model of the audited rounds") {
		t.Errorf("another job's model: code %d\n%s%s", code, out, complaint)
	}
	if code, out, complaint := f.audit("--model", f.model, "--checkpoint", note, "--dir", f.dir); code != exitOK || !strings.Contains(out, "kept by the file") {
		t.Errorf("the pulled model: code %d\n%s%s", code, out, complaint)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitUsage, []string{}}, {exitUsage, []string{"x", "--all"}}, {exitUsage, []string{"x/0"}}, {exitUsage, []string{"X"}}, {exitFailed, []string{"nosuchjob"}},
		{exitFailed, []string{"--all", "--genesis", strings.Repeat("0", 64)}}, {exitFailed, []string{"--all", "--checkpoint", "/nonexistent"}},
	} {
		if code, _, complaint := f.audit(append(c.args, "--dir", f.dir)...); code != c.code {
			t.Errorf("%v: code %d, want %d: %s", c.args, code, c.code, complaint)
		}
	}
	// A copy without the keys needs a checkpoint, and goes as far as that.
	dir := f.copy(t)
	for _, pattern := range []string{"*.key", "*.json", "*.pem"} {
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, file := range files {
			f.must(os.Remove(file))
		}
	}
	if code, _, complaint := f.audit("--all", "--dir", dir); code != exitFailed || !strings.Contains(complaint, "--checkpoint") {
		t.Errorf("without keys: code %d: %s", code, complaint)
	}
	sqlExec(t, dir, "DELETE FROM log_entries WHERE idx = (SELECT max(idx) FROM log_entries)", "UPDATE accounts SET balance = balance - 7 WHERE account = 'party/lab'", "UPDATE accounts SET balance = balance + 7 WHERE account = 'issuer'")
	if code, _, complaint := f.audit("--all", "--dir", dir, "--checkpoint", note); code != exitOK {
		t.Errorf("without keys, with a checkpoint: code %d: %s", code, complaint)
	}
}

// damaged changes one thing at a time in a copy of the aggregator's folder.
func (f *audited) damaged(t *testing.T) {
	f = f.on(t)
	var log *memory
	f.must(withFolder(t.Context(), f.dir, nil, func(src audit.Source) error { log = f.read(t, src); return nil }))
	_, seal := find(log, func(d *fl.Seal) bool { return d.Job == attestedJob && d.Round == 1 })
	_, share := find(log, func(d *fl.DecryptionShare) bool { return d.Job == attestedJob && d.Round == 1 })
	headerAt, header := find(log, func(d *fl.UpdateHeader) bool { return d.Job == attestedJob && d.Round == 1 })
	planAt, _ := find(log, func(d *fl.Plan) bool { return d.Job == attestedJob && d.Round == 2 })
	manifestAt, manifest := find(log, func(d *fl.Manifest) bool { return d.Job == attestedJob && d.Round == 2 })
	_, reveal := find(log, func(d *fl.KeyReveal) bool { return d.Node == "beta" })
	_, test := find(log, func(d *fl.TestShare) bool { return d.Node == "beta" })
	_, keys := find(log, func(*fl.ProofKeys) bool { return true })
	_, key := find(log, func(*fl.EpochKey) bool { return true })
	_, job := find(log, func(d *fl.JobSpec) bool { return d.Job == attestedJob })
	_, plain := find(log, func(d *fl.UpdateHeader) bool { return d.Job == plainJob })
	payout := log.transaction(fmt.Sprintf("payout/%s/1", attestedJob))

	change := func(at int) string { // one byte of a document's signature
		return fmt.Sprintf(`UPDATE documents SET envelope = CAST(replace(CAST(envelope AS TEXT), '"signature":"', '"signature":"' || 'AAAA') AS BLOB) WHERE digest = (SELECT document FROM log_entries WHERE idx = %d)`, at)
	}
	digit := func(at int) string { // one digit of a document's time
		return fmt.Sprintf(`UPDATE documents SET envelope = CAST(replace(CAST(envelope AS TEXT), '"round":', '"round":1') AS BLOB) WHERE digest = (SELECT document FROM log_entries WHERE idx = %d)`, at)
	}
	blob := func(d fl.Digest) func(f *audited, dir string) {
		return func(f *audited, dir string) { flip(f.T, blobPath(dir, d)) }
	}
	gone := func(d fl.Digest) func(f *audited, dir string) {
		return func(f *audited, dir string) { f.must(os.Remove(blobPath(dir, d))) }
	}
	query := func(q ...string) func(f *audited, dir string) {
		return func(f *audited, dir string) { sqlExec(f.T, dir, q...) }
	}
	_, noise := find(log, func(d *fl.NoiseDealing) bool { return d.Job == attestedJob && d.Round == 1 })
	_, dealt := find(log, func(d *fl.KeyDealing) bool { return d.Node == "beta" })
	wrong := "its bytes do not have that digest"
	for _, c := range []struct {
		name   string
		tamper func(f *audited, dir string)
		want   []string
	}{
		{"sum", blob(seal.Sums[0].C0), []string{"sum c0 of shard 0", seal.Sums[0].C0.Short(), wrong}},
		{"second half of a sum", blob(seal.Sums[0].C1), []string{"sum c1 of shard 0", wrong}},
		{"decryption share", blob(share.Shares[0].Digest), []string{"decryption share of shard 0", string(share.Node), wrong}},
		{"attestation", blob(header.Attestation), []string{"attestation", string(header.Node), wrong}},
		{"model", blob(manifest.Model), []string{"(model, named by manifest", wrong}},
		{"initial model", blob(job.InitialModel), []string{"base model", wrong}},
		{"reveal", blob(reveal.Reveal), []string{"key share of beta", wrong}},
		{"share of the self-test", blob(test.Shares[0].Digest), []string{"share of the self-test by beta", wrong}},
		{"collective key", blob(key.PublicKey), []string{"collective key", wrong}},
		{"verifying key", blob(keys.Circuits[0].Verifying), []string{"file of the keys for update/", wrong}},
		{"SRS", blob(keys.Circuits[0].SRS), []string{"file of the keys for update/", wrong}},
		{"ciphertext of a round that is not attested", blob(plain.Ciphertexts[0].Digest), []string{"ciphertext of shard 0", wrong}},
		{"ciphertext of an attested round", blob(header.Ciphertexts[0].Digest), []string{"ciphertext of shard 0", string(header.Node), wrong}},
		{"box of noise", blob(noise.Boxes[0].Digest), []string{"box of noise", string(noise.Node), wrong}},
		{"box of a key share", blob(dealt.Boxes[0].Digest), []string{"stored, and needed by nothing", wrong}},
		{"proving key", blob(keys.Circuits[0].Proving), []string{wrong}},
		{"missing sum", gone(seal.Sums[0].C1), []string{"sum c1 of shard 0", "it is gone"}},
		{"missing decryption share", gone(share.Shares[0].Digest), []string{"decryption share of shard 0", "it is gone"}},
		{"log entry", query(change(headerAt)), []string{fmt.Sprintf("entry %d of the log", headerAt), "not what was logged"}},
		{"header", query(digit(headerAt)), []string{fmt.Sprintf("entry %d of the log (update-header/v1", headerAt), "not what was logged"}},
		{"plan", query(digit(planAt)), []string{fmt.Sprintf("entry %d of the log (plan/v1", planAt), "not what was logged"}},
		{"manifest", query(digit(manifestAt)), []string{fmt.Sprintf("entry %d of the log (manifest/v1", manifestAt), "not what was logged"}},
		{"posting", query(fmt.Sprintf("UPDATE postings SET amount = amount + CASE leg WHEN 1 THEN 1 ELSE -1 END WHERE leg IN (1, 2) AND txn = (SELECT txn FROM log_entries WHERE idx = %d)", payout)),
			[]string{fmt.Sprintf("entry %d of the log (transaction payout/screening/1)", payout), "not what was logged"}},
		{"balance", query("UPDATE accounts SET balance = balance + 1 WHERE account = 'party/beta'"), []string{"party/beta: expected", "found"}},
		{"dropped entry", query(fmt.Sprintf("DELETE FROM log_entries WHERE idx = %d", headerAt)), []string{fmt.Sprintf("entry %d of the log", headerAt), "cannot be had"}},
		{"reordered entries", query(fmt.Sprintf("UPDATE log_entries SET idx = 1000000 - idx WHERE idx IN (%d, %d)", headerAt, headerAt+1), fmt.Sprintf("UPDATE log_entries SET idx = idx - %d WHERE idx > 100000", 1000000-2*headerAt-1)),
			[]string{fmt.Sprintf("entry %d of the log", headerAt), "not what was logged"}},
		{"second payout", func(f *audited, dir string) {
			agg, err := aggregator.Open(f.Context(), dir, aggregator.Options{})
			f.must(err)
			again := *log.entries[log.transaction(fmt.Sprintf("payout/%s/2", plainJob))].tx
			again.ID += "/again"
			again.Postings = []fl.Posting{{Account: credit.Issuer, Amount: -5, Memo: "work"}, {Account: credit.PartyAccount("alpha"), Amount: 5, Memo: "work"}}
			f.must(agg.Store().Transact(f.Context(), again))
			f.must(agg.Close())
		}, []string{"transaction payout/survey/2/again", "not published before it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := f.on(t)
			dir := f.copy(t)
			c.tamper(f, dir)
			code, _, complaint := f.audit("--all", "--dir", dir)
			if code != exitLie || !strings.HasPrefix(complaint, "LIE: ") {
				t.Fatalf("code %d: %s", code, complaint)
			}
			t.Log(strings.TrimSpace(complaint))
			for _, want := range c.want {
				if !strings.Contains(complaint, want) {
					t.Errorf("%q does not say %q", complaint, want)
				}
			}
		})
	}

	t.Run("a model file", func(t *testing.T) {
		f := f.on(t)
		path := filepath.Join(t.TempDir(), "model.safetensors")
		raw, err := os.ReadFile(f.model)
		f.must(err)
		for _, c := range []struct {
			name, want string
			change     func(raw []byte) []byte
		}{
			{"the least significant bits of the last parameter", "no published model", func(raw []byte) []byte { raw[len(raw)-4] ^= 1; return raw }},
			{"what it says of epsilon", "of \"epsilon\"", func(raw []byte) []byte { return bytes.Replace(raw, []byte(`"epsilon":"i`), []byte(`"epsilon":"j`), 1) }},
			{"the name of what it says", "of \"epsilon\"", func(raw []byte) []byte { return bytes.Replace(raw, []byte(`"epsilon"`), []byte(`"epsilom"`), 1) }},
			{"which manifest it names", "of \"manifest\"", func(raw []byte) []byte {
				raw[bytes.Index(raw, []byte(`"manifest":"`))+12] ^= 1
				return raw
			}},
		} {
			changed := c.change(bytes.Clone(raw))
			if bytes.Equal(changed, raw) || len(changed) != len(raw) {
				t.Errorf("%s: not changed", c.name)
			}
			f.must(os.WriteFile(path, changed, 0o600))
			if code, _, complaint := f.audit("--model", path, "--dir", f.dir); code != exitLie || !strings.Contains(complaint, path) || !strings.Contains(complaint, c.want) {
				t.Errorf("%s: code %d: %s", c.name, code, complaint)
			}
		}
	})
	t.Run("any bit of a model file", func(t *testing.T) {
		f := f.on(t)
		raw, err := os.ReadFile(f.model)
		f.must(err)
		path := filepath.Join(t.TempDir(), "model.safetensors")
		var honest audit.Selection
		f.must(readModelFile(f.model, &honest))
		for i := range 8 * len(raw) {
			changed := bytes.Clone(raw)
			changed[i/8] ^= 1 << (i % 8)
			f.must(os.WriteFile(path, changed, 0o600))
			var sel audit.Selection
			if err := readModelFile(path, &sel); err == nil && slices.Equal(sel.Model, honest.Model) && bytes.Equal(sel.ModelSpec, honest.ModelSpec) && maps.Equal(sel.ModelMetadata, honest.ModelMetadata) {
				t.Errorf("bit %d of byte %d, %q: nothing is found", i%8, i/8, raw[max(0, i/8-8):min(len(raw), i/8+8)])
			}
		}
	})
	t.Run("pruned", func(t *testing.T) {
		f := f.on(t)
		dir := f.copy(t)
		f.must(os.Remove(blobPath(dir, header.Ciphertexts[0].Digest)))
		f.must(os.Remove(blobPath(dir, plain.Ciphertexts[0].Digest)))
		code, out, complaint := f.audit("--all", "--dir", dir)
		if code != exitOK || !strings.Contains(out, "Deleted after publication, as is allowed: 2 ciphertexts and 0 noise boxes") || !strings.Contains(out, "without the ciphertexts") {
			t.Errorf("code %d\n%s%s", code, out, complaint)
		}
	})
}

// forged tells lies that the aggregator signs: the log is whole, its root is
// signed, every document has its signature, and what they say is not so.
func (f *audited) forged(t *testing.T) {
	f = f.on(t)
	ref := func(m *memory, at int) fl.Digest { return m.entries[at].doc.Digest() }
	bySealed := func(d *fl.Seal) bool { return d.Job == attestedJob && d.Round == 2 }
	byPublished := func(d *fl.Manifest) bool { return d.Job == attestedJob && d.Round == 2 }
	republish := func(m *memory, at int, d *fl.Manifest) { m.refer(m.sign(at, *d)) }
	cut := func(m *memory, at int) { m.entries = m.entries[:at+1] } // an aggregator that has not come further yet
	for _, c := range []struct {
		name string
		lie  func(m *memory)
		want []string
	}{
		{"another model", func(m *memory) {
			at, d := find(m, byPublished)
			raw := m.get(d.Model)
			raw[0] ^= 1
			d.Model = m.put(raw)
			republish(m, at, d)
		}, []string{"manifest/v1", "not what the strategy makes of the mean"}},
		{"other figures", func(m *memory) {
			at, d := find(m, byPublished)
			d.Figures.Correct--
			republish(m, at, d)
		}, []string{"manifest/v1", "figures"}},
		{"credits moved in manifest and ledger alike", func(m *memory) {
			at, d := find(m, byPublished)
			d.Postings[1].Amount++
			d.Postings[2].Amount--
			m.entries[m.transaction(fmt.Sprintf("payout/%s/2", attestedJob))].tx.Postings = d.Postings
			republish(m, at, d)
		}, []string{"manifest/v1", "posting 2 is not what is due"}},
		{"credits moved in the ledger alone", func(m *memory) {
			tx := m.entries[m.transaction(fmt.Sprintf("payout/%s/2", attestedJob))].tx
			tx.Postings[1].Amount++
			tx.Postings[2].Amount--
		}, []string{"transaction payout/screening/2", "posting 2 is not what is due"}},
		{"paid twice", func(m *memory) {
			m.entries = append(m.entries, m.entries[m.transaction(fmt.Sprintf("payout/%s/2", attestedJob))])
		}, []string{"transaction payout/screening/2", "paid twice"}},
		{"not paid", func(m *memory) {
			at := m.transaction(fmt.Sprintf("payout/%s/2", attestedJob))
			m.entries = slices.Delete(m.entries, at, at+1)
		}, []string{"manifest/v1", "never paid"}},
		{"a budget to another", func(m *memory) {
			m.entries[m.transaction("escrow/"+string(attestedJob))].tx.Postings[1].Account = "party/alpha"
		}, []string{"transaction escrow/screening", "posting 2 is not what is due"}},
		{"a refund to another", func(m *memory) {
			m.entries[m.transaction("refund/"+string(cancelledJob))].tx.Postings[1].Account = "party/alpha"
		}, []string{"transaction refund/trial", "posting 2 is not what is due"}},
		{"a refund withheld", func(m *memory) {
			at := m.transaction("refund/" + string(cancelledJob))
			m.entries = slices.Delete(m.entries, at, at+1)
		}, []string{"job/v1", "500 credits are left in its escrow"}},
		{"a refund of a job that goes on", func(m *memory) {
			at := m.transaction("refund/" + string(cancelledJob))
			m.entries = slices.Delete(m.entries, at-1, at) // the cancellation
		}, []string{"transaction refund/trial", "was not over"}},
		{"a wrong share that was right", func(m *memory) {
			// Of a round that more shares than the threshold opened.
			at, d := find(m, func(d *fl.Manifest) bool { return d.Job == attestedJob && d.SharesChecked > 0 })
			d.KeyHolders, d.WrongShare, d.SharesChecked = d.KeyHolders[1:], d.KeyHolders[:1], d.SharesChecked-1
			republish(m, at, d)
		}, []string{"manifest/v1", "decryption share of alpha was wrong, and it is right"}},
		{"shares that were not there", func(m *memory) {
			at, d := find(m, byPublished)
			d.SharesChecked++
			republish(m, at, d)
		}, []string{"shares beyond the threshold"}},
		{"a second plan", func(m *memory) {
			at, d := find(m, func(d *fl.Plan) bool { return d.Job == attestedJob && d.Round == 1 })
			d.Seed++
			m.insert(at+1, fl.AggregatorID, *d)
		}, []string{"plan/v1", "round 1 of job screening has another plan"}},
		{"a plan with another weight", func(m *memory) {
			at, d := find(m, func(d *fl.Plan) bool { return d.Job == attestedJob && d.Round == 2 })
			for i := range d.Cohort {
				if d.Cohort[i].Weight > 1 && d.Cohort[i].Weight < d.WeightUnit {
					d.Cohort[i].Weight--
				}
			}
			d.Cohort[0].Weight = max(1, d.Cohort[0].Weight-1)
			m.sign(at, *d)
			cut(m, at)
		}, []string{"plan/v1", "weight"}},
		{"a plan from another model", func(m *memory) {
			at, d := find(m, func(d *fl.Plan) bool { return d.Job == attestedJob && d.Round == 2 })
			_, job := find(m, func(d *fl.JobSpec) bool { return d.Job == attestedJob })
			d.BaseModel = job.InitialModel
			m.sign(at, *d)
			cut(m, at)
		}, []string{"plan/v1", "base model does not follow"}},
		{"a plan of lower proof level", func(m *memory) {
			at, d := find(m, func(d *fl.Plan) bool { return d.Job == attestedJob && d.Round == 2 })
			d.ProofLevel, d.ProofKeys = fl.ProofNone, fl.Digest{}
			m.sign(at, *d)
			cut(m, at)
		}, []string{"plan/v1", "proof level does not follow"}},
		{"another state of the strategy", func(m *memory) {
			at, d := find(m, func(d *fl.Manifest) bool { return d.Job == plainJob && d.Round == 2 })
			raw := m.get(d.State)
			raw[0] ^= 1
			d.State = m.put(raw)
			republish(m, at, d)
		}, []string{"manifest/v1", "the strategy's state is not what it makes of the mean"}},
		{"a plan on another state", func(m *memory) {
			at, d := find(m, func(d *fl.Plan) bool { return d.Job == plainJob && d.Round == 2 })
			d.BaseState = m.put(make([]byte, 4*31))
			m.sign(at, *d)
			cut(m, at)
		}, []string{"plan/v1", "strategy's state does not follow"}},
		{"a plan with groups", func(m *memory) {
			at, d := find(m, func(d *fl.Plan) bool { return d.Job == plainJob && d.Round == 2 })
			d.Groups, d.Shards = 2, 2
			d.Cohort[0].Shards = []int{1}
			m.sign(at, *d)
			cut(m, at)
		}, []string{"plan/v1", "number of groups does not follow"}},
		{"a plan with a population", func(m *memory) {
			at, d := find(m, func(d *fl.Plan) bool { return d.Job == plainJob && d.Round == 2 })
			d.Population = 4
			m.sign(at, *d)
			cut(m, at)
		}, []string{"plan/v1", "population does not follow from the joins"}},
		{"an update left out", func(m *memory) {
			at, d := find(m, bySealed)
			d.Clients, d.Headers, d.Accepted = d.Clients[1:], d.Headers[1:], d.Accepted[1:]
			for i := range d.Sums {
				d.Sums[i].Contributors = d.Clients
			}
			m.sign(at, *d)
			cut(m, at)
		}, []string{"seal/v1", "leaves out an accepted update", "by alpha"}},
		{"a sum that is not the sum", func(m *memory) {
			at, d := find(m, bySealed)
			suite, err := he.LookupSuite("insecure-rlwe64-d1-v1")
			m.f.must(err)
			sum := suite.NewSum()
			for range d.Clients { // the first client's, again and again
				_, h := find(m, func(h *fl.UpdateHeader) bool { return h.Plan == d.Plan && h.Node == d.Clients[0] })
				c, err := suite.ParseCiphertext(m.get(h.Ciphertexts[0].Digest))
				m.f.must(err)
				m.f.must(sum.Add(c))
			}
			d.Sums[0].C0, d.Sums[0].C1 = m.put(sum.PartBytes(he.C0)), m.put(sum.PartBytes(he.C1))
			m.sign(at, *d)
			cut(m, at)
		}, []string{"seal/v1", "sum of shard 0 is not the sum of the attested updates"}},
		{"another's attestation", func(m *memory) {
			sealAt, seal := find(m, bySealed)
			at, d := find(m, func(h *fl.UpdateHeader) bool { return h.Plan == seal.Plan && h.Node == "alpha" })
			_, other := find(m, func(h *fl.UpdateHeader) bool { return h.Plan == seal.Plan && h.Node == "beta" })
			d.Attestation = other.Attestation
			before, after := m.sign(at, *d)
			seal.Headers[slices.Index(seal.Headers, before)] = after
			m.sign(sealAt, *seal)
			cut(m, sealAt)
		}, []string{"attestation", "by alpha", "rejected"}},
		{"a header that was dropped", func(m *memory) {
			at, _ := find(m, func(h *fl.UpdateHeader) bool { return h.Job == attestedJob && h.Round == 1 && h.Node == "alpha" })
			m.entries = slices.Delete(m.entries, at, at+1)
		}, []string{"seal/v1", "update of alpha", "no header"}},
		{"a key share revealed before the last commitment", func(m *memory) {
			at := -1
			for i, e := range m.entries {
				if e.doc != nil && e.doc.Kind == (fl.KeyCommitment{}).Kind() {
					at = i
				}
			}
			reveal, _ := find(m, func(*fl.KeyReveal) bool { return true })
			m.entries[at], m.entries[reveal] = m.entries[reveal], m.entries[at]
		}, []string{"key-reveal/v1", "logged before"}},
		{"a second enrolment under a name", func(m *memory) {
			at, d := find(m, func(d *fl.Enrolment) bool { return d.Node == "beta" })
			d.SigningKey = f.key.SigningPublic()
			m.insert(at+1, fl.AggregatorID, *d)
		}, []string{"enrolment/v1", "beta is enrolled already"}},
		{"an update of a revoked node", func(m *memory) {
			at, _ := find(m, func(h *fl.UpdateHeader) bool { return h.Job == attestedJob && h.Round == 2 && h.Node == "alpha" })
			_, genesis := find(m, func(*fl.Genesis) bool { return true })
			m.insert(at, fl.AggregatorID, fl.Revocation{Genesis: m.genesis, Node: "alpha", RevokedAt: genesis.CreatedAt})
		}, []string{"alpha (entry", "had been revoked"}},
		{"a document of another federation", func(m *memory) {
			at, d := find(m, func(d *fl.JobJoin) bool { return d.Node == "alpha" })
			d.Genesis[0] ^= 1
			m.sign(at, *d)
		}, []string{"job-join/v1", "another federation"}},
		{"a party's document signed by the aggregator", func(m *memory) {
			at, d := find(m, func(d *fl.JobJoin) bool { return d.Node == "alpha" })
			e, err := fl.Sign(*d, "alpha", f.key.Signing)
			m.f.must(err)
			m.entries[at].doc = &e
		}, []string{"job-join/v1", "bad signature"}},
		{"a grant to nobody", func(m *memory) {
			tx, err := credit.Grant("nobody", 5, ref(m, 0), m.entries[m.transaction("escrow/"+string(plainJob))].tx.At)
			m.f.must(err)
			m.entries = append(m.entries, entry{tx: &tx})
		}, []string{"party/nobody", "no party"}},
		{"a forked log", func(m *memory) {
			note, err := m.Checkpoint(t.Context())
			m.f.must(err)
			m.kept = []audit.Kept{{By: "st-alba", Note: note}}
			tx, err := credit.Grant("alpha", 5, ref(m, 0), m.entries[m.transaction("escrow/"+string(plainJob))].tx.At)
			m.f.must(err)
			m.entries[len(m.entries)-1] = entry{tx: &tx}
		}, []string{"kept by st-alba", "THE LOG WAS FORKED"}},
		{"a shortened log", func(m *memory) {
			note, err := m.Checkpoint(t.Context())
			m.f.must(err)
			m.kept = []audit.Kept{{By: "st-alba", Note: note}}
			cut(m, len(m.entries)-2)
		}, []string{"kept by st-alba", "entries were dropped"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := f.on(t)
			f.must(withFolder(t.Context(), f.dir, nil, func(src audit.Source) error {
				m := f.read(t, src)
				c.lie(m)
				_, err := audit.Audit(t.Context(), m, audit.Selection{}, nil)
				var lie *audit.Lie
				if !errors.As(err, &lie) {
					t.Fatalf("no lie was found: %v", err)
				}
				t.Log(lie)
				for _, want := range c.want {
					if !strings.Contains(lie.Error(), want) {
						t.Errorf("%q does not say %q", lie, want)
					}
				}
				return nil
			}))
		})
	}
	t.Run("nothing", func(t *testing.T) {
		f := f.on(t)
		f.must(withFolder(t.Context(), f.dir, nil, func(src audit.Source) error {
			m := f.read(t, src)
			note, err := m.Checkpoint(t.Context())
			f.must(err)
			own, err := src.Checkpoint(t.Context())
			f.must(err)
			if string(note) != string(own) {
				t.Error("the log in memory is not the folder's")
			}
			_, err = audit.Audit(t.Context(), m, audit.Selection{}, nil)
			return err
		}))
	})
}

// TestUnsignedCheckpoint: a checkpoint of another key is a lie, and one of
// another log too.
func TestUnsignedCheckpoint(t *testing.T) {
	l := &audit.Lie{Stage: "log", Where: "the checkpoint", What: "x", Expected: "a", Found: "b", Cause: translog.ErrUnsigned}
	if code := exitCode(t.Context(), fmt.Errorf("auditing: %w", l), true); code != exitLie {
		t.Errorf("exit code %d, want %d", code, exitLie)
	}
	if !errors.Is(l, translog.ErrUnsigned) || l.Error() != "the checkpoint: x: expected a, found b" {
		t.Errorf("got %v", l)
	}
}
