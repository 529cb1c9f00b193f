package access_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
)

func TestActionsAreATable(t *testing.T) {
	all := access.Actions()
	require.True(t, slices.IsSortedFunc(all, func(a, b access.Action) int { return strings.Compare(a.Name, b.Name) }), "sorted, so that a row is found")
	form := regexp.MustCompile(`^(ssm|resource-groups|cloudtrail|fleetwright):[A-Z][A-Za-z]+$`)
	reads := regexp.MustCompile(`:(Get|List|Describe|Lookup|Backup|Doctor|Fsck)`)
	for i, a := range all {
		require.Regexp(t, form, a.Name)
		require.NotEmpty(t, a.Resource, a.Name)
		require.True(t, len(a.Description) > 10 && strings.HasSuffix(a.Description, "."), a.Name)
		require.Equal(t, !reads.MatchString(a.Name), a.Write, a.Name)
		if i > 0 {
			require.NotEqual(t, all[i-1].Name, a.Name)
		}
	}
	all[0].Name = "changed"
	require.NotEqual(t, "changed", access.Actions()[0].Name, "nobody can change the table")
}

func TestWhoCallsTravelsInTheContext(t *testing.T) {
	require.Equal(t, access.Principal{Tenant: access.DefaultTenant}, access.From(context.Background()), "nobody said who: anonymous")
	ctx := access.With(context.Background(), access.Principal{Name: "alice"})
	require.Equal(t, access.DefaultTenant, access.Tenant(ctx))
	ctx = access.With(ctx, access.Principal{Tenant: "t", Name: "bob"})
	require.Equal(t, "bob", access.From(ctx).Name)
	require.Equal(t, "t", access.Tenant(ctx))
}

func TestCheckFailsClosed(t *testing.T) {
	ctx := access.With(context.Background(), access.Principal{Name: "al\x1bice"})
	err := access.Check(ctx, nil, "ssm:SendCommand", "document/x", nil)
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	err = access.Check(ctx, access.DenyAll{}, "ssm:SendCommand", "document/\x1b[2J", nil)
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	require.NotContains(t, err.Error(), "\x1b")
	require.NotContains(t, err.Error(), "everything is denied", "the authorizer's reason is not for the caller")
	require.NoError(t, access.Check(ctx, access.AllowAll{}, "ssm:SendCommand", "document/x", nil))
}

func TestGrants(t *testing.T) {
	g := access.Grants{"alice": {"ssm:SendCommand", "ssm:List*"}, "root": {"*"}, "": {"*"}}
	may := func(name, action string) bool {
		return g.Authorize(context.Background(), access.Principal{Name: name}, action, "r", nil) == nil
	}
	for _, c := range []struct {
		name, action string
		want         bool
	}{
		{"alice", "ssm:SendCommand", true}, {"alice", "ssm:SendCommands", false}, {"alice", "ssm:ListCommands", true}, {"alice", "ssm:List", true},
		{"alice", "ssm:GetParameter", false}, {"root", "ssm:GetParameter", true}, {"bob", "ssm:SendCommand", false}, {"", "ssm:SendCommand", false},
	} {
		require.Equal(t, c.want, may(c.name, c.action), "%s %s", c.name, c.action)
	}
	require.Equal(t, []string{"", "alice", "root"}, g.Names())
}
