package parameter_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
)

type tree []string

func (p tree) Lookup(_ context.Context, name string) (parameter.Parameter, bool, error) {
	return parameter.Parameter{Version: 7, Value: parameter.Text("public " + name)}, slices.Contains(p, name), nil
}

func (p tree) Names(_ context.Context, prefix, after string, limit int) (out []string, err error) {
	for _, n := range p {
		if strings.HasPrefix(n, prefix) && n > after && len(out) < limit {
			out = append(out, n)
		}
	}
	return out, nil
}

type vault map[string]string

func (v vault) Secret(_ context.Context, id string) (parameter.SecretResult, error) {
	s, ok := v[id]
	if !ok {
		return parameter.SecretResult{}, fault.New("vault", parameter.CodeNotFound, "no such secret")
	}
	return parameter.SecretResult{Value: parameter.Secret(secret.String(s)), ARN: "arn:aws:secretsmanager:local:default:secret:" + id, Source: `{"name":"` + id + `"}`}, nil
}

func TestS32_WhatOthersSupply(t *testing.T) {
	w := newWorld(t, func(c *parameter.Config) {
		c.Public = tree{"/aws/service/ami/a", "/aws/service/ami/b", "/aws/service/ami/x/y", "/aws/service/regions"}
		c.Secrets = vault{"db/prod@1": "canary"}
	})
	require.Equal(t, "public /aws/service/ami/a", w.get("/aws/service/ami/a"))
	_, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: "/aws/service/nope"})
	code(t, parameter.CodeNotFound, err)
	_, err = w.PutParameter(admin, str("/aws/service/ami/a", "v"))
	code(t, fault.AccessDenied, err)
	var names []string
	for p, err := range parameter.ByPath(admin, w, parameter.GetParametersByPathRequest{Path: "/aws/service/ami", MaxResults: 1, Recursive: true}) {
		require.NoError(t, err)
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"/aws/service/ami/a", "/aws/service/ami/b", "/aws/service/ami/x/y"}, names)
	out, err := w.GetParameters(admin, parameter.GetParametersRequest{Names: []string{"/aws/service/ami/b", "/aws/service/none"}})
	require.NoError(t, err)
	require.Len(t, out.Parameters, 1)
	require.Len(t, out.InvalidParameters, 1)

	const ref = "/aws/reference/secretsmanager/db/prod@1"
	_, err = w.GetParameter(admin, parameter.GetParameterRequest{Name: ref})
	code(t, fault.Validation, err)
	got, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: ref, WithDecryption: true})
	require.NoError(t, err)
	require.Equal(t, "canary", got.Parameter.Value.Reveal())
	require.JSONEq(t, `{"name":"db/prod@1"}`, got.Parameter.SourceResult)
	require.NotContains(t, fmt.Sprintf("%+v", got), "canary")
	_, err = w.GetParameter(admin, parameter.GetParameterRequest{Name: ref + "x", WithDecryption: true})
	code(t, parameter.CodeNotFound, err)
}

func share(principal, arn string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":["ssm:GetParameter*","ssm:DescribeParameters"],"Resource":"` + arn + `"}]}`
}

func TestS33_Sharing(t *testing.T) {
	w := newWorld(t, nil)
	const arn = "arn:aws:ssm:local:default:parameter/a/b"
	w.put("/a/b", "v")
	bob, eve := tenant("222233334444", "bob"), tenant("555566667777", "eve")
	read := func(ctx context.Context, name string) (parameter.Parameter, error) {
		out, err := w.GetParameter(ctx, parameter.GetParameterRequest{Name: name, WithDecryption: true})
		return out.Parameter, err
	}
	put := parameter.PutResourcePolicyRequest{ResourceARN: arn, Policy: share("222233334444", arn)}
	_, err := w.PutResourcePolicy(admin, put)
	code(t, parameter.CodePolicyInvalid, err)
	r := str("/a/b", "w")
	r.Overwrite, r.Tier = true, parameter.Advanced
	w.must(r)
	_, err = read(bob, arn)
	code(t, parameter.CodeNotFound, err)
	pol, err := w.PutResourcePolicy(admin, put)
	require.NoError(t, err)
	p, err := read(bob, arn)
	require.NoError(t, err)
	require.Equal(t, "w", p.Value.Reveal())
	require.Equal(t, arn, p.Name)
	p, err = read(bob, arn+":1")
	require.NoError(t, err)
	require.Equal(t, "v", p.Value.Reveal())
	for _, name := range []string{"/a/b", "arn:aws:ssm:local:default:parameter/a/c"} {
		_, err = read(bob, name)
		code(t, parameter.CodeNotFound, err)
	}
	_, err = read(eve, arn)
	code(t, parameter.CodeNotFound, err)
	d, err := w.DescribeParameters(bob, parameter.DescribeParametersRequest{Shared: true})
	require.NoError(t, err)
	require.Len(t, d.Parameters, 1)
	require.Equal(t, arn, d.Parameters[0].Name)
	d, err = w.DescribeParameters(eve, parameter.DescribeParametersRequest{Shared: true})
	require.NoError(t, err)
	require.Empty(t, d.Parameters)
	_, err = w.LabelParameterVersion(bob, parameter.LabelParameterVersionRequest{Name: arn, Labels: []string{"x"}})
	code(t, fault.Validation, err)
	_, err = w.DeleteParameter(bob, parameter.DeleteParameterRequest{Name: arn})
	code(t, parameter.CodeNotFound, err)

	got, err := w.GetResourcePolicies(admin, parameter.GetResourcePoliciesRequest{ResourceARN: arn})
	require.NoError(t, err)
	require.Equal(t, []parameter.ResourcePolicy{{PolicyID: pol.PolicyID, PolicyHash: pol.PolicyHash, Policy: put.Policy}}, got.Policies)
	put.PolicyID, put.PolicyHash, put.Policy = pol.PolicyID, "other", share("*", arn)
	_, err = w.PutResourcePolicy(admin, put)
	code(t, parameter.CodePolicyConflict, err)
	put.PolicyHash = pol.PolicyHash
	pol, err = w.PutResourcePolicy(admin, put)
	require.NoError(t, err)
	for _, bad := range []string{"", "{}", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{}}]}`, share("", arn)} {
		put := put
		put.Policy = bad
		_, err = w.PutResourcePolicy(admin, put)
		code(t, parameter.CodeMalformedPolicy, err)
	}
	_, err = w.DeleteResourcePolicy(admin, parameter.DeleteResourcePolicyRequest{ResourceARN: arn, PolicyID: pol.PolicyID, PolicyHash: pol.PolicyHash})
	require.NoError(t, err)
	_, err = read(bob, arn)
	code(t, parameter.CodeNotFound, err)
}

func TestS34_Throughput(t *testing.T) {
	w := newWorld(t, func(c *parameter.Config) { c.Limits = parameter.AWSLimits() })
	w.put("a", "v")
	for range 40 {
		w.get("a")
	}
	_, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: "a"})
	code(t, fault.Throttling, err)
	w.now = w.now.Add(100 * time.Millisecond)
	for range 4 {
		w.get("a")
	}
	_, err = w.GetParametersByPath(admin, parameter.GetParametersByPathRequest{Path: "/"})
	code(t, fault.Throttling, err)
}

func TestT18_WhatAnOverwriteDoesNotMentionStays(t *testing.T) {
	w := newWorld(t, nil)
	r := str("a", "1")
	r.Description, r.AllowedPattern, r.Tags = "d", `^\d$`, []parameter.Tag{{Key: "k", Value: "v"}}
	w.must(r)
	w.put("a", "2")
	h, err := w.GetParameterHistory(admin, parameter.GetParameterHistoryRequest{Name: "a"})
	require.NoError(t, err)
	require.Equal(t, "d", h.Parameters[1].Description)
	require.Equal(t, `^\d$`, h.Parameters[1].AllowedPattern)
	_, err = w.PutParameter(admin, parameter.PutParameterRequest{Name: "a", Value: parameter.Text("x"), Overwrite: true})
	code(t, parameter.CodePatternMismatch, err)
	tags, err := w.ListTagsForResource(admin, parameter.ListTagsForResourceRequest{ResourceType: "Parameter", ResourceID: "a"})
	require.NoError(t, err)
	require.Len(t, tags.TagList, 1)
}
