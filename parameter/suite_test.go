package parameter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/parameter/parametertest"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// world is a service with all that is around it.
type world struct {
	*parameter.Service
	t    testing.TB
	st   store.Store
	keys *memKeys
	box  *seal.Box
	log  *audit.Log
	now  time.Time
	cfg  parameter.Config
}

func as(name string) context.Context { return tenant("default", name) }

func tenant(tenant, name string) context.Context {
	return access.With(context.Background(), access.Principal{Tenant: tenant, Name: name})
}

var admin = as("admin")

// newWorld returns a service in which everybody may do everything, at a clock that stands still; change changes its parts.
func newWorld(t testing.TB, change func(*parameter.Config)) *world {
	w := &world{t: t, st: memstore.New(), keys: newKeys(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.open(change)
	return w
}

func (w *world) open(change func(*parameter.Config)) {
	clock := func() time.Time { return w.now }
	w.box = seal.NewBox(w.keys, &seal.BoxOptions{Now: clock})
	w.cfg = parameter.Config{Store: w.st, Box: w.box, Authorizer: access.AllowAll{}, Now: clock}
	if change != nil {
		change(&w.cfg)
	}
	w.log = audit.New(audit.Config{Store: w.cfg.Store, Now: clock, Authorize: access.AllowAll{}})
	w.cfg.Audit = w.log
	w.Service = parameter.New(w.cfg)
}

func (w *world) put(name, value string) int64 {
	w.t.Helper()
	out, err := w.PutParameter(admin, parameter.PutParameterRequest{Name: name, Value: parameter.Text(value), Type: parameter.String, Overwrite: true})
	require.NoError(w.t, err)
	return out.Version
}

func (w *world) putSecret(name, value string) {
	w.t.Helper()
	_, err := w.PutParameter(admin, parameter.PutParameterRequest{Name: name, Value: parameter.Text(value), Type: parameter.SecureString, Overwrite: true})
	require.NoError(w.t, err)
}

func (w *world) get(name string) string {
	w.t.Helper()
	out, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: name, WithDecryption: true})
	require.NoError(w.t, err)
	return out.Parameter.Value.Reveal()
}

func TestSuiteOnMemory(t *testing.T) {
	parametertest.Run(t, func(t testing.TB) parametertest.Subject {
		return parametertest.Subject{Store: newWorld(t, nil).Service, Context: admin}
	})
}

func TestSuiteOnFile(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: short")
	}
	parametertest.Run(t, func(t testing.TB) parametertest.Subject {
		db, err := boltstore.Open(t.Context(), fmt.Sprintf("%s/store", t.TempDir()), nil)
		require.NoError(t, err)
		t.Cleanup(func() { db.Close() })
		w := newWorld(t, func(c *parameter.Config) { c.Store = db })
		return parametertest.Subject{Store: w.Service, Context: admin}
	})
}
