package broker_test

import (
	"fmt"
	"strings"

	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport/natstransport"
	"github.com/fleetwright/fleetwright/transport/natstransport/broker"
)

func Example() {
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
	fmt.Println(strings.HasPrefix(srv.URL(), "nats://127.0.0.1:"), srv.Clients())
	// Output: true 0
}
