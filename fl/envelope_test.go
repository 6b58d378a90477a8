package fl

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var updateGolden = flag.Bool("update", false, "rewrite the golden vectors in testdata")

// testKey is a key that anybody can make: for vectors only.
func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func mustSign(t *testing.T, doc Document) Envelope {
	t.Helper()
	e, err := Sign(doc, "north", testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// fresh returns a new, empty document of the same type.
func fresh(doc Document) Document {
	return reflect.New(reflect.TypeOf(doc).Elem()).Interface().(Document)
}

// The bytes of every kind of document are pinned: a change here is a change of
// the protocol and takes a new version in Kind.
func TestGoldenEnvelopes(t *testing.T) {
	const file = "testdata/envelopes.txt"
	var out strings.Builder
	out.WriteString("# digest and envelope of one document of each kind, signed by the key of seed 0x01 * 32\n")
	all := append(samples(), variants()...)
	for _, doc := range all {
		e := mustSign(t, doc)
		fmt.Fprintf(&out, "%s %s\n", e.Digest(), e.Encode())
	}
	if *updateGolden {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")
	if len(wantLines) != len(gotLines) {
		t.Fatalf("%d lines of vectors, %d kinds", len(wantLines)-2, len(gotLines)-2)
	}
	for i := range gotLines {
		if gotLines[i] != wantLines[i] {
			t.Errorf("line %d:\ngot  %s\nwant %s", i+1, gotLines[i], wantLines[i])
		}
	}
	for i, doc := range all {
		_, encoded, _ := strings.Cut(wantLines[i+1], " ")
		e, err := DecodeEnvelope([]byte(encoded))
		if err != nil {
			t.Fatal(err)
		}
		got := fresh(doc)
		if err := e.Open(publicOf(testKey(1)), got); err != nil || !reflect.DeepEqual(got, doc) {
			t.Errorf("%s: %v; got %+v, want %+v", doc.Kind(), err, got, doc)
		}
	}
}

func TestDecodeEnvelopeIsStrict(t *testing.T) {
	good := string(mustSign(t, sample[Decline](t)).Encode())
	if _, err := DecodeEnvelope([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"nothing":         "",
		"no object":       "[]",
		"null":            "null",
		"unknown field":   strings.Replace(good, "{", `{"x":1,`, 1),
		"duplicate key":   strings.Replace(good, `"signer":"north"`, `"signer":"north","signer":"north"`, 1),
		"other spelling":  strings.Replace(good, `"signer"`, `"Signer"`, 1),
		"missing field":   strings.Replace(good, `"signer":"north",`, "", 1),
		"white space":     strings.Replace(good, ":", ": ", 1),
		"space in front":  " " + good,
		"line end":        good + "\n",
		"trailing bytes":  good + "x",
		"two documents":   good + good,
		"odd signer":      strings.Replace(good, `"north"`, `"North"`, 1),
		"short signature": strings.Replace(good, `"signature":"`, `"signature":"AAAA`, 1),
		"escaped letter":  strings.Replace(good, "north", `nort\u0068`, 1),
		"deep nesting":    strings.Repeat("[", 100_000),
		"oversized":       good[:len(good)-1] + strings.Repeat(" ", MaxDocument) + "}",
	} {
		if bad == good {
			t.Fatalf("%s: the case does not apply", name)
		}
		if _, err := DecodeEnvelope([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
		}
	}
	for n := range len(good) {
		if _, err := DecodeEnvelope([]byte(good[:n])); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

// Whatever bit of an envelope is flipped, it is not read any more.
func TestEveryBitCounts(t *testing.T) {
	for _, doc := range []Document{sample[UpdateHeader](t), sample[Seal](t)} {
		good := mustSign(t, doc).Encode()
		for i := range 8 * len(good) {
			bad := bytes.Clone(good)
			bad[i/8] ^= 1 << (i % 8)
			e, err := DecodeEnvelope(bad)
			if err == nil {
				err = e.Open(publicOf(testKey(1)), fresh(doc))
			}
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrBadSignature) {
				t.Fatalf("%s with bit %d flipped: %v", doc.Kind(), i, err)
			}
		}
	}
}

func TestSignaturesBind(t *testing.T) {
	e := mustSign(t, sample[KeyCommitment](t))
	key := publicOf(testKey(1))
	var got KeyCommitment
	if err := e.Open(key, &got); err != nil {
		t.Fatal(err)
	}
	another := mustSign(t, sample[KeyReveal](t))
	for name, change := range map[string]func(*Envelope){
		"kind":      func(e *Envelope) { e.Kind = "key-reveal/v1" },
		"signer":    func(e *Envelope) { e.Signer = "south" },
		"payload":   func(e *Envelope) { e.Payload = another.Payload },
		"signature": func(e *Envelope) { e.Signature = another.Signature },
		// The length prefixes keep the boundary between kind and signer.
		"boundary": func(e *Envelope) { e.Kind, e.Signer = e.Kind+"n", e.Signer[1:] },
	} {
		bad := e
		change(&bad)
		if err := bad.Verify(key); !errors.Is(err, ErrBadSignature) {
			t.Errorf("another %s: %v", name, err)
		}
		if err := bad.Open(key, &got); !errors.Is(err, ErrBadSignature) {
			t.Errorf("another %s opens: %v", name, err)
		}
		if name != "signature" && bad.Digest() == e.Digest() {
			t.Errorf("another %s has the same digest", name)
		}
	}
	if err := e.Verify(publicOf(testKey(2))); !errors.Is(err, ErrBadSignature) {
		t.Errorf("another key: %v", err)
	}
	if err := e.Verify(key[:31]); !errors.Is(err, ErrBadSignature) {
		t.Errorf("a short key: %v", err)
	}
	if err := e.Read(&KeyReveal{}); !errors.Is(err, ErrWrongKind) {
		t.Errorf("read as another kind: %v", err)
	}
}

// A correctly signed payload that is not strict or not valid is refused when
// it is read.
func TestReadIsStrict(t *testing.T) {
	good := string(mustSign(t, sample[Decline](t)).Payload)
	for name, payload := range map[string]string{
		"unknown field": strings.Replace(good, "{", `{"x":1,`, 1),
		"duplicate key": strings.Replace(good, `"round":1`, `"round":1,"round":1`, 1),
		"fraction":      strings.Replace(good, `"round":1`, `"round":1.0`, 1),
		"negative":      strings.Replace(good, `"round":1`, `"round":-1`, 1),
		"invalid":       strings.Replace(good, `"round":1`, `"round":0`, 1),
		"upper case":    strings.Replace(good, testDigest("plan").String(), strings.ToUpper(testDigest("plan").String()), 1),
		"null":          "null",
		"array":         "[]",
	} {
		e := Envelope{Kind: Decline{}.Kind(), Signer: "north", Payload: json.RawMessage(payload)}
		e.Signature = ed25519.Sign(testKey(1), e.preAuth())
		if payload == good {
			t.Fatalf("%s: the case does not apply", name)
		}
		if err := e.Open(publicOf(testKey(1)), &Decline{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	invalid, unprintable, large := sample[Decline](t), sample[Decline](t), sample[JobSpec](t)
	invalid.Round = 0
	unprintable.Reason = "\xff\xfe"
	large.SchemaText = strings.Repeat("x", MaxDocument)
	large.Schema = DigestBytes([]byte(large.SchemaText))
	broken := sample[JobSpec](t)
	broken.Model = json.RawMessage("{")
	for name, doc := range map[string]Document{"invalid": invalid, "not UTF-8": unprintable, "too large": large, "broken JSON": broken} {
		if _, err := Sign(doc, "north", testKey(1)); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
	if _, err := Sign(*sample[Decline](t), "north", testKey(1)); err != nil {
		t.Errorf("a document by value: %v", err)
	}
	if b := (Envelope{Payload: json.RawMessage("{")}).Encode(); b != nil {
		t.Errorf("a payload that is not JSON encodes to %q", b)
	}
}

// White space in the opaque parts of a job does not survive signing, so that
// what is read equals what was signed.
func TestOpaqueJSONIsCompacted(t *testing.T) {
	job := sample[JobSpec](t)
	job.Model = json.RawMessage("{ \"a\" : \"<b>\" }")
	var got JobSpec
	if err := mustSign(t, job).Open(publicOf(testKey(1)), &got); err != nil {
		t.Fatal(err)
	}
	if string(got.Model) != `{"a":"\u003cb\u003e"}` {
		t.Errorf("model %s", got.Model)
	}
}

func TestInstant(t *testing.T) {
	got := Instant(time.Date(2026, 1, 2, 3, 4, 5, 6_789_000, time.FixedZone("x", 3600)))
	if err := validTime("t", got); err != nil || got.Nanosecond() != 6_000_000 || got.Hour() != 2 {
		t.Errorf("instant %s, %v", got, err)
	}
}
