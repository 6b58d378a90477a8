//go:build openblas

package models

// #cgo LDFLAGS: -lopenblas
// void openblas_set_num_threads(int);
import "C"

import (
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/netlib/blas/netlib"
)

const openBLAS = true // see blas_gonum.go

// With the build tag openblas the matrix products are OpenBLAS's and not gonum's.
// One thread: federations and simulations train on every core already, and with
// more the order of a sum, and so its rounding, could depend on their number.
// OpenBLAS chooses its code by the processor, so equal bits need equal
// processors, or the same OPENBLAS_CORETYPE in the environment.
func init() {
	C.openblas_set_num_threads(1)
	blas32.Use(netlib.Implementation{})
}
