package natstransport_test

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/natstransport"
	"github.com/fleetwright/fleetwright/transport/natstransport/broker"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	// The planes' secret, and a broker that believes what is signed with it.
	keys, err := natstransport.NewKeys(secret.String("32 random bytes or more, which only the planes know"))
	if err != nil {
		fmt.Println(err)
		return
	}
	srv, err := broker.Start(broker.Config{Trust: keys.Trust(), Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()

	// A control plane in the broker's process, which knows one node.
	me := transport.Address{Tenant: "default", Name: "mi-1"}
	public, private, _ := ed25519.GenerateKey(nil)
	plane, err := natstransport.NewController(natstransport.ControllerConfig{Brokers: natstransport.Brokers{Local: srv}, Keys: keys,
		Key: func(_ context.Context, a transport.Address) (ed25519.PublicKey, error) {
			if a == me {
				return public, nil
			}
			return nil, nil
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer plane.Close()

	// The node: it shows its key, and answers what it is sent.
	node, err := natstransport.Dial(ctx, natstransport.NodeConfig{Brokers: natstransport.Brokers{URLs: []string{srv.URL()}}, Address: me, Key: private})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	go node.Receive(ctx, func(ctx context.Context, m transport.Message) {
		node.Send(ctx, transport.Address{Tenant: me.Tenant, Name: message.Controller}, append([]byte("done: "), m.Data...))
	})

	presence := make(chan bool, 9)
	go plane.Watch(ctx, func(_ transport.Address, connected bool) { presence <- connected })
	<-presence
	answer := make(chan transport.Message, 1)
	go plane.Receive(ctx, func(_ context.Context, m transport.Message) { answer <- m })
	plane.Send(ctx, me, []byte("uptime"))
	m := <-answer
	fmt.Println(m.From, string(m.Data))
	// Output: default/mi-1 done: uptime
}
