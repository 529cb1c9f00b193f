package pgstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fleetwright/fleetwright/store"
)

func encode(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

// Watch implements store.Watcher. Commits of other processes arrive by LISTEN; while that cannot be had, the channel receives every second.
func (s *Store) Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if !s.listening {
		s.listening = true
		s.users.Go(s.listenLoop)
	}
	return s.watchers.add(ctx, s.ctx, prefix), nil // closed by Close, too
}

// listenLoop hears of others' commits until Close.
func (s *Store) listenLoop() {
	for s.ctx.Err() == nil {
		if !s.opts.NoListen {
			_ = s.listen() // the connection was lost, or could not be had
		}
		s.watchers.everybody()
		select {
		case <-s.ctx.Done():
		case <-time.After(store.DefaultPoll):
		}
	}
}

// listen hears of others' commits until its connection is lost.
func (s *Store) listen() error {
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.Answer)
	defer cancel()
	pc, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	conn := pc.Hijack()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "listen "+s.sql.channel); err != nil {
		return err
	}
	s.watchers.everybody() // what was committed until now was not heard
	for {
		if err := s.hear(conn); err != nil {
			return err
		}
	}
}

// hear waits for a notification, and asks the server for a sign of life if there is none for a while.
func (s *Store) hear(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.Answer)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	if err == nil {
		s.heard(n.Payload)
		return nil
	}
	if s.ctx.Err() != nil || conn.IsClosed() {
		return err
	}
	ctx, cancel = context.WithTimeout(s.ctx, s.opts.Answer)
	defer cancel()
	return conn.Ping(ctx)
}

// heard signals those whose prefix is that of a key in the payload, as far as it tells.
func (s *Store) heard(text string) {
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(b) < len(s.handle) {
		s.watchers.everybody()
		return
	}
	if bytes.Equal(b[:len(s.handle)], s.handle) {
		return // they know
	}
	var keys [][]byte
	for b = b[len(s.handle):]; len(b) > 0; {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			s.watchers.everybody()
			return
		}
		keys = append(keys, b[used:used+int(n)])
		b = b[used+int(n):]
	}
	s.watchers.heads(keys)
}
