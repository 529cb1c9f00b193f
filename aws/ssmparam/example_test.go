package ssmparam_test

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/fleetwright/fleetwright/aws/ssmparam"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
)

// A program that takes a parameter.Store runs on AWS's.
func Example() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	params, err := ssmparam.New(ssm.NewFromConfig(cfg), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	start(ctx, params)
}

func start(ctx context.Context, params parameter.Store) {
	_, err := params.PutParameter(ctx, parameter.PutParameterRequest{Name: "/web/db/password", Type: parameter.SecureString, Value: parameter.Secret(secret.String("correct horse"))})
	if fault.CodeOf(err) == fault.OutcomeUnknown {
		fmt.Println("look before you repeat it:", err)
	}
	got, err := params.GetParameter(ctx, parameter.GetParameterRequest{Name: "/web/db/password", WithDecryption: true})
	fmt.Println(got.Parameter.Value, err) // *** <nil>
}

// A program that asks often stays below AWS's 40 reads a second.
func ExampleCache() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = ssmparam.New(ssm.NewFromConfig(cfg), &ssmparam.Options{Cache: &ssmparam.Cache{TTL: 5 * time.Minute, Entries: 200}})
	fmt.Println(err)
}
