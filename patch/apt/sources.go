package apt

import (
	"bufio"
	"bytes"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Source is one archive that the machine's sources name: one kind of index, one URI, one suite.
type Source struct {
	File string // where it is written
	Line int

	Type       string   // "deb" or "deb-src"
	URI        string   // with a trailing slash
	Suite      string   // "bookworm-security"; with a trailing slash for a flat archive, which has no components
	Components []string // "main", "contrib" …

	Architectures   []string // of option arch; empty means those of the machine
	ArchAdd         []string // arch+=
	ArchRemove      []string // arch-=
	Trusted         string   // "yes": not to be verified, "no": never to be trusted, "": by its signature
	SignedBy        []string // keyring files and fingerprints that alone may sign it; empty: any key that the machine trusts
	SignedByKey     string   // an armoured key in the .sources file itself; empty when there is none
	CheckValidUntil bool     // false only where the source says so
}

// Flat reports whether the archive has its indexes beside its Release file, without dists/ and components.
func (s *Source) Flat() bool { return strings.HasSuffix(s.Suite, "/") }

// Base returns the URI of the folder of the Release file, with a trailing slash.
func (s *Source) Base() string {
	if s.Flat() {
		if s.Suite == "/" {
			return s.URI
		}
		return s.URI + s.Suite
	}
	return s.URI + "dists/" + s.Suite + "/"
}

// Site returns the host of the URI, as "Pin: origin" names it; empty for file: and the like.
func (s *Source) Site() string {
	u, err := url.Parse(s.URI)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// ListFile returns the name under which apt keeps the file of that URI in /var/lib/apt/lists: without scheme and password, quoted,
// and with '_' for '/'.
func ListFile(uri string) string {
	if i := strings.Index(uri, ":"); i >= 0 {
		uri = uri[i+1:]
	}
	if rest, ok := strings.CutPrefix(uri, "//"); ok {
		host, p, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		uri = host + "/" + p
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(uri); i++ {
		switch c := uri[i]; {
		case c == '/':
			b.WriteByte('_')
		case strings.IndexByte("\\|{}[]<>\"^~_=!@#$%^&*", c) >= 0 || c <= 0x20 || c >= 0x7f:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// ParseSources reads a file of the one-line format (sources.list, *.list): "deb [options] uri suite components".
func ParseSources(file string, r io.Reader, lim *Limits) ([]Source, error) {
	const op = "apt.ParseSources"
	l := lim.orDefault()
	in := bufio.NewScanner(io.LimitReader(r, min(l.Total, 16<<20)+1))
	in.Buffer(make([]byte, 0, 4096), min(l.Line, 1<<20))
	var all []Source
	line, total := 0, int64(0)
	for in.Scan() {
		line++
		if total += int64(len(in.Bytes())) + 1; total > min(l.Total, 16<<20) {
			return nil, tooBig(op, file, line, "the file is longer than %d bytes", min(l.Total, 16<<20))
		}
		text := strings.TrimSpace(in.Text())
		// A comment begins with '#' outside brackets; one at the end of a line too.
		if i := strings.IndexByte(text, '#'); i >= 0 {
			text = strings.TrimSpace(text[:i])
		}
		if text == "" {
			continue
		}
		s, err := parseSource(file, line, text)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if err := in.Err(); err == bufio.ErrTooLong {
		return nil, tooBig(op, file, line+1, "a line is longer than %d bytes", min(l.Line, 1<<20))
	} else if err != nil {
		return nil, wrap(op, file, line+1, err)
	}
	return all, nil
}

func parseSource(file string, line int, text string) (Source, error) {
	const op = "apt.ParseSources"
	s := Source{File: file, Line: line, CheckValidUntil: true}
	kind, rest, _ := strings.Cut(text, " ")
	if i := strings.IndexByte(kind, '\t'); i >= 0 {
		kind, rest = text[:i], text[i+1:]
	}
	if kind != "deb" && kind != "deb-src" {
		return s, bad(op, file, line, "a line must begin with \"deb\" or \"deb-src\"")
	}
	s.Type = kind
	rest = strings.TrimSpace(rest)
	if strings.HasPrefix(rest, "[") {
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			return s, bad(op, file, line, "the options have no closing bracket")
		}
		for _, o := range strings.Fields(rest[1:end]) {
			key, v, ok := strings.Cut(o, "=")
			if !ok || key == "" {
				return s, bad(op, file, line, "an option must be \"name=value\"")
			}
			how := ""
			if n := len(key) - 1; key[n] == '+' || key[n] == '-' {
				key, how = key[:n], key[n:]
			}
			s.option(key, how, strings.Split(v, ","))
		}
		rest = strings.TrimSpace(rest[end+1:])
	}
	uri, rest := sourceWord(rest)
	suite, rest := sourceWord(rest)
	if uri == "" || suite == "" {
		return s, bad(op, file, line, "a line needs a URI and a suite")
	}
	if !strings.Contains(uri, ":") {
		return s, bad(op, file, line, "the URI has no scheme")
	}
	s.setPlace(uri, suite)
	s.Components = strings.Fields(rest)
	if s.Flat() != (len(s.Components) == 0) {
		return s, bad(op, file, line, "a suite that ends with a slash has no components, any other at least one")
	}
	return s, nil
}

// sourceWord cuts a word off, in which a part in brackets may hold blanks (cdrom:[Debian 12]/).
func sourceWord(s string) (word, rest string) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '[':
			depth++
		case ']':
			depth--
		case ' ', '\t':
			if depth <= 0 {
				return s[:i], strings.TrimSpace(s[i:])
			}
		}
	}
	return s, ""
}

func (s *Source) setPlace(uri, suite string) {
	if !strings.HasSuffix(uri, "/") {
		uri += "/"
	}
	s.URI, s.Suite = uri, suite
}

// option takes one option of either format; how is "", "+" or "-". Options that do not bear on reading lists are passed over.
func (s *Source) option(key, how string, values []string) {
	switch key {
	case "arch":
		switch how {
		case "+":
			s.ArchAdd = append(s.ArchAdd, values...)
		case "-":
			s.ArchRemove = append(s.ArchRemove, values...)
		default:
			s.Architectures = values
		}
	case "trusted":
		s.Trusted = yesNo(values)
	case "signed-by":
		s.SignedBy = values
	case "check-valid-until":
		s.CheckValidUntil = yesNo(values) != "no"
	}
}

func yesNo(values []string) string {
	if len(values) == 0 || values[0] == "" {
		return ""
	}
	switch v := strings.ToLower(values[0]); {
	case isYes(v):
		return "yes"
	case slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, v):
		return "no"
	}
	return ""
}

// ParseDeb822Sources reads a file of the stanza format (*.sources). Each stanza gives a Source for every type, URI and suite in it;
// stanzas with "Enabled: no" give none.
func ParseDeb822Sources(file string, r io.Reader, lim *Limits) ([]Source, error) {
	const op = "apt.ParseDeb822Sources"
	sc := NewScanner(file, r, lim).AllowComments()
	var all []Source
	for sc.Scan() {
		get := map[string]string{}
		fields, err := sc.Fields()
		if err != nil {
			return nil, err
		}
		for name, value := range fields {
			get[strings.ToLower(string(name))] = string(value)
		}
		if len(get) == 0 {
			continue
		}
		if on, ok := get["enabled"]; ok && yesNo([]string{on}) == "no" {
			continue
		}
		base := Source{File: file, Line: sc.lineOf("Types"), CheckValidUntil: true, Components: strings.Fields(get["components"])}
		if v, ok := get["signed-by"]; ok {
			if strings.Contains(v, "-----BEGIN") {
				base.SignedByKey = unfold(v)
			} else {
				base.SignedBy = list(v)
			}
		}
		for key, o := range map[string][2]string{"architectures": {"arch", ""}, "architectures-add": {"arch", "+"}, "architectures-remove": {"arch", "-"},
			"trusted": {"trusted", ""}, "check-valid-until": {"check-valid-until", ""}} {
			if v, ok := get[key]; ok {
				base.option(o[0], o[1], list(v))
			}
		}
		types, uris, suites := strings.Fields(get["types"]), strings.Fields(get["uris"]), strings.Fields(get["suites"])
		if len(types) == 0 || len(uris) == 0 || len(suites) == 0 {
			return nil, bad(op, file, sc.Line(), "a stanza needs Types, URIs and Suites")
		}
		for _, t := range types {
			if t != "deb" && t != "deb-src" {
				return nil, bad(op, file, sc.lineOf("Types"), "Types must be \"deb\" or \"deb-src\"")
			}
			for _, uri := range uris {
				if !strings.Contains(uri, ":") {
					return nil, bad(op, file, sc.lineOf("URIs"), "a URI has no scheme")
				}
				for _, suite := range suites {
					s := base
					s.Type = t
					s.setPlace(uri, suite)
					if s.Flat() != (len(s.Components) == 0) {
						return nil, bad(op, file, sc.lineOf("Suites"), "a suite that ends with a slash has no components, any other at least one")
					}
					all = append(all, s)
				}
			}
		}
	}
	return all, sc.Err()
}

// list splits a value at blanks and commas.
func list(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
}

// unfold makes the text of a value of several lines: without the first blank of each, "." for an empty one.
func unfold(v string) string {
	var b bytes.Buffer
	for l := range strings.Lines(v) {
		l = strings.TrimSpace(l)
		if l == "." {
			l = ""
		}
		b.WriteString(l + "\n")
	}
	return b.String()
}

// sourceFile reports whether apt reads a file of that name in a folder of configuration: letters, digits, '-', '_' and '.' alone, with
// one of the extensions.
func sourceFile(name string, ext ...string) bool {
	for i := 0; i < len(name); i++ {
		c := lower(name[i])
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return name != "" && name[0] != '.' && slices.Contains(ext, path.Ext(name))
}
