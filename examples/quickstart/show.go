package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
)

// table aligns columns.
type table struct{ rows [][]string }

func newTable(head ...string) *table { return &table{[][]string{head}} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	widths := map[int]int{}
	for _, r := range t.rows {
		for i, c := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, r := range t.rows {
		var b strings.Builder
		for i, c := range r {
			b.WriteString("  " + c + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// terminal reports whether w can move its cursor.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// watch shows a command live until it ended: in a terminal one line that moves, else a line for each change. each is called after every update.
func watch(ctx context.Context, f *fleetwright.Fleet, id string, names map[string]node.Info, w io.Writer, each func(command.Update)) (command.Command, error) {
	moving := terminal(w)
	began := time.Now()
	said := map[string]string{} // so that only news is a line
	for u, err := range f.Commands.Events(ctx, id, 0) {
		if err != nil {
			return command.Command{}, err
		}
		p := u.Command
		if moving {
			const width = 30
			done := 0
			if p.Targets > 0 {
				done = width * p.Completed / p.Targets
			}
			fmt.Fprintf(w, "\r\x1b[K  [%s%s] %d/%d done, %d running, %d failed  %s", strings.Repeat("#", done), strings.Repeat(".", width-done), p.Completed, p.Targets, p.Running, p.Errors, p.Detail)
		} else {
			for _, c := range u.Changes {
				text := changeText(c)
				if text == "" || said[c.Node] == text {
					continue
				}
				said[c.Node] = text
				fmt.Fprintf(w, "  %6.2fs  %-8s %s\n", time.Since(began).Seconds(), name(names, c.Node), text)
			}
		}
		if each != nil {
			each(u)
		}
	}
	if moving {
		fmt.Fprint(w, "\r\x1b[K")
	}
	return f.Commands.Get(ctx, id)
}

func changeText(c command.Change) string {
	switch {
	case c.Detail == message.DetailPending || c.Detail == message.DetailInProgress && c.Step == 0:
		return "" // offered, or told to run: what matters is that it runs
	case c.Detail == message.DetailCancelling:
		return string(c.Detail)
	case c.Detail.Terminal():
		text := string(c.Detail)
		if c.ExitCode > 0 {
			text += fmt.Sprintf(" (exit %d)", c.ExitCode)
		}
		return text
	case c.Step > 0:
		return fmt.Sprintf("%s, step %d of %d: %s", c.Detail, c.Step, c.Steps, fault.Clean(c.StepName))
	}
	return string(c.Detail)
}

func name(names map[string]node.Info, id string) string {
	if n, ok := names[id]; ok && n.Name != "" {
		return fault.Clean(n.Name)
	}
	return fault.Clean(id)
}

// results prints the table of a command's invocations.
func results(ctx context.Context, f *fleetwright.Fleet, c command.Command, names map[string]node.Info, w io.Writer) error {
	t := newTable("NODE", "STATUS", "EXIT", "TIME", "OUTPUT")
	for token := ""; ; {
		page, next, err := f.Commands.Invocations(ctx, command.ListRequest{Command: c.ID, NextToken: token})
		if err != nil {
			return err
		}
		for _, r := range page {
			exit, took := "-", "-"
			if r.ExitCode >= 0 {
				exit = fmt.Sprint(r.ExitCode)
			}
			if d := r.Elapsed(time.Now()); d > 0 {
				took = fmt.Sprintf("%.2fs", d.Seconds())
			}
			line := command.Line(r.Steps)
			if line == "" {
				line = r.Reason
			}
			t.add(name(names, r.Node), string(r.Detail), exit, took, fault.Clean(cut(line, 60)))
		}
		if token = next; next == "" {
			break
		}
	}
	slices.SortFunc(t.rows[1:], slices.Compare)
	t.print(w)
	fmt.Fprintf(w, "  %s: %d targets", c.StatusDetails, c.TargetCount)
	for _, d := range []message.Detail{message.DetailSuccess, message.DetailFailed, message.DetailInterrupted, message.DetailExecutionTimedOut, message.DetailDeliveryTimedOut, message.DetailCancelled,
		message.DetailTerminated, message.DetailUndeliverable, message.DetailInvalidPlatform, message.DetailAccessDenied} {
		if n := c.Counts[d]; n > 0 {
			fmt.Fprintf(w, ", %d %s", n, d)
		}
	}
	fmt.Fprintln(w)
	return nil
}

func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
