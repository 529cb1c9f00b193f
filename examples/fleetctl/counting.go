package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
)

func countFlags(fs *flag.FlagSet) {
	fs.Var(&words{}, "where", "only nodes that meet this `condition`, as find has it; several must all hold")
	fs.Var(&words{}, "group", "count the nodes that meet conditions, and those that do not: `'NAME: CONDITION && CONDITION'`; several groups may be given")
}

// groupOf reads NAME: CONDITION && CONDITION.
func groupOf(s string) (inventory.Group, error) {
	name, rest, ok := strings.Cut(s, ":")
	if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, "=<>") || name == "AWS" || name == "Custom" {
		return inventory.Group{}, bad("-group %q: write 'NAME: CONDITION', as 'old: AWS:Application.Version<3.0.15'", fault.Clean(s))
	}
	filters, err := conditions(strings.Split(rest, "&&"))
	return inventory.Group{Name: name, Filters: filters}, err
}

// countInventory asks with aggregators.
func (a *app) countInventory(ctx context.Context, p *parsed) error {
	if p.rest != nil {
		return bad("nothing is expected behind --")
	}
	var r fleet.GetInventoryRequest
	var err error
	if where := *p.fs.Lookup("where").Value.(*words); len(where) > 0 {
		if r.Filters, err = conditions(where); err != nil {
			return err
		}
	}
	var groups []inventory.Group
	for _, s := range *p.fs.Lookup("group").Value.(*words) {
		g, err := groupOf(s)
		if err != nil {
			return err
		}
		groups = append(groups, g)
	}
	switch {
	case len(groups) > 0 && len(p.args) > 0:
		return bad("ATTRIBUTE and -group: give one of them")
	case len(groups) > 0:
		r.Aggregators = []inventory.Aggregator{{Groups: groups}}
	case len(p.args) == 0:
		return bad("ATTRIBUTE is missing: such as AWS:InstanceInformation.PlatformName, or -group")
	}
	for _, expr := range slices.Backward(p.args) { // the last is the innermost
		r.Aggregators = []inventory.Aggregator{{Expression: expr, Aggregators: r.Aggregators}}
	}
	entities, err := pages(0, func(token string) ([]fleet.Entity, string, error) {
		var out fleet.GetInventoryResult
		r.NextToken = token
		err := a.call(ctx, "GetInventory", r, &out)
		return out.Entities, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(fleet.GetInventoryResult{Entities: entities})
	}
	if len(groups) > 0 {
		return a.groupTable(groups, entities)
	}
	return a.countTable(p.args, entities)
}

func (a *app) groupTable(groups []inventory.Group, entities []fleet.Entity) error {
	t := a.table("GROUP", "NODES", "OTHER NODES")
	for _, g := range groups {
		n := inventory.Entry{}
		for _, e := range entities {
			for _, row := range e.Data[g.Name].Content {
				maps.Copy(n, row)
			}
		}
		t.row(g.Name, n["matchingCount"], n["notMatchingCount"])
	}
	return t.end()
}

// countTable prints one row for each combination of values, what most nodes have first.
func (a *app) countTable(attributes []string, entities []fleet.Entity) error {
	var rows []inventory.Entry
	for _, e := range entities {
		for _, typ := range slices.Sorted(maps.Keys(e.Data)) {
			rows = append(rows, e.Data[typ].Content...)
		}
	}
	count := func(e inventory.Entry) int {
		n, _ := strconv.Atoi(e["Count"]) // the control plane's own number
		return n
	}
	slices.SortStableFunc(rows, func(x, y inventory.Entry) int { return count(y) - count(x) })
	head := []string{"NODES"}
	for _, k := range attributes {
		head = append(head, strings.ToUpper(k[strings.LastIndexByte(k, '.')+1:]))
	}
	for i := range head {
		head[i] = fault.Clean(head[i])
	}
	t := a.table(head...)
	for _, e := range rows {
		row := []any{e["Count"]}
		for _, k := range attributes {
			v, ok := e[k]
			if !ok {
				v = e[k[strings.LastIndexByte(k, '.')+1:]]
			}
			row = append(row, short(v, 80))
		}
		t.row(row...)
	}
	if err := t.end(); err != nil {
		return err
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.stderr, "fleetctl: no node has a value of it")
	}
	return nil
}

func changesFlags(fs *flag.FlagSet) {
	spanFlags(fs)
	fs.String("type", "", "only this inventory `type`")
	fs.Bool("all", false, "every entry; else a change of many shows the first 20")
}

func (a *app) inventoryChanges(ctx context.Context, p *parsed) error {
	args, err := p.arg("NODE")
	if err != nil {
		return err
	}
	r := fleet.ListChangesRequest{InstanceID: args[0], TypeName: p.str("type")}
	if r.Since, r.Until, err = span(p); err != nil {
		return err
	}
	all, err := pages(0, func(token string) ([]fleet.Change, string, error) {
		var out fleet.ListChangesResult
		r.NextToken = token
		err := a.call(ctx, "ListInventoryChanges", r, &out)
		return out.Changes, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(fleet.ListChangesResult{Changes: all})
	}
	t := a.table("TIME", "TYPE", "CHANGE", "ENTRY")
	for _, c := range all {
		lines := changeLines(c)
		most := len(lines)
		if !p.on("all") {
			most = min(most, 20)
		}
		for _, l := range lines[:most] {
			t.row(c.Time, c.TypeName, l[0], short(l[1], 120))
		}
		if n := len(lines) - most; n > 0 {
			t.row(c.Time, c.TypeName, "…", fmt.Sprintf("and %d more: -all shows them", n))
		}
	}
	return t.end()
}

// changeLines tells a change entry by entry: an entry that went and one that came with the same name are one that changed.
func changeLines(c fleet.Change) (out [][2]string) {
	name := titles(c.TypeName)
	removed := slices.Clone(c.Removed)
	for _, e := range c.Added {
		i := -1
		if len(name) > 0 && e[name[0]] != "" {
			i = slices.IndexFunc(removed, func(r inventory.Entry) bool {
				return r[name[0]] == e[name[0]] && r["Architecture"] == e["Architecture"]
			})
		} else if len(name) == 0 && len(c.Added) == 1 && len(removed) == 1 {
			i = 0
		}
		if i < 0 {
			out = append(out, [2]string{"added", label(c.TypeName, e, nil)})
			continue
		}
		out = append(out, [2]string{"changed", transition(c.TypeName, removed[i], e)})
		removed = slices.Delete(removed, i, i+1)
	}
	for _, e := range removed {
		out = append(out, [2]string{"removed", label(c.TypeName, e, nil)})
	}
	return out
}

// transition says what became of an entry: its attributes that are not what they were.
func transition(typ string, before, after inventory.Entry) string {
	var parts []string
	keys := map[string]bool{}
	for k := range before {
		keys[k] = true
	}
	for k := range after {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if before[k] == after[k] {
			continue
		}
		if typ == inventory.Application && k == "Version" {
			parts = slices.Insert(parts, 0, before[k]+" → "+after[k])
			continue
		}
		parts = append(parts, fmt.Sprintf("%s: %s → %s", k, before[k], after[k]))
	}
	if name := titles(typ); len(name) > 0 {
		return after[name[0]] + " " + strings.Join(parts, ", ")
	}
	return strings.Join(parts, ", ")
}
