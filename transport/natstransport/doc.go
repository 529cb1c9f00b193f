// Package natstransport carries messages between control planes and their nodes over NATS.
package natstransport
