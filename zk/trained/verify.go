package trained

import (
	"fmt"

	"credence/fl"
	"credence/zk"
)

// AttestationBytes is the length of the blobs that a dataset commitment names.
const AttestationBytes = zk.TableAttestationBytes

// VerifyDataset checks a dataset commitment that CheckDocument accepts against
// its attestations. ErrDataset: they do not prove what it says.
func (j *Job) VerifyDataset(k *Keys, d fl.DatasetCommitment, registration, validation []byte) error {
	first, second, err := j.statements(k, d)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDataset, err)
	}
	for _, claim := range []struct {
		what string
		keys *zk.TableKeys
		st   *zk.TableStatement
		raw  []byte
	}{{"registration", k.Registration, first, registration}, {"validation", k.Validation, second, validation}} {
		if claim.st == nil {
			continue
		}
		att, err := zk.ParseTableAttestation(claim.raw)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDataset, claim.what, err)
		}
		if err := claim.keys.VerifyTable(claim.st, att); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDataset, claim.what, err)
		}
	}
	return nil
}

// Claim is what a client's training attestation should say: that the values
// behind an attested encryption (of the same scope) are those of the plan's
// training on the dataset, which must be registered. Raw is the attestation.
func (j *Job) Claim(k *Keys, plan fl.Plan, scope *zk.Scope, global []float32, d fl.DatasetCommitment, att *zk.Attestation, raw []byte) (zk.TrainingClaim, error) {
	var none zk.TrainingClaim
	st, err := j.Statement(plan, scope, global, d)
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrTraining, err)
	}
	st.Messages = att.Messages()
	proof, err := k.Trainer.ParseTraining(raw)
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrTraining, err)
	}
	return zk.TrainingClaim{Statement: st, Attestation: proof}, nil
}

// Verify checks claims in one batch. It returns the first that does not hold,
// by its index, with ErrTraining; index -1 is an error of the check itself.
func (k *Keys) Verify(claims []zk.TrainingClaim) (index int, err error) {
	bad, err := k.Trainer.VerifyTrainings(claims)
	switch {
	case err != nil:
		return -1, err
	case len(bad) > 0:
		return bad[0].Index, fmt.Errorf("%w: %w", ErrTraining, bad[0].Err)
	}
	return -1, nil
}

// parts is the number of proofs in a training attestation of the job.
func (j *Job) parts() int {
	if t := j.Spec.Trained; t.PartSteps > 0 {
		return t.Steps / t.PartSteps
	}
	return 1
}

// ProofBytes is the length of what a client attests in a round: an encryption
// of so many shards, and its training.
func (j *Job) ProofBytes(shards int) int {
	return zk.AttestationBytes(j.linked, shards) + zk.TrainingBytes(j.final, j.parts())
}

// MaxTrainingBytes bounds the encoding of a training attestation of the job.
func (j *Job) MaxTrainingBytes() int {
	// A part is some 700 bytes and 32 for each shard.
	return 64 + j.parts()*(1024+32*len(j.final.Shards))
}
