//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// screen shows what happens: in a terminal a table that is painted again and again below the lines of what was done; elsewhere these lines, and the state now and then.
type screen struct {
	w      io.Writer
	now    func() time.Time
	began  time.Time
	paints bool
	source func() []string // the table
	line   func() string   // the same in one line

	mu     sync.Mutex
	drawn  int // lines of the table that stand on the screen
	off    bool
	lined  time.Time
	before string
}

// lineEvery is how often the state is told where it cannot be painted.
const lineEvery = 5 * time.Second

func newScreen(w io.Writer, now func() time.Time) *screen {
	return &screen{w: w, now: now, began: now(), lined: now(), paints: terminal(w)}
}

// terminal reports whether w can move its cursor.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// say writes a line that stays.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	fmt.Fprintf(s.w, "%6.1fs  %s\n", s.now().Sub(s.began).Seconds(), fmt.Sprintf(format, args...))
	s.paint()
}

// refresh paints the table anew.
func (s *screen) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return
	}
	if s.paints {
		s.wipe()
		s.paint()
		return
	}
	if now := s.now(); now.Sub(s.lined) >= lineEvery {
		if l := s.line(); l != s.before {
			fmt.Fprintf(s.w, "%6.1fs  %s\n", now.Sub(s.began).Seconds(), l)
			s.before = l
		}
		s.lined = now
	}
}

func (s *screen) wipe() {
	if s.drawn > 0 {
		fmt.Fprintf(s.w, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

func (s *screen) paint() {
	if !s.paints || s.off || s.source == nil {
		return
	}
	lines := s.source()
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(s.w, "\n%s\n", strings.Join(lines, "\n"))
	s.drawn = len(lines) + 1
}

// pause takes the table away, until unpause.
func (s *screen) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	s.off = true
}

func (s *screen) unpause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = false
}

// close leaves the lines and takes the table away.
func (s *screen) close() { s.pause() }

// aligned puts rows into columns.
func aligned(rows [][]string) []string {
	var widths []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	out := make([]string, len(rows))
	for n, r := range rows {
		var b strings.Builder
		for i, c := range r {
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(c + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
		}
		out[n] = strings.TrimRight(b.String(), " ")
	}
	return out
}

// table is the picture.
func table(h *house, b books) []string {
	rows := [][]string{{"PLANE", "PID", "STATE", "SHARDS", "HTTPS", "NATS", "STALE WRITES REFUSED"}}
	for i, v := range h.seen() {
		p := h.planes[i]
		rows = append(rows, planeRow(p.name, p.pid(), p.is(), v))
	}
	if h.broker != nil {
		rows = append(rows, []string{h.broker.name, fmt.Sprint(h.broker.pid()), string(h.broker.is()), "", "", "", ""})
	}
	out := aligned(rows)
	for i := range out {
		out[i] = "  " + out[i]
	}
	return append(out, "", "  "+sums(b))
}

func planeRow(name string, pid int, is state, v view) []string {
	row := []string{name, fmt.Sprint(pid), string(is), "-", "-", "-", "-"}
	switch {
	case is != running:
	case v.at.IsZero():
		row[2] = "silent"
	case v.Ready != "":
		row[2] = "not ready"
		fallthrough
	default:
		row[3], row[4], row[5], row[6] = fmt.Sprint(len(v.Shards)), fmt.Sprint(v.HTTPS), fmt.Sprint(v.NATS), fmt.Sprint(v.Refused)
	}
	return row
}

func sums(b books) string {
	s := fmt.Sprintf("commands: %d sent, %d running, %d ended, %d of them Success; starts on nodes: %d of %d", b.sent, b.running, b.ended, b.success, b.starts, b.expected)
	if b.unaccepted > 0 {
		s += fmt.Sprintf("; %d not accepted", b.unaccepted)
	}
	return s
}

// line is the picture in one line.
func line(h *house, b books) string {
	var planes []string
	for i, v := range h.seen() {
		p := h.planes[i]
		row := planeRow(p.name, p.pid(), p.is(), v)
		word := row[2]
		if row[3] != "-" {
			word = row[3]
		}
		planes = append(planes, word)
	}
	return fmt.Sprintf("shards %s; commands: %d sent, %d running, %d ended; starts: %d of %d", strings.Join(planes, "/"), b.sent, b.running, b.ended, b.starts, b.expected)
}
