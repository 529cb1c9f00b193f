package fleetwright_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

func TestNodeKeysRotateUnderLoad(t *testing.T) {
	f := newKeyFleet(t, memtransport.Options{}, nil)
	a, b := f.add("a"), f.add("b")
	stop := f.load(a, b)
	seen := [][]byte{signKey(t, a.me), signKey(t, b.me)}
	for range 3 {
		for _, n := range []*keyNode{a, b} {
			require.NoError(t, n.a.RotateKeys(t.Context()))
			k := signKey(t, n.me)
			require.False(t, slices.ContainsFunc(seen, func(old []byte) bool { return bytes.Equal(old, k) }), "a new key each time")
			require.Equal(t, k, f.inForce(n), "at once, from no cache")
			seen = append(seen, k)
		}
	}
	require.Positive(t, stop())
	f.works(a, b)
	ok, refused := f.audited(node.ActionRotate)
	require.Equal(t, []int{6, 0}, []int{ok, refused})
	// It is the key of the next start too, and the only one.
	for i, n := range []*keyNode{a, b} {
		n.stop()
		loaded, err := agent.Load(n.dir)
		require.NoError(t, err)
		require.Equal(t, seen[len(seen)-2+i], signKey(t, loaded))
		n.start()
	}
	f.works(a, b)
}

func TestTheFormerKeyOfANodeIsNobodys(t *testing.T) {
	f := newKeyFleet(t, memtransport.Options{}, nil)
	n := f.add("a")
	old := n.me.Identity()
	serial2 := message.NewRotation(old, old, 2)
	require.NoError(t, n.a.RotateKeys(t.Context()))
	third, err := message.NewIdentity(n.me.Tenant, n.me.ID, nil)
	require.NoError(t, err)
	stranger, err := message.NewIdentity(n.me.Tenant, n.me.ID, nil)
	require.NoError(t, err)
	for name, r := range map[string]message.Rotation{
		"the former key":       message.NewRotation(old, third, 3),
		"a stranger's":         message.NewRotation(stranger, third, 3),
		"an old one, replayed": serial2,
		"out of order":         message.NewRotation(n.me.Identity(), third, 9),
		"without the new key's own": func() message.Rotation {
			r := message.NewRotation(n.me.Identity(), third, 3)
			r.Proof = r.Signature
			return r
		}(),
		"of an unknown node": func() message.Rotation {
			r := message.NewRotation(n.me.Identity(), third, 3)
			r.Node = "mi-0"
			return r
		}(),
	} {
		_, err := f.Rotate(t.Context(), message.RotateRequest{Rotation: &r, Epoch: 1})
		require.Equal(t, fault.Unauthorized, fault.CodeOf(err), name)
	}
	require.Equal(t, signKey(t, n.me), f.inForce(n))
	_, refused := f.audited(node.ActionRotate)
	require.Equal(t, 6, refused)
	f.works(n)
}

// The enrolment path takes a registration or a rotation, never something of both.
func TestEnrollTellsRotationsFromRegistrations(t *testing.T) {
	f := newKeyFleet(t, memtransport.Options{}, nil)
	n := f.add("a")
	next, err := message.NewIdentity(n.me.Tenant, n.me.ID, nil)
	require.NoError(t, err)
	r := message.NewRotation(n.me.Identity(), next, 2)
	good, err := json.Marshal(message.RotateRequest{Rotation: &r, Epoch: 1})
	require.NoError(t, err)
	for _, body := range []string{
		``, `[]`, `{`, `{"rotation":null}`, `{"rotation":{}}`, `{"rotation":7}`, `{"epoch":1}`,
		strings.Replace(string(good), `{"rotation"`, `{"activationId":"x","activationCode":"y","rotation"`, 1),
		strings.Replace(string(good), `"serial"`, `"surprise":1,"serial"`, 1),
	} {
		_, err := f.Enroll(t.Context(), "", []byte(body))
		require.Error(t, err, body)
		require.Contains(t, []fault.Kind{fault.Invalid, fault.Unauthenticated}, fault.KindOf(err), body)
	}
	require.Equal(t, signKey(t, n.me), f.inForce(n))
}

// Lost answers, a crash in between, and an agent that is asked to start without a way to settle it.
func TestARotationThatWasNotAnsweredIsSettledAtTheNextStart(t *testing.T) {
	f := newKeyFleet(t, memtransport.Options{}, nil)
	n := f.add("a")
	n.stop()
	ctx, cancel := context.WithCancel(t.Context())
	answerLost := rotatorFunc(func(ctx context.Context, r message.RotateRequest) (message.RotateResponse, error) {
		_, err := f.Rotate(ctx, r)
		cancel() // the node dies here
		return message.RotateResponse{}, errors.Join(err, fault.New("test", fault.ServiceUnavailable, "lost"))
	})
	require.Error(t, agent.Rotate(ctx, answerLost, n.dir, nil))
	me, err := agent.Load(n.dir)
	require.NoError(t, err)
	require.NotEqual(t, signKey(t, me), f.inForce(n), "the node has not heard")

	set, err := fleetwright.Actions(keyScript{f})
	require.NoError(t, err)
	conn := f.net.Node(transport.Address{Tenant: me.Tenant, Name: me.ID})
	a, err := agent.New(agent.Config{Node: me, Transport: conn, Actions: set})
	require.NoError(t, err)
	require.ErrorContains(t, a.Run(t.Context()), "Rotator")
	conn.Close() //nolint:errcheck // in memory

	n.start()
	f.works(n)
	require.Equal(t, f.inForce(n), signKey(t, n.me))
	n.stop()
	require.NoError(t, agent.Rotate(t.Context(), f, n.dir, nil), "without an agent")
	n.start()
	f.works(n)
	ok, _ := f.audited(node.ActionRotate)
	require.Equal(t, 2, ok)
}

type rotatorFunc func(context.Context, message.RotateRequest) (message.RotateResponse, error)

func (r rotatorFunc) Rotate(ctx context.Context, q message.RotateRequest) (message.RotateResponse, error) {
	return r(ctx, q)
}

func TestControllerKeysRotateUnderLoadOverABadNetwork(t *testing.T) {
	if testing.Short() {
		t.Skip("not under -short: it waits for a bad network")
	}
	var m *mitm
	f := newKeyFleet(t, memtransport.Options{Seed: 11, Loss: 0.15, Repeat: 0.2, MaxDelay: 20 * time.Millisecond}, func(end transport.Transport) transport.Transport {
		m = &mitm{Transport: end}
		return m
	})
	a, b := f.add("a"), f.add("b")
	stop := f.load(a, b)
	require.NoError(t, f.Audit.Checkpoint(t.Context()))
	for want := uint64(2); want <= 4; want++ {
		epoch, err := f.RotateControllerKeys(t.Context(), access.DefaultTenant, 0)
		require.NoError(t, err)
		require.Equal(t, want, epoch)
		require.NoError(t, f.Audit.Checkpoint(t.Context()))
		if want == 3 {
			require.NoError(t, a.a.RotateKeys(t.Context()), "both at once")
			continue // two rotations on top of each other
		}
		a.obeys(epoch)
		b.obeys(epoch)
	}
	require.Positive(t, stop())
	f.script = nil

	// Everything that was ever sent, once more: no node goes back.
	m.mu.Lock()
	seen, to := m.seen, m.to
	m.mu.Unlock()
	for i, data := range seen {
		m.Transport.Send(t.Context(), to[i], data) //nolint:errcheck // full queues are fine
	}
	f.works(a, b)
	for _, n := range []*keyNode{a, b} {
		require.EqualValues(t, 4, n.a.Health().Epoch)
	}
	c := f.add("c")
	require.EqualValues(t, 4, c.me.Epoch, "a new node pins the newest")
	f.works(a, b, c)

	ok, _ := f.audited(fleetwright.ActionRotateControllerKeys)
	require.Equal(t, 3, ok)
	_, err := f.Audit.Verify(t.Context(), nil)
	require.NoError(t, err, "what former keys signed stays verifiable")
}

func TestANodeThatWasAwayIsLedOverEachRotation(t *testing.T) {
	f := newKeyFleet(t, memtransport.Options{}, nil)
	away, there := f.add("away"), f.add("there")
	away.stop()
	for range 2 {
		epoch, err := f.RotateControllerKeys(t.Context(), access.DefaultTenant, time.Hour)
		require.NoError(t, err)
		there.obeys(epoch)
	}
	require.Eventually(t, func() bool { return strings.Contains(f.stored("pin", there.me.ID), `"epoch":3`) }, 30*time.Second, time.Millisecond, "what the node confirmed is written soon")
	f.halt() // the control plane dies: it knows from the store whom each node obeys
	require.Empty(t, f.stored("pin", away.me.ID))
	f.open()
	away.start()
	require.EqualValues(t, 1, away.me.Epoch)
	away.obeys(3)
	f.works(away, there)
	// It is durable on both sides.
	away.stop()
	f.halt()
	f.open()
	away.start()
	require.EqualValues(t, 3, away.me.Epoch)
	f.works(away, there)
}

func TestFormerControllerKeysEndWithTheirGrace(t *testing.T) {
	f := newKeyFleet(t, memtransport.Options{}, nil)
	away, there := f.add("away"), f.add("there")
	away.stop()
	epoch, err := f.RotateControllerKeys(t.Context(), access.DefaultTenant, time.Hour)
	require.NoError(t, err)
	there.obeys(epoch)
	require.Contains(t, f.stored("key"), `"former"`)
	f.offset.Store(int64(61 * time.Minute))
	away.start()
	f.works(there)
	req := shell("true")
	req.InstanceIDs = []string{away.me.ID}
	c, err := f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	f.works(there)
	require.EqualValues(t, 1, away.a.Health().Epoch)
	require.False(t, away.a.Health().Synced, "nobody has answered it")
	c, err = f.Commands.Get(t.Context(), c.ID)
	require.NoError(t, err)
	require.False(t, c.Status.Terminal())
	require.NotContains(t, f.stored("key"), `"former"`, "what has ended is removed")
	// Too many at once are refused before anything is lost.
	for {
		if _, err = f.RotateControllerKeys(t.Context(), access.DefaultTenant, time.Hour); err != nil {
			break
		}
	}
	require.ErrorContains(t, err, "former keys")
	there.obeys(18)
	f.works(there)
}

func TestWhoMayRotateControllerKeys(t *testing.T) {
	f := newKeyFleet(t, memtransport.Options{}, nil)
	other := access.With(t.Context(), access.Principal{Tenant: "other", Name: "eve"})
	_, err := f.RotateControllerKeys(other, access.DefaultTenant, 0)
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = f.RotateControllerKeys(t.Context(), access.DefaultTenant, -1)
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	epoch, err := f.RotateControllerKeys(other, "other", 0)
	require.NoError(t, err)
	require.EqualValues(t, 2, epoch, "each tenant has its own")
	n := f.add("a")
	require.EqualValues(t, 1, n.me.Epoch)
	denied, err := fleetwright.New(fleetwright.Config{Store: memstore.New(), Blobs: memblob.New(), Keys: f.keys, Authorizer: access.DenyAll{}})
	require.NoError(t, err)
	_, err = denied.RotateControllerKeys(t.Context(), access.DefaultTenant, 0)
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
}

func TestKeysOfALocalAgentRotate(t *testing.T) {
	f, err := fleetwright.Open(t.Context(), t.TempDir(), nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	a, err := f.StartAgent(t.Context(), "one", nil)
	require.NoError(t, err)
	at := transport.Address{Tenant: access.DefaultTenant, Name: a.ID}
	old, err := f.NodeKey(t.Context(), at)
	require.NoError(t, err)
	require.NoError(t, a.RotateKeys(t.Context()))
	now, err := f.NodeKey(t.Context(), at)
	require.NoError(t, err)
	require.NotEqual(t, old, now)
	require.NoError(t, a.Stop())
	require.Error(t, a.RotateKeys(t.Context()), "it has ended")
	_, err = f.StartAgent(t.Context(), "one", nil)
	require.NoError(t, err)
	req := shell("exit 0")
	req.InstanceIDs = []string{a.ID}
	c, err := f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	c, err = f.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, message.Success, c.Status)
}

// What another control plane over the same store changes is noticed here.
func TestKeysThatAnotherControlPlaneRotates(t *testing.T) {
	f := newKeyFleet(t, memtransport.Options{}, nil)
	n := f.add("a")
	f.works(n)
	second, err := fleetwright.New(fleetwright.Config{Store: f.store, Blobs: memblob.New(), Keys: f.keys, Authorizer: access.AllowAll{}, Name: "second", Now: f.now})
	require.NoError(t, err)
	epoch, err := second.RotateControllerKeys(t.Context(), access.DefaultTenant, 0)
	require.NoError(t, err)
	f.offset.Store(int64(11 * time.Second)) // after which keys are read again
	n.obeys(epoch)
	f.works(n)

	// The node's rotation goes to the second, its messages to the first.
	n.stop()
	require.NoError(t, agent.Rotate(t.Context(), rotatorFunc(second.RotateNodeKeys), n.dir, nil))
	require.Equal(t, f.inForce(n), func() []byte { me, err := agent.Load(n.dir); require.NoError(t, err); return signKey(t, me) }())
	n.start()
	f.works(n)
}

// Over HTTPS the key opens the connection: a rotation drops it, the node comes back with the new key, and what runs goes on.
func TestKeysRotateOverHTTPS(t *testing.T) {
	dir := t.TempDir()
	f, err := fleetwright.Open(t.Context(), dir, &fleetwright.Options{Listen: "127.0.0.1:0", Config: fleetwright.Config{Heartbeat: time.Second}})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	act, err := f.Nodes.CreateActivation(t.Context(), node.ActivationRequest{DefaultName: "one"})
	require.NoError(t, err)
	var states atomic.Int64
	cfg := httptransport.ClientConfig{URL: f.URL(), RootCAs: f.CA(), BackoffBase: 20 * time.Millisecond, OnState: func(up bool) {
		if up {
			states.Add(1)
		}
	}}
	var lose atomic.Int64 // answers
	over := agent.RegisterOver(func(ctx context.Context, body []byte) ([]byte, error) {
		answer, err := httptransport.Enroll(ctx, cfg, body)
		if lose.Add(-1) >= 0 {
			return nil, fault.New("test", fault.ServiceUnavailable, "lost")
		}
		return answer, err
	})
	me, err := agent.Register(t.Context(), over, filepath.Join(dir, "agent"), act.ID, act.Code, nil)
	require.NoError(t, err)
	cfg.Address, cfg.Key = transport.Address{Tenant: me.Tenant, Name: me.ID}, me.Signer()
	conn, err := httptransport.Dial(t.Context(), cfg)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // the test ends
	set, err := fleetwright.Actions()
	require.NoError(t, err)
	a, err := agent.New(agent.Config{Node: me, Transport: conn, Actions: set, Rotator: over})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() { cancel(); require.NoError(t, <-done) }()

	// A step that runs until a file appears, and counts its starts.
	starts, gate := filepath.Join(dir, "starts"), filepath.Join(dir, "gate")
	req := shell("echo start >> "+starts, "while [ ! -e "+gate+" ]; do sleep 0.05; done", "echo end")
	req.InstanceIDs = []string{me.ID}
	c, err := f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	eventually(t, "the step runs", func() bool { _, err := os.Stat(starts); return err == nil })

	old := signKey(t, me)
	before := states.Load()
	require.NoError(t, a.RotateKeys(t.Context()))
	require.NotEqual(t, old, signKey(t, me))
	eventually(t, "the node shows its new key", func() bool { return states.Load() > before })
	lose.Store(2)
	require.NoError(t, a.RotateKeys(t.Context()), "two answers are lost, and a connection in between")
	epoch, err := f.RotateControllerKeys(t.Context(), access.DefaultTenant, 0)
	require.NoError(t, err)
	eventually(t, "the node obeys the new keys", func() bool { return a.Health().Epoch == epoch })

	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	c, err = f.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, message.Success, c.Status)
	b, err := os.ReadFile(starts)
	require.NoError(t, err)
	require.Equal(t, "start\n", string(b), "started once")

	// Nobody connects with the former key.
	cfg.OnState = nil
	former, err := message.NewIdentity(me.Tenant, me.ID, nil)
	require.NoError(t, err)
	cfg.Key = former.Signer()
	_, err = httptransport.Dial(t.Context(), cfg)
	require.ErrorIs(t, err, transport.ErrRefused)
}
