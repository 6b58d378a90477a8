package simulate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"credence/client"
	"credence/experiments/adversary"
	"credence/fl"
	"credence/fl/credit"
	"credence/he"
	"credence/models"
)

// Job is what to train; the fields mean what they mean in client.JobOptions.
type Job struct {
	ID            fl.JobID // part of the seeds of sampling and rounding
	Model         models.Spec
	Training      models.TrainConfig // local, in each round
	Strategy      fl.StrategySpec
	Clip          fl.Clip
	Privacy       client.PrivacyOptions // zero: none
	Rounds        int
	CohortSize    int           // 0: every client
	MinCohort     int           // 0: 2; a round with fewer updates is an error
	ProofLevel    fl.ProofLevel // "": none
	SampleCap     int64         // 0: none
	StepCap       int64         // 0: none
	Budget        int64
	Rates         fl.Rates      // zero: as if there were no budget
	RoundDeadline time.Duration // 0: a minute; nobody is late here
	Seed          uint64
}

// Client is one client's data. Test may be empty: figures are then of Train.
type Client struct {
	Node        fl.NodeID
	Train, Test fl.Examples
	MaxShards   int // ciphertexts that it can carry in a round; 0: all
}

// Options say how to simulate. Suite and Job are needed; the zero value of the
// others is good.
type Options struct {
	Suite   *he.Suite
	Job     Job
	Workers int               // clients at a time; 0: one for every processor
	Channel Channel           // nil: Plain
	Roster  *adversary.Roster // nil: everybody is honest
	// StopOnDivergence makes a client whose training diverges an error, instead
	// of a client that declines the round.
	StopOnDivergence bool
	// Committee are the names that the committee's credits go to.
	Committee []fl.NodeID
}

// Simulation is a training under way.
type Simulation struct {
	opts       Options
	job        Job
	suite      *he.Suite
	channel    Channel
	terms      fl.Terms
	clients    []Client // sorted by name
	candidates []fl.Candidate
	place      map[fl.NodeID]int
	workers    []*models.Model // one each: its graphs serve one client after the other
	poisoned   map[fl.NodeID]fl.Examples
	clientKind bool      // clients keep a state
	buffered   *buffered // fedbuff only
	privacy    *private  // nil: none
	state      state
}

// state is what changes from round to round.
type state struct {
	round    uint64 // last that was tried
	version  uint64 // last that was made
	params   []float32
	previous []float32 // the version before; nil before the second
	server   []float32 // what the strategy keeps; nil at first
	clip     fl.Clip   // of the next round
	escrow   int64
	clients  []memory // as Simulation.clients
	// versions are those that clients of fedbuff still train from, by number.
	versions map[uint64][]float32
}

// memory is what a client has from earlier rounds.
type memory struct {
	local client.LocalState
	Tally
}

// Tally counts what a client did over the rounds so far. Charged counts the
// rounds that name it in a private job.
type Tally struct {
	Charged                   int
	Rounds, Declined, Refused int
	SecondsTrain              float64
	BytesUp                   int64
	Credits                   int64
}

// New prepares a training from the job's initial model.
func New(opts Options, clients []Client) (*Simulation, error) {
	s, err := prepare(opts, clients)
	if err != nil {
		return nil, fmt.Errorf("simulation: %w", err)
	}
	return s, nil
}

func prepare(opts Options, clients []Client) (*Simulation, error) {
	job := opts.Job
	if job.MinCohort == 0 {
		job.MinCohort = 2
	}
	if job.ProofLevel == "" {
		job.ProofLevel = fl.ProofNone
	}
	if job.RoundDeadline == 0 {
		job.RoundDeadline = time.Minute
	}
	model, err := models.New(job.Model)
	if err != nil {
		return nil, err
	}
	if job.Strategy, err = client.CompleteStrategy(job.Strategy, job.Training, model); err != nil {
		return nil, err
	}
	switch {
	case job.Rounds < 1:
		return nil, fmt.Errorf("%d rounds: want at least 1", job.Rounds)
	case job.MinCohort < 2 || len(clients) < job.MinCohort:
		return nil, fmt.Errorf("%d clients, at least %d in a round: want at least 2 and the minimum", len(clients), job.MinCohort)
	}
	if err := errors.Join(job.ID.Validate(), job.Training.Validate(), job.Clip.Validate(), job.Strategy.CheckClip(job.Clip), job.ProofLevel.Validate()); err != nil {
		return nil, err
	}
	s := &Simulation{
		opts: opts, job: job, suite: opts.Suite, channel: opts.Channel, clients: slices.Clone(clients), place: map[fl.NodeID]int{},
		poisoned: map[fl.NodeID]fl.Examples{}, clientKind: job.Strategy.ClientState(),
		terms: fl.Terms{
			Job: job.ID, Seed: job.Seed, Strategy: job.Strategy, Parameters: model.NumParameters(), CohortSize: job.CohortSize,
			MinCohort: job.MinCohort, Slots: opts.Suite.Values(), MaxCohort: opts.Suite.MaxCohort(),
		},
		state: state{params: model.Init(job.Seed), clip: job.Clip, escrow: job.Budget, clients: make([]memory, len(clients))},
	}
	if s.channel == nil {
		s.channel = Plain(opts.Suite, job.ProofLevel)
	}
	s.workers = []*models.Model{model}
	n := opts.Workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for range min(n, len(clients)) - 1 {
		m, err := models.New(job.Model)
		if err != nil {
			return nil, err
		}
		s.workers = append(s.workers, m)
	}
	if err := s.enrol(); err != nil {
		return nil, err
	}
	if job.Privacy.On() {
		if s.privacy, err = newPrivate(job, opts.Suite, model.NumParameters()); err != nil {
			return nil, &PrivacyError{err}
		}
	}
	if job.Strategy.Name == fl.FedBuff {
		s.state.versions = map[uint64][]float32{0: s.state.params}
		s.buffered, err = newBuffered(s.terms, s.candidates, 0)
	}
	return s, err
}

// enrol checks the clients and prepares what their attacks train on.
func (s *Simulation) enrol() error {
	slices.SortFunc(s.clients, func(a, b Client) int { return cmp.Compare(a.Node, b.Node) })
	for i, c := range s.clients {
		if err := c.Node.Validate(); err != nil {
			return err
		}
		if _, twice := s.place[c.Node]; twice {
			return fmt.Errorf("client %s is named twice", c.Node)
		}
		if c.Train.Rows == 0 {
			return fmt.Errorf("client %s has no training row", c.Node)
		}
		s.place[c.Node] = i
		samples := int64(c.Train.Rows)
		if s.job.SampleCap > 0 {
			samples = min(samples, s.job.SampleCap)
		}
		s.candidates = append(s.candidates, fl.Candidate{Node: c.Node, Samples: samples, MaxShards: c.MaxShards})
		if s.opts.Roster != nil {
			if a := s.opts.Roster.Attack(c.Node, fl.MaxRounds); a != nil {
				s.poisoned[c.Node] = a.Poison(c.Train)
			}
		}
	}
	return nil
}

// Version returns the number of versions made.
func (s *Simulation) Version() uint64 { return s.state.version }

// Params returns the newest model. The caller must not change it.
func (s *Simulation) Params() []float32 { return s.state.params }

// Clients returns the clients, sorted by name. The caller must not change them.
func (s *Simulation) Clients() []Client { return s.clients }

// Tally returns what a client did so far; i counts Clients.
func (s *Simulation) Tally(i int) Tally { return s.state.clients[i].Tally }

// Roster returns the attacks; nil when everybody is honest.
func (s *Simulation) Roster() *adversary.Roster { return s.opts.Roster }

// Model returns the model's specification with its layout.
func (s *Simulation) Model() *models.Model { return s.workers[0] }

// Evaluate measures the newest model on some rows.
func (s *Simulation) Evaluate(rows fl.Examples) (models.Evaluation, error) {
	return s.workers[0].Evaluate(s.state.params, rows)
}

// EvaluateClient measures what client i would use now on its own held-out rows
// (training rows where it holds none out): the newest model, for fedper with
// the client's own last layers, for ditto the client's own model.
func (s *Simulation) EvaluateClient(i int) (models.Evaluation, error) {
	c, params := s.clients[i], s.state.params
	if own := s.state.clients[i].local.Personal; own != nil {
		shared := len(params) - len(own)
		params = append(append(make([]float32, 0, len(params)), params[:shared]...), own...)
	}
	rows := c.Test
	if rows.Rows == 0 {
		rows = c.Train
	}
	return s.workers[0].Evaluate(params, rows)
}

// maxAborted is how many rounds in a row may end without a version.
const maxAborted = 10

// Step makes the next version. A round that is left with too few updates,
// because clients declined or were refused, is aborted and another one tried,
// as a live federation does, a few times. After another error, or when ctx
// ends, the simulation is where it was before that round.
func (s *Simulation) Step(ctx context.Context) (Result, error) {
	for aborted := 0; ; aborted++ {
		number := s.state.round + 1
		r, err := s.step(ctx, number)
		var thin *tooFewError
		if errors.As(err, &thin) && aborted < maxAborted {
			continue
		}
		if err != nil {
			return Result{}, fmt.Errorf("simulation: round %d: %w", number, err)
		}
		r.Aborted = aborted
		return r, nil
	}
}

// opening is when every round opens; times mean nothing here, but plans and
// payouts have them.
var opening = time.Unix(0, 0).UTC()

// plan draws the cohort of a round.
func (s *Simulation) plan(number uint64) (fl.Plan, error) {
	plan := fl.Plan{
		Genesis: simulated, JobSpec: simulated, EpochKey: simulated, Epoch: 1,
		Job: s.job.ID, Round: number, Slots: s.suite.Values(), MinCohort: s.job.MinCohort, Clip: s.state.clip,
		ValueBits: s.suite.ValueBits(), ProofLevel: s.job.ProofLevel, Seed: s.job.Seed,
		OpenedAt: opening, Deadline: opening.Add(s.job.RoundDeadline),
	}
	if s.job.Strategy.Name == fl.Scaffold {
		plan.Population = len(s.clients)
	}
	if s.buffered != nil {
		return s.terms.BufferPlan(plan, s.buffered.next(number), number)
	}
	candidates := s.candidates
	if s.privacy != nil {
		var err error
		if candidates, err = s.privacy.able(s); err != nil {
			return plan, err
		}
		plan.Privacy = s.privacy.Privacy
	}
	cohort, err := fl.DrawCohort(s.terms, candidates, number)
	if err != nil {
		return plan, err
	}
	plan.Shards, plan.Groups, plan.Cohort, plan.WeightUnit = cohort.Shards, cohort.Groups, cohort.Assignments, cohort.WeightUnit
	for _, a := range plan.Cohort {
		if s.privacy != nil {
			plan.Charged = append(plan.Charged, s.state.clients[s.place[a.Node]].Charged+1)
		}
	}
	return plan, nil
}

// simulated stands where documents of a live federation name each other.
var simulated = fl.DigestOf("simulation/v1")

// planID identifies a plan to proofs.
func planID(plan fl.Plan) (fl.Digest, error) {
	raw, err := json.Marshal(plan)
	return fl.DigestBytes(raw), err
}

func (s *Simulation) step(ctx context.Context, number uint64) (Result, error) {
	started := time.Now()
	plan, err := s.plan(number)
	if err != nil {
		return Result{}, err
	}
	if err := s.channel.Begin(plan); err != nil {
		return Result{}, err
	}
	results, err := s.work(ctx, plan)
	if err != nil {
		return Result{}, err
	}
	out := Result{Round: number, Version: s.state.version + 1, Clients: make([]ClientResult, len(results))}
	for i := range results {
		out.Clients[i] = results[i].ClientResult
		out.Times.add(results[i].times)
	}
	var thin *tooFewError
	opened := time.Now()
	sums, contributors, err := s.channel.Open(ctx)
	if errors.As(err, &thin) {
		s.abort(number, results, out.Clients)
		return Result{}, fmt.Errorf("%w; of a cohort of %d, %d declined because their training diverged and %d updates were refused",
			err, len(results), out.Count(Declined), out.Count(Refused))
	}
	if err != nil {
		return Result{}, err
	}
	out.Times.Decrypt += time.Since(opened)
	next, err := fl.Advance(s.job.Strategy, plan, contributors, sums, s.state.params, s.state.server)
	if err != nil {
		return Result{}, err
	}
	out.Params, out.Figures, out.Clip = next.Params, next.Figures, plan.Clip
	out.BytesDown = int64(len(results)) * 4 * int64(len(s.state.params)+len(s.state.server))
	escrow, err := s.pay(plan, results, out.Clients)
	if err != nil {
		return Result{}, err
	}
	s.keep(results, out.Clients)
	if s.privacy != nil {
		out.Epsilon = s.privacy.spent(s)
	}
	if next.Clip != (fl.Clip{}) {
		s.state.clip = next.Clip
	}
	s.state.previous, s.state.params, s.state.server = s.state.params, next.Params, next.State
	s.state.round, s.state.version, s.state.escrow = number, out.Version, escrow
	if s.buffered != nil {
		s.buffered.made(number, next.Params, s.state.versions)
	}
	out.State = next.State
	out.Wall = time.Since(started)
	return out, nil
}

// abort counts a round that made no version.
func (s *Simulation) abort(number uint64, results []outcome, told []ClientResult) {
	for i := range told {
		if told[i].Outcome == Accepted {
			told[i].Outcome = left
		}
	}
	s.keep(results, told)
	s.state.round = number
	if s.buffered != nil {
		s.buffered.made(number, s.state.params, s.state.versions)
	}
}

// keep makes what the clients have from this round theirs.
func (s *Simulation) keep(results []outcome, told []ClientResult) {
	for i, r := range told {
		m := &s.state.clients[s.place[r.Node]]
		if s.privacy != nil {
			m.Charged++
		}
		m.SecondsTrain += r.Seconds
		m.BytesUp += r.BytesUp
		m.Credits += r.Credits
		switch r.Outcome {
		case Accepted:
			m.Rounds++
			if s.clientKind {
				m.local = results[i].local
			}
		case Declined:
			m.Declined++
		case Refused:
			m.Refused++
		}
	}
}

// pay divides the round's share of the escrow and returns what is left of it.
// Everybody is equally early here.
func (s *Simulation) pay(plan fl.Plan, results []outcome, told []ClientResult) (escrow int64, err error) {
	if s.job.Budget == 0 || s.job.Rates == (fl.Rates{}) {
		return s.state.escrow, nil
	}
	round := credit.Round{
		Job: s.job.ID, Round: plan.Round, Escrow: s.state.escrow, RoundsLeft: max(s.job.Rounds-int(s.state.version), 1), Rates: s.job.Rates,
		Caps: credit.Caps{Samples: s.job.SampleCap, Steps: s.job.StepCap}, OpenedAt: plan.OpenedAt, Deadline: plan.Deadline,
	}
	place := map[string]int{}
	for i, r := range told {
		if r.Outcome != Accepted {
			continue
		}
		place[credit.PartyAccount(r.Node)] = i
		round.Clients = append(round.Clients, credit.Work{
			Node: r.Node, Shards: len(plan.Cohort[i].Shards), Samples: int64(s.clients[s.place[r.Node]].Train.Rows),
			Steps: int64(results[i].steps), AcceptedAt: plan.OpenedAt,
		})
	}
	for _, m := range s.opts.Committee {
		round.Members = append(round.Members, credit.Duty{Node: m})
	}
	postings, err := credit.RoundPostings(round)
	if err != nil {
		return 0, err
	}
	escrow = s.state.escrow
	for _, p := range postings {
		if i, ok := place[p.Account]; ok {
			told[i].Credits += p.Amount
		}
		if p.Account == credit.EscrowAccount(s.job.ID) {
			escrow += p.Amount
		}
	}
	return escrow, nil
}
