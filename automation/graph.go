package automation

import (
	"fmt"
	"strings"
)

// edge is a way from a step to another.
type edge struct {
	from, to int  // -1 is the end
	kind     byte // n next, b branch, f failure, c cancel
	label    string
}

// edges are the ways through a runbook, by the order of the steps.
func (rb *Runbook) edges() (out []edge) {
	for i := range rb.steps {
		s := &rb.steps[i]
		for j := range s.choices {
			out = append(out, edge{i, rb.byName[s.choices[j].next], 'b', s.choices[j].test.String()})
		}
		switch {
		case s.Action == "aws:branch" && s.a.Otherwise != "":
			out = append(out, edge{i, rb.byName[s.a.Otherwise], 'b', "otherwise"})
		case s.a.End:
			if s.loop < 0 {
				out = append(out, edge{i, -1, 'n', ""})
			}
		case s.a.NextStep != "":
			out = append(out, edge{i, rb.byName[s.a.NextStep], 'n', ""})
		case s.next >= 0:
			out = append(out, edge{i, s.next, 'n', ""})
		case s.loop < 0:
			out = append(out, edge{i, -1, 'n', ""})
		}
		if name, ok := strings.CutPrefix(s.a.OnFailure, "step:"); ok {
			out = append(out, edge{i, rb.byName[name], 'f', "on failure"})
		}
		if name, ok := strings.CutPrefix(s.a.OnCancel, "step:"); ok {
			out = append(out, edge{i, rb.byName[name], 'c', "on cancel"})
		}
	}
	return out
}

// String is a condition for people.
func (t *test) String() string {
	switch t.op {
	case "And", "Or":
		parts := make([]string, len(t.parts))
		for i := range t.parts {
			parts[i] = t.parts[i].String()
		}
		return "(" + strings.Join(parts, " "+strings.ToLower(t.op)+" ") + ")"
	case "Not":
		if len(t.parts) == 1 {
			return "not " + t.parts[0].String()
		}
	}
	return strings.TrimSpace(clip(t.subject.String()) + " " + t.op + " " + clip(t.operand.String()))
}

// String is a value as it is written.
func (n *node) String() string {
	if n.shape == 's' {
		var b strings.Builder
		for _, s := range n.segs {
			if s.ref != "" {
				b.WriteString(s.ref)
			} else {
				b.WriteString(s.text)
			}
		}
		return b.String()
	}
	if n.lit == nil {
		return ""
	}
	return text(n.lit)
}

// colours of the statuses, fill and line.
func colours(st Status) (fill, line string) {
	switch st {
	case Success:
		return "#d9f2e0", "#1a7f37"
	case Failed:
		return "#fde2e1", "#cf222e"
	case TimedOut:
		return "#ffe8d1", "#bc4c00"
	case Cancelled, Cancelling:
		return "#e6e6ea", "#57606a"
	case InProgress:
		return "#dbeafe", "#0969da"
	case Waiting:
		return "#fff6cc", "#9a6700"
	}
	return "#ffffff", "#8c959f"
}

// Mermaid draws a runbook as a Mermaid flow chart, those of its steps that an execution began coloured by their statuses. x may be nil.
func (rb *Runbook) Mermaid(x *Execution) string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	b.WriteString("  begin([\"Start\"]) --> s0\n")
	box := func(indent string, i int) {
		s := &rb.steps[i]
		open, shut := "[", "]"
		switch s.Action {
		case "aws:branch":
			open, shut = "{", "}"
		case "aws:approve", "aws:pause", "aws:sleep":
			open, shut = "([", "])"
		}
		fmt.Fprintf(&b, "%ss%d%s\"%s<br/><small>%s%s</small>\"%s\n", indent, i, open, mermaidText(s.Name), mermaidText(s.Action), runs(x, s), shut)
	}
	for i := range rb.steps {
		s := &rb.steps[i]
		switch {
		case s.loop >= 0:
		case len(s.body) > 0:
			box("  ", i)
			fmt.Fprintf(&b, "  subgraph loop%d[\"each round of %s\"]\n", i, mermaidText(s.Name))
			for _, j := range s.body {
				box("    ", j)
			}
			b.WriteString("  end\n")
			fmt.Fprintf(&b, "  s%d -.-> s%d\n", i, s.body[0])
		default:
			box("  ", i)
		}
	}
	end := false
	for _, e := range rb.edges() {
		to := fmt.Sprintf("s%d", e.to)
		if e.to < 0 {
			end, to = true, "finish"
		}
		arrow := "-->"
		switch e.kind {
		case 'f':
			arrow = "-.->"
		case 'c':
			arrow = "-. cancel .->"
		}
		if e.label != "" && e.kind != 'c' {
			arrow += "|\"" + mermaidText(e.label) + "\"|"
		}
		fmt.Fprintf(&b, "  s%d %s %s\n", e.from, arrow, to)
	}
	if end {
		b.WriteString("  finish([\"End\"])\n")
	}
	if x != nil {
		for i := range rb.steps {
			if rec := x.latest(rb.steps[i].Name); rec != nil {
				fill, line := colours(rec.Status)
				fmt.Fprintf(&b, "  style s%d fill:%s,stroke:%s\n", i, fill, line)
			}
		}
	}
	return b.String()
}

// runs says how often a step was run, when that was more than once.
func runs(x *Execution, s *step) string {
	n, last := 0, Status("")
	if x != nil {
		for i := range x.Steps {
			if x.Steps[i].Name == s.Name {
				n, last = n+1, x.Steps[i].Status
			}
		}
	}
	switch {
	case n == 0:
		return ""
	case n == 1:
		return " · " + string(last)
	}
	return fmt.Sprintf(" · %d × %s", n, last)
}

var mermaidReplacer = strings.NewReplacer("&", "&amp;", "\"", "&quot;", "<", "&lt;", ">", "&gt;", "\n", " ", "#", "&num;", "`", "&#96;")

func mermaidText(s string) string { return mermaidReplacer.Replace(clip(s)) }
