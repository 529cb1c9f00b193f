package access_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/access"
)

func Example() {
	grants := access.Grants{"alice": {"ssm:List*", "ssm:SendCommand"}}
	ctx := access.With(context.Background(), access.Principal{Name: "alice"})
	fmt.Println(access.Check(ctx, grants, "ssm:SendCommand", "document/AWS-RunShellScript", nil))
	fmt.Println(access.Check(ctx, grants, "ssm:DeleteDocument", "document/AWS-RunShellScript", nil))
	// Output:
	// <nil>
	// access.Check: AccessDeniedException: alice is not authorized to perform ssm:DeleteDocument on document/AWS-RunShellScript
}

func ExampleActions() {
	for _, a := range access.Actions() {
		if a.Name == "ssm:SendCommand" {
			fmt.Println(a.Description, a.Write)
		}
	}
	// Output: Run a document on nodes; asked for the document and for each node. true
}
