package agent

import (
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/message"
)

// boot decides what becomes of what an earlier life of the agent left. Nothing that may have run is run again:
//
//   - a step in progress is Interrupted; if its processes still live they are stopped (to take them over again would need their output and exit code, which went with the agent);
//   - a step in progress that asked for a reboot runs again if the machine did restart, with its counter raised, else the reboot is asked for again;
//   - between two steps the command goes on, unless the machine restarted without having been asked to: what the earlier steps set up may be gone;
//   - a command that waited for a slot still waits.
func (e *Engine) boot(now time.Time, b Booted) {
	e.booted, e.bootID = true, b.BootID
	onDisk := map[message.Ref]map[int][2]Output{}
	for _, o := range b.Outputs {
		if onDisk[o.Ref] == nil {
			onDisk[o.Ref] = map[int][2]Output{}
		}
		onDisk[o.Ref][o.Step] = [2]Output{o.Stdout, o.Stderr}
	}
	for _, c := range e.commands {
		for i := range c.Steps {
			c.found(i, onDisk[c.Ref][i])
		}
		if c.terminal() {
			c.reportAt = now
			continue
		}
		c.Seq += seqPerRestart
		c.reportAt = now
		if c.Run == nil {
			e.end(now, c, message.DetailInterrupted, "the journal has lost what this command was to do", -1)
			continue
		}
		step := c.current()
		switch {
		case c.Reboot && b.BootID != c.Boot:
			c.Asked = 0
		case c.Reboot && c.Asked >= startupReboot:
			c.Reboot = false
			e.finishStep(now, c, step, action.Failed("the step asked for a reboot, and the machine did not restart"))
		case c.Reboot:
		case step >= 0:
			s := &c.Steps[step]
			s.Status, s.ExitCode, s.Ended, s.Reason = message.Failed, -1, now.Round(0), reasonInterrupted
			detail := message.DetailInterrupted
			if c.Cancel {
				s.Status, s.Reason, detail = message.Cancelled, "", message.DetailCancelled
			}
			e.end(now, c, detail, s.Reason, -1)
		case c.begun() && c.Boot != "" && c.Boot != b.BootID:
			e.end(now, c, message.DetailInterrupted, reasonPowerCut, -1)
		}
		if !c.terminal() {
			p, err := makePlan(c.Run, e.cfg.Platform, e.cfg.Actions)
			if err != nil || len(c.Steps) > 0 && len(p.Steps) != len(c.Steps) {
				e.end(now, c, message.DetailInterrupted, "this agent reads the document differently from the one that began it", -1)
			}
			c.plan = p
		}
		c.dirty = true
	}
	for _, a := range b.Alive {
		e.out.kill = append(e.out.kill, KillStep{Ref: a.Ref, Step: a.Step, Cause: action.ErrStopping, Orphan: true})
	}
}

// current returns the index of the step in progress, -1 when there is none.
func (c *command) current() int {
	for i := range c.Steps {
		if c.Steps[i].Status == message.InProgress {
			return i
		}
	}
	return -1
}

// found takes what is left of a step's streams. What a power cut took is counted as dropped; what the control plane has already is not missed.
func (c *command) found(i int, disk [2]Output) {
	for err, o := range disk {
		s := c.Steps[i].stream(err)
		acked := c.Steps[i].Acked[err]
		if lost := s.Size - max(o.Size, acked); lost > 0 {
			s.Size -= lost
			s.Dropped += lost
		}
		if o.Size > s.Size {
			s.Size = o.Size
		}
		s.Dropped = max(s.Dropped, o.Dropped)
		text, exact := head(o.Head, headLimit(err), o.Size > int64(len(o.Head)))
		s.Head = text
		s.InPieces = s.InPieces || !exact || s.Size > int64(len(text))
		c.upload(i, err)
	}
}
