//go:build deps

package credence_deps

import (
	_ "github.com/consensys/gnark-crypto/ecc/bn254/kzg"
	_ "github.com/consensys/gnark/backend/groth16"
	_ "github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	_ "github.com/consensys/gnark/frontend"
	_ "github.com/consensys/gnark/std/hash/poseidon2"
	_ "github.com/consensys/gnark/std/rangecheck"
	_ "github.com/consensys/gnark/test"
	_ "golang.org/x/mod/sumdb/note"
	_ "golang.org/x/mod/sumdb/tlog"
)
