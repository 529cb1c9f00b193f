package document_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/document"
)

func parse(t testing.TB, src string) *document.Document {
	t.Helper()
	d, err := document.Parse([]byte(src), nil)
	require.NoError(t, err)
	return d
}

func bound(t testing.TB, d *document.Document, v values) *document.Bound {
	t.Helper()
	b, err := d.Bind(v, nil)
	require.NoError(t, err)
	return b
}

func TestInterpolation_I1_I7(t *testing.T) {
	d := command(t, `"x":{"type":"String"},"l":{"type":"StringList"},"my_x":{"type":"String","default":"u"}`, `"runCommand":["{{x}}","{{  x\t}}","a{{x}}b{{ x }}c","{{{ x }}}","{{ X }}","{{ y }}","{{x","x}}","{{ x y }}","{ {x}}",
"{{ l }}","l={{l}}","color: {{ color: #fff; }}","{{ my_x }}"," {{ l }}"]`)
	b := bound(t, d, values{"x": {"{{ l }}$$1"}, "l": {"p", "q {{x}}"}})
	require.Equal(t, []any{"{{ l }}$$1", "{{ l }}$$1", "a{{ l }}$$1b{{ l }}$$1c", "{{{ l }}$$1}", "{{ X }}", "{{ y }}", "{{x", "x}}", "{{ x y }}", "{ {x}}",
		[]any{"p", "q {{x}}"}, `l=["p","q {{x}}"]`, "color: {{ color: #fff; }}", "u", ` ["p","q {{x}}"]`}, b.Steps("Linux")[0].Inputs["runCommand"])
	d = parse(t, `{"schemaVersion":"2.2","parameters":{"x":{"type":"String"}},"mainSteps":[{"action":"aws:downloadContent","name":"s","inputs":{"sourceType":"S3","sourceInfo":{"{{ x }}":{"a":["{{ x }}",1,true,null]}}}}]}`)
	r := bound(t, d, values{"x": {"v"}}).Steps("Linux")[0]
	require.Equal(t, map[string]any{"{{ x }}": map[string]any{"a": []any{"v", int64(1), true, nil}}}, r.Inputs["sourceInfo"], "I5: values only")
}

// naive interpolates by a regular expression.
func naive(text string, vals map[string]string) string {
	re := regexp.MustCompile(`\{\{[ \t\n\v\f\r]*([a-zA-Z0-9]+)[ \t\n\v\f\r]*\}\}`)
	return re.ReplaceAllStringFunc(text, func(m string) string {
		if v, ok := vals[re.FindStringSubmatch(m)[1]]; ok {
			return v
		}
		return m
	})
}

func checkNaive(t require.TestingT, text, x, y string) {
	d, err := document.Parse([]byte(`{"schemaVersion":"2.2","parameters":{"x":{"type":"String"},"y":{"type":"String"}},"mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":["#",`+quote(text)+`]}}]}`), &document.Options{MaxSize: -1})
	require.NoError(t, err)
	b, err := d.Bind(values{"x": {x}, "y": {y}}, &document.BindOptions{MaxSize: -1})
	require.NoError(t, err)
	got := b.Steps("Linux")[0].Inputs["runCommand"].([]any)[1]
	require.Equal(t, naive(text, map[string]string{"x": x, "y": y}), got)
	script, err := b.Steps("Linux")[0].Script()
	require.NoError(t, err)
	require.Equal(t, "#\n"+got.(string)+"\n", script)
}

func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			b.WriteString("\\u00")
			b.WriteByte("01"[r>>4])
			b.WriteByte("0123456789abcdef"[r&15])
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func TestInterpolationAgreesWithNaive(t *testing.T) {
	piece := rapid.SampledFrom([]string{"{", "}", "{{", "}}", "x", "y", "z", " ", "\t", "\n", "{{x}}", "{{ y }}", "$$", ":", ".", "_", "-", "é"})
	rapid.Check(t, func(t *rapid.T) {
		checkNaive(t, strings.Join(rapid.SliceOf(piece).Draw(t, "text"), ""), strings.Join(rapid.SliceOf(piece).Draw(t, "x"), ""), rapid.String().Draw(t, "y"))
	})
}

// FuzzInterpolate holds the compiled templates to a regular expression.
func FuzzInterpolate(f *testing.F) {
	f.Add("a {{x}} {{{ y }}} {{ {{x}}", "{{y}}", "$$")
	f.Add("{{x}}", "", "\n")
	f.Fuzz(func(t *testing.T, text, x, y string) {
		checkNaive(t, strings.ToValidUTF8(text, "\ufffd"), strings.ToValidUTF8(x, "?"), strings.ToValidUTF8(y, "?"))
	})
}

func step(action, precondition string) string {
	return `{"schemaVersion":"2.2","parameters":{"p":{"type":"String","default":"v"}},"mainSteps":[{"action":"` + action + `","name":"s",` + precondition + `"inputs":{"runCommand":["x"],"action":"Install","source":"y"}}]}`
}

func TestPreconditions_P1_P5(t *testing.T) {
	pre := func(s string) string { return `"precondition":` + s + `,` }
	for _, c := range []struct {
		action, pre, platform string
		want                  document.Verdict
		reason                string
	}{
		{"aws:runShellScript", "", "Linux", document.Run, ""},
		{"aws:runShellScript", "", "MacOS", document.Run, ""},
		{"aws:runShellScript", "", "Windows", document.Skip, "cannot run on Windows"},
		{"aws:applications", "", "Linux", document.Skip, "cannot run"},
		{"aws:runShellScript", pre(`{"StringEquals":["platformType","Linux"]}`), "Linux", document.Run, ""},
		{"aws:runShellScript", pre(`{"StringEquals":["lInux","platformType"]}`), "Linux", document.Run, ""},
		{"aws:runShellScript", pre(`{"StringEquals":["platformType","Windows"]}`), "Linux", document.Skip, "not Windows"},
		{"aws:runShellScript", pre(`{"StringEquals":["{{p}}","v"]}`), "Linux", document.Run, ""},
		{"aws:runShellScript", pre(`{"StringEquals":["{{ p }}","w"]}`), "Linux", document.Skip, "not satisfied"},
		{"aws:runShellScript", pre(`{"StringEquals":["x{{p}}","xv"]}`), "Linux", document.Run, ""},
		{"aws:runShellScript", pre(`{"StringEquals":["a","a"]}`), "Linux", document.Fail, "identical"},
		{"aws:runShellScript", pre(`{"StringEquals":["a","b"]}`), "Linux", document.Fail, "must contain a parameter"},
		{"aws:runShellScript", pre(`{"StringEquals":["{{p}}","{{p}}"]}`), "Linux", document.Fail, "identical"},
		{"aws:runShellScript", pre(`{"StringEquals":["platformType","platformType"]}`), "Linux", document.Fail, "identical"},
		{"aws:runShellScript", pre(`{"StringEquals":["platformType","{{p}}"]}`), "Linux", document.Fail, "cannot contain parameters"},
		{"aws:runShellScript", pre(`{"StringEquals":["{{ssm:a}}","v"]}`), "Linux", document.Fail, "Parameter Store"},
		{"aws:runShellScript", pre(`{"StringEquals":["{{ssm-secure:a}}","v"]}`), "Linux", document.Fail, "Parameter Store"},
		{"aws:runShellScript", pre(`{"StringEquals":["{{p}}"]}`), "Linux", document.Fail, "exactly two"},
		{"aws:runShellScript", pre(`{"NumericEquals":["{{p}}","1"]}`), "Linux", document.Fail, "NumericEquals"},
		{"aws:runShellScript", pre(`{"NumericEquals":["{{p}}","1"],"StringEquals":["platformType","Windows"]}`), "Linux", document.Skip, "not Windows"},
		{"aws:runShellScript", pre(`{"NumericEquals":["{{p}}","1"]}`), "Windows", document.Skip, "cannot run on"},
		{"aws:runShellScript", pre(`["a"]`), "Linux", document.Fail, "not a map"},
		{"aws:runShellScript", pre(`{}`), "Linux", document.Run, ""},
		{"aws:runShellScript", pre(`null`), "Linux", document.Run, ""},
	} {
		r := bound(t, parse(t, step(c.action, c.pre)), nil).Steps(c.platform)[0]
		require.Equal(t, c.want, r.Verdict, "%s %s on %s: %s", c.action, c.pre, c.platform, r.Reason)
		require.Contains(t, r.Reason, c.reason)
	}
	old := strings.Replace(step("aws:runShellScript", pre(`{"StringEquals":["platformType","Linux"]}`)), `"2.2"`, `"2.0"`, 1)
	require.Equal(t, document.Fail, bound(t, parse(t, old), nil).Steps("Linux")[0].Verdict, "2.0 has no preconditions")
	old = strings.Replace(step("aws:runShellScript", ""), `"2.2"`, `"2.0"`, 1)
	require.Equal(t, document.Fail, bound(t, parse(t, old), nil).Steps("Windows")[0].Verdict, "2.0 fails what 2.2 skips")
}

func TestFlow_P6(t *testing.T) {
	d := parse(t, `{"schemaVersion":"2.2","mainSteps":[
{"action":"aws:runShellScript","name":"a","onFailure":"exit","inputs":{"runCommand":["x"],"finallyStep":true}},
{"action":"aws:runShellScript","name":"b","inputs":{"runCommand":["x"],"onFailure":"successAndExit","onSuccess":"exit","maxAttempts":3}},
{"action":"aws:runShellScript","name":"c","onFailure":"Abort","inputs":{"runCommand":["x"],"onSuccess":"successAndExit"}},
{"action":"aws:runShellScript","name":"d","inputs":{"runCommand":["x"],"finallyStep":"true"}}]}`)
	r := bound(t, d, nil).Steps("Linux")
	require.Equal(t, "exit", r[0].OnFailure)
	require.False(t, r[0].Finally, "only the last step can be")
	require.Equal(t, []string{"successAndExit", "exit"}, []string{r[1].OnFailure, r[1].OnSuccess})
	require.Equal(t, map[string]any{"runCommand": []any{"x"}}, r[1].Inputs, "shared inputs are no inputs of the action")
	require.Equal(t, []string{"", ""}, []string{r[2].OnFailure, r[2].OnSuccess})
	require.True(t, r[3].Finally)
	require.Equal(t, []string{"finally-not-last", "flow-value", "flow-value"}, codes(d.Check()))
}

func TestInputsByAnyCase(t *testing.T) {
	d := command(t, ``, `"RunCommand":["x"],"WORKINGDIRECTORY":"/tmp","timeoutseconds":"30"`)
	r := bound(t, d, nil).Steps("Linux")[0]
	require.Equal(t, map[string]any{"runCommand": []any{"x"}, "workingDirectory": "/tmp", "timeoutSeconds": "30"}, r.Inputs)
	require.Equal(t, "30s", r.Timeout.String())
}

func TestScript_P13_I2(t *testing.T) {
	d := command(t, `"c":{"type":"StringList"}`, `"runCommand":["a","{{ c }}",7,true,["d",["e"]]]`)
	s, err := bound(t, d, values{"c": {"b", "c"}}).Steps("Linux")[0].Script()
	require.NoError(t, err)
	require.Equal(t, "a\nb\nc\nd\ne\n", s, "what is neither text nor list is dropped")
	d = command(t, `"c":{"type":"StringList"}`, `"runCommand":"{{ c }}"`)
	s, err = bound(t, d, values{"c": {"b", "c"}}).Steps("Linux")[0].Script()
	require.NoError(t, err)
	require.Equal(t, "b\nc\n", s)
	_, err = (&document.Resolved{Name: "n", Action: "aws:runDocument"}).Script()
	require.ErrorContains(t, err, "runCommand")
}

func TestSchema12(t *testing.T) {
	d := parse(t, `{"schemaVersion":"1.2","parameters":{"commands":{"type":"StringList"},"t":{"type":"String","default":"60"}},"runtimeConfig":{
"aws:runShellScript":{"properties":[{"id":"0.aws:runShellScript","runCommand":"{{ commands }}","timeoutSeconds":"{{ t }}"}]},
"aws:cloudWatch":{"properties":"{{ t }}","settings":{"startType":"Enabled"}}}}`)
	b := bound(t, d, values{"commands": {"a", "b"}})
	r := b.Steps("Linux")
	require.Len(t, r, 2)
	require.Equal(t, "aws:runShellScript", r[0].Name)
	s, err := r[0].Script()
	require.NoError(t, err)
	require.Equal(t, "a\nb\n", s)
	require.Equal(t, document.Fail, r[1].Verdict)
	require.Equal(t, map[string]any{"properties": "60"}, b.Steps("Windows")[1].Inputs)
	require.Equal(t, map[string]any{"startType": "Enabled"}, r[1].Settings)
	require.Equal(t, []string{"Linux", "MacOS", "Windows"}, d.PlatformTypes())

	d = parse(t, `{"schemaVersion":"1.2","runtimeConfig":{"aws:runShellScript":{"properties":[{"id":"one","runCommand":["a"]},{"runCommand":["b"]}]}}}`)
	r = bound(t, d, nil).Steps("Linux")
	require.Equal(t, []string{"one", "aws:runShellScript-2"}, []string{r[0].Name, r[1].Name})
}

func TestPlatformTypesAndNeeds(t *testing.T) {
	d := parse(t, step("aws:runShellScript", ""))
	require.Equal(t, []string{"Linux", "MacOS"}, d.PlatformTypes())
	require.Empty(t, d.Needs())
	d = parse(t, step("aws:runShellScript", `"precondition":{"StringEquals":["Linux","platformType"]},`))
	require.Equal(t, []string{"Linux"}, d.PlatformTypes())
	require.Equal(t, []string{"feature:preconditions"}, d.Needs())
	d = parse(t, step("aws:applications", ""))
	require.Equal(t, []string{"Windows"}, d.PlatformTypes())
}

func TestDigest(t *testing.T) {
	d := command(t, `"x":{"type":"String"},"e":{"type":"String","default":"1","interpolationType":"ENV_VAR"}`, `"runCommand":["echo {{ x }} {{ e }}"]`)
	one := document.Digest(bound(t, d, values{"x": {"a"}}).Steps("Linux"))
	require.Len(t, one, 64)
	require.Equal(t, one, document.Digest(bound(t, d, values{"x": {"a"}}).Steps("Linux")))
	seen := map[string]bool{one: true}
	for _, v := range []values{{"x": {"b"}}, {"x": {"a"}, "e": {"2"}}} {
		seen[document.Digest(bound(t, d, v).Steps("Linux"))] = true
	}
	seen[document.Digest(bound(t, d, values{"x": {"a"}}).Steps("Windows"))] = true
	require.Len(t, seen, 4)
}

func TestIncluded(t *testing.T) {
	d := parse(t, `{"schemaVersion":"2.2","parameters":{"n":{"type":"String"}},"mainSteps":[
{"action":"aws:runDocument","name":"a","inputs":{"documentType":"SSMDocument","documentPath":"{{ n }}","documentVersion":"3","documentParameters":{"x":"1"}}},
{"action":"aws:runDocument","name":"b","inputs":{"documentType":"LocalPath","documentPath":"x.yaml"}},
{"action":"aws:runDocument","name":"c","inputs":{"documentType":"SSMDocument","documentPath":"Other"}}]}`)
	require.Equal(t, []document.IncludedRef{{Step: 0, Name: "Mine", Version: "3", Parameters: values{"x": {"1"}}}, {Step: 2, Name: "Other"}}, bound(t, d, values{"n": {"Mine"}}).Included())
}

func TestHostActions(t *testing.T) {
	src := []byte(`{"schemaVersion":"2.2","mainSteps":[{"action":"acme:ping","name":"s","inputs":{"HOST":"x"}}]}`)
	_, err := document.Parse(src, nil)
	require.Equal(t, []string{"unknown-action"}, codes(err))
	table := document.Builtin().With(document.ActionSpec{Name: "acme:ping", Schemas: []string{"2.2"}, Platforms: []string{"Linux"},
		Inputs: []document.InputSpec{{Name: "host", Type: document.StringInput, Required: true}}})
	d, err := document.Parse(src, &document.Options{Actions: table})
	require.NoError(t, err)
	require.Equal(t, []string{"Linux"}, d.PlatformTypes())
	require.Equal(t, map[string]any{"host": "x"}, bound(t, d, nil).Steps("Linux")[0].Inputs)
	require.Nil(t, document.Builtin().Get("acme:ping"))
}
