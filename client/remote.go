package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
)

const (
	maxMessage  = 16 << 20
	uploadChunk = 512 << 10 // a ciphertext of every suite, or a second of 4 Mbit/s
	blobLanes   = 4         // blobs sent or fetched at the same time
	fetchChunk  = 512 << 10
	maxBlob     = 1 << 30 // no blob of the protocol is near this
	callTimeout = 2 * time.Minute
	// bulkIdle is how long the connection for blobs stays when no blob moves.
	bulkIdle = 2 * time.Second
)

// dial opens a connection to an aggregator. It connects when it is first used.
func dial(address string, authority fl.Digest, cert certificateSource, now func() time.Time, extra ...grpc.DialOption) (*grpc.ClientConn, error) {
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(identity.ClientTLS(authority, cert, now))),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.WithChainUnaryInterceptor(persist),
	}, extra...)
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the aggregator at %s: %w", address, err)
	}
	return conn, nil
}

// persist repeats a call that the network lost, a few times and soon: work that
// takes dozens of calls would otherwise begin anew whenever one of them is
// lost, and on a bad link never end. Every call may be repeated: the
// aggregator takes a document or a chunk in once. Polling for work is left to
// Run, which paces itself.
func persist(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	const attempts = 4
	for attempt := 1; ; attempt++ {
		err := invoke(ctx, method, req, reply, cc, opts...)
		lost := status.Code(err) == codes.Unavailable && fl.CodeOf(flpb.FromStatus(err)) == ""
		if !lost || attempt == attempts || method == flpb.Federation_Work_FullMethodName {
			return err
		}
		if pause(ctx, time.Duration(attempt*attempt)*(20*time.Millisecond+rand.N(20*time.Millisecond))) != nil {
			return err
		}
	}
}

// Remote is a party's view of its aggregator: documents and blobs, verified
// against the pinned genesis.
type Remote struct {
	conn    *grpc.ClientConn
	api     flpb.FederationClient
	bulk    *grpc.ClientConn      // of blobs
	blobs   flpb.FederationClient // on bulk
	home    *Home
	chunk   int
	rate    int // upload limit in bytes a second, 0 for none
	log     *slog.Logger
	logbook *logbook
	members map[fl.NodeID]fl.Enrolment // verified enrolments of parties
	revoked map[fl.NodeID]time.Time
}

// Connect opens a connection for the party in a folder. It is two: a small one
// that stays, for polling and documents, and one for blobs, which is there only
// while blobs move. A connection that has carried large messages keeps buffers
// at both ends for as long as it lives, and an aggregator has one for every
// party that waits for work.
func Connect(home *Home, address string, now func() time.Time, extra ...grpc.DialOption) (*Remote, error) {
	conn, err := dial(address, home.Genesis.CertificateCA, home.certificate, now, extra...)
	if err != nil {
		return nil, err
	}
	bulk, err := dial(address, home.Genesis.CertificateCA, home.certificate, now, append(slices.Clone(extra), grpc.WithIdleTimeout(bulkIdle))...)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Remote{conn: conn, api: flpb.NewFederationClient(conn), bulk: bulk, blobs: flpb.NewFederationClient(bulk), home: home, chunk: uploadChunk, logbook: newLogbook(home, now), log: slog.New(slog.DiscardHandler)}, nil
}

// Close closes the connections.
func (r *Remote) Close() error { return errors.Join(r.conn.Close(), r.bulk.Close()) }

// API gives the look-ups that need no verification here.
func (r *Remote) API() flpb.FederationClient { return r.api }

// Submit signs a document, hands it in and returns the aggregator's verified
// receipt.
func (r *Remote) Submit(ctx context.Context, doc fl.Document) (fl.Receipt, error) {
	envelope, err := fl.Sign(doc, r.home.Node, r.home.Keys.Signing)
	if err != nil {
		return fl.Receipt{}, err
	}
	return r.SubmitEnvelope(ctx, envelope)
}

// SubmitEnvelope hands in a document that is signed already.
func (r *Remote) SubmitEnvelope(ctx context.Context, envelope fl.Envelope) (fl.Receipt, error) {
	receipt, _, err := r.submit(ctx, envelope)
	return receipt, err
}

// submit returns the receipt as the aggregator signed it, too.
func (r *Remote) submit(ctx context.Context, envelope fl.Envelope) (fl.Receipt, fl.Envelope, error) {
	none := fl.Envelope{}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.api.Submit(ctx, &flpb.SubmitRequest{Document: envelope.Encode()})
	if err != nil {
		return fl.Receipt{}, none, fmt.Errorf("submitting a %s: %w", envelope.Kind, flpb.FromStatus(err))
	}
	signed, err := fl.DecodeEnvelope(answer.GetReceipt())
	if err != nil {
		return fl.Receipt{}, none, fmt.Errorf("the receipt for a %s: %w", envelope.Kind, err)
	}
	var receipt fl.Receipt
	if err := signed.Open(r.home.Genesis.AggregatorKey, &receipt); err != nil {
		return fl.Receipt{}, none, fmt.Errorf("the receipt for a %s: %w", envelope.Kind, err)
	}
	if receipt.Subject != envelope.Digest() || receipt.Node != r.home.Node {
		return fl.Receipt{}, none, fmt.Errorf("the receipt for a %s is for another document", envelope.Kind)
	}
	return receipt, signed, nil
}

// errNonsense says that the aggregator's answer contradicts the protocol.
var errNonsense = errors.New("the aggregator's answer makes no sense")

// Upload sends a blob in chunks. It asks first where an earlier attempt
// stopped and continues there.
func (r *Remote) Upload(ctx context.Context, data []byte) (fl.Digest, error) {
	return r.send(ctx, data, false)
}

// send is Upload; a fresh blob was never sent before, and the first attempt
// begins at its first byte without asking.
func (r *Remote) send(ctx context.Context, data []byte, fresh bool) (fl.Digest, error) {
	digest := fl.DigestBytes(data)
	for attempt := 0; ; attempt++ {
		err := r.upload(ctx, digest, data, fresh && attempt == 0)
		err = flpb.FromStatus(err)
		again := fl.CodeOf(err) == fl.CodeCorrupt || flpb.Retryable(err) && !errors.Is(err, errNonsense)
		if err == nil || !again || attempt >= 4 || ctx.Err() != nil {
			if err != nil {
				err = fmt.Errorf("uploading blob %s: %w", digest.Short(), err)
			}
			return digest, err
		}
		if err := pause(ctx, backoff(attempt)); err != nil {
			return digest, err
		}
	}
}

// uploadAll sends several blobs, a few at a time: a blob waits for the
// aggregator's disk, which the next one can use meanwhile. A party with a rate
// limit sends them one after the other. Fresh blobs were never sent before.
func (r *Remote) uploadAll(ctx context.Context, blobs [][]byte, fresh bool) ([]fl.Digest, error) {
	lanes := blobLanes
	if r.rate > 0 {
		lanes = 1
	}
	digests := make([]fl.Digest, len(blobs))
	err := inLanes(ctx, lanes, len(blobs), func(ctx context.Context, i int) (err error) {
		digests[i], err = r.send(ctx, blobs[i], fresh)
		return err
	})
	return digests, err
}

// inLanes does n pieces of work, a few at a time. It returns the first error;
// what has not begun by then is left out.
func inLanes(ctx context.Context, lanes, n int, work func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(lanes, n) {
		wg.Go(func() {
			for i := range next {
				if ctx.Err() != nil {
					continue
				}
				if err := work(ctx, i); err != nil {
					cancel(err) // the first one counts
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

func (r *Remote) upload(ctx context.Context, digest fl.Digest, data []byte, fresh bool) error {
	var offset int64
	if !fresh {
		status, err := r.blobs.UploadStatus(ctx, &flpb.UploadStatusRequest{Digest: digest[:]})
		if err != nil {
			return err
		}
		if status.GetComplete() {
			return nil
		}
		offset = status.GetOffset()
	}
	if offset < 0 || offset > int64(len(data)) {
		return fmt.Errorf("%w: it holds %d bytes of a blob of %d", errNonsense, offset, len(data))
	}
	if offset > 0 {
		r.log.Info("resuming an upload", "blob", digest.Short(), "at", offset, "of", len(data))
	}
	for {
		end := min(offset+int64(r.chunk), int64(len(data)))
		call, cancel := context.WithTimeout(ctx, callTimeout)
		answer, err := r.blobs.Upload(call, &flpb.UploadRequest{Digest: digest[:], Offset: offset, Data: data[offset:end], Last: end == int64(len(data))})
		cancel()
		if err != nil {
			return err
		}
		if r.rate > 0 {
			if err := pause(ctx, time.Duration(end-offset)*time.Second/time.Duration(r.rate)); err != nil {
				return err
			}
		}
		if answer.GetComplete() {
			return nil
		}
		if offset = answer.GetOffset(); offset != end || end == int64(len(data)) {
			return fmt.Errorf("%w: after byte %d of %d it continues at byte %d", errNonsense, end, len(data), offset)
		}
	}
}

// ErrDamaged says that the aggregator sent a blob of another digest than the
// one asked for.
var ErrDamaged = errors.New("the bytes do not match the digest")

// Fetch downloads a blob that a document names and verifies it. Bytes of
// another digest are ErrDamaged.
func (r *Remote) Fetch(ctx context.Context, digest, via fl.Digest) ([]byte, error) {
	var data []byte
	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		answer, err := r.blobs.Download(call, &flpb.DownloadRequest{Digest: digest[:], Via: via[:], Offset: int64(len(data)), Length: fetchChunk})
		cancel()
		if err != nil {
			return nil, fmt.Errorf("downloading blob %s: %w", digest.Short(), flpb.FromStatus(err))
		}
		size := answer.GetSize()
		if size < 0 || size > maxBlob || int64(len(data)+len(answer.GetData())) > size {
			return nil, fmt.Errorf("downloading blob %s: it claims %d bytes", digest.Short(), size)
		}
		if data == nil {
			data = make([]byte, 0, min(size, 8<<20)) // more when it comes: a claim costs no memory
		}
		data = append(data, answer.GetData()...)
		if int64(len(data)) == size {
			break
		}
		if len(answer.GetData()) == 0 {
			return nil, fmt.Errorf("downloading blob %s: %w after %d of %d bytes", digest.Short(), io.ErrUnexpectedEOF, len(data), size)
		}
	}
	if sha256.Sum256(data) != digest {
		return nil, fmt.Errorf("downloading blob %s: %w", digest.Short(), ErrDamaged)
	}
	return data, nil
}

// named is a blob and a document that names it.
type named struct{ digest, via fl.Digest }

// fetchAll is Fetch for several blobs, a few at a time.
func (r *Remote) fetchAll(ctx context.Context, blobs []named) ([][]byte, error) {
	out := make([][]byte, len(blobs))
	err := inLanes(ctx, blobLanes, len(blobs), func(ctx context.Context, i int) (err error) {
		out[i], err = r.Fetch(ctx, blobs[i].digest, blobs[i].via)
		return err
	})
	return out, err
}

// Document fetches a document by its digest; the caller checks its signature.
func (r *Remote) Document(ctx context.Context, digest fl.Digest) (fl.Envelope, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.api.GetDocument(ctx, &flpb.GetDocumentRequest{Digest: digest[:]})
	if err != nil {
		return fl.Envelope{}, fmt.Errorf("fetching document %s: %w", digest.Short(), flpb.FromStatus(err))
	}
	envelope, err := fl.DecodeEnvelope(answer.GetDocument())
	if err != nil {
		return fl.Envelope{}, fmt.Errorf("fetching document %s: %w", digest.Short(), err)
	}
	if envelope.Digest() != digest {
		return fl.Envelope{}, fmt.Errorf("fetching document %s: got another one", digest.Short())
	}
	return envelope, nil
}

// Member returns the verified enrolment of a party and whether it was revoked.
func (r *Remote) Member(ctx context.Context, node fl.NodeID) (enrolment fl.Enrolment, revoked bool, err error) {
	e, known := r.members[node]
	if !known {
		if err := r.refreshMembers(ctx); err != nil {
			return fl.Enrolment{}, false, err
		}
		if e, known = r.members[node]; !known {
			return fl.Enrolment{}, false, fl.Refuse(fl.CodeUnknownParty, node, "%s is not enrolled in this federation", node)
		}
	}
	_, revoked = r.revoked[node]
	return e, revoked, nil
}

func (r *Remote) refreshMembers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.api.ListParties(ctx, &flpb.ListPartiesRequest{})
	if err != nil {
		return fmt.Errorf("listing the federation's parties: %w", flpb.FromStatus(err))
	}
	members, revoked := map[fl.NodeID]fl.Enrolment{}, map[fl.NodeID]time.Time{}
	for _, p := range answer.GetParties() {
		var e fl.Enrolment
		if err := r.home.openOwn(p.GetEnrolment(), &e); err != nil {
			return fmt.Errorf("listing the federation's parties: %w", err)
		}
		members[e.Node] = e
		if len(p.GetRevocation()) > 0 {
			var rev fl.Revocation
			if err := r.home.openOwn(p.GetRevocation(), &rev); err != nil {
				return fmt.Errorf("listing the federation's parties: %w", err)
			}
			revoked[e.Node] = rev.RevokedAt
		}
	}
	// An enrolment never changes: one that differs from what was seen before
	// is an aggregator that swaps keys.
	for node, before := range r.members {
		after, ok := members[node]
		if !ok || !sameKeys(before, after) {
			return fmt.Errorf("the aggregator changed or dropped the enrolment of %s", node)
		}
	}
	r.members, r.revoked = members, revoked
	return nil
}

func sameKeys(a, b fl.Enrolment) bool {
	return string(a.SigningKey) == string(b.SigningKey) && a.EnrolledAt.Equal(b.EnrolledAt)
}

// backoff grows from a quarter of a second to half a minute, with jitter.
func backoff(attempt int) time.Duration {
	d := 250 * time.Millisecond << min(attempt, 7)
	return d/2 + rand.N(d/2)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readFile reads a file of the party's folder; a missing one is nil.
func readFile(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
