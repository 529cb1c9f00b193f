// Package store is the seam under every service: one ordered, serializable, transactional key-value store.
//
// A host supplies it; store/boltstore (a file) is the default, store/memstore is for tests. Services own key spaces in it (see
// store/key) and frame what they write (see store/record), so that a command, its audit record and its events commit together.
//
//	err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
//		n, err := tx.Get(ctx, k)
//		if err != nil {
//			return err
//		}
//		return tx.Put(k, append(n, '!'))
//	})
//
// The rules of the contract carry names (S-ORDER, S-OWN …) by which storetest reports a driver that breaks one.
package store

import (
	"context"
	"iter"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Limits of the contract. A driver accepts everything up to them and refuses everything beyond with ErrTooLarge.
const (
	MaxKey     = 1 << 10   // bytes of a key; the empty key is refused like one over the limit
	MaxValue   = 256 << 10 // bytes of a value; the empty value is allowed
	MaxWrites  = 10_000    // Puts and Deletes of one Update, each counted, repeated keys too
	MaxTxBytes = 8 << 20   // bytes of keys and values written by one Update

	// MaxView is how long a View may last; after it every call on its Reader returns ErrTooLong (S-LONG). Exports reopen.
	MaxView = 5 * time.Second
	// MaxUpdate is how long one run of an Update's function may last; after it every call on its Tx returns ErrTooLong
	// and the Update fails with it (S-LONG). The budget that a service should keep is 10 ms.
	MaxUpdate = time.Second
)

// The errors of the contract. Drivers wrap them with %w; callers use errors.Is. Each has a fault.Code.
var (
	// ErrNotFound: there is no such key.
	ErrNotFound error = &sentinel{"store: key not found", fault.DoesNotExist}
	// ErrConflict: the driver's retries are used up; nothing was written; the whole Update may be tried again.
	ErrConflict error = &sentinel{"store: conflict with concurrent updates, retries exhausted", fault.Throttling}
	// ErrCommitUnknown: the commit was sent and its answer lost. The writes are all there or not at all, and will stay so.
	// It is settled by reading, or by the caller's idempotency key; never by retrying blindly.
	ErrCommitUnknown error = &sentinel{"store: outcome of the commit is unknown", fault.OutcomeUnknown}
	// ErrReadOnly: the store takes no writes at present (disk full, failed fsync, opened read-only); reads go on.
	ErrReadOnly error = &sentinel{"store: read-only", fault.ServiceUnavailable}
	// ErrTooLarge: a key, a value or the transaction is over a limit, or a key is empty; nothing was written.
	ErrTooLarge error = &sentinel{"store: over a limit of size", fault.Validation}
	// ErrTooLong: the View or the run of the Update lasted longer than the contract allows; nothing was written.
	ErrTooLong error = &sentinel{"store: transaction lasted too long", fault.ServiceUnavailable}
	// ErrNested: View or Update was called with the context of a running one.
	ErrNested error = &sentinel{"store: nested transaction", fault.InternalServerError}
	// ErrClosed: the store was closed by its owner, or a Reader, a Tx or an iterator was used after its function returned.
	ErrClosed error = &sentinel{"store: closed", fault.ServiceUnavailable}
)

type sentinel struct {
	text string
	code fault.Code
}

// Error returns what the error means.
func (e *sentinel) Error() string { return e.text }

// FaultCode returns the code that package fault finds.
func (e *sentinel) FaultCode() fault.Code { return e.code }

// Item is one key with its value.
type Item struct {
	Key, Value []byte
}

// Range selects keys: Start inclusive, End exclusive, in bytewise order. A nil Start is the beginning, a nil End is the end.
type Range struct {
	Start, End []byte
	Limit      int  // at most so many items; 0 is no limit
	Reverse    bool // from the end to the start
}

// Store is the contract that a driver implements. All methods are safe for concurrent use. There is no Close: who opened, closes.
type Store interface {
	// View runs fn once over one consistent state of the store (S-SNAPSHOT): that of some moment between call and return, and
	// not older than any Update that returned before the call (S-FRESH). View returns fn's error unchanged (S-ERROR). Views run beside each other
	// and beside Updates. A View that is cancelled returns the context's error from its Reader's calls (S-CANCEL).
	//
	// A nested View or Update with fn's ctx, of this store or any other, returns ErrNested at once (S-NESTED); with an outer ctx it may deadlock.
	View(ctx context.Context, fn func(ctx context.Context, r Reader) error) error

	// Update runs fn in one serializable transaction (S-SERIAL): no lost update, write skew or phantom. When Update returns nil, the writes of
	// fn's last run are durable, and every View or Update that begins afterwards, in any process on the same store, sees them
	// (S-DURABLE). When it returns an error other than ErrCommitUnknown, none of its writes is visible, now or later (S-ATOMIC).
	//
	// Reruns. fn may run any number of times, one run at a time, on the goroutine that called Update (S-GOROUTINE). Only the last run counts, but
	// every run, discarded ones too, sees one consistent state. fn's only effects are calls on tx and plain assignment to captured
	// variables, which the caller must not rely on before Update returned nil. No network, no key service, no lock, no channel inside.
	//
	// Order. If one Update returned before another was called, it comes first. Concurrent Updates have no promised order. A driver
	// may commit many at once: an error, panic or Goexit in one undoes only its own writes (S-NEIGHBOUR). A panic in the run that counts unwinds through Update (S-PANIC).
	//
	// Cancelling. If ctx ends before the run that counts began, Update returns ctx's error and fn will not run again. Once
	// that run returned nil, ctx is ignored and Update returns the true outcome (S-CANCEL).
	Update(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error
}

// Reader reads one consistent state. It is for the goroutine of its function only and dead after that function returned (ErrClosed, S-DEAD).
//
// Bytes that a Reader returns belong to it: they are valid, and must not be changed, until its function returns for Get and GetMany, and until
// the next step of the iteration for Scan. Keep a copy of what must live longer. The reader does not keep the keys it is given (S-ALIAS).
type Reader interface {
	// Get returns the value of key, or ErrNotFound; never nil for a missing key, and an empty non-nil slice for an empty value (S-MISSING).
	Get(ctx context.Context, key []byte) ([]byte, error)

	// GetMany returns one value a key, in the order of keys; a missing key has a nil value, an empty value is non-nil. Repeated keys are allowed. It is
	// one round trip where the driver has a network (S-MANY).
	GetMany(ctx context.Context, keys [][]byte) ([][]byte, error)

	// Scan yields the items of the range in bytewise order of keys (S-ORDER), at most Limit. After an error it yields nothing more. The caller may stop
	// early (S-BREAK), read and write within the loop, and nest scans (S-NEST-SCAN). Whether writes made by the same transaction
	// after a Scan began show in it is not promised; a Scan that begins after them sees them (S-OWN).
	Scan(ctx context.Context, r Range) iter.Seq2[Item, error]
}

// Tx reads and writes within an Update. Its reads see its own writes (S-OWN).
type Tx interface {
	Reader
	// Put sets the value of key. Neither slice is kept after the call (S-ALIAS). Over a limit: ErrTooLarge, and the Update fails with it even if fn goes on (S-LIMIT).
	Put(key, value []byte) error
	// Delete removes key; a missing key is no error.
	Delete(key []byte) error
}

// Watcher is an optional ability: a driver that can tell of changes without being asked.
type Watcher interface {
	// Watch returns a channel that receives after every commit that wrote a key with the prefix, by any process on the store. Signals are merged: one may
	// stand for many commits. The channel is closed when ctx ends (S-WATCH). The first signal may come without a commit.
	Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error)
}

// DefaultPoll is how often Watch signals for a store that is no Watcher.
const DefaultPoll = time.Second

// Watch returns a channel of signals that something under prefix may have changed: s's own if it is a Watcher, else one that signals every
// DefaultPoll. The goroutine that this needs ends with ctx.
func Watch(ctx context.Context, s Store, prefix []byte) (<-chan struct{}, error) {
	if w, ok := s.(Watcher); ok {
		return w.Watch(ctx, prefix)
	}
	ch := make(chan struct{}, 1)
	go func() {
		defer close(ch)
		t := time.NewTicker(DefaultPoll)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				select {
				case ch <- struct{}{}:
				default:
				}
			}
		}
	}()
	return ch, nil
}
