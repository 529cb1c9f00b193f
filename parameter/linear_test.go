package parameter_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// in and out are a call on one name: put (expected version, or -1), get, delete.
type in struct {
	name, op, value string
	expected        int64
}

type out struct {
	code    fault.Code
	version int64
	value   string
}

// state is a parameter: version 0 is none.
type state struct {
	version int64
	value   string
}

// mayHaveHappened says that the answer leaves open whether the call took effect.
func mayHaveHappened(c fault.Code) bool {
	return c == fault.OutcomeUnknown || c == fault.RequestCanceled
}

// parameters is the sequential specification of one name.
var parameters = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, o := range history {
			n := o.Input.(in).name
			by[n] = append(by[n], o)
		}
		var parts [][]porcupine.Operation
		for _, p := range by {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() []any { return []any{state{}} },
	Step: func(s, i, o any) []any {
		st, call, got := s.(state), i.(in), o.(out)
		var next state
		want := out{}
		switch call.op {
		case "put":
			next, want = state{st.version + 1, call.value}, out{version: st.version + 1}
			if call.expected >= 0 && call.expected != st.version {
				next, want = st, out{code: parameter.CodeVersionMismatch}
			}
		case "delete":
			if st.version == 0 {
				next, want = st, out{code: parameter.CodeNotFound}
			}
		case "get":
			next, want = st, out{version: st.version, value: st.value}
			if st.version == 0 {
				want = out{code: parameter.CodeNotFound}
			}
		}
		switch {
		case got.code == fault.ServiceUnavailable || got.code == parameter.CodeTooManyUpdates:
			return []any{st} // nothing happened
		case mayHaveHappened(got.code):
			return []any{st, next}
		case got == want:
			return []any{next}
		}
		return nil
	},
	Equal: func(a, b any) bool { return a == b },
}

// TestLinearizable runs callers against few names while store and key service fail, and looks for an order that explains every answer.
func TestLinearizable(t *testing.T) {
	model := parameters.ToModel()
	drivers := map[string]func(t *testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return memstore.New() },
		"file": func(t *testing.T) store.Store {
			db, err := boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "store"), nil)
			require.NoError(t, err)
			t.Cleanup(func() { db.Close() })
			return db
		},
	}
	rounds, calls := 4, 25
	if long {
		rounds, calls = 300, 60
	}
	if testing.Short() {
		rounds = 1
	}
	for name, open := range drivers {
		t.Run(name, func(t *testing.T) {
			total, faults := 0, map[fault.Code]int{}
			for round := range rounds {
				var mu sync.Mutex
				rng := rand.New(rand.NewPCG(uint64(round), 7))
				roll := func(n int) bool { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) == 0 }
				st := &lossy{Store: open(t), lose: func(int) (bool, error) {
					switch {
					case roll(12):
						return true, store.ErrCommitUnknown
					case roll(12):
						return false, store.ErrConflict
					case roll(20):
						return false, store.ErrCommitUnknown
					}
					return true, nil
				}}
				w := newWorld(t, nil)
				w.open(func(c *parameter.Config) { c.Store, c.Now = st, time.Now })
				w.keys.fail = func() error {
					if roll(15) {
						return errors.New("the key service is away")
					}
					return nil
				}
				w.cfg.Audit = nil // its own faults are another test's
				s := parameter.New(w.cfg)
				var history []porcupine.Operation
				var wg sync.WaitGroup
				start := time.Now()
				for client := range 6 {
					wg.Go(func() {
						r := rand.New(rand.NewPCG(uint64(round), uint64(client)))
						seen := map[string]int64{}
						for n := range calls {
							call := in{name: fmt.Sprint("/n/", r.IntN(2)), op: []string{"put", "put", "get", "get", "delete"}[r.IntN(5)], expected: -1}
							if call.op == "put" {
								call.value = fmt.Sprint(client, "-", n)
								if r.IntN(2) == 0 {
									call.expected = seen[call.name]
								}
							}
							from := time.Since(start)
							got := do(s, call)
							to := time.Since(start)
							if call.op == "get" {
								seen[call.name] = got.version
							}
							if mayHaveHappened(got.code) {
								to = time.Hour // it may take effect at any time after
							}
							mu.Lock()
							if faultCode(got.code) {
								faults[got.code]++
							}
							history = append(history, porcupine.Operation{ClientId: client, Input: call, Call: int64(from), Output: got, Return: int64(to)})
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				total += len(history)
				require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(model, history, 20*time.Second), "round %d", round)
			}
			t.Logf("%d histories, %d calls, faults %v", rounds, total, faults)
		})
	}
}

func faultCode(c fault.Code) bool {
	return mayHaveHappened(c) || c == fault.ServiceUnavailable || c == parameter.CodeTooManyUpdates
}

func do(s *parameter.Service, c in) out {
	ctx := admin
	var o out
	var err error
	switch c.op {
	case "put":
		req := parameter.PutRequest{PutParameterRequest: parameter.PutParameterRequest{Name: c.name, Type: parameter.SecureString, Value: parameter.Text(c.value), Overwrite: true}}
		if c.expected >= 0 {
			req.Expected = &c.expected
		}
		var r parameter.PutParameterResult
		r, err = s.Put(ctx, req)
		o.version = r.Version
	case "delete":
		_, err = s.DeleteParameter(context.WithoutCancel(ctx), parameter.DeleteParameterRequest{Name: c.name})
	case "get":
		var r parameter.GetParameterResult
		r, err = s.GetParameter(ctx, parameter.GetParameterRequest{Name: c.name, WithDecryption: true})
		o.version, o.value = r.Parameter.Version, r.Parameter.Value.Reveal()
	}
	o.code = fault.CodeOf(err)
	return o
}
