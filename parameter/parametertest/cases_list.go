package parametertest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
)

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
