package command

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
)

var update = flag.Bool("update", false, "write what the engine does into the scenario files; read the difference before you commit it")

// TestScenarios runs the files of testdata/engine. A file is a story: a line that begins in the first column is an event, the indented lines below it are
// what must follow: records that are written, messages that are sent, and what the command has come to when that changed. Times are relative to the sending of the command.
//
//	command n=3 concurrency=1 errors=0 [ramp] [delivery=1h] [execution=1h]   nodes are n1, n2, …
//	absent n2 | back n2        whether a node is connected when its turn comes
//	gone n3                    it was deregistered
//	ready n1 [refused=Detail] [reason=word] [attempt=1]
//	report n1 seq=1 Detail [code=0] [attempt=1]
//	heard n1 [first]
//	cancel [n1 …]
//	wait 10s
//	restart                    another control plane goes on from what was committed
//	crash: EVENT               the event is stepped, and its commit is lost with the control plane; another one goes on
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/engine/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			got := (&story{t: t, absent: map[string]bool{}, gone: map[string]bool{}}).tell(string(src))
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(src), got)
		})
	}
}

// story interprets a scenario.
type story struct {
	t      testing.TB
	e      *Engine
	now    time.Time
	state  State // committed
	invs   map[string]Invocation
	absent map[string]bool
	gone   map[string]bool
	shown  string
	out    strings.Builder
}

func (s *story) tell(src string) string {
	for _, line := range strings.Split(strings.TrimSuffix(src, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue // an old expectation
		}
		s.out.WriteString(line + "\n")
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		rest, crash := strings.CutPrefix(line, "crash: ")
		s.event(strings.Fields(rest))
		if crash {
			s.e.Tick(s.now, 1000)
			s.p("what is decided is lost: %v", s.e.Dirty())
			s.restart()
		}
		if s.e != nil {
			s.turn()
		}
	}
	return s.out.String()
}

func (s *story) p(format string, a ...any) {
	d := s.now.Sub(t0).String()
	if strings.HasSuffix(d, "m0s") {
		d = strings.TrimSuffix(d, "0s")
	}
	if strings.HasSuffix(d, "h0m") {
		d = strings.TrimSuffix(d, "0m")
	}
	fmt.Fprintf(&s.out, "  %6s  "+format+"\n", append([]any{d}, a...)...)
}

func (s *story) event(words []string) {
	opts, args := map[string]string{}, []string{}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			opts[k] = v
		} else {
			args = append(args, w)
		}
	}
	num := func(key string, otherwise int) int {
		if v, err := strconv.Atoi(opts[key]); err == nil {
			return v
		}
		return otherwise
	}
	dur := func(key string) time.Duration {
		if d, err := time.ParseDuration(opts[key]); err == nil {
			return d
		}
		return time.Hour
	}
	node := ""
	if len(args) > 0 {
		node = args[0]
	}
	ref := message.Ref{Command: "c", Attempt: num("attempt", 1)}
	switch words[0] {
	case "command":
		s.now, s.invs = t0, map[string]Invocation{}
		s.state = NewState("c", num("n", 1), num("concurrency", 1), num("errors", 0), slices.Contains(args, "ramp"), t0, dur("delivery"), dur("execution"))
		s.e, s.shown = NewEngine(s.state, Timing{}), ""
	case "absent", "back":
		s.absent[node] = words[0] == "absent"
	case "gone":
		s.gone[node] = true
	case "ready":
		s.e.Step(s.now, Event{Node: node, Ready: &message.Ready{Ref: ref, Refused: message.Detail(opts["refused"]), Reason: opts["reason"]}})
	case "report":
		d, code := message.Detail(args[1]), 0
		if !d.Terminal() {
			code = -1
		}
		s.e.Step(s.now, Event{Node: node, Report: &message.Report{Ref: ref, Seq: seq(opts["seq"]), Detail: d, ExitCode: num("code", code)}})
	case "heard":
		s.e.Step(s.now, Event{Node: node, Present: true, First: slices.Contains(args, "first")})
	case "cancel":
		var live []string
		for _, n := range args {
			if inv, ok := s.invs[n]; !ok || inv.Phase != PhaseDone {
				live = append(live, n)
			}
		}
		if len(args) == 0 || len(live) > 0 {
			s.e.Step(s.now, Event{Cancel: true, Nodes: live})
		}
	case "wait":
		d, err := time.ParseDuration(node)
		require.NoError(s.t, err)
		s.wait(d)
	case "restart":
		s.restart()
	default:
		s.t.Fatalf("unknown event %q", words[0])
	}
}

func seq(text string) uint64 {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n
	}
	return 1
}

// restart makes an engine from what was committed, as it would be read from a store.
func (s *story) restart() {
	var invs []Invocation
	for _, inv := range s.invs {
		var back Invocation
		require.NoError(s.t, json.Unmarshal(appendInvocation(nil, &inv), &back))
		invs = append(invs, back)
	}
	b, err := json.Marshal(s.state)
	require.NoError(s.t, err)
	var st State
	require.NoError(s.t, json.Unmarshal(b, &st))
	s.e = Restore(st, Timing{}, invs, s.now)
}

// wait lets time pass and ticks the engine whenever it wants.
func (s *story) wait(d time.Duration) {
	for end, n := s.now.Add(d), 0; ; n++ {
		require.Less(s.t, n, 1000, "the engine wants to be ticked without end")
		next, ok := s.e.Next()
		if !ok || next.After(end) {
			s.now = end
			return
		}
		if next.After(s.now) {
			s.now = next
		}
		s.turn()
	}
}

// turn does what a host does after an event.
func (s *story) turn() {
	for {
		s.e.Tick(s.now, 1000)
		for s.e.Room() > 0 && s.e.Turn < s.e.N {
			var cs []Candidate
			for i := s.e.Turn; i < s.e.N; i++ {
				c := Candidate{Node: "n" + strconv.Itoa(i+1)}
				_, c.Exists = s.invs[c.Node]
				c.Absent = s.absent[c.Node]
				if s.gone[c.Node] {
					c.Refused, c.Reason = message.DetailUndeliverable, "the node was deregistered"
				}
				cs = append(cs, c)
			}
			s.e.Step(s.now, Event{Candidates: cs})
		}
		if !s.e.Dirty() {
			return
		}
		s.commit()
	}
}

func (s *story) commit() {
	ch, commit := s.e.Flush()
	if commit {
		s.state = ch.State
	}
	for _, inv := range ch.Invocations {
		s.invs[inv.Node] = inv
		text := fmt.Sprintf("%s %s", inv.Phase, inv.Detail)
		if inv.Phase == PhaseDone && inv.ExitCode >= 0 {
			text += fmt.Sprintf(" code=%d", inv.ExitCode)
		}
		if inv.Reason != "" {
			text += " (" + inv.Reason + ")"
		}
		s.p("write %s %s", inv.Node, text)
	}
	st := &ch.State
	shown := fmt.Sprintf("command %s: turn %d of %d, slots %d", st.Detail(), st.Turn, st.N, st.Slots)
	for _, x := range []struct {
		name string
		n    int
	}{{"running", st.Running}, {"delayed", st.Delayed}} {
		if x.n > 0 {
			shown += fmt.Sprintf(", %s %d", x.name, x.n)
		}
	}
	var counts []string
	for d, n := range st.Counts {
		counts = append(counts, fmt.Sprintf("%s %d", d, n))
	}
	slices.Sort(counts)
	if len(counts) > 0 {
		shown += "; " + strings.Join(counts, ", ")
	}
	if ch.Ended {
		shown += "; ENDED"
	}
	if shown != s.shown {
		s.p("%s", shown)
		s.shown = shown
	}
	for _, m := range ch.Sends {
		switch {
		case m.Ack != nil && m.Ack.Final:
			s.p("send %s ack seq=%d final", m.Node, m.Ack.Seq)
		case m.Ack != nil:
			s.p("send %s ack seq=%d", m.Node, m.Ack.Seq)
		case m.Kind == message.KindCancel:
			s.p("send %s cancel as %s", m.Node, m.Detail)
		default:
			s.p("send %s %s", m.Node, m.Kind)
		}
	}
}
