package automation_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/record"
	"github.com/fleetwright/fleetwright/target"
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
		time.Sleep(time.Hour)
		x, _, err := s.Get(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Waiting, x.Status)
		require.Equal(t, fault.AccessDenied, fault.CodeOf(s.Signal(access.With(ann, access.Principal{Name: "eve"}), id, automation.Signal{Type: automation.Approve, By: "ann", As: []string{"ann"}})), "nobody speaks in another one's name")
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
		require.Len(t, history, 4)
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

func TestPruneRemovesWhatEndedLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Short"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A"}}]}`
		st.docs["Hold"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"hold","action":"aws:pause","inputs":{}}]}`
		s, end := st.plane("one", true)
		defer end()
		var old []string
		for _, doc := range []string{"Short", "Hold", "Short"} {
			id, err := s.Start(ann, automation.Request{DocumentName: doc})
			require.NoError(t, err)
			old = append(old, id)
		}
		time.Sleep(time.Hour)
		young, err := s.Start(ann, automation.Request{DocumentName: "Short"})
		require.NoError(t, err)
		_, err = s.Wait(ann, young)
		require.NoError(t, err)
		n, err := s.Prune(ann, 30*time.Minute)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		_, _, err = s.Get(ann, old[0])
		require.Equal(t, automation.ExecutionNotFound, fault.CodeOf(err))
		list, _, err := s.List(ann, automation.Filter{}, 0, "")
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, []string{young, old[1]}, []string{list[0].ID, list[1].ID})
		require.NoError(t, s.Signal(ann, old[1], automation.Signal{Type: automation.Resume}))
		x, err := s.Wait(ann, old[1])
		require.NoError(t, err)
		require.Equal(t, automation.Success, x.Status)
	})
}

// TestAHistoryThatWasChanged finds an entry that somebody edited in the store.
func TestAHistoryThatWasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Hold"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"hold","action":"aws:pause","inputs":{}}]}`
		s, end := st.plane("one", true)
		defer end()
		id, err := s.Start(ann, automation.Request{DocumentName: "Hold"})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, s.Stop(ann, id, automation.Cancel))
		_, err = s.Wait(ann, id)
		require.NoError(t, err)
		_, _, err = s.History(ann, id)
		require.NoError(t, err)
		logs := record.NewTable[map[string]string](nil)
		at := key.New(access.DefaultTenant).Str("automation").Str("execution").Str(id).Str("log")
		require.NoError(t, st.store.Update(ann, func(ctx context.Context, tx store.Tx) error {
			e, err := logs.Get(ctx, tx, at.Uint(2))
			if err != nil {
				return err
			}
			was := e["entry"]
			e["entry"] = strings.Replace(was, `"by":"ann"`, `"by":"eve"`, 1) // who stopped it decides nothing, and must not be changed
			require.NotEqual(t, was, e["entry"])
			return logs.Put(tx, at.Uint(2), e)
		}))
		_, _, err = s.History(ann, id)
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
		require.NoError(t, st.store.Update(ann, func(_ context.Context, tx store.Tx) error { return tx.Delete(at.Uint(2)) }))
		_, _, err = s.History(ann, id)
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
	})
}

// TestTargetsOfAnExecution starts a child for each target, the limits kept, and ends with them.
func TestTargetsOfAnExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Each"] = `{"schemaVersion":"0.3","parameters":{"Id":{"type":"String"}},"mainSteps":[{"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A","Id":"{{ Id }}"}}]}`
		var mu sync.Mutex
		running, most := 0, 0
		seen := map[string]bool{}
		st.acts["aws:executeAwsApi"] = automation.Action{Repeat: true, Run: func(ctx context.Context, c automation.Call) (any, error) {
			mu.Lock()
			running++
			most = max(most, running)
			seen[fmt.Sprint(c.Inputs["Id"])] = true
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return nil, nil
		}}
		s, end := st.plane("one", true)
		defer end()
		sp := &automation.Spread{Parameter: "Id", MaxConcurrency: "3", Targets: []target.Target{{Key: automation.ParameterValues, Values: []string{"a", "b", "c", "d", "e", "f", "g"}}}}
		id, err := s.Start(ann, automation.Request{DocumentName: "Each", Spread: sp})
		require.NoError(t, err)
		x, err := s.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Success, x.Status)
		require.Len(t, seen, 7)
		require.Equal(t, 3, most)
		list, _, err := s.List(ann, automation.Filter{Parent: id}, 0, "")
		require.NoError(t, err)
		require.Len(t, list, 7)

		st.acts["aws:executeAwsApi"] = automation.Action{Run: func(ctx context.Context, _ automation.Call) (any, error) { <-ctx.Done(); return nil, ctx.Err() }}
		id, err = s.Start(ann, automation.Request{DocumentName: "Each", Spread: sp})
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		require.NoError(t, s.Stop(ann, id, automation.Cancel))
		x, err = s.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Cancelled, x.Status)
		list, _, err = s.List(ann, automation.Filter{Parent: id}, 0, "")
		require.NoError(t, err)
		require.Len(t, list, 3)
		for _, c := range list {
			require.Equal(t, automation.Cancelled, c.Status)
		}
	})
}

// TestStatesThatAreTooLargeForSnapshots runs a loop whose script makes the state larger than a transaction may be: the history does without snapshots.
func TestStatesThatAreTooLargeForSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		script := strings.Repeat("# nothing\\n", 5000)
		var items []string
		for i := range 70 {
			items = append(items, fmt.Sprintf("%q", fmt.Sprint(i)))
		}
		st.docs["Heavy"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"l","action":"aws:loop","inputs":{"Iterators":[` + strings.Join(items, ",") + `],"Steps":[{"name":"a","action":"aws:executeScript","inputs":{"Runtime":"python3.11","Handler":"h","Script":"` + script + `"}}]}}]}`
		st.acts["aws:executeScript"] = automation.Action{Run: func(context.Context, automation.Call) (any, error) { return nil, nil }}
		s, end := st.plane("one", true)
		id, err := s.Start(ann, automation.Request{DocumentName: "Heavy"})
		require.NoError(t, err)
		x, err := s.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Success, x.Status)
		require.Len(t, x.Steps, 71)
		end()
		s, end = st.plane("two", true)
		defer end()
		_, h, err := s.History(ann, id)
		require.NoError(t, err)
		require.Len(t, h, 71)
	})
}

func TestForkThroughTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Two"] = `{"schemaVersion":"0.3","outputs":["b.Id"],"mainSteps":[
		 {"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A"},"outputs":[{"Name":"Id","Selector":"$.Id","Type":"String"}]},
		 {"name":"b","action":"aws:runCommand","inputs":{"DocumentName":"{{ a.Id }}","Comment":"x"},"outputs":[{"Name":"Id","Selector":"$.Got","Type":"String"}]}]}`
		calls := 0
		st.acts["aws:executeAwsApi"] = automation.Action{Repeat: true, Run: func(context.Context, automation.Call) (any, error) {
			calls++
			return map[string]any{"Id": "one"}, nil
		}}
		st.acts["aws:runCommand"] = automation.Action{Run: func(_ context.Context, c automation.Call) (any, error) {
			return map[string]any{"Got": fmt.Sprint(c.Inputs["DocumentName"], c.Inputs["Comment"])}, nil
		}}
		s, end := st.plane("one", true)
		defer end()
		id, err := s.Start(ann, automation.Request{DocumentName: "Two"})
		require.NoError(t, err)
		_, err = s.Wait(ann, id)
		require.NoError(t, err)
		fork, err := s.Fork(ann, id, 2, map[string][]string{"Comment": {"y"}})
		require.NoError(t, err)
		x, err := s.Wait(ann, fork)
		require.NoError(t, err)
		require.Equal(t, automation.Success, x.Status)
		require.Equal(t, "oney", x.Outputs["b.Id"])
		require.Equal(t, 1, calls, "what ran is not run again")
		var kinds []string
		for e, err := range s.Events(ann, fork, 0) {
			require.NoError(t, err)
			if kinds = append(kinds, e.Kind); e.Kind == "ExecutionSuccess" {
				break
			}
		}
		require.Equal(t, []string{"StepInProgress", "ExecutionInProgress", "StepSuccess", "ExecutionSuccess"}, kinds, "followers hear of the step that begins")
		_, _, err = s.History(ann, fork)
		require.NoError(t, err)
		_, err = s.Fork(ann, id, 3, nil)
		require.Equal(t, automation.StepNotFound, fault.CodeOf(err))
		_, err = s.Fork(ann, "nope", 1, nil)
		require.Equal(t, automation.ExecutionNotFound, fault.CodeOf(err))
	})
}

// TestAnswersAsLargeAsTheAPIAllows keeps what is larger than a value of the store, and hands it from a child to its parent.
func TestAnswersAsLargeAsTheAPIAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		large := strings.Repeat(`"\`, 50_000) // as JSON four times as long, and longer still as text in JSON
		st.mod = func(c *automation.Config) { c.Limits.Payload = 450_000 }
		st.acts["aws:executeScript"] = automation.Action{Repeat: true, Run: func(context.Context, automation.Call) (any, error) {
			return map[string]any{"Payload": large}, nil
		}}
		st.acts["aws:invokeLambdaFunction"] = automation.Action{Run: func(context.Context, automation.Call) (any, error) {
			return map[string]any{"StatusCode": int64(200), "Payload": strings.Repeat("x", 200_000)}, nil
		}}
		st.docs["Child"] = `{"schemaVersion":"0.3","outputs":["say.Text","call.Text"],"mainSteps":[
		 {"name":"say","action":"aws:executeScript","inputs":{"Runtime":"python3.11","Handler":"h","Script":"x"},"outputs":[{"Name":"Text","Selector":"$.Payload","Type":"String"}]},
		 {"name":"call","action":"aws:invokeLambdaFunction","inputs":{"FunctionName":"f"},"outputs":[{"Name":"Text","Selector":"$.Payload","Type":"String"}]}]}`
		st.docs["Parent"] = `{"schemaVersion":"0.3","outputs":["run.Output"],"mainSteps":[{"name":"run","action":"aws:executeAutomation","inputs":{"DocumentName":"Child"}},{"name":"hold","action":"aws:pause","inputs":{}}]}`
		s, end := st.plane("one", true)
		id, err := s.Start(ann, automation.Request{DocumentName: "Parent"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		x, _, err := s.Get(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Waiting, x.Status, "%+v", x.Failure)
		end()
		s, end = st.plane("two", true)
		defer end()
		time.Sleep(time.Minute)
		require.NoError(t, s.Signal(ann, id, automation.Signal{Type: automation.Resume}))
		x, err = s.Wait(ann, id)
		require.NoError(t, err)
		out, _ := x.Outputs["run.Output"].([]any)
		require.Len(t, out, 2)
		require.True(t, out[0] == large && len(out[1].(string)) == 200_000, "all of it came")
		_, h, err := s.History(ann, id)
		require.NoError(t, err)
		child := ""
		for _, e := range h {
			if e.Event.Child != nil {
				child = e.Event.Child.ID
			}
		}
		_, _, err = s.History(ann, child)
		require.NoError(t, err)
		n, err := s.Prune(ann, -time.Hour)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.NoError(t, st.store.View(ann, func(ctx context.Context, r store.Reader) error {
			for it, err := range r.Scan(ctx, key.New(access.DefaultTenant).Str("automation").Range()) {
				require.NoError(t, err)
				require.Failf(t, "something was left", "%q", it.Key)
			}
			return nil
		}))
	})
}

// TestCallsAndChildrenAreMadeAsTheStarter: with the attributes that the host's authorizer looks at, after a change of the control plane, too.
func TestCallsAndChildrenAreMadeAsTheStarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		var seen []access.Principal
		st.acts["aws:executeAwsApi"] = automation.Action{Repeat: true, Run: func(ctx context.Context, _ automation.Call) (any, error) {
			seen = append(seen, access.From(ctx))
			return nil, nil
		}}
		st.docs["Child"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A"}}]}`
		st.docs["Parent"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT1H"}},{"name":"b","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"B"}},
		 {"name":"run","action":"aws:executeAutomation","inputs":{"DocumentName":"Child"}}]}`
		s, end := st.plane("one", true)
		bob := access.With(context.Background(), access.Principal{Name: "bob", Attributes: map[string]string{"role": "operator"}})
		id, err := s.Start(bob, automation.Request{DocumentName: "Parent"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		end()
		s, end = st.plane("two", true)
		defer end()
		x, err := s.Wait(bob, id)
		require.NoError(t, err)
		require.Equal(t, automation.Success, x.Status)
		require.Len(t, seen, 2)
		for _, p := range seen {
			require.Equal(t, "bob", p.Name)
			require.Equal(t, map[string]string{"role": "operator"}, p.Attributes)
		}
	})
}

func TestCommitsAreObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		var mu sync.Mutex
		transitions, held, pending := 0, 0, 0
		st.mod = func(c *automation.Config) {
			c.Concurrency = 1
			c.Observe = func(o automation.Observation) {
				mu.Lock()
				defer mu.Unlock()
				transitions += o.Transitions
				held, pending = max(held, o.Held), max(pending, o.Pending)
				if o.Err != nil {
					t.Error(o.Err)
				}
			}
		}
		st.docs["Rest"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT1M"}}]}`
		s, end := st.plane("one", true)
		defer end()
		time.Sleep(time.Second)
		var ids []string
		for range 40 { // more than there are parts: one has several
			id, err := s.Start(ann, automation.Request{DocumentName: "Rest"})
			require.NoError(t, err)
			ids = append(ids, id)
		}
		for _, id := range ids {
			x, err := s.Wait(ann, id)
			require.NoError(t, err)
			require.Equal(t, automation.Success, x.Status)
		}
		mu.Lock()
		defer mu.Unlock()
		require.GreaterOrEqual(t, transitions, 80, "each began and ended")
		require.Positive(t, held)
		require.Positive(t, pending)
	})
}
