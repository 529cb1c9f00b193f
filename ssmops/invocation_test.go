package ssmops

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

type m = map[string]any

// reports makes every node report this.
func (w *world) reports(f func(ref message.Ref) message.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report = f
}

func TestSendCommandAnswersAsAWSDoes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n := w.register(nil)
		w.create("Greet", greet)
		out := call1[m](w, "SendCommand", m{"DocumentName": "Greet", "InstanceIds": []string{n}, "OutputS3BucketName": "", "NotificationConfig": m{"NotificationArn": "", "NotificationEvents": []string{}}})
		c := out["Command"].(m)
		for k, want := range (m{"Status": "Pending", "StatusDetails": "Pending", "MaxConcurrency": "50", "MaxErrors": "0", "OutputS3BucketName": "", "OutputS3KeyPrefix": "", "ServiceRole": "",
			"Comment": "", "TargetCount": 1.0, "CompletedCount": 0.0, "ErrorCount": 0.0, "DeliveryTimedOutCount": 0.0}) {
			require.Equal(t, want, c[k], k)
		}
		require.Equal(t, []any{}, c["Targets"])
		require.Equal(t, m{}, c["Parameters"])
		require.Equal(t, m{"NotificationArn": "", "NotificationEvents": []any{}, "NotificationType": ""}, c["NotificationConfig"])
		require.Equal(t, m{"CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false}, c["CloudWatchOutputConfig"])
		require.InDelta(t, 7200, c["ExpiresAfter"].(float64)-c["RequestedDateTime"].(float64), 0.001, "3600 for delivery and 3600 for execution")
		require.Regexp(t, `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`, c["CommandId"])
	})
}

func TestWhatIsNotKeptIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n := w.register(nil)
		w.create("Greet", greet)
		for member, v := range (m{"OutputS3BucketName": "b", "OutputS3KeyPrefix": "p", "ServiceRoleArn": "arn", "NotificationConfig": m{"NotificationArn": "arn"},
			"CloudWatchOutputConfig": m{"CloudWatchOutputEnabled": true}, "AlarmConfiguration": m{"Alarms": []m{{"Name": "a"}}}}) {
			for _, op := range []string{"SendCommand", "PlanCommand"} {
				_, err := call2[m](w, op, m{"DocumentName": "Greet", "InstanceIds": []string{n}, member: v})
				require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(err), member)
			}
		}
		require.Empty(t, call1[ListCommandsResult](w, "ListCommands", m{}).Commands)
	})
}

func TestR25_GetCommandInvocation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n := w.register(nil)
		w.create("Greet", greet)
		get := func(id, plugin string) GetCommandInvocationResult {
			return call1[GetCommandInvocationResult](w, "GetCommandInvocation", m{"CommandId": id, "InstanceId": n, "PluginName": plugin})
		}
		c := w.run(n)
		r := get(c.ID, "")
		require.Equal(t, "hello\n", r.StandardOutputContent)
		require.Equal(t, "greet", r.PluginName, "the only step may be left out")
		require.Equal(t, []any{message.Success, message.DetailSuccess, 0}, []any{r.Status, r.StatusDetails, r.ResponseCode})
		require.Equal(t, "PT1.755S", r.ExecutionElapsedTime)
		require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, r.ExecutionStartDateTime)
		require.Equal(t, "canary of a command", r.Comment)
		require.Equal(t, r, get(c.ID, "greet"))

		// Nothing of the output before it ended, and -1 before it started.
		w.reports(func(ref message.Ref) message.Report {
			rep := succeed(ref)
			rep.Detail, rep.Ended, rep.ExitCode = message.DetailInProgress, time.Time{}, -1
			rep.Steps[0].Status, rep.Steps[0].Ended, rep.Steps[0].ExitCode = message.InProgress, time.Time{}, -1
			return rep
		})
		sent := call1[SendCommandResult](w, "SendCommand", m{"DocumentName": "Greet", "InstanceIds": []string{n}}).Command
		time.Sleep(time.Second)
		r = get(sent.ID, "")
		require.Equal(t, message.InProgress, r.Status)
		require.Equal(t, "", r.StandardOutputContent)
		require.Equal(t, -1, r.ResponseCode)
		require.Equal(t, "", r.ExecutionEndDateTime)
		require.NotEmpty(t, r.ExecutionElapsedTime)

		for out, want := range map[string]int{strings.Repeat("x", 24_000): 24_000, strings.Repeat("x", 24_001): 24_000, strings.Repeat("é", 12_000): 24_000} {
			w.reports(func(ref message.Ref) message.Report {
				rep := succeed(ref)
				rep.Steps[0].Stdout, rep.Steps[0].Stderr = head(out, 24_000), head(out, 8_000)
				return rep
			})
			r = get(w.run(n).ID, "")
			require.LessOrEqual(t, len(r.StandardOutputContent), want)
			require.LessOrEqual(t, len(r.StandardErrorContent), 8_000)
			require.True(t, utf8.ValidString(r.StandardErrorContent))
			require.Equal(t, len(out) > 24_000, strings.HasSuffix(r.StandardOutputContent, "\n--output truncated--"), "a text of exactly the limit is whole, and a cut is marked (T23)")
			require.True(t, strings.HasSuffix(r.StandardErrorContent, "\n--output truncated--"))
		}

		_, err := call2[m](w, "GetCommandInvocation", m{"CommandId": c.ID, "InstanceId": "mi-00000000000000000"})
		require.Equal(t, fault.InvocationDoesNotExist, fault.CodeOf(err))
		_, err = call2[m](w, "GetCommandInvocation", m{"CommandId": "x", "InstanceId": n})
		require.Equal(t, fault.InvalidCommandID, fault.CodeOf(err))
	})
}

// head is what a node reports of an output.
func head(s string, n int) message.Stream {
	return message.Stream{Head: cut(s, n), Size: int64(len(s)), InPieces: len(s) > n}
}

func TestR27_SeveralStepsNeedAName(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n := w.register(nil)
		w.create("Greet", greet)
		w.reports(func(ref message.Ref) message.Report {
			rep := succeed(ref)
			bad := step("second", message.Failed, "two", "oops")
			bad.ExitCode = 3
			skipped := step("third", message.Skipped, "", "")
			skipped.Reason = "not on this platform"
			rep.Steps = []message.StepReport{step("first", message.Success, "one", ""), bad, skipped}
			rep.Detail, rep.ExitCode = message.DetailInterrupted, 3
			return rep
		})
		c := w.run(n)
		_, err := call2[m](w, "GetCommandInvocation", m{"CommandId": c.ID, "InstanceId": n})
		require.Equal(t, fault.InvalidPluginName, fault.CodeOf(err))
		_, err = call2[m](w, "GetCommandInvocation", m{"CommandId": c.ID, "InstanceId": n, "PluginName": "fourth\x1b"})
		require.Equal(t, fault.InvalidPluginName, fault.CodeOf(err))
		require.NotContains(t, string(errorBody(err)), "\x1b")
		get := func(plugin string) GetCommandInvocationResult {
			return call1[GetCommandInvocationResult](w, "GetCommandInvocation", m{"CommandId": c.ID, "InstanceId": n, "PluginName": plugin})
		}
		require.Equal(t, []any{message.Success, 0, "one"}, []any{get("first").Status, get("first").ResponseCode, get("first").StandardOutputContent}, "a step's own status, not the invocation's")
		require.Equal(t, []any{message.Failed, 3, "oops"}, []any{get("second").Status, get("second").ResponseCode, get("second").StandardErrorContent})
		require.Equal(t, []any{message.Success, "not on this platform"}, []any{get("third").Status, get("third").StandardOutputContent}, "AWS knows no Skipped")

		l := call1[ListCommandInvocationsResult](w, "ListCommandInvocations", m{"CommandId": c.ID, "Details": true}).CommandInvocations
		require.Len(t, l, 1)
		require.Equal(t, message.DetailFailed, l[0].StatusDetails, "AWS knows no Interrupted")
		require.Equal(t, "two\n----------ERROR-------\noops", l[0].CommandPlugins[1].Output)
		require.Equal(t, "not on this platform", l[0].CommandPlugins[2].Output)
		require.Equal(t, message.Success, l[0].CommandPlugins[2].Status)
		require.Equal(t, "oops", l[0].FirstLine)
		require.Empty(t, call1[ListCommandInvocationsResult](w, "ListCommandInvocations", m{"CommandId": c.ID}).CommandInvocations[0].CommandPlugins, "only with Details")
	})
}

func TestR24_PluginOutput(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n := w.register(nil)
		w.create("Greet", greet)
		for _, size := range []int{2_500, 2_501, 30_000} {
			w.reports(func(ref message.Ref) message.Report {
				rep := succeed(ref)
				rep.Steps[0].Stdout = head(strings.Repeat("é", size/2)+strings.Repeat("x", size%2), 24_000)
				return rep
			})
			c := w.run(n)
			p := call1[ListCommandInvocationsResult](w, "ListCommandInvocations", m{"CommandId": c.ID, "Details": true}).CommandInvocations[0].CommandPlugins[0]
			require.LessOrEqual(t, len(p.Output), 2_500)
			require.True(t, utf8.ValidString(p.Output))
			require.Equal(t, size > 2_500, strings.HasSuffix(p.Output, "\n---Output truncated---"), "%d: %q", size, p.Output[max(0, len(p.Output)-40):])
			require.Greater(t, len(p.Output), 2_400, "as much as fits")
		}
	})
}

func TestListsPage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var nodes []string
		for range 3 {
			nodes = append(nodes, w.register(nil))
		}
		w.create("Greet", greet)
		w.create("Other", strings.Replace(greet, "hello", "bye", 1))
		want := map[string]bool{}
		for i := range 4 {
			c := w.run(nodes...)
			for _, n := range nodes {
				want[c.ID+n] = true
			}
			time.Sleep(time.Duration(i) * time.Second)
		}
		got := map[string]bool{}
		pages := 0
		for in := (m{"MaxResults": 2}); ; pages++ {
			r := call1[ListCommandInvocationsResult](w, "ListCommandInvocations", in)
			require.LessOrEqual(t, len(r.CommandInvocations), 2)
			for _, i := range r.CommandInvocations {
				require.False(t, got[i.CommandID+i.InstanceID], "twice")
				got[i.CommandID+i.InstanceID] = true
			}
			if in["NextToken"] = r.NextToken; r.NextToken == "" {
				break
			}
			require.Less(t, pages, 20)
		}
		require.Equal(t, want, got, "without CommandId, the invocations of every command")

		r := call1[ListCommandInvocationsResult](w, "ListCommandInvocations", m{"InstanceId": nodes[1]})
		require.Len(t, r.CommandInvocations, 4)
		require.Empty(t, r.NextToken)
		require.Empty(t, call1[ListCommandInvocationsResult](w, "ListCommandInvocations", m{"Filters": []m{{"key": "Status", "value": "Failed"}}}).CommandInvocations)
		require.Len(t, call1[ListCommandsResult](w, "ListCommands", m{"MaxResults": 3}).Commands, 3)
		require.Len(t, call1[ListCommandsResult](w, "ListCommands", m{"Filters": []m{{"key": "ExecutionStage", "value": "Complete"}, {"key": "DocumentName", "value": "Greet"}}}).Commands, 4)
		require.Empty(t, call1[ListCommandsResult](w, "ListCommands", m{"Filters": []m{{"key": "InvokedAfter", "value": "2100-01-01T00:00:00Z"}}}).Commands)
		for _, bad := range []struct {
			op   string
			in   m
			code fault.Code
		}{
			{"ListCommands", m{"MaxResults": 51}, fault.Validation},
			{"ListCommands", m{"MaxResults": -1}, fault.Validation},
			{"ListCommands", m{"NextToken": "x"}, fault.InvalidNextToken},
			{"ListCommands", m{"Filters": []m{{"key": "Color", "value": "red"}}}, fault.InvalidFilterKey},
			{"ListCommands", m{"Filters": []m{{"key": "Status", "value": "Great"}}}, fault.Validation},
			{"ListCommands", m{"Filters": []m{{"key": "Status", "value": ""}}}, fault.Validation},
			{"ListCommands", m{"Filters": []m{{"key": "DocumentName", "value": strings.Repeat("x", 129)}}}, fault.Validation},
			{"ListCommands", m{"Filters": []m{{"key": "Status", "value": "Failed"}, {"key": "Status", "value": "Success"}}}, fault.Validation},
			{"ListCommands", m{"Filters": []m{{"key": "InvokedAfter", "value": "yesterday"}}}, fault.Validation},
			{"ListCommands", m{"Filters": []m{{}, {}, {}, {}, {}, {}}}, fault.Validation},
			{"ListCommands", m{"CommandId": "x"}, fault.InvalidCommandID},
			{"ListCommandInvocations", m{"MaxResults": 51}, fault.Validation},
			{"ListCommandInvocations", m{"NextToken": "x"}, fault.InvalidNextToken},
			{"ListCommandInvocations", m{"NextToken": "e30"}, fault.InvalidNextToken},
			{"ListCommandInvocations", m{"Filters": []m{{"key": "ExecutionStage", "value": "Complete"}}}, fault.InvalidFilterKey},
			{"DescribeActivations", m{"MaxResults": 51}, fault.Validation},
			{"DescribeActivations", m{"Filters": []m{{"FilterKey": "x"}}}, fault.InvalidFilterKey},
			{"DescribeInstanceInformation", m{"MaxResults": 51}, fault.Validation},
			{"DescribeInstanceInformation", m{"Filters": []m{{"Key": "x", "Values": []string{"y"}}}}, fault.InvalidFilterKey},
			{"ListGroups", m{"MaxResults": 51}, fault.Validation},
			{"ListGroupResources", m{"MaxResults": 51, "Name": "x"}, fault.Validation},
			{"ListAudit", m{"MaxResults": 1001}, fault.Validation},
			{"ListAudit", m{"Outcome": "Maybe"}, fault.Validation},
			{"ListTagsForResource", m{"ResourceType": "Automation", "ResourceId": "x"}, fault.InvalidResourceType},
			{"ListTagsForResource", m{"ResourceType": "ManagedInstance", "ResourceId": "x"}, fault.InvalidResourceID},
			{"AddTagsToResource", m{"ResourceType": "ManagedInstance", "ResourceId": nodes[0], "Tags": []m{{"Key": "a"}, {"Key": "a"}}}, fault.Validation},
			{"CreateActivation", m{"Tags": []m{{"Key": "a"}, {"Key": "a"}}}, fault.Validation},
			{"CreateGroup", m{"Name": "g", "ResourceQuery": m{"Type": "CLOUDFORMATION_STACK_1_0"}}, fault.Validation},
			{"DeregisterManagedInstance", m{"InstanceId": "mi-x"}, fault.InvalidInstanceID},
		} {
			_, err := call2[m](w, bad.op, bad.in)
			require.Equal(t, bad.code, fault.CodeOf(err), "%s %v: %v", bad.op, bad.in, err)
		}
	})
}

func TestNodesTagsAndGroups(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		made := call1[CreateActivationResult](w, "CreateActivation", m{"DefaultInstanceName": "box", "RegistrationLimit": 2, "ExpirationDate": float64(time.Now().Add(time.Hour).Unix()), "Tags": []m{{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "1"}}})
		require.Regexp(t, `^[0-9a-zA-Z]{26}$`, made.ActivationCode)
		as := call1[DescribeActivationsResult](w, "DescribeActivations", m{"Filters": []m{{"FilterKey": "ActivationIds", "FilterValues": []string{made.ActivationID}}}}).ActivationList
		require.Len(t, as, 1)
		require.Equal(t, []Tag{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}}, as[0].Tags)
		require.Equal(t, []any{"box", 2, 0, false}, []any{as[0].DefaultInstanceName, as[0].RegistrationLimit, as[0].RegistrationsCount, as[0].Expired})
		b, err := json.Marshal(as)
		require.NoError(t, err)
		require.NotContains(t, string(b), made.ActivationCode)

		n := w.register(map[string]string{"Role": "web"})
		call1[m](w, "AddTagsToResource", m{"ResourceType": "ManagedInstance", "ResourceId": n, "Tags": []m{{"Key": "Env", "Value": "prod"}}})
		require.Equal(t, `{"TagList":[{"Key":"Env","Value":"prod"},{"Key":"Role","Value":"web"}]}`, raw(w, "ListTagsForResource", m{"ResourceType": "ManagedInstance", "ResourceId": n}))
		call1[m](w, "RemoveTagsFromResource", m{"ResourceType": "ManagedInstance", "ResourceId": n, "TagKeys": []string{"Role"}})
		info := call1[DescribeInstanceInformationResult](w, "DescribeInstanceInformation", m{"InstanceInformationFilterList": []m{{"key": "InstanceIds", "valueSet": []string{n}}}})
		require.Len(t, info.InstanceInformationList, 1)
		require.Equal(t, map[string]string{"Env": "prod"}, info.InstanceInformationList[0].Tags)
		require.Regexp(t, `"RegistrationDate":946684800(\.\d+)?[,}]`, raw(w, "DescribeInstanceInformation", m{}), "times are numbers")

		w.create("Greet", greet)
		call1[m](w, "AddTagsToResource", m{"ResourceType": "Document", "ResourceId": "Greet", "Tags": []m{{"Key": "Team", "Value": "x"}}})
		call1[m](w, "RemoveTagsFromResource", m{"ResourceType": "Document", "ResourceId": "Greet", "TagKeys": []string{"canary"}})
		require.Equal(t, `{"TagList":[{"Key":"Team","Value":"x"}]}`, raw(w, "ListTagsForResource", m{"ResourceType": "Document", "ResourceId": "Greet"}))

		q, err := NewResourceQuery(nil)
		require.NoError(t, err)
		require.Equal(t, `{"ResourceTypeFilters":["AWS::AllSupported"]}`, q.Query)
		g := call1[GroupResult](w, "CreateGroup", m{"Name": "prod", "ResourceQuery": m{"Type": "TAG_FILTERS_1_0", "Query": `{"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Key":"Env","Values":["prod"]}]}`}})
		require.Equal(t, g, call1[GroupResult](w, "GetGroup", m{"Name": "prod"}))
		fs, err := g.Group.ResourceQuery.Filters()
		require.NoError(t, err)
		require.Equal(t, "[{Env [prod]}]", fmt.Sprint(fs))
		require.Equal(t, []string{n}, call1[ListGroupResourcesResult](w, "ListGroupResources", m{"Name": "prod"}).InstanceIDs)
		call1[m](w, "DeleteGroup", m{"Name": "prod"})
		require.Equal(t, `{"Groups":[]}`, raw(w, "ListGroups", m{}))
		call1[m](w, "DeregisterManagedInstance", m{"InstanceId": n})
		require.Equal(t, `{"InstanceInformationList":[]}`, raw(w, "DescribeInstanceInformation", m{}))
	})
}

func raw(w *world, op string, in any) string {
	w.t.Helper()
	b, err := json.Marshal(in)
	require.NoError(w.t, err)
	b, err = w.api.Call(w.ctx, op, b)
	require.NoError(w.t, err)
	return string(b)
}

func TestDocuments(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create("Greet", greet)
		up := call1[DocumentResult](w, "UpdateDocument", m{"Name": "Greet", "DocumentVersion": "$LATEST", "Content": strings.Replace(greet, "hello", "bye", 1)})
		require.Equal(t, "2", up.DocumentDescription.DocumentVersion)
		require.Equal(t, "1", up.DocumentDescription.DefaultVersion)
		call1[m](w, "UpdateDocumentDefaultVersion", m{"Name": "Greet", "DocumentVersion": "2"})
		require.Equal(t, "2", call1[DescribeDocumentResult](w, "DescribeDocument", m{"Name": "Greet"}).Document.DefaultVersion)
		require.Contains(t, call1[GetDocumentResult](w, "GetDocument", m{"Name": "Greet"}).Content, "bye")
		vs := call1[ListDocumentVersionsResult](w, "ListDocumentVersions", m{"Name": "Greet"}).DocumentVersions
		require.Len(t, vs, 2)
		require.False(t, vs[0].CreatedDate.IsZero())
		for _, op := range []string{"DescribeDocument", "GetDocument", "ListDocumentVersions"} {
			require.Regexp(t, `"CreatedDate":\d+(\.\d+)?[,}]`, raw(w, op, m{"Name": "Greet"}), op)
		}
		_, err := call2[m](w, "CreateDocument", m{"Name": "Bad", "Content": `{"schemaVersion":"2.2","mainSteps":[]}`})
		require.Equal(t, fault.InvalidDocumentContent, fault.CodeOf(err))
		found := call1[DocumentResult](w, "CreateDocument", m{"Name": "Raw", "Content": `{"schemaVersion":"2.2","parameters":{"who":{"type":"String"}},"mainSteps":[{"action":"aws:runShellScript","name":"x","inputs":{"runCommand":["echo {{who}}"]}}]}`})
		require.NotEmpty(t, found.Findings, "warnings are for the author")
		require.Equal(t, "warning", found.Findings[0].Severity)
	})
}

func TestPlanCommand(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a, b := w.register(map[string]string{"Role": "web"}), w.register(map[string]string{"Role": "web"})
		w.create("Greet", greet)
		p := call1[PlanCommandResult](w, "PlanCommand", m{"DocumentName": "Greet", "Targets": []m{{"Key": "tag:Role", "Values": []string{"web"}}}})
		require.Len(t, p.Nodes, 2)
		require.ElementsMatch(t, []string{a, b}, []string{p.Nodes[0].InstanceID, p.Nodes[1].InstanceID})
		require.Equal(t, []string{"tag:Role = web"}, p.Nodes[0].Matched)
		require.True(t, p.Nodes[0].Connected && p.Nodes[0].Signed)
		require.Equal(t, m{"runCommand": []any{"echo hello"}}, m(p.Variants[0].Steps[0].Inputs))
		require.Equal(t, "Run", p.Variants[0].Steps[0].Verdict)
		require.Equal(t, []PlannedWave{{0, 1, 1}, {1, 1, 1}}, p.Waves)
		require.Equal(t, []any{50, 0, 2}, []any{p.MaxConcurrency, p.ErrorLimit, p.WorstErrors})
		require.Empty(t, call1[ListCommandsResult](w, "ListCommands", m{}).Commands, "nothing was sent")
	})
}
