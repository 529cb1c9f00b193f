// Package driver holds what every driver of package store needs and should not get wrong alone: the mark that refuses nested
// transactions, the limits, the writes of a transaction that are not applied yet merged into its reads, and the signals of Watch.
//
// A driver's Update begins like this:
//
//	ctx, err := driver.Enter(ctx) // ErrNested, or the context for fn
//	var w driver.Writes           // Put and Delete go here; reads ask it first; a Scan is merged with it
//	…
//	if err := w.Err(); err != nil { return err } // a limit that fn overlooked
package driver

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/store"
)

type mark struct{}

// Enter returns the context that a driver hands to the function of a transaction, or store.ErrNested if ctx is such a context, of
// whatever driver or store (S-NESTED).
func Enter(ctx context.Context) (context.Context, error) {
	if ctx.Value(mark{}) != nil {
		return nil, fmt.Errorf("%w: it was called with the context of a running View or Update; use that one's reader, or call after it returned", store.ErrNested)
	}
	return context.WithValue(ctx, mark{}, true), nil
}

// CheckKey returns ErrTooLarge for a key that no store may hold: an empty one or one over store.MaxKey.
func CheckKey(key []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("%w: the key is empty", store.ErrTooLarge)
	}
	if len(key) > store.MaxKey {
		return fmt.Errorf("%w: the key has %d bytes, the limit is %d", store.ErrTooLarge, len(key), store.MaxKey)
	}
	return nil
}

// Meter counts what an Update writes against the limits of the contract. The first excess sticks (S-LIMIT). The zero Meter is ready.
type Meter struct {
	writes, bytes int
	err           error
}

// Put counts one Put, and returns ErrTooLarge if it must be refused.
func (m *Meter) Put(key, value []byte) error {
	if len(value) > store.MaxValue && m.err == nil {
		m.err = fmt.Errorf("%w: the value has %d bytes, the limit is %d; large things go to a blob store", store.ErrTooLarge, len(value), store.MaxValue)
	}
	return m.count(key, len(key)+len(value))
}

// Delete counts one Delete, and returns ErrTooLarge if it must be refused.
func (m *Meter) Delete(key []byte) error { return m.count(key, len(key)) }

func (m *Meter) count(key []byte, n int) error {
	if m.err != nil {
		return m.err
	}
	if m.err = CheckKey(key); m.err != nil {
		return m.err
	}
	m.writes++
	m.bytes += n
	switch {
	case m.writes > store.MaxWrites:
		m.err = fmt.Errorf("%w: the transaction has more than %d writes; split it", store.ErrTooLarge, store.MaxWrites)
	case m.bytes > store.MaxTxBytes:
		m.err = fmt.Errorf("%w: the transaction writes more than %d bytes; split it", store.ErrTooLarge, store.MaxTxBytes)
	}
	return m.err
}

// Err returns the first excess, nil if there was none.
func (m *Meter) Err() error { return m.err }

// Writes returns how many writes were counted.
func (m *Meter) Writes() int { return m.writes }

// Bytes returns how many bytes of keys and values were counted.
func (m *Meter) Bytes() int { return m.bytes }
