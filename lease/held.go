package lease

import (
	"context"
	"errors"
	"sync"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// Held is a lease in hand. It is a value and may be copied. The zero Held holds nothing.
type Held struct {
	Tenant, Name string
	Epoch        uint64 // rises with each change of hands, for ever
	st           *state
}

type state struct {
	l       *Leases
	id      id
	session string
	epoch   uint64
	once    sync.Once
	lost    chan struct{}
}

func (s *state) lose() { s.once.Do(func() { close(s.lost) }) }

// Check returns nil if the lease is still held in the state that tx sees, else ErrLost. It costs one read. Call it in every transaction that
// writes what the lease guards.
func (h Held) Check(ctx context.Context, tx store.Tx) error {
	if h.st == nil {
		return h.lostError("lease.Check")
	}
	rec, err := h.st.l.leases.Get(ctx, tx, leaseKey(h.st.id))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return h.lostError("lease.Check")
	case err != nil:
		return fault.Wrap("lease.Check", err)
	case rec.Session != h.st.session || rec.Epoch != h.st.epoch:
		return h.lostError("lease.Check")
	}
	return nil
}

func (h Held) lostError(op string) error {
	return fault.New(op, fault.ServiceUnavailable, "%s at epoch %d: another process owns this now: %w", fault.Clean(h.Name), h.Epoch, ErrLost)
}

// Lost is closed when this process knows that it does not hold the lease any more: it was taken, released, or Run ended. A nil channel for the zero Held.
func (h Held) Lost() <-chan struct{} {
	if h.st == nil {
		return nil
	}
	return h.st.lost
}

// Alive reports whether the lease is likely held: not known to be lost, and renewed so lately, by this process's clock, that others cannot take it for dead yet. It guards effects outside the
// store, such as sending; it is no substitute for Check.
func (h Held) Alive() bool {
	if h.st == nil {
		return false
	}
	select {
	case <-h.st.lost:
		return false
	default:
	}
	l := h.st.l
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg.Now().Sub(l.renewed) < patience(l.cfg.TTL)
}

// Count returns how many leases this process holds, as far as it knows.
func (l *Leases) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// Release lets the lease go, so that anybody may take it at once. Releasing what is lost is no error.
func (h Held) Release(ctx context.Context) error {
	if h.st == nil {
		return nil
	}
	err := h.st.l.store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return h.ReleaseTx(ctx, tx) })
	h.Forget()
	if errors.Is(err, ErrLost) {
		return nil
	}
	return fault.Wrap("lease.Release", err)
}

// ReleaseTx lets the lease go in the caller's transaction, or returns ErrLost. Call Forget after the commit.
func (h Held) ReleaseTx(ctx context.Context, tx store.Tx) error {
	return h.release(ctx, tx, 0)
}

// ReleaseFor is Release with a note that only who understands the form can do all the work that the lease stands for: [Leases.Survey] offers it to these first, and to
// others only when none of them lives. The note stays with the lease.
func (h Held) ReleaseFor(ctx context.Context, form int) error {
	if h.st == nil {
		return nil
	}
	err := h.st.l.store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return h.release(ctx, tx, form) })
	h.Forget()
	if errors.Is(err, ErrLost) {
		return nil
	}
	return fault.Wrap("lease.Release", err)
}

func (h Held) release(ctx context.Context, tx store.Tx, form int) error {
	if err := h.Check(ctx, tx); err != nil {
		return err
	}
	rec, err := h.st.l.leases.Get(ctx, tx, leaseKey(h.st.id))
	if err != nil {
		return err
	}
	return h.st.l.leases.Put(tx, leaseKey(h.st.id), leaseRecord{Epoch: h.st.epoch, Form: max(rec.Form, form)})
}

// DeleteTx removes the lease with the thing it guarded, in the caller's transaction, or returns ErrLost. A later lease of that name, or of any other of the
// tenant, starts above its epoch. Call Forget after the commit.
func (h Held) DeleteTx(ctx context.Context, tx store.Tx) error {
	if err := h.Check(ctx, tx); err != nil {
		return err
	}
	if err := h.st.l.raise(ctx, tx, tenantFloor(h.st.id.tenant), h.st.epoch); err != nil {
		return fault.Wrap("lease.Delete", err)
	}
	return tx.Delete(leaseKey(h.st.id))
}

// Forget drops the lease from this process's memory and closes Lost. It writes nothing.
func (h Held) Forget() {
	if h.st == nil {
		return
	}
	h.st.lose()
	l := h.st.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[h.st.id] == h.st {
		delete(l.held, h.st.id)
	}
}
