package fl

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func testDigest(s string) Digest { return DigestBytes([]byte(s)) }

// samples returns a valid document of every kind, each time a fresh one.
func samples() []Document {
	at, later := testOpened, testOpened.Add(time.Hour)
	g, plan, key := testDigest("genesis"), testDigest("plan"), testDigest("key")
	k32 := make([]byte, 32)
	return []Document{
		&Genesis{Federation: "fed", CreatedAt: at, Suite: "suite", Committee: CommitteePolicy{4, 3}, MinCohort: 2, ProofFloor: ProofNone,
			Regions: []string{"eu"}, AggregatorKey: k32, CertificateCA: testDigest("ca")},
		&Enrolment{Genesis: g, Node: "north", Roles: []Role{RoleNode, RoleOwner}, Region: "eu", SigningKey: k32, Capability: Capability{2, 4096, 0}, EnrolledAt: at},
		&Revocation{Genesis: g, Node: "north", Reason: "left", RevokedAt: at},
		&EpochPlan{Genesis: g, Epoch: 1, Suite: "suite", Members: []NodeID{"north", "south"}, Threshold: 2, OpenedAt: at},
		&SealKey{Genesis: g, EpochPlan: plan, Node: "north", Key: k32},
		&KeyCommitment{Genesis: g, EpochPlan: plan, Node: "north", Commitment: testDigest("c")},
		&KeyReveal{Genesis: g, EpochPlan: plan, Node: "north", Reveal: testDigest("r")},
		&KeyDealing{Genesis: g, EpochPlan: plan, Node: "north", Boxes: []Box{{"north", 0, testDigest("b1"), testDigest("k"), []byte{1}}, {"south", 0, testDigest("b2"), testDigest("k"), []byte{1}}}},
		&EpochKey{Genesis: g, EpochPlan: plan, Epoch: 1, SealKeys: []Digest{g, plan}, Commitments: []Digest{g, plan}, Reveals: []Digest{g, plan}, Dealings: []Digest{g, plan},
			Acceptances: []Digest{g, plan}, TestNoise: []Digest{g, plan}, TestShares: []Digest{g, plan}, PublicKey: key, ClosedAt: at},
		&KeyAcceptance{Genesis: g, EpochPlan: plan, Node: "north", Dealings: []Digest{g, key}},
		&TestNoise{Genesis: g, EpochPlan: plan, Node: "north", Stage: StageTest, Boxes: []Box{{"north", 0, testDigest("b1"), testDigest("k"), []byte{1}}}},
		&TestShare{Genesis: g, EpochPlan: plan, Node: "north", Stage: StageTest, Noise: []Digest{g, key}, Shares: []ShareRef{{0, g}}},
		&Complaint{Genesis: g, EpochPlan: plan, Node: "north", Stage: StageRound, Plan: key, Charges: []Charge{{"south", g, 0, k32}, {"north", g, 1, nil}}},
		&ComplaintAnswer{Genesis: g, EpochPlan: plan, Node: "north", Stage: StageRound, Plan: key, Complaint: key, Receiver: "south", Keys: []AnsweredKey{{0, k32}, {1, k32}}},
		&Verdict{Genesis: g, EpochPlan: plan, Guilty: "south", Ground: GroundDealing, Evidence: []Digest{key}, Reason: "a box", At: at},
		&JobSpec{Genesis: g, Job: "job", Owner: "north", Schema: testDigest("schema"), SchemaText: "schema", Model: json.RawMessage(`{"a":1}`), Training: json.RawMessage(`{"b":2}`),
			Parameters: 10, InitialModel: testDigest("m"), Strategy: StrategySpec{Name: FedAvg, ServerLearningRate: 1, Weighting: WeightUniform}, Clip: Clip{Value: 0.5, Norm: 2}, Rounds: 3, MinCohort: 2,
			RoundDeadline: 60, ProofLevel: ProofNone, Budget: 100, Rates: Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: 9},
		&JobJoin{Genesis: g, JobSpec: plan, Job: "job", Node: "north", Samples: 100, JoinedAt: at},
		&DatasetCommitment{Genesis: g, JobSpec: plan, Job: "job", Node: "north", ProofKeys: key, Spec: testDigest("table"), Commitment: []byte{1, 2}, Rows: 100,
			Registration: testDigest("r"), CommittedAt: at},
		&JobCancel{Genesis: g, JobSpec: plan, Job: "job", Owner: "north", Reason: "done"},
		&Plan{Genesis: g, JobSpec: plan, Job: "job", Round: 1, EpochKey: key, Epoch: 1, BaseModel: testDigest("m"), Slots: 35, Shards: 2,
			Cohort: []Assignment{{"north", []int{0, 1}, 5}, {"south", []int{1}, 3}}, WeightUnit: 5, MinCohort: 2, Clip: Clip{Value: 0.5}, ValueBits: 14, ProofLevel: ProofNone, Seed: 1, OpenedAt: at, Deadline: later},
		&NoiseDealing{Genesis: g, Plan: plan, Job: "job", Round: 1, Node: "north", Boxes: []Box{{"north", 0, testDigest("b1"), testDigest("k"), []byte{1}}, {"north", 1, testDigest("b2"), testDigest("k"), []byte{1}}}},
		&UpdateHeader{Genesis: g, Plan: plan, EpochKey: key, Job: "job", Round: 1, Node: "north", Ciphertexts: []ShardCiphertext{{0, testDigest("c0")}, {2, testDigest("c2")}}, Steps: 10, ProofLevel: ProofNone},
		&Receipt{Genesis: g, Subject: plan, Of: "update-header/v1", Node: "north", AcceptedAt: at},
		&Seal{Genesis: g, Plan: plan, Job: "job", Round: 1, Headers: []Digest{g, key}, Clients: []NodeID{"north", "south"}, Dealers: []NodeID{"south", "north"}, Dealings: []Digest{g, key},
			Accepted: []time.Time{at, at}, Sums: []SealedSum{{0, []NodeID{"north", "south"}, g, key}}, SealedAt: at},
		&DecryptionShare{Genesis: g, Seal: plan, Job: "job", Round: 1, Node: "north", Shares: []ShareRef{{0, g}, {1, key}}},
		&Decline{Genesis: g, Plan: plan, Job: "job", Round: 1, Node: "north", Reason: "busy"},
		&Manifest{Genesis: g, JobSpec: plan, Job: "job", Round: 2, Version: 1, Plan: plan, Seal: testDigest("s"), EpochKey: key, KeyHolders: []NodeID{"north", "south"},
			BaseModel: testDigest("m"), Model: testDigest("n"), Figures: Figures{5, 3, 4}, ProofLevel: ProofNone, Epsilon: "infinity",
			Postings: []Posting{{"escrow/job", -10, "round 2"}, {"operator", 10, "operator"}}, SealedAt: at, OpenedAt: later},
	}
}

// variants returns further documents of the same kinds: with the fields that
// only some strategies have.
func variants() []Document {
	at, later := testOpened, testOpened.Add(time.Hour)
	g, plan, key := testDigest("genesis"), testDigest("plan"), testDigest("key")
	return []Document{
		&JobSpec{Genesis: g, Job: "job", Owner: "north", Schema: testDigest("schema"), SchemaText: "schema", Model: json.RawMessage(`{"a":1}`), Training: json.RawMessage(`{"b":2}`),
			Parameters: 10, InitialModel: testDigest("m"), Clip: Clip{Value: 0.5, Norm: 2}, Rounds: 3, MinCohort: 2, CohortSize: 10,
			Strategy: StrategySpec{Name: FedPer, ServerLearningRate: 1, Weighting: WeightUniform, PersonalLayers: 1, PersonalParameters: 4,
				Robust: RobustSpec{Rule: TrimmedMean, Groups: 5, Trim: 2}},
			RoundDeadline: 60, ProofLevel: ProofNone, Budget: 100, Rates: Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: 9},
		&Plan{Genesis: g, JobSpec: plan, Job: "job", Round: 4, EpochKey: key, Epoch: 1, BaseModel: testDigest("m"), BaseState: testDigest("state"), Slots: 35, Shards: 4, Groups: 2, Population: 9,
			Cohort: []Assignment{{"north", []int{0, 1}, 5}, {"south", []int{2, 3}, 3}}, WeightUnit: 5, MinCohort: 2, Clip: Clip{Value: 0.5}, ValueBits: 14, ProofLevel: ProofNone, Seed: 1, OpenedAt: at, Deadline: later},
		&Manifest{Genesis: g, JobSpec: plan, Job: "job", Round: 2, Version: 1, Plan: plan, Seal: testDigest("s"), EpochKey: key, KeyHolders: []NodeID{"north", "south"},
			BaseModel: testDigest("m"), Model: testDigest("n"), State: testDigest("state"), Figures: Figures{5, 3, 4}, ProofLevel: ProofNone, Epsilon: "infinity",
			Postings: []Posting{}, SealedAt: at, OpenedAt: later},
		trainedJob(),
		&JobJoin{Genesis: g, JobSpec: plan, Job: "job", Node: "north", Samples: 100, Dataset: testDigest("d"), JoinedAt: at},
		&DatasetCommitment{Genesis: g, JobSpec: plan, Job: "job", Node: "north", ProofKeys: key, Spec: testDigest("table"), Commitment: []byte{1, 2}, Rows: 100,
			Registration: testDigest("r"), Validation: testDigest("v"), CommittedAt: at},
		trainedHeader(),
	}
}

// trainedJob and trainedHeader are documents at proof level trained.
func trainedJob() *JobSpec {
	return &JobSpec{Genesis: testDigest("genesis"), Job: "job", Owner: "north", Schema: testDigest("schema"), SchemaText: "schema", Model: json.RawMessage(`{"a":1}`), Training: json.RawMessage(`{"b":2}`),
		Parameters: 31, InitialModel: testDigest("m"), Clip: Clip{Value: 0.5}, Rounds: 3, MinCohort: 2, Strategy: oneOf(FedAvg),
		RoundDeadline: 60, ProofLevel: ProofTrained, Budget: 100, Rates: Rates{Work: 500, Timeliness: 100, Committee: 150, Operator: 50, Training: 200}, Seed: 9,
		Trained: &TrainedTerms{Kind: "logistic", Features: 30, Outputs: 1, LearningRate: 0.5, Steps: 4, Batch: 8, PartSteps: 2, Seed: 7, Table: "r128-f30-b14-binary",
			TableSchema: testDigest("table schema"), ClipFeatures: true, Requirements: json.RawMessage(`{"numbers":[]}`)}}
}

func trainedHeader() *UpdateHeader {
	return &UpdateHeader{Genesis: testDigest("genesis"), Plan: testDigest("plan"), EpochKey: testDigest("key"), Job: "job", Round: 1, Node: "north", Ciphertexts: []ShardCiphertext{{0, testDigest("c0")}},
		Steps: 4, ProofLevel: ProofTrained, Attestation: testDigest("a"), Training: testDigest("t"), Dataset: testDigest("d")}
}

// sample returns a fresh valid document of type D.
func sample[D any](t *testing.T) *D {
	t.Helper()
	for _, doc := range samples() {
		if d, ok := any(doc).(*D); ok {
			return d
		}
	}
	t.Fatalf("no sample of %T", *new(D))
	return nil
}

// refusals checks that each change makes a valid document invalid.
func refusals[D any](t *testing.T, changes map[string]func(*D)) {
	t.Helper()
	for name, change := range changes {
		d := sample[D](t)
		if err := any(d).(Document).Validate(); err != nil {
			t.Fatalf("the sample %T is refused: %v", d, err)
		}
		change(d)
		if any(d).(Document).Validate() == nil {
			t.Errorf("%T: %s was accepted", d, name)
		}
	}
}

func TestKindsAreDistinct(t *testing.T) {
	seen := map[Kind]bool{}
	for _, doc := range samples() {
		if seen[doc.Kind()] || !strings.HasSuffix(string(doc.Kind()), "/v1") {
			t.Errorf("kind %q of %T", doc.Kind(), doc)
		}
		seen[doc.Kind()] = true
	}
}

// Every document names its genesis and its parties, so nothing can be carried
// from one federation or party to another.
func TestEveryDocumentIsBound(t *testing.T) {
	for i := range samples() {
		kind := samples()[i].Kind()
		for _, field := range []string{"Genesis", "Node", "Owner", "Job", "Plan", "JobSpec", "EpochPlan", "Seal", "EpochKey", "Subject", "Round", "Epoch"} {
			doc := samples()[i]
			f := reflect.ValueOf(doc).Elem().FieldByName(field)
			if !f.IsValid() {
				continue
			}
			f.SetZero()
			if doc.Validate() == nil {
				t.Errorf("%s without %s was accepted", kind, field)
			}
		}
		// Times are UTC, whole milliseconds, and set.
		v := reflect.ValueOf(samples()[i]).Elem()
		for n := range v.NumField() {
			if _, ok := v.Field(n).Interface().(time.Time); !ok {
				continue
			}
			for name, bad := range map[string]time.Time{"zero": {}, "microseconds": testOpened.Add(time.Microsecond), "zone": testOpened.In(time.FixedZone("x", 3600))} {
				doc := samples()[i]
				reflect.ValueOf(doc).Elem().Field(n).Set(reflect.ValueOf(bad))
				if doc.Validate() == nil {
					t.Errorf("%s: %s in %s was accepted", kind, name, v.Type().Field(n).Name)
				}
			}
		}
	}
}

func TestGenesisRefuses(t *testing.T) {
	refusals(t, map[string]func(*Genesis){
		"no name":             func(g *Genesis) { g.Federation = "" },
		"one member":          func(g *Genesis) { g.Committee = CommitteePolicy{1, 1} },
		"threshold 1":         func(g *Genesis) { g.Committee.Threshold = 1 },
		"threshold above n":   func(g *Genesis) { g.Committee.Threshold = 5 },
		"cohort of one":       func(g *Genesis) { g.MinCohort = 1 },
		"no suite":            func(g *Genesis) { g.Suite = "" },
		"short key":           func(g *Genesis) { g.AggregatorKey = g.AggregatorKey[1:] },
		"no CA":               func(g *Genesis) { g.CertificateCA = Digest{} },
		"unknown proof level": func(g *Genesis) { g.ProofFloor = "absolute" },
		"odd region":          func(g *Genesis) { g.Regions = []string{"E U"} },
	})
	refusals(t, map[string]func(*Enrolment){
		"no role":             func(e *Enrolment) { e.Roles = nil },
		"unknown role":        func(e *Enrolment) { e.Roles[0] = "root" },
		"short key":           func(e *Enrolment) { e.SigningKey = e.SigningKey[1:] },
		"reserved name":       func(e *Enrolment) { e.Node = AggregatorID },
		"negative capability": func(e *Enrolment) { e.Capability.MaxShards = -1 },
		"odd region":          func(e *Enrolment) { e.Region = "-" },
	})
	if e := sample[Enrolment](t); !e.Has(RoleOwner) || e.Has(RoleObserver) {
		t.Error("roles are not told apart")
	}
}

func TestEpochDocumentsRefuse(t *testing.T) {
	refusals(t, map[string]func(*EpochPlan){
		"one member":        func(p *EpochPlan) { p.Members = p.Members[:1] },
		"threshold 1":       func(p *EpochPlan) { p.Threshold = 1 },
		"threshold above n": func(p *EpochPlan) { p.Threshold = 3 },
		"member twice":      func(p *EpochPlan) { p.Members[1] = p.Members[0] },
		"odd member":        func(p *EpochPlan) { p.Members[1] = "South" },
	})
	p := sample[EpochPlan](t)
	if p.Point("north") != 1 || p.Point("south") != 2 || p.Point("west") != 0 {
		t.Error("evaluation points are not 1..n, 0 for strangers")
	}
	refusals(t, map[string]func(*SealKey){"short key": func(k *SealKey) { k.Key = k.Key[1:] }})
	refusals(t, map[string]func(*KeyCommitment){"empty": func(c *KeyCommitment) { c.Commitment = Digest{} }})
	refusals(t, map[string]func(*KeyReveal){"empty": func(r *KeyReveal) { r.Reveal = Digest{} }})
	refusals(t, map[string]func(*KeyDealing){
		"no boxes":       func(d *KeyDealing) { d.Boxes = nil },
		"box twice":      func(d *KeyDealing) { d.Boxes[1].Receiver = "north" },
		"empty box":      func(d *KeyDealing) { d.Boxes[1].Digest = Digest{} },
		"no commitment":  func(d *KeyDealing) { d.Boxes[1].Commitment = Digest{} },
		"no check":       func(d *KeyDealing) { d.Boxes[1].Check = nil },
		"long check":     func(d *KeyDealing) { d.Boxes[1].Check = make([]byte, MaxCheck+1) },
		"negative shard": func(d *KeyDealing) { d.Boxes[1].Shard = -1 },
		"odd receiver":   func(d *KeyDealing) { d.Boxes[1].Receiver = "" },
	})
	refusals(t, map[string]func(*EpochKey){
		"one member":        func(k *EpochKey) { k.Commitments = k.Commitments[:1] },
		"seal key missing":  func(k *EpochKey) { k.SealKeys = k.SealKeys[:1] },
		"reveal missing":    func(k *EpochKey) { k.Reveals = k.Reveals[:1] },
		"dealing too many":  func(k *EpochKey) { k.Dealings = append(k.Dealings, Digest{}) },
		"public key absent": func(k *EpochKey) { k.PublicKey = Digest{} },
	})
}

func TestJobDocumentsRefuse(t *testing.T) {
	refusals(t, map[string]func(*JobSpec){
		"no parameters":       func(s *JobSpec) { s.Parameters = 0 },
		"too many parameters": func(s *JobSpec) { s.Parameters = MaxParameters + 1 },
		"no initial model":    func(s *JobSpec) { s.InitialModel = Digest{} },
		"another schema":      func(s *JobSpec) { s.SchemaText += " " },
		"no rounds":           func(s *JobSpec) { s.Rounds = 0 },
		"too many rounds":     func(s *JobSpec) { s.Rounds = MaxRounds + 1 },
		"cohort of one":       func(s *JobSpec) { s.MinCohort = 1 },
		"small cohort":        func(s *JobSpec) { s.CohortSize = 1 },
		"negative cohort":     func(s *JobSpec) { s.CohortSize = -1 },
		"no deadline":         func(s *JobSpec) { s.RoundDeadline = 0 },
		"endless deadline":    func(s *JobSpec) { s.RoundDeadline = 30*24*3600 + 1 },
		"negative budget":     func(s *JobSpec) { s.Budget = -1 },
		"huge budget":         func(s *JobSpec) { s.Budget = MaxBudget + 1 },
		"negative cap":        func(s *JobSpec) { s.SampleCap = -1 },
		"huge cap":            func(s *JobSpec) { s.StepCap = MaxSamples + 1 },
		"no model":            func(s *JobSpec) { s.Model = nil },
		"no training":         func(s *JobSpec) { s.Training = nil },
		"strategy":            func(s *JobSpec) { s.Strategy.Name = "x" },
		"live fedbuff":        func(s *JobSpec) { s.Strategy.Name, s.Strategy.Buffer = FedBuff, 3 },
		"incomplete fedper":   func(s *JobSpec) { s.Strategy.Name, s.Strategy.PersonalLayers = FedPer, 1 },
		"nothing shared":      func(s *JobSpec) { s.Strategy = oneOf(FedPer); s.Strategy.PersonalParameters = 10 },
		"cohort of groups": func(s *JobSpec) {
			s.Strategy.Robust, s.CohortSize = RobustSpec{Rule: Median, Groups: 3}, 5
		},
		"clip":          func(s *JobSpec) { s.Clip.Value = 0 },
		"rates":         func(s *JobSpec) { s.Rates.Work++ },
		"negative rate": func(s *JobSpec) { s.Rates = Rates{Work: 1001, Timeliness: -1} },
		"proof level":   func(s *JobSpec) { s.ProofLevel = "" },
	})
	refusals(t, map[string]func(*JobJoin){
		"no samples":       func(j *JobJoin) { j.Samples = 0 },
		"too many samples": func(j *JobJoin) { j.Samples = MaxSamples + 1 },
	})
}

// Level trained: its terms are there exactly then, and speak only of what can
// be proven.
func TestTrainedDocumentsRefuse(t *testing.T) {
	if err := trainedJob().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*JobSpec){
		"no terms":             func(s *JobSpec) { s.Trained = nil },
		"terms at bounded":     func(s *JobSpec) { s.ProofLevel, s.Rates = ProofBounded, Rates{Work: 1000} },
		"a strategy that adds": func(s *JobSpec) { s.Strategy = oneOf(FedProx) },
		"own models":           func(s *JobSpec) { s.Strategy = oneOf(Ditto) },
		"robust groups":        func(s *JobSpec) { s.Strategy.Robust = RobustSpec{Rule: Median, Groups: 3} },
		"noise": func(s *JobSpec) {
			s.Privacy = Privacy{NoiseMultiplier: 1, Epsilon: 1, Delta: 1e-5, MinHonest: 1}
			s.Clip = Clip{Value: 0.5, Norm: 0.5}
		},
		"a norm a shard":   func(s *JobSpec) { s.Clip = Clip{Value: 0.5, Norm: 1, PerShard: true} },
		"no kind":          func(s *JobSpec) { s.Trained.Kind = "" },
		"no features":      func(s *JobSpec) { s.Trained.Features = 0 },
		"no outputs":       func(s *JobSpec) { s.Trained.Outputs = 0 },
		"negative units":   func(s *JobSpec) { s.Trained.Hidden = -1 },
		"no learning rate": func(s *JobSpec) { s.Trained.LearningRate = 0 },
		"endless rate":     func(s *JobSpec) { s.Trained.LearningRate = math.Inf(1) },
		"no steps":         func(s *JobSpec) { s.Trained.Steps = 0 },
		"too many steps":   func(s *JobSpec) { s.Trained.Steps = MaxTrainedSteps + 2 },
		"negative batch":   func(s *JobSpec) { s.Trained.Batch = -1 },
		"one part":         func(s *JobSpec) { s.Trained.PartSteps = 4 },
		"uneven parts":     func(s *JobSpec) { s.Trained.PartSteps = 3 },
		"no table":         func(s *JobSpec) { s.Trained.Table = "" },
		"no table schema":  func(s *JobSpec) { s.Trained.TableSchema = Digest{} },
	} {
		s := trainedJob()
		change(s)
		if s.Validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	refusals(t, map[string]func(*JobSpec){
		"a rate for what is not proven": func(s *JobSpec) { s.Rates = Rates{Work: 900, Training: 100} },
	})
	refusals(t, map[string]func(*DatasetCommitment){
		"no keys":            func(d *DatasetCommitment) { d.ProofKeys = Digest{} },
		"no specification":   func(d *DatasetCommitment) { d.Spec = Digest{} },
		"no registration":    func(d *DatasetCommitment) { d.Registration = Digest{} },
		"no commitment":      func(d *DatasetCommitment) { d.Commitment = nil },
		"a large commitment": func(d *DatasetCommitment) { d.Commitment = make([]byte, maxCommitment+1) },
		"no rows":            func(d *DatasetCommitment) { d.Rows = 0 },
		"too many rows":      func(d *DatasetCommitment) { d.Rows = MaxSamples + 1 },
	})
	for name, change := range map[string]func(*UpdateHeader){
		"no training attestation": func(h *UpdateHeader) { h.Training = Digest{} },
		"no dataset":              func(h *UpdateHeader) { h.Dataset = Digest{} },
		"no attestation":          func(h *UpdateHeader) { h.Attestation = Digest{} },
		"of another level":        func(h *UpdateHeader) { h.ProofLevel = ProofBounded },
	} {
		h := trainedHeader()
		change(h)
		if h.Validate() == nil {
			t.Errorf("header with %s was accepted", name)
		}
	}
}

func TestComplaintsRefuse(t *testing.T) {
	refusals(t, map[string]func(*KeyAcceptance){
		"nothing":       func(a *KeyAcceptance) { a.Dealings = nil },
		"empty dealing": func(a *KeyAcceptance) { a.Dealings[1] = Digest{} },
	})
	refusals(t, map[string]func(*TestNoise){
		"stage":    func(n *TestNoise) { n.Stage = StageKey },
		"no boxes": func(n *TestNoise) { n.Boxes = nil },
	})
	refusals(t, map[string]func(*TestShare){
		"stage":    func(s *TestShare) { s.Stage = "" },
		"of trial": func(s *TestShare) { s.Stage = StageTrial },
		"empty":    func(s *TestShare) { s.Shares = nil },
		"no share": func(s *TestShare) { s.Shares[0].Digest = Digest{} },
		"no noise": func(s *TestShare) { s.Noise = nil },
	})
	refusals(t, map[string]func(*Complaint){
		"nobody charged":  func(c *Complaint) { c.Charges = nil },
		"stage":           func(c *Complaint) { c.Stage = "x" },
		"plan elsewhere":  func(c *Complaint) { c.Stage = StageKey },
		"mixed":           func(c *Complaint) { c.Charges[0].Shard = 2 },
		"charged twice":   func(c *Complaint) { c.Charges[1] = c.Charges[0] },
		"no dealing":      func(c *Complaint) { c.Charges[1].Dealing = Digest{} },
		"short key":       func(c *Complaint) { c.Charges[0].Key = c.Charges[0].Key[1:] },
		"negative shard":  func(c *Complaint) { c.Charges[0].Shard = -1 },
		"odd dealer name": func(c *Complaint) { c.Charges[0].Dealer = "S" },
	})
	refusals(t, map[string]func(*ComplaintAnswer){
		"no complaint":   func(c *ComplaintAnswer) { c.Complaint = Digest{} },
		"no key":         func(c *ComplaintAnswer) { c.Keys = nil },
		"short key":      func(c *ComplaintAnswer) { c.Keys[0].Key = nil },
		"shard twice":    func(c *ComplaintAnswer) { c.Keys[1].Shard = 0 },
		"negative shard": func(c *ComplaintAnswer) { c.Keys[0].Shard = -1 },
		"no receiver":    func(c *ComplaintAnswer) { c.Receiver = "" },
		"plan elsewhere": func(c *ComplaintAnswer) { c.Stage = StageKey },
		"stage":          func(c *ComplaintAnswer) { c.Stage = "" },
	})
	refusals(t, map[string]func(*Verdict){
		"nobody named":   func(v *Verdict) { v.Guilty = "" },
		"nobody, named":  func(v *Verdict) { v.Ground = GroundNobody },
		"unknown ground": func(v *Verdict) { v.Ground = "rumour" },
		"no evidence":    func(v *Verdict) { v.Evidence = nil },
		"long reason":    func(v *Verdict) { v.Reason = strings.Repeat("x", 1001) },
	})
}

func TestPlanRefuses(t *testing.T) {
	refusals(t, map[string]func(*Plan){
		"no base model":    func(p *Plan) { p.BaseModel = Digest{} },
		"no shards":        func(p *Plan) { p.Shards = 0 },
		"too many shards":  func(p *Plan) { p.Shards = 1 << 62 },
		"no room":          func(p *Plan) { p.Slots = MetricSlots },
		"cohort of one":    func(p *Plan) { p.MinCohort = 1 },
		"below minimum":    func(p *Plan) { p.MinCohort = 3 },
		"no unit":          func(p *Plan) { p.WeightUnit = 0 },
		"huge unit":        func(p *Plan) { p.WeightUnit = MaxSamples + 1 },
		"weight 0":         func(p *Plan) { p.Cohort[1].Weight = 0 },
		"weight over unit": func(p *Plan) { p.Cohort[1].Weight = 6 },
		"one bit":          func(p *Plan) { p.ValueBits = 1 },
		"32 bits":          func(p *Plan) { p.ValueBits = 32 },
		"deadline":         func(p *Plan) { p.Deadline = p.OpenedAt },
		"no shard":         func(p *Plan) { p.Cohort[1].Shards = nil },
		"negative shard":   func(p *Plan) { p.Cohort[0].Shards[0] = -1 },
		"shard above":      func(p *Plan) { p.Cohort[0].Shards[1] = 2 },
		"shard twice":      func(p *Plan) { p.Cohort[0].Shards[1] = 0 },
		"shard of nobody":  func(p *Plan) { p.Cohort[0].Shards = []int{1} },
		"client twice":     func(p *Plan) { p.Cohort[1].Node = "north" },
		"odd client":       func(p *Plan) { p.Cohort[1].Node = "S" },
		"clip":             func(p *Plan) { p.Clip.Norm = math.Inf(1) },
		"one group":        func(p *Plan) { p.Groups = 1 },
		"negative groups":  func(p *Plan) { p.Groups = -2 },
		"odd groups":       func(p *Plan) { p.Groups = 3 },
		"two groups of a client": func(p *Plan) {
			p.Groups = 2
		},
		"population":  func(p *Plan) { p.Population = 1 },
		"proof level": func(p *Plan) { p.ProofLevel = "x" },
	})
	p := sample[Plan](t)
	if a, ok := p.Assigned("south"); !ok || a.Weight != 3 {
		t.Errorf("assigned %+v, %v", a, ok)
	}
	if _, ok := p.Assigned("west"); ok {
		t.Error("a stranger is assigned")
	}
	if c := p.Contributors([]NodeID{"north", "south", "west"}); c[0] != 1 || c[1] != 2 {
		t.Errorf("contributors %v", c)
	}
	refusals(t, map[string]func(*NoiseDealing){"no boxes": func(d *NoiseDealing) { d.Boxes = nil }})
}

func TestRoundDocumentsRefuse(t *testing.T) {
	refusals(t, map[string]func(*UpdateHeader){
		"no ciphertext":    func(h *UpdateHeader) { h.Ciphertexts = nil },
		"empty ciphertext": func(h *UpdateHeader) { h.Ciphertexts[0].Digest = Digest{} },
		"shard twice":      func(h *UpdateHeader) { h.Ciphertexts[1].Shard = 0 },
		"negative shard":   func(h *UpdateHeader) { h.Ciphertexts[0].Shard = -1 },
		"negative steps":   func(h *UpdateHeader) { h.Steps = -1 },
		"too many steps":   func(h *UpdateHeader) { h.Steps = MaxSamples + 1 },
		"proof level":      func(h *UpdateHeader) { h.ProofLevel = "bounded" },
	})
	refusals(t, map[string]func(*Seal){
		"one client":           func(s *Seal) { s.Clients, s.Headers = s.Clients[:1], s.Headers[:1] },
		"header missing":       func(s *Seal) { s.Headers = s.Headers[:1] },
		"acceptance missing":   func(s *Seal) { s.Accepted = s.Accepted[:1] },
		"acceptance unset":     func(s *Seal) { s.Accepted[1] = time.Time{} },
		"empty header":         func(s *Seal) { s.Headers[0] = Digest{} },
		"one dealer":           func(s *Seal) { s.Dealers, s.Dealings = s.Dealers[:1], s.Dealings[:1] },
		"dealing missing":      func(s *Seal) { s.Dealings = s.Dealings[:1] },
		"empty dealing":        func(s *Seal) { s.Dealings[1] = Digest{} },
		"no sum":               func(s *Seal) { s.Sums = nil },
		"another shard":        func(s *Seal) { s.Sums[0].Shard = 1 },
		"one contributor":      func(s *Seal) { s.Sums[0].Contributors = s.Sums[0].Contributors[:1] },
		"half missing":         func(s *Seal) { s.Sums[0].C1 = Digest{} },
		"contributor twice":    func(s *Seal) { s.Sums[0].Contributors[1] = "north" },
		"contributor unknown":  func(s *Seal) { s.Sums[0].Contributors[1] = "west" },
		"contributors mixed":   func(s *Seal) { s.Sums[0].Contributors = []NodeID{"south", "north"} },
		"clients mixed":        func(s *Seal) { s.Clients = []NodeID{"south", "north"} },
		"client twice":         func(s *Seal) { s.Clients[1] = "north" },
		"dealer twice":         func(s *Seal) { s.Dealers[1] = "south" },
		"odd contributor name": func(s *Seal) { s.Sums[0].Contributors[1] = "z!" },
	})
	refusals(t, map[string]func(*DecryptionShare){
		"empty":         func(d *DecryptionShare) { d.Shares = nil },
		"another order": func(d *DecryptionShare) { d.Shares[0].Shard = 1 },
		"no digest":     func(d *DecryptionShare) { d.Shares[1].Digest = Digest{} },
	})
	refusals(t, map[string]func(*Decline){"long reason": func(d *Decline) { d.Reason = strings.Repeat("x", 1001) }})
	refusals(t, map[string]func(*Manifest){
		"no model":         func(m *Manifest) { m.Model = Digest{} },
		"no base model":    func(m *Manifest) { m.BaseModel = Digest{} },
		"version 0":        func(m *Manifest) { m.Version = 0 },
		"version > round":  func(m *Manifest) { m.Version = 3 },
		"no epsilon":       func(m *Manifest) { m.Epsilon = "" },
		"checked":          func(m *Manifest) { m.SharesChecked = -1 },
		"figures":          func(m *Manifest) { m.Figures.Correct = 5 },
		"holder twice":     func(m *Manifest) { m.KeyHolders[1] = "north" },
		"odd wrong share":  func(m *Manifest) { m.WrongShare = []NodeID{""} },
		"proof level":      func(m *Manifest) { m.ProofLevel = "x" },
		"unbalanced":       func(m *Manifest) { m.Postings[0].Amount++ },
		"no account":       func(m *Manifest) { m.Postings[0].Account = "" },
		"too much":         func(m *Manifest) { m.Postings[0].Amount, m.Postings[1].Amount = -MaxPosting-1, MaxPosting+1 },
		"wrapping to zero": func(m *Manifest) { m.Postings = []Posting{{"a", math.MinInt64, ""}, {"b", math.MinInt64, ""}} },
	})
}

// Many large postings of one sign are refused before their sum can wrap.
func TestPostingsCannotWrapAround(t *testing.T) {
	postings := make([]Posting, 2048)
	for i := range postings { // 2048 * 2^53 is 2^64: zero, if it were added carelessly
		postings[i] = Posting{Account: "a", Amount: MaxPosting}
	}
	if ValidatePostings(postings) == nil {
		t.Error("postings that sum to 2^64 were accepted")
	}
}
