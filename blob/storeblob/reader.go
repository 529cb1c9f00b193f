package storeblob

import (
	"context"
	"errors"
	"io"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// reader reads a blob chunk by chunk, a View for each.
type reader struct {
	ctx    context.Context
	s      *Store
	key    string
	h      head
	at     int64
	have   int // the chunk in buf, -1 is none
	buf    []byte
	closed bool
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	const op = "storeblob.Read"
	switch {
	case r.closed:
		return 0, fault.New(op, fault.InternalServerError, "the reader is closed")
	case r.at >= r.h.Size:
		return 0, io.EOF
	case len(b) == 0:
		return 0, nil
	}
	if n := int(r.at / chunk); n != r.have {
		if err := r.load(n); err != nil {
			return 0, fault.Wrap(op, err)
		}
	}
	n := copy(b, r.buf[r.at%chunk:])
	r.at += int64(n)
	return n, nil
}

func (r *reader) load(n int) error {
	r.have = -1
	k := dataKey(r.h.Generation, n)
	err := r.s.store.View(r.ctx, func(ctx context.Context, rd store.Reader) error {
		framed, err := rd.Get(ctx, k)
		if errors.Is(err, store.ErrNotFound) {
			if now, err := r.s.heads.Get(ctx, rd, headKey(r.key)); err == nil && now.Generation == r.h.Generation {
				return fault.New("storeblob.Read", fault.DataCorrupt, "a part of the blob is missing")
			}
		}
		if err != nil {
			return err
		}
		b, err := r.s.codec.Open(k, framed)
		r.buf = append(r.buf[:0], b...)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return fault.New("storeblob.Read", fault.ServiceUnavailable, "the blob was replaced or deleted, and its bytes were cleared away before they were all read: open it again")
	}
	if err == nil && int64(len(r.buf)) != min(chunk, r.h.Size-int64(n)*chunk) {
		return fault.New("storeblob.Read", fault.DataCorrupt, "a part of the blob has another length than it must")
	}
	if err == nil {
		r.have = n
	}
	return err
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.h.Size
	}
	if offset < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return 0, fault.New("storeblob.Seek", fault.Validation, "there is no such place in a blob")
	}
	r.at = offset
	return offset, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.closed, r.buf, r.have = true, nil, -1
	return nil
}
