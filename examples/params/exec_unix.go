//go:build unix

package main

import (
	"context"
	"syscall"
)

// become replaces this program by another: signals, exit code, terminal and process id are its own, and no process with its secrets stays behind. It returns only if that failed.
func become(_ context.Context, program string, argv, env []string) error {
	return syscall.Exec(program, argv, env)
}
