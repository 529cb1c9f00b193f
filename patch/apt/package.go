package apt

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/patch"
)

// Package is one stanza of a Packages index or of dpkg's status file. Its strings are copies, the short ones shared.
type Package struct {
	Name          string
	Arch          string // "all" for any
	Version       string // "[epoch:]upstream[-revision]"
	Source        string // name of the source package; that of the package where the stanza has none
	SourceVersion string // version of the source package; that of the package where the stanza has none
	Section       string
	Priority      string
	Phased        int // Phased-Update-Percentage, 100 where the stanza has none
	Essential     bool
	Requires      []patch.Relation // Depends and Pre-Depends that have no alternative

	Want  string // status file: "install", "hold", "deinstall", "purge", "unknown"
	State string // status file: "installed", "config-files", "half-configured" …
	Flag  string // status file: "ok" or "reinstreq"
}

// Installed reports whether dpkg counts the package as there: in any state but not-installed and config-files, as apt does.
func (p *Package) Installed() bool {
	return p.State != "" && p.State != "not-installed" && p.State != "config-files"
}

// Held reports whether the administrator holds the package at its version (apt-mark hold).
func (p *Package) Held() bool { return p.Want == "hold" }

// ReadPackages reads a Packages index in plain text from r and gives take each package whose name keep accepts; nil keeps all. The
// name that keep sees is valid during the call only. Only stanzas that are kept are decoded, so that an index of 60,000 packages of which a thousand are
// installed costs little more than its decompression. An error of take ends the reading and is returned. When an error is returned,
// what take got does not count.
func ReadPackages(file string, r io.Reader, keep func(name []byte) bool, take func(Package) error, lim *Limits) error {
	d := decoder{s: NewScanner(file, r, lim), op: "apt.ReadPackages", strings: map[string]string{}}
	for d.s.Scan() {
		name := d.s.Name()
		if name == nil {
			var err error
			if name, err = d.s.Field("Package"); err != nil {
				return err
			}
		}
		if keep != nil && len(name) > 0 && !keep(name) {
			continue
		}
		p, err := d.decode()
		if err != nil {
			return err
		}
		if err := take(p); err != nil {
			return err
		}
	}
	return d.s.Err()
}

// ReadStatus reads dpkg's status file (/var/lib/dpkg/status) and returns its stanzas in their order, those of packages that are
// not installed too. A stanza without a version is left out where dpkg allows it: when the package is not installed.
func ReadStatus(file string, r io.Reader, lim *Limits) ([]Package, error) {
	d := decoder{s: NewScanner(file, r, lim), op: "apt.ReadStatus", strings: map[string]string{}, status: true}
	var all []Package
	for d.s.Scan() {
		p, err := d.decode()
		if err != nil {
			return nil, err
		}
		if p.Version == "" {
			continue
		}
		all = append(all, p)
	}
	if err := d.s.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

// decoder makes packages of stanzas.
type decoder struct {
	s       *Scanner
	op      string
	strings map[string]string // of values that repeat
	status  bool
}

// share returns b as a string, the same one for the same bytes.
func (d *decoder) share(b []byte) string {
	if s, ok := d.strings[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.strings) < 1<<16 {
		d.strings[s] = s
	}
	return s
}

func (d *decoder) decode() (Package, error) {
	p := Package{Phased: 100}
	fields, err := d.s.Fields()
	if err != nil {
		return p, err
	}
	var source []byte
	for name, v := range fields {
		switch len(name) { // most fields are none of these
		case 6:
			if foldEqual(name, "Source") {
				source = v
			} else if d.status && foldEqual(name, "Status") {
				if err := d.state(&p, v); err != nil {
					return p, err
				}
			}
		case 7:
			switch {
			case foldEqual(name, "Package"):
				p.Name = string(v)
			case foldEqual(name, "Version"):
				p.Version = string(v)
			case foldEqual(name, "Section"):
				p.Section = d.share(v)
			case foldEqual(name, "Depends"):
				p.Requires = d.requires(p.Requires, v)
			}
		case 8:
			if foldEqual(name, "Priority") {
				p.Priority = d.share(v)
			}
		case 9:
			if foldEqual(name, "Essential") {
				p.Essential = foldEqual(v, "yes")
			}
		case 11:
			if foldEqual(name, "Pre-Depends") {
				p.Requires = d.requires(p.Requires, v)
			}
		case 12:
			if foldEqual(name, "Architecture") {
				p.Arch = d.share(v)
			}
		case 24:
			if foldEqual(name, "Phased-Update-Percentage") {
				n, err := strconv.Atoi(string(v))
				if err != nil || n < 0 || n > 100 {
					n = 100 // apt passes over a percentage that is none
				}
				p.Phased = n
			}
		}
	}
	if !validPackage(p.Name) {
		return p, bad(d.op, d.s.file, d.s.lineOf("Package"), "the stanza has no field Package with the name of a package")
	}
	if p.Version == "" && d.status && !p.Installed() {
		return p, nil
	}
	if p.Version == "" || strings.ContainsAny(p.Version, " \t\n") {
		return p, bad(d.op, d.s.file, d.s.lineOf("Version"), "package %q has no version, or one with blanks", p.Name)
	}
	if p.Arch == "" || strings.ContainsAny(p.Arch, " \t\n") {
		return p, bad(d.op, d.s.file, d.s.lineOf("Architecture"), "package %q has no architecture", p.Name)
	}
	if d.status && p.State == "" {
		return p, bad(d.op, d.s.file, d.s.Line(), "package %q has no field Status", p.Name)
	}
	p.Source, p.SourceVersion = p.Name, p.Version
	if len(source) > 0 {
		src, ver, _ := bytes.Cut(source, []byte{' '})
		p.Source = d.share(src)
		if ver = bytes.Trim(ver, "() \t"); len(ver) > 0 {
			p.SourceVersion = string(ver)
		}
	}
	return p, nil
}

// state reads "want flag status".
func (d *decoder) state(p *Package, v []byte) error {
	words := bytes.Fields(v)
	if len(words) != 3 {
		return bad(d.op, d.s.file, d.s.lineOf("Status"), "Status must be three words, such as \"install ok installed\"")
	}
	p.Want, p.Flag, p.State = d.share(words[0]), d.share(words[1]), d.share(words[2])
	switch p.State {
	case "not-installed", "config-files", "half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending", "installed":
		return nil
	}
	return bad(d.op, d.s.file, d.s.lineOf("Status"), "the third word of Status is no state of dpkg")
}

// requires adds the relations of a Depends field that name one package each. Their strings are parts of one copy of the field.
func (d *decoder) requires(to []patch.Relation, v []byte) []patch.Relation {
	to = slices.Grow(to, bytes.Count(v, []byte{','})+1)
	for rest := string(v); rest != ""; {
		var r string
		r, rest, _ = strings.Cut(rest, ",")
		if strings.IndexByte(r, '|') >= 0 {
			continue
		}
		name, bound, _ := strings.Cut(strings.TrimSpace(r), "(")
		name, _, _ = strings.Cut(strings.TrimSpace(name), ":")
		if name == "" {
			continue
		}
		rel := patch.Relation{Name: name}
		bound, _, _ = strings.Cut(bound, ")")
		bound = strings.TrimSpace(bound)
		n := 0
		for n < len(bound) && (bound[n] == '<' || bound[n] == '>' || bound[n] == '=') {
			n++
		}
		switch bound[:n] {
		case "<<":
			rel.Flag = "LT"
		case "<", "<=":
			rel.Flag = "LE"
		case "=":
			rel.Flag = "EQ"
		case ">", ">=":
			rel.Flag = "GE"
		case ">>":
			rel.Flag = "GT"
		}
		if rel.Flag != "" {
			rel.Version = strings.TrimSpace(bound[n:])
		}
		to = append(to, rel)
	}
	return to
}

// validPackage reports whether s may be the name of a package, less strictly than dpkg: no blanks, no control characters, no path.
func validPackage(s string) bool {
	if s == "" || s[0] == '-' || s[0] == '.' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '/' || c == ',' || c == '(' || c == ':' {
			return false
		}
	}
	return true
}
