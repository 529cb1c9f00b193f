package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// printText writes each finding with the line it is about and a caret below the place. Nothing of a document reaches a terminal as it is: control
// characters are escaped.
func printText(w io.Writer, l *lint) error {
	var b bytes.Buffer
	fixed, left := 0, 0
	for _, f := range l.files {
		for _, done := range f.fixed {
			fmt.Fprintf(&b, "%s: fixed: %s\n", place(done), fault.Clean(done.Message))
			fixed++
		}
		for _, found := range f.findings {
			fmt.Fprintf(&b, "%s: %s: %s [%s]\n", place(found), found.Severity, fault.Clean(found.Message), found.Code)
			if line, caret, ok := excerpt(f.src, found); ok {
				fmt.Fprintf(&b, "%6d | %s\n       | %s^\n", found.Line, line, strings.Repeat(" ", caret))
			}
			if len(found.Edits) > 0 {
				left++
			}
		}
		if f.name == "-" && (l.fix || l.upgrade) && len(f.fixed) > 0 {
			fmt.Fprintf(&b, "%s\n", f.src)
		}
	}
	errors, warnings, advice := l.count(document.Error), l.count(document.Warning), l.count(document.Advice)
	fmt.Fprintf(&b, "%s: ", plural(len(l.files), "document"))
	var parts []string
	for _, p := range []struct {
		n    int
		name string
	}{{fixed, "fix"}, {errors, "error"}, {warnings, "warning"}} {
		if p.n > 0 {
			parts = append(parts, plural(p.n, p.name))
		}
	}
	if advice > 0 {
		parts = append(parts, fmt.Sprintf("%d advice", advice))
	}
	if parts == nil {
		parts = []string{"nothing to say"}
	}
	b.WriteString(strings.Join(parts, ", "))
	if left > 0 && !l.fix {
		fmt.Fprintf(&b, "; -fix can mend %d", left)
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

func plural(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "x"):
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// place is file:line:column.
func place(f document.Finding) string {
	name := fault.Clean(f.File)
	if f.Line == 0 {
		return name
	}
	return fmt.Sprintf("%s:%d:%d", name, f.Line, f.Column)
}

// around is how much of a long line is shown before and after the place.
const around = 60

// excerpt returns the line of a finding, safe to print, and how far the place is from its begin. A line with a secret is not shown.
func excerpt(src []byte, f document.Finding) (line string, caret int, ok bool) {
	if f.Line == 0 || f.Code == "secret-plain" || f.Code == "too-large" {
		return "", 0, false
	}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	for range f.Line - 1 {
		i := bytes.IndexByte(src, '\n')
		if i < 0 {
			return "", 0, false
		}
		src = src[i+1:]
	}
	src, _, _ = bytes.Cut(src, []byte("\n"))
	text := []rune(strings.ToValidUTF8(strings.TrimSuffix(string(src), "\r"), "\ufffd"))
	at := min(f.Column-1, len(text))
	from, to := max(0, at-around), min(len(text), at+around)
	show := func(r []rune) string { return fault.Clean(strings.ReplaceAll(string(r), "\t", "    ")) }
	head, tail := show(text[from:at]), show(text[at:to])
	if from > 0 {
		head = "…" + head
	} else if from == 0 {
		trimmed := strings.TrimLeft(head, " ")
		if len(head)-len(trimmed) > 8 { // the margin tells nothing
			head = "  " + trimmed
		}
	}
	if to < len(text) {
		tail += "…"
	}
	return head + tail, utf8.RuneCountInString(head), true
}
