package fleetwright_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/fleettest"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
)

// fickle denies one principal one action.
type fickle struct{ name, action string }

func (d fickle) Authorize(_ context.Context, p access.Principal, action, _ string, _ map[string]string) error {
	if p.Name == d.name && action == d.action {
		return fault.New("test", fault.AccessDenied, "no")
	}
	return nil
}

// I8, I9, I11: a fleet's own Parameter Store answers {{ssm:name}} in what is sent, without a word of configuration.
func TestI8_TheFleetsOwnParameterStoreAnswersReferences(t *testing.T) {
	fleet := fleettest.NewWith(t, 2, fleettest.Options{Config: fleetwright.Config{Authorizer: fickle{"eve", "ssm:GetParameters"}}})
	ctx := t.Context()
	put := func(name string, typ parameter.Type, value string, overwrite bool) {
		t.Helper()
		v := parameter.Text(value)
		if typ == parameter.SecureString {
			v = parameter.Secret(secret.String(value))
		}
		_, err := fleet.Parameters.PutParameter(ctx, parameter.PutParameterRequest{Name: name, Type: typ, Value: v, Overwrite: overwrite})
		require.NoError(t, err)
	}
	put("/x", parameter.String, "one", false)
	put("/x", parameter.String, "two", true)
	put("/list", parameter.StringList, "a,b", false)
	put("/inner", parameter.String, "$(id) ; `ls`", false)
	put("/secret", parameter.SecureString, "hunter2-canary", false)
	ran := make(chan string, 2)
	fleet.Script = func(_, script string) (string, int) { ran <- script; return "", 0 }
	send := func(ctx context.Context, line string) (command.Command, error) {
		req := shell(line)
		req.Targets = fleet.All()
		return fleet.Commands.Send(ctx, req)
	}
	for _, c := range []struct{ rule, line, want string }{
		{"I8 the newest version", "echo {{ssm:/x}}", "echo two\n"},
		{"I8 spaces around the name", "echo {{ ssm:/x }}", "echo two\n"},
		{"I10 a version", "echo {{ssm:/x:1}} {{ssm:/x}}", "echo one two\n"},
		{"I9 a list", "echo {{ssm:/list}}", "echo a,b\n"},
		{"I4 a value is put in as it is", "echo {{ssm:/inner}}", "echo $(id) ; `ls`\n"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			sent, err := send(t.Context(), c.line)
			require.NoError(t, err)
			sent, err = fleet.Commands.Wait(t.Context(), sent.ID)
			require.NoError(t, err)
			require.Equal(t, message.Success, sent.Status)
			for range fleet.Len() {
				require.Equal(t, c.want, <-ran)
			}
		})
	}
	for _, c := range []struct {
		rule, who, line string
		code            fault.Code
	}{
		{"I11 a SecureString is refused", "ann", "echo {{ssm:/secret}}", parameter.CodeUnsupportedType},
		{"I11 among others too", "ann", "echo {{ssm:/x}} {{ssm:/secret}}", parameter.CodeUnsupportedType},
		{"I8 an unknown name", "ann", "echo {{ssm:/nope}}", fault.InvalidParameters},
		{"I10 an unknown version", "ann", "echo {{ssm:/x:9}}", fault.InvalidParameters},
		{"who sends must be allowed to read", "eve", "echo {{ssm:/x}}", fault.AccessDenied},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, err := send(access.With(t.Context(), access.Principal{Name: c.who}), c.line)
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
			require.NotContains(t, err.Error(), "hunter2-canary")
			require.Empty(t, ran, "nothing runs")
		})
	}
	sent, _, err := fleet.Commands.List(ctx, command.ListRequest{})
	require.NoError(t, err)
	require.Len(t, sent, 5, "what was refused left nothing behind")
}
