package command

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/lease"
)

// tokenCall is a Send with a token, or a look at what came of it.
type tokenCall struct {
	token string
	look  bool
}

// tokenTold is the answer: the command, or nothing known; of a look, all commands there are.
type tokenTold struct {
	id     string
	failed bool
	all    []string
}

// some stands for the id of a command that was made and that nobody was told.
const some = "some"

// oneCommand is the sequential specification of one token: all who are answered are told of the same command, and there is one at most.
var oneCommand = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := map[string][]porcupine.Operation{}
		for _, o := range history {
			by[o.Input.(tokenCall).token] = append(by[o.Input.(tokenCall).token], o)
		}
		for _, p := range by {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() []any { return []any{""} },
	Step: func(s, i, o any) []any {
		was, in, out := s.(string), i.(tokenCall), o.(tokenTold)
		switch {
		case out.failed && was == "" && !in.look:
			return []any{was, some}
		case out.failed:
			return []any{was}
		case in.look && was == "" && len(out.all) == 0:
			return []any{was}
		case in.look && len(out.all) == 1 && (was == some || was == out.all[0]):
			return []any{out.all[0]}
		case !in.look && (was == "" || was == some || was == out.id):
			return []any{out.id}
		}
		return nil
	},
	Equal: func(a, b any) bool { return a == b },
}

// ask lets callers send the same requests through several control planes, whose store fails now and then and which stand still at times, and returns what each was told. careless
// callers send without a token.
func ask(t *testing.T, round uint64, careless bool) (history []porcupine.Operation) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 2)
		f := &faulty{Store: w.store, rng: rand.New(rand.NewPCG(round, 3)), rate: 0.3}
		var planes []*plane
		for i := range 3 {
			g := &gate{Store: f}
			s, err := New(Config{Store: g, Blobs: w.blobs, Nodes: w, Documents: w, Sender: w, Authorizer: access.AllowAll{}, Leases: lease.New(g, nil, lease.Config{Owner: fmt.Sprint(i)})})
			require.NoError(t, err)
			planes = append(planes, &plane{Service: s, gate: g})
		}
		var mu sync.Mutex
		var order atomic.Int64
		add := func(client int, in tokenCall, do func() tokenTold) {
			call := order.Add(1)
			out := do()
			back := order.Add(1)
			if out.failed {
				back = 1 << 60 // it may take effect at any time after
			}
			mu.Lock()
			defer mu.Unlock()
			history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
		}
		look := func(p *plane, token string) tokenTold {
			all, _, err := p.List(context.Background(), ListRequest{})
			out := tokenTold{failed: err != nil}
			for _, c := range all {
				if c.Comment == token {
					out.all = append(out.all, c.ID)
				}
			}
			return out
		}
		const tokens = 3
		var wg sync.WaitGroup
		for client := range 5 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(round, uint64(client)))
				for range 6 {
					p, token := planes[rng.IntN(len(planes))], strconv.Itoa(rng.IntN(tokens))
					time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
					if rng.IntN(4) == 0 {
						add(client, tokenCall{token, true}, func() tokenTold { return look(p, token) })
						continue
					}
					add(client, tokenCall{token, false}, func() tokenTold {
						req := SendRequest{DocumentName: "Hello", Targets: web, Comment: token, ClientToken: token}
						if careless {
							req.ClientToken = ""
						}
						c, err := p.Send(context.Background(), req)
						return tokenTold{id: c.ID, failed: err != nil}
					})
				}
			})
		}
		wg.Go(func() { // planes stand still and go on
			rng := rand.New(rand.NewPCG(round, 99))
			for range 12 {
				time.Sleep(time.Duration(rng.IntN(2)) * time.Millisecond)
				planes[rng.IntN(len(planes))].gate.close()
				time.Sleep(time.Millisecond)
				planes[rng.IntN(len(planes))].gate.open()
			}
			for _, p := range planes {
				p.gate.open()
			}
		})
		wg.Wait()
		f.heal()
		for token := range tokens {
			add(9, tokenCall{strconv.Itoa(token), true}, func() tokenTold { return look(planes[0], strconv.Itoa(token)) })
		}
		w.close()
	})
	return history
}

// TestSendIsIdempotent: whoever sends with the same token, wherever and however often, and whatever became of earlier tries, is told of the same one command. FLEETWRIGHT_HISTORIES plays
// more.
func TestSendIsIdempotent(t *testing.T) {
	n := testenv.Count(t, "FLEETWRIGHT_HISTORIES", 40)
	model, total, failed := oneCommand.ToModel(), 0, 0
	for round := range n {
		history := ask(t, uint64(round), false)
		total += len(history)
		for _, o := range history {
			if o.Output.(tokenTold).failed {
				failed++
			}
		}
		require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(model, history, 20*time.Second), "history %d", round)
	}
	t.Logf("%d histories, %d calls, %d of them failed or without an outcome", n, total, failed)
	require.NotZero(t, failed)
	testenv.Figure(t, "linearizable histories of sends with tokens", n, 0)
}

// TestSendIsIdempotentBites: callers who leave the token out are found out.
func TestSendIsIdempotentBites(t *testing.T) {
	model := oneCommand.ToModel()
	for round := range uint64(20) {
		if porcupine.CheckOperationsTimeout(model, ask(t, round, true), 20*time.Second) == porcupine.Illegal {
			t.Logf("found in history %d", round)
			return
		}
	}
	require.Fail(t, "two commands of one token were not found")
}
