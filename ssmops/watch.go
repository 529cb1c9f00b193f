package ssmops

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// WatchCommandRequest is the request of WatchCommand (own): the command's story from behind Cursor, 0 being its beginning.
type WatchCommandRequest struct {
	CommandID string `json:"CommandId"`
	Cursor    uint64 `json:"Cursor,omitempty"`
}

func (r *WatchCommandRequest) resource() string { return commandResource(r.CommandID) }

// WatchUpdate is one line of WatchCommand's answer. The stream ends with the line that has Done, or with one that has Error; one that ends otherwise was cut and can be taken
// up behind the last Cursor: nothing is missed and nothing comes twice.
type WatchUpdate struct {
	Cursor         uint64         `json:"Cursor,omitempty"`
	At             Time           `json:"At,omitzero"`
	Status         message.Status `json:"Status,omitempty"`
	StatusDetails  message.Detail `json:"StatusDetails,omitempty"`
	TargetCount    int            `json:"TargetCount"`
	CompletedCount int            `json:"CompletedCount"`
	ErrorCount     int            `json:"ErrorCount"`
	RunningCount   int            `json:"RunningCount"`
	DelayedCount   int            `json:"DelayedCount"`
	Done           bool           `json:"Done,omitempty"`
	Changes        []WatchChange  `json:"Changes,omitempty"`

	Error   fault.Code `json:"__type,omitempty"` // the stream broke off
	Message string     `json:"message,omitempty"`
}

// WatchChange is what became of one invocation.
type WatchChange struct {
	InstanceID     string         `json:"InstanceId"`
	StatusDetails  message.Detail `json:"StatusDetails"`
	Reason         string         `json:"Reason,omitempty"`
	ResponseCode   int            `json:"ResponseCode"`
	Step           int            `json:"Step,omitempty"` // from 1; 0 before the first
	StepCount      int            `json:"StepCount,omitempty"`
	StepName       string         `json:"StepName,omitempty"`
	ElapsedSeconds float64        `json:"ElapsedSeconds,omitempty"`
	FirstLine      string         `json:"FirstLine,omitempty"`
}

func watchUpdate(u command.Update) WatchUpdate {
	p := u.Command
	out := WatchUpdate{Cursor: u.Cursor, At: Time{u.At}, Status: p.Status, StatusDetails: p.Detail, TargetCount: p.Targets, CompletedCount: p.Completed, ErrorCount: p.Errors,
		RunningCount: p.Running, DelayedCount: p.Delayed, Done: p.Done}
	for _, c := range u.Changes {
		out.Changes = append(out.Changes, WatchChange{InstanceID: c.Node, StatusDetails: c.Detail, Reason: c.Reason, ResponseCode: c.ExitCode, Step: c.Step, StepCount: c.Steps,
			StepName: c.StepName, ElapsedSeconds: c.Elapsed.Seconds(), FirstLine: c.Line})
	}
	return out
}

// watchCommand writes a line for each update. A first error is returned, so that the caller gets it as any other; a later one becomes the last line.
func (a *API) watchCommand(ctx context.Context, in *WatchCommandRequest, to *sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	line := func(v any) error {
		b, err := encode(v)
		if err == nil {
			_, err = to.Write(append(b, '\n'))
		}
		return err
	}
	// A command that exists has at least the update of its birth: asking first tells a caller at once that there is none, or that it ended and has nothing new.
	if _, _, err := a.Commands.Invocations(ctx, command.ListRequest{Command: in.CommandID, Limit: 1}); err != nil {
		return err
	}
	to.begin("application/x-ndjson", nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if _, err := to.Write([]byte("\n")); err != nil {
		return err
	}
	wg.Go(func() {
		t := time.NewTicker(a.beat)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				if _, err := to.Write([]byte("\n")); err != nil {
					cancel() // nobody listens
					return
				}
			}
		}
	})
	for u, err := range a.Commands.Events(ctx, in.CommandID, in.Cursor) {
		if err != nil {
			code, text := fault.CodeOf(err), textOf(err)
			if ctx.Err() != nil {
				code, text = fault.ServiceUnavailable, "the control plane ends this stream: watch again from the last Cursor"
			}
			line(WatchUpdate{Error: code, Message: text}) //nolint:errcheck // the stream ends either way
			return err
		}
		if err := line(watchUpdate(u)); err != nil {
			return err
		}
	}
	return nil
}

// GetCommandOutputRequest is the request of GetCommandOutput (own): all of what a step wrote to one stream.
type GetCommandOutputRequest struct {
	CommandID  string `json:"CommandId"`
	InstanceID string `json:"InstanceId"`
	PluginName string `json:"PluginName,omitempty"` // name of the step; needed when there are several
	Stream     string `json:"Stream,omitempty"`     // stdout, also when empty, or stderr
}

func (r *GetCommandOutputRequest) resource() string { return commandResource(r.CommandID) }

// Headers of GetCommandOutput's answer.
const (
	HeaderSize    = "Fleetwright-Output-Size"    // bytes that follow
	HeaderDropped = "Fleetwright-Output-Dropped" // bytes that were written beyond the cap and not kept
	HeaderWhole   = "Fleetwright-Output-Whole"   // "true" when everything that was written so far follows
)

func (a *API) getCommandOutput(ctx context.Context, in *GetCommandOutputRequest, to *sink) error {
	var stderr bool
	switch in.Stream {
	case "", "stdout":
	case "stderr":
		stderr = true
	default:
		return fault.New("ssmops.GetCommandOutput", fault.Validation, "Stream is %q; it is stdout or stderr", clip(in.Stream))
	}
	r, info, err := a.Commands.Output(ctx, in.CommandID, in.InstanceID, in.PluginName, stderr)
	if err != nil {
		return err
	}
	defer r.Close()
	to.begin("application/octet-stream", http.Header{
		HeaderSize:    {strconv.FormatInt(info.Size, 10)},
		HeaderDropped: {strconv.FormatInt(info.Dropped, 10)},
		HeaderWhole:   {strconv.FormatBool(info.Whole)},
	})
	_, err = io.Copy(to, r)
	return err
}
