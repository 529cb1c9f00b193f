package iam

import (
	"fmt"
	"strings"
)

// Explanation is a decision with everything that led to it.
type Explanation struct {
	Decision   Decision
	Reason     string // for people
	Action     string
	Resource   string
	Statements []StatementResult // of all policies, in their order
}

// StatementResult is what became of a statement.
type StatementResult struct {
	Set     string // identity, resource, boundary, session or control
	Policy  string // its name
	Index   int    // from 0
	Line    int    // in the policy's text, from 1
	Sid     string
	Effect  string // Allow or Deny
	Applies bool   // all of what follows
	// Principal, Action and Resource say whether these match.
	Principal, Action, Resource bool
	// Conditions are told when the three match.
	Conditions []ConditionResult
}

// ConditionResult is what became of one key of a condition. Actual are values of the request: show them to those only who may know them.
type ConditionResult struct {
	Operator, Key  string
	Values, Actual []string
	Met            bool
	Why            string
}

// Explain decides as Evaluate does and says why.
func Explain(p Policies, q *Request) *Explanation {
	x := &Explanation{Reason: "there is no request"}
	if q == nil {
		return x
	}
	x.Action, x.Resource = q.Action, q.Resource
	var notes []*StatementResult
	e := &evaluation{request: q, note: func(where string, p *Policy, s *statement) *StatementResult {
		n := &StatementResult{Set: where, Policy: p.Name(), Index: s.index, Line: s.line, Sid: s.sid, Effect: "Allow"}
		if s.deny {
			n.Effect = "Deny"
		}
		notes = append(notes, n)
		return n
	}}
	x.Decision, x.Reason = e.decide(p)
	for _, n := range notes {
		x.Statements = append(x.Statements, *n)
	}
	return x
}

// Deciding returns the statements that made the decision: the denies of an ExplicitDeny, the allows of an Allow, none of an ImplicitDeny.
func (x *Explanation) Deciding() []StatementResult {
	var out []StatementResult
	for _, s := range x.Statements {
		if s.Applies && (x.Decision == ExplicitDeny && s.Effect == "Deny" || x.Decision == Allow && s.Effect == "Allow") {
			out = append(out, s)
		}
	}
	return out
}

// Near returns the statements that speak of the action and the resource and failed by a condition or the principal: what to look at when something should have been decided otherwise.
func (x *Explanation) Near() []StatementResult {
	var out []StatementResult
	for _, s := range x.Statements {
		if !s.Applies && s.Action && s.Resource {
			out = append(out, s)
		}
	}
	return out
}

// String writes the decision, the statements that made it and those that nearly did, a line each.
func (x *Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s on %s: %s\n", x.Decision, short(x.Action), short(x.Resource), x.Reason)
	for _, s := range x.Deciding() {
		fmt.Fprintf(&b, "  %s\n", s.title())
	}
	for _, s := range x.Near() {
		fmt.Fprintf(&b, "  %s does not apply\n", s.title())
		if !s.Principal {
			b.WriteString("    it is not for this principal\n")
		}
		for _, c := range s.Conditions {
			if !c.Met {
				fmt.Fprintf(&b, "    %s %s %s: the request has %s; %s\n", c.Operator, short(c.Key), list(c.Values), list(c.Actual), c.Why)
			}
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (s *StatementResult) title() string {
	name := fmt.Sprintf("statement %d", s.Index)
	if s.Sid != "" {
		name += " (" + short(s.Sid) + ")"
	}
	return fmt.Sprintf("%s by %s of %s policy %s, line %d", s.Effect, name, s.Set, short(s.Policy), s.Line)
}

func list(values []string) string {
	if len(values) == 0 {
		return "nothing"
	}
	shown := make([]string, 0, len(values))
	for i, v := range values {
		if i == 8 {
			shown = append(shown, "…")
			break
		}
		shown = append(shown, `"`+short(v)+`"`)
	}
	return strings.Join(shown, ", ")
}
