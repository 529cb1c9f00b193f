package document

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mutations break a valid document each in one way: what is done, to what (a path below), the new value (JSON) or key, and the code and path
// of the finding that must name the place ("" is the path that was changed).
type mutation struct{ file, do, path, to, code, at string }

var mutations = []mutation{
	// Command
	{"logship.json", "set", "schemaVersion", `"2.1"`, "schema-unknown", ""},
	{"logship.json", "set", "schemaVersion", `"3.0"`, "schema-unknown", ""},
	{"logship.json", "del", "schemaVersion", "", "schema-missing", "$"},
	{"logship.json", "key", "description", "descripton", "top-key", "$.descripton"},
	{"logship.json", "key", "parameters", "parameter", "top-key", "$.parameter"},
	{"logship.json", "set", "parameters", `[]`, "type", ""},
	{"logship.json", "set", "parameters.Days.type", `"Strin"`, "parameter-type", ""},
	{"logship.json", "del", "parameters.Days.type", "", "parameter-type", "$.parameters.Days"},
	{"logship.json", "key", "parameters.Days.description", "descr", "parameter-key", "$.parameters.Days.descr"},
	{"logship.json", "key", "parameters.Days", "Da ys", "parameter-name", `$.parameters["Da ys"]`},
	{"logship.json", "set", "parameters.Days.default", `{"a":1}`, "default-type", ""},
	{"logship.json", "set", "parameters.Days.default", `"thirty"`, "default-pattern", ""},
	{"logship.json", "set", "parameters.Action.default", `"Begin"`, "default-value", ""},
	{"logship.json", "set", "parameters.Action.allowedValues", `"Start"`, "type", ""},
	{"logship.json", "set", "parameters.Days.allowedPattern", `"("`, "pattern", ""},
	{"logship.json", "set", "parameters.LogGroup.interpolationType", `"ENV"`, "interpolation-type", ""},
	{"logship.json", "del", "parameters.Days.allowedPattern", "", "raw-parameter", "$.mainSteps[0].inputs.runCommand[*]"},
	{"logship.json", "set", "mainSteps", `[]`, "no-steps", ""},
	{"logship.json", "set", "mainSteps", `{"a":1}`, "type", ""},
	{"logship.json", "del", "mainSteps", "", "no-steps", "$"},
	{"logship.json", "key", "mainSteps", "runtimeConfig", "wrong-body", "$.runtimeConfig"},
	{"logship.json", "set", "mainSteps.0", `"echo"`, "type", ""},
	{"logship.json", "del", "mainSteps.0.name", "", "step-name", "$.mainSteps[0]"},
	{"logship.json", "set", "mainSteps.0.name", `"a b"`, "step-name", ""},
	{"logship.json", "set", "mainSteps.1.name", `"linux"`, "step-twice", ""},
	{"logship.json", "del", "mainSteps.0.action", "", "step-action", "$.mainSteps[0]"},
	{"logship.json", "set", "mainSteps.0.action", `"aws:runShell"`, "unknown-action", ""},
	{"logship.json", "set", "mainSteps.0.action", `"aws:executeScript"`, "unknown-action", ""},
	{"logship.json", "key", "mainSteps.0.inputs", "input", "step-key", "$.mainSteps[0].input"},
	{"logship.json", "set", "mainSteps.0.inputs", `"x"`, "type", ""},
	{"logship.json", "set", "mainSteps.0.inputs.runCommand", `{"a":"b"}`, "input-type", ""},
	{"logship.json", "del", "mainSteps.0.inputs.runCommand", "", "input-missing", "$.mainSteps[0].inputs"},
	{"logship.json", "set", "mainSteps.0.inputs.timeoutSeconds", `"4"`, "timeout", ""},
	{"logship.json", "set", "mainSteps.0.inputs.timeoutSeconds", `200000`, "timeout", ""},
	{"logship.json", "set", "mainSteps.0.precondition.StringEquals", `["platformType"]`, "precondition", ""},
	{"logship.json", "set", "mainSteps.0.precondition.StringEquals", `["a","b"]`, "precondition", ""},
	{"logship.json", "key", "mainSteps.0.precondition.StringEquals", "StringLike", "precondition", "$.mainSteps[0].precondition.StringLike"},
	{"logship.json", "set", "mainSteps.0.inputs.timeoutSeconds", `"{{ executionTimout }}"`, "undefined", ""},
	{"logship.json", "add", "parameters", `"Extra":{"type":"String","default":"x"}`, "parameter-unused", "$.parameters.Extra"},
	{"logship.json", "add", "mainSteps.0", `"finallyStep":true`, "finally-not-last", "$.mainSteps[0].finallyStep"},
	{"logship.json", "add", "mainSteps.0", `"onFailure":"Stop"`, "flow-value", "$.mainSteps[0].onFailure"},
	{"logship.json", "add", "mainSteps.0", `"name":"again"`, "duplicate-key", ""},
	// Automation
	{"patch-fleet.yaml", "set", "mainSteps.1.name", `"Decid e"`, "step-name", ""},
	{"patch-fleet.yaml", "set", "mainSteps.3.name", `"Patched"`, "step-unknown", "$.mainSteps[1].inputs.Choices[0].NextStep"},
	{"patch-fleet.yaml", "set", "mainSteps.5.name", `"Reprt"`, "step-unknown", "$.mainSteps[0].onFailure"},
	{"patch-fleet.yaml", "set", "mainSteps.2.nextStep", `"Nowhere"`, "step-unknown", ""},
	{"patch-fleet.yaml", "set", "mainSteps.2.nextStep", `"FindGroup"`, "cycle", ""},
	{"patch-fleet.yaml", "set", "mainSteps.2.nextStep", `"Rest"`, "cycle", ""},
	{"patch-fleet.yaml", "set", "mainSteps.3.onCancel", `"step:Rest"`, "cancel-target", ""},
	{"patch-fleet.yaml", "set", "mainSteps.3.onCancel", `"Continue"`, "flow-value", ""},
	{"patch-fleet.yaml", "set", "mainSteps.3.onFailure", `"Stop"`, "flow-value", ""},
	{"patch-fleet.yaml", "set", "mainSteps.3.isCritical", `"maybe"`, "type", "$.mainSteps[3].isCritical"},
	{"patch-fleet.yaml", "add", "mainSteps.3", `"isCritical":"maybe"`, "type", "$.mainSteps[3].isCritical"},
	{"patch-fleet.yaml", "set", "mainSteps.3.timeoutSeconds", `"long"`, "number", ""},
	{"patch-fleet.yaml", "set", "mainSteps.3.maxAttempts", `0`, "number", ""},
	{"patch-fleet.yaml", "add", "mainSteps.2", `"isEnd":true`, "end-and-next", "$.mainSteps[2].nextStep"},
	{"patch-fleet.yaml", "set", "mainSteps.1.inputs.Default", `"Rest"`, "", "none"}, // legal
	{"patch-fleet.yaml", "del", "mainSteps.1.inputs.Choices.0.NextStep", "", "choice-next", "$.mainSteps[1].inputs.Choices[0]"},
	{"patch-fleet.yaml", "key", "mainSteps.1.inputs.Choices.1.NumericGreater", "NumericMore", "condition-operator", "$.mainSteps[1].inputs.Choices[1].NumericMore"},
	{"patch-fleet.yaml", "set", "mainSteps.1.inputs.Choices.1.NumericGreater", `"two"`, "condition-type", ""},
	{"patch-fleet.yaml", "del", "mainSteps.1.inputs.Choices.1.Variable", "", "condition", "$.mainSteps[1].inputs.Choices[1]"},
	{"patch-fleet.yaml", "set", "mainSteps.1.inputs.Choices.0.And", `{"a":1}`, "condition", ""},
	{"patch-fleet.yaml", "del", "mainSteps.1.inputs.Choices", "", "input-missing", "$.mainSteps[1].inputs"},
	{"patch-fleet.yaml", "del", "mainSteps.0.inputs.Api", "", "input-missing", "$.mainSteps[0].inputs"},
	{"patch-fleet.yaml", "del", "mainSteps.3.inputs.DocumentName", "", "input-missing", "$.mainSteps[3].inputs"},
	{"patch-fleet.yaml", "key", "mainSteps.3.inputs.InstanceIds", "InstanceIDz", "input-unknown", "$.mainSteps[3].inputs.InstanceIDz"},
	{"patch-fleet.yaml", "set", "mainSteps.3.inputs.InstanceIds", `{"a":1}`, "input-type", ""},
	{"patch-fleet.yaml", "set", "mainSteps.3.inputs.DocumentName", `["a"]`, "input-type", ""},
	{"patch-fleet.yaml", "del", "mainSteps.2.inputs.Duration", "", "input-missing", "$.mainSteps[2]"},
	{"patch-fleet.yaml", "set", "mainSteps.3.action", `"aws:runComand"`, "unknown-action", ""},
	{"patch-fleet.yaml", "key", "mainSteps.3.onCancel", "onCancle", "step-key", "$.mainSteps[3].onCancle"},
	{"patch-fleet.yaml", "del", "mainSteps.0.outputs.0.Name", "", "output-name", "$.mainSteps[0].outputs[0]"},
	{"patch-fleet.yaml", "del", "mainSteps.0.outputs.0.Selector", "", "output-selector", "$.mainSteps[0].outputs[0]"},
	{"patch-fleet.yaml", "set", "mainSteps.0.outputs.0.Type", `"Text"`, "output-type", ""},
	{"patch-fleet.yaml", "set", "mainSteps.0.outputs.1.Name", `"Group"`, "output-twice", "$.mainSteps[0].outputs[1]"},
	{"patch-fleet.yaml", "set", "mainSteps.0.outputs.0.Name", `"Grp"`, "reference-output", "$.mainSteps[1].inputs.Choices[0].And[0].Variable"},
	{"patch-fleet.yaml", "set", "mainSteps.0.name", `"Find"`, "reference-step", "$.mainSteps[1].inputs.Choices[0].And[0].Variable"},
	{"patch-fleet.yaml", "set", "outputs.0", `"FindGrup.Group"`, "reference-step", ""},
	{"patch-fleet.yaml", "set", "outputs.0", `"Group"`, "output", ""},
	{"patch-fleet.yaml", "key", "parameters.InstanceId", "Instance", "reference-unknown", "$.mainSteps[0].inputs.InstanceIds[0]"},
	{"patch-fleet.yaml", "key", "variables.State", "Stat", "reference-unknown", "$.mainSteps[4].inputs.Steps[1].inputs.InputPayload.state"},
	{"patch-fleet.yaml", "set", "variables.State.type", `"Text"`, "parameter-type", ""},
	{"patch-fleet.yaml", "set", "mainSteps.4.inputs.Steps.1.onFailure", `"step:Nobody"`, "step-unknown", ""},
	{"patch-fleet.yaml", "set", "mainSteps.4.inputs.Steps.1.name", `"Patch"`, "step-twice", ""},
	{"patch-fleet.yaml", "set", "mainSteps.4.inputs.Steps", `[]`, "no-steps", "$.mainSteps[4]"},
	{"patch-fleet.yaml", "del", "mainSteps.4.inputs.Iterators", "", "loop", "$.mainSteps[4]"},
	{"patch-fleet.yaml", "set", "mainSteps.4.inputs.Steps.0.inputs.Value", `"{{ global:TIME }}"`, "reference-unknown", ""},
	{"patch-fleet.yaml", "set", "assumeRole", `"{{ Role }}"`, "reference-unknown", ""},
	{"patch-fleet.yaml", "set", "assumeRole", `"{{ ssm:role }}"`, "reference-ssm", ""},
	{"patch-fleet.yaml", "add", "mainSteps.1", `"isEnd":"yes"`, "type", "$.mainSteps[1].isEnd"},
	{"patch-fleet.yaml", "set", "mainSteps.0.inputs.InstanceIds", `["{{ Patch.Status }}"]`, "reference-order", "$.mainSteps[0].inputs.InstanceIds[0]"},
	{"patch-fleet.yaml", "set", "mainSteps.3.inputs.Parameters", `{"Password":"hunter2"}`, "none", "none"},
	{"patch-fleet.yaml", "add", "mainSteps.0.inputs", `"MasterUserPassword":"hunter2"`, "secret-plain", "$.mainSteps[0].inputs.MasterUserPassword"},
	{"patch-fleet.yaml", "add", "parameters", `"AdminPassword":{"type":"String","default":"hunter2"}`, "secret-plain", "$.parameters.AdminPassword.default"},
	{"patch-fleet.yaml", "set", "parameters.AutomationAssumeRole.type", `"String"`, "role-open", "$.assumeRole"},
	{"patch-fleet.yaml", "set", "mainSteps.3.inputs.DocumentName", `"{{ ssm-secure:x }}"`, "secure-place", ""},
	{"patch-fleet.yaml", "set", "parameters.Groups.type", `"StringMap"`, "default-type", "$.parameters.Groups.default"},
	{"patch-fleet.yaml", "set", "mainSteps.2.inputs.Duration", `"{{ Look.x }}"`, "reference-output", ""},
	{"patch-fleet.yaml", "set", "mainSteps.4.inputs.Steps.1.inputs.Script", `"print('{{ InstanceId }} {{ Notify }} {{ AutomationAssumeRole }}')"`, "raw-parameter", ""},
	{"patch-fleet.yaml", "set", "parameters.Retries.default", `"often"`, "default-type", ""},
	{"patch-fleet.yaml", "set", "parameters.Groups.default", `{"a":1}`, "default-type", ""},
}

// ref is where a path leads: an entry of a map or an element of a list.
type ref struct {
	in    *Value
	index int
}

func (r ref) value() **Value {
	if r.in.kind == List {
		return &r.in.items[r.index]
	}
	return &r.in.fields[r.index].Value
}

func find(t *testing.T, root *Value, path string) (ref, string) {
	t.Helper()
	r, at := ref{}, "$"
	v := root
	for part := range strings.SplitSeq(path, ".") {
		r = ref{v, -1}
		if v.kind == List {
			n, err := strconv.Atoi(part)
			require.NoError(t, err)
			r.index, at = n, at+"["+part+"]"
		} else {
			if plainKey(part) {
				at += "." + part
			} else {
				at += "[" + strconv.Quote(part) + "]"
			}
			for i := range v.fields {
				if v.fields[i].Key == part {
					r.index = i
				}
			}
			if r.index < 0 {
				return r, at
			}
		}
		v = *r.value()
	}
	return r, at
}

// TestMutations: the checker names the right place of nearly every planted error (98 %).
func TestMutations(t *testing.T) {
	planted, found := map[string]int{}, map[string]int{}
	for _, m := range slices.Concat(mutations, moreMutations) {
		src, err := os.ReadFile("testdata/" + m.file)
		require.NoError(t, err)
		base, err := Parse(src, nil)
		require.NoError(t, err)
		before := map[string]bool{}
		for _, f := range base.Check() {
			before[f.Code+f.Path] = true
		}
		root := base.Root // of a document that nobody else has
		r, at := find(t, root, m.path)
		if r.index < 0 {
			require.Equal(t, "mainSteps.3.isCritical", m.path[:min(len(m.path), 22)], "a key that the document does not have")
			continue
		}
		switch m.do {
		case "set":
			v, bad := scanJSON([]byte(m.to), wide)
			require.Empty(t, bad)
			*r.value() = v
		case "del":
			r.in.fields = append(r.in.fields[:r.index:r.index], r.in.fields[r.index+1:]...)
		case "key":
			r.in.fields[r.index].Key = m.to
		case "add":
			if (*r.value()).kind == List {
				v, bad := scanJSON([]byte("["+m.to+"]"), wide)
				require.Empty(t, bad)
				(*r.value()).items = append((*r.value()).items, v.items...)
				break
			}
			v, bad := scanJSON([]byte("{"+m.to+"}"), wide)
			require.Empty(t, bad)
			to := *r.value()
			to.fields = append(to.fields, v.fields...)
		}
		if m.at != "" {
			at = m.at
		}
		d, err := Parse(root.appendTo(nil), nil)
		var fs Findings
		if err != nil {
			require.True(t, errors.As(err, &fs))
		} else {
			fs = d.Check()
		}
		if m.at == "none" {
			require.NoError(t, err, m)
			continue
		}
		kind := string(base.Kind)
		planted[kind]++
		hit := false
		for _, f := range fs {
			same := f.Path == at || f.Path == "" && m.code == "duplicate-key"
			if i := strings.Index(at, "[*]"); i >= 0 {
				same = strings.HasPrefix(f.Path, at[:i])
			}
			hit = hit || f.Code == m.code && same && !before[f.Code+f.Path] && f.Line > 0
		}
		if hit {
			found[kind]++
		} else {
			t.Logf("missed %+v, wanted %s; have:\n%v", m, at, fs)
		}
	}
	for kind, n := range planted {
		t.Logf("%s: %d of %d", kind, found[kind], n)
		require.GreaterOrEqual(t, float64(found[kind])/float64(n), 0.98, kind)
	}
}
