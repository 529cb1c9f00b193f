package command

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/message"
)

// What a node may say of itself is bounded here, so that no report can be too large to be written, whatever the node is (T-EVILNODE): a report that
// cannot be written would stop the whole command.
const (
	maxStepName = 128
	maxReason   = 1100 // agents cut theirs at 1,000 and add an ellipsis
	maxStdout   = 24_000
	maxStderr   = 8_000
	maxSteps    = 160 << 10 // bytes of all steps as they are written, without their output
	maxCommand  = 64        // bytes of a command id
)

// tidy makes a report safe to keep: texts are cut to their limits and carry no control characters, numbers are possible ones, statuses known ones. Steps beyond what one
// record holds are left out. It changes the report's steps in place.
func tidy(r *message.Report) {
	r.Reason = plain(r.Reason, maxReason)
	r.Started, r.Ended = possible(r.Started), possible(r.Ended)
	total := 0
	for i := range r.Steps {
		s := &r.Steps[i]
		s.Name, s.Action, s.Reason = plain(s.Name, maxStepName), plain(s.Action, maxStepName), plain(s.Reason, maxReason)
		s.Started, s.Ended = possible(s.Started), possible(s.Ended)
		s.Reboots = max(0, s.Reboots)
		switch {
		case s.Status == "":
			s.Status = message.Pending
		case s.Status == message.Pending, s.Status == message.InProgress, s.Status.Terminal():
		default:
			s.Status = message.Failed
		}
		tidyStream(&s.Stdout, maxStdout)
		tidyStream(&s.Stderr, maxStderr)
		if total += stepLen(s) - quotedLen(s.Stdout.Head) - quotedLen(s.Stderr.Head); total > maxSteps {
			r.Steps = r.Steps[:i:i]
			return
		}
	}
}

func tidyStream(s *message.Stream, most int) {
	s.Head = cut(s.Head, most)
	s.Size, s.Dropped = max(0, s.Size), max(0, s.Dropped)
}

// plain cuts text to n bytes and puts question marks for control characters.
func plain(text string, n int) string {
	text = cut(text, n)
	if !strings.ContainsFunc(text, control) && utf8.ValidString(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if control(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
}

func control(r rune) bool { return r < 0x20 || r == 0x7f }

// possible returns t in UTC, or the zero time when no clock of a machine that runs an agent says so.
func possible(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 2260 {
		return time.Time{}
	}
	return t
}
