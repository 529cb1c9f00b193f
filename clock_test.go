package fleetwright_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
)

// One of three control planes has a clock that is an hour off, either way. Whichever accepts a command and whichever the nodes are connected to: it runs on all nodes at once, expires when
// the others say, and a command that waits for a node that is away is not given up an hour early.
func TestAControlPlaneWhoseClockIsAnHourOffChangesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("not under -short: hours of virtual time")
	}
	for name, off := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUnion(t, 3, 3, func(i int, cfg *fleetwright.Config) {
					if i == 1 {
						cfg.Now = func() time.Time { return time.Now().Add(off) }
					}
				})
				defer u.close()
				for i, nd := range u.nodes {
					u.move(nd, u.planes[i])
				}
				time.Sleep(2 * time.Second)
				for i := range 6 {
					began := time.Now()
					c := u.send(u.planes[i%3])
					require.WithinDuration(t, began, c.RequestedDateTime, time.Minute)
					u.ends(u.planes[(i+1)%3], c)
					require.Less(t, time.Since(began), 10*time.Second)
				}
				u.started(6)
				// Several commands, so that the one whose clock is off owns some.
				for _, nd := range u.nodes {
					u.move(nd, nil)
				}
				time.Sleep(time.Second)
				var ids []string
				for i := range 12 {
					ids = append(ids, u.send(u.planes[i%3]).ID)
				}
				time.Sleep(50 * time.Minute) // each may be delivered within an hour
				for i, id := range ids {
					c, err := u.planes[i%3].Commands.Get(t.Context(), id)
					require.NoError(t, err)
					require.False(t, c.StatusDetails.Terminal(), "%s was given up early: %s", id, c.StatusDetails)
				}
				for i, nd := range u.nodes {
					u.move(nd, u.planes[(i+1)%3])
				}
				for _, id := range ids {
					c, err := u.planes[0].Commands.Wait(t.Context(), id)
					require.NoError(t, err)
					u.ends(u.planes[2], c)
				}
				u.started(18)
			})
		})
	}
}
