package zk

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"

	"credence/fl"
	"credence/zk/circuit/rlwe"
)

func TestStoreKeepsKeys(t *testing.T) {
	store, err := OpenStore(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	shape := updateKeys(t, tiny1).Shape()
	if _, err := store.Load(shape, fl.Digest{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an empty store: %v", err)
	}
	var stages []string
	progress := func(stage string, _, _ int) { stages = append(stages, stage) }
	made, err := store.LoadOrSetup(shape, progress)
	if err != nil {
		t.Fatal(err)
	}
	if m := made.Manifest(); m.Origin != OriginLocal || !slices.ContainsFunc(stages, func(s string) bool { return strings.Contains(s, "proving") }) {
		t.Errorf("origin %q, stages %q", m.Origin, stages)
	}
	again, err := store.LoadOrSetup(shape, nil)
	if err != nil || again.Manifest() != made.Manifest() {
		t.Fatalf("the second start made other keys: %v", err)
	}
	m := made.Manifest()
	if _, err := store.Load(shape, m.Digest(), nil); err != nil {
		t.Errorf("pinned: %v", err)
	}
	if _, err := store.Load(shape, fl.Digest{9}, nil); !errors.Is(err, ErrKeys) {
		t.Errorf("another pin: %v", err)
	}
	if v, err := store.LoadVerifier(shape, m.Digest(), nil); err != nil || v.CanProve() || v.Manifest() != m {
		t.Errorf("the verifying half: %v", err)
	}
	// The loaded keys work with the made ones.
	p := newParty(t, tiny1)
	key, err := again.NewEpochKey(p.pk)
	if err != nil {
		t.Fatal(err)
	}
	q := &party{keys: again, pk: p.pk, key: key}
	scope := q.scope("alice", 1<<30, 0)
	att := q.prove(t, scope, q.encrypt(t, 1))
	if err := made.VerifyUpdate(scope, key, att); err != nil {
		t.Error(err)
	}
}

// One changed byte anywhere in the store is noticed and the file named.
func TestDamagedKeysAreRefused(t *testing.T) {
	k := updateKeys(t, tiny1)
	m := k.Manifest()
	files := map[string]string{
		"proving key": m.Proving.String(), "verifying key": m.Verifying.String(), "SRS": m.SRS.String(),
		"manifest": manifestName(m.Shape),
	}
	for what, name := range files {
		dir := t.TempDir()
		store, err := OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Save(k); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range [][]byte{b[:len(b)/2], append(slices.Clone(b), '{'), flip(b, len(b)/2), {}} {
			if err := os.WriteFile(path, change, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := store.LoadOrSetup(k.Shape(), nil); !errors.Is(err, ErrKeys) {
				t.Errorf("%s changed: %v", what, err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Load(k.Shape(), fl.Digest{}, nil); err == nil {
			t.Errorf("%s removed, and loaded", what)
		}
	}
}

func flip(b []byte, i int) []byte {
	out := slices.Clone(b)
	out[i] ^= 1
	return out
}

func TestKeysOfAnotherCircuitAreRefused(t *testing.T) {
	a, b := updateKeys(t, tiny1), updateKeys(t, tiny4)
	other, err := Setup(a.Shape(), a.srs, nil)
	if err != nil {
		t.Fatal(err)
	}
	share := shareKeys(t, tiny1)
	for name, try := range map[string]func() (*Keys, error){
		"another circuit's proving key":   func() (*Keys, error) { return NewKeys(a.system, b.proving, a.verifying, a.srs, OriginLocal) },
		"another circuit's verifying key": func() (*Keys, error) { return NewKeys(a.system, nil, share.verifying, a.srs, OriginLocal) },
		"two set-ups mixed":               func() (*Keys, error) { return NewKeys(a.system, a.proving, other.verifying, a.srs, OriginLocal) },
		"no origin":                       func() (*Keys, error) { return NewKeys(a.system, a.proving, a.verifying, a.srs, "") },
	} {
		if _, err := try(); !errors.Is(err, ErrKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}
	verifier, err := NewKeys(a.system, nil, a.verifying, a.srs, OriginLocal)
	if err != nil || verifier.CanProve() || !verifier.Manifest().Proving.IsZero() {
		t.Errorf("verifying half alone: %v", err)
	}
}

func TestSRSIsChecked(t *testing.T) {
	s, err := NewLocalSRS(16)
	if err != nil {
		t.Fatal(err)
	}
	b := s.Bytes()
	back, err := ParseSRS(b)
	if err != nil || !bytes.Equal(back.Bytes(), b) {
		t.Fatalf("round trip: %v", err)
	}
	swapped := slices.Clone(s.g1)
	swapped[5], swapped[6] = swapped[6], swapped[5]
	_, _, _, g2 := bn254.Generators()
	for name, try := range map[string]func() error{
		"swapped powers": func() error { _, err := NewSRS(swapped, s.t2); return err },
		"another tau":    func() error { _, err := NewSRS(s.g1, g2); return err },
		"no generator":   func() error { _, err := NewSRS(s.g1[1:], s.t2); return err },
		"too short":      func() error { _, err := NewSRS(s.g1[:7], s.t2); return err },
		"tau zero":       func() error { _, err := NewSRS(s.g1, bn254.G2Affine{}); return err },
		"truncated":      func() error { _, err := ParseSRS(b[:len(b)-1]); return err },
		"trailing":       func() error { _, err := ParseSRS(append(slices.Clone(b), 0)); return err },
		"damaged":        func() error { _, err := ParseSRS(flip(b, len(b)-3)); return err },
	} {
		if err := try(); !errors.Is(err, ErrKeys) && !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The output of gnark's multi-party ceremony fits: one phase 1 gives the SRS
// and, with a phase 2, the keys.
func TestCeremonyOutputFits(t *testing.T) {
	s := suite(t, tiny4)
	shape, err := rlwe.KeyShareShape(s)
	if err != nil {
		t.Fatal(err)
	}
	system, err := rlwe.Compile(shape)
	if err != nil {
		t.Fatal(err)
	}
	one := mpcsetup.NewPhase1(512)
	one.Contribute()
	commons := one.Seal([]byte("beacon one"))
	var two mpcsetup.Phase2
	evaluations := two.Initialize(system.R1CS, &commons)
	two.Contribute()
	pk, vk := two.Seal(&commons, &evaluations, []byte("beacon two"))

	srs, err := NewSRS(commons.G1.Tau, commons.G2.Tau[1])
	if err != nil {
		t.Fatal(err)
	}
	proving, ok := pk.(*groth16.ProvingKey)
	if !ok {
		t.Fatalf("the ceremony made a %T", pk)
	}
	verifying, ok := vk.(*groth16.VerifyingKey)
	if !ok {
		t.Fatalf("the ceremony made a %T", vk)
	}
	k, err := NewKeys(system, proving, verifying, srs, OriginCeremony)
	if err != nil {
		t.Fatal(err)
	}
	common, err := k.NewCommonKey(s, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	scope := &MemberScope{Genesis: fl.Digest{1}, Epoch: 1, Member: "a", CRS: common.Digest()}
	secret, noise := s.TernaryPoly(), s.ErrorPoly()
	att, err := k.ProveKeyShare(scope, common, secret, noise)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.VerifyKeyShare(scope, common, common.a.Clone().Mul(secret).Neg().Add(noise), att); err != nil {
		t.Error(err)
	}
}
