// Package awsapi calls any operation of any AWS service by its name, with inputs and outputs as JSON has them, over the clients of AWS's SDK that the host
// registers: it is what the actions of package automation/api call.
//
//	caller, err := awsapi.New(map[string]any{
//		"ec2":            ec2.NewFromConfig(cfg),
//		"ssm":            ssm.NewFromConfig(cfg),
//		"cloudformation": cloudformation.NewFromConfig(cfg),
//		"stepfunctions":  sfn.NewFromConfig(cfg),
//	}, &awsapi.Options{Credentials: awsapi.AssumeRole(sts.NewFromConfig(cfg))})
//	actions := api.Actions(caller, nil)
//
// It imports no service: what a program can call is what it registers. Services have the names of AWS's SDK for Python, which runbooks use ("stepfunctions",
// "elbv2", "logs"), or those of the packages of the SDK for Go ("sfn", "elasticloadbalancingv2", "cloudwatchlogs").
//
// # Inputs
//
// An operation is found by its name without regard to case, and so is each member of its input, at every depth: describeInstances with instanceIds is
// DescribeInstances with InstanceIds. A member that the operation does not have is a ValidationException that names it and nothing is called. Numbers and Booleans
// may come as their text, and texts as numbers or Booleans; a structure, a list or a map may come as its JSON text, and a text may come as a structure, which is sent as JSON.
// Times are RFC 3339, a date, or seconds since 1970. Blobs are the bytes of the text, as in Python: they are not decoded.
//
// Unions and documents are Go interfaces, whose values cannot be found by reflection: name those that are to be sent in Options.Types.
//
// # Outputs
//
// Members have the names of AWS's API reference, in its case; those without a value are missing, and so is what the SDK adds. Times are RFC 3339 in UTC, with
// fractions of a second where there are some. Blobs are text where they are UTF-8, else base64. A list that comes in pages is one page.
//
// Operations that stream are refused, as AWS's Automation does.
//
// # Roles
//
// What runs as a role (assumeRole of a runbook) is called with the credentials that Options.Credentials gives for it. Without that function such a call is refused: it never
// falls back to what the program itself may do.
package awsapi
