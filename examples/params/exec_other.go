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
func become(_ context.Context, program string, argv, env []string) error {
	signal.Ignore(os.Interrupt)
	err := (&exec.Cmd{Path: program, Args: argv, Env: env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}).Run()
	if ended := new(exec.ExitError); errors.As(err, &ended) {
		return exit(ended.ExitCode())
	}
	return err
}
