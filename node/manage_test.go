package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/target"
)

// operation is one that callers have, on something that exists or not, and the action that it must ask for.
type operation struct {
	action string
	call   func(ctx context.Context, w *world, node, group string) error
}

func operations() []operation {
	return []operation{
		{"ssm:CreateActivation", func(ctx context.Context, w *world, _, _ string) error {
			_, err := w.CreateActivation(ctx, ActivationRequest{})
			return err
		}},
		{"ssm:DescribeActivations", func(ctx context.Context, w *world, _, _ string) error {
			_, _, err := w.DescribeActivations(ctx, nil, nil)
			return err
		}},
		{"ssm:DeleteActivation", func(ctx context.Context, w *world, _, _ string) error { return w.DeleteActivation(ctx, "x") }},
		{"ssm:DescribeInstanceInformation", func(ctx context.Context, w *world, node, _ string) error { _, err := w.Get(ctx, node); return err }},
		{"ssm:DescribeInstanceInformation", func(ctx context.Context, w *world, _, _ string) error { _, _, err := w.List(ctx, nil, nil); return err }},
		{"ssm:UpdateInstanceInformation", func(ctx context.Context, w *world, node, _ string) error { return w.UpdateName(ctx, node, "n") }},
		{"ssm:UpdateManagedInstanceRole", func(ctx context.Context, w *world, node, _ string) error { return w.UpdateRole(ctx, node, "n") }},
		{"ssm:AddTagsToResource", func(ctx context.Context, w *world, node, _ string) error {
			return w.AddTags(ctx, node, map[string]string{"a": "b"})
		}},
		{"ssm:RemoveTagsFromResource", func(ctx context.Context, w *world, node, _ string) error {
			return w.RemoveTags(ctx, node, []string{"a"})
		}},
		{"ssm:ListTagsForResource", func(ctx context.Context, w *world, node, _ string) error { _, err := w.ListTags(ctx, node); return err }},
		{"resource-groups:CreateGroup", func(ctx context.Context, w *world, _, _ string) error { return w.CreateGroup(ctx, Group{Name: "new"}) }},
		{"resource-groups:UpdateGroupQuery", func(ctx context.Context, w *world, _, group string) error {
			return w.UpdateGroup(ctx, Group{Name: group})
		}},
		{"resource-groups:GetGroup", func(ctx context.Context, w *world, _, group string) error {
			_, err := w.GetGroup(ctx, group)
			return err
		}},
		{"resource-groups:ListGroups", func(ctx context.Context, w *world, _, _ string) error {
			_, _, err := w.ListGroups(ctx, nil)
			return err
		}},
		{"resource-groups:ListGroupResources", func(ctx context.Context, w *world, _, group string) error {
			_, _, err := w.ListGroupNodes(ctx, group, nil)
			return err
		}},
		{"resource-groups:DeleteGroup", func(ctx context.Context, w *world, _, group string) error { return w.DeleteGroup(ctx, group) }},
		{"ssm:DeregisterManagedInstance", func(ctx context.Context, w *world, node, _ string) error { return w.Deregister(ctx, node) }},
	}
}

// R-01, T-AUTHZ: every operation asks for its action, which stands in the table of permissions; without it nothing happens, the refusal is recorded, and what exists
// looks like what does not. With it, and with no other, the operation works.
func TestR01_EveryOperationAsksAndRecords(t *testing.T) {
	table := map[string]access.Action{}
	for _, a := range access.Actions() {
		table[a.Name] = a
	}
	for i, op := range operations() {
		name := fmt.Sprint(i, " ", op.action)
		require.Contains(t, table, op.action)
		grants := access.Grants{"root": {"*"}, "right": {op.action}, "wrong": {}}
		for a := range table {
			if a != op.action {
				grants["wrong"] = append(grants["wrong"], a)
			}
		}
		w := newWorld(t, func(c *Config) { c.Authorizer = grants })
		node := w.put(t, as("t", "root"), nil)
		require.NoError(t, w.CreateGroup(as("t", "root"), Group{Name: "group"}))
		before := dump(t, w.store)
		for _, who := range []string{"", "wrong"} {
			present := op.call(as("t", who), w, node, "group")
			absent := op.call(as("t", who), w, "mi-00000000000000000", "absent")
			require.Equal(t, fault.AccessDenied, fault.CodeOf(present), name)
			same := strings.NewReplacer("mi-00000000000000000", node, "absent", "group").Replace(absent.Error())
			require.Equal(t, present.Error(), same, "%s: existing and absent differ", name)
		}
		require.Equal(t, before, dump(t, w.store), "%s: a refused call wrote", name)
		require.NoError(t, w.audit.Flush(context.Background()))
		refused, _, err := w.audit.List(as("t", "x"), audit.Filter{Outcome: audit.Denied, Action: op.action}, nil)
		require.NoError(t, err)
		require.Len(t, refused, 4, name)

		err = op.call(as("t", "right"), w, node, "group")
		if op.action == "ssm:DeleteActivation" {
			require.Equal(t, fault.InvalidActivationID, fault.CodeOf(err))
		} else {
			require.NoError(t, err, name)
		}
		require.NoError(t, w.audit.Flush(context.Background()))
		done, _, err := w.audit.List(as("t", "x"), audit.Filter{Principal: "right", Action: op.action}, nil)
		require.NoError(t, err)
		require.Len(t, done, 1, "%s: one entry for one call", name)
		require.Equal(t, err == nil && op.action != "ssm:DeleteActivation", done[0].Outcome == audit.Success, name)
	}
}

func TestAbsentThingsAreNamed(t *testing.T) {
	w := newWorld(t, nil)
	for _, id := range []string{"mi-00000000000000000", "", "../x", "\x1b[2J", strings.Repeat("x", 5000)} {
		for _, err := range []error{
			func() error { _, err := w.Get(alice, id); return err }(), w.UpdateName(alice, id, "x"), w.UpdateRole(alice, id, "x"), w.AddTags(alice, id, map[string]string{"a": ""}),
			w.RemoveTags(alice, id, []string{"a"}), w.Deregister(alice, id),
		} {
			require.Equal(t, fault.InvalidInstanceID, fault.CodeOf(err), "%q", id)
			require.NotContains(t, err.Error(), "\x1b")
		}
	}
	for _, name := range []string{"absent", "", "a/b", strings.Repeat("x", 5000)} {
		for _, err := range []error{
			func() error { _, err := w.GetGroup(alice, name); return err }(), w.DeleteGroup(alice, name),
			func() error { _, _, err := w.ListGroupNodes(alice, name, nil); return err }(),
		} {
			require.Equal(t, fault.DoesNotExist, fault.CodeOf(err))
		}
	}
	require.Equal(t, fault.DoesNotExist, fault.CodeOf(w.UpdateGroup(alice, Group{Name: "absent"})))
}

// An authorizer that decides by tags is asked with the node's tags, in lists too, and the rest looks absent to it.
type byTag struct{}

func (byTag) Authorize(_ context.Context, p access.Principal, _, resource string, a map[string]string) error {
	if p.Name == "root" || resource == "*" || a["aws:ResourceTag/Owner"] == p.Name {
		return nil
	}
	return errors.New("not the owner")
}

func TestR17_ListsAreAuthorizedItemByItem(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Authorizer = byTag{} })
	root := as("t", "root")
	var mine []string
	for i := range 9 {
		id := w.put(t, root, map[string]string{"Owner": []string{"alice", "bob", "carol"}[i%3], "All": "x"})
		if i%3 == 0 {
			mine = append(mine, id)
		}
	}
	slices.Sort(mine)
	var got []string
	p := &Page{MaxResults: 2}
	for {
		infos, next, err := w.List(alice, nil, p)
		require.NoError(t, err)
		for _, i := range infos {
			got = append(got, i.ID)
		}
		if next == "" {
			break
		}
		p.NextToken = next
	}
	require.Equal(t, mine, got)
	require.NoError(t, w.UpdateName(alice, mine[0], "x"))
	others, _, err := w.List(as("t", "bob"), nil, nil)
	require.NoError(t, err)
	foreign := w.UpdateName(alice, others[0].ID, "x")
	absent := w.UpdateName(alice, "mi-00000000000000000", "x")
	require.Equal(t, foreign.Error(), strings.ReplaceAll(absent.Error(), "mi-00000000000000000", others[0].ID))
}

func TestTags(t *testing.T) {
	w := newWorld(t, nil)
	id := w.put(t, alice, map[string]string{"Role": "web"})
	ids := func(k string, v ...string) []string {
		ids, _, err := w.Resolve(alice, "t", []target.Target{{Key: k, Values: v}}, "", 0)
		require.NoError(t, err)
		return ids
	}
	require.Equal(t, []string{id}, ids("tag:Role", "web"))
	require.NoError(t, w.AddTags(alice, id, map[string]string{"Role": "db", "Env": ""}))
	require.Empty(t, ids("tag:Role", "web"), "the index forgot the old value")
	require.Equal(t, []string{id}, ids("tag:Role", "db"))
	require.Equal(t, []string{id}, ids("tag:Env", ""))
	require.Equal(t, []string{id}, ids("tag-key", "Env"))
	tags, err := w.ListTags(alice, id)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"Role": "db", "Env": ""}, tags)
	require.NoError(t, w.RemoveTags(alice, id, []string{"Role", "Absent"}))
	require.Empty(t, ids("tag-key", "Role"))
	require.Empty(t, ids("tag:Role", "db"))

	long := strings.Repeat("é", 128)
	value := strings.Repeat("ü", 256)
	near := value[:len(value)-2] + "ö"
	require.NoError(t, w.AddTags(alice, id, map[string]string{long: value}))
	require.Equal(t, []string{id}, ids("tag:"+long, value), "the longest tags fit into the index")
	require.Empty(t, ids("tag:"+long, near))

	for i := range 48 {
		require.NoError(t, w.AddTags(alice, id, map[string]string{fmt.Sprint("k", i): ""}))
	}
	require.Equal(t, fault.TooManyTags, fault.CodeOf(w.AddTags(alice, id, map[string]string{"51st": ""})), "50 in all, not a call")
	require.Equal(t, fault.Validation, fault.CodeOf(w.AddTags(alice, id, nil)))
	require.Equal(t, fault.Validation, fault.CodeOf(w.RemoveTags(alice, id, nil)))
	require.Equal(t, fault.Validation, fault.CodeOf(w.RemoveTags(alice, id, []string{"<"})))
	require.Equal(t, fault.Validation, fault.CodeOf(w.UpdateName(alice, id, strings.Repeat("x", MaxName+1))))
	require.Equal(t, fault.Validation, fault.CodeOf(w.UpdateRole(alice, id, strings.Repeat("x", MaxRole+1))))
}

func TestDeregisterLeavesNothingButHistory(t *testing.T) {
	w := newWorld(t, nil)
	keep := w.put(t, alice, map[string]string{"Role": "web"})
	before := dump(t, w.store)
	id := w.put(t, alice, map[string]string{"Role": "web", "x": "y"})
	require.NoError(t, w.Seen(alice, "t", id, nil, w.clock.t))
	require.NoError(t, w.Flush(alice))
	require.NoError(t, w.Deregister(alice, id))
	require.NoError(t, w.Seen(alice, "t", id, &message.Facts{AgentName: "late"}, w.clock.t), "a late heartbeat")
	require.NoError(t, w.Flush(alice))
	for k := range dump(t, w.store) {
		if _, ok := before[k]; !ok && !strings.Contains(k, "audit") && !strings.Contains(k, "activation") {
			t.Errorf("left: %q", k)
		}
	}
	require.Empty(t, w.presence)
	ids, _, err := w.Resolve(alice, "t", []target.Target{{Key: "tag:Role", Values: []string{"web"}}}, "", 0)
	require.NoError(t, err)
	require.Equal(t, []string{keep}, ids)
	_, err = w.Get(alice, id)
	require.Equal(t, fault.InvalidInstanceID, fault.CodeOf(err))
}

func TestRG_Groups(t *testing.T) {
	w := newWorld(t, nil)
	web, db := w.put(t, alice, map[string]string{"Role": "web", "Env": "prod"}), w.put(t, alice, map[string]string{"Role": "db"})
	q, err := ParseQuery("TAG_FILTERS_1_0", `{"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Key":"Role","Values":["web","db"]},{"Key":"Env"}]}`)
	require.NoError(t, err)
	require.NoError(t, w.CreateGroup(alice, Group{Name: "prod.webs", Description: "d", Query: q}))
	g, err := w.GetGroup(alice, "prod.webs")
	require.NoError(t, err)
	require.Equal(t, Group{"prod.webs", "d", q, w.clock.t}, g)
	members := func(name string) []string {
		ids, next, err := w.ListGroupNodes(alice, name, nil)
		require.NoError(t, err)
		require.Empty(t, next)
		return ids
	}
	require.Equal(t, []string{web}, members("prod.webs"), "RG2: all keys, any value, no values is presence")
	q.TagFilters = q.TagFilters[:1]
	require.NoError(t, w.UpdateGroup(alice, Group{Name: "prod.webs", Query: q}))
	require.ElementsMatch(t, []string{web, db}, members("prod.webs"))
	q.ResourceTypeFilters = []string{"AWS::EC2::Instance"}
	require.NoError(t, w.UpdateGroup(alice, Group{Name: "prod.webs", Query: q}))
	require.Empty(t, members("prod.webs"))
	require.NoError(t, w.CreateGroup(alice, Group{Name: "everything"}))
	require.Len(t, members("everything"), 2)

	require.Equal(t, fault.AlreadyExists, fault.CodeOf(w.CreateGroup(alice, Group{Name: "everything"})))
	for _, name := range []string{"", "awsThing", "AWS", "a b", "a/b", "ä", strings.Repeat("x", 301)} {
		require.Equal(t, fault.Validation, fault.CodeOf(w.CreateGroup(alice, Group{Name: name})), "RG3: %q", name)
	}
	require.NoError(t, w.CreateGroup(alice, Group{Name: strings.Repeat("x", 300)}))
	groups, next, err := w.ListGroups(alice, &Page{MaxResults: 2})
	require.NoError(t, err)
	require.Len(t, groups, 2)
	rest, next, err := w.ListGroups(alice, &Page{MaxResults: 2, NextToken: next})
	require.NoError(t, err)
	require.Len(t, rest, 1)
	require.Empty(t, next)
	_, _, err = w.ListGroups(alice, &Page{NextToken: "x"})
	require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err))
	require.NoError(t, w.DeleteGroup(alice, "everything"))
	require.Equal(t, fault.DoesNotExist, fault.CodeOf(w.DeleteGroup(alice, "everything")))
	_, _, err = w.Resolve(alice, "t", []target.Target{{Key: target.ResourceGroup, Values: []string{"everything"}}}, "", 0)
	require.Equal(t, fault.InvalidTarget, fault.CodeOf(err))
}

func TestRG1_ParseQuery(t *testing.T) {
	for name, c := range map[string][2]string{
		"a stack":        {"CLOUDFORMATION_STACK_1_0", `{}`},
		"no JSON":        {TagFilters, `{`},
		"more":           {TagFilters, `{} x`},
		"unknown":        {TagFilters, `{"Nonsense":1}`},
		"too long":       {TagFilters, `{"ResourceTypeFilters":["AWS::AllSupported"]` + strings.Repeat(" ", 4096) + `}`},
		"a type":         {TagFilters, `{"ResourceTypeFilters":["x"]}`},
		"an empty key":   {TagFilters, `{"TagFilters":[{"Key":""}]}`},
		"a key twice":    {TagFilters, `{"TagFilters":[{"Key":"a"},{"Key":"a"}]}`},
		"a strange key":  {TagFilters, `{"TagFilters":[{"Key":"<"}]}`},
		"a long value":   {TagFilters, `{"TagFilters":[{"Key":"a","Values":["` + strings.Repeat("x", 257) + `"]}]}`},
		"too many value": {TagFilters, `{"TagFilters":[{"Key":"a","Values":["` + strings.Repeat(`","`, 50) + `"]}]}`},
	} {
		_, err := ParseQuery(c[0], c[1])
		require.Equal(t, fault.Validation, fault.CodeOf(err), "%s: %v", name, err)
	}
}

// T-TENANT: two tenants with equal names for everything. Whatever one does, the other's part of the store stays byte for byte the same.
func TestT_TENANT(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, nil)
		ctxs := []context.Context{as("a", "x"), as("b", "x")}
		nodes := []string{}
		for _, ctx := range ctxs {
			nodes = append(nodes, w.put(t, ctx, map[string]string{"Role": "web"}))
			require.NoError(rt, w.CreateGroup(ctx, Group{Name: "group"}))
		}
		part := func(tenant string) map[string]string {
			require.NoError(rt, w.audit.Flush(context.Background()))
			out := dump(t, w.store)
			maps.DeleteFunc(out, func(k, _ string) bool { return !strings.HasPrefix(k, string(space(tenant))) })
			return out
		}
		ops := operations()
		for range 12 {
			who := rapid.IntRange(0, 1).Draw(rt, "who")
			before := part([]string{"b", "a"}[who])
			op := rapid.SampledFrom(ops).Draw(rt, "op")
			_ = op.call(ctxs[who], w, rapid.SampledFrom(nodes).Draw(rt, "node"), "group") //nolint:errcheck // it may fail; it must not reach over
			_ = w.Seen(ctxs[who], []string{"a", "b"}[who], rapid.SampledFrom(nodes).Draw(rt, "seen"), nil, w.clock.t)
			require.NoError(rt, w.Flush(context.Background()))
			if d := part([]string{"b", "a"}[who]); !maps.Equal(before, d) {
				rt.Fatalf("%s of one tenant changed the other", op.action)
			}
		}
	})
}
