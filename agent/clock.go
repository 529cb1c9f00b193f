package agent

import "time"

// clock estimates the control plane's clock from its own messages, so that a node's wall clock does not matter (F9). Between two looks it counts by the monotonic
// clock when the times that the engine is given have one.
type clock struct {
	synced bool          // a Welcome of this life of the agent was heard
	local  time.Time     // the node's clock when it came
	plane  time.Time     // the control plane's clock at some moment between the hello and then
	rtt    time.Duration // how long that interval was
}

// jump is how far wall and monotonic clock may part before the machine is taken to have slept.
const jump = time.Minute

// welcome takes a control plane's time that was asked for at sent.
func (c *clock) welcome(now, sent, plane time.Time) {
	c.synced, c.local, c.plane, c.rtt = true, now, plane, max(0, now.Sub(sent))
}

// atLeast takes a time that the control plane's clock showed before now.
func (c *clock) atLeast(now, plane time.Time) {
	if c.earliest(now).Before(plane) {
		c.local, c.plane, c.rtt = now, plane, max(0, c.latest(now).Sub(plane)) // what it may show at most stays
	}
}

func (c *clock) elapsed(now time.Time) time.Duration { return max(0, now.Sub(c.local)) }

// slept reports whether the machine was suspended since the last look: its wall clock went on and its monotonic clock did not. Until the next Welcome nothing new starts.
func (c *clock) slept(now time.Time) bool {
	if !c.synced {
		return false
	}
	wall := now.Round(0).Sub(c.local.Round(0))
	return wall-now.Sub(c.local) > jump
}

// earliest returns the lowest time that the control plane's clock can show now.
func (c *clock) earliest(now time.Time) time.Time {
	if c.plane.IsZero() {
		return now.Round(0)
	}
	return c.plane.Add(c.elapsed(now))
}

// latest returns the highest.
func (c *clock) latest(now time.Time) time.Time { return c.earliest(now).Add(c.rtt) }
