//go:build !linux

package agent

// BootID is not known here: a host that wants reboots to be noticed says so in Config.BootID.
func BootID() string { return "" }

func distribution() (name, version string) { return "", "" }
