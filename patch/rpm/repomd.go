package rpm

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// Repomd is a repomd.xml: which files a repository has, with their sizes and checksums.
type Repomd struct {
	Revision string
	Data     []Data
}

// Data is one file of a repository.
type Data struct {
	Type      string // "primary", "updateinfo", "modules" …
	Location  string // relative to the folder that holds repodata/
	Size      int64  // bytes as stored, -1 when not said
	OpenSize  int64  // bytes once decompressed, -1 when not said
	Sum       Sum    // of the stored bytes
	OpenSum   Sum    // of the decompressed bytes; may be empty
	Timestamp time.Time
}

// Sum is a checksum.
type Sum struct {
	Type  string // "sha256", "sha512", "sha384", "sha224", "sha" or "sha1"
	Value string // lower-case hexadecimal
}

// Find returns the entry of a type; where a file is offered in several compressions ("primary", "primary_zck"), that of the plain name.
func (m *Repomd) Find(kind string) (Data, bool) {
	for _, d := range m.Data {
		if d.Type == kind {
			return d, true
		}
	}
	return Data{}, false
}

// ReadRepomd reads a repomd.xml. An entry without a location inside the repository, or without a checksum that this package can
// compute, is an error; a type that appears twice too.
func ReadRepomd(file string, r io.Reader, lim *Limits) (*Repomd, error) {
	const op = "rpm.ReadRepomd"
	x := newXML(op, file, r, lim)
	if !x.root("repomd") {
		return nil, x.err
	}
	m := &Repomd{}
	x.children(func(name string) {
		switch name {
		case "revision":
			m.Revision = strings.TrimSpace(x.content())
		case "data":
			line := x.at
			d := Data{Type: x.attr("type"), Size: -1, OpenSize: -1}
			x.children(func(name string) {
				switch name {
				case "location":
					d.Location = x.attr("href")
				case "checksum":
					d.Sum = x.sum()
				case "open-checksum":
					d.OpenSum = x.sum()
				case "size":
					d.Size = x.number()
				case "open-size":
					d.OpenSize = x.number()
				case "timestamp":
					d.Timestamp = parseTime(x.content())
				}
			})
			if x.err != nil {
				return
			}
			_, again := m.Find(d.Type)
			switch {
			case d.Type == "" || again:
				x.err = bad(op, file, line, "an entry has no type, or one that another has too")
			case !fs.ValidPath(d.Location) || d.Location == ".":
				x.err = bad(op, file, line, "entry %q has no location inside of the repository", d.Type)
			case newHash(d.Sum.Type) == nil || len(d.Sum.Value) != 2*newHash(d.Sum.Type).Size() || !isHex(d.Sum.Value):
				x.err = bad(op, file, line, "entry %q has no checksum that can be verified", d.Type)
			default:
				m.Data = append(m.Data, d)
			}
		}
	})
	if x.finish(); x.err != nil {
		return nil, x.err
	}
	return m, nil
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}

func newHash(kind string) hash.Hash {
	switch kind {
	case "sha", "sha1":
		return sha1.New()
	case "sha224":
		return sha256.New224()
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// root opens the document and checks the name of its root element.
func (x *xmlReader) root(names ...string) bool {
	for x.next() {
		if x.kind != atOpen {
			continue
		}
		for _, n := range names {
			if string(x.name) == n {
				return true
			}
		}
		return x.fail("the document's root is not <%s>", names[0])
	}
	return false
}

// finish reads to the end of the document.
func (x *xmlReader) finish() {
	for x.next() {
		if x.depth() == 0 && x.kind != atClose {
			x.fail("the document goes on after its root element")
		}
	}
}

func (x *xmlReader) sum() Sum {
	s := Sum{Type: x.attr("type")}
	s.Value = strings.ToLower(strings.TrimSpace(x.content()))
	return s
}

func (x *xmlReader) number() int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(x.content()), 10, 64)
	if err != nil || n < 0 {
		x.fail("a size is no number")
		return -1
	}
	return n
}

// check returns a reader over r, the stored bytes of d, that fails instead of ending when size or checksum are others.
func (d *Data) check(file string, r io.Reader) io.Reader {
	return &checked{r: r, file: file, h: newHash(d.Sum.Type), want: d.Sum, size: d.Size}
}

type checked struct {
	r    io.Reader
	file string
	h    hash.Hash
	want Sum
	size int64
	n    int64
	err  error
}

func (c *checked) Read(p []byte) (int, error) {
	const op = "rpm.ReadRepo"
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.h.Write(p[:n])
	c.n += int64(n)
	switch {
	case c.size >= 0 && c.n > c.size:
		c.err = bad(op, c.file, 0, "is longer than the %d bytes that repomd.xml says", c.size)
		return 0, c.err
	case err != io.EOF:
	case c.size >= 0 && c.n < c.size:
		err = bad(op, c.file, 0, "ends after %d of the %d bytes that repomd.xml says", c.n, c.size)
	case hex.EncodeToString(c.h.Sum(nil)) != c.want.Value:
		err = bad(op, c.file, 0, "has another %s than repomd.xml says", c.want.Type)
	}
	c.err = err
	return n, err
}

// parseTime reads the dates of repository metadata: seconds since 1970, a date, or a date and time in UTC; zero for anything else.
func parseTime(s string) time.Time {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseFloat(s, 64); err == nil && n > 0 && n < 1<<38 {
		return time.Unix(int64(n), 0).UTC()
	}
	for _, layout := range [...]string{"2006-01-02 15:04:05", "2006-01-02", "2006-01-02 15:04:05 MST", time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04", "Mon Jan _2 15:04:05 2006", "Mon Jan _2 15:04:05 MST 2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
