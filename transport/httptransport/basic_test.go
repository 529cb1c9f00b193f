package httptransport_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// media are the ways that a client can take; every behaviour must be the same on both.
var media = []struct {
	name   string
	change func(*httptransport.ClientConfig)
}{{"websocket", func(*httptransport.ClientConfig) {}}, {"poll", poll}}

func TestMessagesGoBothWays(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			w := newWorld(t, nil)
			up := receive(t, w.srv)
			c := w.dial(addr(1), m.change)
			require.Equal(t, m.name, c.Medium())
			down := receive(t, c)
			big := make([]byte, transport.MaxMessage)
			rand.Read(big)
			for _, data := range [][]byte{[]byte("hello"), {}, big} {
				send(t, w.srv, addr(1), data)
				got := down.next(t)
				require.Equal(t, plane, got.From)
				require.True(t, bytes.Equal(data, got.Data))
				send(t, c, plane, data)
				got = up.next(t)
				require.Equal(t, addr(1), got.From)
				require.True(t, bytes.Equal(data, got.Data))
			}
			require.NoError(t, c.Close())
			eventually(t, "the server sees the node go", func() bool { return !w.srv.Connected(addr(1)) })
		})
	}
}

func TestAnUnknownNodeAndAWrongKeyAreRefused(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			w := newWorld(t, nil)
			for name, break_ := range map[string]func(*httptransport.ClientConfig){
				"unknown": func(*httptransport.ClientConfig) { w.forget(addr(1)) },
				"wrong":   func(c *httptransport.ClientConfig) { c.Key = keyOf(addr(2)) },
			} {
				cfg := w.config(addr(1))
				m.change(&cfg)
				break_(&cfg)
				_, err := httptransport.Dial(t.Context(), cfg)
				require.ErrorIs(t, err, transport.ErrRefused, name)
				require.Zero(t, w.srv.Stats().Connected)
			}
			require.Equal(t, uint64(2), w.srv.Stats().Refused)
		})
	}
}
