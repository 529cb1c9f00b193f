// Package packed decompresses the metadata of package repositories (gz, xz, zstd, lz4, bz2) under a bound on what comes out and on the
// memory that a file may ask for.
package packed

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Open returns r decompressed: at most total bytes, with at most window bytes of history. The compression is told by the extension
// of name, and by the first bytes where name has none that says it. Closing the result does not close r.
func Open(op, name string, r io.Reader, total, window int64) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 128<<10)
	var d io.Reader
	var closer func()
	kind := compression(name, br)
	if _, err := br.Peek(1); err != nil && kind != "" {
		return nil, Wrap(op, name, short(err)) // an empty file is no compressed one
	}
	switch kind {
	case ".gz":
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, Wrap(op, name, short(err))
		}
		d = z
	case ".xz":
		d = newXZ(br, window)
	case ".zst":
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(uint64(max(window, 1<<10))), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, Wrap(op, name, err)
		}
		d, closer = z, z.Close
	case ".lz4":
		d = lz4.NewReader(br)
	case ".bz2":
		d = bzip2.NewReader(br)
	default:
		d = br
	}
	return &bounded{r: d, op: op, name: name, left: total, total: total, close: closer}, nil
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
	op, name    string
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
		name := fault.Clean(b.name)
		b.err = fault.New(b.op, fault.MaxDocumentSizeExceeded, "%s: decompresses to more than %d bytes", name, b.total).About(name)
		n = int(b.left)
		b.left = 0
		return n, b.err
	}
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		err = Wrap(b.op, b.name, err)
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

// Wrap gives an error of a reader below the name of the file, unless it has one.
func Wrap(op, name string, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	e := fault.New(op, fault.Validation, "%s: cannot be read to its end", fault.Clean(name)).About(fault.Clean(name))
	e.Err = err
	return e
}

// short makes an end of the file where a header was expected an unexpected one.
func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
