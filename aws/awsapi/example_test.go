package awsapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/aws/awsapi"
)

// What a program registers, runbooks can call. Here the service is one of the test's own; a program makes its clients from config.LoadDefaultConfig.
func ExampleNew() {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		fmt.Fprint(w, `{"Parameter":{"Name":"/a","Value":"1","LastModifiedDate":1600000000}}`)
	}))
	defer h.Close()
	cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: aws.String(h.URL), Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")}
	caller, err := awsapi.New(map[string]any{"ssm": ssm.NewFromConfig(cfg)}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	actions := api.Actions(caller, nil) // for automation.Config.Actions
	out, err := caller.Call(context.Background(), "ssm", "getParameter", map[string]any{"name": "/a"})
	if err != nil {
		fmt.Println(err)
		return
	}
	p := out["Parameter"].(map[string]any)
	fmt.Println(len(actions), p["Value"], p["LastModifiedDate"])
	// Output: 14 1 2020-09-13T12:26:40Z
}
