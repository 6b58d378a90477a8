// Package disk keeps blobs and unfinished uploads (package blob) as files in
// one directory of its own.
//
//	blobs/ab/cdef...        finished blobs, by digest; never changed
//	staging/NODE/abcdef...  unfinished uploads, each uploader's apart
//	tmp/                    files on their way into blobs/
//
// Why not gocloud.dev/blob/fileblob: it renames a file into place without
// syncing the file or the directory, so that after a power failure a blob
// whose receipt was signed could be empty or gone. Here a blob is written to
// a temporary file, synced, renamed and its directory synced before anybody
// is told that it is held. A store in the cloud, whose PUT is durable by
// itself, fits behind the same interfaces.
//
// An unfinished upload is a file of frames: each chunk with its offset and a
// checksum, synced before it is acknowledged. After a crash the file may be
// longer than what was acknowledged, and its end may be torn; the checksums
// say how far it can be trusted, and the upload resumes there. Finish copies
// the chunks into a new file while it hashes them, so that nothing becomes
// visible before it was verified.
//
// What it trusts: the file system to keep what it was told to sync, and its
// own process to be the only one that stages uploads in the directory; blobs
// may be put and read by several processes. It does not trust names: a path
// is made of a digest's 64 hexadecimal characters and a validated node name,
// and every access goes through an os.Root, which does not leave the
// directory. It does not trust content: what is read whole is verified.
//
// Memory is O(chunk): no call but Put and Get holds a whole blob.
package disk
