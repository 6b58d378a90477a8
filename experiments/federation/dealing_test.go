package federation_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/experiments/federation"
	"credence/fl"
	"credence/fl/flpb"
	"credence/he"
	"credence/he/threshold"
	"credence/zk"
	"credence/zk/circuit/rlwe"
)

// cheat plays one member of a committee by hand, so that it can do what a real
// node never would. The others are real nodes.
type cheat struct {
	*clinic
	node    fl.NodeID
	remote  *client.Remote
	holder  *threshold.KeyHolder // commits and reveals
	dealer  *threshold.KeyHolder // deals; another one where the member deals another secret
	epoch   *threshold.Epoch
	planID  fl.Digest
	plan    fl.EpochPlan
	answers map[fl.NodeID][]byte
	// tricks, nil for an honest member
	spoil    fl.NodeID         // whose box does not open
	another  bool              // deals another secret than that of its key share
	complain fl.NodeID         // whom it charges without a reason
	rogue    bool              // tries everything else than the attested key share first
	wrong    map[string][]byte // attestations of its share that are not for it
}

// newCheat stops a node of the clinic and takes its place in a new epoch.
func newCheat(c *clinic, node fl.NodeID) *cheat {
	c.t.Helper()
	if err := c.StopNode(node); err != nil {
		c.t.Fatal(err)
	}
	m := &cheat{clinic: c, node: node, answers: map[fl.NodeID][]byte{}}
	home, err := client.OpenHome(c.NodeDir(node))
	m.must(err)
	m.remote, err = c.Connect(home)
	m.must(err)
	c.t.Cleanup(func() { _ = m.remote.Close() })
	return m
}

func (m *cheat) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// play opens an epoch and takes part in it until it is closed or void.
func (m *cheat) play() aggregator.EpochView {
	m.t.Helper()
	ctx := m.t.Context()
	dir := m.t.TempDir()
	var err error
	m.holder, err = threshold.Open(filepath.Join(dir, "a"), string(m.node))
	m.must(err)
	m.dealer = m.holder
	number, err := m.Aggregator().OpenEpoch(ctx, m.nodes)
	m.must(err)
	if m.another { // the same seal key, another secret
		_, err := m.holder.SealKey(number)
		m.must(err)
		m.must(m.holder.Close())
		m.must(os.CopyFS(filepath.Join(dir, "b"), os.DirFS(filepath.Join(dir, "a"))))
		m.holder, err = threshold.Open(filepath.Join(dir, "a"), string(m.node))
		m.must(err)
		m.dealer, err = threshold.Open(filepath.Join(dir, "b"), string(m.node))
		m.must(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		views, err := m.Aggregator().EpochViews(ctx)
		m.must(err)
		if v := views[number-1]; v.Step == "closed" || v.Step == "void" {
			m.must(m.holder.Close())
			if m.another {
				m.must(m.dealer.Close())
			}
			return v
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("epoch %d does not end: %+v", number, views[number-1])
		}
		answer, err := m.remote.API().Work(ctx, &flpb.WorkRequest{WaitMs: 20, ClockUnixMs: time.Now().UnixMilli()})
		m.must(err)
		for _, task := range answer.GetTasks() {
			if e := task.GetEpoch(); e != nil {
				m.step(e)
			}
		}
	}
}

// documents decodes one document of every member.
func (m *cheat) documents(raw [][]byte) map[fl.NodeID]fl.Envelope {
	out := map[fl.NodeID]fl.Envelope{}
	for i, member := range m.plan.Members {
		e, err := fl.DecodeEnvelope(raw[i])
		m.must(err)
		out[member] = e
	}
	return out
}

func (m *cheat) upload(raw []byte) fl.Digest {
	digest, err := m.remote.Upload(m.t.Context(), raw)
	m.must(err)
	return digest
}

func (m *cheat) send(doc fl.Document) {
	m.t.Helper()
	if _, err := m.remote.Submit(m.t.Context(), doc); err != nil && fl.CodeOf(err) != fl.CodeLate {
		m.t.Fatal(err) // late: the epoch became void meanwhile
	}
}

func (m *cheat) boxes(shard int, d threshold.Dealing) []fl.Box {
	boxes := d.Boxes(shard)
	for i, b := range d {
		raw := bytes.Clone(b.Box)
		if boxes[i].Receiver == m.spoil {
			raw[7] ^= 1
		}
		boxes[i].Digest = m.upload(raw)
	}
	return boxes
}

func (m *cheat) received(docs map[fl.NodeID]fl.Envelope, shard int) map[string]threshold.Received {
	out := map[string]threshold.Received{}
	for dealer, doc := range docs {
		_, d, err := threshold.DealingFromDocument(m.epoch, m.planID, dealer, doc, shard)
		m.must(err)
		box, err := m.remote.Fetch(m.t.Context(), d[m.plan.Point(m.node)-1].Digest, doc.Digest())
		m.must(err)
		out[string(dealer)] = threshold.Received{Dealing: d, Box: box}
	}
	return out
}

// step makes the next document as a real node does, but for the tricks.
func (m *cheat) step(task *flpb.EpochTask) {
	m.t.Helper()
	ctx := m.t.Context()
	planDoc, err := fl.DecodeEnvelope(task.GetPlan())
	m.must(err)
	m.plan = fl.EpochPlan{}
	m.must(planDoc.Read(&m.plan))
	m.planID = planDoc.Digest()
	genesis, number := m.plan.Genesis, m.plan.Epoch
	stage := fl.Stage(task.GetStage())
	first, shards := 0, 1
	if stage == fl.StageTrial {
		first, shards = 1, len(m.plan.Members)
	}
	switch {
	case len(task.GetSealKeys()) == 0:
		key, err := m.holder.SealKey(number)
		m.must(err)
		m.send(fl.SealKey{Genesis: genesis, EpochPlan: m.planID, Node: m.node, Key: key})
	case len(task.GetCommitments()) == 0:
		m.epoch, err = threshold.EpochFromDocuments(planDoc, m.documents(task.GetSealKeys()))
		m.must(err)
		if m.another {
			_, err = m.dealer.Commit(m.epoch)
			m.must(err)
		}
		commitment, err := m.holder.CommitAttested(m.epoch, m.attest)
		m.must(err)
		m.send(fl.KeyCommitment{Genesis: genesis, EpochPlan: m.planID, Node: m.node, Commitment: commitment})
	case len(task.GetReveals()) == 0:
		commitments := map[string][32]byte{}
		for member, doc := range m.documents(task.GetCommitments()) {
			var c fl.KeyCommitment
			m.must(doc.Read(&c))
			commitments[string(member)] = c.Commitment
		}
		reveal, err := m.holder.Reveal(number, commitments)
		m.must(err)
		attestation, err := m.holder.Attestation(number)
		m.must(err)
		doc := fl.KeyReveal{Genesis: genesis, EpochPlan: m.planID, Node: m.node, Reveal: m.upload(reveal), Attestation: m.upload(attestation)}
		if m.rogue {
			m.rogueShares(doc, reveal)
		}
		m.send(doc)
	case task.GetStep() == "":
		d, err := m.dealer.Deal(number)
		m.must(err)
		m.send(fl.KeyDealing{Genesis: genesis, EpochPlan: m.planID, Node: m.node, Boxes: m.boxes(0, d)})
	case task.GetStep() == "accept":
		dealings := m.documents(task.GetDealings())
		if m.complain != "" && len(task.GetDocuments()) == 0 {
			m.send(fl.Complaint{Genesis: genesis, EpochPlan: m.planID, Node: m.node, Stage: fl.StageKey, Charges: []fl.Charge{{Dealer: m.complain, Dealing: dealings[m.complain].Digest()}}})
			return
		}
		received := m.received(dealings, 0)
		for _, raw := range task.GetDocuments() {
			doc, err := fl.DecodeEnvelope(raw)
			m.must(err)
			var a fl.ComplaintAnswer
			m.must(doc.Read(&a))
			r := received[string(a.Node)]
			r.Key = a.Keys[0].Key
			received[string(a.Node)] = r
			m.answers[a.Node] = r.Key
		}
		reveals := map[string][]byte{}
		for member, doc := range m.documents(task.GetReveals()) {
			var r fl.KeyReveal
			m.must(doc.Read(&r))
			reveals[string(member)], err = m.remote.Fetch(ctx, r.Reveal, doc.Digest())
			m.must(err)
		}
		if _, err := m.holder.Complete(number, reveals, received); err != nil && m.spoil == "" {
			m.t.Fatal(err)
		}
		a := fl.KeyAcceptance{Genesis: genesis, EpochPlan: m.planID, Node: m.node}
		for _, member := range m.plan.Members {
			a.Dealings = append(a.Dealings, dealings[member].Digest())
		}
		m.send(a)
	case task.GetStep() == "noise":
		n := fl.TestNoise{Genesis: genesis, EpochPlan: m.planID, Node: m.node, Stage: stage}
		for shard := first; shard < first+shards; shard++ {
			d, err := m.holder.DealNoise(number, threshold.TestSum(number, shard))
			m.must(err)
			n.Boxes = append(n.Boxes, m.boxes(shard, d)...)
		}
		m.send(n)
	case task.GetStep() == "share":
		noise := m.documents(task.GetDocuments())
		keys := m.received(m.documents(task.GetDealings()), 0)
		s := fl.TestShare{Genesis: genesis, EpochPlan: m.planID, Node: m.node, Stage: stage}
		for _, member := range m.plan.Members {
			s.Noise = append(s.Noise, noise[member].Digest())
		}
		for shard := first; shard < first+shards; shard++ {
			req := threshold.TestRequest{Epoch: number, Noise: m.received(noise, shard)}
			if shard > 0 {
				req.Target = string(m.plan.Members[shard-1])
				req.KeyShare = keys[req.Target]
				req.KeyShare.Key = m.answers[m.plan.Members[shard-1]]
			}
			share, err := m.holder.ReleaseTest(req)
			m.must(err)
			s.Shares = append(s.Shares, fl.ShareRef{Shard: shard, Digest: m.upload(share)})
		}
		m.send(s)
	}
}

// attest proves the member's key share, and the same for what it is not.
func (m *cheat) attest(secret, noise *he.Poly) ([]byte, error) {
	suite, err := he.LookupSuite(m.plan.Suite)
	if err != nil {
		return nil, err
	}
	shape, err := rlwe.KeyShareShape(suite)
	if err != nil {
		return nil, err
	}
	folder, err := zk.OpenStore(proofCache())
	if err != nil {
		return nil, err
	}
	keys, err := folder.Load(shape, fl.Digest{}, nil)
	if err != nil {
		return nil, err
	}
	common, err := keys.NewCommonKey(suite, m.epoch.CRSSeed())
	if err != nil {
		return nil, err
	}
	prove := func(secret *he.Poly, change func(*zk.MemberScope)) ([]byte, error) {
		scope := zk.MemberScopeOf(m.plan, common, m.node)
		change(scope)
		att, err := keys.ProveKeyShare(scope, common, secret, noise)
		if err != nil {
			return nil, err
		}
		return att.Bytes(), nil
	}
	m.wrong = map[string][]byte{}
	for name, change := range map[string]func(*zk.MemberScope){
		"another member": func(s *zk.MemberScope) { s.Member = "alpha" },
		"another epoch":  func(s *zk.MemberScope) { s.Epoch++ },
	} {
		if m.wrong[name], err = prove(secret, change); err != nil {
			return nil, err
		}
	}
	same := func(*zk.MemberScope) {}
	if m.wrong["another share"], err = prove(suite.TernaryPoly(), same); err != nil {
		return nil, err
	}
	return prove(secret, same)
}

// The lies of a member about its key share, to an honest aggregator.
var (
	unattested     = attack{name: "a key share without a proof", lines: []string{"rogue key share"}, by: byAggregator, want: refusal(fl.CodeProof)}
	shareOfAnother = attack{name: "a key share with a proof for another member", lines: []string{"rogue key share"}, by: byAggregator, want: refusal(fl.CodeProof)}
	shareOfEpoch   = attack{name: "a key share with a proof for another epoch", lines: []string{"rogue key share", "proof for another epoch"}, by: byAggregator, want: refusal(fl.CodeProof)}
	otherSecret    = attack{name: "a key share with a proof of another share", lines: []string{"rogue key share"}, by: byAggregator, want: refusal(fl.CodeProof)}
	chosenShare    = attack{name: "a key share chosen after the others'", lines: []string{"rogue key share"}, by: byAggregator, want: refusal(fl.CodeMalformed)}
)

func (m *cheat) rogueShares(honest fl.KeyReveal, reveal []byte) {
	m.t.Helper()
	try := func(a attack, attestation fl.Digest, reveal fl.Digest) {
		m.t.Helper()
		doc := honest
		doc.Attestation, doc.Reveal = attestation, reveal
		_, err := m.remote.Submit(m.t.Context(), doc)
		caught(m.t, a, err)
	}
	try(unattested, fl.Digest{}, honest.Reveal)
	try(shareOfAnother, m.upload(m.wrong["another member"]), honest.Reveal)
	try(shareOfEpoch, m.upload(m.wrong["another epoch"]), honest.Reveal)
	try(otherSecret, m.upload(m.wrong["another share"]), honest.Reveal)
	suite, err := he.LookupSuite(m.plan.Suite)
	m.must(err)
	chosen := slices.Concat(reveal[:len(reveal)-suite.PolyBytes()], suite.UniformPoly().Bytes())
	try(chosenShare, honest.Attestation, m.upload(chosen))
}

// TestCheatingMember: real nodes complain about wrong shares, answer a lying
// complaint, and find a member whose shares are not those of its key share.
// Every cheat is named and none costs more than an epoch.
func TestCheatingMember(t *testing.T) {
	c := newClinic(t, "insecure-rlwe64-d1-v1", func(o *federation.Options) { o.Founding.ProofFloor = fl.ProofBounded })
	m := newCheat(c, "delta")
	void := func(v aggregator.EpochView, ground fl.Ground) {
		t.Helper()
		if v.Step != "void" || len(v.Verdicts) != 1 || v.Verdicts[0].Guilty != "delta" || v.Verdicts[0].Ground != ground {
			t.Fatalf("epoch %+v, want it void for %s of delta", v, ground)
		}
	}
	m.spoil = "alpha"
	v := m.play()
	void(v, fl.GroundDealing)
	if v.Disputes == 0 {
		t.Fatal("nobody complained")
	}
	m.spoil, m.another = "", true
	void(m.play(), fl.GroundSelfTest)
	m.complain = "alpha" // and the same again, with a share that an answer gave
	void(m.play(), fl.GroundSelfTest)
	m.another, m.rogue = false, true
	if v := m.play(); v.Step != "closed" || v.Disputes != 1 || len(v.Verdicts) != 0 || len(m.answers["alpha"]) != 32 {
		t.Fatalf("epoch %+v, answers %v", v, m.answers)
	}
	// The three real nodes carry on without the fourth: threshold 3 of 4.
	job := c.job(2)
	job.Clip.Norm = 0.5
	if _, err := c.owner.SubmitJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if v := c.await(2 * time.Minute); v.GetPhase() != "done" || v.GetVersion() != 2 {
		t.Fatalf("the job is %s at version %d: %s", v.GetPhase(), v.GetVersion(), v.GetReason())
	}
	auditVerdicts(t, c)
}
