package training

import (
	"errors"
	"fmt"

	"github.com/consensys/gnark/frontend"

	"credence/fl"
	"credence/zk/circuit/committed"
	"credence/zk/circuit/lookup"
	"credence/zk/circuit/table"
	"credence/zk/fixedpoint"
)

// A Constraint names one group of constraints, so that tests can compile the
// circuit without it and show that something then slips through.
type Constraint string

// The groups of constraints, and the groups of values that must be committed
// before the challenge.
const (
	CheckRange       Constraint = "range"          // every limb is a byte
	CheckTable       Constraint = "table"          // the cells are the committed table's
	CheckCount       Constraint = "row count"      // the public number of rows is the table's
	CheckBase        Constraint = "base"           // the base is the public global model
	CheckStart       Constraint = "start"          // committed starting weights
	CheckEnd         Constraint = "end"            // committed final weights
	CheckBatches     Constraint = "batches"        // the masks are the public ones
	CheckHidden      Constraint = "hidden scores"  // first product
	CheckRectifier   Constraint = "rectifier"      // on is a bit
	CheckScores      Constraint = "scores"         // last product
	CheckCurve       Constraint = "curve"          // (place, value) is of the table
	CheckAbove       Constraint = "saturation"     // beyond the table's end the value is the end's
	CheckBelow       Constraint = "saturation low" // the same at the sigmoid's lower end
	CheckTop         Constraint = "row maximum"    // one class has distance zero
	CheckReciprocal  Constraint = "reciprocal"     // of the sum of exps
	CheckDivision    Constraint = "division"       // its remainder is below the divisor
	CheckBack        Constraint = "back"           // error times weights
	CheckUpdate      Constraint = "update"         // the last layer's step
	CheckUpdateFirst Constraint = "update first"   // the first layer's step, mlp
	CheckShrink      Constraint = "norm bound"     // the scaled update is within the norm
	CheckShrinkLeast Constraint = "norm factor"    // and the factor is the largest
	CheckQuantise    Constraint = "quantise"       // rounding with the public noise
	CheckClip        Constraint = "clip"           // upper end of the clipping
	CheckMessage     Constraint = "message"        // the values are the encrypted digits

	CommitIdentity Constraint = "commit statement"
	CommitTable    Constraint = "commit table"
	CommitWeights  Constraint = "commit weights"
	CommitTrace    Constraint = "commit trace"
	CommitDigits   Constraint = "commit digits"
	CommitMasks    Constraint = "commit masks"
	CommitCounts   Constraint = "commit counts"
)

// Circuit is the relation as gnark sees it. The order of its fields is the
// order of the witness vector (Assignment). Small secrets are stored as
// non-negative integers, which keeps the prover's multi-exponentiations short;
// a value of several limbs has its lowest first.
type Circuit struct {
	Public
	Secret
	shape *Shape
}

// Public are the public inputs but the challenge r.
type Public struct {
	Statement [2]frontend.Variable `gnark:",public"` // digest halves, the only ones under the commitment
	// Fold is the second challenge, drawn by the verifier after r (Fold).
	Fold  frontend.Variable   `gnark:",public"`
	Rows  frontend.Variable   `gnark:",public"` // n
	Rates []frontend.Variable `gnark:",public"` // a step each
	// Quantiser: factor, limit and, with a norm, the largest sum of squares.
	Quantiser []frontend.Variable `gnark:",public"`
	// Values at r of committed or public polynomials.
	Table    frontend.Variable   `gnark:",public"`
	Base     []frontend.Variable `gnark:",public"` // 1 but in inner parts
	Start    []frontend.Variable `gnark:",public"` // 1 but in whole parts
	End      []frontend.Variable `gnark:",public"` // 1 in inner parts
	Batches  []frontend.Variable `gnark:",public"` // 1 with batches
	Noise    []frontend.Variable `gnark:",public"` // 1 but in inner parts
	Messages []frontend.Variable `gnark:",public"` // a shard each but in inner parts
}

// Secret are the witness's values. R is the table's rows, P the parameters, T
// the steps, C the outputs, H the hidden units.
type Secret struct {
	Valid, Features, Targets, Marks, Blind []frontend.Variable // the table; numbers shifted by half their range
	Base, Start                            []frontend.Variable // P each, shifted
	StartMask, EndMask                     []frontend.Variable
	Weights                                []frontend.Variable // T*P*3 limbs, shifted: after each step
	UpdateRest                             []frontend.Variable // T * a layer's parameters * its limbs
	Batch                                  []frontend.Variable // T*R bits

	HiddenRest, HiddenSlack []frontend.Variable // T*R*H*2 limbs
	HiddenOn, HiddenBack    []frontend.Variable // T*R*H; Back shifted
	Score                   []frontend.Variable // T*R*C, shifted; linear only
	ScoreRest               []frontend.Variable // T*R*C*2 limbs
	Place, Value            []frontend.Variable // T*R*C
	Above, Below            []frontend.Variable // T*R*C*2 limbs; Below with a sigmoid only
	Top                     []frontend.Variable // T*R*3 limbs, shifted
	Reciprocal              []frontend.Variable // T*R*2 limbs
	Division, DivisionGap   []frontend.Variable // T*R*3 limbs

	QuantiseRest        []frontend.Variable // P*3 limbs, 5 with a norm
	LowOn, HighOn       []frontend.Variable // P bits
	LowSlack, HighSlack []frontend.Variable // P*3 limbs
	Shrink              []frontend.Variable // 2 limbs of 2^16 - factor, 12 of the room below the norm, 12 above the next
	ShrinkOn            []frontend.Variable // 1 bit
	Figures             []frontend.Variable // 27*2 limbs a shard, shifted
	MessageMask         []frontend.Variable // 3 a shard

	CountLimbs, CountCurve []frontend.Variable
}

// Shifts that make signed values non-negative.
const (
	weightShift = 1 << (fixedpoint.WeightBits - 1)
	topShift    = 1 << (fixedpoint.TopBits - 1)
	figureShift = 1 << (figureBits - 1)
	scoreShift  = 1 << 58 // of exact scores and of errors times weights
	backShift   = 1 << 62
)

// Limbs of the values that are looked up, limbBits each.
const (
	limbBits    = 8
	limbTable   = 1 << limbBits
	weightLimbs = fixedpoint.WeightBits / limbBits
	scoreLimbs  = fixedpoint.ScoreShift / limbBits
	slackLimbs  = fixedpoint.HiddenBits / limbBits
	excessLimbs = fixedpoint.ExcessBits / limbBits
	topLimbs    = fixedpoint.TopBits / limbBits
	recipLimbs  = fixedpoint.ReciprocalBits / limbBits
	divideLimbs = 3
	clipLimbs   = fixedpoint.ClipBits / limbBits
	noiseLimbs  = fixedpoint.NoiseBits / limbBits
	shrinkLimbs = fixedpoint.ShrinkBits / limbBits
	normLimbs   = 12
	figureLimbs = figureBits / limbBits
)

// slices and evaluations list the public inputs' slices, in their order.
func (p *Public) slices() []*[]frontend.Variable {
	return []*[]frontend.Variable{&p.Rates, &p.Quantiser}
}

func (p *Public) evaluations() []*[]frontend.Variable {
	return []*[]frontend.Variable{&p.Base, &p.Start, &p.End, &p.Batches, &p.Noise, &p.Messages}
}

func (s *Shape) publicSizes() (settings, evaluations []int) {
	quantiser := 2
	if s.Norm {
		quantiser = 3
	}
	one := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	q := one(s.quantises())
	return []int{s.Steps, q * quantiser},
		[]int{q, one(s.ownStart()), 1 - q, one(s.Batches), q, q * len(s.Shards)}
}

// groups lists the secret slices in the order of the witness.
func (c *Secret) groups() []*[]frontend.Variable {
	return []*[]frontend.Variable{
		&c.Valid, &c.Features, &c.Targets, &c.Marks, &c.Blind, &c.Base, &c.Start, &c.StartMask, &c.EndMask,
		&c.Weights, &c.UpdateRest, &c.Batch,
		&c.HiddenRest, &c.HiddenSlack, &c.HiddenOn, &c.HiddenBack, &c.Score, &c.ScoreRest, &c.Place, &c.Value, &c.Above, &c.Below,
		&c.Top, &c.Reciprocal, &c.Division, &c.DivisionGap,
		&c.QuantiseRest, &c.LowOn, &c.HighOn, &c.LowSlack, &c.HighSlack, &c.Shrink, &c.ShrinkOn, &c.Figures, &c.MessageMask,
		&c.CountLimbs, &c.CountCurve,
	}
}

// sizes are the lengths of groups.
func (s *Shape) sizes() []int {
	l, m := s.Layout, s.Model
	rows, params := l.Rows, m.Parameters()
	when := func(yes bool, n int) int {
		if yes {
			return n
		}
		return 0
	}
	linear, sigmoid := m.Kind == fixedpoint.Linear, m.Kind == fixedpoint.Logistic
	exps := !linear && !sigmoid
	hidden, out := s.Steps*rows*m.Hidden, s.Steps*rows*m.Outputs
	rest := 0
	for _, layer := range m.Layers() {
		rest += s.Steps * layer.Size() * layer.Shift / limbBits
	}
	q := s.quantises()
	return []int{
		rows, rows * l.Features, rows * l.Targets, rows * l.Marks(), table.Blinds,
		when(q, params), when(s.ownStart(), params), when(s.ownStart(), WeightMasks), when(!q, WeightMasks),
		s.Steps * params * weightLimbs, rest, when(s.Batches, s.Steps*rows),
		hidden * scoreLimbs, hidden * slackLimbs, hidden, hidden,
		when(linear, out), when(!linear, out*scoreLimbs), when(!linear, out), when(!linear, out),
		when(!linear, out*excessLimbs), when(sigmoid, out*excessLimbs),
		when(exps, s.Steps*rows*topLimbs), when(exps, s.Steps*rows*recipLimbs),
		when(exps, s.Steps*rows*divideLimbs), when(exps, s.Steps*rows*divideLimbs),
		when(q, params*s.quantiseLimbs()), when(q, params), when(q, params), when(q, params*clipLimbs), when(q, params*clipLimbs),
		when(s.Norm, shrinkLimbs+2*normLimbs), when(s.Norm, 1),
		when(q, len(s.Shards)*fl.MetricSlots*figureLimbs), when(q, len(s.Shards)*MessageMasks),
		limbTable, len(s.curve()),
	}
}

func (s *Shape) quantiseLimbs() int {
	if s.Norm {
		return noiseLimbs + shrinkLimbs
	}
	return noiseLimbs
}

// curve is the table of the model's activation; none for linear regression.
func (s *Shape) curve() []uint32 {
	switch s.Model.Kind {
	case fixedpoint.Linear:
		return nil
	case fixedpoint.Logistic:
		return fixedpoint.SigmoidTable()
	}
	return fixedpoint.ExpTable()
}

// NewCircuit returns a circuit of the given shape to compile.
func NewCircuit(s *Shape) *Circuit {
	c := &Circuit{shape: s}
	settings, evaluations := s.publicSizes()
	for i, view := range c.slices() {
		*view = make([]frontend.Variable, settings[i])
	}
	for i, view := range c.evaluations() {
		*view = make([]frontend.Variable, evaluations[i])
	}
	sizes := s.sizes()
	for i, view := range c.groups() {
		*view = make([]frontend.Variable, sizes[i])
	}
	return c
}

// Compile builds the constraint system of a shape.
func Compile(s *Shape) (*committed.System, error) {
	return committed.Compile(s.Name(), NewCircuit(s))
}

// Define states the relation of SPEC.md.
func (c *Circuit) Define(api frontend.API) error {
	s := c.shape
	if s == nil {
		return errors.New("training: circuit without a shape: use NewCircuit")
	}
	r, err := c.challenge(api)
	if err != nil {
		return err
	}
	// Columns of their own for the statement's inputs.
	api.Mul(c.Statement[0], c.Statement[1])
	if err := c.lookups(api, r); err != nil {
		return err
	}
	b := &builder{api: api, c: c, s: s, r: r, fold: c.Fold, zeros: map[Constraint][]frontend.Variable{}}
	if err := b.table(); err != nil {
		return err
	}
	b.weights()
	b.batches()
	for t := range s.Steps {
		b.step(t)
	}
	b.settle()
	if s.quantises() {
		b.quantise()
		b.messages()
	} else {
		masked := append(append([]frontend.Variable{}, b.now...), c.EndMask...)
		b.equal(CheckEnd, b.horner(r, masked), c.End[0])
	}
	return nil
}

// challenge commits to everything the prover chooses, and to the statement.
func (c *Circuit) challenge(api frontend.API) (frontend.Variable, error) {
	committer, ok := api.(frontend.Committer)
	if !ok {
		return nil, errors.New("training: this proof system has no commitments: compile with the R1CS builder")
	}
	var all []frontend.Variable
	for _, g := range []struct {
		name   Constraint
		values [][]frontend.Variable
	}{
		{CommitIdentity, [][]frontend.Variable{c.Statement[:]}},
		{CommitTable, [][]frontend.Variable{c.Valid, c.Secret.Features, c.Targets, c.Marks}},
		{CommitWeights, [][]frontend.Variable{c.Secret.Base, c.Secret.Start, c.Weights}},
		{CommitTrace, [][]frontend.Variable{
			c.UpdateRest, c.Batch, c.HiddenRest, c.HiddenSlack, c.HiddenOn, c.HiddenBack, c.Score, c.ScoreRest, c.Place, c.Value,
			c.Above, c.Below, c.Top, c.Reciprocal, c.Division, c.DivisionGap,
		}},
		{CommitDigits, [][]frontend.Variable{c.QuantiseRest, c.LowOn, c.HighOn, c.LowSlack, c.HighSlack, c.Shrink, c.ShrinkOn, c.Figures}},
		{CommitMasks, [][]frontend.Variable{c.Blind, c.StartMask, c.EndMask, c.MessageMask}},
		{CommitCounts, [][]frontend.Variable{c.CountLimbs, c.CountCurve}},
	} {
		for _, v := range g.values {
			if !c.shape.skip[g.name] {
				all = append(all, v...)
			}
		}
	}
	r, err := committer.Commit(all...)
	if err != nil {
		return nil, fmt.Errorf("training: committing to the witness: %w", err)
	}
	return r, nil
}

// limbs lists all values that are looked up among the bytes.
func (c *Secret) limbs() [][]frontend.Variable {
	return [][]frontend.Variable{
		c.Weights, c.UpdateRest, c.HiddenRest, c.HiddenSlack, c.ScoreRest, c.Above, c.Below, c.Top, c.Reciprocal,
		c.Division, c.DivisionGap, c.QuantiseRest, c.LowSlack, c.HighSlack, c.Shrink, c.Figures,
	}
}

func (c *Circuit) lookups(api frontend.API, r frontend.Variable) error {
	if !c.shape.skip[CheckRange] {
		var limbs []frontend.Variable
		for _, v := range c.limbs() {
			limbs = append(limbs, v...)
		}
		if err := lookup.AssertBelow(api, r, limbs, c.CountLimbs); err != nil {
			return fmt.Errorf("training: the lookup of limbs: %w", err)
		}
	}
	if curve := c.shape.curve(); curve != nil && !c.shape.skip[CheckCurve] {
		if err := lookup.AssertPairs(api, r, c.Fold, c.Place, c.Value, curve, c.CountCurve); err != nil {
			return fmt.Errorf("training: the lookup of the curve: %w", err)
		}
	}
	return nil
}
