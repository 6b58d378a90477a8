package fl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Posting is one leg of a double-entry transaction: Amount credits into (or,
// when negative, out of) an account.
type Posting struct {
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
	Memo    string `json:"memo"` // why: "work", "timeliness", "committee", "operator", ...
}

// MaxPosting bounds the amount of one posting, either way; it is also the most
// that an account may hold.
const MaxPosting = 1 << 53 // exact in every reader of JSON

// ValidatePostings refuses postings that name no account, exceed MaxPosting or
// do not sum to zero.
func ValidatePostings(postings []Posting) error {
	var sum int64
	for i, p := range postings {
		switch {
		case p.Account == "":
			return fmt.Errorf("posting %d names no account", i)
		case p.Amount > MaxPosting || p.Amount < -MaxPosting:
			return fmt.Errorf("posting %d to %s: amount %d: want at most %d either way", i, p.Account, p.Amount, int64(MaxPosting))
		}
		sum += p.Amount
		if sum > math.MaxInt64/2 || sum < math.MinInt64/2 { // or it could wrap around to zero
			return fmt.Errorf("the first %d postings sum to %d: out of range", i+1, sum)
		}
	}
	if sum != 0 {
		return fmt.Errorf("postings sum to %d: want 0", sum)
	}
	return nil
}

// Manifest is the record of a published round, signed by the aggregator:
// everything the published model follows from, and what was paid for it.
type Manifest struct {
	Genesis    Digest   `json:"genesis"`
	JobSpec    Digest   `json:"job_spec"`
	Job        JobID    `json:"job"`
	Round      uint64   `json:"round"`
	Version    uint64   `json:"version"` // of the model, from 1; counts published rounds
	Plan       Digest   `json:"plan"`
	Seal       Digest   `json:"seal"`
	EpochKey   Digest   `json:"epoch_key"`
	KeyHolders []NodeID `json:"key_holders"` // whose decryption shares opened the sums, sorted
	WrongShare []NodeID `json:"wrong_share"` // whose decryption shares were found wrong, sorted
	// SharesChecked is how many shares above the threshold agreed; with 0 a
	// wrong share that stays within the noise bound would not be noticed.
	SharesChecked int        `json:"shares_checked"`
	BaseModel     Digest     `json:"base_model"`
	Model         Digest     `json:"model"`          // blob: the new global parameters
	State         Digest     `json:"state,omitzero"` // blob: what the strategy keeps for the next round; zero when it keeps nothing
	Figures       Figures    `json:"figures"`
	ProofLevel    ProofLevel `json:"proof_level"`
	// ProofSetup says who made the proof keys: "ceremony", "local" (one party,
	// who could forge proofs), or "" at ProofNone.
	ProofSetup string `json:"proof_setup"`
	// Epsilon is what the models published so far have spent of the client that
	// was charged most, rounded up; "infinity" without noise. Delta belongs to it.
	Epsilon string  `json:"epsilon"`
	Delta   float64 `json:"delta,omitempty"`
	// NextClip is the clip of the next round's plan where it adapts; else zero.
	NextClip Clip      `json:"next_clip,omitzero"`
	Postings []Posting `json:"postings"` // sum to zero
	SealedAt time.Time `json:"sealed_at"`
	OpenedAt time.Time `json:"opened_at"` // when enough shares were in
}

// Kind implements Document.
func (Manifest) Kind() Kind { return "manifest/v1" }

// Validate implements Document.
func (m Manifest) Validate() error {
	switch {
	case m.Genesis.IsZero():
		return errNoGenesis
	case m.JobSpec.IsZero() || m.Plan.IsZero() || m.Seal.IsZero() || m.EpochKey.IsZero() || m.BaseModel.IsZero() || m.Model.IsZero():
		return errors.New("manifest: a digest is missing")
	case m.Round < 1 || m.Version < 1 || m.Version > m.Round:
		return fmt.Errorf("manifest: version %d of round %d", m.Version, m.Round)
	case m.Epsilon == "":
		return errors.New("manifest: no epsilon; without noise it is \"infinity\"")
	case !(m.Delta >= 0 && m.Delta < 1) || (m.Delta == 0) != (m.Epsilon == "infinity"):
		return fmt.Errorf("manifest: epsilon %s and delta %v do not go together", m.Epsilon, m.Delta)
	case m.NextClip != (Clip{}) && m.NextClip.Validate() != nil:
		return fmt.Errorf("manifest: next clip: %w", m.NextClip.Validate())
	case m.SharesChecked < 0:
		return errors.New("manifest: shares_checked is negative")
	}
	if err := ValidatePostings(m.Postings); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	return firstError(m.Job.Validate(), m.ProofLevel.Validate(), m.Figures.Validate(),
		validNodes("manifest: key holders", m.KeyHolders), validNodes("manifest: wrong share", m.WrongShare),
		validTime("manifest: sealed_at", m.SealedAt), validTime("manifest: opened_at", m.OpenedAt))
}

// EncodeParameters returns the blob form of a parameter vector: IEEE 754
// binary32, little-endian, one after the other.
func EncodeParameters(p []float32) []byte {
	return AppendParameters(make([]byte, 0, 4*len(p)), p)
}

// AppendParameters appends the blob form of a vector to what is there.
func AppendParameters(to []byte, p []float32) []byte {
	for _, v := range p {
		to = binary.LittleEndian.AppendUint32(to, math.Float32bits(v))
	}
	return to
}

// DecodeParameters reads the blob form of a vector of n parameters, at most
// MaxParameters. A value that is not finite is an error.
func DecodeParameters(blob []byte, n int) ([]float32, error) {
	if n < 0 || n > MaxParameters || len(blob) != 4*n {
		return nil, fmt.Errorf("%w: parameters: %d bytes for %d parameters", ErrMalformed, len(blob), n)
	}
	p := make([]float32, n)
	for i := range p {
		p[i] = math.Float32frombits(binary.LittleEndian.Uint32(blob[4*i:]))
		if f := float64(p[i]); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%w: parameter %d is not a finite number", ErrMalformed, i)
		}
	}
	return p, nil
}
