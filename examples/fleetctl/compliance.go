package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/ssmops"
)

func complianceVerbs() []verb {
	return []verb{
		{name: "nodes", summary: "sum up each node", flags: complianceNodesFlags, run: (*app).complianceNodes},
		{name: "items", args: "NODE", summary: "list what was checked on a node", flags: complianceItemsFlags, run: (*app).complianceItems},
		{name: "at", args: "NODE TYPE TIME", summary: "say whether a node was compliant at a time, since when, and why", more: aboutTimes, flags: func(fs *flag.FlagSet) {
			fs.Bool("all", false, "the compliant items too")
		}, run: (*app).complianceAt},
		{name: "history", args: "NODE TYPE", summary: "list the reports of a type on a node, the oldest first", flags: spanFlags, run: (*app).complianceHistory},
	}
}

const aboutTimes = "TIME is 2026-03-01T12:00:00Z, 2026-03-01 or '2026-03-01 12:00' of this machine's zone, now, or how long ago, as 72h or 3d.\n"

// spanFlags bound a history.
func spanFlags(fs *flag.FlagSet) {
	fs.String("since", "", "only after this `time`: 2026-03-01T12:00:00Z, 2026-03-01, 72h ago or 3d ago as 72h or 3d")
	fs.String("until", "", "only before this `time`")
}

// span reads them.
func span(p *parsed) (from, to time.Time, err error) {
	for _, f := range []struct {
		name string
		to   *time.Time
	}{{"since", &from}, {"until", &to}} {
		if s := p.str(f.name); s != "" {
			if *f.to, err = instant("-"+f.name, s); err != nil {
				return from, to, err
			}
		}
	}
	return from, to, nil
}

// tally is the severities of a summary, the worst first, with what there is none of left out.
func tally(s compliance.SeveritySummary) string {
	var out []string
	for _, c := range []struct {
		n    int
		name string
	}{{s.CriticalCount, "critical"}, {s.HighCount, "high"}, {s.MediumCount, "medium"}, {s.LowCount, "low"}, {s.InformationalCount, "informational"}, {s.UnspecifiedCount, "unspecified"}} {
		if c.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", c.n, c.name))
		}
	}
	return strings.Join(out, ", ")
}

// compliance sums up the fleet by type.
func (a *app) compliance(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	all, err := pages(0, func(token string) ([]compliance.SummaryItem, string, error) {
		var out compliance.ListComplianceSummariesResult
		err := a.call(ctx, "ListComplianceSummaries", compliance.ListRequest{NextToken: token}, &out)
		return out.ComplianceSummaryItems, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(compliance.ListComplianceSummariesResult{ComplianceSummaryItems: all})
	}
	t := a.table("TYPE", "NODES", "COMPLIANT", "NON-COMPLIANT")
	for _, s := range all {
		good := s.CompliantSummary.CompliantCount
		t.row(s.ComplianceType, good+s.NonCompliantSummary.NonCompliantCount, good, wrong(s.NonCompliantSummary))
	}
	return t.end()
}

func complianceNodesFlags(fs *flag.FlagSet) {
	fs.String("type", "", "only this compliance `type`: Patch, Association, Custom:NAME")
	fs.String("status", "", "only `NON_COMPLIANT` or COMPLIANT nodes")
	fs.String("severity", "", "only nodes of this overall `severity`: CRITICAL, HIGH, MEDIUM, LOW …")
}

func complianceItemsFlags(fs *flag.FlagSet) {
	fs.String("type", "", "only this compliance `type`: Patch, Association, Custom:NAME")
	fs.String("status", "", "only `NON_COMPLIANT` or COMPLIANT items")
	fs.String("severity", "", "only items of this `severity`: CRITICAL, HIGH, MEDIUM, LOW …")
}

// complianceFilters reads -type, -status and -severity.
func complianceFilters(p *parsed, severity string) (out []compliance.Filter, err error) {
	for _, f := range [][2]string{{"type", "ComplianceType"}, {"status", "Status"}, {"severity", severity}} {
		if v := p.str(f[0]); v != "" {
			out = append(out, compliance.Filter{Key: f[1], Values: []string{v}, Type: "EQUAL"})
		}
	}
	if s := p.str("status"); s != "" && s != compliance.Compliant && s != compliance.NonCompliant {
		return nil, bad("-status %q: %s or %s", fault.Clean(s), compliance.NonCompliant, compliance.Compliant)
	}
	return out, nil
}

func (a *app) complianceNodes(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	filters, err := complianceFilters(p, "OverallSeverity")
	if err != nil {
		return err
	}
	all, err := pages(0, func(token string) ([]compliance.ResourceSummaryItem, string, error) {
		var out compliance.ListResourceComplianceSummariesResult
		err := a.call(ctx, "ListResourceComplianceSummaries", compliance.ListRequest{Filters: filters, NextToken: token}, &out)
		return out.ResourceComplianceSummaryItems, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(compliance.ListResourceComplianceSummariesResult{ResourceComplianceSummaryItems: all})
	}
	t := a.table("NODE", "TYPE", "STATUS", "SEVERITY", "COMPLIANT", "NON-COMPLIANT", "CHECKED")
	for _, s := range all {
		t.row(s.ResourceID, s.ComplianceType, s.Status, worst(s), s.CompliantSummary.CompliantCount, wrong(s.NonCompliantSummary), s.ExecutionSummary.ExecutionTime)
	}
	return t.end()
}

// worst is the overall severity of a summary; a compliant node has none.
func worst(s compliance.ResourceSummaryItem) string {
	if s.Status == compliance.Compliant {
		return ""
	}
	return s.OverallSeverity
}

// wrong is how many are not compliant, and how bad that is.
func wrong(s compliance.NonCompliantSummary) string {
	if s.NonCompliantCount == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", s.NonCompliantCount, tally(s.SeveritySummary))
}

func (a *app) complianceItems(ctx context.Context, p *parsed) error {
	args, err := p.arg("NODE")
	if err != nil {
		return err
	}
	filters, err := complianceFilters(p, "Severity")
	if err != nil {
		return err
	}
	all, err := pages(0, func(token string) ([]compliance.Item, string, error) {
		var out compliance.ListComplianceItemsResult
		err := a.call(ctx, "ListComplianceItems", compliance.ListComplianceItemsRequest{ResourceIDs: args[:1], Filters: filters, NextToken: token}, &out)
		return out.ComplianceItems, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(compliance.ListComplianceItemsResult{ComplianceItems: all})
	}
	t := a.table("TYPE", "ITEM", "STATUS", "SEVERITY", "CHECKED", "TITLE", "DETAILS")
	for _, i := range all {
		t.row(i.ComplianceType, i.ID, i.Status, i.Severity, i.ExecutionSummary.ExecutionTime, short(i.Title, 60), short(details(i.Details), 120))
	}
	return t.end()
}

func details(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if m[k] != "" {
			out = append(out, k+"="+m[k])
		}
	}
	return strings.Join(out, ", ")
}

func (a *app) complianceAt(ctx context.Context, p *parsed) error {
	args, err := p.arg("NODE", "TYPE", "TIME")
	if err != nil {
		return err
	}
	at, err := instant("TIME", args[2])
	if err != nil {
		return err
	}
	var was compliance.Was
	if err := a.call(ctx, "GetComplianceAt", ssmops.ComplianceAtRequest{ResourceID: args[0], ComplianceType: args[1], At: at}, &was); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(was)
	}
	s := was.Summary
	err = a.facts([2]any{"node", args[0]}, [2]any{"type", args[1]}, [2]any{"at", at}, [2]any{"status", s.Status}, [2]any{"severity", worst(s)}, [2]any{"non-compliant", wrong(s.NonCompliantSummary)},
		[2]any{"compliant", s.CompliantSummary.CompliantCount}, [2]any{"so since", was.Unchanged}, [2]any{"reported", was.Reported}, [2]any{"checked", s.ExecutionSummary.ExecutionTime},
		[2]any{"execution", strings.TrimSpace(s.ExecutionSummary.ExecutionType + " " + s.ExecutionSummary.ExecutionID)}, [2]any{"report", fmt.Sprintf("%d of the history", was.Seq)})
	if err != nil {
		return err
	}
	items := was.Items
	if !p.on("all") {
		items = slices.DeleteFunc(slices.Clone(items), func(i compliance.Item) bool { return i.Status == compliance.Compliant })
	}
	if len(items) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout)
	t := a.table("ITEM", "STATUS", "SEVERITY", "TITLE", "DETAILS")
	for _, i := range items {
		t.row(i.ID, i.Status, i.Severity, short(i.Title, 60), short(details(i.Details), 120))
	}
	return t.end()
}

func (a *app) complianceHistory(ctx context.Context, p *parsed) error {
	args, err := p.arg("NODE", "TYPE")
	if err != nil {
		return err
	}
	r := ssmops.ComplianceHistoryRequest{ResourceID: args[0], ComplianceType: args[1]}
	if r.From, r.To, err = span(p); err != nil {
		return err
	}
	var out ssmops.ComplianceHistoryResult
	if err := a.call(ctx, "ListComplianceHistory", r, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	t := a.table("REPORT", "TAKEN", "STATUS", "SEVERITY", "COMPLIANT", "NON-COMPLIANT", "CHANGED", "REMOVED", "EXECUTION")
	for _, r := range out.Reports {
		t.row(r.Seq, r.Taken, r.Summary.Status, worst(r.Summary), r.Summary.CompliantSummary.CompliantCount, wrong(r.Summary.NonCompliantSummary), r.Changed, r.Removed, r.Execution.ExecutionID)
	}
	return t.end()
}
