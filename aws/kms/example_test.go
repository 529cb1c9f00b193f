package kms_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/fleetwright/fleetwright/aws/kms"
	"github.com/fleetwright/fleetwright/aws/kms/kmstest"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/secret"
)

// Secrets in a store, sealed by a key of AWS KMS: here one in memory, spoken to through AWS's SDK.
func Example() {
	service := kmstest.New()
	server := httptest.NewServer(service)
	defer server.Close()
	service.Alias("fleetwright", service.CreateKey())
	client := awskms.New(awskms.Options{Region: "eu-central-1", BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})

	ctx := context.Background()
	keys, err := kms.New(client, "alias/fleetwright", &kms.Options{Region: "eu-central-1", Account: "111122223333"})
	if err != nil {
		fmt.Println(err)
		return
	}
	box := seal.NewBox(keys, nil)
	b := seal.Binding{Tenant: "default", Kind: "parameter", Name: "/app/db", Version: 1, Type: "SecureString"}
	sealer, err := box.Prepare(ctx, "", b)
	if err != nil {
		fmt.Println(err)
		return
	}
	ciphertext, _ := sealer.Seal(secret.String("correct horse"))
	value, err := box.Open(ctx, ciphertext, b)
	fmt.Println(string(value.Reveal()), err)
	fmt.Println(service.Requests()[0].Context)
	// Output:
	// correct horse <nil>
	// map[PARAMETER_ARN:arn:aws:ssm:eu-central-1:111122223333:parameter/app/db]
}

// With the account and the region that the machine's configuration has.
func ExampleNew() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := kms.New(awskms.NewFromConfig(cfg), "alias/fleetwright", &kms.Options{Region: cfg.Region})
	if err != nil {
		fmt.Println(err)
		return
	}
	if arn, err := keys.Resolve(ctx, ""); err != nil {
		fmt.Println("the key cannot be used:", err)
	} else {
		fmt.Println("sealing under", arn)
	}
}
