package awsapi

import (
	"context"
	"reflect"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/fault"
)

// Options are what a host can say. The zero value is useful for runbooks without a role.
type Options struct {
	// Credentials gives what a role's calls are signed with. It is asked for every call that has a role, and should remember its answers. nil refuses such calls.
	Credentials func(ctx context.Context, role string, c automation.Call) (aws.CredentialsProvider, error)

	// Types are the Go types of unions and documents that inputs may hold: pointers to the members of unions (&types.AttributeValueMemberS{}), and the functions
	// that make a service's documents (document.NewLazyDocument).
	Types []any
}

// Caller calls AWS. It is safe for concurrent use. It implements api.Caller.
type Caller struct {
	services map[string]*service
	o        Options
	made     types
}

var _ api.Caller = (*Caller)(nil)

// service is a client and its operations by their names in small letters.
type service struct {
	client reflect.Value
	ops    map[string]operation
}

// operation is a method of a client: func(ctx, *Input, ...func(*Options)) (*Output, error).
type operation struct {
	name    string
	method  int
	in, out reflect.Type // the structures
	option  reflect.Type // func(*Options)
	stream  bool
	exact   bool // the output describes itself
}

// New returns a caller over clients by the names of their services. What is no client of AWS's SDK is refused.
func New(clients map[string]any, o *Options) (*Caller, error) {
	const op = "awsapi.New"
	c := &Caller{services: map[string]*service{}}
	if o != nil {
		c.o = *o
	}
	var err error
	if c.made, err = readTypes(c.o.Types); err != nil {
		return nil, err
	}
	for name, client := range clients {
		s := &service{client: reflect.ValueOf(client), ops: map[string]operation{}}
		if client != nil {
			t := s.client.Type()
			for i := range t.NumMethod() {
				if m, ok := newOperation(t.Method(i)); ok {
					s.ops[strings.ToLower(m.name)] = m
				}
			}
		}
		if len(s.ops) == 0 {
			return nil, fault.New(op, fault.Validation, "what is registered as %q is no client of AWS's SDK for Go, version 2", clip(name))
		}
		if c.services[canonical(name)] != nil {
			return nil, fault.New(op, fault.Validation, "%q is registered twice, under two of its names", clip(name))
		}
		c.services[canonical(name)] = s
	}
	return c, nil
}

// newOperation looks whether a method is an operation.
func newOperation(m reflect.Method) (o operation, ok bool) {
	t := m.Type
	if !t.IsVariadic() || t.NumIn() != 4 || t.NumOut() != 2 || t.In(1) != reflect.TypeFor[context.Context]() || t.Out(1) != reflect.TypeFor[error]() {
		return o, false
	}
	in, out, option := t.In(2), t.Out(0), t.In(3).Elem()
	if in.Kind() != reflect.Pointer || in.Elem().Kind() != reflect.Struct || out.Kind() != reflect.Pointer || out.Elem().Kind() != reflect.Struct ||
		option.Kind() != reflect.Func || option.NumIn() != 1 || option.In(0).Kind() != reflect.Pointer || option.In(0).Elem().Kind() != reflect.Struct {
		return o, false
	}
	o = operation{name: m.Name, method: m.Index, in: in.Elem(), out: out.Elem(), option: option}
	o.exact = out.Implements(reflect.TypeFor[smithy.Serializable]())
	if _, is := out.MethodByName("GetStream"); is {
		o.stream = true
	}
	for i := range o.out.NumField() {
		if f := o.out.Field(i); f.IsExported() && f.Type.Kind() == reflect.Interface && f.Type.Implements(reflect.TypeFor[interface{ Read([]byte) (int, error) }]()) {
			o.stream = true
		}
	}
	return o, true
}

// Call calls an operation.
func (c *Caller) Call(ctx context.Context, name, op string, inputs map[string]any) (map[string]any, error) {
	const at = "awsapi.Call"
	s := c.services[canonical(name)]
	if s == nil {
		return nil, fault.New(at, fault.Validation, "no client is registered for the service %q", clip(name))
	}
	m, ok := s.ops[strings.ToLower(op)]
	switch {
	case !ok:
		return nil, fault.New(at, fault.Validation, "the service %q has no operation %q", clip(name), clip(op))
	case m.stream:
		return nil, fault.New(at, fault.UnsupportedOperation, "the operation %s streams, which cannot be called so", m.name)
	}
	in := reflect.New(m.in)
	if err := c.made.fill(in.Elem(), inputs, ""); err != nil {
		return nil, fault.New(at, fault.Validation, "the inputs of %s: %s", m.name, err)
	}
	var keys capture
	set := func(options reflect.Value) {}
	if call, ok := api.CallOf(ctx); ok && call.Role != "" {
		if c.o.Credentials == nil {
			return nil, fault.New(at, fault.AccessDenied, "the call is to be made as role %q, and this control plane was given nothing that assumes roles", clip(call.Role))
		}
		p, err := c.o.Credentials(ctx, call.Role, call)
		if err != nil {
			return nil, failed(ctx, at, err)
		}
		f, has := m.option.In(0).Elem().FieldByName("Credentials")
		if p == nil || !has || !reflect.TypeOf(p).AssignableTo(f.Type) { // never with what the program itself may do
			return nil, fault.New(at, fault.AccessDenied, "there are no credentials for role %q, or the client takes none", clip(call.Role))
		}
		set = func(options reflect.Value) { options.FieldByIndex(f.Index).Set(reflect.ValueOf(p)) }
	}
	option := reflect.MakeFunc(m.option, func(args []reflect.Value) []reflect.Value {
		options := args[0].Elem()
		set(options)
		if f := options.FieldByName("APIOptions"); !m.exact && f.IsValid() && f.Type() == reflect.TypeFor[[]func(*middleware.Stack) error]() {
			f.Set(reflect.Append(f, reflect.ValueOf(keys.add)))
		}
		return nil
	})
	got := s.client.Method(m.method).Call([]reflect.Value{reflect.ValueOf(ctx), in, option})
	if err, _ := got[1].Interface().(error); err != nil {
		return nil, failed(ctx, at, err)
	}
	if v, ok := got[0].Interface().(smithy.Serializable); ok {
		keys.describe(v)
	}
	return keys.read(got[0].Elem()), nil
}

// clip shortens a text for a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}
