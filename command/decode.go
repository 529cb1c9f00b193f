package command

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/message"
)

// What nodes send most, Ready and Report, is decoded here by hand when it has the form in which agents write it: a fifth of encoding/json's time. Whatever looks
// in any way unusual is left to message.Unmarshal, which decides. TestTheDecoderAgrees and FuzzDecode hold both against each other.

// scanner reads JSON of the usual form. Once off is set, nothing that it returned counts.
type scanner struct {
	b   []byte
	i   int
	off bool
}

// next returns the byte at hand, 0 at the end.
func (s *scanner) next() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.next() != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) must(c byte) {
	if !s.take(c) {
		s.off = true
	}
}

// str reads a string. The bytes are known to be UTF-8.
func (s *scanner) str() string {
	s.must('"')
	from := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return string(s.b[from : s.i-1])
		case c == '\\':
			return s.escaped(from)
		case c < 0x20:
			s.off = true
			return ""
		}
		s.i++
	}
	s.off = true
	return ""
}

// escaped goes on with a string that has an escape at hand.
func (s *scanner) escaped(from int) string {
	var b strings.Builder
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			b.Write(s.b[from:s.i])
			s.i++
			return b.String()
		case c < 0x20:
			s.off = true
			return ""
		case c != '\\':
			s.i++
			continue
		}
		b.Write(s.b[from:s.i])
		s.i++
		switch e := s.next(); e {
		case '"', '\\', '/':
			b.WriteByte(e)
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'u':
			r, ok := unicode4(s.b[s.i+1:])
			if !ok {
				s.off = true
				return ""
			}
			b.WriteRune(r)
			s.i += 4
		default:
			s.off = true
			return ""
		}
		s.i++
		from = s.i
	}
	s.off = true
	return ""
}

// unicode4 reads the digits of an escape of a character outside of the surrogates.
func unicode4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, r < 0xd800 || r > 0xdfff
}

// num reads an integer without fraction or exponent.
func (s *scanner) num() int64 {
	neg := s.take('-')
	from, n := s.i, uint64(0)
	for c := s.next(); c >= '0' && c <= '9'; c = s.next() {
		n = n*10 + uint64(c-'0')
		s.i++
	}
	digits := s.i - from
	if digits == 0 || digits > 18 || digits > 1 && s.b[from] == '0' || strings.IndexByte(".eE", s.next()) >= 0 {
		s.off = true
		return 0
	}
	if neg {
		return -int64(n)
	}
	return int64(n)
}

// integer reads an int.
func (s *scanner) integer() int {
	n := s.num()
	if n < math.MinInt || n > math.MaxInt {
		s.off = true
	}
	return int(n)
}

func (s *scanner) truth() bool {
	for _, word := range []string{"true", "false"} {
		if len(s.b)-s.i >= len(word) && string(s.b[s.i:s.i+len(word)]) == word {
			s.i += len(word)
			return word == "true"
		}
	}
	s.off = true
	return false
}

func (s *scanner) time() (t time.Time) {
	from := s.i
	s.str()
	if !s.off && t.UnmarshalJSON(s.b[from:s.i]) != nil {
		s.off = true
	}
	return t
}

// object reads an object without spaces and calls member for each of its names, of which none may come twice. member returns a bit of its own for each name that it knows, and 0 for
// others.
func (s *scanner) object(member func(name []byte) uint) {
	s.must('{')
	if s.take('}') {
		return
	}
	for seen := uint(0); !s.off; {
		s.must('"')
		from := s.i
		for c := s.next(); c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'; c = s.next() {
			s.i++
		}
		name := s.b[from:s.i]
		s.must('"')
		s.must(':')
		if s.off {
			return
		}
		bit := member(name)
		if bit == 0 || seen&bit != 0 {
			s.off = true
			return
		}
		seen |= bit
		if s.take('}') {
			return
		}
		s.must(',')
	}
}

// usual begins reading a body, if it may be of the usual form at all.
func usual(body []byte) (*scanner, bool) {
	return &scanner{b: body}, len(body) > 1 && len(body) <= message.MaxBody && utf8.Valid(body)
}

func (s *scanner) done() bool { return !s.off && s.i == len(s.b) }

// decodeReady decodes a Ready of the usual form.
func decodeReady(body []byte) (r message.Ready, ok bool) {
	s, ok := usual(body)
	if !ok {
		return r, false
	}
	s.object(func(name []byte) uint {
		switch string(name) {
		case "command":
			r.Command = s.str()
			return 1
		case "attempt":
			r.Attempt = s.integer()
			return 2
		case "refused":
			r.Refused = message.Detail(s.str())
			return 4
		case "reason":
			r.Reason = s.str()
			return 8
		}
		return 0
	})
	return r, s.done()
}

// decodeReport decodes a Report of the usual form.
func decodeReport(body []byte) (r message.Report, ok bool) {
	s, ok := usual(body)
	if !ok {
		return r, false
	}
	s.object(func(name []byte) uint {
		switch string(name) {
		case "command":
			r.Command = s.str()
			return 1
		case "attempt":
			r.Attempt = s.integer()
			return 2
		case "seq":
			n := s.num()
			s.off = s.off || n < 0
			r.Seq = uint64(n)
			return 4
		case "detail":
			r.Detail = message.Detail(s.str())
			return 8
		case "reason":
			r.Reason = s.str()
			return 16
		case "exitCode":
			r.ExitCode = s.integer()
			return 32
		case "started":
			r.Started = s.time()
			return 64
		case "ended":
			r.Ended = s.time()
			return 128
		case "steps":
			r.Steps = s.steps()
			return 256
		}
		return 0
	})
	return r, s.done()
}

func (s *scanner) steps() []message.StepReport {
	s.must('[')
	out := []message.StepReport{}
	if s.take(']') {
		return out
	}
	for !s.off {
		out = append(out, s.step())
		if s.take(']') {
			return out
		}
		s.must(',')
	}
	return out
}

func (s *scanner) step() (st message.StepReport) {
	s.object(func(name []byte) uint {
		switch string(name) {
		case "name":
			st.Name = s.str()
			return 1
		case "action":
			st.Action = s.str()
			return 2
		case "status":
			st.Status = message.Status(s.str())
			return 4
		case "reason":
			st.Reason = s.str()
			return 8
		case "exitCode":
			st.ExitCode = s.integer()
			return 16
		case "started":
			st.Started = s.time()
			return 32
		case "ended":
			st.Ended = s.time()
			return 64
		case "stdout":
			st.Stdout = s.stream()
			return 128
		case "stderr":
			st.Stderr = s.stream()
			return 256
		case "reboots":
			st.Reboots = s.integer()
			return 512
		}
		return 0
	})
	return st
}

func (s *scanner) stream() (st message.Stream) {
	s.object(func(name []byte) uint {
		switch string(name) {
		case "head":
			st.Head = s.str()
			return 1
		case "size":
			st.Size = s.num()
			return 2
		case "dropped":
			st.Dropped = s.num()
			return 4
		case "inPieces":
			st.InPieces = s.truth()
			return 8
		}
		return 0
	})
	return st
}
