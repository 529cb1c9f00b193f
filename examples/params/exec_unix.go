//go:build unix

package main

import (
	"context"
	"syscall"
)

// become replaces this program by another: signals, exit code, terminal and process id are its own, and no process with its secrets stays behind.
func (a *app) become(_ context.Context, program string, argv, env []string) error {
	err := syscall.Exec(program, argv, env)
	a.note("%s cannot be run: %v", program, err)
	return exit(exitCannotRun)
}
