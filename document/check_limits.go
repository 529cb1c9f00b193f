package document

import (
	"regexp"
	"strconv"
	"strings"
)

// longestSleep is what aws:sleep takes, in seconds.
const longestSleep = 604_799

// limits checks what the actions of runbooks bound (features A10, the action reference).
func (c *collector) limits(d *Document) {
	if d.Kind == Automation && len(d.Parameters) > 200 {
		c.at(d.Root.Get("parameters"), Warning, "too-many", "a runbook is started with at most 200 parameters, this one has %d (D20)", len(d.Parameters))
	}
	d.everyStep(func(s *Step) {
		if s.Automation == nil || s.spec == nil {
			return
		}
		if t, most := s.Automation.TimeoutSeconds, s.spec.Cap; most > 0 && t > most {
			v := s.Source.Get("timeoutSeconds")
			c.replace(c.at(v, Advice, "timeout-cap", "%s ends after %s whatever timeoutSeconds says: write at most %d", s.Action, span(most), most), v, strconv.FormatInt(most, 10))
		}
		switch s.Action {
		case "aws:sleep":
			c.sleep(s)
		case "aws:approve":
			c.approvers(s)
		case "aws:runCommand":
			c.atMost(s, "InstanceIds", 50)
		case "aws:loop":
			c.atMost(s, "Iterators", 100)
			if n, ok := s.given("MaxIterations").integer(); ok && (n < 1 || n > 100) {
				c.at(s.given("MaxIterations"), Warning, "too-many", "a loop goes round 1 to 100 times, MaxIterations is %d", n)
			}
		case "aws:updateVariable":
			c.target(d, s)
		case "aws:executeScript":
			if s.given("Script") == nil && s.given("Attachment") == nil {
				c.at(s.Inputs, Warning, "input-missing", "step %q always fails: aws:executeScript needs input Script or Attachment", clip(s.Name))
			}
			if strings.HasPrefix(s.given("Runtime").Text(), "python") && s.given("Handler").Text() == "" {
				c.at(s.Inputs, Warning, "input-missing", "step %q always fails: a Python script needs input Handler, the name of its function", clip(s.Name))
			}
		}
	})
}

func (c *collector) atMost(s *Step, name string, most int) {
	if v := s.given(name); len(v.Items()) > most {
		c.at(v, Warning, "too-many", "%s of %s takes at most %d elements, here are %d", name, s.Action, most, len(v.items))
	}
}

var isoDuration = regexp.MustCompile(`(?i)^P(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.\d*)?S)?)?$`)

// sleep checks a literal Duration (ISO 8601, not negative).
func (c *collector) sleep(s *Step) {
	v := s.given("Duration")
	if v == nil || v.tmpl != nil {
		return
	}
	m := isoDuration.FindStringSubmatch(strings.TrimSpace(v.Text()))
	if m == nil || strings.Join(m[1:], "") == "" {
		c.at(v, Warning, "duration", "Duration %q is none: write it as ISO 8601, such as PT10M or PT1H30M", clip(v.Text()))
		return
	}
	total := int64(0)
	for i, unit := range []int64{86_400, 3600, 60, 1} {
		n, _ := strconv.ParseInt(m[i+1], 10, 64)
		total += n * unit
	}
	if total > longestSleep {
		c.at(v, Warning, "duration", "aws:sleep sleeps less than 7 days, Duration is %s", span(total))
	}
}

// approvers checks that enough people can approve.
func (c *collector) approvers(s *Step) {
	list := s.given("Approvers")
	c.atMost(s, "Approvers", 10)
	open := list.Kind() != List
	for _, it := range list.Items() {
		open = open || it.Kind() != String || it.tmpl != nil
	}
	if n, ok := s.given("MinRequiredApprovals").integer(); ok && !open && n > int64(len(list.items)) {
		c.at(s.given("MinRequiredApprovals"), Warning, "approvals", "%d approvals are required of %d approvers: the step can never be approved", n, len(list.items))
	}
	if v := s.given("Message"); len([]rune(v.Text())) > 4096 {
		c.at(v, Warning, "too-many", "Message of aws:approve takes at most 4,096 characters")
	}
	if v := s.given("NotificationArn"); v.Kind() == String && v.tmpl == nil {
		if topic := v.text[strings.LastIndexByte(v.text, ':')+1:]; !strings.HasPrefix(topic, "Automation") {
			c.at(v, Advice, "topic-name", "the name of the topic must begin with Automation for the default policy of AWS to let notifications through, it is %s", clip(topic))
		}
	}
}

// target checks what aws:updateVariable sets (A10).
func (c *collector) target(d *Document, s *Step) {
	v := s.given("Name")
	if v.Kind() != String || v.tmpl != nil {
		return
	}
	name, ok := strings.CutPrefix(v.text, "variable:")
	if !ok {
		c.replace(c.at(v, Warning, "variable-target", "Name of aws:updateVariable is written variable:%s", clip(v.text)), v, "variable:"+v.text)
		return
	}
	var names []string
	for i := range d.Variables {
		if d.Variables[i].Name == name {
			return
		}
		names = append(names, "variable:"+d.Variables[i].Name)
	}
	f := c.at(v, Warning, "variable-target", "variable %s is not declared: add it under variables", clip(name))
	if best := closest(v.text, names); best != "" {
		c.replace(f, v, best)
	}
}

// unused tells of outputs and variables of a runbook that nothing reads.
func (c *collector) unused(d *Document) {
	read := map[string]bool{}
	note := func(name string) {
		head, rest, _ := strings.Cut(name, ".")
		base, _, _ := strings.Cut(rest, ".")
		base, _, _ = strings.Cut(base, "[")
		read[head], read[head+"."+base] = true, true
	}
	var walk func(v *Value)
	walk = func(v *Value) {
		if v.Kind() == String {
			v.tmpl.each(note)
			if v.tmpl == nil && len(v.text) < 200 {
				note(strings.TrimSpace(v.text))
			}
		}
		for _, it := range v.Items() {
			walk(it)
		}
		for i := range v.Fields() {
			walk(v.fields[i].Value)
		}
	}
	for i := range d.Root.Fields() {
		switch f := &d.Root.fields[i]; f.Key {
		case "description", "parameters", "variables":
		default:
			walk(f.Value)
		}
	}
	d.everyStep(func(s *Step) {
		for _, o := range s.Automation.Outputs {
			if base, _, _ := strings.Cut(o.Name, "."); o.Name != "" && !read[s.Name+"."+base] {
				c.at(o.Source, Advice, "output-unused", "nothing reads output %s of step %s: use it, name it under outputs of the document, or remove it", clip(o.Name), clip(s.Name))
			}
		}
	})
	for i := range d.Variables {
		if va := &d.Variables[i]; !read["variable:"+va.Name] {
			c.at(va.Source, Advice, "variable-unused", "nothing reads variable %s: use it, or remove it", clip(va.Name))
		}
	}
}
