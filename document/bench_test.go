package document_test

import (
	"encoding/json"
	"os"
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
