package apt

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Extensions returns the file extensions of the compressions that Decompress takes, best known first; "" is plain text.
// The slice is the caller's own.
func Extensions() []string { return []string{"", ".xz", ".zst", ".lz4", ".gz", ".bz2"} }

// Decompress returns r decompressed. The compression is told by the extension of name (.gz, .xz, .zst, .lz4, .bz2), and by the first
// bytes where name has none of these; anything else is taken as plain text. It never yields more than Limits.Total bytes and
// never keeps more than Limits.Window of history: a file that claims more is an error that names it. The caller closes the result,
// which does not close r. A file that ends early, or whose checksum is wrong, gives an error and not io.EOF.
func Decompress(name string, r io.Reader, lim *Limits) (io.ReadCloser, error) {
	const op = "apt.Decompress"
	l := lim.orDefault()
	br := bufio.NewReaderSize(r, 128<<10)
	var d io.Reader
	var closer func()
	switch compression(name, br) {
	case ".gz":
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, wrap(op, name, 0, short(err))
		}
		d = z
	case ".xz":
		d = newXZ(br, l.Window)
	case ".zst":
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(uint64(max(l.Window, 1<<10))),
			zstd.WithDecoderMaxMemory(uint64(l.Total)+1<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, wrap(op, name, 0, err)
		}
		d, closer = z, z.Close
	case ".lz4":
		d = lz4.NewReader(br)
	case ".bz2":
		d = bzip2.NewReader(br)
	default:
		d = br
	}
	return &bounded{r: d, name: name, left: l.Total, total: l.Total, close: closer}, nil
}

// compression tells how a file is compressed, as its extension; "" for plain text.
func compression(name string, br *bufio.Reader) string {
	ext := strings.ToLower(path.Ext(name))
	switch ext {
	case ".gz", ".xz", ".zst", ".lz4", ".bz2":
		return ext
	}
	head, _ := br.Peek(6)
	for _, m := range [...]struct{ magic, ext string }{
		{"\x1f\x8b", ".gz"}, {"\xfd7zXZ\x00", ".xz"}, {"\x28\xb5\x2f\xfd", ".zst"}, {"\x04\x22\x4d\x18", ".lz4"}, {"\x02\x21\x4c\x18", ".lz4"}, {"BZh", ".bz2"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.ext
		}
	}
	return ""
}

// bounded is a reader that yields at most total bytes.
type bounded struct {
	r           io.Reader
	name        string
	left, total int64
	close       func()
	err         error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	// One byte more than allowed is asked for, to tell a file of just the allowed size from a longer one.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if int64(n) > b.left {
		b.err = tooBig("apt.Decompress", b.name, 0, "decompresses to more than %d bytes", b.total)
		n = int(b.left)
		b.left = 0
		return n, b.err
	}
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		err = wrap("apt.Decompress", b.name, 0, short(err))
	}
	b.err = err
	return n, err
}

// Close frees what the decompressor holds.
func (b *bounded) Close() error {
	if b.close != nil {
		b.close()
		b.close = nil
	}
	if b.err == nil {
		b.err = io.ErrClosedPipe
	}
	return nil
}

// short makes an end of the file where a header was expected an unexpected one.
func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
