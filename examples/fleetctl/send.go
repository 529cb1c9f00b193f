package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/target"
)

// words is a flag that may be given several times.
type words []string

func (w *words) String() string { return strings.Join(*w, " ") }

func (w *words) Set(s string) error {
	*w = append(*w, s)
	return nil
}

func sendFlags(fs *flag.FlagSet) {
	fs.Var(&words{}, "targets", "nodes as Key=tag:Role,Values=web,db; several must all hold; Key=InstanceIds,Values=* is every node")
	fs.String("instance-ids", "", "comma separated node `ids` instead of -targets")
	fs.String("document", "", "`name` of the document (default AWS-RunShellScript when a command stands behind --)")
	fs.String("document-version", "", "its `version`: a number, $DEFAULT or $LATEST")
	fs.String("content", "", "`file` of a document that is run without being stored")
	fs.String("parameters", "", "as `commands=uptime,workingDirectory=/tmp`, or JSON")
	fs.String("comment", "", "for people")
	fs.String("max-concurrency", "", "nodes at once, as `10` or 25% (default 50)")
	fs.String("max-errors", "", "failures after which nothing new starts, as `1` or 10% (default 0)")
	fs.Int("timeout-seconds", 0, "`seconds` for the command to reach a node (default 3600)")
	fs.String("client-token", "", "repeating a command with the same `token` gives the same command")
	fs.Bool("require-signed", false, "only on nodes that promise at most one start")
	fs.Bool("no-ramp", false, "begin with -max-concurrency nodes instead of one, two, four …")
	fs.Bool("q", false, "no progress, only the table")
}

// request makes the request of run, send and plan.
func (a *app) request(p *parsed) (*ssmops.SendCommandRequest, error) {
	r := &ssmops.SendCommandRequest{SendRequest: command.SendRequest{DocumentName: p.str("document"), DocumentVersion: p.str("document-version"), Comment: p.str("comment"),
		MaxConcurrency: p.str("max-concurrency"), MaxErrors: p.str("max-errors"), ClientToken: p.str("client-token"), RequireSigned: p.on("require-signed"), NoRamp: p.on("no-ramp"),
		TimeoutSeconds: p.num("timeout-seconds")}}
	targets := *p.fs.Lookup("targets").Value.(*words)
	for _, arg := range p.args { // the AWS CLI takes several behind one -targets
		if len(targets) == 0 || !strings.HasPrefix(arg, "Key=") && !strings.HasPrefix(arg, "{") {
			return nil, bad("argument %q: a command for the shell stands behind --", fault.Clean(arg))
		}
		targets = append(targets, arg)
	}
	var err error
	if len(targets) > 0 {
		if r.Targets, err = target.Parse(targets...); err == nil {
			err = target.Validate(r.Targets, nil)
		}
		if err != nil {
			return nil, bad("-targets: %s", strings.TrimPrefix(fault.MessageOf(err), "targets: "))
		}
	}
	if ids := p.str("instance-ids"); ids != "" {
		r.InstanceIDs = strings.Split(ids, ",")
	}
	switch {
	case len(r.Targets) > 0 && len(r.InstanceIDs) > 0:
		return nil, bad("-targets and -instance-ids: give one of them")
	case len(r.Targets) == 0 && len(r.InstanceIDs) == 0:
		return nil, bad("-targets is missing: say on which nodes, as -targets Key=tag:Role,Values=web")
	}
	if r.Parameters, err = command.ParseParameters(p.str("parameters")); err != nil {
		return nil, bad("-parameters: %s", fault.MessageOf(err))
	}
	if file := p.str("content"); file != "" {
		if r.Content, err = os.ReadFile(file); err != nil {
			return nil, bad("-content: %v", err)
		}
		if len(r.Content) == 0 {
			return nil, bad("-content: %s is empty", file)
		}
	}
	switch {
	case p.rest != nil && (r.DocumentName != "" || r.Content != nil):
		return nil, bad("-- and a document: give one of them")
	case p.rest != nil && len(p.rest) == 0:
		return nil, bad("the command behind -- is missing")
	case p.rest != nil:
		if r.Parameters["commands"] != nil {
			return nil, bad("-parameters commands and --: give one of them")
		}
		if r.Parameters == nil {
			r.Parameters = map[string][]string{}
		}
		r.DocumentName, r.Parameters["commands"] = "AWS-RunShellScript", []string{strings.Join(p.rest, " ")}
	case r.DocumentName == "" && r.Content == nil:
		return nil, bad("nothing to run: give -document NAME, -content FILE, or -- and a command for the shell")
	}
	return r, nil
}

// sendRequest sends. A request whose answer did not arrive is sent again: its token sees to it that nothing runs twice.
func (a *app) sendRequest(ctx context.Context, p *parsed) (ssmops.Command, error) {
	r, err := a.request(p)
	if err != nil {
		return ssmops.Command{}, err
	}
	if r.ClientToken == "" {
		r.ClientToken = rand.Text()
	}
	for _, pause := range []time.Duration{300 * time.Millisecond, time.Second, 0} {
		var out ssmops.SendCommandResult
		if err = a.call(ctx, "SendCommand", r, &out); err == nil {
			return out.Command, nil
		}
		if k := fault.KindOf(err); k != fault.Unavailable && k != fault.Throttled && k != fault.Unknown || pause == 0 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return ssmops.Command{}, err
}

func (a *app) send(ctx context.Context, p *parsed) error {
	c, err := a.sendRequest(ctx, p)
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(c)
	}
	return a.say("%s", c.ID)
}

// runCommand sends, follows and sums up.
func (a *app) runCommand(ctx context.Context, p *parsed) error {
	c, err := a.sendRequest(ctx, p)
	if err != nil {
		return err
	}
	return a.follow(ctx, c.ID, p.on("q"))
}

func (a *app) watch(ctx context.Context, p *parsed) error {
	args, err := p.arg("COMMAND")
	if err != nil {
		return err
	}
	return a.follow(ctx, args[0], p.on("q"))
}

func (a *app) plan(ctx context.Context, p *parsed) error {
	r, err := a.request(p)
	if err != nil {
		return err
	}
	var out ssmops.PlanCommandResult
	if err := a.call(ctx, "PlanCommand", r, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	t := a.table("NODE", "NAME", "PLATFORM", "WAVE", "MATCHED", "NOTE")
	for _, n := range out.Nodes {
		wave, note := fmt.Sprint(n.Wave+1), ""
		switch {
		case n.Refused != "":
			wave, note = "-", string(n.Refused)+": "+n.Reason
		case !n.Connected:
			note = "not connected"
		case !n.Signed:
			note = "may start twice"
		}
		t.row(n.InstanceID, n.Name, n.Platform, wave, strings.Join(n.Matched, ", "), note)
	}
	if err := t.end(); err != nil {
		return err
	}
	for _, v := range out.Variants {
		fmt.Fprintf(a.stdout, "\non %s (%s):\n", fault.Clean(v.Platform), short(v.Digest, 12))
		for i, s := range v.Steps {
			fmt.Fprintf(a.stdout, "  %d. %s (%s)", i+1, fault.Clean(s.Name), fault.Clean(s.Action))
			if s.Verdict != "Run" {
				fmt.Fprintf(a.stdout, " %s: %s", fault.Clean(s.Verdict), fault.Clean(s.Reason))
			}
			fmt.Fprintln(a.stdout)
			for _, line := range script(s.Inputs) {
				fmt.Fprintf(a.stdout, "       %s\n", fault.Clean(line))
			}
		}
	}
	for _, f := range out.Findings {
		fmt.Fprintf(a.stdout, "%s: %s\n", fault.Clean(f.Severity), fault.Clean(f.Message))
	}
	return a.say("\n%s, version %s: %d nodes in %d waves, %d at once, stops after more than %d failures, at worst %d fail",
		fault.Clean(out.DocumentName), fault.Clean(out.DocumentVersion), len(out.Nodes), len(out.Waves), out.MaxConcurrency, out.ErrorLimit, out.WorstErrors)
}

// script returns the lines that a step of a script action would run.
func script(inputs map[string]any) (lines []string) {
	var add func(v any)
	add = func(v any) {
		switch v := v.(type) {
		case string:
			lines = append(lines, strings.Split(v, "\n")...)
		case []any:
			for _, e := range v {
				add(e)
			}
		}
	}
	add(inputs["runCommand"])
	return lines
}
