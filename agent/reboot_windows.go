package agent

import "os/exec"

var rebootCommands = [...][]string{{"shutdown", "/r", "/t", "0"}}

func lookPath(name string) (string, error) { return exec.LookPath(name) }
