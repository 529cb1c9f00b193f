package automation_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// dying is a store that ends a control plane at its n-th commit: that one and all after it fail, or the n-th is made and its answer lost.
type dying struct {
	store.Store
	left  atomic.Int64
	after bool
}

var errDied = errors.New("the process was killed")

func (d *dying) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	switch n := d.left.Add(-1); {
	case n < 0:
		return errDied
	case n == 0 && d.after:
		if err := d.Store.Update(ctx, fn); err != nil {
			return err
		}
		return errDied
	}
	return d.Store.Update(ctx, fn)
}

// TestKilledAtEveryCommit kills the control plane at its first commit, at its second, and so on, before the commit and after it, and lets another one go on: the
// execution comes to the same end, no call that must not be repeated is made twice under one token, and the history holds.
func TestKilledAtEveryCommit(t *testing.T) {
	for name, steps := range map[string]int{"Working": 4, "Rounds": 12} {
		t.Run(name, func(t *testing.T) { killAtEveryCommit(t, name, steps) })
	}
}

// rounds has a loop, variables, a branch, waits and children one after the other.
const rounds = `{"schemaVersion":"0.3","variables":{"v":{"type":"String","default":"start"}},"mainSteps":[
 {"name":"l","action":"aws:loop","inputs":{"Iterators":["x","y"],"Steps":[
  {"name":"write","action":"aws:runCommand","maxAttempts":3,"inputs":{"DocumentName":"{{ l.CurrentIteratorValue }}"}},
  {"name":"set","action":"aws:updateVariable","inputs":{"Name":"variable:v","Value":"{{ variable:v }}+{{ l.CurrentIteratorValue }}"}},
  {"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT0.3S"}}]}},
 {"name":"wait","action":"aws:waitForAwsResourceProperty","inputs":{"Service":"s","Api":"W","PropertySelector":"$.State","DesiredValues":["ok"]}},
 {"name":"choose","action":"aws:branch","inputs":{"Choices":[{"NextStep":"kids","Variable":"{{ variable:v }}","StringEquals":"start+x+y"}],"Default":"wrong"}},
 {"name":"wrong","action":"aws:runCommand","isEnd":true,"inputs":{"DocumentName":"wrong"}},
 {"name":"kids","action":"aws:executeAutomation","inputs":{"DocumentName":"Kid","MaxConcurrency":"1","TargetParameterName":"P","Targets":[{"Key":"ParameterValues","Values":["1","2"]}]}},
 {"name":"set2","action":"aws:updateVariable","inputs":{"Name":"variable:v","Value":"done"}},
 {"name":"read","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"R"}}]}`

func killAtEveryCommit(t *testing.T, doc string, steps int) {
	kills := 0
	for n := int64(1); ; n++ {
		done := false
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				st := newSite(t)
				st.docs["Working"], st.docs["Rounds"], st.docs["Kid"] = working, rounds, strings.Replace(kid, `"outputs"`, `"parameters":{"P":{"type":"String","default":"d"}},"outputs"`, 1)
				var mu sync.Mutex
				seen := map[string]int{}
				st.acts["aws:waitForAwsResourceProperty"] = automation.Action{Repeat: true, Run: func(context.Context, automation.Call) (any, error) { return map[string]any{"State": "ok"}, nil }}
				st.acts["aws:executeAwsApi"] = automation.Action{Repeat: true, Run: func(_ context.Context, c automation.Call) (any, error) { return map[string]any{"Id": "k-1"}, nil }}
				st.acts["aws:runCommand"] = automation.Action{Run: func(_ context.Context, c automation.Call) (any, error) {
					mu.Lock()
					defer mu.Unlock()
					seen[c.Token]++
					return map[string]any{}, nil
				}}
				healthy, end := st.plane("starter", true)
				id, err := healthy.Start(ann, automation.Request{DocumentName: doc})
				require.NoError(t, err)
				end()
				good := st.store
				d := &dying{Store: good, after: after}
				d.left.Store(n)
				st.store = d
				_, end = st.plane("victim", true)
				for range 40 {
					if time.Sleep(100 * time.Millisecond); d.left.Load() <= 0 {
						break
					}
				}
				end()
				if d.left.Load() > 0 {
					done = true
				} else {
					kills++
				}
				st.store = good
				s, end := st.plane("heir", true)
				defer end()
				x, err := s.Wait(ann, id)
				require.NoError(t, err)
				require.Equal(t, automation.Success, x.Status, "killed at commit %d, %v", n, after)
				for tok, times := range seen {
					require.Equal(t, 1, times, "token %s", tok)
				}
				_, _, err = s.History(ann, id)
				require.NoError(t, err)
				list, _, err := s.List(ann, automation.Filter{}, 0, "")
				require.NoError(t, err)
				kids := map[string]int{"Working": 1, "Rounds": 2}[doc]
				require.Len(t, list, 1+kids, "one execution and its children")
				require.Len(t, x.Steps, steps)
			})
		}
		if done || testing.Short() && n > 12 {
			break
		}
	}
	t.Logf("%d kills", kills)
}

// flaky is a store whose commits fail at times, or are made and seem to have failed.
type flaky struct {
	store.Store
	n    atomic.Int64
	calm atomic.Bool
}

func (f *flaky) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if f.calm.Load() {
		return f.Store.Update(ctx, fn)
	}
	switch n := f.n.Add(1); {
	case n%3 == 0:
		return fmt.Errorf("%w, says the test", store.ErrConflict)
	case n%5 == 0:
		if err := f.Store.Update(ctx, fn); err != nil {
			return err
		}
		return store.ErrCommitUnknown
	}
	return f.Store.Update(ctx, fn)
}

// TestAStoreInTrouble lets a third of all commits fail and some only seem to: what runs goes on running, every call is made once.
func TestAStoreInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Working"], st.docs["Kid"] = working, kid
		var mu sync.Mutex
		seen := map[string]int{}
		st.acts["aws:executeAwsApi"] = automation.Action{Repeat: true, Run: func(context.Context, automation.Call) (any, error) { return map[string]any{"Id": "k-1"}, nil }}
		st.acts["aws:runCommand"] = automation.Action{Run: func(ctx context.Context, c automation.Call) (any, error) {
			mu.Lock()
			seen[c.Token]++
			mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
			return map[string]any{}, ctx.Err()
		}}
		f := &flaky{Store: st.store}
		f.calm.Store(true)
		st.store = f
		s, end := st.plane("one", true)
		defer end()
		time.Sleep(3 * time.Second)
		var ids []string
		for range 10 {
			id, err := s.Start(ann, automation.Request{DocumentName: "Working"})
			require.NoError(t, err)
			ids = append(ids, id)
		}
		f.calm.Store(false)
		for _, id := range ids {
			x, err := s.Wait(ann, id)
			require.NoError(t, err)
			require.Equal(t, automation.Success, x.Status)
			require.Equal(t, 1, x.Steps[1].Attempt)
		}
		require.Len(t, seen, 10)
		for _, n := range seen {
			require.Equal(t, 1, n)
		}
	})
}

// TestALeaseThatWasTaken lets a control plane that does not know yet that it lost its leases go on: what it commits is refused, the new owner's word stands.
func TestALeaseThatWasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Once"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"write","action":"aws:runCommand","inputs":{"DocumentName":"D"}}]}`
		st.acts["aws:runCommand"] = automation.Action{Run: func(ctx context.Context, _ automation.Call) (any, error) {
			time.Sleep(2 * time.Second)
			return map[string]any{}, nil
		}}
		one, end := st.plane("one", true)
		defer end()
		time.Sleep(1500 * time.Millisecond)
		id, err := one.Start(ann, automation.Request{DocumentName: "Once"})
		require.NoError(t, err)
		time.Sleep(200 * time.Millisecond)
		two, end := st.plane("two", true) // takes all leases at once
		defer end()
		time.Sleep(4 * time.Second)
		x, err := two.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Failed, x.Status)
		require.Equal(t, []string{"Interrupted"}, x.Failure.Details["Reason"])
		_, h, err := two.History(ann, id)
		require.NoError(t, err)
		require.Len(t, h, 2)
	})
}

// TestWhatStartsAsTheServiceBegins is found at once, whichever comes first: the commit of the start, or the watch of the owner that is to hear of it.
func TestWhatStartsAsTheServiceBegins(t *testing.T) {
	for range 8 {
		st, err := boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "store"), nil)
		require.NoError(t, err)
		leases := lease.New(st, nil, lease.Config{Exclusive: true})
		s, err := automation.NewService(automation.Config{Store: st, Authorizer: access.AllowAll{}, Leases: leases, Documents: shelf{"Rest": `{"schemaVersion":"0.3","mainSteps":[{"name":"a","action":"aws:sleep","inputs":{"Duration":"PT0S"}}]}`}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var running, starting sync.WaitGroup
		running.Go(func() { leases.Run(ctx) }) //nolint:errcheck // it ends with ctx
		running.Go(func() { s.Run(ctx) })      //nolint:errcheck // likewise
		for range 16 {
			starting.Go(func() {
				id, err := s.Start(ann, automation.Request{DocumentName: "Rest"})
				if err != nil {
					t.Error(err)
					return
				}
				soon, stop := context.WithTimeout(ann, 20*time.Second) // a minute later it would be found anyhow
				defer stop()
				if x, err := s.Wait(soon, id); err != nil || x == nil {
					t.Errorf("it was not found: %v", err)
				}
			})
		}
		starting.Wait()
		cancel()
		running.Wait()
		require.NoError(t, st.Close())
	}
}
