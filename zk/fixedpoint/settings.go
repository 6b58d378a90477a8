package fixedpoint

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// minRate keeps the rounding of a rate below one part in 128.
const minRate = 64

// Rate returns a learning rate divided by the rows of a batch on the grid of
// rates, rounded to nearest. The effective learning rate differs from the asked
// one by at most one part in twice the result.
func (m Model) Rate(learningRate float64, rows int) (uint64, error) {
	if !(learningRate > 0) || math.IsInf(learningRate, 0) || rows < 1 {
		return 0, fmt.Errorf("%w: learning rate %v over %d rows: want a finite rate above 0 and at least one row", ErrModel, learningRate, rows)
	}
	x := new(big.Rat).SetFloat64(learningRate)
	x.Mul(x, new(big.Rat).SetFrac(new(big.Int).Lsh(big.NewInt(1), uint(m.RateFraction())), big.NewInt(int64(rows))))
	rate := nearest(x)
	if !rate.IsUint64() || rate.Uint64() < minRate || rate.Uint64() >= MaxRate {
		return 0, fmt.Errorf("%w: learning rate %v over %d rows is outside the grid of 2^-%d: raise it, or use smaller batches",
			ErrModel, learningRate, rows, m.RateFraction())
	}
	return rate.Uint64(), nil
}

// nearest rounds a non-negative number to the nearest integer, halves up.
func nearest(x *big.Rat) *big.Int {
	n := new(big.Int).Lsh(x.Num(), 1)
	n.Add(n, x.Denom())
	return n.Div(n, new(big.Int).Lsh(x.Denom(), 1))
}

// Local is what a job fixes of a client's gradient steps.
type Local struct {
	LearningRate float64 `json:"learning_rate"`
	Steps        int     `json:"steps,omitempty"`  // gradient steps; either this or epochs
	Epochs       int     `json:"epochs,omitempty"` // passes over the rows; either this or steps
	Batch        int     `json:"batch,omitempty"`  // rows a step; 0 means all
	Seed         uint64  `json:"seed,omitempty"`   // public: the order of the rows in each epoch
}

// Count is the number of gradient steps on so many rows.
func (c Local) Count(rows int) (int, error) {
	if rows < 1 || c.Batch < 0 || c.Steps < 0 || c.Epochs < 0 || (c.Steps == 0) == (c.Epochs == 0) {
		return 0, fmt.Errorf("%w: %d steps and %d epochs in batches of %d over %d rows: set either steps or epochs", ErrModel, c.Steps, c.Epochs, c.Batch, rows)
	}
	per := 1
	if c.Batch > 0 && c.Batch < rows {
		per = (rows + c.Batch - 1) / c.Batch
	}
	if c.Steps > MaxSteps || c.Epochs > MaxSteps/per {
		return 0, fmt.Errorf("%w: %d steps, %d epochs of %d steps: want at most %d steps", ErrModel, c.Steps, c.Epochs, per, MaxSteps)
	}
	return max(c.Steps, c.Epochs*per), nil
}

// LocalSteps lays out a job's steps on so many rows.
func (m Model) LocalSteps(c Local, rows int) ([]Step, error) {
	count, err := c.Count(rows)
	if err != nil {
		return nil, err
	}
	return m.Steps(c.LearningRate, rows, c.Batch, count, c.Seed)
}

// Steps lays out a local training: steps gradient steps with batches of the
// given size (0 or at least rows: all rows), drawn as package models draws
// them. Each epoch visits every row once, in an order that follows from the
// public seed, and ends in a smaller batch when the size does not divide the
// rows.
func (m Model) Steps(learningRate float64, rows, batch, steps int, seed uint64) ([]Step, error) {
	if rows < 1 || rows > MaxRows || batch < 0 || steps < 1 || steps > MaxSteps {
		return nil, fmt.Errorf("%w: %d steps of %d out of %d rows: want 1 to %d steps and 1 to %d rows", ErrModel, steps, batch, rows, MaxSteps, MaxRows)
	}
	out := make([]Step, steps)
	if batch == 0 || batch >= rows {
		rate, err := m.Rate(learningRate, rows)
		for i := range out {
			out[i].Rate = rate
		}
		return out, err
	}
	order := make([]int, rows)
	for i := range order {
		order[i] = i
	}
	source := shuffleSource(seed)
	perEpoch := (rows + batch - 1) / batch
	for i := range out {
		if i%perEpoch == 0 {
			shuffle(source, order)
		}
		from := i % perEpoch * batch
		picked := slices.Clone(order[from:min(from+batch, rows)])
		slices.Sort(picked)
		rate, err := m.Rate(learningRate, len(picked))
		if err != nil {
			return nil, err
		}
		out[i] = Step{Rate: rate, Batch: picked}
	}
	return out, nil
}

// shuffleSource and shuffle repeat the order of package models (ChaCha8, C2SP
// chacha8rand; Lemire 2019; Fisher and Yates). A test there holds them equal.
func shuffleSource(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	copy(key[8:], "credence/shuffle/v1")
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

func shuffle(source *rand.ChaCha8, order []int) {
	for i := len(order) - 1; i > 0; i-- {
		n := uint64(i) + 1
		high, low := bits.Mul64(source.Uint64(), n)
		if low < n {
			for threshold := -n % n; low < threshold; {
				high, low = bits.Mul64(source.Uint64(), n)
			}
		}
		order[i], order[high] = order[high], order[i]
	}
}
