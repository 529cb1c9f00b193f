package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
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
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range b.String() {
		if s := string(r); r >= 0x7f && fault.Clean(s) != s {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	_, err := io.WriteString(a.stdout, out.String())
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
