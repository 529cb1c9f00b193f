package sim

import (
	"time"

	"github.com/fleetwright/fleetwright/command"
)

// request is what a client asks for.
type request struct {
	token               int
	c, l                int
	ramp                bool
	delivery, execution time.Duration
}

// client sends one command, asks again with the same token until it has an answer, looks at the command again and again through whatever control plane answers, and may cancel it.
type client struct {
	w          *world
	i          int
	req        request
	ids        []string      // of the command, as it was answered each time
	expires    time.Duration // as it was answered, by the clock of the control plane
	cancels    bool
	cancelled  time.Duration // when the cancellation of the whole command was confirmed; 0: never
	cancelDone bool
}

func newClient(w *world, i int) *client {
	n := len(w.nodes)
	c := &client{w: w, i: i, req: request{token: i, c: 1 + w.rng.IntN(n), l: w.rng.IntN(n + 1), ramp: w.rng.IntN(2) == 0, delivery: time.Duration(2+w.rng.IntN(28)) * time.Minute,
		execution: 10*time.Minute + time.Duration(w.rng.IntN(120))*time.Minute}}
	c.cancels = w.rng.Float64() < w.cfg.Cancels
	w.after(w.draw(2*time.Minute), c.label("asks"), c.send)
	return c
}

func (c *client) label(kind string) label {
	return label{kind: kind, node: -1, plane: -1, cmd: -1, n: int64(c.i)}
}

// plane returns one that answers, or nil.
func (c *client) plane() *plane {
	p := c.w.planes[c.w.rng.IntN(len(c.w.planes))]
	if !p.up || p.stopped {
		return nil
	}
	return p
}

func (c *client) send() {
	if len(c.ids) > 0 {
		return
	}
	p := c.plane()
	if p != nil {
		p.send(c.req, c.sent)
	}
	c.w.after(2*time.Second+c.w.draw(8*time.Second), c.label("asks again"), c.send)
}

// sent is the answer; that of an earlier try may still come.
func (c *client) sent(id string, st command.State, err error) {
	if err != nil {
		return
	}
	c.ids = append(c.ids, id)
	if len(c.ids) > 1 {
		return
	}
	c.expires = st.ExpiresAt.Sub(dawn)
	c.w.after(c.w.draw(30*time.Second), c.label("looks"), c.look)
	if c.cancels {
		c.w.after(c.w.draw(5*time.Minute), c.label("cancels"), c.cancel)
	}
}

// look reads the command.
func (c *client) look() {
	if p := c.plane(); p != nil && !p.cutOff {
		cmd := c.w.disk.command(c.ids[0])
		if cmd == nil {
			c.w.violated(-1, -1, "command %s was accepted and is not there", c.ids[0])
			return
		}
		c.w.check.saw(c, cmd)
		if cmd.state.Done() {
			return
		}
	}
	c.w.after(10*time.Second+c.w.draw(50*time.Second), c.label("looks"), c.look)
}

// cancel cancels everything, or the command on some nodes, until it is told that this will happen.
func (c *client) cancel() {
	if c.cancelDone {
		return
	}
	p := c.plane()
	if p != nil && !p.cutOff {
		cmd := c.w.disk.command(c.ids[0])
		var nodes []string
		if c.i%2 == 1 && len(c.w.nodes) > 1 {
			for _, m := range c.w.nodes {
				if c.w.rng.IntN(3) == 0 {
					nodes = append(nodes, m.id)
				}
			}
		}
		p.cancel(cmd, nodes, func(err error) {
			if err == nil && !c.cancelDone {
				c.cancelDone = true
				if len(nodes) == 0 {
					c.cancelled = c.w.now
				}
			}
		})
	}
	c.w.after(5*time.Second+c.w.draw(5*time.Second), c.label("cancels again"), c.cancel)
}
