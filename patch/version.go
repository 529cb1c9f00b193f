package patch

import "strings"

// Compare orders two versions as the family does: -1 when a is older than b. apt by [CompareDeb], Windows by [CompareKB],
// all others by [CompareRPM]; macOS has no order of its own, its dotted numbers fit RPM's.
func (f Family) Compare(a, b string) int {
	switch f {
	case FamilyApt:
		return CompareDeb(a, b)
	case FamilyWindows:
		return CompareKB(a, b)
	}
	return CompareRPM(a, b)
}

// CompareKB orders two KB ids, "KB" and digits, by number; other text goes by its bytes, behind them. A larger number is not a
// newer patch: which update takes the place of which is said by Update.Supersedes alone (E6).
func CompareKB(a, b string) int {
	x, xok := kbDigits(a)
	y, yok := kbDigits(b)
	switch {
	case xok && yok:
		return number(x, y)
	case xok:
		return -1
	case yok:
		return 1
	}
	return strings.Compare(a, b)
}

func kbDigits(s string) (string, bool) {
	if len(s) < 3 || !strings.EqualFold(s[:2], "KB") {
		return s, false
	}
	for i := 2; i < len(s); i++ {
		if !digit(s[i]) {
			return s, false
		}
	}
	return s[2:], true
}

// EVR joins what rpm metadata carry apart to the form of Available.Version: an epoch of "" or "0" and an empty release are left out.
func EVR(epoch, version, release string) string {
	n := version
	if release != "" {
		n += "-" + release
	}
	if epoch != "" && epoch != "0" && epoch != "(none)" {
		n = epoch + ":" + n
	}
	return n
}

// withoutEpoch cuts "32:" off (L7).
func withoutEpoch(v string) string {
	i := 0
	for i < len(v) && digit(v[i]) {
		i++
	}
	if i > 0 && i < len(v) && v[i] == ':' {
		return v[i+1:]
	}
	return v
}

// satisfies says whether version v is within the bound of r, as rpm's dependencies are: a release is compared only where both have one.
func (r Relation) satisfies(f Family, v string) bool {
	if r.Flag == "" || r.Version == "" {
		return true
	}
	a, b := v, r.Version
	if f != FamilyApt && (strings.IndexByte(b, '-') < 0 || strings.IndexByte(a, '-') < 0) {
		a, b = withoutRelease(a), withoutRelease(b)
	}
	c := f.Compare(a, b)
	switch r.Flag {
	case "LT":
		return c < 0
	case "LE":
		return c <= 0
	case "EQ":
		return c == 0
	case "GE":
		return c >= 0
	case "GT":
		return c > 0
	}
	return false
}

func withoutRelease(v string) string {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i]
	}
	return v
}
