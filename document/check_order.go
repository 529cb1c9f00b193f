package document

import "strings"

// order warns of outputs used by a step that nothing leads to from the step which gives them: they can never be set there.
func (c *collector) order(d *Document) {
	if len(d.Steps) > 500 {
		return // what cannot be read is not checked this way
	}
	quiet := &collector{root: d.Root, list: make(Findings, mostFindings)} // full: says nothing
	index := make(map[string]int, len(d.Steps))
	home := map[string]int{} // of steps in loops, their loop
	for i := range d.Steps {
		index[d.Steps[i].Name] = i
		home[d.Steps[i].Name] = i
		for j := range d.Steps[i].Automation.Steps {
			home[d.Steps[i].Automation.Steps[j].Name] = i
		}
	}
	ways := make([][]edge, len(d.Steps))
	for i := range d.Steps {
		ways[i], _ = quiet.ways(d.Steps, i, index, "", nil)
		for j := range d.Steps[i].Automation.Steps {
			_, out := quiet.ways(d.Steps[i].Automation.Steps, j, nil, d.Steps[i].Name, index)
			ways[i] = append(ways[i], out...)
		}
	}
	reach := make([][]bool, len(d.Steps))
	after := func(i int) []bool {
		if reach[i] == nil {
			seen := make([]bool, len(d.Steps))
			stack := []int{i}
			for len(stack) > 0 {
				at := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				for _, w := range ways[at] {
					if !seen[w.to] {
						seen[w.to] = true
						stack = append(stack, w.to)
					}
				}
			}
			reach[i] = seen
		}
		return reach[i]
	}
	d.everyStep(func(s *Step) {
		here, ok := home[s.Name]
		if !ok {
			return
		}
		var look func(v *Value)
		look = func(v *Value) {
			if v.Kind() == String {
				v.tmpl.each(func(name string) {
					head, rest, dotted := strings.Cut(name, ".")
					from, known := home[head]
					if dotted && known && from != here && !after(from)[here] {
						c.at(v, Warning, "reference-order", "step %s never comes after step %s, so %s is not set here", clip(s.Name), clip(head), clip(rest))
					}
				})
			}
			for _, it := range v.Items() {
				look(it)
			}
			for i := range v.Fields() {
				look(v.fields[i].Value)
			}
		}
		for _, in := range s.inputs {
			if s.Action != "aws:loop" || in.name != "Steps" {
				look(in.v)
			}
		}
	})
}
