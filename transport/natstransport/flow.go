package natstransport

import (
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/transport"
)

// limits bound what is under way between a node and a plane, in each direction.
type limits struct{ count, bytes int }

// probeEvery is how often a full window asks the other side what it has handled.
const probeEvery = 100 * time.Millisecond

// flow is one session of a node with one plane, as one side sees it: what it sent and has no word of, and what it got. Who sends waits for the receiver's handler, not for its broker: the window
// is what makes Send answer ErrBusy when the other side is stuck, and what bounds the memory that a node takes anywhere on the way.
type flow struct {
	session sessionID
	plane   planeID
	limits  limits

	mu sync.Mutex
	// sent
	seq    uint32
	sizes  []int32 // of the frames after acked, up to seq
	acked  uint32
	bytes  int // sum of sizes
	probed time.Time
	// got; next and part belong to the lane that handles the frames
	next   uint32
	part   []byte
	taken  uint32 // handled
	told   uint32 // what the other side was told of taken
	untold int    // bytes handled since
	inPart bool
}

func newFlow(session sessionID, plane planeID, l limits) *flow {
	return &flow{session: session, plane: plane, limits: l, next: 1}
}

// cut makes the frames of a message, none with more data than most, and hands them to put as one; the window is full: ErrBusy, and a probe if it is time for one.
func (f *flow) send(data []byte, most int, now time.Time, put func(frames [][]byte) error) error {
	n := max(1, (len(data)+most-1)/most)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sizes) > 0 && (len(f.sizes)+n > f.limits.count || f.bytes+len(data) > f.limits.bytes) {
		if now.Sub(f.probed) >= probeEvery {
			f.probed = now
			f.count(0)
			p := frame{kind: kindProbe, session: f.session, plane: f.plane, seq: f.seq, ack: f.ack()}
			put([][]byte{p.encode()}) //nolint:errcheck // there is a next time
		}
		return transport.ErrBusy
	}
	frames := make([][]byte, 0, n)
	was, sizes, bytes, ack := f.seq, len(f.sizes), f.bytes, f.ack()
	for i := range n {
		piece := data[i*most : min(len(data), (i+1)*most)]
		f.count(len(piece))
		p := frame{kind: kindData, session: f.session, plane: f.plane, seq: f.seq, ack: ack, data: piece}
		if i == 0 {
			p.flags |= flagFirst
		}
		if i == n-1 {
			p.flags |= flagLast
		}
		frames = append(frames, p.encode())
	}
	if err := put(frames); err != nil {
		f.seq, f.sizes, f.bytes = was, f.sizes[:sizes], bytes
		return err
	}
	return nil
}

// count counts a frame that is sent; the mutex is held. A probe has room even when the window is full: at most one each probeEvery, and they are small.
func (f *flow) count(size int) {
	f.seq++
	if f.seq == 0 {
		f.seq = 1
	}
	f.sizes = append(f.sizes, int32(size))
	f.bytes += size
}

// ack returns what to tell the other side, which counts as told; the mutex is held.
func (f *flow) ack() uint32 {
	f.told, f.untold = f.taken, 0
	return f.taken
}

// acknowledged takes the other side's word of what it has handled.
func (f *flow) acknowledged(ack uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := int(ack - f.acked)
	if ack == 0 || n <= 0 || n > len(f.sizes) {
		return // old, or of nothing that was sent
	}
	for _, s := range f.sizes[:n] {
		f.bytes -= int(s)
	}
	f.acked = ack
	f.sizes = slices.Delete(f.sizes, 0, n)
	if len(f.sizes) == 0 {
		f.sizes = nil
	}
}

// take takes the next frame that is counted, in the order of arrival, and returns the message that it completes. A gap, which is a loss, discards the message that it is in.
func (f *flow) take(fr *frame) (data []byte, whole bool) {
	if int32(fr.seq-f.next) < 0 {
		return nil, false // again
	}
	gap := fr.seq != f.next
	f.next = fr.seq + 1
	if fr.kind == kindProbe {
		return nil, false
	}
	if fr.flags&flagFirst != 0 {
		f.part, f.inPart = nil, true
	} else if gap || !f.inPart {
		f.part, f.inPart = nil, false
		return nil, false
	}
	if len(f.part)+len(fr.data) > transport.MaxMessage {
		f.part, f.inPart = nil, false
		return nil, false
	}
	if fr.flags&flagLast != 0 {
		data = fr.data
		if f.part != nil {
			data = append(f.part, fr.data...)
		}
		f.part, f.inPart = nil, false
		return data, true
	}
	if f.part == nil {
		f.part = make([]byte, 0, min(transport.MaxMessage, 4*len(fr.data)))
	}
	f.part = append(f.part, fr.data...)
	return nil, false
}

// handled counts a frame as handled and returns an acknowledgement to send when it is time for one.
func (f *flow) handled(fr *frame) (ack []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if int32(fr.seq-f.taken) > 0 {
		f.taken = fr.seq
	}
	f.untold += len(fr.data)
	if fr.kind == kindProbe || int(f.taken-f.told) >= max(1, f.limits.count/4) || f.untold >= f.limits.bytes/4 {
		a := frame{kind: kindAck, session: f.session, plane: f.plane, ack: f.ack()}
		return a.encode()
	}
	return nil
}
