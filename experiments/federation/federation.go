// Package federation runs a whole federation in one process: an aggregator
// and any number of nodes, each with its own folder, keys and connection over
// real mutual TLS on the loopback interface. The parties share nothing but the
// network, so what runs here is what runs across machines; the demonstration
// and the end-to-end tests are built on it.
package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/fl"
	"credence/fl/identity"
)

// Options describe the federation to run.
type Options struct {
	Dir        string
	Founding   aggregator.FoundingOptions
	Aggregator aggregator.Options
	Node       client.Options // of every node; Log is given the node's name
	Address    string         // to listen on; default 127.0.0.1:0
	Network    *Network       // between the nodes and the aggregator; nil is a good one
}

// Federation is a running federation.
type Federation struct {
	opts    Options
	address string
	agg     *process[*aggregator.Aggregator]
	nodes   map[fl.NodeID]*process[*client.Node]
	log     *slog.Logger
}

// process is one party that can be stopped and started.
type process[T any] struct {
	party  T
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func start[T any](ctx context.Context, party T, run func(context.Context) error) *process[T] {
	ctx, cancel := context.WithCancel(ctx)
	p := &process[T]{party: party, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = run(ctx)
	}()
	return p
}

func (p *process[T]) stop() error {
	p.cancel()
	<-p.done
	return p.err
}

// Start founds the federation in opts.Dir and serves it.
func Start(ctx context.Context, opts Options) (*Federation, error) {
	f := &Federation{opts: opts, nodes: map[fl.NodeID]*process[*client.Node]{}, log: opts.Aggregator.Log}
	if f.opts.Address == "" {
		f.opts.Address = "127.0.0.1:0"
	}
	a, err := aggregator.Found(ctx, f.aggregatorDir(), opts.Founding, opts.Aggregator)
	if err != nil {
		return nil, err
	}
	if err := f.serve(ctx, a); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return f, nil
}

func (f *Federation) aggregatorDir() string { return filepath.Join(f.opts.Dir, "aggregator") }

// NodeDir returns the folder of a party.
func (f *Federation) NodeDir(node fl.NodeID) string { return filepath.Join(f.opts.Dir, string(node)) }

// Address returns where the aggregator listens.
func (f *Federation) Address() string { return f.address }

// Aggregator returns the running aggregator.
func (f *Federation) Aggregator() *aggregator.Aggregator { return f.agg.party }

func (f *Federation) serve(ctx context.Context, a *aggregator.Aggregator) error {
	address := f.opts.Address
	if f.address != "" {
		address = f.address // the nodes know this one
	}
	listener, err := identity.Listen(address)
	if err != nil {
		return err
	}
	f.address = listener.Addr().(*net.TCPAddr).String()
	f.agg = start(ctx, a, func(ctx context.Context) error { return errors.Join(a.Serve(ctx, listener), a.Close()) })
	return nil
}

// StopAggregator stops the aggregator; the nodes keep trying to reach it.
func (f *Federation) StopAggregator() error { return f.agg.stop() }

// RestartAggregator starts it again on the same address.
func (f *Federation) RestartAggregator(ctx context.Context) error {
	a, err := aggregator.Open(ctx, f.aggregatorDir(), f.opts.Aggregator)
	if err != nil {
		return err
	}
	return f.serve(ctx, a)
}

// Enrol invites a party and lets it join.
func (f *Federation) Enrol(ctx context.Context, invite aggregator.InviteOptions, join client.JoinOptions) (*client.Home, error) {
	invite.Address = f.address
	token, err := f.Aggregator().Invite(ctx, invite)
	if err != nil {
		return nil, err
	}
	if join.Now == nil {
		join.Now = f.opts.Node.Now
	}
	home, err := client.Join(ctx, f.NodeDir(invite.Node), token, join)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", invite.Node, err)
	}
	return home, nil
}

// Open opens an enrolled node without starting it.
func (f *Federation) Open(node fl.NodeID) (*client.Node, error) {
	opts := f.opts.Node
	if f.opts.Network != nil {
		opts.DialOptions = append(slices.Clone(opts.DialOptions), f.opts.Network.Dial(node))
	}
	n, err := client.Open(f.NodeDir(node), opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node, err)
	}
	return n, nil
}

// Run starts an enrolled node.
func (f *Federation) Run(ctx context.Context, node fl.NodeID) error {
	n, err := f.Open(node)
	if err != nil {
		return err
	}
	f.nodes[node] = start(ctx, n, func(ctx context.Context) error { return errors.Join(n.Run(ctx), n.Close()) })
	return nil
}

// StopNode stops a running node.
func (f *Federation) StopNode(node fl.NodeID) error {
	p := f.nodes[node]
	if p == nil {
		return nil
	}
	delete(f.nodes, node)
	return p.stop()
}

// Stop stops every party and waits for them.
func (f *Federation) Stop() error {
	var wg sync.WaitGroup
	errs := make(chan error, len(f.nodes)+1)
	for name, p := range f.nodes {
		wg.Go(func() {
			if err := p.stop(); err != nil {
				errs <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	wg.Wait()
	errs <- f.agg.stop()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

// Connect opens a connection as an enrolled party, to submit and look.
func (f *Federation) Connect(home *client.Home) (*client.Remote, error) {
	now := f.opts.Node.Now
	if now == nil {
		now = time.Now
	}
	return client.Connect(home, f.address, now)
}
