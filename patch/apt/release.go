package apt

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Release is what a Release or InRelease file says of an archive.
type Release struct {
	File       string // name that the file was read under
	Origin     string
	Label      string
	Suite      string // also called the archive: "stable", "jammy-security"
	Codename   string
	Version    string
	Date       time.Time // zero when absent
	ValidUntil time.Time // zero: never expires

	NotAutomatic         bool // its packages are not upgraded to unless asked for (experimental)
	ButAutomaticUpgrades bool // … but are once installed (backports)
	ByHash               bool // Acquire-By-Hash: indexes are also found under by-hash/
	NoArchAll            bool // binary-all is not to be read besides binary-ARCH
	Components           []string
	Architectures        []string

	Signers []string // fingerprints (gpgv: key ids) whose signatures were verified; empty when none was looked at

	files map[string]IndexFile
}

// IndexFile is the entry of one index in a Release file: its size in bytes and its strongest hash.
type IndexFile struct {
	Path string // relative to the Release file: "main/binary-amd64/Packages.xz"
	Size int64
	Hash string // "SHA512", "SHA256", "SHA1" or "MD5Sum"
	Sum  string // lower-case hexadecimal
}

// hashNames are the fields of a Release file that list indexes, weakest first.
var hashNames = [...]struct {
	name string
	size int
}{{"MD5Sum", 32}, {"SHA1", 40}, {"SHA256", 64}, {"SHA512", 128}}

// ParseRelease reads a Release file, without a signature; file names it in errors. Unknown fields are passed over.
func ParseRelease(file string, r io.Reader, lim *Limits) (*Release, error) {
	const op = "apt.ParseRelease"
	s := NewScanner(file, r, lim)
	s.lim.Stanza = int(min(s.lim.Total, 64<<20)) // the lists of hashes of a large archive are one stanza
	s.lim.Line = min(s.lim.Line, 64<<10)
	s.buf = make([]byte, 64<<10)
	if !s.Scan() {
		if s.Err() != nil {
			return nil, s.Err()
		}
		return nil, bad(op, file, 1, "the file is empty")
	}
	fields, err := s.Fields()
	if err != nil {
		return nil, err
	}
	rel := &Release{File: file, files: map[string]IndexFile{}}
	for name, value := range fields {
		v := string(value)
		switch strings.ToLower(string(name)) {
		case "origin":
			rel.Origin = v
		case "label":
			rel.Label = v
		case "suite":
			rel.Suite = v
		case "archive":
			if rel.Suite == "" {
				rel.Suite = v
			}
		case "codename":
			rel.Codename = v
		case "version":
			rel.Version = v
		case "components":
			rel.Components = strings.Fields(v)
		case "architectures":
			rel.Architectures = strings.Fields(v)
		case "notautomatic":
			rel.NotAutomatic = isYes(v)
		case "butautomaticupgrades":
			rel.ButAutomaticUpgrades = isYes(v)
		case "acquire-by-hash":
			rel.ByHash = isYes(v)
		case "no-support-for-architecture-all":
			for _, t := range strings.Fields(v) {
				rel.NoArchAll = rel.NoArchAll || t == "Packages"
			}
		case "date":
			if rel.Date, err = releaseTime(v); err != nil {
				return nil, bad(op, file, s.lineOf("Date"), "Date is no date of RFC 2822")
			}
		case "valid-until":
			if rel.ValidUntil, err = releaseTime(v); err != nil {
				return nil, bad(op, file, s.lineOf("Valid-Until"), "Valid-Until is no date of RFC 2822")
			}
		}
	}
	for _, h := range hashNames {
		list, _ := s.Field(h.name)
		if err := rel.addFiles(op, file, s.valueLine(h.name), h.name, h.size, list); err != nil {
			return nil, err
		}
	}
	if s.Scan() {
		return nil, bad(op, file, s.Line(), "a Release file has one stanza")
	}
	return rel, s.Err()
}

// addFiles takes one list of hashes; a stronger one replaces a weaker one, and they must agree on the size.
func (rel *Release) addFiles(op, file string, line int, kind string, size int, list []byte) error {
	for ; len(list) > 0; line++ {
		l := list
		if i := bytes.IndexByte(list, '\n'); i >= 0 {
			l, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		// hash, size, path: Fields would allocate for each of 100,000 lines
		l = bytes.TrimSpace(l)
		if len(l) == 0 {
			continue
		}
		sum, rest, _ := bytes.Cut(l, []byte{' '})
		count, name, ok := bytes.Cut(bytes.TrimLeft(rest, " \t"), []byte{' '})
		name = bytes.TrimSpace(name)
		n, err := strconv.ParseInt(string(count), 10, 64)
		if !ok || err != nil || n < 0 || len(sum) != size || !isHex(sum) || len(name) == 0 {
			return bad(op, file, line, "an entry of %s must be \"hash size path\"", kind)
		}
		p := string(name)
		if path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../") {
			return bad(op, file, line, "an entry of %s has a path that leaves the archive, or is not in its shortest form", kind)
		}
		old, seen := rel.files[p]
		if seen && old.Hash == kind && (old.Sum != string(bytes.ToLower(sum)) || old.Size != n) {
			return bad(op, file, line, "%s names %q twice, with different content", kind, p)
		}
		if seen && old.Size != n {
			return bad(op, file, line, "%s gives %q another size than %s", kind, p, old.Hash)
		}
		rel.files[p] = IndexFile{Path: p, Size: n, Hash: kind, Sum: string(bytes.ToLower(sum))}
	}
	return nil
}

func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (lower(c) < 'a' || lower(c) > 'f') {
			return false
		}
	}
	return true
}

// isYes reads a boolean as apt does.
func isYes(v string) bool {
	switch strings.ToLower(v) {
	case "yes", "true", "with", "on", "enable", "1":
		return true
	}
	return false
}

// releaseTime reads a date of a Release file, in UTC as it must be.
func releaseTime(v string) (time.Time, error) {
	var err error
	for _, layout := range [...]string{"Mon, _2 Jan 2006 15:04:05 MST", "Mon, _2 Jan 2006 15:04:05 -0700"} {
		var t time.Time
		if t, err = time.Parse(layout, v); err == nil {
			if _, off := t.Zone(); off == 0 {
				switch z, _ := t.Zone(); z {
				case "UTC", "GMT", "Z", "", "+0000":
				default:
					return time.Time{}, strconv.ErrSyntax // a zone name that Go could not resolve
				}
			}
			return t.UTC(), nil
		}
	}
	return time.Time{}, err
}

// Index returns the entry of an index by its path below the Release file.
func (rel *Release) Index(path string) (IndexFile, bool) {
	f, ok := rel.files[path]
	return f, ok
}

// Len returns the number of files that the Release file lists.
func (rel *Release) Len() int { return len(rel.files) }

// Expired returns an error when Valid-Until has passed at now, as apt refuses such an archive; nil without Valid-Until.
func (rel *Release) Expired(now time.Time) error {
	if rel.ValidUntil.IsZero() || !now.After(rel.ValidUntil) {
		return nil
	}
	e := fault.New("apt.Expired", fault.Validation, "%s was valid until %s only: refresh the metadata (apt-get update), a mirror may be stale",
		fault.Clean(rel.File), rel.ValidUntil.Format(time.RFC3339))
	return e.About(rel.File)
}

// Check returns a reader over r, the bytes of the index at path, that fails instead of ending when the bytes have another size or
// hash than the Release file says, and as soon as there are more of them. Nothing read from it counts before io.EOF. An index that
// is listed with MD5 or SHA-1 only is refused, as apt refuses it.
func (rel *Release) Check(path string, r io.Reader) (io.Reader, error) {
	const op = "apt.Check"
	f, ok := rel.files[path]
	if !ok {
		return nil, bad(op, rel.File, 0, "does not list %q", path)
	}
	var h hash.Hash
	switch f.Hash {
	case "SHA512":
		h = sha512.New()
	case "SHA256":
		h = sha256.New()
	default:
		return nil, bad(op, rel.File, 0, "lists %q with %s only, which proves nothing", path, f.Hash)
	}
	return &checked{r: r, f: f, h: h, left: f.Size}, nil
}

// ByHash returns the path of the index under its hash, and whether the archive has such paths.
func (f IndexFile) ByHash() string {
	return path.Join(path.Dir(f.Path), "by-hash", f.Hash, f.Sum)
}

// checked holds what it reads against an IndexFile.
type checked struct {
	r    io.Reader
	f    IndexFile
	h    hash.Hash
	left int64
	err  error
}

func (c *checked) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	if int64(n) > c.left {
		c.err = bad("apt.Check", c.f.Path, 0, "is longer than the %d bytes that the Release file says", c.f.Size)
		return 0, c.err
	}
	c.h.Write(p[:n])
	c.left -= int64(n)
	if err == io.EOF {
		switch {
		case c.left > 0:
			err = bad("apt.Check", c.f.Path, 0, "ends after %d of the %d bytes that the Release file says", c.f.Size-c.left, c.f.Size)
		case hex.EncodeToString(c.h.Sum(nil)) != c.f.Sum:
			err = bad("apt.Check", c.f.Path, 0, "has another %s than the Release file says", c.f.Hash)
		}
	}
	c.err = err
	return n, err
}

// Security reports whether the archive is the security archive of its distribution (rules N5, N6): "debian-security" for the
// codename on Debian, "<codename>-security" on Ubuntu. The Release files of the two differ: on Debian the label, and the codename (12
// and later) or the suite, carry it while the suite says "oldstable-security"; on Ubuntu only the suite does, the codename is the
// same in every pocket. Raspbian has none of its own.
func (rel *Release) Security() bool {
	switch rel.Origin {
	case "Debian":
		return rel.Label == "Debian-Security"
	case "Ubuntu":
		return rel.Codename != "" && rel.Suite == rel.Codename+"-security"
	}
	// Expanded security maintenance and derivatives: "UbuntuESM" has suites like "jammy-infra-security"; derivatives of Debian
	// keep the label or the suite.
	switch {
	case rel.Origin == "UbuntuESM", rel.Origin == "UbuntuESMApps":
		return strings.HasSuffix(rel.Suite, "-security")
	case rel.Label == "Debian-Security":
		return true
	}
	return rel.Codename != "" && rel.Suite == rel.Codename+"-security"
}
