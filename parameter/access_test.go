package parameter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// deny is an authorizer that refuses what it lists: "action resource-prefix".
type deny map[string]string

func (d deny) Authorize(_ context.Context, p access.Principal, action, resource string, tags map[string]string) error {
	if p.Name == "admin" {
		return nil
	}
	for a, prefix := range d {
		if (a == "*" || a == action) && strings.HasPrefix(resource, prefix) {
			return errors.New("denied")
		}
	}
	if tags["secret"] == "yes" {
		return errors.New("denied by tag")
	}
	return nil
}

func TestAccessIsAskedForEveryItem(t *testing.T) {
	w := newWorld(t, func(c *parameter.Config) { c.Authorizer = deny{"*": "parameter/no"} })
	w.put("/no/a", "1")
	w.put("/yes/a", "1")
	tagged := str("/yes/t", "1")
	tagged.Tags = []parameter.Tag{{Key: "secret", Value: "yes"}}
	w.must(tagged)
	bob := as("bob")
	for _, name := range []string{"/no/a", "/no/absent", "/yes/t"} {
		for what, call := range map[string]func() error{
			"get": func() error { _, err := w.GetParameter(bob, parameter.GetParameterRequest{Name: name}); return err },
			"history": func() error {
				_, err := w.GetParameterHistory(bob, parameter.GetParameterHistoryRequest{Name: name})
				return err
			},
			"label": func() error {
				_, err := w.LabelParameterVersion(bob, parameter.LabelParameterVersionRequest{Name: name, Labels: []string{"x"}})
				return err
			},
			"unlabel": func() error {
				_, err := w.UnlabelParameterVersion(bob, parameter.UnlabelParameterVersionRequest{Name: name, ParameterVersion: 1, Labels: []string{"x"}})
				return err
			},
			"put": func() error { r := str(name, "2"); r.Overwrite = true; _, err := w.PutParameter(bob, r); return err },
			"delete": func() error {
				_, err := w.DeleteParameter(bob, parameter.DeleteParameterRequest{Name: name})
				return err
			},
			"at": func() error { _, err := w.GetAt(bob, parameter.GetAtRequest{Name: name, At: w.now}); return err },
			"tags": func() error {
				_, err := w.ListTagsForResource(bob, parameter.ListTagsForResourceRequest{ResourceType: "Parameter", ResourceID: name})
				return err
			},
		} {
			err := call()
			require.Equal(t, fault.AccessDenied, fault.CodeOf(err), "%s %s: %v", what, name, err)
			require.NotContains(t, err.Error(), "exist")
		}
	}
	many, err := w.GetParameters(bob, parameter.GetParametersRequest{Names: []string{"/no/a", "/no/absent", "/yes/t", "/yes/a"}})
	require.NoError(t, err)
	require.Len(t, many.Parameters, 1)
	require.Equal(t, []string{"/no/a", "/no/absent", "/yes/t"}, many.InvalidParameters, "forbidden looks like absent")
	path, err := w.GetParametersByPath(bob, parameter.GetParametersByPathRequest{Path: "/", Recursive: true})
	require.NoError(t, err)
	require.Len(t, path.Parameters, 1)
	d, err := w.DescribeParameters(bob, parameter.DescribeParametersRequest{})
	require.NoError(t, err)
	require.Len(t, d.Parameters, 1)
	del, err := w.DeleteParameters(bob, parameter.DeleteParametersRequest{Names: []string{"/no/a", "/no/absent", "/yes/t"}})
	require.NoError(t, err)
	require.Empty(t, del.DeletedParameters)
	require.Equal(t, "1", w.get("/no/a"))

	none := newWorld(t, func(c *parameter.Config) { c.Authorizer = nil })
	for _, err := range []error{
		func() error { _, err := none.PutParameter(admin, str("a", "v")); return err }(),
		func() error {
			_, err := none.GetParameters(admin, parameter.GetParametersRequest{Names: []string{"a"}})
			return err
		}(),
		func() error {
			_, err := none.GetParametersByPath(admin, parameter.GetParametersByPathRequest{Path: "/"})
			return err
		}(),
		func() error {
			_, err := none.DescribeParameters(admin, parameter.DescribeParametersRequest{})
			return err
		}(),
		func() error {
			_, err := none.DeleteParameters(admin, parameter.DeleteParametersRequest{Names: []string{"a"}})
			return err
		}(),
		func() error { _, err := none.Rewrap(admin, parameter.RewrapRequest{}); return err }(),
	} {
		code(t, fault.AccessDenied, err)
	}
}

func TestAuditSaysWhoReadWhat(t *testing.T) {
	w := newWorld(t, nil)
	w.putSecret("/s", "canary-of-audit")
	w.put("/p", "canary-of-audit too")
	w.get("/p")
	reading := as("reader")
	_, err := w.GetParameter(reading, parameter.GetParameterRequest{Name: "/s", WithDecryption: true})
	require.NoError(t, err)
	entries := func(f audit.Filter) []audit.Entry {
		es, _, err := w.log.List(admin, f, &audit.Page{MaxResults: 1000})
		require.NoError(t, err)
		return es
	}
	es := entries(audit.Filter{Principal: "reader"})
	require.Len(t, es, 1, "stored before the answer, without a flush")
	require.Equal(t, "parameter/s", es[0].Resource)
	require.Equal(t, map[string]string{"version": "1", "decrypted": "true"}, es[0].IDs)
	require.Len(t, entries(audit.Filter{Action: "ssm:PutParameter"}), 2)
	require.Empty(t, entries(audit.Filter{Action: "ssm:GetParameter", Resource: "parameter/p"}))
	require.NoError(t, w.log.Flush(admin))
	require.Len(t, entries(audit.Filter{Action: "ssm:GetParameter", Resource: "parameter/p"}), 1)
	_, err = w.GetParametersByPath(reading, parameter.GetParametersByPathRequest{Path: "/", WithDecryption: true})
	require.NoError(t, err)
	require.Len(t, entries(audit.Filter{Principal: "reader"}), 2)
	require.NotContains(t, fmt.Sprintf("%+v", entries(audit.Filter{})), "canary")
}
