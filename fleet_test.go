package fleetwright_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/fleettest"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

func shell(lines ...string) command.SendRequest {
	return command.SendRequest{DocumentName: "AWS-RunShellScript", Parameters: map[string][]string{"commands": lines}}
}

func TestOpenRunsAndGoesOnWhenItIsOpenedAgain(t *testing.T) {
	dir := t.TempDir()
	f, err := fleetwright.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	a, err := f.StartAgent(t.Context(), "one", &fleetwright.LocalOptions{Tags: map[string]string{"Role": "web"}})
	require.NoError(t, err)
	req := shell("echo hello from $AWS_SSM_INSTANCE_ID", "exit 3")
	req.InstanceIDs = []string{a.ID}
	c, err := f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	c, err = f.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, message.Failed, c.Status)
	r, err := f.Commands.Invocation(t.Context(), c.ID, a.ID)
	require.NoError(t, err)
	require.Equal(t, "hello from "+a.ID+"\n", r.Steps[0].Stdout.Head)
	require.Equal(t, 3, r.ExitCode)

	// Accepted while no agent is there, carried out after a restart.
	require.NoError(t, a.Stop())
	req = shell("echo later")
	req.InstanceIDs = []string{a.ID}
	c, err = f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, f.Close(), "a second Close does nothing")
	f, err = fleetwright.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	b, err := f.StartAgent(t.Context(), "one", nil)
	require.NoError(t, err)
	require.Equal(t, a.ID, b.ID, "the same node")
	c, err = f.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, message.Success, c.Status)
	list, _, err := f.Commands.List(t.Context(), command.ListRequest{})
	require.NoError(t, err)
	require.Len(t, list, 2)
	_, err = f.Audit.Verify(t.Context(), nil)
	require.NoError(t, err)
}

func TestOpenRefusesASecondProcessAndABrokenKeyFile(t *testing.T) {
	dir := t.TempDir()
	f, err := fleetwright.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	_, err = fleetwright.Open(t.Context(), dir, nil)
	require.Error(t, err)
	require.NoError(t, f.Close())
	_, err = f.StartAgent(t.Context(), "late", nil)
	require.Error(t, err)
	_, err = f.StartAgent(t.Context(), "../x", nil)
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

// answers is Parameter Store for a document.
type answers map[string]string

func (a answers) Parameters(_ context.Context, names []string) (map[string]string, error) {
	out := map[string]string{}
	for _, n := range names {
		if v, ok := a[n]; ok {
			out[n] = v
		}
	}
	return out, nil
}

func TestI8_ReferencesToParameterStoreAreLookedUpOnceWhenSent(t *testing.T) {
	params := answers{"/app/greeting": "bonjour"}
	fleet := fleettest.NewWith(t, 1, fleettest.Options{Config: fleetwright.Config{Parameters: params}})
	got := make(chan string, 1)
	fleet.Script = func(_, script string) (string, int) { got <- script; return "", 0 }
	req := shell("echo {{ssm:/app/greeting}}")
	req.Targets = fleet.All()
	c, err := fleet.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	params["/app/greeting"] = "changed"
	_, err = fleet.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, "echo bonjour\n", <-got)
	req = shell("echo {{ssm:/app/nope}}")
	req.Targets = fleet.All()
	_, err = fleet.Commands.Send(t.Context(), req)
	require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
}

// mitm sees and edits everything between the control plane and its nodes.
type mitm struct {
	transport.Transport
	mu     sync.Mutex
	seen   [][]byte
	to     []transport.Address
	attack func(a transport.Address, data []byte) [][]byte
}

func (m *mitm) Send(ctx context.Context, to transport.Address, data []byte) error {
	m.mu.Lock()
	m.seen = append(m.seen, slices.Clone(data))
	m.to = append(m.to, to)
	attack := m.attack
	m.mu.Unlock()
	if attack != nil {
		for _, d := range attack(to, slices.Clone(data)) {
			m.Transport.Send(ctx, to, d) //nolint:errcheck // an attacker does not mind
		}
	}
	return m.Transport.Send(ctx, to, data)
}

func (m *mitm) Connected(a transport.Address) bool { return transport.Connected(m.Transport, a) }

// T-MITM: whoever carries the messages reads no script, and starts nothing by repeating, altering or redirecting them.
func TestT_MITM_TheCarrierReadsAndStartsNothing(t *testing.T) {
	net := memtransport.New(nil)
	m := &mitm{Transport: net.Controller()}
	m.attack = func(_ transport.Address, data []byte) [][]byte {
		flipped := slices.Clone(data)
		flipped[len(flipped)/2] ^= 1
		return [][]byte{flipped, data, data[:len(data)-1]}
	}
	fleet := fleettest.NewOver(t, 3, net, m)
	var mu sync.Mutex
	runs := map[string]int{}
	fleet.Script = func(node, _ string) (string, int) {
		mu.Lock()
		defer mu.Unlock()
		runs[node]++
		return "", 0
	}
	canary := fmt.Sprintf("%x", sha256.Sum256([]byte(t.Name())))
	req := shell("echo " + canary)
	req.Targets = fleet.All()
	c, err := fleet.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	c, err = fleet.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, message.Success, c.Status)

	// Everything that was ever sent, once more, to everybody.
	m.mu.Lock()
	seen := m.seen
	m.attack = nil
	m.mu.Unlock()
	require.NotEmpty(t, seen)
	for _, data := range seen {
		require.False(t, strings.Contains(string(data), canary), "the script travels sealed")
		for i := range fleet.Len() {
			m.Transport.Send(t.Context(), transport.Address{Tenant: "default", Name: fleet.Node(i).ID}, data) //nolint:errcheck // full queues are fine
		}
	}
	// A command after the flood shows that every node has gone through it.
	req = shell("echo done")
	req.Targets = fleet.All()
	c, err = fleet.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	c, err = fleet.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, message.Success, c.Status)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, map[string]int{"node-1": 2, "node-2": 2, "node-3": 2}, runs)
}

func TestABadNetworkCostsTimeOnly(t *testing.T) {
	fleet := fleettest.NewWith(t, 8, fleettest.Options{
		Net:    memtransport.Options{Seed: 7, Loss: 0.2, Repeat: 0.2, MaxDelay: 30 * time.Millisecond},
		Config: fleetwright.Config{Timing: command.Timing{Resend: 50 * time.Millisecond, Delay: 5 * time.Second}},
	})
	var mu sync.Mutex
	runs := map[string]int{}
	fleet.Script = func(node, _ string) (string, int) {
		mu.Lock()
		defer mu.Unlock()
		runs[node]++
		return node, 0
	}
	req := shell("hostname")
	req.Targets, req.MaxConcurrency = fleet.All(), "3"
	c, err := fleet.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	c, err = fleet.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, message.Success, c.Status)
	mu.Lock()
	defer mu.Unlock()
	for node, n := range runs {
		require.Equal(t, 1, n, node)
	}
	require.Len(t, runs, 8)
}
