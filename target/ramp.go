package target

// Ramp is the gentle start of spec R13: one node, and when it has acknowledged two more, then four more, doubling until as many are at work as the
// limit allows. Of a wave of eight or more, seven in eight are enough, so that a few nodes that never answer do not hold up a fleet; those count in the next wave until they
// answer or are given up. It is a value: each method returns the next state, so that it can be stored with its owner. The zero Ramp allows nothing.
type Ramp struct {
	Limit int `json:"limit"` // the concurrency
	Wave  int `json:"wave"`  // how many nodes this wave may start
	Sent  int `json:"sent"`  // how many were started, those of earlier waves that have not acknowledged included
	Acked int `json:"acked"` // how many of those acknowledged
}

// NewRamp begins a ramp to the limit, which is at least one.
func NewRamp(limit int) Ramp { return Ramp{Limit: max(1, limit), Wave: 1} }

// NoRamp allows the whole limit from the start.
func NoRamp(limit int) Ramp { return Ramp{Limit: max(1, limit), Wave: max(1, limit)} }

// Done reports whether the ramp is over: only the limit holds from now on.
func (r Ramp) Done() bool { return r.Wave >= r.Limit }

// Allow returns how many nodes may be started now, when inFlight are at work.
func (r Ramp) Allow(inFlight int) int {
	room := r.Limit - inFlight
	if !r.Done() {
		room = min(room, r.Wave-r.Sent)
	}
	return max(0, room)
}

// Start records that n nodes were started.
func (r Ramp) Start(n int) Ramp {
	if !r.Done() {
		r.Sent += n
	}
	return r
}

// Ack records that n started nodes acknowledged, which is any answer of theirs, also an end. When the wave has, all of a small one and seven in eight of a large one, the next is twice as large.
func (r Ramp) Ack(n int) Ramp {
	if r.Done() {
		return r
	}
	r.Acked = min(r.Acked+n, r.Sent)
	if r.Acked >= r.Wave-r.Wave/8 {
		r.Wave = min(r.Limit, 2*r.Wave)
		r.Sent, r.Acked = r.Sent-r.Acked, 0
	}
	return r
}

// Drop records that n started nodes that did not acknowledge are given up for now, being offline for instance: others may take their place in the wave.
func (r Ramp) Drop(n int) Ramp {
	if !r.Done() {
		r.Sent = max(r.Acked, r.Sent-n)
	}
	return r
}
