package automation_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/target"
)

// values are targets that are there.
type values []string

func (v values) Values(_ context.Context, _ string, ts []target.Target) ([]string, error) {
	return v, target.Validate(ts, nil) // they come in the words that all services share
}

// onlyLooking lets ann do everything but start.
type onlyLooking struct{}

func (onlyLooking) Authorize(_ context.Context, p access.Principal, action, _ string, _ map[string]string) error {
	if p.Name != "ann" || action == "ssm:StartAutomationExecution" {
		return fault.New("test", fault.AccessDenied, "no")
	}
	return nil
}

func TestListFiltersAsTheAPIHasThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.mod = func(c *automation.Config) { c.Targets = values{"i-1", "i-2"} }
		st.docs["Hold"] = `{"schemaVersion":"0.3","mainSteps":[{"name":"hold","action":"aws:pause","inputs":{}}]}`
		st.docs["Quick"] = `{"schemaVersion":"0.3","parameters":{"Id":{"type":"String","default":"x"}},"mainSteps":[{"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"Get"}}]}`
		s, end := st.plane("one", true)
		defer end()
		start := func(req automation.Request) string {
			id, err := s.Start(ann, req)
			require.NoError(t, err)
			time.Sleep(time.Second)
			return id
		}
		hold := start(automation.Request{DocumentName: "Hold", Tags: map[string]string{"Team": "web"}})
		quick := start(automation.Request{DocumentName: "Quick"})
		spread := start(automation.Request{DocumentName: "Quick", Spread: &automation.Spread{Parameter: "Id", Targets: []target.Target{{Key: "ResourceGroup", Values: []string{"fleet"}}}}})
		first, _, err := s.Get(ann, hold)
		require.NoError(t, err)
		children := 2
		for _, c := range []struct {
			key  string
			vals []string
			want []string
		}{
			{"DocumentNamePrefix", []string{"Ho"}, []string{hold}},
			{"ExecutionStatus", []string{"Waiting", "Failed"}, []string{hold}},
			{"ExecutionId", []string{quick, spread}, []string{spread, quick}},
			{"CurrentAction", []string{"aws:pause"}, []string{hold}},
			{"TagKey", []string{"Team", "Other"}, []string{hold}},
			{"TargetResourceGroup", []string{"fleet"}, []string{spread}},
			{"StartTimeBefore", []string{first.Created.Add(time.Millisecond).UTC().Format(time.RFC3339Nano)}, []string{hold}},
			{"AutomationType", []string{"CrossAccount"}, nil},
			{"AutomationSubtype", []string{"ChangeRequest"}, nil},
			{"OpsItemId", []string{"oi-1"}, nil},
		} {
			var f automation.Filter
			require.NoError(t, f.Add(c.key, c.vals...), c.key)
			list, _, err := s.List(ann, f, 0, "")
			require.NoError(t, err)
			var got []string
			for _, e := range list {
				got = append(got, e.ID)
			}
			require.Equal(t, c.want, got, c.key)
		}
		var f automation.Filter
		require.NoError(t, f.Add("ParentExecutionId", spread))
		list, _, err := s.List(ann, f, 0, "")
		require.NoError(t, err)
		require.Len(t, list, children)
		f = automation.Filter{}
		require.NoError(t, f.Add("StartTimeAfter", first.Created.UTC().Format(time.RFC3339Nano)))
		list, _, err = s.List(ann, f, 0, "")
		require.NoError(t, err)
		require.Len(t, list, 2+children)
		for _, c := range []struct {
			key  string
			vals []string
			code fault.Code
		}{
			{"Colour", []string{"red"}, fault.InvalidFilterKey},
			{"ExecutionStatus", []string{"success"}, fault.InvalidFilterValue},
			{"StartTimeAfter", []string{"yesterday"}, fault.InvalidFilterValue},
			{"DocumentNamePrefix", []string{"a", "b"}, fault.InvalidFilterValue},
			{"ExecutionId", nil, fault.InvalidFilterValue},
			{"AutomationType", []string{"Remote"}, fault.InvalidFilterValue},
			{"TagKey", []string{strings.Repeat("x", 151)}, fault.InvalidFilterValue},
		} {
			var f automation.Filter
			require.Equal(t, c.code, fault.CodeOf(f.Add(c.key, c.vals...)), c.key)
		}
	})
}

func TestStepsAreListedAndFiltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		st.docs["Loop"] = `{"schemaVersion":"0.3","mainSteps":[
		 {"name":"each","action":"aws:loop","inputs":{"Iterators":["a","b","c"],"Steps":[{"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT1S"}}]}},
		 {"name":"last","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"Get"}}]}`
		s, end := st.plane("one", true)
		defer end()
		id, err := s.Start(ann, automation.Request{DocumentName: "Loop"})
		require.NoError(t, err)
		x, err := s.Wait(ann, id)
		require.NoError(t, err)
		names := func(f automation.StepFilter) (out []string) {
			for after, more := 0, true; more; more = after > 0 {
				page, next, err := s.Steps(ann, id, f, 2, after)
				require.NoError(t, err)
				for _, step := range page {
					out = append(out, step.Name)
				}
				after = next
			}
			return out
		}
		require.Equal(t, []string{"each", "rest", "rest", "rest", "last"}, names(automation.StepFilter{}))
		require.Equal(t, []string{"last", "rest", "rest", "rest", "each"}, names(automation.StepFilter{Reverse: true}))
		require.Equal(t, []string{"rest", "rest", "rest"}, names(automation.StepFilter{ParentStep: x.Steps[0].ID}))
		require.Equal(t, []string{"rest"}, names(automation.StepFilter{Iteration: 2}))
		require.Equal(t, []string{"rest"}, names(automation.StepFilter{IteratorValue: "c"}))
		require.Equal(t, []string{"last"}, names(automation.StepFilter{Actions: []string{"aws:executeAwsApi"}, Statuses: []automation.Status{automation.Success}}))
		require.Empty(t, names(automation.StepFilter{Before: x.Created}))
		_, _, err = s.Steps(ann, id, automation.StepFilter{}, 51, 0)
		require.Equal(t, fault.Validation, fault.CodeOf(err))
		_, _, err = s.Steps(ann, "nope", automation.StepFilter{}, 0, 0)
		require.Equal(t, automation.ExecutionNotFound, fault.CodeOf(err))
	})
}

func TestPreviewAndExploreThroughTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		called := false
		st.acts["aws:executeAwsApi"] = automation.Action{Run: func(context.Context, automation.Call) (any, error) { called = true; return nil, nil }}
		st.mod = func(c *automation.Config) {
			c.Targets = values{"i-1", "i-2", "i-3"}
			c.Authorizer = onlyLooking{}
		}
		st.docs["Make"] = `{"schemaVersion":"0.3","parameters":{"Id":{"type":"String"}},"mainSteps":[
		 {"name":"make","action":"aws:executeAwsApi","inputs":{"Service":"ec2","Api":"CreateImage","InstanceId":"{{ Id }}"}},
		 {"name":"look","action":"aws:executeAwsApi","inputs":{"Service":"ec2","Api":"DescribeImages"}},
		 {"name":"drop","action":"aws:executeAwsApi","inputs":{"Service":"ec2","Api":"DeleteImage"}}]}`
		s, end := st.plane("one", true)
		defer end()
		p, err := s.Preview(ann, automation.Request{DocumentName: "Make", Parameters: map[string][]string{"Id": {"i-1"}}})
		require.NoError(t, err, "who may not start may still be let look")
		require.Equal(t, map[automation.Impact]int{automation.Mutating: 2, automation.NonMutating: 1}, p.Impacts)
		require.Equal(t, "i-1", p.Steps[0].Inputs["InstanceId"])
		p, err = s.Preview(ann, automation.Request{DocumentName: "Make", Spread: &automation.Spread{Parameter: "Id", Targets: []target.Target{{Key: "tag:Role", Values: []string{"web"}}}}})
		require.NoError(t, err)
		require.Equal(t, 3, p.Targets)
		_, err = s.Preview(ann, automation.Request{DocumentName: "Make"})
		require.Equal(t, automation.InvalidExecutionParams, fault.CodeOf(err))
		_, err = s.Preview(ann, automation.Request{DocumentName: "None"})
		require.Equal(t, automation.DefinitionNotFound, fault.CodeOf(err))
		e, err := s.Explore(ann, "Make", "", nil)
		require.NoError(t, err)
		require.Len(t, e.Warnings, 1)
		require.Equal(t, automation.NotCleanedUp, e.Warnings[0].Kind)
		eve := access.With(ann, access.Principal{Name: "eve"})
		_, err = s.Explore(eve, "Make", "", nil)
		require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
		_, err = s.Preview(eve, automation.Request{DocumentName: "Make"})
		require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
		list, _, err := s.List(ann, automation.Filter{}, 0, "")
		require.NoError(t, err)
		require.Empty(t, list)
		require.False(t, called, "nothing was done")
	})
}
