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
// Why gorgonia, and how: a model is compiled to a gorgonia expression graph
// once for each batch size; gorgonia differentiates it symbolically and runs
// the tape. Convolution, pooling, bias and the loss are operations of our own
// inside that graph, because gorgonia 0.9.18 panics in a goroutine of its own
// on a NaN that reaches max-pooling, which no caller can recover from, and
// because its soft-max followed by a logarithm is not stable. The optimisers
// work on the flat vector, outside the graph, so that shards are a range check.
//
// Reproducibility: for one build on one processor architecture, the same
// parameters, data, configuration and seed give the same bits, whatever
// GOMAXPROCS is. Randomness comes from ChaCha8 with the seed expanded by this
// package, never from gorgonia.
//
// What it trusts: the caller's examples are the node's own and are checked for
// shape and finiteness only. Files read by [ReadSafetensors] and [ReadONNX] are
// not trusted: they are bounded, strictly decoded and must match their own
// specification exactly.
package models
