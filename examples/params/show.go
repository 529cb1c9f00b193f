package main

import (
	"context"
	"flag"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// widest is how much of a value a table shows.
const widest = 48

func listFlags(fs *flag.FlagSet) {
	fs.Bool("values", false, "show values too; those of secrets as ***")
	fs.String("type", "", "only String, StringList or SecureString")
	fs.String("label", "", "only those with a version of this label, which is shown")
	fs.String("since", "", "only those that changed since: a time, or how long ago, as 90m or 7d")
	fs.Var(&pairs{}, "tag", "KEY=VALUE, as often as needed: only those that have them all")
}

// under returns all parameters below a path.
func (w *world) under(path string, filters ...parameter.ParameterStringFilter) ([]parameter.ParameterMetadata, error) {
	if path != "/" {
		filters = append(filters, parameter.ParameterStringFilter{Key: "Path", Option: "Recursive", Values: []string{path}})
	}
	return w.query(parameter.QueryRequest{ParameterFilters: filters})
}

func (w *world) query(req parameter.QueryRequest) (all []parameter.ParameterMetadata, err error) {
	for {
		out, err := w.Query(w.ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, out.Parameters...)
		if req.NextToken = out.NextToken; req.NextToken == "" {
			return all, nil
		}
	}
}

func (a *app) list(ctx context.Context, p *parsed) error {
	args, err := p.arg(0, "PATH")
	if err != nil {
		return err
	}
	path := "/"
	if len(args) == 1 {
		path = args[0]
	}
	var req parameter.QueryRequest
	if req.ModifiedSince, err = a.instant("since", p.str("since")); err != nil {
		return err
	}
	filter := func(key string, option string, values ...string) {
		req.ParameterFilters = append(req.ParameterFilters, parameter.ParameterStringFilter{Key: key, Option: option, Values: values})
	}
	if path != "/" {
		filter("Path", "Recursive", path)
	}
	if s := p.str("type"); s != "" {
		filter("Type", "", s)
	}
	if s := p.str("label"); s != "" {
		filter("Label", "", s)
	}
	for _, kv := range *p.fs.Lookup("tag").Value.(*pairs) {
		k, v, _ := strings.Cut(kv, "=")
		filter("tag:"+k, "", v)
	}
	return a.with(ctx, func(w *world) error {
		list, err := w.query(req)
		if err != nil {
			return err
		}
		values := map[string]string{}
		if p.on("values") {
			for _, m := range list {
				text := "***"
				if m.Type != parameter.SecureString { // nothing is opened for a look
					got, err := w.GetParameter(w.ctx, parameter.GetParameterRequest{Name: m.Name + ":" + number(m.Version)})
					if err != nil {
						return err
					}
					text = got.Parameter.Value.Reveal()
				}
				values[m.Name] = text
			}
		}
		if a.wantsJSON() {
			return a.listJSON(list, values)
		}
		if len(list) == 0 {
			if len(req.ParameterFilters) == 0 && req.ModifiedSince.IsZero() {
				a.note("there are no parameters yet")
			} else {
				a.note("there are no such parameters below %s", fault.Clean(path))
			}
			return nil
		}
		head := []string{"NAME", "TYPE", "VERSION", "CHANGED", "BY"}
		if p.on("values") {
			head = append(head, "VALUE")
		}
		t := a.table(head...)
		grow(list).draw(path, func(text string, m *parameter.ParameterMetadata) {
			if m == nil {
				t.line(text)
				return
			}
			cells := []any{text, m.Type, m.Version, m.LastModifiedDate, m.LastModifiedUser}
			if p.on("values") {
				cells = append(cells, short(values[m.Name], widest))
			}
			t.row(cells...)
		})
		return t.end()
	})
}

func (a *app) listJSON(list []parameter.ParameterMetadata, values map[string]string) error {
	type entry struct {
		parameter.ParameterMetadata
		Value string `json:",omitempty"`
	}
	out := struct{ Parameters []entry }{[]entry{}}
	for _, m := range list {
		out.Parameters = append(out.Parameters, entry{m, values[m.Name]})
	}
	return a.json(out)
}

// node is one element of the names below it.
type node struct {
	name     string
	here     *parameter.ParameterMetadata // nil if there is only something below
	children []*node                      // in the order of the list
}

// grow makes a tree of a list.
func grow(list []parameter.ParameterMetadata) *node {
	root := &node{}
	byPath := map[string]*node{"": root}
	var at func(path string) *node
	at = func(path string) *node {
		if n := byPath[path]; n != nil {
			return n
		}
		i := strings.LastIndexByte(path, '/')
		n := &node{name: path[i+1:]}
		byPath[path] = n
		parent := at(path[:max(i, 0)])
		parent.children = append(parent.children, n)
		return n
	}
	for i := range list {
		at("/" + strings.TrimPrefix(list[i].Name, "/")).here = &list[i]
	}
	return root
}

// draw calls line for the path and each node below it, with the branches in front. What leads to the path is not drawn.
func (n *node) draw(path string, line func(text string, m *parameter.ParameterMetadata)) {
	for _, element := range strings.Split(strings.Trim(path, "/"), "/") {
		for _, c := range n.children {
			if c.name == element {
				n = c
				break
			}
		}
	}
	line(fault.Clean(path), n.here)
	n.branches("", line)
}

func (n *node) branches(indent string, line func(text string, m *parameter.ParameterMetadata)) {
	for i, c := range n.children {
		fork, below := "├── ", "│   "
		if i == len(n.children)-1 {
			fork, below = "└── ", "    "
		}
		line(indent+fork+fault.Clean(c.name), c.here)
		c.branches(indent+below, line)
	}
}

func historyFlags(fs *flag.FlagSet) {
	fs.Bool("values", false, "show the values of secrets too, which is recorded as reading them")
}

func (a *app) history(ctx context.Context, p *parsed) error {
	args, err := p.arg(1, "NAME")
	if err != nil {
		return err
	}
	return a.with(ctx, func(w *world) error {
		var all []parameter.ParameterHistory
		req := parameter.GetParameterHistoryRequest{Name: args[0], WithDecryption: p.on("values")}
		for {
			out, err := w.GetParameterHistory(w.ctx, req)
			if err != nil {
				return err
			}
			all = append(all, out.Parameters...)
			if req.NextToken = out.NextToken; req.NextToken == "" {
				break
			}
		}
		value := func(h parameter.ParameterHistory) string {
			if h.Type == parameter.SecureString && !p.on("values") {
				return "***"
			}
			return h.Value.Reveal()
		}
		if a.wantsJSON() {
			type entry struct {
				parameter.ParameterHistory
				Value string
			}
			out := struct{ Parameters []entry }{[]entry{}}
			for _, h := range all {
				out.Parameters = append(out.Parameters, entry{h, value(h)})
			}
			return a.json(out)
		}
		t := a.table("VERSION", "LABELS", "CHANGED", "BY", "TYPE", "TIER", "VALUE")
		for _, h := range all {
			t.row(h.Version, strings.Join(h.Labels, ","), h.LastModifiedDate, h.LastModifiedUser, h.Type, h.Tier, short(value(h), widest))
		}
		return t.end()
	})
}

func diffFlags(fs *flag.FlagSet) {
	fs.String("from", "", "the first side as it was then: a time, or how long ago, as 90m or 7d")
	fs.String("to", "", "the second side as it was then; without it now")
	fs.Bool("sealed", false, "do not open secrets: those that might differ are told as Unknown")
	fs.Bool("q", false, "only the exit code: 1 if anything differs")
}

// diff tells what changes on the way from the first side to the second.
func (a *app) diff(ctx context.Context, p *parsed) error {
	args, err := p.arg(1, "PATH", "PATH")
	if err != nil {
		return err
	}
	req := parameter.DiffRequest{A: parameter.Side{Path: args[0]}, B: parameter.Side{Path: args[len(args)-1]}, WithDecryption: !p.on("sealed")}
	if req.A.At, err = a.instant("from", p.str("from")); err != nil {
		return err
	}
	if req.B.At, err = a.instant("to", p.str("to")); err != nil {
		return err
	}
	if len(args) == 1 && req.A.At.IsZero() {
		return bad("give two paths, or one and -from TIME")
	}
	return a.with(ctx, func(w *world) error {
		diffs, err := w.Diff(w.ctx, req)
		if err != nil {
			return err
		}
		end := func(err error) error {
			if err == nil && p.on("q") && len(diffs) > 0 {
				return exit(exitRefused)
			}
			return err
		}
		text := func(x *parameter.Parameter) string {
			switch {
			case x == nil:
				return ""
			case x.Type == parameter.SecureString:
				return "***"
			}
			return x.Value.Reveal()
		}
		if a.wantsJSON() {
			type entry struct{ Name, Kind, Before, After string }
			out := []entry{}
			for _, d := range diffs {
				out = append(out, entry{d.Name, d.Kind, text(d.Before), text(d.After)})
			}
			return end(a.json(map[string]any{"Differences": out}))
		}
		if p.on("q") {
			return end(nil)
		}
		if len(diffs) == 0 {
			a.say("no difference")
			return nil
		}
		t := a.table("", "NAME", "BEFORE", "AFTER")
		sign := map[string]string{parameter.DiffAdded: "+", parameter.DiffRemoved: "-", parameter.DiffChanged: "~", parameter.DiffUnknown: "?"}
		side := func(x *parameter.Parameter) string {
			if x == nil {
				return ""
			}
			return short(text(x), widest) + " (v" + number(x.Version) + ")"
		}
		for _, d := range diffs {
			t.row(sign[d.Kind], d.Name, side(d.Before), side(d.After))
		}
		return t.end()
	})
}
