package patchstore_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/patchstore"
	"github.com/fleetwright/fleetwright/store/memstore"
)

var dawn = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func node(n int) string { return fmt.Sprintf("mi-%017x", n) }

type registry map[string]map[string]string

func (r registry) Registered(_ context.Context, _, id string) (map[string]string, bool, error) {
	tags, ok := r[id]
	return tags, ok, nil
}

func (r registry) Tagged(_ context.Context, _, tag, value string) (out []string, _ error) {
	for _, id := range slices.Sorted(maps.Keys(r)) {
		if v, ok := r[id][tag]; ok && v == value {
			out = append(out, id)
		}
	}
	return out, nil
}

type hide map[string]bool

func (h hide) Authorize(_ context.Context, _ access.Principal, action, resource string, _ map[string]string) error {
	if h[resource] || h[action] {
		return errors.New("hidden")
	}
	return nil
}

type world struct {
	*patchstore.Service
	t      *testing.T
	nodes  registry
	hidden hide
	log    *audit.Log
	now    time.Time
}

func newWorld(t *testing.T, edit func(*patchstore.Config)) *world {
	w := &world{t: t, nodes: registry{}, hidden: hide{}, now: dawn}
	st := memstore.New()
	clock := func() time.Time { return w.now }
	w.log = audit.New(audit.Config{Store: st, Authorize: access.AllowAll{}, Now: clock})
	cfg := patchstore.Config{Store: st, Authorizer: w.hidden, Audit: w.log, Nodes: w.nodes, Now: clock}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	w.Service, err = patchstore.New(cfg)
	require.NoError(t, err)
	return w
}

func days(n int) *int { return &n }

func debian(name string) patch.Baseline {
	return patch.Baseline{Name: name, OperatingSystem: patch.Debian, Rules: []patch.PatchRule{{Filters: patch.FilterGroup{{Key: patch.KeyPriority, Values: []string{"*"}}}, ApproveAfterDays: days(0)}}}
}

func (w *world) create(b patch.Baseline) string {
	w.t.Helper()
	r, err := w.CreatePatchBaseline(w.t.Context(), patchstore.CreatePatchBaselineRequest{Baseline: b})
	require.NoError(w.t, err)
	require.Regexp(w.t, `^pb-[0-9a-f]{17}$`, r.BaselineID)
	return r.BaselineID
}

func TestB2_BaselinesAreCheckedWhole(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.CreatePatchBaseline(t.Context(), patchstore.CreatePatchBaselineRequest{Baseline: patch.Baseline{Name: "x", OperatingSystem: "BEOS"}})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	require.ErrorContains(t, err, "$.Name")
	require.ErrorContains(t, err, "$.OperatingSystem")
	l, err := w.DescribePatchBaselines(t.Context(), patchstore.ListRequest{Filters: []patchstore.Filter{{Key: "OWNER", Values: []string{"Self"}}}})
	require.NoError(t, err)
	require.Empty(t, l.BaselineIdentities)
}

func TestCreateIsIdempotentByToken(t *testing.T) {
	w := newWorld(t, nil)
	req := patchstore.CreatePatchBaselineRequest{Baseline: debian("web"), ClientToken: "t1"}
	a, err := w.CreatePatchBaseline(t.Context(), req)
	require.NoError(t, err)
	b, err := w.CreatePatchBaseline(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, a, b)
	req.Baseline.Name = "other"
	_, err = w.CreatePatchBaseline(t.Context(), req)
	require.Equal(t, fault.IdempotentParameterMismatch, fault.CodeOf(err))
}

func TestUpdateChangesWhatIsGivenOrAll(t *testing.T) {
	w := newWorld(t, nil)
	b := debian("web")
	b.ApprovedPatches, b.Description = []string{"openssl"}, "first"
	id := w.create(b)
	w.now = dawn.Add(time.Hour)
	var req patchstore.UpdatePatchBaselineRequest
	require.NoError(t, json.Unmarshal([]byte(`{"BaselineId":"`+id+`","RejectedPatches":["telnet"],"Description":"second"}`), &req))
	got, err := w.UpdatePatchBaseline(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, []string{"openssl"}, got.ApprovedPatches)
	require.Equal(t, []string{"telnet"}, got.RejectedPatches)
	require.Equal(t, "second", got.Description)
	require.Len(t, got.Rules, 1)
	require.Equal(t, dawn, got.Created)
	require.Equal(t, dawn.Add(time.Hour), got.Modified)

	require.NoError(t, json.Unmarshal([]byte(`{"BaselineId":"`+id+`","Replace":true,"Name":"whole"}`), &req))
	got, err = w.UpdatePatchBaseline(t.Context(), req)
	require.NoError(t, err)
	require.Empty(t, got.ApprovedPatches)
	require.Empty(t, got.Rules)
	require.Equal(t, "whole", got.Name)
	require.Equal(t, patch.Debian, got.OperatingSystem)

	for what, body := range map[string]string{
		"no such baseline": `{"BaselineId":"pb-00000000000000000"}`,
		"predefined":       `{"BaselineId":"AWS-DebianDefaultPatchBaseline","Description":"mine"}`,
		"another system":   `{"BaselineId":"` + id + `","OperatingSystem":"UBUNTU"}`,
		"a bad rule":       `{"BaselineId":"` + id + `","ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":[{"Key":"SEVERITY","Values":["x"]}]}}]}}`,
	} {
		var req patchstore.UpdatePatchBaselineRequest
		require.NoError(t, json.Unmarshal([]byte(body), &req))
		_, err := w.UpdatePatchBaseline(t.Context(), req)
		require.Error(t, err, what)
	}
	require.Error(t, json.Unmarshal([]byte(`{"BaselineId":"x","ApprovalRule":{}}`), &req), "a member that AWS does not have")
	again, err := w.GetPatchBaseline(t.Context(), patchstore.BaselineRequest{BaselineID: "arn:aws:ssm:eu-west-1:123456789012:patchbaseline/" + id})
	require.NoError(t, err)
	text, err := json.Marshal(again)
	require.NoError(t, err)
	same, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, string(same), string(text))
	require.Contains(t, string(text), `"PatchGroups":[]`)
}

func TestB10_B23_B24_GroupsAndDefaults(t *testing.T) {
	w := newWorld(t, nil)
	one, two := w.create(debian("one")), w.create(debian("two"))
	red := w.create(patch.Baseline{Name: "red", OperatingSystem: patch.RedHat})
	register := func(id, group string) error {
		_, err := w.RegisterPatchBaselineForPatchGroup(t.Context(), patchstore.GroupRequest{BaselineID: id, PatchGroup: group})
		return err
	}
	of := func(group string, os patch.OperatingSystem) string {
		r, err := w.GetPatchBaselineForPatchGroup(t.Context(), patchstore.ForGroupRequest{PatchGroup: group, OperatingSystem: os})
		require.NoError(t, err)
		return r.BaselineID
	}
	require.NoError(t, register(one, "web"))
	require.NoError(t, register(red, "web"), "a group has one baseline for each operating system")
	require.Equal(t, fault.AlreadyExists, fault.CodeOf(register(two, "web")))
	require.Equal(t, fault.AlreadyExists, fault.CodeOf(register(one, "web")), "B10: a second registration of a group and system")
	require.Equal(t, fault.DoesNotExist, fault.CodeOf(register("pb-00000000000000000", "web")))
	require.Equal(t, fault.Validation, fault.CodeOf(register(one, "we\nb")))
	require.Equal(t, one, of("web", patch.Debian))
	require.Equal(t, red, of("web", patch.RedHat))
	require.Equal(t, "AWS-DebianDefaultPatchBaseline", of("db", patch.Debian))
	_, err := w.RegisterDefaultPatchBaseline(t.Context(), patchstore.BaselineRequest{BaselineID: two})
	require.NoError(t, err)
	require.Equal(t, two, of("db", patch.Debian))
	d, err := w.GetDefaultPatchBaseline(t.Context(), patchstore.DefaultRequest{OperatingSystem: patch.Debian})
	require.NoError(t, err)
	require.Equal(t, two, d.BaselineID)
	d, err = w.GetDefaultPatchBaseline(t.Context(), patchstore.DefaultRequest{})
	require.NoError(t, err)
	require.Equal(t, patchstore.DefaultResult{BaselineID: "AWS-DefaultPatchBaseline", OperatingSystem: patch.Windows}, d)

	for id, code := range map[string]fault.Code{one: fault.ResourceInUse, two: fault.ResourceInUse, "AWS-DebianDefaultPatchBaseline": fault.InvalidResourceID} {
		_, err := w.DeletePatchBaseline(t.Context(), patchstore.BaselineRequest{BaselineID: id})
		require.Equal(t, code, fault.CodeOf(err), id)
	}
	groups, err := w.DescribePatchGroups(t.Context(), patchstore.ListRequest{})
	require.NoError(t, err)
	require.Len(t, groups.Mappings, 2)
	groups, err = w.DescribePatchGroups(t.Context(), patchstore.ListRequest{Filters: []patchstore.Filter{{Key: "OPERATING_SYSTEM", Values: []string{"DEBIAN"}}, {Key: "NAME_PREFIX", Values: []string{"w"}}}})
	require.NoError(t, err)
	require.Equal(t, one, groups.Mappings[0].BaselineIdentity.BaselineID)
	_, err = w.DeregisterPatchBaselineForPatchGroup(t.Context(), patchstore.GroupRequest{BaselineID: one, PatchGroup: "web"})
	require.NoError(t, err)
	_, err = w.DeletePatchBaseline(t.Context(), patchstore.BaselineRequest{BaselineID: one})
	require.NoError(t, err)
	_, err = w.DeletePatchBaseline(t.Context(), patchstore.BaselineRequest{BaselineID: one})
	require.NoError(t, err, "as on AWS")
	require.Equal(t, red, of("web", patch.RedHat))
	require.Equal(t, two, of("web", patch.Debian))
	_, err = w.RegisterDefaultPatchBaseline(t.Context(), patchstore.BaselineRequest{BaselineID: "AWS-DebianDefaultPatchBaseline"})
	require.NoError(t, err)
	require.Equal(t, "AWS-DebianDefaultPatchBaseline", of("web", patch.Debian))
}

func TestQuotas(t *testing.T) {
	w := newWorld(t, func(c *patchstore.Config) { c.Baselines, c.Groups = 2, 1 })
	id := w.create(debian("one"))
	w.create(debian("two"))
	_, err := w.CreatePatchBaseline(t.Context(), patchstore.CreatePatchBaselineRequest{Baseline: debian("three")})
	require.Equal(t, fault.ResourceLimitExceeded, fault.CodeOf(err))
	_, err = w.RegisterPatchBaselineForPatchGroup(t.Context(), patchstore.GroupRequest{BaselineID: id, PatchGroup: "a"})
	require.NoError(t, err)
	_, err = w.RegisterPatchBaselineForPatchGroup(t.Context(), patchstore.GroupRequest{BaselineID: id, PatchGroup: "b"})
	require.Equal(t, fault.ResourceLimitExceeded, fault.CodeOf(err))
}

func TestListsOfBaselinesPageAndHide(t *testing.T) {
	w := newWorld(t, nil)
	mine := w.create(debian("web"))
	var ids []string
	req := patchstore.ListRequest{MaxResults: 4}
	for {
		r, err := w.DescribePatchBaselines(t.Context(), req)
		require.NoError(t, err)
		for _, b := range r.BaselineIdentities {
			ids = append(ids, b.BaselineID)
		}
		if req.NextToken = r.NextToken; req.NextToken == "" {
			break
		}
	}
	require.Len(t, ids, 1+len(patch.Predefined()))
	require.True(t, slices.IsSorted(ids))
	_, err := w.DescribePatchBaselines(t.Context(), patchstore.ListRequest{NextToken: "x"})
	require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err))
	_, err = w.DescribePatchBaselines(t.Context(), patchstore.ListRequest{Filters: []patchstore.Filter{{Key: "COLOUR", Values: []string{"x"}}}})
	require.Equal(t, fault.InvalidFilter, fault.CodeOf(err))
	w.hidden["patchbaseline/"+mine] = true
	r, err := w.DescribePatchBaselines(t.Context(), patchstore.ListRequest{Filters: []patchstore.Filter{{Key: "OWNER", Values: []string{"Self"}}}})
	require.NoError(t, err)
	require.Empty(t, r.BaselineIdentities)
	_, err = w.GetPatchBaseline(t.Context(), patchstore.BaselineRequest{BaselineID: mine})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	other := access.With(t.Context(), access.Principal{Tenant: "other"})
	delete(w.hidden, "patchbaseline/"+mine)
	_, err = w.GetPatchBaseline(other, patchstore.BaselineRequest{BaselineID: mine})
	require.Equal(t, fault.DoesNotExist, fault.CodeOf(err))
}

func TestTagsOfBaselines(t *testing.T) {
	w := newWorld(t, nil)
	id := w.create(debian("web"))
	req := patchstore.TagsRequest{ResourceType: "PatchBaseline", ResourceID: id, Tags: []patchstore.Tag{{Key: "Team", Value: "a"}}}
	require.NoError(t, w.AddTagsToResource(t.Context(), req))
	tags, err := w.ListTagsForResource(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, []patchstore.Tag{{Key: "Team", Value: "a"}}, tags)
	req.TagKeys = []string{"Team"}
	require.NoError(t, w.RemoveTagsFromResource(t.Context(), req))
	tags, err = w.ListTagsForResource(t.Context(), req)
	require.NoError(t, err)
	require.Empty(t, tags)
	req.ResourceID = "AWS-DebianDefaultPatchBaseline"
	require.Equal(t, fault.InvalidResourceID, fault.CodeOf(w.AddTagsToResource(t.Context(), req)))
	req.ResourceType = "Bucket"
	require.Equal(t, fault.InvalidResourceType, fault.CodeOf(w.AddTagsToResource(t.Context(), req)))
}

func TestB25_ASnapshotFreezesTheBaseline(t *testing.T) {
	const id = "9a2cba1d-4b1e-4b0a-8f2e-0123456789ab"
	w := newWorld(t, nil)
	w.nodes[node(1)], w.nodes[node(2)], w.nodes[node(3)] = map[string]string{"Patch Group": "web"}, map[string]string{"PatchGroup": "web"}, nil
	base := w.create(debian("web"))
	_, err := w.RegisterPatchBaselineForPatchGroup(t.Context(), patchstore.GroupRequest{BaselineID: base, PatchGroup: "web"})
	require.NoError(t, err)
	get := func(n int, id string) patch.Snapshot {
		s, err := w.Snapshot(t.Context(), "default", node(n), patch.Request{SnapshotID: id, OperatingSystem: patch.Debian})
		require.NoError(t, err)
		return s
	}
	first := get(1, id)
	require.Equal(t, base, first.Baseline.ID)
	require.Equal(t, "web", first.Group)
	var req patchstore.UpdatePatchBaselineRequest
	require.NoError(t, json.Unmarshal([]byte(`{"BaselineId":"`+base+`","RejectedPatches":["telnet"]}`), &req))
	_, err = w.UpdatePatchBaseline(t.Context(), req)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(first, get(2, strings.ToUpper(id)[:8]+id[8:])), "the same operation on another node of the group")
	require.Equal(t, []string{"telnet"}, get(1, "").Baseline.RejectedPatches, "without an id each asks for itself")
	require.Equal(t, "AWS-DebianDefaultPatchBaseline", get(3, id).Baseline.ID, "another group is another snapshot")
	w.now = dawn.Add(73 * time.Hour)
	require.Equal(t, []string{"telnet"}, get(1, id).Baseline.RejectedPatches, "three days later the content is gone")
	n, err := w.Sweep(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	for what, c := range map[string]struct {
		node string
		req  patch.Request
		code fault.Code
	}{
		"no node":   {node(9), patch.Request{OperatingSystem: patch.Debian}, fault.InvalidInstanceID},
		"no system": {node(1), patch.Request{OperatingSystem: "BEOS"}, fault.UnsupportedOperatingSystem},
		"no uuid":   {node(1), patch.Request{SnapshotID: "../x", OperatingSystem: patch.Debian}, fault.Validation},
	} {
		_, err := w.Snapshot(t.Context(), "default", c.node, c.req)
		require.Equal(t, c.code, fault.CodeOf(err), what)
	}
}

func report(op patch.Operation, end time.Time, group string, counts patch.Counts, patches ...patch.Patch) patch.Report {
	return patch.Report{Operation: op, BaselineID: "pb-1", PatchGroup: group, OperatingSystem: patch.Debian, Product: "Debian12", Started: end.Add(-time.Minute), Ended: end, Compliance: patch.Compliant, Counts: counts, Patches: patches}
}

func TestB20_B21_StatesOfNodesAndGroups(t *testing.T) {
	w := newWorld(t, nil)
	for i := 1; i <= 4; i++ {
		w.nodes[node(i)] = map[string]string{"Patch Group": "web"}
	}
	ctx := t.Context()
	put := func(n int, r patch.Report) { require.NoError(t, w.Report(ctx, "default", node(n), r)) }
	openssl := patch.Patch{Key: patch.Key{Name: "openssl", Arch: "amd64"}, State: patch.StateMissing, Compliance: patch.NonCompliant, Installed: "3.0.11", Wanted: "3.0.15", Classification: "Security", Severity: "Important", CVEs: []string{"CVE-1", "CVE-2"}}
	vim := patch.Patch{Key: patch.Key{Name: "vim", Arch: "amd64"}, State: patch.StateInstalledOther, Installed: "9.0", InstalledAt: dawn}
	put(1, report(patch.Scan, dawn, "web", patch.Counts{Missing: 1, InstalledOther: 1, CriticalNonCompliant: 1}, openssl, vim))
	put(2, report(patch.Scan, dawn, "web", patch.Counts{Installed: 5}))
	put(3, report(patch.Scan, dawn, "db", patch.Counts{Missing: 2}))

	g, err := w.DescribePatchGroupState(ctx, patchstore.GroupStateRequest{PatchGroup: "web"})
	require.NoError(t, err)
	require.Equal(t, patchstore.GroupState{Instances: 4, InstancesWithInstalledPatches: 1, InstancesWithInstalledOtherPatches: 1, InstancesWithMissingPatches: 1, InstancesWithCriticalNonCompliantPatches: 1}, g)
	l, err := w.DescribeInstancePatchStatesForPatchGroup(ctx, patchstore.StatesForGroupRequest{PatchGroup: "web", Filters: []patchstore.StateFilter{{Key: "MissingCount", Values: []string{"0"}, Type: "GreaterThan"}}})
	require.NoError(t, err)
	require.Len(t, l.InstancePatchStates, 1)
	require.Equal(t, node(1), l.InstancePatchStates[0].InstanceID)
	for _, f := range []patchstore.StateFilter{{Key: "X", Values: []string{"0"}, Type: "Equal"}, {Key: "MissingCount", Values: []string{"x"}, Type: "Equal"}, {Key: "MissingCount", Values: []string{"0"}, Type: "Near"}, {Key: "MissingCount", Type: "Equal"}} {
		_, err := w.DescribeInstancePatchStatesForPatchGroup(ctx, patchstore.StatesForGroupRequest{PatchGroup: "web", Filters: []patchstore.StateFilter{f}})
		require.Equal(t, fault.InvalidFilter, fault.CodeOf(err), "%v", f)
	}

	p, err := w.DescribeInstancePatches(ctx, patchstore.PatchesRequest{InstanceID: node(1)})
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]patchstore.PatchComplianceData{
		{Title: "openssl.amd64:3.0.15", KBID: "openssl.amd64", Classification: "Security", Severity: "Important", State: "MISSING", CVEIDs: "CVE-1,CVE-2"},
		{Title: "vim.amd64:9.0", KBID: "vim.amd64", State: "INSTALLED_OTHER", InstalledTime: dawn},
	}, p.Patches))
	for _, state := range []string{"Missing", "MISSING"} {
		p, err = w.DescribeInstancePatches(ctx, patchstore.PatchesRequest{InstanceID: node(1), Filters: []patchstore.Filter{{Key: "State", Values: []string{state}}, {Key: "Severity", Values: []string{"important"}}}})
		require.NoError(t, err)
		require.Len(t, p.Patches, 1)
	}

	// The next operation replaces all, and a late report nothing (B21).
	openssl.State, openssl.Installed, openssl.Wanted = patch.StateInstalledPendingReboot, "3.0.15", ""
	r := report(patch.Install, dawn.Add(time.Hour), "web", patch.Counts{InstalledPendingReboot: 1}, openssl)
	r.RebootOption, r.LastNoReboot = patch.NoReboot, r.Ended
	put(1, r)
	put(1, r)
	put(1, report(patch.Scan, dawn.Add(30*time.Minute), "web", patch.Counts{Missing: 9}))
	s, err := w.DescribeInstancePatchStates(ctx, patchstore.StatesRequest{InstanceIDs: []string{node(1), node(2), node(4)}})
	require.NoError(t, err)
	require.Len(t, s.InstancePatchStates, 2, "node 4 has reported nothing")
	require.Equal(t, 1, s.InstancePatchStates[0].InstalledPendingRebootCount)
	require.Equal(t, patch.NoReboot, s.InstancePatchStates[0].RebootOption)
	p, err = w.DescribeInstancePatches(ctx, patchstore.PatchesRequest{InstanceID: node(1)})
	require.NoError(t, err)
	require.Len(t, p.Patches, 1)
	put(1, report(patch.Scan, dawn.Add(2*time.Hour), "db", patch.Counts{Installed: 1}))
	s, err = w.DescribeInstancePatchStates(ctx, patchstore.StatesRequest{InstanceIDs: []string{node(1)}})
	require.NoError(t, err)
	require.Equal(t, dawn.Add(time.Hour), s.InstancePatchStates[0].LastNoRebootInstallOperationTime, "remembered over scans")
	l, err = w.DescribeInstancePatchStatesForPatchGroup(ctx, patchstore.StatesForGroupRequest{PatchGroup: "web"})
	require.NoError(t, err)
	require.Len(t, l.InstancePatchStates, 1, "node 1 is in another group now")

	h, err := w.History(ctx, node(1), time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Len(t, h, 4)
	require.Equal(t, "db", h[0].PatchGroup)

	// B27: what a BaselineOverride found is not what is recorded.
	o := report(patch.Scan, dawn.Add(3*time.Hour), "db", patch.Counts{Missing: 7})
	o.Override = true
	put(1, o)
	s, err = w.DescribeInstancePatchStates(ctx, patchstore.StatesRequest{InstanceIDs: []string{node(1)}})
	require.NoError(t, err)
	require.Equal(t, 0, s.InstancePatchStates[0].MissingCount)

	// Who may not see a node sees nothing of it.
	w.hidden["node/"+node(1)] = true
	_, err = w.DescribeInstancePatches(ctx, patchstore.PatchesRequest{InstanceID: node(1)})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = w.History(ctx, node(1), time.Time{}, time.Time{})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	l, err = w.DescribeInstancePatchStatesForPatchGroup(ctx, patchstore.StatesForGroupRequest{PatchGroup: "db"})
	require.NoError(t, err)
	require.Len(t, l.InstancePatchStates, 1)
	delete(w.hidden, "node/"+node(1))

	require.NoError(t, w.Remove(ctx, "default", node(1)))
	s, err = w.DescribeInstancePatchStates(ctx, patchstore.StatesRequest{InstanceIDs: []string{node(1)}})
	require.NoError(t, err)
	require.Empty(t, s.InstancePatchStates)
}

func TestBadReportsAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	w.nodes[node(1)] = nil
	for what, edit := range map[string]func(*patch.Report){
		"no operation": func(r *patch.Report) { r.Operation = "Dance" }, "no time": func(r *patch.Report) { r.Ended = time.Time{} }, "backwards": func(r *patch.Report) { r.Ended = r.Started.Add(-1) },
		"no system": func(r *patch.Report) { r.OperatingSystem = "" }, "bad snapshot": func(r *patch.Report) { r.SnapshotID = "x" }, "bad group": func(r *patch.Report) { r.PatchGroup = "\n" },
		"nameless": func(r *patch.Report) { r.Patches = []patch.Patch{{}} }, "long": func(r *patch.Report) { r.Product = strings.Repeat("x", 300) },
		"year": func(r *patch.Report) { r.Started = time.Unix(0, 0); r.Ended = r.Started },
	} {
		r := report(patch.Scan, dawn, "", patch.Counts{})
		edit(&r)
		require.Equal(t, fault.Validation, fault.CodeOf(w.Report(t.Context(), "default", node(1), r)), what)
	}
	require.Equal(t, fault.InvalidInstanceID, fault.CodeOf(w.Report(t.Context(), "default", node(2), report(patch.Scan, dawn, "", patch.Counts{}))))
	require.Equal(t, fault.InvalidInstanceID, fault.CodeOf(w.Report(t.Context(), "default", "x", report(patch.Scan, dawn, "", patch.Counts{}))))
}

func TestSnapshotsForOperators(t *testing.T) {
	const id = "9a2cba1d-4b1e-4b0a-8f2e-0123456789ab"
	w := newWorld(t, nil)
	w.nodes[node(1)] = nil
	_, err := w.GetDeployablePatchSnapshotForInstance(t.Context(), patchstore.SnapshotRequest{InstanceID: node(1), SnapshotID: id})
	require.Equal(t, fault.UnsupportedOperatingSystem, fault.CodeOf(err))
	require.NoError(t, w.Report(t.Context(), "default", node(1), report(patch.Scan, dawn, "", patch.Counts{})))
	read := func(req patchstore.SnapshotRequest) (s patch.Snapshot) {
		r, err := w.GetDeployablePatchSnapshotForInstance(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, "Debian12", r.Product)
		b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.SnapshotDownloadURL, "data:application/json;base64,"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &s))
		return s
	}
	require.Equal(t, "AWS-DebianDefaultPatchBaseline", read(patchstore.SnapshotRequest{InstanceID: node(1), SnapshotID: id}).Baseline.Name)
	require.Equal(t, "mine", read(patchstore.SnapshotRequest{InstanceID: node(1), SnapshotID: id, BaselineOverride: json.RawMessage(`{"Name":"mine","OperatingSystem":"DEBIAN"}`)}).Baseline.Name)
	_, err = w.GetDeployablePatchSnapshotForInstance(t.Context(), patchstore.SnapshotRequest{InstanceID: node(1), SnapshotID: id, BaselineOverride: json.RawMessage(`{"Name":"mine","OperatingSystem":"UBUNTU"}`)})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

type catalog []patch.Available

func (c catalog) Available(context.Context, string, patch.OperatingSystem) ([]patch.Available, error) {
	return c, nil
}

func TestB9_EffectivePatches(t *testing.T) {
	notice := func(id, kind string, at time.Time) []*patch.Advisory {
		return []*patch.Advisory{{ID: id, Type: kind, Severity: "Important", Updated: at, CVEs: []string{"CVE-" + id}}}
	}
	w := newWorld(t, func(c *patchstore.Config) {
		c.Catalog = catalog{
			{Name: "old", Arch: "x86_64", Version: "1-1", Advisories: notice("A1", "Security", dawn.AddDate(0, 0, -30))},
			{Name: "new", Arch: "x86_64", Version: "2:1-1", Advisories: notice("A2", "Security", dawn.AddDate(0, 0, -1))},
			{Name: "listed", Arch: "x86_64", Version: "1-1", Advisories: notice("A3", "Enhancement", dawn)},
			{Name: "rejected", Arch: "x86_64", Version: "1-1", Advisories: notice("A4", "Security", dawn.AddDate(0, 0, -30))},
			{Name: "other", Arch: "x86_64", Version: "1-1", Advisories: notice("A5", "Enhancement", dawn)},
		}
	})
	id := w.create(patch.Baseline{Name: "red", OperatingSystem: patch.RedHat, ApprovedPatches: []string{"listed-1-1.x86_64"}, RejectedPatches: []string{"rejected-1-1.x86_64"}, ApprovedComplianceLevel: patch.LevelHigh,
		Rules: []patch.PatchRule{{Filters: patch.FilterGroup{{Key: patch.KeyClassification, Values: []string{"Security"}}}, ApproveAfterDays: days(7)}}})
	r, err := w.DescribeEffectivePatchesForPatchBaseline(t.Context(), patchstore.EffectiveRequest{BaselineID: id})
	require.NoError(t, err)
	got := map[string]string{}
	for _, e := range r.EffectivePatches {
		got[e.Patch.Name] = e.PatchStatus.DeploymentStatus
	}
	require.Equal(t, map[string]string{"old": "APPROVED", "new": "PENDING_APPROVAL", "listed": "EXPLICIT_APPROVED", "rejected": "EXPLICIT_REJECTED"}, got)
	a, err := w.DescribeAvailablePatches(t.Context(), patchstore.ListRequest{Filters: []patchstore.Filter{{Key: "OPERATING_SYSTEM", Values: []string{"REDHAT_ENTERPRISE_LINUX"}}, {Key: "CVE_ID", Values: []string{"CVE-A2"}}}})
	require.NoError(t, err)
	require.Len(t, a.Patches, 1)
	require.Equal(t, 2, a.Patches[0].Epoch)
	require.Equal(t, "1", a.Patches[0].Version)
}

func TestPatchProperties(t *testing.T) {
	w := newWorld(t, nil)
	r, err := w.DescribePatchProperties(t.Context(), patchstore.PropertiesRequest{OperatingSystem: patch.Debian, Property: patch.PropertyPriority})
	require.NoError(t, err)
	require.Contains(t, r.Properties, map[string]string{"Name": "Optional"})
	_, err = w.DescribePatchProperties(t.Context(), patchstore.PropertiesRequest{OperatingSystem: patch.Debian, Property: "COLOUR"})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

func TestCallsAreRecorded(t *testing.T) {
	w := newWorld(t, nil)
	w.create(debian("web"))
	w.hidden["ssm:CreatePatchBaseline"] = true
	_, err := w.CreatePatchBaseline(t.Context(), patchstore.CreatePatchBaselineRequest{Baseline: debian("x")})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	require.NoError(t, w.log.Flush(t.Context()))
	es, _, err := w.log.List(t.Context(), audit.Filter{Action: "ssm:CreatePatchBaseline"}, nil)
	require.NoError(t, err)
	require.Len(t, es, 2)
}
