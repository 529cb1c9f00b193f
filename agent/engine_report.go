package agent

import (
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/message"
)

// The heads of a report (R25) and how large a report may become as JSON.
const (
	HeadStdout = 24000
	HeadStderr = 8000
	maxReport  = 160 << 10
)

func headLimit(err int) int {
	if err == 1 {
		return HeadStderr
	}
	return HeadStdout
}

// head returns the beginning of b as valid UTF-8 of at most limit bytes, cut on a rune, and whether it is byte for byte what b begins with.
func head(b []byte, limit int, more bool) (string, bool) {
	end := len(b)
	if end > limit {
		end, more = limit, true
	}
	if more { // an unfinished rune at the cut is left out
		for back := 1; back < utf8.UTFMax && back <= end; back++ {
			if c := b[end-back]; utf8.RuneStart(c) {
				if !utf8.FullRune(b[end-back : end]) {
					end -= back
				}
				break
			}
		}
	}
	b = b[:end]
	if utf8.Valid(b) {
		return string(b), true
	}
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if len(out)+max(n, 3) > limit {
			break
		}
		out = utf8.AppendRune(out, r)
		b = b[n:]
	}
	return string(out), false
}

// grow takes the newest state of a step's streams.
func (c *command) grow(i int, outs ...Output) {
	for err, o := range outs {
		s := c.Steps[i].stream(err)
		if o.Size < s.Size {
			continue // a spool that was lost; what was reported stays
		}
		s.Size, s.Dropped = o.Size, o.Dropped
		text, exact := head(o.Head, headLimit(err), o.Size > int64(len(o.Head)))
		s.Head = text
		if !exact || s.Size > int64(len(text)) {
			s.InPieces = true
		}
		c.upload(i, err)
	}
}

// upload returns the upload of a stream that travels in pieces, making it when there is none.
func (c *command) upload(i, err int) *upload {
	s := c.Steps[i].stream(err)
	if !s.InPieces {
		return nil
	}
	key := 2*i + err
	u := c.streams[key]
	if u == nil {
		at := c.Steps[i].Acked[err]
		u = &upload{step: i, err: err, acked: at, sent: at, saved: at}
		if c.streams == nil {
			c.streams = map[int]*upload{}
		}
		c.streams[key] = u
	}
	u.size = s.Size
	return u
}

// upload is the state of sending one stream in pieces: at most window pieces are under way, and when none is confirmed in time it begins again after the last confirmed byte.
type upload struct {
	step, err   int
	size        int64
	acked, sent int64
	saved       int64     // acked as the journal has it
	nextAt      time.Time // no new piece before
	resendAt    time.Time // give up waiting for what is under way
	backoff     time.Duration
}

// room returns how many bytes may be under way: little while nobody answers.
func (u *upload) room() int64 {
	if u.backoff > firstResend {
		return message.MaxPiece
	}
	return window * message.MaxPiece
}

// next returns when the upload wants a tick; zero when it waits for nothing.
func (u *upload) next() time.Time {
	switch {
	case u.acked >= u.size:
		return time.Time{}
	case u.sent == u.acked:
		return u.nextAt
	case u.sent < u.size && u.sent-u.acked < u.room() && u.nextAt.Before(u.resendAt):
		return u.nextAt
	}
	return u.resendAt
}

// confirm takes the control plane's offset.
func (u *upload) confirm(now time.Time, off int64) {
	if off > u.acked && off <= u.size {
		u.acked, u.sent, u.backoff = off, max(u.sent, off), firstResend
		u.resendAt = now.Add(u.backoff)
	}
}

// restart begins again after the last confirmed byte.
func (u *upload) restart(now time.Time) { u.sent, u.nextAt, u.backoff = u.acked, now, firstResend }

// wantsReport reports whether the control plane lacks the newest report. One that the journal could not take is told only when it is the end: the numbers of reports would
// begin again after a crash.
func (c *command) wantsReport() bool {
	if c.terminal() {
		return !c.Final
	}
	return c.acked < c.Seq && (!c.dirty || c.listed)
}

// sendReport sends the newest report when it is due: at once after a change, then again until it is confirmed; and while a step runs, what it has written lately.
func (e *Engine) sendReport(now time.Time, c *command) {
	if c.acked >= c.Seq && c.grew && !c.terminal() && !now.Before(c.liveAt) {
		c.live = min(max(2*c.live, firstLive), lastLive)
		c.changed(now)
		c.liveAt = now.Add(c.live)
	}
	if !c.wantsReport() || now.Before(c.reportAt) {
		return
	}
	c.sends++
	c.backoff = min(max(2*c.backoff, firstResend), lastResend)
	c.reportAt = now.Add(e.jitter(c.backoff, uint64(c.sends), c.Command))
	e.send(now, message.KindReport, c.Attempt, e.fit(c))
}

// fit returns the report of a command, small enough to travel: heads are halved until it is, and those streams then travel in pieces.
func (e *Engine) fit(c *command) message.Report {
	r := c.report()
	total := 0
	for i := range r.Steps {
		total += len(r.Steps[i].Stdout.Head) + len(r.Steps[i].Stderr.Head) + 512
	}
	if total < maxReport/6 { // no escaping makes it too large
		return r
	}
	for range 24 {
		b, err := json.Marshal(&r)
		if err != nil || len(b) <= maxReport {
			return r
		}
		largest := 0
		for i := range r.Steps {
			largest = max(largest, len(r.Steps[i].Stdout.Head), len(r.Steps[i].Stderr.Head))
		}
		for i := range r.Steps {
			for err, s := range []*message.Stream{&r.Steps[i].Stdout, &r.Steps[i].Stderr} {
				if len(s.Head) <= largest/2 {
					continue
				}
				s.Head, _ = head([]byte(s.Head), largest/2, true)
				s.InPieces = true
				kept := c.Steps[i].stream(err)
				kept.Head, kept.InPieces = s.Head, true
				c.upload(i, err)
			}
		}
	}
	return r
}

// sendOutput sends pieces of the command's streams.
func (e *Engine) sendOutput(now time.Time, c *command) {
	keys := make([]int, 0, len(c.streams))
	for k := range c.streams {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		u := c.streams[k]
		if u.sent > u.acked && !now.Before(u.resendAt) {
			u.sent, u.nextAt, u.backoff = u.acked, now, min(2*u.backoff, lastResend)
		}
		for u.sent < u.size && u.sent-u.acked < u.room() && !now.Before(u.nextAt) {
			if u.sent == u.acked {
				u.backoff = max(u.backoff, firstResend)
				u.resendAt = now.Add(u.backoff)
			}
			n := min(u.size-u.sent, message.MaxPiece)
			from, to := e.validity(now)
			e.out.send = append(e.out.send, SendOutput{Ref: c.Ref, Step: u.step, Stderr: u.err == 1, Offset: u.sent, Length: int(n), ID: e.id(), NotBefore: from, NotAfter: to})
			u.sent += n
			if c.running == u.step {
				u.nextAt = now.Add(pieceEvery)
			}
		}
	}
}

// connect begins a connection: the first hello goes out at once, and everything that waits.
func (e *Engine) connect(now time.Time) {
	if e.connected {
		return
	}
	e.connected = true
	e.hello.first, e.hello.firstSeq, e.hello.due, e.hello.backoff = true, e.hello.seq+1, now, 0
	for _, c := range e.commands {
		c.reportAt, c.backoff = now, 0
		for _, u := range c.streams {
			u.restart(now)
		}
	}
	e.askAgain(now)
}

// sayHello sends a hello when it is due. One that is not answered is followed by others, soon at first.
func (e *Engine) sayHello(now time.Time) {
	h := &e.hello
	if now.Before(h.due) {
		return
	}
	h.seq++
	m := message.Hello{Session: e.cfg.Session, Seq: h.seq, Sent: now.Round(0), First: h.first}
	if h.facts {
		facts := e.cfg.Facts
		m.Facts, h.factsSeq = &facts, h.seq
	}
	for _, c := range e.commands {
		if !c.Final && len(m.Running) < 1000 {
			m.Running = append(m.Running, c.Ref)
		}
	}
	sortRefs(m.Running)
	from, to := e.validity(now)
	if unanswered := len(h.sent); !e.clock.synced && unanswered >= 2 || unanswered >= 4 {
		// Nobody answers: this node's clock may be wrong by more than messages are allowed to be old, or the control plane that it talks to now has another clock than the one that it
		// heard of. A hello then holds for all times; what proves its age is the answer.
		from, to = time.Unix(0, 0).UTC(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	e.out.send = append(e.out.send, Send{Kind: message.KindHello, ID: e.id(), Body: m, NotBefore: from, NotAfter: to})
	h.sent[h.seq] = now
	if len(h.sent) > 8 {
		delete(h.sent, h.seq-8)
	}
	h.backoff = min(max(2*h.backoff, firstResend), h.every)
	h.due = now.Add(e.jitter(h.backoff, h.seq, "hello"))
}
