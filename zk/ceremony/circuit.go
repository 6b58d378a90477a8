package ceremony

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	update "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"

	"credence/fl"
	"credence/he"
	"credence/zk"
	"credence/zk/circuit/rlwe"
)

// shapesOf lists the circuits of a suite, in the order of the ceremony. It is
// a variable so that tests can take smaller ones.
var shapesOf = suiteShapes

func suiteShapes(suite string) ([]*rlwe.Shape, error) {
	s, err := he.LookupSuite(suite)
	if err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	up, err := rlwe.UpdateShape(s)
	if err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	share, err := rlwe.KeyShareShape(s)
	if err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	return []*rlwe.Shape{up, share}, nil
}

// compile builds the constraint system of a circuit and describes it.
func compile(shape *rlwe.Shape) (*rlwe.System, Circuit, error) {
	system, err := rlwe.Compile(shape)
	if err != nil {
		return nil, Circuit{}, fmt.Errorf("ceremony: %w", err)
	}
	digest, err := system.Digest()
	if err != nil {
		return nil, Circuit{}, fmt.Errorf("ceremony: %w", err)
	}
	return system, Circuit{Shape: shape.Name, Digest: digest, Domain: ecc.NextPowerOfTwo(uint64(system.Constraints()))}, nil
}

// compileAs builds circuit i of a ceremony and insists that it is the one that
// the ceremony is for.
func compileAs(s *Start, i int) (*rlwe.System, error) {
	shapes, err := shapesOf(s.Suite)
	if err != nil {
		return nil, err
	}
	if len(shapes) != len(s.Circuits) || shapes[i].Name != s.Circuits[i].Shape {
		return nil, refuse("the ceremony is for other circuits of %s than this build has", s.Suite)
	}
	system, c, err := compile(shapes[i])
	if err != nil {
		return nil, err
	}
	if c != s.Circuits[i] {
		return nil, refuse("the ceremony is for circuit %s of %s, this build's is %s: use the build that the ceremony was started with", s.Circuits[i].Digest.Short(), c.Shape, c.Digest.Short())
	}
	return system, nil
}

// evaluate makes the state that phase circuits begins with. The challenge
// binds the first contribution to the ceremony and the circuit.
func evaluate(system *rlwe.System, c Circuit, ceremony fl.Digest, sealed *mpcsetup.SrsCommons) (p *mpcsetup.Phase2, evals mpcsetup.Phase2Evaluations) {
	p = new(mpcsetup.Phase2)
	evals = p.Initialize(system.R1CS, first(sealed, c.Domain))
	challenge := fl.DigestOf("ceremony/circuit/v1", ceremony[:], c.Digest[:])
	p.Challenge = challenge[:]
	return p, evals
}

func encodeCircuit(p *mpcsetup.Phase2) ([]byte, error) {
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("ceremony: encoding a circuit's state: %w", err)
	}
	return b.Bytes(), nil
}

// parseCircuit decodes a state of a circuit's chain. The lengths are checked
// before gnark's decoder sees them.
func parseCircuit(system *rlwe.System, domain uint64, b []byte) (*mpcsetup.Phase2, error) {
	internal, secret, _ := system.R1CS.GetNbVariables()
	committed := system.CommittedValues()
	private, z := internal+secret-committed-1, int(domain)-1
	slice := func(n int) int { return 4 + n*g1Bytes }
	atPrivate := 2 + g1Bytes
	atZ := atPrivate + slice(private)
	atCommitted := atZ + slice(z) + g2Bytes
	want := atCommitted + slice(committed) + g2Bytes + 2*proofBytes + trailer
	if len(b) != want {
		return nil, fmt.Errorf("%w: it has %d bytes: want %d", ErrDamaged, len(b), want)
	}
	for _, l := range []struct{ at, want int }{{atPrivate, private}, {atZ, z}, {atCommitted, committed}} {
		if int(binary.BigEndian.Uint32(b[l.at:])) != l.want {
			return nil, fmt.Errorf("%w: it is for another circuit", ErrUnsound)
		}
	}
	if binary.BigEndian.Uint16(b) != 1 || b[len(b)-trailer] != sha256.Size {
		return nil, fmt.Errorf("%w: it is for another circuit", ErrUnsound)
	}
	p := new(mpcsetup.Phase2)
	if _, err := p.ReadFrom(bytes.NewReader(b)); err != nil {
		return nil, fmt.Errorf("%w: a point is invalid", ErrUnsound)
	}
	again, err := encodeCircuit(p)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: it is not in its one encoding", ErrUnsound)
	}
	return p, nil
}

// verifyCircuit checks that next follows from p, encoded under digest.
func verifyCircuit(p, next *mpcsetup.Phase2, digest fl.Digest) error {
	if !bytes.Equal(next.Challenge, digest[:]) {
		return fmt.Errorf("%w: its proofs are for another predecessor", ErrUnsound)
	}
	if err := p.Verify(next); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsound, err)
	}
	return nil
}

// contributeCircuit multiplies fresh secrets into p, which is encoded under
// digest, and forgets them. It does what mpcsetup.Phase2.Contribute does, and
// says how far it is.
func contributeCircuit(ctx context.Context, p *mpcsetup.Phase2, digest fl.Digest, report func(done, total int)) error {
	var delta, sigma fr.Element
	var x big.Int
	defer func() { delta.SetZero(); sigma.SetZero(); clear(x.Bits()) }()
	p.Challenge = bytes.Clone(digest[:])
	// Zero asks for a random number from crypto/rand.
	p.Delta = update.UpdateValues(&delta, p.Challenge, mpcsetup.DST_DELTA)
	p.Sigmas[0] = update.UpdateValues(&sigma, p.Challenge, mpcsetup.DST_SIGMA)

	v := &p.Parameters
	total := len(v.G1.Z) + len(v.G1.PKK) + len(v.G1.SigmaCKK[0])
	before := 0
	scale := func(s []curve.G1Affine) error {
		err := inChunks(ctx, len(s), func(done, _ int) { report(before+done, total) }, func(lo, hi int) error {
			for i := lo; i < hi; i++ {
				s[i].ScalarMultiplication(&s[i], &x)
			}
			return nil
		})
		before += len(s)
		return err
	}
	sigma.BigInt(&x)
	v.G2.Sigma[0].ScalarMultiplication(&v.G2.Sigma[0], &x)
	if err := scale(v.G1.SigmaCKK[0]); err != nil {
		return err
	}
	delta.BigInt(&x)
	v.G1.Delta.ScalarMultiplication(&v.G1.Delta, &x)
	v.G2.Delta.ScalarMultiplication(&v.G2.Delta, &x)
	delta.Inverse(&delta)
	delta.BigInt(&x)
	if err := scale(v.G1.Z); err != nil {
		return err
	}
	return scale(v.G1.PKK)
}

// sealCircuit makes the keys. p must not be used afterwards.
func sealCircuit(system *rlwe.System, c Circuit, p *mpcsetup.Phase2, evals *mpcsetup.Phase2Evaluations, sealed *mpcsetup.SrsCommons, beacon []byte) (*zk.Keys, error) {
	pk, vk := p.Seal(first(sealed, c.Domain), evals, beacon)
	proving, ok1 := pk.(*groth16.ProvingKey)
	verifying, ok2 := vk.(*groth16.VerifyingKey)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("ceremony: sealing %s gave a %T and a %T, want keys for BN254", c.Shape, pk, vk)
	}
	srs, err := zk.NewSRS(sealed.G1.Tau[:system.Shape.N], sealed.G2.Tau[1])
	if err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	keys, err := zk.NewKeys(system, proving, verifying, srs, zk.OriginCeremony)
	if err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	return keys, nil
}
