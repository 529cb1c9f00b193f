package parameter_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// service is Parameter Store in memory, with a key file in a directory of its own.
func service() (*parameter.Service, *localkeys.Keys, func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	keys, err := localkeys.Create(filepath.Join(dir, "keys.json"), nil)
	if err != nil {
		panic(err)
	}
	return parameter.New(parameter.Config{Store: memstore.New(), Box: seal.NewBox(keys, nil), Authorizer: access.AllowAll{}}), keys, func() { os.RemoveAll(dir) }
}

// A program keeps its configuration and its secrets.
func Example() {
	ctx := context.Background()
	params, _, done := service()
	defer done()
	_, err := params.PutParameter(ctx, parameter.PutParameterRequest{Name: "/web/db/host", Type: parameter.String, Value: parameter.Text("db1.internal")})
	fmt.Println(err)
	out, err := params.PutParameter(ctx, parameter.PutParameterRequest{Name: "/web/db/password", Type: parameter.SecureString, Value: parameter.Secret(secret.String("correct horse"))})
	fmt.Println(out.Version, out.Tier, err)
	for p, err := range parameter.ByPath(ctx, params, parameter.GetParametersByPathRequest{Path: "/web", Recursive: true, WithDecryption: true}) {
		fmt.Println(p.Name, p.Value, len(p.Value.Reveal()), err)
	}
	_, err = params.GetParameter(ctx, parameter.GetParameterRequest{Name: "/web/db/port"})
	fmt.Println(fault.CodeOf(err))
	// Output:
	// <nil>
	// 1 Standard <nil>
	// /web/db/host db1.internal 12 <nil>
	// /web/db/password *** 13 <nil>
	// ParameterNotFound
}

// A key is rotated: what is written takes the new one at once, what was written is given it, and the old key can go.
func ExampleService_Rewrap() {
	ctx := context.Background()
	params, keys, done := service()
	defer done()
	params.PutParameter(ctx, parameter.PutParameterRequest{Name: "/token", Type: parameter.SecureString, Value: parameter.Secret(secret.String("t0k3n"))})
	old := keys.Primary()
	if _, err := keys.Rotate(ctx); err != nil {
		fmt.Println(err)
	}
	out, err := params.Rewrap(ctx, parameter.RewrapRequest{})
	fmt.Println(out.Rewrapped, out.Done, len(out.Failed), err)
	fmt.Println(keys.Remove(ctx, old))
	got, err := params.GetParameter(ctx, parameter.GetParameterRequest{Name: "/token", WithDecryption: true})
	fmt.Println(got.Parameter.Value.Reveal(), err)
	// Output:
	// 1 true 0 <nil>
	// <nil>
	// t0k3n <nil>
}

// Compare and set: of two who read the same version one writes, with tags in the same transaction.
func ExampleService_Put() {
	ctx := context.Background()
	params, _, done := service()
	defer done()
	put := func(value string, expected int64) {
		out, err := params.Put(ctx, parameter.PutRequest{
			PutParameterRequest: parameter.PutParameterRequest{Name: "/leader", Type: parameter.String, Value: parameter.Text(value), Tags: []parameter.Tag{{Key: "by", Value: value}}},
			Expected:            &expected,
			SetTags:             true,
		})
		if err != nil {
			fmt.Println(fault.CodeOf(err))
			return
		}
		fmt.Println(out.Version)
	}
	put("a", 0)
	put("b", 1)
	put("c", 1)
	// Output:
	// 1
	// 2
	// ParameterVersionMismatch
}

// A program follows its configuration.
func ExampleService_Watch() {
	ctx := context.Background()
	params, _, done := service()
	defer done()
	params.PutParameter(ctx, parameter.PutParameterRequest{Name: "/app/log/level", Type: parameter.String, Value: parameter.Text("info")})
	params.PutParameter(ctx, parameter.PutParameterRequest{Name: "/other", Type: parameter.String, Value: parameter.Text("x")})
	params.PutParameter(ctx, parameter.PutParameterRequest{Name: "/app/log/level", Value: parameter.Text("debug"), Overwrite: true})
	from := uint64(0) // from the beginning; nil is from now on
	for change, err := range params.Watch(ctx, parameter.WatchRequest{Path: "/app", Recursive: true, After: &from}) {
		if err != nil {
			fmt.Println(err)
			break
		}
		got, err := params.GetParameter(ctx, parameter.GetParameterRequest{Name: fmt.Sprintf("%s:%d", change.Name, change.Version)})
		fmt.Println(change.Seq, change.Operation, change.Name, got.Parameter.Value, err)
		if change.Version == 2 {
			break
		}
	}
	// Output:
	// 1 Create /app/log/level info <nil>
	// 3 Update /app/log/level debug <nil>
}
