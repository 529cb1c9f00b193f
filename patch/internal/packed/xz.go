package packed

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads the container of the xz format (The .xz File Format 1.2.1) around the library's LZMA2 decoder, so that a block's
// claim of a dictionary is bounded before anything is allocated, for every block and not only the first.
type xzReader struct {
	in     *counter
	window int64
	check  byte      // id of the check of the current stream
	sum    hash.Hash // of the block
	block  io.Reader // nil between blocks
	start  int64     // position of the block's header
	size   int64     // bytes that the block gave so far
	want   int64     // uncompressed size that its header claims, -1 without
	packed int64     // compressed size that its header claims, -1 without
	header int64     // length of the header
	index  hash.Hash // over (unpadded size, uncompressed size) of the blocks, for the index
	blocks uint64
	begun  bool
	err    error
}

var (
	errXZ       = errors.New("xz: damaged")
	errXZWindow = errors.New("xz: a block asks for a larger dictionary than is allowed")
)

func newXZ(r *bufio.Reader, window int64) *xzReader {
	return &xzReader{in: &counter{r: r}, window: window}
}

// counter counts what is read from a buffered reader.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		x.sum.Write(p[:n])
		x.size += int64(n)
		switch {
		case err == io.EOF:
			x.err = x.endBlock()
		case err != nil:
			x.err = err
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// next reads up to the first byte of the next block; io.EOF at the end of the last stream.
func (x *xzReader) next() error {
	for {
		if !x.begun {
			if err := x.beginStream(); err != nil {
				return err
			}
		}
		x.start = x.in.n
		size, err := x.in.ReadByte()
		if err != nil {
			return short(err)
		}
		if size != 0 {
			return x.beginBlock(size)
		}
		if err := x.endStream(); err != nil {
			return err
		}
		x.begun = false
		// Streams may follow each other, with zeros in fours between them.
		for {
			pad, err := x.in.r.Peek(4)
			if len(pad) == 0 && err == io.EOF {
				return io.EOF
			}
			if len(pad) < 4 {
				return io.ErrUnexpectedEOF
			}
			if binary.LittleEndian.Uint32(pad) != 0 {
				break
			}
			if _, err := io.CopyN(io.Discard, x.in, 4); err != nil {
				return short(err)
			}
		}
	}
}

func (x *xzReader) beginStream() error {
	var h [12]byte
	if _, err := io.ReadFull(x.in, h[:]); err != nil {
		return short(err)
	}
	if string(h[:6]) != "\xfd7zXZ\x00" || h[6] != 0 || h[7]&0xf0 != 0 || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return errXZ
	}
	x.check, x.begun, x.blocks, x.index = h[7], true, 0, sha256.New()
	switch x.check {
	case 0, 1, 4, 10:
		return nil
	}
	return errors.New("xz: a check of an unknown kind")
}

func (x *xzReader) beginBlock(size byte) error {
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if _, err := io.ReadFull(x.in, h[1:]); err != nil {
		return short(err)
	}
	body := h[:len(h)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(h[len(h)-4:]) {
		return errXZ
	}
	x.header, x.want, x.packed, x.size = int64(len(h)), -1, -1, 0
	flags, rest := body[1], body[2:]
	if flags&0x3f != 0 {
		return errors.New("xz: a block with filters other than LZMA2")
	}
	for _, f := range [...]struct {
		bit byte
		to  *int64
	}{{0x40, &x.packed}, {0x80, &x.want}} {
		if flags&f.bit == 0 {
			continue
		}
		v, n := binary.Uvarint(rest)
		if n <= 0 || n > 9 || v > 1<<62 {
			return errXZ
		}
		*f.to, rest = int64(v), rest[n:]
	}
	if len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 || rest[2] > 40 {
		return errors.New("xz: a block with filters other than LZMA2")
	}
	for _, pad := range rest[3:] {
		if pad != 0 {
			return errXZ
		}
	}
	dict := int64(1)<<32 - 1
	if d := rest[2]; d < 40 {
		dict = int64(2|d&1) << (d/2 + 11)
	}
	if dict > x.window {
		return errXZWindow
	}
	if x.want >= 0 {
		dict = min(dict, x.want)
	}
	var err error
	x.block, err = lzma.Reader2Config{DictCap: int(max(dict, lzma.MinDictCap))}.NewReader2(x.in)
	if err != nil {
		return short(err)
	}
	switch x.check {
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.sum = sha256.New()
	default:
		x.sum = nothing{}
	}
	return nil
}

func (x *xzReader) endBlock() error {
	packed := x.in.n - x.start - x.header
	if x.want >= 0 && x.want != x.size || x.packed >= 0 && x.packed != packed {
		return errXZ
	}
	x.block = nil
	for n := packed; n%4 != 0; n++ {
		if b, err := x.in.ReadByte(); err != nil || b != 0 {
			return orDamaged(err)
		}
	}
	sum := x.sum.Sum(nil)
	if x.check != 10 { // the CRCs are stored low byte first
		for i, j := 0, len(sum)-1; i < j; i, j = i+1, j-1 {
			sum[i], sum[j] = sum[j], sum[i]
		}
	}
	got := make([]byte, len(sum))
	if _, err := io.ReadFull(x.in, got); err != nil {
		return short(err)
	}
	if string(got) != string(sum) {
		return errors.New("xz: the checksum is wrong")
	}
	x.blocks++
	x.record(uint64(packed+x.header)+uint64(len(sum)), uint64(x.size))
	return nil
}

// record adds a block to the hash over the blocks.
func (x *xzReader) record(unpadded, size uint64) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], unpadded)
	binary.LittleEndian.PutUint64(b[8:], size)
	x.index.Write(b[:])
}

// endStream reads the index, whose first byte is read already, and the footer.
func (x *xzReader) endStream() error {
	seen := x.index.Sum(nil)
	blocks := x.blocks
	x.index = sha256.New()
	crc := crc32.NewIEEE()
	crc.Write([]byte{0})
	in := &teeByte{x.in, crc}
	n, err := binary.ReadUvarint(in)
	if err != nil || n != blocks {
		return orDamaged(err)
	}
	for range n {
		unpadded, err := binary.ReadUvarint(in)
		if err != nil {
			return short(err)
		}
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return short(err)
		}
		x.record(unpadded, size)
	}
	if string(x.index.Sum(nil)) != string(seen) {
		return errXZ
	}
	for (x.in.n-x.start)%4 != 0 {
		if b, err := in.ReadByte(); err != nil || b != 0 {
			return orDamaged(err)
		}
	}
	length := x.in.n - x.start + 4
	var f [16]byte // CRC of the index, then the footer: CRC, backward size, flags, magic
	if _, err := io.ReadFull(x.in, f[:]); err != nil {
		return short(err)
	}
	if binary.LittleEndian.Uint32(f[:4]) != crc.Sum32() || binary.LittleEndian.Uint32(f[4:8]) != crc32.ChecksumIEEE(f[8:14]) ||
		(int64(binary.LittleEndian.Uint32(f[8:12]))+1)*4 != length || f[12] != 0 || f[13] != x.check || string(f[14:]) != "YZ" {
		return errXZ
	}
	return nil
}

func orDamaged(err error) error {
	if err == nil {
		return errXZ
	}
	return short(err)
}

type teeByte struct {
	r io.ByteReader
	h hash.Hash32
}

func (t *teeByte) ReadByte() (byte, error) {
	b, err := t.r.ReadByte()
	if err == nil {
		t.h.Write([]byte{b})
	}
	return b, err
}

// nothing is the check of a stream without one.
type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) Sum(b []byte) []byte         { return b }
func (nothing) Reset()                      {}
func (nothing) Size() int                   { return 0 }
func (nothing) BlockSize() int              { return 1 }
