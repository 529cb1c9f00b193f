package automation_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// shelf is documents by name.
type shelf map[string]string

func (s shelf) Fetch(_ context.Context, _, name, version string) ([]byte, string, string, string, error) {
	text, ok := s[name]
	if !ok || version != "" && version != "1" && version != "$DEFAULT" {
		return nil, "", "", "", fault.New("shelf", fault.InvalidDocument, "no document %s", name)
	}
	return []byte(text), "", "1", "", nil
}

// site is a store with what a service needs; planes come and go on it.
type site struct {
	t     *testing.T
	store store.Store
	docs  shelf
	acts  map[string]automation.Action
	mod   func(*automation.Config)
}

func newSite(t *testing.T) *site {
	return &site{t: t, store: memstore.New(), docs: shelf{}, acts: map[string]automation.Action{
		"aws:executeAwsApi": {Repeat: true, Run: func(context.Context, automation.Call) (any, error) { return map[string]any{}, nil }},
	}}
}

var ann = access.With(context.Background(), access.Principal{Name: "ann"})

// plane starts a control plane and returns it with the function that ends it.
func (st *site) plane(name string, exclusive bool) (*automation.Service, func()) {
	leases := lease.New(st.store, nil, lease.Config{Owner: name, Exclusive: exclusive})
	cfg := automation.Config{Store: st.store, Documents: st.docs, Authorizer: access.AllowAll{}, Leases: leases, Actions: st.acts, System: automation.System{AccountID: "123456789012", Region: "r"}}
	if st.mod != nil {
		st.mod(&cfg)
	}
	s, err := automation.NewService(cfg)
	require.NoError(st.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { leases.Run(ctx) }) //nolint:errcheck // it ends with ctx
	wg.Go(func() { s.Run(ctx) })      //nolint:errcheck // likewise
	return s, func() { cancel(); wg.Wait() }
}

const asking = `
schemaVersion: "0.3"
parameters: {Id: {type: String}}
outputs: [look.State]
mainSteps:
- {name: ask, action: "aws:approve", inputs: {Approvers: [ann]}}
- {name: look, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: Describe, Id: "{{ Id }}"}, outputs: [{Name: State, Selector: "$.State", Type: String}]}
- {name: rest, action: "aws:sleep", inputs: {Duration: PT1H}}
`

func TestServiceRunsAndIsReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Asking"] = asking
		st.acts["aws:executeAwsApi"] = automation.Action{Run: func(_ context.Context, c automation.Call) (any, error) {
			return map[string]any{"State": fmt.Sprint(c.Inputs["Id"], " by ", c.StartedBy)}, nil
		}}
		s, end := st.plane("one", true)
		defer end()
		id, err := s.Start(ann, automation.Request{DocumentName: "Asking", Parameters: map[string][]string{"Id": {"i-1"}}})
		require.NoError(t, err)
		time.Sleep(6 * time.Hour)
		x, _, err := s.Get(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Waiting, x.Status)
		require.Equal(t, fault.AccessDenied, fault.CodeOf(s.Signal(access.With(ann, access.Principal{Name: "eve"}), id, automation.Signal{Type: automation.Approve})))
		require.Equal(t, automation.InvalidSignal, fault.CodeOf(s.Signal(ann, id, automation.Signal{Type: automation.Resume})))
		require.Equal(t, automation.ExecutionNotFound, fault.CodeOf(s.Signal(ann, "nope", automation.Signal{Type: automation.Resume})))
		require.NoError(t, s.Signal(ann, id, automation.Signal{Type: automation.Approve, By: "forged"}))
		x, err = s.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Success, x.Status)
		require.Equal(t, "i-1 by ann", x.Outputs["look.State"])
		require.Equal(t, time.Hour, x.Steps[2].End.Sub(x.Steps[2].Start))
		require.Equal(t, "ann", x.Steps[0].Decisions[0].By)

		_, history, err := s.History(ann, id)
		require.NoError(t, err)
		require.Len(t, history, 5)
		list, next, err := s.List(ann, automation.Filter{Statuses: []automation.Status{automation.Success}}, 0, "")
		require.NoError(t, err)
		require.Empty(t, next)
		require.Len(t, list, 1)
		require.Equal(t, id, list[0].ID)
		require.Equal(t, automation.InvalidStatusUpdate, fault.CodeOf(s.Stop(ann, id, automation.Cancel)))
	})
}

func TestStartRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Asking"], st.docs["Bad"] = asking, `{"schemaVersion":"0.3","mainSteps":[]}`
		s, end := st.plane("one", true)
		defer end()
		for name, c := range map[string]struct {
			req  automation.Request
			code fault.Code
		}{
			"unknown document":  {automation.Request{DocumentName: "Nope"}, automation.DefinitionNotFound},
			"unknown version":   {automation.Request{DocumentName: "Asking", DocumentVersion: "7"}, automation.DefinitionNotFound},
			"bad document":      {automation.Request{DocumentName: "Bad"}, fault.InvalidDocumentContent},
			"missing parameter": {automation.Request{DocumentName: "Asking"}, automation.InvalidExecutionParams},
			"bad mode":          {automation.Request{DocumentName: "Asking", Parameters: map[string][]string{"Id": {"x"}}, Mode: "Fast"}, fault.Validation},
			"bad token":         {automation.Request{DocumentName: "Asking", ClientToken: "x"}, fault.Validation},
			"six tags":          {automation.Request{DocumentName: "Asking", Tags: map[string]string{"a": "", "b": "", "c": "", "d": "", "e": "", "f": ""}}, fault.TooManyTags},
			"bad target":        {automation.Request{DocumentName: "Asking", Spread: &automation.Spread{Parameter: "Nope", TargetMaps: []map[string][]string{{"Id": {"x"}}}}}, automation.InvalidExecutionParams},
		} {
			_, err := s.Start(ann, c.req)
			require.Equal(t, c.code, fault.CodeOf(err), "%s: %v", name, err)
		}
		list, _, err := s.List(ann, automation.Filter{}, 0, "")
		require.NoError(t, err)
		require.Empty(t, list, "nothing half done")
	})
}

func TestA18ClientToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Asking"] = asking
		s, end := st.plane("one", true)
		defer end()
		req := automation.Request{DocumentName: "Asking", Parameters: map[string][]string{"Id": {"i-1"}}, ClientToken: "6BA7B810-9dad-11d1-80b4-00c04fd430c8"}
		id, err := s.Start(ann, req)
		require.NoError(t, err)
		req.ClientToken = "6ba7b810-9DAD-11d1-80b4-00c04fd430c8"
		again, err := s.Start(ann, req)
		require.NoError(t, err)
		require.Equal(t, id, again)
		req.Parameters = map[string][]string{"Id": {"i-2"}}
		_, err = s.Start(ann, req)
		require.Equal(t, fault.IdempotentParameterMismatch, fault.CodeOf(err))
	})
}

func TestNobodyMayWithoutLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Asking"] = asking
		st.mod = func(c *automation.Config) { c.Authorizer = access.Grants{"ann": {"ssm:*"}} }
		s, end := st.plane("one", true)
		defer end()
		id, err := s.Start(ann, automation.Request{DocumentName: "Asking", Parameters: map[string][]string{"Id": {"i-1"}}})
		require.NoError(t, err)
		eve := access.With(context.Background(), access.Principal{Name: "eve"})
		_, err = s.Start(eve, automation.Request{DocumentName: "Asking"})
		require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
		_, _, err = s.Get(eve, id)
		require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
		require.Equal(t, fault.AccessDenied, fault.CodeOf(s.Stop(eve, id, automation.Cancel)))
		require.Equal(t, fault.AccessDenied, fault.CodeOf(s.Signal(eve, id, automation.Signal{Type: automation.Approve})))
		other := access.With(context.Background(), access.Principal{Name: "ann", Tenant: "other"})
		_, _, err = s.Get(other, id)
		require.Equal(t, automation.ExecutionNotFound, fault.CodeOf(err))
	})
}

const working = `{"schemaVersion":"0.3","mainSteps":[
 {"name":"read","action":"aws:executeAwsApi","maxAttempts":1,"timeoutSeconds":20,"inputs":{"Service":"s","Api":"A"}},
 {"name":"write","action":"aws:runCommand","maxAttempts":2,"inputs":{"DocumentName":"D"}},
 {"name":"kid","action":"aws:executeAutomation","inputs":{"DocumentName":"Kid"}},
 {"name":"last","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"B"}}]}`
const kid = `{"schemaVersion":"0.3","outputs":["a.Id"],"mainSteps":[{"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"K"},"outputs":[{"Name":"Id","Selector":"$.Id","Type":"String"}]}]}`

// TestInterrupted ends a control plane while a call runs: one that may be repeated is, with the same token; the other fails with the detail Interrupted and is
// tried again as maxAttempts says.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Working"], st.docs["Kid"] = working, kid
		var tokens []string
		var writes []int
		slow := func(ctx context.Context) error {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
			return ctx.Err()
		}
		st.acts["aws:executeAwsApi"] = automation.Action{Repeat: true, Run: func(ctx context.Context, c automation.Call) (any, error) {
			if c.Step == "read" {
				tokens = append(tokens, c.Token)
				return map[string]any{}, slow(ctx)
			}
			return map[string]any{"Id": "k-1"}, nil
		}}
		st.acts["aws:runCommand"] = automation.Action{Run: func(ctx context.Context, c automation.Call) (any, error) {
			writes = append(writes, c.Attempt)
			return map[string]any{}, slow(ctx)
		}}
		s, end := st.plane("one", true)
		id, err := s.Start(ann, automation.Request{DocumentName: "Working"})
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		end()
		_, end = st.plane("two", true)
		time.Sleep(12 * time.Second)
		end()
		require.Len(t, tokens, 2)
		require.Equal(t, tokens[0], tokens[1])
		require.Equal(t, []int{1}, writes)
		s, end = st.plane("three", true)
		defer end()
		x, err := s.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Success, x.Status)
		require.Equal(t, []int{1, 2}, writes)
		require.Equal(t, []any{"k-1"}, x.Steps[2].Outputs["Output"])
		_, _, err = s.History(ann, id)
		require.NoError(t, err)
	})
}

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
	kills := 0
	for n := int64(1); ; n++ {
		done := false
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				st := newSite(t)
				st.docs["Working"], st.docs["Kid"] = working, kid
				var mu sync.Mutex
				seen := map[string]int{}
				st.acts["aws:executeAwsApi"] = automation.Action{Repeat: true, Run: func(_ context.Context, c automation.Call) (any, error) { return map[string]any{"Id": "k-1"}, nil }}
				st.acts["aws:runCommand"] = automation.Action{Run: func(_ context.Context, c automation.Call) (any, error) {
					mu.Lock()
					defer mu.Unlock()
					seen[c.Token]++
					return map[string]any{}, nil
				}}
				healthy, end := st.plane("starter", true)
				id, err := healthy.Start(ann, automation.Request{DocumentName: "Working"})
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
				require.Len(t, list, 2, "one execution and one child")
			})
		}
		if done || testing.Short() && n > 30 {
			break
		}
	}
	t.Logf("%d kills", kills)
}

// TestPlanesShareTheWork runs two control planes on one store: every execution ends once, also those of one that is ended in between.
func TestPlanesShareTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Kid"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT20S"}},{"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"K"}}]}`
		one, endOne := st.plane("one", false)
		two, endTwo := st.plane("two", false)
		defer endTwo()
		var ids []string
		for i := range 40 {
			s := one
			if i%2 == 0 {
				s = two
			}
			id, err := s.Start(ann, automation.Request{DocumentName: "Kid"})
			require.NoError(t, err)
			ids = append(ids, id)
		}
		time.Sleep(5 * time.Second)
		endOne()
		for _, id := range ids {
			x, err := two.Wait(ann, id)
			require.NoError(t, err)
			require.Equal(t, automation.Success, x.Status)
		}
	})
}

// TestA21Concurrency keeps executions Pending while there is no room; those that wait for people take none.
func TestA21Concurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.mod = func(c *automation.Config) { c.Concurrency = 2 }
		st.docs["Slow"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT10S"}}]}`
		st.docs["Hold"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"hold","action":"aws:pause","inputs":{}}]}`
		s, end := st.plane("one", true)
		defer end()
		for range 5 {
			_, err := s.Start(ann, automation.Request{DocumentName: "Slow"})
			require.NoError(t, err)
		}
		for range 3 {
			_, err := s.Start(ann, automation.Request{DocumentName: "Hold"})
			require.NoError(t, err)
		}
		count := func(status automation.Status) int {
			list, _, err := s.List(ann, automation.Filter{Statuses: []automation.Status{status}}, 0, "")
			require.NoError(t, err)
			return len(list)
		}
		most := 0
		for range 60 {
			time.Sleep(time.Second)
			most = max(most, count(automation.InProgress))
		}
		require.Equal(t, 2, most)
		require.Equal(t, 5, count(automation.Success))
		require.Equal(t, 3, count(automation.Waiting))
	})
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

// TestLargeAnswers keeps of an answer that no history could hold what the step takes from it.
func TestLargeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Large"] = `{"schemaVersion":"0.3","mainSteps":[
		 {"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A"},"outputs":[{"Name":"Ids","Selector":"$.R..Id","Type":"StringList"}]},
		 {"name":"w","action":"aws:waitForAwsResourceProperty","inputs":{"Service":"s","Api":"A","PropertySelector":"$.State","DesiredValues":["ok"]}}]}`
		big := make([]byte, 300<<10)
		for i := range big {
			big[i] = 'x'
		}
		answer := automation.Action{Repeat: true, Run: func(context.Context, automation.Call) (any, error) {
			return map[string]any{"Noise": string(big), "State": "ok", "R": []any{map[string]any{"Id": "1"}, map[string]any{"Id": "2"}}}, nil
		}}
		st.acts["aws:executeAwsApi"], st.acts["aws:waitForAwsResourceProperty"] = answer, answer
		s, end := st.plane("one", true)
		defer end()
		id, err := s.Start(ann, automation.Request{DocumentName: "Large"})
		require.NoError(t, err)
		x, err := s.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Success, x.Status, "%+v", x.Failure)
		require.Equal(t, []any{"1", "2"}, x.Steps[0].Outputs["Ids"])
		_, _, err = s.History(ann, id)
		require.NoError(t, err)
	})
}
