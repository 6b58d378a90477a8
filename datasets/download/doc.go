// Package download knows public data sets that are too large to carry along:
// where they are, what their bytes must be, and how to read them.
//
// A file is fetched into a cache folder once. It has to have the size and the
// SHA-256 that this package lists; what arrives goes to a file of another name,
// from which a broken transfer goes on, and takes its name when its digest is
// right. Without a network the error names the file, its digest and the folder
// to put it in by hand.
//
// Digests are those of TensorFlow Datasets (url_checksums), and for FEMNIST those
// of TensorFlow Federated (simulation/datasets/emnist.py), which hosts it as HDF5
// files in a tar.bz2 archive; neither says the archives' sizes. As HDF5 is not read
// as a stream, these two archives are unpacked in the cache once, and the digests of
// what came out are kept beside it. FEMNIST can also be made by LEAF's own program;
// its files are put in place by hand and have no digest to check.
//
// # What it trusts
//
// The digests in its own source, not the servers, nor the cache: files are
// checked again whenever they are read. Archives are read as a stream, and of
// their members only those with the expected names; nothing but FEMNIST's two files is
// unpacked to the disk, under names that this package chooses. Of these, the digests
// kept in the cache find damage, not somebody who may write there.
package download
