//go:build unix && !linux

package main

import "syscall"

// attr keeps a child from the terminal's Ctrl-C, which is for its parent.
func attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
