// Package command runs documents on nodes: what AWS calls Run Command.
//
//	commands, err := command.New(command.Config{Store: st, Blobs: blobs, Nodes: nodes, Documents: docs, Sender: hub, Authorizer: authz, Leases: leases})
//	go commands.Run(ctx)                                   // own and dispatch commands
//	c, err := commands.Send(ctx, command.SendRequest{DocumentName: "AWS-RunShellScript", Targets: web, Parameters: params})
//	for u, err := range commands.Events(ctx, c.ID, 0) { … } // live
//	c, err = commands.Wait(ctx, c.ID)
//	page, next, err := commands.Invocations(ctx, command.ListRequest{Command: c.ID})
//	r, info, err := commands.Output(ctx, c.ID, node, "step", false)
//
// [Service.Plan] is a dry run of Send, [Service.Cancel] stops a command, [Service.Prune] forgets old ones.
//
// # How a command reaches a node
//
// Send resolves the targets and writes the command, its document, its targets and its audit record in one transaction; nothing is asked of any node before that. Then the
// command's owner takes the targets in the order of their ids:
//
//	control plane          node
//	   offer  ------------>        can you take this? (nothing may start)
//	          <------------ ready  yes, or why not
//	   run    ------------>        the document; the node journals it, then starts it
//	          <------------ report how far it is, the whole state each time; the last one says how it ended
//	   ack    ------------>        durable here: forget it
//
// Every message may be lost, repeated, delayed and overtaken: whoever waits for an answer sends again (after a second, doubling to half a minute), and whoever gets a message twice changes
// nothing. Large output travels beside the reports, in pieces with offsets, and is kept whole in blobs ([Service.Output]).
//
// Why two phases: MaxConcurrency is a promise about what may run at once, so a node holds one of its slots from the offer until its invocation has ended. If the first message already
// carried the document, a slot given to a node that turned out to be away could never be taken back: the node might have got the message and started. An offer starts nothing, so that
// after fifteen seconds without an answer the invocation becomes Delayed, its slot goes to the next node, and MaxConcurrency still holds, whenever the node comes back. A
// Delayed node is asked again when it is heard of, and now and then, without a slot; only its answer gets it one, as soon as one is free.
//
// The beginning is gentle (R13): one node is offered the command, and when it answered two, then four, doubling until MaxConcurrency. Of eight and more that are offered at once,
// seven in eight answers are enough, and who does not answer within a second gives its place among them, not its slot, to another: a few nodes that never answer hold up nobody. When
// more than MaxErrors invocations failed, nothing more is started; those that run may finish, so that at most MaxErrors + MaxConcurrency fail. Rights, platform and existence of a node
// are judged when its turn comes.
//
// # Who decides
//
// [Engine] is a pure state machine: counters and the open invocations in, records and messages out. [Service] has one for each command that it owns, feeds it what comes, commits what it decides,
// up to 2,000 invocations in a transaction, and only then sends its messages, so that no node ever does what the store does not know. An event costs the same on a
// command of 100,000 targets as on one of ten.
//
// Commands are split into [Shards] parts, each owned by one control plane at a time, by lease. Every transaction of an owner checks the lease's epoch: one that was paused and comes back writes
// nothing. Any control plane on the same store accepts Send, Cancel and the messages of nodes; what is another's to do it leaves in the store, where the owner finds it. The parts of
// a control plane that died go to others after the lease's time, of one that stopped in order at once.
//
// # What is promised
//
//   - What returned without error is durable. A Send that is repeated with its ClientToken gives one command.
//   - Every target gets exactly one invocation, which ends exactly once, at most Timing.Grace after the command's deadline while a control plane is up. Terminal statuses stick; a
//     result that comes later is kept as [Late] and changes none.
//   - After a crash the next owner goes on from the last commit: it sends again what may not have arrived. Nodes do not start twice what their journal has.
//   - A node cannot touch another's invocation, nor its own before it was told to run, after its end, or in another attempt; and what it sends is bounded.
//   - MaxConcurrency and MaxErrors hold in every history, crashes included.
//
// # Time
//
// SendRequest.TimeoutSeconds is how long a node may take to answer, from its first offer (or from its turn, when it was away); then its invocation ends as DeliveryTimedOut. Targets that wait
// for their turn do not use it up. The command's deadline, Command.ExpiresAfter, is that time plus the document's execution timeout after Send (R21); it ends everything: what never started is
// DeliveryTimedOut, what runs is told to stop and has Timing.Grace to say how it ended, and what stays silent is DeliveryTimedOut too. ExecutionTimedOut is only what a node itself
// reports (R22). No clock of a node is compared with ours.
//
// # Statuses and caps
//
// Invocations have AWS's statuses and details, and Interrupted for what a dying node leaves in doubt; [State.Detail] derives the command's from counters, with the conflicts of AWS's pages
// resolved as spec T2 and T3 say. An invocation is never "not there yet": a target without a record is Pending.
//
// AWS's caps on output (24,000, 8,000 and 2,500 characters) are no limits here but a profile for faces that speak AWS's language: [MaxStandardOutput], [MaxStandardError],
// [MaxPluginOutput], [Truncate]. What bounds output is SendRequest.OutputLimit, for each invocation; what is dropped is counted, never hidden.
//
// # Records
//
// Under tenant/"command": "command"/id what never changes, "state"/id the counters, "target"/id/n the targets, 4,096 a record, "document"/id/n the documents, "invocation"/id/node,
// "head"/id/node/n the beginnings of outputs of more than 2 KiB, "stream"/id/node/stream what lies in blobs, "event"/id the story (package feed), "time"/time/id the index of [Service.List],
// "token"/token, "trash"/id what Prune has not cleared away yet, "stray"/id
// a command that only nodes know, "strays" how many. Under no tenant: "active"/shard what has not ended, "todo"/shard what is left for its owner.
package command
