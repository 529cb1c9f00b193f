package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/fault"
)

// sumSize is how many bytes of a piece's SHA-256 stand in the stream's record, which has a checksum, or a MAC, of its own: they tell a changed bit for certain, and leave room for
// the numbers of maxPieces pieces in one record.
const sumSize = 8

// sumOf is the checksum of a piece, never that of noSum.
func sumOf(data []byte) (s [sumSize]byte) {
	h := sha256.Sum256(data)
	if copy(s[:], h[:]); s == noSum {
		s[0] = 1
	}
	return s
}

// noSum stands for a piece that a release without checksums stored.
var noSum [sumSize]byte

// Piece is a part of a stored output stream: one blob.
type Piece struct {
	Blob         string // its key
	Command      string
	Node         string
	Step         string // its name where that is known, else its number from 0
	Stderr       bool
	Offset, Size int64 // where in the stream it begins, and how long it is; in bytes
	sum          [sumSize]byte
}

// OutputPieces returns the pieces that a stored stream consists of, in order: what a backup has to copy and a check has to find. payload is that of the record under
// tenant/"command"/"stream"/command/node/stream.
func OutputPieces(tenant, id, node, streamID string, payload []byte) ([]Piece, error) {
	var st stream
	if err := json.Unmarshal(payload, &st); err != nil {
		return nil, err
	}
	if err := st.check(); err != nil {
		return nil, err
	}
	out := make([]Piece, 0, len(st.Pieces))
	for i := range st.Pieces {
		out = append(out, st.piece(tenant, id, node, streamID, i))
	}
	return out, nil
}

// check reports whether the record's numbers agree.
func (st *stream) check() error {
	if len(st.Sums) != 0 && len(st.Sums) != sumSize*len(st.Pieces) {
		return fault.New("command.stream", fault.DataCorrupt, "the record of an output stream has %d pieces and %d bytes of checksums", len(st.Pieces), len(st.Sums))
	}
	for i, from := range st.Pieces {
		if from < 0 || st.to(i) <= from || i == 0 && from != 0 {
			return fault.New("command.stream", fault.DataCorrupt, "the pieces of an output stream are not in order")
		}
	}
	return nil
}

// to returns where a piece ends.
func (st *stream) to(i int) int64 {
	if i+1 < len(st.Pieces) {
		return st.Pieces[i+1]
	}
	return st.End
}

// sum returns the checksum of a piece.
func (st *stream) sum(i int) (s [sumSize]byte) {
	if len(st.Sums) >= (i+1)*sumSize {
		copy(s[:], st.Sums[i*sumSize:])
	}
	return s
}

// keep notes the last piece: a new one, or the last one as it is now.
func (st *stream) keep(from, to int64, sum [sumSize]byte) {
	n := len(st.Pieces)
	if n == 0 || st.Pieces[n-1] != from {
		st.Pieces = append(st.Pieces, from)
		n++
	}
	st.End = to
	sums := make([]byte, n*sumSize) // of pieces without one: noSum
	copy(sums, st.Sums)
	copy(sums[(n-1)*sumSize:], sum[:])
	st.Sums = sums
}

// piece returns the i-th.
func (st *stream) piece(tenant, id, node, streamID string, i int) Piece {
	from, to := st.Pieces[i], st.to(i)
	step, stderr := strings.CutSuffix(streamID, "e")
	return Piece{Blob: pieceBlob(tenant, id, node, streamID, from, to), Command: id, Node: node, Step: strings.TrimSuffix(step, "o"), Stderr: stderr, Offset: from, Size: to - from, sum: st.sum(i)}
}

// Checked reports whether a checksum of the piece was recorded when it came. Of one that an older release stored, only the length is known.
func (p *Piece) Checked() bool { return p.sum != noSum }

// Read returns the whole piece. One that is missing, shorter or longer, or not the bytes that came is DataCorrupt, and the error says of what it is; then the bytes, if any, are those that are there,
// and are not to be served. A missing one is blob.ErrNotFound too.
func (p *Piece) Read(ctx context.Context, blobs blob.Store) ([]byte, error) {
	r, err := blobs.Open(ctx, p.Blob)
	var b []byte
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(r, p.Size+1))
		err = errors.Join(err, r.Close())
	}
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil, p.damaged("it is missing: %w", err)
	case fault.KindOf(err) == fault.Corrupt:
		return nil, p.damaged("%w", err)
	case err != nil:
		return nil, err
	case int64(len(b)) < p.Size:
		return b, p.damaged("it has %d bytes and had %d", len(b), p.Size)
	case int64(len(b)) > p.Size:
		return b, p.damaged("it has more than its %d bytes", p.Size)
	case p.Checked() && sumOf(b) != p.sum:
		return b, p.damaged("its checksum is not that of the bytes that came")
	}
	return b, nil
}

// String says which piece it is.
func (p *Piece) String() string {
	name := "stdout"
	if p.Stderr {
		name = "stderr"
	}
	return fmt.Sprintf("command %s, node %s, step %s, %s, offset %d to %d", fault.Clean(p.Command), fault.Clean(p.Node), fault.Clean(p.Step), name, p.Offset, p.Offset+p.Size)
}

func (p *Piece) damaged(format string, args ...any) error {
	return fault.New("command.Output", fault.DataCorrupt, "output is damaged (%s): "+format, append([]any{p.String()}, args...)...)
}

// keepPiece stores a piece, behind the bytes of the last one if that is to become one with it, and returns where the piece begins and what its checksum is. A last piece that is
// damaged stays as it is, so that its damage is told: what comes stands by itself.
func (s *Service) keepPiece(ctx context.Context, tenant, id, node, streamID string, st *stream, data []byte) (from int64, sum [sumSize]byte, last string, err error) {
	from = st.End
	if n := len(st.Pieces); n > 0 && st.End-st.Pieces[n-1] < smallPiece {
		p := st.piece(tenant, id, node, streamID, n-1)
		switch b, err := p.Read(ctx, s.cfg.Blobs); {
		case err == nil:
			from, last, data = p.Offset, p.Blob, append(b, data...)
		case fault.KindOf(err) != fault.Corrupt:
			return 0, sum, "", err
		default:
			s.cfg.Log.Error("the end of a stored output is damaged: what comes is kept behind it", "error", err)
		}
	}
	_, err = s.cfg.Blobs.Put(ctx, pieceBlob(tenant, id, node, streamID, from, from+int64(len(data))), bytes.NewReader(data))
	return from, sumOf(data), last, err
}
