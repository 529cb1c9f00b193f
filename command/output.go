package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// stream is what is kept of one output stream of one step when it is larger than its head.
type stream struct {
	Pieces []int64 `json:"pieces"` // where each blob begins
	End    int64   `json:"end"`    // bytes kept
	Capped bool    `json:"capped,omitempty"`
}

func outputBlob(tenant, id, node string) string { return "output/" + tenant + "/" + id + "/" + node }

func pieceBlob(tenant, id, node, stream string, offset int64) string {
	return fmt.Sprintf("%s/%s/%016x", outputBlob(tenant, id, node), stream, offset)
}

// output keeps a piece of a stream: the blob first, then the record that names it, then the acknowledgement. A piece that came before is acknowledged again; one that leaves
// a gap is answered with where the stream ends here. A node that was never told to run the command gets no answer.
func (s *Service) output(ctx context.Context, tenant, node string, o *message.Output) error {
	const op = "command.Output"
	if o.Step < 0 || o.Step > 10_000 || o.Offset < 0 || len(o.Data) == 0 || len(o.Data) > message.MaxPiece {
		return fault.New(op, fault.Validation, "a piece of output has impossible numbers")
	}
	sid := message.StreamID(o.Step, o.Stderr)
	all := streamsKey(tenant, o.Command).Str(node)
	var st stream
	var total, limit int64
	look := func(ctx context.Context, r store.Reader) error {
		st, total = stream{}, 0
		inv, err := s.invs.Get(ctx, r, invsKey(tenant, o.Command).Str(node))
		if err != nil {
			return err
		}
		if inv.Attempt != o.Attempt || inv.DeliveredAt.IsZero() {
			return store.ErrNotFound
		}
		rec, err := s.commands.Get(ctx, r, commandKey(tenant, o.Command))
		if err != nil {
			return err
		}
		limit = rec.Request.OutputLimit
		for e, err := range s.streams.Scan(ctx, r, all.Range()) {
			if err != nil {
				return err
			}
			total += e.Value.End
			if bytes.Equal(e.Key, all.Str(sid)) {
				st = e.Value
			}
		}
		return nil
	}
	if err := s.cfg.Store.View(ctx, look); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return fault.Wrap(op, err)
	}
	if o.Offset == st.End && !st.Capped {
		data := o.Data
		if room := limit - total; int64(len(data)) > room {
			data = data[:max(0, room)]
		}
		if len(data) > 0 {
			if _, err := s.cfg.Blobs.Put(ctx, pieceBlob(tenant, o.Command, node, sid, o.Offset), bytes.NewReader(data)); err != nil {
				return fault.Wrap(op, err)
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
				st.Pieces, st.End = append(st.Pieces, o.Offset), st.End+int64(len(data))
			}
			st.Capped = len(data) < len(o.Data)
			return s.streams.Put(tx, all.Str(sid), st)
		})
		if err != nil {
			return fault.Wrap(op, err)
		}
	}
	end := st.End
	if st.Capped {
		end = o.Offset + int64(len(o.Data)) // beyond the cap everything is dropped: the node need not send it again
	}
	s.tell(ctx, tenant, node, message.KindAck, o.Ref, message.Ack{Ref: o.Ref, Offsets: map[string]int64{sid: end}})
	return nil
}

// OutputInfo says what an output stream holds.
type OutputInfo struct {
	Size    int64 // bytes kept
	Dropped int64 // bytes that were produced beyond the cap and not kept
	Whole   bool  // everything that was produced so far is here
}

// Output opens what a step wrote to stdout, or stderr, whole, in bytes as they came. It may be read while the step runs and then ends where the output ended so far. The caller
// closes it. It needs ssm:GetCommandInvocation. Errors: InvalidCommandId, InvocationDoesNotExist, InvalidPluginName (no such step).
func (s *Service) Output(ctx context.Context, id, node, step string, stderr bool) (io.ReadCloser, OutputInfo, error) {
	const op = "command.Output"
	res, err := s.Invocation(ctx, id, node)
	if err != nil {
		return nil, OutputInfo{}, err
	}
	i, err := res.step(op, step)
	if err != nil || i < 0 {
		return io.NopCloser(strings.NewReader("")), OutputInfo{Whole: err == nil}, err
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
		return nil, OutputInfo{}, fault.Wrap(op, err)
	}
	info := OutputInfo{Size: st.End, Dropped: src.Dropped, Whole: !st.Capped && src.Dropped == 0 && st.End >= src.Size}
	if st.Capped {
		info.Dropped += max(0, src.Size-st.End)
	}
	names := make([]string, len(st.Pieces))
	for n, off := range st.Pieces {
		names[n] = pieceBlob(tenant, id, node, message.StreamID(i, stderr), off)
	}
	return &pieces{ctx: ctx, s: s, names: names}, info, nil
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

// pieces reads blobs one after another.
type pieces struct {
	ctx   context.Context
	s     *Service
	names []string
	cur   io.ReadCloser
}

func (p *pieces) Read(b []byte) (int, error) {
	for {
		if p.cur == nil {
			if len(p.names) == 0 {
				return 0, io.EOF
			}
			r, err := p.s.cfg.Blobs.Open(p.ctx, p.names[0])
			if err != nil {
				return 0, fault.Wrap("command.Output", err)
			}
			p.cur, p.names = r, p.names[1:]
		}
		n, err := p.cur.Read(b)
		if errors.Is(err, io.EOF) {
			cerr := p.cur.Close()
			p.cur = nil
			if n > 0 {
				return n, nil
			}
			if cerr != nil {
				return 0, cerr
			}
			continue
		}
		return n, err
	}
}

func (p *pieces) Close() error {
	p.names = nil
	if p.cur == nil {
		return nil
	}
	return p.cur.Close()
}

// AWS's caps on output (R24, R25). They are a profile for faces that speak AWS's language; this package keeps everything.
const (
	MaxStandardOutput = 24_000 // GetCommandInvocation, StandardOutputContent
	MaxStandardError  = 8_000  // GetCommandInvocation, StandardErrorContent
	MaxPluginOutput   = 2_500  // ListCommandInvocations with details: both together
)

// Markers of AWS's agent for output that was cut (spelled as there).
const (
	outputTruncated = "\n---Output truncated---"
	errorTruncated  = "\n---Error truncated----"
	errorHeader     = "\n----------ERROR-------\n"
)

// cut returns at most n bytes of text without splitting a rune.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	n = max(0, n)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// Truncate joins a step's stdout and stderr into at most limit bytes as AWS's plugin output has them (R24): all of both if they fit; else each may fill half, and what one leaves
// the other takes. Cuts are marked and never split a rune (R26).
func Truncate(stdout, stderr string, limit int) string {
	if stderr == "" {
		return mark1(stdout, limit, outputTruncated)
	}
	room := limit - len(errorHeader)
	if len(stdout)+len(stderr) <= room {
		return stdout + errorHeader + stderr
	}
	half := room / 2
	switch {
	case len(stdout) <= half:
		stderr = mark1(stderr, room-len(stdout), errorTruncated)
	case len(stderr) <= half:
		stdout = mark1(stdout, room-len(stderr), outputTruncated)
	default:
		stdout, stderr = mark1(stdout, half, outputTruncated), mark1(stderr, half, errorTruncated)
	}
	return cut(stdout+errorHeader+stderr, max(0, limit))
}

// mark1 cuts text to n bytes, the marker included.
func mark1(text string, n int, marker string) string {
	if len(text) <= n {
		return text
	}
	return cut(cut(text, n-len(marker))+marker, max(0, n))
}
