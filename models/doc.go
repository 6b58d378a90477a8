// Package models holds the models that a federation trains: logistic and
// softmax regression, multi-layer perceptrons and small convolutional
// networks, their parameters as one flat vector of float32 values, local
// training, evaluation, and export to safetensors and ONNX.
//
// The rest of the project sees a model as a vector. [Model.Tensors] says which
// part of the vector is which tensor, with the names and the row-major layout
// that PyTorch uses, so a published model is readable elsewhere without a
// conversion. A node that carries only some shards of the vector trains those
// coordinates and leaves every other one bit-identical ([Model.Train]).
//
// Why gorgonia, and how: a model is compiled once to a gorgonia expression graph,
// which gorgonia differentiates symbolically. Every operation in it is our own
// (with gonum's matrix product inside), and we run the graph ourselves: on
// gorgonia 0.9.18's tape machine each run starts a goroutine on another thread
// and allocates every intermediate value, which took most of a small step's
// time; its max-pooling panics in that goroutine on a NaN, which no caller can
// recover from; its soft-max followed by a logarithm is not stable. A graph
// serves any number of rows up to its capacity, a power of two, so that clients
// with tables of many sizes share a few. The optimisers work on the flat vector,
// outside the graph, so that shards are a range check.
//
// Reproducibility: for one build on one processor architecture, the same
// parameters, data, configuration and seed give the same bits, whatever
// GOMAXPROCS is. Randomness comes from ChaCha8 with the seed expanded by this
// package, never from gorgonia. With the build tag openblas (cgo; Debian's
// libopenblas-dev) the matrix products are OpenBLAS's on one thread; their bits
// are others than gonum's and depend on the processor's model too.
//
// What it trusts: the caller's examples are the node's own and are checked for
// shape and finiteness only. Files read by [ReadSafetensors] and [ReadONNX] are
// not trusted: they are bounded, strictly decoded and must match their own
// specification exactly.
package models
