package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
)

// A node that comes to a control plane whose clock is an hour away from that of the one before is heard there after a few hellos: they hold for all times until somebody answers. It then
// goes by the new one's clock.
func TestAnotherControlPlanesClockLocksNobodyOut(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		now := time.Unix(1e9, 0)
		e := NewEngine(EngineConfig{Node: "mi-1", Session: "s", Unsigned: true}, nil)
		// meet lets the engine talk for d to a control plane with its clock off by off, which takes what is in its time, and returns how many hellos it took.
		meet := func(d, off time.Duration) (taken int) {
			for end := now.Add(d); now.Before(end); now = now.Add(time.Second) {
				for _, ef := range e.Step(now, Tick{}) {
					s, ok := ef.(Send)
					if !ok || s.Kind != message.KindHello {
						continue
					}
					plane := now.Add(off)
					if plane.Add(message.DefaultSkew).Before(s.NotBefore) || plane.Add(-message.DefaultSkew).After(s.NotAfter) {
						continue
					}
					taken++
					h := s.Body.(message.Hello)
					body, err := message.Marshal(message.KindWelcome, message.Welcome{Session: h.Session, Seq: h.Seq, Time: plane, Heartbeat: 30 * time.Second})
					require.NoError(t, err)
					e.Step(now, Received{message.Envelope{To: "mi-1", From: message.Controller, Kind: message.KindWelcome, Body: body}})
				}
			}
			return taken
		}
		e.Step(now, Booted{BootID: "b"})
		e.Step(now, Connected{})
		require.NotZero(t, meet(2*time.Minute, 0))
		e.Step(now, Disconnected{})
		e.Step(now, Connected{})
		require.Greater(t, meet(5*time.Minute, off), 3, "off by %v", off)
		require.WithinDuration(t, now.Add(off), e.clock.latest(now), time.Minute)
	}
}
