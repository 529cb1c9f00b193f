package message_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
)

var t0 = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// pair is a control plane, a node, and what each knows of the other.
type pair struct {
	controller, node *message.Identity
	peers            func(string) (message.Peer, error)
}

func newPair(t testing.TB) pair {
	t.Helper()
	c, err := message.NewIdentity("default", message.Controller, nil)
	require.NoError(t, err)
	n, err := message.NewIdentity("default", "mi-0123456789abcdef0", nil)
	require.NoError(t, err)
	return pair{c, n, book(c.Public(), n.Public())}
}

// book resolves the peers by name.
func book(peers ...message.Peer) func(string) (message.Peer, error) {
	return func(name string) (message.Peer, error) {
		for _, p := range peers {
			if p.Name == name {
				return p, nil
			}
		}
		return message.Peer{}, message.ErrUnknownSender
	}
}

func cancelOf(t testing.TB) message.Envelope {
	t.Helper()
	body, err := message.Marshal(message.KindCancel, message.Cancel{Ref: message.Ref{Command: "c-1", Attempt: 1}, Detail: message.DetailCancelled})
	require.NoError(t, err)
	return message.Envelope{Kind: message.KindCancel, ID: "id-1", Attempt: 1, Epoch: 7, NotBefore: t0, NotAfter: t0.Add(time.Hour), Body: body}
}

func TestSealedMessageOpensAtItsReceiver(t *testing.T) {
	p := newPair(t)
	data, err := p.controller.Seal(p.node.Public(), cancelOf(t))
	require.NoError(t, err)
	e, err := p.node.Open(data, p.peers, t0, 0)
	require.NoError(t, err)
	want := cancelOf(t)
	want.Tenant, want.From, want.To = "default", message.Controller, p.node.Name()
	require.Equal(t, want, e)
	body, err := message.Unmarshal[message.Cancel](e)
	require.NoError(t, err)
	require.Equal(t, message.DetailCancelled, body.Detail)
}
