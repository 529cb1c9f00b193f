package compliance

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/paging"
)

const (
	mostResults = 50
	readAtOnce  = 2000 // heads that a list reads in one View
	mostFilters = 50
	mostValues  = 20
)

func (it *item) item(node, kind string) Item {
	return Item{ComplianceType: kind, ResourceType: ResourceType, ResourceID: node, ID: it.ID, Title: it.Title, Status: it.Status, Severity: it.Severity,
		ExecutionSummary: it.Execution, Details: maps.Clone(it.Details)}
}

// mayRead asks for the right to read of a node, with its tags. Absent and forbidden look alike to who may not.
func (s *Service) mayRead(ctx context.Context, op, action, node string) error {
	if err := checkNode(op, node); err != nil {
		return err
	}
	var tags map[string]string
	if s.cfg.Nodes != nil {
		var err error
		if tags, _, err = s.cfg.Nodes.Registered(ctx, access.Tenant(ctx), node); err != nil {
			return fault.Wrap(op, err)
		}
	}
	return fault.Wrap(op, access.Check(ctx, s.cfg.Authorizer, action, "node/"+node, tags))
}

// ListComplianceItems returns a page of the items of one node that the filters select, by type and then id. It needs ssm:ListComplianceItems on the node. Errors: InvalidResourceId,
// InvalidResourceType, InvalidFilter, InvalidNextToken, ValidationException. The ExecutionTime of an association item is that of the type's last report (C4).
func (s *Service) ListComplianceItems(ctx context.Context, req ListComplianceItemsRequest) (out ListComplianceItemsResult, err error) {
	const op, action = "compliance.ListComplianceItems", "ssm:ListComplianceItems"
	resource := "node/*"
	defer func() { s.audited(ctx, action, resource, err) }()
	if len(req.ResourceIDs) != 1 {
		return out, fault.New(op, fault.InvalidResourceID, "ResourceIds has %d ids; give the id of one node", len(req.ResourceIDs))
	}
	node := req.ResourceIDs[0]
	resource = "node/" + clip(node)
	if len(req.ResourceTypes) > 1 || len(req.ResourceTypes) == 1 && req.ResourceTypes[0] != ResourceType {
		return out, fault.New(op, fault.InvalidResourceType, "ResourceTypes must be %s, or left out", ResourceType)
	}
	limit, err := results(op, req.MaxResults)
	if err != nil {
		return out, err
	}
	if err := s.mayRead(ctx, op, action, node); err != nil {
		return out, err
	}
	want, err := newSelection(op, req.Filters, true)
	if err != nil {
		return out, err
	}
	tenant := access.Tenant(ctx)
	mark := paging.Mark(op, tenant, []any{want, node})
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	afterKind, afterID, _ := strings.Cut(after, "\x00")
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out = ListComplianceItemsResult{ComplianceItems: []Item{}}
		for e, err := range s.heads.Scan(ctx, r, nodeKey(tenant, node).Range()) {
			if err != nil {
				return err
			}
			kind := e.Value.Summary.ComplianceType
			if kind < afterKind || !want.kind(kind) {
				continue
			}
			items, err := s.items(ctx, r, tenant, node, kind, e.Value.Chunks)
			if err != nil {
				return err
			}
			for i := range items {
				if kind == afterKind && items[i].ID <= afterID {
					continue
				}
				it := items[i].item(node, kind)
				if kind == TypeAssociation {
					it.ExecutionSummary.ExecutionTime = e.Value.Summary.ExecutionSummary.ExecutionTime
				}
				if !want.item(&it) {
					continue
				}
				if len(out.ComplianceItems) == limit {
					last := out.ComplianceItems[limit-1]
					out.NextToken = paging.Token(mark, last.ComplianceType+"\x00"+last.ID)
					return nil
				}
				out.ComplianceItems = append(out.ComplianceItems, it)
			}
		}
		return nil
	})
	if err != nil {
		return ListComplianceItemsResult{}, storeFault(op, err)
	}
	return out, nil
}

// scan calls fn for every type of every node after a place, in order, in Views of bounded length, until it returns false. A head that fn sees is of one View; a list over many is not of one moment.
func (s *Service) scan(ctx context.Context, op, tenant string, after []byte, fn func(k []byte, h *head) bool) error {
	rng := headsKey(tenant).Range()
	if after != nil {
		rng = headsKey(tenant).After(after)
	}
	rng.Limit = readAtOnce
	for {
		var heads []head
		var keys [][]byte
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			heads, keys = heads[:0], keys[:0]
			for e, err := range s.heads.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				heads, keys = append(heads, e.Value), append(keys, e.Key)
			}
			return nil
		})
		if err != nil {
			return storeFault(op, err)
		}
		for i := range heads {
			if !fn(keys[i], &heads[i]) {
				return nil
			}
		}
		if len(heads) < readAtOnce {
			return nil
		}
		rng.Start = append(append([]byte(nil), keys[len(keys)-1]...), 0)
	}
}

// ListResourceComplianceSummaries returns a page of nodes with their types, by node and then type. It needs ssm:ListResourceComplianceSummaries, on each node; others are left out. Who sees
// nothing and may not list "node/*" is refused. Errors: InvalidFilter, InvalidNextToken, ValidationException.
func (s *Service) ListResourceComplianceSummaries(ctx context.Context, req ListRequest) (out ListResourceComplianceSummariesResult, err error) {
	const op, action = "compliance.ListResourceComplianceSummaries", "ssm:ListResourceComplianceSummaries"
	defer func() { s.audited(ctx, action, "node/*", err) }()
	limit, err := results(op, req.MaxResults)
	if err != nil {
		return out, err
	}
	want, err := newSelection(op, req.Filters, false)
	if err != nil {
		return out, err
	}
	tenant := access.Tenant(ctx)
	mark := paging.Mark(op, tenant, want)
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	var from []byte
	if after != "" {
		node, kind, _ := strings.Cut(after, "\x00")
		from = headKey(tenant, node, kind)
	}
	out.ResourceComplianceSummaryItems = []ResourceSummaryItem{}
	may := s.gate(ctx, action)
	err = s.scan(ctx, op, tenant, from, func(_ []byte, h *head) bool {
		if !want.summary(&h.Summary) || !may(h) {
			return true
		}
		if n := len(out.ResourceComplianceSummaryItems); n == limit {
			last := out.ResourceComplianceSummaryItems[n-1]
			out.NextToken = paging.Token(mark, last.ResourceID+"\x00"+last.ComplianceType)
			return false
		}
		out.ResourceComplianceSummaryItems = append(out.ResourceComplianceSummaryItems, h.Summary)
		return true
	})
	if err == nil && len(out.ResourceComplianceSummaryItems) == 0 && req.NextToken == "" {
		err = fault.Wrap(op, access.Check(ctx, s.cfg.Authorizer, action, "node/*", nil))
	}
	if err != nil {
		return ListResourceComplianceSummariesResult{}, err
	}
	return out, nil
}

// gate returns a function that asks whether the caller may do the action on a head's node, once for each node in a row.
func (s *Service) gate(ctx context.Context, action string) func(h *head) bool {
	node, ok := "", false
	return func(h *head) bool {
		if h.Summary.ResourceID != node {
			node = h.Summary.ResourceID
			ok = access.Check(ctx, s.cfg.Authorizer, action, "node/"+node, h.Tags) == nil
		}
		return ok
	}
}

// ListComplianceSummaries sums up the nodes by type, types in order. Nodes on which the caller may not do ssm:ListComplianceSummaries are not counted. It reads one record for each node and type.
// Errors: InvalidFilter, InvalidNextToken, ValidationException.
func (s *Service) ListComplianceSummaries(ctx context.Context, req ListRequest) (out ListComplianceSummariesResult, err error) {
	const op, action = "compliance.ListComplianceSummaries", "ssm:ListComplianceSummaries"
	defer func() { s.audited(ctx, action, "*", err) }()
	limit, err := results(op, req.MaxResults)
	if err != nil {
		return out, err
	}
	want, err := newSelection(op, req.Filters, false)
	if err != nil {
		return out, err
	}
	tenant := access.Tenant(ctx)
	mark := paging.Mark(op, tenant, want)
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	types := map[string]*SummaryItem{}
	may := s.gate(ctx, action)
	err = s.scan(ctx, op, tenant, nil, func(_ []byte, h *head) bool {
		kind := h.Summary.ComplianceType
		if kind <= after || !want.summary(&h.Summary) || !may(h) {
			return true
		}
		t := types[kind]
		if t == nil {
			t = &SummaryItem{ComplianceType: kind}
			types[kind] = t
		}
		if h.Summary.Status == Compliant {
			t.CompliantSummary.CompliantCount++
			t.CompliantSummary.SeveritySummary.add(h.Worst)
		} else {
			t.NonCompliantSummary.NonCompliantCount++
			t.NonCompliantSummary.SeveritySummary.add(h.Summary.OverallSeverity)
		}
		return true
	})
	if err == nil && len(types) == 0 && after == "" {
		err = fault.Wrap(op, access.Check(ctx, s.cfg.Authorizer, action, "*", nil))
	}
	if err != nil {
		return ListComplianceSummariesResult{}, err
	}
	out.ComplianceSummaryItems = []SummaryItem{}
	for _, kind := range slices.Sorted(maps.Keys(types)) {
		if len(out.ComplianceSummaryItems) == limit {
			out.NextToken = paging.Token(mark, out.ComplianceSummaryItems[limit-1].ComplianceType)
			break
		}
		out.ComplianceSummaryItems = append(out.ComplianceSummaryItems, *types[kind])
	}
	return out, nil
}

func results(op string, n int) (int, error) {
	switch {
	case n == 0:
		return mostResults, nil
	case n < 0 || n > mostResults:
		return 0, fault.New(op, fault.Validation, "MaxResults is %d; it must be 1 to %d", n, mostResults)
	}
	return n, nil
}

// selection is what a list looks for. All filters must hold.
type selection struct{ Filters []Filter }

func newSelection(op string, filters []Filter, ofItems bool) (*selection, error) {
	bad := func(format string, args ...any) error { return fault.New(op, fault.InvalidFilter, format, args...) }
	if len(filters) > mostFilters {
		return nil, bad("%d filters are given; at most %d are allowed", len(filters), mostFilters)
	}
	w := &selection{Filters: slices.Clone(filters)}
	for i := range w.Filters {
		f := &w.Filters[i]
		switch f.Key {
		case "ComplianceType", "ResourceId", "ResourceType", "Status", "Severity", "OverallSeverity", "ExecutionId", "ExecutionType", "ExecutionTime":
		case "Id", "Title":
			if !ofItems {
				return nil, bad("%q is a filter of items, not of summaries", f.Key)
			}
		default:
			return nil, bad("%q is no filter of compliance: use ComplianceType, ResourceId, ResourceType, Status, Severity, ExecutionId, ExecutionType or ExecutionTime, for items Id and Title too", clip(f.Key))
		}
		switch f.Type {
		case "":
			f.Type = "EQUAL"
		case "EQUAL", "NOT_EQUAL", "BEGIN_WITH":
		case "LESS_THAN", "GREATER_THAN":
			if f.Key == "ExecutionTime" || f.Key == "Severity" || f.Key == "OverallSeverity" {
				break
			}
			return nil, bad("filter %s cannot be compared by %s: only ExecutionTime and severities have an order", f.Key, f.Type)
		default:
			return nil, bad("filter %s has the Type %q: use EQUAL, NOT_EQUAL, BEGIN_WITH, LESS_THAN or GREATER_THAN", f.Key, clip(f.Type))
		}
		if len(f.Values) == 0 || len(f.Values) > mostValues {
			return nil, bad("filter %s has %d values; give 1 to %d", f.Key, len(f.Values), mostValues)
		}
		for _, v := range f.Values {
			switch f.Key {
			case "ExecutionTime":
				if _, err := time.Parse(time.RFC3339, v); err != nil && f.Type != "BEGIN_WITH" {
					return nil, bad("filter ExecutionTime has the value %q: give a time as 2026-03-01T00:00:00Z", clip(v))
				}
			case "Severity", "OverallSeverity":
				if !slices.Contains(severities[:], v) && f.Type != "BEGIN_WITH" {
					return nil, bad("filter %s has the value %q: use %s", f.Key, clip(v), strings.Join(severities[:], ", "))
				}
			}
		}
	}
	return w, nil
}

// holds compares one value of an item or summary.
func (f *Filter) holds(got string, t time.Time) bool {
	compare := func(v string) int {
		switch f.Key {
		case "ExecutionTime":
			at, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return -1
			}
			return t.Truncate(time.Second).Compare(at.Truncate(time.Second))
		case "Severity", "OverallSeverity":
			return rank(v) - rank(got) // worse is greater
		}
		return strings.Compare(got, v)
	}
	any := func(is func(v string) bool) bool { return slices.ContainsFunc(f.Values, is) }
	switch f.Type {
	case "NOT_EQUAL":
		return !any(func(v string) bool { return compare(v) == 0 })
	case "BEGIN_WITH":
		return any(func(v string) bool { return strings.HasPrefix(got, v) })
	case "LESS_THAN":
		return any(func(v string) bool { return compare(v) < 0 })
	case "GREATER_THAN":
		return any(func(v string) bool { return compare(v) > 0 })
	}
	return any(func(v string) bool { return compare(v) == 0 })
}

func (w *selection) all(value func(key string) (string, time.Time)) bool {
	for i := range w.Filters {
		got, t := value(w.Filters[i].Key)
		if !w.Filters[i].holds(got, t) {
			return false
		}
	}
	return true
}

// kind reports whether items of a type can be selected, without reading them.
func (w *selection) kind(kind string) bool {
	for i := range w.Filters {
		if f := &w.Filters[i]; f.Key == "ComplianceType" && !f.holds(kind, time.Time{}) {
			return false
		}
	}
	return true
}

func (w *selection) item(it *Item) bool {
	return w.all(func(key string) (string, time.Time) {
		switch key {
		case "ComplianceType":
			return it.ComplianceType, time.Time{}
		case "ResourceId":
			return it.ResourceID, time.Time{}
		case "ResourceType":
			return it.ResourceType, time.Time{}
		case "Status":
			return it.Status, time.Time{}
		case "Id":
			return it.ID, time.Time{}
		case "Title":
			return it.Title, time.Time{}
		case "Severity", "OverallSeverity":
			return it.Severity, time.Time{}
		}
		return execution(&it.ExecutionSummary, key)
	})
}

// summary asks of a summary what is asked of an item: their properties are the same.
func (w *selection) summary(s *ResourceSummaryItem) bool {
	return w.item(&Item{ComplianceType: s.ComplianceType, ResourceID: s.ResourceID, ResourceType: s.ResourceType, Status: s.Status, Severity: s.OverallSeverity, ExecutionSummary: s.ExecutionSummary})
}

func execution(e *ExecutionSummary, key string) (string, time.Time) {
	switch key {
	case "ExecutionId":
		return e.ExecutionID, time.Time{}
	case "ExecutionType":
		return e.ExecutionType, time.Time{}
	}
	return e.ExecutionTime.Format(time.RFC3339), e.ExecutionTime
}

// Types returns the compliance types that a node has reports of, in order. It needs ssm:ListComplianceItems on the node.
func (s *Service) Types(ctx context.Context, node string) (out []string, err error) {
	const op, action = "compliance.Types", "ssm:ListComplianceItems"
	defer func() { s.audited(ctx, action, "node/"+clip(node), err) }()
	if err := s.mayRead(ctx, op, action, node); err != nil {
		return nil, err
	}
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out = nil
		for e, err := range s.heads.Scan(ctx, r, nodeKey(access.Tenant(ctx), node).Range()) {
			if err != nil {
				return err
			}
			out = append(out, e.Value.Summary.ComplianceType)
		}
		return nil
	})
	return out, storeFault(op, err)
}
