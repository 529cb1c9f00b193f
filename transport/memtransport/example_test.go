package memtransport_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	n := memtransport.New(nil)
	node := n.Node(transport.Address{Tenant: "default", Name: "mi-1"})
	go node.Receive(ctx, func(ctx context.Context, m transport.Message) {
		node.Send(ctx, transport.Address{Tenant: "default", Name: message.Controller}, append([]byte("done: "), m.Data...))
	})

	answer := make(chan transport.Message)
	go n.Controller().Receive(ctx, func(_ context.Context, m transport.Message) { answer <- m })
	if err := n.Controller().Send(ctx, node.Address(), []byte("uptime")); err != nil {
		fmt.Println(err)
	}
	m := <-answer
	fmt.Println(m.From, string(m.Data))

	node.Disconnect()
	fmt.Println(n.Controller().Send(ctx, node.Address(), []byte("uptime")))
	// Output:
	// default/mi-1 done: uptime
	// memtransport: "default/mi-1": transport: not connected
}
