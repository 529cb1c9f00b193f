package patch_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/patch"
)

// world is a small random node and what is on offer to it.
type world struct {
	baseline  *patch.Baseline
	facts     patch.NodeFacts
	installed []patch.Installed
	available []patch.Available
	now       time.Time
}

func drawWorld(t *rapid.T, systems ...patch.OperatingSystem) world {
	os := rapid.SampledFrom(systems).Draw(t, "os")
	f := os.Family()
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	day := func(label string) time.Time {
		return date("2024-06-01").AddDate(0, 0, rapid.IntRange(0, 60).Draw(t, label))
	}
	b := &patch.Baseline{OperatingSystem: os, RejectedAction: patch.RejectedAction(pick("action", "", "BLOCK"))}
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		r := patch.PatchRule{ApproveAfterDays: days(rapid.IntRange(0, 20).Draw(t, "days")), EnableNonSecurity: rapid.Bool().Draw(t, "nonsec"),
			Level: patch.Level(pick("level", "", "CRITICAL", "LOW"))}
		if rapid.Bool().Draw(t, "filter") {
			switch f {
			case patch.FamilyApt:
				r.Filters = patch.FilterGroup{{Key: patch.KeyPriority, Values: []string{pick("priority", "Optional", "*")}}}
			case patch.FamilyWindows:
				r.Filters = patch.FilterGroup{{Key: patch.KeyClassification, Values: []string{pick("class", "SecurityUpdates", "*")}}}
			default:
				r.Filters = patch.FilterGroup{{Key: patch.KeyClassification, Values: []string{pick("class", "Security", "*")}}}
			}
		}
		b.Rules = append(b.Rules, r)
	}
	lists := []string{"a-*", "b-1-1.x", "*", "A-1"}
	if f == patch.FamilyApt {
		lists = []string{"a", "b"}
	}
	if f == patch.FamilyWindows {
		lists = []string{"KB1", "KB2"}
	}
	b.ApprovedPatches = rapid.SliceOfN(rapid.SampledFrom(lists), 0, 2).Draw(t, "approved")
	b.RejectedPatches = rapid.SliceOfN(rapid.SampledFrom(lists), 0, 1).Draw(t, "rejected")
	w := world{baseline: b, now: day("now")}
	names := []string{"a", "b", "c"}
	if f == patch.FamilyWindows {
		names = []string{"KB1", "KB2", "KB3"}
	}
	for range rapid.IntRange(0, 4).Draw(t, "installed") {
		p := patch.Installed{Name: pick("name", names...), Arch: "x", Version: strconv.Itoa(rapid.IntRange(1, 3).Draw(t, "v")) + "-1",
			ByUs: rapid.Bool().Draw(t, "us"), SinceBoot: rapid.Bool().Draw(t, "boot")}
		if f == patch.FamilyWindows {
			p.Arch, p.Version = "", p.Name
		}
		w.installed = append(w.installed, p)
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "available") {
		a := patch.Available{Name: pick("name", names...), Arch: "x", Version: strconv.Itoa(rapid.IntRange(1, 4).Draw(t, "v")) + "-1", Repo: pick("repo", "r", "s"),
			Security: rapid.Bool().Draw(t, "security"), Priority: pick("priority", "optional", "extra")}
		switch f {
		case patch.FamilyWindows:
			a.Arch, a.Version = "", a.Name
			a.Update = &patch.Update{Classification: pick("class", "SecurityUpdates", "Updates"), Released: day("released"), NotApplicable: rapid.Bool().Draw(t, "na")}
		case patch.FamilyApt:
		default:
			for range rapid.IntRange(0, 2).Draw(t, "notices") {
				a.Advisories = append(a.Advisories, &patch.Advisory{ID: "A-" + strconv.Itoa(i), Type: pick("type", "security", "bugfix"), Severity: pick("severity", "Low", "Critical"), Updated: day("updated")})
			}
		}
		w.available = append(w.available, a)
	}
	return w
}

func (w world) evaluate(t require.TestingT) *patch.Result {
	r, err := patch.Evaluate(w.baseline, w.facts, w.installed, w.available, w.now)
	require.NoError(t, err)
	return r
}

var worlds = []patch.OperatingSystem{patch.AmazonLinux2, patch.SUSE, patch.Debian, patch.Windows}

// Laws that hold in every world.
func TestEvaluationLaws(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, worlds...)
		r := w.evaluate(rt)

		shuffled := w
		shuffled.installed = rapid.Permutation(w.installed).Draw(rt, "installed order")
		shuffled.available = rapid.Permutation(w.available).Draw(rt, "available order")
		require.Equal(rt, encode(t, r), encode(t, shuffled.evaluate(rt)), "the order of the lists matters")

		installed := map[patch.Key]bool{}
		for _, p := range w.installed {
			installed[patch.Key{Name: p.Name, Arch: p.Arch}] = true
		}
		c := r.Counts
		sum := c.Installed + c.InstalledOther + c.InstalledPendingReboot + c.InstalledRejected + c.Missing + c.Failed + c.AvailableSecurityUpdates
		if w.baseline.System() == patch.Windows {
			sum += c.NotApplicable
		}
		require.Len(rt, r.Patches, sum, "every verdict is counted once")
		require.Zero(rt, c.Failed, "a Scan fails nothing")
		bad := false
		for _, p := range r.Patches {
			delete(installed, p.Key)
			bad = bad || p.Compliance == patch.NonCompliant
			if p.State == patch.StateMissing && p.Installed != "" {
				require.Equal(rt, 1, w.baseline.System().Family().Compare(p.Wanted, p.Installed))
			}
			if w.baseline.RejectedAction != patch.Block {
				require.NotEqual(rt, patch.StateInstalledRejected, p.State, "R1")
			}
			x := r.Explain(p.Key)
			require.NotNil(rt, x)
			require.Equal(rt, p.Compliance != patch.NonCompliant, x.OK)
			require.Contains(rt, x.Why, string(p.State))
			if p.Wanted != "" {
				require.Contains(rt, x.String(), "[E5] version "+p.Wanted)
			}
		}
		require.Empty(rt, installed, "every installed package has a verdict")
		require.Equal(rt, bad, r.Compliance == patch.NonCompliant)
		if c.Missing+c.InstalledPendingReboot+c.InstalledRejected > 0 {
			require.Positive(rt, c.CriticalNonCompliant+c.SecurityNonCompliant+c.OtherNonCompliant)
		}

		after, err := (&patch.Run{Operation: patch.Install}).Simulate(r, nil, false)
		require.NoError(rt, err)
		require.Zero(rt, after.After.Counts.Missing, "C12")
		require.Zero(rt, after.After.Counts.Failed, "nothing failed")
		require.Zero(rt, after.After.Counts.InstalledPendingReboot, "it rebooted")
		none, err := (&patch.Run{Operation: patch.Install, RebootOption: patch.NoReboot}).Simulate(r, func(patch.Step) bool { return true }, false)
		require.NoError(rt, err)
		require.Zero(rt, none.After.Counts.Missing, "C12")
		require.Equal(rt, len(none.Plan.Steps)+len(none.Plan.LeftOut), none.After.Counts.Failed, "what was tried and failed is Failed")
		require.False(rt, none.Reboot, "W2")
	})
}

// What an explanation advises is true: where a rule only waits, the package is approved on that day and not on the day before.
func TestExplanationsAreTrue(t *testing.T) {
	waited := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, patch.AmazonLinux2)
		w.baseline.RejectedPatches = nil
		r := w.evaluate(rt)
		for _, p := range r.Patches {
			said := map[string]int{}
			for _, version := range r.Explain(p.Key).Children {
				said[version.What]++
			}
			for _, version := range r.Explain(p.Key).Children {
				if said[version.What] > 1 { // one repository that offers a version twice: which of the two is meant?
					continue
				}
				if version.OK || !strings.HasPrefix(version.What, "version ") {
					continue
				}
				day := waits(version)
				if day == "" {
					continue
				}
				waited++
				then := w
				then.now = date(day)
				require.True(rt, approved(then.evaluate(rt).Explain(p.Key), version.What), "%s\n%s", day, r.Explain(p.Key))
				then.now = then.now.Add(-time.Second)
				require.False(rt, approved(then.evaluate(rt).Explain(p.Key), version.What), "%s\n%s", day, r.Explain(p.Key))
			}
		}
	})
	if !testing.Short() { // few worlds may have none
		require.Positive(t, waited, "the test never met a waiting patch")
	}
}

// waits returns the earliest day of which a rule says that only the date is missing.
func waits(x *patch.Explanation) string {
	best := ""
	for _, c := range x.Children {
		if strings.HasPrefix(c.What, "rule ") {
			failed := slices.DeleteFunc(slices.Clone(c.Children), func(y *patch.Explanation) bool { return y.OK })
			if len(failed) == 1 && failed[0].What == "date" {
				if day := strings.TrimPrefix(failed[0].Change, "wait until "); best == "" || day < best {
					best = day
				}
			}
			continue
		}
		if day := waits(c); day != "" && (best == "" || day < best) {
			best = day
		}
	}
	return best
}

func approved(x *patch.Explanation, what string) bool {
	for _, c := range x.Children {
		if c.What == what && c.OK {
			return true
		}
	}
	return false
}

func TestExplainNamesWhatDecided(t *testing.T) {
	sec := &patch.Advisory{ID: "A-1", Type: "security", Severity: "Low", Updated: date("2024-07-01"), CVEs: []string{"CVE-2024-1"}}
	foo := []patch.Installed{{Name: "foo", Arch: "x", Version: "1.0-1"}}
	offer := []patch.Available{{Name: "foo", Arch: "x", Version: "1.1-1", Repo: "updates", Advisories: []*patch.Advisory{sec}}}
	rule := func(g ...patch.Filter) []patch.PatchRule {
		return []patch.PatchRule{{Filters: g, ApproveAfterDays: days(0)}}
	}
	for name, c := range map[string]struct {
		b         patch.Baseline
		facts     patch.NodeFacts
		installed []patch.Installed
		available []patch.Available
		says      []string
	}{
		"wanted":        {b: patch.Baseline{Rules: rule()}, says: []string{"no  [C2] foo.x: Missing: 1.1-1 is wanted, 1.0-1 is installed (would change: install 1.1-1)", "yes [E5] version 1.1-1 in updates", "yes [E2] rule 1: level UNSPECIFIED"}},
		"global filter": {b: patch.Baseline{Rules: rule(), GlobalFilters: patch.FilterGroup{{Key: patch.KeyClassification, Values: []string{"Bugfix"}}}}, says: []string{"no  [E1] global filters: security is none of Bugfix (would change: put security into CLASSIFICATION of GlobalFilters)"}},
		"product":       {b: patch.Baseline{Rules: rule(patch.Filter{Key: patch.KeyProduct, Values: []string{"X1"}})}, says: []string{"the node's product is unknown"}},
		"security":      {b: patch.Baseline{Rules: rule()}, available: []patch.Available{{Name: "foo", Arch: "x", Version: "1.1-1"}}, says: []string{"no  [N1] security: no well-formed notice lists it (would change: set EnableNonSecurity in rule 1)"}},
		"until":         {b: patch.Baseline{Rules: []patch.PatchRule{{ApproveUntilDate: "2024-06-30"}}}, says: []string{"no  [A4] date: updated 2024-07-01, after 2024-06-30 (would change: set ApproveUntilDate to 2024-07-01 or later)"}},
		"list":          {b: patch.Baseline{ApprovedPatches: []string{"CVE-2024-1"}}, says: []string{"yes [E3] approved list: entry 'CVE-2024-1' names it"}},
		"bad entry":     {b: patch.Baseline{ApprovedPatches: []string{"foo-*-*"}}, says: []string{"no  [L1] entry 'foo-*-*': only one wildcard is supported"}},
		"N9":            {b: patch.Baseline{ApprovedPatches: []string{"foo-*"}}, available: []patch.Available{{Name: "foo", Arch: "x", Version: "1.1-1"}}, says: []string{"[N9] approved list", "set ApprovedPatchesEnableNonSecurity"}},
		"rejected":      {b: patch.Baseline{Rules: rule(), RejectedPatches: []string{"foo-*"}, RejectedAction: patch.Block}, says: []string{"[C5] foo.x: InstalledRejected", "remove 'foo-*' from RejectedPatches"}},
		"allowed":       {b: patch.Baseline{Rules: rule(), RejectedPatches: []string{"foo-*"}}, says: []string{"[R1] foo.x: InstalledOther: it is rejected with ALLOW_AS_DEPENDENCY"}},
		"held":          {b: patch.Baseline{Rules: rule()}, installed: []patch.Installed{{Name: "foo", Arch: "x", Version: "1.0-1", Held: true}}, says: []string{"release the hold, then install 1.1-1"}},
		"reboot":        {b: patch.Baseline{Rules: rule()}, installed: []patch.Installed{{Name: "foo", Arch: "x", Version: "1.1-1", ByUs: true, SinceBoot: true}}, says: []string{"[C6]", "reboot, then scan again"}},
		"no notices":    {b: patch.Baseline{OperatingSystem: patch.RedHat, Rules: rule()}, facts: patch.NodeFacts{NoUpdateInfo: true}, says: []string{"[N3] update notices"}},
		"not installed": {b: patch.Baseline{Rules: rule()}, installed: []patch.Installed{}, says: []string{"[C7] foo.x: NotApplicable: approved, but not installed"}},
		"blocked": {b: patch.Baseline{Rules: rule(), RejectedPatches: []string{"bar-*"}, RejectedAction: patch.Block},
			available: []patch.Available{{Name: "foo", Arch: "x", Version: "1.1-1", Advisories: []*patch.Advisory{sec}, Requires: []patch.Relation{{Name: "bar"}}}, {Name: "bar", Arch: "x", Version: "1-1"}},
			says:      []string{"[R4] foo.x: Missing", "it needs bar, which is rejected with BLOCK"}},
		"not the candidate": {b: patch.Baseline{OperatingSystem: patch.Debian, Rules: rule()},
			available: []patch.Available{{Name: "foo", Arch: "x", Version: "1.1-1", Security: true}, {Name: "foo", Arch: "x", Version: "1.2-1"}},
			says:      []string{"yes [N5] candidate: 1.2-1, in no security archive", "no  [N5] version 1.1-1: it is not the candidate, 1.2-1 is", "no  [N5] security: the candidate is in no security archive"}},
		"live patched": {b: patch.Baseline{Rules: rule()}, facts: patch.NodeFacts{KernelLivePatched: []string{"CVE-2024-1"}, KernelPackages: []string{"foo"}}, says: []string{"[K2] foo.x: Installed: live patches"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.b.OperatingSystem == "" {
				c.b.OperatingSystem = patch.AmazonLinux2
			}
			if c.installed == nil {
				c.installed = foo
			}
			if c.available == nil {
				c.available = offer
			}
			r, err := patch.Evaluate(&c.b, c.facts, c.installed, c.available, date("2024-07-14"))
			require.NoError(t, err)
			x := r.Explain(patch.Key{Name: "foo", Arch: "x"})
			for _, s := range c.says {
				require.Contains(t, x.String(), s)
			}
			require.NotEmpty(t, x.Children)
			for _, change := range x.Changes() {
				require.Contains(t, x.String(), change)
			}
			require.Nil(t, r.Explain(patch.Key{Name: "nowhere"}))
		})
	}
}

// K2: the newer kernel is Installed, without a time of installation.
func TestK2NoInstalledTime(t *testing.T) {
	n := &patch.Advisory{ID: "A-1", Type: "security", Severity: "Important", Updated: date("2024-07-01"), CVEs: []string{"CVE-2024-1"}}
	r, err := patch.Evaluate(patch.PredefinedDefault(patch.AmazonLinux2), patch.NodeFacts{KernelLivePatched: []string{"CVE-2024-1"}},
		[]patch.Installed{{Name: "kernel", Arch: "x", Version: "4.14.1-1", InstalledAt: date("2024-01-01")}},
		[]patch.Available{{Name: "kernel", Arch: "x", Version: "4.14.2-1", Advisories: []*patch.Advisory{n}}}, date("2024-07-14"))
	require.NoError(t, err)
	require.Equal(t, patch.StateInstalled, r.Patches[0].State)
	require.True(t, r.Patches[0].InstalledAt.IsZero())
	require.True(t, r.Patches[0].LivePatched)
	require.Equal(t, patch.Compliant, r.Compliance)
	require.NotContains(t, encode(t, r), "installedAt")
}

func TestNotApplicableLimit(t *testing.T) {
	_, available := distribution(patch.Debian, 2000, 0)
	r, err := (&patch.Options{NotApplicableLimit: 10}).Evaluate(patch.PredefinedDefault(patch.Debian), patch.NodeFacts{}, nil, available, date("2024-07-14"))
	require.NoError(t, err)
	require.Equal(t, 10, r.Counts.NotApplicable)
	require.Equal(t, 90, r.Counts.UnreportedNotApplicable)
	require.Empty(t, r.Patches)
	require.Len(t, r.NotApplicable, 100)
}

func TestStateConstants(t *testing.T) {
	require.Equal(t, "INSTALLED_PENDING_REBOOT", patch.StateInstalledPendingReboot.Constant())
	require.Equal(t, "AVAILABLE_SECURITY_UPDATE", patch.StateAvailableSecurityUpdate.Constant())
	require.Equal(t, "MISSING", patch.StateMissing.Constant())
}

// A Result may be read by many goroutines at once.
func TestResultIsShared(t *testing.T) {
	installed, available := distribution(patch.AmazonLinux2, 500, 100)
	r, err := patch.Evaluate(patch.PredefinedDefault(patch.AmazonLinux2), patch.NodeFacts{}, installed, available, date("2024-07-14"))
	require.NoError(t, err)
	done := make(chan string, 4)
	for range cap(done) {
		go func() {
			s := ""
			for _, p := range r.Patches {
				s += r.Explain(p.Key).String()
			}
			r.Plan(patch.OverrideList{{ID: "*"}})
			done <- s
		}()
	}
	first := <-done
	for range cap(done) - 1 {
		require.Equal(t, first, <-done)
	}
}
