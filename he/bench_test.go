package he

import (
	"math/rand/v2"
	"testing"
)

func benchSuites(b *testing.B, f func(b *testing.B, s *Suite, key testKey, values []int32, ct *Ciphertext)) {
	for _, s := range Suites() {
		if s.Insecure() {
			continue
		}
		b.Run(s.Name(), func(b *testing.B) {
			key := newTestKey(s)
			values := testVector(s, 3, rand.New(rand.NewPCG(1, 1)))
			ct, err := key.pk.Encrypt(values)
			mustAdd(b, err)
			f(b, s, key, values, ct)
			b.ReportMetric(float64(s.CiphertextBytes())/float64(s.Values()), "bytes/value")
			b.ReportMetric(float64(s.Values())*float64(b.N)/b.Elapsed().Seconds(), "values/s")
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	benchSuites(b, func(b *testing.B, s *Suite, _ testKey, values []int32, _ *Ciphertext) {
		m := s.NewPoly()
		for b.Loop() {
			mustAdd(b, s.encode(values, m.p))
		}
	})
}

func BenchmarkEncrypt(b *testing.B) {
	benchSuites(b, func(b *testing.B, s *Suite, key testKey, values []int32, _ *Ciphertext) {
		for b.Loop() {
			_, err := key.pk.Encrypt(values)
			mustAdd(b, err)
		}
	})
}

func BenchmarkMarshalCiphertext(b *testing.B) {
	benchSuites(b, func(b *testing.B, s *Suite, _ testKey, _ []int32, ct *Ciphertext) {
		for b.Loop() {
			_ = ct.Bytes()
		}
	})
}

func BenchmarkParseCiphertext(b *testing.B) {
	benchSuites(b, func(b *testing.B, s *Suite, _ testKey, _ []int32, ct *Ciphertext) {
		wire := ct.Bytes()
		for b.Loop() {
			_, err := s.ParseCiphertext(wire)
			mustAdd(b, err)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	benchSuites(b, func(b *testing.B, s *Suite, _ testKey, _ []int32, ct *Ciphertext) {
		sum := s.NewSum()
		for b.Loop() {
			if sum.Count() == s.MaxCohort() {
				sum = s.NewSum()
			}
			mustAdd(b, sum.Add(ct))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	benchSuites(b, func(b *testing.B, s *Suite, key testKey, _ []int32, ct *Ciphertext) {
		sum := s.NewSum()
		mustAdd(b, sum.Add(ct))
		phase := key.phase(sum)
		bound := s.FreshNoiseBound(1, 1)
		for b.Loop() {
			_, err := s.DecodePhase(phase, 1, bound)
			mustAdd(b, err)
		}
	})
}
