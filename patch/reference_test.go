package patch_test

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/patch"
)

// reference decides about a node of RPM packages as the rules are written, one after the other, package by package, without an index, a memo or a
// thought of speed. It knows neither obsoletes nor dependencies.
type reference struct{ world }

type verdict struct {
	State  patch.State
	Wanted string
	Level  patch.Level
	CVEs   []string
}

func (w reference) decide() (map[patch.Key]verdict, []patch.Key) {
	out := map[patch.Key]verdict{}
	var absent []patch.Key
	keys := map[patch.Key]bool{}
	for _, p := range w.installed {
		keys[patch.Key{Name: p.Name, Arch: p.Arch}] = true
	}
	for _, a := range w.available {
		keys[patch.Key{Name: a.Name, Arch: a.Arch}] = true
	}
	for k := range keys {
		have, rejected := "", false
		waits := false
		for _, p := range w.installed {
			if p.Name != k.Name || p.Arch != k.Arch {
				continue
			}
			rejected = rejected || w.rejects(p.Name, p.Version, p.Arch)
			switch c := patch.CompareRPM(p.Version, have); {
			case have == "" || c > 0: // C11
				have, waits = p.Version, p.ByUs && p.SinceBoot
			case c == 0:
				waits = waits || p.ByUs && p.SinceBoot
			}
		}
		wanted := ""
		for _, a := range w.available { // E5
			if a.Name == k.Name && a.Arch == k.Arch && !w.rejects(a.Name, a.Version, a.Arch) && w.approves(a) && (wanted == "" || patch.CompareRPM(a.Version, wanted) > 0) {
				wanted = a.Version
			}
		}
		newer := wanted != "" && have != "" && patch.CompareRPM(have, wanted) < 0
		v := verdict{Level: patch.LevelUnspecified}
		switch {
		case have == "" && wanted == "":
			continue
		case have == "": // C7
			absent = append(absent, k)
			continue
		case rejected && w.baseline.RejectedAction == patch.Block: // C5
			v.State = patch.StateInstalledRejected
			if newer {
				v.Wanted = wanted
			}
		case rejected && !newer, wanted == "": // R1, C4
			v.State = patch.StateInstalledOther
		case newer: // C2
			v.State, v.Wanted = patch.StateMissing, wanted
			v.Level, v.CVEs = w.brings(k, have, wanted)
		default: // C1, C6
			v.State, v.Wanted = patch.StateInstalled, wanted
			if waits {
				v.State = patch.StateInstalledPendingReboot
			}
			v.Level, _ = w.brings(k, "", wanted)
		}
		out[k] = v
	}
	slices.SortFunc(absent, func(a, b patch.Key) int { return strings.Compare(a.String(), b.String()) })
	return out, absent
}

// brings is the highest level and the CVE ids of what lies behind have and not behind wanted (C14, M6); without have only wanted counts.
func (w reference) brings(k patch.Key, have, wanted string) (patch.Level, []string) {
	order := []patch.Level{patch.LevelUnspecified, patch.LevelInformational, patch.LevelLow, patch.LevelMedium, patch.LevelHigh, patch.LevelCritical}
	best := 0
	var cves []string
	for _, a := range w.available {
		c := patch.CompareRPM(a.Version, wanted)
		if a.Name != k.Name || a.Arch != k.Arch || c > 0 || have == "" && c != 0 || have != "" && patch.CompareRPM(a.Version, have) <= 0 {
			continue
		}
		for _, n := range a.Advisories {
			for _, id := range n.CVEs {
				if !slices.Contains(cves, id) {
					cves = append(cves, id)
				}
			}
		}
		if w.rejects(a.Name, a.Version, a.Arch) {
			continue
		}
		for _, n := range notices(a) {
			for _, l := range w.levels(a, n) {
				best = max(best, slices.Index(order, l))
			}
		}
	}
	slices.Sort(cves)
	return order[best], cves
}

func notices(a patch.Available) []*patch.Advisory {
	if len(a.Advisories) == 0 {
		return []*patch.Advisory{nil}
	}
	return a.Advisories
}

func (w reference) approves(a patch.Available) bool {
	for _, n := range notices(a) {
		if len(w.levels(a, n)) > 0 {
			return true
		}
	}
	return false
}

// levels are those of every rule and list that approves the version under the notice.
func (w reference) levels(a patch.Available, n *patch.Advisory) (out []patch.Level) {
	b := w.baseline
	some := false
	for _, x := range w.available {
		some = some || len(x.Advisories) > 0
	}
	if os := b.OperatingSystem; !some && (os == patch.RedHat || os == patch.RockyLinux || os == patch.AlmaLinux) { // N3
		return nil
	}
	good := n != nil && n.Type != "" && n.Severity != "" && (!n.Issued.IsZero() || !n.Updated.IsZero()) // N1
	if w.pass(b.GlobalFilters, n) {                                                                     // E1
		for _, r := range b.Rules { // E2
			if (good || r.EnableNonSecurity) && w.pass(r.Filters, n) && w.oldEnough(r, a, n) {
				out = append(out, level(r.Level))
			}
		}
	}
	for _, e := range b.ApprovedPatches { // E3, N9
		if (good || b.ApprovedNonSecurity) && (named(e, a.Name, a.Version, a.Arch) || n != nil && (e == n.ID || strings.HasPrefix(e, "CVE-") && slices.Contains(n.CVEs, e))) {
			out = append(out, level(b.ApprovedComplianceLevel))
		}
	}
	return out
}

func level(l patch.Level) patch.Level {
	if l == "" {
		return patch.LevelUnspecified
	}
	return l
}

// pass is F1 to F7.
func (w reference) pass(g patch.FilterGroup, n *patch.Advisory) bool {
	for _, f := range g {
		has := map[patch.FilterKey]string{patch.KeyProduct: w.facts.Product}
		if n != nil {
			has[patch.KeyClassification], has[patch.KeySeverity] = n.Type, n.Severity
		}
		ok := false
		for _, v := range f.Values {
			ok = ok || v == "*" || has[f.Key] != "" && strings.EqualFold(v, has[f.Key]) ||
				w.baseline.OperatingSystem == patch.AmazonLinux2023 && f.Key == patch.KeySeverity && v == "Medium" && strings.EqualFold(has[f.Key], "Moderate")
		}
		if !ok {
			return false
		}
	}
	return true
}

// oldEnough is A1 to A5 and A8.
func (w reference) oldEnough(r patch.PatchRule, a patch.Available, n *patch.Advisory) bool {
	var at time.Time
	switch {
	case n != nil && !n.Updated.IsZero():
		at = n.Updated
	case n != nil && !n.Issued.IsZero():
		at = n.Issued
	default:
		at = a.Built
	}
	if at.IsZero() {
		return true
	}
	day := at.UTC().Format(time.DateOnly)
	if r.ApproveUntilDate != "" {
		return day <= r.ApproveUntilDate
	}
	due := at.UTC().Truncate(24*time.Hour).AddDate(0, 0, *r.ApproveAfterDays)
	return w.now.UTC().Format(time.DateOnly) >= due.Format(time.DateOnly)
}

func (w reference) rejects(name, version, arch string) bool {
	return slices.ContainsFunc(w.baseline.RejectedPatches, func(e string) bool { return named(e, name, version, arch) })
}

// named is L1, L6 and L7.
func named(entry, name, version, arch string) bool {
	if i := strings.IndexByte(version, ':'); i >= 0 {
		version = version[i+1:]
	}
	ok, err := path.Match(entry, name+"-"+version+"."+arch) // nothing in it has a slash
	return err == nil && ok && strings.Count(entry, "*") <= 1
}

// drawRPM makes a node in which every rule of the reference has something to say.
func drawRPM(t *rapid.T) world {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	at := func(label string) time.Time {
		if rapid.IntRange(0, 5).Draw(t, label+" known") == 0 {
			return time.Time{}
		}
		return date("2024-06-01").Add(time.Duration(rapid.IntRange(0, 20*24).Draw(t, label)) * time.Hour)
	}
	filters := func(label string) (g patch.FilterGroup) {
		if rapid.IntRange(0, 2).Draw(t, label+" class") > 0 {
			g = append(g, patch.Filter{Key: patch.KeyClassification, Values: []string{pick("class", "Security", "Bugfix", "*"), pick("class", "security", "Newpackage")}})
		}
		if rapid.IntRange(0, 2).Draw(t, label+" severity") == 0 {
			g = append(g, patch.Filter{Key: patch.KeySeverity, Values: []string{pick("severity", "Critical", "Medium", "None", "*")}})
		}
		if rapid.IntRange(0, 5).Draw(t, label+" product") == 0 {
			g = append(g, patch.Filter{Key: patch.KeyProduct, Values: []string{pick("product", "P", "q", "*")}})
		}
		return g
	}
	levels := []string{"", "CRITICAL", "HIGH", "LOW", "INFORMATIONAL"}
	entries := []string{"a-*", "ab-*.x", "a-1-1.x", "b-2-1.y", "*.y", "a*-2-1.x", "A-1", "A-2", "CVE-1", "CVE-2", "a", "a-*-*", "b-*1.x"}
	b := &patch.Baseline{OperatingSystem: rapid.SampledFrom([]patch.OperatingSystem{patch.AmazonLinux2, patch.AmazonLinux2023, patch.RockyLinux, patch.OracleLinux}).Draw(t, "os"),
		RejectedAction: patch.RejectedAction(pick("action", "", "BLOCK", "ALLOW_AS_DEPENDENCY")), ApprovedComplianceLevel: patch.Level(pick("level", levels...)),
		ApprovedNonSecurity: rapid.Bool().Draw(t, "list nonsec")}
	if rapid.IntRange(0, 2).Draw(t, "global") == 0 {
		b.GlobalFilters = filters("global")
	}
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		r := patch.PatchRule{Filters: filters("rule"), EnableNonSecurity: rapid.Bool().Draw(t, "nonsec"), Level: patch.Level(pick("level", levels...))}
		if rapid.Bool().Draw(t, "bounded") {
			r.ApproveUntilDate = date("2024-06-01").AddDate(0, 0, rapid.IntRange(0, 20).Draw(t, "until")).Format(time.DateOnly)
		} else {
			r.ApproveAfterDays = days(rapid.IntRange(0, 12).Draw(t, "days"))
		}
		b.Rules = append(b.Rules, r)
	}
	b.ApprovedPatches = rapid.SliceOfN(rapid.SampledFrom(entries), 0, 2).Draw(t, "approved")
	b.RejectedPatches = rapid.SliceOfN(rapid.SampledFrom(entries), 0, 2).Draw(t, "rejected")
	w := world{baseline: b, facts: patch.NodeFacts{Product: pick("node", "P", "Q", "")}, now: date("2024-06-15").Add(time.Duration(rapid.IntRange(-72, 72).Draw(t, "now")) * time.Hour)}
	version := func() string {
		return pick("epoch", "", "", "0:", "1:") + pick("version", "1-1", "1-2", "2-1", "2~rc1-1", "3-1")
	}
	for range rapid.IntRange(1, 5).Draw(t, "installed") {
		w.installed = append(w.installed, patch.Installed{Name: pick("name", "a", "ab", "b"), Arch: pick("arch", "x", "y"), Version: version(),
			ByUs: rapid.Bool().Draw(t, "us"), SinceBoot: rapid.Bool().Draw(t, "boot")})
	}
	for range rapid.IntRange(1, 8).Draw(t, "available") {
		a := patch.Available{Name: pick("name", "a", "ab", "b"), Arch: pick("arch", "x", "y"), Version: version(), Repo: pick("repo", "r", "s"), Built: at("built")}
		for range rapid.IntRange(0, 2).Draw(t, "notices") {
			a.Advisories = append(a.Advisories, &patch.Advisory{ID: "A-" + strconv.Itoa(rapid.IntRange(1, 4).Draw(t, "id")), Type: pick("type", "security", "Bugfix", "enhancement", ""),
				Severity: pick("severity", "critical", "Moderate", "Medium", "None", ""), Issued: at("issued"), Updated: at("updated"),
				CVEs: rapid.SliceOfN(rapid.SampledFrom([]string{"CVE-1", "CVE-2", "CVE-3"}), 0, 2).Draw(t, "cves")})
		}
		w.available = append(w.available, a)
	}
	return w
}

// Evaluate says what the rules say, read one by one.
func TestEvaluateAgreesWithTheRules(t *testing.T) {
	seen := map[patch.State]int{}
	one := func(rt *rapid.T) {
		w := drawRPM(rt)
		want, absent := reference{w}.decide()
		r := w.evaluate(rt)
		got := map[patch.Key]verdict{}
		for _, p := range r.Patches {
			v := verdict{State: p.State, Wanted: p.Wanted, Level: p.Level, CVEs: p.CVEs}
			if w := want[p.Key].Wanted; w != "" && patch.CompareRPM(w, v.Wanted) == 0 {
				v.Wanted = w // the same version written in another way
			}
			got[p.Key] = v
			seen[p.State]++
		}
		require.Empty(rt, cmp.Diff(want, got))
		require.Equal(rt, absent, append([]patch.Key(nil), r.NotApplicable...))
	}
	rapid.Check(t, func(rt *rapid.T) {
		for range 30 { // worlds are cheap
			one(rt)
		}
	})
	for _, s := range []patch.State{patch.StateInstalled, patch.StateMissing, patch.StateInstalledOther, patch.StateInstalledRejected, patch.StateInstalledPendingReboot} {
		if !testing.Short() { // few worlds may lack some
			require.Positive(t, seen[s], "no world had anything %s", s)
		}
	}
}
