// Package flpb is the network interface of an aggregator as Protocol Buffers,
// and the mapping of refusals to gRPC statuses. It carries signed documents
// and chunks of blobs; the documents themselves are defined in package fl, and
// nothing but the edges (the gRPC server and its clients) imports this
// package.
package flpb

//go:generate go tool -modfile=../../.ci/tools/go.mod buf generate
