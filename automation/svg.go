package automation

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The measures of the drawing, in pixels.
const (
	boxWidth  = 300
	boxHeight = 44
	boxGap    = 26
	boxLeft   = 60
	boxIndent = 36
	laneWidth = 14
)

// SVG draws a runbook from top to bottom in the order of its steps, jumps as lines beside them: those of branches to the right, those after failures and
// cancellations to the left. The steps that an execution began are coloured by their statuses. x may be nil. The same runbook gives the same bytes.
func (rb *Runbook) SVG(x *Execution) []byte {
	n := len(rb.steps)
	y := func(i int) int { return 20 + i*(boxHeight+boxGap) }
	left := func(i int) int {
		if rb.steps[i].loop >= 0 {
			return boxLeft + boxIndent
		}
		return boxLeft
	}
	type lane struct {
		e    edge
		lane int
	}
	var right, far []lane
	straight := map[int]bool{}
	for _, e := range rb.edges() {
		switch {
		case e.kind == 'n' && e.to == e.from+1, e.kind == 'n' && e.to >= 0 && e.from+1+len(rb.steps[e.from].body) == e.to:
			if e.to == e.from+1 {
				straight[e.from] = true
				continue
			}
			right = append(right, lane{e, 0})
		case e.to < 0:
			if e.from != n-1 {
				right = append(right, lane{e, 0})
			} else {
				straight[e.from] = true
			}
		case e.kind == 'f' || e.kind == 'c':
			far = append(far, lane{e, 0})
		default:
			right = append(right, lane{e, 0})
		}
	}
	for _, side := range [][]lane{right, far} { // a lane is free for a line that begins below the end of all in it
		type way struct {
			kind byte
			to   int
		} // lines of one kind to one step share a lane
		spans, lane := map[way][2]int{}, map[way]int{}
		var order []way
		for i := range side {
			a, z := side[i].e.from, side[i].e.to
			w := way{side[i].e.kind, z}
			if z < 0 {
				z = n
			}
			if a > z {
				a, z = z, a
			}
			if old, ok := spans[w]; ok {
				a, z = min(a, old[0]), max(z, old[1])
			} else {
				order = append(order, w)
			}
			spans[w] = [2]int{a, z}
		}
		var used [][][2]int
		for _, w := range order {
			at := 0
			for at < len(used) && slices.ContainsFunc(used[at], func(o [2]int) bool { return spans[w][0] < o[1] && spans[w][1] > o[0] }) {
				at++
			}
			if at == len(used) {
				used = append(used, nil)
			}
			used[at] = append(used[at], spans[w])
			lane[w] = at
		}
		for i := range side {
			side[i].lane = lane[way{side[i].e.kind, side[i].e.to}]
		}
	}
	lanes := func(side []lane) (m int) {
		for i := range side {
			m = max(m, side[i].lane+1)
		}
		return m
	}
	shift := lanes(far) * laneWidth
	width := boxLeft + shift + boxIndent + boxWidth + (lanes(right)+2)*laneWidth + 20
	height := y(n) + 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" role="img" aria-label="runbook">`+"\n", width, height, width, height)
	b.WriteString(`<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>` + "\n")
	for i := range rb.steps {
		s := &rb.steps[i]
		if len(s.body) > 0 {
			top, bottom := y(s.body[0])-8, y(s.body[len(s.body)-1])+boxHeight+8
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="10" fill="#f6f8fa" stroke="#d0d7de" stroke-dasharray="4 3"/>`+"\n", boxLeft+shift+boxIndent-8, top, boxWidth+16, bottom-top)
		}
	}
	line := func(l lane, onLeft bool) {
		from, to := y(l.e.from)+boxHeight/2, height-24
		if l.e.to >= 0 {
			to = y(l.e.to) + boxHeight/2 - 6
		}
		xs, xe, mid := left(l.e.from)+shift+boxWidth, left(max(l.e.to, 0))+shift+boxWidth, boxLeft+shift+boxIndent+boxWidth+(l.lane+1)*laneWidth
		if l.e.to < 0 {
			xe = boxLeft + shift + boxWidth/2 + 16
		}
		dash, stroke := "", "#57606a"
		if onLeft {
			xs, xe, mid = left(l.e.from)+shift, left(l.e.to)+shift, boxLeft+shift-(l.lane+1)*laneWidth
			dash, stroke = ` stroke-dasharray="5 4"`, "#cf222e"
			if l.e.kind == 'c' {
				stroke = "#8c959f"
			}
		}
		fmt.Fprintf(&b, `<path d="M%d %dH%dV%dH%d" fill="none" stroke="%s"%s marker-end="url(#a)"><title>%s</title></path>`+"\n", xs, from, mid, to, xe, stroke, dash, svgText(l.e.label))
	}
	for i := range rb.steps {
		if straight[i] || len(rb.steps[i].body) > 0 {
			to := y(i + 1)
			if i == n-1 {
				to = height - 32
			}
			fmt.Fprintf(&b, `<path d="M%d %dV%d" stroke="#57606a" marker-end="url(#a)"/>`+"\n", left(i)+shift+boxWidth/2, y(i)+boxHeight, to)
		}
	}
	for _, l := range right {
		line(l, false)
	}
	for _, l := range far {
		line(l, true)
	}
	for i := range rb.steps {
		s := &rb.steps[i]
		var st Status
		if x != nil {
			if rec := x.latest(s.Name); rec != nil {
				st = rec.Status
			}
		}
		fill, stroke := colours(st)
		rx := 6
		if s.Action == "aws:approve" || s.Action == "aws:pause" || s.Action == "aws:sleep" {
			rx = boxHeight / 2
		}
		fmt.Fprintf(&b, `<g><rect x="%d" y="%d" width="%d" height="%d" rx="%d" fill="%s" stroke="%s"/>`, left(i)+shift, y(i), boxWidth, boxHeight, rx, fill, stroke)
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="13" font-weight="600" fill="#1f2328">%s</text>`, left(i)+shift+14, y(i)+18, svgText(short(s.Name, 38)))
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="11" fill="#57606a">%s</text></g>`+"\n", left(i)+shift+14, y(i)+34, svgText(short(s.Action+runs(x, s), 46)))
	}
	fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="7" fill="#57606a"><title>end</title></circle>`+"\n</svg>\n", boxLeft+shift+boxWidth/2, height-24)
	return []byte(b.String())
}

// short cuts a text that would not fit.
func short(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

var svgReplacer = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\"", "&quot;")

func svgText(s string) string {
	return svgReplacer.Replace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0xfffe || r == 0xffff || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s))
}
