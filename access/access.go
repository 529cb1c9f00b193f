// Package access says who calls and asks whether they may.
//
// Every operation of every service calls [Check] with the action and resource in AWS's notation (ssm:SendCommand,
// arn-free names such as "document/Name" and "node/mi-…"), per item in lists too, and at dispatch for each resolved target. The host
// supplies the [Authorizer]; access/iam (later) evaluates AWS policy JSON.
package access

import (
	"context"
	"maps"
	"slices"
	"sort"

	"github.com/fleetwright/fleetwright/fault"
)

// DefaultTenant is the tenant of a Principal that names none.
const DefaultTenant = "default"

// Principal is who calls. It is immutable.
type Principal struct {
	Tenant     string            // empty is DefaultTenant
	Name       string            // of the person or program; empty is anonymous
	Attributes map[string]string // for authorizers of the host
}

type ctxKey struct{}

// With returns a ctx that carries p. Hosts call it after they have authenticated the caller.
func With(ctx context.Context, p Principal) context.Context {
	if p.Tenant == "" {
		p.Tenant = DefaultTenant
	}
	return context.WithValue(ctx, ctxKey{}, p)
}

// From returns the principal of ctx, or the anonymous one of DefaultTenant.
func From(ctx context.Context) Principal {
	if p, ok := ctx.Value(ctxKey{}).(Principal); ok {
		return p
	}
	return Principal{Tenant: DefaultTenant}
}

// Tenant returns the tenant of ctx's principal.
func Tenant(ctx context.Context) string { return From(ctx).Tenant }

// Authorizer decides. It is safe for concurrent use, does not block on the network inside a transaction (it is never called from within one), and denies by returning an
// error; the text of that error is for the audit record, not for the caller.
type Authorizer interface {
	Authorize(ctx context.Context, p Principal, action, resource string, attributes map[string]string) error
}

// Check asks a and turns a refusal into AccessDeniedException. It fails closed: without an authorizer everything is denied.
func Check(ctx context.Context, a Authorizer, action, resource string, attributes map[string]string) error {
	p := From(ctx)
	if a == nil {
		return fault.New("access.Check", fault.AccessDenied, "no authorizer is configured, so nothing is allowed")
	}
	if err := a.Authorize(ctx, p, action, resource, attributes); err != nil {
		return &fault.Error{Op: "access.Check", Code: fault.AccessDenied, Msg: fault.Clean(p.Name) + " is not authorized to perform " + action + " on " + fault.Clean(resource), Err: nil}
	}
	return nil
}

// AllowAll allows everything to everybody, the anonymous included: for tests and programs with one user.
type AllowAll struct{}

// Authorize returns nil.
func (AllowAll) Authorize(context.Context, Principal, string, string, map[string]string) error {
	return nil
}

// DenyAll denies everything.
type DenyAll struct{}

// Authorize returns AccessDenied.
func (DenyAll) Authorize(context.Context, Principal, string, string, map[string]string) error {
	return fault.New("access.DenyAll", fault.AccessDenied, "everything is denied")
}

// Grants is an Authorizer by table: principal name to the actions it may perform, "ssm:*" and "*" as wildcards, on any resource of its own tenant. The anonymous has none.
// It is read-only once in use.
type Grants map[string][]string

// Authorize looks the principal up.
func (g Grants) Authorize(_ context.Context, p Principal, action, _ string, _ map[string]string) error {
	if p.Name != "" {
		for _, a := range g[p.Name] {
			if a == "*" || a == action || len(a) > 1 && a[len(a)-1] == '*' && len(action) >= len(a)-1 && action[:len(a)-1] == a[:len(a)-1] {
				return nil
			}
		}
	}
	return fault.New("access.Grants", fault.AccessDenied, "no grant of %s", action)
}

// Names returns the principals of the table, sorted.
func (g Grants) Names() []string {
	names := slices.Collect(maps.Keys(g))
	sort.Strings(names)
	return names
}
