package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/ssmops"
)

// table prints aligned columns. Everything in them is made printable: names, tags and output are others' words.
type table struct{ w *tabwriter.Writer }

func (a *app) table(head ...string) *table {
	t := &table{tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(t.w, strings.Join(head, "\t"))
	return t
}

func (t *table) row(cells ...any) {
	out := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case ssmops.Time:
			out[i] = when(c.Time)
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

func (t *table) end() error { return t.w.Flush() }

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

// pages collects a list: ask returns one page and the token of the next, "" at the end. It stops when it has limit elements; 0 is all.
func pages[T any](limit int, ask func(token string) ([]T, string, error)) ([]T, error) {
	all := []T{}
	for token := ""; ; {
		list, next, err := ask(token)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
		if next == "" || limit > 0 && len(all) >= limit {
			return all, nil
		}
		token = next
	}
}

// instant reads a time of a flag or argument: RFC 3339, a date or a date and time of this machine's zone, now, or how long ago, as 72h or 3d.
func instant(what, s string) (time.Time, error) {
	if s == "now" {
		return time.Now(), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, form := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	text := s
	var days int
	if n, rest, ok := strings.Cut(s, "d"); ok {
		var err error
		if days, err = strconv.Atoi(n); err != nil || days < 0 || days > 100_000 {
			return time.Time{}, bad("%s: %q is no time: write 2026-03-01T12:00:00Z, 2026-03-01, now, 72h or 3d", what, fault.Clean(s))
		}
		if text = rest; text == "" {
			text = "0s"
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, bad("%s: %q is no time: write 2026-03-01T12:00:00Z, 2026-03-01, now, 72h or 3d", what, fault.Clean(s))
	}
	return time.Now().AddDate(0, 0, -days).Add(-d), nil
}

// facts prints names and values, one a line, those without value left out.
func (a *app) facts(rows ...[2]any) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		v := ""
		switch c := r[1].(type) {
		case time.Time:
			if !c.IsZero() {
				v = when(c)
			}
		default:
			v = fault.Clean(fmt.Sprint(c))
		}
		if v != "" {
			fmt.Fprintf(w, "%s\t%s\n", fault.Clean(fmt.Sprint(r[0])), v)
		}
	}
	return w.Flush()
}

func seconds(s float64) string {
	if s == 0 {
		return ""
	}
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// json prints v for scripts. What a terminal would act upon is written as \uNNNN, which is the same JSON.
func (a *app) json(v any) error {
	wire, err := ssmops.JSON(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, wire, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	var out strings.Builder
	for _, r := range b.String() {
		if s := string(r); r >= 0x7f && fault.Clean(s) != s {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	_, err = io.WriteString(a.stdout, out.String())
	return err
}

func (a *app) wantsJSON() bool { return a.conn.format == "json" }

// say prints a line, or nothing when JSON is wanted.
func (a *app) say(format string, args ...any) error {
	if a.wantsJSON() {
		return nil
	}
	_, err := fmt.Fprintf(a.stdout, format+"\n", args...)
	return err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&fs.ModeCharDevice != 0
}
