package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// table prints aligned columns. Everything in them is made printable: names and values are others' words.
type table struct {
	w       *tabwriter.Writer
	aligned bytes.Buffer
	out     io.Writer
	columns int
}

func (a *app) table(head ...string) *table {
	t := &table{out: a.stdout, columns: len(head)}
	t.w = tabwriter.NewWriter(&t.aligned, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t.w, strings.Join(head, "\t"))
	return t
}

// line adds a row that has only its first column.
func (t *table) line(s string) { fmt.Fprintln(t.w, s+strings.Repeat("\t", t.columns-1)) }

func (t *table) row(cells ...any) {
	out := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case time.Time:
			out[i] = when(c)
		default:
			out[i] = fault.Clean(fmt.Sprint(c))
		}
		if out[i] == "" {
			out[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(out, "\t"))
}

// end prints the rows, without the blanks that alignment leaves at their ends.
func (t *table) end() error {
	if err := t.w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(t.aligned.String()) {
		if _, err := io.WriteString(t.out, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// short cuts a text to n characters.
func short(s string, n int) string {
	r := []rune(fault.Clean(s))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

// json prints v for scripts. What a terminal would act upon is written as \uNNNN, which is the same JSON.
func (a *app) json(v any) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range b.String() {
		if s := string(r); r >= 0x7f && r <= 0xffff && fault.Clean(s) != s {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	_, err := io.WriteString(a.stdout, out.String())
	return err
}

func (a *app) wantsJSON() bool { return a.format == "json" }

// say prints a line, or nothing when JSON is wanted.
func (a *app) say(format string, args ...any) {
	if !a.wantsJSON() {
		fmt.Fprintf(a.stdout, format+"\n", args...)
	}
}

// note tells a person something that is no answer.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, "params: "+format+"\n", args...)
}

// few joins names, the first of many.
func few(names []string) string {
	const most = 5
	out := make([]string, 0, most)
	for _, n := range names[:min(len(names), most)] {
		out = append(out, fault.Clean(n))
	}
	s := strings.Join(out, ", ")
	if len(names) > most {
		s += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return s
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

func isTerminal(x any) bool {
	f, ok := x.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&fs.ModeCharDevice != 0 && st.Name() != os.DevNull
}

// instant reads a time: RFC 3339, a local date with or without a time, or how long ago ("90m", "7d").
func (a *app) instant(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	text := s
	days := 0
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if _, err := fmt.Sscanf(n+"\n", "%d\n", &days); err == nil && days >= 0 {
			text = "0s"
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return a.now().AddDate(0, 0, -days).Add(-d), nil
	}
	return time.Time{}, bad("-%s \"%s\" is no time: give 2026-01-31T12:00:00Z, \"2026-01-31 12:00\" or how long ago, as 90m or 7d", flag, fault.Clean(s))
}
