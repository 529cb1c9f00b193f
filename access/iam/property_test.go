package iam_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/access/iam"
)

var (
	someActions   = []string{"ssm:GetParameter", "ssm:Get*", "ssm:*", "*", "kms:Decrypt", "SSM:get?arameter"}
	someResources = []string{"*", db, "arn:aws:ssm:*:*:parameter/app/*", "arn:aws:ssm:*", "arn:aws:ssm:*:*:parameter/${aws:username}/*", "arn:aws:ssm:e*1:*:parameter/*"}
	someOperators = []string{"StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "ForAllValues:StringEquals", "ForAnyValue:StringNotEquals", "StringEqualsIfExists", "Null", "Bool",
		"NumericLessThan", "NumericNotEquals", "IpAddress", "NotIpAddress", "DateGreaterThan", "ArnLike", "ArnNotEquals"}
	someValues = []string{"a", "a*", "1", "2", "true", "10.0.0.0/8", "10.1.1.1", "2026-01-01", ann, "arn:aws:iam::*:user/*", "${aws:username}", "${a:none, 'a'}", ""}
	someKeys   = []string{"a:k", "A:K", "a:other", "aws:username"}
)

type object = map[string]any

func drawStatement(t *rapid.T, effect string) object {
	pick := func(of []string, label string) string { return rapid.SampledFrom(of).Draw(t, label) }
	s := object{"Effect": effect}
	s[pick([]string{"Action", "NotAction"}, "a")] = []string{pick(someActions, "action"), pick(someActions, "action")}
	s[pick([]string{"Resource", "Resource", "NotResource"}, "r")] = pick(someResources, "resource")
	if rapid.Bool().Draw(t, "conditions") {
		c := object{}
		for range rapid.IntRange(0, 2).Draw(t, "n") {
			c[pick(someOperators, "op")] = object{pick(someKeys, "key"): rapid.SliceOfN(rapid.SampledFrom(someValues), 1, 2).Draw(t, "values")}
		}
		s["Condition"] = c
	}
	return s
}

// drawPolicy draws statements until they parse: a value must suit its operator.
func drawPolicy(t *rapid.T, effects ...string) *iam.Policy {
	var all []object
	for range rapid.IntRange(1, 4).Draw(t, "statements") {
		all = append(all, drawStatement(t, rapid.SampledFrom(effects).Draw(t, "effect")))
	}
	b, err := json.Marshal(object{"Version": iam.Version2012, "Statement": all})
	if err != nil {
		t.Fatal(err)
	}
	p, err := iam.Parse(b, nil)
	if err != nil {
		t.Skip()
	}
	return p
}

func drawRequest(t *rapid.T) *iam.Request {
	c := iam.Context{}
	for _, k := range someKeys {
		if v := rapid.SliceOfN(rapid.SampledFrom(someValues), 0, 3).Draw(t, k); len(v) > 0 {
			c[k] = v
		}
	}
	return request(rapid.SampledFrom([]string{"ssm:GetParameter", "ssm:PutParameter", "kms:Decrypt"}).Draw(t, "ask"),
		rapid.SampledFrom([]string{db, "*", strings.Replace(db, "app", "ann", 1)}).Draw(t, "of"), c)
}

// TestADenyMoreAllowsNothingMore: whatever set a Deny is added to, what was not allowed stays so; and an Allow more takes nothing away.
func TestADenyMoreAllowsNothingMore(t *testing.T) {
	allowed, turned, everything := 0, 0, statements(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`)
	rapid.Check(t, func(t *rapid.T) {
		base := iam.Policies{Identity: []*iam.Policy{drawPolicy(t, "Allow", "Allow", "Deny")}}
		if rapid.Bool().Draw(t, "everything") {
			base.Identity = []*iam.Policy{everything}
		}
		q, deny, allow := drawRequest(t), drawPolicy(t, "Deny"), drawPolicy(t, "Allow")
		before := iam.Evaluate(base, q)
		with := func(change func(p *iam.Policies)) iam.Decision {
			p := base
			change(&p)
			x := iam.Explain(p, q)
			require.Equal(t, iam.Evaluate(p, q), x.Decision, "explained as decided")
			require.Equal(t, x.Decision != iam.ImplicitDeny, len(x.Deciding()) > 0, "a decision that was made names who made it: %s", x)
			return x.Decision
		}
		for name, change := range map[string]func(p *iam.Policies){
			"identity": func(p *iam.Policies) { p.Identity = append(p.Identity[:1:1], deny) },
			"resource": func(p *iam.Policies) { p.Resource = []*iam.Policy{deny} },
			"boundary": func(p *iam.Policies) { p.Boundary = []*iam.Policy{allow} },
			"session":  func(p *iam.Policies) { p.Session = []*iam.Policy{allow, deny} },
			"control":  func(p *iam.Policies) { p.Control = [][]*iam.Policy{{allow}, {deny}} },
		} {
			after := with(change)
			if before == iam.Allow {
				allowed++
				if after != iam.Allow {
					turned++
				}
				continue
			}
			require.NotEqual(t, iam.Allow, after, name)
		}
		if after := with(func(p *iam.Policies) { p.Identity = append(p.Identity[:1:1], allow) }); before == iam.Allow {
			require.Equal(t, iam.Allow, after)
		}
	})
	require.True(t, allowed > 0 && turned > 0, "the property was hardly tried: %d allowed, %d turned", allowed, turned)
}

// naive matches as the words say, in exponential time.
func naive(p, s []rune) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	if p[0] == '*' {
		return naive(p[1:], s) || len(s) > 0 && naive(p, s[1:])
	}
	return len(s) > 0 && (p[0] == '?' || p[0] == s[0]) && naive(p[1:], s[1:])
}

func TestWildcardsAgreeWithTheWords(t *testing.T) {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab:ü")), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		pattern, s := rapid.StringOfN(rapid.RuneFrom([]rune("ab:ü**?")), 0, 8, -1).Draw(t, "pattern"), text.Draw(t, "text")
		b, err := json.Marshal(object{"Version": iam.Version2012, "Statement": object{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": object{"StringLike": object{"a:k": pattern}}}})
		require.NoError(t, err)
		p, err := iam.Parse(b, nil)
		require.NoError(t, err)
		got := iam.Evaluate(iam.Policies{Identity: []*iam.Policy{p}}, request("a:B", db, iam.Context{"a:k": {s}}))
		require.Equal(t, naive([]rune(pattern), []rune(s)), got == iam.Allow, "%q %q", pattern, s)
	})
}

// FuzzParse: what parses is decided, the same by both functions; what does not has findings with places; and an added "deny all" leaves nothing.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:*","Resource":"arn:aws:ssm:*:*:parameter/${aws:username, 'x'}/*","Condition":{"ForAnyValue:StringLikeIfExists":{"aws:TagKeys":["a*","${*}"]},"NumericLessThan":{"a:n":5}}}]}`))
	f.Add([]byte(`{"Id":"x","Statement":{"Sid":"s","Effect":"Deny","Principal":{"AWS":["*"],"Service":"a.b"},"NotAction":["a:b"],"NotResource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"DateLessThan":{"aws:CurrentTime":"2026"},"BinaryEquals":{"k":"AA=="},"Null":{"k":true}}}}`))
	f.Add([]byte(`{"Statement":[{"effect":1},7,{"Effect":"Allow","Action":[],"Resource":"${","Condition":{"Bool":{"a":[{}]}}}],"Statement":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := iam.Parse(data, nil)
		if err != nil {
			var all iam.Errors
			require.ErrorAs(t, err, &all)
			require.NotEmpty(t, all)
			for _, e := range all {
				require.True(t, e.Line > 0 && e.Column > 0 && e.Line <= 1+strings.Count(string(data), "\n") && strings.HasPrefix(e.Path, "$"), "%v", e)
			}
			return
		}
		q := request("ssm:GetParameter", db, iam.Context{"aws:username": {"ann"}, "a:n": {"3"}, "aws:TagKeys": {"a", "b"}, "aws:SourceIp": {"10.0.0.1"}})
		all := []*iam.Policy{p}
		for _, set := range []iam.Policies{{Identity: all}, {Resource: all}, {Identity: all, Boundary: all, Session: all, Control: [][]*iam.Policy{all}}} {
			d := iam.Evaluate(set, q)
			x := iam.Explain(set, q)
			require.Equal(t, d, x.Decision)
			require.Contains(t, x.String(), d.String())
			no, err := iam.Parse([]byte(`{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`), nil)
			require.NoError(t, err)
			set.Session = append(set.Session[:len(set.Session):len(set.Session)], no)
			require.Equal(t, iam.ExplicitDeny, iam.Evaluate(set, q))
		}
	})
}
