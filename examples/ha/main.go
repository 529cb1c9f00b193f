//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/fleetwright/fleetwright/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with everything that it touches. It returns the exit code: 0, 1 when something went wrong or the verdict is bad, 2 for bad arguments.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		verb, args = args[0], args[1:]
	}
	var err error
	switch verb {
	case "":
		err = show(ctx, args, stdout, stderr)
	case "init":
		err = initVerb(args, stdout)
	case "plane":
		endWithParent()
		err = planeVerb(ctx, args, stdout, stderr)
	case "agent":
		endWithParent()
		err = agentVerb(ctx, args, stdout, stderr)
	case "broker":
		endWithParent()
		err = brokerVerb(ctx, args, stdout, stderr)
	default:
		err = usage("%q: there are init, plane, agent and broker; without a verb it shows everything on this machine", verb)
	}
	var u usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errVerdict):
		return 1
	case errors.As(err, &u):
		fmt.Fprintln(stderr, "ha:", u.error)
		return 2
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		if verb != "" {
			return 0 // told to stop
		}
		fmt.Fprintln(stderr, "ha: interrupted")
		return 1
	}
	fmt.Fprintln(stderr, "ha:", fault.MessageOf(err))
	return 1
}
