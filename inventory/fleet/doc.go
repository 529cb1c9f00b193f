// Package fleet keeps the inventory of a fleet and answers for all of it at once.
//
//	inv := fleet.New(fleet.Config{Store: st, Leases: leases, Authorizer: authz, Audit: log, Order: inventory.VersionOrder(patch.CompareDeb, patch.CompareRPM)})
//	go inv.Run(ctx) // folds, deletes, forgets
//	_, err := inv.PutInventory(ctx, inventory.Report{InstanceID: node, Items: items})
//	found, err := inv.GetInventory(ctx, fleet.GetInventoryRequest{Filters: []inventory.Filter{
//		{Key: "AWS:Application.Name", Values: []string{"openssl"}},
//		{Key: "AWS:Application.Version", Values: []string{"3.0.15"}, Type: inventory.LessThan}}})
//	counts, err := inv.GetInventory(ctx, fleet.GetInventoryRequest{Aggregators: []inventory.Aggregator{{Expression: "AWS:Application.Version"}}, Filters: …})
//	changes, err := inv.ListInventoryChanges(ctx, fleet.ListChangesRequest{InstanceID: node, Since: monday})
//
// Requests and results have the members of AWS's operations under AWS's names. All operations: PutInventory, GetInventory, ListInventoryEntries, GetInventorySchema, DeleteInventory,
// DescribeInventoryDeletions; and what AWS does not have, ListInventoryChanges, GetNodeInventory and RemoveNode.
//
// # How it is fast and exact
//
// Each distinct entry (a type with its attributes) is stored once and has a number; each node has a number too, its ordinal. What a node has is a list of numbers, and which nodes have an entry is
// a compressed bitmap. A report commits the node's own records and a record in the delta log in one transaction, and touches no bitmap. The owner of a tenant's index, who holds its lease, folds the
// log into the bitmaps in batches. A query reads the bitmaps and what is in the log beyond them, in one View: so it is exact whenever it is asked, whatever has been folded, also
// while a fold is half done and after a crash. Every transaction of a fold proves the lease.
//
// Distinct entries and their bitmaps are cached by type when a query needs all of a type, up to Config.Cache bytes; each fold writes in a journal which entries it changed, so that a cache in any process
// reads only those again. Queries that name an application read that name's entries only.
//
// # Rules
//
// A list of a type is a set: an entry that is reported twice is one. ListInventoryEntries and contents are in the order of inventory.Entry.Compare. Entities are in the order in which nodes first reported.
//
// Every operation asks the authorizer for AWS's action before it says anything, GetInventory on each node; calls are audited, changes in the transaction that makes them.
//
// # Records
//
// Under tenant/"inventory": "node"/id is a node's head and "items"/id/type its entries' numbers; "ordinal"/n the id of a node; "hash", "entry" and "name" the distinct entries; "bits"/type/entry/block
// the bitmaps in blocks of 65,536 nodes; "log"/ordinal/report/type the deltas not folded; "history"/ordinal/time/report/type all deltas of late; "type" the custom types;
// "deletion" the deletions; "fold" and "journal" the owner's.
package fleet
