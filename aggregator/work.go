package aggregator

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/proto"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/round"
)

// tasksFor derives what a party should do next from the stored state, with a
// tag that changes when the tasks do. Nothing records that a task was handed
// out: it is offered until its result is in, so a node may be killed and
// restarted at any point.
func (a *Aggregator) tasksFor(ctx context.Context, party store.Party) ([]*flpb.Task, []byte, error) {
	var tasks []*flpb.Task
	if party.Enrolment.Has(fl.RoleNode) {
		for _, derive := range []func(context.Context, fl.NodeID) ([]*flpb.Task, error){a.epochTasks, a.offerTasks, a.roundTasks, a.retireTasks} {
			more, err := derive(ctx, party.Enrolment.Node)
			if err != nil {
				return nil, nil, err
			}
			tasks = append(tasks, more...)
		}
	}
	tag, err := tagOf(tasks)
	return tasks, tag, err
}

// tagOf digests tasks. The large ones are digested from the bytes they share,
// without a copy for every node that asks.
func tagOf(tasks []*flpb.Task) ([]byte, error) {
	h := sha256.New()
	for _, task := range tasks {
		var parts [][]byte
		switch t := task.GetTask().(type) {
		case *flpb.Task_Noise:
			parts = [][]byte{[]byte("noise"), t.Noise.GetPlan(), t.Noise.GetEpochKey()}
		case *flpb.Task_Train:
			parts = [][]byte{[]byte("train"), t.Train.GetJobSpec(), t.Train.GetPlan(), t.Train.GetEpochKey()}
		default:
			raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(task)
			if err != nil {
				return nil, err
			}
			parts = [][]byte{[]byte("other"), raw}
		}
		for _, part := range parts {
			_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(part)))) // a hash never fails
			_, _ = h.Write(part)
		}
	}
	return h.Sum(nil), nil
}

// epochTasks asks a member of the newest, open epoch for its next document,
// and a dealer of any epoch for its answers to complaints.
func (a *Aggregator) epochTasks(ctx context.Context, node fl.NodeID) ([]*flpb.Task, error) {
	all, err := a.epochs(ctx)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	var tasks []*flpb.Task
	for i, e := range all {
		newest := i == len(all)-1
		if e.plan.Point(node) == 0 || e.void() || e.key == nil && !newest {
			continue
		}
		if open := e.toAnswer(node); len(open) > 0 {
			task := e.task()
			task.Step, task.Documents = "answer", open
			tasks = append(tasks, &flpb.Task{Task: &flpb.Task_Epoch{Epoch: task}})
		}
		if e.key != nil || !newest {
			continue
		}
		task, err := a.nextInEpoch(ctx, e, node)
		if err != nil {
			return nil, err
		}
		if task != nil {
			tasks = append(tasks, &flpb.Task{Task: &flpb.Task_Epoch{Epoch: task}})
		}
	}
	return tasks, nil
}

// task is a task of an epoch with the documents that every member has handed
// in.
func (e epochState) task() *flpb.EpochTask {
	task := &flpb.EpochTask{Plan: e.Plan.Encode()}
	for _, s := range []struct {
		docs map[fl.NodeID]fl.Envelope
		into *[][]byte
	}{{e.SealKeys, &task.SealKeys}, {e.Commitments, &task.Commitments}, {e.Reveals, &task.Reveals}, {e.Dealings, &task.Dealings}} {
		if !e.complete(s.docs) {
			break
		}
		*s.into = e.encoded(s.docs)
	}
	return task
}

// encoded returns one document of every member, in their order.
func (e epochState) encoded(docs map[fl.NodeID]fl.Envelope) [][]byte {
	var out [][]byte
	for _, m := range e.plan.Members {
		out = append(out, docs[m].Encode())
	}
	return out
}

// nextInEpoch is the next document that an open epoch wants from a member, or
// nil when it waits for others.
func (a *Aggregator) nextInEpoch(ctx context.Context, e epochState, node fl.NodeID) (*flpb.EpochTask, error) {
	task := e.task()
	for _, docs := range []map[fl.NodeID]fl.Envelope{e.SealKeys, e.Commitments, e.Reveals, e.Dealings} {
		if _, done := docs[node]; !done {
			return task, nil
		}
		if !e.complete(docs) {
			return nil, nil
		}
	}
	// A complaint that stands is decided before its member is asked again.
	var standing bool
	if _, done := e.acceptances[node]; !done {
		task.Step = "accept"
		if task.Documents, standing = e.answersFor(node, fl.StageKey, fl.Digest{}); standing {
			return nil, nil
		}
		return task, nil
	}
	if !e.complete(e.acceptances) {
		return nil, nil
	}
	for _, stage := range []fl.Stage{fl.StageTest, fl.StageTrial} {
		if stage == fl.StageTrial {
			// All shares of the test are in: the next pass closes the epoch, or
			// finds that the test failed.
			if result, known := a.court.result(e.planID); !known || result.ok {
				return nil, nil
			}
		}
		task.Stage = string(stage)
		if _, done := e.noise[stage][node]; !done {
			task.Step = "noise"
			return task, nil
		}
		if !e.complete(e.noise[stage]) {
			return nil, nil
		}
		if _, done := e.shares[stage][node]; !done {
			task.Step = "share"
			answers, standing := e.answersFor(node, stage, fl.Digest{})
			if standing {
				return nil, nil
			}
			// A share that it took with an answer it takes again for a trial.
			keys, _ := e.answersFor(node, fl.StageKey, fl.Digest{})
			task.Documents = slices.Concat(e.encoded(e.noise[stage]), answers, keys)
			return task, nil
		}
		if !e.complete(e.shares[stage]) {
			return nil, nil
		}
	}
	return nil, nil
}

// retireTasks tells a member which epochs are over: superseded, and without an
// active round. Nothing records whether it erased its shares: erasing again
// does no harm.
func (a *Aggregator) retireTasks(ctx context.Context, node fl.NodeID) ([]*flpb.Task, error) {
	current, ok, err := a.currentEpoch(ctx)
	if err != nil || !ok || current.Number == 1 {
		return nil, err
	}
	active, err := a.store.ActiveRounds(ctx)
	if err != nil {
		return nil, err
	}
	used := map[uint64]bool{}
	for _, r := range active {
		var plan fl.Plan
		if err := a.readOwn(r.Plan, &plan); err != nil {
			return nil, err
		}
		used[plan.Epoch] = true
	}
	all, err := a.epochs(ctx)
	if err != nil {
		return nil, err
	}
	task := &flpb.RetireTask{}
	for _, e := range all { // also those that never got a key
		if e.Number < current.Number && !used[e.Number] && e.plan.Point(node) != 0 {
			task.Epochs = append(task.Epochs, e.Number)
		}
	}
	if len(task.Epochs) == 0 {
		return nil, nil
	}
	return []*flpb.Task{{Task: &flpb.Task_Retire{Retire: task}}}, nil
}

// offerTasks offers every running job that the node has not joined.
func (a *Aggregator) offerTasks(ctx context.Context, node fl.NodeID) ([]*flpb.Task, error) {
	jobs, err := a.jobs(ctx)
	if err != nil {
		return nil, err
	}
	var tasks []*flpb.Task
	for _, j := range jobs {
		if _, joined := j.Joins[node]; !joined {
			offer, err := a.offer(ctx, j.Spec)
			if err != nil {
				return nil, err
			}
			if offer != nil {
				tasks = append(tasks, &flpb.Task{Task: &flpb.Task_Offer{Offer: offer}})
			}
		}
	}
	return tasks, nil
}

// roundTasks asks for updates, noise and decryption shares of active rounds.
func (a *Aggregator) roundTasks(ctx context.Context, node fl.NodeID) ([]*flpb.Task, error) {
	active, err := a.activeRounds(ctx)
	if err != nil {
		return nil, err
	}
	var tasks []*flpb.Task
	for _, r := range active {
		more, err := a.tasksInRound(ctx, node, r)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, more...)
	}
	return tasks, nil
}

func (a *Aggregator) tasksInRound(ctx context.Context, node fl.NodeID, r activeRound) ([]*flpb.Task, error) {
	state := r.state
	members, err := a.epochPlan(ctx, state.Plan().Epoch)
	if err != nil {
		return nil, err
	}
	update, noise, share := wanted(state, members, node)
	if !update && !noise && !share {
		return nil, nil // as at most calls: the epoch's documents are not needed
	}
	epoch, err := a.epoch(ctx, state.Plan().Epoch)
	if err != nil {
		return nil, err
	}
	noise = noise && !epoch.convicted(node)
	answers, standing := epoch.answersFor(node, fl.StageRound, r.Plan.Digest())
	share = share && !standing // it has no share while its complaint stands
	if !update && !noise && !share {
		return nil, nil
	}
	plan, key := r.plan, epoch.Key.Encode()
	var tasks []*flpb.Task
	if noise { // before training: it is quick, and the round cannot seal without
		tasks = append(tasks, &flpb.Task{Task: &flpb.Task_Noise{Noise: &flpb.NoiseTask{Plan: plan, EpochKey: key}}})
	}
	if update {
		spec, err := a.store.Document(ctx, state.Plan().JobSpec)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, &flpb.Task{Task: &flpb.Task_Train{Train: &flpb.TrainTask{JobSpec: spec.Encode(), Plan: plan, EpochKey: key}}})
	}
	if share {
		seal, err := a.store.Document(ctx, state.Seal)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, &flpb.Task{Task: &flpb.Task_Decrypt{Decrypt: &flpb.DecryptTask{Plan: plan, Seal: seal.Encode(), EpochKey: key, Answers: answers}}})
	}
	return tasks, nil
}

// wanted says what a round in this state still waits for from a party.
func wanted(state round.State, epoch fl.EpochPlan, node fl.NodeID) (update, noise, share bool) {
	if _, revoked := state.Revoked[node]; revoked {
		return false, false, false
	}
	_, client := state.Plan().Assigned(node)
	_, submitted := state.Updates[node]
	_, declined := state.Declined[node]
	_, dealt := state.Dealings[node]
	_, shared := state.Shares[node]
	member := epoch.Point(node) != 0
	update = state.Phase == round.Open && client && !submitted && !declined
	noise = state.Phase == round.Open && member && !dealt
	share = state.Phase == round.Decrypting && member && !shared
	return update, noise, share
}
