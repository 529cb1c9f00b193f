package parameter_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// modelled is a parameter as a model has it.
type modelled struct {
	name     string
	values   map[int64]string // of the versions that are kept
	last     int64
	labels   map[string]int64
	tags     map[string]string
	kind     parameter.Type
	modified time.Time
}

// The service does what a map would, whatever the order of calls: versions, labels, tags, lists, selectors, with few names so that they meet.
func TestModel(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		const keep = 4
		w := newWorld(outer, func(c *parameter.Config) { c.Limits.Versions = keep })
		names := []string{"a", "/a/b", "/a/b/c", "/a-b", "/b/x"}
		labels := []string{"l1", "l2", "l3"}
		model := map[string]*modelled{}
		name := rapid.SampledFrom(names)
		label := rapid.SampledFrom(labels)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				n, v := name.Draw(t, "name"), fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "value"))
				over := rapid.Bool().Draw(t, "overwrite")
				kind := rapid.SampledFrom([]parameter.Type{parameter.String, parameter.SecureString}).Draw(t, "type")
				w.now = w.now.Add(time.Second)
				out, err := w.PutParameter(admin, parameter.PutParameterRequest{Name: n, Value: parameter.Text(v), Type: kind, Overwrite: over})
				m := model[n]
				switch {
				case m != nil && !over:
					require.Equal(t, parameter.CodeAlreadyExists, fault.CodeOf(err))
				case m != nil && m.kind != kind:
					require.Equal(t, parameter.CodeTypeMismatch, fault.CodeOf(err))
				case m != nil && len(m.values) == keep && slices.Contains(slices.Collect(maps.Values(m.labels)), m.last-keep+1):
					require.Equal(t, parameter.CodeMaxVersion, fault.CodeOf(err))
				default:
					require.NoError(t, err)
					if m == nil {
						m = &modelled{name: n, values: map[int64]string{}, labels: map[string]int64{}, tags: map[string]string{}, kind: kind}
						model[n] = m
					}
					m.last++
					m.values[m.last] = v
					m.modified = w.now
					delete(m.values, m.last-keep)
					require.Equal(t, m.last, out.Version)
				}
			},
			"delete": func(t *rapid.T) {
				n := name.Draw(t, "name")
				_, err := w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: n})
				if model[n] == nil {
					require.Equal(t, parameter.CodeNotFound, fault.CodeOf(err))
				} else {
					require.NoError(t, err)
				}
				delete(model, n)
			},
			"label": func(t *rapid.T) {
				n, l, v := name.Draw(t, "name"), label.Draw(t, "label"), rapid.Int64Range(0, 8).Draw(t, "version")
				_, err := w.LabelParameterVersion(admin, parameter.LabelParameterVersionRequest{Name: n, ParameterVersion: v, Labels: []string{l}})
				m := model[n]
				if m != nil && v == 0 {
					v = m.last
				}
				switch {
				case m == nil:
					require.Equal(t, parameter.CodeNotFound, fault.CodeOf(err))
				case m.values[v] == "":
					require.Equal(t, parameter.CodeVersionNotFound, fault.CodeOf(err))
				default:
					require.NoError(t, err)
					m.labels[l] = v
				}
			},
			"unlabel": func(t *rapid.T) {
				n, l, v := name.Draw(t, "name"), label.Draw(t, "label"), rapid.Int64Range(1, 8).Draw(t, "version")
				out, err := w.UnlabelParameterVersion(admin, parameter.UnlabelParameterVersionRequest{Name: n, ParameterVersion: v, Labels: []string{l}})
				m := model[n]
				switch {
				case m == nil:
					require.Equal(t, parameter.CodeNotFound, fault.CodeOf(err))
				case m.values[v] == "":
					require.Equal(t, parameter.CodeVersionNotFound, fault.CodeOf(err))
				case m.labels[l] == v:
					require.Equal(t, []string{l}, out.RemovedLabels)
					delete(m.labels, l)
				default:
					require.Equal(t, []string{l}, out.InvalidLabels)
				}
			},
			"tag": func(t *rapid.T) {
				n, v := name.Draw(t, "name"), fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "value"))
				_, err := w.AddTagsToResource(admin, parameter.AddTagsToResourceRequest{ResourceType: "Parameter", ResourceID: n, Tags: []parameter.Tag{{Key: "t", Value: v}}})
				if m := model[n]; m != nil {
					require.NoError(t, err)
					m.tags["t"] = v
				} else {
					require.Equal(t, fault.InvalidResourceID, fault.CodeOf(err))
				}
			},
			"rotate and rewrap": func(t *rapid.T) {
				_, err := w.keys.Rotate(admin)
				require.NoError(t, err)
				out, err := w.Rewrap(admin, parameter.RewrapRequest{})
				require.NoError(t, err)
				require.Empty(t, out.Failed)
			},
			"": func(t *rapid.T) {
				for _, n := range []string{name.Draw(t, "looked at")} {
					m := model[n]
					for v := int64(0); v <= 9; v++ {
						sel := n
						if v > 0 {
							sel = fmt.Sprintf("%s:%d", n, v)
						}
						out, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: sel, WithDecryption: true})
						switch {
						case m == nil:
							require.Equal(t, parameter.CodeNotFound, fault.CodeOf(err))
						case v == 0:
							require.NoError(t, err)
							require.Equal(t, m.values[m.last], out.Parameter.Value.Reveal())
							require.Equal(t, m.last, out.Parameter.Version)
						case m.values[v] == "":
							require.Equal(t, parameter.CodeVersionNotFound, fault.CodeOf(err))
						default:
							require.NoError(t, err)
							require.Equal(t, m.values[v], out.Parameter.Value.Reveal())
						}
					}
					for _, l := range labels {
						out, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: n + ":" + l, WithDecryption: true})
						if m == nil || m.labels[l] == 0 {
							require.Error(t, err)
							continue
						}
						require.NoError(t, err)
						require.Equal(t, m.labels[l], out.Parameter.Version)
					}
				}
				expect := func(keep func(*modelled) bool) (want []string) {
					for _, m := range model {
						if keep(m) {
							want = append(want, m.name)
						}
					}
					slices.Sort(want)
					return want
				}
				path := rapid.SampledFrom([]string{"/", "/a", "/a/b", "/b", "/c"}).Draw(t, "path")
				deep := rapid.Bool().Draw(t, "recursive")
				var got []string
				for p, err := range parameter.ByPath(admin, w, parameter.GetParametersByPathRequest{Path: path, Recursive: deep, MaxResults: 2}) {
					require.NoError(t, err)
					got = append(got, p.Name)
				}
				slices.Sort(got)
				prefix := strings.TrimSuffix(path, "/") + "/"
				require.Equal(t, expect(func(m *modelled) bool {
					rest, ok := strings.CutPrefix("/"+strings.TrimPrefix(m.name, "/"), prefix)
					return ok && (deep || !strings.Contains(rest, "/"))
				}), got)
				list := func(fs ...parameter.ParameterStringFilter) (got []string) {
					req := parameter.QueryRequest{ParameterFilters: fs, MaxResults: 2}
					for {
						out, err := w.Query(admin, req)
						require.NoError(t, err)
						for _, p := range out.Parameters {
							got = append(got, p.Name)
						}
						if req.NextToken = out.NextToken; req.NextToken == "" {
							slices.Sort(got)
							return got
						}
					}
				}
				require.Equal(t, expect(func(m *modelled) bool { return m.tags["t"] == "1" }), list(parameter.ParameterStringFilter{Key: "tag:t", Values: []string{"1"}}))
				require.Equal(t, expect(func(m *modelled) bool { return m.labels["l2"] != 0 }), list(parameter.ParameterStringFilter{Key: "Label", Values: []string{"l2"}}))
				require.Equal(t, expect(func(m *modelled) bool { return m.kind == parameter.SecureString }), list(parameter.ParameterStringFilter{Key: "Type", Values: []string{"SecureString"}}))
				since := w.now.Add(-3 * time.Second)
				out, err := w.Query(admin, parameter.QueryRequest{ModifiedSince: since})
				require.NoError(t, err)
				require.Len(t, out.Parameters, len(expect(func(m *modelled) bool { return !m.modified.Before(since) })))
			},
		})
		for n := range model {
			_, err := w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: n})
			require.NoError(t, err)
		}
		require.Empty(t, w.left(), "no index, label or version outlives its parameter")
	})
}
