package document

import (
	"fmt"
	"strings"
)

// Component is a component of an iCalendar (RFC 5545): VCALENDAR, VEVENT and so on.
type Component struct {
	Name       string
	Line       int
	Properties []Property
	Components []*Component
}

// Property is a line of an iCalendar, unfolded.
type Property struct {
	Name   string            // in capitals
	Params map[string]string // names in capitals; quotes removed
	Value  string            // as written
	Line   int
}

// Get returns the first property of a name, nil when there is none.
func (c *Component) Get(name string) *Property {
	for i := range c.Properties {
		if c.Properties[i].Name == name {
			return &c.Properties[i]
		}
	}
	return nil
}

// calendar reads a text: an iCalendar for a ChangeCalendar, anything for an ApplicationConfiguration.
func (c *collector) calendar(src []byte, kind Kind) *Component {
	if kind != "" && kind != ChangeCalendar {
		return nil
	}
	fail := func(line int, format string, args ...any) {
		c.add(Finding{Code: "calendar", Line: line, Column: 1, Message: fmt.Sprintf(format, args...)})
	}
	var root *Component
	var open []*Component
	for _, l := range unfold(string(src)) {
		if l.text == "" {
			continue
		}
		p, ok := property(l.text)
		p.Line = l.line
		switch {
		case !ok:
			fail(l.line, "not a line of an iCalendar, NAME:value: %s", clip(l.text))
			return root
		case p.Name == "BEGIN":
			comp := &Component{Name: strings.ToUpper(p.Value), Line: l.line}
			switch {
			case len(open) > 0:
				top := open[len(open)-1]
				top.Components = append(top.Components, comp)
			case root != nil:
				fail(l.line, "text after END:VCALENDAR")
				return root
			case comp.Name != "VCALENDAR":
				fail(l.line, "an iCalendar begins with BEGIN:VCALENDAR")
				return root
			default:
				root = comp
			}
			if open = append(open, comp); len(open) > defaultDepth {
				fail(l.line, "components nested deeper than %d", defaultDepth)
				return root
			}
		case len(open) == 0:
			fail(l.line, "an iCalendar begins with BEGIN:VCALENDAR and ends with END:VCALENDAR")
			return root
		case p.Name == "END":
			top := open[len(open)-1]
			if top.Name != strings.ToUpper(p.Value) {
				fail(l.line, "END:%s closes %s of line %d", clip(p.Value), clip(top.Name), top.Line)
				return root
			}
			open = open[:len(open)-1]
		default:
			top := open[len(open)-1]
			top.Properties = append(top.Properties, p)
		}
	}
	switch {
	case root == nil:
		fail(1, "an iCalendar begins with BEGIN:VCALENDAR")
	case len(open) > 0:
		fail(open[len(open)-1].Line, "%s has no END", clip(open[len(open)-1].Name))
	default:
		c.events(root, fail)
	}
	return root
}

// events checks what a change calendar needs: events with a start.
func (c *collector) events(root *Component, fail func(line int, format string, args ...any)) {
	for _, comp := range root.Components {
		if comp.Name == "VEVENT" && comp.Get("DTSTART") == nil {
			fail(comp.Line, "the event has no DTSTART")
		}
	}
}

type unfolded struct {
	text string
	line int
}

// unfold joins lines that were folded: a line that begins with a blank goes on with the one before.
func unfold(src string) (out []unfolded) {
	n := 0
	var long []byte
	for l := range strings.SplitSeq(src, "\n") {
		n++
		l = strings.TrimSuffix(l, "\r")
		if len(out) > 0 && l != "" && (l[0] == ' ' || l[0] == '\t') {
			if long == nil {
				long = []byte(out[len(out)-1].text)
			}
			long = append(long, l[1:]...)
			continue
		}
		if long != nil {
			out[len(out)-1].text, long = string(long), nil
		}
		out = append(out, unfolded{l, n})
	}
	if long != nil {
		out[len(out)-1].text = string(long)
	}
	return out
}

// property reads NAME;PARAM=value:value.
func property(l string) (p Property, ok bool) {
	i := strings.IndexAny(l, ";:")
	if i <= 0 {
		return p, false
	}
	p.Name = strings.ToUpper(l[:i])
	for _, r := range p.Name {
		if !(r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-') {
			return p, false
		}
	}
	for l[i] == ';' {
		l = l[i+1:]
		eq := strings.IndexByte(l, '=')
		if eq <= 0 {
			return p, false
		}
		key := strings.ToUpper(l[:eq])
		l = l[eq+1:]
		end, quoted := 0, false
		for end < len(l) && (quoted || l[end] != ';' && l[end] != ':') {
			if l[end] == '"' {
				quoted = !quoted
			}
			end++
		}
		if end == len(l) {
			return p, false
		}
		if p.Params == nil {
			p.Params = map[string]string{}
		}
		p.Params[key] = strings.ReplaceAll(l[:end], `"`, "")
		i = end
	}
	p.Value = l[i+1:]
	return p, true
}
