// Package script runs what aws:executeScript asks for: Python and PowerShell as real processes, with the contract that AWS gives to handlers.
//
// A script is somebody else's code, so nothing runs it by default. The host chooses a [Runtime]:
//
//   - [NewLocal] starts a process on this machine, kept apart by an [Isolation]: [User] runs it as another user, [Namespace] within namespaces of its own, with a root that holds
//     the language and nothing else. Neither has a network unless it is granted, neither can open what the host names as Protect (the store, the keys, the audit log), and what
//     cannot be kept apart on the machine fails and says so.
//   - [NewAgent] sends it to a node of the fleet.
//
// [New] makes an action of a runtime, for automation.Config.Actions:
//
//	rt := script.NewLocal(&script.Namespace{Protect: []string{"/var/lib/fleet"}}, nil)
//	actions["aws:executeScript"] = script.New(rt, nil)
//
// The contract (AWS: aws:executeScript): Runtime python3.6 to python3.11 or PowerShell; Handler names a function of two arguments, events (InputPayload) and context; what it
// returns is Payload. A PowerShell script finds InputPayload as JSON in the variable InputPayload of its environment, and the last object that it writes is Payload. An exception
// fails the step with the last line of its traceback. What was printed is kept, shortened, as Stdout and Stderr beside Payload, or in the details of the failure.
package script
