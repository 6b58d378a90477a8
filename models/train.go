package models

import (
	"context"
	"errors"
	"fmt"
	"math"

	"credence/fl"
)

// Progress is reported after each optimiser step.
type Progress struct {
	Step  int     // steps done, from 1
	Steps int     // steps in all
	Epoch int     // epoch of this step, from 1
	Loss  float64 // mean loss of this step's examples before the step
}

// Result is what local training made.
type Result struct {
	Params   []float32 // a new vector; coordinates outside the shards are those given, bit for bit
	Steps    int
	Epochs   int     // epochs begun
	Examples int64   // examples processed, counting repetitions
	Loss     float64 // mean training loss over the steps of the last epoch, each measured before its step
}

// DivergedError says that a loss or a parameter stopped being a finite number.
type DivergedError struct {
	Step  int    // the step that failed, from 1
	Epoch int    // its epoch, from 1
	What  string // "the loss" or the tensor with the bad parameter
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("models: training diverged at step %d (epoch %d): %s is not a finite number; lower the learning rate or normalise the features", e.Step, e.Epoch, e.What)
}

// TrainOptions are what a round asks of local training beside its settings. The
// zero value asks for nothing.
type TrainOptions struct {
	// Shards are the coordinates that may move; nil: all of them.
	Shards []fl.Shard
	// Progress is called after each step, in the caller's goroutine; may be nil.
	Progress func(Progress)
	// Mu and Center add Mu*(w - Center) to each gradient, the proximal term of
	// FedProx and Ditto (Mu/2 |w - Center|^2 in the loss). Mu 0: none.
	Mu     float64
	Center []float32
	// Drift is added to each gradient (SCAFFOLD: c - c_i); nil: nothing. Either it
	// or Center has the length of the parameters.
	Drift []float32
}

func (o TrainOptions) validate(size int) error {
	switch {
	case !(o.Mu >= 0) || math.IsInf(o.Mu, 0):
		return fmt.Errorf("models: training: mu is %v: want a finite number of at least 0", o.Mu)
	case o.Mu > 0 && len(o.Center) != size:
		return fmt.Errorf("models: training: a proximal centre of %d values for %d parameters", len(o.Center), size)
	case o.Drift != nil && len(o.Drift) != size:
		return fmt.Errorf("models: training: a correction of %d values for %d parameters", len(o.Drift), size)
	}
	if i := firstNotFinite(o.Drift); i >= 0 {
		return fmt.Errorf("models: training: the correction of parameter %d is not a finite number", i)
	}
	return nil
}

// Train is TrainWith for shards and progress alone.
func (m *Model) Train(ctx context.Context, params []float32, data fl.Examples, cfg TrainConfig, shards []fl.Shard, progress func(Progress)) (Result, error) {
	return m.TrainWith(ctx, params, data, cfg, TrainOptions{Shards: shards, Progress: progress})
}

// TrainWith runs local training from params on data and returns a new vector; it
// changes neither. Only the coordinates in o.Shards move. Each
// epoch visits every example once in an order drawn from cfg.Seed (batches of
// all examples keep the given order); a last smaller batch counts like the
// others, with the mean of its own examples. The learning rate is the one
// configured: schedules over rounds are applied before (TrainConfig.AtRound). With an
// early stop it may end after any whole epoch.
//
// A *DivergedError reports a loss or parameter that is no finite number. When
// ctx ends, Train returns its cause before the next step.
func (m *Model) TrainWith(ctx context.Context, params []float32, data fl.Examples, cfg TrainConfig, o TrainOptions) (Result, error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	if err := m.CheckParameters(params); err != nil {
		return Result{}, err
	}
	if err := m.checkExamples(data); err != nil {
		return Result{}, err
	}
	if data.Rows == 0 {
		return Result{}, errors.New("models: training: there are no examples")
	}
	if err := o.validate(m.size); err != nil {
		return Result{}, err
	}
	opt, err := newStepper(m, cfg, o)
	if err != nil {
		return Result{}, err
	}
	batch := cfg.BatchSize
	if batch == 0 || batch > data.Rows {
		batch = data.Rows
	}
	perEpoch := (data.Rows + batch - 1) / batch
	steps := cfg.Steps
	if steps == 0 {
		if cfg.Epochs > maxSteps/perEpoch {
			return Result{}, fmt.Errorf("models: training: %d epochs of %d steps: want at most %d steps", cfg.Epochs, perEpoch, maxSteps)
		}
		steps = cfg.Epochs * perEpoch
	}
	e, err := m.acquire(m.chunkRows(batch), m.training(opt.spans))
	if err != nil {
		return Result{}, err
	}
	defer m.release(e)

	out := Result{Params: append([]float32(nil), params...)}
	grad := make([]float32, m.size)
	order := make([]int, data.Rows)
	for i := range order {
		order[i] = i
	}
	shuffle := newStream("shuffle/v1", cfg.Seed)
	var epochLoss float64
	var epochRows int
	stop := cfg.EarlyStop.watch()
	for out.Steps < steps {
		if err := context.Cause(ctx); err != nil {
			return Result{}, fmt.Errorf("models: training stopped after %d of %d steps: %w", out.Steps, steps, err)
		}
		position := out.Steps % perEpoch
		if position == 0 {
			if out.Epochs > 0 && stop.after(epochLoss/float64(epochRows)) {
				break
			}
			out.Epochs++
			epochLoss, epochRows = 0, 0
			if batch < data.Rows {
				shuffle.shuffle(order)
			}
		}
		rows := order[position*batch : min((position+1)*batch, data.Rows)]
		loss := m.gradient(e, out.Params, data, rows, grad)
		out.Steps++
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			return Result{}, &DivergedError{Step: out.Steps, Epoch: out.Epochs, What: "the loss"}
		}
		opt.step(out.Params, grad)
		if i := opt.diverged(out.Params); i >= 0 {
			return Result{}, &DivergedError{Step: out.Steps, Epoch: out.Epochs, What: m.tensorAt(i)}
		}
		epochLoss += loss * float64(len(rows))
		epochRows += len(rows)
		out.Examples += int64(len(rows))
		if o.Progress != nil {
			o.Progress(Progress{Step: out.Steps, Steps: steps, Epoch: out.Epochs, Loss: loss})
		}
	}
	out.Loss = epochLoss / float64(epochRows)
	return out, nil
}

// Gradient returns the gradient of the mean loss over all of data, a vector
// like params, and that loss.
func (m *Model) Gradient(params []float32, data fl.Examples) (grad []float32, loss float64, err error) {
	if err := m.CheckParameters(params); err != nil {
		return nil, 0, err
	}
	if err := m.checkExamples(data); err != nil {
		return nil, 0, err
	}
	if data.Rows == 0 {
		return nil, 0, errors.New("models: gradient: there are no examples")
	}
	e, err := m.acquire(m.chunkRows(data.Rows), m.training([]span{{0, m.size}}))
	if err != nil {
		return nil, 0, err
	}
	defer m.release(e)
	rows := make([]int, data.Rows)
	for i := range rows {
		rows[i] = i
	}
	grad = make([]float32, m.size)
	return grad, m.gradient(e, params, data, rows, grad), nil
}

// chunkRows is the number of rows of the runs that serve a batch, at least 2. A
// last smaller batch is padded to it: the blocks of a matrix product, and so the
// rounding of its sums, depend on the number of rows.
func (m *Model) chunkRows(batch int) int { return min(max(batch, 2), m.chunk) }

// gradient overwrites grad with the gradient of the mean loss over the rows;
// tensors outside the engine's purpose get zeros.
func (m *Model) gradient(e *engine, params []float32, data fl.Examples, rows []int, grad []float32) float64 {
	clear(grad)
	e.setParameters(m, params)
	weight := 1 / float32(len(rows))
	var sum float64
	for from := 0; from < len(rows); from += e.rows {
		e.setRows(data, rows[from:min(from+e.rows, len(rows))], weight)
		e.run()
		sum += float64(e.loss[0])
		e.addGradients(m, grad)
	}
	return sum
}
