// Package ssmops gives the operations of AWS Systems Manager, by their names and in their JSON, over fleetwright's services: the face that a control plane
// shows to its callers, and the client that programs call it with.
//
//	api := ssmops.New(ssmops.Services{Commands: f.Commands, Nodes: f.Nodes, Documents: f.Documents, Parameters: f.Parameters, Patches: f.Patches, Inventory: f.Inventory, Compliance: f.Compliance, Automations: f.Automations, Audit: f.Audit}, nil)
//	callers, err := ssmops.ReadCallers("callers") // names, hashes of their tokens, and what they may do
//	mux.Handle("/", api.Handler(callers.Bearer(), nil))
//
// The wire is AWS's JSON 1.1: POST / with the header X-Amz-Target: AmazonSSM.SendCommand, answers with x-amzn-requestid, times as seconds since 1970, errors as
// {"__type":"InvalidDocument","Message":"…"}. Instead of AWS's signature version 4 a caller shows a bearer token or a client certificate.
//
// # The table
//
// [Operations] is the one table of what can be called (rule R-01): each row has the permission that the operation asks the authorizer for. What has no
// row does not exist; what has no permission fails the tests. Rows marked Own have no counterpart at AWS: PlanCommand, WatchCommand and GetCommandOutput (the last two stream), the
// resource groups under the names of AWS's service of that name, and ListAudit.
//
// # Who calls
//
// An [Authenticator] turns a request into a principal. [Callers] reads a file of names with the SHA-256 of their tokens and their grants, and is both the authenticator and
// the authorizer of a small control plane. A caller without valid credentials gets status 401 and one answer, whatever it asked for: it learns neither which operations nor which
// names there are, and an unknown token and a wrong one take the same path (rule R-15).
//
// # Departures from AWS
//
// Errors of the fifteen shapes that have no member for a text carry one all the same, as "message", because it says what to do. Requests for what is not
// kept here (output to S3 or CloudWatch, notifications, alarms, service roles) are refused and not silently cut. The detail Interrupted is shown as
// Failed, as AWS has no such word; a step that was skipped is shown as Success with the reason as its output, as AWS's agent reports it.
package ssmops
