package rpm

import (
	"bufio"
	"io"
	"strconv"
	"strings"
)

// Source is one section of a .repo file.
type Source struct {
	File string
	Line int

	ID         string // the section's name
	Name       string
	BaseURLs   []string
	MirrorList string
	MetaLink   string
	Enabled    bool // default true
	Priority   int  // 1 to 99, default 99; a lower number goes first
	Cost       int  // default 1000

	GPGCheck     bool     // signatures of packages; default as given to ParseRepo
	RepoGPGCheck bool     // signature of repomd.xml; default as given to ParseRepo
	GPGKeys      []string // URLs of keys
	Exclude      []string // exclude, excludepkgs: names and globs. Patch Manager does not heed them (E7)
	Include      []string // includepkgs
}

// RepoDefaults are what the section [main] of dnf.conf or yum.conf sets for all repositories.
type RepoDefaults struct {
	GPGCheck     bool
	RepoGPGCheck bool

	// Vars are the variables of yum and dnf without the dollar sign: "releasever", "basearch", "arch", and those of /etc/dnf/vars and
	// /etc/yum/vars. A variable that is not among them stays as it is written, as dnf leaves it.
	Vars map[string]string
}

// ParseRepo reads a .repo file. Sections named "main" are passed over, unknown options too. A section or an option that stands twice
// in a file, and a value that is none of its kind, are errors.
func ParseRepo(file string, r io.Reader, d *RepoDefaults, lim *Limits) ([]Source, error) {
	const op = "rpm.ParseRepo"
	if d == nil {
		d = &RepoDefaults{}
	}
	l := lim.orDefault()
	in := bufio.NewReader(io.LimitReader(r, min(l.Total, 16<<20)+1))
	var all []Source
	type option struct {
		value string
		line  int
	}
	var options map[string]*option
	var last *option
	sections := map[string]bool{}
	finish := func() error {
		if len(all) == 0 || options == nil {
			return nil
		}
		s := &all[len(all)-1]
		for name, o := range options {
			v := d.expand(o.value)
			var err error
			switch name {
			case "name":
				s.Name = v
			case "baseurl":
				s.BaseURLs = words(v)
			case "mirrorlist":
				s.MirrorList = v
			case "metalink":
				s.MetaLink = v
			case "gpgkey":
				s.GPGKeys = words(v)
			case "exclude", "excludepkgs":
				s.Exclude = append(s.Exclude, words(v)...)
			case "includepkgs":
				s.Include = words(v)
			case "enabled":
				s.Enabled, err = boolean(v)
			case "gpgcheck", "pkg_gpgcheck":
				s.GPGCheck, err = boolean(v)
			case "repo_gpgcheck":
				s.RepoGPGCheck, err = boolean(v)
			case "priority":
				s.Priority, err = strconv.Atoi(v)
			case "cost":
				s.Cost, err = strconv.Atoi(v)
			}
			if err != nil {
				return bad(op, file, o.line, "option %q of [%s] has a value that is none of its kind", name, s.ID)
			}
		}
		return nil
	}
	var total int64
	for line := 1; ; line++ {
		text, err := readLine(in, l.Token)
		if err == errLong {
			return nil, tooBig(op, file, line, "a line is longer than %d bytes", l.Token)
		}
		if total += int64(len(text)); total > min(l.Total, 16<<20) {
			return nil, tooBig(op, file, line, "the file is longer than %d bytes", min(l.Total, 16<<20))
		}
		if err != nil && err != io.EOF {
			return nil, wrap(op, file, line, err)
		}
		end := err == io.EOF
		text = strings.TrimRight(strings.TrimPrefix(text, "\ufeff"), " \t\r\n")
		trimmed := strings.TrimLeft(text, " \t")
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
		case text[0] == '[':
			id, rest, ok := strings.Cut(text[1:], "]")
			if rest = strings.TrimSpace(rest); !ok || id == "" || rest != "" && rest[0] != '#' && rest[0] != ';' {
				return nil, bad(op, file, line, "a section must be \"[id]\"")
			}
			if err := finish(); err != nil {
				return nil, err
			}
			id = d.expand(id)
			if sections[id] {
				return nil, bad(op, file, line, "section %q stands twice in the file", id)
			}
			sections[id] = true
			options, last = map[string]*option{}, nil
			if id == "main" {
				options = nil
				break
			}
			all = append(all, Source{File: file, Line: line, ID: id, Enabled: true, Priority: 99, Cost: 1000, GPGCheck: d.GPGCheck, RepoGPGCheck: d.RepoGPGCheck})
		case len(sections) == 0:
			return nil, bad(op, file, line, "an option stands before the first section")
		case text[0] == ' ' || text[0] == '\t': // goes on with the value above
			if last == nil {
				if options != nil {
					return nil, bad(op, file, line, "a line that continues an option stands before any option")
				}
				break
			}
			last.value += "\n" + trimmed
		default:
			key, value, ok := strings.Cut(text, "=")
			key = strings.ToLower(strings.TrimSpace(key))
			if !ok || key == "" {
				return nil, bad(op, file, line, "this line is no \"option=value\"")
			}
			if options == nil {
				break
			}
			if options[key] != nil {
				return nil, bad(op, file, line, "option %q stands twice in [%s]", key, all[len(all)-1].ID)
			}
			last = &option{value: strings.TrimSpace(value), line: line}
			options[key] = last
		}
		if end {
			break
		}
	}
	if err := finish(); err != nil {
		return nil, err
	}
	return all, nil
}

func words(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

func boolean(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "1", "yes", "true", "on":
		return true, nil
	case "0", "no", "false", "off":
		return false, nil
	}
	return false, strconv.ErrSyntax
}

// expand replaces $name and ${name}.
func (d *RepoDefaults) expand(s string) string {
	if strings.IndexByte(s, '$') < 0 {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i:]
		rest, braced := strings.CutPrefix(s[1:], "{")
		n := 0
		for n < len(rest) && (rest[n] == '_' || lower(rest[n]) >= 'a' && lower(rest[n]) <= 'z' || rest[n] >= '0' && rest[n] <= '9') {
			n++
		}
		whole := 1 + n
		if braced {
			if n == len(rest) || rest[n] != '}' {
				b.WriteByte('$')
				s = s[1:]
				continue
			}
			whole += 2
		}
		if v, ok := d.Vars[strings.ToLower(rest[:n])]; ok && n > 0 {
			b.WriteString(v)
		} else {
			b.WriteString(s[:whole])
		}
		s = s[whole:]
	}
}
