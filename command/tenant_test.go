package command

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/target"
)

// T-TENANT: two tenants with the same names of everything. Whatever one does, with its own things and with what it learnt of the other's, the state of the other is the same,
// byte for byte.
func TestTenant(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		synctest.Test(t, func(t *testing.T) { twoTenants(t, r) })
	})
}

func twoTenants(t *testing.T, r *rapid.T) {
	w := newSite(t, 0)
	defer w.close()
	// Both have nodes of the same ids; the site answers by tenant.
	nodes := tenants{w, []string{"mi-1", "mi-2", "mi-3"}}
	p := w.start("plane", func(c *Config) { c.Nodes, c.Retention = nodes, Retention{Count: 1} })
	defer p.stop()
	synctest.Wait()
	ctx := map[string]context.Context{}
	ids := map[string][]string{}
	for _, tenant := range []string{"a", "b"} {
		ctx[tenant] = access.With(t.Context(), access.Principal{Tenant: tenant, Name: "same"})
		w.works(time.Second)
		c, err := p.Send(ctx[tenant], SendRequest{DocumentName: "Hello", Targets: web, ClientToken: "same"})
		require.NoError(t, err)
		_, err = p.Wait(ctx[tenant], c.ID)
		require.NoError(t, err)
		w.works(1000 * time.Hour)
		d, err := p.Send(ctx[tenant], SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "1", Comment: "it runs on"})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, p.Handle(ctx[tenant], tenant, "mi-1", envelope(t, message.KindOutput, message.Output{Ref: message.Ref{Command: d.ID, Attempt: 1}, Data: []byte("out")})))
		ids[tenant] = []string{c.ID, d.ID}
	}
	state := func() string {
		s := dump(t, w.store, key.New("b").Range())
		for _, id := range ids["b"] {
			s += dump(t, w.store, activeKey(shardOf("b", id)).Str("b").Range())
			for _, kind := range []string{todoNews, todoCancel, todoMail} {
				s += dump(t, w.store, todoKey(shardOf("b", id)).Str(kind).Str("b").Range())
			}
		}
		for _, id := range ids["b"] {
			if out, _, err := p.Output(ctx["b"], id, "mi-1", "greet", false); err == nil {
				s += readAll(t, out)
			}
		}
		return s
	}
	before := state()
	for range rapid.IntRange(1, 12).Draw(r, "acts") {
		id := rapid.SampledFrom(append(append([]string{}, ids["a"]...), ids["b"]...)).Draw(r, "id")
		node := rapid.SampledFrom(nodes.ids).Draw(r, "node")
		ref := message.Ref{Command: id, Attempt: 1}
		act := rapid.SampledFrom([]string{"send", "send with the same token", "cancel", "cancel a node", "ready", "report", "output", "heard", "prune", "read"}).Draw(r, "act")
		a := ctx["a"]
		switch act {
		case "send":
			p.Send(a, SendRequest{DocumentName: "Hello", Targets: web}) //nolint:errcheck // whatever comes of it
		case "send with the same token":
			p.Send(a, SendRequest{DocumentName: "Hello", Targets: web, ClientToken: "same"}) //nolint:errcheck // likewise
		case "cancel":
			p.Cancel(a, id) //nolint:errcheck // likewise
		case "cancel a node":
			p.Cancel(a, id, node) //nolint:errcheck // likewise
		case "ready":
			p.Handle(a, "a", node, envelope(t, message.KindReady, message.Ready{Ref: ref})) //nolint:errcheck // likewise
		case "report":
			p.Handle(a, "a", node, envelope(t, message.KindReport, message.Report{Ref: ref, Seq: 9, Detail: message.DetailFailed})) //nolint:errcheck // likewise
		case "output":
			p.Handle(a, "a", node, envelope(t, message.KindOutput, message.Output{Ref: ref, Data: []byte("theirs"), Offset: int64(rapid.IntRange(0, 3).Draw(r, "offset"))})) //nolint:errcheck // likewise
		case "heard":
			p.Heard("a", node, true)
		case "prune":
			_, err := p.Prune(a, "a")
			require.NoError(t, err)
		case "read":
			own := id == ids["a"][0] || id == ids["a"][1]
			if !own {
				_, err := p.Get(a, id)
				require.Error(t, err)
				_, _, err = p.Output(a, id, node, "greet", false)
				require.Error(t, err)
				_, _, err = p.Invocations(a, ListRequest{Command: id})
				require.Error(t, err)
				_, _, err = p.List(a, ListRequest{NextToken: encodeToken(timeKey("b", time.Now(), id))})
				require.Error(t, err, "a token of another tenant's list")
			}
			list, _, err := p.List(a, ListRequest{})
			require.NoError(t, err)
			for _, c := range list {
				require.NotContains(t, ids["b"], c.ID)
			}
		}
		time.Sleep(50 * time.Millisecond)
		same(t, before, state(), fmt.Sprintf("%s of %s by the other tenant", act, id))
	}
}

// A sign of life of one tenant's node moves nothing of another tenant's node of the same id.
func TestHeardIsOfOneTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 0)
		defer w.close()
		nodes := tenants{w, []string{"mi-1", "mi-2"}}
		for _, n := range nodes.ids {
			w.deafen(n)
		}
		p := w.start("plane", func(c *Config) { c.Nodes = nodes })
		defer p.stop()
		synctest.Wait()
		for _, tenant := range []string{"a", "b"} {
			_, err := p.Send(access.With(t.Context(), access.Principal{Tenant: tenant}), SendRequest{DocumentName: "Hello", Targets: web})
			require.NoError(t, err)
		}
		time.Sleep(50 * time.Second) // all are Delayed, and were asked once more
		sent := func(tenant string) int { w.mu.Lock(); defer w.mu.Unlock(); return w.sentTo[tenant] }
		a, b := sent("a"), sent("b")
		p.Heard("a", "mi-1", true)
		time.Sleep(time.Second)
		require.Equal(t, a+1, sent("a"), "it is asked")
		require.Equal(t, b, sent("b"))
	})
}

// tenants gives every tenant nodes of the same ids.
type tenants struct {
	*site
	ids []string
}

func (n tenants) Resolve(context.Context, string, []target.Target, string, int) ([]string, string, error) {
	return n.ids, "", nil
}

func (n tenants) Nodes(_ context.Context, tenant string, ids []string) (out []target.Node, err error) {
	for _, id := range ids {
		out = append(out, target.Node{Tenant: tenant, ID: id, Platform: "Linux", Assurance: target.Signed, Tags: map[string]string{"Role": "web"}, Capabilities: []string{"aws:runShellScript"}})
	}
	return out, nil
}
