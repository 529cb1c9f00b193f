package agent

import (
	"errors"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/message"
)

// Short names for the causes of a stop.
var (
	errTimeout   = action.ErrTimeout
	errCancelled = action.ErrCancelled
	errStopping  = action.ErrStopping
)

// errDeadline is the cause for a step that the command's own deadline stops.
var errDeadline = &deadline{}

type deadline struct{}

func (*deadline) Error() string        { return "agent: the command's deadline passed" }
func (*deadline) Is(target error) bool { return target == action.ErrTimeout }

// deadlines stops what has run out of time, and gives up what does not stop.
func (e *Engine) deadlines(now time.Time, c *command) {
	switch {
	case c.running >= 0 && c.cause != nil:
		if !c.giveUp.IsZero() && !now.Before(c.giveUp) {
			e.stepDone(now, c, action.Result{Status: message.Failed, ExitCode: -1, Reason: reasonGivenUp})
		}
	case c.running >= 0 && e.stopping:
		e.stop(now, c, errStopping)
	case c.running >= 0 && e.expired(now, c):
		e.stop(now, c, errDeadline)
	case c.running >= 0:
		if !c.stepDue.IsZero() && !now.Before(c.stepDue) {
			e.stop(now, c, errTimeout)
		}
	case e.expired(now, c):
		e.endExpired(now, c)
	}
}

// endExpired ends a command in which nothing runs because its deadline passed.
func (e *Engine) endExpired(now time.Time, c *command) {
	if c.begun() {
		e.end(now, c, message.DetailExecutionTimedOut, reasonDeadline, -1)
	} else {
		e.end(now, c, message.DetailCancelled, reasonDeadline+" before it started", -1)
	}
}

// stop tells the running step to end. Only the first cause counts.
func (e *Engine) stop(now time.Time, c *command, cause error) {
	if c.running < 0 || c.cause != nil {
		return
	}
	c.cause, c.giveUp = cause, now.Add(e.cfg.StopGrace)
	e.out.kill = append(e.out.kill, KillStep{Ref: c.Ref, Step: c.running, Cause: cause})
}

// startQueued gives free slots to the commands that wait, in the order of their arrival.
func (e *Engine) startQueued(now time.Time) {
	if !e.mayStart() {
		return
	}
	free := e.cfg.Slots
	for _, c := range e.commands {
		if !c.terminal() && c.begun() {
			free--
		}
	}
	for _, c := range e.commands {
		if free <= 0 {
			return
		}
		if c.terminal() || c.begun() || c.plan == nil {
			continue
		}
		free--
		e.proceed(now, c)
	}
}

// mayStart reports whether any step may start now.
func (e *Engine) mayStart() bool {
	if e.stopping || e.rebooting || !e.clock.synced {
		return false
	}
	for _, c := range e.commands {
		if c.Reboot && !c.terminal() && c.Boot == e.bootID {
			return false // the machine is about to restart
		}
	}
	return true
}

// proceed takes a command as far as it goes without waiting: to its next step that runs, or to its end.
func (e *Engine) proceed(now time.Time, c *command) {
	for c.running < 0 && !c.terminal() && c.plan != nil {
		if c.Cancel {
			e.endCancelled(now, c)
			return
		}
		again := c.Reboot && c.Boot != e.bootID
		if c.Reboot && !again {
			return
		}
		d := action.Next(c.plan.Rules, c.outcomes())
		switch d.Do {
		case action.DoEnd:
			detail, code := action.Status(c.outcomes())
			e.end(now, c, detail, "", code)
			return
		case action.DoSkip, action.DoFail:
			if !c.begun() && !e.mayStart() {
				return
			}
			c.record(now, d.Step, action.Unrun(c.plan.Rules[d.Step], d))
			continue
		}
		switch {
		case e.expired(now, c):
			e.endExpired(now, c)
			return
		case !e.mayStart():
			return
		}
		e.startStep(now, c, d.Step)
	}
}

// startStep starts a step: the journal effect comes before the start effect.
func (e *Engine) startStep(now time.Time, c *command, i int) {
	s, r := &c.Steps[i], &c.plan.Steps[i]
	if s.Started.IsZero() {
		s.Started = now.Round(0)
	}
	if c.Started.IsZero() {
		c.Started = now.Round(0)
	}
	s.Status, c.Reboot, c.Boot, c.Asked = message.InProgress, false, e.bootID, 0
	c.running, c.cause, c.giveUp, c.stepDue = i, nil, time.Time{}, time.Time{}
	if r.Timeout > 0 {
		c.stepDue = now.Add(r.Timeout)
	}
	limit := c.Run.OutputLimit
	if limit <= 0 {
		limit = e.cfg.OutputLimit
	}
	c.live, c.liveAt = 0, now.Add(firstLive)
	c.changed(now)
	c.dirty = true
	e.out.start = append(e.out.start, StartStep{Ref: c.Ref, Step: i, Reboots: s.Reboots, Resolved: *r, Run: c.Run, OutputLimit: limit})
}

// record notes how a step ended.
func (c *command) record(now time.Time, i int, o action.Outcome) {
	s := &c.Steps[i]
	s.Status, s.ExitCode, s.Exit, s.Reason = o.Status, o.ExitCode, o.Exit, shorten(o.Reason)
	if !s.Started.IsZero() {
		s.Ended = now.Round(0)
	}
	c.changed(now)
	c.dirty = true
}

// changed notes that there is something new to report. What is new is journaled at once, also soon after a failure: what follows from it may depend on it.
func (c *command) changed(now time.Time) {
	c.Seq++
	c.journal = time.Time{}
	c.reportAt, c.backoff, c.grew = now, 0, false
}

func (e *Engine) stepEnded(now time.Time, ev *StepEnded) {
	c := e.byRef[ev.Ref]
	if c == nil || c.running != ev.Step || c.Steps[ev.Step].Reboots != ev.Reboots {
		return
	}
	c.grow(ev.Step, ev.Stdout, ev.Stderr)
	e.stepDone(now, c, ev.Result)
}

// stepDone settles the running step's result.
func (e *Engine) stepDone(now time.Time, c *command, r action.Result) {
	i, cause := c.running, c.cause
	s := &c.Steps[i]
	c.running, c.cause, c.giveUp, c.stepDue = -1, nil, time.Time{}, time.Time{}
	if cause != nil && r.Status != message.Success {
		r.Flow = action.Continue
		switch {
		case errors.Is(cause, errTimeout):
			r.Status = message.TimedOut
		case errors.Is(cause, errCancelled):
			r.Status = message.Cancelled
		default:
			s.Status, s.ExitCode, s.Ended, s.Reason = message.Failed, -1, now.Round(0), reasonStopping
			e.end(now, c, message.DetailInterrupted, reasonStopping, -1)
			return
		}
	}
	if r.Flow == action.Reboot {
		switch {
		case cause != nil: // it was told to stop: no reboot for it
		case s.Reboots >= e.cfg.MaxReboots:
			r = action.Failed("the step asked for more reboots than a step may")
		default:
			s.Reboots++
			c.Reboot, c.Boot, c.Asked = true, e.bootID, 0
			c.changed(now)
			c.dirty = true
			return
		}
	}
	e.finishStep(now, c, i, r)
	if cause == errDeadline && !c.terminal() {
		e.end(now, c, message.DetailExecutionTimedOut, reasonDeadline, c.Steps[i].ExitCode)
	}
}

// finishStep records a result by the rules of the document.
func (e *Engine) finishStep(now time.Time, c *command, i int, r action.Result) {
	var rule action.Rule
	if c.plan != nil {
		rule = c.plan.Rules[i]
	}
	c.record(now, i, action.Finish(rule, r))
}

// endCancelled ends a command in which nothing runs because it was cancelled.
func (e *Engine) endCancelled(now time.Time, c *command) {
	code := -1
	for _, o := range c.outcomes() {
		if o.Status == message.Cancelled {
			code = o.ExitCode
		}
	}
	c.Reboot = false
	for i := range c.Steps {
		if s := &c.Steps[i]; !s.Status.Terminal() {
			s.Status, s.Reason = message.Cancelled, action.ReasonCancelled
		}
	}
	e.end(now, c, message.DetailCancelled, "", code)
}

// end makes a command terminal. Steps that have not ended are Skipped with the reason.
func (e *Engine) end(now time.Time, c *command, d message.Detail, reason string, code int) {
	c.Detail, c.Reason, c.ExitCode, c.Ended, c.Reboot = d, reason, code, now.Round(0), false
	for i := range c.Steps {
		if s := &c.Steps[i]; !s.Status.Terminal() {
			s.Status, s.Reason = message.Skipped, reason
		}
	}
	c.plan, c.running, c.cause = nil, -1, nil
	c.changed(now)
	c.dirty = true
	for _, u := range c.streams {
		u.nextAt = now
	}
}

// journalFailed: the newest state of a command is not durable. What has not started will not; what has goes on, and its entry is written later.
func (e *Engine) journalFailed(now time.Time, f JournalFailed) {
	c := e.byRef[f.Ref]
	if c == nil {
		return
	}
	if !f.Damaged {
		e.broken = now.Add(retryJournal)
	}
	if f.NotStarted && c.running >= 0 {
		i := c.running
		c.running = -1
		s := &c.Steps[i]
		s.Status, s.ExitCode, s.Reason = message.Failed, 1, reasonJournal
		if s.Reboots == 0 {
			s.Started = time.Time{}
		}
		e.end(now, c, message.DetailFailed, reasonJournal, 1)
	} else if !c.terminal() && !c.begun() {
		e.end(now, c, message.DetailFailed, reasonJournal, 1)
	}
	c.dirty, c.journal = true, now.Add(retryJournal)
	c.reportAt = now
}

// rebootIfQuiet restarts the machine once a step asked for it and nothing runs any more.
func (e *Engine) rebootIfQuiet() {
	if e.rebooting || e.stopping {
		return
	}
	asked := false
	for _, c := range e.commands {
		if c.running >= 0 {
			return
		}
		if c.Reboot && !c.terminal() && c.Boot == e.bootID {
			asked = true
		}
	}
	if !asked {
		return
	}
	for _, c := range e.commands {
		switch {
		case c.terminal() || !c.begun():
		case c.Reboot && c.Boot == e.bootID:
			c.Asked++
			c.dirty, c.journal = true, time.Time{}
		case !c.Reboot: // between two steps: this restart is known of, so the command goes on after it
			c.Boot, c.dirty = "", true
		}
	}
	e.rebooting, e.out.reboot = true, true
}

func (e *Engine) rebootFailed(now time.Time, reason string) {
	e.rebooting = false
	for _, c := range e.commands {
		if c.Reboot && !c.terminal() {
			i := c.current()
			c.Reboot = false
			e.finishStep(now, c, i, action.Failed("the machine could not be restarted: "+shorten(reason)))
		}
	}
}

// retire turns a command that the control plane knows all of into a tombstone.
func (e *Engine) retire(now time.Time, c *command) {
	if !c.terminal() || !c.Final {
		return
	}
	if c.Expires.IsZero() { // the journal lost it: assume the longest
		if !e.clock.synced {
			return
		}
		c.Expires = e.clock.latest(now).Add(longestRun).Round(0)
	}
	if !c.uploaded() {
		at := e.localTime(c.Expires.Add(giveUpOutput))
		if at.IsZero() || now.Before(at) {
			return
		}
	}
	c.Entry, c.streams, c.dirty, c.listed = c.tombstone(), nil, false, true
	e.remove(c)
	e.stones[c.Ref] = c
	e.sweepAt = now
	e.out.journal = append(e.out.journal, c)
	e.out.drop = append(e.out.drop, DropOutput{c.Ref})
}

// sweep forgets tombstones that no valid Run can name any more: past the deadline, by the lowest reading of the control plane's clock, and acknowledged (rule R-08).
func (e *Engine) sweep(now time.Time) {
	if len(e.stones) == 0 || !e.clock.synced {
		e.sweepAt = time.Time{}
		return
	}
	if !e.sweepAt.IsZero() && now.Before(e.sweepAt) {
		return
	}
	e.sweepAt = time.Time{}
	early := e.clock.earliest(now)
	var gone []message.Ref
	for ref, c := range e.stones {
		switch at := c.Expires.Add(2 * e.cfg.Skew); {
		case early.After(at) && !c.lives(now):
			gone = append(gone, ref)
		case early.After(at): // the control plane's clock says so, and this node's own does not: wait for both
			if local := c.Arrived.Add(c.Life); e.sweepAt.IsZero() || local.Before(e.sweepAt) {
				e.sweepAt = local
			}
		default:
			if local := e.localTime(at.Add(time.Millisecond)); e.sweepAt.IsZero() || local.Before(e.sweepAt) {
				e.sweepAt = local
			}
		}
	}
	sortRefs(gone)
	was := e.floor
	for _, ref := range gone {
		if at := e.stones[ref].Expires; at.After(e.floor) {
			e.floor = at
		}
		delete(e.stones, ref)
		e.out.drop = append(e.out.drop, Forget{ref})
	}
	if !e.floor.Equal(was) {
		e.out.floor = append(e.out.floor, Floor{e.floor})
	}
}

// lives reports whether by this node's own clock the deadline has not passed: a control plane's clock that runs ahead for a while lets nothing be forgotten too soon.
func (c *command) lives(now time.Time) bool { return now.Round(0).Before(c.Arrived.Add(c.Life)) }

// below reports whether a deadline is one up to which this node has forgotten what it ran. What has it may have run already; with a clock that only goes forward
// its time is over anyway.
func (e *Engine) below(expires time.Time) bool {
	return !e.floor.IsZero() && !expires.IsZero() && !expires.After(e.floor)
}
