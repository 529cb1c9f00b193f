package patch_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

func days(n int) *int { return &n }

func TestPredefinedBaselines(t *testing.T) {
	all := patch.Predefined()
	require.Len(t, all, 17)
	names := map[string]bool{}
	defaults := map[patch.OperatingSystem]bool{}
	for i := range all {
		b := &all[i]
		require.False(t, names[b.Name], b.Name)
		names[b.Name] = true
		defaults[b.System()] = true
		require.NoError(t, patch.Validate(b), b.Name)
		for _, f := range patch.Lint(b) {
			require.Contains(t, f.Message, "(A6)", "%s: %s", b.Name, f) // AWS's own say seven days on Debian too
		}
		_, err := patch.Evaluate(b, patch.NodeFacts{}, nil, nil, date("2024-07-14"))
		require.NoError(t, err, b.Name)
	}
	for _, os := range patch.OperatingSystems() {
		require.True(t, defaults[os], os)
		require.NotEqual(t, patch.FamilyUnknown, os.Family(), os)
		require.Equal(t, os, patch.PredefinedDefault(os).System())
	}
	require.Equal(t, "AWS-DefaultPatchBaseline", patch.PredefinedDefault(patch.Windows).Name)
	require.True(t, names["AWS-WindowsPredefinedPatchBaseline-OS-Applications"])
	require.Nil(t, patch.PredefinedDefault("PLAN_9"))
	all[0].Rules[0].Filters[0].Values[0] = "changed"
	require.Equal(t, "CriticalUpdates", patch.Predefined()[0].Rules[0].Filters[0].Values[0], "the values are the caller's own")
}

func TestBaselineJSON(t *testing.T) {
	text := `{
	  "BaselineId": "pb-0123456789abcdef0", "Name": "prod", "OperatingSystem": "AMAZON_LINUX_2", "Description": "d",
	  "GlobalFilters": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["*"]}]},
	  "ApprovalRules": {"PatchRules": [
	    {"PatchFilterGroup": {"PatchFilters": [{"Key": "SEVERITY", "Values": ["Critical", "Important"]}]}, "ComplianceLevel": "HIGH", "ApproveAfterDays": 0, "EnableNonSecurity": true},
	    {"PatchFilterGroup": {"PatchFilters": []}, "ApproveUntilDate": "2024-07-07"}]},
	  "ApprovedPatches": ["a-*"], "ApprovedPatchesComplianceLevel": "LOW", "ApprovedPatchesEnableNonSecurity": true,
	  "RejectedPatches": ["b-*"], "RejectedPatchesAction": "BLOCK", "PatchGroups": ["g"],
	  "Sources": [{"Name": "own", "Products": ["*"], "Configuration": "[main]"}],
	  "CreatedDate": 1720958400.25, "ModifiedDate": "2024-07-14T12:00:00.5+02:00", "AvailableSecurityUpdatesComplianceStatus": null}`
	want := &patch.Baseline{
		ID: "pb-0123456789abcdef0", Name: "prod", Description: "d", OperatingSystem: patch.AmazonLinux2,
		GlobalFilters: patch.FilterGroup{{Key: patch.KeyProduct, Values: []string{"*"}}},
		Rules: []patch.PatchRule{
			{Filters: patch.FilterGroup{{Key: patch.KeySeverity, Values: []string{"Critical", "Important"}}}, Level: patch.LevelHigh, ApproveAfterDays: days(0), EnableNonSecurity: true},
			{ApproveUntilDate: "2024-07-07"}},
		ApprovedPatches: []string{"a-*"}, ApprovedComplianceLevel: patch.LevelLow, ApprovedNonSecurity: true,
		RejectedPatches: []string{"b-*"}, RejectedAction: patch.Block,
		Sources: []patch.Source{{Name: "own", Products: []string{"*"}, Configuration: "[main]"}},
		Created: time.UnixMilli(1720958400250).UTC(), Modified: time.Date(2024, 7, 14, 10, 0, 0, 500e6, time.UTC),
	}
	got, err := patch.ParseBaseline([]byte(text))
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, got))

	written, err := json.Marshal(got)
	require.NoError(t, err)
	again, err := patch.ParseBaseline(written)
	require.NoError(t, err)
	want.Rules[1].Level = patch.LevelUnspecified
	require.Empty(t, cmp.Diff(want, again))

	empty, err := json.Marshal(patch.Baseline{Name: "x"})
	require.NoError(t, err)
	require.JSONEq(t, `{"Name":"x","OperatingSystem":"WINDOWS","GlobalFilters":{"PatchFilters":[]},"ApprovalRules":{"PatchRules":[]},"ApprovedPatches":[],
	  "ApprovedPatchesComplianceLevel":"UNSPECIFIED","ApprovedPatchesEnableNonSecurity":false,"RejectedPatches":[],"RejectedPatchesAction":"ALLOW_AS_DEPENDENCY","Sources":[]}`, string(empty))
}

func TestBaselineJSONTellsAllThatIsWrong(t *testing.T) {
	_, err := patch.ParseBaseline([]byte(`{"Name": 1, "Nmae": "x", "Name": "y", "ApprovalRules": {"PatchRules": [{"ApproveAfterDays": 1.5, "Days": 1}, 3], "Rules": []},
	  "GlobalFilters": {"PatchFilters": [{"Key": "PRODUCT", "Values": "*"}]}, "ApprovedPatches": ["a", null, 2], "CreatedDate": "yesterday", "ApprovedPatchesEnableNonSecurity": "true"}`))
	for _, at := range []string{"$.Name: this must be a string", "$.Nmae: AWS knows no such field", "$.Name: the field is there twice", "$.ApprovalRules.PatchRules[0].ApproveAfterDays: ",
		"$.ApprovalRules.PatchRules[0].Days: ", "$.ApprovalRules.PatchRules[1]: this must be an object", "$.ApprovalRules.Rules: ", "$.GlobalFilters.PatchFilters[0].Values: this must be a list",
		"$.ApprovedPatches[1]: ", "$.ApprovedPatches[2]: ", "$.CreatedDate: ", "$.ApprovedPatchesEnableNonSecurity: "} {
		require.ErrorContains(t, err, at)
	}
	require.ErrorContains(t, err, "12 validation errors detected")
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	for text, says := range map[string]string{"": "no JSON", "{": "no JSON", "{\n,}": "line 2", "{} {}": "text follows", "[]": "$: this must be an object", "\xff": "UTF-8", "null": "$: this must be an object",
		`{"Name":"` + strings.Repeat("x", 5<<20) + `"}`: "bytes"} {
		_, err := patch.ParseBaseline([]byte(text))
		require.ErrorContains(t, err, says)
		require.Equal(t, fault.Validation, fault.CodeOf(err))
	}
	var b patch.Baseline
	require.Error(t, json.Unmarshal([]byte(`{"Name":1}`), &b))
	require.Empty(t, b, "nothing half done")
}

func TestValidateTellsAllThatIsWrong(t *testing.T) {
	many := func(n int) []string { return slices.Repeat([]string{"x"}, n) }
	for path, b := range map[string]patch.Baseline{
		"$.Name":            {Name: "a b"},
		"$.OperatingSystem": {OperatingSystem: "PLAN_9"},
		"$.Description":     {Description: strings.Repeat("é", 1025)},
		"$.GlobalFilters.PatchFilters: Member must have length less than or equal to 4": {GlobalFilters: make(patch.FilterGroup, 5)},
		"$.GlobalFilters.PatchFilters[0].Key: Value":                                    {GlobalFilters: patch.FilterGroup{{Key: "COLOUR", Values: many(1)}}},
		"$.GlobalFilters.PatchFilters[0].Key: the filter key PRIORITY is not supported": {GlobalFilters: patch.FilterGroup{{Key: patch.KeyPriority, Values: many(1)}}},
		"$.GlobalFilters.PatchFilters[1].Key: the filter key PRODUCT is there twice":    {GlobalFilters: patch.FilterGroup{{Key: patch.KeyProduct, Values: many(1)}, {Key: patch.KeyProduct, Values: many(1)}}},
		"$.GlobalFilters.PatchFilters[0].Values: ":                                      {GlobalFilters: patch.FilterGroup{{Key: patch.KeyProduct}}},
		"$.GlobalFilters.PatchFilters[0].Values[0]: ":                                   {GlobalFilters: patch.FilterGroup{{Key: patch.KeyProduct, Values: []string{strings.Repeat("x", 65)}}}},
		"$.ApprovalRules.PatchRules: ":                                                  {Rules: make([]patch.PatchRule, 11)},
		"$.ApprovalRules.PatchRules[0]: one of":                                         {Rules: []patch.PatchRule{{}}},
		"$.ApprovalRules.PatchRules[0]: ApproveAfterDays and":                           {Rules: []patch.PatchRule{{ApproveAfterDays: days(1), ApproveUntilDate: "2024-01-01"}}},
		"$.ApprovalRules.PatchRules[0].ApproveAfterDays: Value '361'":                   {Rules: []patch.PatchRule{{ApproveAfterDays: days(361)}}},
		"$.ApprovalRules.PatchRules[0].ApproveAfterDays: Value '-1'":                    {Rules: []patch.PatchRule{{ApproveAfterDays: days(-1)}}},
		"$.ApprovalRules.PatchRules[0].ApproveUntilDate: Value '2024-02-30'":            {Rules: []patch.PatchRule{{ApproveUntilDate: "2024-02-30"}}},
		"$.ApprovalRules.PatchRules[0].ComplianceLevel: Value 'HUGE'":                   {Rules: []patch.PatchRule{{ApproveAfterDays: days(1), Level: "HUGE"}}},
		"$.ApprovedPatches: ":                               {ApprovedPatches: many(51)},
		"$.RejectedPatches[0]: ":                            {RejectedPatches: []string{strings.Repeat("x", 101)}},
		"$.ApprovedPatchesComplianceLevel: ":                {ApprovedComplianceLevel: "HUGE"},
		"$.RejectedPatchesAction: ":                         {RejectedAction: "ALLOW"},
		"$.AvailableSecurityUpdatesComplianceStatus: Value": {AvailableSecurityUpdates: "MAYBE"},
		"$.AvailableSecurityUpdatesComplianceStatus: it is": {OperatingSystem: patch.Ubuntu, AvailableSecurityUpdates: patch.Compliant},
		"$.Sources: alternative":                            {Sources: []patch.Source{{Name: "own", Products: many(1), Configuration: "x"}}},
		"$.Sources: Member":                                 {OperatingSystem: patch.Ubuntu, Sources: make([]patch.Source, 21)},
		"$.Sources[0].Name: ":                               {OperatingSystem: patch.Ubuntu, Sources: []patch.Source{{Name: "x"}}},
		"$.Sources[0].Products: ":                           {OperatingSystem: patch.Ubuntu, Sources: []patch.Source{{Name: "own"}}},
		"$.Sources[0].Configuration: ":                      {OperatingSystem: patch.Ubuntu, Sources: []patch.Source{{Name: "own", Configuration: strings.Repeat("x", 1025)}}},
	} {
		if b.Name == "" {
			b.Name = "good-name"
		}
		err := patch.Validate(&b)
		require.ErrorContains(t, err, path)
		require.Equal(t, fault.Validation, fault.CodeOf(err))
	}
	err := patch.Validate(&patch.Baseline{OperatingSystem: "PLAN_9", RejectedAction: "NO", Rules: make([]patch.PatchRule, 2)})
	var fs patch.Findings
	require.ErrorAs(t, err, &fs)
	require.Len(t, fs, 5, "all at once: %v", err)
	require.NoError(t, patch.Validate(&patch.Baseline{Name: "abc", OperatingSystem: patch.Debian, Rules: make([]patch.PatchRule, 10)}), "Debian needs no dates (B5)")
	require.NotContains(t, patch.Validate(&patch.Baseline{OperatingSystem: patch.Ubuntu, Sources: []patch.Source{{Name: "own", Configuration: strings.Repeat("hunter2", 200)}}}).Error(), "hunter2")
}

func TestEvaluateRefusesWhatItCannotRead(t *testing.T) {
	for says, b := range map[string]patch.Baseline{
		"no operating system":       {OperatingSystem: "PLAN_9"},
		"has both":                  {Rules: []patch.PatchRule{{ApproveAfterDays: days(1), ApproveUntilDate: "2024-01-01"}}},
		"has neither":               {Rules: []patch.PatchRule{{}}},
		"not between 0 and 360":     {Rules: []patch.PatchRule{{ApproveAfterDays: days(-1)}}},
		"no date of the form":       {Rules: []patch.PatchRule{{ApproveUntilDate: "07/07/2024"}}},
		"the node runs":             {OperatingSystem: patch.Debian},
		"ApproveAfterDays 99999999": {Rules: []patch.PatchRule{{ApproveAfterDays: days(99999999)}}},
	} {
		r, err := patch.Evaluate(&b, patch.NodeFacts{OperatingSystem: b.System()}, nil, nil, date("2024-07-14"))
		if says == "the node runs" {
			r, err = patch.Evaluate(&b, patch.NodeFacts{OperatingSystem: patch.Ubuntu}, nil, nil, date("2024-07-14"))
		}
		require.ErrorContains(t, err, says)
		require.Equal(t, fault.Validation, fault.CodeOf(err))
		require.Nil(t, r)
	}
}

func TestLint(t *testing.T) {
	for says, b := range map[string]patch.Baseline{
		"CVE and Bugzilla ids cannot be rejected": {OperatingSystem: patch.RedHat, RejectedPatches: []string{"CVE-2024-1"}},
		"only one wildcard":                       {OperatingSystem: patch.RedHat, RejectedPatches: []string{"a-*-*"}},
		"write name-version-release.arch":         {OperatingSystem: patch.RedHat, ApprovedPatches: []string{"bash"}},
		"name the package alone":                  {OperatingSystem: patch.Ubuntu, ApprovedPatches: []string{"bash=1.0"}},
		"wildcards are not supported":             {OperatingSystem: patch.Ubuntu, ApprovedPatches: []string{"bash*"}},
		"neither a KB id":                         {ApprovedPatches: []string{"bash"}},
		"rejection wins":                          {ApprovedPatches: []string{"KB1"}, RejectedPatches: []string{"KB1"}},
		"no patch for REDHAT_ENTERPRISE_LINUX has the CLASSIFICATION 'Securty'": {OperatingSystem: patch.RedHat, GlobalFilters: patch.FilterGroup{{Key: patch.KeyClassification, Values: []string{"Securty"}}}},
		"(A6)":  {OperatingSystem: patch.Ubuntu, Rules: []patch.PatchRule{{ApproveAfterDays: days(7)}}},
		"(N4)":  {OperatingSystem: patch.CentOS, Rules: []patch.PatchRule{{ApproveAfterDays: days(7)}}},
		"(N10)": {Rules: []patch.PatchRule{{ApproveAfterDays: days(7), EnableNonSecurity: true}}},
	} {
		fs := patch.Lint(&b)
		require.NotEmpty(t, fs, says)
		require.Contains(t, fs.Error(), says)
		require.True(t, fs[0].Warning)
	}
	require.Empty(t, patch.Lint(&patch.Baseline{OperatingSystem: patch.AmazonLinux2, ApprovedPatches: []string{"bash-*", "ALAS-2018-1", "CVE-2024-1", "123", "bash-4.2-1.x86_64"}}))
}

func TestProperties(t *testing.T) {
	for _, os := range patch.OperatingSystems() {
		for _, k := range patch.FilterKeys(os) {
			if k == patch.KeyPatchSet || k == patch.KeySection {
				continue
			}
			got, err := patch.Properties(os, patch.Property(k), "")
			require.NoError(t, err, "%s %s", os, k)
			require.NotEmpty(t, got)
			require.Len(t, slices.Compact(slices.Sorted(slices.Values(got))), len(got), "%s %s has repetitions", os, k)
		}
	}
	got, err := patch.Properties(patch.Windows, patch.PropertyProductFamily, "APPLICATION")
	require.NoError(t, err)
	require.Contains(t, got, "Office")
	for _, c := range []struct {
		os  patch.OperatingSystem
		p   patch.Property
		set string
	}{{patch.Debian, "SECTION", ""}, {patch.Debian, patch.PropertySeverity, ""}, {patch.Ubuntu, patch.PropertyClassification, ""}, {"PLAN_9", patch.PropertyProduct, ""}, {patch.Windows, patch.PropertyProduct, "BOTH"}, {patch.RedHat, patch.PropertyMSRCSeverity, ""}} {
		_, err := patch.Properties(c.os, c.p, c.set)
		require.Equal(t, fault.Validation, fault.CodeOf(err), "%v", c)
	}
}

type registry map[string]string

func (r registry) OfGroup(group string, os patch.OperatingSystem) string {
	return r[group+"/"+string(os)]
}
func (r registry) Default(os patch.OperatingSystem) string { return r["/"+string(os)] }

func TestB1toB4ChoiceOfBaseline(t *testing.T) {
	reg := registry{"prod/DEBIAN": "pb-group", "/DEBIAN": "pb-default", "/UBUNTU": "pb-ubuntu"}
	for name, c := range map[string]struct {
		tags      map[string]string
		os        patch.OperatingSystem
		id, group string
		why       patch.Choice
	}{
		"B1 tag with a space":         {map[string]string{"Patch Group": "prod"}, patch.Debian, "pb-group", "prod", patch.ChosenByGroup},
		"B1 tag without":              {map[string]string{"PatchGroup": "prod"}, patch.Debian, "pb-group", "prod", patch.ChosenByGroup},
		"B1 key is case-sensitive":    {map[string]string{"patch group": "prod"}, patch.Debian, "pb-default", "", patch.ChosenByDefault},
		"B1 the node's own system":    {map[string]string{"Patch Group": "prod"}, patch.Ubuntu, "pb-ubuntu", "prod", patch.ChosenByDefault},
		"B2 no tag":                   {nil, patch.Debian, "pb-default", "", patch.ChosenByDefault},
		"B2 group not registered":     {map[string]string{"Patch Group": "test"}, patch.Debian, "pb-default", "test", patch.ChosenByDefault},
		"B3 no custom default":        {map[string]string{"Patch Group": "prod"}, patch.SUSE, "AWS-SuseDefaultPatchBaseline", "prod", patch.ChosenByPredefined},
		"B4 two tags, the first wins": {map[string]string{"Patch Group": "prod", "PatchGroup": "test"}, patch.Debian, "pb-group", "prod", patch.ChosenByGroup},
		"unknown system":              {nil, "PLAN_9", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			id, group, why := patch.Choose(reg, c.tags, c.os)
			require.Equal(t, []any{c.id, c.group, c.why}, []any{id, group, why})
		})
	}
	require.NoError(t, patch.CheckGroup("prod web/é@1"))
	require.Error(t, patch.CheckGroup(""))
	require.Error(t, patch.CheckGroup("a;b"))
	require.Error(t, patch.CheckGroup(strings.Repeat("x", 257)))
}

func TestB5BaselineOverride(t *testing.T) {
	o, err := patch.ParseBaselineOverride([]byte(`[{"OperatingSystem":"DEBIAN","RejectedPatches":["a"]},{"ApprovedPatches":["KB1"]}]`))
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, o.For(patch.Debian).RejectedPatches)
	require.Equal(t, []string{"KB1"}, o.For(patch.Windows).ApprovedPatches)
	require.Nil(t, o.For(patch.Ubuntu))
	_, err = patch.ParseBaselineOverride([]byte(`[{"OperatingSystem":"DEBIAN"},{"OperatingSystem":"DEBIAN"},{"x":1}]`))
	require.ErrorContains(t, err, "$[1].OperatingSystem")
	require.ErrorContains(t, err, "$[2].x")

	for says, r := range map[string]patch.Run{
		"together":        {Operation: patch.Install, List: patch.OverrideList{}, Override: o},
		"with hooks":      {Operation: patch.Install, List: patch.OverrideList{}, Hooks: true},
		"Install only":    {Operation: patch.Scan, Hooks: true},
		"none of Scan":    {Operation: "scan"},
		"reboot option":   {Operation: patch.Scan, RebootOption: "Never"},
		"InstallOverride": {Operation: patch.Scan, List: patch.OverrideList{}, Override: o},
	} {
		err := r.Check()
		require.ErrorContains(t, err, says)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
	}
	require.NoError(t, (&patch.Run{Operation: patch.Install, RebootOption: patch.RebootIfRequired, Hooks: true}).Check())
}

func TestSnapshots(t *testing.T) {
	s := patch.Snapshot{Created: date("2024-07-01")}
	require.False(t, s.Expired(date("2024-07-04").Add(-time.Second)))
	require.True(t, s.Expired(date("2024-07-04")))
	id := patch.SnapshotIDOf("window-execution-1")
	require.NoError(t, patch.CheckSnapshotID(id))
	require.Equal(t, id, patch.SnapshotIDOf("window-execution-1"))
	require.NotEqual(t, id, patch.SnapshotIDOf("window-execution-2"))
	require.Error(t, patch.CheckSnapshotID("1"))
}

// Reading and writing agree: what was written is read back to the same, and writes the same bytes.
func FuzzBaselineJSON(f *testing.F) {
	for _, b := range patch.Predefined() {
		text, err := json.Marshal(b)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Add(`{"ApprovalRules":{"PatchRules":[{"ApproveAfterDays":1},{"ApproveUntilDate":"2024-01-01"}]},"Sources":[{"Name":"x"}],"CreatedDate":1.5}`)
	f.Fuzz(func(t *testing.T, text string) {
		b, err := patch.ParseBaseline([]byte(text))
		if err != nil {
			if fault.CodeOf(err) != fault.Validation {
				t.Fatal(err)
			}
			return
		}
		one, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		c, err := patch.ParseBaseline(one)
		if err != nil {
			t.Fatalf("%v\n%s", err, one)
		}
		two, err := json.Marshal(c)
		if err != nil || string(one) != string(two) {
			t.Fatalf("%v\n%s\n%s", err, one, two)
		}
		patch.Lint(b)
		if patch.Validate(b) == nil {
			if _, err := patch.Evaluate(b, patch.NodeFacts{}, nil, nil, date("2024-07-14")); err != nil {
				t.Fatalf("valid, but %v", err)
			}
		}
	})
}
