package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
)

// Rotator is the seam for new keys of a node: one question and one answer, over the way that registrations take. A repeat of a question must give the same answer. What
// RegisterOver returns is one.
type Rotator interface {
	Rotate(ctx context.Context, r message.RotateRequest) (message.RotateResponse, error)
}

// RotateOptions are options of Rotate; nil is the zero value.
type RotateOptions struct {
	Retry time.Duration // the first pause between tries while the control plane is away; 0 is 1 second. It doubles up to 15 seconds, until the context ends
}

const longestPause = 15 * time.Second

// Rotate gives the node of the directory new keys, while no agent runs there; (*Agent).RotateKeys does it while one runs. If an earlier rotation was not answered, it is that
// one which ends. The new keys are made here and are durable beside the old ones before the control plane is asked, so that after a crash at any point, and however many answers are
// lost, the node has the keys that are in force: Rotate, Register and Run find out which. Errors: Unauthorized, when the control plane refuses; the old keys then stay.
func Rotate(ctx context.Context, r Rotator, dir string, o *RotateOptions) error {
	return rotateAt(ctx, r, dir, o, true)
}

func rotateAt(ctx context.Context, r Rotator, dir string, o *RotateOptions, fresh bool) error {
	const op = "agent.Rotate"
	if o == nil {
		o = &RotateOptions{}
	}
	if _, err := Load(dir); err != nil {
		return err
	}
	d, err := openDir(dir)
	if err != nil {
		return fault.New(op, fault.ServiceUnavailable, "the agent's directory cannot be used: %w", err)
	}
	defer d.root.Close() //nolint:errcheck // every write was synced
	held, err := lock(d.root)
	if err != nil {
		return fault.New(op, fault.ServiceUnavailable, "%w", err)
	}
	defer held.Close()  //nolint:errcheck // it holds nothing
	n, err := Load(dir) // as it is now that nobody else changes it
	if err != nil {
		return err
	}
	if !fresh && !n.ring.pending() {
		return nil
	}
	return fault.Wrap(op, n.ring.rotate(ctx, r, o.Retry, nil))
}

// rotate asks for new keys until there is an answer. connected, if there is one, reports whether the transport is connected: only then no attempt to connect is under way that
// has signed with the present key and would be refused for good when the next one is in force by the time it is looked at.
func (k *keyring) rotate(ctx context.Context, r Rotator, pause time.Duration, connected func() bool) error {
	if k.identity() == nil {
		return fault.New("agent.RotateKeys", fault.UnsupportedOperation, "this node has no keys")
	}
	pause = cmp.Or(max(pause, 0), time.Second)
	k.mu.Lock()
	asked := k.held != nil // by an earlier try: nothing was signed since
	k.mu.Unlock()
	if err := k.prepare(); err != nil {
		return fault.New("agent.RotateKeys", fault.ServiceUnavailable, "the new keys cannot be stored, so nothing was asked for: %w", err)
	}
	for !asked && connected != nil {
		if k.hold(); connected() {
			break
		}
		k.release()
		if err := sleep(ctx, pauseConnected); err != nil {
			return fmt.Errorf("the node is not connected: %w", err)
		}
	}
	k.hold()
	for {
		req, controller := k.request()
		resp, err := r.Rotate(ctx, req)
		if err == nil && !controller.Verify(message.RotatedContext, req.Rotation.Message(), resp.Signature) {
			err = fault.New("agent.RotateKeys", fault.ServiceUnavailable, "the answer is not signed by the control plane that this node obeys: somebody may stand between")
		}
		switch fault.KindOf(err) {
		case fault.OK:
			err := k.settle()
			k.release()
			if err != nil {
				return fault.New("agent.RotateKeys", fault.ServiceUnavailable, "the new keys are in force, and the old ones could not be removed from the disk; that happens at the next start: %w", err)
			}
			return nil
		case fault.Invalid, fault.NotFound, fault.Denied, fault.Unauthenticated:
			// Both stay on the disk: if this was a lie, the truth comes out at the next start.
			k.release()
			return err
		}
		if ended := sleep(ctx, pause); ended != nil {
			return fmt.Errorf("%w; the last try: %w", ended, err)
		}
		pause = min(2*pause, longestPause)
	}
}

const pauseConnected = 100 * time.Millisecond

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// RotateKeys gives the running agent's node new keys and returns when they are in force and the only ones. What runs goes on. Once the control plane was asked, the agent goes on asking
// until it is answered, also when ctx ended and after a restart. Config.Rotator is required.
func (a *Agent) RotateKeys(ctx context.Context) error {
	const op = "agent.RotateKeys"
	if a.cfg.Rotator == nil {
		return fault.New(op, fault.Validation, "Config.Rotator is missing: give the agent what RegisterOver returns")
	}
	reply := make(chan error, 1)
	select {
	case a.rotations <- reply:
	case <-a.over:
		return fault.New(op, fault.ServiceUnavailable, "the agent has ended")
	case <-ctx.Done():
		return fault.Wrap(op, ctx.Err())
	}
	select {
	case err := <-reply:
		return fault.Wrap(op, err)
	case <-a.over:
		return fault.New(op, fault.ServiceUnavailable, "the agent ended before the control plane answered: Rotate, or the next start, finds out")
	case <-ctx.Done():
		return fault.Wrap(op, ctx.Err())
	}
}

// rotator changes keys one rotation after another, first one that an earlier life of the agent left unanswered.
func (l *loop) rotator(ctx context.Context) {
	var connected func() bool
	if p, ok := l.cfg.Transport.(transport.Presence); ok {
		connected = func() bool { return p.Connected(l.plane()) }
	}
	var reply chan error
	for {
		if reply != nil || l.ring.pending() && l.cfg.Rotator != nil {
			err := l.ring.rotate(ctx, l.cfg.Rotator, 0, connected)
			if err != nil && ctx.Err() == nil {
				l.log.Error("the node's keys could not be changed", "error", err)
			} else if err == nil {
				l.log.Info("the node has new keys")
			}
			if reply != nil {
				reply <- err
			}
		}
		select {
		case reply = <-l.rotations:
		case <-ctx.Done():
			return
		}
	}
}

// follow takes the control plane's next keys.
func (l *loop) follow(env message.Envelope) {
	next, err := message.Unmarshal[message.Keys](env)
	if err == nil {
		var changed bool
		if changed, err = l.ring.pin(next); changed {
			l.log.Info("the control plane has new keys", "epoch", next.Epoch)
		}
	}
	if err != nil {
		l.log.Error("the control plane's next keys were not taken", "error", err)
		return
	}
	_, epoch := l.ring.pinned()
	l.post(KeysPinned{epoch})
}

// pinned tells the control plane that its keys of the epoch are obeyed, at most once a second: the next hello tells it too.
func (e *Engine) pinned(now time.Time, epoch uint64) {
	e.learn(epoch)
	if !e.connected || now.Before(e.pinnedAt.Add(pinnedEvery)) && epoch == e.pinnedTold {
		return
	}
	e.pinnedAt, e.pinnedTold = now, epoch
	e.send(now, message.KindPinned, 0, message.Pinned{Epoch: epoch})
}

const pinnedEvery = time.Second

// Rotate implements Rotator.
func (p over) Rotate(ctx context.Context, r message.RotateRequest) (out message.RotateResponse, err error) {
	body, err := json.Marshal(&r)
	if err != nil {
		return out, fault.Wrap("agent.Rotate", err)
	}
	answer, err := p(ctx, body)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fault.New("agent.Rotate", fault.ServiceUnavailable, "the control plane's answer is not understood")
	}
	return out, nil
}

// errNoRotator is why an agent does not run on a directory with an unanswered rotation.
var errNoRotator = errors.New("new keys of this node were asked for and never answered: set Config.Rotator, or call Rotate first")
