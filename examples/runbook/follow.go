package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
)

// follow lets an execution run, does something to it unless that is nil, and shows every transition, those from a time on, until it ends or waits for somebody who is not here.
func (a *app) follow(ctx context.Context, p *parsed, d *desk, id string, since time.Time, do func(x *automation.Execution) error) error {
	x, rb, err := d.Get(as(ctx, ""), id)
	if err != nil {
		return err
	}
	if x.Status.Done() {
		if do != nil {
			return do(x) // which is refused, and says why
		}
		return a.ended(x)
	}
	if !since.IsZero() {
		fmt.Fprintf(a.stdout, "Execution %s of %s, begun %s, %d steps so far\n", x.ID, x.Document, x.Created.Local().Format("2006-01-02 15:04:05"), len(x.Steps))
	}
	if d.fakes != nil && !since.IsZero() { // answers that were used before are not given again
		_, history, err := d.History(as(ctx, ""), id)
		if err != nil {
			return err
		}
		d.fakes.resume(x, history)
	}
	if err := d.work(ctx, a.stdout); err != nil {
		return err
	}
	if do != nil {
		if err := do(x); err != nil {
			return err
		}
		if x, err = taken(ctx, d, id, x.Sequence); err != nil {
			return err
		}
	}
	pr := &progress{a: a, width: 4, began: x.Created}
	for _, s := range rb.StepExecutions(x) {
		pr.width = max(pr.width, min(utf8.RuneCountInString(s.Name), 32))
		pr.action = max(pr.action, len(s.Action))
	}
	if !since.IsZero() && (x.Status == automation.Waiting || x.NextStep != "") { // it stood before: what it waits for is no news
		since = time.Time{}
		pr.quiet = len(x.Steps)
	}
	for e, err := range d.Events(as(ctx, ""), id, 0) {
		if ctx.Err() != nil {
			return a.leave(id)
		}
		if err != nil {
			return err
		}
		kind, isStep := strings.CutPrefix(e.Kind, "Step")
		if !isStep {
			st := automation.Status(strings.TrimPrefix(e.Kind, "Execution"))
			if st.Done() {
				break
			}
			if st == automation.Waiting {
				if left, err := a.nextStep(ctx, p, d, id); left || err != nil {
					return a.orLeave(ctx, id, err)
				}
			}
			continue
		}
		var ev struct {
			ID      string `json:"stepExecutionId"`
			Name    string `json:"stepName"`
			Action  string `json:"action"`
			Attempt int    `json:"attempt"`
			Message string `json:"message"`
		}
		if json.Unmarshal(e.Data, &ev) != nil {
			continue
		}
		now, _, err := d.Get(as(ctx, ""), id)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(now.Steps, func(s automation.Step) bool { return s.ID == ev.ID })
		if i < 0 {
			continue
		}
		if e.Time.After(since) && i >= pr.quiet || automation.Status(kind) == automation.Waiting && now.Steps[i].Status == automation.Waiting {
			pr.line(e.Time, &now.Steps[i], automation.Status(kind), ev.Attempt, ev.Message)
		}
		if automation.Status(kind) == automation.Waiting && now.Steps[i].Status == automation.Waiting {
			if left, err := a.answer(ctx, p, d, id, &now.Steps[i]); left || err != nil {
				return a.orLeave(ctx, id, err)
			}
		}
	}
	if x, _, err = d.Get(as(ctx, ""), id); err != nil {
		return err
	}
	if !x.Status.Done() {
		return a.leave(id)
	}
	return a.ended(x)
}

// leave says how to go on with an execution that has not ended.
func (a *app) leave(id string) error {
	fmt.Fprintf(a.stdout, "\nLeft as it is: go on with `resume %s`, or `stop %s`.\n", short(id), short(id))
	return errNot
}

// orLeave is the end of following an execution that waits for somebody who is not here, or who pressed Ctrl-C.
func (a *app) orLeave(ctx context.Context, id string, err error) error {
	switch {
	case err == nil:
		return errNot
	case ctx.Err() != nil:
		return a.leave(id)
	}
	return err
}

// progress prints aligned lines.
type progress struct {
	a             *app
	width, action int
	began         time.Time
	quiet         int // steps that were told before
}

func (pr *progress) line(at time.Time, s *automation.Step, st automation.Status, attempt int, message string) {
	name := s.Name
	if s.Parent != nil {
		name = fmt.Sprintf("%s #%d", name, s.Parent.Iteration)
	}
	word, text := string(st), ""
	if attempt > 1 {
		word += fmt.Sprintf(" (%d)", attempt)
	}
	switch {
	case st.Done():
		if d := s.End.Sub(s.Start); d > 0 {
			text = fmt.Sprintf("%7.2fs  ", d.Seconds())
		} else {
			text = strings.Repeat(" ", 10)
		}
		if s.Failure != nil {
			message = why(s.Failure)
		}
		if message != "" {
			text += cut(message, 120)
		} else if len(s.Decisions) > 0 {
			text += "by " + decided(s)
		} else {
			text += cut(outputs(s.Outputs), 120)
		}
	case st == automation.Waiting && s.Action == "aws:approve":
		text = "          for " + strings.Join(automation.Strings(s.Inputs["Approvers"]), ", ")
	case s.Action == "aws:sleep" && !s.Until.IsZero():
		text = "          until " + s.Until.Local().Format("15:04:05")
	}
	fmt.Fprintln(pr.a.stdout, strings.TrimRight(fmt.Sprintf("%8.2fs  %-*s  %-*s  %-11s%s", max(at.Sub(pr.began), 0).Seconds(), pr.width, cut(name, 32), pr.action, s.Action, word, text), " "))
}

// why is a failure with what a command wrote, or why it was not run.
func why(f *automation.Failure) string {
	text := f.Message
	for _, k := range []string{"Reason", "Output", "Child"} {
		if v := strings.TrimSpace(strings.Join(f.Details[k], " ")); v != "" {
			return text + ": " + v
		}
	}
	return text
}

// decided says who decided what.
func decided(s *automation.Step) string {
	var parts []string
	for _, d := range s.Decisions {
		part := fault.Clean(d.By)
		if d.Comment != "" {
			part += " (" + cut(d.Comment, 60) + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// outputs shows a step's outputs on a line, those that say most first.
func outputs(out map[string]any) string {
	if v, ok := out["Output"]; ok && len(out) > 1 { // of a command: what it wrote says most
		return strings.TrimSpace(strings.Join(automation.Strings(v), " "))
	}
	declared := false // of a script whose step reads its answer, that says enough
	for k := range out {
		declared = declared || k != "Payload" && k != "OutputPayload" && k != "Stdout" && k != "Stderr"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(out)) {
		if (k == "Stdout" || k == "Stderr") && out[k] == "" || k == "Payload" && declared {
			continue
		}
		parts = append(parts, k+"="+strings.Join(automation.Strings(out[k]), ","))
	}
	return strings.Join(parts, "  ")
}

func cut(s string, n int) string {
	r := []rune(fault.Clean(strings.Join(strings.Fields(s), " ")))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

// ended says how an execution ended.
func (a *app) ended(x *automation.Execution) error {
	fmt.Fprintf(a.stdout, "%s after %v, %d steps\n", x.Status, x.End.Sub(x.Created).Round(10*time.Millisecond), len(x.Steps))
	for _, k := range slices.Sorted(maps.Keys(x.Outputs)) {
		fmt.Fprintf(a.stdout, "  %s = %s\n", fault.Clean(k), cut(strings.Join(automation.Strings(x.Outputs[k]), ", "), 200))
	}
	if x.Status == automation.Success {
		return nil
	}
	if x.Failure != nil {
		where := ""
		if s := x.Failure.Details["StepName"]; len(s) > 0 {
			where = " in step " + fault.Clean(s[0])
		}
		fmt.Fprintf(a.stdout, "  %s%s: %s\n", x.Failure.Stage, where, cut(why(x.Failure), 400))
	}
	return errNot
}

// answer decides what a step waits for; left says that nobody is here who could.
func (a *app) answer(ctx context.Context, p *parsed, d *desk, id string, s *automation.Step) (left bool, err error) {
	if s.Action == "aws:pause" {
		switch {
		case p.on("yes"):
		case a.terminal && !p.on("no"):
			if _, err := a.ask(ctx, fmt.Sprintf("           %s is paused: press Enter to go on ", s.Name)); err != nil {
				return false, err
			}
		default:
			fmt.Fprintf(a.stdout, "\nStep %s is paused: go on with `resume %s %s`.\n", s.Name, short(id), s.Name)
			return true, nil
		}
		return false, d.Signal(as(ctx, ""), id, automation.Signal{Type: automation.Resume, Step: s.Name})
	}
	if s.Action != "aws:approve" {
		return false, nil
	}
	for {
		x, _, err := d.Get(as(ctx, ""), id)
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(x.Steps, func(o automation.Step) bool { return o.ID == s.ID })
		if i < 0 || x.Steps[i].Status != automation.Waiting {
			return false, nil
		}
		s = &x.Steps[i]
		who := p.str("as")
		if who == "" {
			who = nextApprover(s)
		}
		typ := automation.Approve
		switch {
		case p.on("yes"):
		case p.on("no"):
			typ = automation.Reject
		case a.terminal:
			if text := automation.Strings(s.Inputs["Message"]); len(text) > 0 && text[0] != "" {
				fmt.Fprintf(a.stdout, "           %s\n", cut(text[0], 400))
			}
			yes, err := a.ask(ctx, fmt.Sprintf("           approve %s as %s? yes, no, or leave it for later [y/n/Enter] ", s.Name, fault.Clean(who)))
			if err != nil {
				return false, err
			}
			switch strings.ToLower(yes) {
			case "y", "yes":
			case "n", "no":
				typ = automation.Reject
			default:
				fmt.Fprintf(a.stdout, "Left waiting: `approve %s %s` or `reject %s %s`.\n", short(id), s.Name, short(id), s.Name)
				return true, nil
			}
		default:
			fmt.Fprintf(a.stdout, "\nStep %s waits for an approval: `approve %s %s` or `reject %s %s`.\n", s.Name, short(id), s.Name, short(id), s.Name)
			return true, nil
		}
		if err := d.Signal(as(ctx, who), id, automation.Signal{Type: typ, Step: s.Name}); err != nil {
			return false, err
		}
		if _, err := taken(ctx, d, id, x.Sequence); err != nil {
			return false, err
		}
	}
}

// taken waits until the owner has taken what was sent: until more than so many events were applied.
func taken(ctx context.Context, d *desk, id string, before int) (*automation.Execution, error) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		x, _, err := d.Get(as(ctx, ""), id)
		if err != nil || x.Sequence > before {
			return x, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

// nextStep starts the next step of an interactive execution.
func (a *app) nextStep(ctx context.Context, p *parsed, d *desk, id string) (left bool, err error) {
	x, _, err := d.Get(as(ctx, ""), id)
	if err != nil || x.NextStep == "" || x.Status.Done() {
		return false, err
	}
	switch {
	case p.on("yes"):
	case a.terminal:
		said, err := a.ask(ctx, fmt.Sprintf("           next is %s: start it? yes, or leave it for later [y/Enter] ", x.NextStep))
		if err != nil {
			return false, err
		}
		if s := strings.ToLower(said); s != "y" && s != "yes" {
			fmt.Fprintf(a.stdout, "Left waiting: `resume %s`.\n", short(id))
			return true, nil
		}
	default:
		fmt.Fprintf(a.stdout, "\nThe next step is %s: start it with `resume %s %s`.\n", x.NextStep, short(id), x.NextStep)
		return true, nil
	}
	return false, d.Signal(as(ctx, ""), id, automation.Signal{Type: automation.StartStep, Step: x.NextStep})
}

// ask reads a line of the terminal.
func (a *app) ask(ctx context.Context, text string) (string, error) {
	if a.lines == nil {
		lines := make(chan string)
		a.lines = lines
		go func() { // it ends with the program: a read of a terminal cannot be called off
			defer close(lines)
			for s := bufio.NewScanner(a.stdin); s.Scan(); {
				lines <- strings.TrimSpace(s.Text())
			}
		}()
	}
	fmt.Fprint(a.stdout, text)
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.stdout)
		return "", ctx.Err()
	case line, ok := <-a.lines:
		if !ok {
			fmt.Fprintln(a.stdout)
		}
		return line, nil
	}
}
