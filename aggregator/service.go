package aggregator

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"credence/aggregator/blob"
	"credence/fl"
	"credence/fl/credit"
	"credence/fl/flpb"
)

// federationService is the interface for enrolled parties. It converts at the
// edge and leaves every decision to the aggregator.
type federationService struct {
	flpb.UnimplementedFederationServer
	a *Aggregator
}

// Work answers with the caller's tasks. It waits while there are none, or only
// the ones the caller has seen, until something happens or the time is up.
func (s *federationService) Work(ctx context.Context, req *flpb.WorkRequest) (*flpb.WorkResponse, error) {
	party := caller(ctx)
	if err := s.a.seen(ctx, party.Enrolment.Node); err != nil {
		return nil, err
	}
	wait := min(time.Duration(req.GetWaitMs())*time.Millisecond, maxWait)
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	// The operator's commands write to the store from other processes.
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		woken := s.a.wake.wait() // before the look, so that nothing is missed
		tasks, tag, err := s.a.tasksFor(ctx, party)
		if err != nil {
			return nil, err
		}
		answer := &flpb.WorkResponse{Tasks: tasks, Tag: tag, ClockUnixMs: s.a.now().UnixMilli()}
		if len(tasks) > 0 && !bytes.Equal(tag, req.GetSeen()) {
			return answer, nil
		}
		select {
		case <-woken:
		case <-look.C:
		case <-deadline.C:
			return answer, nil
		case <-s.a.stopping:
			return nil, fl.Refuse(fl.CodeUnavailable, "", "the aggregator is stopping")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// A party that was revoked while it waited learns it now.
		if _, err := s.a.member(ctx, party.Enrolment.Node); err != nil {
			return nil, err
		}
	}
}

func (s *federationService) Submit(ctx context.Context, req *flpb.SubmitRequest) (*flpb.SubmitResponse, error) {
	receipt, err := s.a.submit(ctx, caller(ctx), req.GetDocument())
	if err != nil {
		return nil, err
	}
	return &flpb.SubmitResponse{Receipt: receipt.Encode()}, nil
}

func digestField(b []byte) (fl.Digest, error) {
	var d fl.Digest
	if len(b) != len(d) {
		return d, fl.Refuse(fl.CodeMalformed, "", "a digest of %d bytes: want %d", len(b), len(d))
	}
	copy(d[:], b)
	return d, nil
}

func (s *federationService) UploadStatus(ctx context.Context, req *flpb.UploadStatusRequest) (*flpb.UploadStatusResponse, error) {
	digest, err := digestField(req.GetDigest())
	if err != nil {
		return nil, err
	}
	node := caller(ctx).Enrolment.Node
	switch _, err := s.a.blobs.Size(ctx, digest); {
	case err == nil:
		return &flpb.UploadStatusResponse{Complete: true}, nil
	case !errors.Is(err, blob.ErrNotFound):
		return nil, err
	}
	offset, err := s.a.staging.Offset(ctx, node, digest)
	if err != nil {
		return nil, err
	}
	return &flpb.UploadStatusResponse{Offset: offset}, nil
}

func (s *federationService) Upload(ctx context.Context, req *flpb.UploadRequest) (*flpb.UploadResponse, error) {
	digest, err := digestField(req.GetDigest())
	if err != nil {
		return nil, err
	}
	node := caller(ctx).Enrolment.Node
	if n := len(req.GetData()); n > maxChunk {
		return nil, fl.Refuse(fl.CodeTooLarge, node, "a chunk of %d bytes: at most %d", n, maxChunk)
	}
	if !req.GetLast() {
		offset, err := s.a.staging.Append(ctx, node, digest, req.GetOffset(), req.GetData())
		if err != nil {
			return nil, err
		}
		return &flpb.UploadResponse{Offset: offset}, nil
	}
	kept, err := s.a.mayFinish(ctx, node, digest, max(0, req.GetOffset()+int64(len(req.GetData()))))
	if err != nil {
		return nil, err
	}
	size, err := s.finishUpload(ctx, node, digest, req)
	kept(err)
	if err != nil {
		return nil, err
	}
	return &flpb.UploadResponse{Offset: size, Complete: true}, nil
}

// finishUpload takes in the last chunk of a blob and returns the blob's size.
func (s *federationService) finishUpload(ctx context.Context, node fl.NodeID, digest fl.Digest, req *flpb.UploadRequest) (size int64, err error) {
	if data := req.GetData(); req.GetOffset() == 0 && len(data) > 0 {
		// The whole blob in one chunk needs no staging, which would write and
		// sync it twice. Most blobs are such: sealed shares, decryption shares.
		if fl.DigestBytes(data) != digest {
			return 0, fl.Refuse(fl.CodeCorrupt, node, "the %d bytes of blob %s do not have its digest; upload it again", len(data), digest.Short())
		}
		_, err := s.a.blobs.Put(ctx, data)
		return int64(len(data)), err
	}
	if size, err = s.a.staging.Append(ctx, node, digest, req.GetOffset(), req.GetData()); err != nil {
		return 0, err
	}
	return size, s.a.staging.Finish(ctx, node, digest)
}

func (s *federationService) Download(ctx context.Context, req *flpb.DownloadRequest) (*flpb.DownloadResponse, error) {
	digest, err := digestField(req.GetDigest())
	if err != nil {
		return nil, err
	}
	if req.GetOffset() < 0 || req.GetLength() < 1 || req.GetLength() > maxDownload {
		return nil, fl.Refuse(fl.CodeMalformed, "", "a download of %d bytes from %d: want 1 to %d", req.GetLength(), req.GetOffset(), maxDownload)
	}
	via, err := digestField(req.GetVia())
	if err != nil {
		return nil, err
	}
	if err := s.a.mayRead(ctx, caller(ctx).Enrolment.Node, digest, via); err != nil {
		return nil, err
	}
	data, size, err := s.a.blobs.ReadAt(ctx, digest, req.GetOffset(), int(req.GetLength()))
	if err != nil {
		return nil, err
	}
	return &flpb.DownloadResponse{Data: data, Size: size}, nil
}

func (s *federationService) GetDocument(ctx context.Context, req *flpb.GetDocumentRequest) (*flpb.GetDocumentResponse, error) {
	digest, err := digestField(req.GetDigest())
	if err != nil {
		return nil, err
	}
	doc, err := s.a.store.Document(ctx, digest)
	if err != nil {
		return nil, err
	}
	return &flpb.GetDocumentResponse{Document: doc.Encode()}, nil
}

func (s *federationService) ListParties(ctx context.Context, _ *flpb.ListPartiesRequest) (*flpb.ListPartiesResponse, error) {
	parties, err := s.a.store.Parties(ctx)
	if err != nil {
		return nil, err
	}
	out := &flpb.ListPartiesResponse{}
	for _, p := range parties {
		m := &flpb.Party{Enrolment: p.Envelope.Encode()}
		if p.Revocation != nil {
			m.Revocation = p.Revocation.Encode()
		}
		if !p.LastSeen.IsZero() {
			m.LastSeenUnixMs = p.LastSeen.UnixMilli()
		}
		out.Parties = append(out.Parties, m)
	}
	return out, nil
}

func (s *federationService) ListJobs(ctx context.Context, req *flpb.ListJobsRequest) (*flpb.ListJobsResponse, error) {
	jobs, err := s.a.store.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	out := &flpb.ListJobsResponse{}
	for _, j := range jobs {
		state, err := readJob(j)
		if err != nil {
			return nil, err
		}
		view, err := s.a.jobView(ctx, state, fl.JobID(req.GetJob()))
		if err != nil {
			return nil, err
		}
		if view != nil {
			out.Jobs = append(out.Jobs, view)
		}
	}
	if req.GetJob() != "" && len(out.Jobs) == 0 {
		return nil, fl.Refuse(fl.CodeNotFound, "", "no job %q", req.GetJob())
	}
	return out, nil
}

func (s *federationService) ListModels(ctx context.Context, req *flpb.ListModelsRequest) (*flpb.ListModelsResponse, error) {
	jobs := []fl.JobID{fl.JobID(req.GetJob())}
	if req.GetJob() == "" {
		all, err := s.a.store.Jobs(ctx)
		if err != nil {
			return nil, err
		}
		jobs = jobs[:0]
		for _, j := range all {
			var spec fl.JobSpec
			if err := j.Spec.Read(&spec); err != nil {
				return nil, err
			}
			jobs = append(jobs, spec.Job)
		}
	}
	out := &flpb.ListModelsResponse{}
	for _, job := range jobs {
		models, err := s.a.store.Models(ctx, job)
		if err != nil {
			return nil, err
		}
		for _, m := range models {
			manifest, err := s.a.store.Document(ctx, m.Manifest)
			if err != nil {
				return nil, err
			}
			out.Models = append(out.Models, &flpb.ModelVersion{Job: string(m.Job), Version: m.Version, Round: m.Round, Model: m.Model[:], Manifest: manifest.Encode()})
		}
	}
	return out, nil
}

func (s *federationService) ListBalances(ctx context.Context, _ *flpb.ListBalancesRequest) (*flpb.ListBalancesResponse, error) {
	balances, err := s.a.store.Balances(ctx)
	if err != nil {
		return nil, err
	}
	out := &flpb.ListBalancesResponse{}
	for _, account := range slices.Sorted(maps.Keys(balances)) {
		out.Balances = append(out.Balances, &flpb.Balance{Account: account, Credits: balances[account]})
	}
	return out, nil
}

func (s *federationService) ListTransactions(ctx context.Context, req *flpb.ListTransactionsRequest) (*flpb.ListTransactionsResponse, error) {
	all, err := s.a.store.History(ctx, req.GetAccount())
	if err != nil {
		return nil, err
	}
	from := min(int(req.GetOffset()), len(all))
	to := min(from+transactionsPage, len(all))
	out := &flpb.ListTransactionsResponse{More: to < len(all)}
	for _, t := range all[from:to] {
		out.Transactions = append(out.Transactions, transactionMessage(t))
	}
	return out, nil
}

func transactionMessage(t credit.Transaction) *flpb.Transaction {
	m := &flpb.Transaction{Id: t.ID, Ref: t.Ref[:], AtUnixMs: t.At.UnixMilli()}
	for _, p := range t.Postings {
		m.Postings = append(m.Postings, &flpb.Posting{Account: p.Account, Amount: p.Amount, Memo: p.Memo})
	}
	return m
}
