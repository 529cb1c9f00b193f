package library_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func Example() {
	docs := library.New(library.Config{Store: memstore.New(), Authorizer: access.Grants{"ann": {"ssm:*"}}})
	ctx := access.With(context.Background(), access.Principal{Name: "ann"})

	_, err := docs.CreateDocument(ctx, library.CreateDocumentRequest{Name: "Restart-Web", Content: `
schemaVersion: "2.2"
mainSteps:
  - action: aws:runShellScript
    name: restart
    inputs:
      runCommand: [systemctl restart nginx]
`})
	fmt.Println("created:", err == nil)
	_, err = docs.UpdateDocument(ctx, library.UpdateDocumentRequest{Name: "Restart-Web", DocumentVersion: "$LATEST", Content: `
schemaVersion: "2.2"
mainSteps:
  - action: aws:runShellScript
    name: restart
    inputs:
      runCommand: [nginx -t && systemctl reload nginx]
`})
	fmt.Println("updated:", err == nil)
	d, err := docs.DescribeDocument(ctx, library.DescribeDocumentRequest{Name: "Restart-Web"})
	fmt.Println(d.Document.DocumentFormat, d.Document.PlatformTypes, "default", d.Document.DefaultVersion, "latest", d.Document.LatestVersion, err)

	_, err = docs.GetDocument(context.Background(), library.GetDocumentRequest{Name: "Restart-Web"})
	fmt.Println(err)
	// Output:
	// created: true
	// updated: true
	// YAML [Linux MacOS] default 1 latest 2 <nil>
	// library.GetDocument: access.Check: AccessDeniedException:  is not authorized to perform ssm:GetDocument on document/Restart-Web
}
