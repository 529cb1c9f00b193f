package iam_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access/iam"
	"github.com/fleetwright/fleetwright/fault"
)

const (
	account = "111122223333"
	ann     = "arn:aws:iam::" + account + ":user/ann"
	session = "arn:aws:sts::" + account + ":assumed-role/deploy/s1"
	db      = "arn:aws:ssm:eu-central-1:" + account + ":parameter/app/db"
)

func parse(t testing.TB, kind iam.Kind, text string) *iam.Policy {
	t.Helper()
	p, err := iam.Parse([]byte(text), &iam.ParseOptions{Kind: kind})
	require.NoError(t, err)
	return p
}

// statements makes a policy of 2012 of statements.
func statements(t testing.TB, all ...string) *iam.Policy {
	t.Helper()
	return parse(t, iam.Any, `{"Version":"2012-10-17","Statement":[`+strings.Join(all, ",")+`]}`)
}

func request(action, resource string, c iam.Context) *iam.Request {
	return &iam.Request{Principal: iam.Principal{ARN: ann}, Action: action, Resource: resource, ResourceAccount: account, Context: c}
}

func TestActionsAndResourcesMatch(t *testing.T) {
	for _, c := range []struct {
		rule, action, resource string // of the statement, as JSON
		ask, of                string
		want                   bool
	}{
		{"a name as it is", `"Action":"ssm:GetParameter"`, `"Resource":"*"`, "ssm:GetParameter", db, true},
		{"another name", `"Action":"ssm:GetParameter"`, `"Resource":"*"`, "ssm:GetParameters", db, false},
		{"case of actions does not count", `"Action":"SSM:getparameter"`, `"Resource":"*"`, "ssm:GetParameter", db, true},
		{"a list", `"Action":["ssm:PutParameter","ssm:GetParameter"]`, `"Resource":"*"`, "ssm:GetParameter", db, true},
		{"star", `"Action":"*"`, `"Resource":"*"`, "ssm:GetParameter", db, true},
		{"star of a service", `"Action":"ssm:*"`, `"Resource":"*"`, "kms:Decrypt", db, false},
		{"star within", `"Action":"ssm:Get*Path"`, `"Resource":"*"`, "ssm:GetParametersByPath", db, true},
		{"question mark is one", `"Action":"ssm:GetParameter?"`, `"Resource":"*"`, "ssm:GetParameters", db, true},
		{"question mark is not none", `"Action":"ssm:GetParameter?"`, `"Resource":"*"`, "ssm:GetParameter", db, false},
		{"not these", `"NotAction":"ssm:Get*"`, `"Resource":"*"`, "ssm:GetParameter", db, false},
		{"not these, so others", `"NotAction":"ssm:Get*"`, `"Resource":"*"`, "ssm:PutParameter", db, true},
		{"a resource", `"Action":"*"`, `"Resource":"` + db + `"`, "a:B", db, true},
		{"case of resources counts", `"Action":"*"`, `"Resource":"` + db + `"`, "a:B", strings.Replace(db, "app", "App", 1), false},
		{"below a path", `"Action":"*"`, `"Resource":"arn:aws:ssm:eu-central-1:111122223333:parameter/app/*"`, "a:B", db, true},
		{"not the path itself", `"Action":"*"`, `"Resource":"arn:aws:ssm:eu-central-1:111122223333:parameter/app/*"`, "a:B", "arn:aws:ssm:eu-central-1:111122223333:parameter/app", false},
		{"a star goes over slashes", `"Action":"*"`, `"Resource":"arn:aws:ssm:*:*:parameter/*/z"`, "a:B", "arn:aws:ssm:x:y:parameter/a/b/z", true},
		{"any region and account", `"Action":"*"`, `"Resource":"arn:aws:ssm:*:*:parameter/app/db"`, "a:B", db, true},
		{"the last star of a segment goes over colons", `"Action":"*"`, `"Resource":"arn:aws:ssm:*"`, "a:B", db, true},
		{"also before more", `"Action":"*"`, `"Resource":"arn:aws:ssm:*:parameter/app/db"`, "a:B", db, true},
		{"another star of a segment does not", `"Action":"*"`, `"Resource":"arn:aws:ssm:eu*1:111122223333:parameter/app/db"`, "a:B", "arn:aws:ssm:eu:1:111122223333:parameter/app/db", false},
		{"it goes as far as the colon", `"Action":"*"`, `"Resource":"arn:aws:ssm:eu*1:111122223333:parameter/app/db"`, "a:B", db, true},
		{"a question mark is no colon", `"Action":"*"`, `"Resource":"arn:aws:ssm:eu?central-1:111122223333:parameter/app/db"`, "a:B", strings.Replace(db, "eu-", "eu:", 1), false},
		{"colons of the resource's own part", `"Action":"*"`, `"Resource":"arn:aws:logs:r:1:log-group:a*b:x"`, "a:B", "arn:aws:logs:r:1:log-group:a:1b:x", true},
		{"another partition", `"Action":"*"`, `"Resource":"arn:aws-cn:ssm:*"`, "a:B", db, false},
		{"not this one", `"Action":"*"`, `"NotResource":"` + db + `"`, "a:B", db, false},
		{"not that one", `"Action":"*"`, `"NotResource":["arn:aws:ssm:*:*:parameter/other"]`, "a:B", db, true},
		{"an action without a resource", `"Action":"*"`, `"Resource":"*"`, "ssm:DescribeParameters", "*", true},
		{"an ARN is not everything", `"Action":"*"`, `"Resource":"arn:aws:ssm:*:*:*"`, "ssm:DescribeParameters", "*", false},
		{"what is asked for has no wildcards", `"Action":"*"`, `"Resource":"` + db + `"`, "a:B", "arn:aws:ssm:*:*:parameter/*", false},
		{"what is asked for has no wildcards: actions", `"Action":"ssm:Get"`, `"Resource":"*"`, "ssm:*", db, false},
		{"letters beyond ASCII", `"Action":"*"`, `"Resource":"arn:aws:s3:::b/?ü*"`, "a:B", "arn:aws:s3:::b/éüß", true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p := statements(t, `{"Effect":"Allow",`+c.action+`,`+c.resource+`}`)
			got := iam.Evaluate(iam.Policies{Identity: []*iam.Policy{p}}, request(c.ask, c.of, nil))
			require.Equal(t, c.want, got == iam.Allow, "%s", got)
		})
	}
}

func TestAnExplicitDenyWins(t *testing.T) {
	allow, deny := `{"Effect":"Allow","Action":"*","Resource":"*"}`, `{"Effect":"Deny","Action":"ssm:GetParameter","Resource":"`+db+`"}`
	a, d := statements(t, allow), statements(t, deny)
	q := request("ssm:GetParameter", db, nil)
	for name, p := range map[string]iam.Policies{
		"in one policy":     {Identity: []*iam.Policy{statements(t, deny, allow)}},
		"whatever order":    {Identity: []*iam.Policy{statements(t, allow, deny)}},
		"of another policy": {Identity: []*iam.Policy{a, d}},
		"of the resource":   {Identity: []*iam.Policy{a}, Resource: []*iam.Policy{d}},
		"of the boundary":   {Identity: []*iam.Policy{a}, Boundary: []*iam.Policy{a, d}},
		"of the session":    {Identity: []*iam.Policy{a}, Session: []*iam.Policy{a, d}},
		"of the control":    {Identity: []*iam.Policy{a}, Control: [][]*iam.Policy{{a}, {a, d}}},
	} {
		require.Equal(t, iam.ExplicitDeny, iam.Evaluate(p, q), name)
	}
	require.Equal(t, iam.Allow, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{a}}, q))
	require.Equal(t, iam.ImplicitDeny, iam.Evaluate(iam.Policies{}, q))
	require.Equal(t, iam.ImplicitDeny, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{a, nil}}, nil))
}

func TestConditions(t *testing.T) {
	const missing = "-"
	for _, c := range []struct {
		op, values string // of the policy, as JSON
		actual     string // of the request, | between several
		want       bool
	}{
		{"StringEquals", `"a"`, "a", true}, {"StringEquals", `"a"`, "A", false}, {"StringEquals", `["b","a"]`, "a", true}, {"StringEquals", `"a*"`, "ab", false}, {"StringEquals", `"a*"`, "a*", true},
		{"StringEquals", `"a"`, missing, false}, {"StringEqualsIfExists", `"a"`, missing, true}, {"StringEqualsIfExists", `"a"`, "b", false},
		{"stringequals", `"a"`, "a", true},
		{"StringNotEquals", `"a"`, "a", false}, {"StringNotEquals", `"a"`, "b", true}, {"StringNotEquals", `["a","b"]`, "b", false}, {"StringNotEquals", `"a"`, missing, true},
		{"StringEqualsIgnoreCase", `"aÜ"`, "Aü", true}, {"StringNotEqualsIgnoreCase", `"a"`, "A", false}, {"StringNotEqualsIgnoreCase", `"a"`, "B", true},
		{"StringLike", `"a*z?"`, "abcz1", true}, {"StringLike", `"a*z?"`, "abcz", false}, {"StringLike", `"A*"`, "ab", false}, {"StringLike", `"*"`, "", true}, {"StringLike", `"*"`, missing, false},
		{"StringLike", `"a*b*a"`, "aba", true}, {"StringLike", `"a*:b"`, "a:x:b", true}, {"StringLike", `"*?"`, "", false}, {"StringLike", `"a*?b"`, "ab", false}, {"StringLike", `"a?*b"`, "axb", true},
		{"StringNotLike", `"a*"`, "ab", false}, {"StringNotLike", `"a*"`, "b", true}, {"StringNotLike", `"a*"`, missing, true},
		{"NumericEquals", `"10"`, "10.0", true}, {"NumericEquals", `10`, "10", true}, {"NumericEquals", `"0.1"`, "0.10", true}, {"NumericEquals", `"1"`, "one", false}, {"NumericEquals", `"1"`, missing, false},
		{"NumericNotEquals", `"1"`, "2", true}, {"NumericNotEquals", `"1"`, "one", false}, {"NumericNotEquals", `"1"`, missing, true},
		{"NumericLessThan", `"10"`, "9", true}, {"NumericLessThan", `"10"`, "10", false}, {"NumericLessThanEquals", `"10"`, "10", true}, {"NumericLessThan", `"-1"`, "-1.5", true},
		{"NumericGreaterThan", `"9007199254740993"`, "9007199254740994", true}, {"NumericGreaterThan", `"9007199254740993"`, "9007199254740993", false}, {"NumericGreaterThanEquals", `"10"`, "10", true},
		{"NumericGreaterThan", `"1"`, "1e9", false}, {"NumericLessThanIfExists", `"1"`, missing, true},
		{"DateEquals", `"2026-01-02T00:00:00Z"`, "2026-01-02", true}, {"DateEquals", `"1767312000"`, "2026-01-02T01:00:00+01:00", true}, {"DateNotEquals", `"2026"`, "2026-01-01T00:00Z", false},
		{"DateLessThan", `"2026-01-02T00:00:00Z"`, "2026-01-01T23:59:59.999Z", true}, {"DateGreaterThan", `"2026-01-02T00:00:00Z"`, "2026-01-02T00:00:00Z", false},
		{"DateGreaterThanEquals", `"2026-01-02T00:00:00Z"`, "1767312000", true}, {"DateLessThanEquals", `"2026-01"`, "2026-02", false}, {"DateGreaterThan", `"2026"`, "soon", false},
		{"Bool", `"true"`, "true", true}, {"Bool", `true`, "true", true}, {"Bool", `"false"`, "true", false}, {"Bool", `"false"`, missing, false}, {"BoolIfExists", `"false"`, missing, true}, {"Bool", `"true"`, "yes", false},
		{"BinaryEquals", `"AAEC"`, "AAEC", true}, {"BinaryEquals", `"AAEC"`, "AAED", false}, {"BinaryEquals", `"AAEC"`, "!", false},
		{"IpAddress", `"203.0.113.0/24"`, "203.0.113.9", true}, {"IpAddress", `"203.0.113.0/24"`, "203.0.114.9", false}, {"IpAddress", `"203.0.113.9"`, "203.0.113.9", true},
		{"IpAddress", `"203.0.113.77/24"`, "203.0.113.9", true}, {"IpAddress", `["10.0.0.0/8","2001:db8::/32"]`, "2001:db8:1::1", true}, {"IpAddress", `"0.0.0.0/0"`, "2001:db8::1", false},
		{"IpAddress", `"203.0.113.0/24"`, "::ffff:203.0.113.9", true}, {"IpAddress", `"203.0.113.0/24"`, "here", false}, {"IpAddress", `"10.0.0.0/8"`, missing, false},
		{"NotIpAddress", `"203.0.113.0/24"`, "203.0.113.9", false}, {"NotIpAddress", `"203.0.113.0/24"`, "10.0.0.1", true}, {"NotIpAddress", `"10.0.0.0/8"`, missing, true}, {"NotIpAddress", `"10.0.0.0/8"`, "here", false},
		{"ArnEquals", `"arn:aws:iam::*:user/*"`, ann, true}, {"ArnLike", `"arn:aws:iam::1*:user/an?"`, ann, true}, {"ArnLike", `"arn:aws:iam:*:user/ann"`, ann, false},
		{"ArnLike", `"arn:aws:*"`, ann, true}, {"ArnLike", `"*"`, ann, true}, {"ArnLike", `"arn:aws:sns:*:*:a:*"`, "arn:aws:sns:r:1:a:b:c", true}, {"ArnLike", `"arn:aws:iam::*:user/ann"`, "arn:aws:iam:::1:user/ann", false},
		{"ArnEquals", `"` + ann + `"`, "ann", false}, {"ArnLike", `"arn:*/ann"`, ann, false}, {"ArnLike", `"arn:aws:iam"`, ann, false}, {"ArnLike", `"arn:aws:iam::*:user/ANN"`, ann, false}, {"ArnNotLike", `"arn:aws:iam::*:user/*"`, ann, false}, {"ArnNotEquals", `"arn:aws:iam::*:role/*"`, ann, true},
		{"ArnNotLike", `"arn:aws:iam::*:user/*"`, missing, true}, {"ArnLikeIfExists", `"arn:aws:iam::*:user/*"`, missing, true},
		{"Null", `"true"`, missing, true}, {"Null", `"true"`, "x", false}, {"Null", `"false"`, "x", true}, {"Null", `false`, missing, false}, {"Null", `"true"`, "", true},
		{"ForAllValues:StringEquals", `["a","b"]`, "a|b", true}, {"ForAllValues:StringEquals", `["a","b"]`, "a|c", false}, {"ForAllValues:StringEquals", `["a"]`, missing, true}, {"ForAllValues:StringEquals", `["a"]`, "", true},
		{"ForAllValues:StringNotEquals", `["a"]`, "b|c", true}, {"ForAllValues:StringNotEquals", `["a"]`, "b|a", false}, {"ForAllValues:StringLikeIfExists", `["a*"]`, "b", false},
		{"ForAnyValue:StringEquals", `["a","b"]`, "c|b", true}, {"ForAnyValue:StringEquals", `["a","b"]`, "c|d", false}, {"ForAnyValue:StringEquals", `["a"]`, missing, false}, {"ForAnyValue:StringLike", `"*"`, "", false},
		{"ForAnyValue:StringNotEquals", `["a"]`, "a|b", true}, {"ForAnyValue:StringNotEquals", `["a"]`, "a", false}, {"ForAnyValue:StringNotEquals", `["a"]`, missing, false}, {"ForAnyValue:StringEqualsIfExists", `["a"]`, missing, false},
		{"ForAnyValue:NumericGreaterThan", `"5"`, "1|6", true}, {"ForAllValues:IpAddress", `"10.0.0.0/8"`, "10.1.1.1|11.1.1.1", false}, {"ForAllValues:ArnLike", `"arn:aws:iam::*:user/*"`, ann + "|" + ann, true},
		{"StringEquals", `"a"`, "b|a", true}, {"StringNotEquals", `"a"`, "b|a", false}, {"StringNotEquals", `"a"`, "b|c", true},
	} {
		name := fmt.Sprintf("%s %s %s", c.op, c.values, c.actual)
		ctx := iam.Context{}
		if c.actual != missing {
			ctx["Aws:SOMEkey"] = strings.Split(c.actual, "|")
		}
		p := statements(t, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"`+c.op+`":{"aws:SomeKey":`+c.values+`}}}`)
		got := iam.Evaluate(iam.Policies{Identity: []*iam.Policy{p}}, request("ssm:GetParameter", db, ctx))
		require.Equal(t, c.want, got == iam.Allow, name)
	}
}

func TestAllOperatorsAndKeysMustBeMet(t *testing.T) {
	p := statements(t, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a:x":"1","a:y":["2","3"]},"Bool":{"a:z":"true"}}}`)
	for _, c := range []struct {
		x, y, z string
		want    bool
	}{{"1", "2", "true", true}, {"1", "3", "true", true}, {"1", "4", "true", false}, {"2", "2", "true", false}, {"1", "2", "false", false}} {
		q := request("a:B", db, iam.Context{"a:x": {c.x}, "a:y": {c.y}, "a:z": {c.z}})
		require.Equal(t, c.want, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{p}}, q) == iam.Allow, "%+v", c)
	}
}

func TestWhatCannotBeComparedIsDecidedForTheSafeSide(t *testing.T) {
	base := `"Action":"*","Resource":"*","Condition":`
	everything := `{"Effect":"Allow","Action":"*","Resource":"*"}`
	for _, c := range []struct{ name, condition string }{
		{"a number that is none", `{"NumericLessThan":{"a:n":"10"}}`},
		{"a date that is none", `{"DateGreaterThan":{"a:n":"2026-01-01T00:00:00Z"}}`},
		{"an address that is none", `{"IpAddress":{"a:n":"10.0.0.0/8"}}`},
		{"not an address that is none", `{"NotIpAddress":{"a:n":"10.0.0.0/8"}}`},
		{"not a variable without a value", `{"StringNotEquals":{"a:n":"${aws:PrincipalTag/team}"}}`},
	} {
		q := request("a:B", db, iam.Context{"a:n": {"soon"}})
		allow, deny := statements(t, `{"Effect":"Allow",`+base+c.condition+`}`), statements(t, everything, `{"Effect":"Deny",`+base+c.condition+`}`)
		require.Equal(t, iam.ImplicitDeny, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{allow}}, q), c.name)
		require.Equal(t, iam.ExplicitDeny, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{deny}}, q), c.name)
	}
}

// TestADenyWithAVariableWithoutValue: what equals nothing is not denied either, as on AWS.
func TestADenyWithAVariableWithoutValue(t *testing.T) {
	for _, condition := range []string{`{"StringEquals":{"a:n":"${aws:PrincipalTag/team}"}}`, `{"ArnLike":{"a:n":"${aws:PrincipalTag/team}"}}`, `{"StringLike":{"a:n":"*${aws:PrincipalTag/team}"}}`} {
		p := statements(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`, `{"Effect":"Deny","Action":"*","Resource":"*","Condition":`+condition+`}`)
		require.Equal(t, iam.Allow, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{p}}, request("a:B", db, iam.Context{"a:n": {ann}})), condition)
	}
}

func TestPolicyVariables(t *testing.T) {
	for _, c := range []struct {
		rule, version, resource, condition string
		ctx                                iam.Context
		of                                 string
		want                               bool
	}{
		{"in a resource", iam.Version2012, "arn:aws:ssm:*:*:parameter/${aws:username}/*", "", iam.Context{"aws:username": {"ann"}}, "arn:aws:ssm:r:1:parameter/ann/x", true},
		{"of another", iam.Version2012, "arn:aws:ssm:*:*:parameter/${aws:username}/*", "", iam.Context{"aws:username": {"ann"}}, "arn:aws:ssm:r:1:parameter/bob/x", false},
		{"whatever its case", iam.Version2012, "arn:aws:ssm:*:*:parameter/${AWS:UserName}/*", "", iam.Context{"aws:username": {"ann"}}, "arn:aws:ssm:r:1:parameter/ann/x", true},
		{"without a value", iam.Version2012, "arn:aws:ssm:*:*:parameter/${aws:username}*", "", nil, "arn:aws:ssm:r:1:parameter/x", false},
		{"with several", iam.Version2012, "arn:aws:ssm:*:*:parameter/${aws:TagKeys}", "", iam.Context{"aws:TagKeys": {"a", "b"}}, "arn:aws:ssm:r:1:parameter/a", false},
		{"its wildcards are letters", iam.Version2012, "arn:aws:ssm:*:*:parameter/${aws:username}", "", iam.Context{"aws:username": {"*"}}, "arn:aws:ssm:r:1:parameter/bob", false},
		{"a tag", iam.Version2012, "*", `"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}`, iam.Context{"aws:ResourceTag/team": {"a"}, "aws:PrincipalTag/team": {"a"}}, db, true},
		{"another tag", iam.Version2012, "*", `"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}`, iam.Context{"aws:ResourceTag/team": {"a"}, "aws:PrincipalTag/team": {"b"}}, db, false},
		{"a default", iam.Version2012, "arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/team, 'all'}/x", "", nil, "arn:aws:ssm:r:1:parameter/all/x", true},
		{"a default that is not needed", iam.Version2012, "arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/team, 'all'}/x", "", iam.Context{"aws:PrincipalTag/team": {"t"}}, "arn:aws:ssm:r:1:parameter/t/x", true},
		{"a default with a brace and a comma", iam.Version2012, "*", `"StringEquals":{"a:k":"${a:none,'x},y'}"}`, iam.Context{"a:k": {"x},y"}}, db, true},
		{"within a text", iam.Version2012, "*", `"StringLike":{"a:k":"${aws:username}/*"}`, iam.Context{"a:k": {"ann/1"}, "aws:username": {"ann"}}, db, true},
		{"in an ARN operator", iam.Version2012, "*", `"ArnLike":{"a:k":"arn:aws:iam::${aws:PrincipalAccount}:user/*"}`, iam.Context{"a:k": {ann}, "aws:PrincipalAccount": {account}}, db, true},
		{"a star as a letter", iam.Version2012, "*", `"StringLike":{"a:k":"a${*}"}`, iam.Context{"a:k": {"a*"}}, db, true},
		{"a star as a letter only", iam.Version2012, "*", `"StringLike":{"a:k":"a${*}"}`, iam.Context{"a:k": {"ab"}}, db, false},
		{"a question mark and a dollar", iam.Version2012, "*", `"StringLike":{"a:k":"${?}${$}{x}"}`, iam.Context{"a:k": {"?${x}"}}, db, true},
		{"a dollar alone", iam.Version2012, "*", `"StringEquals":{"a:k":"$5 {x}"}`, iam.Context{"a:k": {"$5 {x}"}}, db, true},
		{"letters in 2008", iam.Version2008, "*", `"StringEquals":{"a:k":"${aws:username}"}`, iam.Context{"a:k": {"${aws:username}"}, "aws:username": {"ann"}}, db, true},
		{"not resolved in 2008", iam.Version2008, "*", `"StringEquals":{"a:k":"${aws:username}"}`, iam.Context{"a:k": {"ann"}, "aws:username": {"ann"}}, db, false},
		{"nor without a version", "", "arn:aws:ssm:*:*:parameter/${aws:username}", "", iam.Context{"aws:username": {"ann"}}, "arn:aws:ssm:r:1:parameter/ann", false},
		{"not in a number", iam.Version2008, "*", `"NumericEquals":{"a:k":"1"}`, iam.Context{"a:k": {"1"}}, db, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			v := ""
			if c.version != "" {
				v = `"Version":"` + c.version + `",`
			}
			p := parse(t, iam.Identity, `{`+v+`"Statement":{"Effect":"Allow","Action":"*","Resource":"`+c.resource+`","Condition":{`+c.condition+`}}}`)
			require.Equal(t, c.want, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{p}}, request("a:B", c.of, c.ctx)) == iam.Allow)
		})
	}
}

func TestAResourceLeftOutByAVariableWithoutValue(t *testing.T) {
	all := `{"Effect":"Allow","Action":"*","Resource":"*"}`
	not := `"Action":"*","NotResource":"arn:aws:ssm:*:*:parameter/${aws:username}/*"}`
	require.Equal(t, iam.ImplicitDeny, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{statements(t, `{"Effect":"Allow",`+not)}}, request("a:B", db, nil)))
	require.Equal(t, iam.ExplicitDeny, iam.Evaluate(iam.Policies{Identity: []*iam.Policy{statements(t, all, `{"Effect":"Deny",`+not)}}, request("a:B", db, nil)))
}

func TestTagsThatDifferInCaseOnly(t *testing.T) {
	p := statements(t, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/Team":"a"}}}`)
	may := func(c iam.Context) bool {
		return iam.Evaluate(iam.Policies{Identity: []*iam.Policy{p}}, request("a:B", db, c)) == iam.Allow
	}
	require.True(t, may(iam.Context{"aws:ResourceTag/team": {"a"}}))
	require.True(t, may(iam.Context{"aws:ResourceTag/Team": {"a"}, "aws:ResourceTag/team": {"b"}}))
	require.False(t, may(iam.Context{"aws:ResourceTag/Team": {"b"}, "aws:ResourceTag/team": {"a"}}))
}

func TestPrincipals(t *testing.T) {
	role := "arn:aws:iam::" + account + ":role/deploy"
	for _, c := range []struct {
		rule, principal string
		who             iam.Principal
		effect          string
		want            iam.Decision
	}{
		{"everybody", `"Principal":"*"`, iam.Principal{ARN: ann}, "Allow", iam.Allow},
		{"everybody, otherwise written", `"Principal":{"AWS":"*"}`, iam.Principal{}, "Allow", iam.Allow},
		{"a user", `"Principal":{"AWS":"` + ann + `"}`, iam.Principal{ARN: ann}, "Allow", iam.Allow},
		{"another user", `"Principal":{"AWS":"` + ann + `"}`, iam.Principal{ARN: ann + "a"}, "Allow", iam.ImplicitDeny},
		{"a role for its sessions", `"Principal":{"AWS":"` + role + `"}`, iam.Principal{ARN: session}, "Allow", iam.Allow},
		{"a session", `"Principal":{"AWS":"` + session + `"}`, iam.Principal{ARN: session}, "Allow", iam.Allow},
		{"another session", `"Principal":{"AWS":"` + session + `"}`, iam.Principal{ARN: session + "2"}, "Allow", iam.ImplicitDeny},
		{"a role with a path", `"Principal":{"AWS":"arn:aws:iam::111122223333:role/a/deploy"}`, iam.Principal{ARN: session, Role: "arn:aws:iam::111122223333:role/a/deploy"}, "Allow", iam.Allow},
		{"an account delegates", `"Principal":{"AWS":"` + account + `"}`, iam.Principal{ARN: ann}, "Allow", iam.ImplicitDeny},
		{"an account's root delegates", `"Principal":{"AWS":"arn:aws:iam::` + account + `:root"}`, iam.Principal{ARN: ann}, "Allow", iam.ImplicitDeny},
		{"an account is denied whole", `"Principal":{"AWS":"` + account + `"}`, iam.Principal{ARN: ann}, "Deny", iam.ExplicitDeny},
		{"a service", `"Principal":{"Service":["ssm.amazonaws.com"]}`, iam.Principal{Service: "ssm.amazonaws.com"}, "Allow", iam.Allow},
		{"another service", `"Principal":{"Service":["ssm.amazonaws.com"]}`, iam.Principal{Service: "ec2.amazonaws.com"}, "Allow", iam.ImplicitDeny},
		{"a federated user", `"Principal":{"Federated":"accounts.example.com"}`, iam.Principal{Federated: "accounts.example.com"}, "Allow", iam.Allow},
		{"a canonical user", `"Principal":{"CanonicalUser":"79a59d"}`, iam.Principal{CanonicalUser: "79a59d"}, "Allow", iam.Allow},
		{"nobody else", `"NotPrincipal":{"AWS":["` + ann + `","arn:aws:iam::` + account + `:root"]}`, iam.Principal{ARN: ann + "a"}, "Deny", iam.ExplicitDeny},
		{"but this one", `"NotPrincipal":{"AWS":["` + ann + `","arn:aws:iam::` + account + `:root"]}`, iam.Principal{ARN: ann}, "Deny", iam.ImplicitDeny},
		{"the anonymous is nobody else", `"NotPrincipal":{"AWS":"` + ann + `"}`, iam.Principal{}, "Deny", iam.ExplicitDeny},
		{"the anonymous is no user", `"Principal":{"AWS":"` + ann + `"}`, iam.Principal{}, "Allow", iam.ImplicitDeny},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p := parse(t, iam.Resource, `{"Version":"2012-10-17","Statement":[{"Effect":"`+c.effect+`",`+c.principal+`,"Action":"*","Resource":"*"}]}`)
			q := &iam.Request{Principal: c.who, Action: "a:B", Resource: db, ResourceAccount: account}
			require.Equal(t, c.want, iam.Evaluate(iam.Policies{Resource: []*iam.Policy{p}}, q))
		})
	}
	t.Run("a resource's statement that names nobody", func(t *testing.T) {
		q := request("a:B", db, nil)
		require.Equal(t, iam.ImplicitDeny, iam.Evaluate(iam.Policies{Resource: []*iam.Policy{statements(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`)}}, q))
		require.Equal(t, iam.ExplicitDeny, iam.Evaluate(iam.Policies{Resource: []*iam.Policy{statements(t, `{"Effect":"Deny","Action":"*","Resource":"*"}`)}}, q))
	})
}

// TestSetsOfPolicies follows the tables of the guide's "Policy evaluation logic".
func TestSetsOfPolicies(t *testing.T) {
	yes := []*iam.Policy{statements(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`)}
	no := []*iam.Policy{statements(t, `{"Effect":"Allow","Action":"other:*","Resource":"*"}`)}
	names := func(principal string) []*iam.Policy {
		return []*iam.Policy{parse(t, iam.Resource, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+principal+`"},"Action":"*","Resource":"*"}]}`)}
	}
	role := "arn:aws:iam::" + account + ":role/deploy"
	other := "arn:aws:ssm:eu-central-1:444455556666:parameter/x"
	for _, c := range []struct {
		rule          string
		p             iam.Policies
		who, resource string
		want          bool
	}{
		{"own", iam.Policies{Identity: yes}, ann, db, true},
		{"own within the boundary", iam.Policies{Identity: yes, Boundary: yes}, ann, db, true},
		{"own beyond the boundary", iam.Policies{Identity: yes, Boundary: no}, ann, db, false},
		{"a boundary gives nothing", iam.Policies{Boundary: yes}, ann, db, false},
		{"own within the session", iam.Policies{Identity: yes, Session: yes}, session, db, true},
		{"own beyond the session", iam.Policies{Identity: yes, Session: no}, session, db, false},
		{"a session gives nothing", iam.Policies{Session: yes}, session, db, false},
		{"all levels of control", iam.Policies{Identity: yes, Control: [][]*iam.Policy{yes, yes}}, ann, db, true},
		{"one level of control", iam.Policies{Identity: yes, Control: [][]*iam.Policy{yes, no}}, ann, db, false},
		{"a level without policies", iam.Policies{Identity: yes, Control: [][]*iam.Policy{{}}}, ann, db, false},
		{"control gives nothing", iam.Policies{Control: [][]*iam.Policy{yes}}, ann, db, false},
		{"the resource for a user, beyond the boundary", iam.Policies{Resource: names(ann), Boundary: no}, ann, db, true},
		{"the resource for a role, beyond the boundary", iam.Policies{Resource: names(role), Boundary: no}, session, db, false},
		{"the resource for a role, within the boundary", iam.Policies{Resource: names(role), Boundary: yes}, session, db, true},
		{"the resource for a role, beyond the session", iam.Policies{Resource: names(role), Session: no}, session, db, false},
		{"the resource for a session, beyond the session's policies", iam.Policies{Resource: names(session), Session: no}, session, db, true},
		{"the resource, not the control", iam.Policies{Resource: names(ann), Control: [][]*iam.Policy{no}}, ann, db, false},
		{"another account: own alone", iam.Policies{Identity: yes}, ann, other, false},
		{"another account: the resource alone", iam.Policies{Resource: names(ann)}, ann, other, false},
		{"another account: both", iam.Policies{Identity: yes, Resource: names(ann)}, ann, other, true},
		{"another account: both, to the account", iam.Policies{Identity: yes, Resource: names(account)}, ann, other, true},
		{"another account: both, beyond the boundary", iam.Policies{Identity: yes, Resource: names(ann), Boundary: no}, ann, other, false},
		{"another account: the anonymous", iam.Policies{Resource: names("*")}, "", other, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			q := &iam.Request{Principal: iam.Principal{ARN: c.who}, Action: "a:B", Resource: c.resource}
			x := iam.Explain(c.p, q)
			require.Equal(t, c.want, x.Decision == iam.Allow, "%s", x)
			require.Equal(t, iam.Evaluate(c.p, q), x.Decision)
		})
	}
}

func TestParseFindsEverythingAtOnce(t *testing.T) {
	text := `{
  "Version": "2012-10-18",
  "Statement": [
    {"Effect": "allow", "Action": ["ssm:Get*", 7, "Get"], "Resource": "parameter/x"},
    {"effect": "Deny", "Action": "*", "NotAction": "a:b", "Resource": []},
    {"Effect": "Deny", "Action": "s*:Get", "Resource": "arn:aws:s*m:::x", "Condition": {
      "StringSame": {"a": "b"},
      "NumericEquals": {"a:n": "one"}, "IpAddress": {"aws:SourceIp": "10.0.0.0/40"},
      "DateLessThan": {"a:d": "soon"}, "Bool": {"a:b": "perhaps"}, "BinaryEquals": {"a:x": "?"},
      "StringLike": {"a:k": "${aws:username", "A:K": "x"}, "NullIfExists": {"a:k": "true"}
    }},
    "x"
  ],
  "Extra": 1
}`
	_, err := iam.Parse([]byte(text), nil)
	require.Equal(t, iam.MalformedPolicy, fault.CodeOf(err))
	var all iam.Errors
	require.ErrorAs(t, err, &all)
	var got []string
	for _, f := range all {
		got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Path))
	}
	require.Equal(t, []string{
		"2:14 $.Version",
		"4:16 $.Statement[0].Effect", "4:48 $.Statement[0].Action[1]", "4:51 $.Statement[0].Action[2]", "4:71 $.Statement[0].Resource",
		"5:5 $.Statement[1]", "5:6 $.Statement[1].effect", "5:52 $.Statement[1].NotAction", "5:71 $.Statement[1].Resource",
		"6:34 $.Statement[2].Action", "6:56 $.Statement[2].Resource",
		`7:7 $.Statement[2].Condition.StringSame`,
		`8:32 $.Statement[2].Condition.NumericEquals."a:n"`, `8:70 $.Statement[2].Condition.IpAddress."aws:SourceIp"`,
		`9:31 $.Statement[2].Condition.DateLessThan."a:d"`, `9:56 $.Statement[2].Condition.Bool."a:b"`, `9:92 $.Statement[2].Condition.BinaryEquals."a:x"`,
		`10:29 $.Statement[2].Condition.StringLike."a:k"`, `10:47 $.Statement[2].Condition.StringLike."A:K"`, `10:60 $.Statement[2].Condition.NullIfExists`,
		"12:5 $.Statement[3]", "14:3 $.Extra",
	}, got, "%v", err)
	require.Contains(t, err.Error(), "write Effect")
}

func TestParseRefuses(t *testing.T) {
	st := func(s string) string { return `{"Version":"2012-10-17","Statement":[` + s + `]}` }
	for _, c := range []struct {
		name, text string
		kind       iam.Kind
	}{
		{"nothing", ``, iam.Any}, {"no object", `[]`, iam.Any}, {"null", `null`, iam.Any}, {"two values", `{} {}`, iam.Any}, {"cut", `{"Statement":[`, iam.Any}, {"no UTF-8", "{\"Id\":\"\xff\"}", iam.Any},
		{"no statement", `{"Version":"2012-10-17"}`, iam.Any}, {"no statement in it", st(``), iam.Any}, {"a name twice", `{"Id":"a","Id":"b","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`, iam.Any},
		{"no effect", st(`{"Action":"*","Resource":"*"}`), iam.Any}, {"no action", st(`{"Effect":"Allow","Resource":"*"}`), iam.Any}, {"no resource", st(`{"Effect":"Allow","Action":"*"}`), iam.Identity},
		{"a principal of an identity's", st(`{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}`), iam.Identity}, {"no principal of a resource's", st(`{"Effect":"Allow","Action":"*","Resource":"*"}`), iam.Resource},
		{"NotPrincipal with Allow", st(`{"Effect":"Allow","Action":"*","Resource":"*","NotPrincipal":{"AWS":"111122223333"}}`), iam.Resource},
		{"a part of principals", st(`{"Effect":"Allow","Action":"*","Resource":"*","Principal":{"AWS":"arn:aws:iam::111122223333:user/*"}}`), iam.Resource},
		{"an empty principal", st(`{"Effect":"Allow","Action":"*","Resource":"*","Principal":{}}`), iam.Resource}, {"no account", st(`{"Effect":"Allow","Action":"*","Resource":"*","Principal":{"AWS":"1 2"}}`), iam.Resource},
		{"a variable before the fifth colon", st(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:ssm:${aws:RequestedRegion}:1:parameter/x"}`), iam.Any},
		{"a variable for the account", st(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:ssm:r:${aws:PrincipalAccount}:parameter/x"}`), iam.Any},
		{"a variable without a name", st(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${}"}`), iam.Any}, {"a default without quotes", st(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${a:b, c}"}`), iam.Any},
		{"a default with one quote", st(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${a:b, 'c}"}`), iam.Any},
		{"a Sid with a space", st(`{"Sid":"a b","Effect":"Allow","Action":"*","Resource":"*"}`), iam.Identity},
		{"a Sid twice", st(`{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}`), iam.Identity},
		{"an operator twice", st(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a":"true"},"bool":{"a":"true"}}}`), iam.Any},
		{"a condition that is a list", st(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":[]}`), iam.Any}, {"an object for a value", st(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a":{}}}}`), iam.Any},
		{"too long", st(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::` + strings.Repeat("x", 21000) + `"}`), iam.Any},
		{"too deep", strings.Repeat("[", 40) + strings.Repeat("]", 40), iam.Any}, {"deeper than JSON may be", strings.Repeat("[", 20000), iam.Any},
	} {
		p, err := iam.Parse([]byte(c.text), &iam.ParseOptions{Kind: c.kind})
		require.Nil(t, p, c.name)
		require.Equal(t, iam.MalformedPolicy, fault.CodeOf(err), c.name)
		var all iam.Errors
		require.ErrorAs(t, err, &all, c.name)
		require.NotEmpty(t, all, c.name)
	}
	_, err := iam.Parse([]byte(st(strings.Repeat(" ", 5000)+`{"Effect":"Allow","Action":"*","Resource":"*"}`)), &iam.ParseOptions{MaxBytes: 2048, Kind: iam.Identity})
	require.NoError(t, err, "white space does not count")
	_, err = iam.Parse([]byte("{\"Sid\":\"\x1b[2J\"}"), nil)
	require.NotContains(t, err.Error(), "\x1b")
}

func TestExplainNamesTheStatementAndTheCondition(t *testing.T) {
	p, err := iam.Parse([]byte(`{"Version":"2012-10-17","Statement":[
 {"Sid":"Read","Effect":"Allow","Action":"ssm:Get*","Resource":"*"},
 {"Sid":"Secret","Effect":"Deny","Action":"ssm:*","Resource":"*",
  "Condition":{"StringNotEquals":{"aws:PrincipalTag/team":["db","ops"]},"Bool":{"aws:SecureTransport":"true"}}}
]}`), &iam.ParseOptions{Name: "team.json", Kind: iam.Identity})
	require.NoError(t, err)
	require.Equal(t, "team.json", p.Name())
	require.Equal(t, iam.Version2012, p.Version())
	require.Equal(t, 2, p.Statements())
	c := iam.Context{"aws:PrincipalTag/team": {"db"}, "aws:SecureTransport": {"true"}}
	x := iam.Explain(iam.Policies{Identity: []*iam.Policy{p}}, request("ssm:GetParameter", db, c))
	require.Equal(t, iam.Allow, x.Decision)
	require.Equal(t, []string{"Read"}, sids(x.Deciding()))
	require.Equal(t, []string{"Secret"}, sids(x.Near()))
	require.Contains(t, x.String(), `StringNotEquals aws:PrincipalTag/team "db", "ops": the request has "db"`)
	require.NotContains(t, x.String(), "SecureTransport", "what was met is not why")

	c["aws:PrincipalTag/team"] = []string{"web"}
	x = iam.Explain(iam.Policies{Identity: []*iam.Policy{p}}, request("ssm:GetParameter", db, c))
	require.Equal(t, iam.ExplicitDeny, x.Decision)
	require.Equal(t, []string{"Secret"}, sids(x.Deciding()))
	require.Contains(t, x.String(), "Deny by statement 1 (Secret) of identity policy team.json, line 3")

	require.Equal(t, iam.ImplicitDeny, iam.Explain(iam.Policies{}, nil).Decision)
}

func sids(all []iam.StatementResult) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.Sid)
	}
	return out
}
