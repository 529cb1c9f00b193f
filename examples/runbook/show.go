package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
)

// plan is a dry run.
func (a *app) plan(_ context.Context, p *parsed) error {
	if err := p.arg("FILE"); err != nil {
		return err
	}
	params, err := readParameters(p)
	if err != nil {
		return err
	}
	rb, err := readRunbook(p.args[0])
	if err != nil {
		return err
	}
	pv, err := rb.Preview(automation.Start{Parameters: params}, a.now())
	if err != nil {
		return bad("%s", fault.MessageOf(err))
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STEP\tACTION\tEFFECT\tRUNS\tTHEN\tINPUTS")
	for _, s := range pv.Steps {
		runs := "if need be"
		if s.Likely {
			runs = "likely"
		}
		then := strings.Join(s.Next, " or ")
		if then == "" {
			then = "end"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Action, effect(s.Impact), runs, cut(then, 60), cut(inputs(s.Inputs), 100))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%d steps: %d mutating, %d not mutating, %d undetermined\n", len(pv.Steps), pv.Impacts[automation.Mutating], pv.Impacts[automation.NonMutating], pv.Impacts[automation.Undetermined])
	return nil
}

func effect(i automation.Impact) string {
	return map[automation.Impact]string{automation.Mutating: "mutating", automation.NonMutating: "none", automation.Undetermined: "undetermined"}[i]
}

func inputs(in map[string]any) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(in)) {
		parts = append(parts, k+"="+strings.Join(automation.Strings(in[k]), ","))
	}
	return strings.Join(parts, "  ")
}

// explore says what can go wrong.
func (a *app) explore(_ context.Context, p *parsed) error {
	if err := p.arg("FILE"); err != nil {
		return err
	}
	rb, err := readRunbook(p.args[0])
	if err != nil {
		return err
	}
	o := &automation.ExploreOptions{Cancel: p.on("cancel")}
	fmt.Sscan(p.str("states"), &o.States) //nolint:errcheck // the flag is a number
	e, err := rb.Explore(o)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%d states, %d ways to an end:", e.States, e.Paths)
	for _, st := range automation.Statuses() {
		if n := e.Ends[st]; n > 0 {
			fmt.Fprintf(a.stdout, " %d %s", n, st)
		}
	}
	fmt.Fprintln(a.stdout)
	if e.Truncated {
		fmt.Fprintln(a.stdout, "There is more than that: the bound was reached. Give a greater -states.")
	}
	for _, w := range e.Warnings {
		fmt.Fprintf(a.stdout, "\n%s: %s\n", w.Kind, fault.Clean(w.Message))
		for i, h := range w.Path {
			fmt.Fprintf(a.stdout, "  %2d. %s %s\n", i+1, h.Step, h.Outcome)
		}
	}
	if len(e.Warnings) == 0 {
		fmt.Fprintln(a.stdout, "Nothing to complain of.")
	}
	return nil
}

// graph draws.
func (a *app) graph(ctx context.Context, p *parsed) error {
	if err := p.arg("FILE|ID"); err != nil {
		return err
	}
	var x *automation.Execution
	rb, err := readRunbook(p.args[0])
	if errors.Is(err, fs.ErrNotExist) {
		id, ferr := find(p.dir, p.args[0])
		if ferr != nil {
			return fault.New("runbook", fault.DoesNotExist, "%q is neither a file nor the id of an execution", fault.Clean(p.args[0]))
		}
		d, oerr := open(ctx, p.dir, id, nil, 0)
		if oerr != nil {
			return oerr
		}
		defer d.close()
		x, rb, err = d.Get(as(ctx, ""), id)
	}
	if err != nil {
		return err
	}
	if file := p.str("svg"); file != "" {
		return os.WriteFile(file, rb.SVG(x), 0o644)
	}
	fmt.Fprint(a.stdout, rb.Mermaid(x))
	return nil
}

// list lists executions. One that another process runs cannot be looked into.
func (a *app) list(ctx context.Context, p *parsed) error {
	if err := p.arg(); err != nil {
		return err
	}
	ids, err := folders(p.dir, "")
	if err != nil {
		return err
	}
	type row struct {
		id string
		n  note
	}
	var rows []row
	for _, id := range ids {
		if n, err := readNote(p.dir, id); err == nil {
			rows = append(rows, row{id, n})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return b.n.Created.Compare(a.n.Created) })
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "EXECUTION\tCREATED\tRUNBOOK\tSTATUS\tSTEP\tTIME\tMESSAGE")
	for _, r := range rows {
		cells := []string{r.id, r.n.Created.Local().Format("2006-01-02 15:04:05"), cut(r.n.Document, 40), "not started", "-", "-", "-"}
		d, err := open(ctx, p.dir, r.id, nil, 20*time.Millisecond)
		if err != nil {
			cells[3], cells[6] = "runs elsewhere", cut(reason(err), 80)
		} else {
			if x, _, err := d.Get(as(ctx, ""), r.id); err == nil {
				cells[3] = string(x.Status)
				if cells[4] = x.NextStep; x.Current >= 0 {
					cells[4] = x.Steps[x.Current].Name
				}
				if x.Failure != nil {
					cells[6] = cut(why(x.Failure), 60)
				}
				if x.Status.Done() {
					cells[5] = x.End.Sub(x.Created).Round(10 * time.Millisecond).String()
				}
			}
			d.close()
		}
		for i := range cells {
			if cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// history shows every entry of an execution's history and what it changed. The service has checked the hashes and decided all of it again.
func (a *app) history(ctx context.Context, p *parsed) error {
	if err := p.arg("ID", "[CHILD]"); err != nil {
		return err
	}
	id, err := find(p.dir, p.args[0])
	if err != nil {
		return err
	}
	d, err := open(ctx, p.dir, id, nil, 0)
	if err != nil {
		return err
	}
	defer d.close()
	if len(p.args) > 1 {
		id = p.args[1]
	}
	first, entries, err := d.History(as(ctx, ""), id)
	if err != nil {
		return err
	}
	_, rb, err := d.Get(as(ctx, ""), id)
	if err != nil {
		return err
	}
	x := first
	fmt.Fprintf(a.stdout, "Execution %s of %s, %s, started by %s\n", x.ID, fault.Clean(x.Document), x.Mode, fault.Clean(x.StartedBy))
	if d.note.ForkedFrom != "" {
		fmt.Fprintf(a.stdout, "Forked from %s; it has the steps up to there\n", d.note.ForkedFrom)
	}
	for _, k := range slices.Sorted(maps.Keys(x.Parameters)) {
		fmt.Fprintf(a.stdout, "  %s = %s\n", fault.Clean(k), cut(strings.Join(automation.Strings(x.Parameters[k]), ", "), 100))
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for i, e := range entries {
		before := map[string]automation.Status{}
		for _, s := range x.Steps {
			before[s.ID] = s.Status
		}
		was := x.Status
		what := event(&e.Event, x)
		if i == 0 && what == "time passes" {
			what = "is taken up"
		}
		if _, err := rb.Step(x, e.Event, e.At); err != nil {
			return err
		}
		var changed []string
		for _, s := range x.Steps {
			if before[s.ID] != s.Status {
				changed = append(changed, fmt.Sprintf("%s %s", s.Name, s.Status))
			}
		}
		if x.Status != was {
			changed = append(changed, "execution "+string(x.Status))
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", i+1, e.At.Local().Format("15:04:05.000"), what, strings.Join(changed, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s; %d entries, every hash and every decision checked\n", x.Status, len(entries))
	return nil
}

// event is an event for people.
func event(e *automation.Event, x *automation.Execution) string {
	name := func(id string) string {
		for i := range x.Steps {
			if x.Steps[i].ID == id {
				return x.Steps[i].Name
			}
		}
		return "a step"
	}
	switch {
	case e.Begin:
		return "begins"
	case e.Result != nil && e.Result.Failure != nil:
		return fmt.Sprintf("%s, attempt %d: %s", name(e.Result.StepID), e.Result.Attempt, cut(why(e.Result.Failure), 120))
	case e.Result != nil:
		return fmt.Sprintf("%s answers %s", name(e.Result.StepID), brief(e.Result.Output))
	case e.Resolved != nil:
		return fmt.Sprintf("targets are %d", len(e.Resolved.Values))
	case e.Child != nil:
		return fmt.Sprintf("child %s ended: %s", e.Child.ID, e.Child.Status)
	case e.Signal != nil:
		text := fmt.Sprintf("%s by %s", e.Signal.Type, cut(e.Signal.By, 40))
		if e.Signal.Comment != "" {
			text += ": " + cut(e.Signal.Comment, 60)
		}
		return text
	case e.Stop != nil:
		return fmt.Sprintf("stop (%s) by %s", e.Stop.Type, cut(e.Stop.By, 40))
	}
	return "time passes"
}

func brief(v any) string {
	if m, ok := v.(map[string]any); ok {
		if o := outputs(m); o != "" {
			return cut(o, 70)
		}
	}
	b, err := json.Marshal(v)
	if err != nil || v == nil {
		return "nothing"
	}
	return cut(string(b), 70)
}
