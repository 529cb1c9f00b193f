package parametertest

import (
	"context"
	"fmt"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// k is a subject in a case's hand.
type k struct {
	t T
	Subject
	ctx context.Context
}

func of(t T, s Subject) *k {
	ctx := s.Context
	if ctx == nil {
		ctx = context.Background()
	}
	return &k{t, s, ctx}
}

func (k *k) settle() {
	if k.Settle != nil {
		k.Settle()
	}
}

// request is a String of that name and value.
func request(name, value string) parameter.PutParameterRequest {
	return parameter.PutParameterRequest{Name: name, Value: parameter.Text(value), Type: parameter.String}
}

func (k *k) put(req parameter.PutParameterRequest) parameter.PutParameterResult {
	k.t.Helper()
	out, err := k.PutParameter(k.ctx, req)
	check.NoError(k.t, err, req.Name)
	k.settle()
	return out
}

func (k *k) again(name, value string) int64 {
	k.t.Helper()
	return k.put(parameter.PutParameterRequest{Name: name, Value: parameter.Text(value), Overwrite: true}).Version
}

func (k *k) refuses(code fault.Code, req parameter.PutParameterRequest, why ...any) {
	k.t.Helper()
	_, err := k.PutParameter(k.ctx, req)
	k.fails(code, err, why...)
}

func (k *k) fails(code fault.Code, err error, why ...any) {
	k.t.Helper()
	check.Error(k.t, err, why...)
	check.Equal(k.t, code, fault.CodeOf(err), append(why, err)...)
}

func (k *k) get(name string) parameter.Parameter {
	k.t.Helper()
	out, err := k.GetParameter(k.ctx, parameter.GetParameterRequest{Name: name, WithDecryption: true})
	check.NoError(k.t, err, name)
	return out.Parameter
}

func (k *k) missing(code fault.Code, name string) {
	k.t.Helper()
	_, err := k.GetParameter(k.ctx, parameter.GetParameterRequest{Name: name})
	k.fails(code, err, name)
}

func (k *k) label(name string, version int64, labels ...string) parameter.LabelParameterVersionResult {
	k.t.Helper()
	out, err := k.LabelParameterVersion(k.ctx, parameter.LabelParameterVersionRequest{Name: name, ParameterVersion: version, Labels: labels})
	check.NoError(k.t, err)
	k.settle()
	return out
}

func nameList(ps []parameter.Parameter) []string {
	out := []string{}
	for _, p := range ps {
		out = append(out, p.Name)
	}
	return out
}

func names(t T, s Subject) {
	k := of(t, s)
	for i, n := range []string{"a", "a.b", "a-b", "a_b", "A9", "/x/y.z", "/0", "9"} {
		check.EqualValues(t, 1, k.put(request(n, fmt.Sprint("v", i))).Version)
		check.Equal(t, fmt.Sprint("v", i), k.get(n).Value.Reveal())
	}
	for _, n := range []string{"", "a b", "/a/b c", "a:b", "ä", "a\n", "a*", "a@b", "a\x00", "/", "//a", "/a//b", "/a/"} {
		k.refuses(fault.Validation, request(n, "v"), fmt.Sprintf("%q", n))
	}
	k.put(request("  /trimmed/name  ", "v"))
	check.Equal(t, "/trimmed/name", k.get("/trimmed/name").Name)
	k.put(request("Case", "upper"))
	k.missing(parameter.CodeNotFound, "case")
	k.put(request("case", "lower"))
	check.Equal(t, "upper", k.get("Case").Value.Reveal())
}

func reserved(t T, s Subject) {
	k := of(t, s)
	for _, n := range []string{"aws", "AWS-x", "aWsome", "ssm", "SSMx", "ssm.x", "/ssm/x", "/SSm/x/y", "/aws", "/ssm"} {
		k.refuses(fault.Validation, request(n, "v"), n)
	}
	k.refuses(fault.AccessDenied, request("/aws/x", "v"))
	k.refuses(fault.AccessDenied, request("/Aws/service/x", "v"))
	k.put(request("/x/aws", "v"))
	k.put(request("xaws", "v"))
	k.put(request("/x/ssm/y", "v"))
}

func slashes(t T, s Subject) {
	k := of(t, s)
	k.refuses(fault.Validation, request("a/b", "v"))
	k.put(request("x", "v"))
	check.Equal(t, "v", k.get("/x").Value.Reveal())
	k.refuses(parameter.CodeAlreadyExists, request("/x", "w"))
	k.put(request("/y", "v"))
	check.Equal(t, "v", k.get("y").Value.Reveal())
	_, err := k.DeleteParameter(k.ctx, parameter.DeleteParameterRequest{Name: "/x"})
	check.NoError(t, err)
	k.settle()
	k.missing(parameter.CodeNotFound, "x")
}

func levels(t T, s Subject) {
	k := of(t, s)
	deep := func(n int) string { return strings.Repeat("/l", n) }
	k.put(request(deep(15), "v"))
	check.Equal(t, "v", k.get(deep(15)).Value.Reveal())
	k.refuses(parameter.CodeLevelLimit, request(deep(16), "v"))
}

func lengths(t T, s Subject) {
	k := of(t, s)
	k.put(request("probe", "v"))
	room := 1011 - len(strings.TrimSuffix(k.get("probe").ARN, "probe"))
	k.put(request(strings.Repeat("n", room), "v"))
	k.refuses(fault.Validation, request(strings.Repeat("m", room+1), "v"))
	k.refuses(fault.Validation, request(strings.Repeat("m", 5000), "v"))
	k.put(request("/"+strings.Repeat("m", room-2)+"/x", "v"))
	k.refuses(fault.Validation, request("/"+strings.Repeat("o", room-1)+"/x", "v"))
}

func leafAndLevel(t T, s Subject) {
	k := of(t, s)
	k.put(request("/T/P/L", "below"))
	k.put(request("/T/P", "leaf"))
	check.Equal(t, "leaf", k.get("/T/P").Value.Reveal())
	check.Equal(t, "below", k.get("/T/P/L").Value.Reveal())
}

func types(t T, s Subject) {
	k := of(t, s)
	k.refuses(fault.Validation, parameter.PutParameterRequest{Name: "a", Value: parameter.Text("v")}, "no type")
	k.refuses(parameter.CodeUnsupportedType, parameter.PutParameterRequest{Name: "a", Value: parameter.Text("v"), Type: "string"})
	for _, ty := range []parameter.Type{parameter.String, parameter.StringList, parameter.SecureString} {
		if ty == parameter.SecureString && k.NoKeys {
			continue
		}
		name := "n" + string(ty)
		k.put(parameter.PutParameterRequest{Name: name, Value: parameter.Text("v"), Type: ty})
		p := k.get(name)
		check.Equal(t, ty, p.Type)
		check.Equal(t, "v", p.Value.Reveal())
		check.EqualValues(t, 2, k.again(name, "w"), "the type is kept")
		check.Equal(t, ty, k.get(name).Type)
		check.Equal(t, "w", k.get(name).Value.Reveal())
	}
	k.refuses(parameter.CodeTypeMismatch, parameter.PutParameterRequest{Name: "nString", Value: parameter.Text("v"), Type: parameter.StringList, Overwrite: true})
	check.EqualValues(t, 2, k.get("nString").Version)
	k.refuses(fault.Validation, request("empty", ""))
}

func lists(t T, s Subject) {
	k := of(t, s)
	k.put(parameter.PutParameterRequest{Name: "l", Value: parameter.Text("a, b ,c  ,  d e"), Type: parameter.StringList})
	check.Equal(t, "a,b,c,d e", k.get("l").Value.Reveal())
	k.put(request("s", "a, b"))
	check.Equal(t, "a, b", k.get("s").Value.Reveal(), "a String stays as it is")
}

func nesting(t T, s Subject) {
	k := of(t, s)
	for _, v := range []string{"{{ssm:x}}", "a{{ x }}b", "{{}}", "a{{b\n}}"} {
		k.refuses(fault.Validation, request("n", v), v)
	}
	k.missing(parameter.CodeNotFound, "n")
	k.put(request("braces", "{a} }} {{ b"))
}

func patterns(t T, s Subject) {
	k := of(t, s)
	with := func(name, value, pattern string) parameter.PutParameterRequest {
		r := request(name, value)
		r.AllowedPattern = pattern
		return r
	}
	k.put(with("n", "123", `^\d+$`))
	k.refuses(parameter.CodePatternMismatch, with("m", "12x", `^\d+$`))
	k.missing(parameter.CodeNotFound, "m")
	k.refuses(parameter.CodeAllowedPattern, with("m", "1", `^(\d+$`))
	k.refuses(fault.Validation, with("m", "1", strings.Repeat("1?", 513)))
	r := with("n", "abc", `^\d+$`)
	r.Overwrite = true
	k.refuses(parameter.CodePatternMismatch, r)
	check.Equal(t, "123", k.get("n").Value.Reveal())
}

func descriptions(t T, s Subject) {
	k := of(t, s)
	r := request("d", "v")
	r.Description = strings.Repeat("é", 1024)
	k.put(r)
	out, err := k.DescribeParameters(k.ctx, parameter.DescribeParametersRequest{})
	check.NoError(t, err)
	check.Equal(t, r.Description, out.Parameters[0].Description)
	r.Name, r.Description = "e", strings.Repeat("é", 1025)
	k.refuses(fault.Validation, r)
	r = request("t", "v")
	r.Tags = []parameter.Tag{{Key: "b", Value: "2"}, {Key: "a", Value: ""}}
	k.put(r)
	tags, err := k.ListTagsForResource(k.ctx, parameter.ListTagsForResourceRequest{ResourceType: "Parameter", ResourceID: "t"})
	check.NoError(t, err)
	check.ElementsMatch(t, []parameter.Tag{{Key: "a", Value: ""}, {Key: "b", Value: "2"}}, tags.TagList)
	_, err = k.AddTagsToResource(k.ctx, parameter.AddTagsToResourceRequest{ResourceType: "Parameter", ResourceID: "t", Tags: []parameter.Tag{{Key: "a", Value: "1"}, {Key: "c", Value: "3"}}})
	check.NoError(t, err)
	_, err = k.RemoveTagsFromResource(k.ctx, parameter.RemoveTagsFromResourceRequest{ResourceType: "Parameter", ResourceID: "t", TagKeys: []string{"b", "zzz"}})
	check.NoError(t, err)
	k.settle()
	tags, err = k.ListTagsForResource(k.ctx, parameter.ListTagsForResourceRequest{ResourceType: "Parameter", ResourceID: "t"})
	check.NoError(t, err)
	check.ElementsMatch(t, []parameter.Tag{{Key: "a", Value: "1"}, {Key: "c", Value: "3"}}, tags.TagList)
	_, err = k.ListTagsForResource(k.ctx, parameter.ListTagsForResourceRequest{ResourceType: "Parameter", ResourceID: "nope"})
	k.fails(fault.InvalidResourceID, err)
	r = request("many", "v")
	for i := range 51 {
		r.Tags = append(r.Tags, parameter.Tag{Key: fmt.Sprint("k", i), Value: "v"})
	}
	_, err = k.PutParameter(k.ctx, r)
	check.Error(t, err)
	k.missing(parameter.CodeNotFound, "many")
	check.EqualValues(t, 1, k.get("t").Version, "tags make no version")
}

func overwriting(t T, s Subject) {
	k := of(t, s)
	k.put(request("a", "1"))
	k.refuses(parameter.CodeAlreadyExists, request("a", "2"))
	check.Equal(t, "1", k.get("a").Value.Reveal())
	r := request("a", "2")
	r.Overwrite = true
	check.EqualValues(t, 2, k.put(r).Version)
	r.Name = "new"
	check.EqualValues(t, 1, k.put(r).Version, "Overwrite also creates")
}

func tiers(t T, s Subject) {
	k := of(t, s)
	sized := func(name string, n int, tier parameter.Tier) parameter.PutParameterRequest {
		r := request(name, strings.Repeat("v", n))
		r.Tier = tier
		return r
	}
	check.Equal(t, parameter.Standard, k.put(sized("s", 4096, "")).Tier)
	k.refuses(fault.Validation, sized("s2", 4097, parameter.Standard))
	check.Equal(t, parameter.Advanced, k.put(sized("a", 8192, parameter.Advanced)).Tier)
	k.refuses(fault.Validation, sized("a2", 8193, parameter.Advanced))
	check.Equal(t, parameter.Standard, k.put(sized("i", 4096, parameter.IntelligentTiering)).Tier)
	check.Equal(t, parameter.Advanced, k.put(sized("j", 4097, parameter.IntelligentTiering)).Tier)
	k.refuses(fault.Validation, sized("j2", 8193, parameter.IntelligentTiering))
	down := sized("a", 10, parameter.Standard)
	down.Overwrite = true
	k.refuses(fault.Validation, down)
	down.Tier = ""
	check.Equal(t, parameter.Advanced, k.put(down).Tier, "Advanced stays")
	up := sized("s", 4097, parameter.Advanced)
	up.Overwrite = true
	check.Equal(t, parameter.Advanced, k.put(up).Tier)
	k.refuses(fault.Validation, sized("x", 1, "Gold"))
}

func dataTypes(t T, s Subject) {
	k := of(t, s)
	k.put(request("a", "v"))
	check.Equal(t, parameter.DataText, k.get("a").DataType)
	r := request("b", "v")
	for _, bad := range []string{"Text", "image", "aws:ec2"} {
		r.DataType = bad
		k.refuses(fault.Validation, r, bad)
	}
	r.DataType = parameter.DataText
	k.put(r)
}
