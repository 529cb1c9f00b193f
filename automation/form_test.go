package automation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/record"
)

// release starts a control plane of a form.
func (st *site) release(name string, form int, mod func(*automation.Config)) (*automation.Service, func()) {
	before := st.mod
	defer func() { st.mod = before }()
	st.mod = func(c *automation.Config) {
		automation.OfForm(c, form)
		if mod != nil {
			mod(c)
		}
	}
	return st.plane(name, false)
}

// config is that of a control plane of a form that owns nothing.
func (st *site) config(form int) automation.Config {
	c := automation.Config{Store: st.store, Documents: st.docs, Authorizer: access.AllowAll{}, Leases: lease.New(st.store, nil, lease.Config{})}
	automation.OfForm(&c, form)
	return c
}

// about is all that the store has about an execution.
func (st *site) about(id string) string {
	var b strings.Builder
	require.NoError(st.t, st.store.View(st.t.Context(), func(ctx context.Context, r store.Reader) error {
		b.Reset()
		for it, err := range r.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
			if bytes.Contains(it.Key, []byte(id)) {
				fmt.Fprintf(&b, "%q = %q\n", it.Key, it.Value)
			}
		}
		return nil
	}))
	return b.String()
}

// future adds to what lists show of an execution what this release does not know.
func (st *site) future(id string) {
	var c *record.Codec
	require.NoError(st.t, st.store.Update(st.t.Context(), func(ctx context.Context, tx store.Tx) error {
		puts := map[string][]byte{}
		for it, err := range tx.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
			if !bytes.Contains(it.Key, []byte(id)) || !bytes.Contains(it.Key, []byte("head")) || bytes.Contains(it.Key, []byte("events")) {
				continue
			}
			b, err := c.Open(it.Key, it.Value)
			if err != nil {
				return err
			}
			var m map[string]any
			if err := json.Unmarshal(b, &m); err != nil {
				return err
			}
			m["future"] = "must stay"
			if b, err = json.Marshal(m); err != nil {
				return err
			}
			puts[string(it.Key)] = b
		}
		require.Len(st.t, puts, 1)
		for k, b := range puts {
			if err := tx.Put([]byte(k), c.Seal([]byte(k), b)); err != nil {
				return err
			}
		}
		return nil
	}))
}

const resting = `{"schemaVersion":"0.3","mainSteps":[{"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT3S"}},{"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"K"}}]}`

// what a newer release wrote is not touched by an older one, whatever is due and whoever asks; the others of the same part go on; and who understands it finishes it.
func TestR28_AnExecutionOfANewerReleaseIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Kid"], st.docs["Asking"] = resting, asking
		st.acts["aws:executeAwsApi"] = automation.Action{Run: func(context.Context, automation.Call) (any, error) { return map[string]any{"State": "ok"}, nil }}
		newer, end := st.release("newer", 2, nil)
		due, err := newer.Start(ann, automation.Request{DocumentName: "Kid"})
		require.NoError(t, err)
		asks, err := newer.Start(ann, automation.Request{DocumentName: "Asking", Parameters: map[string][]string{"Id": {"x"}}})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, newer.Signal(ann, asks, automation.Signal{Type: automation.Approve}))
		end()
		st.future(due)
		st.future(asks)
		before := st.about(due) + st.about(asks)
		require.Contains(t, before, `\"form\":2`)

		old, endOld := st.release("old", 1, nil)
		defer endOld()
		synctest.Wait()
		for range 60 {
			id, err := old.Start(ann, automation.Request{DocumentName: "Kid"})
			require.NoError(t, err)
			x, err := old.Wait(ann, id)
			require.NoError(t, err)
			require.Equal(t, automation.Success, x.Status, "the others go on")
		}
		require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(old.Signal(ann, asks, automation.Signal{Type: automation.Approve})))
		require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(old.Stop(ann, due, automation.Cancel)))
		if !testing.Short() {
			time.Sleep(time.Hour)
		}
		require.Equal(t, before, st.about(due)+st.about(asks))
		require.Equal(t, 2, old.Foreign())

		newer, end = st.release("newer", 2, nil)
		defer end()
		for _, id := range []string{due, asks} {
			x, err := newer.Wait(ann, id)
			require.NoError(t, err)
			require.Equal(t, automation.Success, x.Status)
		}
		require.Zero(t, old.Foreign())
		before = st.about(due)
		time.Sleep(time.Hour)
		_, err = old.Prune(ann, time.Minute)
		require.NoError(t, err)
		require.Equal(t, before, st.about(due), "who does not understand it does not remove it")
	})
}

// A letter for an execution that is left alone waits, and holds up no other one of its part.
func TestR28_LettersWaitWithTheExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Hold"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"hold","action":"aws:pause","inputs":{}}]}`
		st.docs["Kid"] = resting
		newer, end := st.release("newer", 2, nil)
		old, endOld := st.release("old", 1, nil)
		defer endOld()
		time.Sleep(30 * time.Second)
		var ids []string
		for range 40 {
			id, err := newer.Start(ann, automation.Request{DocumentName: "Hold"})
			require.NoError(t, err)
			ids = append(ids, id)
		}
		time.Sleep(time.Minute)
		end()
		for _, id := range ids { // accepted by a newer one that then died
			other, err := automation.NewService(st.config(2))
			require.NoError(t, err)
			require.NoError(t, other.Signal(ann, id, automation.Signal{Type: automation.Resume}))
		}
		time.Sleep(time.Minute)
		for range 40 {
			id, err := old.Start(ann, automation.Request{DocumentName: "Kid"})
			require.NoError(t, err)
			x, err := old.Wait(ann, id)
			require.NoError(t, err)
			require.Equal(t, automation.Success, x.Status)
		}
		require.Equal(t, 40, old.Foreign())
		newer, end = st.release("newer", 2, nil)
		defer end()
		for _, id := range ids {
			x, err := newer.Wait(ann, id)
			require.NoError(t, err)
			require.Equal(t, automation.Success, x.Status)
		}
	})
}

// An execution whose next step needs an action that an older control plane was not given waits for the newer one that lives; where none lives the step fails and says so.
func TestR28_AnUnknownActionWaitsForWhoKnowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Call"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT3S"}},{"name":"f","action":"aws:invokeLambdaFunction","inputs":{"FunctionName":"f"}}]}`
		old, endOld := st.release("old", 1, nil)
		defer endOld()
		time.Sleep(time.Second)
		id, err := old.Start(ann, automation.Request{DocumentName: "Call"})
		require.NoError(t, err)
		x, err := old.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Failed, x.Status)
		require.Contains(t, x.Steps[1].Failure.Message, "it was not given to it")

		var mu sync.Mutex
		calls := map[string]int{}
		newer, end := st.release("newer", 2, func(c *automation.Config) {
			c.Actions = map[string]automation.Action{"aws:invokeLambdaFunction": {Run: func(_ context.Context, c automation.Call) (any, error) {
				mu.Lock()
				defer mu.Unlock()
				calls[c.Execution]++
				return map[string]any{}, nil
			}}}
		})
		defer end()
		time.Sleep(30 * time.Second)
		var ids []string
		for range 40 {
			id, err := old.Start(ann, automation.Request{DocumentName: "Call"})
			require.NoError(t, err)
			ids = append(ids, id)
		}
		for _, id := range ids {
			x, err := newer.Wait(ann, id)
			require.NoError(t, err)
			require.Equal(t, automation.Success, x.Status, "%v", x.Failure)
			mu.Lock()
			n := calls[id]
			mu.Unlock()
			require.Equal(t, 1, n)
		}
	})
}

// A stored document with an action that is not in this release's table is a newer one, too: nothing of its execution is touched.
func TestR28_ADocumentThatCannotBeReadIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Call"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT3S"}},{"name":"f","action":"acme:ping","inputs":{}}]}`
		knows := func(c *automation.Config) {
			c.Known = document.Builtin().With(document.ActionSpec{Name: "acme:ping", Schemas: []string{"0.3"}})
			c.Actions = map[string]automation.Action{"acme:ping": {Run: func(context.Context, automation.Call) (any, error) { return map[string]any{}, nil }}}
		}
		newer, end := st.release("newer", 1, knows)
		id, err := newer.Start(ann, automation.Request{DocumentName: "Call"})
		require.NoError(t, err)
		time.Sleep(time.Second)
		end()
		before := st.about(id)
		old, endOld := st.release("old", 1, nil)
		time.Sleep(time.Hour)
		require.Equal(t, before, st.about(id))
		require.Equal(t, 1, old.Foreign())
		endOld()
		newer, end = st.release("newer", 1, knows)
		defer end()
		x, err := newer.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Success, x.Status)
	})
}
