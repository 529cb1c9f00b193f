// Package api runs the actions of runbooks that call AWS's APIs: aws:executeAwsApi and its two relatives that look at a property, and those that are made of such
// calls: aws:changeInstanceState, copyImage, createImage, deleteImage, createStack, updateStack, deleteStack, createTags, runInstances, executeStateMachine and
// invokeLambdaFunction.
//
// It knows no SDK. What calls is a [Caller] that the host hands in: one over AWS's own clients (aws/awsapi), one over services of the host's own, or a [Mux] of several.
// [Actions] makes the actions out of it, for automation.Config.Actions:
//
//	actions := api.Actions(api.Mux{Services: map[string]api.Caller{"ssm": ours}, Other: aws}, nil)
//
// # What the actions promise
//
// An action that begins something waits until it is there, looking with pauses that grow, until the step's deadline. A Throttling answer, or a
// service that is away, while it looks is no failure: it looks again, more slowly. Whatever fails is an automation.CallError with AWS's FailureStage and FailureType: a request
// that was refused is Invocation, with the type Permission or Throttling where the error's code says so; what was begun and came to a bad end is
// PostVerification and Verification, with the state and its reason.
//
// Where an API has an idempotency token the call's own is sent, so that a step that is repeated after a crash of its control plane begins nothing twice. Which actions
// may be repeated so is said by [Actions].
//
// When an execution is stopped, the action ends looking and leaves the world as it is: what was begun goes on. That is AWS's way too; a
// runbook says with onCancel what is to be undone.
package api
