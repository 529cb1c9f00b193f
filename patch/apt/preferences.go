package apt

import (
	"io"
	"regexp"
	"strconv"
	"strings"
)

// NeverPin is the priority of "Pin-Priority: never": no version comes from such an archive, whatever else is pinned.
const NeverPin = -32768

// Pin is one record of apt's preferences (apt_preferences(5)). Build it with ParsePreferences.
type Pin struct {
	File     string
	Line     int
	Packages []string // names, "src:" names, globs and /regular expressions/, each with an optional ":arch"; nil for "Package: *"
	Type     string   // "version", "release" or "origin"
	Data     string   // what follows the type
	Priority int      // -32767 to 32767 without 0, or NeverPin

	match matcher
	names []nameMatcher
}

// ParsePreferences reads a file of preferences. A record without a field Pin, or with a type of pin that apt does not know, is passed over
// as apt does; a record without Package, with a priority that is none, or an expression that cannot be compiled is an error.
func ParsePreferences(file string, r io.Reader, lim *Limits) ([]Pin, error) {
	const op = "apt.ParsePreferences"
	s := NewScanner(file, r, lim).AllowComments()
	var all []Pin
	for s.Scan() {
		name, err := s.Field("Package")
		if err != nil {
			return nil, err
		}
		if len(s.fields) == 0 {
			continue
		}
		if len(name) == 0 {
			return nil, bad(op, file, s.Line(), "a record has no field Package")
		}
		value, _ := s.Field("Pin")
		priority, _ := s.Field("Pin-Priority")
		if value == nil {
			continue
		}
		kind, data, _ := strings.Cut(strings.ReplaceAll(string(value), "\t", " "), " ")
		p := Pin{File: file, Line: s.lineOf("Package"), Type: strings.ToLower(kind), Data: strings.TrimSpace(data)}
		if string(name) != "*" {
			p.Packages = strings.Fields(string(name))
		}
		if p.Type != "release" && p.Type != "origin" && (p.Type != "version" || p.Packages == nil) {
			continue
		}
		switch n, err := strconv.ParseInt(string(priority), 10, 32); {
		case string(priority) == "never" && p.Packages != nil:
			return nil, bad(op, file, s.lineOf("Pin-Priority"), "Pin-Priority \"never\" belongs into a record for \"Package: *\" only")
		case string(priority) == "never":
			p.Priority = NeverPin
		case err != nil || n < -32768 || n > 32767:
			return nil, bad(op, file, s.lineOf("Pin-Priority"), "Pin-Priority must be a number from -32768 to 32767, or \"never\"")
		case n == 0:
			return nil, bad(op, file, s.lineOf("Pin-Priority"), "Pin-Priority must not be zero")
		default:
			p.Priority = max(int(n), NeverPin+1)
		}
		if p.match, err = compileMatch(p.Type, p.Data); err != nil {
			return nil, bad(op, file, s.lineOf("Pin"), "the pin holds a regular expression that is none")
		}
		for _, n := range p.Packages {
			m, err := compileName(n)
			if err != nil {
				return nil, bad(op, file, s.lineOf("Package"), "Package holds a regular expression that is none")
			}
			p.names = append(p.names, m)
		}
		all = append(all, p)
	}
	return all, s.Err()
}

// pattern is a string of the preferences: plain, a glob or a regular expression, all without regard to case.
type pattern struct {
	glob string
	re   *regexp.Regexp
}

func compilePattern(s string) (pattern, error) {
	if len(s) > 1 && s[0] == '/' && s[len(s)-1] == '/' {
		re, err := regexp.Compile("(?i)" + s[1:len(s)-1])
		return pattern{re: re}, err
	}
	return pattern{glob: strings.ToLower(s)}, nil
}

func (p *pattern) matches(s string) bool {
	if p.re != nil {
		return p.re.MatchString(s)
	}
	return glob(p.glob, strings.ToLower(s))
}

// glob matches as fnmatch(3) without flags: '*' and '?' match any character, a set in brackets may be negated by '!' or '^', and a
// backslash takes the next character as it is.
func glob(p, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		if i < len(p) && p[i] == '*' {
			star, mark = i, j
			i++
			continue
		}
		if n := globOne(p[i:], s[j]); n > 0 {
			i += n
			j++
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		i, j = star+1, mark
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// globOne returns how much of p matches the one character c, 0 for none.
func globOne(p string, c byte) int {
	if p == "" {
		return 0
	}
	switch p[0] {
	case '?':
		return 1
	case '\\':
		if len(p) > 1 && p[1] == c {
			return 2
		}
		return 0
	case '[':
		i, not, hit := 1, false, false
		if i < len(p) && (p[i] == '!' || p[i] == '^') {
			not = true
			i++
		}
		for first := true; i < len(p); first = false {
			if p[i] == ']' && !first {
				if hit != not {
					return i + 1
				}
				return 0
			}
			lo := p[i]
			if lo == '\\' && i+1 < len(p) {
				i++
				lo = p[i]
			}
			hi := lo
			if i+2 < len(p) && p[i+1] == '-' && p[i+2] != ']' {
				hi = p[i+2]
				i += 2
			}
			hit = hit || lo <= c && c <= hi
			i++
		}
		// A bracket that is never closed stands for itself.
		if c == '[' {
			return 1
		}
		return 0
	}
	if p[0] == c {
		return 1
	}
	return 0
}

// nameMatcher is one word of the field Package.
type nameMatcher struct {
	source  bool
	plain   string // an exact name; compared with case
	pattern pattern
	arch    string // "" is the native one, "any" all
}

func compileName(word string) (nameMatcher, error) {
	var m nameMatcher
	word, m.source = strings.CutPrefix(word, "src:")
	if i := strings.LastIndexByte(word, ':'); i >= 0 {
		word, m.arch = word[:i], word[i+1:]
	}
	if len(word) > 1 && word[0] == '/' && word[len(word)-1] == '/' || strings.ContainsAny(word, "*[?") {
		var err error
		m.pattern, err = compilePattern(word)
		return m, err
	}
	m.plain = word
	return m, nil
}

// matches reports whether the matcher names the package; arch is that of the slot, where "all" counts as native.
func (m *nameMatcher) matches(p *Package, arch, native string) bool {
	switch m.arch {
	case "", "native":
		if arch != native {
			return false
		}
	case "any", "*":
	default:
		if arch != m.arch {
			return false
		}
	}
	name := p.Name
	if m.source {
		name = p.Source
	}
	if m.plain != "" {
		return name == m.plain
	}
	return m.pattern.matches(name)
}

// matcher is the right-hand side of a Pin.
type matcher struct {
	kind    string
	all     bool // release *
	never   bool
	version *pattern
	release map[byte]pattern
	site    pattern
	anySite bool // origin "": archives without a host
}

func compileMatch(kind, data string) (matcher, error) {
	m := matcher{kind: kind}
	var err error
	switch kind {
	case "version":
		var p pattern
		p, err = compilePattern(data)
		m.version = &p
	case "origin":
		if len(data) >= 2 && data[0] == '"' && data[len(data)-1] == '"' {
			data = data[1 : len(data)-1]
		}
		m.anySite = data == ""
		m.site, err = compilePattern(data)
	case "release":
		if data == "*" {
			m.all = true
			return m, nil
		}
		m.release = map[byte]pattern{}
		if !strings.Contains(data, "=") {
			key := byte('r') // suite or codename
			if data != "" && data[0] >= '0' && data[0] <= '9' {
				key = 'v'
			}
			if data == "" {
				m.never = true
			}
			m.release[key], err = compilePattern(data)
			return m, err
		}
		for _, part := range strings.Split(data, ",") {
			part = strings.TrimSpace(part)
			if len(part) < 3 || part[1] != '=' || strings.IndexByte("voanlcb", lower(part[0])) < 0 {
				continue
			}
			p, perr := compilePattern(part[2:])
			if perr != nil {
				err = perr
			}
			m.release[lower(part[0])] = p
		}
		m.never = len(m.release) == 0
	}
	return m, err
}

// archive reports whether a release or origin pin matches the archive.
func (m *matcher) archive(a *Archive) bool {
	switch m.kind {
	case "origin":
		if a.now {
			return false
		}
		if m.anySite {
			return a.Site == ""
		}
		return a.Site != "" && m.site.matches(a.Site)
	case "release":
		if m.all {
			return true
		}
		if m.never {
			return a.now // apt finds nothing in the status file that would contradict
		}
		for key, p := range m.release {
			var values [2]string
			switch {
			case a.now && (key == 'a' || key == 'r'):
				values[0] = "now" // what apt calls the status file
			case a.now && (key == 'c' || key == 'b'):
				values[0] = map[byte]string{'c': "now"}[key]
			case a.now:
			case key == 'v':
				values[0] = a.Release.Version
			case key == 'o':
				values[0] = a.Release.Origin
			case key == 'a':
				values[0] = a.Release.Suite
			case key == 'n':
				values[0] = a.Release.Codename
			case key == 'l':
				values[0] = a.Release.Label
			case key == 'c':
				values[0] = a.Component
			case key == 'b':
				values[0] = a.Arch
			case key == 'r':
				values = [2]string{a.Release.Suite, a.Release.Codename}
			}
			if (values[0] == "" || !p.matches(values[0])) && (values[1] == "" || !p.matches(values[1])) {
				return false
			}
		}
		return true
	}
	return false
}

// selects reports whether the pin matches a version with the archives that have it.
func (m *matcher) selects(v *Version) bool {
	if m.kind == "version" {
		return m.version.matches(v.Version)
	}
	for _, a := range v.Archives {
		if m.archive(a) {
			return true
		}
	}
	return false
}
