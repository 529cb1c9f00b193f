package agent_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/download"
	"github.com/fleetwright/fleetwright/action/rundocument"
	"github.com/fleetwright/fleetwright/action/shell"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
)

const tenant, nodeID = "default", "mi-0123456789abcdef0"

// plane is a control plane of one node, small enough to read: it welcomes, confirms every report and every piece, and keeps both.
type plane struct {
	t     testing.TB
	codec message.Codec
	peer  message.Peer // the node
	end   transport.Transport

	mu      sync.Mutex
	cond    *sync.Cond
	reports map[message.Ref]message.Report
	ready   map[message.Ref]message.Ready
	outputs map[string][]byte
	deaf    bool // confirms nothing
	hello   message.Hello
	late    bool
}

func newPlane(t testing.TB, end transport.Transport, codec message.Codec, node message.Peer) *plane {
	p := &plane{t: t, codec: codec, peer: node, end: end, reports: map[message.Ref]message.Report{}, ready: map[message.Ref]message.Ready{}, outputs: map[string][]byte{}}
	p.cond = sync.NewCond(&p.mu)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		end.Receive(ctx, p.handle) //nolint:errcheck // ends with the test
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

func (p *plane) send(kind message.Kind, attempt int, body any) {
	b, err := message.Marshal(kind, body)
	if err != nil {
		p.t.Error(err)
		return
	}
	now := time.Now()
	data, err := p.codec.Seal(p.peer, message.Envelope{Kind: kind, ID: message.NewID(nil), Attempt: attempt, Epoch: 1, NotBefore: now, NotAfter: now.Add(time.Minute), Body: b})
	if err != nil {
		p.t.Error(err)
		return
	}
	p.end.Send(context.Background(), transport.Address{Tenant: tenant, Name: p.peer.Name}, data) //nolint:errcheck // may be lost
}

func (p *plane) handle(_ context.Context, m transport.Message) {
	e, err := p.codec.Open(m.Data, func(string) (message.Peer, error) { return p.peer, nil }, time.Now(), 0)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.cond.Broadcast()
	switch e.Kind {
	case message.KindHello:
		h, _ := message.Unmarshal[message.Hello](e)
		p.hello = h
		p.send(message.KindWelcome, 0, message.Welcome{Session: h.Session, Seq: h.Seq, Time: time.Now()})
	case message.KindReady:
		r, _ := message.Unmarshal[message.Ready](e)
		p.ready[r.Ref] = r
	case message.KindReport:
		r, _ := message.Unmarshal[message.Report](e)
		if old := p.reports[r.Ref]; r.Seq >= old.Seq {
			p.reports[r.Ref] = r
		}
		if !p.deaf {
			p.send(message.KindAck, r.Attempt, message.Ack{Ref: r.Ref, Seq: r.Seq, Final: r.Detail.Terminal()})
		}
	case message.KindOutput:
		o, _ := message.Unmarshal[message.Output](e)
		key := o.Command + message.StreamID(o.Step, o.Stderr)
		if have := int64(len(p.outputs[key])); o.Offset <= have && o.Offset+int64(len(o.Data)) > have {
			p.outputs[key] = append(p.outputs[key], o.Data[have-o.Offset:]...)
		}
		if !p.deaf {
			p.send(message.KindAck, o.Attempt, message.Ack{Ref: o.Ref, Offsets: map[string]int64{message.StreamID(o.Step, o.Stderr): int64(len(p.outputs[key]))}})
		}
	}
}

// until waits for a condition on what the plane has heard.
func (p *plane) until(what string, cond func() bool) {
	p.t.Helper()
	late := time.AfterFunc(time.Minute, func() { p.mu.Lock(); p.late = true; p.mu.Unlock(); p.cond.Broadcast() })
	defer late.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !cond() {
		require.False(p.t, p.late, "waited a minute for %s", what)
		p.cond.Wait()
	}
}

// connected waits for the node's hello.
func (p *plane) connected() {
	p.until("the node", func() bool { return p.hello.Session != "" })
}

// end waits for the terminal report of a command.
func (p *plane) terminal(command string) message.Report {
	p.t.Helper()
	ref := message.Ref{Command: command, Attempt: 1}
	p.until("the end of "+command, func() bool { r, ok := p.reports[ref]; return ok && r.Detail.Terminal() })
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reports[ref]
}

// started waits until the command's step is in progress.
func (p *plane) started(command string, step int) {
	p.t.Helper()
	ref := message.Ref{Command: command, Attempt: 1}
	p.until("the start of "+command, func() bool {
		r := p.reports[ref]
		return len(r.Steps) > step && r.Steps[step].Status != message.Pending
	})
}

func newRun(command, document string) message.Run {
	sum := sha256.Sum256([]byte(document))
	return message.Run{Ref: message.Ref{Command: command, Attempt: 1}, DocumentName: "Test", Document: []byte(document), DocumentHash: hex.EncodeToString(sum[:]), Format: "YAML", ExpiresAt: time.Now().Add(time.Hour)}
}

// run offers and runs a document, sending until it is reported: transports lose things.
func (p *plane) run(r message.Run) {
	p.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		p.send(message.KindRun, r.Attempt, r)
		ok := false
		func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			over := false
			wake := time.AfterFunc(time.Second, func() { p.mu.Lock(); over = true; p.mu.Unlock(); p.cond.Broadcast() })
			defer wake.Stop()
			for {
				if _, ok = p.reports[r.Ref]; ok || over {
					return
				}
				p.cond.Wait()
			}
		}()
		if ok {
			return
		}
		require.True(p.t, time.Now().Before(deadline), "nobody reports %s", r.Command)
	}
}

// script is a document with one script a step.
func script(steps ...string) string {
	doc := "schemaVersion: '2.2'\nmainSteps:\n"
	for i, s := range steps {
		doc += "- action: aws:runShellScript\n  name: step" + string(rune('0'+i)) + "\n  inputs:\n    runCommand:\n    - |\n      " + s + "\n"
	}
	return doc
}

func actions(t testing.TB, more ...action.Action) action.Set {
	set, err := action.NewSet(append(more, shell.New(nil), shell.NewPowerShell(nil), rundocument.New(nil), download.New(nil))...)
	if err != nil {
		if t == nil {
			panic(err)
		}
		t.Fatal(err)
	}
	return set
}

// newNode returns a node and the identity of its control plane.
func newNode(t testing.TB, dir string) (*agent.Node, *message.Identity) {
	node, err := message.NewIdentity(tenant, nodeID, nil)
	require.NoError(t, err)
	ctrl, err := message.NewIdentity(tenant, message.Controller, nil)
	require.NoError(t, err)
	return &agent.Node{Dir: dir, Tenant: tenant, ID: nodeID, Codec: node, Controller: ctrl.Public(), Epoch: 1}, ctrl
}

func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// tree lists every file below a directory with its mode.
func tree(t testing.TB, dir string) map[string]os.FileMode {
	all := map[string]os.FileMode{}
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			all[path] = info.Mode()
		}
		return nil
	}))
	return all
}
