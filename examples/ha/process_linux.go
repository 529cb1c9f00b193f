package main

import "syscall"

// attr keeps a child from the terminal's Ctrl-C, which is for its parent, and lets the kernel kill it when its parent dies, also while it is stopped.
func attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
