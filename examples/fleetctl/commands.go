package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/ssmops"
)

func outputFlags(fs *flag.FlagSet) {
	fs.String("step", "", "`name` of the step; needed when there are several")
	fs.Bool("stderr", false, "what it wrote to standard error")
	fs.Bool("raw", false, "bytes as they are, also on a terminal")
}

// output prints what a step wrote. On a terminal it is made printable, so that nobody's output commands it.
func (a *app) output(ctx context.Context, p *parsed) error {
	args, err := p.arg("COMMAND", "NODE")
	if err != nil {
		return err
	}
	if err := a.open(); err != nil {
		return err
	}
	r := ssmops.GetCommandOutputRequest{CommandID: args[0], InstanceID: args[1], PluginName: p.str("step"), Stream: "stdout"}
	if p.on("stderr") {
		r.Stream = "stderr"
	}
	body, head, err := a.conn.client.Stream(ctx, "GetCommandOutput", r)
	if err != nil {
		return err
	}
	defer body.Close()
	var to io.Writer = a.stdout
	if !p.on("raw") && isTerminal(a.stdout) {
		to = printable{a.stdout}
	}
	if _, err := io.Copy(to, body); err != nil {
		return fmt.Errorf("the output did not arrive whole: %w", err)
	}
	if n := head.Get(ssmops.HeaderDropped); n != "" && n != "0" {
		fmt.Fprintf(a.stderr, "fleetctl: %s bytes beyond the limit were not kept\n", fault.Clean(n))
	}
	return nil
}

// printable escapes what a terminal would act upon, but for newlines and tabs.
type printable struct{ w io.Writer }

func (p printable) Write(b []byte) (int, error) {
	for i, start := 0, 0; i <= len(b); i++ {
		if i < len(b) && b[i] != '\n' && b[i] != '\t' {
			continue
		}
		text := fault.Clean(string(b[start:i]))
		if i < len(b) {
			text += string(b[i])
		}
		if _, err := io.WriteString(p.w, text); err != nil {
			return 0, err
		}
		start = i + 1
	}
	return len(b), nil
}

func (a *app) cancel(ctx context.Context, p *parsed) error {
	if len(p.args) == 0 {
		return bad("COMMAND is missing")
	}
	return a.call(ctx, "CancelCommand", ssmops.CancelCommandRequest{CommandID: p.args[0], InstanceIDs: p.args[1:]}, nil)
}

func listFlags(fs *flag.FlagSet) {
	fs.String("node", "", "only commands sent to this `node`")
	fs.String("status", "", "only commands of this `status`: InProgress, Success, Failed …")
	fs.String("document", "", "only commands that run the document of this `name`")
	fs.String("after", "", "only commands sent after this `time`: 2026-01-31T18:00:00Z")
	fs.String("before", "", "only commands sent before this `time`")
	fs.Int("limit", 50, "`number` of commands; 0 is all")
}

func (a *app) list(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	limit := p.num("limit")
	if limit < 0 {
		return bad("-limit %d is negative", limit)
	}
	r := ssmops.ListCommandsRequest{InstanceID: p.str("node")}
	for _, f := range [][2]string{{"status", "Status"}, {"document", "DocumentName"}, {"after", "InvokedAfter"}, {"before", "InvokedBefore"}} {
		if v := p.str(f[0]); v != "" {
			r.Filters = append(r.Filters, ssmops.CommandFilter{Key: f[1], Value: v})
		}
	}
	all := []ssmops.Command{}
	for more := true; more; more = r.NextToken != "" && (limit == 0 || len(all) < limit) {
		if limit > 0 {
			r.MaxResults = min(50, limit-len(all))
		}
		var out ssmops.ListCommandsResult
		if err := a.call(ctx, "ListCommands", r, &out); err != nil {
			return err
		}
		all, r.NextToken = append(all, out.Commands...), out.NextToken
	}
	if a.wantsJSON() {
		return a.json(ssmops.ListCommandsResult{Commands: all})
	}
	t := a.table("COMMAND", "SENT", "DOCUMENT", "STATUS", "DONE", "FAILED", "COMMENT")
	for _, c := range all {
		t.row(c.ID, c.RequestedDateTime, c.DocumentName, c.StatusDetails, fmt.Sprintf("%d/%d", c.CompletedCount, c.TargetCount), c.ErrorCount, short(c.Comment, 40))
	}
	return t.end()
}

func (a *app) get(ctx context.Context, p *parsed) error {
	if len(p.args) < 2 {
		args, err := p.arg("COMMAND")
		if err != nil {
			return err
		}
		return a.summary(ctx, args[0])
	}
	args, err := p.arg("COMMAND", "NODE")
	if err != nil {
		return err
	}
	all, err := a.invocations(ctx, ssmops.ListCommandInvocationsRequest{CommandID: args[0], InstanceID: args[1], Details: true})
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return fault.New("fleetctl", fault.InvocationDoesNotExist, "the command was not sent to node %s", fault.Clean(args[1]))
	}
	i := all[0]
	if a.wantsJSON() {
		err = a.json(i)
	} else {
		fmt.Fprintf(a.stdout, "%s on %s: %s %s\n", fault.Clean(i.DocumentName), fault.Clean(i.InstanceID), fault.Clean(string(i.StatusDetails)), fault.Clean(i.Reason))
		t := a.table("STEP", "STATUS", "EXIT", "STARTED", "ENDED", "OUTPUT")
		for _, s := range i.CommandPlugins {
			t.row(s.Name, s.Status, s.ResponseCode, s.ResponseStartDateTime, s.ResponseFinishDateTime, short(s.Output, 100))
		}
		err = t.end()
	}
	if err == nil && i.Status != message.Success {
		err = errFailed
	}
	return err
}
