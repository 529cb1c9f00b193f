package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/target"
)

func TestH1_ActivationDefaultsAndLimits(t *testing.T) {
	w := newWorld(t, nil)
	now := w.clock.t
	act, err := w.CreateActivation(alice, ActivationRequest{})
	require.NoError(t, err)
	require.Regexp(t, `^[0-9a-f-]{36}$`, act.ID)
	require.GreaterOrEqual(t, act.Code.Len(), MinCode)
	require.LessOrEqual(t, act.Code.Len(), MaxCode)
	got, _, err := w.DescribeActivations(alice, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []Activation{{ID: act.ID, RegistrationLimit: 1, Created: now, Expires: now.Add(24 * time.Hour)}}, got)

	s := func(n int) string { return strings.Repeat("é", n) }
	tags := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("k", i)] = "v"
		}
		return m
	}
	for name, c := range map[string]struct {
		req  ActivationRequest
		code fault.Code
	}{
		"limit 1000":           {ActivationRequest{RegistrationLimit: 1000}, ""},
		"limit 1001":           {ActivationRequest{RegistrationLimit: 1001}, fault.Validation},
		"limit -1":             {ActivationRequest{RegistrationLimit: -1}, fault.Validation},
		"30 days":              {ActivationRequest{Expires: now.Add(30 * 24 * time.Hour)}, ""},
		"longer":               {ActivationRequest{Expires: now.Add(30*24*time.Hour + 1)}, fault.Validation},
		"over already":         {ActivationRequest{Expires: now}, fault.Validation},
		"name of 256":          {ActivationRequest{DefaultName: s(256)}, ""},
		"name of 257":          {ActivationRequest{DefaultName: s(257)}, fault.Validation},
		"role of 64":           {ActivationRequest{IamRole: s(64)}, ""},
		"role of 65":           {ActivationRequest{IamRole: s(65)}, fault.Validation},
		"description of 256":   {ActivationRequest{Description: s(256)}, ""},
		"description of 257":   {ActivationRequest{Description: s(257)}, fault.Validation},
		"escape in the name":   {ActivationRequest{DefaultName: "x\x1b[2J"}, fault.Validation},
		"50 tags":              {ActivationRequest{Tags: tags(50)}, ""},
		"51 tags":              {ActivationRequest{Tags: tags(51)}, fault.TooManyTags},
		"key of 128":           {ActivationRequest{Tags: map[string]string{s(128): s(256)}}, ""},
		"key of 129":           {ActivationRequest{Tags: map[string]string{s(129): ""}}, fault.Validation},
		"value of 257":         {ActivationRequest{Tags: map[string]string{"k": s(257)}}, fault.Validation},
		"empty key":            {ActivationRequest{Tags: map[string]string{"": "v"}}, fault.Validation},
		"reserved key":         {ActivationRequest{Tags: map[string]string{"AwS:x": "v"}}, fault.Validation},
		"key with a bracket":   {ActivationRequest{Tags: map[string]string{"k<": "v"}}, fault.Validation},
		"value with a bracket": {ActivationRequest{Tags: map[string]string{"k": "<"}}, fault.Validation},
	} {
		_, err := w.CreateActivation(alice, c.req)
		require.Equal(t, c.code, fault.CodeOf(err), "%s: %v", name, err)
	}
}

// The code is shown once. What is stored and recorded does not hold it in any form.
func TestR13_TheCodeIsNowhere(t *testing.T) {
	w := newWorld(t, nil)
	act, err := w.CreateActivation(alice, ActivationRequest{RegistrationLimit: 2})
	require.NoError(t, err)
	_, err = w.Register(context.Background(), machine(t, act, "a"))
	require.NoError(t, err)
	wrong := machine(t, act, "b")
	wrong.ActivationCode = "wrong" + wrong.ActivationCode
	_, err = w.Register(context.Background(), wrong)
	require.Error(t, err)
	require.NotContains(t, err.Error(), string(act.Code.Reveal()))
	require.NoError(t, w.audit.Flush(context.Background()))
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", act, act, act), string(act.Code.Reveal()))
	code := act.Code.Reveal()
	for k, v := range dump(t, w.store) {
		for _, form := range []string{string(code), hex.EncodeToString(code), base64.StdEncoding.EncodeToString(code), string(code[:10])} {
			require.NotContains(t, k+v, form)
		}
	}
}

func TestRegister(t *testing.T) {
	w := newWorld(t, nil)
	act, err := w.CreateActivation(alice, ActivationRequest{DefaultName: "web", IamRole: "role", RegistrationLimit: 2, Tags: map[string]string{"Role": "web"}})
	require.NoError(t, err)
	req := machine(t, act, "a")
	resp, err := w.Register(context.Background(), req)
	require.NoError(t, err)
	require.Regexp(t, `^mi-[0-9a-f]{17}$`, resp.Node)
	require.Equal(t, message.RegisterResponse{Tenant: "t", Node: resp.Node, SignKey: []byte("sign t"), SealKey: []byte("seal"), Epoch: 7}, resp)

	n, err := w.Nodes(context.Background(), "t", []string{"mi-0", resp.Node, strings.Repeat("x", 2000)})
	require.NoError(t, err)
	require.Equal(t, []target.Node{{Tenant: "t", ID: resp.Node, Name: "web", Platform: "Linux", PlatformName: "Debian GNU/Linux", Capabilities: []string{"a", "b"},
		Tags: map[string]string{"Role": "web"}, SignKey: req.SignKey, SealKey: req.SealKey, Assurance: target.Signed}}, n, "unknown ids are left out")
	info, err := w.Get(alice, resp.Node)
	require.NoError(t, err)
	require.Equal(t, Inactive, info.PingStatus, "it was never heard of")
	require.Equal(t, act.ID, info.ActivationID)
	require.Equal(t, "role", info.IamRole)

	acts, _, err := w.DescribeActivations(alice, []ActivationFilter{{"ActivationIds", []string{"x", act.ID}}}, nil)
	require.NoError(t, err)
	require.Equal(t, 1, acts[0].Registrations)

	entries, _, err := w.audit.List(alice, audit.Filter{Action: ActionRegister}, nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"activation": act.ID, "node": resp.Node}, entries[0].IDs)
}

// A repeat with the same token and keys is the same node: the answer may have been lost. Anything else with that token is refused.
func TestRegisterIsRepeatable(t *testing.T) {
	w := newWorld(t, nil)
	act, err := w.CreateActivation(alice, ActivationRequest{RegistrationLimit: 2})
	require.NoError(t, err)
	req := machine(t, act, "a")
	first, err := w.Register(context.Background(), req)
	require.NoError(t, err)
	w.clock.t = w.clock.t.Add(48 * time.Hour)
	again, err := w.Register(context.Background(), req)
	require.NoError(t, err, "also after the expiry")
	require.Equal(t, first, again)
	w.clock.t = w.clock.t.Add(-48 * time.Hour)

	_, err = w.Register(context.Background(), machine(t, act, "a"))
	require.Equal(t, fault.InvalidActivation, fault.CodeOf(err), "same token, other keys")
	acts, _, err := w.DescribeActivations(alice, nil, nil)
	require.NoError(t, err)
	require.Equal(t, 1, acts[0].Registrations)

	require.NoError(t, w.Deregister(alice, first.Node))
	second, err := w.Register(context.Background(), req)
	require.NoError(t, err, "a deregistered machine may register anew while the activation allows")
	require.NotEqual(t, first.Node, second.Node)
}

// T-ENROL: 1,000 parallel uses of a code that may be used once give exactly one node.
func TestT_ENROL(t *testing.T) {
	for _, limit := range []int{1, 7} {
		if limit > 1 && testing.Short() {
			continue
		}
		w := newWorld(t, nil)
		act, err := w.CreateActivation(alice, ActivationRequest{RegistrationLimit: limit})
		require.NoError(t, err)
		reqs := make([]message.RegisterRequest, 1000)
		proto := machine(t, act, "")
		for i := range reqs {
			reqs[i] = proto
			reqs[i].Token = fmt.Sprint(i)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		nodes := map[string]bool{}
		for _, req := range reqs {
			wg.Go(func() {
				resp, err := w.Register(context.Background(), req)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					nodes[resp.Node] = true
				} else if fault.CodeOf(err) != fault.InvalidActivation {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Len(t, nodes, limit)
		ids, _, err := w.Resolve(context.Background(), "t", []target.Target{{Key: target.InstanceIDs, Values: []string{"*"}}}, "", 0)
		require.NoError(t, err)
		require.Len(t, ids, limit)
		acts, _, err := w.DescribeActivations(alice, nil, nil)
		require.NoError(t, err)
		require.Equal(t, limit, acts[0].Registrations)
	}
}

// whatever is wrong with an activation, the answer is the same, and so is what is read on the way.
func TestR15_OneAnswerToEveryBadActivation(t *testing.T) {
	c := &counting{}
	w := newWorld(t, func(cfg *Config) { c.Store = cfg.Store; cfg.Store = c })
	create := func(req ActivationRequest) NewActivation {
		act, err := w.CreateActivation(alice, req)
		require.NoError(t, err)
		return act
	}
	used, deleted, good, other := create(ActivationRequest{}), create(ActivationRequest{}), create(ActivationRequest{}), create(ActivationRequest{})
	_, err := w.Register(context.Background(), machine(t, used, "u"))
	require.NoError(t, err)
	require.NoError(t, w.DeleteActivation(alice, deleted.ID))
	expired := create(ActivationRequest{Expires: w.clock.t.Add(time.Second)})
	w.clock.t = w.clock.t.Add(time.Second)
	var texts []string
	var reads []int64
	for _, f := range []func(*message.RegisterRequest){
		func(r *message.RegisterRequest) { r.ActivationCode = string(other.Code.Reveal()) },
		func(r *message.RegisterRequest) { r.ActivationID = "unknown" },
		func(r *message.RegisterRequest) {
			r.ActivationID, r.ActivationCode = deleted.ID, string(deleted.Code.Reveal())
		},
		func(r *message.RegisterRequest) { r.ActivationCode = r.ActivationCode[:len(r.ActivationCode)-1] + "z" },
		func(r *message.RegisterRequest) {
			r.ActivationID, r.ActivationCode = expired.ID, string(expired.Code.Reveal())
		},
		func(r *message.RegisterRequest) {
			r.ActivationID, r.ActivationCode = used.ID, string(used.Code.Reveal())
		},
		func(r *message.RegisterRequest) { r.ActivationCode = strings.Repeat("x", 251) },
		func(r *message.RegisterRequest) { r.ActivationCode = strings.Repeat("x", 19) },
		func(r *message.RegisterRequest) { r.ActivationID = strings.Repeat("x", 4000) },
	} {
		req := machine(t, good, "x")
		f(&req)
		before := c.reads.Load()
		_, err := w.Register(context.Background(), req)
		require.Equal(t, fault.InvalidActivation, fault.CodeOf(err))
		texts = append(texts, err.Error())
		reads = append(reads, c.reads.Load()-before)
	}
	for i := range texts {
		require.Equal(t, texts[0], texts[i])
		if i < 3 {
			require.Equal(t, reads[0], reads[i], "wrong code, unknown and deleted take the same way")
		}
	}
	require.NoError(t, w.audit.Flush(context.Background()))
	entries, _, err := w.audit.List(as("t", "x"), audit.Filter{Action: ActionRegister, Outcome: audit.Failed}, nil)
	require.NoError(t, err)
	require.NotEmpty(t, entries, "tries are recorded")
}

func TestR19_R20_RegisterRefusesWhatIsNoNode(t *testing.T) {
	w := newWorld(t, nil)
	act, err := w.CreateActivation(alice, ActivationRequest{})
	require.NoError(t, err)
	for name, f := range map[string]func(*message.RegisterRequest){
		"no sign key":     func(r *message.RegisterRequest) { r.SignKey = nil },
		"a long sign key": func(r *message.RegisterRequest) { r.SignKey = append(r.SignKey, 0) },
		"no seal key":     func(r *message.RegisterRequest) { r.SealKey = nil },
		"a weak seal key": func(r *message.RegisterRequest) { r.SealKey = make([]byte, 32) },
		"a weak sign key": func(r *message.RegisterRequest) { r.SignKey = append([]byte{1}, make([]byte, 31)...) },
		"no token":        func(r *message.RegisterRequest) { r.Token = "" },
		"a long token":    func(r *message.RegisterRequest) { r.Token = strings.Repeat("x", MaxToken+1) },
		"a long fact":     func(r *message.RegisterRequest) { r.Facts.ComputerName = strings.Repeat("x", MaxFact+1) },
		"escapes":         func(r *message.RegisterRequest) { r.Facts.PlatformName = "\x1b]0;x\x07" },
		"a capability":    func(r *message.RegisterRequest) { r.Facts.Capabilities = []string{"a\nb"} },
		"a long capability": func(r *message.RegisterRequest) {
			r.Facts.Capabilities = []string{strings.Repeat("x", MaxCapability+1)}
		},
		"too many": func(r *message.RegisterRequest) {
			for i := range 1000 {
				r.Facts.Capabilities = append(r.Facts.Capabilities, fmt.Sprintf("aws:action-%016d", i))
			}
		},
	} {
		req := machine(t, act, "a")
		f(&req)
		_, err := w.Register(context.Background(), req)
		require.Equal(t, fault.Validation, fault.CodeOf(err), "%s: %v", name, err)
	}
	req := machine(t, act, strings.Repeat("x", MaxToken))
	req.Facts.ComputerName = strings.Repeat("x", MaxFact)
	_, err = w.Register(context.Background(), req)
	require.NoError(t, err, "at the limits")
}

func TestRegisterNeedsTheControllersKeysAndRandomness(t *testing.T) {
	down := errors.New("down")
	w := newWorld(t, func(c *Config) {
		c.Controller = func(context.Context, string) (message.Peer, uint64, error) { return message.Peer{}, 0, down }
	})
	act, err := w.CreateActivation(alice, ActivationRequest{})
	require.NoError(t, err)
	_, err = w.Register(context.Background(), machine(t, act, "a"))
	require.ErrorIs(t, err, down)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	acts, _, err := w.DescribeActivations(alice, nil, nil)
	require.NoError(t, err)
	require.Zero(t, acts[0].Registrations, "the use is not lost")

	w = newWorld(t, func(c *Config) { c.Rand = bytes.NewReader(nil) })
	_, err = w.CreateActivation(alice, ActivationRequest{})
	require.Equal(t, fault.InternalServerError, fault.CodeOf(err))
	for _, cfg := range []Config{{}, {Store: w.store}, {Store: w.store, Authorizer: access.AllowAll{}}} {
		_, err := New(cfg)
		require.Equal(t, fault.Validation, fault.CodeOf(err))
	}
}

// What is checked before the transaction is checked again in it: the activation may have been deleted in between.
func TestRegisterAndDeleteAtOnce(t *testing.T) {
	var w *world
	var act NewActivation
	w = newWorld(t, func(c *Config) {
		c.Controller = func(ctx context.Context, tenant string) (message.Peer, uint64, error) { // called between the two
			require.NoError(t, w.DeleteActivation(alice, act.ID))
			return controller(ctx, tenant)
		}
	})
	act, err := w.CreateActivation(alice, ActivationRequest{})
	require.NoError(t, err)
	req := machine(t, act, "a")
	_, err = w.Register(context.Background(), req)
	require.Equal(t, fault.InvalidActivation, fault.CodeOf(err))
	infos, _, err := w.List(alice, nil, nil)
	require.NoError(t, err)
	require.Empty(t, infos)
}

func TestDescribeAndDeleteActivations(t *testing.T) {
	w := newWorld(t, nil)
	var ids []string
	for i := range 7 {
		act, err := w.CreateActivation(alice, ActivationRequest{DefaultName: fmt.Sprint("n", i%2), IamRole: "r"})
		require.NoError(t, err)
		ids = append(ids, act.ID)
	}
	var got []string
	p := &Page{MaxResults: 3}
	for {
		acts, next, err := w.DescribeActivations(alice, nil, p)
		require.NoError(t, err)
		for _, a := range acts {
			got = append(got, a.ID)
		}
		if next == "" {
			break
		}
		p.NextToken = next
	}
	require.ElementsMatch(t, ids, got)
	acts, _, err := w.DescribeActivations(alice, []ActivationFilter{{"DefaultInstanceName", []string{"n1"}}, {"IamRole", []string{"r"}}}, nil)
	require.NoError(t, err)
	require.Len(t, acts, 3)
	_, _, err = w.DescribeActivations(alice, []ActivationFilter{{"Nonsense", []string{"x"}}}, nil)
	require.Equal(t, fault.InvalidFilterKey, fault.CodeOf(err))
	_, _, err = w.DescribeActivations(alice, []ActivationFilter{{"IamRole", []string{"r"}}}, p)
	require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err))

	other := as("u", "bob")
	acts, _, err = w.DescribeActivations(other, nil, nil)
	require.NoError(t, err)
	require.Empty(t, acts)
	absent := w.DeleteActivation(alice, "no such")
	require.Equal(t, fault.InvalidActivationID, fault.CodeOf(absent))
	foreign := w.DeleteActivation(other, ids[0])
	require.Equal(t, strings.ReplaceAll(absent.Error(), "no such", ids[0]), foreign.Error(), "another tenant's looks absent")
	require.Equal(t, fault.InvalidActivationID, fault.CodeOf(w.DeleteActivation(alice, strings.Repeat("x", 2000))))
	require.NoError(t, w.DeleteActivation(alice, ids[0]))
	acts, _, err = w.DescribeActivations(alice, []ActivationFilter{{"ActivationIds", ids[:2]}}, nil)
	require.NoError(t, err)
	require.Len(t, acts, 1)
}

func TestT_WRONGKEY_RotateKeys(t *testing.T) {
	w := newWorld(t, nil)
	act, err := w.CreateActivation(alice, ActivationRequest{RegistrationLimit: 2})
	require.NoError(t, err)
	identity := func(name string) *message.Identity {
		i, err := message.NewIdentity("t", name, nil)
		require.NoError(t, err)
		return i
	}
	first := identity("x")
	req := machine(t, act, "a")
	req.SignKey, req.SealKey = first.Public().SignKey, first.Public().SealKey
	resp, err := w.Register(context.Background(), req)
	require.NoError(t, err)
	named := func(i *message.Identity) *message.Identity { // the same keys under the name that the node got
		n, err := message.IdentityFromSeed("t", resp.Node, i.Seed())
		require.NoError(t, err)
		return n
	}
	old, next, thief := named(first), identity(resp.Node), identity(resp.Node)

	var texts []string
	for name, r := range map[string]Rotation{
		"by a stranger":  NewRotation(thief, next, 2),
		"a wrong serial": NewRotation(old, next, 3),
		"serial again":   NewRotation(old, next, 1),
		"unknown node":   func() Rotation { r := NewRotation(old, next, 2); r.Node = "mi-0"; return r }(),
		"other tenant":   func() Rotation { r := NewRotation(old, next, 2); r.Tenant = "u"; return r }(),
		"no proof":       func() Rotation { r := NewRotation(old, next, 2); r.Proof = r.Signature; return r }(),
		"swapped key":    func() Rotation { r := NewRotation(old, next, 2); r.SealKey = thief.Public().SealKey; return r }(),
		"no keys":        func() Rotation { r := NewRotation(old, next, 2); r.SignKey = nil; return r }(),
		"a strange name": func() Rotation {
			r := NewRotation(old, next, 2)
			r.Node = "\x00\x1b" + strings.Repeat("x", 2000)
			return r
		}(),
		"empty":           {},
		"signature alone": func() Rotation { r := NewRotation(old, next, 2); r.Signature = nil; return r }(),
	} {
		err := w.RotateKeys(context.Background(), r)
		require.Equal(t, fault.Unauthorized, fault.CodeOf(err), name)
		texts = append(texts, err.Error())
	}
	for _, s := range texts {
		require.Equal(t, texts[0], s)
	}
	r := NewRotation(old, next, 2)
	require.NoError(t, w.RotateKeys(context.Background(), r))
	require.NoError(t, w.RotateKeys(context.Background(), r), "the answer was lost")
	n, err := w.Nodes(context.Background(), "t", []string{resp.Node})
	require.NoError(t, err)
	require.Equal(t, next.Public().SignKey, n[0].SignKey)
	require.Equal(t, next.Public().SealKey, n[0].SealKey)
	require.Error(t, w.RotateKeys(context.Background(), NewRotation(old, thief, 3)), "the old key rules no more")
	require.NoError(t, w.RotateKeys(context.Background(), NewRotation(next, old, 3)))
	info, err := w.Get(alice, resp.Node)
	require.NoError(t, err)
	require.EqualValues(t, 3, info.KeySerial)
	require.NoError(t, w.Deregister(alice, resp.Node))
	require.Equal(t, fault.Unauthorized, fault.CodeOf(w.RotateKeys(context.Background(), NewRotation(old, next, 4))))
}
