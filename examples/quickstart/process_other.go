//go:build !unix

package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
)

func ownGroup(*exec.Cmd) {}

func untilParentEnds() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt)
}
