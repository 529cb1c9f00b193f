package iam_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/access/iam"
	"github.com/fleetwright/fleetwright/fault"
)

func TestResourcesBecomeARNs(t *testing.T) {
	n := &iam.Names{Region: "eu-central-1", Accounts: map[string]string{"default": account}}
	for resource, want := range map[string]string{
		"*":                           "*",
		"parameter/db":                "arn:aws:ssm:eu-central-1:111122223333:parameter/db",
		"parameter//app/db":           db,
		"parameter/app/db":            db,
		"document/Restart-Web":        "arn:aws:ssm:eu-central-1:111122223333:document/Restart-Web",
		"document/AWS-RunShellScript": "arn:aws:ssm:eu-central-1::document/AWS-RunShellScript",
		"document/*":                  "arn:aws:ssm:eu-central-1:111122223333:document/*",
		"node/mi-0123456789abcdef0":   "arn:aws:ssm:eu-central-1:111122223333:managed-instance/mi-0123456789abcdef0",
		"node/i-0123456789abcdef0":    "arn:aws:ec2:eu-central-1:111122223333:instance/i-0123456789abcdef0",
		"group/web":                   "arn:aws:resource-groups:eu-central-1:111122223333:group/web",
		"patchbaseline/pb-1":          "arn:aws:ssm:eu-central-1:111122223333:patchbaseline/pb-1",
		"automation-definition/R":     "arn:aws:ssm:eu-central-1:111122223333:automation-definition/R",
		"automation-execution/1-2":    "arn:aws:ssm:eu-central-1:111122223333:automation-execution/1-2",
		"parameter/a:3":               "arn:aws:ssm:eu-central-1:111122223333:parameter/a:3",
	} {
		got, err := n.ARN("default", resource)
		require.NoError(t, err, resource)
		require.Equal(t, want, got)
	}
	got, err := (&iam.Names{Partition: "aws-cn"}).ARN("acme", "parameter/x")
	require.NoError(t, err)
	require.Equal(t, "arn:aws-cn:ssm:local:acme:parameter/x", got)
	for _, bad := range []string{"", "x", "parameter/", "/x", "a:b/x", "*/x"} {
		_, err := n.ARN("default", bad)
		require.Equal(t, fault.AccessDenied, fault.CodeOf(err), bad)
	}
	for _, tenant := range []string{"", "a:b", "*", "a?", account, account + ":user/x"} { // an account that is another's, too
		for _, resource := range []string{"parameter/x", "*", db} {
			_, err := n.ARN(tenant, resource)
			require.Error(t, err, tenant)
		}
		require.Empty(t, n.Account(tenant))
	}
}

func TestEveryActionOfTheTableHasAnARN(t *testing.T) {
	n := &iam.Names{}
	for _, a := range access.Actions() {
		p := statements(t, `{"Effect":"Allow","Action":"`+a.Name+`","Resource":"*"}`)
		arn, err := n.ARN("default", "*")
		require.NoError(t, err)
		require.Equal(t, iam.Allow, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{p}}, request(a.Name, arn, nil)), a.Name)
	}
}

func TestAuthorizer(t *testing.T) {
	team := statements(t,
		`{"Effect":"Allow","Action":["ssm:GetParameter","ssm:PutParameter"],"Resource":"arn:aws:ssm:*:111122223333:parameter/${aws:username}/*"}`,
		`{"Effect":"Allow","Action":"ssm:SendCommand","Resource":["arn:aws:ssm:*:*:document/AWS-RunShellScript","arn:aws:ssm:*:*:managed-instance/*"],"Condition":{"StringEqualsIfExists":{"ssm:resourceTag/env":"test"}}}`,
		`{"Effect":"Allow","Action":"ssm:GetParameter","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}}`,
		`{"Effect":"Deny","Action":"ssm:PutParameter","Resource":"*","Condition":{"StringEquals":{"ssm:Overwrite":"true"}}}`,
		`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"}}}`,
		`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`)
	now, ip := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), "10.1.2.3"
	var told []*iam.Explanation
	a := iam.NewAuthorizer(iam.Config{
		Policies: iam.Static(map[string][]*iam.Policy{"ann": {team}, "*": {statements(t, `{"Effect":"Allow","Action":"ssm:DescribeParameters","Resource":"*"}`)}}),
		Names:    iam.Names{Accounts: map[string]string{"default": account}},
		Context: func(context.Context, access.Principal, *iam.Request) iam.Context {
			return iam.Context{"aws:SourceIp": {ip}}
		},
		Now:       func() time.Time { return now },
		Explained: func(_ context.Context, _ access.Principal, x *iam.Explanation) { told = append(told, x) },
	})
	p := access.Principal{Name: "ann", Attributes: map[string]string{"team": "db"}}
	may := func(action, resource string, attributes map[string]string) bool {
		err := access.Check(access.With(t.Context(), p), a, action, resource, attributes)
		if err != nil {
			require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
		}
		return err == nil
	}
	require.True(t, may("ssm:PutParameter", "parameter//ann/x", nil))
	require.True(t, may("ssm:PutParameter", "parameter/ann/x", map[string]string{"ssm:Overwrite": "false"}))
	require.False(t, may("ssm:PutParameter", "parameter/ann/x", map[string]string{"ssm:Overwrite": "true"}))
	require.False(t, may("ssm:PutParameter", "parameter/bob/x", nil))
	require.True(t, may("ssm:GetParameter", "parameter/bob/x", map[string]string{"aws:ResourceTag/team": "db"}))
	require.True(t, may("ssm:GetParameter", "parameter/bob/x", map[string]string{"team": "db"}), "services that give tags bare")
	require.False(t, may("ssm:GetParameter", "parameter/bob/x", map[string]string{"team": "web"}))
	require.True(t, may("ssm:SendCommand", "document/AWS-RunShellScript", nil))
	require.True(t, may("ssm:SendCommand", "node/mi-1", map[string]string{"env": "test"}))
	require.False(t, may("ssm:SendCommand", "node/mi-1", map[string]string{"aws:ResourceTag/env": "prod"}))
	require.True(t, may("ssm:DescribeParameters", "*", nil))
	require.False(t, may("ssm:GetParameter", "parameter/bob/x", map[string]string{"aws:PrincipalTag/team": "", "AWS:username": "bob", "aws:PrincipalTag/x": "y"}), "attributes do not say who calls")
	x, err := a.Explain(t.Context(), p, "ssm:PutParameter", "document/x", map[string]string{"ssm:Overwrite": "true"})
	require.NoError(t, err)
	require.Equal(t, iam.ImplicitDeny, x.Decision, "a tag of that name is no condition key")
	ip = "11.1.1.1"
	require.False(t, may("ssm:DescribeParameters", "*", nil))
	ip, now = "10.1.1.1", now.AddDate(1, 0, 0)
	require.False(t, may("ssm:DescribeParameters", "*", nil))
	require.Len(t, told, 14)
	now = now.AddDate(-1, 0, 0)

	x, err = a.Explain(t.Context(), p, "ssm:PutParameter", "parameter/ann/x", map[string]string{"ssm:Overwrite": "true"})
	require.NoError(t, err)
	require.Equal(t, iam.ExplicitDeny, x.Decision)
	require.Equal(t, "arn:aws:ssm:local:111122223333:parameter/ann/x", x.Resource)

	for name, who := range map[string]access.Principal{"the anonymous": {}, "another": {Name: "bob"}, "of another tenant": {Name: "ann", Tenant: "t2"}} {
		require.Error(t, a.Authorize(t.Context(), who, "ssm:PutParameter", "parameter/ann/x", nil), name)
	}
	require.NoError(t, a.Authorize(t.Context(), access.Principal{Name: "bob"}, "ssm:DescribeParameters", "*", nil))
	require.Error(t, a.Authorize(t.Context(), access.Principal{}, "ssm:DescribeParameters", "*", nil))
}

func TestAuthorizerFailsClosed(t *testing.T) {
	ctx, p := t.Context(), access.Principal{Name: "ann"}
	require.Equal(t, fault.AccessDenied, fault.CodeOf(iam.NewAuthorizer(iam.Config{}).Authorize(ctx, p, "a:B", "*", nil)))
	all := iam.Policies{Identity: []*iam.Policy{statements(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`)}}
	down := iam.NewAuthorizer(iam.Config{Policies: func(context.Context, access.Principal, *iam.Request) (iam.Policies, error) {
		return all, errors.New("away")
	}})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(down.Authorize(ctx, p, "a:B", "*", nil)))
	up := iam.NewAuthorizer(iam.Config{Policies: func(context.Context, access.Principal, *iam.Request) (iam.Policies, error) { return all, nil }})
	require.NoError(t, up.Authorize(ctx, p, "a:B", "*", nil))
	require.Error(t, up.Authorize(ctx, p, "a:B", "no-resource", nil))
	require.Error(t, up.Authorize(ctx, access.Principal{Name: "ann", Tenant: "a:b"}, "a:B", "parameter/x", nil))
}

// TestSharing: the policies by which a parameter is shared with other tenants.
func TestSharing(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	s := iam.NewSharing(iam.Names{Accounts: map[string]string{"acme": "222233334444"}}, func() time.Time { return now })
	policy := `{"Version":"2012-10-17","Statement":[
	  {"Effect":"Allow","Principal":{"AWS":["222233334444","arn:aws:iam::other:user/ann","arn:aws:iam::third:root"]},"Action":"ssm:GetParameter*","Resource":"` + db + `"},
	  {"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"}}},
	  {"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::222233334444:user/mallory"},"Action":"*","Resource":"*"}]}`
	tenants, err := s.Check(policy)
	require.NoError(t, err)
	require.Equal(t, []string{"acme", "other", "third"}, tenants)
	for _, c := range []struct {
		tenant, name, action, resource string
		want                           bool
	}{
		{"acme", "bob", "ssm:GetParameter", db, true}, {"acme", "mallory", "ssm:GetParameter", db, false}, {"acme", "bob", "ssm:PutParameter", db, false}, {"acme", "bob", "ssm:GetParameter", db + "2", false},
		{"other", "ann", "ssm:GetParameters", db, true}, {"other", "bob", "ssm:GetParameter", db, false}, {"third", "bob", "ssm:GetParameter", db, true}, {"fourth", "bob", "ssm:GetParameter", db, false},
		{"222233334444", "bob", "ssm:GetParameter", db, false}, {"222233334444:user/x", "bob", "ssm:GetParameter", db, false},
		{"", "bob", "ssm:GetParameter", db, false}, {"other", "", "ssm:GetParameter", db, false},
	} {
		p := access.Principal{Tenant: c.tenant, Name: c.name}
		require.Equal(t, c.want, s.Allows(policy, p, c.action, c.resource), "%+v", c)
		x, err := s.Explain(t.Context(), policy, p, c.action, c.resource)
		if strings.HasPrefix(c.tenant, "2222") {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, x.Decision == iam.Allow, "%+v %s", c, x)
	}
	now = now.AddDate(1, 0, 0)
	require.False(t, s.Allows(policy, access.Principal{Tenant: "acme", Name: "bob"}, "ssm:GetParameter", db))

	tenants, err = s.Check(`{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`)
	require.NoError(t, err)
	require.Equal(t, []string{"*"}, tenants)
	for _, bad := range []string{"", "{}", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`} {
		_, err = s.Check(bad)
		require.Equal(t, iam.MalformedPolicy, fault.CodeOf(err), bad)
		require.False(t, s.Allows(bad, access.Principal{Tenant: "acme", Name: "bob"}, "ssm:GetParameter", db), bad)
		_, err = s.Explain(t.Context(), bad, access.Principal{}, "a:B", db)
		require.Error(t, err)
	}
}

// TestAResourceOfAnotherTenant: services ask with its ARN, beside the policy of the resource.
func TestAResourceOfAnotherTenant(t *testing.T) {
	a := iam.NewAuthorizer(iam.Config{Policies: iam.Static(map[string][]*iam.Policy{"ann": {
		statements(t, `{"Effect":"Allow","Action":"ssm:GetParameter","Resource":"*","Condition":{"StringEquals":{"aws:ResourceAccount":"111122223333"}}}`)}})})
	require.NoError(t, a.Authorize(t.Context(), access.Principal{Name: "ann", Tenant: "t2"}, "ssm:GetParameter", db, nil))
	require.Error(t, a.Authorize(t.Context(), access.Principal{Name: "ann", Tenant: "t2"}, "ssm:GetParameter", "parameter/app/db", nil))
}
