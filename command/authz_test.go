package command

import (
	"context"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// row is one method that callers reach, with the rights that it needs and the code with which it refuses.
type row struct {
	needs   []string
	refusal fault.Code
	call    func(ctx context.Context, s *Service, id, node string) (seen int, err error)
}

const (
	send      = "ssm:SendCommand"
	cancel    = "ssm:CancelCommand"
	list      = "ssm:ListCommands"
	listInvs  = "ssm:ListCommandInvocations"
	getInv    = "ssm:GetCommandInvocation"
	anyAction = "*"
)

// methods are all of Service that act for a caller. The others are the host's own: see TestEveryMethodHasARow.
var methods = map[string]row{
	"Send": {[]string{send}, fault.AccessDenied, func(ctx context.Context, s *Service, _, node string) (int, error) {
		_, err := s.Send(ctx, SendRequest{DocumentName: "Hello", Targets: web})
		return 1, err
	}},
	"Plan": {[]string{send}, fault.AccessDenied, func(ctx context.Context, s *Service, _, node string) (int, error) {
		p, err := s.Plan(ctx, SendRequest{DocumentName: "Hello", Targets: web})
		return len(p.Nodes), err
	}},
	"Cancel": {[]string{cancel}, fault.AccessDenied, func(ctx context.Context, s *Service, id, node string) (int, error) { return 1, s.Cancel(ctx, id, node) }},
	"Get": {[]string{list}, fault.InvalidCommandID, func(ctx context.Context, s *Service, id, _ string) (int, error) {
		_, err := s.Get(ctx, id)
		return 1, err
	}},
	"List": {[]string{list}, "", func(ctx context.Context, s *Service, _, _ string) (int, error) {
		out, _, err := s.List(ctx, ListRequest{})
		return len(out), err
	}},
	"Invocation": {[]string{getInv}, fault.InvalidCommandID, func(ctx context.Context, s *Service, id, node string) (int, error) {
		_, err := s.Invocation(ctx, id, node)
		return 1, err
	}},
	"Invocations": {[]string{listInvs}, fault.InvalidCommandID, func(ctx context.Context, s *Service, id, node string) (int, error) {
		out, _, err := s.Invocations(ctx, ListRequest{Command: id})
		return len(out), err
	}},
	"Output": {[]string{getInv}, fault.InvalidCommandID, func(ctx context.Context, s *Service, id, node string) (int, error) {
		r, _, err := s.Output(ctx, id, node, "greet", false)
		if err != nil {
			return 0, err
		}
		b, err := io.ReadAll(r)
		return len(b), errors.Join(err, r.Close())
	}},
	"Events": {[]string{listInvs}, fault.InvalidCommandID, func(ctx context.Context, s *Service, id, _ string) (n int, err error) {
		for _, err := range s.Events(ctx, id, 0) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}},
	"Execute": {[]string{send, listInvs, list}, fault.AccessDenied, func(ctx context.Context, s *Service, _, _ string) (int, error) {
		_, rs, err := s.Execute(ctx, SendRequest{DocumentName: "Hello", Targets: web})
		return len(rs), err
	}},
	"Explain": {[]string{list, getInv}, fault.InvalidCommandID, func(ctx context.Context, s *Service, id, node string) (int, error) {
		_, err := s.Explain(ctx, id, node)
		return 1, err
	}},
	"Wait": {[]string{listInvs, list}, fault.InvalidCommandID, func(ctx context.Context, s *Service, id, _ string) (int, error) {
		_, err := s.Wait(ctx, id)
		return 1, err
	}},
}

func TestEveryMethodHasARow(t *testing.T) {
	own := []string{"Run", "Handle", "Heard", "Prune", "Gauge", "Owned", "Strays"} // of the host: they act for nobody
	typ := reflect.TypeFor[*Service]()
	for i := range typ.NumMethod() {
		if n := typ.Method(i).Name; !slices.Contains(own, n) {
			require.NotNil(t, methods[n].call, "%s: a new method needs a row in this table, or a reason to have none", n)
		}
	}
}

// principals and what they may do: everybody has exactly the rights in their name, in their tenant.
func principals() map[string][]string {
	out := map[string][]string{"admin": {anyAction}, "none": {}, "reader": {list, listInvs, getInv}}
	for _, a := range []string{send, cancel, list, listInvs, getInv} {
		out["only "+a] = []string{a}
		var but []string
		for _, b := range []string{send, cancel, list, listInvs, getInv} {
			if b != a {
				but = append(but, b)
			}
		}
		out["all but "+a] = but
	}
	return out
}

// T-AUTHZ: every method, every principal, every tenant: who may does, who may not gets the same answer as for what does not exist, and leaves a trace.
func TestAuthz(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 2)
		defer w.close()
		who := principals()
		var log *audit.Log
		p := w.start("plane", func(c *Config) {
			log = audit.New(audit.Config{Store: c.Store, Durable: true, Authorize: access.AllowAll{}})
			c.Authorizer, c.Audit = access.Grants(who), log
		})
		defer p.stop()
		synctest.Wait()
		admin := access.With(t.Context(), access.Principal{Name: "admin"})
		c, err := p.Send(admin, SendRequest{DocumentName: "Hello", Targets: web})
		require.NoError(t, err)
		_, err = p.Wait(admin, c.ID)
		require.NoError(t, err)
		node := w.nodes[0].ID
		const absent = "00000000-0000-4000-8000-000000000000"
		cells := 0
		for _, name := range slices.Sorted(maps.Keys(methods)) {
			m := methods[name]
			for _, caller := range append(slices.Sorted(maps.Keys(who)), "") {
				for _, tenant := range []string{"default", "other", "defaul"} {
					time.Sleep(time.Millisecond)
					ctx := access.With(t.Context(), access.Principal{Name: caller, Tenant: tenant})
					may := caller != ""
					for _, need := range m.needs {
						may = may && (slices.Contains(who[caller], need) || slices.Contains(who[caller], anyAction))
					}
					began := time.Now()
					seen, err := m.call(ctx, p.Service, c.ID, node)
					_, nothing := m.call(ctx, p.Service, absent, node)
					cell := name + " by " + caller + " of " + tenant
					cells++
					switch {
					case slices.Contains([]string{"Send", "Plan", "Execute"}, name) && may:
						require.NoError(t, err, cell)
						require.Equal(t, name == "Send" || tenant == "default", seen > 0, "%s: nodes of another tenant are no targets", cell)
						continue
					case name == "Execute" && slices.Contains(who[caller], send) && caller != "": // it was sent, and may not be looked at
						require.Equal(t, fault.InvalidCommandID, fault.CodeOf(err), cell)
						continue
					case name == "List":
						require.NoError(t, err, cell)
						require.Equal(t, may && (tenant == "default" || seen > 0), seen > 0, cell)
						if !may {
							require.Zero(t, seen, cell)
						}
					case may && tenant == "default":
						require.NoError(t, err, cell)
						require.Equal(t, fault.InvalidCommandID, fault.CodeOf(nothing), cell)
						continue
					case may: // another tenant's command does not exist
						require.Equal(t, fault.InvalidCommandID, fault.CodeOf(err), cell)
						require.Equal(t, strings.ReplaceAll(err.Error(), c.ID, absent), nothing.Error(), cell)
						continue
					default:
						require.Equal(t, m.refusal, fault.CodeOf(err), cell)
						require.Equal(t, strings.ReplaceAll(err.Error(), c.ID, absent), nothing.Error(), "%s: absent and forbidden look alike", cell)
					}
					if may || tenant != "default" {
						continue
					}
					entries, _, err := log.List(ctx, audit.Filter{After: began, Principal: caller, Outcome: audit.Denied}, nil)
					require.NoError(t, err)
					require.NotEmpty(t, entries, "%s: the refusal was not recorded", cell)
					require.Contains(t, m.needs, entries[0].Action, cell)
				}
			}
		}
		require.Equal(t, len(methods)*(len(who)+1)*3, cells)
	})
}

// byTag allows SendCommand on documents, and on nodes that carry the tag.
type byTag struct{ allowed func() string }

func (b byTag) Authorize(_ context.Context, _ access.Principal, action, resource string, attributes map[string]string) error {
	if action == send && strings.HasPrefix(resource, "node/") && attributes["Role"] != b.allowed() {
		return errors.New("not this node")
	}
	return nil
}

// Rights are asked for each node: named ones when the command is sent, matched ones when their turn comes, with the tags that they have then.
func TestRightsAreAskedForEachNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 3)
		defer w.close()
		allowed := "web"
		p := w.start("plane", func(c *Config) {
			c.Authorizer = byTag{func() string { w.mu.Lock(); defer w.mu.Unlock(); return allowed }}
		})
		defer p.stop()
		synctest.Wait()
		w.nodes[1].Tags = map[string]string{"Role": "db"}
		_, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", InstanceIDs: []string{w.nodes[1].ID}})
		require.Equal(t, fault.InvalidInstanceID, fault.CodeOf(err))
		_, absent := p.Send(t.Context(), SendRequest{DocumentName: "Hello", InstanceIDs: []string{"mi-0"}})
		require.Equal(t, strings.ReplaceAll(err.Error(), w.nodes[1].ID, "mi-0"), absent.Error(), "absent and forbidden look alike")

		plan, err := p.Plan(t.Context(), SendRequest{DocumentName: "Hello", Targets: all})
		require.NoError(t, err)
		require.Equal(t, message.DetailAccessDenied, plan.Nodes[1].Refused)
		w.works(10 * time.Second)
		c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: all, MaxConcurrency: "1"})
		require.NoError(t, err)
		time.Sleep(time.Second)
		w.mu.Lock()
		allowed = "nobody" // the right is taken away while the first node works
		w.mu.Unlock()
		got, err := p.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, Counts{message.DetailSuccess: 1, message.DetailAccessDenied: 2}, got.Counts)
		require.Equal(t, message.Success, got.Status)
	})
}
