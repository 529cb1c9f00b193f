package rpm

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/patch"
)

// Notice is one entry of updateinfo.xml: the advisory, and the packages that it lists.
type Notice struct {
	patch.Advisory
	Status   string // "final", "stable", "testing", "retracted" …
	From     string // who published it
	Version  string // of the notice
	Release  string // of the product, as the notice names it
	Packages []NoticePackage
}

// NoticePackage is one package that a notice lists.
type NoticePackage struct {
	Name    string
	Arch    string
	Version string // "[epoch:]version-release", without an epoch of 0
	Reboot  bool   // reboot_suggested
}

// ReadUpdateinfo reads an updateinfo.xml in plain text and returns its notices in their order: those that list a package whose name keep
// accepts, with only these packages; nil keeps all. A date of a shape that is not known is zero, so that the rules for notices that are
// not well-formed apply to it (N1). A notice without an id is an error. Where an id stands twice, as in repositories that were merged,
// both notices are returned.
func ReadUpdateinfo(file string, r io.Reader, keep func(name []byte) bool, lim *Limits) ([]Notice, error) {
	const op = "rpm.ReadUpdateinfo"
	x := newXML(op, file, r, lim)
	if !x.root("updates") {
		return nil, x.err
	}
	p := primary{xmlReader: x, strings: map[string]string{}}
	var all []Notice
	for x.err == nil {
		if keep != nil && p.passNotice(keep) {
			continue
		}
		if !x.next() || x.kind == atClose {
			break
		}
		if x.kind != atOpen {
			continue
		}
		if string(x.name) != "update" {
			x.skip()
			continue
		}
		line := x.at
		n := p.notice(keep)
		if x.err != nil {
			break
		}
		if n.ID == "" {
			return nil, bad(op, file, line, "a notice has no id")
		}
		if keep == nil || len(n.Packages) > 0 {
			all = append(all, n)
		}
	}
	x.finish()
	if x.err != nil {
		return nil, x.err
	}
	return all, nil
}

func (p *primary) notice(keep func([]byte) bool) Notice {
	x := p.xmlReader
	n := Notice{Status: p.share(x.attr("status")), From: p.share(x.attr("from")), Version: p.share(x.attr("version"))}
	n.Type = p.share(x.attr("type"))
	word := func() string { return p.share(strings.TrimSpace(x.content())) }
	x.children(func(name string) {
		switch name {
		case "id":
			n.ID = strings.TrimSpace(x.content())
		case "title":
			n.Title = strings.TrimSpace(x.content())
		case "severity":
			n.Severity = word()
		case "release":
			n.Release = word()
		case "issued":
			n.Issued = parseTime(x.dateOf())
		case "updated":
			n.Updated = parseTime(x.dateOf())
		case "references":
			x.children(func(name string) {
				if name == "reference" {
					n.reference(x.attr("type"), x.attr("id"))
				}
			})
		case "pkglist":
			x.children(func(name string) {
				if name == "collection" {
					x.children(func(name string) {
						if name == "package" {
							p.noticePackage(&n, keep)
						}
					})
				}
			})
		case "reboot_suggested":
			n.RebootSuggested = isTrue(x.content())
		}
	})
	return n
}

// dateOf returns the date of <issued date="…"/>, or of an older file's <issued>…</issued>.
func (x *xmlReader) dateOf() string {
	if d := x.attr("date"); d != "" {
		return d
	}
	return x.content()
}

func (n *Notice) reference(kind, id string) {
	id = strings.TrimSpace(id)
	switch strings.ToLower(kind) {
	case "cve":
		if id = strings.ToUpper(id); strings.HasPrefix(id, "CVE-") && !slices.Contains(n.CVEs, id) {
			n.CVEs = append(n.CVEs, id)
		}
	case "bugzilla":
		if id != "" && strings.Trim(id, "0123456789") == "" && !slices.Contains(n.Bugzilla, id) {
			n.Bugzilla = append(n.Bugzilla, id)
		}
	}
}

func (p *primary) noticePackage(n *Notice, keep func([]byte) bool) {
	x := p.xmlReader
	pk := NoticePackage{Name: p.share(x.attr("name")), Arch: p.share(x.attr("arch"))}
	kept := keep == nil || keep([]byte(pk.Name))
	if kept {
		pk.Version = evr(x.attr("epoch"), x.attr("version"), x.attr("release"))
	}
	line := x.at
	x.children(func(name string) {
		if name == "reboot_suggested" {
			pk.Reboot = isTrue(x.content())
		}
	})
	n.RebootSuggested = n.RebootSuggested || pk.Reboot
	if !kept || x.err != nil {
		return
	}
	if pk.Name == "" || pk.Arch == "" || !complete(pk.Version) {
		x.err = bad(x.op, x.file, line, "a package of a notice has no name, architecture, version or release")
		return
	}
	if pk.Arch != "src" && pk.Arch != "nosrc" {
		n.Packages = append(n.Packages, pk)
	}
}

// isTrue reads the flags of updateinfo, which are "1", "True", or an empty element.
func isTrue(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "0", "false", "no":
		return false
	}
	return true
}

// passNotice passes a whole notice that lists no package which keep accepts, and reports whether it did.
func (p *primary) passNotice(keep func([]byte) bool) bool {
	b := p.whole("update", nil)
	for rest := b; b != nil; {
		i := bytes.Index(rest, []byte("<package"))
		if i < 0 {
			p.take(len(b))
			return true
		}
		rest = rest[i+len("<package"):]
		tag := rest[:max(0, bytes.IndexByte(rest, '>'))]
		_, value, ok := bytes.Cut(tag, []byte(" name=\""))
		name, _, ok2 := bytes.Cut(value, []byte{'"'})
		if !ok || !ok2 || bytes.IndexByte(name, '&') >= 0 || keep(name) {
			return false
		}
	}
	return false
}
