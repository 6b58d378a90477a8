package client

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/fl/translog"
)

// history is one log that the aggregator double signs.
type history struct {
	entries [][]byte
	tree    hashes
	index   map[fl.Digest]int64
	docs    map[fl.Digest]fl.Envelope
}

func newHistory(docs ...fl.Envelope) *history {
	h := &history{index: map[fl.Digest]int64{}, docs: map[fl.Digest]fl.Envelope{}}
	h.add(docs...)
	return h
}

func (h *history) add(docs ...fl.Envelope) {
	for _, d := range docs {
		n := int64(len(h.entries))
		more, err := translog.Append(n, d.Encode(), h.tree)
		if err != nil {
			panic(err)
		}
		h.tree, h.entries = append(h.tree, more...), append(h.entries, d.Encode())
		h.index[d.Digest()], h.docs[d.Digest()] = n, d
	}
}

// upTo is the history as it was at a size.
func (h *history) upTo(size int) *history {
	c := newHistory()
	for _, raw := range h.entries[:size] {
		e, err := fl.DecodeEnvelope(raw)
		if err != nil {
			panic(err)
		}
		c.add(e)
	}
	return c
}

// double is an aggregator that shows a party whatever history it likes.
type double struct {
	flpb.FederationClient
	*history
	signing  ed25519.PrivateKey
	genesis  fl.Digest
	cosigned []byte
	parties  *[]*flpb.Party
	calls    map[string]int

	checkpoint func(*flpb.GetCheckpointResponse) // tampers with answers
	inclusion  func(*flpb.GetInclusionResponse)
	entries    func(*flpb.ListEntriesResponse)
	submit     func(note []byte) error
}

func (d *double) note(size int64) []byte {
	root, err := translog.Root(size, d.tree)
	if err != nil {
		panic(err)
	}
	signed, err := translog.Sign(translog.Checkpoint{Origin: translog.Origin(d.genesis), Size: size, Root: root}, d.signing)
	if err != nil {
		panic(err)
	}
	return signed
}

func (d *double) GetCheckpoint(_ context.Context, req *flpb.GetCheckpointRequest, _ ...grpc.CallOption) (*flpb.GetCheckpointResponse, error) {
	d.calls["checkpoint"]++
	size := req.GetSize()
	if size == 0 {
		size = int64(len(d.history.entries))
	}
	prove := func(a, b int64) [][]byte {
		if a = min(a, int64(len(d.history.entries))); min(a, b) == 0 {
			return nil
		}
		proof, err := translog.ProveConsistency(max(a, b), min(a, b), d.tree)
		if err != nil {
			panic(err)
		}
		return translog.EncodeHashes(proof)
	}
	out := &flpb.GetCheckpointResponse{Checkpoint: d.note(size), Proof: prove(req.GetFromSize(), size)}
	if d.cosigned != nil {
		c, err := translog.Open(d.cosigned, translog.Origin(d.genesis), d.signing.Public().(ed25519.PublicKey))
		if err != nil {
			panic(err)
		}
		out.Cosigned, out.CosignedProof = d.cosigned, prove(c.Size, size)
	}
	if d.checkpoint != nil {
		d.checkpoint(out)
	}
	return out, nil
}

func (d *double) GetInclusion(_ context.Context, req *flpb.GetInclusionRequest, _ ...grpc.CallOption) (*flpb.GetInclusionResponse, error) {
	d.calls["inclusion"]++
	out := &flpb.GetInclusionResponse{}
	for _, raw := range req.GetDigests() {
		x, ok := d.index[fl.Digest(raw)]
		if !ok || x >= req.GetSize() {
			return nil, flpb.ToStatus(fl.Refuse(fl.CodeNotFound, "", "not in the log"))
		}
		p, err := translog.ProveInclusion(req.GetSize(), x, d.tree)
		if err != nil {
			panic(err)
		}
		out.Inclusions = append(out.Inclusions, &flpb.Inclusion{Index: p.Index, Hashes: translog.EncodeHashes(p.Hashes)})
	}
	if d.inclusion != nil {
		d.inclusion(out)
	}
	return out, nil
}

func (d *double) ListEntries(_ context.Context, req *flpb.ListEntriesRequest, _ ...grpc.CallOption) (*flpb.ListEntriesResponse, error) {
	d.calls["entries"]++
	out := &flpb.ListEntriesResponse{}
	for n := req.GetFrom(); n < min(req.GetTo(), req.GetFrom()+1000, int64(len(d.history.entries))); n++ {
		out.Entries = append(out.Entries, &flpb.Entry{Index: n, Kind: "k", Bytes: d.history.entries[n]})
	}
	if d.entries != nil {
		d.entries(out)
	}
	return out, nil
}

func (d *double) GetDocument(_ context.Context, req *flpb.GetDocumentRequest, _ ...grpc.CallOption) (*flpb.GetDocumentResponse, error) {
	doc, ok := d.docs[fl.Digest(req.GetDigest())]
	if !ok {
		return nil, flpb.ToStatus(fl.Refuse(fl.CodeNotFound, "", "no document"))
	}
	return &flpb.GetDocumentResponse{Document: doc.Encode()}, nil
}

func (d *double) ListParties(context.Context, *flpb.ListPartiesRequest, ...grpc.CallOption) (*flpb.ListPartiesResponse, error) {
	return &flpb.ListPartiesResponse{Parties: *d.parties}, nil
}

func (d *double) AddCosignature(_ context.Context, req *flpb.AddCosignatureRequest, _ ...grpc.CallOption) (*flpb.AddCosignatureResponse, error) {
	if d.submit != nil {
		if err := d.submit(req.GetNote()); err != nil {
			return nil, err
		}
	}
	d.cosigned = req.GetNote()
	return &flpb.AddCosignatureResponse{}, nil
}

// stage is a dishonest aggregator and parties around it.
type stage struct {
	*testing.T
	signing ed25519.PrivateKey
	genesis fl.Genesis
	id      fl.Digest
	parties []*flpb.Party
}

var stageStart = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

func newStage(t *testing.T) *stage {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &stage{T: t, signing: private, genesis: fl.Genesis{AggregatorKey: public, MinCohort: 2, Suite: "insecure-rlwe64-d1-v1"}, id: fl.DigestBytes([]byte("genesis"))}
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) sign(doc fl.Document) fl.Envelope {
	s.Helper()
	e, err := fl.Sign(doc, fl.AggregatorID, s.signing)
	s.must(err)
	return e
}

// filler makes documents that mean nothing.
func (s *stage) filler(story string, n int) (docs []fl.Envelope) {
	s.Helper()
	for i := range n {
		docs = append(docs, s.sign(fl.Revocation{Genesis: s.id, Node: "x", Reason: fmt.Sprintf("%s %d", story, i), RevokedAt: stageStart}))
	}
	return docs
}

// party enrols a party and connects it to a history of its own choice.
func (s *stage) party(name fl.NodeID, shown *history) (*Remote, *double) {
	s.Helper()
	keys, err := identity.Generate()
	s.must(err)
	enrolment := s.sign(fl.Enrolment{Genesis: s.id, Node: name, Roles: []fl.Role{fl.RoleNode}, SigningKey: keys.SigningPublic(), EnrolledAt: stageStart})
	s.parties = append(s.parties, &flpb.Party{Enrolment: enrolment.Encode()})
	home := &Home{Dir: s.TempDir(), Node: name, Keys: keys, Genesis: s.genesis, GenesisID: s.id}
	d := &double{history: shown, signing: s.signing, genesis: s.id, parties: &s.parties, calls: map[string]int{}}
	return s.connect(home, d), d
}

func (s *stage) connect(home *Home, d *double) *Remote {
	return &Remote{api: d, blobs: d, home: home, logbook: newLogbook(home, func() time.Time { return stageStart })}
}
