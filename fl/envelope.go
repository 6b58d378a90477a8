package fl

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
)

// Kind names the type and version of a document. It is part of what is
// signed, so a document of one kind can never be read as another.
type Kind string

// Document is a statement that a party signs.
type Document interface {
	// Kind is a constant of the type.
	Kind() Kind
	// Validate checks everything that can be checked from the document alone.
	Validate() error
}

// MaxDocument bounds the encoding of one envelope, in bytes. Everything large
// (ciphertexts, models, key shares) is a blob that a document names by digest.
const MaxDocument = 1 << 20

// Sentinel errors of envelopes.
var (
	ErrMalformed    = errors.New("malformed document")
	ErrBadSignature = errors.New("bad signature")
	ErrWrongKind    = errors.New("document of another kind")
)

// Envelope is a signed document: the canonical JSON of the document, who
// signed it, and an Ed25519 signature over the pre-authentication encoding of
// both (the construction of DSSE: https://github.com/secure-systems-lab/dsse).
// The signed bytes themselves travel, so nobody ever re-encodes what was
// signed.
type Envelope struct {
	Kind      Kind            `json:"kind"`
	Signer    NodeID          `json:"signer"`
	Payload   json.RawMessage `json:"payload"`
	Signature []byte          `json:"signature"`
}

// preAuth is the byte string that is signed and digested.
func (e Envelope) preAuth() []byte {
	var b bytes.Buffer
	b.WriteString("DSSEv1")
	for _, part := range []string{"credence/" + string(e.Kind), string(e.Signer)} {
		b.WriteString(" " + strconv.Itoa(len(part)) + " " + part)
	}
	b.WriteString(" " + strconv.Itoa(len(e.Payload)) + " ")
	b.Write(e.Payload)
	return b.Bytes()
}

// Digest identifies the document: kind, signer and payload, but not the
// signature, so re-signing does not make a second document out of it.
func (e Envelope) Digest() Digest { return DigestOf("document/v1", e.preAuth()) }

// Sign validates a document and puts it into an envelope.
func Sign(doc Document, signer NodeID, key ed25519.PrivateKey) (Envelope, error) {
	if err := doc.Validate(); err != nil {
		return Envelope{}, fmt.Errorf("signing a %s: %w", doc.Kind(), err)
	}
	payload, err := json.Marshal(doc)
	if err != nil {
		return Envelope{}, fmt.Errorf("encoding a %s: %w", doc.Kind(), err)
	}
	// A string that is not UTF-8 is encoded as another string. Nobody should
	// learn that from the receiver.
	if err := DecodeCanonical(payload, reflect.New(reflect.TypeOf(doc)).Interface()); err != nil {
		return Envelope{}, fmt.Errorf("%w: encoding a %s: %w", ErrMalformed, doc.Kind(), err)
	}
	e := Envelope{Kind: doc.Kind(), Signer: signer, Payload: payload}
	e.Signature = ed25519.Sign(key, e.preAuth())
	if n := len(e.Encode()); n > MaxDocument {
		return Envelope{}, fmt.Errorf("%w: a %s of %d bytes: at most %d", ErrMalformed, doc.Kind(), n, MaxDocument)
	}
	return e, nil
}

// Verify checks the signature alone.
func (e Envelope) Verify(key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: %s by %s: key of %d bytes", ErrBadSignature, e.Kind, e.Signer, len(key))
	}
	if !ed25519.Verify(key, e.preAuth(), e.Signature) {
		return fmt.Errorf("%w: %s by %s", ErrBadSignature, e.Kind, e.Signer)
	}
	return nil
}

// Read decodes the payload strictly into doc, without checking the signature.
func (e Envelope) Read(doc Document) error {
	if e.Kind != doc.Kind() {
		return fmt.Errorf("%w: got %q, want %q", ErrWrongKind, e.Kind, doc.Kind())
	}
	if err := DecodeCanonical(e.Payload, doc); err != nil {
		return fmt.Errorf("%w: %s by %s: %w", ErrMalformed, e.Kind, e.Signer, err)
	}
	if err := doc.Validate(); err != nil {
		return fmt.Errorf("%w: %s by %s: %w", ErrMalformed, e.Kind, e.Signer, err)
	}
	return nil
}

// Open checks the signature and then decodes the payload into doc.
func (e Envelope) Open(key ed25519.PublicKey, doc Document) error {
	if err := e.Verify(key); err != nil {
		return err
	}
	return e.Read(doc)
}

// Encode returns the canonical encoding of the envelope, one line of JSON.
func (e Envelope) Encode() []byte {
	b, err := json.Marshal(e)
	if err != nil { // only a payload that is not JSON fails, which Sign and DecodeEnvelope exclude
		return nil
	}
	return b
}

// DecodeEnvelope reads what Encode wrote and nothing else: unknown fields,
// trailing bytes, non-canonical JSON and oversized input are ErrMalformed.
func DecodeEnvelope(data []byte) (Envelope, error) {
	if len(data) > MaxDocument {
		return Envelope{}, fmt.Errorf("%w: %d bytes: at most %d", ErrMalformed, len(data), MaxDocument)
	}
	var e Envelope
	if err := DecodeCanonical(data, &e); err != nil {
		return Envelope{}, fmt.Errorf("%w: envelope: %w", ErrMalformed, err)
	}
	if len(e.Signature) != ed25519.SignatureSize {
		return Envelope{}, fmt.Errorf("%w: envelope: signature of %d bytes: want %d", ErrMalformed, len(e.Signature), ed25519.SignatureSize)
	}
	if err := e.Signer.Validate(); err != nil {
		return Envelope{}, fmt.Errorf("%w: envelope: %w", ErrMalformed, err)
	}
	return e, nil
}

// DecodeCanonical decodes JSON and insists that encoding the result gives the
// same bytes back. That one comparison refuses duplicate keys, other
// spellings of a key, white space and every other second encoding.
func DecodeCanonical(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes after the end")
	}
	again, err := json.Marshal(into)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return errors.New("not in canonical form")
	}
	return nil
}
