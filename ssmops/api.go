package ssmops

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/patch/patchstore"
)

// Services are what the operations call. An operation whose service is nil answers UnsupportedOperationException.
type Services struct {
	Commands    *command.Service
	Nodes       *node.Service
	Documents   *library.Service
	Parameters  parameter.Store
	Patches     *patchstore.Service
	Inventory   *fleet.Service
	Compliance  *compliance.Service
	Automations *automation.Service
	Audit       *audit.Log // also records what no service does: refused credentials, requests that cannot be read, reads of commands
}

// Options of New; nil is the zero value.
type Options struct {
	Now  func() time.Time // nil is time.Now
	Rand io.Reader        // of request ids; nil is crypto/rand
	Log  *slog.Logger     // nil discards
	// Beat is how often an idle stream sends an empty line, so that both sides notice a dead connection. 0 is 15 seconds.
	Beat time.Duration
}

// API is the operations over services. It is safe for concurrent use and starts nothing.
type API struct {
	Services
	now  func() time.Time
	rand io.Reader
	log  *slog.Logger
	beat time.Duration
	ops  map[string]Operation
}

// New returns the operations over the services.
func New(s Services, o *Options) *API {
	if o == nil {
		o = &Options{}
	}
	a := &API{Services: s, now: o.Now, rand: o.Rand, log: o.Log, beat: o.Beat, ops: map[string]Operation{}}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.beat <= 0 {
		a.beat = 15 * time.Second
	}
	for _, row := range Operations() {
		a.ops[row.Name] = row
	}
	return a
}

// MaxRequest is the largest request, in bytes.
const MaxRequest = 1 << 20

// Call carries an operation out for the principal of ctx: in and out are JSON as on the wire. Errors have AWS's codes; UnknownOperationException for a name
// without a row, UnsupportedOperationException for one that streams or whose service is not there.
func (a *API) Call(ctx context.Context, op string, in []byte) ([]byte, error) {
	row, err := a.row(ctx, op, in)
	if err != nil {
		return nil, err
	}
	if row.Streams {
		return nil, fault.New("ssmops.Call", fault.UnsupportedOperation, "%s streams its answer: call Stream", row.Name)
	}
	return a.call(ctx, &row, in)
}

func (a *API) call(ctx context.Context, row *Operation, in []byte) ([]byte, error) {
	v, resource, err := row.call(ctx, a, in)
	a.record(ctx, row, resource, err)
	if err != nil {
		return nil, fault.Wrap("ssmops."+row.Name, err)
	}
	if v == nil {
		return []byte("{}"), nil
	}
	return encode(v)
}

// Stream carries a streaming operation out and writes what it yields to w, until it ends, ctx ends, or w fails. WatchCommand writes one JSON object a line, and an empty line
// now and then; GetCommandOutput writes bytes. Errors are those of Call.
func (a *API) Stream(ctx context.Context, op string, in []byte, w io.Writer) error {
	row, err := a.row(ctx, op, in)
	if err != nil {
		return err
	}
	if !row.Streams {
		return fault.New("ssmops.Stream", fault.UnsupportedOperation, "%s does not stream: call Call", row.Name)
	}
	return a.stream(ctx, &row, in, &sink{w: w})
}

func (a *API) stream(ctx context.Context, row *Operation, in []byte, to *sink) error {
	resource, err := row.stream(ctx, a, in, to)
	a.record(ctx, row, resource, err)
	return fault.Wrap("ssmops."+row.Name, err)
}

// row finds an operation and checks what can be checked before it is called.
func (a *API) row(ctx context.Context, op string, in []byte) (Operation, error) {
	row, ok := a.ops[op]
	if !ok {
		err := fault.New("ssmops.Call", unknownOperation, "there is no operation %q here", clip(op))
		a.audit(ctx, "fleetwright:UnknownOperation", clip(op), err)
		return row, err
	}
	if len(in) > MaxRequest {
		err := fault.New("ssmops."+row.Name, tooLarge, "the request is larger than %d bytes", MaxRequest)
		a.audit(ctx, row.Permission, "*", err)
		return row, err
	}
	if !row.available(&a.Services) {
		return row, fault.New("ssmops."+row.Name, fault.UnsupportedOperation, "this control plane does not offer %s", row.Name)
	}
	return row, nil
}

// record writes the audit entry of a call when the service that carried it out does not.
func (a *API) record(ctx context.Context, row *Operation, resource string, err error) {
	denied := fault.KindOf(err) == fault.Denied
	switch {
	case fault.CodeOf(err) == serialization, // no service saw it
		row.records == nothing, row.records == refusals && !denied, row.records == writes && err != nil && !denied:
		a.auditAs(ctx, row.Permission, resource, row.Name, err)
	}
}

// audit records a failed call that no service saw.
func (a *API) audit(ctx context.Context, action, resource string, err error) {
	a.auditAs(ctx, action, resource, "", err)
}

// auditAs records a read or a failed call, with the operation's name where the action has another. That it is not recorded is logged: the answer stands.
func (a *API) auditAs(ctx context.Context, action, resource, operation string, err error) {
	entry := audit.Of(action, resource, err)
	if operation != "" && !strings.HasSuffix(action, ":"+operation) {
		entry.IDs = map[string]string{"operation": operation}
	}
	if e := a.Audit.Read(ctx, entry); e != nil {
		a.log.LogAttrs(ctx, slog.LevelError, "call not recorded", slog.String("action", action), slog.String("error", e.Error()))
	}
}

// principal is for the log.
func principal(ctx context.Context) slog.Attr {
	p := access.From(ctx)
	return slog.String("principal", fault.Clean(p.Tenant+"/"+p.Name))
}

// sink is where a streaming operation writes. Its writes are safe for concurrent use.
type sink struct {
	w      io.Writer
	header func(contentType string, h http.Header) // called before the first write; may be nil
	flush  func() error                            // may be nil

	mu sync.Mutex
}

// begin says what follows.
func (s *sink) begin(contentType string, h http.Header) {
	if s.header != nil {
		s.header(contentType, h)
	}
}

// Write writes b at once.
func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.w.Write(b)
	if err == nil && s.flush != nil {
		err = s.flush()
	}
	return n, err
}
