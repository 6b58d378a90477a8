package trained

import (
	"context"
	"fmt"

	"credence/fl"
	"credence/zk"
	"credence/zk/circuit/table"
	"credence/zk/circuit/training"
	"credence/zk/tabular"
)

func (j *Job) tables() []*table.Shape {
	out := []*table.Shape{j.registration}
	if j.validation != nil {
		out = append(out, j.validation)
	}
	return out
}

func (j *Job) trainings() []*training.Shape {
	if j.inner == nil {
		return []*training.Shape{j.final}
	}
	return []*training.Shape{j.inner, j.final}
}

// statements returns what a dataset commitment claims of its table; the second
// is nil without requirements.
func (j *Job) statements(k *Keys, d fl.DatasetCommitment) (registration, validation *zk.TableStatement, err error) {
	commitment, err := zk.ParseTableCommitment(d.Commitment)
	if err != nil {
		return nil, nil, err
	}
	scope, err := k.Registration.Scope(d.Genesis, d.Job, d.Node, j.Table)
	if err != nil {
		return nil, nil, err
	}
	rows := int(d.Rows) // #nosec G115 -- CheckDocument bounds it by the layout
	registration = &zk.TableStatement{Scope: scope, Commitment: commitment, Rows: rows}
	if j.Requirements == nil {
		return registration, nil, nil
	}
	limits, err := j.Requirements.Limits(j.Table, rows)
	if err != nil {
		return nil, nil, err
	}
	return registration, &zk.TableStatement{Scope: scope, Commitment: commitment, Rows: rows, Limits: &limits}, nil
}

// A Dataset is a node's committed table, with what it alone knows.
type Dataset struct {
	Document fl.DatasetCommitment
	Table    *tabular.Table
	Secret   *zk.TableSecret
}

// Prove makes the attestations of a dataset: that it is well-formed and, where
// the job asks for it, that it meets the requirements (validation is nil
// otherwise). The document's digests of them are the caller's to fill in.
// tabular.ErrTable says that the rows do not meet the requirements.
func (j *Job) Prove(k *Keys, d Dataset) (registration, validation []byte, err error) {
	first, second, err := j.statements(k, d.Document)
	if err != nil {
		return nil, nil, err
	}
	att, err := k.Registration.ProveTable(first, d.Table, d.Secret)
	if err != nil {
		return nil, nil, err
	}
	registration = att.Bytes()
	if second != nil {
		if att, err = k.Validation.ProveTable(second, d.Table, d.Secret); err != nil {
			return nil, nil, err
		}
		validation = att.Bytes()
	}
	return registration, validation, nil
}

// ProveTraining attests that the update behind an attestation of its
// encryption is what the statement's training on the dataset gives. The
// statement is Statement's; its messages are set here. Link is what ProveUpdate
// filled when it made the attestation.
func (k *Keys) ProveTraining(ctx context.Context, st *zk.TrainingStatement, d Dataset, att *zk.Attestation, link *zk.Link, progress zk.Progress) ([]byte, error) {
	st.Messages = att.Messages()
	proof, err := k.Trainer.ProveTraining(ctx, st, d.Table, d.Secret, link, progress)
	if err != nil {
		return nil, fmt.Errorf("attesting the training: %w", err)
	}
	return proof.Bytes(), nil
}
