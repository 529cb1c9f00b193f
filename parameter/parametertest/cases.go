package parametertest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
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

func versions(t T, s Subject) {
	k := of(t, s)
	check.EqualValues(t, 1, k.put(request("a", "v1")).Version)
	for i := int64(2); i <= 12; i++ {
		check.Equal(t, i, k.again("a", fmt.Sprint("v", i)))
		k.refuses(parameter.CodeAlreadyExists, request("a", "x"))
		check.Equal(t, i, k.get("a").Version)
	}
	check.EqualValues(t, 13, k.again("a", "v12"), "the same value makes a version too")
	_, err := k.DeleteParameter(k.ctx, parameter.DeleteParameterRequest{Name: "a"})
	check.NoError(t, err)
	k.settle()
	check.EqualValues(t, 1, k.put(request("a", "new")).Version)
}

func selectors(t T, s Subject) {
	k := of(t, s)
	k.put(request("/a/b", "v1"))
	k.again("/a/b", "v2")
	k.label("/a/b", 1, "stable")
	for sel, want := range map[string]string{":1": "v1", ":2": "v2", ":stable": "v1"} {
		p := k.get("/a/b" + sel)
		check.Equal(t, want, p.Value.Reveal(), sel)
		check.Equal(t, sel, p.Selector)
		check.Equal(t, "/a/b", p.Name)
	}
	check.Empty(t, k.get("/a/b").Selector)
	for _, sel := range []string{":3", ":0", ":beta", ":Stable", ":99999999"} {
		k.missing(parameter.CodeVersionNotFound, "/a/b"+sel)
	}
	k.missing(parameter.CodeNotFound, "/a/c:1")
	out, err := k.GetParameters(k.ctx, parameter.GetParametersRequest{Names: []string{"/a/b:1", "/a/b:stable", "/a/b:7"}})
	check.NoError(t, err)
	check.Len(t, out.Parameters, 2)
	check.Equal(t, []string{"/a/b:7"}, out.InvalidParameters)
}

func labels(t T, s Subject) {
	k := of(t, s)
	k.put(request("a", "v1"))
	k.again("a", "v2")
	out := k.label("a", 0, "good", "9digit", "aws-x", "SSMx", "with/slash", "sp ace", "G.o_o-d")
	check.EqualValues(t, 2, out.ParameterVersion, "the latest by default")
	check.ElementsMatch(t, []string{"9digit", "aws-x", "SSMx", "with/slash", "sp ace"}, out.InvalidLabels)
	check.Equal(t, "v2", k.get("a:good").Value.Reveal())
	check.Equal(t, "v2", k.get("a:G.o_o-d").Value.Reveal())
	k.missing(parameter.CodeVersionNotFound, "a:GOOD")
	k.label("a", 1, "good")
	check.Equal(t, "v1", k.get("a:good").Value.Reveal(), "moved")
	h, err := k.GetParameterHistory(k.ctx, parameter.GetParameterHistoryRequest{Name: "a"})
	check.NoError(t, err)
	check.Equal(t, []string{"good"}, h.Parameters[0].Labels)
	check.Equal(t, []string{"G.o_o-d"}, h.Parameters[1].Labels)
	k.label("a", 1, "l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8", "l9")
	_, err = k.LabelParameterVersion(k.ctx, parameter.LabelParameterVersionRequest{Name: "a", ParameterVersion: 1, Labels: []string{"l10"}})
	k.fails(parameter.CodeLabelLimit, err)
	k.label("a", 1, "good", "l9")
	_, err = k.LabelParameterVersion(k.ctx, parameter.LabelParameterVersionRequest{Name: "a", ParameterVersion: 7, Labels: []string{"x"}})
	k.fails(parameter.CodeVersionNotFound, err)
	_, err = k.LabelParameterVersion(k.ctx, parameter.LabelParameterVersionRequest{Name: "b", Labels: []string{"x"}})
	k.fails(parameter.CodeNotFound, err)
	k.again("a", "v3")
	check.Equal(t, "v1", k.get("a:good").Value.Reveal(), "a label stays where it is")
}

func unlabelling(t T, s Subject) {
	k := of(t, s)
	k.put(request("a", "v1"))
	k.again("a", "v2")
	k.label("a", 1, "one", "both")
	k.label("a", 2, "two")
	out, err := k.UnlabelParameterVersion(k.ctx, parameter.UnlabelParameterVersionRequest{Name: "a", ParameterVersion: 1, Labels: []string{"one", "two", "none"}})
	check.NoError(t, err)
	k.settle()
	check.Equal(t, []string{"one"}, out.RemovedLabels)
	check.ElementsMatch(t, []string{"two", "none"}, out.InvalidLabels)
	k.missing(parameter.CodeVersionNotFound, "a:one")
	check.Equal(t, "v2", k.get("a:two").Value.Reveal())
	check.Equal(t, "v1", k.get("a:both").Value.Reveal())
	_, err = k.UnlabelParameterVersion(k.ctx, parameter.UnlabelParameterVersionRequest{Name: "a", ParameterVersion: 9, Labels: []string{"x"}})
	k.fails(parameter.CodeVersionNotFound, err)
}

func many(t T, s Subject) {
	k := of(t, s)
	for _, n := range []string{"c", "a", "b"} {
		k.put(request(n, "v-"+n))
	}
	out, err := k.GetParameters(k.ctx, parameter.GetParametersRequest{Names: []string{"c", "zz", "b", "a", "yy"}})
	check.NoError(t, err)
	check.Equal(t, []string{"a", "b", "c"}, nameList(out.Parameters), "alphabetical")
	check.ElementsMatch(t, []string{"zz", "yy"}, out.InvalidParameters)
	eleven := strings.Split("a b c d e f g h i j k", " ")
	_, err = k.GetParameters(k.ctx, parameter.GetParametersRequest{Names: eleven})
	k.fails(fault.Validation, err)
	_, err = k.GetParameters(k.ctx, parameter.GetParametersRequest{})
	k.fails(fault.Validation, err)
	_, err = k.DeleteParameters(k.ctx, parameter.DeleteParametersRequest{Names: eleven})
	k.fails(fault.Validation, err)
	k.missing(parameter.CodeNotFound, "zz")
	del, err := k.DeleteParameters(k.ctx, parameter.DeleteParametersRequest{Names: []string{"a", "zz", "c"}})
	check.NoError(t, err)
	k.settle()
	check.ElementsMatch(t, []string{"a", "c"}, del.DeletedParameters)
	check.Equal(t, []string{"zz"}, del.InvalidParameters)
	k.missing(parameter.CodeNotFound, "a")
	k.get("b")
	_, err = k.DeleteParameter(k.ctx, parameter.DeleteParameterRequest{Name: "a"})
	k.fails(parameter.CodeNotFound, err)
}

func (k *k) below(req parameter.GetParametersByPathRequest) []string {
	k.t.Helper()
	out := []string{}
	for p, err := range parameter.ByPath(k.ctx, k.Store, req) {
		check.NoError(k.t, err)
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

func paths(t T, s Subject) {
	k := of(t, s)
	for _, n := range []string{"root", "/other", "/p", "/p/a", "/p/b", "/p/d/x", "/p/d/e/y", "/pp/q", "/p-/r"} {
		k.put(request(n, "v"))
	}
	k.put(parameter.PutParameterRequest{Name: "/p/list", Value: parameter.Text("a"), Type: parameter.StringList})
	check.Equal(t, []string{"/p/a", "/p/b", "/p/list"}, k.below(parameter.GetParametersByPathRequest{Path: "/p"}))
	check.Equal(t, []string{"/p/a", "/p/b", "/p/list"}, k.below(parameter.GetParametersByPathRequest{Path: "/p/"}))
	check.Equal(t, []string{"/p/a", "/p/b", "/p/d/e/y", "/p/d/x", "/p/list"}, k.below(parameter.GetParametersByPathRequest{Path: "/p", Recursive: true}))
	check.Empty(t, k.below(parameter.GetParametersByPathRequest{Path: "/none"}))
	root := k.below(parameter.GetParametersByPathRequest{Path: "/"})
	check.ElementsMatch(t, []string{"/other", "/p", "root"}, root, "those without a slash too")
	check.Len(t, k.below(parameter.GetParametersByPathRequest{Path: "/", Recursive: true}), 10)
	filter := func(key, option string, values ...string) parameter.GetParametersByPathRequest {
		return parameter.GetParametersByPathRequest{Path: "/p", Recursive: true, ParameterFilters: []parameter.ParameterStringFilter{{Key: key, Option: option, Values: values}}}
	}
	check.Equal(t, []string{"/p/list"}, k.below(filter("Type", "Equals", "StringList")))
	k.label("/p/a", 1, "l")
	k.again("/p/a", "v2")
	out, err := k.GetParametersByPath(k.ctx, filter("Label", "Equals", "l"))
	check.NoError(t, err)
	check.Len(t, out.Parameters, 1)
	check.EqualValues(t, 1, out.Parameters[0].Version, "the version that has the label")
	for _, key := range []string{"Name", "Path", "Tier", "DataType", "tag:x", "Foo"} {
		_, err := k.GetParametersByPath(k.ctx, filter(key, "", "x"))
		k.fails(fault.InvalidFilterKey, err, key)
	}
	_, err = k.GetParametersByPath(k.ctx, filter("Label", "BeginsWith", "l"))
	k.fails(parameter.CodeFilterOption, err)
	for _, bad := range []parameter.GetParametersByPathRequest{{Path: "p"}, {Path: ""}, {Path: "/p", MaxResults: 11}, {Path: "/p", MaxResults: -1}, {Path: "/p p"}} {
		_, err := k.GetParametersByPath(k.ctx, bad)
		k.fails(fault.Validation, err, bad.Path)
	}
	_, err = k.GetParametersByPath(k.ctx, parameter.GetParametersByPathRequest{Path: "/p", NextToken: "bogus"})
	k.fails(fault.InvalidNextToken, err)
}

func (k *k) described(filters ...parameter.ParameterStringFilter) []string {
	k.t.Helper()
	req := parameter.DescribeParametersRequest{ParameterFilters: filters, MaxResults: 2}
	out := []string{}
	for {
		got, err := k.DescribeParameters(k.ctx, req)
		check.NoError(k.t, err)
		for _, p := range got.Parameters {
			out = append(out, p.Name)
		}
		if req.NextToken = got.NextToken; req.NextToken == "" {
			slices.Sort(out)
			return out
		}
	}
}

func describing(t T, s Subject) {
	k := of(t, s)
	r := request("/a/tan", "v")
	r.Tags = []parameter.Tag{{Key: "env", Value: "dev"}}
	k.put(r)
	r = request("/a/b/x", "v")
	r.Tags = []parameter.Tag{{Key: "env", Value: "prod"}}
	k.put(r)
	k.put(request("tango", "v"))
	k.put(parameter.PutParameterRequest{Name: "list", Value: parameter.Text("v"), Type: parameter.StringList})
	k.put(parameter.PutParameterRequest{Name: "/adv", Value: parameter.Text("v"), Type: parameter.String, Tier: parameter.Advanced})
	f := func(key, option string, values ...string) parameter.ParameterStringFilter {
		return parameter.ParameterStringFilter{Key: key, Option: option, Values: values}
	}
	for _, c := range []struct {
		want string
		fs   []parameter.ParameterStringFilter
	}{
		{"/a/b/x /a/tan /adv list tango", nil},
		{"/a/tan", []parameter.ParameterStringFilter{f("Name", "", "/a/tan")}},
		{"tango", []parameter.ParameterStringFilter{f("Name", "Equals", "tango", "nope")}},
		{"/a/b/x /a/tan /adv", []parameter.ParameterStringFilter{f("Name", "BeginsWith", "/a")}},
		{"/a/tan tango", []parameter.ParameterStringFilter{f("Name", "Contains", "tan")}},
		{"/a/tan tango", []parameter.ParameterStringFilter{f("Name", "Contains", "/tan")}},
		{"list", []parameter.ParameterStringFilter{f("Type", "Equals", "StringList")}},
		{"/a/tan", []parameter.ParameterStringFilter{f("Path", "OneLevel", "/a")}},
		{"/a/b/x /a/tan", []parameter.ParameterStringFilter{f("Path", "Recursive", "/a")}},
		{"/adv", []parameter.ParameterStringFilter{f("Tier", "Equals", "Advanced")}},
		{"/a/b/x /a/tan list tango", []parameter.ParameterStringFilter{f("Tier", "Equals", "Standard")}},
		{"/a/tan", []parameter.ParameterStringFilter{f("tag:env", "", "dev")}},
		{"/a/b/x /a/tan", []parameter.ParameterStringFilter{f("tag:env", "Equals", "dev", "prod")}},
		{"/a/b/x", []parameter.ParameterStringFilter{f("tag:env", "", "prod", "dev"), f("Path", "Recursive", "/a/b")}},
		{"", []parameter.ParameterStringFilter{f("tag:env", "", "dev"), f("Type", "", "StringList")}},
		{"/a/b/x /a/tan /adv list tango", []parameter.ParameterStringFilter{f("DataType", "", "text")}},
	} {
		check.Equal(t, c.want, strings.Join(k.described(c.fs...), " "), c.fs)
	}
	refused := func(code fault.Code, req parameter.DescribeParametersRequest) {
		t.Helper()
		_, err := k.DescribeParameters(k.ctx, req)
		k.fails(code, err, req)
	}
	refused(fault.InvalidFilterKey, parameter.DescribeParametersRequest{ParameterFilters: []parameter.ParameterStringFilter{f("Label", "", "x")}})
	refused(parameter.CodeFilterOption, parameter.DescribeParametersRequest{ParameterFilters: []parameter.ParameterStringFilter{f("Name", "Recursive", "x")}})
	refused(fault.InvalidFilterValue, parameter.DescribeParametersRequest{ParameterFilters: []parameter.ParameterStringFilter{f("Type", "", "Int")}})
	refused(fault.Validation, parameter.DescribeParametersRequest{MaxResults: 51})
	refused(fault.Validation, parameter.DescribeParametersRequest{Filters: []parameter.ParametersFilter{{Key: "Name", Values: []string{"x"}}}, ParameterFilters: []parameter.ParameterStringFilter{f("Name", "", "x")}})
	old, err := k.DescribeParameters(k.ctx, parameter.DescribeParametersRequest{Filters: []parameter.ParametersFilter{{Key: "Name", Values: []string{"/a/"}}}})
	check.NoError(t, err)
	check.Len(t, old.Parameters, 2)
}

func history(t T, s Subject) {
	k := of(t, s)
	r := request("a", "v1")
	r.Description = "first"
	k.put(r)
	for i := 2; i <= 7; i++ {
		k.again("a", fmt.Sprint("v", i))
	}
	k.label("a", 3, "three")
	var got []string
	req := parameter.GetParameterHistoryRequest{Name: "a", MaxResults: 3}
	for {
		out, err := k.GetParameterHistory(k.ctx, req)
		check.NoError(t, err)
		for _, h := range out.Parameters {
			got = append(got, fmt.Sprintf("%d%s%s%s%v", h.Version, h.Value, h.Type, h.Tier, h.Labels))
		}
		if req.NextToken = out.NextToken; req.NextToken == "" {
			break
		}
	}
	check.Len(t, got, 7)
	check.Equal(t, "1v1StringStandard[]", got[0])
	check.Equal(t, "3v3StringStandard[three]", got[2])
	check.Equal(t, "7v7StringStandard[]", got[6])
	_, err := k.GetParameterHistory(k.ctx, parameter.GetParameterHistoryRequest{Name: "a", MaxResults: 51})
	k.fails(fault.Validation, err)
	_, err = k.GetParameterHistory(k.ctx, parameter.GetParameterHistoryRequest{Name: "b"})
	k.fails(parameter.CodeNotFound, err)
}

func (k *k) secure(name, value string) {
	k.t.Helper()
	if k.NoKeys {
		k.t.Skip("SKIPPED: the store has no key service")
	}
	k.put(parameter.PutParameterRequest{Name: name, Value: parameter.Secret(secret.String(value)), Type: parameter.SecureString})
}

func decryption(t T, s Subject) {
	k := of(t, s)
	k.secure("s", "hunter2hunter2")
	k.put(request("p", "plain"))
	p := k.get("s")
	check.Equal(t, "hunter2hunter2", p.Value.Reveal())
	check.True(t, p.Value.IsSecret())
	check.NotContains(t, fmt.Sprintf("%v %+v %#v", p, p, p), "hunter2")
	out, err := k.GetParameter(k.ctx, parameter.GetParameterRequest{Name: "s"})
	check.NoError(t, err)
	check.NotEqual(t, "hunter2hunter2", out.Parameter.Value.Reveal())
	check.NotEmpty(t, out.Parameter.Value.Reveal())
	for _, d := range []bool{true, false} {
		out, err := k.GetParameter(k.ctx, parameter.GetParameterRequest{Name: "p", WithDecryption: d})
		check.NoError(t, err)
		check.Equal(t, "plain", out.Parameter.Value.Reveal())
	}
	for p, err := range parameter.ByPath(k.ctx, k.Store, parameter.GetParametersByPathRequest{Path: "/", WithDecryption: true}) {
		check.NoError(t, err)
		check.Contains(t, "hunter2hunter2 plain", p.Value.Reveal())
	}
	h, err := k.GetParameterHistory(k.ctx, parameter.GetParameterHistoryRequest{Name: "s", WithDecryption: true})
	check.NoError(t, err)
	check.Equal(t, "hunter2hunter2", h.Parameters[0].Value.Reveal())
}

func onlyValues(t T, s Subject) {
	k := of(t, s)
	k.secure("s", "hunter2hunter2")
	out, err := k.DescribeParameters(k.ctx, parameter.DescribeParametersRequest{ParameterFilters: []parameter.ParameterStringFilter{{Key: "KeyId", Values: []string{"alias/aws/ssm"}}}})
	check.NoError(t, err)
	check.Len(t, out.Parameters, 1)
	check.Equal(t, "alias/aws/ssm", out.Parameters[0].KeyID, "the default key (S27)")
	check.NotContains(t, fmt.Sprintf("%+v", out), "hunter2")
}

func policies(t T, s Subject) {
	k := of(t, s)
	with := func(name, policies string, tier parameter.Tier) parameter.PutParameterRequest {
		r := request(name, "v")
		r.Policies, r.Tier = policies, tier
		return r
	}
	const expires = `{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2199-12-31T21:34:33.000Z"}}`
	const notice = `{"Type":"ExpirationNotification","Version":"1.0","Attributes":{"Before":"15","Unit":"Days"}}`
	const idle = `{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"60","Unit":"Hours"}}`
	k.refuses(fault.Validation, with("a", "["+idle+"]", parameter.Standard))
	check.Equal(t, parameter.Advanced, k.put(with("a", "["+expires+","+notice+","+idle+"]", parameter.Advanced)).Tier)
	check.Equal(t, parameter.Advanced, k.put(with("i", "["+idle+"]", parameter.IntelligentTiering)).Tier)
	k.refuses(parameter.CodeIncompatiblePolicy, with("b", "["+expires+","+expires+"]", parameter.Advanced))
	k.refuses(parameter.CodePolicyType, with("b", `[{"Type":"Explode","Version":"1.0","Attributes":{}}]`, parameter.Advanced))
	for _, bad := range []string{`{"Timestamp":"tomorrow"}`, `{}`, `{"When":"2199-12-31T21:34:33.000Z"}`} {
		k.refuses(parameter.CodePolicyAttribute, with("b", `[{"Type":"Expiration","Version":"1.0","Attributes":`+bad+`}]`, parameter.Advanced), bad)
	}
	for _, bad := range []string{`{"After":"0","Unit":"Days"}`, `{"After":"x","Unit":"Days"}`, `{"After":"1","Unit":"Weeks"}`, `{"Before":"1","Unit":"Days"}`} {
		k.refuses(parameter.CodePolicyAttribute, with("b", `[{"Type":"NoChangeNotification","Version":"1.0","Attributes":`+bad+`}]`, parameter.Advanced), bad)
	}
	k.refuses(parameter.CodePoliciesLimit, with("b", "["+strings.Repeat(idle+",", 10)+idle+"]", parameter.Advanced))
	count := func() int {
		out, err := k.DescribeParameters(k.ctx, parameter.DescribeParametersRequest{ParameterFilters: []parameter.ParameterStringFilter{{Key: "Name", Values: []string{"a"}}}})
		check.NoError(t, err)
		return len(out.Parameters[0].Policies)
	}
	check.Equal(t, 3, count())
	k.again("a", "w")
	check.Equal(t, 3, count(), "a new value leaves them")
	r := with("a", "["+idle+"]", "")
	r.Overwrite = true
	k.put(r)
	check.Equal(t, 1, count(), "new ones replace all")
	r.Policies = "[{}]"
	k.put(r)
	check.Equal(t, 0, count())
}

func tagsAndOverwrite(t T, s Subject) {
	k := of(t, s)
	r := request("a", "v")
	r.Tags, r.Overwrite = []parameter.Tag{{Key: "x", Value: "y"}}, true
	k.refuses(fault.Validation, r)
	k.missing(parameter.CodeNotFound, "a")
}

func dropping(t T, s Subject) {
	k := of(t, s)
	k.put(request("a", "v1"))
	for i := 2; i <= 101; i++ {
		check.EqualValues(t, i, k.again("a", fmt.Sprint("v", i)))
	}
	k.missing(parameter.CodeVersionNotFound, "a:1")
	check.Equal(t, "v2", k.get("a:2").Value.Reveal())
	k.label("a", 2, "keep")
	k.refuses(parameter.CodeMaxVersion, parameter.PutParameterRequest{Name: "a", Value: parameter.Text("x"), Overwrite: true})
	check.Equal(t, "v101", k.get("a").Value.Reveal())
	k.label("a", 101, "keep")
	check.EqualValues(t, 102, k.again("a", "v102"))
	k.missing(parameter.CodeVersionNotFound, "a:2")
}

func pages(t T, s Subject) {
	k := of(t, s)
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("/p/%02d", i))
		k.put(request(want[i], "v"))
	}
	req := parameter.GetParametersByPathRequest{Path: "/p", MaxResults: 7}
	var got []string
	for {
		out, err := k.GetParametersByPath(k.ctx, req)
		check.NoError(t, err)
		check.LessOrEqual(t, len(out.Parameters), 7)
		got = append(got, nameList(out.Parameters)...)
		if len(got) < 20 {
			k.again(want[3], "w")
			k.put(request(fmt.Sprintf("/p/%02d-%d", len(got)-1, len(got)), "new"))
			_, err := k.DeleteParameter(k.ctx, parameter.DeleteParameterRequest{Name: fmt.Sprintf("/p/%02d-%d", len(got)-1, len(got))})
			check.NoError(t, err)
		}
		if out.NextToken == "" {
			break
		}
		other := req
		other.NextToken, other.Recursive = out.NextToken, true
		_, err = k.GetParametersByPath(k.ctx, other)
		k.fails(fault.InvalidNextToken, err, "a token is of its request")
		req.NextToken = out.NextToken
	}
	slices.Sort(got)
	check.Equal(t, want, got, "writes between pages lose and repeat nothing")
}
