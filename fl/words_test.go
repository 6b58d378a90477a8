package fl

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDigest(t *testing.T) {
	d := testDigest("")
	if d.String() != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" || d.Short() != "e3b0c44298fc" || d.IsZero() || !(Digest{}).IsZero() {
		t.Errorf("SHA-256 of nothing is %s", d)
	}
	got, err := ParseDigest(d.String())
	if err != nil || got != d {
		t.Errorf("parsed %s, %v", got, err)
	}
	for _, bad := range []string{"", d.String()[1:], d.String() + "0", strings.ToUpper(d.String()), strings.Repeat("g", 64)} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// Digests of field lists are separated by domain and by boundary; one is pinned.
func TestDigestOf(t *testing.T) {
	a := DigestOf("x", []byte("ab"), []byte("c"))
	if a.String() != "63f70c8682cc4c93ebf5bc6d74b820be02cf776d9f9baa9fa41c669559e7d9f9" {
		t.Errorf("digest %s", a)
	}
	for _, other := range []Digest{DigestOf("y", []byte("ab"), []byte("c")), DigestOf("x", []byte("a"), []byte("bc")), DigestOf("x", []byte("abc")), DigestOf("x", []byte("ab"), []byte("c"), nil)} {
		if other == a {
			t.Error("two field lists have the same digest")
		}
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "0", "a-b", strings.Repeat("x", 63)} {
		if NodeID(good).Validate() != nil || JobID(good).Validate() != nil {
			t.Errorf("%q was refused", good)
		}
	}
	for _, bad := range []string{"", "-", "a-", "-a", "A", "a b", "a/b", "ä", "a\n", strings.Repeat("x", 64)} {
		if NodeID(bad).Validate() == nil || JobID(bad).Validate() == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	for _, r := range []Role{RoleNode, RoleOwner, RoleObserver} {
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
	}
	if Role("").Validate() == nil || ProofLevel("").Validate() == nil {
		t.Error("an empty role or proof level was accepted")
	}
}

func TestRefusals(t *testing.T) {
	r := Refuse(CodeLate, "north", "round %d is over", 3)
	err := fmt.Errorf("submitting: %w", r)
	if CodeOf(err) != CodeLate || CodeOf(errors.New("x")) != "" || CodeOf(nil) != "" {
		t.Error("codes are not found")
	}
	for target, want := range map[*Refusal]bool{
		{Code: CodeLate}:                 true,
		{Code: CodeLate, Party: "north"}: true,
		{Code: CodeLate, Party: "south"}: false,
		{Code: CodeFunds}:                false,
		{Code: CodeLate, Party: "north", Reason: "round 3 is over"}: true,
		{Code: CodeLate, Reason: "other"}:                           false,
	} {
		if errors.Is(err, target) != want {
			t.Errorf("errors.Is(%v, %v) is not %v", err, target, want)
		}
	}
	if r.Error() != "refused north (late): round 3 is over" || Refuse(CodeLate, "", "x").Error() != "refused (late): x" {
		t.Errorf("says %q", r)
	}
	if got := RefusalFor("south", err); got != r {
		t.Errorf("a refusal became %v", got)
	}
	if got := RefusalFor("south", fmt.Errorf("x: %w", ErrBadSignature)); got.Code != CodeBadSignature || got.Party != "south" {
		t.Errorf("a bad signature became %v", got)
	}
	if got := RefusalFor("south", ErrMalformed); got.Code != CodeMalformed {
		t.Errorf("malformed became %v", got)
	}
}

// The shards of a map are contiguous, cover the vector and fit a ciphertext.
func TestShardMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		params := rapid.IntRange(1, 5000).Draw(t, "params")
		slots := rapid.OneOf(rapid.IntRange(MetricSlots+1, 200), rapid.Just(math.MaxInt)).Draw(t, "slots")
		shards, err := ShardMap(params, slots)
		if err != nil {
			t.Fatal(err)
		}
		next := 0
		for i, s := range shards {
			if s.Index != i || s.Offset != next || s.Length < 1 || s.Length > slots-MetricSlots {
				t.Fatalf("shard %d is %+v", i, s)
			}
			if i < len(shards)-1 && s.Length != slots-MetricSlots {
				t.Fatalf("shard %d is not full", i)
			}
			next += s.Length
		}
		if next != params {
			t.Fatalf("%d of %d parameters are covered", next, params)
		}
	})
	for _, c := range [][2]int{{0, 20}, {-1, 20}, {1, MetricSlots}, {1, -5}} {
		if _, err := ShardMap(c[0], c[1]); err == nil {
			t.Errorf("a map of %d parameters in %d slots was made", c[0], c[1])
		}
	}
}

func TestParameters(t *testing.T) {
	p := []float32{1, -2.5, 0, math.MaxFloat32, math.SmallestNonzeroFloat32}
	blob := EncodeParameters(p)
	got, err := DecodeParameters(blob, len(p))
	if err != nil {
		t.Fatal(err)
	}
	for i := range p {
		if got[i] != p[i] {
			t.Errorf("parameter %d is %v, want %v", i, got[i], p[i])
		}
	}
	inf := EncodeParameters([]float32{float32(math.Inf(1))})
	nan := EncodeParameters([]float32{float32(math.NaN())})
	for name, c := range map[string]struct {
		blob []byte
		n    int
	}{"short": {blob[1:], 5}, "long": {blob, 4}, "negative": {nil, -1}, "so many that their size is 0": {nil, 1 << 62}, "infinite": {inf, 1}, "not a number": {nan, 1}} {
		if _, err := DecodeParameters(c.blob, c.n); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExamples(t *testing.T) {
	good := func() Examples {
		return Examples{Rows: 2, Features: 2, Classes: 3, X: []float32{1, 2, 3, 4}, Y: []int32{0, 2}}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Examples){
		"negative rows":  func(e *Examples) { e.Rows = -1 },
		"no features":    func(e *Examples) { e.Features = 0 },
		"one class":      func(e *Examples) { e.Classes = 1 },
		"missing value":  func(e *Examples) { e.X = e.X[1:] },
		"missing label":  func(e *Examples) { e.Y = e.Y[1:] },
		"infinite":       func(e *Examples) { e.X[3] = float32(math.Inf(-1)) },
		"not a number":   func(e *Examples) { e.X[3] = float32(math.NaN()) },
		"label above":    func(e *Examples) { e.Y[1] = 3 },
		"negative label": func(e *Examples) { e.Y[1] = -1 },
	} {
		e := good()
		change(&e)
		if e.Validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	sub := good().Subset([]int{1, 1, 0})
	if sub.Rows != 3 || sub.Row(1)[0] != 3 || sub.Row(2)[1] != 2 || sub.Y[0] != 2 || sub.Validate() != nil {
		t.Errorf("subset %+v", sub)
	}
}
