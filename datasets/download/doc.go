// Package download knows public data sets that are too large to carry along:
// where they are, what their bytes must be, and how to read them.
//
// A file is fetched into a cache folder once. It has to have the size and the
// SHA-256 that this package lists; what arrives goes to a file of another name,
// from which a broken transfer goes on, and takes its name when its digest is
// right. Without a network the error names the file, its digest and the folder
// to put it in by hand.
//
// Digests are those of TensorFlow Datasets (url_checksums). FEMNIST has no such
// file: LEAF makes it of NIST's Special Database 19 by a program of its own, so
// its files are put in place by hand and have no digest to check.
//
// # What it trusts
//
// The digests in its own source, not the servers, nor the cache: files are
// checked again whenever they are read. Archives are read as a stream, and of
// their members only those with the expected names; nothing is unpacked to the
// disk.
package download
