package node

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
)

// clock is the service's time in tests that need no goroutines.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

type world struct {
	*Service
	store store.Store
	clock *clock
	audit *audit.Log
}

func controller(_ context.Context, tenant string) (message.Peer, uint64, error) {
	return message.Peer{Tenant: tenant, Name: message.Controller, SignKey: []byte("sign " + tenant), SealKey: []byte("seal")}, 7, nil
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{clock: &clock{time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)}}
	cfg := Config{Store: memstore.New(), Authorizer: access.AllowAll{}, Controller: controller, Now: w.clock.now}
	if change != nil {
		change(&cfg)
	}
	w.store = cfg.Store
	w.audit = audit.New(audit.Config{Store: cfg.Store, Now: cfg.Now, Authorize: access.AllowAll{}})
	cfg.Audit = w.audit
	var err error
	w.Service, err = New(cfg)
	require.NoError(t, err)
	return w
}

func as(tenant, name string) context.Context {
	return access.With(context.Background(), access.Principal{Tenant: tenant, Name: name})
}

var alice = as("t", "alice")

// machine makes a registration request of a machine with keys of its own.
func machine(t testing.TB, act NewActivation, token string) message.RegisterRequest {
	t.Helper()
	id, err := message.NewIdentity("x", "x", nil)
	require.NoError(t, err)
	p := id.Public()
	return message.RegisterRequest{ActivationID: act.ID, ActivationCode: string(act.Code.Reveal()), SignKey: p.SignKey, SealKey: p.SealKey, Token: token,
		Facts: message.Facts{AgentVersion: "1.0", PlatformType: "Linux", PlatformName: "Debian GNU/Linux", ComputerName: "host-" + token, Capabilities: []string{"b", "a", "b"}}}
}

// put registers nodes with tags through the front door.
func (w *world) put(t testing.TB, ctx context.Context, tags map[string]string) string {
	t.Helper()
	act, err := w.CreateActivation(ctx, ActivationRequest{Tags: tags})
	require.NoError(t, err)
	resp, err := w.Register(context.Background(), machine(t, act, "token"))
	require.NoError(t, err)
	require.Equal(t, access.Tenant(ctx), resp.Tenant)
	return resp.Node
}

// fill writes n nodes with tags by their number, in large batches; ids are in the order of numbers.
func (w *world) fill(t testing.TB, tenant string, n int, tags func(i int) map[string]string) {
	t.Helper()
	const batch = 500
	for first := 0; first < n; first += batch {
		require.NoError(t, w.store.Update(context.Background(), func(_ context.Context, tx store.Tx) error {
			for i := first; i < min(n, first+batch); i++ {
				if err := w.create(tx, tenant, nodeRecord{ID: id(i), Tags: tags(i), Assurance: target.Signed}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

func id(i int) string { return fmt.Sprintf("mi-%017x", i) }

// dump is the whole content of the store.
func dump(t testing.TB, s store.Store) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, s.View(context.Background(), func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
			out[string(it.Key)] = string(it.Value)
		}
		return nil
	}))
	return out
}

// counting counts what is read and how often is written.
type counting struct {
	store.Store
	reads, updates atomic.Int64
}

func (c *counting) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	return c.Store.View(ctx, func(ctx context.Context, r store.Reader) error { return fn(ctx, countingReader{r, &c.reads}) })
}

func (c *counting) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	c.updates.Add(1)
	return c.Store.Update(ctx, fn)
}

type countingReader struct {
	store.Reader
	n *atomic.Int64
}

func (c countingReader) Get(ctx context.Context, k []byte) ([]byte, error) {
	c.n.Add(1)
	return c.Reader.Get(ctx, k)
}

func (c countingReader) GetMany(ctx context.Context, ks [][]byte) ([][]byte, error) {
	c.n.Add(int64(len(ks)))
	return c.Reader.GetMany(ctx, ks)
}

func (c countingReader) Scan(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		for it, err := range c.Reader.Scan(ctx, r) {
			c.n.Add(1)
			if !yield(it, err) {
				return
			}
		}
	}
}
