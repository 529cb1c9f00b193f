//go:build unix

package agent

import "os/exec"

var rebootCommands = [...][]string{{"systemctl", "reboot"}, {"shutdown", "-r", "now"}, {"reboot"}}

func lookPath(name string) (string, error) { return exec.LookPath(name) }
