package parameter_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/parameter"
)

// Two control planes run over one store: each policy acts once, and one that ends leaves the work to the other.
func TestRunIsOwnedByLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *parameter.Config) { c.Now = time.Now })
		var wg sync.WaitGroup
		plane := func(name string) context.CancelFunc {
			ctx, cancel := context.WithCancel(context.Background())
			cfg := w.cfg
			cfg.Leases = lease.New(w.st, nil, lease.Config{Owner: name})
			s := parameter.New(cfg)
			wg.Go(func() { cfg.Leases.Run(ctx) }) //nolint:errcheck // ends with ctx
			wg.Go(func() { require.ErrorIs(t, s.Run(ctx), context.Canceled) })
			return cancel
		}
		first, second := plane("one"), plane("two")
		defer wg.Wait()
		defer second()
		put := func(name, hours string) {
			r := str(name, "v")
			r.Tier, r.Policies = parameter.Advanced, `[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"`+hours+`","Unit":"Hours"}}]`
			w.must(r)
		}
		put("/r/a", "1")
		put("/r/b", "2")
		time.Sleep(time.Hour + 5*time.Second)
		require.Len(t, w.events(), 3)
		first()
		time.Sleep(time.Hour + time.Minute)
		require.Len(t, w.events(), 4)
	})
}
