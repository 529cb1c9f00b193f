package iam

import (
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// MalformedPolicy is the code of a policy that cannot be read, as IAM names it.
const MalformedPolicy fault.Code = "MalformedPolicyDocumentException"

// Kind is what a policy hangs on.
type Kind uint8

// The kinds.
const (
	Any      Kind = iota // not known: a Principal may be there or not
	Identity             // of a person or role, a boundary, a session, an organization: without a Principal
	Resource             // of a resource: each statement names a Principal, and may leave the Resource out for the one that it hangs on
)

// ParseOptions are the choices of Parse; nil is the zero value.
type ParseOptions struct {
	Kind Kind
	// Name is shown by Explain, as the policy's ARN or file.
	Name string
	// MaxBytes is the longest policy without white space outside of texts, as IAM counts it; 0 is 20,480, the largest of AWS's quotas.
	// A policy with its white space may have eight times as much. AWS's quota for a managed policy is 6,144.
	MaxBytes int
}

const defaultMaxBytes = 20_480

// Version2008 and Version2012 are the versions of the language.
const (
	Version2008 = "2008-10-17"
	Version2012 = "2012-10-17"
)

// Policy is a parsed policy. It is immutable.
type Policy struct {
	name, id, version string
	statements        []statement
}

// Name returns ParseOptions.Name, else the policy's Id, else "policy".
func (p *Policy) Name() string {
	switch {
	case p.name != "":
		return p.name
	case p.id != "":
		return p.id
	}
	return "policy"
}

// Version returns the version of the language; one that leaves it out is of Version2008.
func (p *Policy) Version() string { return p.version }

// Statements returns their number.
func (p *Policy) Statements() int { return len(p.statements) }

type statement struct {
	index      int
	sid        string
	line       int
	deny       bool
	actions    []action
	notAction  bool
	resources  []pattern // nil: any, of a resource's policy
	notRes     bool
	principals *principals // nil: none named
	clauses    []clause
}

// action is a pattern of "service:Operation", whatever the case.
type action struct{ parts []part }

// Errors is what Parse returns beside the code: every finding, in the order of the text.
type Errors []*Finding

// Error returns all findings, one a line.
func (e Errors) Error() string {
	lines := make([]string, 0, len(e))
	for _, f := range e {
		lines = append(lines, f.Error())
	}
	return strings.Join(lines, "\n")
}

// Parse reads a policy. The error has the code MalformedPolicy and wraps [Errors] with everything that was found, at most 100 of them.
func Parse(data []byte, o *ParseOptions) (*Policy, error) {
	if o == nil {
		o = &ParseOptions{}
	}
	limit := o.MaxBytes
	if limit <= 0 {
		limit = defaultMaxBytes
	}
	if len(data) > 8*limit || size(data) > limit {
		return nil, fault.New("iam.Parse", MalformedPolicy, "%w", Errors{{Path: "$", Line: 1, Column: 1, Text: "the policy has more than " + strconv.Itoa(limit) + " bytes without its white space"}})
	}
	root, err := readJSON(data)
	if err != nil {
		f, _ := err.(*Finding)
		return nil, fault.New("iam.Parse", MalformedPolicy, "%w", Errors{f})
	}
	r := &parser{data: data, kind: o.Kind, policy: &Policy{name: o.Name, version: Version2008}}
	r.root(&root)
	if len(r.found) > 0 {
		slices.SortStableFunc(r.found, func(a, b *Finding) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, fault.New("iam.Parse", MalformedPolicy, "%w", r.found)
	}
	return r.policy, nil
}

// size counts bytes without the white space between tokens.
func size(data []byte) int {
	n, quoted, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			continue
		}
		n++
	}
	return n
}

type parser struct {
	data   []byte
	kind   Kind
	policy *Policy
	found  Errors
}

const maxFindings = 100

func (r *parser) bad(path string, offset int, text string) {
	if len(r.found) >= maxFindings {
		return
	}
	f := &Finding{Path: path, Text: text}
	f.Line, f.Column = position(r.data, offset)
	r.found = append(r.found, f)
}

func (r *parser) badValue(v *value, text string) { r.bad(v.path, v.offset, text) }

// fields walks the members of an object; get returns what takes the member, nil for one that does not exist.
func (r *parser) fields(v *value, known string, get func(name string) func(v *value)) map[string]*value {
	seen := map[string]*value{}
	for i := range v.object {
		m := &v.object[i]
		f := get(m.name)
		switch {
		case seen[m.name] != nil:
			r.bad(m.value.path, m.offset, "this stands here twice")
			continue
		case f == nil:
			hint := ""
			for k := range strings.SplitSeq(known, ", ") {
				if strings.EqualFold(k, m.name) {
					hint = ": write " + k
				}
			}
			if hint == "" {
				hint = ": there are " + known
			}
			r.bad(m.value.path, m.offset, "no such element"+hint)
			continue
		}
		seen[m.name] = &m.value
		f(&m.value)
	}
	return seen
}

func (r *parser) text(v *value, into *string) {
	if v.str == nil {
		r.badValue(v, "this is "+v.what()+" where a text belongs")
		return
	}
	*into = *v.str
}

func (r *parser) root(v *value) {
	if v.kind != '{' {
		r.badValue(v, "this is "+v.what()+" where a policy, an object, belongs")
		return
	}
	for i := range v.object { // it decides how the rest is read
		if m := &v.object[i]; m.name == "Version" && m.value.str != nil {
			r.policy.version = *m.value.str
		}
	}
	seen := r.fields(v, "Version, Id, Statement", func(name string) func(*value) {
		switch name {
		case "Version":
			return func(v *value) {
				if r.text(v, new(string)); v.str != nil && *v.str != Version2012 && *v.str != Version2008 {
					r.badValue(v, "this version does not exist: write "+Version2012)
				}
			}
		case "Id":
			return func(v *value) { r.text(v, &r.policy.id) }
		case "Statement":
			return r.statements
		}
		return nil
	})
	if seen["Statement"] == nil {
		r.badValue(v, "the policy has no Statement")
	}
}

func (r *parser) statements(v *value) {
	all := []value{*v}
	if v.kind == '[' {
		all = v.list
	}
	if len(all) == 0 {
		r.badValue(v, "there is no statement in it")
	}
	sids := map[string]bool{}
	for i := range all {
		s := statement{index: i}
		s.line, _ = position(r.data, all[i].offset)
		if all[i].kind != '{' {
			r.badValue(&all[i], "this is "+all[i].what()+" where a statement, an object, belongs")
			continue
		}
		r.statement(&all[i], &s)
		if r.kind == Identity && s.sid != "" {
			if sids[s.sid] {
				r.badValue(&all[i], "another statement has the same Sid")
			}
			sids[s.sid] = true
		}
		r.policy.statements = append(r.policy.statements, s)
	}
}

func (r *parser) statement(v *value, s *statement) {
	seen := r.fields(v, "Sid, Effect, Principal, NotPrincipal, Action, NotAction, Resource, NotResource, Condition", func(name string) func(*value) {
		switch name {
		case "Sid":
			return func(v *value) {
				r.text(v, &s.sid)
				if r.kind == Identity && strings.ContainsFunc(s.sid, func(c rune) bool {
					return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
				}) {
					r.badValue(v, "a Sid has letters of ASCII and digits only")
				}
			}
		case "Effect":
			return func(v *value) {
				var e string
				if r.text(v, &e); v.str != nil && e != "Allow" && e != "Deny" {
					r.badValue(v, "an Effect is Allow or Deny, written so")
				}
				s.deny = e == "Deny"
			}
		case "Action", "NotAction":
			return func(v *value) {
				s.notAction = name == "NotAction"
				r.actions(v, s)
			}
		case "Resource", "NotResource":
			return func(v *value) {
				s.notRes = name == "NotResource"
				r.resources(v, s)
			}
		case "Principal", "NotPrincipal":
			return func(v *value) { s.principals = r.principals(v, name == "NotPrincipal") }
		case "Condition":
			return func(v *value) { s.clauses = r.conditions(v) }
		}
		return nil
	})
	either := func(a, b string, required bool) {
		switch {
		case seen[a] != nil && seen[b] != nil:
			r.badValue(seen[b], a+" and "+b+" exclude each other")
		case seen[a] == nil && seen[b] == nil && required:
			r.badValue(v, "the statement has neither "+a+" nor "+b)
		}
	}
	if seen["Effect"] == nil {
		r.badValue(v, "the statement has no Effect: Allow or Deny")
	}
	either("Action", "NotAction", true)
	either("Principal", "NotPrincipal", r.kind == Resource)
	either("Resource", "NotResource", r.kind == Identity || r.kind == Any && s.principals == nil)
	if s.principals != nil {
		for _, n := range []string{"Principal", "NotPrincipal"} {
			if seen[n] != nil && r.kind == Identity {
				r.badValue(seen[n], "a policy of this kind names no principal: it is that of whom it is attached to")
			}
		}
		if s.principals.not && !s.deny && seen["Effect"] != nil && seen["NotPrincipal"] != nil {
			r.badValue(seen["NotPrincipal"], "NotPrincipal goes with Deny only: an Allow would reach everybody else, the anonymous included")
		}
	}
}

// texts is a text or a list of one or more.
func (r *parser) texts(v *value, each func(v *value, s string)) {
	all := []value{*v}
	if v.kind == '[' {
		all = v.list
	}
	if len(all) == 0 {
		r.badValue(v, "the list is empty")
	}
	for i := range all {
		if all[i].str == nil {
			r.badValue(&all[i], "this is "+all[i].what()+" where a text belongs")
			continue
		}
		each(&all[i], *all[i].str)
	}
}

func (r *parser) actions(v *value, s *statement) {
	r.texts(v, func(v *value, t string) {
		service, name, ok := strings.Cut(t, ":")
		switch {
		case t == "*":
		case !ok || service == "" || name == "" || strings.Contains(name, ":"):
			r.badValue(v, "an action is service:Operation, as ssm:GetParameter, or *")
			return
		case strings.ContainsAny(service, "*?"):
			r.badValue(v, "the service of an action has no wildcards")
			return
		case strings.ContainsFunc(t, func(c rune) bool { return c <= ' ' || c > '~' || c == '$' || c == '"' }):
			r.badValue(v, "an action has letters, digits and wildcards only")
			return
		}
		p, _ := split(fold(t), true, false)
		s.actions = append(s.actions, action{p.parts})
	})
}

func (r *parser) resources(v *value, s *statement) {
	s.resources = []pattern{}
	r.texts(v, func(v *value, t string) {
		p, problem := split(t, true, r.policy.version != Version2008)
		if problem != "" {
			r.badValue(v, problem)
			return
		}
		if t != "*" {
			parts := strings.SplitN(t, ":", 4)
			switch {
			case parts[0] != "arn" || len(parts) < 2:
				r.badValue(v, "a resource is an ARN, as arn:aws:ssm:eu-central-1:123456789012:parameter/app/*, or *")
				return
			case len(parts) > 3 && parts[2] != "*" && strings.ContainsAny(parts[2], "*?"):
				r.badValue(v, "the service of an ARN has no wildcards")
				return
			}
		}
		colons := 0
		for _, x := range p.parts {
			switch {
			case x.kind == letters:
				colons += strings.Count(x.text, ":")
			case x.kind == variable && colons < 5:
				r.badValue(v, "a policy variable may stand after the fifth colon of an ARN only")
				return
			}
		}
		p.bounded = bounded(p.parts)
		s.resources = append(s.resources, p)
	})
}
