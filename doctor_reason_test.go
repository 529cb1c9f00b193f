package fleetwright

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
)

// Each trouble of a command's owner, and each way of closing, is what counts most, and names the one to look at.
func TestDoctorReasons(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for _, c := range []struct {
		name    string
		change  func(d *Diagnosis)
		why, do string
	}{
		{"MaxErrors reached", func(d *Diagnosis) {
			d.Command.Closing, d.Command.ErrorLimit = string(message.DetailTerminated), 2
			d.Command.Command.ErrorCount, d.Command.Command.Running = 3, 4
		}, "3 errors, more than MaxErrors allows (2): nothing more is started, 4 still run", "send again to the others"},
		{"cancelled", func(d *Diagnosis) {
			d.Command.Closing, d.Command.Command.Running = string(message.DetailCancelled), 5
		}, "it was cancelled, and 5 nodes have not confirmed", "wait for the nodes"},
		{"the deadline passed", func(d *Diagnosis) { d.Command.Closing = string(message.DetailDeliveryTimedOut) }, "its deadline passed", "it ends within seconds"},
		{"the owner is dead", func(d *Diagnosis) {
			d.Owner = lease.Holder{Owner: "plane-2", Dead: true, Silent: 40 * time.Second}
		}, "its owner plane-2 gave no sign of life for 40s", "restart plane-2"},
		{"nobody owns it", func(d *Diagnosis) { d.Owner = lease.Holder{} }, "no control plane owns this part", "start a control plane"},
		{"it cannot be written down", func(d *Diagnosis) { d.Command.Troubled = true }, "its owner cannot write it down", "see the log of plane-1"},
		{"its owner is busy", func(d *Diagnosis) { d.Command.Busy = true }, "did not answer within a second", "the log"},
		{"it was not begun", func(d *Diagnosis) { d.Command.Here = false }, "has not begun with it", "restart this control plane"},
		{"it is in no list", func(d *Diagnosis) { d.Command.Active = false }, "missing in its owner's list", "fsck -repair"},
		{"the store is full", func(d *Diagnosis) { d.Store = "read only" }, "the store takes no writes: read only", "make room"},
		{"nothing is wrong", func(d *Diagnosis) { d.Command.Command.Running = 1 }, "nothing is wrong: it runs on 1 nodes", "watch it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Diagnosis{At: now, Owner: lease.Holder{Owner: "plane-1", Mine: true}}
			d.Command = command.Explanation{Active: true, Here: true, Concurrency: 50, Room: 10, Turn: 10}
			d.Command.Command.TargetCount = 10
			c.change(&d)
			d.reason()
			require.Contains(t, d.Why[0], c.why)
			require.Contains(t, d.Do[0], c.do)
			text := d.String()
			require.LessOrEqual(t, strings.Count(text, "\n"), screenHigh)
			require.NotContains(t, text, "%!")
		})
	}
}
