package prom_test

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/telemetry/prom"
)

// a secret in a parameter, in an output and in an error is in no metric, and no id is.
func TestNoSecretAndNoIDInAnyMetric(t *testing.T) {
	const canary = "cn7f3kq0canary"
	m := prom.New(nil)
	f, err := fleetwright.Open(t.Context(), t.TempDir(), &fleetwright.Options{Config: fleetwright.Config{Observer: m}})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the end of the test
	a, err := f.StartAgent(t.Context(), "one", &fleetwright.LocalOptions{Observer: m})
	require.NoError(t, err)
	var ids []string
	for _, script := range []string{"echo " + canary, "echo " + canary + " >&2; exit 3", "sleep 1; echo " + canary} {
		c, err := f.Commands.Send(t.Context(), command.SendRequest{DocumentName: "AWS-RunShellScript", InstanceIDs: []string{a.ID}, Comment: canary,
			Parameters: map[string][]string{"commands": {script}}})
		require.NoError(t, err)
		_, err = f.Commands.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		ids = append(ids, c.ID)
	}
	_, err = f.Commands.Send(t.Context(), command.SendRequest{DocumentName: canary, InstanceIDs: []string{canary}})
	require.Error(t, err)
	require.NotEmpty(t, scrapeUntil(func() string {
		srv := httptest.NewServer(m.Handler(prom.Plane(f)))
		t.Cleanup(srv.Close)
		return srv.URL
	}(), []string{`fleetwright_commands_ended_total{details="Success"} 2`, `fleetwright_commands_ended_total{details="Failed"} 1`}))
	text, _ := scrape(t, m.Handler(prom.Plane(f), prom.Agent(a)))
	for _, word := range append(ids, canary, a.ID, `"default"`, "RunShellScript") {
		require.NotContains(t, text, word)
	}
}
