// Package compliance keeps what is known of how far each node is as it should be: items by node and type (Patch, Association, Custom:NAME), with summaries over all nodes, and a
// history that answers "was node N compliant on 1 March, and why".
//
//	s, err := compliance.New(compliance.Config{Store: st, Authorizer: auth})
//	_, err = s.PutComplianceItems(ctx, compliance.PutComplianceItemsRequest{ResourceID: "mi-…", ResourceType: "ManagedInstance", ComplianceType: "Custom:Backup",
//		ExecutionSummary: compliance.ExecutionSummary{ExecutionTime: now},
//		Items: []compliance.ItemEntry{{ID: "nightly", Severity: "HIGH", Status: "NON_COMPLIANT", Title: "no backup since Friday"}}})
//	sums, err := s.ListComplianceSummaries(ctx, compliance.ListRequest{})
//	was, err := s.At(ctx, "mi-…", "Custom:Backup", march)
//
// Names, shapes and errors are those of AWS's PutComplianceItems, ListComplianceItems, ListComplianceSummaries and ListResourceComplianceSummaries (C1 to C4). COMPLETE uploads
// replace all items of a type on a node; PARTIAL ones those of one execution. A report with the ItemContentHash of the last one changes nothing but the time of the check.
//
// # History
//
// Every report appends one record that is never changed: what was added, changed and removed since the one before, and every [SnapshotEvery] records the whole. Each carries the hash of the one
// before it, so [Service.Verify] names the first record that was edited, removed or put in between. [Service.Forget] cuts off records older than a time, at a snapshot.
//
// Reading a summary over a fleet looks at one small record for each node and type, in pages; there is no counter that all nodes' reports would contend for.
package compliance
