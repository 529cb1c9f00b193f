package fleetwright_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/target"
)

// onScreen checks that a text is one screen, and has what it should have.
func onScreen(t *testing.T, text string, has ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	require.LessOrEqual(t, len(lines), 24, text)
	for _, l := range lines {
		require.LessOrEqual(t, utf8.RuneCountInString(l), 80, l)
	}
	flat := strings.Join(strings.Fields(text), " ")
	for _, h := range has {
		require.Contains(t, flat, h, text)
	}
}

// Doctor names why a command waits, on a screen.
func TestDoctorSaysWhy(t *testing.T) {
	o := &fleetwright.Options{}
	o.Config.Timing = command.Timing{Resend: 50 * time.Millisecond, Delay: 200 * time.Millisecond}
	f, err := fleetwright.Open(t.Context(), t.TempDir(), o)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	gate := filepath.Join(t.TempDir(), "gate")
	tags := map[string]string{"Role": "web"}
	var agents []*fleetwright.LocalAgent
	for _, name := range []string{"web-1", "web-2"} {
		a, err := f.StartAgent(t.Context(), name, &fleetwright.LocalOptions{Tags: tags})
		require.NoError(t, err)
		agents = append(agents, a)
	}
	doctor := func(id, node string) fleetwright.Diagnosis {
		d, err := f.Doctor(t.Context(), id, node)
		require.NoError(t, err)
		onScreen(t, d.String(), "COMMAND "+id, "WHY", "DO")
		return d
	}
	until := func(id, node, why string) string {
		t.Helper()
		var d fleetwright.Diagnosis
		eventually(t, why, func() bool { d = doctor(id, node); return strings.Contains(strings.Join(d.Why, "\n"), why) })
		return d.String()
	}
	web := []target.Target{{Key: "tag:Role", Values: []string{"web"}}}

	// One slot: the second node waits for its turn behind the first.
	req := shell("while [ ! -e " + gate + " ]; do sleep 0.05; done")
	req.Targets, req.MaxConcurrency = web, "1"
	c, err := f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	text := until(c.ID, "", "all 1 slots of MaxConcurrency are in use: 1 targets wait for a turn")
	eventually(t, "the first node runs", func() bool { text = doctor(c.ID, "").String(); return strings.Contains(text, "runs for") })
	onScreen(t, text, "slots 1 of 1 in use", "held by", "runs for", "owner control-plane (this one)", "until")
	d := doctor(c.ID, "")
	first := d.Command.Holders[0].Node
	second := agents[0].ID
	if first == second {
		second = agents[1].ID
	}
	until(c.ID, first, "it runs there since")
	until(c.ID, second, "it has no turn yet: 0 targets are before it")
	require.NoError(t, writeFile(gate))
	c, err = f.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	until(c.ID, "", "it does not wait: it ended")
	until(c.ID, first, "it does not wait: it ended")

	// A node that is away.
	require.NoError(t, agents[1].Stop())
	req = shell("true")
	req.InstanceIDs = []string{agents[1].ID}
	c, err = f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	text = until(c.ID, agents[1].ID, "the node is not connected; it was last heard of")
	onScreen(t, text, "NODE "+agents[1].ID+" web-2", "not connected, last heard of", "gives up in", "start its agent")
	until(c.ID, "", "1 of 1 nodes left do not answer (Delayed)")
	require.NoError(t, f.Nodes.Deregister(t.Context(), agents[1].ID))
	until(c.ID, agents[1].ID, "the node is not registered")

	// Errors beyond the limit.
	req = shell("exit 1")
	req.InstanceIDs, req.MaxErrors = []string{agents[0].ID}, "0"
	c, err = f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	_, err = f.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	until(c.ID, agents[0].ID, "it does not wait")

	_, err = f.Doctor(t.Context(), "00000000-0000-4000-8000-000000000000", "")
	require.Equal(t, fault.InvalidCommandID, fault.CodeOf(err))
	_, err = f.Doctor(t.Context(), c.ID, "mi-00000000000000000")
	require.Equal(t, fault.InvocationDoesNotExist, fault.CodeOf(err))

	eventually(t, "all parts are owned", func() bool {
		h, err := f.Health(t.Context())
		require.NoError(t, err)
		onScreen(t, h.String(), "CONTROL PLANE control-plane", "store", "leases", "disk", "certificate", "clock", "loops")
		return h.OK()
	})
}

func writeFile(name string) error { return replaceFile(name, "") }

// What Doctor and Health show is a right, and a command that may not be seen is one that is not there.
func TestDoctorShowsWhatTheCallerMaySee(t *testing.T) {
	dir := t.TempDir()
	f, err := fleetwright.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	a, err := f.StartAgent(t.Context(), "one", nil)
	require.NoError(t, err)
	req := shell("true")
	req.InstanceIDs = []string{a.ID}
	c, err := f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	_, err = f.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	f, err = fleetwright.Inspect(t.Context(), dir, &fleetwright.Options{Authorizer: access.DenyAll{}})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	_, err = f.Doctor(t.Context(), c.ID, a.ID)
	require.Equal(t, fault.InvalidCommandID, fault.CodeOf(err))
	_, err = f.Health(t.Context())
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
}

// A control plane that is stopped, or whose store takes no writes, is not ready, and each check says why.
func TestChecksOfAStoreThatIsFull(t *testing.T) {
	s, err := boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), &boltstore.Options{MaxSize: 1 << 20})
	require.NoError(t, err)
	defer s.Close()
	f := fullFleet(t, s)
	bad := func() (names []string) {
		for _, c := range f.Checks(t.Context(), time.Second) {
			if !c.OK {
				names = append(names, c.Name)
				require.NotEmpty(t, c.Text)
			}
		}
		return names
	}
	require.NotContains(t, bad(), "writes")
	fillUp(t, s)
	require.Contains(t, bad(), "writes")
	require.NotContains(t, bad(), "store", "reads go on")
}
