package compliance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/record"
)

var dawn = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func node(n int) string { return fmt.Sprintf("mi-%017x", n) }

// world is a service with a clock that the test moves.
type world struct {
	*compliance.Service
	t     require.TestingT
	store store.Store
	log   *audit.Log
	now   time.Time
}

type hide map[string]bool

func (h hide) Authorize(_ context.Context, _ access.Principal, action, resource string, _ map[string]string) error {
	if h[action+" "+resource] || h[resource] {
		return errors.New("hidden")
	}
	return nil
}

type registry map[string]map[string]string

func (r registry) Registered(_ context.Context, _, id string) (map[string]string, bool, error) {
	tags, ok := r[id]
	return tags, ok, nil
}

func newWorld(t require.TestingT, edit func(*compliance.Config)) *world {
	w := &world{t: t, store: memstore.New(), now: dawn}
	w.log = audit.New(audit.Config{Store: w.store, Authorize: access.AllowAll{}, Now: func() time.Time { return w.now }})
	cfg := compliance.Config{Store: w.store, Authorizer: access.AllowAll{}, Audit: w.log, Now: func() time.Time { return w.now }}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	w.Service, err = compliance.New(cfg)
	require.NoError(t, err)
	return w
}

// items reads "id=SEVERITY" for items that are not compliant, "id+SEVERITY" for ones that are.
func items(words ...string) []compliance.ItemEntry {
	out := []compliance.ItemEntry{}
	for _, w := range words {
		status := compliance.NonCompliant
		id, severity, ok := strings.Cut(w, "=")
		if !ok {
			status = compliance.Compliant
			id, severity, _ = strings.Cut(w, "+")
		}
		out = append(out, compliance.ItemEntry{ID: id, Severity: severity, Status: status, Title: "title of " + id})
	}
	return out
}

func request(n int, kind string, at time.Time, list []compliance.ItemEntry) compliance.PutComplianceItemsRequest {
	return compliance.PutComplianceItemsRequest{ResourceID: node(n), ResourceType: "ManagedInstance", ComplianceType: kind, ExecutionSummary: compliance.ExecutionSummary{ExecutionTime: at}, Items: list}
}

func (w *world) put(n int, kind string, words ...string) {
	w.now = w.now.Add(time.Minute)
	_, err := w.PutComplianceItems(context.Background(), request(n, kind, w.now, items(words...)))
	require.NoError(w.t, err)
}

func (w *world) list(n int, filters ...compliance.Filter) []string {
	var out []string
	req := compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(n)}, Filters: filters, MaxResults: 2}
	for {
		r, err := w.ListComplianceItems(context.Background(), req)
		require.NoError(w.t, err)
		for _, it := range r.ComplianceItems {
			sign := "="
			if it.Status == compliance.Compliant {
				sign = "+"
			}
			out = append(out, it.ComplianceType+" "+it.ID+sign+it.Severity)
		}
		if req.NextToken = r.NextToken; req.NextToken == "" {
			return out
		}
	}
}

func TestC2CompleteReplacesTheTypeAndNothingElse(t *testing.T) {
	w := newWorld(t, nil)
	w.put(1, "Patch", "kb1=HIGH", "kb2+LOW", "kb3+LOW")
	w.put(1, "Custom:Backup", "nightly=CRITICAL")
	w.put(2, "Patch", "kb9=LOW")
	w.put(1, "Patch", "kb3=MEDIUM", "kb2+LOW")
	require.Equal(t, []string{"Custom:Backup nightly=CRITICAL", "Patch kb2+LOW", "Patch kb3=MEDIUM"}, w.list(1))
	require.Equal(t, []string{"Patch kb9=LOW"}, w.list(2))
	w.put(1, "Patch")
	require.Equal(t, []string{"Custom:Backup nightly=CRITICAL"}, w.list(1), "an empty report clears the type")
}

func TestC2PartialReplacesOneExecution(t *testing.T) {
	w := newWorld(t, nil)
	partial := func(id string, words ...string) {
		w.now = w.now.Add(time.Minute)
		req := request(1, "Association", w.now, items(words...))
		req.UploadType, req.ExecutionSummary.ExecutionID = "PARTIAL", id
		_, err := w.PutComplianceItems(t.Context(), req)
		require.NoError(t, err)
	}
	partial("run-1", "a1+LOW", "a2=HIGH")
	partial("run-2", "b1+LOW")
	partial("run-1", "a2+HIGH")
	require.Equal(t, []string{"Association a2+HIGH", "Association b1+LOW"}, w.list(1))
	partial("run-3", "b1=CRITICAL")
	require.Equal(t, []string{"Association a2+HIGH", "Association b1=CRITICAL"}, w.list(1), "an id stands once, with the newest execution")
	r, err := w.ListComplianceItems(t.Context(), compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(1)}})
	require.NoError(t, err)
	for _, it := range r.ComplianceItems { // C4
		require.Equal(t, w.now, it.ExecutionSummary.ExecutionTime, it.ID)
	}
	require.Equal(t, "run-1", r.ComplianceItems[0].ExecutionSummary.ExecutionID)
}

func TestC2EqualHashChangesOnlyTheTime(t *testing.T) {
	w := newWorld(t, nil)
	req := request(1, "Patch", dawn, items("kb1=HIGH"))
	req.ItemContentHash = "h1"
	_, err := w.PutComplianceItems(t.Context(), req)
	require.NoError(t, err)
	req.ExecutionSummary.ExecutionTime, req.Items = dawn.Add(time.Hour), items()
	_, err = w.PutComplianceItems(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, []string{"Patch kb1=HIGH"}, w.list(1), "the items were not looked at")
	r, err := w.ListResourceComplianceSummaries(t.Context(), compliance.ListRequest{})
	require.NoError(t, err)
	require.Equal(t, dawn.Add(time.Hour), r.ResourceComplianceSummaryItems[0].ExecutionSummary.ExecutionTime)
	was, err := w.At(t.Context(), node(1), "Patch", dawn.Add(24*time.Hour))
	require.NoError(t, err)
	require.Equal(t, 2, was.Checks, "the check is in the history")
}

func TestAnOlderReportChangesNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.put(1, "Patch", "kb1+LOW")
	_, err := w.PutComplianceItems(t.Context(), request(1, "Patch", dawn.Add(-time.Hour), items("kb1=CRITICAL")))
	require.NoError(t, err)
	require.Equal(t, []string{"Patch kb1+LOW"}, w.list(1))
	n, err := w.Verify(t.Context(), node(1), "Patch")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func TestC3Summaries(t *testing.T) {
	w := newWorld(t, nil)
	w.put(1, "Patch", "a=HIGH", "b=LOW", "c+CRITICAL", "d+UNSPECIFIED")
	w.put(2, "Patch", "a+MEDIUM", "b+INFORMATIONAL")
	w.put(3, "Patch")
	w.put(2, "Custom:X", "x=CRITICAL")
	got, err := w.ListResourceComplianceSummaries(t.Context(), compliance.ListRequest{Filters: []compliance.Filter{{Key: "ComplianceType", Values: []string{"Patch"}}}})
	require.NoError(t, err)
	one := got.ResourceComplianceSummaryItems[0]
	require.Empty(t, cmp.Diff(compliance.ResourceSummaryItem{ComplianceType: "Patch", ResourceType: "ManagedInstance", ResourceID: node(1), Status: "NON_COMPLIANT", OverallSeverity: "HIGH",
		ExecutionSummary:    one.ExecutionSummary,
		CompliantSummary:    compliance.CompliantSummary{CompliantCount: 2, SeveritySummary: compliance.SeveritySummary{CriticalCount: 1, UnspecifiedCount: 1}},
		NonCompliantSummary: compliance.NonCompliantSummary{NonCompliantCount: 2, SeveritySummary: compliance.SeveritySummary{HighCount: 1, LowCount: 1}}}, one))
	require.Len(t, got.ResourceComplianceSummaryItems, 3)
	require.Equal(t, "COMPLIANT", got.ResourceComplianceSummaryItems[2].Status, "nothing to complain of")
	sums, err := w.ListComplianceSummaries(t.Context(), compliance.ListRequest{})
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]compliance.SummaryItem{
		{ComplianceType: "Custom:X", NonCompliantSummary: compliance.NonCompliantSummary{NonCompliantCount: 1, SeveritySummary: compliance.SeveritySummary{CriticalCount: 1}}},
		{ComplianceType: "Patch", CompliantSummary: compliance.CompliantSummary{CompliantCount: 2, SeveritySummary: compliance.SeveritySummary{MediumCount: 1, UnspecifiedCount: 1}},
			NonCompliantSummary: compliance.NonCompliantSummary{NonCompliantCount: 1, SeveritySummary: compliance.SeveritySummary{HighCount: 1}}},
	}, sums.ComplianceSummaryItems))
	page, err := w.ListComplianceSummaries(t.Context(), compliance.ListRequest{MaxResults: 1})
	require.NoError(t, err)
	require.NotEmpty(t, page.NextToken)
	page, err = w.ListComplianceSummaries(t.Context(), compliance.ListRequest{MaxResults: 1, NextToken: page.NextToken})
	require.NoError(t, err)
	require.Equal(t, "Patch", page.ComplianceSummaryItems[0].ComplianceType)
	require.Empty(t, page.NextToken)
}

func TestC3Filters(t *testing.T) {
	w := newWorld(t, nil)
	w.put(1, "Patch", "kb1=HIGH", "kb2+LOW", "zz+CRITICAL")
	w.put(1, "Custom:Backup", "kb1+MEDIUM")
	for _, c := range []struct {
		filters []compliance.Filter
		want    string
	}{
		{[]compliance.Filter{{Key: "ComplianceType", Values: []string{"Patch"}}}, "kb1 kb2 zz"},
		{[]compliance.Filter{{Key: "ComplianceType", Values: []string{"Patch"}, Type: "NOT_EQUAL"}}, "kb1"},
		{[]compliance.Filter{{Key: "ComplianceType", Values: []string{"Custom:"}, Type: "BEGIN_WITH"}}, "kb1"},
		{[]compliance.Filter{{Key: "Status", Values: []string{"COMPLIANT"}}, {Key: "Id", Values: []string{"kb"}, Type: "BEGIN_WITH"}}, "kb1 kb2"},
		{[]compliance.Filter{{Key: "Severity", Values: []string{"MEDIUM"}, Type: "GREATER_THAN"}}, "kb1 zz"},
		{[]compliance.Filter{{Key: "Severity", Values: []string{"MEDIUM"}, Type: "LESS_THAN"}}, "kb2"},
		{[]compliance.Filter{{Key: "Severity", Values: []string{"LOW", "HIGH"}}}, "kb1 kb2"},
		{[]compliance.Filter{{Key: "ExecutionTime", Values: []string{dawn.Add(90 * time.Second).Format(time.RFC3339)}, Type: "GREATER_THAN"}}, "kb1"},
		{[]compliance.Filter{{Key: "Title", Values: []string{"title of zz"}}}, "zz"},
		{[]compliance.Filter{{Key: "ResourceId", Values: []string{node(2)}}}, ""},
	} {
		var got []string
		for _, s := range w.list(1, c.filters...) {
			id, _, _ := strings.Cut(strings.TrimSuffix(strings.Fields(s)[1], ""), "=")
			id, _, _ = strings.Cut(id, "+")
			got = append(got, id)
		}
		require.Equal(t, c.want, strings.Join(got, " "), "%v", c.filters)
	}
	for what, f := range map[string]compliance.Filter{
		"unknown key":     {Key: "Colour", Values: []string{"x"}},
		"no values":       {Key: "Status"},
		"unknown type":    {Key: "Status", Values: []string{"COMPLIANT"}, Type: "ALMOST"},
		"no order":        {Key: "Status", Values: []string{"COMPLIANT"}, Type: "LESS_THAN"},
		"no time":         {Key: "ExecutionTime", Values: []string{"yesterday"}},
		"no severity":     {Key: "Severity", Values: []string{"BAD"}},
		"too many values": {Key: "Id", Values: make([]string, 21)},
	} {
		_, err := w.ListComplianceItems(t.Context(), compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(1)}, Filters: []compliance.Filter{f}})
		require.Equal(t, fault.InvalidFilter, fault.CodeOf(err), what)
	}
	_, err := w.ListComplianceSummaries(t.Context(), compliance.ListRequest{Filters: []compliance.Filter{{Key: "Title", Values: []string{"x"}}}})
	require.Equal(t, fault.InvalidFilter, fault.CodeOf(err))
}

func TestC1C2BadReportsAreRefusedWhole(t *testing.T) {
	w := newWorld(t, func(c *compliance.Config) {
		c.Limits = compliance.Limits{Items: 3, CustomTypes: 2, ItemBytes: 1000, TotalBytes: 1500}
	})
	w.put(1, "Patch", "kb1+LOW")
	w.put(1, "Custom:A", "x+LOW")
	w.put(1, "Custom:B", "x+LOW")
	type req = compliance.PutComplianceItemsRequest
	long := strings.Repeat("x", 700)
	for what, c := range map[string]struct {
		edit func(*req)
		code fault.Code
	}{
		"no node":            {func(r *req) { r.ResourceID = "x" }, fault.InvalidResourceID},
		"another resource":   {func(r *req) { r.ResourceType = "Bucket" }, fault.InvalidResourceType},
		"no type":            {func(r *req) { r.ComplianceType = "" }, fault.Validation},
		"a bad type":         {func(r *req) { r.ComplianceType = "Custom:a b" }, fault.Validation},
		"no time":            {func(r *req) { r.ExecutionSummary.ExecutionTime = time.Time{} }, fault.Validation},
		"long execution":     {func(r *req) { r.ExecutionSummary.ExecutionID = long }, fault.Validation},
		"long exec. type":    {func(r *req) { r.ExecutionSummary.ExecutionType = long }, fault.Validation},
		"long hash":          {func(r *req) { r.ItemContentHash = long }, fault.Validation},
		"no items":           {func(r *req) { r.Items = nil }, fault.Validation},
		"bad upload":         {func(r *req) { r.UploadType = "SOME" }, fault.Validation},
		"partial patches":    {func(r *req) { r.UploadType = "PARTIAL" }, fault.Validation},
		"partial of nothing": {func(r *req) { r.UploadType, r.ComplianceType = "PARTIAL", "Custom:A" }, fault.Validation},
		"no id":              {func(r *req) { r.Items[1].ID = "" }, fault.InvalidItemContent},
		"long id":            {func(r *req) { r.Items[1].ID = long }, fault.InvalidItemContent},
		"twice":              {func(r *req) { r.Items[1].ID = "kb1" }, fault.InvalidItemContent},
		"bad severity":       {func(r *req) { r.Items[1].Severity = "high" }, fault.InvalidItemContent},
		"bad status":         {func(r *req) { r.Items[1].Status = "" }, fault.InvalidItemContent},
		"long title":         {func(r *req) { r.Items[1].Title = long }, fault.InvalidItemContent},
		"empty detail":       {func(r *req) { r.Items[1].Details = map[string]string{"": "x"} }, fault.InvalidItemContent},
		"large item":         {func(r *req) { r.Items[1].Details = map[string]string{"a": long, "b": long} }, fault.ItemSizeLimitExceeded},
		"large in all": {func(r *req) {
			r.Items[0].Details, r.Items[1].Details = map[string]string{"a": long}, map[string]string{"a": long}
			r.Items = append(r.Items, items("kb3+LOW")...)
		}, fault.TotalSizeLimitExceeded},
		"many":        {func(r *req) { r.Items = items("a+LOW", "b+LOW", "c+LOW", "d+LOW") }, fault.TotalSizeLimitExceeded},
		"a type more": {func(r *req) { r.ComplianceType = "Custom:C" }, fault.ComplianceTypeCountLimitExceeded},
	} {
		r := request(1, "Patch", dawn.Add(time.Hour), items("kb1=LOW", "kb2=LOW"))
		c.edit(&r)
		_, err := w.PutComplianceItems(t.Context(), r)
		require.Equal(t, c.code, fault.CodeOf(err), "%s: %v", what, err)
	}
	require.Equal(t, []string{"Custom:A x+LOW", "Custom:B x+LOW", "Patch kb1+LOW"}, w.list(1))
	_, err := w.PutComplianceItems(t.Context(), request(1, "Association", dawn.Add(time.Hour), items()))
	require.NoError(t, err, "AWS's own types do not count")
}

func TestListsRefuseBadRequests(t *testing.T) {
	w := newWorld(t, nil)
	w.put(1, "Patch", "a=LOW", "b=LOW")
	for what, c := range map[string]struct {
		req  compliance.ListComplianceItemsRequest
		code fault.Code
	}{
		"no node":       {compliance.ListComplianceItemsRequest{}, fault.InvalidResourceID},
		"two nodes":     {compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(1), node(2)}}, fault.InvalidResourceID},
		"bad node":      {compliance.ListComplianceItemsRequest{ResourceIDs: []string{"../x"}}, fault.InvalidResourceID},
		"bad type":      {compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(1)}, ResourceTypes: []string{"x"}}, fault.InvalidResourceType},
		"bad number":    {compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(1)}, MaxResults: 51}, fault.Validation},
		"bad token":     {compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(1)}, NextToken: "x"}, fault.InvalidNextToken},
		"other's token": {compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(2)}, NextToken: token(w)}, fault.InvalidNextToken},
	} {
		_, err := w.ListComplianceItems(t.Context(), c.req)
		require.Equal(t, c.code, fault.CodeOf(err), what)
	}
}

func token(w *world) string {
	r, err := w.ListComplianceItems(context.Background(), compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(1)}, MaxResults: 1})
	require.NoError(w.t, err)
	return r.NextToken
}

func TestWhoMayNotSeesNothing(t *testing.T) {
	hidden := hide{}
	w := newWorld(t, func(c *compliance.Config) {
		c.Authorizer, c.Nodes = hidden, registry{node(1): {"Role": "web"}, node(2): nil}
	})
	w.put(1, "Patch", "a=LOW")
	w.put(2, "Patch", "a=LOW")
	_, err := w.PutComplianceItems(t.Context(), request(3, "Patch", dawn, items()))
	require.Equal(t, fault.InvalidResourceID, fault.CodeOf(err), "no such node")
	hidden["node/"+node(1)] = true
	_, err = w.PutComplianceItems(t.Context(), request(1, "Patch", dawn.Add(time.Hour), items()))
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = w.ListComplianceItems(t.Context(), compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(1)}})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = w.At(t.Context(), node(1), "Patch", w.now)
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = w.History(t.Context(), node(1), "Patch", time.Time{}, time.Time{})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	r, err := w.ListResourceComplianceSummaries(t.Context(), compliance.ListRequest{})
	require.NoError(t, err)
	require.Len(t, r.ResourceComplianceSummaryItems, 1)
	s, err := w.ListComplianceSummaries(t.Context(), compliance.ListRequest{})
	require.NoError(t, err)
	require.Equal(t, 1, s.ComplianceSummaryItems[0].NonCompliantSummary.NonCompliantCount)
	hidden["node/"+node(2)], hidden["*"], hidden["node/*"] = true, true, true
	_, err = w.ListResourceComplianceSummaries(t.Context(), compliance.ListRequest{})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = w.ListComplianceSummaries(t.Context(), compliance.ListRequest{})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))

	// Another tenant has nothing.
	ctx := access.With(t.Context(), access.Principal{Tenant: "other"})
	maps.DeleteFunc(hidden, func(string, bool) bool { return true })
	l, err := w.ListComplianceItems(ctx, compliance.ListComplianceItemsRequest{ResourceIDs: []string{node(1)}})
	require.NoError(t, err)
	require.Empty(t, l.ComplianceItems)
	require.NoError(t, w.log.Flush(t.Context()))
	entries, _, err := w.log.List(t.Context(), audit.Filter{Action: "ssm:PutComplianceItems"}, nil)
	require.NoError(t, err)
	require.Len(t, entries, 4, "calls that were taken and calls that were refused")
}

func TestHistoryTellsWhatWasSoThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, nil)
		n := rapid.IntRange(1, 45).Draw(t, "reports")
		model := map[string]string{}
		was := make([]string, 0, n)
		show := func() string {
			var out []string
			for _, id := range slices.Sorted(maps.Keys(model)) {
				out = append(out, id+model[id])
			}
			return strings.Join(out, " ")
		}
		for range n {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				clear(model)
				fallthrough
			case 1, 2:
				id := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "id")
				model[id] = rapid.SampledFrom([]string{"=HIGH", "+HIGH", "+LOW"}).Draw(t, "state")
			}
			var words []string
			for id, s := range model {
				words = append(words, id+s)
			}
			w.put(1, "Custom:X", words...)
			was = append(was, show())
		}
		for i, want := range was {
			at := dawn.Add(time.Duration(i+1)*time.Minute + time.Second)
			r, err := w.At(context.Background(), node(1), "Custom:X", at)
			require.NoError(t, err)
			var got []string
			for _, it := range r.Items {
				sign := "="
				if it.Status == compliance.Compliant {
					sign = "+"
				}
				got = append(got, it.ID+sign+it.Severity)
			}
			require.Equal(t, want, strings.Join(got, " "), "report %d", i+1)
			require.EqualValues(t, i+1, r.Seq)
			require.Equal(t, strings.Contains(want, "="), r.Summary.Status == compliance.NonCompliant)
			since := i
			for since > 0 && was[since-1] == want {
				since--
			}
			require.Equal(t, dawn.Add(time.Duration(since+1)*time.Minute), r.Unchanged)
		}
		_, err := w.At(context.Background(), node(1), "Custom:X", dawn)
		require.Equal(t, fault.DoesNotExist, fault.CodeOf(err))
		h, err := w.History(context.Background(), node(1), "Custom:X", time.Time{}, time.Time{})
		require.NoError(t, err)
		require.Len(t, h, n)
		v, err := w.Verify(context.Background(), node(1), "Custom:X")
		require.NoError(t, err)
		require.Equal(t, n, v)

		// What is forgotten is gone, and the rest still tells the same.
		cut := rapid.IntRange(0, n).Draw(t, "cut")
		_, err = w.Forget(context.Background(), "default", node(1), dawn.Add(time.Duration(cut)*time.Minute))
		require.NoError(t, err)
		left, err := w.Verify(context.Background(), node(1), "Custom:X")
		require.NoError(t, err)
		require.GreaterOrEqual(t, left, n-cut)
		last, err := w.At(context.Background(), node(1), "Custom:X", w.now)
		require.NoError(t, err)
		require.EqualValues(t, n, last.Seq)
	})
}

func TestHistoryShowsTampering(t *testing.T) {
	build := func() (*world, [][]byte) {
		w := newWorld(t, nil)
		for i := range 40 {
			w.put(1, "Patch", "a=HIGH", fmt.Sprintf("b%d+LOW", i))
		}
		var keys [][]byte
		require.NoError(t, w.store.View(t.Context(), func(ctx context.Context, r store.Reader) error {
			keys = nil
			for it, err := range r.Scan(ctx, key.New("default").Str("compliance").Str("history").Str(node(1)).Str("Patch").Range()) {
				if err != nil {
					return err
				}
				keys = append(keys, slices.Clone(it.Key))
			}
			return nil
		}))
		require.Len(t, keys, 40)
		return w, keys
	}
	var codec *record.Codec
	for what, change := range map[string]func(ctx context.Context, tx store.Tx, keys [][]byte) error{
		"one is removed": func(_ context.Context, tx store.Tx, keys [][]byte) error { return tx.Delete(keys[17]) },
		"the first is":   func(_ context.Context, tx store.Tx, keys [][]byte) error { return tx.Delete(keys[0]) },
		"the last is":    func(_ context.Context, tx store.Tx, keys [][]byte) error { return tx.Delete(keys[39]) },
		"a status is changed": func(ctx context.Context, tx store.Tx, keys [][]byte) error {
			return edit(ctx, tx, codec, keys[9], "NON_COMPLIANT", "COMPLIANT")
		},
		"one stands twice": func(ctx context.Context, tx store.Tx, keys [][]byte) error {
			b, err := tx.Get(ctx, keys[3])
			if err != nil {
				return err
			}
			p, err := codec.Open(keys[3], b)
			if err != nil {
				return err
			}
			return tx.Put(keys[4], codec.Seal(keys[4], slices.Clone(p)))
		},
	} {
		w, keys := build()
		require.NoError(t, w.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return change(ctx, tx, keys) }))
		_, err := w.Verify(t.Context(), node(1), "Patch")
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), "%s: %v", what, err)
		require.ErrorContains(t, err, "of the history of type Patch on node "+node(1))
	}
}

func edit(ctx context.Context, tx store.Tx, codec *record.Codec, k []byte, from, to string) error {
	b, err := tx.Get(ctx, k)
	if err != nil {
		return err
	}
	p, err := codec.Open(k, b)
	if err != nil {
		return err
	}
	return tx.Put(k, codec.Seal(k, []byte(strings.Replace(string(p), from, to, 1))))
}

func TestALargeReportFits(t *testing.T) {
	if testing.Short() {
		t.Skip("not under -short: with the race detector beside other tests a transaction of this size may take longer than a store allows")
	}
	w := newWorld(t, nil)
	list := make([]compliance.ItemEntry, 10_000)
	for i := range list {
		list[i] = compliance.ItemEntry{ID: fmt.Sprintf("kb%05d", i), Severity: "LOW", Status: "COMPLIANT", Details: map[string]string{"State": strings.Repeat("x", 100)}}
	}
	_, err := w.PutComplianceItems(t.Context(), request(1, "Patch", dawn, list))
	require.NoError(t, err)
	was, err := w.At(t.Context(), node(1), "Patch", dawn)
	require.NoError(t, err)
	require.Len(t, was.Items, 10_000)
	w.put(1, "Patch", "a=HIGH")
	require.Equal(t, []string{"Patch a=HIGH"}, w.list(1), "chunks that are left over are gone")
	h, err := w.History(t.Context(), node(1), "Patch", time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, 10_000, h[1].Removed)
	require.NoError(t, w.Remove(t.Context(), "default", node(1)))
	require.NoError(t, w.store.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		for _, err := range r.Scan(ctx, key.New("default").Str("compliance").Range()) {
			require.NoError(t, err)
			t.Error("something of the node is left")
		}
		return nil
	}))
}

func TestNodesReportOfThemselves(t *testing.T) {
	w := newWorld(t, func(c *compliance.Config) { c.Nodes = registry{node(1): nil} })
	require.NoError(t, w.Report(t.Context(), "default", node(1), compliance.PutComplianceItemsRequest{ResourceID: node(2), ComplianceType: "Patch",
		ExecutionSummary: compliance.ExecutionSummary{ExecutionTime: dawn}, Items: items("a=LOW")}))
	require.Equal(t, []string{"Patch a=LOW"}, w.list(1), "whatever the request says, a node speaks for itself only")
	require.Empty(t, w.list(2))
	err := w.Report(t.Context(), "default", node(2), compliance.PutComplianceItemsRequest{})
	require.Equal(t, fault.InvalidResourceID, fault.CodeOf(err))
	types, err := w.Types(t.Context(), node(1))
	require.NoError(t, err)
	require.Equal(t, []string{"Patch"}, types)
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	_, err := compliance.New(compliance.Config{})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	_, err = compliance.New(compliance.Config{Store: memstore.New()})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

func TestAForgottenNodeIsInNoListAndKeepsItsHistory(t *testing.T) {
	w := newWorld(t, nil)
	w.put(1, "Patch", "a=HIGH")
	w.put(1, "Custom:X", "b=LOW")
	w.put(2, "Patch", "a=HIGH")
	require.NoError(t, w.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return w.ForgetNode(ctx, tx, "default", node(1)) }))
	require.Empty(t, w.list(1))
	r, err := w.ListResourceComplianceSummaries(t.Context(), compliance.ListRequest{})
	require.NoError(t, err)
	require.Len(t, r.ResourceComplianceSummaryItems, 1)
	was, err := w.At(t.Context(), node(1), "Patch", w.now)
	require.NoError(t, err)
	require.Equal(t, compliance.NonCompliant, was.Summary.Status)

	// Should it come back under its id, the history goes on.
	w.put(1, "Patch", "c+LOW")
	n, err := w.Verify(t.Context(), node(1), "Patch")
	require.NoError(t, err)
	require.Equal(t, 2, n)
	was, err = w.At(t.Context(), node(1), "Patch", w.now)
	require.NoError(t, err)
	require.Len(t, was.Items, 1)
}
