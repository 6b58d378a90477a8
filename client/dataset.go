package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"credence/datasets"
	"credence/fl"
	"credence/fl/identity"
	"credence/zk"
	"credence/zk/tabular"
	"credence/zk/trained"
)

// datasetFolder holds what a node committed to, a folder a job:
//
//	datasets/<job>/secret            the blinding; without it nothing can be proven of the rows again
//	datasets/<job>/<digest>.att      proofs of the commitment
//	datasets/<job>/commitment.json   the signed commitment; written last
//
// It is on disk before the first byte is sent, so a node that is killed sends
// the same commitment again.
const datasetFolder = "datasets"

// provenWork is what a node keeps of a job at level trained.
type provenWork struct {
	job   *trained.Job
	table *tabular.Table
}

// openProven reads a job at level trained and the data that it needs as a
// table, and checks that the terms of its proofs are those of its model,
// training and schema.
func (n *Node) openProven(w *work) (*provenWork, fl.Examples, fl.Examples, error) {
	fail := func(err error) (*provenWork, fl.Examples, fl.Examples, error) {
		return nil, fl.Examples{}, fl.Examples{}, err
	}
	job, err := trained.Read(w.spec, n.suite)
	if err != nil {
		return fail(err)
	}
	source, schema, err := n.config.source(w.spec.SchemaText)
	if err != nil {
		return fail(err)
	}
	if err := checkTerms(job, w.Model.Spec(), w.Training, schema); err != nil {
		return fail(err)
	}
	table, loaded, err := datasets.LoadTable(source.CSV, source.TestCSV, schema, job.Table)
	if err != nil {
		return fail(err)
	}
	if err := job.CheckRows(table.Used); err != nil {
		return fail(err)
	}
	if loaded.Table.Clipped > 0 {
		n.log.Warn("features beyond the range of the job's table were set to its end", "job", w.spec.Job, "cells", loaded.Table.Clipped)
	}
	return &provenWork{job: job, table: table}, loaded.Train, loaded.Test, nil
}

// dataset is a node's committed data set with its signed document.
type dataset struct {
	trained.Dataset
	signed fl.Envelope
	proofs [][]byte
}

func (n *Node) datasetPath(job fl.JobID, name string) string {
	return filepath.Join(n.home.Dir, datasetFolder, string(job), name)
}

// committed returns the data set that this node committed to for a job, or nil
// when it has not. Rows that are no longer those it committed to are declined:
// nothing could be proven of them.
func (n *Node) committed(w *work) (*dataset, error) {
	raw, err := readFile(n.datasetPath(w.spec.Job, "commitment.json"))
	if err != nil || raw == nil {
		return nil, err
	}
	damaged := func(err error) (*dataset, error) {
		return nil, &declineError{fmt.Errorf("this node's commitment to its data for job %s is damaged: %w; without it no training can be proven: restore %s from a backup", w.spec.Job, err, n.datasetPath(w.spec.Job, ""))}
	}
	d := &dataset{Dataset: trained.Dataset{Table: w.proven.table}}
	if d.signed, err = fl.DecodeEnvelope(raw); err != nil {
		return damaged(err)
	}
	if err := d.signed.Open(n.home.Keys.SigningPublic(), &d.Document); err != nil {
		return damaged(err)
	}
	if d.Document.JobSpec != w.specID {
		return damaged(errors.New("it is for another version of the job"))
	}
	if d.Secret, err = zk.LoadTableSecret(n.datasetPath(w.spec.Job, "secret")); err != nil {
		return damaged(err)
	}
	for _, digest := range []fl.Digest{d.Document.Registration, d.Document.Validation} {
		if digest.IsZero() {
			continue
		}
		proof, err := os.ReadFile(n.datasetPath(w.spec.Job, digest.String()+".att"))
		if err != nil {
			return damaged(err)
		}
		if fl.DigestBytes(proof) != digest {
			return damaged(fmt.Errorf("proof %s does not match its name", digest.Short()))
		}
		d.proofs = append(d.proofs, proof)
	}
	return d, nil
}

// holds checks that a committed data set is still the node's.
func (d *dataset) holds(k *trained.Keys) error {
	commitment, err := zk.ParseTableCommitment(d.Document.Commitment)
	if err != nil {
		return err
	}
	err = k.Registration.SRS().CheckTable(d.Table, d.Secret, commitment)
	if errors.Is(err, zk.ErrCommitment) || errors.Is(err, zk.ErrKeys) {
		return &declineError{err}
	}
	return err
}

// commitDataset commits to this node's rows for a job and proves what the job
// asks for, or takes the commitment that it made before.
func (n *Node) commitDataset(ctx context.Context, w *work, keysID fl.Digest) (*dataset, error) {
	p, err := n.provenKeys(ctx, keysID, w.specID, true)
	if err != nil {
		return nil, err
	}
	d, err := n.committed(w)
	if err != nil {
		return nil, err
	}
	if d != nil {
		return d, d.holds(p.keys)
	}
	commitment, secret, err := p.keys.Registration.SRS().CommitTable(w.proven.table)
	if err != nil {
		return nil, err
	}
	if err := secret.Save(n.datasetPath(w.spec.Job, "secret")); err != nil {
		return nil, err
	}
	started := n.now()
	d = &dataset{Dataset: trained.Dataset{Table: w.proven.table, Secret: secret, Document: fl.DatasetCommitment{
		Genesis: n.home.GenesisID, JobSpec: w.specID, Job: w.spec.Job, Node: n.home.Node, ProofKeys: keysID, Spec: p.job.Table.Digest(),
		Commitment: commitment.Bytes(), Rows: int64(w.proven.table.Used), CommittedAt: fl.Instant(started),
	}}}
	registration, validation, err := p.job.Prove(p.keys, d.Dataset)
	if errors.Is(err, tabular.ErrTable) || errors.Is(err, tabular.ErrLayout) {
		return nil, &declineError{fmt.Errorf("this node's rows do not meet what job %s requires of them: %w", w.spec.Job, err)}
	}
	if err != nil {
		return nil, err
	}
	for _, proof := range []struct {
		raw  []byte
		into *fl.Digest
	}{{registration, &d.Document.Registration}, {validation, &d.Document.Validation}} {
		if proof.raw == nil {
			continue
		}
		*proof.into = fl.DigestBytes(proof.raw)
		if err := identity.WriteFile(n.datasetPath(w.spec.Job, proof.into.String()+".att"), proof.raw); err != nil {
			return nil, err
		}
		d.proofs = append(d.proofs, proof.raw)
	}
	if d.signed, err = fl.Sign(d.Document, n.home.Node, n.home.Keys.Signing); err != nil {
		return nil, err
	}
	if err := identity.WriteFile(n.datasetPath(w.spec.Job, "commitment.json"), d.signed.Encode()); err != nil {
		return nil, err
	}
	n.log.Info("committed to the data", "job", w.spec.Job, "rows", d.Document.Rows, "setup", p.setup, "prove", n.now().Sub(started))
	return d, nil
}

// submitDataset sends a committed data set with its proofs. The aggregator
// takes it in once, however often it is sent.
func (n *Node) submitDataset(ctx context.Context, d *dataset) error {
	if _, err := n.remote.uploadAll(ctx, d.proofs, false); err != nil {
		return err
	}
	_, err := n.remote.SubmitEnvelope(ctx, d.signed)
	return err
}

// provenKeysID names the keys of a job under a proof-keys document, as they are
// kept in memory.
func provenKeysID(keys, spec fl.Digest, prover bool) fl.Digest {
	return fl.DigestOf("node/proven-keys", keys[:], spec[:], fmt.Append(nil, prover))
}

// provenKeys returns the keys of a job at level trained, fetching what is
// missing; the proving halves only where this node trains it.
func (n *Node) provenKeys(ctx context.Context, keysID, specID fl.Digest, prover bool) (*proofKeys, error) {
	id := provenKeysID(keysID, specID, prover)
	if p := n.proven[id]; p != nil {
		return p, nil
	}
	spec, err := n.jobSpec(ctx, specID)
	if err != nil {
		return nil, err
	}
	p := &proofKeys{id: keysID}
	if p.job, err = trained.Read(spec, n.suite); err != nil {
		return nil, err
	}
	doc, err := n.proofDocument(ctx, keysID)
	if err != nil {
		return nil, fmt.Errorf("the federation's proof keys: %w", err)
	}
	p.setup = doc.Setup
	folder, err := zk.OpenStore(filepath.Join(n.home.Dir, proofFolder))
	if err != nil {
		return nil, err
	}
	fetch := func(digest fl.Digest) ([]byte, error) { return n.remote.Fetch(ctx, digest, keysID) }
	p.keys, err = p.job.Load(folder, func(circuit string) (fl.Digest, error) {
		named, ok := doc.Circuit(circuit)
		if !ok {
			return fl.Digest{}, errors.New("the federation has none")
		}
		if err := n.config.pinned(named, doc.Setup); err != nil {
			return fl.Digest{}, err
		}
		bring := folder.ImportVerifier
		if prover {
			bring = folder.Import
		}
		return named.Manifest, bring(named, zk.Origin(doc.Setup), fetch)
	}, prover, nil)
	if err != nil {
		return nil, fmt.Errorf("the federation's proof keys: %w", err)
	}
	p.update = p.keys.Update
	n.proven[id] = p
	return p, nil
}

// jobSpec fetches the specification of a job and checks its owner's signature:
// a committee member checks proofs of jobs that it does not train.
func (n *Node) jobSpec(ctx context.Context, id fl.Digest) (fl.JobSpec, error) {
	if w := n.jobs[id]; w != nil {
		return w.spec, nil
	}
	var spec fl.JobSpec
	envelope, err := n.remote.Document(ctx, id)
	if err != nil {
		return spec, err
	}
	if err := n.openMembers(ctx, envelope, envelope.Signer, &spec); err != nil {
		return spec, err
	}
	if spec.Owner != envelope.Signer || spec.Genesis != n.home.GenesisID {
		return spec, errors.New("the job is for another federation or not signed by its owner")
	}
	return spec, n.remote.RequireLogged(ctx, envelope)
}

// verifiedDataset returns a client's data set commitment, whose proofs it
// checks once.
func (n *Node) verifiedDataset(ctx context.Context, p *proofKeys, specID, id fl.Digest, client fl.NodeID) (fl.DatasetCommitment, error) {
	if d, ok := n.datasets[id]; ok && d.Node == client && d.JobSpec == specID {
		return d, nil
	}
	var d fl.DatasetCommitment
	envelope, err := n.remote.Document(ctx, id)
	if err != nil {
		return d, err
	}
	if err := n.openMembers(ctx, envelope, client, &d); err != nil {
		return d, err
	}
	if err := n.remote.RequireLogged(ctx, envelope); err != nil {
		return d, err
	}
	if err := p.job.CheckDocument(specID, client, d); err != nil {
		return d, err
	}
	var proofs [2][]byte
	for i, digest := range []fl.Digest{d.Registration, d.Validation} {
		if digest.IsZero() {
			continue
		}
		if proofs[i], err = n.remote.Fetch(ctx, digest, id); err != nil {
			return d, err
		}
	}
	if err := p.job.VerifyDataset(p.keys, d, proofs[0], proofs[1]); err != nil {
		return d, err
	}
	n.datasets[id] = d
	return d, nil
}
