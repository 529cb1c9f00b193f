package iam

import (
	"slices"
	"strings"
)

// Context is the keys of a request with their values, as "aws:SourceIp": {"203.0.113.7"}. A key without values is there no more than one that is missing.
type Context map[string][]string

// Request is what is asked for.
type Request struct {
	Principal Principal
	Action    string // service:Operation, whatever the case
	Resource  string // an ARN, or "*" for an action that has no resource
	// ResourceAccount owns the resource; empty is taken from the ARN, or the principal's own where that names none.
	ResourceAccount string
	Context         Context
}

func (q *Request) sameAccount() bool {
	owner := q.ResourceAccount
	if owner == "" && isARN(q.Resource) {
		owner = strings.SplitN(q.Resource, ":", 6)[4]
	}
	return owner == "" || owner == q.Principal.account()
}

// Policies are all that bear on a request.
type Policies struct {
	Identity []*Policy // of the principal and its groups
	Resource []*Policy // of the resource
	// Boundary is the principal's permissions boundary; none means no limit.
	Boundary []*Policy
	// Session are the policies that a session was opened with; none means no limit.
	Session []*Policy
	// Control are service control policies, level by level from the organization's root down: each level must allow.
	Control [][]*Policy
}

// lookup is a Context ready to be read.
type lookup struct {
	exact  Context
	folded map[string][]string // names by their lower case, sorted
}

func newLookup(c Context) *lookup {
	l := &lookup{exact: c, folded: make(map[string][]string, len(c))}
	for k := range c {
		l.folded[fold(k)] = append(l.folded[fold(k)], k)
	}
	for _, names := range l.folded {
		slices.Sort(names)
	}
	return l
}

func (l *lookup) values(key string) []string {
	if v := l.exact[key]; len(v) > 0 {
		return v
	}
	names := l.folded[fold(key)]
	if len(names) == 1 {
		return l.exact[names[0]]
	}
	var all []string
	for _, n := range names {
		all = append(all, l.exact[n]...)
	}
	return all
}

// single is the value of a key that has one.
func (l *lookup) single(key string) (string, bool) {
	if v := l.values(key); len(v) == 1 {
		return v[0], true
	}
	return "", false
}

// set is what a number of policies say together.
type set struct {
	deny    bool
	allowed reach
}

type evaluation struct {
	request *Request
	lookup  *lookup
	action  string
	note    func(where string, p *Policy, s *statement) *StatementResult // nil when nobody wants to know
}

func (e *evaluation) set(where string, policies []*Policy, ofResource bool) set {
	var out set
	for _, p := range policies {
		if p == nil {
			continue
		}
		for i := range p.statements {
			s := &p.statements[i]
			var note *StatementResult
			if e.note != nil {
				note = e.note(where, p, s)
			}
			reach := e.applies(s, ofResource, note)
			switch {
			case reach == missed:
			case s.deny:
				out.deny = true
			default:
				out.allowed = max(out.allowed, reach)
			}
		}
	}
	return out
}

// applies decides whether a statement speaks of the request.
func (e *evaluation) applies(s *statement, ofResource bool, note *StatementResult) reach {
	found := s.reaches(&e.request.Principal, ofResource)
	action, resource := e.ofAction(s), e.ofResource(s)
	if note != nil {
		note.Principal, note.Action, note.Resource = found != missed, action, resource
	}
	if found == missed || !action || !resource {
		return missed
	}
	all := true
	for i := range s.clauses {
		c := &s.clauses[i]
		ok, why := c.met(e.lookup, s.deny)
		all = all && ok
		if note == nil {
			if !all {
				return missed
			}
			continue
		}
		r := ConditionResult{Operator: c.shown(), Key: c.key, Actual: e.lookup.values(c.key), Met: ok, Why: why}
		for _, v := range c.values {
			r.Values = append(r.Values, v.pattern.source)
		}
		note.Conditions = append(note.Conditions, r)
	}
	if !all {
		return missed
	}
	if note != nil {
		note.Applies = true
	}
	return found
}

func (e *evaluation) ofAction(s *statement) bool {
	found := slices.ContainsFunc(s.actions, func(a action) bool { return glob(a.parts, e.action) })
	return found != s.notAction
}

func (e *evaluation) ofResource(s *statement) bool {
	if s.resources == nil {
		return true
	}
	found, unknown := false, false
	for i := range s.resources {
		parts, ok := s.resources[i].resolve(e.lookup)
		switch {
		case !ok:
			unknown = true
		case len(parts) == 1 && parts[0].kind == many:
			found = true
		case s.resources[i].bounded:
			found = found || run(arnCells(parts), e.request.Resource)
		case glob(parts, e.request.Resource):
			found = true
		}
	}
	if s.notRes && !found && unknown { // what is left out is not known: all is, in an Allow
		return s.deny
	}
	return found != s.notRes
}

// Decision is the answer.
type Decision uint8

// The decisions. Only Allow allows.
const (
	ImplicitDeny Decision = iota // no policy allows it
	ExplicitDeny                 // a Deny forbids it
	Allow
)

// String returns "Allow", "ExplicitDeny" or "ImplicitDeny".
func (d Decision) String() string {
	return [...]string{"ImplicitDeny", "ExplicitDeny", "Allow"}[min(d, Allow)]
}

// Evaluate decides. A nil request is denied.
func Evaluate(p Policies, q *Request) Decision {
	if q == nil {
		return ImplicitDeny
	}
	d, _ := (&evaluation{request: q}).decide(p)
	return d
}

// decide follows the guide's order: explicit denies of all, control policies, the resource's policy, the principal's with what limits it.
func (e *evaluation) decide(p Policies) (Decision, string) {
	e.lookup, e.action = newLookup(e.request.Context), fold(e.request.Action)
	identity := e.set("identity", p.Identity, false)
	resource := e.set("resource", p.Resource, true)
	boundary := e.set("boundary", p.Boundary, false)
	session := e.set("session", p.Session, false)
	denied := identity.deny || resource.deny || boundary.deny || session.deny
	controlled := -1
	for i, level := range p.Control {
		c := e.set("control", level, false)
		denied = denied || c.deny
		if c.allowed == missed && controlled < 0 {
			controlled = i
		}
	}
	if denied {
		return ExplicitDeny, "a statement denies it"
	}
	if controlled >= 0 {
		return ImplicitDeny, "no service control policy of a level allows it"
	}
	inBoundary := len(p.Boundary) == 0 || boundary.allowed != missed
	inSession := len(p.Session) == 0 || session.allowed != missed
	own := identity.allowed != missed
	if !e.request.sameAccount() {
		switch {
		case resource.allowed == missed:
			return ImplicitDeny, "the resource belongs to another account, and its policy does not allow it"
		case e.request.Principal.account() == "":
			// The anonymous and services have no policies of their own.
			if resource.allowed > delegated {
				return Allow, "the resource's policy allows it"
			}
		}
		if !own {
			return ImplicitDeny, "the resource belongs to another account, and no policy of the principal allows it"
		}
	} else if resource.allowed == exact || resource.allowed == general && inBoundary && inSession {
		return Allow, "the resource's policy allows it"
	} else if !own {
		return ImplicitDeny, "no statement allows it"
	}
	switch {
	case !inBoundary:
		return ImplicitDeny, "the permissions boundary does not allow it"
	case !inSession:
		return ImplicitDeny, "the session's policies do not allow it"
	}
	return Allow, "a policy of the principal allows it"
}
