package document

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
	"pgregory.net/rapid"
)

// hostile returns values that have broken shells, and combinations of them.
func hostile(n int) []string {
	seeds := []string{"", " ", "a b", "*", "?", "[a-z]*", "$HOME", "${HOME}", "$(touch pwned)", "`touch pwned`", "; touch pwned", "| touch pwned", "& touch pwned",
		"&& touch pwned", "\ntouch pwned\n", "'; touch pwned; '", "\"; touch pwned; \"", "\\", "\\\\", "\\\"", "'", "\"", "'\"'\"'", "$'\\x41'", "!!", "#", "~", "-n", "-e", "--",
		"%s%n", "\t", "\r\n", "é", "日本", "\x01", "\x7f", "$((1+1))", "$IFS", "{a,b}", "<(touch pwned)", "> pwned", "2>&1", "EOF", "\nEOF\ntouch pwned\n", "{{ other }}", "{{Message}}",
		"${SSM_Message}", "a=b", "=", "..", "/", "/etc/passwd", "\u00a0", "“quoted”", "$", "$$", "$@", "()", "() { :; }; touch pwned", "trailing\n", "\nleading", "a\\", "\\\n", ":(){ :|:& };:",
		"; touch pwned #", "x' -o 'y", "../../x", "%0a", "\b\b", "\x1b[31m"}
	out := append([]string(nil), seeds...)
	for i := 0; len(out) < n; i++ {
		a, b, c := seeds[i%len(seeds)], seeds[(i*7+i/len(seeds))%len(seeds)], seeds[(i*13+3*(i/len(seeds)))%len(seeds)]
		out = append(out, a+b+c)
	}
	return out[:n]
}

// quotings are scripts that print the value of {{ Message }} followed by an end mark, one for every way a script can quote.
var quotings = map[string]string{
	"bare":             `printf '%s\0' {{ Message }}`,
	"double":           `printf '%s\0' "{{ Message }}"`,
	"in double":        `printf '%s\0' "<{{ Message }}>"`,
	"assigned":         "x={{ Message }}\nprintf '%s\\0' \"$x\"",
	"substitution":     `x=$(printf '%s.' {{ Message }}); printf '%s\0' "${x%.}"`,
	"nested":           `x="$(printf '%s.' "{{ Message }}")"; printf '%s\0' "${x%.}"`,
	"backtick":         "x=`printf '%s.' {{ Message }}`; printf '%s\\0' \"${x%.}\"",
	"default":          `printf '%s\0' ${unset:-{{ Message }}}`,
	"quoted default":   `printf '%s\0' "${unset:-{{ Message }}}"`,
	"after comment":    "# it's a comment\nprintf '%s\\0' {{ Message }}",
	"after quotes":     `: 'it"s' "it's" \' ; printf '%s\0' {{ Message }}`,
	"loop":             `for v in {{ Message }}; do printf '%s\0' "$v"; done`,
	"case":             `case {{ Message }} in *) printf '%s\0' {{ Message }};; esac`,
	"function":         "f() { printf '%s\\0' \"$1\"; }\nf {{ Message }}",
	"after document":   "cat >/dev/null <<EOF\nit's \"odd\nEOF\nprintf '%s\\0' {{ Message }}",
	"after shut":       "cat >/dev/null <<-'E F'\n\tit's `odd\n\tE F\nprintf '%s\\0' {{ Message }}",
	"in document":      "{ cat <<EOF\n{{ Message }}\nEOF\nprintf '\\0'; }",
	"arithmetic":       `: $((1 + (2))) ; printf '%s\0' {{ Message }}`,
	"concatenated":     `printf '%s\0' pre{{ Message }}post`,
	"twice":            `printf '%s%s\0' {{ Message }} {{ Message }}`,
	"subshell":         `( printf '%s\0' {{ Message }} )`,
	"single to double": `sh -c 'printf "%s\0" "$1"' x {{ Message }}`,
	"inner sh":         `sh -c 'printf "%s\0" "{{ Message }}"'`,
}

// expect is what a position prints for a value.
func expect(name, value string) string {
	switch name {
	case "in double":
		return "<" + value + ">\x00"
	case "concatenated":
		return "pre" + value + "post\x00"
	case "twice":
		return value + value + "\x00"
	case "in document":
		return value + "\n\x00"
	}
	return value + "\x00"
}

// TestEnvVarIsData (R-09, T-INJECT, I12): whatever the value of an ENV_VAR parameter and however the script quotes the placeholder, the shell
// sees its exact bytes and runs nothing of it.
func TestEnvVarIsData(t *testing.T) {
	shells := []string{"sh", "bash", "dash", "busybox"}
	n := 600
	switch {
	case testing.Short():
		n = 250
	case testenv.Long():
		n = 2000
	}
	values := hostile(n)
	for _, shell := range shells {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("SKIPPED: no %s here", shell)
			continue
		}
		for name, text := range quotings {
			t.Run(shell+"/"+name, func(t *testing.T) {
				t.Parallel()
				onlyData(t, shell, path, resolved(t, text), name, values)
			})
		}
	}
}

// onlyData runs a script with many values of SSM_Message in one process, which sets the variable and reads the script again and again.
func onlyData(t *testing.T, shell, path, script, name string, values []string) {
	dir := t.TempDir()
	file := filepath.Join(dir, "_script.sh")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	var driver, want bytes.Buffer
	driver.WriteString("export SSM_Message\n")
	for _, v := range values {
		fmt.Fprintf(&driver, "SSM_Message='%s'\n. ./_script.sh\n", strings.ReplaceAll(v, "'", `'\''`))
		want.WriteString(expect(name, v))
	}
	args := []string{"driver"}
	if shell == "busybox" {
		args = []string{"sh", "driver"}
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "driver"), driver.Bytes(), 0o600))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	got, err := cmd.Output()
	require.NoError(t, err, "%s", errs.String())
	require.Empty(t, errs.String())
	if !bytes.Equal(want.Bytes(), got) {
		w, g := strings.Split(want.String(), "\x00"), strings.Split(string(got), "\x00")
		for i := range w {
			if i >= len(g) || w[i] != g[i] {
				t.Fatalf("value %q (%q) in\n%s", values[min(i, len(values)-1)], g[min(i, len(g)-1)], script)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "the value was run")
}

// singles are scripts that only the fix makes safe: the placeholder stands in single quotes.
var singles = map[string]string{
	"single":           `printf '%s\0' '{{ Message }}'`,
	"in single":        `printf '%s\0' '<{{Message}}>'`,
	"single assigned":  "x='{{ Message }}'\nprintf '%s\\0' \"$x\"",
	"single twice":     `printf '%s%s\0' '{{ Message }}' '{{ Message }}'`,
	"single in nested": `x=$(printf '%s.' '{{ Message }}'); printf '%s\0' "${x%.}"`,
	"single test":      `if [ '{{ Message }}' = x ]; then :; fi; printf '%s\0' '{{ Message }}'`,
}

// TestFixedScriptIsData: a document whose parameter is pasted (RAW), once its fix is applied, prints any value as it is and runs nothing of
// it, in JSON and in YAML. Where there is no fix the document stays as it was, and the finding stays.
func TestFixedScriptIsData(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 150
	}
	values, kept := hostile(n), map[string]bool{"loop": true, "inner sh": true, "single to double": true} // a list of words, a second shell
	all := maps.Clone(quotings)
	maps.Copy(all, singles)
	for _, shell := range []string{"sh", "bash", "dash", "busybox"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("SKIPPED: no %s here", shell)
			continue
		}
		for name, script := range all {
			raw, err := Parse(appendJSON(nil, map[string]any{"schemaVersion": "2.2", "parameters": map[string]any{"Message": map[string]any{"type": "String"}},
				"mainSteps": []any{map[string]any{"action": "aws:runShellScript", "name": "s", "inputs": map[string]any{"runCommand": lines(script)}}}}), nil)
			require.NoError(t, err)
			for format, src := range map[string][]byte{"JSON": raw.JSON(), "YAML": raw.YAML()} {
				t.Run(shell+"/"+name+"/"+format, func(t *testing.T) {
					t.Parallel()
					out, done := Fix(src, nil, nil)
					if kept[name] {
						require.Empty(t, done)
						require.Equal(t, string(src), string(out))
						return
					}
					d, err := Parse(out, nil)
					require.NoError(t, err)
					for _, f := range d.Check() {
						require.NotContains(t, []string{"raw-parameter", "env-literal"}, f.Code, "%s\n%s", f, out)
					}
					b, err := d.Bind(map[string][]string{"Message": {"unused"}}, &BindOptions{RefuseRaw: true})
					require.NoError(t, err)
					fixed, err := b.Steps("Linux")[0].Script()
					require.NoError(t, err)
					prints := strings.TrimPrefix(name, "single ")
					if name == "in single" {
						prints = "in double"
					}
					onlyData(t, shell, path, fixed, prints, values)
				})
			}
		}
	}
}

// resolved binds a document with the script and returns what would run.
func resolved(t testing.TB, script string) string {
	t.Helper()
	doc := appendJSON(nil, map[string]any{"schemaVersion": "2.2", "description": "x",
		"parameters": map[string]any{"Message": map[string]any{"type": "String", "interpolationType": "ENV_VAR"}},
		"mainSteps":  []any{map[string]any{"action": "aws:runShellScript", "name": "s", "inputs": map[string]any{"runCommand": lines(script)}}}})
	d, err := Parse(doc, nil)
	require.NoError(t, err)
	b, err := d.Bind(map[string][]string{"Message": {"unused"}}, nil)
	require.NoError(t, err)
	out, err := b.Steps("Linux")[0].Script()
	require.NoError(t, err)
	return out
}

func lines(s string) []any {
	var out []any
	for l := range strings.SplitSeq(s, "\n") {
		out = append(out, l)
	}
	return out
}

func TestEnvVarReferences(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{`echo {{Message}}`, `echo "${SSM_Message}"`},
		{`echo "{{ Message }}"`, `echo "${SSM_Message}"`},
		{`echo '{{Message}}'`, `echo '${SSM_Message}'`},
		{`echo \{{Message}}`, `echo \${SSM_Message}`},
		{`echo "\\{{Message}}"`, `echo "\\${SSM_Message}"`},
		{`# {{Message}}`, `# ${SSM_Message}`},
		{`echo $(({{Message}}))`, `echo $((${SSM_Message}))`},
		{`echo {{ Other }}`, `echo {{ Other }}`},
		{`[[ -z "${SSM_Message}" ]] && export SSM_Message="{{Message}}"`, `[[ -z "${SSM_Message}" ]] && export SSM_Message="${SSM_Message}"`},
		{"#!/usr/bin/python3\nprint('{{Message}}')", "#!/usr/bin/python3\nprint('${SSM_Message}')"},
		{"#!/bin/bash\necho {{Message}}", "#!/bin/bash\necho \"${SSM_Message}\""},
		{`echo $'a\'b' {{Message}}`, `echo $'a\'b' "${SSM_Message}"`},
		{"cat <<A <<'B'\n{{Message}}\nA\n{{Message}}\nB\necho {{Message}}", "cat <<A <<'B'\n${SSM_Message}\nA\n${SSM_Message}\nB\necho \"${SSM_Message}\""},
		{`cat <<< {{Message}}`, `cat <<< "${SSM_Message}"`},
		{`x=a#b {{Message}}`, `x=a#b "${SSM_Message}"`},
		{`echo ${#x} {{Message}}`, `echo ${#x} "${SSM_Message}"`},
	} {
		require.Equal(t, c.out+"\n", resolved(t, c.in))
	}
	p := new(powershell)
	require.Equal(t, "$env:SSM_x", p.refer("x", "'"))
	require.Equal(t, "${env:SSM_x}", p.refer("x", "abc"))
	require.Equal(t, "$env:SSM_x", p.refer("x", ".Length"))
	require.Equal(t, "${env:SSM_x}", p.refer("x", ":"))
}

// TestShellInPieces: a text fed at once, byte by byte and in pieces leaves the same state.
func TestShellInPieces(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", " ", "\n", "\t", "'", `"`, "`", `\`, "$", "(", ")", "{", "}", "#", "<", "<<", "-", "EOF", "EOF\n", ";", "$(", "$((", "))", "${", "$'", "=", "é", "@", "@'", "'@"})
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(piece).Draw(t, "parts")
		one, two, ps1, ps2 := &sh{fresh: true}, &sh{fresh: true}, &powershell{}, &powershell{}
		one.feed(strings.Join(parts, ""))
		ps1.feed(strings.Join(parts, ""))
		for _, c := range []byte(strings.Join(parts, "")) {
			two.byte(c)
			ps2.byte(c)
		}
		if a, b := fmt.Sprintf("%+v", *one), fmt.Sprintf("%+v", *two); a != b {
			t.Fatalf("%s\n%s", a, b)
		}
		if a, b := fmt.Sprintf("%+v", *ps1), fmt.Sprintf("%+v", *ps2); a != b {
			t.Fatalf("%s\n%s", a, b)
		}
	})
}
