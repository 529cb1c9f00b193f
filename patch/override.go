package patch

import "strings"

// OverrideEntry is one line of an InstallOverrideList: what Install puts on the node instead of what the baseline approves (O1).
type OverrideEntry struct {
	// ID is "name.arch" with wildcards anywhere (O3); macOS "name" or "name.version"; Windows a KB or bulletin id (O4).
	ID string `json:"id"`
	// Title narrows to versions, with wildcards anywhere: "name.arch:epoch:version-release", apt "name.arch:version", or
	// the version alone. Empty takes every version.
	Title string `json:"title,omitempty"`
}

// OverrideList is an InstallOverrideList. nil means none: the baseline decides.
type OverrideList []OverrideEntry

// Matches says whether the entry names the version on offer.
func (o OverrideEntry) Matches(f Family, a *Available) bool {
	switch f {
	case FamilyWindows:
		if !strings.EqualFold(o.ID, a.Name) && (bulletin(a) == "" || !strings.EqualFold(o.ID, bulletin(a))) {
			return false
		}
		return o.Title == "" || a.Update == nil || a.Update.Title == "" || glob(o.Title, a.Update.Title)
	case FamilyMacOS:
		return (glob(o.ID, a.Name) || glob(o.ID, a.Name+"."+a.Version)) && (o.Title == "" || glob(o.Title, a.Version) || glob(o.Title, a.Name+":"+a.Version))
	}
	key := Key{a.Name, a.Arch}.String()
	if !glob(o.ID, key) {
		return false
	}
	if o.Title == "" {
		return true
	}
	for _, v := range spellings(a.Version) {
		if glob(o.Title, v) || glob(o.Title, key+":"+v) {
			return true
		}
	}
	return false
}

// spellings are the ways a title may write a version: an epoch of 0 may be said or left out.
func spellings(v string) []string {
	bare := withoutEpoch(v)
	switch {
	case bare == v:
		return []string{v, "0:" + v}
	case strings.Trim(v[:len(v)-len(bare)], "0") == ":":
		return []string{v, bare}
	}
	return []string{v}
}

// glob matches s against a pattern in which each * stands for any text, also none.
func glob(pattern, s string) bool {
	star, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
