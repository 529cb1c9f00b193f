//go:build unix

package main

import (
	"context"
	"flag"
	"io"
)

func natsFlag(fs *flag.FlagSet, to *string) {
	fs.StringVar(to, "nats", "", "`URL`s of NATS servers, by which nodes may come too")
}

func (p *plane) brokers() ([]presence, error) { return nil, nil }

func (h *house) natsArgs() []string { return nil }

func (h *house) startBroker(ctx context.Context, say func(string, ...any)) error { return nil }

func brokerVerb(ctx context.Context, args []string, stdout, stderr io.Writer) error { return nil }

func (h *house) wipeBroker() error { return nil }
