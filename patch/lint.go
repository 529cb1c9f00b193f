package patch

import (
	"slices"
	"strconv"
	"strings"
)

// Lint returns what AWS accepts although it does not do what it seems to: entries of lists that can name nothing, dates that are
// ignored, filter values that no patch has, rules that can never approve. All are warnings.
func Lint(b *Baseline) Findings {
	var fs Findings
	os := b.System()
	f := os.Family()
	lintGroup(&fs, "$.GlobalFilters.PatchFilters", os, b.GlobalFilters)
	for i := range b.Rules {
		r := &b.Rules[i]
		at := "$.ApprovalRules.PatchRules[" + strconv.Itoa(i) + "]"
		lintGroup(&fs, at+".PatchFilterGroup.PatchFilters", os, r.Filters)
		if f == FamilyApt && (r.ApproveAfterDays != nil && *r.ApproveAfterDays > 0 || r.ApproveUntilDate != "") {
			fs.warn(at, "%s has no dates of patches: what the filters accept is approved at once (A6)", os)
		}
		if f == FamilyWindows && r.EnableNonSecurity {
			fs.warn(at+".EnableNonSecurity", "Windows ignores it (N10)")
		}
	}
	lintNames(&fs, "$.ApprovedPatches", f, b.ApprovedPatches, true)
	lintNames(&fs, "$.RejectedPatches", f, b.RejectedPatches, false)
	for i, s := range b.ApprovedPatches {
		if slices.Contains(b.RejectedPatches, s) {
			fs.warn("$.ApprovedPatches["+strconv.Itoa(i)+"]", "%s is rejected as well, and rejection wins (E4)", quote(s))
		}
	}
	if os == CentOS && !slices.ContainsFunc(b.Rules, func(r PatchRule) bool { return r.EnableNonSecurity }) && len(b.Rules) > 0 {
		fs.warn("$.ApprovalRules.PatchRules", "CentOS's own repositories carry no notices: without EnableNonSecurity nothing is found (N4)")
	}
	return fs
}

func lintGroup(fs *Findings, path string, os OperatingSystem, g FilterGroup) {
	for i, f := range g {
		known, err := Properties(os, Property(f.Key), "")
		if err != nil || f.Key == KeyProduct || f.Key == KeyProductFamily { // new products appear all the time
			continue
		}
		for j, v := range f.Values {
			if v != "*" && !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, v) }) {
				fs.warn(path+"["+strconv.Itoa(i)+"].Values["+strconv.Itoa(j)+"]", "no patch for %s has the %s %s: use one of %s", os, f.Key, quote(v), strings.Join(known, ", "))
			}
		}
	}
}

func lintNames(fs *Findings, path string, f Family, list []string, approved bool) {
	for i, s := range list {
		at := path + "[" + strconv.Itoa(i) + "]"
		e := compileEntry(f, s, approved)
		switch {
		case e.kind == entryNone:
			fs.warn(at, "%s names nothing: %s", quote(s), e.why)
		case f == FamilyYum && e.kind == entryFull && !approved && strings.Count(s, "-") < 2:
			fs.warn(at, "%s names nothing: write name-version-release.arch, or %s", quote(s), quote(s+"-*"))
		case f == FamilyYum && e.kind == entryFull && !strings.Contains(s, "-"):
			fs.warn(at, "%s names nothing: write name-version-release.arch, or %s", quote(s), quote(s+"-*"))
		case f == FamilyWindows && !strings.HasPrefix(strings.ToUpper(s), "KB") && !strings.HasPrefix(strings.ToUpper(s), "MS"):
			fs.warn(at, "%s is neither a KB id nor a bulletin id", quote(s))
		case f == FamilyApt && strings.ContainsAny(s, "=_: "):
			fs.warn(at, "%s names nothing: name the package alone, without version or architecture", quote(s))
		}
	}
}
