package parametertest

import (
	"fmt"

	"github.com/fleetwright/fleetwright/parameter"
)

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
