package transport_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport"
)

// blind is a transport that does not know who is connected.
type blind struct{ transport.Transport }

// seeing knows.
type seeing struct {
	blind
	here transport.Address
}

func (s seeing) Connected(a transport.Address) bool { return a == s.here }

func (s seeing) Len() int { return 7 }

func (s seeing) Watch(_ context.Context, f func(transport.Address, bool)) error {
	f(s.here, true)
	return context.Canceled
}

func TestPresenceFallsBack(t *testing.T) {
	a, b := transport.Address{Tenant: "t", Name: "a"}, transport.Address{Tenant: "t", Name: "b"}
	require.True(t, transport.Connected(blind{}, a), "trying is the only way to find out")
	require.ErrorIs(t, transport.Watch(t.Context(), blind{}, nil), transport.ErrNoPresence)
	require.True(t, transport.Connected(seeing{here: a}, a))
	require.False(t, transport.Connected(seeing{here: a}, b))
	var told []string
	require.ErrorIs(t, transport.Watch(t.Context(), seeing{here: a}, func(a transport.Address, c bool) { told = append(told, fmt.Sprint(a, c)) }), context.Canceled)
	require.Equal(t, []string{"t/a true"}, told)
}

func TestLenFallsBack(t *testing.T) {
	_, ok := transport.Len(blind{})
	require.False(t, ok)
	n, ok := transport.Len(seeing{})
	require.True(t, ok)
	require.Equal(t, 7, n)
}

func TestEachErrorHasACode(t *testing.T) {
	for err, code := range map[error]fault.Code{
		transport.ErrNotConnected: fault.TargetNotConnected, transport.ErrBusy: fault.Throttling, transport.ErrTooLarge: fault.Validation,
		transport.ErrRefused: fault.Unauthorized, transport.ErrClosed: fault.ServiceUnavailable, transport.ErrNoPresence: fault.UnsupportedOperation,
	} {
		wrapped := fmt.Errorf("driver: %w", err)
		require.Equal(t, code, fault.CodeOf(wrapped))
		require.Equal(t, err == transport.ErrNotConnected || err == transport.ErrBusy, transport.IsTemporary(wrapped))
	}
	require.False(t, transport.IsTemporary(nil))
}
