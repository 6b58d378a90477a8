package storetest

import (
	"fmt"
	"testing"

	"credence/aggregator/store"
	"credence/fl"
)

// Bench measures what a round costs: StepRound/update is the step that stores
// one accepted update header, StepRound/publish the one that stores a model
// version and pays for it (with the opening of its round).
func Bench(b *testing.B, open Open) {
	b.Run("StepRound/update", func(b *testing.B) {
		s := fresh(b, open)
		spec := submit(b, s, "j", 10)
		must(b, s.OpenRound(b.Context(), plan(spec, "j", 1, 1), "open", nil))
		state := make([]byte, 2000)
		docs := make([]fl.Envelope, 0, 1024)
		for i := range cap(docs) {
			docs = append(docs, updateHeader("j", 1, fl.NodeID(fmt.Sprintf("n%d", i))))
		}
		for from := int64(1); b.Loop(); from++ {
			must(b, s.StepRound(b.Context(), store.RoundStep{Job: "j", Round: 1, From: from, Phase: "open", State: state,
				Documents: docs[from%int64(len(docs)):][:1]}))
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "steps/s")
	})
	b.Run("StepRound/publish", func(b *testing.B) {
		s := fresh(b, open)
		spec := submit(b, s, "j", 1<<40)
		for n := uint64(1); b.Loop(); n++ {
			must(b, s.OpenRound(b.Context(), plan(spec, "j", n, 1), "open", nil))
			must(b, s.StepRound(b.Context(), publishing(spec, "j", n, n, 1, 4)))
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rounds/s")
	})
}
