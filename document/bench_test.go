package document_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	yaml "go.yaml.in/yaml/v4"

	"github.com/fleetwright/fleetwright/document"
)

// whole is everything that happens to a document when a command is sent.
func whole(b testing.TB, src []byte) {
	d, err := document.Parse(src, nil)
	if err != nil {
		b.Fatal(err)
	}
	d.Check()
	bound, err := d.Bind(map[string][]string{"LogGroup": {"fleet/web"}, "Action": {"Start"}, "executionTimeout": {"900"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := bound.Steps("Linux")[0].Script(); err != nil {
		b.Fatal(err)
	}
}

type plainDocument struct {
	SchemaVersion string                    `json:"schemaVersion" yaml:"schemaVersion"`
	Description   string                    `json:"description" yaml:"description"`
	Parameters    map[string]map[string]any `json:"parameters" yaml:"parameters"`
	MainSteps     []struct {
		Action       string              `json:"action" yaml:"action"`
		Name         string              `json:"name" yaml:"name"`
		Precondition map[string][]string `json:"precondition" yaml:"precondition"`
		Inputs       map[string]any      `json:"inputs" yaml:"inputs"`
	} `json:"mainSteps" yaml:"mainSteps"`
}

// BenchmarkWhole: parse, check, bind and interpolate a document of 12 KB, as a ratio to merely decoding the same bytes in the same run (limit 2.5).
func BenchmarkWhole(b *testing.B) {
	for _, f := range []struct {
		name   string
		decode func([]byte, any) error
	}{{"logship.json", json.Unmarshal}, {"logship.yaml", func(src []byte, v any) error { return yaml.Unmarshal(src, v) }}} {
		b.Run(f.name, func(b *testing.B) {
			src, err := os.ReadFile("testdata/" + f.name)
			require.NoError(b, err)
			b.ReportAllocs()
			b.SetBytes(int64(len(src)))
			var ours, plain time.Duration
			for b.Loop() { // interleaved, so that both see the same machine
				t0 := time.Now()
				whole(b, src)
				t1 := time.Now()
				var d plainDocument
				if err := f.decode(src, &d); err != nil {
					b.Fatal(err)
				}
				ours, plain = ours+t1.Sub(t0), plain+time.Since(t1)
			}
			b.ReportMetric(float64(ours)/float64(plain), "ratio")
			b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "us/whole")
		})
	}
}

func BenchmarkSteps(b *testing.B) {
	src, err := os.ReadFile("testdata/logship.json")
	require.NoError(b, err)
	d, err := document.Parse(src, nil)
	require.NoError(b, err)
	bound, err := d.Bind(nil, nil)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		bound.Steps("Linux")
	}
}

// BenchmarkCorpus: parse and check the real documents; a thousand of them are to take less than 1.5 s.
func BenchmarkCorpus(b *testing.B) {
	dir := corpusDir(b)
	var texts [][]byte
	for _, row := range table(b, "MANIFEST.tsv") {
		src, err := os.ReadFile(dir + "/documents/" + row["stored_at"])
		require.NoError(b, err)
		texts = append(texts, src)
	}
	for b.Loop() {
		for _, src := range texts {
			if d, err := document.Parse(src, &document.Options{MaxSize: -1}); err == nil {
				d.Check()
			}
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(len(texts))*1000, "s/1000docs")
}

// BenchmarkLinear: ten times the text takes about ten times as long; the ratio of the time per byte is printed.
func BenchmarkLinear(b *testing.B) {
	for name, make := range map[string]func(n int) string{
		"json steps": func(n int) string {
			return `{"schemaVersion":"2.2","parameters":{"p":{"type":"String","allowedPattern":"^[a-z ]+$"}},"mainSteps":[` + repeat(`{"action":"aws:runShellScript","name":"s%d","inputs":{"runCommand":["echo {{ p }}"]}}`, n/90) + `]}`
		},
		"json one line": func(n int) string {
			return `{"schemaVersion":"2.2","parameters":{"p":{"type":"String","allowedPattern":"^[a-z ]+$"}},"mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":["` + strings.Repeat("{{ p }}'x' ", n/11) + `"]}}]}`
		},
		"json parameters": func(n int) string {
			return `{"schemaVersion":"2.2","parameters":{` + repeat(`"p%d":{"type":"String"}`, n/40) + `},"mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":[` + repeat(`"{{ p%d }}"`, n/40) + `]}}]}`
		},
		"json findings": func(n int) string {
			return `{"schemaVersion":"0.3","mainSteps":[` + repeat(`{"name":"s%d","action":"aws:pause","inputs":{"x":"{{ no.way }}"},"nextStep":"nowhere","outputs":[{"Name":"a"}]}`, n/110) + `]}`
		},
		"yaml": func(n int) string {
			return "schemaVersion: '2.2'\nmainSteps:\n- action: aws:runShellScript\n  name: s\n  inputs:\n    runCommand:\n" + strings.Repeat("    - echo a line of a script, not short\n", n/42)
		},
	} {
		b.Run(name, func(b *testing.B) {
			small, large := []byte(make(1<<20)), []byte(make(10<<20))
			each := func(src []byte) time.Duration {
				t0 := time.Now()
				if d, err := document.Parse(src, &document.Options{MaxSize: -1}); err == nil {
					d.Check()
				}
				return time.Since(t0)
			}
			var a, z time.Duration
			for b.Loop() {
				a, z = a+each(small), z+each(large)
			}
			b.ReportMetric(float64(z)/float64(a)/10, "ratio")
			b.ReportMetric(float64(z.Milliseconds())/float64(b.N), "ms/10MB")
		})
	}
}

func repeat(format string, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, strings.ReplaceAll(format, "%d", "%[1]d"), i)
	}
	return b.String()
}
