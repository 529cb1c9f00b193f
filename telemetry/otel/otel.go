// Package otel makes an OpenTelemetry trace of each command of what control planes and agents tell (package observe): from SendCommand over dispatch, offer and run on
// each node and each of its steps, to the report.
//
//	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithIDGenerator(otel.IDs(nil)))
//	defer provider.Shutdown(ctx)
//	f, err := fleetwright.Open(ctx, "data", &fleetwright.Options{Config: fleetwright.Config{Observer: otel.New(provider, nil)}})
//
// # One trace, made by many
//
// The ids of a trace and of its spans are derived from what they are about (observe.TraceID, observe.SpanID): the trace of command 0f7a1b2c-… is 0f7a1b2c…, without the dashes. So nothing
// has to travel in messages, no release has to agree with another one about it, and the control plane that accepted a command, the one that took it over, and the agents, each exporting what
// it knows, make one trace. An operator who has a command's id, from a log line or from the caller, has the trace. Who called SendCommand within a trace of its own finds a link to it on
// the span SendCommand.
//
//	command                    accepted → ended on the last target
//	├ SendCommand              the call
//	├ dispatch                 accepted → first messages handed over
//	└ invocation (a node)      its turn → its end, by the control plane's clock
//	  ├ deliver                its turn → it answered and was told to run
//	  ├ run                    on the node, by the node's clock
//	  │ └ step …               each step that ran
//	  └ report                 its end → the control plane confirmed it, by the node's clock
//
// A span is exported when it has ended: of a command that runs for a day the inner ones come a day before the root. Clocks of machines differ, and so may the ends of spans.
//
// # What it costs
//
// A fan-out to 100,000 nodes has half a million spans. [Options.Share] traces some commands whole and others not at all; it decides by the trace's id, so that all
// processes with the same share agree.
package otel

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/observe"
)

// Scope is the instrumentation scope of all spans.
const Scope = "github.com/fleetwright/fleetwright"

// The attributes of spans.
const (
	Tenant    = attribute.Key("fleetwright.tenant")
	Command   = attribute.Key("fleetwright.command.id")
	Node      = attribute.Key("fleetwright.node.id")
	Attempt   = attribute.Key("fleetwright.attempt")
	Targets   = attribute.Key("fleetwright.targets")
	Details   = attribute.Key("fleetwright.status_details") // AWS's StatusDetails, or a step's status
	Step      = attribute.Key("fleetwright.step")           // its index, from 1
	StepName  = attribute.Key("fleetwright.step.name")
	ErrorCode = attribute.Key("fleetwright.error.code") // of package fault
)

// Options of New. nil and the zero value are good defaults.
type Options struct {
	// Share is the part of all commands that is traced, from 0 to 1; 0 is all, below 0 none. It comes before the provider's own sampler, which should let everything through: one that
	// decides span by span leaves traces with holes.
	Share float64
}

// Tracer is an observe.Observer. It is safe for concurrent use.
type Tracer struct {
	tracer trace.Tracer
	below  uint64 // of the last eight bytes of a trace's id
	all    bool
}

var _ observe.Observer = (*Tracer)(nil)

// New returns an observer that makes spans with the provider, whose ids must come from [IDs]. The provider is the host's: flushing and shutting it down too.
func New(p trace.TracerProvider, o *Options) *Tracer {
	t := &Tracer{tracer: p.Tracer(Scope), all: true}
	if o != nil && o.Share != 0 && !(o.Share >= 1) {
		t.all, t.below = false, uint64(max(0, o.Share)*(1<<63))
	}
	return t
}

// names of the spans of kinds. Other kinds are no part of a command's story.
var names = map[observe.Kind]string{observe.Command: "command", observe.Send: "SendCommand", observe.Dispatch: "dispatch", observe.Invocation: "invocation", observe.Deliver: "deliver",
	observe.Run: "run", observe.Step: "step", observe.Report: "report"}

// Observe implements observe.Observer.
func (t *Tracer) Observe(ctx context.Context, e observe.Event) {
	name, ok := names[e.Kind]
	if !ok || e.Command == "" { // a refused SendCommand made no command: it is in the caller's own trace
		return
	}
	id := trace.TraceID(observe.TraceID(e.Command))
	if !t.all && binary.BigEndian.Uint64(id[8:])>>1 >= t.below {
		return
	}
	kind := trace.SpanKindInternal
	opts := []trace.SpanStartOption{trace.WithTimestamp(e.Start), trace.WithAttributes(attributes(&e)...)}
	if e.Kind == observe.Send {
		kind = trace.SpanKindServer
		if caller := trace.SpanContextFromContext(ctx); caller.IsValid() && caller.TraceID() != id {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: caller}))
		}
	}
	opts = append(opts, trace.WithSpanKind(kind))
	// Only the values that the tracer is to see: the work's context may have ended, and has a span of somebody else's.
	of := context.WithValue(context.Background(), idsKey{}, ids{id, trace.SpanID(observe.SpanID(&e))})
	if parent := observe.ParentID(&e); parent != [8]byte{} {
		of = trace.ContextWithRemoteSpanContext(of, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: parent, TraceFlags: trace.FlagsSampled, Remote: true}))
	}
	_, span := t.tracer.Start(of, name, opts...)
	if code, what := status(&e); code != codes.Unset {
		span.SetStatus(code, what)
	}
	span.End(trace.WithTimestamp(e.Start.Add(e.Took())))
}

func attributes(e *observe.Event) []attribute.KeyValue {
	as := make([]attribute.KeyValue, 0, 8)
	as = append(as, Tenant.String(e.Tenant), Command.String(e.Command))
	if e.Node != "" {
		as = append(as, Node.String(e.Node), Attempt.Int(e.Attempt))
	}
	if e.N > 0 {
		as = append(as, Targets.Int(e.N))
	}
	if e.Label != "" && e.Kind != observe.Send {
		as = append(as, Details.String(e.Label))
	}
	if e.Kind == observe.Step {
		as = append(as, Step.Int(e.Step+1), StepName.String(fault.Clean(e.Name)))
	}
	if e.Err != nil {
		as = append(as, ErrorCode.String(string(fault.CodeOf(e.Err))))
	}
	return as
}

// status is that of a span: an error has its code, never its text, which may have what callers wrote.
func status(e *observe.Event) (codes.Code, string) {
	switch {
	case e.Err != nil:
		return codes.Error, string(fault.CodeOf(e.Err))
	case e.Kind == observe.Command || e.Kind == observe.Invocation || e.Kind == observe.Run || e.Kind == observe.Step:
		switch e.Label {
		case "Success", "Skipped":
			return codes.Ok, ""
		}
		return codes.Error, e.Label
	}
	return codes.Unset, ""
}

// idsKey is under what the ids of a span travel to the generator.
type idsKey struct{}

type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

// IDs returns the generator that a provider needs (sdktrace.WithIDGenerator) whose spans a [Tracer] makes. The ids of all other spans come from next; nil is random ones.
func IDs(next sdktrace.IDGenerator) sdktrace.IDGenerator {
	if next == nil {
		next = random{}
	}
	return generator{next}
}

type generator struct{ next sdktrace.IDGenerator }

// NewIDs implements sdktrace.IDGenerator.
func (g generator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if i, ok := ctx.Value(idsKey{}).(ids); ok {
		return i.trace, i.span
	}
	return g.next.NewIDs(ctx)
}

// NewSpanID implements sdktrace.IDGenerator.
func (g generator) NewSpanID(ctx context.Context, t trace.TraceID) trace.SpanID {
	if i, ok := ctx.Value(idsKey{}).(ids); ok && i.trace == t {
		return i.span
	}
	return g.next.NewSpanID(ctx, t)
}

type random struct{}

func (random) NewIDs(context.Context) (t trace.TraceID, s trace.SpanID) {
	for !t.IsValid() {
		crand.Read(t[:]) //nolint:errcheck // it never fails
	}
	return t, random{}.NewSpanID(context.Background(), t)
}

func (random) NewSpanID(context.Context, trace.TraceID) (s trace.SpanID) {
	for !s.IsValid() {
		crand.Read(s[:]) //nolint:errcheck // it never fails
	}
	return s
}

// Of returns the context of a command's trace, for work that a host does on its behalf: spans that begin with it are the command's children.
func Of(ctx context.Context, tenant, command string) context.Context {
	e := observe.Event{Kind: observe.Command, Tenant: tenant, Command: command, Start: time.Time{}}
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(observe.TraceID(command)), SpanID: trace.SpanID(observe.SpanID(&e)),
		TraceFlags: trace.FlagsSampled, Remote: true}))
}
