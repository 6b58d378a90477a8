package ceremony

import (
	"os"
	"testing"
	"time"
)

// BenchmarkCeremony runs a ceremony of two contributors once and reports each
// step: of the tiny suite, and with CREDENCE_FULL=1 of rlwe4096-d1-v1, which
// takes minutes.
func BenchmarkCeremony(b *testing.B) {
	name := tiny
	if os.Getenv("CREDENCE_FULL") == "1" {
		name = "rlwe4096-d1-v1"
	}
	shapesOf = suiteShapes
	defer func() { shapesOf = smallShapes }()
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			dir := b.TempDir()
			last := time.Now()
			lap := func(unit string) {
				took := time.Since(last)
				b.ReportMetric(took.Seconds(), unit)
				b.Logf("%s: %.1f s", unit, took.Seconds())
				last = time.Now()
			}
			if _, err := Found(dir, Options{Suite: name, AllowInsecure: true, Participants: participants("alba", "borealis")}); err != nil {
				b.Fatal(err)
			}
			contribute(b, dir, "alba")
			lap("s/powers-first")
			contribute(b, dir, "borealis")
			lap("s/powers-next")
			if _, err := Verify(b.Context(), dir, VerifyOptions{}); err != nil {
				b.Fatal(err)
			}
			lap("s/powers-verify-2")
			seal(b, dir, "first", nil)
			lap("s/powers-seal")
			contribute(b, dir, "alba")
			lap("s/circuits-first")
			contribute(b, dir, "borealis")
			lap("s/circuits-next")
			seal(b, dir, "second", openStore(b, b.TempDir()))
			lap("s/circuits-seal")
		}
	})
}
