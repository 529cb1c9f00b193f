package parameter_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access/iam"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

var _ parameter.PolicyDecider = (*iam.Sharing)(nil)

// TestS33_ADenyBeatsAnAllowOfAnotherPolicy: with the policies that are built in, and with those of access/iam.
func TestS33_ADenyBeatsAnAllowOfAnotherPolicy(t *testing.T) {
	const arn = "arn:aws:ssm:local:default:parameter/a/b"
	statement := func(effect, who, action string) string {
		return `{"Effect":"` + effect + `","Principal":` + who + `,"Action":"` + action + `","Resource":"` + arn + `"}`
	}
	policy := func(version, statements string) string {
		return `{"Version":"` + version + `","Statement":[` + statements + `]}`
	}
	everybody := policy("2012-10-17", statement("Allow", `"*"`, "ssm:GetParameter"))
	for name, decider := range map[string]parameter.PolicyDecider{"built in": nil, "access/iam": iam.NewSharing(iam.Names{}, nil)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *parameter.Config) { c.Sharing = decider })
			r := str("/a/b", "v")
			r.Tier = parameter.Advanced
			w.must(r)
			may := func(ctx context.Context) bool {
				t.Helper()
				_, err := w.GetParameter(ctx, parameter.GetParameterRequest{Name: arn})
				if err != nil {
					code(t, parameter.CodeNotFound, err)
				}
				d, derr := w.DescribeParameters(ctx, parameter.DescribeParametersRequest{Shared: true})
				require.NoError(t, derr)
				require.Empty(t, d.Parameters, "ssm:DescribeParameters is not granted")
				return err == nil
			}
			put := func(text string) parameter.PutResourcePolicyResult {
				t.Helper()
				out, err := w.PutResourcePolicy(admin, parameter.PutResourcePolicyRequest{ResourceARN: arn, Policy: text})
				require.NoError(t, err)
				return out
			}
			bob, eve := tenant("222233334444", "bob"), tenant("555566667777", "eve")
			allow := put(everybody)
			require.True(t, may(bob))
			require.True(t, may(eve))
			denied := put(policy("2008-10-17", statement("Deny", `{"AWS":"555566667777"}`, "ssm:*")))
			require.True(t, may(bob))
			require.False(t, may(eve), "denied by the other policy")
			put(policy("2012-10-17", statement("Deny", `{"AWS":"222233334444"}`, "ssm:PutParameter")))
			require.True(t, may(bob), "a Deny of something else")
			_, err := w.DeleteResourcePolicy(admin, parameter.DeleteResourcePolicyRequest{ResourceARN: arn, PolicyID: denied.PolicyID, PolicyHash: denied.PolicyHash})
			require.NoError(t, err)
			require.True(t, may(eve))
			_, err = w.DeleteResourcePolicy(admin, parameter.DeleteResourcePolicyRequest{ResourceARN: arn, PolicyID: allow.PolicyID, PolicyHash: allow.PolicyHash})
			require.NoError(t, err)
			require.False(t, may(bob), "what is not denied is not allowed yet")
		})
	}
}

// TestS33_ConditionsOfAccessIAM: a host that gives access/iam has conditions, single statements, and users of another tenant.
func TestS33_ConditionsOfAccessIAM(t *testing.T) {
	const arn = "arn:aws:ssm:local:default:parameter/a/b"
	w := newWorld(t, nil)
	w.open(func(c *parameter.Config) {
		c.Sharing = iam.NewSharing(iam.Names{Accounts: map[string]string{"acme": "222233334444"}}, c.Now)
	})
	r := str("/a/b", "v")
	r.Tier = parameter.Advanced
	w.must(r)
	_, err := w.PutResourcePolicy(admin, parameter.PutResourcePolicyRequest{ResourceARN: arn, Policy: `{"Statement":{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::222233334444:user/ann","arn:aws:iam::222233334444:user/bob"]},
		"Action":["ssm:GetParameter","ssm:DescribeParameters"],"Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-03-02T00:00:00Z"}}}}`})
	require.NoError(t, err)
	may := func(ctx context.Context) bool {
		_, err := w.GetParameter(ctx, parameter.GetParameterRequest{Name: arn})
		d, derr := w.DescribeParameters(ctx, parameter.DescribeParametersRequest{Shared: true})
		require.NoError(t, derr)
		require.Equal(t, err == nil, len(d.Parameters) == 1)
		return err == nil
	}
	require.True(t, may(tenant("acme", "bob")))
	require.False(t, may(tenant("acme", "eve")))
	require.False(t, may(tenant("other", "bob")))
	w.now = w.now.AddDate(0, 0, 1)
	require.False(t, may(tenant("acme", "bob")), "it was until yesterday")
	for _, bad := range []string{`{"Statement":[]}`, `{"Statement":{"Effect":"Allow","Principal":"*","Action":"x","Resource":"*"},"statement":[]}`, `null`, `{"Statement":{"Effect":"Allow","Action":"ssm:*","Resource":"*"}}`} {
		_, err := w.PutResourcePolicy(admin, parameter.PutResourcePolicyRequest{ResourceARN: arn, Policy: bad})
		require.Equal(t, parameter.CodeMalformedPolicy, fault.CodeOf(err), bad)
	}
}
