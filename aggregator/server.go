package aggregator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"

	"credence/aggregator/blob"
	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/flpb"
)

// Bounds of the network interface. Anything larger is a blob and travels in
// chunks.
const (
	maxMessage       = fl.MaxDocument + 64<<10
	maxChunk         = 512 << 10
	maxDownload      = 512 << 10
	maxWait          = 30 * time.Second
	transactionsPage = 500
)

// messageBuffers are the buffers that messages are put together in: those of
// gRPC's own pool, and two for the two large messages there are, a chunk up and
// a chunk down. Its own would take, and clear, 1 MB for each of either.
func messageBuffers() mem.BufferPool {
	const envelope = 4 << 10 // of a message, around its chunk
	return mem.NewTieredBufferPool(256, 4<<10, 16<<10, 32<<10, maxChunk+envelope, maxDownload+envelope, 1<<20)
}

// Server returns a gRPC server for the aggregator. The caller serves and stops
// it.
func (a *Aggregator) Server() *grpc.Server {
	tlsConfig := a.authority.ServerTLS(a.serverCertificate, a.opts.Now)
	s := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(tlsConfig)),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(16<<20), // a task may carry a committee's documents
		grpc.MaxConcurrentStreams(64),
		// TLS reads whole records into a buffer of its own; a second one for
		// every connection would only cost memory.
		grpc.ReadBufferSize(0),
		experimental.BufferPool(messageBuffers()),
		grpc.ConnectionTimeout(20*time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.UnaryInterceptor(a.intercept),
	)
	flpb.RegisterEnrolmentServer(s, &enrolmentService{a: a})
	flpb.RegisterFederationServer(s, &federationService{a: a})
	return s
}

// Serve runs the gRPC server and the loop until ctx ends, then stops both. It
// is called once.
func (a *Aggregator) Serve(ctx context.Context, listener net.Listener) error {
	server := a.Server()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	loop := make(chan error, 1)
	go func() { loop <- a.Run(ctx); cancel() }()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var serveErr error
	select {
	case <-ctx.Done():
		close(a.stopping) // long polls answer at once
		stopped := make(chan struct{})
		go func() { server.GracefulStop(); close(stopped) }()
		select {
		case <-stopped:
		case <-time.After(5 * time.Second):
			server.Stop()
		}
		<-served
	case serveErr = <-served:
		cancel()
	}
	if err := errors.Join(<-loop, serveErr); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

type callerKey struct{}

// caller returns the enrolled party whose certificate opened the connection.
func caller(ctx context.Context) store.Party { return ctx.Value(callerKey{}).(store.Party) }

// intercept authenticates, turns errors into statuses, and logs every refusal
// with whom it met. A panic becomes an error: one party's message never ends
// the process.
func (a *Aggregator) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("panic in a handler", "method", info.FullMethod, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			resp, err = nil, flpb.ToStatus(errors.New("panic"))
		}
	}()
	if _, open := info.Server.(*enrolmentService); !open {
		party, err := a.authenticate(ctx)
		if err != nil {
			a.logRefusal(ctx, info.FullMethod, err)
			return nil, flpb.ToStatus(err)
		}
		ctx = context.WithValue(ctx, callerKey{}, party)
	}
	resp, err = handler(ctx, req)
	if err != nil {
		refusal := edgeError(err)
		if party, ok := ctx.Value(callerKey{}).(store.Party); ok {
			refusal = namedRefusal(party.Enrolment.Node, refusal)
		}
		if fl.CodeOf(err) == "" && fl.CodeOf(refusal) != "" {
			a.log.Debug("the cause of a refusal", "method", info.FullMethod, "error", err) // with paths, which stay here
		}
		a.logRefusal(ctx, info.FullMethod, refusal)
		return nil, flpb.ToStatus(refusal)
	}
	return resp, nil
}

// edgeError turns the sentinels of the stores into refusals. What goes to the
// other side names no path of this machine.
func edgeError(err error) error {
	switch {
	case fl.CodeOf(err) != "":
		return err
	case errors.Is(err, store.ErrNotFound), errors.Is(err, blob.ErrNotFound):
		return fl.Refuse(fl.CodeNotFound, "", "%s", err)
	case errors.Is(err, store.ErrConflict):
		return fl.Refuse(fl.CodeConflict, "", "%s", err)
	case errors.Is(err, store.ErrFunds):
		return fl.Refuse(fl.CodeFunds, "", "%s", err)
	case errors.Is(err, store.ErrFull), errors.Is(err, blob.ErrFull):
		return fl.Refuse(fl.CodeUnavailable, "", "the aggregator's disk is full; nothing was lost, and it goes on when its operator has made room")
	case errors.Is(err, blob.ErrQuota):
		return fl.Refuse(fl.CodeTooLarge, "", "%s", err)
	case errors.Is(err, blob.ErrCorrupt):
		return fl.Refuse(fl.CodeCorrupt, "", "the bytes do not match the digest of the blob, and were thrown away; upload it again")
	case errors.Is(err, blob.ErrOffset):
		return fl.Refuse(fl.CodeNotReady, "", "%s", err)
	}
	return err
}

func (a *Aggregator) logRefusal(ctx context.Context, method string, err error) {
	var refusal *fl.Refusal
	address := "unknown"
	if p, ok := peer.FromContext(ctx); ok {
		address = p.Addr.String()
	}
	switch {
	case errors.As(err, &refusal):
		party := refusal.Party
		if p, ok := ctx.Value(callerKey{}).(store.Party); ok && party == "" {
			party = p.Enrolment.Node
		}
		level := a.log.Warn
		if refusal.Code == fl.CodeNotReady {
			level = a.log.Debug
		}
		level("refused", "party", party, "code", refusal.Code, "reason", refusal.Reason, "method", method, "from", address)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	default:
		a.log.Error("failed", "method", method, "from", address, "error", err)
	}
}

func (a *Aggregator) authenticate(ctx context.Context) (store.Party, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return store.Party{}, fl.Refuse(fl.CodeUnknownParty, "", "no connection")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return store.Party{}, fl.Refuse(fl.CodeUnknownParty, "", "this call needs a certificate of the federation; enrol with an invitation: credence node join")
	}
	certificate := info.State.VerifiedChains[0][0]
	node := fl.NodeID(certificate.Subject.CommonName)
	// TLS checked the dates at the handshake only; connections live longer.
	if now := a.opts.Now(); now.After(certificate.NotAfter) {
		return store.Party{}, fl.Refuse(fl.CodeUnknownParty, node, "the certificate expired on %s; the node renews it when it reconnects", certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return a.member(ctx, node) // from the store: another process' revocation counts at once
}

type enrolmentService struct {
	flpb.UnimplementedEnrolmentServer
	a *Aggregator
}

func (s *enrolmentService) Enrol(ctx context.Context, req *flpb.EnrolRequest) (*flpb.EnrolResponse, error) {
	request, err := fl.DecodeEnvelope(req.GetDocument())
	if err != nil {
		return nil, fl.RefusalFor("", err)
	}
	got, err := s.a.enrol(ctx, req.GetToken(), req.GetCsr(), request)
	if err != nil {
		return nil, err
	}
	return &flpb.EnrolResponse{
		Genesis: s.a.genesisEv.Encode(), Enrolment: got.enrolment.Encode(),
		Certificate: got.certificate, Authority: s.a.authority.Certificate.Raw,
	}, nil
}

func (s *enrolmentService) Renew(ctx context.Context, req *flpb.RenewRequest) (*flpb.RenewResponse, error) {
	request, err := fl.DecodeEnvelope(req.GetDocument())
	if err != nil {
		return nil, fl.RefusalFor("", err)
	}
	certificate, err := s.a.renew(ctx, request, req.GetCsr())
	if err != nil {
		return nil, err
	}
	return &flpb.RenewResponse{Certificate: certificate}, nil
}
