package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/parameter/parametertest"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
)

// outages makes a key service fail now and then.
type outages struct {
	seal.Wrapper
	n     atomic.Int64
	every int64 // 0: never
}

func (k *outages) away() error {
	if k.every > 0 && k.n.Add(1)%k.every == 0 {
		return errors.New("the key service is away")
	}
	return nil
}

func (k *outages) WrapKey(ctx context.Context, id string, key, aad []byte) (seal.Wrapped, error) {
	if err := k.away(); err != nil {
		return seal.Wrapped{}, err
	}
	return k.Wrapper.WrapKey(ctx, id, key, aad)
}

func (k *outages) UnwrapKey(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
	if err := k.away(); err != nil {
		return nil, err
	}
	return k.Wrapper.UnwrapKey(ctx, w, aad)
}

func keyFile(t testing.TB) *localkeys.Keys {
	keys, err := localkeys.Create(filepath.Join(t.TempDir(), "keys"), nil)
	require.NoError(t, err)
	return keys
}

// parameters returns Parameter Store as one control plane has it.
func parametersOn(s store.Store, keys seal.Wrapper, writer string) *parameter.Service {
	log := audit.New(audit.Config{Store: s, Writer: writer, Authorize: access.AllowAll{}})
	return parameter.New(parameter.Config{Store: s, Box: seal.NewBox(keys, nil), Authorizer: access.AllowAll{}, Audit: log})
}

var operator = access.With(context.Background(), access.Principal{Tenant: "default", Name: "operator"})

// TestParameterStore: the rules of Parameter Store hold on PostgreSQL, every call going to another of two control planes.
func TestParameterStore(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes seconds; run without -short")
	}
	server(t)
	keys := keyFile(t)
	for _, c := range parametertest.Cases() {
		t.Run(c.Rule+" "+c.Text, func(t *testing.T) {
			t.Parallel()
			c.Run(t, parametertest.Subject{Store: parametersOn(newPlanes(t, 2, nil), keys, ""), Context: operator})
		})
	}
}

// paramCall and paramAnswer are a call on one name: put (expected version, or -1), get, delete.
type paramCall struct {
	name, op, value string
	expected        int64
}

type paramAnswer struct {
	code    fault.Code
	version int64
	value   string
}

// param is a parameter: version 0 is none.
type param struct {
	version int64
	value   string
}

// lost says that the answer leaves open whether the call took effect.
func lost(c fault.Code) bool { return c == fault.OutcomeUnknown || c == fault.RequestCanceled }

// refused says that nothing happened.
func refused(c fault.Code) bool {
	return c == fault.ServiceUnavailable || c == fault.InternalServerError || c == parameter.CodeTooManyUpdates
}

// paramModel is the sequential specification of one name.
var paramModel = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, o := range history {
			by[o.Input.(paramCall).name] = append(by[o.Input.(paramCall).name], o)
		}
		var parts [][]porcupine.Operation
		for _, p := range by {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() []any { return []any{param{}} },
	Step: func(s, i, o any) []any {
		was, call, got := s.(param), i.(paramCall), o.(paramAnswer)
		var next param
		want := paramAnswer{}
		switch call.op {
		case "put":
			next, want = param{was.version + 1, call.value}, paramAnswer{version: was.version + 1}
			if call.expected >= 0 && call.expected != was.version {
				next, want = was, paramAnswer{code: parameter.CodeVersionMismatch}
			}
		case "delete":
			if was.version == 0 {
				next, want = was, paramAnswer{code: parameter.CodeNotFound}
			}
		case "get":
			next, want = was, paramAnswer{version: was.version, value: was.value}
			if was.version == 0 {
				want = paramAnswer{code: parameter.CodeNotFound}
			}
		}
		switch {
		case refused(got.code):
			return []any{was}
		case lost(got.code):
			return []any{was, next}
		case got == want:
			return []any{next}
		}
		return nil
	},
	Equal: func(a, b any) bool { return a == b },
}

func (c paramCall) do(s *parameter.Service) (a paramAnswer) {
	var err error
	switch c.op {
	case "put":
		req := parameter.PutRequest{PutParameterRequest: parameter.PutParameterRequest{Name: c.name, Type: parameter.SecureString, Value: parameter.Text(c.value), Overwrite: true}}
		if c.expected >= 0 {
			req.Expected = &c.expected
		}
		var r parameter.PutParameterResult
		r, err = s.Put(operator, req)
		a.version = r.Version
	case "delete":
		_, err = s.DeleteParameter(operator, parameter.DeleteParameterRequest{Name: c.name})
	case "get":
		var r parameter.GetParameterResult
		r, err = s.GetParameter(operator, parameter.GetParameterRequest{Name: c.name, WithDecryption: true})
		a.version, a.value = r.Parameter.Version, r.Parameter.Value.Reveal()
	}
	a.code = fault.CodeOf(err)
	return a
}

// TestParametersOfTwoPlanesAreLinearizable: callers of two services on pools of their own, whose connections are ended and whose key service fails: there is an order that explains every answer.
func TestParametersOfTwoPlanesAreLinearizable(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes seconds; run without -short")
	}
	resetPools(t)
	admin := pool(t)
	model := paramModel.ToModel()
	keys := keyFile(t)
	total, ended, codes := 0, 0, map[fault.Code]int{}
	for round := range times(2, 100) {
		name := fresh()
		var planes []*parameter.Service
		for i := range 2 {
			planes = append(planes, parametersOn(openOn(t, pool(t), name, patient()), &outages{Wrapper: keys, every: 17}, fmt.Sprint("plane", i)))
		}
		var mu sync.Mutex
		var history []porcupine.Operation
		var wg, killer sync.WaitGroup
		var calls atomic.Int64
		var done atomic.Bool
		start := time.Now()
		for client := range 6 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(client)))
				seen := map[string]int64{}
				for n := range 25 {
					c := paramCall{name: fmt.Sprint("/n/", rng.IntN(2)), op: []string{"put", "put", "get", "get", "delete"}[rng.IntN(5)], expected: -1}
					if c.op == "put" {
						c.value = fmt.Sprint(client, "-", n)
						if rng.IntN(2) == 0 {
							c.expected = seen[c.name]
						}
					}
					from := time.Since(start)
					got := c.do(planes[client%2])
					to := time.Since(start)
					if c.op == "get" {
						seen[c.name] = got.version
					}
					if lost(got.code) {
						to = time.Hour // it may take effect at any time after
					}
					calls.Add(1)
					mu.Lock()
					if lost(got.code) || refused(got.code) {
						codes[got.code]++
					}
					history = append(history, porcupine.Operation{ClientId: client, Input: c, Call: int64(from), Output: got, Return: int64(to)})
					mu.Unlock()
				}
			})
		}
		killer.Go(func() {
			for !done.Load() {
				if _, err := admin.Exec(context.Background(), "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and datname = 'fleet' order by random() limit 1"); err != nil {
					admin.Reset()
				}
				ended++
				for n := calls.Load() + 10; calls.Load() < n && !done.Load(); {
					time.Sleep(time.Millisecond)
				}
			}
		})
		wg.Wait()
		done.Store(true)
		killer.Wait()
		total += len(history)
		require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(model, history, 20*time.Second), "round %d", round)
	}
	t.Logf("%d calls, %d connections ended, answers without an outcome or refused: %v", total, ended, codes)
}
