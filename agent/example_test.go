//go:build unix

package agent_test

import (
	"context"
	"fmt"
	"os"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/shell"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

func Example() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	controller, _ := message.NewIdentity("default", message.Controller, nil)
	// A control plane in the same process; httptransport.Enroll asks one over the network.
	registrar := agent.RegistrarFunc(func(_ context.Context, r message.RegisterRequest) (message.RegisterResponse, error) {
		return message.RegisterResponse{Tenant: "default", Node: "mi-1", SignKey: controller.Public().SignKey, SealKey: controller.Public().SealKey, Epoch: 1}, nil
	})
	network := memtransport.New(nil)

	node, err := agent.Register(ctx, registrar, dir, "activation id", secret.String("activation code"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := action.NewSet(shell.New(nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := agent.New(agent.Config{Node: node, Transport: network.Node(transport.Address{Tenant: node.Tenant, Name: node.ID}), Actions: set})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("node", node.ID)
	stop() // a real one runs until its program is told to end
	fmt.Println(a.Run(ctx))
	// Output:
	// node mi-1
	// <nil>
}
