package federation

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"credence/fl"
)

// Faults are how often a network misbehaves, each a probability of a call from
// 0 to 1.
type Faults struct {
	DropRequest float64 // the call fails, and the aggregator never saw it
	DropAnswer  float64 // the call fails after the aggregator carried it out
	Duplicate   float64 // the aggregator sees the call twice
	Corrupt     float64 // one bit of a document, chunk, receipt or blob flips, on the way there or back
	Delay       float64 // the call waits for up to MaxDelay
	MaxDelay    time.Duration
}

// Counts says how often each fault struck.
type Counts struct {
	Calls, DroppedRequests, DroppedAnswers, Duplicates, Corruptions, Delays, Cut int
}

// Network is a bad network between the parties of a Federation and their
// aggregator. Faults are drawn from a seed; which call meets which fault also
// depends on the order of the calls. It works inside the encrypted
// connection, so it does to a call what TLS keeps outsiders from doing: what
// the parties survive here they survive from an aggregator's faulty proxy or
// disk as well.
type Network struct {
	mu     sync.Mutex
	rng    *rand.Rand
	faults Faults
	cut    map[fl.NodeID]bool
	counts Counts
}

// NewNetwork returns a network without faults that draws from a seed.
func NewNetwork(seed uint64) *Network {
	return &Network{rng: rand.New(rand.NewPCG(seed, 0x6e6574)), cut: map[fl.NodeID]bool{}}
}

// Set changes how often faults strike, from the next call on.
func (n *Network) Set(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

// Break cuts parties off: their calls fail until Fix.
func (n *Network) Break(nodes ...fl.NodeID) { n.partition(true, nodes) }

// Fix connects parties again.
func (n *Network) Fix(nodes ...fl.NodeID) { n.partition(false, nodes) }

func (n *Network) partition(cut bool, nodes []fl.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range nodes {
		n.cut[node] = cut
	}
}

// Counts returns what happened so far.
func (n *Network) Counts() Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts
}

// Dial returns the option that puts a party's connection on this network.
func (n *Network) Dial(node fl.NodeID) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return n.call(ctx, node, req, reply, func(req, reply any) error { return invoke(ctx, method, req, reply, cc, opts...) })
	})
}

// fate is what was drawn for one call.
type fate struct {
	cut, dropRequest, dropAnswer, duplicate bool
	corruptRequest, corruptAnswer           uint64 // 0: not
	delay                                   time.Duration
}

func (n *Network) draw(node fl.NodeID) fate {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts.Calls++
	var f fate
	strike := func(p float64, count *int) bool {
		hit := n.rng.Float64() < p
		if hit {
			*count++
		}
		return hit
	}
	if f.cut = n.cut[node]; f.cut {
		n.counts.Cut++
		return f
	}
	f.dropRequest = strike(n.faults.DropRequest, &n.counts.DroppedRequests)
	f.dropAnswer = strike(n.faults.DropAnswer, &n.counts.DroppedAnswers)
	f.duplicate = strike(n.faults.Duplicate, &n.counts.Duplicates)
	if strike(n.faults.Corrupt, &n.counts.Corruptions) {
		if where := n.rng.Uint64() | 1<<32; n.rng.Uint64()&1 == 0 {
			f.corruptRequest = where
		} else {
			f.corruptAnswer = where
		}
	}
	if n.faults.MaxDelay > 0 && strike(n.faults.Delay, &n.counts.Delays) {
		f.delay = time.Duration(n.rng.Int64N(int64(n.faults.MaxDelay)))
	}
	return f
}

func (n *Network) call(ctx context.Context, node fl.NodeID, req, reply any, invoke func(req, reply any) error) error {
	f := n.draw(node)
	if f.delay > 0 {
		timer := time.NewTimer(f.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if f.cut || f.dropRequest {
		return status.Error(codes.Unavailable, "the network lost the request")
	}
	if message, ok := req.(proto.Message); ok && f.corruptRequest != 0 {
		message = proto.Clone(message)
		flip(message, f.corruptRequest)
		req = message
	}
	err := invoke(req, reply)
	if message, ok := reply.(proto.Message); ok && f.duplicate {
		_ = invoke(req, message.ProtoReflect().New().Interface()) // only what it does to the aggregator counts
	}
	if n.lost(node) || f.dropAnswer {
		return status.Error(codes.Unavailable, "the network lost the answer")
	}
	if message, ok := reply.(proto.Message); ok && err == nil && f.corruptAnswer != 0 {
		flip(message, f.corruptAnswer)
	}
	return err
}

// lost reports whether a party was cut off while its call was answered.
func (n *Network) lost(node fl.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[node] {
		n.counts.Cut++
	}
	return n.cut[node]
}

// flip inverts one bit of one of the byte fields of a message, in place. Which
// one follows from where.
func flip(message proto.Message, where uint64) {
	var fields [][]byte
	collect(message.ProtoReflect(), &fields)
	if len(fields) == 0 {
		return
	}
	field := fields[where%uint64(len(fields))]
	bit := (where >> 8) % uint64(8*len(field))
	field[bit/8] ^= 1 << (bit % 8)
}

// collect gathers the byte fields of a message that are not empty. They alias
// the message.
func collect(m protoreflect.Message, into *[][]byte) {
	add := func(kind protoreflect.Kind, v protoreflect.Value) {
		switch kind {
		case protoreflect.BytesKind:
			if b := v.Bytes(); len(b) > 0 {
				*into = append(*into, b)
			}
		case protoreflect.MessageKind:
			collect(v.Message(), into)
		}
	}
	// In the order of the fields: Range has none.
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		switch {
		case !m.Has(field) || field.IsMap():
		case field.IsList():
			list := m.Get(field).List()
			for k := range list.Len() {
				add(field.Kind(), list.Get(k))
			}
		default:
			add(field.Kind(), m.Get(field))
		}
	}
}
