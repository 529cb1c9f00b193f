package parameter_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// S15, R-13: a validator that panics ends nothing, writes nothing, and what it panicked with, which may be the value, is told nowhere.
func TestS15_AValidatorThatPanicsIsNoReasonToEnd(t *testing.T) {
	var logs bytes.Buffer
	w := newWorld(t, func(c *parameter.Config) {
		panics := func(_ context.Context, _ string, v parameter.Value) error { panic("canary " + v.Reveal()) }
		c.DataTypes = map[string]parameter.DataType{"own:now": {Check: panics}, "own:later": {Check: panics, Async: true}}
		c.Log = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	put := func(dataType string) error {
		_, err := w.PutParameter(admin, parameter.PutParameterRequest{Name: "/x", Type: parameter.String, Value: parameter.Text("canary value"), DataType: dataType})
		return err
	}
	err := put("own:now")
	require.Equal(t, fault.InternalServerError, fault.CodeOf(err))
	require.NotContains(t, err.Error(), "canary")
	require.NoError(t, put("own:later"), "it is checked later")
	require.NoError(t, w.Tick(admin), "a loop goes on")
	require.NoError(t, w.Tick(admin))
	_, err = w.GetParameter(admin, parameter.GetParameterRequest{Name: "/x"})
	require.Equal(t, parameter.CodeNotFound, fault.CodeOf(err), "the write was discarded")
	require.Contains(t, logs.String(), "a validator of parameters panicked")
	require.Contains(t, logs.String(), "validator_test.go", "the place")
	require.NotContains(t, logs.String(), "canary")
}
