package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/ssmops"
)

func inventoryVerbs() []verb {
	return []verb{
		{name: "types", args: "[TYPE]", summary: "list what is known of nodes; of one type its attributes", run: (*app).inventoryTypes},
		{name: "find", args: "CONDITION…", summary: "find nodes: 'AWS:Application.Name=openssl' 'AWS:Application.Version<3.0.15'", more: aboutConditions, flags: findFlags, run: (*app).findInventory},
		{name: "count", args: "[ATTRIBUTE…]", summary: "count nodes by the values of an attribute, further ones within it, or by groups", more: "Conditions are those of find. Attributes are such as AWS:InstanceInformation.PlatformName.\n", flags: countFlags, run: (*app).countInventory},
		{name: "entries", args: "NODE TYPE [CONDITION…]", summary: "list what a node has of a type", more: "Conditions are those of find, with the attribute alone too: 'Name^=lib'.\n", flags: entriesFlags, run: (*app).inventoryEntries},
		{name: "changes", args: "NODE", summary: "say what changed on a node, the oldest first", flags: changesFlags, run: (*app).inventoryChanges},
		{name: "export", args: "NODE|-all", summary: "write inventory as JSON lines, CSV or bills of materials", flags: exportFlags, run: (*app).exportInventory},
		{name: "delete", args: "TYPE", summary: "delete what nodes reported of a custom type", flags: deleteInventoryFlags, run: (*app).deleteInventory},
		{name: "deletions", args: "[DELETION]", summary: "list such deletions", run: (*app).inventoryDeletions},
		{name: "gather", args: "-targets …", summary: "have nodes report: run -document AWS-GatherSoftwareInventory", flags: sendFlags, run: (*app).gatherInventory},
	}
}

func (a *app) gatherInventory(ctx context.Context, p *parsed) error {
	return a.fixed(ctx, p, "AWS-GatherSoftwareInventory", nil)
}

func (a *app) schemas(ctx context.Context, prefix string) ([]inventory.Schema, error) {
	return pages(0, func(token string) ([]inventory.Schema, string, error) {
		var out fleet.GetInventorySchemaResult
		err := a.call(ctx, "GetInventorySchema", fleet.GetInventorySchemaRequest{TypeName: prefix, NextToken: token}, &out)
		return out.Schemas, out.NextToken, err
	})
}

func (a *app) inventoryTypes(ctx context.Context, p *parsed) error {
	name := ""
	if len(p.args) > 0 {
		args, err := p.arg("TYPE")
		if err != nil {
			return err
		}
		name = args[0]
	} else if _, err := p.arg(); err != nil {
		return err
	}
	all, err := a.schemas(ctx, name)
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(fleet.GetInventorySchemaResult{Schemas: all})
	}
	if i := slices.IndexFunc(all, func(s inventory.Schema) bool { return s.TypeName == name }); i >= 0 {
		t := a.table("ATTRIBUTE", "DATA")
		for _, c := range all[i].Attributes {
			t.row(c.Name, c.DataType)
		}
		return t.end()
	}
	t := a.table("TYPE", "VERSION", "ATTRIBUTES")
	for _, s := range all {
		var names []string
		for _, c := range s.Attributes {
			names = append(names, c.Name)
		}
		t.row(s.TypeName, s.Version, short(strings.Join(names, ", "), 100))
	}
	return t.end()
}

func findFlags(fs *flag.FlagSet) {
	fs.Int("limit", 100, "`number` of nodes; 0 is all")
	fs.Bool("q", false, "print the ids of the nodes alone")
}

// found is what a node has that meets the conditions.
type found struct {
	ID       string                       `json:"Id"`
	Name     string                       `json:",omitempty"`
	Platform string                       `json:",omitempty"`
	Matches  map[string][]inventory.Entry // by type

	system ssmops.InstanceInformation // of a node that did not report its name
}

func (a *app) findInventory(ctx context.Context, p *parsed) error {
	if p.rest != nil {
		return bad("nothing is expected behind --")
	}
	if len(p.args) == 0 {
		return bad("CONDITION is missing: such as 'AWS:Application.Name=openssl'")
	}
	filters, err := conditions(p.args)
	if err != nil {
		return err
	}
	for i, f := range filters { // Exists itself is for groups only, but an attribute that is there is one that is not empty
		if f.Type != inventory.Exists {
			continue
		}
		if _, attribute := f.Split(); attribute == "" {
			return bad("%s exists: say of which attribute, or ask count -group 'them: %[1]s exists'", fault.Clean(f.Key))
		}
		filters[i] = inventory.Filter{Key: f.Key, Type: inventory.NotEqual, Values: []string{""}}
	}
	limit := p.num("limit")
	if limit < 0 {
		return bad("-limit %d is negative", limit)
	}
	more := false
	nodes, err := pages(limit, func(token string) ([]fleet.Entity, string, error) {
		var out fleet.GetInventoryResult
		err := a.call(ctx, "GetInventory", fleet.GetInventoryRequest{Filters: filters, NextToken: token}, &out)
		more = out.NextToken != ""
		return out.Entities, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if limit > 0 && len(nodes) > limit {
		nodes, more = nodes[:limit], true
	}
	if p.on("q") {
		for _, n := range nodes {
			fmt.Fprintln(a.stdout, fault.Clean(n.ID))
		}
	} else if err := a.showFound(ctx, filters, nodes); err != nil {
		return err
	}
	if len(nodes) == 0 {
		fmt.Fprintln(a.stderr, "fleetctl: no node meets that")
	}
	if more {
		fmt.Fprintf(a.stderr, "fleetctl: there are more than %d nodes: -limit 0 shows all\n", len(nodes))
	}
	return nil
}

func (a *app) showFound(ctx context.Context, filters []inventory.Filter, nodes []fleet.Entity) error {
	all := []found{}
	types, byType := split(filters)
	for _, n := range nodes {
		f := found{ID: n.ID, Matches: map[string][]inventory.Entry{}}
		if c := n.Data[inventory.InstanceInformation].Content; len(c) > 0 {
			f.Name, f.Platform = c[0]["ComputerName"], strings.TrimSpace(c[0]["PlatformName"]+" "+c[0]["PlatformVersion"])
		}
		for _, typ := range types {
			list, err := a.entries(ctx, n.ID, typ, byType[typ])
			if fault.CodeOf(err) == fault.AccessDenied { // who may find nodes, but not read them, does without
				continue
			}
			if err != nil {
				return err
			}
			f.Matches[typ] = list.Entries
		}
		all = append(all, f)
	}
	if err := a.nameNodes(ctx, all); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(struct{ Nodes []found }{all})
	}
	t := a.table("NODE", "NAME", "PLATFORM", "FOUND")
	for _, f := range all {
		var what []string
		for _, typ := range types {
			for _, e := range f.Matches[typ] {
				what = append(what, label(typ, e, byType[typ]))
			}
		}
		text := strings.Join(what, ", ")
		if len(what) > 3 {
			text = fmt.Sprintf("%s and %d more", strings.Join(what[:3], ", "), len(what)-3)
		}
		t.row(f.ID, f.Name, f.Platform, short(text, 120))
	}
	return t.end()
}

// nameNodes fills in names and platforms of nodes that did not report them. Who may not list nodes does without.
func (a *app) nameNodes(ctx context.Context, all []found) error {
	var ids []string
	at := map[string]int{}
	for i, f := range all {
		at[f.ID] = i
		if f.Name == "" {
			ids = append(ids, f.ID)
		}
	}
	for len(ids) > 0 {
		some := ids[:min(50, len(ids))]
		ids = ids[len(some):]
		list, err := pages(0, func(token string) ([]ssmops.InstanceInformation, string, error) {
			var out ssmops.DescribeInstanceInformationResult
			err := a.call(ctx, "DescribeInstanceInformation", ssmops.DescribeInstanceInformationRequest{Filters: []ssmops.InstanceFilter{{Key: "InstanceIds", Values: some}}, NextToken: token}, &out)
			return out.InstanceInformationList, out.NextToken, err
		})
		if fault.CodeOf(err) == fault.AccessDenied {
			return nil
		}
		if err != nil {
			return err
		}
		for _, n := range list {
			if i, ok := at[n.ID]; ok {
				all[i].system = n
				all[i].Name, all[i].Platform = cmp.Or(n.Name, n.ComputerName), strings.TrimSpace(n.PlatformName+" "+n.PlatformVersion)
			}
		}
	}
	return nil
}

// split sorts filters by their types, in the order in which these are named first.
func split(filters []inventory.Filter) (types []string, byType map[string][]inventory.Filter) {
	byType = map[string][]inventory.Filter{}
	for _, f := range filters {
		typ, _ := f.Split()
		if byType[typ] == nil {
			types = append(types, typ)
		}
		byType[typ] = append(byType[typ], f)
	}
	return types, byType
}

// titles are the attributes that say what an entry is, for types that have many.
func titles(typ string) []string {
	switch typ {
	case inventory.Application:
		return []string{"Name", "Version", "Release"}
	case inventory.AWSComponent, inventory.WindowsRole:
		return []string{"Name", "Version"}
	case inventory.Network:
		return []string{"Name", "IPV4"}
	case inventory.Service:
		return []string{"Name", "Status"}
	case inventory.File:
		return []string{"InstalledDir", "Name", "Size"}
	case inventory.WindowsUpdate:
		return []string{"HotFixId"}
	case inventory.WindowsRegistry:
		return []string{"KeyPath", "ValueName", "Value"}
	}
	return nil
}

// label is an entry in a few words: what it is, or else what the conditions speak of.
func label(typ string, e inventory.Entry, filters []inventory.Filter) string {
	var out []string
	for _, k := range titles(typ) {
		if e[k] != "" {
			out = append(out, e[k])
		}
	}
	if typ == inventory.Application && len(out) == 3 {
		return out[0] + " " + out[1] + "-" + out[2]
	}
	if len(out) > 0 {
		return strings.Join(out, " ")
	}
	said := map[string]bool{}
	for _, f := range filters {
		if _, k := f.Split(); !said[k] {
			said[k] = true
			out = append(out, k+"="+e[k])
		}
	}
	if len(out) == 0 {
		return details(e)
	}
	return strings.Join(out, " ")
}

// entries returns what a node has of a type, in full.
func (a *app) entries(ctx context.Context, node, typ string, filters []inventory.Filter) (fleet.ListInventoryEntriesResult, error) {
	var head fleet.ListInventoryEntriesResult
	all, err := pages(0, func(token string) ([]inventory.Entry, string, error) {
		var out fleet.ListInventoryEntriesResult
		err := a.call(ctx, "ListInventoryEntries", fleet.ListInventoryEntriesRequest{InstanceID: node, TypeName: typ, Filters: filters, NextToken: token}, &out)
		head = out
		return out.Entries, out.NextToken, err
	})
	head.Entries, head.NextToken = all, ""
	return head, err
}

func entriesFlags(fs *flag.FlagSet) {
	fs.String("columns", "", "comma separated `attributes` to show; * is all")
}

func (a *app) inventoryEntries(ctx context.Context, p *parsed) error {
	if len(p.args) < 2 || p.rest != nil {
		return bad("NODE and TYPE are needed")
	}
	filters, err := conditions(p.args[2:])
	if err != nil {
		return err
	}
	out, err := a.entries(ctx, p.args[0], p.args[1], filters)
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	if out.CaptureTime == "" {
		fmt.Fprintf(a.stderr, "fleetctl: the node never reported %s\n", fault.Clean(p.args[1]))
		return nil
	}
	columns := shownColumns(p.args[1], out.Entries, p.str("columns"))
	if len(out.Entries) == 1 && p.str("columns") == "" && titles(p.args[1]) == nil { // a type of one entry a node: read down
		var rows [][2]any
		for _, k := range columns {
			rows = append(rows, [2]any{k, out.Entries[0][k]})
		}
		return a.facts(rows...)
	}
	head := make([]string, len(columns))
	for i, k := range columns {
		head[i] = fault.Clean(strings.ToUpper(k))
	}
	t := a.table(head...)
	for _, e := range out.Entries {
		row := make([]any, len(columns))
		for i, k := range columns {
			row[i] = short(e[k], 60)
		}
		t.row(row...)
	}
	return t.end()
}

// shownColumns chooses the attributes of a table: those that were asked for, those that tell most of a type, or all that have a value.
func shownColumns(typ string, entries []inventory.Entry, asked string) []string {
	if asked != "" && asked != "*" {
		return strings.Split(asked, ",")
	}
	few := map[string][]string{
		inventory.Application: {"Name", "Version", "Release", "Architecture", "Publisher", "InstalledTime"},
		inventory.Service:     {"Name", "Status", "StartType", "DisplayName"},
		inventory.Network:     {"Name", "IPV4", "IPV6", "SubnetMask", "Gateway", "MacAddress"},
		inventory.File:        {"InstalledDir", "Name", "Size", "ModificationTime"},
	}
	var names []string
	if asked == "" {
		names = few[typ]
	}
	s, _ := inventory.SchemaOf(typ)
	if names == nil {
		for _, c := range s.Attributes {
			names = append(names, c.Name)
		}
		known := len(names)
		for _, e := range entries {
			for k := range e {
				if !slices.Contains(names, k) {
					names = append(names, k)
				}
			}
		}
		slices.Sort(names[known:])
	}
	used := slices.DeleteFunc(slices.Clone(names), func(k string) bool {
		return !slices.ContainsFunc(entries, func(e inventory.Entry) bool { return e[k] != "" })
	})
	if len(used) == 0 {
		return names
	}
	return used
}

func deleteInventoryFlags(fs *flag.FlagSet) {
	fs.Bool("dry-run", false, "only count what would go")
	fs.String("schema", "keep", "what becomes of the type: keep, `delete`, or disable (reports of its newest version are ignored from now on)")
	fs.String("client-token", "", "repeating a deletion with the same `token` gives the same deletion")
}

func (a *app) deleteInventory(ctx context.Context, p *parsed) error {
	args, err := p.arg("TYPE")
	if err != nil {
		return err
	}
	r := fleet.DeleteInventoryRequest{TypeName: args[0], DryRun: p.on("dry-run"), ClientToken: p.str("client-token")}
	switch s := p.str("schema"); s {
	case "keep":
	case "delete":
		r.SchemaDeleteOption = fleet.DeleteSchema
	case "disable":
		r.SchemaDeleteOption = fleet.DisableSchema
	default:
		return bad("-schema %q: keep, delete or disable", fault.Clean(s))
	}
	var out fleet.DeleteInventoryResult
	if err := a.call(ctx, "DeleteInventory", r, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	t := a.table("VERSION", "NODES")
	for _, i := range out.DeletionSummary.SummaryItems {
		t.row(i.Version, i.Count)
	}
	if len(out.DeletionSummary.SummaryItems) > 0 {
		if err := t.end(); err != nil {
			return err
		}
	}
	if r.DryRun {
		return a.say("%s would go from %s", fault.Clean(args[0]), nodeCount(out.DeletionSummary.TotalCount))
	}
	return a.say("deletion %s: %s goes from %s", fault.Clean(out.DeletionID), fault.Clean(args[0]), nodeCount(out.DeletionSummary.TotalCount))
}

func nodeCount(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

func (a *app) inventoryDeletions(ctx context.Context, p *parsed) error {
	r := fleet.DescribeInventoryDeletionsRequest{}
	if len(p.args) > 0 {
		args, err := p.arg("DELETION")
		if err != nil {
			return err
		}
		r.DeletionID = args[0]
	} else if _, err := p.arg(); err != nil {
		return err
	}
	all, err := pages(0, func(token string) ([]fleet.DeletionStatus, string, error) {
		var out fleet.DescribeInventoryDeletionsResult
		r.NextToken = token
		err := a.call(ctx, "DescribeInventoryDeletions", r, &out)
		return out.InventoryDeletions, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(fleet.DescribeInventoryDeletionsResult{InventoryDeletions: all})
	}
	t := a.table("DELETION", "TYPE", "BEGUN", "STATUS", "LEFT", "MESSAGE")
	for _, d := range all {
		t.row(d.DeletionID, d.TypeName, d.DeletionStartTime, d.LastStatus, fmt.Sprintf("%d/%d", d.DeletionSummary.RemainingCount, d.DeletionSummary.TotalCount), short(d.LastStatusMessage, 60))
	}
	return t.end()
}
