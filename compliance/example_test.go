package compliance_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func ExampleService_At() {
	ctx := context.Background()
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	s, err := compliance.New(compliance.Config{Store: memstore.New(), Authorizer: access.AllowAll{}, Now: func() time.Time { return now }})
	if err != nil {
		fmt.Println(err)
		return
	}
	const id = "mi-0123456789abcdef0"
	report := func(status string) {
		_, err := s.PutComplianceItems(ctx, compliance.PutComplianceItemsRequest{ResourceID: id, ResourceType: "ManagedInstance", ComplianceType: "Custom:Backup",
			ExecutionSummary: compliance.ExecutionSummary{ExecutionTime: now},
			Items:            []compliance.ItemEntry{{ID: "nightly", Severity: "HIGH", Status: status, Title: "The backup of last night"}}})
		if err != nil {
			fmt.Println(err)
		}
	}
	report("NON_COMPLIANT")
	now = now.AddDate(0, 0, 1)
	report("COMPLIANT")

	was, err := s.At(ctx, id, "Custom:Backup", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	fmt.Println(was.Summary.Status, was.Summary.OverallSeverity, was.Items[0].ID, err)
	is, err := s.At(ctx, id, "Custom:Backup", now)
	fmt.Println(is.Summary.Status, "since", is.Unchanged.Format(time.DateOnly), err)
	// Output:
	// NON_COMPLIANT HIGH nightly <nil>
	// COMPLIANT since 2026-03-02 <nil>
}
