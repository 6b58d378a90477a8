//go:build !openblas

package models

// openBLAS says whose matrix products the models use: without the build tag
// openblas those of gonum, which need neither a C compiler nor a library.
const openBLAS = false
