package automation_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	yaml "go.yaml.in/yaml/v4"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

var update = flag.Bool("update", false, "write the histories of the scenarios as they are now; the difference is printed: read it")

// epoch is when scenarios begin.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// TestScenarios runs every file of testdata/scenarios: a runbook, what happens to it and when, and the history that must come of it. The comment at the top
// of a file names the rule. The state is written down and read back after every event, so that each scenario also survives any crash between two events.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "scenarios", "*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			src, err := os.ReadFile(f)
			require.NoError(t, err)
			sc := parseScenario(t, string(src))
			got := sc.play(t)
			if diff := cmp.Diff(strings.Split(sc.sections["history"], "\n"), strings.Split(got, "\n")); diff != "" {
				if *update {
					require.NoError(t, os.WriteFile(f, []byte(sc.with(got)), 0o666))
					t.Errorf("the file was written; this changed (-was +is):\n%s", diff) // so that go test shows it
					return
				}
				t.Errorf("the history differs (-want +got):\n%s", diff)
			}
		})
	}
}

// scenario is a file: a comment, then sections that begin with a line -- name --.
type scenario struct {
	comment  string
	order    []string
	sections map[string]string
}

func parseScenario(t testing.TB, src string) *scenario {
	sc := &scenario{sections: map[string]string{}}
	name := ""
	for _, line := range strings.SplitAfter(src, "\n") {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "-- ") && strings.HasSuffix(trimmed, " --") {
			name = strings.TrimSpace(trimmed[3 : len(trimmed)-3])
			sc.order = append(sc.order, name)
			continue
		}
		if name == "" {
			sc.comment += line
		} else {
			sc.sections[name] += line
		}
	}
	require.True(t, strings.HasPrefix(sc.comment, "# "), "a scenario begins with a comment: the rule and what it says")
	require.NotEmpty(t, sc.sections["steps"])
	require.NotEmpty(t, sc.sections["events"])
	return sc
}

// with returns the file with another history.
func (sc *scenario) with(history string) string {
	out := sc.comment
	for _, name := range sc.order {
		if name != "history" {
			out += "-- " + name + " --\n" + sc.sections[name]
		}
	}
	return out + "-- history --\n" + history
}

// text is the runbook: the section document without its steps, and the steps.
func (sc *scenario) text() []byte {
	return []byte("schemaVersion: \"0.3\"\n" + sc.sections["document"] + "mainSteps:\n" + sc.sections["steps"])
}

// playing is a scenario at work.
type playing struct {
	t        testing.TB
	rb       *automation.Runbook
	x        *automation.Execution
	now      time.Time
	out      strings.Builder
	children []string // ids in the order of their start, with the step they belong to
	owner    map[string]string
	names    map[string]string // of steps by id
	entries  []automation.Entry
}

func (sc *scenario) play(t testing.TB) string {
	p := &playing{t: t, now: epoch, owner: map[string]string{}, names: map[string]string{}}
	rb, err := automation.ParseRunbook(sc.text(), &document.Options{MaxSize: -1})
	if err != nil {
		return fmt.Sprintf("refused %s\n", fault.CodeOf(err))
	}
	p.rb = rb
	req := automation.Start{ID: "11111111-2222-4333-8444-555555555555", Document: "Scenario", System: automation.System{AccountID: "123456789012", Region: "eu-central-1"}}
	if s := sc.sections["start"]; s != "" {
		var m any
		require.NoError(t, yaml.Unmarshal([]byte(s), &m))
		b, err := json.Marshal(m)
		require.NoError(t, err)
		var in struct {
			Parameters map[string][]string
			Mode       automation.Mode
			Targets    *automation.Spread
			Timeout    string
			Depth      int
			Limits     automation.Limits
			Role       string
		}
		require.NoError(t, json.Unmarshal(b, &in))
		req.Parameters, req.Mode, req.Targets, req.Depth, req.Limits, req.Role = in.Parameters, in.Mode, in.Targets, in.Depth, in.Limits, in.Role
		if in.Timeout != "" {
			req.Timeout = p.span(in.Timeout)
		}
	}
	if p.x, err = rb.New(req, epoch); err != nil {
		return fmt.Sprintf("refused %s: %s\n", fault.CodeOf(err), fault.MessageOf(err))
	}
	for _, line := range strings.Split(strings.TrimSpace(sc.sections["events"]), "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			p.event(line)
		}
	}
	p.summary()
	p.replay(req)
	return p.out.String()
}

// replay applies the history to a new execution, which must decide the same and come to the same; a history that was changed must not.
func (p *playing) replay(req automation.Start) {
	x, err := p.rb.New(req, epoch)
	require.NoError(p.t, err)
	require.NoError(p.t, p.rb.Replay(x, p.entries))
	want, err := p.x.Encode()
	require.NoError(p.t, err)
	got, err := x.Encode()
	require.NoError(p.t, err)
	require.JSONEq(p.t, string(want), string(got))
}

// span reads a duration, days too.
func (p *playing) span(s string) time.Duration {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.Atoi(n)
		require.NoError(p.t, err)
		return time.Duration(days) * 24 * time.Hour
	}
	d, err := time.ParseDuration(s)
	require.NoError(p.t, err, s)
	return d
}

func (p *playing) say(format string, args ...any) {
	fmt.Fprintf(&p.out, "%-8s ", short(p.now.Sub(epoch)))
	fmt.Fprintf(&p.out, format, args...)
	p.out.WriteByte('\n')
}

func short(d time.Duration) string {
	s := d.String()
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var eventArg = regexp.MustCompile(`(\w+)=("[^"]*"|\S+)`)

// event reads a line: when, what, of which step, with what.
func (p *playing) event(line string) {
	word := func() (w string) {
		w, line, _ = strings.Cut(line, " ")
		line = strings.TrimSpace(line)
		return w
	}
	p.now = epoch.Add(p.span(word()))
	var ev automation.Event
	switch kind := word(); kind {
	case "begin":
		ev.Begin = true
	case "tick":
	case "ok", "fail":
		r := &automation.Result{}
		name, attempt, pinned := strings.Cut(word(), "@")
		for i := range p.x.Steps {
			if p.x.Steps[i].Name == name {
				r.StepID, r.Attempt, r.Look = p.x.Steps[i].ID, p.x.Steps[i].Attempt, p.x.Steps[i].Looks
			}
		}
		if pinned {
			r.Attempt, _ = strconv.Atoi(attempt)
		}
		if kind == "fail" {
			r.Failure = &automation.Failure{Message: "it broke"}
			if line != "" {
				require.NoError(p.t, json.Unmarshal([]byte(line), r.Failure), line)
			}
		} else {
			if line == "" {
				line = "{}"
			}
			d := json.NewDecoder(strings.NewReader(line))
			d.UseNumber()
			require.NoError(p.t, d.Decode(&r.Output), line)
		}
		ev.Result = r
	case "child":
		n, err := strconv.Atoi(word())
		require.NoError(p.t, err)
		id := "unknown"
		if n <= len(p.children) {
			id = p.children[n-1]
		}
		c := &automation.ChildEnd{ID: id, StepID: p.owner[id], Status: automation.Status(word())}
		if line != "" {
			require.NoError(p.t, json.Unmarshal([]byte(line), &c.Outputs), line)
		}
		ev.Child = c
	case "resolved":
		r := &automation.Resolved{}
		if p.x.Current >= 0 {
			r.StepID = p.x.Steps[p.x.Current].ID
		}
		require.NoError(p.t, json.Unmarshal([]byte(line), r), line)
		ev.Resolved = r
	case "signal":
		s := &automation.Signal{Type: automation.SignalType(word())}
		for _, m := range eventArg.FindAllStringSubmatch(line, -1) {
			v := strings.Trim(m[2], `"`)
			switch m[1] {
			case "by":
				s.By = v
			case "as":
				s.As = append(s.As, v)
			case "comment":
				s.Comment = v
			case "step":
				s.Step = v
			case "id":
				s.StepID = v
				for i := range p.x.Steps {
					if p.x.Steps[i].Name == v {
						s.StepID = p.x.Steps[i].ID
					}
				}
			default:
				if s.Overrides == nil {
					s.Overrides = map[string][]string{}
				}
				s.Overrides[m[1]] = append(s.Overrides[m[1]], v)
			}
		}
		ev.Signal = s
	case "stop":
		ev.Stop = &automation.Stop{Type: automation.StopType(word())}
	case "restart":
		p.effects("again ", p.rb.Outstanding(p.x))
		return
	default:
		p.t.Fatalf("unknown event %q", kind)
	}
	p.step(ev)
}

// step applies an event and writes down what it changed.
func (p *playing) step(ev automation.Event) {
	before := p.x.Clone()
	entry, out, err := p.rb.Record(p.x, ev, p.now)
	p.entries = append(p.entries, entry)
	for i := range p.x.Steps {
		s := &p.x.Steps[i]
		p.names[s.ID] = s.Name
		var was automation.Step
		if i < len(before.Steps) {
			was = before.Steps[i]
		} else {
			in := ""
			if s.Parent != nil {
				in = fmt.Sprintf(" [%s %d %s]", s.Parent.StepName, s.Parent.Iteration, s.Parent.IteratorValue)
			}
			p.say("%s begins%s %s", s.Name, in, compact(s.Inputs))
		}
		for n := max(was.Attempt, 1) + 1; n <= s.Attempt; n++ {
			p.say("%s attempt %d", s.Name, n)
		}
		if s.Status != was.Status && (s.Status != automation.InProgress || i < len(before.Steps)) {
			p.say("%s %s%s%s%s", s.Name, s.Status, failure(s.Failure), outputs(s.Outputs), next(s.Next))
		} else if len(s.Decisions) != len(was.Decisions) {
			p.say("%s %s%s", s.Name, s.Status, outputs(s.Outputs))
		}
	}
	p.effects("", out)
	if p.x.Status != before.Status {
		p.say("-> %s", p.x.Status)
	}
	if p.x.NextStep != before.NextStep && p.x.NextStep != "" {
		p.say("next %s", p.x.NextStep)
	}
	if p.x.Late != before.Late {
		p.say("too late")
	}
	if err != nil {
		p.say("error %s: %s", fault.CodeOf(err), fault.MessageOf(err))
	}
	b, err := p.x.Encode()
	require.NoError(p.t, err)
	back, err := automation.Decode(b)
	require.NoError(p.t, err)
	again, err := back.Encode()
	require.NoError(p.t, err)
	require.Equal(p.t, string(b), string(again))
	p.x = back
}

func (p *playing) effects(how string, out []automation.Effect) {
	for _, e := range out {
		until := ""
		if !e.Deadline.IsZero() {
			until = " until " + short(e.Deadline.Sub(epoch))
		}
		switch e.Kind {
		case automation.Invoke, automation.Abandon, automation.Ask:
			if e.Role != "" {
				until += " as " + e.Role
			}
			p.say("%s%s %s#%d%s", how, strings.ToLower(string(e.Kind)), e.Step, e.Attempt, until)
		case automation.StartChild:
			if how == "" {
				p.children = append(p.children, e.Child.ID)
				p.owner[e.Child.ID] = e.StepID
			}
			p.say("%sstart child %d %s %s%s%s", how, p.child(e.Child.ID), e.Child.Document, compact(e.Child.Parameters), where(e.Child), spread(e.Child.Spread))
		case automation.StopChild:
			p.say("%sstop child %d", how, p.child(e.Child.ID))
		case automation.Resolve:
			p.say("%sresolve%s", how, spread(e.Spread))
		}
	}
}

func (p *playing) child(id string) int {
	for i := range p.children {
		if p.children[i] == id {
			return i + 1
		}
	}
	return 0
}

func (p *playing) summary() {
	var steps []string
	for _, s := range p.rb.StepExecutions(p.x) {
		steps = append(steps, s.Name+" "+string(s.Status))
	}
	fmt.Fprintf(&p.out, "= %s%s%s\n", p.x.Status, failure(p.x.Failure), outputs(p.x.Outputs))
	if len(steps) > 0 {
		fmt.Fprintf(&p.out, "= %s\n", strings.Join(steps, ", "))
	}
	if len(p.x.Variables) > 0 {
		fmt.Fprintf(&p.out, "= variables %s\n", compact(p.x.Variables))
	}
}

func compact(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return "?"
	}
	s := strings.TrimSpace(b.String())
	if s == "null" {
		return "{}"
	}
	s = strings.ReplaceAll(s, "11111111-2222-4333-8444-555555555555", "THIS")
	return idText.ReplaceAllString(s, "ID")
}

var idText = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

func failure(f *automation.Failure) string {
	if f == nil {
		return ""
	}
	s := fmt.Sprintf(" %s/%s %q", f.Stage, f.Type, f.Message)
	if len(f.Details) > 0 {
		s += " " + compact(f.Details)
	}
	return s
}

func outputs(m map[string]any) string {
	if len(m) == 0 {
		return ""
	}
	return " " + compact(m)
}

func next(s string) string {
	if s == "" {
		return ""
	}
	return " => " + s
}

func where(c *automation.Child) string {
	more := ""
	if c.DocumentVersion != "" {
		more = " version " + c.DocumentVersion
	}
	if len(c.Tags) > 0 {
		more += " tags " + compact(c.Tags)
	}
	if c.Account == "" {
		return more
	}
	return more + " in " + c.Account + " " + c.Region + " as " + c.Role
}

func spread(s *automation.Spread) string {
	if s == nil {
		return ""
	}
	return " " + compact(s)
}
