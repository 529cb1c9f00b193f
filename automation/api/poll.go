package api

import (
	"context"
	"time"
)

// settle is how many looks may not find what was made just now: AWS's services learn of it one after the other.
const settle = 6

// watch looks until look says that it is over. Between two looks are pauses that double. A look that was throttled, or for which the service was away, is no failure:
// there is another one, after a longer pause. n counts the looks, from 1.
func (a *actions) watch(ctx context.Context, look func(n int) (over bool, err error)) error {
	pause := a.o.Poll
	for n := 1; ; n++ {
		over, err := look(n)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && passing(err):
			pause = min(2*pause, a.o.PollMost)
		case err != nil || over:
			return err
		}
		t := time.NewTimer(min(pause, a.o.PollMost))
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
		pause = min(2*pause, a.o.PollMost)
	}
}

// ask calls an operation that only reads. The error is the caller's own, for watch to judge.
func (a *actions) ask(ctx context.Context, service, api string, in map[string]any) (map[string]any, error) {
	out, err := a.caller.Call(ctx, service, api, in)
	if err != nil {
		return nil, &question{api, err}
	}
	return out, nil
}

// question is an error of a call that only read.
type question struct {
	api string
	err error
}

func (q *question) Error() string { return q.api + ": " + q.err.Error() }
func (q *question) Unwrap() error { return q.err }
