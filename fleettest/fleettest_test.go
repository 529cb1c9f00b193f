package fleettest_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fleettest"
	"github.com/fleetwright/fleetwright/message"
)

func uptime() command.SendRequest {
	return command.SendRequest{DocumentName: "AWS-RunShellScript", Parameters: map[string][]string{"commands": {"uptime"}}}
}

func TestAWholeFleetRunsADocument(t *testing.T) {
	fleet := fleettest.New(t, 20)
	var ran atomic.Int32
	fleet.Script = func(node, script string) (string, int) {
		ran.Add(1)
		if node == "node-3" {
			return "no", 7
		}
		return "up " + script, 0
	}
	req := uptime()
	req.Targets, req.MaxErrors = fleet.All(), "100%"
	c, err := fleet.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	c, err = fleet.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, 20, int(ran.Load()))
	require.Equal(t, command.Counts{message.DetailSuccess: 19, message.DetailFailed: 1}, c.Counts)
	r, err := fleet.Commands.Invocation(t.Context(), c.ID, fleet.Node(2).ID)
	require.NoError(t, err)
	require.Equal(t, 7, r.ExitCode)
	require.Equal(t, "no", r.Steps[0].Stdout.Head)
}

func TestAStoppedNodeGetsTheCommandWhenItIsBack(t *testing.T) {
	fleet := fleettest.New(t, 3)
	fleet.Node(1).Stop()
	req := uptime()
	req.Targets = fleet.All()
	c, err := fleet.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	for u, err := range fleet.Commands.Events(t.Context(), c.ID, 0) {
		require.NoError(t, err)
		if u.Command.Completed == 2 {
			break
		}
	}
	fleet.Node(1).Start()
	c, err = fleet.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, message.Success, c.Status)
}
