package api

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
)

// Caller calls operations of services by their names.
//
// service is AWS's name of the service in small letters, as its SDK for Python has it ("ec2", "cloudformation", "stepfunctions"); api the operation in
// Pascal case ("DescribeInstances"), its first letter apart as the runbook writes it. Both must be found without regard to case. The names of inputs, at every depth, are as the
// runbook writes them: camel case and Pascal case mean the same member. inputs and what is in it must not be changed. Values are nil, bool, string, int64,
// json.Number, []any and map[string]any.
//
// The answer has the names that AWS's API reference gives them, in values that JSON can hold; members without a value are missing. A list that comes in
// pages is one page, with its token. An error carries AWS's error code: as a fault.Error, or with a method ErrorCode() string as those of AWS's SDK have.
//
// [CallOf] tells for which step it is. Callers are safe for concurrent use and end when ctx does.
type Caller interface {
	Call(ctx context.Context, service, api string, inputs map[string]any) (map[string]any, error)
}

// CallerFunc is a function as a Caller.
type CallerFunc func(ctx context.Context, service, api string, inputs map[string]any) (map[string]any, error)

// Call calls f.
func (f CallerFunc) Call(ctx context.Context, service, api string, inputs map[string]any) (map[string]any, error) {
	return f(ctx, service, api, inputs)
}

// Mux hands each call to the caller of its service: a host's own services beside AWS's.
type Mux struct {
	Services map[string]Caller // by the service's name in small letters
	Other    Caller            // for all other services; nil knows none
}

// Call hands the call on. A service that nobody has is a ValidationException.
func (m Mux) Call(ctx context.Context, service, api string, inputs map[string]any) (map[string]any, error) {
	service = serviceName(service)
	c := m.Services[service]
	if c == nil {
		c = m.Other
	}
	if c == nil {
		return nil, fault.New("api.Call", fault.Validation, "this control plane was given nothing that calls the service %q", clip(service))
	}
	return c.Call(ctx, service, api, inputs)
}

type callKey struct{}

// CallOf returns the call of an action for which ctx was made: whose it is, and as what role (assumeRole) it is to be done. ok is false outside of one.
func CallOf(ctx context.Context) (c automation.Call, ok bool) {
	c, ok = ctx.Value(callKey{}).(automation.Call)
	return c, ok
}

// serviceName brings a service's name into its one form.
func serviceName(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// apiName brings an operation's name into Pascal case: describeInstances and describe_instances are DescribeInstances.
func apiName(s string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(strings.TrimSpace(s), func(r rune) bool { return r == '_' || r == '-' || r == ' ' }) {
		r, n := utf8.DecodeRuneInString(word)
		b.WriteString(string(unicode.ToUpper(r)) + word[n:])
	}
	return b.String()
}

// clip shortens a text for a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}
