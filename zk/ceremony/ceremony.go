package ceremony

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"credence/fl"
	"credence/he"
	"credence/zk"
)

// Options say who may contribute to a new ceremony.
type Options struct {
	Suite         string
	Participants  []Participant // in the order in which they contribute; none when Open
	Open          bool          // anybody may contribute, in any order
	Minimum       int           // contributors that each seal needs, at least 2; 0 is 2
	AllowInsecure bool          // accept suites for tests
	Progress      zk.Progress   // may be nil
}

// Found starts a ceremony for the circuits of a suite, update/<suite> and
// keyshare/<suite>, in a folder that holds none. It wraps ErrRefused.
func Found(dir string, o Options) (*Status, error) {
	suite, err := he.LookupSuite(o.Suite)
	if err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	if suite.Insecure() && !o.AllowInsecure {
		return nil, refuse("suite %s is for tests only", o.Suite)
	}
	shapes, err := shapesOf(o.Suite)
	if err != nil {
		return nil, err
	}
	if o.Minimum == 0 {
		o.Minimum = 2
	}
	s := Start{Version: 1, Suite: o.Suite, Open: o.Open, Participants: slices.Clone(o.Participants), Minimum: o.Minimum}
	// Reading never fails and never returns less (crypto/rand).
	_, _ = rand.Read(s.Nonce[:])
	for i, shape := range shapes {
		report(o.Progress)("compiling "+shape.Name, i, len(shapes))
		_, c, err := compile(shape)
		if err != nil {
			return nil, err
		}
		s.Circuits = append(s.Circuits, c)
		s.Domain = max(s.Domain, c.Domain)
	}
	if err := s.validate(); err != nil {
		return nil, refuse("%v", err)
	}
	f := folder{dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("ceremony: making the folder: %w", err)
	}
	release, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer func() { _ = release() }()
	if _, err := os.Lstat(filepath.Join(dir, transcriptFile)); !os.IsNotExist(err) {
		return nil, refuse("%s holds a ceremony already: choose another folder", dir)
	}
	t := &Transcript{Start: s, Circuits: make([][]fl.Envelope, len(s.Circuits))}
	if err := f.save(t); err != nil {
		return nil, err
	}
	return t.status()
}

// report makes a progress callback that may be called.
func report(p zk.Progress) zk.Progress {
	if p == nil {
		return func(string, int, int) {}
	}
	return p
}

// ContributeOptions change how a contribution is made.
type ContributeOptions struct {
	// PassOver goes ahead of listed participants that have not contributed.
	// They cannot contribute to this phase any more.
	PassOver bool
	Progress zk.Progress // may be nil
}

// Contribute adds a participant's secrets to whatever the open phase still
// lacks of it: the powers, or each circuit. Each circuit is added on its own,
// so that what an interrupted call completed stays and the next call goes on
// from there. It first checks the contribution that it builds on; a *Fault
// names one that does not hold. It returns the receipts, which the contributor
// should keep, and wraps ErrRefused when there is nothing to contribute to now.
// Key is the participant's Ed25519 signing key.
func Contribute(ctx context.Context, dir string, name fl.NodeID, key ed25519.PrivateKey, o ContributeOptions) ([]Entry, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PrivateKeySize {
		return nil, refuse("the signing key of %s is not an Ed25519 key", name)
	}
	me := Participant{Name: name, Key: public}
	if err := me.validate(); err != nil {
		return nil, refuse("%v", err)
	}
	f := folder{dir}
	release, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer func() { _ = release() }()
	t, err := f.load()
	if err != nil {
		return nil, err
	}
	if t.phase() == PhaseSealed {
		return nil, refuse("the ceremony is sealed")
	}
	var made []Entry
	for _, c := range t.chains() {
		if c.phase != t.phase() {
			continue
		}
		done, err := c.read(&t.Start)
		if err != nil {
			return made, err
		}
		if slices.ContainsFunc(*c.entries, func(e fl.Envelope) bool { return e.Signer == name }) {
			continue
		}
		if err := c.turn(&t.Start, me, o.PassOver); err != nil {
			return made, err
		}
		step := &contributing{f: f, t: t, c: c, done: done, report: report(o.Progress)}
		entry, err := step.add(ctx, me, key)
		if err != nil {
			return made, err
		}
		made = append(made, entry)
	}
	if len(made) == 0 {
		return nil, refuse("%s has contributed to phase %s already; it ends with its seal", name, t.phase())
	}
	return made, nil
}

// turn checks that a participant may contribute to a chain now.
func (c *chain) turn(s *Start, me Participant, passOver bool) error {
	for _, e := range *c.entries {
		var d Contribution
		if err := e.Read(&d); err != nil {
			return err
		}
		if me.Key.Equal(d.Key) {
			return refuse("this key contributed as %s already", e.Signer)
		}
	}
	if s.Open {
		return nil
	}
	at := slices.IndexFunc(s.Participants, func(p Participant) bool { return p.Name == me.Name })
	if at < 0 {
		return refuse("%s is no participant of this ceremony", me.Name)
	}
	if !me.Key.Equal(s.Participants[at].Key) {
		return refuse("the key is not the one that participant %s is listed with", me.Name)
	}
	next := c.next(s)
	if at < next {
		return refuse("%s was passed over: %s has contributed after its place", me.Name, (*c.entries)[len(*c.entries)-1].Signer)
	}
	if at > next && !passOver {
		return refuse("it is the turn of %s; pass over the missing only when they will not come", s.Participants[next].Name)
	}
	return nil
}

// next is the position among the participants that comes next.
func (c *chain) next(s *Start) int {
	if len(*c.entries) == 0 {
		return 0
	}
	last := (*c.entries)[len(*c.entries)-1].Signer
	return 1 + slices.IndexFunc(s.Participants, func(p Participant) bool { return p.Name == last })
}

// contributing is one contribution to one chain in the making.
type contributing struct {
	f      folder
	t      *Transcript
	c      chain
	done   []Contribution
	report zk.Progress
}

// add makes the file, then the transcript that names it.
func (w *contributing) add(ctx context.Context, me Participant, key ed25519.PrivateKey) (Entry, error) {
	var b []byte
	var err error
	if w.c.phase == PhasePowers {
		b, err = w.powers(ctx)
	} else {
		b, err = w.circuit(ctx)
	}
	if err != nil {
		return Entry{}, err
	}
	d := Contribution{
		Ceremony: w.t.Start.ID(), Phase: w.c.phase, Circuit: w.c.shape, Sequence: len(w.done) + 1,
		Previous: w.c.head(w.done), Key: me.Key,
	}
	if d.File, err = w.f.put(b); err != nil {
		return Entry{}, err
	}
	signed, err := fl.Sign(d, me.Name, key)
	if err != nil {
		return Entry{}, fmt.Errorf("ceremony: %w", err)
	}
	*w.c.entries = append(*w.c.entries, signed)
	if err := w.f.save(w.t); err != nil {
		return Entry{}, err
	}
	return entryOf(&d, me.Name), nil
}

// steps names the three steps of a contribution and how far they are.
func (w *contributing) step(i int, what string) func(done, total int) {
	name := string(w.c.phase)
	if w.c.shape != "" {
		name = w.c.shape
	}
	return func(done, total int) {
		w.report(what+" "+name, i*1000+1000*done/max(total, 1), 3000)
	}
}

func (w *contributing) powers(ctx context.Context) ([]byte, error) {
	n := w.t.Start.Domain
	var p *powers
	if len(w.done) == 0 {
		p = initialPowers(n, w.t.Start.ID())
	} else {
		r := w.c.reader(w.f, w.done)
		b, err := r.get(len(w.done))
		if err != nil {
			return nil, err
		}
		if p, err = parsePowers(ctx, n, b, w.step(0, "reading")); err != nil {
			return nil, r.blame(ctx, len(w.done), err)
		}
		before := initialPowers(8, w.t.Start.ID()).head() // the same for every domain
		if len(w.done) > 1 {
			if b, err = r.get(len(w.done) - 1); err != nil {
				return nil, err
			}
			if before, err = parsePowersHead(n, b); err != nil {
				return nil, r.blame(ctx, len(w.done)-1, err)
			}
		}
		w.step(1, "checking")(0, 1)
		if err := p.verify(before, r.digest(len(w.done)-1)); err != nil {
			return nil, r.blame(ctx, len(w.done), err)
		}
	}
	if err := p.contribute(ctx, w.c.head(w.done), w.step(2, "contributing to")); err != nil {
		return nil, err
	}
	return p.bytes(ctx)
}

func (w *contributing) circuit(ctx context.Context) ([]byte, error) {
	w.step(0, "compiling")(0, 1)
	system, err := compileAs(&w.t.Start, w.c.circuit)
	if err != nil {
		return nil, err
	}
	domain := w.t.Start.Circuits[w.c.circuit].Domain
	r := w.c.reader(w.f, w.done)
	w.step(0, "reading")(0, 1)
	p, err := r.circuit(system, domain, len(w.done))
	if err != nil {
		return nil, err
	}
	if len(w.done) > 0 {
		before, err := r.circuit(system, domain, len(w.done)-1)
		if err != nil {
			return nil, err
		}
		w.step(1, "checking")(0, 1)
		if err := verifyCircuit(before, p, r.digest(len(w.done)-1)); err != nil {
			return nil, r.blame(ctx, len(w.done), err)
		}
	}
	if err := contributeCircuit(ctx, p, w.c.head(w.done), w.step(2, "contributing to")); err != nil {
		return nil, err
	}
	return encodeCircuit(p)
}
