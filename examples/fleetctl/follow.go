package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/ssmops"
)

// patience is how long follow keeps trying to get through to a control plane that went away.
const patience = 2 * time.Minute

// follow shows a command's progress until it ended, then its table. It is errFailed unless the command succeeded on every node.
func (a *app) follow(ctx context.Context, id string, quiet bool) error {
	if err := a.open(); err != nil {
		return err
	}
	p := &progress{a: a, quiet: quiet}
	var cursor uint64
	var since time.Time
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		before := cursor
		done, err := a.events(ctx, id, &cursor, p)
		if done {
			break
		}
		if ctx.Err() != nil {
			p.clear()
			return fmt.Errorf("interrupted; the command goes on: fleetctl watch %s, or fleetctl cancel %s", id, id)
		}
		if err != nil && fault.KindOf(err) != fault.Unavailable && fault.KindOf(err) != fault.Throttled {
			return err
		}
		if cursor != before {
			since, pause = time.Time{}, 200*time.Millisecond
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > patience {
			p.clear()
			return fmt.Errorf("%w; the command goes on: fleetctl watch %s", err, id)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	p.clear()
	return a.summary(ctx, id)
}

// events reads one stream. done means that the command ended; without it the stream broke.
func (a *app) events(ctx context.Context, id string, cursor *uint64, p *progress) (done bool, err error) {
	body, _, err := a.conn.client.Stream(ctx, "WatchCommand", ssmops.WatchCommandRequest{CommandID: id, Cursor: *cursor})
	if err != nil {
		return false, err
	}
	defer body.Close()
	// A beat comes every 15 seconds: without one the connection is dead.
	silent := time.AfterFunc(time.Minute, func() { body.Close() })
	defer silent.Stop()
	sc := bufio.NewScanner(body)
	sc.Buffer(make([]byte, 0, 64<<10), 4<<20)
	empty := true
	for sc.Scan() {
		silent.Reset(time.Minute)
		line := bytes.TrimSpace(sc.Bytes())
		if len(line) == 0 {
			continue
		}
		empty = false
		var u ssmops.WatchUpdate
		if err := json.Unmarshal(line, &u); err != nil {
			return false, fault.New("fleetctl", fault.ServiceUnavailable, "the stream is not understood: %w", err)
		}
		if u.Error != "" {
			return false, &fault.Error{Op: "fleetctl", Code: u.Error, Msg: fault.Clean(u.Message)}
		}
		*cursor = u.Cursor
		p.show(&u)
		if u.Done {
			return true, nil
		}
	}
	if err := sc.Err(); err != nil {
		return false, fault.New("fleetctl", fault.ServiceUnavailable, "the stream broke off: %w", err)
	}
	// It ended in good order: a command that had ended before the cursor has nothing new to tell.
	if empty {
		var out ssmops.ListCommandsResult
		if err := a.call(ctx, "ListCommands", ssmops.ListCommandsRequest{CommandID: id}, &out); err != nil {
			return false, err
		}
		if len(out.Commands) == 1 && out.Commands[0].CompletedCount >= out.Commands[0].TargetCount {
			return true, nil
		}
	}
	return false, fault.New("fleetctl", fault.ServiceUnavailable, "the stream ended too early")
}

// progress shows what happens: one line that changes on a terminal, else a line for each invocation that ended.
type progress struct {
	a     *app
	quiet bool
	dirty bool
}

func (p *progress) show(u *ssmops.WatchUpdate) {
	w := p.a.stderr
	switch {
	case p.quiet:
	case p.a.terminal:
		p.dirty = true
		fmt.Fprintf(w, "\r\x1b[K%s: %d of %d done, %d failed, %d running", fault.Clean(string(u.StatusDetails)), u.CompletedCount, u.TargetCount, u.ErrorCount, u.RunningCount)
		if u.DelayedCount > 0 {
			fmt.Fprintf(w, ", %d not connected", u.DelayedCount)
		}
	default:
		for _, c := range u.Changes {
			if c.StatusDetails.Terminal() {
				fmt.Fprintf(w, "%s %s exit %d %s %s\n", fault.Clean(c.InstanceID), fault.Clean(string(c.StatusDetails)), c.ResponseCode, seconds(c.ElapsedSeconds), short(c.FirstLine+c.Reason, 100))
			}
		}
	}
}

func (p *progress) clear() {
	if p.dirty {
		fmt.Fprint(p.a.stderr, "\r\x1b[K")
		p.dirty = false
	}
}

// invocations returns all invocations of a command.
func (a *app) invocations(ctx context.Context, r ssmops.ListCommandInvocationsRequest) (all []ssmops.CommandInvocation, err error) {
	all = []ssmops.CommandInvocation{}
	for {
		var out ssmops.ListCommandInvocationsResult
		if err := a.call(ctx, "ListCommandInvocations", r, &out); err != nil {
			return nil, err
		}
		all = append(all, out.CommandInvocations...)
		if r.NextToken = out.NextToken; r.NextToken == "" {
			return all, nil
		}
	}
}

// command returns one command.
func (a *app) command(ctx context.Context, id string) (ssmops.Command, error) {
	var out ssmops.ListCommandsResult
	if err := a.call(ctx, "ListCommands", ssmops.ListCommandsRequest{CommandID: id}, &out); err != nil {
		return ssmops.Command{}, err
	}
	if len(out.Commands) != 1 {
		return ssmops.Command{}, errors.New("the control plane does not answer for the command")
	}
	return out.Commands[0], nil
}

// summary prints the table of a command.
func (a *app) summary(ctx context.Context, id string) error {
	c, err := a.command(ctx, id)
	if err != nil {
		return err
	}
	all, err := a.invocations(ctx, ssmops.ListCommandInvocationsRequest{CommandID: id})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		err = a.json(struct {
			Command            ssmops.Command
			CommandInvocations []ssmops.CommandInvocation
		}{c, all})
	} else {
		err = a.invocationTable(c, all)
	}
	if err == nil && (c.Status != message.Success || c.TargetCount == 0) {
		err = errFailed
	}
	return err
}

func (a *app) invocationTable(c ssmops.Command, all []ssmops.CommandInvocation) error {
	if len(all) > 0 {
		named := slices.ContainsFunc(all, func(i ssmops.CommandInvocation) bool { return i.InstanceName != "" })
		head := []string{"NODE", "STATUS", "EXIT", "TIME", "OUTPUT"}
		if named {
			head = slices.Insert(head, 1, "NAME")
		}
		t := a.table(head...)
		for _, i := range all {
			exit, line := fmt.Sprint(i.ResponseCode), i.FirstLine
			if i.ResponseCode < 0 {
				exit = "-"
			}
			if line == "" {
				line = i.Reason
			}
			row := []any{i.InstanceID, i.StatusDetails, exit, seconds(i.ElapsedSeconds), short(line, 100)}
			if named {
				row = slices.Insert(row, 1, any(i.InstanceName))
			}
			t.row(row...)
		}
		if err := t.end(); err != nil {
			return err
		}
	}
	if c.TargetCount == 0 {
		return a.say("%s: no node matched the targets, nothing ran", c.ID)
	}
	return a.say("%s: %s, %d of %d done, %d failed", c.ID, fault.Clean(string(c.StatusDetails)), c.CompletedCount, c.TargetCount, c.ErrorCount)
}
