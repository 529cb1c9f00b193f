// Package automationtest runs runbooks against fake services in virtual time, so that who writes a runbook can test it in go test: an approval that takes seven
// days takes no time at all.
//
// [New] gives a [World] for a runbook. Say with [World.On] what a step answers, with [World.Call] what an operation of a service answers, and with [World.At] what
// people do and when; what nothing was said about answers what the runbook's own selectors look for. [World.Run] runs to the end.
package automationtest
