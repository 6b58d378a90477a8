package fl

import "fmt"

// MetricSlots is the number of values that every shard reserves at its front
// for the evaluation figures (see Figures). They travel under encryption like
// parameters do. A client that holds several shards writes its figures into
// the first of them and zeros into the others, so a client that trains any
// subset of the shards contributes its figures exactly once.
const MetricSlots = 27

// Shard is a contiguous slice [Offset, Offset+Length) of the flat parameter
// vector that fits one ciphertext together with the MetricSlots.
type Shard struct {
	Index  int `json:"index"`  // position in the shard map, from 0
	Offset int `json:"offset"` // first parameter of the shard
	Length int `json:"length"` // number of parameters, at least 1
}

// ShardMap cuts a vector of params parameters into shards for ciphertexts
// that hold slots values each. The map is a function of the two numbers alone,
// so every party derives the same one.
func ShardMap(params, slots int) ([]Shard, error) {
	room := slots - MetricSlots
	switch {
	case params < 1:
		return nil, fmt.Errorf("fl: shard map of %d parameters: want at least 1", params)
	case room < 1:
		return nil, fmt.Errorf("fl: shard map: a ciphertext of %d values has no room beside %d metric slots", slots, MetricSlots)
	}
	count := 1 + (params-1)/room
	shards := make([]Shard, 0, count)
	for index := range count { // an offset counted up by room could overflow
		offset := index * room
		shards = append(shards, Shard{Index: index, Offset: offset, Length: min(room, params-offset)})
	}
	return shards, nil
}
