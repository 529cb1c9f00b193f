package awsapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/require"
)

// FuzzFill gives structures of the SDK any JSON. What is taken reads back as inputs that mean the same structure; what is not taken says where, in clean text.
func FuzzFill(f *testing.F) {
	for _, s := range []string{
		`{"DocumentName":"d","Targets":[{"Key":"a","Values":["b"]}],"TimeoutSeconds":60,"Parameters":{"commands":["ls"]}}`,
		`{"documentName":5,"targets":"[{\"key\":true}]","timeoutSeconds":"6e1","cloudWatchOutputConfig":{"cloudWatchOutputEnabled":"TRUE"}}`,
		`{"IamRole":"r","ExpirationDate":"2020-01-01","RegistrationLimit":1.0,"Tags":[{"Key":"k","Value":{"a":1}}]}`,
		`{"ExpirationDate":1e9}`, `{"ExecutionInputs":{"automation":{"parameters":{"a":["b"]}}}}`, `{"A\u001b":1}`, `{"Tags":{}}`, `{"Name":null,"name":1}`,
	} {
		f.Add(s)
	}
	made, err := readTypes([]any{&ssmtypes.ExecutionInputsMemberAutomation{}})
	require.NoError(f, err)
	shapes := []reflect.Type{reflect.TypeFor[ssm.SendCommandInput](), reflect.TypeFor[ssm.CreateActivationInput](), reflect.TypeFor[ssm.StartExecutionPreviewInput]()}
	f.Fuzz(func(t *testing.T, s string) {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var in map[string]any
		if d.Decode(&in) != nil {
			return
		}
		for _, shape := range shapes {
			first := reflect.New(shape).Elem()
			if err := made.fill(first, in, ""); err != nil {
				require.NotContains(t, err.Error(), "\x1b")
				continue
			}
			var c capture
			out := c.read(first)
			second := reflect.New(shape).Elem()
			require.NoError(t, made.fill(second, out, ""), "%v", out)
			require.Equal(t, out, c.read(second))
		}
	})
}
