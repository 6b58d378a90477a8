package zk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/backend"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"credence/fl"
	"credence/zk/circuit/rlwe"
)

// benchSuites are the suites a benchmark runs on: the tiny one, and with
// CREDENCE_FULL=1 the real ones, whose set-up takes minutes.
func benchSuites() []string {
	if os.Getenv("CREDENCE_FULL") == "1" {
		return []string{"rlwe4096-d1-v1", "rlwe8192-d4-v1"}
	}
	return []string{tiny4}
}

// BenchmarkProve proves one shard and as many as there are cores at a time. It
// reports the wall-clock and the processor time of a shard, the values proven in
// a second, and the process' peak of memory over the run, keys included.
func BenchmarkProve(b *testing.B) {
	for _, name := range benchSuites() {
		p := newParty(b, name)
		cores := runtime.GOMAXPROCS(0)
		var shards []ShardInput
		var places []int
		for i := range max(cores, 2) {
			shards, places = append(shards, p.typical(b)), append(places, i)
		}
		for _, n := range slices.Compact([]int{1, 2, cores}) {
			b.Run(fmt.Sprintf("%s/shards=%d", name, n), func(b *testing.B) {
				scope := p.scope("alice", 1<<50, places[:n]...)
				forgetPeak(b)
				before := processorTime(b)
				for b.Loop() {
					if _, err := p.keys.ProveUpdate(context.Background(), scope, p.key, shards[:n], ProveOptions{Parallel: n}); err != nil {
						b.Fatal(err)
					}
				}
				proven := float64(n * b.N)
				b.ReportMetric(b.Elapsed().Seconds()/proven, "s/shard")
				b.ReportMetric((processorTime(b)-before).Seconds()/proven, "cpu-s/shard")
				b.ReportMetric(proven*float64(p.pk.Suite().Values())/b.Elapsed().Seconds(), "values/s")
				b.ReportMetric(peakMiB(b), "peak-MiB")
			})
		}
	}
}

// BenchmarkProveOverGnark compares a shard's attestation with gnark's own prover
// on the same constraint system and a full assignment that is already there.
// The two take turns, so that they share whatever else the machine does.
func BenchmarkProveOverGnark(b *testing.B) {
	for _, name := range benchSuites() {
		p := newParty(b, name)
		in := p.typical(b)
		scope := p.scope("alice", 1<<50, 0)
		a, mask := solvedAssignment(b, p, in)
		b.Run(name, func(b *testing.B) {
			var wall, cpu [2]time.Duration
			turn := func(i int, do func() error) {
				started, before := time.Now(), processorTime(b)
				if err := do(); err != nil {
					b.Fatal(err)
				}
				wall[i] += time.Since(started)
				cpu[i] += processorTime(b) - before
			}
			for b.Loop() {
				turn(0, func() error {
					_, err := p.keys.ProveUpdate(context.Background(), scope, p.key, []ShardInput{in}, ProveOptions{})
					return err
				})
				turn(1, func() error {
					w, err := a.Witness()
					if err == nil {
						_, err = groth16.Prove(p.keys.system.R1CS, p.keys.proving, w, backend.WithSolverOptions(p.keys.system.FixMask(mask)))
					}
					return err
				})
			}
			b.ReportMetric(cpu[0].Seconds()/float64(b.N), "cpu-s/ours")
			b.ReportMetric(cpu[1].Seconds()/float64(b.N), "cpu-s/gnark")
			b.ReportMetric(cpu[0].Seconds()/cpu[1].Seconds(), "ratio-cpu")
			b.ReportMetric(wall[0].Seconds()/wall[1].Seconds(), "ratio-wall")
		})
	}
}

// typical is a shard of normally distributed values, as a clipped update has.
func (p *party) typical(t testing.TB) ShardInput {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	values := make([]int32, p.pk.Suite().Values())
	for i := range values {
		values[i] = int32(min(max(rng.NormFloat64(), -5), 5) * float64(p.pk.Suite().MaxValue()) / 10)
	}
	ct, rnd, err := p.pk.EncryptForProof(values)
	if err != nil {
		t.Fatal(err)
	}
	return ShardInput{Values: values, Ciphertext: ct, Randomness: rnd}
}

// solvedAssignment is a full assignment of a key's circuit, public inputs
// included.
func solvedAssignment(b *testing.B, p *party, in ShardInput) (*rlwe.Assignment, fr.Element) {
	b.Helper()
	s := p.keys.Shape()
	rows, err := p.key.rowsOf(s, in.Ciphertext)
	if err != nil {
		b.Fatal(err)
	}
	secret := &rlwe.Secret{U: in.Randomness.U, Errors: [][]int8{in.Randomness.E0, in.Randomness.E1}, Values: in.Values}
	a := s.NewAssignment()
	var ks [][]int
	var hs [][]fr.Element
	for i := range rows {
		k, h, err := rows[i].key.Quotients(i, secret, rows[i].published)
		if err != nil {
			b.Fatal(err)
		}
		ks, hs = append(ks, k), append(hs, h)
	}
	if err := a.Fill(secret, ks); err != nil {
		b.Fatal(err)
	}
	a.Total[0].SetUint64(rlwe.SquareSum(in.Values))
	a.Norm[2] = a.Total[0]
	var mask fr.Element
	mask.SetUint64(1)
	d, err := p.keys.proving.CommitmentKeys[0].Commit(p.keys.system.Committed(a, mask))
	if err != nil {
		b.Fatal(err)
	}
	r := challengeOf(&d, [2]fr.Element{})
	ring := s.RingAt(&r)
	for i := range rows {
		h, c := rlwe.Evaluate(hs[i], &r), rlwe.Evaluate(rows[i].published, &r)
		h.Mul(&h, &ring)
		a.Cipher[i].Add(&h, &c)
		a.Key[i] = rlwe.Evaluate(rows[i].key.P, &r)
	}
	a.Norm[0], a.Norm[1] = a.Total[0], a.Total[0]
	return a, mask
}

func BenchmarkVerify(b *testing.B) {
	for _, name := range benchSuites() {
		p := newParty(b, name)
		scope := p.scope("alice", 1<<50, 0)
		encoded := p.prove(b, scope, p.typical(b)).Bytes()
		b.Run(name+"/single", func(b *testing.B) {
			for b.Loop() {
				att, err := ParseAttestation(p.keys.Shape(), encoded)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.keys.VerifyUpdate(scope, p.key, att); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/decode", func(b *testing.B) {
			for b.Loop() {
				if _, err := ParseAttestation(p.keys.Shape(), encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/batch=%d", name, n), func(b *testing.B) {
				for b.Loop() {
					claims := func(yield func(Claim) bool) {
						for range n {
							att, err := ParseAttestation(p.keys.Shape(), encoded)
							if err != nil {
								b.Fatal(err)
							}
							if !yield(Claim{Scope: scope, Attestation: att}) {
								return
							}
						}
					}
					if bad, err := p.keys.VerifyUpdates(p.key, claims); err != nil || len(bad) > 0 {
						b.Fatal(err, bad)
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N*n), "ms/proof")
			})
		}
	}
}

func BenchmarkLoadKeys(b *testing.B) {
	for _, name := range benchSuites() {
		k := updateKeys(b, name)
		store, err := OpenStore(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		if err := store.Save(k); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := store.Load(k.Shape(), fl.Digest{}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSumCheck(b *testing.B) {
	for _, name := range benchSuites() {
		p := newParty(b, name)
		b.Run(name, func(b *testing.B) {
			sum := p.pk.Suite().NewSum()
			var commitments [][2]Commitment
			for range 4 {
				in := p.encrypt(b, 1)
				c, err := p.keys.SRS().CommitCiphertext(in.Ciphertext)
				if err != nil {
					b.Fatal(err)
				}
				commitments = append(commitments, c)
				if err := sum.Add(in.Ciphertext); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := p.keys.SRS().CheckSum(sum, commitments); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
