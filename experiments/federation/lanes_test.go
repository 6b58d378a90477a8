package federation_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"credence/experiments/federation"
	"credence/fl"
	"credence/fl/flpb"
)

// TestNoiseWhileTraining: a node that cannot hand in its noise trains and hands
// in its update meanwhile; the round seals when the noise comes.
func TestNoiseWhileTraining(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	updated := map[fl.NodeID]chan struct{}{}
	from := func(node fl.NodeID) chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		if updated[node] == nil {
			updated[node] = make(chan struct{})
		}
		return updated[node]
	}
	hold := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		submit, ok := req.(*flpb.SubmitRequest)
		if !ok {
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		doc, err := fl.DecodeEnvelope(submit.GetDocument())
		if err != nil {
			return err
		}
		if doc.Kind == (fl.NoiseDealing{}).Kind() {
			select {
			case <-from(doc.Signer):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err = invoke(ctx, method, req, reply, cc, opts...)
		if err == nil && doc.Kind == (fl.UpdateHeader{}).Kind() {
			close(from(doc.Signer))
		}
		return err
	}
	c := newClinic(t, "insecure-rlwe64-d4-v1", func(o *federation.Options) {
		o.Node.DialOptions = append(o.Node.DialOptions, grpc.WithChainUnaryInterceptor(hold))
	})
	if _, err := c.owner.SubmitJob(t.Context(), c.job(1)); err != nil {
		t.Fatal(err)
	}
	if v := c.await(40 * time.Second); v.GetPhase() != "done" {
		t.Fatalf("the job is %s: %s", v.GetPhase(), v.GetReason())
	}
}
