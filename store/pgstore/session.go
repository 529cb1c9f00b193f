package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fleetwright/fleetwright/store"
)

// session is the connection on which a store commits. It is the committer's own: the pool does not see it again.
type session struct {
	conn *pgx.Conn
	sql  *statements
	opts *Options
}

// beginLocked begins a transaction in which every statement sees what was committed before it. With an older snapshot than the lock, e.g. that of
// REPEATABLE READ, which the statement that waits for the lock takes before it waits, the store would not be serializable.
const beginLocked = "begin isolation level read committed read write"

const lockStatement = "select pg_advisory_xact_lock($1)"

// connect takes a connection of the pool and makes it the committer's.
func (s *Store) connect() (*session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Answer)
	defer cancel()
	pc, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	c := &session{conn: pc.Hijack(), sql: s.sql, opts: &s.opts}
	if err := c.prepare(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// prepare sets what a commit relies on, whatever the defaults of the database are.
func (c *session) prepare(ctx context.Context) error {
	hold := strconv.FormatInt(c.opts.Hold.Milliseconds(), 10)
	b := &pgx.Batch{}
	for _, set := range [][2]string{
		{"enable_seqscan", "off"},
		{"jit", "off"}, // what has to read a whole table all the same costs so much, on paper, that it would be compiled first, for a tenth of a second
		{"lock_timeout", hold},
		{"idle_in_transaction_session_timeout", hold},
		{"statement_timeout", strconv.FormatInt(c.opts.Answer.Milliseconds(), 10)},
		{"tcp_user_timeout", hold},
	} {
		b.Queue("select set_config($1, $2, false)", set[0], set[1])
	}
	b.Queue("select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'")
	if err := c.conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	var standby bool
	if err := c.conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&standby); err != nil {
		return err
	}
	if standby {
		return fmt.Errorf("%w: the server is a standby", store.ErrReadOnly)
	}
	return nil
}

func (c *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx)
}

// within returns a context for one message to the server.
func (c *session) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), c.opts.Answer+c.opts.Hold)
}

// rollback ends the transaction, if there is one.
func (c *session) rollback() error {
	if c.conn.IsClosed() {
		return errors.New("the connection is closed")
	}
	if c.conn.PgConn().TxStatus() == 'I' {
		return nil
	}
	ctx, cancel := c.within()
	defer cancel()
	_, err := c.conn.Exec(ctx, "rollback")
	return err
}

// send sends the statements in one message and reads their answers.
func (c *session) send(b *pgx.Batch) error {
	ctx, cancel := c.within()
	defer cancel()
	return c.conn.SendBatch(ctx, b).Close()
}

// queueLock begins a transaction that has the lock.
func (c *session) queueLock(b *pgx.Batch) {
	if begin := c.opts.wrong.begin; begin != "" {
		b.Queue(begin)
	} else {
		b.Queue(beginLocked)
	}
	if !c.opts.wrong.lockLast {
		b.Queue(lockStatement, c.sql.lock)
	}
}

// queueReads fetches what l names into the cache.
func (c *session) queueReads(b *pgx.Batch, l *reads, into *cache) {
	if len(l.keys) > 0 {
		keys := make([][]byte, 0, len(l.keys))
		for k := range l.keys {
			keys = append(keys, []byte(k))
		}
		b.Queue(c.sql.many, keys).Query(func(rows pgx.Rows) error {
			var found []store.Item
			if err := each(rows, nil, items(&found)); err != nil {
				return err
			}
			into.learnKeys(keys, found)
			return nil
		})
	}
	for _, r := range l.ranges {
		limit := min(r.n+slack, mostAhead)
		b.Queue(c.sql.scan(r.reverse), r.lo, r.hi, limit).Query(func(rows pgx.Rows) error {
			var found []store.Item
			if err := each(rows, nil, items(&found)); err != nil {
				return err
			}
			into.learn(r.lo, r.hi, r.reverse, found, limit)
			return nil
		})
	}
}

// fetch reads under the lock.
func (c *session) fetch(l *reads, into *cache) error {
	b := &pgx.Batch{}
	c.queueReads(b, l, into)
	return c.send(b)
}

// settle finds out, under the lock, whether the commit with the number pending (0: none) of the store with this handle is there, and sees to it that it will not be
// there later either, even if its message still travels. It returns the number that the next commit has to follow.
func (c *session) settle(handle []byte, seq, pending int64) (committed bool, next int64, err error) {
	ctx, cancel := c.within()
	defer cancel()
	b := &pgx.Batch{}
	c.queueLock(b)
	var there int64
	b.Queue(c.sql.marked, handle).Query(func(rows pgx.Rows) error {
		return each(rows, nil, func(rows pgx.Rows) error { return rows.Scan(&there) })
	})
	if err := c.conn.SendBatch(ctx, b).Close(); err != nil {
		return false, 0, err
	}
	if pending != 0 && there == pending {
		return true, there, c.rollback()
	}
	next = max(there, pending, seq) + 1
	b = &pgx.Batch{}
	b.Queue(c.sql.fence, handle, next)
	b.Queue(c.sql.sweep)
	b.Queue("commit")
	if err := c.conn.SendBatch(ctx, b).Close(); err != nil {
		return false, 0, err
	}
	return false, next, nil
}

// holder is a transaction that has the lock.
type holder struct {
	pid int32
	tx  string // its virtual id: no other of the server has the same until a restart
}

const holderFrom = "from pg_locks where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database()) " +
	"and classid = $1::oid and objid = $2::oid and objsubid = 1"

// holder returns who has the lock, nobody if nobody has.
func (c *session) holder() (h holder, err error) {
	ctx, cancel := c.within()
	defer cancel()
	key := uint64(c.sql.lock)
	err = c.conn.QueryRow(ctx, "select pid, virtualtransaction "+holderFrom, uint32(key>>32), uint32(key)).Scan(&h.pid, &h.tx)
	if errors.Is(err, pgx.ErrNoRows) {
		return holder{}, nil
	}
	return h, err
}

// terminate ends the session of h if it still has the lock.
func (c *session) terminate(h holder) error {
	ctx, cancel := c.within()
	defer cancel()
	key := uint64(c.sql.lock)
	_, err := c.conn.Exec(ctx, "select pg_terminate_backend(pid) "+holderFrom+" and pid = $3 and virtualtransaction = $4", uint32(key>>32), uint32(key), h.pid, h.tx)
	return err
}
