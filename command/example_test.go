package command_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
)

// world stands for what a host has: nodes, documents, and a way to the nodes. Its nodes answer at once and run nothing.
type world struct {
	ids     []string
	service *command.Service
}

func (w *world) Resolve(_ context.Context, _ string, _ []target.Target, _ string, _ int) (ids []string, next string, err error) {
	return w.ids, "", nil
}

func (w *world) Nodes(_ context.Context, tenant string, ids []string) (out []target.Node, err error) {
	for _, id := range ids {
		out = append(out, target.Node{Tenant: tenant, ID: id, Platform: "Linux", Capabilities: []string{"aws:runShellScript"}})
	}
	return out, nil
}

func (w *world) Fetch(context.Context, string, string, string) (content []byte, format, version, hash string, err error) {
	return []byte(`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"uptime","inputs":{"runCommand":["uptime"]}}]}`), "JSON", "1", "", nil
}

func (w *world) Connected(string, string) bool { return true }

func (w *world) Send(_ context.Context, tenant, node string, kind message.Kind, ref message.Ref, _ time.Time, _ []byte) error {
	switch kind {
	case message.KindOffer:
		go w.say(tenant, node, message.KindReady, message.Ready{Ref: ref})
	case message.KindRun:
		go w.say(tenant, node, message.KindReport, message.Report{Ref: ref, Seq: 1, Detail: message.DetailSuccess,
			Steps: []message.StepReport{{Name: "uptime", Status: message.Success, Stdout: message.Stream{Head: "up 9 days", Size: 9}}}})
	}
	return nil
}

func (w *world) say(tenant, node string, kind message.Kind, body any) {
	b, err := message.Marshal(kind, body)
	if err == nil {
		err = w.service.Handle(context.Background(), tenant, node, message.Envelope{Tenant: tenant, From: node, Kind: kind, Body: b})
	}
	if err != nil {
		fmt.Println(err) // a real node sends it again
	}
}

func Example() {
	st := memstore.New()
	w := &world{ids: []string{"mi-1", "mi-2", "mi-3"}}
	commands, err := command.New(command.Config{Store: st, Blobs: memblob.New(), Nodes: w, Documents: w, Sender: w, Authorizer: access.AllowAll{},
		Leases: lease.New(st, nil, lease.Config{Exclusive: true})})
	if err != nil {
		fmt.Println(err)
		return
	}
	w.service = commands
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		commands.Run(ctx) //nolint:errcheck // it ends with ctx
	}()
	defer func() { stop(); <-done }()

	c, err := commands.Send(ctx, command.SendRequest{DocumentName: "Uptime", Targets: []target.Target{{Key: "tag:Role", Values: []string{"web"}}}, MaxConcurrency: "2"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Status, "on", c.TargetCount, "nodes")
	if c, err = commands.Wait(ctx, c.ID); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Status)
	page, _, err := commands.Invocations(ctx, command.ListRequest{Command: c.ID})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range page {
		fmt.Println(r.Node, r.Status, command.Line(r.Steps))
	}
	// Output:
	// Pending on 3 nodes
	// Success
	// mi-1 Success up 9 days
	// mi-2 Success up 9 days
	// mi-3 Success up 9 days
}

func ExampleParseParameters() {
	p, err := command.ParseParameters(`commands="echo a, b",uptime,workingDirectory=/tmp`)
	fmt.Println(len(p["commands"]), p["workingDirectory"], err)
	// Output: 2 [/tmp] <nil>
}

func ExampleTruncate() {
	fmt.Println(command.Truncate("all is well", "but slow", command.MaxPluginOutput))
	// Output:
	// all is well
	// ----------ERROR-------
	// but slow
}
