package parametertest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// recorder is a T that remembers whether a case failed.
type recorder struct{ failed bool }

func (*recorder) Helper()                 {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) FailNow()              { r.failed = true; runtime.Goexit() }
func (r *recorder) Skip(...any)           { runtime.Goexit() }

// failures runs every case on fresh subjects and returns the rules that failed.
func failures(t *testing.T, wrap func(parameter.Store) parameter.Store) (out []string) {
	keys, err := localkeys.Create(t.TempDir()+"/keys", nil)
	require.NoError(t, err)
	for _, c := range Cases() {
		var r recorder
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(&r, Subject{Store: wrap(parameter.New(parameter.Config{Store: memstore.New(), Box: seal.NewBox(keys, nil), Authorizer: access.AllowAll{}}))})
		}()
		<-done
		if r.failed {
			out = append(out, c.Rule)
		}
	}
	return out
}

// wrong breaks one rule.
type wrong struct {
	parameter.Store
	put     func(*parameter.PutParameterRequest)
	putErr  func(parameter.PutParameterRequest, error) error
	get     func(*parameter.GetParameterRequest)
	got     func(*parameter.Parameter)
	many    func(*parameter.GetParametersResult)
	path    func(*parameter.GetParametersByPathRequest, *parameter.GetParametersByPathResult)
	desc    func(*parameter.DescribeParametersRequest)
	hist    func(*parameter.GetParameterHistoryResult)
	label   func(*parameter.LabelParameterVersionRequest) error
	unlabel func(*parameter.UnlabelParameterVersionResult)
	meta    func(*parameter.ParameterMetadata)
}

func (w *wrong) PutParameter(ctx context.Context, req parameter.PutParameterRequest) (parameter.PutParameterResult, error) {
	if w.put != nil {
		w.put(&req)
	}
	out, err := w.Store.PutParameter(ctx, req)
	if w.putErr != nil {
		err = w.putErr(req, err)
	}
	return out, err
}

func (w *wrong) GetParameter(ctx context.Context, req parameter.GetParameterRequest) (parameter.GetParameterResult, error) {
	if w.get != nil {
		w.get(&req)
	}
	out, err := w.Store.GetParameter(ctx, req)
	if w.got != nil && err == nil {
		w.got(&out.Parameter)
	}
	return out, err
}

func (w *wrong) GetParameters(ctx context.Context, req parameter.GetParametersRequest) (parameter.GetParametersResult, error) {
	out, err := w.Store.GetParameters(ctx, req)
	if w.many != nil {
		w.many(&out)
	}
	return out, err
}

func (w *wrong) GetParametersByPath(ctx context.Context, req parameter.GetParametersByPathRequest) (parameter.GetParametersByPathResult, error) {
	if w.path != nil {
		w.path(&req, nil)
	}
	out, err := w.Store.GetParametersByPath(ctx, req)
	if w.path != nil {
		w.path(&req, &out)
	}
	return out, err
}

func (w *wrong) DescribeParameters(ctx context.Context, req parameter.DescribeParametersRequest) (parameter.DescribeParametersResult, error) {
	if w.desc != nil {
		w.desc(&req)
	}
	out, err := w.Store.DescribeParameters(ctx, req)
	if w.meta != nil {
		for i := range out.Parameters {
			w.meta(&out.Parameters[i])
		}
	}
	return out, err
}

func (w *wrong) GetParameterHistory(ctx context.Context, req parameter.GetParameterHistoryRequest) (parameter.GetParameterHistoryResult, error) {
	out, err := w.Store.GetParameterHistory(ctx, req)
	if w.hist != nil {
		w.hist(&out)
	}
	return out, err
}

func (w *wrong) LabelParameterVersion(ctx context.Context, req parameter.LabelParameterVersionRequest) (parameter.LabelParameterVersionResult, error) {
	if w.label != nil {
		if err := w.label(&req); err != nil {
			return parameter.LabelParameterVersionResult{}, err
		}
	}
	return w.Store.LabelParameterVersion(ctx, req)
}

func (w *wrong) UnlabelParameterVersion(ctx context.Context, req parameter.UnlabelParameterVersionRequest) (parameter.UnlabelParameterVersionResult, error) {
	out, err := w.Store.UnlabelParameterVersion(ctx, req)
	if w.unlabel != nil {
		w.unlabel(&out)
	}
	return out, err
}

// forgives lets an error of that code pass.
func forgives(code fault.Code) func(parameter.PutParameterRequest, error) error {
	return func(_ parameter.PutParameterRequest, err error) error {
		if fault.CodeOf(err) == code {
			return nil
		}
		return err
	}
}

func TestTheRightOneFailsNothing(t *testing.T) {
	require.Empty(t, failures(t, func(s parameter.Store) parameter.Store { return s }))
}

// Each wrong implementation fails the rule that it breaks.
func TestWrongOnesFail(t *testing.T) {
	for rule, w := range map[string]wrong{
		"S01": {put: func(r *parameter.PutParameterRequest) { r.Name = strings.ReplaceAll(r.Name, "a b", "ab") }},
		"S02": {put: func(r *parameter.PutParameterRequest) {
			if strings.HasPrefix(r.Name, "SSM") {
				r.Name = "x" + r.Name
			}
		}},
		"S03": {get: func(r *parameter.GetParameterRequest) {
			if r.Name == "/x" {
				r.Name = "/not-x"
			}
		}},
		"S04": {putErr: forgives(parameter.CodeLevelLimit)},
		"S05": {put: func(r *parameter.PutParameterRequest) { r.Name = r.Name[:min(len(r.Name), 900)] }},
		"S06": {put: func(r *parameter.PutParameterRequest) {
			if r.Name == "/T/P" {
				r.Value = parameter.Text("below")
			}
		}},
		"S08": {putErr: forgives(parameter.CodeTypeMismatch)},
		"S09": {got: func(p *parameter.Parameter) {
			if p.Type == parameter.StringList {
				p.Value = parameter.Text(strings.ReplaceAll(p.Value.Reveal(), ",", ", "))
			}
		}},
		"S10": {put: func(r *parameter.PutParameterRequest) {
			if r.Value.Reveal() == "{{}}" {
				r.Value = parameter.Text("x")
			}
		}},
		"S11": {putErr: forgives(parameter.CodePatternMismatch)},
		"S12": {put: func(r *parameter.PutParameterRequest) { r.Description = r.Description[:min(len(r.Description), 1024)] }},
		"S13": {put: func(r *parameter.PutParameterRequest) {
			if r.Name == "a" {
				r.Overwrite = true
			}
		}},
		"S14": {put: func(r *parameter.PutParameterRequest) {
			if r.Tier == parameter.IntelligentTiering {
				r.Tier = parameter.Advanced
			}
		}},
		"S15": {put: func(r *parameter.PutParameterRequest) { r.DataType = strings.ToLower(r.DataType) }},
		"S16": {got: func(p *parameter.Parameter) { p.Version = min(p.Version, 11) }},
		"S17": {get: func(r *parameter.GetParameterRequest) { r.Name = strings.TrimSuffix(r.Name, ":beta") }},
		"S18": {label: func(r *parameter.LabelParameterVersionRequest) error {
			if slices.Contains(r.Labels, "9digit") {
				return fault.New("wrong", fault.Validation, "a bad label")
			}
			return nil
		}},
		"S19": {unlabel: func(r *parameter.UnlabelParameterVersionResult) {
			r.RemovedLabels = append(r.RemovedLabels, r.InvalidLabels...)
		}},
		"S20": {many: func(r *parameter.GetParametersResult) { slices.Reverse(r.Parameters) }},
		"S21": {path: func(r *parameter.GetParametersByPathRequest, _ *parameter.GetParametersByPathResult) {
			r.Recursive = true
		}},
		"S22": {desc: func(r *parameter.DescribeParametersRequest) {
			for i := range r.ParameterFilters {
				if r.ParameterFilters[i].Option == "Contains" {
					r.ParameterFilters[i].Option = "BeginsWith"
				}
			}
		}},
		"S23": {hist: func(r *parameter.GetParameterHistoryResult) { r.NextToken = "" }},
		"S24": {get: func(r *parameter.GetParameterRequest) { r.WithDecryption = true }},
		"S28": {meta: func(m *parameter.ParameterMetadata) { m.KeyID = "" }},
		"S30": {putErr: forgives(parameter.CodePolicyAttribute)},
		"T19": {put: func(r *parameter.PutParameterRequest) {
			if r.Overwrite {
				r.Tags = nil
			}
		}},
		"T20": {putErr: forgives(parameter.CodeMaxVersion)},
		"T21": {path: func(_ *parameter.GetParametersByPathRequest, out *parameter.GetParametersByPathResult) {
			if out != nil && len(out.Parameters) > 3 {
				out.Parameters = out.Parameters[:3]
			}
		}},
	} {
		got := failures(t, func(s parameter.Store) parameter.Store { w := w; w.Store = s; return &w })
		require.Contains(t, got, rule, fmt.Sprint("broken: ", rule))
		require.LessOrEqual(t, len(got), 12, rule)
	}
}
