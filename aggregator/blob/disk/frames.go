package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// MaxChunk bounds one chunk of an upload, in bytes.
const MaxChunk = 16 << 20

// A frame is one acknowledged chunk of an unfinished upload:
//
//	4 bytes  magic
//	4 bytes  length of the chunk, 1..MaxChunk
//	8 bytes  offset of the chunk in the blob
//	4 bytes  CRC-32C of the chunk
//	4 bytes  CRC-32C of the 20 bytes before
//	         the chunk
//
// all little-endian. The checksums are against torn writes, not against
// people: the blob's own digest is checked when the upload is finished.
const (
	frameHeader = 24
	frameMagic  = 0x6b6e6863 // "chnk"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeFrameHeader(offset int64, chunk []byte) []byte {
	h := make([]byte, frameHeader)
	binary.LittleEndian.PutUint32(h[0:], frameMagic)
	binary.LittleEndian.PutUint32(h[4:], uint32(len(chunk))) // #nosec G115 -- at most MaxChunk
	binary.LittleEndian.PutUint64(h[8:], uint64(offset))     // #nosec G115 -- not negative
	binary.LittleEndian.PutUint32(h[16:], crc32.Checksum(chunk, castagnoli))
	binary.LittleEndian.PutUint32(h[20:], crc32.Checksum(h[:20], castagnoli))
	return h
}

// decodeFrameHeader returns the length and the checksum of the chunk that
// follows, and whether this is a whole header of a frame at the offset.
func decodeFrameHeader(h []byte, offset int64) (length int64, sum uint32, ok bool) {
	if len(h) != frameHeader ||
		binary.LittleEndian.Uint32(h[20:]) != crc32.Checksum(h[:20], castagnoli) ||
		binary.LittleEndian.Uint32(h[0:]) != frameMagic ||
		binary.LittleEndian.Uint64(h[8:]) != uint64(offset) { // #nosec G115 -- not negative
		return 0, 0, false
	}
	n := binary.LittleEndian.Uint32(h[4:])
	return int64(n), binary.LittleEndian.Uint32(h[16:]), n >= 1 && n <= MaxChunk
}

// extent is how far an upload can be trusted.
type extent struct {
	data  int64 // bytes of the blob
	file  int64 // bytes of the file that hold them
	named bool  // this process has synced the directories above the file
}

// readFrames copies the chunks to w until the file ends or stops making
// sense, which is where a write was torn. Only an error of the disk or of w
// is an error. What w received behind the returned extent does not count.
func readFrames(r io.Reader, w io.Writer) (extent, error) {
	var e extent
	header := make([]byte, frameHeader)
	for {
		if _, err := io.ReadFull(r, header); err != nil {
			return e, atEnd(err)
		}
		length, want, ok := decodeFrameHeader(header, e.data)
		if !ok {
			return e, nil
		}
		sum := crc32.New(castagnoli)
		if _, err := io.CopyN(io.MultiWriter(sum, w), r, length); err != nil {
			return e, atEnd(err)
		}
		if sum.Sum32() != want {
			return e, nil
		}
		e.data += length
		e.file += frameHeader + length
	}
}

func atEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
