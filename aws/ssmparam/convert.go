package ssmparam

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
)

// given leaves out what is empty.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func yes(b bool) *bool {
	if !b {
		return nil
	}
	return &b
}

// count leaves out zero; what does not fit is out of every range anyway.
func count(n int) *int32 {
	if n == 0 {
		return nil
	}
	c := int32(min(max(n, math.MinInt32), math.MaxInt32))
	return &c
}

// some is never nil, so that the service and not the SDK says what is wrong with an empty one, and answers look alike.
func some(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func instant(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func toTags(tags []parameter.Tag) []types.Tag {
	var out []types.Tag
	for _, t := range tags {
		out = append(out, types.Tag{Key: &t.Key, Value: &t.Value})
	}
	return out
}

func fromTags(tags []types.Tag) []parameter.Tag {
	out := make([]parameter.Tag, len(tags))
	for i, t := range tags {
		out[i] = parameter.Tag{Key: text(t.Key), Value: text(t.Value)}
	}
	slices.SortFunc(out, func(a, b parameter.Tag) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

func toFilters(fs []parameter.ParameterStringFilter) []types.ParameterStringFilter {
	var out []types.ParameterStringFilter
	for _, f := range fs {
		out = append(out, types.ParameterStringFilter{Key: &f.Key, Option: given(f.Option), Values: f.Values})
	}
	return out
}

// valueOf hides what AWS decrypted, and what was decrypted if it was anything.
func valueOf(v *string, kind types.ParameterType, decrypted bool) parameter.Value {
	if decrypted && kind != types.ParameterTypeString && kind != types.ParameterTypeStringList {
		return parameter.Secret(secret.String(text(v)))
	}
	return parameter.Text(text(v))
}

func fromParameter(p types.Parameter, decrypted bool) parameter.Parameter {
	return parameter.Parameter{Name: text(p.Name), Type: parameter.Type(p.Type), Value: valueOf(p.Value, p.Type, decrypted), Version: p.Version, Selector: text(p.Selector), SourceResult: text(p.SourceResult),
		LastModifiedDate: instant(p.LastModifiedDate), ARN: text(p.ARN), DataType: text(p.DataType)}
}

func fromParameters(ps []types.Parameter, decrypted bool) []parameter.Parameter {
	out := make([]parameter.Parameter, len(ps))
	for i, p := range ps {
		out[i] = fromParameter(p, decrypted)
	}
	return out
}

func fromPolicies(ps []types.ParameterInlinePolicy) []parameter.ParameterInlinePolicy {
	var out []parameter.ParameterInlinePolicy
	for _, p := range ps {
		out = append(out, parameter.ParameterInlinePolicy{PolicyText: text(p.PolicyText), PolicyType: text(p.PolicyType), PolicyStatus: text(p.PolicyStatus)})
	}
	return out
}

func fromHistory(h *types.ParameterHistory, decrypted bool) parameter.ParameterHistory {
	labels := some(h.Labels)
	slices.Sort(labels)
	return parameter.ParameterHistory{Name: text(h.Name), Type: parameter.Type(h.Type), KeyID: text(h.KeyId), LastModifiedDate: instant(h.LastModifiedDate), LastModifiedUser: text(h.LastModifiedUser),
		Description: text(h.Description), Value: valueOf(h.Value, h.Type, decrypted), AllowedPattern: text(h.AllowedPattern), Version: h.Version, Labels: labels, Tier: parameter.Tier(h.Tier),
		Policies: fromPolicies(h.Policies), DataType: text(h.DataType)}
}

func fromMetadata(m *types.ParameterMetadata) parameter.ParameterMetadata {
	return parameter.ParameterMetadata{Name: text(m.Name), ARN: text(m.ARN), Type: parameter.Type(m.Type), KeyID: text(m.KeyId), LastModifiedDate: instant(m.LastModifiedDate),
		LastModifiedUser: text(m.LastModifiedUser), Description: text(m.Description), AllowedPattern: text(m.AllowedPattern), Version: m.Version, Tier: parameter.Tier(m.Tier),
		Policies: fromPolicies(m.Policies), DataType: text(m.DataType)}
}
