package command

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// A control plane is stopped for three lease periods in mid-command. Another one goes on; when the first is resumed it writes nothing.
func TestAnotherPlaneTakesOverAndTheFirstWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 12)
		defer w.close()
		w.works(2 * time.Second)
		a := w.start("a", nil)
		defer a.stop()
		synctest.Wait()
		b := w.start("b", nil)
		defer b.stop()
		c, err := a.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "3"})
		require.NoError(t, err)
		time.Sleep(4500 * time.Millisecond)
		require.NotNil(t, a.actor("default", c.ID))
		require.Nil(t, b.actor("default", c.ID), "one owner at a time")

		a.gate.close()
		w.connect(b)
		began := time.Now()
		for b.actor("default", c.ID) == nil {
			time.Sleep(100 * time.Millisecond)
		}
		require.Less(t, time.Since(began), 9*time.Second, "taken over in good time")
		got, err := b.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, got.Status)
		require.Equal(t, 12, got.Counts[message.DetailSuccess])
		w.checkStarts()
		require.LessOrEqual(t, w.most(c.ID), 3, "MaxConcurrency holds over the change of hands")

		before := dump(t, w.store, space("default", "state").Range()) + dump(t, w.store, space("default", "invocation").Range()) + dump(t, w.store, space("default", "event").Range())
		a.gate.open()
		time.Sleep(20 * time.Second)
		after := dump(t, w.store, space("default", "state").Range()) + dump(t, w.store, space("default", "invocation").Range()) + dump(t, w.store, space("default", "event").Range())
		same(t, before, after, "who lost the lease wrote something")
		require.Nil(t, a.actor("default", c.ID))
		w.checkStarts()
	})
}

// The same while the first one has something to commit at the very moment when it wakes up.
func TestACommitThatWaitedOverTheChangeOfHandsIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 4)
		defer w.close()
		w.works(time.Minute)
		a := w.start("a", nil)
		defer a.stop()
		synctest.Wait()
		b := w.start("b", nil)
		defer b.stop()
		c, err := a.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "4", NoRamp: true})
		require.NoError(t, err)
		time.Sleep(2 * time.Second) // they run
		a.gate.close()
		node := w.nodes[0].ID
		// The stopped one has heard that a node failed, the other one hears that it succeeded.
		require.NoError(t, a.Handle(t.Context(), "default", node, envelope(t, message.KindReport, message.Report{Ref: message.Ref{Command: c.ID, Attempt: 1}, Seq: 7, Detail: message.DetailFailed, ExitCode: 9})))
		w.connect(b)
		for b.actor("default", c.ID) == nil {
			time.Sleep(100 * time.Millisecond)
		}
		got, err := b.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, got.Status)
		a.gate.open()
		time.Sleep(10 * time.Second)
		r, err := b.Invocation(t.Context(), c.ID, node)
		require.NoError(t, err)
		require.Equal(t, message.DetailSuccess, r.Detail)
		w.checkStarts()
	})
}

func envelope(t testing.TB, kind message.Kind, body any) message.Envelope {
	b, err := message.Marshal(kind, body)
	require.NoError(t, err)
	return message.Envelope{Tenant: "default", Kind: kind, Body: b}
}

// Send, Cancel and the nodes' messages may all reach a control plane that owns nothing.
func TestAPlaneThatOwnsNothingLeavesItToTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 9)
		defer w.close()
		owner := w.start("owner", nil)
		defer owner.stop()
		synctest.Wait()
		other := w.start("other", nil)
		defer other.stop()
		synctest.Wait()
		w.connect(other)
		c, err := other.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "3"})
		require.NoError(t, err)
		got, err := other.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, got.Status)
		require.Nil(t, other.actor("default", c.ID))
		require.LessOrEqual(t, w.most(c.ID), 3)
		w.checkStarts()
		time.Sleep(5 * time.Second)
		require.Empty(t, dump(t, w.store, todo().Range()), "what was left is carried out and gone")
		require.Empty(t, dump(t, w.store, space("", "active").Range()))
		w.mu.Lock()
		for k, x := range w.execs {
			require.True(t, x.acked, "%v may forget", k)
		}
		w.mu.Unlock()

		w.works(time.Hour)
		c, err = other.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "3", NoRamp: true})
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		require.NoError(t, other.Cancel(t.Context(), c.ID, w.nodes[0].ID, w.nodes[8].ID))
		time.Sleep(5 * time.Second)
		got, err = other.Get(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, 2, got.Counts[message.DetailCancelled])
		require.Equal(t, message.InProgress, got.Status)
		require.NotContains(t, dump(t, w.store, todo().Range()), todoCancel, "a cancellation that was carried out is gone, though the command goes on")
		require.NoError(t, other.Cancel(t.Context(), c.ID))
		got, err = other.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Cancelled, got.Status)
		time.Sleep(5 * time.Second)
		require.Empty(t, dump(t, w.store, todo().Range()))
	})
}

// A cancellation that was accepted is carried out, also when the owner dies before it hears of it.
func TestACancellationOutlivesTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 3)
		defer w.close()
		w.works(time.Hour)
		a := w.start("a", nil)
		synctest.Wait()
		b := w.start("b", nil)
		defer b.stop()
		c, err := a.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "1"})
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		a.gate.close()
		require.NoError(t, b.Cancel(t.Context(), c.ID))
		w.connect(b)
		got, err := b.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Cancelled, got.Status)
		require.Equal(t, 3, got.Counts[message.DetailCancelled])
		a.stop()
	})
}

// A control plane that stops in order hands over at once.
func TestAPlaneThatStopsHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 6)
		defer w.close()
		a := w.start("a", nil)
		synctest.Wait()
		b := w.start("b", nil)
		defer b.stop()
		c, err := a.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "1"})
		require.NoError(t, err)
		time.Sleep(1500 * time.Millisecond)
		w.connect(b)
		a.stop()
		time.Sleep(1500 * time.Millisecond)
		require.NotNil(t, b.actor("default", c.ID))
		got, err := b.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, got.Status)
		w.checkStarts()
	})
}

// The store fails at random: conflicts, read-only, input/output errors, commits of which nobody knows whether they happened. What was acknowledged is there in the end, each request
// with a token gave one command, every command ended, nothing started twice.
func TestNothingAcknowledgedIsLostWhenTheStoreFails(t *testing.T) {
	for seed := range seeds(300, 30) {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { failingStore(t, uint64(seed)) })
		})
	}
}

func failingStore(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newSite(t, 1+rng.IntN(12))
	defer w.close()
	f := &faulty{Store: w.store, rng: rand.New(rand.NewPCG(seed, 2)), rate: 0.05 + rng.Float64()*0.4}
	good := w.store
	w.store = f
	w.end = func(node string) message.Detail {
		if node == w.nodes[len(w.nodes)-1].ID && seed%3 == 0 {
			return message.DetailFailed
		}
		return message.DetailSuccess
	}
	var planes []*plane
	for i := range 1 + rng.IntN(2) {
		p := w.start(strconv.Itoa(i), nil)
		defer p.stop()
		planes = append(planes, p)
		time.Sleep(time.Second)
	}
	any := func() *plane { return planes[rng.IntN(len(planes))] }
	acked := map[string]string{} // token to command
	cancelled := map[string]bool{}
	for i := range 6 {
		token := strconv.Itoa(i)
		req := SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: strconv.Itoa(1 + rng.IntN(4)), MaxErrors: "100%", ClientToken: token}
		if i == 5 {
			req.ClientToken = "" // settled by reading, or refused
		}
		for {
			c, err := any().Send(t.Context(), req)
			if err == nil {
				acked[token] = c.ID
				break
			}
			if req.ClientToken == "" {
				break // the caller gives up
			}
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
		}
		if id := acked[token]; id != "" && rng.IntN(4) == 0 {
			for any().Cancel(t.Context(), id) != nil {
				time.Sleep(time.Second)
			}
			state := dump(t, good, exactly(stateKey("default", id)))
			cancelled[id] = strings.Contains(state, `\"cancel\":true`) || !strings.Contains(state, `\"endedAt\"`)
		}
	}
	time.Sleep(30 * time.Second)
	f.heal()
	for token, id := range acked {
		c, err := any().Wait(t.Context(), id)
		require.NoError(t, err)
		total := 0
		for _, n := range c.Counts {
			total += n
		}
		require.Equal(t, len(w.nodes), total, "one end each")
		require.Equal(t, len(w.nodes), c.TargetCount)
		if cancelled[id] { // unless all had ended by themselves before the owner heard of it
			require.True(t, c.StatusDetails == message.DetailCancelled || c.Counts[message.DetailSuccess]+c.Counts[message.DetailFailed] == len(w.nodes), "%v", c.Counts)
		} else {
			require.Zero(t, c.Counts[message.DetailCancelled])
			require.Zero(t, c.Counts[message.DetailDeliveryTimedOut])
		}
		if token != "5" {
			again, err := any().Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: c.MaxConcurrency, MaxErrors: "100%", ClientToken: token})
			require.NoError(t, err)
			require.Equal(t, id, again.ID, "the token stands for one command")
		}
		require.LessOrEqual(t, w.most(id), must(strconv.Atoi(c.MaxConcurrency)))
	}
	w.checkStarts()
	// What nobody was told of may be there or not, but whole: at most the one without a token is.
	list, _, err := any().List(t.Context(), ListRequest{})
	require.NoError(t, err)
	require.LessOrEqual(t, len(list), 6)
	require.GreaterOrEqual(t, len(list), len(acked))
	for _, c := range list {
		_, err := any().Wait(t.Context(), c.ID)
		require.NoError(t, err)
	}
	time.Sleep(10 * time.Second)
	require.Empty(t, dump(t, good, todo().Range()))
	require.Empty(t, dump(t, good, space("", "active").Range()))
}

// exactly is the range of one key.
func exactly(k key.K) store.Range {
	return store.Range{Start: k, End: append(append([]byte(nil), k...), 0)}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
