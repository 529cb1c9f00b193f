package testenv_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
)

func TestCountComesFromTheEnvironmentWhenItSaysOne(t *testing.T) {
	require.Equal(t, 40, testenv.Count(t, "FLEETWRIGHT_NO_SUCH_COUNT", 40))
	t.Setenv("FLEETWRIGHT_NO_SUCH_COUNT", "7")
	require.Equal(t, 7, testenv.Count(t, "FLEETWRIGHT_NO_SUCH_COUNT", 40))
}

func TestLong(t *testing.T) {
	t.Setenv("FLEETWRIGHT_LONG", "")
	require.False(t, testenv.Long())
	t.Setenv("FLEETWRIGHT_LONG", "1")
	require.True(t, testenv.Long())
}
