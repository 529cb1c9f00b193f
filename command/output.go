package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// stream is what is kept of one output stream of one step when it is larger than its head.
type stream struct {
	Pieces []int64 `json:"pieces"`         // where each blob begins; each ends where the next begins
	Sums   []byte  `json:"sums,omitempty"` // of each piece its checksum, sumSize bytes; none where an older release wrote the record
	End    int64   `json:"end"`            // bytes kept
	Capped bool    `json:"capped,omitempty"`
}

const (
	// maxPieces is how many pieces a stream may have, so that their list fits into a record: about 1 GiB of output.
	maxPieces = 12_000
	// smallPiece is below which the last piece and the next become one, so that a step which writes a line a second for days has few pieces.
	smallPiece = message.MaxPiece
)

// outputBlob is the prefix of all blobs of a command, or of one of its nodes. Tenants and nodes are hosts' words: what may not stand in a blob's name is encoded.
func outputBlob(tenant, id string, node ...string) string {
	name := "output/" + segment(tenant) + "/" + segment(id)
	for _, n := range node {
		name += "/" + segment(n)
	}
	return name
}

// segment returns text as one segment of a blob's name, different for different texts.
func segment(text string) string {
	plain := text != "" && len(text) <= 64
	for i := 0; plain && i < len(text); i++ {
		c := text[i]
		plain = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	if plain {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "." + hex.EncodeToString(sum[:])
}

// pieceBlob names a piece by where it begins and ends, so that whatever else a node sends for the same place lies elsewhere.
func pieceBlob(tenant, id, node, stream string, from, to int64) string {
	return fmt.Sprintf("%s/%s/%016x-%016x", outputBlob(tenant, id, node), stream, from, to)
}

// output keeps a piece of a stream: the blob first, then the record that names it, then the acknowledgement. A piece that came before is acknowledged again; one that leaves
// a gap is answered with where the stream ends here. A node that was never told to run the command, and one that names a step that the document does not have, gets no answer.
func (s *Service) output(ctx context.Context, tenant, node string, o *message.Output) error {
	const op = "command.Output"
	if o.Step < 0 || o.Step >= maxStep || o.Offset < 0 || o.Offset > math.MaxInt64-message.MaxPiece || len(o.Data) == 0 || len(o.Data) > message.MaxPiece {
		return fault.New(op, fault.Validation, "a piece of output has impossible numbers")
	}
	if !validID(o.Command) {
		return unknownCommand(op, o.Command)
	}
	h := fnv.New32a()
	io.WriteString(h, node) //nolint:errcheck // a hash never fails
	turn := &s.outputs[h.Sum32()%uint32(len(s.outputs))]
	turn.Lock()
	defer turn.Unlock()
	sid := message.StreamID(o.Step, o.Stderr)
	var st stream
	var room int64 // bytes that the invocation may still keep
	look := func(ctx context.Context, r store.Reader) (err error) {
		if err := s.refuseForeign(ctx, r, op, tenant, o.Command); err != nil {
			return err
		}
		st, room, err = s.lookOutput(ctx, r, tenant, node, o)
		return err
	}
	if err := s.cfg.Store.View(ctx, look); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return wrap(op, err)
	}
	if o.Offset == st.End && !st.Capped {
		data := o.Data[:max(0, min(int64(len(o.Data)), room))]
		if len(st.Pieces) >= maxPieces {
			data = nil
		}
		from, to := o.Offset, o.Offset+int64(len(data))
		var sum [sumSize]byte
		var last string // the piece that the new one replaces
		if len(data) > 0 {
			var err error
			if from, sum, last, err = s.keepPiece(ctx, tenant, o.Command, node, sid, &st, data); err != nil {
				return wrap(op, err)
			}
		}
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := look(ctx, tx); err != nil {
				return err
			}
			if o.Offset != st.End || st.Capped {
				return nil // a copy was quicker
			}
			if len(data) > 0 {
				st.keep(from, to, sum)
			}
			st.Capped = len(data) < len(o.Data)
			return s.streams.Put(tx, streamsKey(tenant, o.Command).Str(node).Str(sid), st)
		})
		if errors.Is(err, store.ErrNotFound) { // the command was removed meanwhile
			return wrap(op, s.cfg.Blobs.Delete(ctx, pieceBlob(tenant, o.Command, node, sid, from, to)))
		}
		if err != nil {
			return wrap(op, err)
		}
		if last != "" && st.End == to {
			s.cfg.Blobs.Delete(ctx, last) //nolint:errcheck // it goes with the command
		}
	}
	end := st.End
	if st.Capped {
		end = o.Offset + int64(len(o.Data)) // beyond the cap everything is dropped: the node need not send it again
	}
	s.tell(ctx, tenant, node, message.KindAck, o.Ref, message.Ack{Ref: o.Ref, Offsets: map[string]int64{sid: end}})
	return nil
}

// maxStep bounds the index of a step whose command does not say how many it has.
const maxStep = 10_000

// lookOutput returns the stream of a piece, and how many bytes the invocation may still keep; store.ErrNotFound if the node has no business sending it.
func (s *Service) lookOutput(ctx context.Context, r store.Reader, tenant, node string, o *message.Output) (st stream, room int64, err error) {
	inv, err := s.invs.Get(ctx, r, invsKey(tenant, o.Command).Str(node))
	if err != nil {
		return st, 0, err
	}
	rec, err := s.commands.Get(ctx, r, commandKey(tenant, o.Command))
	if err != nil {
		return st, 0, err
	}
	if inv.Attempt != o.Attempt || inv.DeliveredAt.IsZero() || rec.Steps > 0 && o.Step >= rec.Steps {
		return st, 0, store.ErrNotFound
	}
	room = rec.Request.OutputLimit
	all := streamsKey(tenant, o.Command).Str(node)
	own := all.Str(message.StreamID(o.Step, o.Stderr))
	for e, err := range s.streams.Scan(ctx, r, all.Range()) {
		if err != nil {
			return st, 0, err
		}
		room -= e.Value.End
		if bytes.Equal(e.Key, own) {
			st = e.Value
		}
	}
	return st, room, nil
}

// OutputInfo says what an output stream holds.
type OutputInfo struct {
	Size    int64 // bytes kept
	Dropped int64 // bytes that were produced beyond the cap and not kept
	Whole   bool  // everything that was produced so far is here
}

// Output opens what a step wrote to stdout, or stderr, whole, in bytes as they came. It may be read while the step runs and then ends where the output ended so far. The caller
// closes it. It needs ssm:GetCommandInvocation. Errors: InvalidCommandId, InvocationDoesNotExist, InvalidPluginName (no such step). Reading fails with DataCorrupt where stored bytes are
// not those that came from the node: everything before them was read, nothing of them, and the error names their command, node, step, stream and offset.
func (s *Service) Output(ctx context.Context, id, node, step string, stderr bool) (io.ReadCloser, OutputInfo, error) {
	const op = "command.Output"
	if err := s.may(ctx, op, "ssm:GetCommandInvocation", id); err != nil {
		return nil, OutputInfo{}, err
	}
	res, err := s.readInvocation(ctx, op, id, node)
	if err != nil {
		return nil, OutputInfo{}, err
	}
	i, err := res.step(op, step)
	if err != nil {
		return nil, OutputInfo{}, err
	}
	if i < 0 {
		return io.NopCloser(strings.NewReader("")), OutputInfo{Whole: true}, nil
	}
	src := res.Steps[i].Stdout
	if stderr {
		src = res.Steps[i].Stderr
	}
	tenant := access.Tenant(ctx)
	var st stream
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		st, err = s.streams.Get(ctx, r, streamsKey(tenant, id).Str(node).Str(message.StreamID(i, stderr)))
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return io.NopCloser(strings.NewReader(src.Head)), OutputInfo{Size: int64(len(src.Head)), Dropped: src.Dropped, Whole: src.Dropped == 0 && int64(len(src.Head)) >= src.Size}, nil
	case err != nil:
		return nil, OutputInfo{}, wrap(op, err)
	}
	info := OutputInfo{Size: st.End, Dropped: src.Dropped, Whole: !st.Capped && src.Dropped == 0 && st.End >= src.Size}
	if st.Capped {
		info.Dropped += max(0, src.Size-st.End)
	}
	if err := st.check(); err != nil {
		return nil, OutputInfo{}, wrap(op, err)
	}
	sid := message.StreamID(i, stderr)
	p := &pieces{ctx: ctx, s: s, key: streamsKey(tenant, id).Str(node).Str(sid), st: st}
	p.at = func(st *stream, n int) Piece {
		piece := st.piece(tenant, id, node, sid, n)
		piece.Step = res.Steps[i].Name
		return piece
	}
	return p, info, nil
}

// step finds a step by name: "" is the only one (AWS demands a name when there are several, R27). -1 means that nothing was reported yet.
func (r *Result) step(op, name string) (int, error) {
	switch {
	case len(r.Steps) == 0:
		return -1, nil
	case name == "" && len(r.Steps) == 1:
		return 0, nil
	case name == "":
		return 0, fault.New(op, fault.InvalidPluginName, "the document has %d steps: name one", len(r.Steps))
	}
	for i := range r.Steps {
		if r.Steps[i].Name == name {
			return i, nil
		}
	}
	return 0, fault.New(op, fault.InvalidPluginName, "the document has no step %s", fault.Clean(name))
}

// pieces reads a stream's blobs one after another, and nothing of one that is damaged.
type pieces struct {
	ctx  context.Context
	s    *Service
	key  key.K                         // of the stream's record
	at   func(st *stream, i int) Piece // the pieces of the record
	st   stream
	next int    // of st's pieces
	cur  []byte // what is left to read of the one before
	err  error  // why there is nothing more
}

// open reads the next piece; io.EOF at the end. A piece that grew since the record was read has another name: the record is read again.
func (p *pieces) open() ([]byte, error) {
	for again := false; p.next < len(p.st.Pieces); again = true {
		from := p.st.Pieces[p.next]
		piece := p.at(&p.st, p.next)
		b, err := piece.Read(p.ctx, p.s.cfg.Blobs)
		if err == nil {
			p.next++
			return b, nil
		}
		if again || fault.KindOf(err) != fault.Corrupt {
			return nil, err
		}
		err = p.s.cfg.Store.View(p.ctx, func(ctx context.Context, r store.Reader) (err error) {
			p.st, err = p.s.streams.Get(ctx, r, p.key)
			return err
		})
		if err == nil {
			err = p.st.check()
		}
		if err != nil {
			return nil, err
		}
		p.next, _ = slices.BinarySearch(p.st.Pieces, from)
	}
	return nil, io.EOF
}

// Read implements io.Reader.
func (p *pieces) Read(b []byte) (int, error) {
	for len(p.cur) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		var err error
		if p.cur, err = p.open(); err != nil {
			p.err = wrap("command.Output", err)
			if errors.Is(err, io.EOF) {
				p.err = io.EOF
			}
		}
	}
	n := copy(b, p.cur)
	p.cur = p.cur[n:]
	return n, nil
}

// Close implements io.Closer.
func (p *pieces) Close() error {
	p.cur, p.err = nil, fs.ErrClosed
	return nil
}
