package fl

import (
	"bytes"
	"testing"
)

// FuzzDecodeEnvelope: what decodes encodes to the same bytes, and reading it
// as any kind of document gives an error or a valid document, never a panic.
func FuzzDecodeEnvelope(f *testing.F) {
	for _, doc := range samples() {
		e, err := Sign(doc, "north", testKey(1))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(e.Encode())
		f.Add(e.Encode()[:len(e.Encode())/2])
	}
	f.Add([]byte(`{"kind":"","signer":"a","payload":null,"signature":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := DecodeEnvelope(data)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Encode(), data) {
			t.Fatal("not canonical")
		}
		for _, doc := range samples() {
			got := fresh(doc)
			if e.Read(got) == nil && got.Kind() != e.Kind {
				t.Fatalf("a %s was read as a %s", e.Kind, got.Kind())
			}
		}
	})
}

// FuzzDocuments: a payload is refused, or it is a valid document that signs to
// the same payload and whose methods do not panic.
func FuzzDocuments(f *testing.F) {
	for i, doc := range samples() {
		e, err := Sign(doc, "north", testKey(1))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), []byte(e.Payload))
	}
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		all := samples()
		doc := fresh(all[int(which)%len(all)])
		if DecodeCanonical(payload, doc) != nil || doc.Validate() != nil || len(payload) > MaxDocument/2 {
			return
		}
		e, err := Sign(doc, "north", testKey(1))
		if err != nil {
			t.Fatalf("a valid %s does not sign: %v", doc.Kind(), err)
		}
		if !bytes.Equal(e.Payload, payload) {
			t.Fatalf("a %s signs to another payload", doc.Kind())
		}
		if plan, ok := doc.(*Plan); ok {
			usePlan(t, *plan)
		}
	})
}

// usePlan runs what a client and an aggregator compute from a plan, which for
// most plans is an error.
func usePlan(t *testing.T, plan Plan) {
	const params = 20
	update := make([]float64, params)
	for i := range update {
		update[i] = float64(i)
	}
	nodes := []NodeID{plan.Cohort[0].Node, plan.Cohort[1].Node}
	plan.Contributors(nodes)
	top := int32(1)<<(plan.ValueBits-1) - 1
	for _, node := range nodes {
		values, err := QuantiseUpdate(plan, node, update, Figures{})
		if err != nil {
			return
		}
		for _, v := range values {
			for _, x := range v.Values {
				if x < -top || x > top {
					t.Fatalf("value %d of %d bits", x, plan.ValueBits)
				}
			}
		}
	}
	if plan.Shards > params {
		return
	}
	contributors, sums := make([][]NodeID, plan.Shards), make([][]int64, plan.Shards)
	for s := range sums {
		contributors[s] = nodes
		sums[s] = make([]int64, min(plan.Slots, MetricSlots+params))
	}
	if means, _, err := GroupMeans(plan, params, contributors, sums); err == nil && len(means) != max(plan.Groups, 1) {
		t.Fatalf("%d means of %d groups", len(means), plan.Groups)
	}
}

// FuzzDecodeParameters: what decodes encodes to the same bytes.
func FuzzDecodeParameters(f *testing.F) {
	f.Add([]byte{}, 0)
	f.Add(EncodeParameters([]float32{1, -2, 0.5}), 3)
	f.Add([]byte{0, 0, 0xc0, 0x7f}, 1)
	f.Fuzz(func(t *testing.T, blob []byte, n int) {
		p, err := DecodeParameters(blob, n)
		if err == nil && (len(p) != n || !bytes.Equal(EncodeParameters(p), blob)) {
			t.Fatal("does not round-trip")
		}
	})
}

// FuzzParseDigest: what parses prints the same.
func FuzzParseDigest(f *testing.F) {
	f.Add(testDigest("x").String())
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDigest(s); err == nil && d.String() != s {
			t.Fatalf("%q prints as %s", s, d)
		}
	})
}
