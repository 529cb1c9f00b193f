package fleetwright

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// The format of backups, version 1:
//
//	the line "fleetwright backup 1\n", then frames:
//	one byte of kind | length of the payload (4 bytes, big endian) | payload | CRC-32C over kind, length and payload
//
// The first frame is the Manifest's beginning as JSON ('H'). Then come a record each ('R': length of the key, 2 bytes; key; value as the store has it), files of the control plane's
// directory ('F': length of the name, 2 bytes; name; content, sealed), blobs ('B': the key; 'C': a piece of at most 64 KiB; 'E': the SHA-256 of the whole), and last the whole
// Manifest ('T'), whose SHA256 is over everything before it. What follows the trailer, or its absence, is an error: a backup that was cut short is none.
const backupMagic = "fleetwright backup 1\n"

const (
	frameHead    = 'H'
	frameRecord  = 'R'
	frameFile    = 'F'
	frameBlob    = 'B'
	framePiece   = 'C'
	frameBlobEnd = 'E'
	frameTrailer = 'T'

	pieceBytes = 64 << 10
	maxFrame   = store.MaxValue + store.MaxKey + 16<<10
	// maxManifest bounds the trailer, which names what is missing.
	maxManifest = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Manifest says what a backup is. It stands at the end of the backup, and its fields down to Codec at the beginning too.
type Manifest struct {
	Format  int       `json:"format"` // 1
	Created time.Time `json:"created"`
	Name    string    `json:"name"` // of the control plane that made it
	Codec   string    `json:"codec"`
	// MAC is the key that authenticates the records, as the store has it: sealed by the control plane's key file.
	MAC []byte `json:"mac,omitempty"`

	Consistent bool  `json:"consistent"` // all records are of one moment
	Records    int   `json:"records"`
	Bytes      int64 `json:"bytes"`             // of keys and values
	Corrupt    int   `json:"corrupt,omitempty"` // damaged records and damaged blobs
	// CorruptBlobs are those of Corrupt that are blobs.
	CorruptBlobs int    `json:"corruptBlobs,omitempty"`
	Epoch        uint64 `json:"epoch"` // the highest that any lease or key of the control plane has
	Files        int    `json:"files,omitempty"`
	Blobs        int    `json:"blobs"`
	BlobBytes    int64  `json:"blobBytes"`
	// Listed are outputs that the records name and that are not in the backup, because it was made without them or they were gone: the first 1,000; ListedMore counts the others.
	Listed     []string `json:"listed,omitempty"`
	ListedMore int      `json:"listedMore,omitempty"`
	SHA256     string   `json:"sha256,omitempty"` // of everything before the manifest
}

const maxListed = 1000

// The words of Manifest.Codec.
const (
	codecCRC  = "crc"  // checksums only
	codecMAC  = "mac"  // authenticated under Manifest.MAC
	codecHost = "host" // authenticated under a key that only the host has
)

type frameWriter struct {
	w   *bufio.Writer
	sum hash.Hash
}

func newFrameWriter(w io.Writer) (*frameWriter, error) {
	fw := &frameWriter{sum: sha256.New()}
	fw.w = bufio.NewWriterSize(io.MultiWriter(w, fw.sum), 256<<10)
	_, err := fw.w.WriteString(backupMagic)
	return fw, err
}

func (w *frameWriter) frame(kind byte, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(n))
	sum := crc32.Update(0, castagnoli, head)
	w.w.Write(head) //nolint:errcheck // the writer keeps its first error
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
		w.w.Write(p) //nolint:errcheck // likewise
	}
	_, err := w.w.Write(binary.BigEndian.AppendUint32(nil, sum))
	return err
}

// named writes a frame of a name and a content.
func (w *frameWriter) named(kind byte, name, content []byte) error {
	return w.frame(kind, binary.BigEndian.AppendUint16(nil, uint16(len(name))), name, content)
}

func (w *frameWriter) json(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.frame(kind, b)
}

// trailer ends the backup.
func (w *frameWriter) trailer(m *Manifest) error {
	if err := w.w.Flush(); err != nil {
		return err
	}
	m.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	if err := w.json(frameTrailer, m); err != nil {
		return err
	}
	return w.w.Flush()
}

type frameReader struct {
	r   *bufio.Reader
	sum hash.Hash
	off int64
}

func badBackup(format string, args ...any) error {
	return fault.New("fleetwright.Restore", fault.DataCorrupt, "the backup cannot be used: "+format, args...)
}

func newFrameReader(r io.Reader) (*frameReader, error) {
	fr := &frameReader{r: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}
	magic := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(fr.r, magic); err != nil || string(magic) != backupMagic {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		return nil, badBackup("it does not begin like one; give a file that fleetctl backup made")
	}
	fr.sum.Write(magic)
	fr.off = int64(len(magic))
	return fr, nil
}

// next returns the next frame. The payload is the caller's.
func (r *frameReader) next() (kind byte, payload []byte, err error) {
	cut := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return badBackup("it ends at byte %d, before its end: the copy was cut short", r.off)
		}
		return err
	}
	var head [5]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return 0, nil, cut(err)
	}
	kind = head[0]
	n := int(binary.BigEndian.Uint32(head[1:]))
	if most := map[bool]int{true: maxManifest, false: maxFrame}[kind == frameTrailer || kind == frameHead]; n > most {
		return 0, nil, badBackup("the frame at byte %d says that it has %d bytes: it is damaged", r.off, n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r.r, payload); err != nil {
		return 0, nil, cut(err)
	}
	var tail [4]byte
	if _, err := io.ReadFull(r.r, tail[:]); err != nil {
		return 0, nil, cut(err)
	}
	if crc32.Update(crc32.Update(0, castagnoli, head[:]), castagnoli, payload) != binary.BigEndian.Uint32(tail[:]) {
		return 0, nil, badBackup("the frame at byte %d is damaged: its checksum does not match", r.off)
	}
	if kind != frameTrailer {
		r.sum.Write(head[:])
		r.sum.Write(payload)
		r.sum.Write(tail[:])
	}
	r.off += int64(len(head) + n + len(tail))
	return kind, payload, nil
}

// split takes a frame of a name and a content apart.
func split(payload []byte) (name, content []byte, ok bool) {
	if len(payload) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(payload))
	if len(payload) < 2+n {
		return nil, nil, false
	}
	return payload[2 : 2+n : 2+n], payload[2+n:], true
}

// manifest decodes the first frame or, with the sum of everything before, the trailer, behind which nothing may be.
func (r *frameReader) manifest(payload []byte, trailer bool) (m Manifest, err error) {
	if err := json.Unmarshal(payload, &m); err != nil {
		return m, badBackup("its manifest is not understood")
	}
	if m.Format != 1 {
		return m, fault.New("fleetwright.Restore", fault.UnsupportedOperation, "the backup is of format %d, which a newer release made: restore it with that", m.Format)
	}
	if !trailer {
		return m, nil
	}
	if want, err := hex.DecodeString(m.SHA256); err != nil || !bytes.Equal(want, r.sum.Sum(nil)) {
		return m, badBackup("the whole does not have the SHA-256 that its manifest says")
	}
	if _, err := r.r.ReadByte(); !errors.Is(err, io.EOF) {
		return m, badBackup("something follows its end, at byte %d", r.off)
	}
	return m, nil
}
