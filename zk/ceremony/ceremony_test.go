package ceremony

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	"github.com/google/go-cmp/cmp"

	"credence/fl"
	"credence/he"
	"credence/zk"
)

// Both real circuits get keys that work from the powers of the larger one.
// (Their whole ceremony takes too long for a test that runs every time;
// TestScripts of cmd/credence runs it.)
func TestRealCircuitsShareThePowers(t *testing.T) {
	shapes, err := suiteShapes(tiny)
	if err != nil {
		t.Fatal(err)
	}
	var keys []*zk.Keys
	var sealed *mpcsetup.SrsCommons
	for _, shape := range shapes {
		system, c, err := compile(shape)
		if err != nil {
			t.Fatal(err)
		}
		if sealed == nil {
			if sealed, err = initialPowers(c.Domain, fl.Digest{1}).seal(t.Context(), fl.Digest{2}, beacon("first"), silent); err != nil {
				t.Fatal(err)
			}
		}
		p, evals := evaluate(system, c, fl.Digest{1}, sealed)
		if err := contributeCircuit(t.Context(), p, fl.Digest{3}, silent); err != nil {
			t.Fatal(err)
		}
		k, err := sealCircuit(system, c, p, &evals, sealed, beacon("second"))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	proveUpdate(t, keys[0])
	proveKeyShare(t, keys[1])
}

// Anybody makes the same keys again from the folder.
func TestVerifyMakesTheKeys(t *testing.T) {
	dir, ours := stage(t, "sealed"), t.TempDir()
	status, err := Verify(t.Context(), dir, VerifyOptions{Store: openStore(t, ours)})
	if err != nil {
		t.Fatal(err)
	}
	shapes, err := smallShapes(tiny)
	if err != nil {
		t.Fatal(err)
	}
	for i, shape := range shapes {
		k, err := openStore(t, ours).Load(shape, status.Keys[i].Manifest, nil)
		if err != nil {
			t.Fatal(err)
		}
		if k.Manifest().Origin != zk.OriginCeremony || !k.CanProve() {
			t.Fatalf("keys of %s: %+v", shape.Name, k.Manifest())
		}
	}
	if diff := cmp.Diff(contents(t, filepath.Join(made(), "keys")), contents(t, ours)); diff != "" {
		t.Fatalf("the keys differ:\n%s", diff)
	}
	if _, err := Verify(t.Context(), stage(t, "circuits"), VerifyOptions{Store: openStore(t, t.TempDir())}); !errors.Is(err, ErrRefused) {
		t.Fatalf("keys of a ceremony that is not sealed: %v", err)
	}
}

func proveUpdate(t *testing.T, k *zk.Keys) {
	t.Helper()
	suite, err := he.LookupSuite(tiny)
	if err != nil {
		t.Fatal(err)
	}
	seed := [he.SeedBytes]byte{1}
	pk := he.NewPublicKey(suite.CRS(seed).Mul(suite.TernaryPoly()).Neg().Add(suite.ErrorPoly()), seed)
	epoch, err := k.NewEpochKey(pk)
	if err != nil {
		t.Fatal(err)
	}
	values := make([]int32, suite.Values())
	values[3] = -7
	ct, random, err := pk.EncryptForProof(values)
	if err != nil {
		t.Fatal(err)
	}
	scope := &zk.Scope{Genesis: fl.Digest{1}, Job: "job", Round: 1, Plan: fl.Digest{2}, EpochKey: epoch.Digest(), Client: "alba", Shards: []int{0}, Bound: 49}
	att, err := k.ProveUpdate(t.Context(), scope, epoch, []zk.ShardInput{{Values: values, Ciphertext: ct, Randomness: random}}, zk.ProveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.VerifyUpdate(scope, epoch, att); err != nil {
		t.Fatal(err)
	}
	scope.Bound = 50
	if err := k.VerifyUpdate(scope, epoch, att); !errors.Is(err, zk.ErrRejected) {
		t.Fatalf("another bound: %v", err)
	}
}

func proveKeyShare(t *testing.T, k *zk.Keys) {
	t.Helper()
	suite, err := he.LookupSuite(tiny)
	if err != nil {
		t.Fatal(err)
	}
	seed := [he.SeedBytes]byte{1}
	crs := suite.CRS(seed)
	common, err := k.NewCommonKey(suite, seed)
	if err != nil {
		t.Fatal(err)
	}
	secret, noise := suite.TernaryPoly(), suite.ErrorPoly()
	scope := &zk.MemberScope{Genesis: fl.Digest{1}, Epoch: 1, Member: "alba", CRS: common.Digest()}
	proof, err := k.ProveKeyShare(scope, common, secret, noise)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.VerifyKeyShare(scope, common, crs.Clone().Mul(secret).Neg().Add(noise), proof); err != nil {
		t.Fatal(err)
	}
}

// What this package does in phase powers is what gnark's mpcsetup does.
func TestPowersAreGnarks(t *testing.T) {
	const n = 64
	var initial bytes.Buffer
	if _, err := mpcsetup.NewPhase1(n).WriteTo(&initial); err != nil {
		t.Fatal(err)
	}
	digest := fl.DigestBytes(initial.Bytes())
	p := initialPowers(n, fl.Digest{})
	var theirs []*mpcsetup.Phase1
	for range 2 {
		head, before := p.head(), digest
		if err := p.contribute(t.Context(), digest, silent); err != nil {
			t.Fatal(err)
		}
		if err := p.verify(head, before); err != nil {
			t.Fatal(err)
		}
		b, err := p.bytes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		digest = fl.DigestBytes(b)
		if p, err = parsePowers(t.Context(), n, b, silent); err != nil {
			t.Fatal(err)
		}
		if h, err := parsePowersHead(n, b); err != nil || h != p.head() {
			t.Fatalf("head: %v", err)
		}
		c := new(mpcsetup.Phase1)
		if read, err := c.ReadFrom(bytes.NewReader(b)); err != nil || read != int64(len(b)) {
			t.Fatalf("gnark read %d of %d bytes: %v", read, len(b), err)
		}
		theirs = append(theirs, c)
	}
	want, err := mpcsetup.VerifyPhase1(n, beacon("b"), theirs...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.seal(t.Context(), digest, beacon("b"), silent)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Fatalf("sealed powers differ from gnark's:\n%s", diff)
	}
}

// The digest of the first state is that of its encoding.
func TestInitialPowersDigest(t *testing.T) {
	for _, n := range []uint64{8, 64, 1024} {
		b, err := initialPowers(n, fl.Digest{9}).bytes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) != powersBytes(n) || fl.DigestBytes(b) != initialPowersDigest(n, fl.Digest{9}) {
			t.Fatalf("n=%d: the digest is not that of the encoding", n)
		}
	}
}

func TestTurns(t *testing.T) {
	refused := func(what string, err error, words string) {
		t.Helper()
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, want a refusal with %q", what, err, words)
		}
	}
	add := func(dir string, name fl.NodeID, o ContributeOptions) error {
		_, err := Contribute(t.Context(), dir, name, keyOf(name), o)
		return err
	}
	dir := t.TempDir()
	refused("no ceremony", add(dir, "alba", ContributeOptions{}), "holds no ceremony")
	refused("no folder", add(filepath.Join(dir, "x"), "alba", ContributeOptions{}), "holds no ceremony")
	found(t, dir, Options{Participants: participants(parties...)})
	_, err := Found(dir, Options{Suite: tiny, AllowInsecure: true, Participants: participants(parties...)})
	refused("again", err, "already")
	refused("out of turn", add(dir, "borealis", ContributeOptions{}), "turn of alba")
	refused("a stranger", add(dir, "mallory", ContributeOptions{}), "no participant")
	_, err = Contribute(t.Context(), dir, "alba", keyOf("mallory"), ContributeOptions{})
	refused("another key", err, "not the one")
	sealing := func(o SealOptions) error {
		_, err := Seal(t.Context(), dir, beacon("x"), o)
		return err
	}
	contribute(t, dir, "alba")
	refused("twice", add(dir, "alba", ContributeOptions{}), "already")
	refused("one contributor", sealing(SealOptions{PassOver: true}), "takes 2")
	if err := add(dir, "cumulus", ContributeOptions{PassOver: true}); err != nil {
		t.Fatal(err)
	}
	refused("passed over", add(dir, "borealis", ContributeOptions{}), "passed over")
	s, err := ReadStatus(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Chains[0].Passed; len(got) != 1 || got[0] != "borealis" || len(s.Chains[0].Missing) != 0 {
		t.Fatalf("passed %v, missing %v", got, s.Chains[0].Missing)
	}
	if err := sealing(SealOptions{}); err != nil {
		t.Fatal(err)
	}
	// Each phase has its own turns: all may come again.
	contribute(t, dir, "alba", "borealis")
	refused("missing", func() error {
		_, err := Seal(t.Context(), dir, beacon("y"), SealOptions{Store: openStore(t, t.TempDir())})
		return err
	}(), "cumulus")
	refused("no store", sealing(SealOptions{PassOver: true}), "store")
	refused("beacon again", sealing(SealOptions{PassOver: true, Store: openStore(t, t.TempDir())}), "known")
	if _, err := Verify(t.Context(), dir, VerifyOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestFoundRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"insecure":    {Suite: tiny, Participants: participants(parties...)},
		"unknown":     {Suite: "rlwe1-d1-v9", Participants: participants(parties...)},
		"nobody":      {Suite: tiny, AllowInsecure: true},
		"alone":       {Suite: tiny, AllowInsecure: true, Participants: participants("alba")},
		"minimum one": {Suite: tiny, AllowInsecure: true, Minimum: 1, Participants: participants(parties...)},
		"listed open": {Suite: tiny, AllowInsecure: true, Open: true, Participants: participants(parties...)},
		"twice":       {Suite: tiny, AllowInsecure: true, Participants: participants("alba", "alba")},
		"bad name":    {Suite: tiny, AllowInsecure: true, Participants: participants("alba", "Bo Rea")},
	} {
		if _, err := Found(t.TempDir(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOpenCeremony(t *testing.T) {
	dir := t.TempDir()
	found(t, dir, Options{Open: true})
	contribute(t, dir, "zephyr", "alba")
	if _, err := Contribute(t.Context(), dir, "someone", keyOf("alba"), ContributeOptions{}); !errors.Is(err, ErrRefused) {
		t.Fatalf("one key under two names: %v", err)
	}
	seal(t, dir, "first", nil)
	contribute(t, dir, "alba", "new")
	s, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil || s.Phase != PhaseCircuits || len(s.Chains) != 3 {
		t.Fatalf("%+v, %v", s, err)
	}
}

// stopping is a context that ends at the n-th look, as a process might.
type stopping struct {
	context.Context
	left int
}

func (s *stopping) Err() error {
	if s.left--; s.left < 0 {
		return context.Canceled
	}
	return nil
}
func (s *stopping) Deadline() (time.Time, bool) { return time.Time{}, false }

// A contribution that ends early leaves everything as it was, and the next one
// goes on from what was complete.
func TestInterruptedContributions(t *testing.T) {
	t.Run("powers", func(t *testing.T) {
		dir := t.TempDir()
		found(t, dir, Options{Participants: participants(parties...)})
		contribute(t, dir, "alba")
		before := contents(t, dir)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Contribute(ctx, dir, "borealis", keyOf("borealis"), ContributeOptions{Progress: func(stage string, _, _ int) {
			if strings.HasPrefix(stage, "contributing") {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
			t.Fatalf("the folder changed:\n%s", diff)
		}
		contribute(t, dir, "borealis")
		if _, err := Verify(t.Context(), dir, VerifyOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("between circuits", func(t *testing.T) {
		dir := stage(t, "powers")
		seal(t, dir, "first", nil)
		ctx, cancel := context.WithCancel(t.Context())
		made, err := Contribute(ctx, dir, "alba", keyOf("alba"), ContributeOptions{Progress: func(stage string, _, _ int) {
			if stage == "contributing to smaller/"+tiny {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) || len(made) != 1 {
			t.Fatalf("made %d, %v", len(made), err)
		}
		if made := contribute(t, dir, "alba"); len(made) != 1 || made[0].Circuit != "smaller/"+tiny {
			t.Fatalf("made %+v", made)
		}
		if _, err := Verify(t.Context(), dir, VerifyOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("sealing", func(t *testing.T) {
		dir := stage(t, "powers")
		before := contents(t, dir)
		for _, looks := range []int{0, 3, 10} {
			if _, err := Seal(&stopping{t.Context(), looks}, dir, beacon("first"), SealOptions{}); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
				t.Fatalf("the folder changed:\n%s", diff)
			}
		}
	})
	t.Run("a file without its transcript", func(t *testing.T) {
		dir := stage(t, "powers")
		put(t, dir, []byte("what a crash left"))
		if _, err := Verify(t.Context(), dir, VerifyOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOneProcessAtATime(t *testing.T) {
	dir := stage(t, "powers")
	release, err := folder{dir}.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Seal(t.Context(), dir, beacon("first"), SealOptions{}); !errors.Is(err, ErrRefused) {
		t.Fatalf("got %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	seal(t, dir, "first", nil)
}

func TestPredictableBeaconsAreRefused(t *testing.T) {
	dir := stage(t, "circuits")
	s, err := ReadStatus(dir)
	if err != nil {
		t.Fatal(err)
	}
	transcript := contents(t, dir)[transcriptFile]
	for name, b := range map[string][]byte{
		"short": []byte("0123456789"), "none": nil, "long": make([]byte, maxBeacon+1),
		"ceremony": s.Ceremony[:], "contribution": s.Chains[1].Entries[1].File[:], "transcript": transcript[:], "first seal": beacon("first"),
	} {
		if _, err := Seal(t.Context(), dir, b, SealOptions{Store: openStore(t, t.TempDir())}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
