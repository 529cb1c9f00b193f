// Package node keeps the managed nodes of a fleet: how they register, which keys they have, who is there, which tags they bear, and which of them a
// list of targets means.
//
//	nodes, err := node.New(node.Config{Store: st, Authorizer: auth, Audit: log, Controller: keys})
//	go nodes.Run(ctx) // writes presence in batches
//
//	act, err := nodes.CreateActivation(ctx, node.ActivationRequest{RegistrationLimit: 10, Tags: map[string]string{"Role": "web"}})
//	// on the machine: act.ID and act.Code, once
//	resp, err := nodes.Register(ctx, message.RegisterRequest{ActivationID: act.ID, ActivationCode: …})
//	nodes.Seen(ctx, resp.Tenant, resp.Node, &facts, now) // with each heartbeat
//	ids, next, err := nodes.Resolve(ctx, tenant, targets, "", 1000)
//
// # Activations
//
// An activation is a code that a limited number of machines may register with until it expires (AWS hybrid activations, spec H1, H2). The code is shown once; only its hash
// is kept. A machine makes its own keys and sends the public halves. [Service.Register] may be repeated with the same token: the answer may have been lost.
//
// # Presence
//
// Heartbeats stay in memory and are written in sorted batches; there is no transaction per heartbeat. A node is Online while it was heard of
// within Config.LostAfter (AWS: five minutes), then ConnectionLost, and Inactive if it never was or not for Config.InactiveAfter.
//
// # Resolution
//
// [Service.Resolve] answers from indexes of tags and ids: what it reads is proportional to the smallest of the conditions, never to the fleet. [Service.Nodes] gives what
// dispatch needs to know of nodes. Both are for other services: they ask no authorizer, because their callers do, for each node.
//
// Where a caller may not see a node, and where there is none, the answers are the same.
package node
