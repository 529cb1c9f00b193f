package command

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/message"
)

// What a command writes most, invocations and what is told of them, is encoded here by hand: it is the JSON that encoding/json would write of the
// same types, but for escapes that JSON does not need, in a fifth of the time and with a length that can be told beforehand.

const digits = "0123456789abcdef"

// quote appends text as a JSON string.
func quote(b []byte, text string) []byte {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	b = append(b, '"')
	from := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(b, text[from:]...), '"')
}

// quotedLen is the most bytes that quote appends.
func quotedLen(text string) int {
	n := len(text) + 2
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t':
			n++
		case c < 0x20:
			n += 5
		case c >= utf8.RuneSelf:
			// Valid UTF-8 stays; a byte of none becomes three.
			if r, size := utf8.DecodeRuneInString(text[i:]); r == utf8.RuneError && size == 1 {
				n += 2
			}
		}
	}
	return n
}

// encoder appends JSON to a buffer. It remembers how times look: those of one transaction are much the same.
type encoder struct {
	b     []byte
	times [4]writtenTime
	next  int
}

type writtenTime struct {
	t    time.Time
	text [40]byte
	n    int
}

func (e *encoder) time(t time.Time) {
	for i := range e.times {
		if w := &e.times[i]; w.n > 0 && w.t == t { // the same moment in the same zone
			e.b = append(e.b, w.text[:w.n]...)
			return
		}
	}
	w := &e.times[e.next]
	e.next = (e.next + 1) % len(e.times)
	w.t = t
	w.n = len(t.AppendFormat(w.text[:0], time.RFC3339Nano))
	e.b = append(e.b, w.text[:w.n]...)
}

// object appends the members of a JSON object; members with their zero value are left out where the type says so.
type object struct {
	*encoder
	begun bool
}

func (o *object) name(name string) {
	if o.begun {
		o.b = append(o.b, ',')
	} else {
		o.b, o.begun = append(o.b, '{'), true
	}
	o.b = append(append(append(o.b, '"'), name...), '"', ':')
}

func (o *object) str(name, v string) {
	o.name(name)
	o.b = quote(o.b, v)
}

func (o *object) strOmit(name, v string) {
	if v != "" {
		o.str(name, v)
	}
}

func (o *object) num(name string, v int64) {
	o.name(name)
	o.b = strconv.AppendInt(o.b, v, 10)
}

func (o *object) numOmit(name string, v int64) {
	if v != 0 {
		o.num(name, v)
	}
}

func (o *object) trueOmit(name string, v bool) {
	if v {
		o.name(name)
		o.b = append(o.b, "true"...)
	}
}

func (o *object) timeOmit(name string, v time.Time) {
	if !v.IsZero() {
		o.name(name)
		o.b = append(o.b, '"')
		o.time(v)
		o.b = append(o.b, '"')
	}
}

func (o *object) end() {
	if !o.begun {
		o.b = append(o.b, '{')
	}
	o.b = append(o.b, '}')
}

// appendInvocation appends the JSON of an invocation.
func appendInvocation(b []byte, inv *Invocation) []byte {
	e := encoder{b: b}
	e.invocation(inv)
	return e.b
}

func (e *encoder) invocation(inv *Invocation) {
	o := object{encoder: e}
	o.str("node", inv.Node)
	o.num("attempt", int64(inv.Attempt))
	o.str("phase", string(inv.Phase))
	o.str("detail", string(inv.Detail))
	o.strOmit("reason", inv.Reason)
	o.num("exitCode", int64(inv.ExitCode))
	o.timeOmit("offeredAt", inv.OfferedAt)
	o.timeOmit("askedAt", inv.AskedAt)
	o.timeOmit("deliveredAt", inv.DeliveredAt)
	o.timeOmit("started", inv.Started)
	o.timeOmit("ended", inv.Ended)
	o.timeOmit("doneAt", inv.DoneAt)
	if inv.Seq != 0 {
		o.name("seq")
		o.b = strconv.AppendUint(o.b, inv.Seq, 10)
	}
	o.trueOmit("cancelling", inv.Cancelling)
	o.trueOmit("overdue", inv.Overdue)
	if len(inv.Steps) > 0 {
		o.name("steps")
		o.b = append(o.b, '[')
		for i := range inv.Steps {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			e.step(&inv.Steps[i])
		}
		o.b = append(o.b, ']')
	}
	o.trueOmit("stepsApart", inv.StepsApart)
	if inv.Late != nil {
		o.name("late")
		l := object{encoder: e}
		l.timeOmit("at", inv.Late.At)
		l.str("detail", string(inv.Late.Detail))
		l.num("exitCode", int64(inv.Late.ExitCode))
		l.end()
	}
	o.end()
}

func (e *encoder) step(s *message.StepReport) {
	o := object{encoder: e}
	o.str("name", s.Name)
	o.str("action", s.Action)
	o.str("status", string(s.Status))
	o.strOmit("reason", s.Reason)
	o.num("exitCode", int64(s.ExitCode))
	o.timeOmit("started", s.Started)
	o.timeOmit("ended", s.Ended)
	o.stream("stdout", &s.Stdout)
	o.stream("stderr", &s.Stderr)
	o.numOmit("reboots", int64(s.Reboots))
	o.end()
}

func (o *object) stream(name string, s *message.Stream) {
	if s.IsZero() {
		return
	}
	o.name(name)
	in := object{encoder: o.encoder}
	in.strOmit("head", s.Head)
	in.numOmit("size", s.Size)
	in.numOmit("dropped", s.Dropped)
	in.trueOmit("inPieces", s.InPieces)
	in.end()
}

// stepLen is the most bytes that appendStep appends.
func stepLen(s *message.StepReport) int {
	n := 120 + quotedLen(s.Name) + quotedLen(s.Action) + quotedLen(string(s.Status)) + quotedLen(s.Reason)
	for _, t := range []time.Time{s.Started, s.Ended} {
		if !t.IsZero() {
			n += 52
		}
	}
	for _, st := range []*message.Stream{&s.Stdout, &s.Stderr} {
		if !st.IsZero() {
			n += 110 + quotedLen(st.Head)
		}
	}
	return n
}

// change appends the JSON of what became of an invocation.
func (e *encoder) change(c *Change) {
	o := object{encoder: e}
	o.str("node", c.Node)
	o.str("detail", string(c.Detail))
	o.strOmit("reason", c.Reason)
	o.num("exitCode", int64(c.ExitCode))
	o.numOmit("step", int64(c.Step))
	o.numOmit("steps", int64(c.Steps))
	o.strOmit("stepName", c.StepName)
	o.numOmit("elapsed", int64(c.Elapsed))
	o.strOmit("line", c.Line)
	o.end()
}

// appendHeads appends the JSON of output heads.
func appendHeads(b []byte, hs []head) []byte {
	e := encoder{b: append(b, '[')}
	for i := range hs {
		if i > 0 {
			e.b = append(e.b, ',')
		}
		o := object{encoder: &e}
		o.num("step", int64(hs[i].Step))
		o.strOmit("stdout", hs[i].Stdout)
		o.strOmit("stderr", hs[i].Stderr)
		o.end()
	}
	return append(e.b, ']')
}
