package automation_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
)

// patching is a runbook with a rollback that is not complete.
const patching = `
schemaVersion: "0.3"
parameters:
  InstanceId: {type: String}
  Mode: {type: String, default: full}
mainSteps:
- {name: stop, action: "aws:changeInstanceState", inputs: {InstanceIds: ["{{ InstanceId }}"], DesiredState: stopped}}
- {name: snapshot, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: CreateSnapshot, VolumeId: vol-1}, outputs: [{Name: Id, Selector: $.SnapshotId, Type: String}]}
- name: choose
  action: aws:branch
  inputs: {Choices: [{NextStep: patch, Variable: "{{ Mode }}", StringEquals: full}], Default: look}
- {name: look, action: "aws:executeAwsApi", isEnd: true, inputs: {Service: ec2, Api: DescribeInstances}}
- {name: patch, action: "aws:runCommand", onFailure: "step:start", inputs: {DocumentName: AWS-RunPatchBaseline, InstanceIds: ["{{ InstanceId }}"]}}
- {name: clean, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: DeleteSnapshot, SnapshotId: "{{ snapshot.Id }}"}}
- {name: start, action: "aws:changeInstanceState", inputs: {InstanceIds: ["{{ InstanceId }}"], DesiredState: running}}
- {name: hold, action: "aws:pause", inputs: {}}
- {name: tell, action: "aws:invokeWebhook", inputs: {IntegrationName: ops, Body: "{{ look.Nothing }}"}}
- {name: never, action: "aws:sleep", inputs: {Duration: PT1S}}
`

func TestPreviewClassesStepsAndHasNoEffect(t *testing.T) {
	rb := runbook(t, strings.Replace(patching, "- {name: never", "- {name: never2, action: \"aws:executeScript\", isEnd: true, inputs: {Runtime: python3.11, Handler: h, Script: x}}\n- {name: never", 1))
	p, err := rb.Preview(automation.Start{Parameters: map[string][]string{"InstanceId": {"i-1"}}}, epoch)
	require.NoError(t, err)
	got := map[string]automation.Impact{}
	for _, s := range p.Steps {
		got[s.Name] = s.Impact
	}
	require.Equal(t, map[string]automation.Impact{"stop": automation.Mutating, "snapshot": automation.Mutating, "choose": automation.NonMutating, "look": automation.NonMutating,
		"patch": automation.Undetermined, "clean": automation.Mutating, "start": automation.Mutating, "hold": automation.NonMutating, "tell": automation.Undetermined,
		"never2": automation.Undetermined, "never": automation.NonMutating}, got)
	require.Equal(t, map[automation.Impact]int{automation.Mutating: 4, automation.NonMutating: 4, automation.Undetermined: 3}, p.Impacts)
	require.Equal(t, []any{"i-1"}, p.Steps[0].Inputs["InstanceIds"])
	require.Equal(t, "{{ snapshot.Id }}", p.Steps[5].Inputs["SnapshotId"], "what is not known yet stands as its placeholder")
	require.True(t, p.Steps[4].Likely)
	require.False(t, p.Steps[3].Likely, "the branch is decided by a parameter")
	require.Equal(t, []string{"patch", "look"}, p.Steps[2].Next)

	_, err = rb.Preview(automation.Start{}, epoch)
	require.Equal(t, automation.InvalidExecutionParams, fault.CodeOf(err))

	p, err = rb.Preview(automation.Start{Targets: &automation.Spread{Parameter: "InstanceId", TargetMaps: []map[string][]string{{"InstanceId": {"a"}}, {"InstanceId": {"b"}}}}}, epoch)
	require.NoError(t, err)
	require.Equal(t, 2, p.Targets)
}

func TestExploreFindsWhatIsLeftBehind(t *testing.T) {
	rb := runbook(t, patching)
	e, err := rb.Explore(nil)
	require.NoError(t, err)
	require.False(t, e.Truncated)
	var got []string
	for _, w := range e.Warnings {
		got = append(got, strings.TrimSpace(string(w.Kind)+" "+w.Step+" "+w.Other))
		require.NotEmpty(t, w.Message)
		if w.Kind != automation.NeverReached {
			require.NotEmpty(t, w.Path)
		}
	}
	require.Equal(t, []string{"HalfDone stop start", "NotCleanedUp snapshot clean", "NeverFinishes hold", "Unset tell look"}, got)
	require.Equal(t, []automation.Hop{{Step: "stop", Outcome: automation.TimesOut}}, e.Warnings[0].Path, "a stop that timed out may have stopped it")
	require.Positive(t, e.Ends[automation.Failed])
	require.Positive(t, e.Ends[automation.Success])

	with, err := rb.Explore(&automation.ExploreOptions{Cancel: true})
	require.NoError(t, err)
	require.Positive(t, with.Ends[automation.Cancelled])
	bounded, err := rb.Explore(&automation.ExploreOptions{States: 3})
	require.NoError(t, err)
	require.True(t, bounded.Truncated)

	clean := runbook(t, `{"schemaVersion":"0.3","mainSteps":[
	 {"name":"make","action":"aws:createStack","onFailure":"step:drop","inputs":{"StackName":"s","TemplateBody":"{}"}},
	 {"name":"use","action":"aws:executeAwsApi","onFailure":"step:drop","inputs":{"Service":"ec2","Api":"RebootInstances"}},
	 {"name":"drop","action":"aws:deleteStack","inputs":{"StackName":"s"}}]}`)
	e, err = clean.Explore(nil)
	require.NoError(t, err)
	require.Empty(t, e.Warnings, "every way leads by the step that cleans up")
}

// history runs a runbook and returns what it is made of.
func history(t *testing.T) (rb *automation.Runbook, fresh, x *automation.Execution, h []automation.Entry) {
	rb = runbook(t, `{"schemaVersion":"0.3","variables":{"v":{"type":"String","default":"old"}},"mainSteps":[
	 {"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A","X":"one"},"outputs":[{"Name":"Id","Selector":"$.Id","Type":"String"}]},
	 {"name":"set","action":"aws:updateVariable","inputs":{"Name":"variable:v","Value":"{{ a.Id }}"}},
	 {"name":"b","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"B","Id":"{{ a.Id }}","V":"{{ variable:v }}"}},
	 {"name":"c","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"C"}}]}`)
	x, err := rb.New(automation.Start{ID: "first"}, epoch)
	require.NoError(t, err)
	fresh = x.Clone()
	step := func(at int, ev automation.Event) {
		e, _, err := rb.Record(x, ev, epoch.Add(time.Duration(at)*time.Second))
		require.NoError(t, err)
		h = append(h, e)
	}
	answer := func(out any) automation.Event {
		s := x.Steps[x.Current]
		return automation.Event{Result: &automation.Result{StepID: s.ID, Attempt: s.Attempt, Output: out}}
	}
	step(0, automation.Event{Begin: true})
	step(1, answer(map[string]any{"Id": "i-1"}))
	ev := answer(nil)
	ev.Result.Failure = &automation.Failure{Message: "broke"}
	step(2, ev)
	require.Equal(t, automation.Failed, x.Status)
	return rb, fresh, x, h
}

func TestReplayFindsWhatWasChanged(t *testing.T) {
	rb, fresh, x, h := history(t)
	again := fresh.Clone()
	require.NoError(t, rb.Replay(again, h))
	want, err := x.Encode()
	require.NoError(t, err)
	got, err := again.Encode()
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))

	later := slices.Clone(h)
	later[1].Decision = "2:of another form"
	require.NoError(t, rb.Replay(fresh.Clone(), later), "what another release wrote down is not compared")

	for name, change := range map[string]func(h []automation.Entry){
		"an answer": func(h []automation.Entry) {
			r := *h[1].Event.Result
			r.Output = map[string]any{"Id": "i-2"}
			h[1].Event.Result = &r
		},
		"a time":      func(h []automation.Entry) { h[1].At = h[1].At.Add(time.Second) },
		"a decision":  func(h []automation.Entry) { h[2].Decision = "1:0000000000000000" },
		"the outcome": func(h []automation.Entry) { r := *h[2].Event.Result; r.Failure = nil; h[2].Event.Result = &r },
	} {
		bad := slices.Clone(h)
		change(bad)
		err := rb.Replay(fresh.Clone(), bad)
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), name)
	}
}

func TestForkGoesOnFromAStep(t *testing.T) {
	rb, fresh, _, h := history(t)
	f, out, err := rb.Fork(fresh.Clone(), h, 3, "second", map[string][]string{"Id": {"i-9"}}, epoch.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, "second", f.ID)
	require.Equal(t, automation.InProgress, f.Status)
	require.Len(t, f.Steps, 3)
	require.Equal(t, "i-1", f.Steps[0].Outputs["Id"], "what ran keeps its outputs")
	require.Equal(t, map[string]any{"Service": "s", "Api": "B", "Id": "i-9", "V": "i-1"}, f.Steps[2].Inputs)
	require.Equal(t, "i-1", f.Variables["v"])
	require.Len(t, out, 1)
	require.Equal(t, "b", out[0].Step)
	_, err = rb.Step(f, automation.Event{Result: &automation.Result{StepID: f.Steps[2].ID, Attempt: 1}}, epoch.Add(time.Hour+10*time.Second))
	require.NoError(t, err)
	require.Equal(t, "c", f.Steps[f.Current].Name)

	first, _, err := rb.Fork(fresh.Clone(), h, 1, "third", nil, epoch)
	require.NoError(t, err)
	require.Equal(t, "old", first.Variables["v"])
	require.Len(t, first.Steps, 1)
	middle, _, err := rb.Fork(fresh.Clone(), h, 2, "fourth", nil, epoch)
	require.NoError(t, err)
	require.Equal(t, "b", middle.Steps[middle.Current].Name, "a step that takes no time is run again, too")
	for _, n := range []int{0, -1, 4, 99} {
		_, _, err = rb.Fork(fresh.Clone(), h, n, "x", nil, epoch)
		require.Equal(t, automation.StepNotFound, fault.CodeOf(err), n)
	}
	_, _, err = rb.Fork(fresh.Clone(), h, 1, "", nil, epoch)
	require.Error(t, err)
}

func TestGraphs(t *testing.T) {
	rb := runbook(t, patching)
	x, err := rb.New(automation.Start{ID: "x", Parameters: map[string][]string{"InstanceId": {"i-1"}}}, epoch)
	require.NoError(t, err)
	_, err = rb.Step(x, automation.Event{Begin: true}, epoch)
	require.NoError(t, err)
	_, err = rb.Step(x, automation.Event{Result: &automation.Result{StepID: x.Steps[0].ID, Attempt: 1}}, epoch)
	require.NoError(t, err)
	for name, got := range map[string]string{"graph.mmd": rb.Mermaid(x), "graph.svg": string(rb.SVG(x))} {
		file := filepath.Join("testdata", name)
		want, err := os.ReadFile(file)
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(got), 0o666))
		} else {
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), got))
		}
	}
	for _, rb := range scenarioRunbooks(t) { // whatever stands in a runbook, the drawing is well-formed
		d := xml.NewDecoder(strings.NewReader(string(rb.SVG(nil))))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
		}
		require.True(t, strings.HasPrefix(rb.Mermaid(nil), "flowchart TD\n"))
	}
}

func TestForkReplacesParametersToo(t *testing.T) {
	rb := runbook(t, `{"schemaVersion":"0.3","parameters":{"Release":{"type":"String","allowedPattern":"^[0-9.]+$"},"Hosts":{"type":"StringList","default":["a"]}},"mainSteps":[
	 {"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A","V":"{{ Release }}"}},
	 {"name":"b","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"B","V":"{{ Release }}","H":"{{ Hosts }}"}},
	 {"name":"c","action":"aws:sleep","inputs":{"Duration":"PT1S"}}]}`)
	fresh, err := rb.New(automation.Start{ID: "x", Parameters: map[string][]string{"Release": {"1.0"}}}, epoch)
	require.NoError(t, err)
	x := fresh.Clone()
	var h []automation.Entry
	for ev := (automation.Event{Begin: true}); !x.Status.Done(); {
		e, _, err := rb.Record(x, ev, epoch)
		require.NoError(t, err)
		h = append(h, e)
		if len(x.Steps) == 3 {
			break
		}
		ev = automation.Event{Result: &automation.Result{StepID: x.Steps[x.Current].ID, Attempt: 1}}
	}
	f, _, err := rb.Fork(fresh.Clone(), h, 2, "y", map[string][]string{"Release": {"2.0"}, "Hosts": {"b", "c"}}, epoch)
	require.NoError(t, err)
	require.Equal(t, "1.0", f.Steps[0].Inputs["V"], "what ran stays as it was")
	require.Equal(t, "2.0", f.Steps[1].Inputs["V"])
	require.Equal(t, []any{"b", "c"}, f.Steps[1].Inputs["H"])
	require.Equal(t, "2.0", f.Parameters["Release"])
	_, _, err = rb.Fork(fresh.Clone(), h, 2, "y", map[string][]string{"Release": {"two"}}, epoch)
	require.Equal(t, automation.InvalidExecutionParams, fault.CodeOf(err), "a parameter keeps its rules")
	_, _, err = rb.Fork(fresh.Clone(), h, 3, "y", map[string][]string{"Duratoin": {"PT2S"}}, epoch)
	require.Equal(t, fault.Validation, fault.CodeOf(err), "a slip is not swallowed")
	f, _, err = rb.Fork(fresh.Clone(), h, 3, "y", map[string][]string{"Duration": {"PT2S"}}, epoch)
	require.NoError(t, err)
	require.Equal(t, "PT2S", f.Steps[2].Inputs["Duration"])
}
