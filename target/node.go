package target

import "slices"

// Assurance says how much a node can promise.
type Assurance string

const (
	// Signed: the node runs fleetwright's agent: every message is signed and sealed end to end, and nothing starts twice (law 4).
	Signed Assurance = "Signed"
	// Channel: the node speaks another protocol (the stock agent's): only its channel is authenticated, and a start may repeat.
	Channel Assurance = "Channel"
)

// Node is what targeting, dispatch and authorization need to know of a managed node. It is a value; whoever returns one gives it away.
type Node struct {
	Tenant       string
	ID           string   // mi- and 17 hex digits, or what the host uses
	Name         string   // for people
	Platform     string   // Linux, Windows, MacOS
	PlatformName string   // Debian GNU/Linux
	Capabilities []string // sorted: actions as "aws:runShellScript", features as "feature:ENV_VAR"
	Tags         map[string]string
	SignKey      []byte // Ed25519 public key, 32 bytes; empty for Channel
	SealKey      []byte // X25519 public key, 32 bytes; empty for Channel
	Assurance    Assurance
}

// Can reports whether the node knows a capability.
func (n *Node) Can(capability string) bool {
	_, ok := slices.BinarySearch(n.Capabilities, capability)
	return ok
}
