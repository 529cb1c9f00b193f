package message_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// A control plane tells a node to cancel a command; the node believes it because of who signed it, and does it once.
func Example() {
	controller, _ := message.NewIdentity("default", message.Controller, nil)
	node, _ := message.NewIdentity("default", "mi-0123456789abcdef0", nil)
	pinned := controller.Public() // kept by the node since it registered
	peers := func(name string) (message.Peer, error) {
		if name != pinned.Name {
			return message.Peer{}, errors.New("only the control plane commands")
		}
		return pinned, nil
	}
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

	body, _ := message.Marshal(message.KindCancel, message.Cancel{Ref: message.Ref{Command: "c-1", Attempt: 1}})
	data, err := controller.Seal(node.Public(), message.Envelope{Kind: message.KindCancel, ID: message.NewID(nil), NotBefore: now, NotAfter: now.Add(time.Hour), Body: body})
	fmt.Println("sealed:", err)

	e, err := node.Open(data, peers, now.Add(time.Minute), 0)
	fmt.Println("opened:", e.Kind, "from", e.From, err)
	cancel, _ := message.Unmarshal[message.Cancel](e)
	fmt.Println("command:", cancel.Command)

	once := message.NewReplayMemory(10_000)
	once.Now = func() time.Time { return now }
	for range 2 {
		seen, _ := once.Seen(context.Background(), e.ReplayKey(), e.NotAfter)
		fmt.Println("seen before:", seen)
	}

	data[len(data)-1] ^= 1
	_, err = node.Open(data, peers, now, 0)
	fmt.Println("changed on the way:", errors.Is(err, message.ErrBadSignature))
	// Output:
	// sealed: <nil>
	// opened: cancel from controller <nil>
	// command: c-1
	// seen before: false
	// seen before: true
	// changed on the way: true
}

func ExampleHeader() {
	controller := message.Plain{Tenant: "default", Name: message.Controller}
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	data, _ := controller.Seal(message.Peer{Tenant: "default", Name: "mi-1"}, message.Envelope{Kind: message.KindWelcome, ID: "m-1", NotBefore: now, NotAfter: now})
	fmt.Println(message.Header(data))
	// Output: default mi-1 <nil>
}
