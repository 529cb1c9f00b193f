//go:build !unix

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
)

// become runs another program and ends with its exit code. What interrupts this program interrupts the other too, as they share a console.
func (a *app) become(_ context.Context, program string, argv, env []string) error {
	signal.Ignore(os.Interrupt)
	cmd := &exec.Cmd{Path: program, Args: argv, Env: env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ended):
		return exit(ended.ExitCode())
	}
	a.note("%s cannot be run: %v", program, err)
	return exit(exitCannotRun)
}
