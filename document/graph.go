package document

import (
	"slices"
	"strings"
)

// edge is a way from a step to another of the same list.
type edge struct {
	to   int
	at   *Value // what says so; nil for the order of the list
	kind byte   // n next, f failure, c cancel, b branch
}

// graph checks the flow of a runbook (A2, A5), each list of steps by itself: a step of a loop may also lead to a step outside, which ends the loop.
func (c *collector) graph(d *Document) { c.flowOf(d.Steps, "", nil) }

// flowOf checks one list of steps and returns the ways that leave it.
func (c *collector) flowOf(steps []Step, loop string, outer map[string]int) (leave []edge) {
	index := make(map[string]int, len(steps))
	for i := range steps {
		if _, twice := index[steps[i].Name]; !twice {
			index[steps[i].Name] = i
		}
	}
	ways := make([][]edge, len(steps))
	for i := range steps {
		var out []edge
		ways[i], out = c.ways(steps, i, index, loop, outer)
		leave = append(leave, out...)
		if a := steps[i].Automation; len(a.Steps) > 0 && loop == "" {
			ways[i] = append(ways[i], c.flowOf(a.Steps, steps[i].Name, index)...)
		}
	}
	c.cycles(steps, ways)
	c.unreached(steps, ways)
	return leave
}

// ways returns where a step can lead, inside its list and out of it; unknown targets are reported.
func (c *collector) ways(steps []Step, i int, index map[string]int, loop string, outer map[string]int) (out, leave []edge) {
	s, a := &steps[i], steps[i].Automation
	target := func(name string, at *Value, kind byte) {
		if name == "" {
			return
		}
		j, ok := index[name]
		far, away := outer[name]
		switch {
		case ok:
			out = append(out, edge{j, at, kind})
		case away:
			leave = append(leave, edge{far, at, kind})
		case at != nil && at.tmpl != nil:
		default:
			best, hint := c.nearStep(name, index)
			f := c.at(at, Error, "step-unknown", "step %q does not exist%s", clip(name), hint)
			if best != "" {
				c.replace(f, at, strings.TrimSuffix(at.Text(), name)+best)
			}
		}
	}
	next := s.Source.Get("nextStep")
	switch {
	case a.NextStep != "" && a.End:
		c.remove(c.at(next, Warning, "end-and-next", "step %s has isEnd and nextStep: it ends, nextStep is never taken; remove one of them", clip(s.Name)), s.Source, "nextStep")
	case a.NextStep != "":
		target(a.NextStep, next, 'n')
	}
	if s.Action == "aws:branch" {
		for _, ch := range a.Choices {
			target(ch.NextStep, ch.Source.Get("NextStep"), 'b')
		}
		target(a.Otherwise, s.given("Default"), 'b')
	}
	if name, ok := strings.CutPrefix(a.OnFailure, "step:"); ok {
		target(name, s.Source.Get("onFailure"), 'f')
	}
	if name, ok := strings.CutPrefix(a.OnCancel, "step:"); ok {
		before := len(out)
		target(name, s.Source.Get("onCancel"), 'c')
		if len(out) > before {
			if to := &steps[out[before].to]; to.spec != nil && to.spec.NoCancel {
				c.at(s.Source.Get("onCancel"), Warning, "cancel-target", "a cancellation cannot lead to %s: step %s", to.Action, clip(to.Name))
			}
		}
	}
	falls := !a.End && a.NextStep == "" && !(s.Action == "aws:branch" && a.Otherwise != "")
	if falls && i+1 < len(steps) {
		out = append(out, edge{i + 1, nil, 'n'})
	}
	if a.OnFailure == "Continue" && i+1 < len(steps) && !a.End && a.NextStep == "" {
		out = append(out, edge{i + 1, nil, 'n'})
	}
	return out, leave
}

// nearStep returns the step that was probably meant, and how to say so.
func (c *collector) nearStep(name string, index map[string]int) (best, hint string) {
	if c.full() {
		return "", ""
	}
	names := make([]string, 0, len(index))
	for n := range index {
		names = append(names, n)
	}
	slices.Sort(names)
	if best = closest(name, names); best == "" {
		return "", ": the steps are " + some(names)
	}
	return best, ": did you mean " + clip(best) + "?"
}

// cycles reports every way back to a step that leads to it again (A5): a runbook must end, loops are aws:loop's.
func (c *collector) cycles(steps []Step, ways [][]edge) {
	const (
		fresh = iota
		open
		done
	)
	state := make([]uint8, len(steps))
	var trail []int
	var visit func(i int)
	visit = func(i int) {
		state[i] = open
		trail = append(trail, i)
		for _, w := range ways[i] {
			switch state[w.to] {
			case fresh:
				visit(w.to)
			case open:
				if c.full() {
					continue
				}
				from := slices.Index(trail, w.to)
				var names []string
				for n, j := range append(slices.Clone(trail[from:]), w.to) {
					if n > 10 && j != w.to {
						continue
					}
					names = append(names, clip(steps[j].Name))
				}
				at := w.at
				if at == nil {
					at = steps[i].Source
				}
				c.at(at, Error, "cycle", "the runbook goes round: %s; repeat steps with aws:loop", strings.Join(names, " → "))
			}
		}
		trail = trail[:len(trail)-1]
		state[i] = done
	}
	for i := range steps {
		if state[i] == fresh {
			visit(i)
		}
	}
}

// unreached reports steps that nothing leads to.
func (c *collector) unreached(steps []Step, ways [][]edge) {
	if len(steps) == 0 {
		return
	}
	seen := make([]bool, len(steps))
	queue := []int{0}
	seen[0] = true
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, w := range ways[i] {
			if !seen[w.to] {
				seen[w.to] = true
				queue = append(queue, w.to)
			}
		}
	}
	for i := range steps {
		if !seen[i] {
			c.at(steps[i].Source, Warning, "step-unreachable", "nothing leads to step %s: it never runs", clip(steps[i].Name))
		}
	}
}
