package fleetwright_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/message"
)

// asker is an action that asks the control plane what its step says, and prints the answer.
type asker struct{}

func (asker) Name() string { return "test:ask" }

func (asker) Run(ctx context.Context, c *action.Call) action.Result {
	op, _ := c.Inputs["op"].(string)
	in, err := json.Marshal(c.Inputs["input"])
	if err != nil {
		return action.Failed(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := c.Plane.Ask(ctx, op, in)
	if err != nil {
		return action.Failed(string(fault.CodeOf(err)) + ": " + err.Error())
	}
	c.Stdout.Write(out) //nolint:errcheck // never fails
	return action.Succeeded()
}

// TestNodesAskTheControlPlane: an operation that a node asks for is done in its name, and its answer or refusal comes back.
func TestNodesAskTheControlPlane(t *testing.T) {
	var calls atomic.Int64
	ops := map[string]fleetwright.NodeOp{
		"Echo": func(_ context.Context, tenant, node string, in []byte) ([]byte, error) {
			calls.Add(1)
			return []byte(tenant + " " + node + " " + string(in)), nil
		},
		"Long": func(context.Context, string, string, []byte) ([]byte, error) {
			return []byte(strings.Repeat("long ", 1<<18)), nil
		},
		"Refuse": func(context.Context, string, string, []byte) ([]byte, error) {
			return nil, fault.New("x", "ItemContentMismatchException", "send it whole")
		},
		"Break": func(context.Context, string, string, []byte) ([]byte, error) { panic("oops") },
		"Fail":  func(context.Context, string, string, []byte) ([]byte, error) { return nil, errors.New("a disk") },
	}
	f, err := fleetwright.Open(t.Context(), t.TempDir(), &fleetwright.Options{Config: fleetwright.Config{NodeOps: ops,
		Actions: document.Builtin().With(document.ActionSpec{Name: "test:ask", Schemas: []string{"2.2"}, Open: true})}})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	set, err := fleetwright.Actions(asker{})
	require.NoError(t, err)
	a, err := f.StartAgent(t.Context(), "one", &fleetwright.LocalOptions{Actions: set})
	require.NoError(t, err)
	ask := func(op string) command.Result {
		doc := `{"schemaVersion":"2.2","mainSteps":[{"action":"test:ask","name":"ask","inputs":{"op":"` + op + `","input":{"a":1}}}]}`
		name := "Ask" + op
		_, err := f.Documents.CreateDocument(t.Context(), library.CreateDocumentRequest{Name: name, Content: doc, DocumentFormat: "JSON", DocumentType: "Command"})
		require.NoError(t, err)
		c, err := f.Commands.Send(t.Context(), command.SendRequest{DocumentName: name, InstanceIDs: []string{a.ID}})
		require.NoError(t, err)
		_, err = f.Commands.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		r, err := f.Commands.Invocation(t.Context(), c.ID, a.ID)
		require.NoError(t, err)
		return r
	}
	r := ask("Echo")
	require.Equal(t, "default "+a.ID+` {"a":1}`, r.Steps[0].Stdout.Head)
	require.EqualValues(t, 1, calls.Load())
	require.EqualValues(t, 5<<18, ask("Long").Steps[0].Stdout.Size)
	for op, want := range map[string]string{"Refuse": "ItemContentMismatchException: ", "Break": "InternalServerError: ", "Fail": "InternalServerError: ", "Other": "UnsupportedOperationException: "} {
		r := ask(op)
		require.Equal(t, message.Failed, r.Status, op)
		require.True(t, strings.HasPrefix(r.Steps[0].Reason, want), "%s: %s", op, r.Steps[0].Reason)
	}
}
