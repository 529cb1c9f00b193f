package document

import (
	"slices"
	"strings"
)

func (c *collector) branch(s *Step) {
	choices := s.given("Choices")
	if choices.Kind() != Null && choices.Kind() != List {
		c.at(choices, Error, "type", "Choices of step %q must be a list, not a %s", clip(s.Name), choices.Kind())
		return
	}
	s.Automation.Otherwise = s.given("Default").Text()
	for _, it := range choices.Items() {
		if it.Kind() != Map {
			c.at(it, Error, "type", "a choice must be a map with NextStep and a condition, not a %s", it.Kind())
			continue
		}
		ch := Choice{Source: it, NextStep: it.Get("NextStep").Text()}
		if ch.NextStep == "" {
			c.at(it, Error, "choice-next", "the choice has no NextStep: say where it leads")
		}
		ch.Condition = c.condition(it, true)
		s.Automation.Choices = append(s.Automation.Choices, ch)
	}
}

// condition reads a condition: of a choice (which has NextStep besides) or nested.
func (c *collector) condition(v *Value, top bool) Condition {
	if v.Kind() != Map {
		c.at(v, Error, "type", "a condition must be a map, not a %s", v.Kind())
		return Condition{}
	}
	out := Condition{Variable: v.Get("Variable")}
	for i := range v.fields {
		f := &v.fields[i]
		switch {
		case f.Key == "Variable" || f.Key == "NextStep" && top:
			continue
		case f.Key == "And" || f.Key == "Or":
			if f.Value.Kind() != List || len(f.Value.items) == 0 {
				c.key(f, Error, "condition", "%s takes a list of conditions: put a dash before each, or brackets around them", f.Key)
				continue
			}
			for _, it := range f.Value.items {
				out.Parts = append(out.Parts, c.condition(it, false))
			}
		case f.Key == "Not":
			out.Parts = append(out.Parts, c.condition(f.Value, false))
		case slices.Contains(operators, f.Key):
			out.Operand = f.Value
			if out.Variable == nil {
				c.at(v, Error, "condition", "%s has no Variable to compare with", f.Key)
			}
			c.operand(f)
		default:
			at := c.key(f, Error, "condition-operator", "unknown operator %q: %s, And, Or or Not", clip(f.Key), strings.Join(operators, ", "))
			if best := closest(f.Key, operators); best != "" {
				c.rename(at, v, f, best)
			}
			continue
		}
		if out.Op != "" {
			c.key(f, Error, "condition", "a condition has one operator, here are %s and %s: join them with And", out.Op, f.Key)
		}
		out.Op = f.Key
	}
	if out.Op == "" && !c.failed() {
		c.at(v, Error, "condition", "the condition has no operator, such as StringEquals")
	}
	return out
}

// operand checks the type of what a variable is compared with.
func (c *collector) operand(f *Field) {
	v := f.Value
	if v.Kind() == String && v.tmpl != nil {
		return
	}
	ok := true
	switch {
	case strings.HasPrefix(f.Key, "Numeric"):
		_, num := v.integer()
		ok = num || v.Kind() == Number
	case f.Key == "BooleanEquals":
		_, ok = v.truthy()
	default:
		ok = v.Kind() != List && v.Kind() != Map
	}
	if !ok {
		c.at(v, Error, "condition-type", "%s cannot compare with a %s", f.Key, v.Kind())
	}
}

func (c *collector) loop(d *Document, s *Step) {
	if s.Automation.Loop != "" {
		c.at(s.Source, Error, "loop-nested", "a loop cannot stand in another loop: move step %q out", clip(s.Name))
	}
	if over, until := s.given("Iterators"), s.given("LoopCondition"); (over == nil) == (until == nil) {
		c.at(s.Source, Error, "loop", "loop %q needs either Iterators or LoopCondition", clip(s.Name))
	} else if until != nil && until.Kind() == Map {
		c.condition(until, true)
	}
	steps := s.given("Steps")
	switch {
	case steps.Kind() == List && len(steps.items) > 0:
		s.Automation.Steps = c.runbookSteps(d, steps, s.Name)
	case steps.Kind() == List || steps == nil:
		c.at(s.Source, Error, "no-steps", "loop %q has no steps", clip(s.Name))
	default:
		c.at(steps, Error, "type", "Steps of a loop must be a list, not a %s", steps.Kind())
	}
}
