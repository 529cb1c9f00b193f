// Package automation runs Automation documents (runbooks of schema 0.3) as AWS Systems Manager does.
//
// A [Runbook] is a document made ready: [ParseRunbook] or [NewRunbook]. [Runbook.New] gives an [Execution], which is a plain value with everything that must be
// remembered; [Runbook.Step] applies an [Event] at a time to it and returns [Effect]s: calls to make, child executions to start, approvers to ask. That is the
// whole engine. It does no I/O, starts no goroutine and looks at no clock: the same events at the same times give the same executions, so that a history can be
// replayed, a runbook explored, and an approval that takes seven days tested in a microsecond. Time passes by [Execution.Next] and an empty Event.
//
// The same engine gives [Runbook.Preview] (a dry run), [Runbook.Explore] (every outcome of every step, and what they leave behind), [Runbook.Replay] and
// [Runbook.Fork] of a history, and drawings: [Runbook.Mermaid], [Runbook.SVG].
//
// [Service] is the engine over a store: every event of an execution is an entry of its history, chained by hashes and with snapshots, committed before what it leads
// to is begun. Executions are owned by lease, a shard of them at a time, so that several control planes share the work and one goes on where another died. A call
// that was under way then is made again when its [Action] says Repeat, with the same token; else the step fails with the detail Interrupted, subject to maxAttempts and
// onFailure: nobody knows whether it was done. Child executions are started once, whatever dies in between. What waits (for a time, a person, a child) costs a
// record in memory and no goroutine.
//
// What AWS leaves open is read so:
//
//   - The first critical step that does not succeed gives the execution its status and FailureDetails (A3, A4). Where only steps with isCritical false
//     failed the execution is a Success, also when one of them aborted it.
//   - onFailure step: goes before isEnd, so that what cleans up runs; with Abort or Continue a step with isEnd is the last one. After onFailure Continue a
//     nextStep is followed as after success.
//   - A call that failed is tried again at once while there are attempts. Inputs that are wrong in themselves fail a step at once: they would not get better.
//   - A placeholder of an output that nobody gave stays in the text as it is, as on AWS: what has to look whether a step ran can.
//   - In a loop, isEnd and the end of the list end the iteration; an abort ends the loop and what it stands in; a jump to a step outside leaves the loop. The
//     iterations are counted from 1. At MaxIterations a loop ends well. A placeholder finds the outputs of the newest run of a step.
//   - A list in the Payload of a script is kept whole, where AWS's page speaks of 100 items; its size has AWS's limit.
//   - A Reject fails aws:approve at once. Who approves is counted once.
//   - Stop with Cancel ends what is at work, waits for its children and runs its onCancel workflow, all within two minutes; the execution is Cancelled however
//     that went. Stop with Complete lets the step at work finish: a wait goes on.
//   - An execution or a step with targets fails when more children failed than MaxErrors says (T1); all others are then not started.
package automation
