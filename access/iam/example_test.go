package iam_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/access/iam"
)

// A program's principals are governed by policies as they are written for AWS.
func Example() {
	policy, err := iam.Parse([]byte(`{
	  "Version": "2012-10-17",
	  "Statement": [
	    {"Sid": "Own", "Effect": "Allow", "Action": "ssm:*Parameter*", "Resource": "arn:aws:ssm:*:*:parameter/${aws:username}/*"},
	    {"Sid": "NoDelete", "Effect": "Deny", "Action": "ssm:DeleteParameter*", "Resource": "*"}
	  ]
	}`), &iam.ParseOptions{Kind: iam.Identity, Name: "developers"})
	if err != nil {
		fmt.Println(err)
		return
	}
	authorizer := iam.NewAuthorizer(iam.Config{Policies: iam.Static(map[string][]*iam.Policy{"ann": {policy}})})
	ctx := access.With(context.Background(), access.Principal{Name: "ann"})
	fmt.Println(access.Check(ctx, authorizer, "ssm:PutParameter", "parameter//ann/color", nil))
	fmt.Println(access.Check(ctx, authorizer, "ssm:PutParameter", "parameter//bob/color", nil) != nil)

	why, err := authorizer.Explain(ctx, access.From(ctx), "ssm:DeleteParameter", "parameter//ann/color", nil)
	fmt.Println(why, err)
	// Output:
	// <nil>
	// true
	// ExplicitDeny: ssm:DeleteParameter on arn:aws:ssm:local:default:parameter/ann/color: a statement denies it
	//   Deny by statement 1 (NoDelete) of identity policy developers, line 5 <nil>
}

// A policy that is wrong is told all at once.
func ExampleParse() {
	_, err := iam.Parse([]byte(`{"Version": "2012-10-17", "Statement": [
  {"Effect": "allow", "Action": "GetParameter", "Resource": "*"}]}`), nil)
	fmt.Println(err)
	// Output:
	// iam.Parse: MalformedPolicyDocumentException: line 2, column 14, $.Statement[0].Effect: an Effect is Allow or Deny, written so
	// line 2, column 33, $.Statement[0].Action: an action is service:Operation, as ssm:GetParameter, or *
}
