package command

import (
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

const (
	// cancelValid is how long after the command's deadline the control plane's other messages hold.
	cancelValid = time.Hour
	// apartBytes is how many bytes of output heads go into one record of their own.
	apartBytes = 60 << 10
)

// flush is what an engine decided, encoded, on its way into one transaction.
type flush struct {
	attached
	commit  bool
	news    bool // the mark that announced the command goes
	puts    []put
	events  []feed.Event
	state   State
	ended   bool
	forgets []string // nodes whose invocation ended
	sends   []Send
	tell    []observe.Event // once it is durable
	lines   []line          // for the log, likewise
}

// put is one record, framed.
type put struct{ key, value []byte }

// start begins the commit of what the engine decided, after the one before it. At most one commit is under way, and the messages of the one before it.
func (a *actor) start(ctx context.Context) error {
	f, err := a.encode()
	if err == nil {
		err = a.settle()
	}
	if err != nil {
		answer(f.done, err)
		return err
	}
	busy, sent, before := make(chan error, 1), make(chan struct{}), a.sent
	a.busy, a.sent = busy, sent
	go func() { // ends with the commit and its messages; serve waits for it
		defer close(sent)
		err := a.commit(ctx, f)
		answer(f.done, err)
		if before != nil {
			<-before
		}
		busy <- err
		if err == nil {
			a.deliver(ctx, f)
		}
	}()
	return nil
}

// encode takes what the engine decided.
func (a *actor) encode() (*flush, error) {
	s, tenant := a.s, a.key.tenant
	f := &flush{attached: a.acc, news: a.news.Swap(false)}
	a.acc = attached{}
	var ch Changes
	n := a.engine.Pending()
	f.puts = make([]put, 0, n+1)
	seal := func(k key.K, payload []byte) {
		f.puts = append(f.puts, put{k, s.cfg.Codec.Seal(k, payload)})
	}
	prefix, aparts := invsKey(tenant, a.key.id), headsKey(tenant, a.key.id)
	told := &teller{now: s.cfg.Now()}
	buf := encoder{b: make([]byte, 0, 1<<10)}
	var tell *[]observe.Event
	if s.cfg.Observer != nil {
		tell = &f.tell
		a.tellHeard(tell)
	}
	debug := a.log.Enabled(context.Background(), slog.LevelDebug)
	commit := a.engine.flush(&ch, func(inv *Invocation) {
		buf.b = buf.b[:0]
		buf.invocation(inv)
		seal(prefix.Str(inv.Node), buf.b)
		for n, part := range parts(inv.apart) {
			seal(aparts.Str(inv.Node).Uint(uint64(n)), appendHeads(nil, part))
		}
		if inv.Phase == PhaseDone {
			f.forgets = append(f.forgets, inv.Node)
			if tell != nil {
				a.tellEnd(tell, inv)
			}
		}
		if debug {
			f.lines = append(f.lines, lineOf(inv))
		}
		told.add(inv)
	})
	f.state, f.ended, f.sends = ch.State, ch.Ended, ch.Sends
	if tell != nil && f.ended {
		a.tellOver(tell, &f.state)
	}
	f.commit = commit || f.news || len(f.cancels)+len(f.mail) > 0
	if !commit {
		return f, nil
	}
	b, err := json.Marshal(&ch.State)
	if err != nil {
		return f, err
	}
	seal(stateKey(tenant, a.key.id), b)
	f.events = told.end(&ch.State)
	return f, nil
}

// parts cuts output heads into what one record holds.
func parts(hs []head) (out [][]head) {
	for len(hs) > 0 {
		n, bytes := 0, 0
		for n < len(hs) && (n == 0 || bytes < apartBytes) {
			bytes += quotedLen(hs[n].Stdout) + quotedLen(hs[n].Stderr)
			if n > 0 && bytes > 2*apartBytes {
				break
			}
			n++
		}
		out, hs = append(out, hs[:n]), hs[n:]
	}
	return out
}

// commit writes a flush, under the lease.
func (a *actor) commit(ctx context.Context, f *flush) error {
	if !f.commit {
		return nil
	}
	s, tenant, id, shard := a.s, a.key.tenant, a.key.id, a.shard.n
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := a.shard.held.Check(ctx, tx); err != nil {
			return err
		}
		for _, p := range f.puts {
			if err := tx.Put(p.key, p.value); err != nil {
				return err
			}
		}
		deletes := f.cancels
		if f.news {
			deletes = append(slices.Clip(deletes), newsKey(shard, tenant, id))
		}
		for _, l := range f.mail {
			v, err := tx.Get(ctx, l.key)
			switch {
			case errors.Is(err, store.ErrNotFound):
			case err != nil:
				return err
			case crc32.Checksum(v, letterSum) == l.sum:
				deletes = append(slices.Clip(deletes), l.key)
			}
		}
		if f.ended {
			deletes = append(slices.Clip(deletes), activeKey(shard).Str(tenant).Str(id))
			if err := s.dropTodo(ctx, tx, shard, tenant, id); err != nil {
				return err
			}
		}
		for _, k := range deletes {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		if len(f.events) == 0 {
			return nil
		}
		_, err := s.feed.Append(ctx, tx, topic(tenant, id), f.events...)
		return err
	})
}

// deliver does what follows a commit.
func (a *actor) deliver(ctx context.Context, f *flush) {
	a.follow(ctx, f)
	a.s.unhearNodes(a, f.forgets)
	a.sendAll(ctx, f.sends, f.state.ExpiresAt)
	if a.s.cfg.Observer != nil {
		a.stands.troubled.Store(false)
		a.told(ctx, f)
	}
}

// sendAll hands messages over, and leaves those for nodes that are connected to other control planes for these.
func (a *actor) sendAll(ctx context.Context, sends []Send, expires time.Time) {
	sends = a.sendAway(ctx, sends, expires)
	spread(len(sends), func(i int) { a.send(ctx, &sends[i], expires) })
}

// spread calls send for each of n messages; many of them on all processors, since they are signed and sealed on the way.
func spread(n int, send func(i int)) {
	const share = 64
	workers := min(runtime.GOMAXPROCS(0), (n+share-1)/share)
	if workers <= 1 {
		for i := range n {
			send(i)
		}
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w * n / workers; i < (w+1)*n/workers; i++ {
				send(i)
			}
		})
	}
	wg.Wait()
}

func (a *actor) send(ctx context.Context, m *Send, expires time.Time) {
	ref := message.Ref{Command: a.key.id, Attempt: m.Attempt}
	body, notAfter := a.bodies[m.Kind], expires
	var err error
	switch m.Kind {
	case message.KindAck:
		body, err = message.Marshal(m.Kind, m.Ack)
		notAfter = expires.Add(cancelValid)
	case message.KindCancel:
		body, err = message.Marshal(m.Kind, message.Cancel{Ref: ref, Detail: m.Detail})
		notAfter = expires.Add(cancelValid)
	}
	if err == nil {
		err = a.s.cfg.Sender.Send(ctx, a.key.tenant, m.Node, m.Kind, ref, notAfter, body)
	}
	if a.s.cfg.Observer != nil {
		a.tellSent(ctx, m, err)
	}
	if err != nil {
		a.log.Debug("message not handed over; it will be sent again", "node", m.Node, "kind", m.Kind, "error", err)
	}
}
