package ssmops

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/patch/patchstore"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// world is the services over a store in memory, with nodes that answer at once, in a bubble of virtual time.
type world struct {
	t           testing.TB
	ctx         context.Context // of admin
	api         *API
	commands    *command.Service
	nodes       *node.Service
	docs        *library.Service
	compliance  *compliance.Service
	parameters  *parameter.Service
	patches     *patchstore.Service
	inventory   *fleet.Service
	automations *automation.Service
	log         *audit.Log
	store       store.Store

	mu     sync.Mutex
	answer func(c automation.Call) (any, error) // of a runbook's call; nil is an id. Set before one is started
	report func(ref message.Ref) message.Report // what a node reports; nil is success with a line
	wg     sync.WaitGroup
}

// byName lets admin do everything, and "only ACTION" that action.
type byName struct{}

func (byName) Authorize(_ context.Context, p access.Principal, action, _ string, _ map[string]string) error {
	if p.Name == "admin" || p.Name == "only "+action {
		return nil
	}
	return fault.New("test", fault.AccessDenied, "no")
}

func as(name, tenant string) context.Context {
	return access.With(context.Background(), access.Principal{Name: name, Tenant: tenant})
}

// newWorld returns a world whose services do not run.
func newWorld(t testing.TB) *world {
	w := &world{t: t, ctx: as("admin", "")}
	st := memstore.New()
	w.store = st
	w.log = audit.New(audit.Config{Store: st, Authorize: byName{}})
	keys, err := message.NewIdentity("default", message.Controller, nil)
	require.NoError(t, err)
	w.nodes, err = node.New(node.Config{Store: st, Authorizer: byName{}, Audit: w.log, Controller: func(context.Context, string) (message.Peer, uint64, error) { return keys.Public(), 1, nil }})
	require.NoError(t, err)
	w.docs = library.New(library.Config{Store: st, Authorizer: byName{}, Audit: w.log})
	w.commands, err = command.New(command.Config{Store: st, Blobs: memblob.New(), Nodes: w.nodes, Documents: w.docs, Sender: w, Authorizer: byName{}, Audit: w.log,
		Leases: lease.New(st, nil, lease.Config{Owner: "test", Exclusive: true})})
	require.NoError(t, err)
	wrapper, err := localkeys.Create(filepath.Join(t.TempDir(), "keys.json"), nil)
	require.NoError(t, err)
	w.parameters = parameter.New(parameter.Config{Store: st, Authorizer: byName{}, Audit: w.log, Box: seal.NewBox(wrapper, nil)})
	w.compliance, err = compliance.New(compliance.Config{Store: st, Authorizer: byName{}, Audit: w.log})
	require.NoError(t, err)
	w.patches, err = patchstore.New(patchstore.Config{Store: st, Authorizer: byName{}, Audit: w.log, Nodes: fleetwright.Registry{Nodes: w.nodes}})
	require.NoError(t, err)
	w.inventory = fleet.New(fleet.Config{Store: st, Authorizer: byName{}, Audit: w.log, Nodes: fleetwright.Registry{Nodes: w.nodes}})
	w.automations, err = automation.NewService(automation.Config{Store: st, Documents: w.docs, Authorizer: byName{}, Audit: w.log, Leases: lease.New(st, nil, lease.Config{Owner: "test", Exclusive: true}),
		Actions: map[string]automation.Action{"aws:executeAwsApi": {Run: func(_ context.Context, c automation.Call) (any, error) {
			if w.answer == nil {
				return map[string]any{"Id": "i"}, nil
			}
			return w.answer(c)
		}}}})
	require.NoError(t, err)
	w.api = New(Services{Commands: w.commands, Nodes: w.nodes, Documents: w.docs, Parameters: w.parameters, Patches: w.patches, Inventory: w.inventory, Compliance: w.compliance, Automations: w.automations, Audit: w.log}, nil)
	return w
}

// inWorld runs f in a bubble with a world whose command service runs.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(context.Background())
		w.wg.Go(func() { w.commands.Run(ctx) })    //nolint:errcheck // ends with ctx
		w.wg.Go(func() { w.automations.Run(ctx) }) //nolint:errcheck // ends with ctx
		defer w.wg.Wait()
		defer cancel()
		f(t, w)
	})
}

// Connected implements command.Sender.
func (w *world) Connected(string, string) bool { return true }

// Send implements command.Sender: a node that takes everything and ends at once.
func (w *world) Send(_ context.Context, tenant, name string, kind message.Kind, _ message.Ref, _ time.Time, body []byte) error {
	say := func(kind message.Kind, body any) {
		b, err := message.Marshal(kind, body)
		require.NoError(w.t, err)
		w.wg.Go(func() {
			w.commands.Handle(context.Background(), tenant, name, message.Envelope{Tenant: tenant, From: name, Kind: kind, Body: b}) //nolint:errcheck // the test sees what comes of it
		})
	}
	switch kind {
	case message.KindOffer:
		o, err := message.Unmarshal[message.Offer](message.Envelope{Kind: kind, Body: body})
		require.NoError(w.t, err)
		say(message.KindReady, message.Ready{Ref: o.Ref})
	case message.KindRun:
		r, err := message.Unmarshal[message.Run](message.Envelope{Kind: kind, Body: body})
		require.NoError(w.t, err)
		w.mu.Lock()
		f := w.report
		w.mu.Unlock()
		if f == nil {
			f = succeed
		}
		if rep := f(r.Ref); rep.Detail != "" {
			say(message.KindReport, rep)
		}
	}
	return nil
}

func succeed(ref message.Ref) message.Report {
	now := time.Now()
	return message.Report{Ref: ref, Seq: 1, Detail: message.DetailSuccess, Started: now, Ended: now.Add(1755 * time.Millisecond),
		Steps: []message.StepReport{step("greet", message.Success, "hello\n", "")}}
}

func step(name string, s message.Status, out, err string) message.StepReport {
	return message.StepReport{Name: name, Action: "aws:runShellScript", Status: s, Started: time.Now(), Ended: time.Now().Add(time.Second),
		Stdout: stream1(out), Stderr: stream1(err)}
}

func stream1(s string) message.Stream { return message.Stream{Head: s, Size: int64(len(s))} }

// register makes a node with these tags and returns its id.
func (w *world) register(tags map[string]string) string {
	w.t.Helper()
	a, err := w.nodes.CreateActivation(w.ctx, node.ActivationRequest{Description: "canary of an activation", Tags: tags})
	require.NoError(w.t, err)
	id, err := message.NewIdentity("pending", "pending", nil)
	require.NoError(w.t, err)
	pub := id.Public()
	r, err := w.nodes.Register(context.Background(), message.RegisterRequest{ActivationID: a.ID, ActivationCode: string(a.Code.Reveal()), SignKey: pub.SignKey, SealKey: pub.SealKey,
		Token: message.NewID(nil), Facts: message.Facts{PlatformType: "Linux", ComputerName: "canary-host", Capabilities: []string{"aws:runShellScript"}}})
	require.NoError(w.t, err)
	return r.Node
}

// call calls an operation as admin and reads its answer.
func call1[Out any](w *world, op string, in any) Out {
	w.t.Helper()
	out, err := call2[Out](w, op, in)
	require.NoError(w.t, err)
	return out
}

func call2[Out any](w *world, op string, in any) (out Out, err error) {
	w.t.Helper()
	b, err := json.Marshal(in)
	require.NoError(w.t, err)
	b, err = w.api.Call(w.ctx, op, b)
	if err != nil {
		return out, err
	}
	require.NoError(w.t, json.Unmarshal(b, &out), string(b))
	return out, nil
}

const greet = `{"schemaVersion":"2.2","description":"canary of a document","mainSteps":[{"action":"aws:runShellScript","name":"greet","inputs":{"runCommand":["echo hello"]}}]}`

// run sends Greet to every node and waits until it ended.
func (w *world) run(nodes ...string) command.Command {
	w.t.Helper()
	c := call1[SendCommandResult](w, "SendCommand", map[string]any{"DocumentName": "Greet", "InstanceIds": nodes, "Comment": "canary of a command"})
	done, err := w.commands.Wait(w.ctx, c.Command.ID)
	require.NoError(w.t, err)
	return done
}

func (w *world) create(name, content string) {
	w.t.Helper()
	call1[DocumentResult](w, "CreateDocument", library.CreateDocumentRequest{Name: name, Content: content, Tags: []Tag{{Key: "canary", Value: "canary"}}})
}

// byHeader takes a test's word for who calls.
func byHeader() Authenticator {
	return AuthenticatorFunc(func(r *http.Request) (access.Principal, error) {
		return access.Principal{Name: r.Header.Get("Test-Name"), Tenant: r.Header.Get("Test-Tenant")}, nil
	})
}

// post sends a request through the handler.
func post(h http.Handler, name, tenant, op, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "AmazonSSM."+op)
	r.Header.Set("Content-Type", contentType)
	if name != "" {
		r.Header.Set("Test-Name", name)
	}
	r.Header.Set("Test-Tenant", tenant)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Test-Name", "admin")
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

// slow is a body that tells when it is read and ends when it is told to.
type slow struct{ in, out chan struct{} }

func (s slow) Read([]byte) (int, error) {
	close(s.in)
	<-s.out
	return 0, io.EOF
}

func (s slow) Close() error { return nil }
