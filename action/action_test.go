package action_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/message"
)

type fake struct {
	name string
	run  func(context.Context, *action.Call) action.Result
	caps []string
}

func (f fake) Name() string                                          { return f.name }
func (f fake) Run(ctx context.Context, c *action.Call) action.Result { return f.run(ctx, c) }
func (f fake) Capabilities() []string                                { return f.caps }

type plain struct{ fakeName string }

func (p plain) Name() string                                  { return p.fakeName }
func (plain) Run(context.Context, *action.Call) action.Result { return action.Succeeded() }

func TestSetsAreValues(t *testing.T) {
	a, err := action.NewSet(plain{"b"}, plain{"a"})
	require.NoError(t, err)
	b, err := a.With(fake{name: "c", caps: []string{"feature:x", "a"}})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, a.Names())
	require.Equal(t, []string{"a", "b", "c"}, b.Names())
	require.Equal(t, []string{"a", "b", "feature:x"}, b.Capabilities())
	_, err = b.With(plain{"a"})
	require.Error(t, err)
	for _, bad := range []action.Action{nil, plain{""}} {
		_, err = action.NewSet(bad)
		require.Error(t, err)
	}
	c, err := b.Replace(plain{"c"}, plain{"d"})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c", "d"}, c.Capabilities())
	_, ok := action.Set{}.Get("a")
	require.False(t, ok)
}

func TestRunSettlesWhateverAnActionDoes(t *testing.T) { // F17, T23, P10
	set, err := action.NewSet(
		fake{name: "panics", run: func(context.Context, *action.Call) action.Result { panic("x") }},
		fake{name: "nothing", run: func(context.Context, *action.Call) action.Result { return action.Result{} }},
		fake{name: "fails", run: func(context.Context, *action.Call) action.Result { return action.Result{Status: message.Failed} }},
		fake{name: "reboots", run: func(context.Context, *action.Call) action.Result {
			return action.Result{Status: message.Failed, Flow: action.Reboot}
		}},
	)
	require.NoError(t, err)
	run := func(ctx context.Context, name string) action.Result {
		return action.Run(ctx, &action.Call{Action: name, Actions: set, Log: slog.New(slog.DiscardHandler)})
	}
	for _, name := range []string{"panics", "nothing", "fails", "reboots", "unknown"} {
		r := run(t.Context(), name)
		require.Equal(t, message.Failed, r.Status, name)
		require.Equal(t, 1, r.ExitCode, name)
		require.Equal(t, action.Continue, r.Flow, name)
	}
	for cause, want := range map[error]message.Status{action.ErrTimeout: message.TimedOut, action.ErrCancelled: message.Cancelled, action.ErrStopping: message.Cancelled, errors.New("x"): message.Cancelled,
		fmt.Errorf("the deadline: %w", action.ErrTimeout): message.TimedOut} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		require.Equal(t, want, run(ctx, "fails").Status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	<-ctx.Done()
	require.Equal(t, message.TimedOut, run(ctx, "fails").Status)
}

func TestInputs(t *testing.T) {
	in := map[string]any{"runCommand": "x", "RunCommand": "y", "N": json.Number("12"), "f": 1.5, "i": int64(3), "T": true, "t2": "True", "bad": "maybe", "null": nil, "m": map[string]any{"a": 1}, "mt": `{"a": "b"}`, "empty": " ",
		"list": []any{"a", []any{"b", 1, nil, []string{"c"}}, map[string]any{}}}
	text := func(name string) string { s, err := action.Text(in, name); require.NoError(t, err); return s }
	require.Equal(t, "x", text("runCommand"))
	require.Equal(t, "y", text("RunCommand"))
	require.Equal(t, "y", text("RUNCOMMAND"), "the first in order")
	require.Equal(t, "12", text("n"))
	require.Equal(t, "1.5", text("f"))
	require.Equal(t, "3", text("i"))
	require.Equal(t, "true", text("t"))
	require.Empty(t, text("null"))
	require.Empty(t, text("absent"))
	_, err := action.Text(in, "m")
	require.Error(t, err)
	for name, want := range map[string]bool{"T": true, "t2": true, "absent": false} {
		b, err := action.Bool(in, name)
		require.NoError(t, err)
		require.Equal(t, want, b)
	}
	_, err = action.Bool(in, "bad")
	require.Error(t, err)
	require.Equal(t, []string{"a", "b", "c"}, action.Lines(in, "list"))
	require.Nil(t, action.Lines(in, "absent"))
	m, err := action.Map(in, "mt")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"a": "b"}, m)
	for _, name := range []string{"absent", "empty"} {
		m, err = action.Map(in, name)
		require.NoError(t, err)
		require.Nil(t, m)
	}
	for _, name := range []string{"runCommand", "T"} {
		_, err = action.Map(in, name)
		require.Error(t, err)
	}
	w, err := action.Word(map[string]any{"k": "httP"}, "K", "HTTP", "S3")
	require.NoError(t, err)
	require.Equal(t, "HTTP", w)
	_, err = action.Word(map[string]any{"k": "ftp"}, "k", "HTTP")
	require.Error(t, err)
}

func TestFlow(t *testing.T) { // P4 to P10
	ok, bad, late, gone := action.Result{Status: message.Success}, action.Result{Status: message.Failed}, action.Result{Status: message.TimedOut, ExitCode: 143}, action.Result{Status: message.Cancelled}
	skipRest, failRest := action.Result{Status: message.Success, Flow: action.SkipRest}, action.Result{Status: message.Failed, ExitCode: 169, Flow: action.SkipRest}
	no, broken := action.Rule{Do: action.DoSkip, Reason: "no"}, action.Rule{Do: action.DoFail, Reason: "broken"}
	onFail := func(r action.Rule, how string) action.Rule { r.OnFailure = how; return r }
	plain, last := action.Rule{}, action.Rule{Finally: true}
	for _, c := range []struct {
		name   string
		rules  []action.Rule
		runs   []action.Result // of the steps that run, in order
		want   string
		detail message.Detail
		code   int
	}{
		{"all succeed", []action.Rule{plain, plain}, []action.Result{ok, ok}, "Success Success", message.DetailSuccess, 0},
		{"a failure does not stop", []action.Rule{plain, plain}, []action.Result{bad, ok}, "Failed Success", message.DetailFailed, 1},
		{"skipped counts as success", []action.Rule{no, no}, nil, "Skipped Skipped", message.DetailSuccess, 0},
		{"one that cannot run fails", []action.Rule{broken, plain}, []action.Result{ok}, "Failed Success", message.DetailFailed, 1},
		{"and its onFailure counts", []action.Rule{onFail(broken, "exit"), plain}, nil, "Failed Skipped", message.DetailFailed, 1},
		{"exit", []action.Rule{onFail(plain, "Exit"), plain, plain}, []action.Result{bad}, "Failed Skipped Skipped", message.DetailFailed, 1},
		{"successAndExit", []action.Rule{onFail(plain, "successAndExit"), plain}, []action.Result{late}, "Success Skipped", message.DetailSuccess, 0},
		{"onSuccess exit", []action.Rule{{OnSuccess: "exit"}, plain}, []action.Result{ok}, "Success Skipped", message.DetailSuccess, 0},
		{"168", []action.Rule{plain, plain}, []action.Result{skipRest}, "Success Skipped", message.DetailSuccess, 0},
		{"169 beats successAndExit", []action.Rule{onFail(plain, "successAndExit"), plain}, []action.Result{failRest}, "Failed Skipped", message.DetailFailed, 169},
		{"finally", []action.Rule{onFail(plain, "exit"), plain, last}, []action.Result{bad, ok}, "Failed Skipped Success", message.DetailFailed, 1},
		{"finally only on the last", []action.Rule{onFail(plain, "exit"), last, plain}, []action.Result{bad}, "Failed Skipped Skipped", message.DetailFailed, 1},
		{"finally still has its precondition", []action.Rule{onFail(plain, "exit"), {Finally: true, Do: action.DoSkip}}, []action.Result{bad}, "Failed Skipped", message.DetailFailed, 1},
		{"timeout", []action.Rule{plain, plain}, []action.Result{late, ok}, "TimedOut Success", message.DetailExecutionTimedOut, 143},
		{"failed beats timeout", []action.Rule{plain, plain}, []action.Result{late, bad}, "TimedOut Failed", message.DetailFailed, 1},
		{"nothing runs after a cancel", []action.Rule{plain, last}, []action.Result{gone}, "Cancelled Skipped", message.DetailCancelled, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var done []action.Outcome
			var got []string
			for {
				d := action.Next(c.rules, done)
				if d.Do == action.DoEnd {
					break
				}
				o := action.Unrun(c.rules[d.Step], d)
				if d.Do == action.DoRun {
					require.NotEmpty(t, c.runs, "step %d must not run", d.Step)
					o = action.Finish(c.rules[d.Step], c.runs[0])
					c.runs = c.runs[1:]
				}
				done = append(done, o)
				got = append(got, string(o.Status))
			}
			require.Empty(t, c.runs)
			require.Equal(t, c.want, strings.Join(got, " "))
			detail, code := action.Status(done)
			require.Equal(t, c.detail, detail)
			require.Equal(t, c.code, code)
		})
	}
}

func TestFlowAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) action.Rule {
			return action.Rule{Do: action.Do(rapid.IntRange(0, 2).Draw(t, "do")), OnFailure: rapid.SampledFrom([]string{"", "exit", "successAndExit"}).Draw(t, "onFailure"),
				OnSuccess: rapid.SampledFrom([]string{"", "exit"}).Draw(t, "onSuccess"), Finally: rapid.Bool().Draw(t, "finally")}
		}), 0, 8).Draw(t, "rules")
		var done []action.Outcome
		exit := -1
		for i := 0; ; i++ {
			d := action.Next(rules, done)
			if d.Do == action.DoEnd {
				break
			}
			if d.Step != i {
				t.Fatalf("step %d in the place of %d", d.Step, i)
			}
			if d.Do == action.DoRun && exit >= 0 && !(rules[i].Finally && i == len(rules)-1) {
				t.Fatalf("step %d runs although step %d ended the document", i, exit)
			}
			o := action.Unrun(rules[i], d)
			if d.Do == action.DoRun {
				o = action.Finish(rules[i], action.Result{Status: rapid.SampledFrom([]message.Status{message.Success, message.Failed, message.TimedOut}).Draw(t, "status"),
					Flow: action.Flow(rapid.IntRange(0, 1).Draw(t, "flow"))})
			}
			if o.Exit && exit < 0 {
				exit = i
			}
			done = append(done, o)
		}
		if len(done) != len(rules) {
			t.Fatalf("%d of %d steps have an outcome", len(done), len(rules))
		}
		detail, code := action.Status(done)
		if !detail.Terminal() || (detail == message.DetailSuccess) != (code == 0) {
			t.Fatalf("%s with code %d", detail, code)
		}
	})
}

func TestReadRefusesAnotherDocument(t *testing.T) {
	src := &action.Source{Name: "d", Document: []byte("schemaVersion: '2.2'\nmainSteps:\n- {action: aws:runShellScript, name: s, inputs: {runCommand: [x]}}\n"), Format: "YAML"}
	p, err := action.Read(src, "Linux", nil)
	require.NoError(t, err)
	require.Len(t, p.Steps, 1)
	require.Equal(t, time.Hour, p.Steps[0].Timeout)
	src.Hash = strings.Repeat("0", 64)
	_, err = action.Read(src, "Linux", nil)
	require.ErrorContains(t, err, "SHA-256")
}

func Example() {
	// A host's own action, beside a document that uses it.
	set, err := action.NewSet(fake{name: "example:greet", run: func(_ context.Context, c *action.Call) action.Result {
		who, err := action.Text(c.Inputs, "who")
		if err != nil {
			return action.Failed(err.Error())
		}
		fmt.Println("hello", who)
		return action.Succeeded()
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := action.Run(context.Background(), &action.Call{Action: "example:greet", Inputs: map[string]any{"Who": "world"}, Actions: set, Log: slog.New(slog.DiscardHandler)})
	fmt.Println(r.Status)
	// Output:
	// hello world
	// Success
}
