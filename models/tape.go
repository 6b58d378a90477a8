package models

import (
	"fmt"

	"gorgonia.org/gorgonia"
)

// step is one operation of a tape with the buffers that it works on.
type step struct {
	run func(rows int, out []float32, in [][]float32)
	out []float32
	in  [][]float32
}

// record turns the graph behind roots into the steps that compute it, in an
// order in which every step finds its inputs, and returns the buffer of each
// root. A buffer serves several nodes where no value is needed twice at a time;
// those of roots and of the graph's inputs have one use only.
//
// Every node must be an input, a constant or an operation of this package.
// Running those directly, and not on gorgonia's tape machine, spares each run a
// goroutine on another thread and the allocation of every intermediate value;
// TestTapeComputesWhatGorgoniaDoes compares the two.
func record(roots gorgonia.Nodes) ([]step, [][]float32, error) {
	values := map[*gorgonia.Node][]float32{}
	uses := map[*gorgonia.Node]int{} // that are still to come
	var order gorgonia.Nodes
	var visit func(n *gorgonia.Node) error
	visit = func(n *gorgonia.Node) error {
		uses[n]++
		if uses[n] > 1 {
			return nil
		}
		if v := n.Value(); v != nil {
			buffer, err := floats(v, n.Shape().TotalSize())
			values[n] = buffer
			uses[n]++ // never free
			return err
		}
		k, ok := n.Op().(*kernel)
		if !ok {
			return fmt.Errorf("node %s is no operation of ours", n.Name())
		}
		for _, arg := range k.args {
			if err := visit(arg); err != nil {
				return err
			}
		}
		order = append(order, n)
		return nil
	}
	for _, n := range roots {
		if err := visit(n); err != nil {
			return nil, nil, err
		}
	}

	steps := make([]step, 0, len(order))
	var free [][]float32
	for _, n := range order {
		k := n.Op().(*kernel)
		s := step{run: k.run}
		s.out, free = takeBuffer(free, max(k.out.TotalSize(), 1))
		values[n] = s.out
		for _, arg := range k.args {
			s.in = append(s.in, values[arg])
		}
		for _, arg := range k.args {
			if uses[arg]--; uses[arg] == 0 {
				free = append(free, values[arg])
			}
		}
		steps = append(steps, s)
	}
	out := make([][]float32, len(roots))
	for i, n := range roots {
		out[i] = values[n]
	}
	return steps, out, nil
}

// takeBuffer returns a buffer of size values, the smallest free one that has
// room or a new one, and the free ones that are left.
func takeBuffer(free [][]float32, size int) ([]float32, [][]float32) {
	best := -1
	for i, b := range free {
		if cap(b) >= size && (best < 0 || cap(b) < cap(free[best])) {
			best = i
		}
	}
	if best < 0 {
		return make([]float32, size), free
	}
	buffer := free[best][:size]
	return buffer, append(free[:best], free[best+1:]...)
}
