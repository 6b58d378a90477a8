package flpb

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"credence/fl"
)

// refusalCodes reads every constant of type fl.Code from its source, so that a
// new code without a mapping fails here instead of reaching a client as
// Unknown.
func refusalCodes(t *testing.T) []fl.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []fl.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Code" {
			return true
		}
		for _, value := range spec.Values {
			literal, ok := value.(*ast.BasicLit)
			if !ok {
				t.Fatalf("a code is not a literal: %v", spec.Names)
			}
			s, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fl.Code(s))
		}
		return true
	})
	if len(out) < 18 {
		t.Fatalf("found %d codes in refusal.go", len(out))
	}
	return out
}

// overTheWire carries a status the way gRPC does, as an encoded google.rpc.Status.
func overTheWire(t *testing.T, err error) error {
	t.Helper()
	wire, marshalErr := proto.Marshal(status.Convert(err).Proto())
	if marshalErr != nil {
		t.Fatal(marshalErr)
	}
	st := status.New(codes.OK, "").Proto()
	if err := proto.Unmarshal(wire, st); err != nil {
		t.Fatal(err)
	}
	return status.FromProto(st).Err()
}

func TestRefusalSurvivesTheWire(t *testing.T) {
	for _, code := range refusalCodes(t) {
		for _, party := range []fl.NodeID{"", "north"} {
			want := fl.Refuse(code, party, "shard 3: 12 bytes: want 13 — höher, 50%%")
			wrapped := fmt.Errorf("receiving an update: %w", want)
			sent := overTheWire(t, ToStatus(wrapped))
			var got *fl.Refusal
			if !errors.As(FromStatus(sent), &got) {
				t.Errorf("%s: arrived as %v", code, sent)
				continue
			}
			if *got != *want {
				t.Errorf("%s: got %+v, want %+v", code, *got, *want)
			}
			if c := status.Code(sent); c != grpcCodes[code] || c == codes.Unknown || c == codes.OK {
				t.Errorf("%s: gRPC code %s", code, c)
			}
		}
	}
	if got, want := len(grpcCodes), len(refusalCodes(t)); got != want {
		t.Errorf("%d codes are mapped, %d exist", got, want)
	}
}

// An unknown code comes from a newer peer; it arrives as it was sent.
func TestUnknownCodeIsKept(t *testing.T) {
	want := fl.Refuse("from-the-future", "north", "new rule")
	sent := overTheWire(t, ToStatus(want))
	if got := FromStatus(sent); !errors.Is(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if c := status.Code(sent); c != codes.Unknown {
		t.Errorf("gRPC code %s", c)
	}
}

func TestAnyReasonSurvives(t *testing.T) {
	all := refusalCodes(t)
	rapid.Check(t, func(r *rapid.T) {
		want := fl.Refusal{Code: rapid.SampledFrom(all).Draw(r, "code"), Party: fl.NodeID(rapid.String().Draw(r, "party")), Reason: rapid.String().Draw(r, "reason")}
		got := FromStatus(overTheWire(t, ToStatus(&want)))
		var refusal *fl.Refusal
		if !errors.As(got, &refusal) || *refusal != want {
			r.Fatalf("got %v, want %v", got, want)
		}
	})
}

// A reason may quote bytes of a hostile message. gRPC messages must be UTF-8,
// so other bytes are replaced; what is lost must not take the refusal along.
func TestReasonThatIsNotUTF8(t *testing.T) {
	sent := ToStatus(fl.Refuse(fl.CodeMalformed, "north\xff", "field %s", "a\xffb"))
	got := FromStatus(overTheWire(t, sent))
	var refusal *fl.Refusal
	if !errors.As(got, &refusal) {
		t.Fatalf("arrived as %v", got)
	}
	if refusal.Code != fl.CodeMalformed || !strings.HasPrefix(refusal.Reason, "field a") || !strings.HasPrefix(string(refusal.Party), "north") {
		t.Errorf("got %+v", refusal)
	}
}

func TestInternalErrorsDoNotLeak(t *testing.T) {
	const secret = "/var/lib/credence/keys.pem: hunter2"
	for _, err := range []error{
		errors.New(secret),
		fmt.Errorf("opening: %w", errors.New(secret)),
		errors.Join(io.ErrUnexpectedEOF, errors.New(secret)),
		status.Error(codes.NotFound, secret), // somebody else's status is not ours to pass on
		fmt.Errorf("%s: %w", secret, context.Canceled),
		fmt.Errorf("%s: %w", secret, context.DeadlineExceeded),
		// What was wrapped around a refusal is for the log, not for the wire.
		fmt.Errorf("%s: %w", secret, fl.Refuse(fl.CodeLate, "north", "the round is sealed")),
	} {
		sent := overTheWire(t, ToStatus(err))
		if sent == nil {
			t.Errorf("%v became no error", err)
			continue
		}
		if text := fmt.Sprintf("%v %v", sent, status.Convert(sent).Proto()); strings.Contains(text, "hunter2") || strings.Contains(text, "keys.pem") {
			t.Errorf("leaks: %s", text)
		}
	}
	if got := status.Code(ToStatus(errors.New(secret))); got != codes.Internal {
		t.Errorf("an internal error has code %s", got)
	}
	if got := status.Code(ToStatus(fmt.Errorf("reading: %w", context.Canceled))); got != codes.Canceled {
		t.Errorf("a cancelled call has code %s", got)
	}
	if got := status.Code(ToStatus(fmt.Errorf("reading: %w", context.DeadlineExceeded))); got != codes.DeadlineExceeded {
		t.Errorf("a late call has code %s", got)
	}
	if err := ToStatus(nil); err != nil {
		t.Errorf("no error became %v", err)
	}
}

func TestFromStatusLeavesOtherErrors(t *testing.T) {
	foreign, err := status.New(codes.NotFound, "no such object").WithDetails(&errdetails.ErrorInfo{Domain: "example.org", Reason: "not-found"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		nil,
		io.EOF, // the end of a stream must stay comparable
		context.Canceled,
		status.Error(codes.Unavailable, "connection refused"),
		foreign.Err(), // a proxy's refusal is not the aggregator's
	} {
		if got := FromStatus(err); got != err { // identity is the claim
			t.Errorf("FromStatus(%v) = %v", err, got)
		}
	}
}

func TestRetryable(t *testing.T) {
	retryable := map[fl.Code]bool{fl.CodeNotReady: true, fl.CodeUnavailable: true}
	for _, code := range refusalCodes(t) {
		refusal := fl.Refuse(code, "north", "why")
		for _, err := range []error{refusal, fmt.Errorf("uploading: %w", refusal), FromStatus(overTheWire(t, ToStatus(refusal)))} {
			if got := Retryable(err); got != retryable[code] {
				t.Errorf("Retryable(%v) = %t", err, got)
			}
		}
	}
	retryableStatus := map[codes.Code]bool{
		codes.Unavailable: true, codes.DeadlineExceeded: true, codes.ResourceExhausted: true,
		codes.Internal: true, codes.Unknown: true, codes.Aborted: true,
	}
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		if got := Retryable(status.Error(code, "why")); got != retryableStatus[code] {
			t.Errorf("Retryable(%s) = %t", code, got)
		}
	}
	for err, want := range map[error]bool{
		nil:              false, // success
		context.Canceled: false, // the caller gave up
		io.EOF:           true,  // the connection ended
	} {
		if got := Retryable(err); got != want {
			t.Errorf("Retryable(%v) = %t", err, got)
		}
	}
}

func FuzzFromStatus(f *testing.F) {
	for _, err := range []error{
		ToStatus(fl.Refuse(fl.CodeLate, "north", "the round is sealed")),
		ToStatus(errors.New("disk")),
		status.Error(codes.Unavailable, "connection refused"),
	} {
		wire, err := proto.Marshal(status.Convert(err).Proto())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Add([]byte{})
	f.Add([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, wire []byte) {
		st := status.New(codes.OK, "").Proto()
		if proto.Unmarshal(wire, st) != nil {
			return
		}
		sent := status.FromProto(st).Err()
		got := FromStatus(sent)
		if (sent == nil) != (got == nil) {
			t.Fatalf("%v became %v", sent, got)
		}
		Retryable(got)
		var refusal *fl.Refusal
		if errors.As(got, &refusal) && !errors.Is(FromStatus(ToStatus(refusal)), refusal) {
			t.Fatalf("%+v does not survive", refusal)
		}
	})
}
