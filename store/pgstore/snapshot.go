package pgstore

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

const (
	beginSnapshot = "begin isolation level repeatable read read only"
	// Without it a plan made when the table was tiny may read all of it long after.
	byIndex = "set local enable_seqscan = off"
	// A function is handed the rows of a scan in pieces of this size at first, then of four times as many, then of atMost.
	atFirst, atMost = 32, 1024
	pieceBytes      = 1 << 20 // and of about so many bytes
)

// snapshot reads one state of the store: that of its first read. It keeps a connection of the pool from then on until it is ended.
type snapshot struct {
	s     *Store
	ctx   context.Context // of the caller
	start time.Time
	limit time.Duration // of the function's time
	learn bool          // what the database needs does not count in the function's time; else only until the first answer

	mu     sync.Mutex // held while the database is asked; ending waits for it
	waited time.Duration
	timer  *time.Timer
	conn   *pgxpool.Conn
	dead   error // why every call fails
	broken error // the database failed; what the function makes of it does not count
}

// end makes every later call fail with err and gives the connection back.
func (p *snapshot) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.dead == nil || err == errDead {
		p.dead = err
	}
	if c := p.conn; c != nil {
		p.conn = nil
		if c.Conn().IsClosed() {
			c.Release()
			return
		}
		p.s.users.Go(func() { // the caller need not wait for this
			ctx, cancel := context.WithTimeout(context.Background(), p.s.opts.Answer)
			defer cancel()
			_, _ = c.Exec(ctx, "rollback")
			c.Release()
		})
	}
}

// ok says why a call must fail. p.mu is held.
func (p *snapshot) ok(ctx context.Context) error {
	if p.dead != nil {
		return p.dead
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if time.Since(p.start)-p.waited >= p.limit {
		return tooLong(p.limit)
	}
	return nil
}

// alive is ok for who does not hold p.mu.
func (p *snapshot) alive(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ok(ctx)
}

// ask runs one query in the snapshot, which begins with it if it is the first. p.mu is held.
func (p *snapshot) ask(ctx context.Context, sql string, args []any, row func(pgx.Rows) error) error {
	if err := p.ok(ctx); err != nil {
		return err
	}
	first := p.conn == nil
	if asked := time.Now(); first || p.learn {
		defer func() { p.waited += time.Since(asked) }()
	}
	for again := p.s.newBackoff(); ; {
		err := p.askOnce(ctx, sql, args, row)
		if err == nil {
			if first && !p.learn {
				p.timer = time.AfterFunc(p.limit, func() { p.end(tooLong(p.limit)) })
			}
			return nil
		}
		gone := errors.Join(ctx.Err(), p.ctx.Err())
		if gone == nil && !first {
			gone = p.ok(ctx)
		}
		if gone != nil { // it was cancelled, or its time is over
			p.dead = gone
			return gone
		}
		if last := lasting(err); last != nil {
			p.broken = last
		} else if !first {
			p.broken = unavailable(err)
		} else {
			// Nothing has been seen of this state yet: another will do.
			wait := again.wait
			if p.conn != nil {
				wait = again.short
				p.conn.Conn().Close(context.Background())
				p.conn.Release()
				p.conn = nil
			}
			if wait(ctx) {
				continue
			}
			p.broken = unavailable(err)
		}
		p.dead = p.broken
		return p.broken
	}
}

func (p *snapshot) askOnce(ctx context.Context, sql string, args []any, row func(pgx.Rows) error) (err error) {
	until := time.Now().Add(p.s.opts.Answer)
	if p.conn != nil && !p.learn {
		until = p.start.Add(p.waited + p.limit)
	}
	actx, cancel := lenient(until, ctx, p.ctx)
	defer cancel()
	if p.conn != nil {
		rows, err := p.conn.Query(actx, sql, args...)
		return each(rows, err, row)
	}
	if p.conn, err = p.s.pool.Acquire(actx); err != nil {
		p.conn = nil
		return err
	}
	b := &pgx.Batch{}
	b.Queue(beginSnapshot)
	b.Queue(byIndex)
	b.Queue(sql, args...)
	br := p.conn.SendBatch(actx, b)
	_, e1 := br.Exec()
	_, e2 := br.Exec()
	if err = errors.Join(e1, e2); err == nil {
		rows, qerr := br.Query()
		err = each(rows, qerr, row)
	}
	if cerr := br.Close(); err == nil {
		err = cerr
	}
	return err
}

// each calls fn for every row.
func each(rows pgx.Rows, err error, fn func(pgx.Rows) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// items collects rows of key and value.
func items(out *[]store.Item) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var it store.Item
		if err := rows.Scan(&it.Key, &it.Value); err != nil {
			return err
		}
		*out = append(*out, it)
		return nil
	}
}

// Get implements store.Reader.
func (p *snapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []byte
	found := false
	if err := p.ask(ctx, p.s.sql.get, []any{notNil(key)}, func(rows pgx.Rows) error {
		found = true
		return rows.Scan(&out)
	}); err != nil {
		return nil, err
	}
	if !found {
		return nil, store.ErrNotFound
	}
	return out, nil
}

func notNil(key []byte) []byte {
	if key == nil {
		return []byte{}
	}
	return key
}

// GetMany implements store.Reader.
func (p *snapshot) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(keys) == 0 {
		return [][]byte{}, p.ok(ctx)
	}
	var rows []store.Item
	if err := p.ask(ctx, p.s.sql.many, []any{distinct(keys)}, items(&rows)); err != nil {
		return nil, err
	}
	return inOrder(keys, rows), nil
}

// distinct returns the keys without nil and repeats.
func distinct(keys [][]byte) [][]byte {
	out := make([][]byte, 0, len(keys))
	seen := make(map[string]struct{}, len(keys))
	for _, k := range keys {
		if _, ok := seen[string(k)]; !ok {
			seen[string(k)] = struct{}{}
			out = append(out, notNil(k))
		}
	}
	return out
}

// inOrder returns one value a key.
func inOrder(keys [][]byte, rows []store.Item) [][]byte {
	found := make(map[string][]byte, len(rows))
	for _, it := range rows {
		found[string(it.Key)] = it.Value
	}
	out := make([][]byte, len(keys))
	for i, k := range keys {
		out[i] = found[string(k)]
	}
	return out
}

// Scan implements store.Reader.
func (p *snapshot) Scan(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
	lo, hi := bounds(r)
	return driver.Limit(r, p.scan(ctx, lo, hi, r.Reverse, r.Limit, nil))
}

// scan yields the items of the range, in pieces. It is told by hint how many are wanted, 0 if nobody knows, and tells took how many were taken.
func (p *snapshot) scan(ctx context.Context, lo, hi []byte, reverse bool, hint int, took func(n int)) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		n := 0
		if took != nil {
			defer func() { took(n) }()
		}
		lo, hi, size := lo, hi, newPiece(hint)
		for {
			var rows []store.Item
			p.mu.Lock()
			err := p.ask(ctx, p.s.sql.scan(reverse), []any{lo, hi, size.n}, items(&rows))
			p.mu.Unlock()
			if err != nil {
				yield(store.Item{}, err)
				return
			}
			for _, it := range rows {
				if err := p.alive(ctx); err != nil {
					yield(store.Item{}, err)
					return
				}
				n++
				if !yield(it, nil) {
					return
				}
			}
			if len(rows) < size.n {
				return
			}
			lo, hi = after(rows, lo, hi, reverse)
			size.next(rows)
		}
	}
}

// after returns what is left of the range after rows.
func after(rows []store.Item, lo, hi []byte, reverse bool) ([]byte, []byte) {
	last := rows[len(rows)-1].Key
	if reverse {
		return lo, last
	}
	return append(bytes.Clone(last), 0), hi
}

// piece says how many rows to ask for.
type piece struct{ n int }

func newPiece(hint int) piece {
	if hint <= 0 {
		return piece{atFirst}
	}
	return piece{min(hint, atMost)}
}

func (p *piece) next(rows []store.Item) {
	size := 1
	for _, it := range rows {
		size += len(it.Key) + len(it.Value)
	}
	p.n = max(atFirst/4, min(4*p.n, atMost, pieceBytes*len(rows)/size))
}

func (q *statements) scan(reverse bool) string {
	if reverse {
		return q.down
	}
	return q.up
}
