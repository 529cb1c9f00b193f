package iam

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
)

// Accounts returns the accounts that a resource's policy may allow something to, sorted, from Principals of type AWS: "*" is everybody.
func (p *Policy) Accounts() []string {
	all := map[string]bool{}
	for i := range p.statements {
		s := &p.statements[i]
		if s.deny || s.principals == nil || s.principals.not {
			continue
		}
		if s.principals.everyone {
			all["*"] = true
		}
		for _, name := range s.principals.named["AWS"] {
			if isARN(name) {
				name = strings.SplitN(name, ":", 6)[4]
			}
			if name != "" {
				all[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Sharing decides by policies that hang on resources, for services that let other tenants in by them, such as parameter. It is safe for concurrent use.
type Sharing struct {
	names Names
	now   func() time.Time
}

// NewSharing returns one that knows tenants by these names. now is the clock of conditions, nil is time.Now.
func NewSharing(names Names, now func() time.Time) *Sharing {
	s := &Sharing{names: names.fixed(), now: now}
	if now == nil {
		s.now = time.Now
	}
	return s
}

// Check parses a policy, and returns the tenants that it may allow something to, "*" being all.
func (s *Sharing) Check(policy string) (tenants []string, err error) {
	p, err := Parse([]byte(policy), &ParseOptions{Kind: Resource})
	if err != nil {
		return nil, err
	}
	for _, account := range p.Accounts() {
		if t, ok := s.names.tenants[account]; ok {
			account = t
		}
		tenants = append(tenants, account)
	}
	slices.Sort(tenants)
	return slices.Compact(tenants), nil
}

// Allows reports whether the policy allows the action on the resource, an ARN, to the principal, by name or by account. The principal's own policies must allow it, too: that is the authorizer's to
// say. A policy that does not parse allows nothing.
func (s *Sharing) Allows(policy string, p access.Principal, action, resource string) bool {
	x, err := Parse([]byte(policy), &ParseOptions{Kind: Resource})
	if err != nil {
		return false
	}
	if p.Tenant == "" {
		p.Tenant = access.DefaultTenant
	}
	account := s.names.Account(p.Tenant)
	if account == "" {
		return false
	}
	q := &Request{Principal: s.names.principal(p, account), Action: action, Resource: resource, Context: Context{}}
	clock(q.Context, s.now())
	if p.Name != "" {
		caller(q.Context, p, &q.Principal, account)
	}
	e := &evaluation{request: q, lookup: newLookup(q.Context), action: fold(action)}
	got := e.set("resource", []*Policy{x}, true)
	return !got.deny && got.allowed != missed
}

// Explain is Allows for people: the request against the policy alone, where a grant to the whole account counts as an Allow.
func (s *Sharing) Explain(ctx context.Context, policy string, p access.Principal, action, resource string) (*Explanation, error) {
	x, err := Parse([]byte(policy), &ParseOptions{Kind: Resource})
	if err != nil {
		return nil, err
	}
	everything, err := Parse([]byte(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`), &ParseOptions{Name: "the principal's own side"})
	if err != nil {
		return nil, err
	}
	owner := "-" // never the principal's: both sides are asked
	a := &Authorizer{cfg: Config{Names: s.names, Now: s.now, Policies: func(context.Context, access.Principal, *Request) (Policies, error) {
		return Policies{Resource: []*Policy{x}, Identity: []*Policy{everything}}, nil
	}}}
	policies, q, err := a.request(ctx, p, action, resource, nil)
	if err != nil {
		return nil, err
	}
	q.ResourceAccount = owner
	return Explain(policies, q), nil
}
