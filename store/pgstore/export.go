package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fleetwright/fleetwright/store"
)

var _ store.Exporter = (*Store)(nil)

// How much one answer of Export brings: rows at most, while they are small.
const exportRows = 1000

// Export implements store.Exporter: one read-only transaction, REPEATABLE READ, that reads page after page in the order of keys. It takes no lock: Views and Updates go on, and so does
// every other control plane. Meanwhile the database can clear away nothing that was replaced since, and one connection of the pool is in use; each page must come within Options.Answer.
// A connection that breaks ends it, since no other would see the same state.
func (s *Store) Export(ctx context.Context, fn func(key, value []byte) error) error {
	if !s.begin() {
		return store.ErrClosed
	}
	defer s.users.Done()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return failedExport(ctx, err)
	}
	defer conn.Release()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return failedExport(ctx, err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Answer)
		defer cancel()
		tx.Rollback(end) //nolint:errcheck // it only read
	}()
	if _, err := tx.Exec(ctx, byIndex); err != nil {
		return failedExport(ctx, err)
	}
	from, rows := []byte{}, atFirst
	for {
		page, err := s.exportPage(ctx, tx, from, rows)
		if err != nil {
			return failedExport(ctx, err)
		}
		bytes := 0
		for _, it := range page {
			if err := fn(it.Key, it.Value); err != nil {
				return err
			}
			bytes += len(it.Key) + len(it.Value)
		}
		if len(page) < rows {
			return nil
		}
		from = append(append([]byte(nil), page[len(page)-1].Key...), 0)
		if rows = min(4*rows, exportRows); bytes > 0 {
			rows = min(rows, max(1, pieceBytes*len(page)/bytes))
		}
	}
}

func (s *Store) exportPage(ctx context.Context, tx pgx.Tx, from []byte, rows int) (page []store.Item, err error) {
	ctx, cancel := context.WithDeadline(ctx, time.Now().Add(s.opts.Answer))
	defer cancel()
	got, err := tx.Query(ctx, s.sql.up, from, lastKey, rows)
	err = each(got, err, items(&page))
	return page, err
}

// failedExport is what the caller is told of a database that failed.
func failedExport(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if last := lasting(err); last != nil {
		return last
	}
	return unavailable(err)
}
