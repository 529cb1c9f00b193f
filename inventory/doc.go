// Package inventory holds what an inventory is made of: the types that AWS Systems Manager has and their schemas, items and the hash of their content, deltas, reports, filters and
// aggregators, and the limits and checks of all of these. It does no I/O and knows no clock.
//
// A node gathers one [Item] for each type (package inventory/gather does), and sends a [Report]. What did not change travels as its [ContentHash] alone; what changed travels as
// a [Delta] where the control plane understands one, or in full:
//
//	known := inventory.Know(before)          // remembered when the control plane accepted it
//	delta := known.Diff(after)               // on the node
//	after, err = delta.Apply(before, …)      // on the control plane, proven by the hash
//
// [Limits] are AWS's unless a host says otherwise; its methods check names, items, reports, filters and aggregators, with AWS's error codes. A [Filter] that asks for an order takes an
// [Order], so that versions of packages compare as their own tools compare them.
package inventory
