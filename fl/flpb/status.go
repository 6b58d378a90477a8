package flpb

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"credence/fl"
)

const errorDomain = "credence"

// grpcCodes maps every refusal code to the gRPC code that a generic client
// (a proxy, a retry policy) understands.
var grpcCodes = map[fl.Code]codes.Code{
	fl.CodeMalformed:      codes.InvalidArgument,
	fl.CodeTooLarge:       codes.InvalidArgument,
	fl.CodeBadSignature:   codes.Unauthenticated,
	fl.CodeUnknownParty:   codes.Unauthenticated,
	fl.CodeRevoked:        codes.PermissionDenied,
	fl.CodeNotAllowed:     codes.PermissionDenied,
	fl.CodeWrongAddressee: codes.FailedPrecondition,
	fl.CodeNotInCohort:    codes.PermissionDenied,
	fl.CodeConflict:       codes.AlreadyExists,
	fl.CodeLate:           codes.FailedPrecondition,
	fl.CodeNotReady:       codes.FailedPrecondition,
	fl.CodeNotFound:       codes.NotFound,
	fl.CodeCorrupt:        codes.DataLoss,
	fl.CodeClock:          codes.FailedPrecondition,
	fl.CodeFunds:          codes.FailedPrecondition,
	fl.CodeToken:          codes.PermissionDenied,
	fl.CodeProofLevel:     codes.FailedPrecondition,
	fl.CodeProof:          codes.InvalidArgument,
	fl.CodeUnavailable:    codes.Unavailable,
}

// ToStatus turns an error into a gRPC status. A refusal keeps its code, party
// and words (bytes that are not UTF-8, which gRPC cannot carry, are replaced);
// what was wrapped around it, and the text of any other error, stay on the
// server.
func ToStatus(err error) error {
	var refusal *fl.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		code, ok := grpcCodes[refusal.Code]
		if !ok {
			code = codes.Unknown
		}
		reason := validText(refusal.Reason)
		st, detailErr := status.New(code, reason).WithDetails(&errdetails.ErrorInfo{
			Reason: validText(string(refusal.Code)), Domain: errorDomain, Metadata: map[string]string{"party": validText(string(refusal.Party))},
		})
		if detailErr != nil {
			return status.Error(code, reason)
		}
		return st.Err()
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the call was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the call took longer than its deadline")
	}
	return status.Error(codes.Internal, "the aggregator failed to handle this; its log says why")
}

// validText keeps a reason that quotes bytes of a hostile message from losing
// the whole refusal: Protocol Buffers refuse strings that are not UTF-8.
func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// FromStatus turns a gRPC error back into the refusal it carries; other errors
// are returned as they are.
func FromStatus(err error) error {
	st, ok := status.FromError(err)
	if !ok || st.Code() == codes.OK {
		return err
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return &fl.Refusal{Code: fl.Code(info.GetReason()), Party: fl.NodeID(info.GetMetadata()["party"]), Reason: st.Message()}
		}
	}
	return err
}

// Retryable reports whether trying the same call again later may succeed. A
// call that its own caller cancelled is not to be tried again.
func Retryable(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	switch fl.CodeOf(err) {
	case fl.CodeNotReady, fl.CodeUnavailable:
		return true
	case "":
		switch status.Code(err) {
		case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Unknown, codes.Aborted:
			return true
		}
	}
	return false
}
