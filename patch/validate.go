package patch

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits are AWS's bounds of a baseline. They are AWS's business and not physics, so a host may choose its own.
type Limits struct {
	Rules, Filters, FilterValues, FilterValueLength int
	PatchIDs, PatchIDLength                         int
	Sources, SourceProducts, Configuration          int
	Description, Days                               int
}

// AWSLimits returns AWS's own.
func AWSLimits() Limits {
	return Limits{Rules: 10, Filters: 4, FilterValues: 20, FilterValueLength: 64, PatchIDs: 50, PatchIDLength: 100,
		Sources: 20, SourceProducts: 20, Configuration: 1024, Description: 1024, Days: 360}
}

// Validate checks a baseline against AWS's limits: those of the request shapes (features B2, B3, B5), the filter keys of its operating
// system, one date of approval for each rule. It returns Findings with everything that is wrong, or nil.
func Validate(b *Baseline) error { return AWSLimits().Validate(b) }

// names of baselines and sources; RE2, compiled once for the life of a call.
const (
	namePattern   = `^[a-zA-Z0-9_\-.]{3,128}$`
	sourcePattern = `^[a-zA-Z0-9_\-.]{3,50}$`
)

// Validate is the function Validate under l.
func (l Limits) Validate(b *Baseline) error {
	var fs Findings
	if !regexp.MustCompile(namePattern).MatchString(b.Name) {
		fs.add("$.Name", "Value %s failed to satisfy constraint: Member must satisfy regular expression pattern: %s", quote(b.Name), namePattern)
	}
	enum(&fs, "$.OperatingSystem", b.OperatingSystem, append(OperatingSystems(), "")...)
	if n := utf8.RuneCountInString(b.Description); n > l.Description {
		fs.add("$.Description", "Member must have length less than or equal to %d; it has %d", l.Description, n)
	}
	os := b.System()
	l.filters(&fs, "$.GlobalFilters.PatchFilters", os, b.GlobalFilters)
	if len(b.Rules) > l.Rules {
		fs.add("$.ApprovalRules.PatchRules", "Member must have length less than or equal to %d; it has %d", l.Rules, len(b.Rules))
	}
	for i := range b.Rules {
		l.rule(&fs, "$.ApprovalRules.PatchRules["+strconv.Itoa(i)+"]", os, &b.Rules[i])
	}
	l.ids(&fs, "$.ApprovedPatches", b.ApprovedPatches)
	l.ids(&fs, "$.RejectedPatches", b.RejectedPatches)
	enum(&fs, "$.ApprovedPatchesComplianceLevel", b.ApprovedComplianceLevel, append(levels(), "")...)
	enum(&fs, "$.RejectedPatchesAction", b.RejectedAction, AllowAsDependency, Block, "")
	enum(&fs, "$.AvailableSecurityUpdatesComplianceStatus", b.AvailableSecurityUpdates, Compliant, NonCompliant, "")
	if b.AvailableSecurityUpdates != "" && os.Family() != FamilyWindows && os.Family() != FamilyUnknown {
		fs.add("$.AvailableSecurityUpdatesComplianceStatus", "it is supported for WINDOWS only, the baseline is for %s: leave it out", os)
	}
	l.sources(&fs, os, b.Sources)
	return fs.err()
}

func levels() []Level {
	return []Level{LevelCritical, LevelHigh, LevelMedium, LevelLow, LevelInformational, LevelUnspecified}
}

func enum[T ~string](fs *Findings, path string, v T, valid ...T) {
	if slices.Contains(valid, v) {
		return
	}
	var set []string
	for _, x := range valid {
		if x != "" {
			set = append(set, string(x))
		}
	}
	fs.add(path, "Value %s failed to satisfy constraint: Member must satisfy enum value set: [%s]", quote(string(v)), strings.Join(set, ", "))
}

func (l Limits) filters(fs *Findings, path string, os OperatingSystem, g FilterGroup) {
	if len(g) > l.Filters {
		fs.add(path, "Member must have length less than or equal to %d; it has %d", l.Filters, len(g))
	}
	keys := FilterKeys(os)
	seen := map[FilterKey]bool{}
	for i, f := range g {
		at := path + "[" + strconv.Itoa(i) + "]"
		switch {
		case !slices.Contains(allKeys(), f.Key):
			enum(fs, at+".Key", f.Key, allKeys()...)
		case keys != nil && !slices.Contains(keys, f.Key):
			fs.add(at+".Key", "the filter key %s is not supported for %s: use one of %s", f.Key, os, joinKeys(keys))
		case seen[f.Key]:
			fs.add(at+".Key", "the filter key %s is there twice: put all values into one filter", f.Key)
		}
		seen[f.Key] = true
		if len(f.Values) == 0 || len(f.Values) > l.FilterValues {
			fs.add(at+".Values", "Member must have length between 1 and %d; it has %d", l.FilterValues, len(f.Values))
		}
		for j, v := range f.Values {
			if n := utf8.RuneCountInString(v); n < 1 || n > l.FilterValueLength {
				fs.add(at+".Values["+strconv.Itoa(j)+"]", "Member must have length between 1 and %d; it has %d", l.FilterValueLength, n)
			}
		}
	}
}

func joinKeys(keys []FilterKey) string {
	s := make([]string, len(keys))
	for i, k := range keys {
		s[i] = string(k)
	}
	return strings.Join(s, ", ")
}

func (l Limits) rule(fs *Findings, path string, os OperatingSystem, r *PatchRule) {
	l.filters(fs, path+".PatchFilterGroup.PatchFilters", os, r.Filters)
	enum(fs, path+".ComplianceLevel", r.Level, append(levels(), "")...)
	switch {
	case r.ApproveAfterDays != nil && r.ApproveUntilDate != "":
		fs.add(path, "ApproveAfterDays and ApproveUntilDate cannot be combined: choose one")
	case r.ApproveAfterDays == nil && r.ApproveUntilDate == "" && os.Family() != FamilyApt:
		fs.add(path, "one of ApproveAfterDays and ApproveUntilDate is required")
	}
	if d := r.ApproveAfterDays; d != nil && (*d < 0 || *d > l.Days) {
		fs.add(path+".ApproveAfterDays", "Value '%d' failed to satisfy constraint: Member must have value between 0 and %d", *d, l.Days)
	}
	if d := r.ApproveUntilDate; d != "" {
		if _, err := time.Parse(dateLayout, d); err != nil {
			fs.add(path+".ApproveUntilDate", "Value %s is no date of the form YYYY-MM-DD", quote(d))
		}
	}
}

func (l Limits) ids(fs *Findings, path string, ids []string) {
	if len(ids) > l.PatchIDs {
		fs.add(path, "Member must have length less than or equal to %d; it has %d", l.PatchIDs, len(ids))
	}
	for i, s := range ids {
		if n := utf8.RuneCountInString(s); n < 1 || n > l.PatchIDLength {
			fs.add(path+"["+strconv.Itoa(i)+"]", "Member must have length between 1 and %d; it has %d", l.PatchIDLength, n)
		}
	}
}

func (l Limits) sources(fs *Findings, os OperatingSystem, sources []Source) {
	if len(sources) == 0 {
		return
	}
	if f := os.Family(); f == FamilyWindows || f == FamilyMacOS {
		fs.add("$.Sources", "alternative sources are supported for Linux only, the baseline is for %s", os)
	}
	if len(sources) > l.Sources {
		fs.add("$.Sources", "Member must have length less than or equal to %d; it has %d", l.Sources, len(sources))
	}
	name := regexp.MustCompile(sourcePattern)
	seen := map[string]bool{}
	for i, s := range sources {
		at := "$.Sources[" + strconv.Itoa(i) + "]"
		switch {
		case !name.MatchString(s.Name):
			fs.add(at+".Name", "Value %s failed to satisfy constraint: Member must satisfy regular expression pattern: %s", quote(s.Name), sourcePattern)
		case seen[s.Name]:
			fs.add(at+".Name", "the name %s is there twice", quote(s.Name))
		}
		seen[s.Name] = true
		if len(s.Products) == 0 || len(s.Products) > l.SourceProducts {
			fs.add(at+".Products", "Member must have length between 1 and %d; it has %d", l.SourceProducts, len(s.Products))
		}
		for j, p := range s.Products {
			if n := utf8.RuneCountInString(p); n < 1 || n > 128 {
				fs.add(at+".Products["+strconv.Itoa(j)+"]", "Member must have length between 1 and 128; it has %d", n)
			}
		}
		if n := utf8.RuneCountInString(s.Configuration); n < 1 || n > l.Configuration { // the value may hold credentials: not shown
			fs.add(at+".Configuration", "Member must have length between 1 and %d; it has %d", l.Configuration, n)
		}
	}
}
