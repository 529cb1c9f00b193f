package document_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// command returns a document of schema 2.2 with the parameters (JSON members) and one shell step.
func command(t testing.TB, params, inputs string) *document.Document {
	t.Helper()
	d, err := document.Parse([]byte(`{"schemaVersion":"2.2","parameters":{`+params+`},"mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{`+inputs+`}}]}`), nil)
	require.NoError(t, err)
	return d
}

const run = `"runCommand":["echo {{ x }}"]`

type values = map[string][]string

func codes(err error) []string {
	var fs document.Findings
	if !errors.As(err, &fs) {
		return nil
	}
	var out []string
	for _, f := range fs {
		out = append(out, f.Code)
	}
	return out
}

func TestBindCoerces_D13_D19(t *testing.T) {
	for _, c := range []struct {
		typ  string
		give []string
		want any
		text string
	}{
		{`"String"`, []string{"a b"}, "a b", "a b"},
		{`"String"`, []string{""}, "", ""},
		{`"StringList"`, []string{"a", "b"}, []any{"a", "b"}, `["a","b"]`},
		{`"StringList"`, []string{}, []any{}, `[]`},
		{`"Integer"`, []string{"42"}, int64(42), "42"},
		{`"Integer"`, []string{"-1"}, int64(-1), "-1"},
		{`"Boolean"`, []string{"true"}, true, "true"},
		{`"StringMap"`, []string{`{"k":"v<&>"}`}, map[string]any{"k": "v<&>"}, `{"k":"v<&>"}`},
		{`"MapList"`, []string{`{"k":"v"}`, `{"l":1}`}, []any{map[string]any{"k": "v"}, map[string]any{"l": int64(1)}}, `[{"k":"v"},{"l":1}]`},
		{`"MapList"`, []string{`[{"k":"v"}]`}, []any{map[string]any{"k": "v"}}, `[{"k":"v"}]`},
	} {
		d := command(t, `"x":{"type":`+c.typ+`}`, `"runCommand":["<{{ x }}>"],"environment":{"V":"{{x}}"}`)
		b, err := d.Bind(values{"x": c.give}, nil)
		require.NoError(t, err, c)
		require.Equal(t, c.want, b.Values()["x"])
		r := b.Steps("Linux")[0]
		require.Equal(t, []any{"<" + c.text + ">"}, r.Inputs["runCommand"], "I3")
		require.Equal(t, map[string]any{"V": c.want}, r.Inputs["environment"], "I2: a whole placeholder keeps its type")
	}
	for _, c := range []struct {
		typ  string
		give []string
		code string
	}{
		{`"Integer"`, []string{"3.1"}, "parameter-type"}, {`"Integer"`, []string{""}, "parameter-type"}, {`"Integer"`, []string{"1", "2"}, "parameter-count"},
		{`"Boolean"`, []string{"0"}, "parameter-type"}, {`"String"`, []string{}, "parameter-count"}, {`"String"`, []string{"a", "b"}, "parameter-count"},
		{`"StringMap"`, []string{"x"}, "parameter-type"}, {`"StringMap"`, []string{"[1]"}, "parameter-type"}, {`"StringMap"`, []string{`{"a":1,"a":2}`}, "parameter-type"},
		{`"MapList"`, []string{`{"a":1}`, "x"}, "parameter-type"}, {`"String"`, []string{"\xff"}, "parameter-utf8"},
	} {
		_, err := command(t, `"x":{"type":`+c.typ+`}`, run).Bind(values{"x": c.give}, nil)
		require.Equal(t, []string{c.code}, codes(err), "%v", c)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
	}
}

func TestBindSaysEverythingAtOnce_D15(t *testing.T) {
	d := command(t, `"x":{"type":"String"},"y":{"type":"String","allowedValues":["a","b"]},"z":{"type":"Integer","default":7}`, run)
	_, err := d.Bind(values{"y": {"c"}, "zz": {"1"}, "Z": {"1"}}, nil)
	require.ElementsMatch(t, []string{"parameter-unknown", "parameter-unknown", "parameter-required", "parameter-value"}, codes(err))
	require.ErrorContains(t, err, "x, y, z")
	b, err := d.Bind(values{"x": {"1"}, "y": {"a"}}, nil)
	require.NoError(t, err)
	require.Equal(t, int64(7), b.Values()["z"])
}

func TestBindValidates_T13_T14(t *testing.T) {
	for _, c := range []struct {
		decl, value, code string
	}{
		{`"allowedPattern":"^[a-z]+$"`, "abc", ""},
		{`"allowedPattern":"^[a-z]+$"`, "abc\n", "parameter-pattern"},
		{`"allowedPattern":"[a-z]+"`, "abc;", "parameter-pattern"},
		{`"allowedPattern":"a|b"`, "ab", "parameter-pattern"},
		{`"allowedPattern":"^(?!aws)[a-z]+$"`, "abc", ""},
		{`"allowedPattern":"^(?!aws)[a-z]+$"`, "awsx", "parameter-pattern"},
		{`"allowedPattern":"^(?!aws)[a-z]+$"`, "abc\n", "parameter-pattern"},
		{`"allowedPattern":"^(a)\\1$"`, "aa", ""},
		{`"allowedPattern":"^[a-z]++$"`, "abc", ""},
		{`"allowedPattern":"^[a-z]++z$"`, "abz", "parameter-pattern"},
		{`"allowedPattern":"^[\\w-\\/.@+=,]{1,1017}$"`, "a/b", ""},
		{`"allowedPattern":"^(([a-z])+.)+(?=x)[A-Z]([a-z])+$"`, strings.Repeat("a", 60), "parameter-pattern"},
		{`"allowedPattern":"("`, "a", "parameter-pattern"},
		{`"minChars":2,"maxChars":"3"`, "é", "parameter-length"},
		{`"minChars":2,"maxChars":"3"`, "éé", ""},
		{`"minChars":2,"maxChars":"3"`, "abcd", "parameter-length"},
		{`"allowedValues":["True","False"]`, "true", "parameter-value"},
		{`"allowedValues":[1,true]`, "true", ""},
	} {
		_, err := command(t, `"x":{"type":"String",`+c.decl+`}`, run).Bind(values{"x": {c.value}}, nil)
		if c.code == "" {
			require.NoError(t, err, "%v", c)
			continue
		}
		require.Equal(t, []string{c.code}, codes(err), "%v", c)
	}
	d := command(t, `"x":{"type":"StringList","minItems":1,"maxItems":2,"allowedPattern":"^[a-z]*$"}`, run)
	for give, code := range map[string]string{"": "parameter-length", "a": "", "a,b,c": "parameter-length", "a,B": "parameter-pattern"} {
		list := strings.Split(give, ",")
		if give == "" {
			list = []string{}
		}
		_, err := d.Bind(values{"x": list}, nil)
		if code == "" {
			require.NoError(t, err)
		} else {
			require.Equal(t, []string{code}, codes(err))
		}
	}
	// AWS does not check defaults: neither does Bind; Check has advice.
	d = command(t, `"x":{"type":"String","default":"","allowedPattern":"^[a-z]+$"}`, run)
	_, err := d.Bind(nil, nil)
	require.NoError(t, err)
	require.Contains(t, codes(d.Check()), "default-pattern")
}

func TestBindSize_D4(t *testing.T) {
	d := command(t, `"x":{"type":"String"}`, run)
	_, err := d.Bind(values{"x": {strings.Repeat("a", 64<<10)}}, nil)
	require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err))
	_, err = d.Bind(values{"x": {strings.Repeat("a", 64<<10)}}, &document.BindOptions{MaxSize: -1})
	require.NoError(t, err)
	exact := 64<<10 - len(d.Source) - 1
	_, err = d.Bind(values{"x": {strings.Repeat("a", exact)}}, &document.BindOptions{MaxSize: 64 << 10})
	require.NoError(t, err)
	_, err = d.Bind(values{"x": {strings.Repeat("a", exact+1)}}, &document.BindOptions{MaxSize: 64 << 10})
	require.Error(t, err)
}

func TestTimeouts_T15(t *testing.T) {
	for _, lit := range []string{`4`, `172801`, `"x"`, `"-1"`, `1.5`} {
		_, err := document.Parse([]byte(`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":["x"],"timeoutSeconds":`+lit+`}}]}`), nil)
		require.Equal(t, []string{"timeout"}, codes(err), lit)
	}
	d := command(t, `"t":{"type":"String","default":"60"}`, `"runCommand":["x"],"TimeoutSeconds":"{{ t }}"`)
	b, err := d.Bind(nil, nil)
	require.NoError(t, err)
	require.Equal(t, time.Minute, b.Steps("Linux")[0].Timeout)
	require.Equal(t, time.Minute, b.ExecutionTimeout())
	for _, v := range []string{"4", "172801", "soon", "6 0"} {
		_, err = d.Bind(values{"t": {v}}, nil)
		require.Equal(t, []string{"timeout"}, codes(err), v)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
	}
	for _, v := range []string{"5", "172800"} {
		_, err = d.Bind(values{"t": {v}}, nil)
		require.NoError(t, err)
	}
}

func TestExecutionTimeoutSumsWhatCanRun(t *testing.T) {
	src := `{"schemaVersion":"2.2","mainSteps":[`
	for i, s := range []string{`"Linux"`, `"Linux"`, `"Windows"`} {
		src += fmt.Sprintf(`{"action":"aws:runPowerShellScript","name":"s%d","precondition":{"StringEquals":["platformType",%s]},"inputs":{"runCommand":["x"],"timeoutSeconds":%d}},`, i, s, 100*(i+1))
	}
	d, err := document.Parse([]byte(strings.TrimSuffix(src, ",")+`]}`), nil)
	require.NoError(t, err)
	b, err := d.Bind(nil, nil)
	require.NoError(t, err)
	require.Equal(t, 300*time.Second, b.ExecutionTimeout(), "Linux runs 100+200, Windows 300")
	d = command(t, ``, `"runCommand":["x"]`)
	b, err = d.Bind(nil, nil)
	require.NoError(t, err)
	require.Equal(t, time.Hour, b.ExecutionTimeout())
}

func TestRefuseRaw_R09(t *testing.T) {
	raw := &document.BindOptions{RefuseRaw: true}
	for name, c := range map[string]struct {
		params, inputs, value string
		refused               bool
	}{
		"raw":                    {`"x":{"type":"String"}`, run, "hi", true},
		"env":                    {`"x":{"type":"String","interpolationType":"ENV_VAR"}`, run, "hi", false},
		"values":                 {`"x":{"type":"String","allowedValues":["hi"]}`, run, "hi", false},
		"tight pattern":          {`"x":{"type":"String","allowedPattern":"^[a-z0-9_-]{1,9}$"}`, run, "hi", false},
		"unanchored is anchored": {`"x":{"type":"String","allowedPattern":"[a-z]+"}`, run, "hi", false},
		"loose pattern":          {`"x":{"type":"String","allowedPattern":"^[^\"]*$"}`, run, "hi", true},
		"dot":                    {`"x":{"type":"String","allowedPattern":"^.+$"}`, run, "hi", true},
		"lookahead":              {`"x":{"type":"String","allowedPattern":"^(?!x)[a-z]+$"}`, run, "hi", false},
		"space outside quotes":   {`"x":{"type":"String","allowedPattern":"^[a-z ]+$"}`, run, "hi", true},
		"space inside quotes":    {`"x":{"type":"String","allowedPattern":"^[a-z ]+$"}`, `"runCommand":["echo \"{{x}}\""]`, "hi", false},
		"second interpreter":     {`"x":{"type":"String","allowedPattern":"^[a-z ]+$"}`, `"runCommand":["sh -c \"echo {{x}}\""]`, "hi", true},
		"the script itself":      {`"x":{"type":"StringList"}`, `"runCommand":"{{ x }}"`, "hi", false},
		"the script as element":  {`"x":{"type":"StringList"}`, `"runCommand":["set -e","{{ x }}"]`, "hi", false},
		"integer":                {`"x":{"type":"Integer"}`, run, "1", false},
		"no script":              {`"x":{"type":"String"}`, `"runCommand":["y"],"workingDirectory":"{{ x }}"`, "hi", false},
		"json of a list":         {`"x":{"type":"StringList"}`, run, "hi", true},
	} {
		_, err := command(t, c.params, c.inputs).Bind(values{"x": {c.value}}, raw)
		if c.refused {
			require.Equal(t, []string{"raw-refused"}, codes(err), name)
			require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
		} else {
			require.NoError(t, err, name)
		}
	}
	many := strings.Repeat("{{ y }} ", 200) + "{{ x }}"
	_, err := command(t, `"x":{"type":"String"},"y":{"type":"String","allowedPattern":"[a-z]","default":"a"}`, `"runCommand":["echo `+many+`"]`).Bind(values{"x": {"a"}}, raw)
	require.Equal(t, []string{"raw-refused"}, codes(err), "however many placeholders come before")
	d := command(t, `"x":{"type":"String","default":"a;b"}`, run)
	_, err = d.Bind(nil, raw)
	require.NoError(t, err, "a default is the author's")
	fs := d.Check()
	require.Equal(t, []string{"raw-parameter"}, codes(fs))
	require.Equal(t, `"interpolationType": "ENV_VAR"`, fs[0].Fix)
}

// store is a Parameter Store.
type store struct {
	values map[string]string
	asked  [][]string
	err    error
}

func (s *store) Parameters(_ context.Context, names []string) (map[string]string, error) {
	s.asked = append(s.asked, names)
	out := map[string]string{}
	for _, n := range names {
		if v, ok := s.values[n]; ok {
			out[n] = v
		}
	}
	return out, s.err
}

func TestResolveSSM_I8_I10(t *testing.T) {
	var cmds []string
	s := &store{values: map[string]string{}}
	for i := range 23 {
		cmds = append(cmds, fmt.Sprintf(`"echo {{ssm:/p/%d}} {{ ssm:/p/%d:3 }} {{ssm:/p/%d}}"`, i, i, i))
		s.values[fmt.Sprintf("/p/%d", i)] = fmt.Sprintf("<%d {{ssm:/p/0}} {{ x }}>", i)
		s.values[fmt.Sprintf("/p/%d:3", i)] = "third"
	}
	d := command(t, `"x":{"type":"String","default":"{{ssm:name}}","allowedPattern":"^[a-z]+$"}`, `"runCommand":[`+strings.Join(cmds, ",")+`,"{{ x }}"]`)
	s.values["name"] = "abc"
	b, err := d.Bind(nil, nil)
	require.NoError(t, err)
	require.NoError(t, b.ResolveSSM(t.Context(), s))
	require.Len(t, s.asked, 5, "47 names by ten")
	text, err := b.Steps("Linux")[0].Script()
	require.NoError(t, err)
	require.Contains(t, text, "echo <5 {{ssm:/p/0}} {{ x }}> third <5 {{ssm:/p/0}} {{ x }}>\n", "I4: values are not interpolated again")
	require.True(t, strings.HasSuffix(text, "\nabc\n"))

	delete(s.values, "/p/3:3")
	b, err = d.Bind(nil, nil)
	require.NoError(t, err)
	err = b.ResolveSSM(t.Context(), s)
	require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
	require.ErrorContains(t, err, "/p/3:3")

	s.values["/p/3:3"], s.values["name"] = "third", "ABC"
	err = b.ResolveSSM(t.Context(), s)
	require.Equal(t, []string{"parameter-pattern"}, codes(err), "T13: what comes from Parameter Store is checked too")

	b, err = d.Bind(values{"x": {"{{ssm:other}}"}}, nil)
	require.NoError(t, err, "a supplied reference is checked when it is resolved")
	s.values["other"] = "fine"
	require.NoError(t, b.ResolveSSM(t.Context(), s))
	s.err = fault.New("store", fault.InvalidParameters, "SecureString")
	require.Equal(t, fault.InvalidParameters, fault.CodeOf(b.ResolveSSM(t.Context(), s)))
}

func TestResolveSSMReachesVariables(t *testing.T) {
	d := command(t, `"x":{"type":"String","default":"{{ ssm:/a }}","interpolationType":"ENV_VAR"}`, run)
	b, err := d.Bind(nil, nil)
	require.NoError(t, err)
	require.NoError(t, b.ResolveSSM(t.Context(), &store{values: map[string]string{"/a": "v $(x)"}}))
	r := b.Steps("Linux")[0]
	require.Equal(t, "v $(x)", r.Env["SSM_x"])
	require.Equal(t, []any{`echo "${SSM_x}"`}, r.Inputs["runCommand"])
}

func TestEnvVarRefusesNUL(t *testing.T) {
	_, err := command(t, `"x":{"type":"String","interpolationType":"ENV_VAR"}`, run).Bind(values{"x": {"a\x00b"}}, nil)
	require.Equal(t, []string{"parameter-nul"}, codes(err))
}

// TestBindErrorsHoldNoValues: what is supplied may be a secret.
func TestBindErrorsHoldNoValues(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, decl := range []string{`"type":"Integer"`, `"type":"Boolean"`, `"type":"StringMap"`, `"type":"MapList"`, `"type":"String","allowedPattern":"x"`, `"type":"String","allowedValues":["x"]`, `"type":"String","maxChars":3`, `"type":"String","default":"60"`} {
		_, err := command(t, `"x":{`+decl+`}`, `"runCommand":["{{ x }}"],"timeoutSeconds":"{{ x }}"`).Bind(values{"x": {secret}, "y": {secret}}, nil)
		require.Error(t, err)
		require.NotContains(t, err.Error(), secret)
	}
}
