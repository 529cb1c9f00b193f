package rpm

import (
	"bytes"
	"io"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/patch"
)

// Package is one package of a repository's primary.xml.
type Package struct {
	Name      string
	Arch      string
	Version   string    // "[epoch:]version-release", without an epoch of 0
	Built     time.Time // zero when not said
	Source    string    // file name of the source package
	Location  string    // relative to the repository
	Checksum  Sum       // of the package file
	Provides  []patch.Relation
	Requires  []patch.Relation // capabilities, which need not be names of packages
	Obsoletes []patch.Relation
}

// ReadPrimary reads a primary.xml in plain text and gives take each package whose name keep accepts, and each that obsoletes a name that
// keep accepts; nil keeps all. The name that keep sees is valid during the call only. Packages that are passed over are not decoded. An
// error of take ends the reading and is returned; when an error is returned, what take got does not count.
func ReadPrimary(file string, r io.Reader, keep func(name []byte) bool, take func(Package) error, lim *Limits) error {
	x := newXML("rpm.ReadPrimary", file, r, lim)
	if !x.root("metadata") {
		return x.err
	}
	p := primary{xmlReader: x, strings: map[string]string{}}
	for x.err == nil {
		if keep != nil && p.pass(keep) {
			continue
		}
		if !x.next() || x.kind == atClose {
			break
		}
		if x.kind != atOpen {
			continue
		}
		if string(x.name) != "package" {
			x.skip()
			continue
		}
		line := x.at
		pk := p.decode()
		if x.err != nil {
			break
		}
		if pk.Name == "" || pk.Arch == "" || !complete(pk.Version) {
			return bad(x.op, file, line, "a package has no name, architecture, version or release")
		}
		if keep != nil && !keep([]byte(pk.Name)) && !anyKept(pk.Obsoletes, keep) {
			continue
		}
		if err := take(pk); err != nil {
			return err
		}
	}
	x.finish()
	return x.err
}

func anyKept(rs []patch.Relation, keep func([]byte) bool) bool {
	for _, r := range rs {
		if keep([]byte(r.Name)) {
			return true
		}
	}
	return false
}

type primary struct {
	*xmlReader
	strings map[string]string
}

var (
	tagName   = []byte("<name>")
	endName   = []byte("</name>")
	obsoletes = []byte("obsoletes")
)

// pass passes a whole package that need not be decoded, and reports whether it did. Only the plain shape that repositories have is
// passed that way; anything else is left to the tokens.
func (p *primary) pass(keep func([]byte) bool) bool {
	some := false // obsoletes
	b := p.whole("package", func(tag []byte) { some = some || bytes.HasSuffix(tag, obsoletes) })
	if b == nil || some {
		return false
	}
	head := bytes.IndexByte(b, '>')
	name, ok := bytes.CutPrefix(bytes.TrimLeft(b[head+1:], " \t\r\n"), tagName)
	if !ok {
		return false
	}
	end := bytes.Index(name, endName)
	if end < 0 || bytes.IndexByte(name[:end], '&') >= 0 || bytes.IndexByte(name[:end], '<') >= 0 || keep(name[:end]) {
		return false
	}
	p.take(len(b))
	return true
}

// whole returns the next child of the root element, unread, if it is one of that name, in plain sight: without anything that
// could hold its closing tag but an attribute, which cannot. Otherwise it returns nil, and the tokens must tell. inner sees the
// names of the closing tags inside; nil does not.
func (p *primary) whole(name string, inner func(tag []byte)) []byte {
	x := p.xmlReader
	if x.err != nil || x.pending || x.depth() != 1 {
		return nil
	}
	for {
		for x.start < x.end && blank(x.buf[x.start]) {
			x.take(1)
		}
		if x.start < x.end || !x.fill() {
			break
		}
	}
	if !x.need(len(name)+2) || x.buf[x.start] != '<' || string(x.buf[x.start+1:x.start+1+len(name)]) != name || !blank(x.buf[x.start+1+len(name)]) {
		return nil
	}
	n := x.closing(name, len(name)+1, inner)
	if n < 0 {
		return nil
	}
	b := x.buf[x.start : x.start+n]
	if head := bytes.IndexByte(b, '>'); b[head-1] == '/' || bytes.IndexByte(b, '!') >= 0 { // a '!' may begin a comment or CDATA
		return nil
	}
	return b
}

func (p *primary) share(s string) string {
	if t, ok := p.strings[s]; ok {
		return t
	}
	if len(p.strings) < 1<<16 {
		p.strings[s] = s
	}
	return s
}

func (p *primary) decode() Package {
	var pk Package
	x := p.xmlReader
	seen := map[string]bool{}
	x.children(func(name string) {
		switch name {
		case "name", "arch", "version":
			if seen[name] {
				x.fail("a package has <%s> twice", name)
				return
			}
			seen[name] = true
		}
		switch name {
		case "name":
			pk.Name = x.content()
		case "arch":
			pk.Arch = p.share(x.content())
		case "version":
			pk.Version = evr(x.attr("epoch"), x.attr("ver"), x.attr("rel"))
		case "checksum":
			pk.Checksum = x.sum()
		case "time":
			pk.Built = parseTime(x.attr("build"))
		case "location":
			pk.Location = x.attr("href")
		case "format":
			x.children(func(name string) {
				switch name {
				case "sourcerpm":
					pk.Source = p.share(x.content())
				case "provides":
					pk.Provides = p.relations()
				case "requires":
					pk.Requires = p.relations()
				case "obsoletes":
					pk.Obsoletes = p.relations()
				}
			})
		}
	})
	return pk
}

func (p *primary) relations() []patch.Relation {
	var all []patch.Relation
	x := p.xmlReader
	x.children(func(name string) {
		if name != "entry" {
			return
		}
		r := patch.Relation{Name: p.share(x.attr("name")), Flag: p.share(x.attr("flags"))}
		switch r.Flag {
		case "LT", "LE", "EQ", "GE", "GT":
			r.Version = evr(x.attr("epoch"), x.attr("ver"), x.attr("rel"))
		default:
			r.Flag = ""
		}
		if r.Name != "" {
			all = append(all, r)
		}
	})
	return all
}

// evr joins the parts of a version; an epoch of 0 and an absent release are left out.
func evr(epoch, version, release string) string {
	if release != "" || version == "" {
		version += "-" + release
	}
	if epoch != "" && epoch != "0" {
		version = epoch + ":" + version
	}
	return version
}

// complete reports whether a version has both version and release.
func complete(evr string) bool {
	if _, rest, ok := strings.Cut(evr, ":"); ok {
		evr = rest
	}
	version, release, _ := strings.Cut(evr, "-")
	return version != "" && release != ""
}
