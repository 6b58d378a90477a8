package simulate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"credence/client"
	"credence/datasets"
	"credence/experiments/adversary"
	"credence/fl"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
	"credence/zk/trained"
)

// proven is what a simulation at proof level trained keeps: the tables that the
// clients committed to when they joined, and those that their attacks train on.
type proven struct {
	job       *trained.Job
	channel   provenChannel
	committed map[fl.NodeID]*tabular.Table
	poisoned  map[fl.NodeID]*tabular.Table
}

// provenChannel is a channel of level trained.
type provenChannel interface {
	Channel
	// Commit takes in the table that a client joins with. A *RefusedError says
	// that the table is not what the job asks for, and the client stays out.
	Commit(node fl.NodeID, table *tabular.Table) error
	// SendTrained delivers values, and refuses all but exact: what the plan's
	// training from the global model gives on the committed table, with the
	// figures that the client declares.
	SendTrained(ctx context.Context, a fl.Assignment, values, exact []fl.ShardValues, global []float32) (Sent, error)
}

// errNotExact is what a verifier sees in an update that was not trained as the
// job says on the committed rows.
var errNotExact = fmt.Errorf("%w: the update is not what these steps give on the committed rows", trained.ErrTraining)

// newProven checks that what is to be simulated is what is to be proven.
func newProven(terms *trained.Job, job Job, channel Channel) (*proven, error) {
	if (terms != nil) != job.ProofLevel.Trained() {
		return nil, fmt.Errorf("proof level %s and the terms of proven training do not go together", job.ProofLevel)
	}
	if terms == nil {
		return nil, nil
	}
	carrier, ok := channel.(provenChannel)
	if !ok {
		return nil, errors.New("the channel carries no proofs of training: want a plain one, or one that NewTrained made")
	}
	return &proven{job: terms, channel: carrier, committed: map[fl.NodeID]*tabular.Table{}, poisoned: map[fl.NodeID]*tabular.Table{}}, nil
}

// join commits a client to its rows and returns how many they are. An attack on
// data that is active from the first round commits to poisoned rows; one that
// begins later is bound to the rows that it committed to. A client whose rows
// do not meet the job's requirements does not join, and is counted as refused.
func (s *Simulation) join(c Client) (rows int64, joins bool, err error) {
	p := s.proven
	if shards := (s.Model().NumParameters() + s.suite.Values() - fl.MetricSlots - 1) / (s.suite.Values() - fl.MetricSlots); c.MaxShards > 0 && c.MaxShards < shards {
		return 0, false, fmt.Errorf("client %s carries %d of the model's %d ciphertexts: proven training covers all of them; leave partition.weak out, or raise its max_shards", c.Node, c.MaxShards, shards)
	}
	table := func(rows fl.Examples) (*tabular.Table, error) {
		t, _, err := datasets.Tabulate(rows, nil, p.job.Table)
		if err == nil {
			err = p.job.CheckRows(t.Used)
		}
		if err != nil {
			return nil, fmt.Errorf("client %s: proof level trained: %w", c.Node, err)
		}
		return t, nil
	}
	own, err := table(c.Train)
	if err != nil {
		return 0, false, err
	}
	if bad, ok := s.poisoned[c.Node]; ok {
		if p.poisoned[c.Node], err = table(bad); err != nil {
			return 0, false, fmt.Errorf("%w (with the rows of its attack)", err)
		}
		if s.attack(c.Node, 1) != nil {
			own = p.poisoned[c.Node]
		}
	}
	p.committed[c.Node] = own
	err = p.channel.Commit(c.Node, own)
	var refused *RefusedError
	if errors.As(err, &refused) {
		s.state.clients[s.place[c.Node]].Refused++
		s.outside = append(s.outside, refused)
		return 0, false, nil
	}
	return int64(own.Used), err == nil, err
}

// rows is how many rows a client declares: at level trained those that it
// committed to.
func (s *Simulation) rows(c Client) int64 {
	if s.proven != nil {
		return int64(s.proven.committed[c.Node].Used)
	}
	return int64(c.Train.Rows)
}

// meets checks a table against the job's requirements, as the proof of a
// validation does.
func meets(job *trained.Job, node fl.NodeID, t *tabular.Table) error {
	if job.Requirements == nil {
		return nil
	}
	limits, err := job.Requirements.Limits(job.Table, t.Used)
	if err == nil {
		err = t.Within(limits)
	}
	if err != nil {
		return &RefusedError{node, fmt.Errorf("its rows do not meet the job's requirements: %w", err)}
	}
	return nil
}

// trainExact is a client's local work at level trained: the integers that
// every machine gets from the same rows.
func (s *Simulation) trainExact(work client.LocalWork, plan fl.Plan, a fl.Assignment, attack *adversary.Spec, r *outcome) (u client.Update, err error) {
	if u.Figures, err = work.Figures(s.state.params); err != nil {
		return u, err
	}
	table := s.proven.committed[a.Node]
	if attack != nil {
		table = s.proven.poisoned[a.Node]
	}
	exact, err := s.proven.job.Train(plan, a.Node, s.state.params, table)
	if errors.Is(err, fixedpoint.ErrRange) || errors.Is(err, fixedpoint.ErrModel) {
		return u, &client.LocalError{Reason: err.Error()} // a live node declines
	}
	if err != nil {
		return u, err
	}
	r.exact = &exact
	u.Upload, u.Steps = slices.Clone(exact.Change), exact.Steps
	return u, nil
}

// sendProven sends values beside what a verifier holds them against.
func (s *Simulation) sendProven(ctx context.Context, plan fl.Plan, a fl.Assignment, figures fl.Figures, values []fl.ShardValues, r *outcome) (Sent, error) {
	committed := s.proven.committed[a.Node]
	if r.exact == nil || (r.Attack != "" && committed != s.proven.poisoned[a.Node]) {
		// It did not train, or on other rows than it committed to.
		exact, err := s.proven.job.Train(plan, a.Node, s.state.params, committed)
		if err != nil {
			return Sent{}, &RefusedError{a.Node, err}
		}
		r.exact = &exact
	}
	exact, err := client.PackProven(plan, a, figures, r.exact.Values)
	if err != nil {
		return Sent{}, err
	}
	return s.proven.channel.SendTrained(ctx, a, values, exact, s.state.params)
}

// same tells whether two packed updates are equal.
func same(a, b []fl.ShardValues) bool {
	return slices.EqualFunc(a, b, func(x, y fl.ShardValues) bool { return x.Shard == y.Shard && slices.Equal(x.Values, y.Values) })
}
