// Package lease gives each hot thing one owner (DESIGN law 7): a command, a chain, a segment is worked on by the control plane that holds its lease, and by no other.
//
// A lease has an epoch, which rises each time the lease changes hands and never falls, whatever is released or deleted. The holder proves in the
// transaction that writes that it still is the holder ([Held.Check]); a control plane that was paused and comes back finds its writes refused with
// [ErrLost]. Safety rests on that check alone. Clocks only decide when to take over.
//
//	leases := lease.New(st, codec, lease.Config{Owner: "plane-1"})
//	go leases.Run(ctx)                             // renews until ctx ends, then lets go
//	held, err := leases.Acquire(ctx, tenant, "command/"+id)
//	err = st.Update(ctx, func(ctx context.Context, tx store.Tx) error {
//		if err := held.Check(ctx, tx); err != nil {
//			return err
//		}
//		return tx.Put(…)
//	})
//
// What is renewed is not each lease but the session of the process, one small record, so that a process may hold many thousands. Others call a session
// dead when its record did not change for three quarters of its TTL by their own clock, counted from when they last saw it change: the clocks of two machines are never compared.
package lease

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

var (
	// ErrLost: this holder does not hold the lease, or no longer.
	ErrLost = errors.New("lease: lost")
	// ErrHeld: somebody else holds the lease. The error is a *HeldError.
	ErrHeld = errors.New("lease: held by another")
)

// HeldError says who holds a lease. Its code is ServiceUnavailable.
type HeldError struct {
	Tenant, Name string
	Owner        string        // Config.Owner of the holder
	Retry        time.Duration // when the holder would be taken for dead if nothing were heard of it
}

// Error names lease and holder.
func (e *HeldError) Error() string {
	return fmt.Sprintf("lease: %s is held by %s: try again in %v", fault.Clean(e.Name), fault.Clean(e.Owner), e.Retry)
}

// Is makes errors.Is(err, ErrHeld) hold.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// FaultCode returns ServiceUnavailable.
func (e *HeldError) FaultCode() fault.Code { return fault.ServiceUnavailable }

// Config of New. The zero Config is useful.
type Config struct {
	Owner string // name of the process, for people; "" is "control plane"
	// TTL is within which time others take over what a process held that died; 0 is 15 s. A sign of life is given every quarter of it; whose last one is three quarters old counts as dead.
	TTL time.Duration
	// Exclusive says that no other process works on the store, as with an embedded file: whatever another session holds is taken over at once, with a raised epoch.
	Exclusive bool
	Now       func() time.Time // for durations only; nil is time.Now
	Rand      io.Reader        // for the session's id; nil is crypto/rand
	Log       *slog.Logger     // nil logs nothing
	// Beat is called at the beginning of each round of Run, with the time after which the next one begins; nil is nobody. It must not block.
	Beat func(period time.Duration)
}

// Leases is one process's view of the leases of a store. All methods are safe for concurrent use.
type Leases struct {
	store    store.Store
	cfg      Config
	leases   record.Table[leaseRecord]
	sessions record.Table[sessionRecord]
	floors   record.Table[floorRecord]

	mu         sync.Mutex
	session    string
	registered bool      // the session's record was written
	renewed    time.Time // when the last renewal that succeeded was begun
	groups     string    // those joined, with commas between
	forms      map[string]int
	held       map[id]*state
	seen       map[string]sighting // other sessions, by id
}

// patience is for how long a session that gives no sign counts as alive.
func patience(ttl time.Duration) time.Duration { return ttl - ttl/4 }

type id struct{ tenant, name string }

type leaseRecord struct {
	Session string `json:"session,omitempty"` // empty: free
	Owner   string `json:"owner,omitempty"`
	Epoch   uint64 `json:"epoch"`
	Form    int    `json:"form,omitempty"` // only who understands this form can do all the work that the lease stands for
}

type sessionRecord struct {
	Owner string        `json:"owner"`
	Beat  uint64        `json:"beat"`
	TTL   time.Duration `json:"ttl"`

	Groups string `json:"groups,omitempty"`
	Forms  string `json:"forms,omitempty"` // of groups, the highest form that the process understands when it is not 1: "group=2,other=3"
}

// floorRecord is an epoch that every new one exceeds: of one tenant's deleted leases, or of the whole store after a restore.
type floorRecord struct {
	Epoch uint64 `json:"epoch"`
}

// sighting is what is known of another session: its beat, and since when by our clock it is that.
type sighting struct {
	beat  uint64
	since time.Time
	ttl   time.Duration
}

// New returns the leases of s for this process. It does no I/O and starts nothing. codec may be nil.
func New(s store.Store, codec *record.Codec, cfg Config) *Leases {
	if cfg.Owner == "" {
		cfg.Owner = "control plane"
	}
	if cfg.TTL <= 0 {
		cfg.TTL = 15 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Leases{
		store: s, cfg: cfg, leases: record.NewTable[leaseRecord](codec), sessions: record.NewTable[sessionRecord](codec), floors: record.NewTable[floorRecord](codec),
		forms: map[string]int{}, held: map[id]*state{}, seen: map[string]sighting{},
	}
}

// Keys. The sessions and the store's floor belong to no tenant: their first element is the empty one, which no principal has.
func leaseKey(i id) key.K             { return key.New(i.tenant).Str("lease").Str("held").Str(i.name) }
func tenantFloor(tenant string) key.K { return key.New(tenant).Str("lease").Str("floor") }
func storeFloor() key.K               { return key.New("").Str("lease").Str("storefloor") }
func sessionKey(s string) key.K       { return key.New("").Str("lease").Str("session").Str(s) }

// current returns the session's id, making one if there is none.
func (l *Leases) current() (session string, registered bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == "" {
		var b [16]byte
		if _, err := io.ReadFull(l.cfg.Rand, b[:]); err != nil {
			return "", false, fault.New("lease.Acquire", fault.InternalServerError, "no random bytes: %w", err)
		}
		l.session, l.registered = hex.EncodeToString(b[:]), false
	}
	return l.session, l.registered, nil
}

// Acquire takes the lease if it is free, if its holder's session is dead, or if this process holds it already (then the same epoch). Else it returns a
// *HeldError at once. A lease that Run does not keep alive is taken by others after the TTL.
func (l *Leases) Acquire(ctx context.Context, tenant, name string) (Held, error) {
	i := id{tenant, name}
	for range 3 {
		session, registered, err := l.current()
		if err != nil {
			return Held{}, err
		}
		began := l.cfg.Now()
		var rec leaseRecord
		var other *sessionRecord
		err = l.store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			rec, other, err = l.look(ctx, r, i)
			return err
		})
		if err != nil {
			return Held{}, fault.Wrap("lease.Acquire", err)
		}
		if h, ok := l.mine(i, session, rec); ok {
			return h, nil
		}
		dead, retry := l.judge(rec.Session, other)
		if rec.Session != "" && rec.Session != session && !dead {
			return Held{}, &HeldError{tenant, name, rec.Owner, retry}
		}
		var taken, gone bool
		var epoch uint64
		err = l.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			taken, gone = false, false
			now, nowOther, err := l.look(ctx, tx, i)
			if err != nil {
				return err
			}
			if now != rec || (other == nil) != (nowOther == nil) || other != nil && *other != *nowOther {
				return nil // somebody was quicker, or gave a sign of life: look again
			}
			_, err = l.sessions.Get(ctx, tx, sessionKey(session))
			switch {
			case errors.Is(err, store.ErrNotFound) && registered:
				gone = true // others have buried this session: begin a new one
				return nil
			case errors.Is(err, store.ErrNotFound):
				if err := l.sessions.Put(tx, sessionKey(session), l.own()); err != nil {
					return err
				}
			case err != nil:
				return err
			}
			if epoch, err = l.next(ctx, tx, i, now.Epoch); err != nil {
				return err
			}
			taken = true
			return l.leases.Put(tx, leaseKey(i), leaseRecord{Session: session, Owner: l.cfg.Owner, Epoch: epoch, Form: now.Form})
		})
		switch {
		case err != nil:
			return Held{}, fault.Wrap("lease.Acquire", err)
		case gone:
			l.abandon(session)
		case taken:
			if h, ok := l.adopt(i, session, epoch, began); ok {
				if rec.Session != "" {
					l.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "lease taken over", slog.String("lease", fault.Clean(name)), slog.String("from", fault.Clean(rec.Owner)), slog.Uint64("epoch", epoch))
				}
				return h, nil
			}
		}
	}
	return Held{}, &HeldError{tenant, name, "another, who was quicker", l.cfg.TTL / 3}
}

// look reads a lease and, if another session holds it, that session's record; nil if it is gone.
func (l *Leases) look(ctx context.Context, r store.Reader, i id) (rec leaseRecord, other *sessionRecord, err error) {
	rec, err = l.leases.Get(ctx, r, leaseKey(i))
	if errors.Is(err, store.ErrNotFound) {
		return leaseRecord{}, nil, nil
	}
	if err != nil || rec.Session == "" {
		return rec, nil, err
	}
	s, err := l.sessions.Get(ctx, r, sessionKey(rec.Session))
	if errors.Is(err, store.ErrNotFound) {
		return rec, nil, nil
	}
	return rec, &s, err
}

// next returns an epoch above all that the lease ever had.
func (l *Leases) next(ctx context.Context, tx store.Tx, i id, last uint64) (uint64, error) {
	floors, err := l.floors.GetMany(ctx, tx, [][]byte{tenantFloor(i.tenant), storeFloor()})
	if err != nil {
		return 0, err
	}
	for _, f := range floors {
		if f != nil {
			last = max(last, f.Epoch)
		}
	}
	return last + 1, nil
}

// judge says whether a session is dead: its record is gone, or did not change while we looked for as long as patience lasts; else when it would be.
func (l *Leases) judge(session string, rec *sessionRecord) (dead bool, retry time.Duration) {
	if rec == nil || l.cfg.Exclusive {
		return true, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sight(session, *rec, l.cfg.Now())
}

// sight updates the sighting of a session. The caller holds mu.
func (l *Leases) sight(session string, rec sessionRecord, now time.Time) (dead bool, retry time.Duration) {
	s, ok := l.seen[session]
	if !ok || s.beat != rec.Beat || now.Before(s.since) {
		s = sighting{rec.Beat, now, rec.TTL}
		if s.ttl <= 0 {
			s.ttl = l.cfg.TTL
		}
		l.seen[session] = s
	}
	retry = patience(s.ttl) - now.Sub(s.since)
	return retry <= 0, max(0, retry)
}

// mine returns the lease if the record says that this session holds it.
func (l *Leases) mine(i id, session string, rec leaseRecord) (Held, bool) {
	if rec.Session != session {
		return Held{}, false
	}
	return l.adopt(i, session, rec.Epoch, time.Time{})
}

// adopt makes the lease one of those held, unless the session ended meanwhile.
func (l *Leases) adopt(i id, session string, epoch uint64, began time.Time) (Held, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != session {
		return Held{}, false
	}
	if !l.registered {
		l.registered, l.renewed = true, began
	}
	st := l.held[i]
	if st == nil || st.epoch != epoch {
		if st != nil {
			st.lose()
		}
		st = &state{l: l, id: i, session: session, epoch: epoch, lost: make(chan struct{})}
		l.held[i] = st
	}
	return Held{Tenant: i.tenant, Name: i.name, Epoch: epoch, st: st}, true
}

// abandon ends a session in memory: everything it held is lost. The next Acquire begins a new one.
func (l *Leases) abandon(session string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != session {
		return
	}
	for i, st := range l.held {
		st.lose()
		delete(l.held, i)
	}
	l.session, l.registered = "", false
}

// Raise makes every epoch that is given from now on larger than epoch, in all tenants: what restoring a backup needs, so that epochs which the lost
// state had given are not given again.
func (l *Leases) Raise(ctx context.Context, tx store.Tx, epoch uint64) error {
	return fault.Wrap("lease.Raise", l.raise(ctx, tx, storeFloor(), epoch))
}

func (l *Leases) raise(ctx context.Context, tx store.Tx, k key.K, epoch uint64) error {
	f, err := l.floors.Get(ctx, tx, k)
	if err != nil && !errors.Is(err, store.ErrNotFound) || err == nil && f.Epoch >= epoch {
		return err
	}
	return l.floors.Put(tx, k, floorRecord{epoch})
}
