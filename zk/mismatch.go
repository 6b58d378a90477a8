package zk

import (
	"errors"
	"fmt"

	"credence/he"
)

// FindMismatches names the contributions whose ciphertexts are not the ones
// behind their commitments, by position. Load reads ciphertext i; it is called
// about log2(n) times for each. Sums of halves are compared first, so a cohort
// with one liar costs 2*log2(n) commitments instead of n. Liars whose
// differences cancel within a half, and so do not change the sum, may go
// unnamed. The result is empty exactly when the sum of all is right.
func (s *SRS) FindMismatches(commitments [][2]Commitment, load func(i int) (*he.Ciphertext, error)) ([]int, error) {
	if len(commitments) == 0 {
		return nil, nil
	}
	return s.mismatches(commitments, 0, len(commitments), load)
}

func (s *SRS) mismatches(commitments [][2]Commitment, lo, hi int, load func(i int) (*he.Ciphertext, error)) ([]int, error) {
	var sum *he.Sum
	for i := lo; i < hi; i++ {
		ct, err := load(i)
		if err != nil {
			return nil, fmt.Errorf("zk: reading ciphertext %d: %w", i, err)
		}
		if sum == nil {
			sum = ct.Suite().NewSum()
		}
		if err := sum.Add(ct); err != nil {
			return nil, fmt.Errorf("zk: adding ciphertext %d: %w", i, err)
		}
	}
	err := s.CheckSum(sum, commitments[lo:hi])
	switch {
	case err == nil:
		return nil, nil
	case !errors.Is(err, ErrCommitment):
		return nil, err
	case hi-lo == 1:
		return []int{lo}, nil
	}
	mid := (lo + hi) / 2
	left, err := s.mismatches(commitments, lo, mid, load)
	if err != nil {
		return nil, err
	}
	right, err := s.mismatches(commitments, mid, hi, load)
	return append(left, right...), err
}
