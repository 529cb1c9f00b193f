package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func listed(t testing.TB, w *world, filters ...Filter) (names []string) {
	t.Helper()
	p := &Page{MaxResults: 2}
	for {
		infos, next, err := w.List(alice, filters, p)
		require.NoError(t, err)
		for _, i := range infos {
			names = append(names, i.ComputerName)
		}
		if next == "" {
			return names
		}
		p.NextToken = next
	}
}

func TestListFilters(t *testing.T) {
	w := newWorld(t, nil)
	act := map[string]NewActivation{}
	reg := map[string]string{}
	for _, n := range []string{"a", "b", "c"} {
		var err error
		act[n], err = w.CreateActivation(alice, ActivationRequest{DefaultName: "name-" + n, IamRole: "role-" + n, Tags: map[string]string{"N": n, "All": ""}})
		require.NoError(t, err)
		req := machine(t, act[n], n)
		req.Facts.AgentVersion, req.Facts.IPAddress = "1."+n, "10.0.0."+n
		if n == "c" {
			req.Facts.PlatformType = "Windows"
		}
		resp, err := w.Register(context.Background(), req)
		require.NoError(t, err)
		reg[n] = resp.Node
	}
	require.NoError(t, w.Seen(alice, "t", reg["a"], nil, w.clock.t))
	require.NoError(t, w.Seen(alice, "t", reg["b"], nil, w.clock.t.Add(-5*time.Minute)))
	for _, c := range []struct {
		key    string
		values []string
		want   string
	}{
		{"InstanceIds", []string{reg["b"], reg["c"], "mi-0"}, "bc"},
		{"PingStatus", []string{"Online"}, "a"},
		{"PingStatus", []string{"ConnectionLost", "Inactive"}, "bc"},
		{"PlatformTypes", []string{"Linux"}, "ab"},
		{"AgentVersion", []string{"1.b"}, "b"},
		{"ActivationIds", []string{act["a"].ID}, "a"},
		{"IamRole", []string{"role-c", "x"}, "c"},
		{"ResourceType", []string{"ManagedInstance"}, "abc"},
		{"ResourceType", []string{"EC2Instance"}, ""},
		{"tag:N", []string{"a", "c"}, "ac"},
		{"tag-key", []string{"All"}, "abc"},
		{"Name", []string{"name-b"}, "b"},
		{"ComputerName", []string{"host-b"}, "b"},
		{"IPAddress", []string{"10.0.0.c"}, "c"},
		{"PlatformName", []string{"Debian GNU/Linux"}, "abc"},
	} {
		var want []string
		for _, n := range strings.Split(c.want, "") {
			want = append(want, "host-"+n)
		}
		require.ElementsMatch(t, want, listed(t, w, Filter{c.key, c.values}), "%s=%v", c.key, c.values)
	}
	require.Equal(t, []string{"host-b"}, listed(t, w, Filter{"PlatformTypes", []string{"Linux"}}, Filter{"tag:N", []string{"b", "c"}}))
	for code, fs := range map[fault.Code][]Filter{
		fault.InvalidFilterKey:   {{"Nonsense", []string{"x"}}, {"tags:x", []string{"x"}}, {"resource-groups:Name", []string{"x"}}},
		fault.InvalidFilterValue: {{"PingStatus", []string{"online"}}, {"tag:N", nil}, {"tag:", []string{"x"}}, {"Name", nil}, {"Name", make([]string, 51)}},
	} {
		for _, f := range fs {
			_, _, err := w.List(alice, []Filter{f}, nil)
			require.Equal(t, code, fault.CodeOf(err), "%v: %v", f, err)
		}
	}
	_, next, err := w.List(alice, nil, &Page{MaxResults: 1})
	require.NoError(t, err)
	for _, p := range []Page{{NextToken: "x"}, {NextToken: next + "x!"}, {NextToken: strings.Repeat("A", 9000)}} {
		_, _, err = w.List(alice, nil, &p)
		require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err))
	}
	_, _, err = w.List(alice, []Filter{{"Name", []string{"x"}}}, &Page{NextToken: next})
	require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err), "a token belongs to its filters")
	for _, n := range []int{-1, 1001} {
		_, _, err = w.List(alice, nil, &Page{MaxResults: n})
		require.Equal(t, fault.Validation, fault.CodeOf(err))
	}
	got, _, err := w.List(as("u", "x"), nil, nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestListLooksAtABoundedNumber(t *testing.T) {
	w := newWorld(t, nil)
	w.fill(t, "t", 12_000, func(int) map[string]string { return nil })
	pages := 0
	p := &Page{}
	for {
		got, next, err := w.List(alice, []Filter{{"Name", []string{"none has it"}}}, p)
		require.NoError(t, err)
		require.Empty(t, got)
		pages++
		if next == "" {
			break
		}
		p.NextToken = next
	}
	require.Equal(t, 3, pages)
}

func TestPingStatusFollowsSilence(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.InactiveAfter = time.Hour })
	id := w.put(t, alice, nil)
	status := func() PingStatus {
		i, err := w.Get(alice, id)
		require.NoError(t, err)
		return i.PingStatus
	}
	require.Equal(t, Inactive, status(), "never heard of")
	require.NoError(t, w.Seen(alice, "t", id, nil, time.Time{}))
	require.Equal(t, Online, status())
	require.NoError(t, w.Seen(alice, "t", id, nil, w.clock.t.Add(-time.Minute)), "one that was overtaken")
	w.clock.t = w.clock.t.Add(5*time.Minute - 1)
	require.Equal(t, Online, status())
	w.clock.t = w.clock.t.Add(1)
	require.Equal(t, ConnectionLost, status())
	w.clock.t = w.clock.t.Add(54 * time.Minute)
	require.Equal(t, ConnectionLost, status())
	w.clock.t = w.clock.t.Add(time.Minute)
	require.Equal(t, Inactive, status())
}

// F9: the clock of the control plane jumps. What was noted in what is now the future does not keep a silent node Online.
func TestF9_TheClockIsSetBack(t *testing.T) {
	w := newWorld(t, nil)
	id := w.put(t, alice, nil)
	status := func() PingStatus {
		i, err := w.Get(alice, id)
		require.NoError(t, err)
		return i.PingStatus
	}
	require.NoError(t, w.Seen(alice, "t", id, nil, time.Time{}))
	require.NoError(t, w.Flush(alice))
	w.clock.t = w.clock.t.Add(-365 * 24 * time.Hour)
	require.Equal(t, ConnectionLost, status())
	require.NoError(t, w.Seen(alice, "t", id, nil, time.Time{}))
	require.Equal(t, Online, status())
	require.NoError(t, w.Flush(alice))
	w.presence = map[nodeID]*presence{} // restarted
	require.Equal(t, Online, status())
	w.clock.t = w.clock.t.Add(10 * time.Minute)
	require.Equal(t, ConnectionLost, status())
}

// Two control planes: the one that a node left does not overwrite what the other heard later.
func TestTheLatestHeartbeatOfAllPlanesCounts(t *testing.T) {
	w := newWorld(t, nil)
	id := w.put(t, alice, nil)
	other, err := New(w.cfg)
	require.NoError(t, err)
	require.NoError(t, w.Seen(alice, "t", id, nil, w.clock.t))
	require.NoError(t, other.Seen(alice, "t", id, nil, w.clock.t.Add(20*time.Second)))
	require.NoError(t, other.Flush(alice))
	require.NoError(t, w.Flush(alice))
	for _, s := range []*Service{w.Service, other} {
		i, err := s.Get(alice, id)
		require.NoError(t, err)
		require.True(t, i.LastPing.Equal(w.clock.t.Add(20*time.Second)))
	}
}

func TestSeenRefusesBadFactsAndCountsTheHeartbeat(t *testing.T) {
	w := newWorld(t, nil)
	id := w.put(t, alice, nil)
	err := w.Seen(alice, "t", id, &message.Facts{AgentName: strings.Repeat("x", MaxFact+1)}, time.Time{})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	i, err := w.Get(alice, id)
	require.NoError(t, err)
	require.Equal(t, Online, i.PingStatus)
	require.Equal(t, "host-token", i.ComputerName)
}

// 100,000 idle nodes cost less than a thousand record writes a second, and no look from elsewhere takes a node for lost that is not, whatever LostAfter is.
func TestPresenceIsWrittenSeldomButInTime(t *testing.T) {
	for lost, want := range map[time.Duration]time.Duration{0: 2 * time.Minute, time.Minute: 24 * time.Second, time.Hour: 2 * time.Minute} {
		s, err := New(Config{Store: memstore.New(), Authorizer: access.AllowAll{}, Controller: controller, LostAfter: lost})
		require.NoError(t, err)
		require.Equal(t, want, s.cfg.Checkpoint, lost)
	}
}

// Heartbeats are written in batches, not one by one, and survive a restart; facts are written when they change and only then.
func TestPresenceIsCheckpointedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counting{Store: memstore.New()}
		service := func() *Service {
			s, err := New(Config{Store: c, Authorizer: access.AllowAll{}, Controller: controller, Checkpoint: 30 * time.Second})
			require.NoError(t, err)
			return s
		}
		s := service()
		w := &world{Service: s, store: c}
		const n = 2500
		w.fill(t, "t", n, func(int) map[string]string { return nil })
		c.updates.Store(0)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		beat := func(facts *message.Facts) {
			for i := range n {
				require.NoError(t, s.Seen(ctx, "t", id(i), facts, time.Time{}))
			}
		}
		for range 10 {
			beat(nil)
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		require.EqualValues(t, 3, c.updates.Load(), "the first heartbeats of 2,500 nodes in three batches, so that other control planes show them; then no transaction per heartbeat")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 6, c.updates.Load(), "2,500 of them in three batches")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.EqualValues(t, 6, c.updates.Load(), "nothing new, nothing written")

		facts := &message.Facts{AgentName: "fleetwright", PlatformType: "Linux", Capabilities: []string{"x"}}
		beat(facts)
		got, err := s.Nodes(ctx, "t", []string{id(7)})
		require.NoError(t, err)
		require.True(t, got[0].Can("x"), "new facts count at once")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got, err = service().Nodes(ctx, "t", []string{id(7)})
		require.NoError(t, err)
		require.True(t, got[0].Can("x"), "and are stored within a second or two")
		time.Sleep(time.Minute)
		synctest.Wait()
		c.updates.Store(0)
		beat(facts)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Zero(t, c.updates.Load(), "F12: a fleet that returns with the facts that are known writes none")

		last := time.Now().UTC()
		beat(nil)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		restarted := &world{Service: service(), store: c}
		infos, _, err := restarted.List(alice, []Filter{{"InstanceIds", []string{id(0)}}}, nil)
		require.NoError(t, err)
		require.Equal(t, Online, infos[0].PingStatus, "the last heartbeat was written on the way out")
		require.True(t, last.Equal(infos[0].LastPing))
		require.NoError(t, restarted.Seen(ctx, "t", id(0), facts, time.Time{}))
		c.updates.Store(0)
		require.NoError(t, restarted.flushFacts(context.Background()))
		require.Zero(t, c.updates.Load(), "nor does a control plane that was restarted write known facts")

		time.Sleep(10 * time.Minute)
		require.NoError(t, s.Flush(context.Background()))
		require.NoError(t, s.Flush(context.Background()))
		require.Empty(t, s.presence, "memory forgets who is silent")
	})
}

func BenchmarkSeen(b *testing.B) {
	w := newWorld(b, nil)
	ids := make([]string, 10_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("mi-%017x", i)
	}
	for i := 0; b.Loop(); i++ {
		_ = w.Seen(alice, "t", ids[i%len(ids)], nil, w.clock.t)
	}
}
