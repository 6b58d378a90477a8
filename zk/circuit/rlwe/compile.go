package rlwe

import (
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/zk/circuit/committed"
)

// A System is a compiled shape. It is immutable and safe for concurrent use.
type System struct {
	*committed.System
	Shape *Shape
}

// Compile builds the constraint system of a shape. It is deterministic: every
// party that compiles the same shape gets the same Digest.
func Compile(s *Shape) (*System, error) {
	sys, err := committed.Compile(s.Name, NewCircuit(s))
	if err != nil {
		return nil, err
	}
	return &System{System: sys, Shape: s}, nil
}

// Committed returns the values under the commitment, in the order of the
// Pedersen basis, with the given mask last.
func (s *System) Committed(a *Assignment, mask fr.Element) []fr.Element {
	return s.System.Committed(a.Vector, mask)
}
