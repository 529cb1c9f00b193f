package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/message"
)

var update = flag.Bool("update", false, "write what the engine does into the scenario files; read the difference before you commit it")

// TestScenarios runs the files of testdata/engine. A file is a story: a line that begins in the first column is an event, the indented lines below it are the
// effects that must follow, "|" lines are documents. Times are the control plane's, relative to the beginning.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/engine/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			got := newStory(t).tell(string(src))
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
	t       testing.TB
	cfg     EngineConfig
	engine  *Engine
	docs    map[string]string
	doc     string
	journal map[message.Ref]Entry
	now     time.Time     // of the control plane
	skew    time.Duration // of the node's clock
	hello   message.Hello
	runs    map[string]message.Run
	life    int
	epoch   uint64
	floor   time.Time
	ids     int
	out     strings.Builder
}

var dawn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newStory(t testing.TB) *story {
	return &story{t: t, docs: map[string]string{}, journal: map[message.Ref]Entry{}, now: dawn, runs: map[string]message.Run{}, epoch: 1,
		cfg: EngineConfig{Node: "mi-1", Capabilities: []string{"aws:runShellScript"}, Facts: message.Facts{ComputerName: "host"}}}
}

func (s *story) tell(src string) string {
	for _, line := range strings.Split(strings.TrimSuffix(src, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "  "): // an old expectation
		case strings.HasPrefix(line, "|"):
			s.docs[s.doc] += strings.TrimPrefix(strings.TrimPrefix(line, "|"), " ") + "\n"
			s.out.WriteString(line + "\n")
		default:
			s.out.WriteString(line + "\n")
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				s.line(strings.Fields(line))
			}
		}
	}
	return s.out.String()
}

type options map[string]string

func parse(words []string) (args []string, o options) {
	o = options{}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			o[k] = v
		} else {
			args = append(args, w)
		}
	}
	return args, o
}

func (o options) num(key string, otherwise int) int {
	if v, err := strconv.Atoi(o[key]); err == nil {
		return v
	}
	return otherwise
}

func (o options) dur(key string, otherwise time.Duration) time.Duration {
	if v, err := time.ParseDuration(o[key]); err == nil {
		return v
	}
	return otherwise
}

func (s *story) line(words []string) {
	args, o := parse(words[1:])
	ref := message.Ref{Attempt: o.num("attempt", 1)}
	if len(args) > 0 {
		ref.Command = args[0]
	}
	out := func(key string) Output {
		n := o.num(key, 0)
		return Output{Head: []byte(strings.Repeat("x", min(n, HeadStdout))), Size: int64(n), Dropped: int64(o.num("dropped", 0))}
	}
	switch words[0] {
	case "doc":
		s.doc = args[0]
	case "set":
		s.cfg.Slots, s.cfg.MaxReboots = o.num("slots", s.cfg.Slots), o.num("reboots", s.cfg.MaxReboots)
	case "boot":
		s.life++
		s.cfg.Session, s.cfg.Epoch, s.cfg.Floor = "life"+strconv.Itoa(s.life), s.epoch, s.floor
		var entries []Entry
		for _, e := range s.journal {
			b, err := json.Marshal(e) // what a real journal does
			require.NoError(s.t, err)
			var c Entry
			require.NoError(s.t, json.Unmarshal(b, &c))
			entries = append(entries, c)
		}
		s.engine = NewEngine(s.cfg, entries)
		ev := Booted{BootID: args[0]}
		for _, a := range args[1:] {
			ev.Alive = append(ev.Alive, Child{Ref: message.Ref{Command: a, Attempt: 1}, Step: o.num("step", 0)})
		}
		s.step(ev)
	case "connect":
		s.step(Connected{})
	case "disconnect":
		s.step(Disconnected{})
	case "stop":
		s.step(Stopping{})
	case "full":
		s.step(Room{OK: false})
	case "wait":
		d, err := time.ParseDuration(args[0])
		require.NoError(s.t, err)
		s.wait(d)
	case "clock":
		d, err := time.ParseDuration(strings.TrimPrefix(args[0], "+"))
		require.NoError(s.t, err)
		s.skew += d
	case "epoch":
		s.epoch = uint64(o.num("is", 1))
	case "welcome":
		s.deliver(message.KindWelcome, 0, message.Welcome{Session: s.hello.Session, Seq: s.hello.Seq, Time: s.now}, o)
	case "offer":
		m := message.Offer{Ref: ref, Document: "doc", ExpiresAt: s.now.Add(o.dur("expires", time.Hour)), Signed: o["signed"] != ""}
		if o["needs"] != "" {
			m.Needs = strings.Split(o["needs"], ",")
		}
		s.deliver(message.KindOffer, ref.Attempt, m, o)
	case "run":
		m, ok := s.runs[ref.Command]
		if !ok {
			doc := s.docs[o["doc"]]
			sum := sha256.Sum256([]byte(doc))
			m = message.Run{Ref: ref, DocumentName: o["doc"], Document: []byte(doc), DocumentHash: hex.EncodeToString(sum[:]), Format: "YAML", ExpiresAt: s.now.Add(o.dur("expires", time.Hour))}
			if o["tampered"] != "" {
				m.Document = append(m.Document, ' ')
			}
			s.runs[ref.Command] = m
		}
		s.deliver(message.KindRun, ref.Attempt, m, o)
	case "cancel":
		s.deliver(message.KindCancel, ref.Attempt, message.Cancel{Ref: ref}, o)
	case "ack":
		m := message.Ack{Ref: ref, Seq: uint64(o.num("seq", 0)), Final: o["final"] != ""}
		for k, v := range o {
			if len(k) == 2 {
				n, err := strconv.Atoi(v)
				require.NoError(s.t, err)
				if m.Offsets == nil {
					m.Offsets = map[string]int64{}
				}
				m.Offsets[k] = int64(n)
			}
		}
		if o["seq"] == "" {
			m.Seq = s.engine.byRef[ref].Seq
		}
		s.deliver(message.KindAck, ref.Attempt, m, o)
	case "grew":
		s.step(OutputGrew{Ref: ref, Step: o.num("step", 0), Stdout: out("out"), Stderr: out("err")})
	case "end":
		r := action.Result{Status: message.Success, ExitCode: o.num("code", 0)}
		switch {
		case r.ExitCode == 168:
			r.Flow = action.SkipRest
		case r.ExitCode == 169:
			r.Status, r.Flow = message.Failed, action.SkipRest
		case r.ExitCode == 194:
			r.Flow = action.Reboot
		case r.ExitCode != 0:
			r.Status = message.Failed
		}
		s.step(StepEnded{Ref: ref, Step: o.num("step", 0), Reboots: o.num("reboots", 0), Result: r, Stdout: out("out"), Stderr: out("err")})
	case "ask":
		s.step(Asking{message.Ask{ID: args[0], Op: "PutInventory"}})
	case "askover":
		s.step(AskOver{args[0]})
	case "answer":
		s.deliver(message.KindAnswer, 0, message.Answer{ID: args[0], Code: o["code"]}, o)
	case "journalfailed":
		s.step(JournalFailed{Ref: ref, NotStarted: o["notstarted"] != ""})
	case "rebootfailed":
		s.step(RebootFailed{Reason: "the host said no"})
	default:
		s.t.Fatalf("unknown event %q", words[0])
	}
}

func (s *story) deliver(kind message.Kind, attempt int, body any, o options) {
	b, err := message.Marshal(kind, body)
	require.NoError(s.t, err)
	s.ids++
	late := o.dur("late", 0)
	env := message.Envelope{Tenant: "default", From: message.Controller, To: "mi-1", Kind: kind, ID: strconv.Itoa(s.ids), Attempt: attempt, Epoch: uint64(o.num("epoch", int(s.epoch))),
		NotBefore: s.now.Add(-late), NotAfter: s.now.Add(time.Minute - late), Body: b}
	if o["to"] != "" {
		env.To = o["to"]
	}
	s.step(Received{env})
}

func (s *story) step(ev Event) {
	for _, eff := range s.engine.Step(s.now.Add(s.skew), ev) {
		s.show(eff)
	}
}

// wait lets time pass and ticks the engine whenever it wants.
func (s *story) wait(d time.Duration) {
	end := s.now.Add(d)
	for n := 0; ; n++ {
		require.Less(s.t, n, 1000, "the engine wants to be ticked without end")
		next, ok := s.engine.Next()
		if ok {
			next = next.Add(-s.skew)
		}
		if !ok || next.After(end) {
			break
		}
		if next.After(s.now) {
			s.now = next
		}
		s.step(Tick{})
		after, ok := s.engine.Next()
		require.True(s.t, !ok || after.Add(-s.skew).After(s.now), "after a tick nothing may be due: now %v, due %v", s.now, after)
	}
	s.now = end
}

func (s *story) show(eff Effect) {
	p := func(format string, a ...any) {
		fmt.Fprintf(&s.out, "  %6s  "+format+"\n", append([]any{short(s.now.Sub(dawn))}, a...)...)
	}
	switch x := eff.(type) {
	case Remember:
		p("remember epoch %d", x.Epoch)
	case Answered:
		p("answered %s code=%q", x.Answer.ID, x.Answer.Code)
	case Floor:
		s.floor = x.At
		p("floor %s", short(x.At.Sub(dawn)))
	case Journal:
		s.journal[x.Entry.Ref] = x.Entry
		p("journal %s %s", name(x.Entry.Ref), describe(&x.Entry))
	case Forget:
		delete(s.journal, x.Ref)
		p("forget %s", name(x.Ref))
	case StartStep:
		p("START %s step %d (%s) reboots=%d timeout=%s", name(x.Ref), x.Step, x.Resolved.Name, x.Reboots, short(x.Resolved.Timeout))
	case KillStep:
		orphan := ""
		if x.Orphan {
			orphan = " orphan"
		}
		p("KILL %s step %d: %v%s", name(x.Ref), x.Step, x.Cause, orphan)
	case Send:
		switch b := x.Body.(type) {
		case message.Ask:
			p("send ask %s %s", b.ID, b.Op)
		case message.Hello:
			s.hello = b
			p("send hello %d first=%v facts=%v running=%s", b.Seq, b.First, b.Facts != nil, names(b.Running))
		case message.Ready:
			p("send ready %s refused=%q %s", name(b.Ref), b.Refused, b.Reason)
		case message.Report:
			en := Entry{Ref: b.Ref, Seq: b.Seq, Detail: b.Detail, Reason: b.Reason, ExitCode: b.ExitCode}
			for _, st := range b.Steps {
				en.Steps = append(en.Steps, StepEntry{StepReport: st})
			}
			p("send report %s %s", name(b.Ref), describe(&en))
		}
	case SendOutput:
		p("send output %s %s [%d,%d)", name(x.Ref), message.StreamID(x.Step, x.Stderr), x.Offset, x.Offset+int64(x.Length))
	case DropOutput:
		p("drop output %s", name(x.Ref))
	case Reboot:
		p("REBOOT")
	}
}

func describe(e *Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "seq=%d %s code=%d", e.Seq, e.Detail, e.ExitCode)
	if e.Run == nil && e.Final {
		b.WriteString(" tombstone")
	}
	for i := range e.Steps {
		st := &e.Steps[i]
		fmt.Fprintf(&b, " %s:%s", st.Name, st.Status)
		if st.Status.Terminal() && st.ExitCode != 0 {
			fmt.Fprintf(&b, "(%d)", st.ExitCode)
		}
		if st.Reboots > 0 {
			fmt.Fprintf(&b, "/reboots=%d", st.Reboots)
		}
		for k, stream := range []*message.Stream{&st.Stdout, &st.Stderr} {
			if stream.Size > 0 {
				fmt.Fprintf(&b, "/%s=%d", []string{"out", "err"}[k], stream.Size)
				if stream.InPieces {
					b.WriteString("p")
				}
			}
		}
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	return b.String()
}

func name(r message.Ref) string {
	if r.Attempt == 1 {
		return r.Command
	}
	return fmt.Sprintf("%s/%d", r.Command, r.Attempt)
}

func names(refs []message.Ref) string {
	var all []string
	for _, r := range refs {
		all = append(all, name(r))
	}
	sort.Strings(all)
	return "[" + strings.Join(all, " ") + "]"
}

func short(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	t := d.Round(100 * time.Millisecond).String()
	t = strings.TrimSuffix(t, "m0s") + map[bool]string{true: "m", false: ""}[strings.HasSuffix(t, "m0s")]
	if strings.HasSuffix(t, "h0m") {
		t = strings.TrimSuffix(t, "0m")
	}
	return t
}
