package fleetwright

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
)

// dropper notes whom it was told to drop.
type dropper struct {
	transport.Transport
	of []transport.Address
}

func (d *dropper) Disconnect(a transport.Address) { d.of = append(d.of, a) }

// Who is not known any more is cut off, but not for each of its messages anew.
func TestWhoWasDeregisteredIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Fleet{cfg: Config{Now: time.Now}}
		h := newHub(f, nil)
		d := &dropper{}
		a, b := transport.Address{Tenant: "t", Name: "a"}, transport.Address{Tenant: "t", Name: "b"}
		for range 100 {
			h.drop(d, a)
		}
		h.drop(d, b)
		require.Equal(t, []transport.Address{a, b}, d.of)
		time.Sleep(peerLife)
		h.drop(d, a)
		require.Equal(t, []transport.Address{a, b, a}, d.of)
		h.drop(nil, a) // one that has nobody to drop
	})
}
