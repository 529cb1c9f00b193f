package key_test

import (
	"fmt"

	"github.com/fleetwright/fleetwright/store/key"
)

func Example() {
	invocations := key.New("default").Str("command").Str("invocation").Str("cmd-7")
	k := invocations.Str("mi-0123456789abcdef0")

	r := key.Read(k)
	fmt.Println(r.Str(), r.Str(), r.Str(), r.Str(), r.Str(), r.Err())

	all := invocations.Range()
	fmt.Println(string(all.Start) < string(k) && string(k) < string(all.End))
	// Output:
	// default command invocation cmd-7 mi-0123456789abcdef0 <nil>
	// true
}
