package ssmops_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// A control plane that only keeps documents, and a caller with a token who may only list them.
func Example() {
	token := ssmops.NewToken()
	callers, err := ssmops.ParseCallers(strings.NewReader("reader " + ssmops.TokenHash(token) + " ssm:ListDocuments"))
	if err != nil {
		fmt.Println(err)
		return
	}
	st := memstore.New()
	log := audit.New(audit.Config{Store: st, Authorize: callers})
	api := ssmops.New(ssmops.Services{Documents: library.New(library.Config{Store: st, Authorizer: callers, Audit: log}), Audit: log}, nil)
	server := httptest.NewServer(api.Handler(callers.Bearer(), nil))
	defer server.Close()

	client, err := ssmops.NewClient(server.URL, &ssmops.ClientOptions{Token: token})
	if err != nil {
		fmt.Println(err)
		return
	}
	var docs ssmops.ListDocumentsResult
	err = client.Call(context.Background(), "ListDocuments", library.ListDocumentsRequest{Filters: []library.DocumentKeyValuesFilter{{Key: "Name", Values: []string{"AWS-RunDocument"}}}}, &docs)
	fmt.Println(docs.DocumentIdentifiers[0].Name, err)
	err = client.Call(context.Background(), "DeleteDocument", library.DeleteDocumentRequest{Name: "Restart-Web"}, nil)
	fmt.Println(err)
	// Output:
	// AWS-RunDocument <nil>
	// ssmops.Client: AccessDeniedException: reader is not authorized to perform ssm:DeleteDocument on document/Restart-Web
}

// Without HTTP: the principal is in the context, requests and answers are JSON.
func ExampleAPI_Call() {
	st := memstore.New()
	api := ssmops.New(ssmops.Services{Documents: library.New(library.Config{Store: st, Authorizer: access.AllowAll{}})}, nil)
	ctx := access.With(context.Background(), access.Principal{Name: "me"})
	out, err := api.Call(ctx, "ListDocuments", []byte(`{"Filters":[{"Key":"Owner","Values":["Self"]}]}`))
	fmt.Println(string(out), err)
	_, err = api.Call(ctx, "GetDocument", []byte(`{"Name":"Nope"}`))
	fmt.Println(err != nil)
	// Output:
	// {"DocumentIdentifiers":[]} <nil>
	// true
}
