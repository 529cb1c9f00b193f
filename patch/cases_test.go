package patch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/patch"
)

// suite is a file of worked examples. Fields that it does not know make it fail: an example that is half understood proves nothing.
type suite struct {
	About      string   `json:"about"`
	NowDefault string   `json:"now_default"`
	Cases      []worked `json:"cases"`
}

type worked struct {
	ID           string             `json:"id"`
	Title        string             `json:"title"`
	Cites        []string           `json:"cites"`
	Basis        string             `json:"basis"`
	Note         string             `json:"note"`
	Comment      string             `json:"comment"`
	Now          string             `json:"now"`
	Operation    patch.Operation    `json:"operation"`
	RebootOption patch.RebootOption `json:"rebootOption"`
	Windows      bool               `json:"windows"`
	Product      string             `json:"product"`
	Family       string             `json:"productFamily"`
	NativeArch   string             `json:"nativeArch"`
	NoUpdateInfo bool               `json:"noUpdateInfo"`
	LivePatched  []string           `json:"livePatchedCves"`
	Exact        bool               `json:"exact"`
	Override     patch.OverrideList `json:"-"`
	RawOverride  []map[string]any   `json:"installOverrideList"`
	Failing      []string           `json:"failing"`
	Baseline     json.RawMessage    `json:"baseline"`
	Overrides    json.RawMessage    `json:"baselineOverride"`
	Installed    []workedInstalled  `json:"installed"`
	Available    []workedAvailable  `json:"available"`
	Expect       workedExpect       `json:"expect"`
	parsed       *patch.Baseline    `json:"-"`
	facts        patch.NodeFacts    `json:"-"`
	has          []patch.Installed  `json:"-"`
	offers       []patch.Available  `json:"-"`
	at           time.Time          `json:"-"`
}

type workedInstalled struct {
	Name          string   `json:"name"`
	Version       string   `json:"version"`
	Epoch         any      `json:"epoch"`
	Release       string   `json:"release"`
	Arch          string   `json:"arch"`
	InstalledByUs bool     `json:"installedByUs"`
	SinceBoot     bool     `json:"sinceBoot"`
	Installed     string   `json:"installedTime"`
	Held          bool     `json:"held"`
	Pin           int      `json:"pin"`
	Priority      string   `json:"priority"`
	Section       string   `json:"section"`
	Requires      []string `json:"requires"`
}

type workedAvailable struct {
	Name           string         `json:"name"`
	Version        string         `json:"version"`
	Epoch          any            `json:"epoch"`
	Release        string         `json:"release"`
	Arch           string         `json:"arch"`
	Repo           string         `json:"repo"`
	Notice         *workedNotice  `json:"notice"`
	Notices        []workedNotice `json:"notices"`
	BuildTime      string         `json:"buildTime"`
	Security       bool           `json:"security"`
	Priority       string         `json:"priority"`
	Section        string         `json:"section"`
	Pin            int            `json:"pin"`
	Obsoletes      []any          `json:"obsoletes"`
	Requires       []any          `json:"requires"`
	Classification string         `json:"classification"`
	MSRCSeverity   string         `json:"msrcSeverity"`
	Updated        string         `json:"updated"`
	Released       string         `json:"released"`
	Applicable     *bool          `json:"applicable"`
	PatchSet       string         `json:"patchSet"`
	Product        string         `json:"product"`
	ProductFamily  string         `json:"productFamily"`
	Bulletin       string         `json:"bulletin"`
	Title          string         `json:"title"`
	CVEs           []string       `json:"cves"`
	Supersedes     []string       `json:"supersedes"`
	Superseded     bool           `json:"superseded"`
	SupersededBy   string         `json:"supersededBy"`
}

type workedNotice struct {
	ID       string   `json:"id"`
	Type     string   `json:"type"`
	Severity string   `json:"severity"`
	Title    string   `json:"title"`
	Issued   string   `json:"issued"`
	Updated  string   `json:"updated"`
	CVEs     []string `json:"cves"`
	Bugzilla []any    `json:"bugzilla"`
	Reboot   bool     `json:"reboot"`
}

type workedExpect struct {
	States          map[string]patch.State      `json:"states"`
	Node            patch.Compliance            `json:"node"`
	Install         *[]string                   `json:"install"`
	Counts          map[string]int              `json:"counts"`
	OverallSeverity patch.Level                 `json:"overallSeverity"`
	NotApplicable   []string                    `json:"notApplicable"`
	Reboot          *bool                       `json:"reboot"`
	CVEs            map[string][]string         `json:"cves"`
	Levels          map[string]patch.Level      `json:"levels"`
	Compliance      map[string]patch.Compliance `json:"compliance"`
	Classification  map[string]string           `json:"classification"`
	Severity        map[string]string           `json:"severity"`
	Wanted          map[string]string           `json:"wanted"`
	Error           string                      `json:"error"`
}

func decodeSuite(t testing.TB, file string) suite {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var s suite
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	d.UseNumber()
	require.NoErrorf(t, d.Decode(&s), "%s: a field that this test does not understand is no field to pass over", file)
	require.NotEmpty(t, s.Cases, file)
	return s
}

func parseTime(t testing.TB, s string) time.Time {
	t.Helper()
	if s == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02", "2006-01-02 15:04:05", "2006-01-02T15:04:05"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at
		}
	}
	require.Failf(t, "no time", "%q is no date or time", s)
	return time.Time{}
}

func evr(epoch any, version, release string) string {
	e := ""
	if epoch != nil {
		e = fmt.Sprint(epoch)
	}
	return patch.EVR(e, version, release)
}

// relations reads "name", "name >= 1.0" and {"name","flag","version"}.
func relations(t testing.TB, list []any) []patch.Relation {
	t.Helper()
	var out []patch.Relation
	for _, x := range list {
		switch x := x.(type) {
		case string:
			f := strings.Fields(x)
			r := patch.Relation{Name: f[0]}
			if len(f) == 3 {
				r.Flag, r.Version = map[string]string{"<": "LT", "<=": "LE", "=": "EQ", ">=": "GE", ">": "GT"}[f[1]], f[2]
			}
			require.Truef(t, len(f) == 1 || r.Flag != "", "relation %q", x)
			out = append(out, r)
		case map[string]any:
			r := patch.Relation{}
			for k, v := range x {
				switch k {
				case "name":
					r.Name = v.(string)
				case "flag":
					r.Flag = v.(string)
				case "version":
					r.Version = v.(string)
				default:
					require.Failf(t, "unknown field", "relation has %q", k)
				}
			}
			out = append(out, r)
		default:
			require.Failf(t, "no relation", "%v", x)
		}
	}
	return out
}

func (w *workedNotice) advisory(t testing.TB) *patch.Advisory {
	n := &patch.Advisory{ID: w.ID, Type: w.Type, Severity: w.Severity, Title: w.Title, CVEs: w.CVEs, RebootSuggested: w.Reboot,
		Issued: parseTime(t, w.Issued), Updated: parseTime(t, w.Updated)}
	for _, b := range w.Bugzilla {
		n.Bugzilla = append(n.Bugzilla, fmt.Sprint(b))
	}
	return n
}

func (c *worked) prepare(t testing.TB, nowDefault string) {
	t.Helper()
	b, err := patch.ParseBaseline(c.Baseline)
	require.NoError(t, err)
	if len(c.Overrides) > 0 {
		o, err := patch.ParseBaselineOverride(c.Overrides)
		require.NoError(t, err)
		if x := o.For(b.System()); x != nil {
			b = x
		}
	}
	c.parsed = b
	if c.Now == "" {
		c.Now = nowDefault
	}
	c.at = parseTime(t, c.Now)
	c.facts = patch.NodeFacts{Product: c.Product, ProductFamily: c.Family, Arch: c.NativeArch, NoUpdateInfo: c.NoUpdateInfo, KernelLivePatched: c.LivePatched}
	for _, x := range c.Installed {
		c.has = append(c.has, patch.Installed{Name: x.Name, Arch: x.Arch, Version: evr(x.Epoch, x.Version, x.Release), ByUs: x.InstalledByUs,
			SinceBoot: x.SinceBoot, InstalledAt: parseTime(t, x.Installed), Held: x.Held, Pin: x.Pin, Priority: x.Priority, Section: x.Section, Requires: x.Requires})
	}
	gone := map[string][]string{}
	for _, x := range c.Available {
		a := patch.Available{Name: x.Name, Arch: x.Arch, Version: evr(x.Epoch, x.Version, x.Release), Repo: x.Repo, Security: x.Security, Priority: x.Priority,
			Section: x.Section, Pin: x.Pin, Built: parseTime(t, x.BuildTime), Obsoletes: relations(t, x.Obsoletes), Requires: relations(t, x.Requires)}
		if x.Notice != nil {
			a.Advisories = append(a.Advisories, x.Notice.advisory(t))
		}
		for i := range x.Notices {
			a.Advisories = append(a.Advisories, x.Notices[i].advisory(t))
		}
		if f := b.System().Family(); f == patch.FamilyWindows || f == patch.FamilyMacOS {
			released := x.Updated
			if released == "" {
				released = x.Released
			}
			a.Update = &patch.Update{KB: x.Name, Bulletin: x.Bulletin, Title: x.Title, Classification: x.Classification, MSRCSeverity: x.MSRCSeverity,
				Product: x.Product, ProductFamily: x.ProductFamily, PatchSet: x.PatchSet, CVEs: x.CVEs, Released: parseTime(t, released),
				NotApplicable: x.Applicable != nil && !*x.Applicable, Supersedes: x.Supersedes}
			by := x.SupersededBy
			if x.Superseded && by == "" {
				by = "a later update"
			}
			if by != "" {
				gone[by] = append(gone[by], x.Name)
			}
		} else {
			require.Truef(t, x.Classification == "" && x.MSRCSeverity == "" && x.PatchSet == "" && x.Applicable == nil && x.Bulletin == "",
				"%s: fields of Windows on a baseline for %s", x.Name, b.System())
		}
		c.offers = append(c.offers, a)
	}
	for by, kbs := range gone {
		found := false
		for i := range c.offers {
			if c.offers[i].Name == by {
				c.offers[i].Update.Supersedes = append(c.offers[i].Update.Supersedes, kbs...)
				found = true
			}
		}
		if !found {
			c.offers = append(c.offers, patch.Available{Name: by, Update: &patch.Update{Supersedes: kbs, NotApplicable: true, PatchSet: "of no rule"}})
		}
	}
	if c.RawOverride != nil {
		c.Override = patch.OverrideList{}
	}
	for _, m := range c.RawOverride { // other fields are ignored (O3)
		o := patch.OverrideEntry{}
		o.ID, _ = m["id"].(string)
		o.Title, _ = m["title"].(string)
		c.Override = append(c.Override, o)
	}
}

// spell writes a step as the examples do: name-version.arch, apt name=version, Windows the KB.
func spell(f patch.Family, s patch.Step) string {
	switch f {
	case patch.FamilyApt:
		return s.Name + "=" + s.To
	case patch.FamilyWindows:
		return s.Name
	case patch.FamilyMacOS:
		return s.Name + "-" + s.To
	}
	return s.Name + "-" + s.To + "." + s.Arch
}

func (c *worked) run(t *testing.T) {
	opts := &patch.Options{Exact: c.Exact}
	res, err := opts.Evaluate(c.parsed, c.facts, c.has, c.offers, c.at)
	if c.Expect.Error != "" {
		require.ErrorContains(t, err, c.Expect.Error)
		return
	}
	require.NoError(t, err)
	if c.Operation == "" {
		c.Operation = patch.Scan
	}
	run := patch.Run{Operation: c.Operation, RebootOption: c.RebootOption, List: c.Override}
	sim, err := run.Simulate(res, func(s patch.Step) bool {
		return slices.Contains(c.Failing, s.Name) || slices.Contains(c.Failing, s.Key.String())
	}, false)
	require.NoError(t, err)
	plan := sim.Plan
	if plan == nil {
		plan = res.Plan(nil) // what an Install would do
	}
	got, f := sim.After, c.parsed.System().Family()

	states, wantStates := map[string]patch.State{}, map[string]patch.State{}
	absent, wantAbsent := []string{}, slices.Clone(c.Expect.NotApplicable)
	for _, p := range got.Patches {
		if p.State != patch.StateNotApplicable {
			states[p.Key.String()] = p.State
		}
	}
	for _, k := range got.NotApplicable {
		absent = append(absent, k.String())
	}
	for k, s := range c.Expect.States {
		if s != patch.StateNotApplicable {
			wantStates[k] = s
		} else if !slices.Contains(wantAbsent, k) {
			wantAbsent = append(wantAbsent, k)
		}
	}
	slices.Sort(absent)
	slices.Sort(wantAbsent)
	if wantAbsent == nil {
		wantAbsent = []string{}
	}
	require.Empty(t, cmp.Diff(wantStates, states), "states")
	require.Empty(t, cmp.Diff(wantAbsent, absent), "not applicable")
	if c.Expect.Node != "" {
		require.Equal(t, c.Expect.Node, got.Compliance, "node")
	}
	if c.Expect.OverallSeverity != "" {
		require.Equal(t, c.Expect.OverallSeverity, got.Severity, "overall severity")
	}
	have := map[string]int{"Installed": got.Counts.Installed, "InstalledOther": got.Counts.InstalledOther, "InstalledPendingReboot": got.Counts.InstalledPendingReboot,
		"InstalledRejected": got.Counts.InstalledRejected, "Missing": got.Counts.Missing, "Failed": got.Counts.Failed, "NotApplicable": got.Counts.NotApplicable,
		"UnreportedNotApplicable": got.Counts.UnreportedNotApplicable, "AvailableSecurityUpdate": got.Counts.AvailableSecurityUpdates,
		"AvailableSecurityUpdates": got.Counts.AvailableSecurityUpdates, "CriticalNonCompliant": got.Counts.CriticalNonCompliant,
		"SecurityNonCompliant": got.Counts.SecurityNonCompliant, "OtherNonCompliant": got.Counts.OtherNonCompliant}
	for name, n := range c.Expect.Counts {
		v, ok := have[strings.TrimSuffix(name, "Count")]
		require.Truef(t, ok, "the count %q is unknown", name)
		require.Equal(t, n, v, "count %s", name)
	}
	if c.Expect.Install != nil {
		steps := []string{}
		for _, s := range plan.Steps {
			steps = append(steps, spell(f, s))
		}
		want := append([]string{}, *c.Expect.Install...)
		slices.Sort(want)
		slices.Sort(steps)
		require.Equal(t, slices.Compact(want), slices.Compact(steps), "install") // apt's form names no architecture
	}
	if c.Expect.Reboot != nil {
		require.Equal(t, *c.Expect.Reboot, sim.Reboot, "reboot")
	}
	find := func(name string) *patch.Patch {
		for i := range got.Patches {
			if got.Patches[i].Key.String() == name {
				return &got.Patches[i]
			}
		}
		require.Failf(t, "nothing reported", "for %s", name)
		return nil
	}
	for k, want := range c.Expect.CVEs {
		require.ElementsMatch(t, want, find(k).CVEs, "CVE ids of %s", k)
	}
	for k, want := range c.Expect.Levels {
		require.Equal(t, want, find(k).Level, "level of %s", k)
	}
	for k, want := range c.Expect.Compliance {
		require.Equal(t, want, find(k).Compliance, "compliance of %s", k)
	}
	for k, want := range c.Expect.Classification {
		require.True(t, strings.EqualFold(want, find(k).Classification), "classification of %s", k)
	}
	for k, want := range c.Expect.Severity {
		require.True(t, strings.EqualFold(want, find(k).Severity), "severity of %s", k)
	}
	for k, want := range c.Expect.Wanted {
		require.Equal(t, want, find(k).Wanted, "wanted version of %s", k)
	}
	if wanted := c.Windows; wanted {
		require.Equal(t, patch.FamilyWindows, f, "windows: true")
	}
	again, err := opts.Evaluate(c.parsed, c.facts, reversed(c.has), reversed(c.offers), c.at)
	require.NoError(t, err)
	require.JSONEq(t, encode(t, res), encode(t, again), "the order of the lists matters")
	require.Equal(t, encode(t, res), encode(t, again), "the order of the lists matters")
}

func reversed[T any](s []T) []T {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

func encode(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

func runSuite(t *testing.T, file string) {
	s := decodeSuite(t, file)
	seen := map[string]bool{}
	for _, c := range s.Cases {
		require.Falsef(t, seen[c.ID], "two cases %s", c.ID)
		seen[c.ID] = true
		t.Run(c.ID+" "+strings.Join(c.Cites, ","), func(t *testing.T) {
			t.Log(c.Title)
			c.prepare(t, s.NowDefault)
			c.run(t)
		})
	}
	t.Logf("%d cases", len(s.Cases))
}

// TestCases runs a file of worked examples that lies outside of this repository.
func TestCases(t *testing.T) {
	file := os.Getenv("FLEETWRIGHT_PATCH_CASES")
	if file == "" {
		file = filepath.Join("..", "..", "shared", "cases", "patch-cases.json")
		if _, err := os.Stat(file); err != nil {
			t.Skip("SKIPPED: no file of worked examples: set FLEETWRIGHT_PATCH_CASES to one; TestRules runs this project's own")
		}
	}
	runSuite(t, file)
}
