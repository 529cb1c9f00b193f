package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// output prints a stream line by line, made safe for a terminal.
func output(ctx context.Context, f *fleet, id, node, step string, stderr bool, w io.Writer) error {
	r, _, err := f.Commands.Output(ctx, id, node, step, stderr)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read only
	mark := "  "
	if stderr {
		mark = "! "
	}
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadString('\n')
		if line != "" {
			fmt.Fprintf(w, "  %s%s\n", mark, fault.Clean(strings.TrimRight(line, "\r\n")))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
