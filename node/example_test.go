package node_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
)

func Example() {
	controller, _ := message.NewIdentity("default", message.Controller, nil)
	nodes, err := node.New(node.Config{
		Store: memstore.New(), Authorizer: access.AllowAll{},
		Controller: func(context.Context, string) (message.Peer, uint64, error) { return controller.Public(), 1, nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// An operator makes a code for one machine.
	ctx := access.With(context.Background(), access.Principal{Name: "alice"})
	act, _ := nodes.CreateActivation(ctx, node.ActivationRequest{DefaultName: "web-1", Tags: map[string]string{"Role": "web"}})
	fmt.Println("code:", act.Code)

	// The machine makes its keys and registers.
	self, _ := message.NewIdentity("default", "new", nil)
	resp, err := nodes.Register(context.Background(), message.RegisterRequest{
		ActivationID: act.ID, ActivationCode: string(act.Code.Reveal()), SignKey: self.Public().SignKey, SealKey: self.Public().SealKey, Token: "random",
		Facts: message.Facts{PlatformType: "Linux"},
	})
	fmt.Println(err)
	_ = nodes.Seen(ctx, resp.Tenant, resp.Node, nil, time.Now())

	ids, _, _ := nodes.Resolve(ctx, "default", []target.Target{{Key: "tag:Role", Values: []string{"web", "db"}}}, "", 0)
	info, _ := nodes.Get(ctx, ids[0])
	fmt.Println(info.Name, info.PlatformType, info.PingStatus)
	// Output:
	// code: ***
	// <nil>
	// web-1 Linux Online
}
