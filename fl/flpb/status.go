package flpb

import (
	"context"
	"errors"

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
	fl.CodeUnavailable:    codes.Unavailable,
}

// ToStatus turns an error into a gRPC status. A refusal keeps its code, party
// and words; anything else becomes an internal error whose text stays on the
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
		st, detailErr := status.New(code, refusal.Reason).WithDetails(&errdetails.ErrorInfo{
			Reason: string(refusal.Code), Domain: errorDomain, Metadata: map[string]string{"party": string(refusal.Party)},
		})
		if detailErr != nil {
			return status.Error(code, refusal.Reason)
		}
		return st.Err()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Internal, "the aggregator failed to handle this; its log says why")
}

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

// Retryable reports whether trying the same call again later may succeed.
func Retryable(err error) bool {
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
