package message_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
)

func TestPlainChecksAllButTheCryptography(t *testing.T) {
	c, n := message.Plain{Tenant: "default", Name: message.Controller}, message.Plain{Tenant: "default", Name: "mi-1"}
	peer := message.Peer{Tenant: "default", Name: "mi-1"}
	from := book(message.Peer{Tenant: "default", Name: message.Controller})
	data, err := c.Seal(peer, cancelOf(t))
	require.NoError(t, err)
	e, err := n.Open(data, from, t0, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"default", message.Controller, "mi-1", "id-1"}, []string{e.Tenant, e.From, e.To, e.ID})
	tenant, to, err := message.Header(data)
	require.NoError(t, err)
	require.Equal(t, []string{"default", "mi-1"}, []string{tenant, to})

	_, err = message.Plain{Tenant: "default", Name: "mi-2"}.Open(data, from, t0, 0)
	require.ErrorIs(t, err, message.ErrNotForMe)
	_, err = message.Plain{Tenant: "other", Name: "mi-1"}.Open(data, from, t0, 0)
	require.ErrorIs(t, err, message.ErrNotForMe)
	_, err = n.Open(data, book(), t0, 0)
	require.ErrorIs(t, err, message.ErrUnknownSender)
	_, err = n.Open(data, from, t0.Add(2*time.Hour), 0)
	require.ErrorIs(t, err, message.ErrExpired)
	_, err = n.Open(data[:10], from, t0, 0)
	require.ErrorIs(t, err, message.ErrMalformed)
	_, err = c.Seal(message.Peer{Tenant: "other", Name: "mi-1"}, cancelOf(t))
	require.ErrorIs(t, err, message.ErrMalformed)
	bad := cancelOf(t)
	bad.Kind = message.KindHello
	data, err = c.Seal(peer, bad)
	require.NoError(t, err)
	_, err = n.Open(data, from, t0, 0)
	require.ErrorIs(t, err, message.ErrMalformed)
}
