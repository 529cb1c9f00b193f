package patch

import "strings"

// entryKind is what an entry of a list of names names.
type entryKind uint8

const (
	entryNone     entryKind = iota // it can name nothing on this operating system
	entryBare                      // apt: a package in every version and architecture (L2); macOS: the label (L4)
	entryFull                      // RPM: name-version-release.arch, SUSE with ".rpm", or a notice's id (L1, L3)
	entryWild                      // the same with one wildcard (L6)
	entryCVE                       // CVE-2024-1 (L1)
	entryBugzilla                  // digits (L1)
	entryKB                        // KB id or bulletin (L5)
)

// entry is one compiled line of ApprovedPatches or RejectedPatches.
type entry struct {
	text           string
	prefix, suffix string // around the wildcard
	kind           entryKind
	why            string // of entryNone
}

// names is a compiled list. notices says whether ids of notices count, which they do on RPM only among approved ones.
type names struct {
	entries []entry
	family  Family
	notices bool
}

func compileNames(f Family, list []string, approved bool) names {
	out := names{entries: make([]entry, 0, len(list)), family: f, notices: approved || f == FamilyZypper}
	for _, s := range list {
		out.entries = append(out.entries, compileEntry(f, s, approved))
	}
	return out
}

func compileEntry(f Family, s string, approved bool) entry {
	e := entry{text: s, kind: entryFull}
	switch f {
	case FamilyApt, FamilyMacOS:
		e.kind = entryBare
		if strings.Contains(s, "*") {
			e.kind, e.why = entryNone, "wildcards are not supported here: name the package"
		}
		return e
	case FamilyWindows:
		e.kind = entryKB
		if strings.Contains(s, "*") {
			e.kind, e.why = entryNone, "wildcards are not supported here: name the KB"
		}
		return e
	case FamilyYum:
		cve, digits := strings.HasPrefix(s, "CVE-") && !strings.Contains(s, "*"), allDigits(s)
		switch {
		case (cve || digits) && !approved:
			e.kind, e.why = entryNone, "CVE and Bugzilla ids cannot be rejected: name the package"
			return e
		case cve:
			e.kind = entryCVE
			return e
		case digits:
			e.kind = entryBugzilla
			return e
		}
	}
	switch strings.Count(s, "*") {
	case 0:
	case 1:
		e.kind = entryWild
		e.prefix, e.suffix, _ = strings.Cut(s, "*")
	default:
		e.kind, e.why = entryNone, "only one wildcard is supported"
	}
	return e
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if !digit(s[i]) {
			return false
		}
	}
	return s != ""
}

// matcher spells the full names of packages in a buffer of its own.
type matcher struct{ buf []byte }

// find returns the index of the first entry that names the package, or -1. notice and bulletin may be empty; a notice that a package has
// none of is nil.
func (m *matcher) find(l *names, name, version, arch string, notice *Advisory, bulletin string) int {
	if len(l.entries) == 0 {
		return -1
	}
	m.buf = m.buf[:0]
	for i := range l.entries {
		e := &l.entries[i]
		switch e.kind {
		case entryBare:
			if e.text == name {
				return i
			}
		case entryKB:
			if strings.EqualFold(e.text, name) || bulletin != "" && strings.EqualFold(e.text, bulletin) {
				return i
			}
		case entryCVE:
			if notice != nil && contains(notice.CVEs, e.text) {
				return i
			}
		case entryBugzilla:
			if notice != nil && contains(notice.Bugzilla, e.text) {
				return i
			}
		case entryFull:
			if l.notices && notice != nil && notice.ID == e.text {
				return i
			}
			if len(e.text) > len(name) && e.text[:len(name)] == name && string(m.full(l.family, name, version, arch)) == e.text {
				return i
			}
		case entryWild:
			if l.family == FamilyZypper && notice != nil && wild(e, notice.ID) {
				return i
			}
			if n := min(len(e.prefix), len(name)); e.prefix[:n] == name[:n] {
				full := m.full(l.family, name, version, arch)
				if len(full) >= len(e.prefix)+len(e.suffix) && string(full[:len(e.prefix)]) == e.prefix &&
					string(full[len(full)-len(e.suffix):]) == e.suffix {
					return i
				}
			}
		}
	}
	return -1
}

// full spells name-version-release.arch without the epoch (L7), on SUSE with ".rpm" (L3).
func (m *matcher) full(f Family, name, version, arch string) []byte {
	if len(m.buf) > 0 {
		return m.buf
	}
	m.buf = append(m.buf, name...)
	m.buf = append(m.buf, '-')
	m.buf = append(m.buf, withoutEpoch(version)...)
	m.buf = append(m.buf, '.')
	m.buf = append(m.buf, arch...)
	if f == FamilyZypper {
		m.buf = append(m.buf, ".rpm"...)
	}
	return m.buf
}

func wild(e *entry, s string) bool {
	return len(s) >= len(e.prefix)+len(e.suffix) && strings.HasPrefix(s, e.prefix) && strings.HasSuffix(s, e.suffix)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
