package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
)

var shortly = &api.Options{Poll: time.Second, PollMost: 2 * time.Second}

func stackIs(status, reason string) said {
	return said{"cloudformation:DescribeStacks", "", `{"Stacks":[{"StackId":"arn:s","StackStatus":"` + status + `","StackStatusReason":"` + reason + `"}]}`, nil}
}

func TestCreateStack(t *testing.T) {
	made := said{"cloudformation:CreateStack", "", `{"StackId":"arn:s"}`, nil}
	bad := func(name, in, says string) row {
		return row{name: name, in: in, fails: says, stage: automation.InputValidation, typ: verification}
	}
	id := map[string][]string{"StackId": {"arn:s"}}
	play(t, "aws:createStack", true, []row{
		{name: "all that is given, with the call's token", took: 9 * time.Second,
			in: `{"StackName":"s","TemplateBody":{"Resources":{}},"Parameters":[{"ParameterKey":"a","ParameterValue":"b"}],"Capabilities":"CAPABILITY_IAM","TimeoutInMinutes":5,"OnFailure":"DELETE","RoleARN":"","Tags":[],"StackPolicyURL":null}`,
			says: []said{{"cloudformation:CreateStack", `{"StackName":"s","TemplateBody":"{\"Resources\":{}}","Parameters":[{"ParameterKey":"a","ParameterValue":"b"}],"Capabilities":["CAPABILITY_IAM"],"TimeoutInMinutes":5,"OnFailure":"DELETE","Tags":[],"ClientRequestToken":"` + token + `"}`, `{"StackId":"arn:s"}`, nil},
				{"cloudformation:DescribeStacks", `{"StackName":"arn:s"}`, `{"Stacks":[{"StackStatus":"CREATE_IN_PROGRESS"}]}`, nil}, stackIs("CREATE_IN_PROGRESS", ""), stackIs("CREATE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"CREATE_COMPLETE"}`},
		{name: "a token of one's own, a template elsewhere", in: `{"StackName":"s","TemplateURL":"https://x","ClientRequestToken":"mine"}`, says: []said{{"cloudformation:CreateStack", `{"StackName":"s","TemplateURL":"https://x","ClientRequestToken":"mine"}`, `{"StackId":"arn:s"}`, nil}, stackIs("CREATE_COMPLETE", "r")},
			want: `{"StackId":"arn:s","StackStatus":"CREATE_COMPLETE","StackStatusReason":"r"}`},
		{name: "in camel case", in: `{"stackName":"s","clientRequestToken":"mine","templateURL":"https://x"}`, says: []said{{"cloudformation:CreateStack", `{"StackName":"s","TemplateURL":"https://x","ClientRequestToken":"mine"}`, `{"StackId":"arn:s"}`, nil}, stackIs("CREATE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"CREATE_COMPLETE"}`},
		{name: "text that looks like JSON stays text", in: `{"StackName":"s","TemplateBody":"{ }"}`, says: []said{{"cloudformation:CreateStack", `{"StackName":"s","TemplateBody":"{ }","ClientRequestToken":"` + token + `"}`, `{"StackId":"arn:s"}`, nil}, stackIs("CREATE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"CREATE_COMPLETE"}`},
		{name: "rolls back: the first reason is the one", in: `{"StackName":"s"}`, took: 21 * time.Second, says: []said{made, stackIs("CREATE_IN_PROGRESS", "User Initiated"), stackIs("ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [X]."), stackIs("ROLLBACK_IN_PROGRESS", "other"), stackIs("ROLLBACK_COMPLETE", "")},
			fails: "the stack s entered the unexpected state ROLLBACK_COMPLETE: The following resource(s) failed to create: [X].", stage: automation.PostVerification, typ: verification, detail: id},
		{name: "fails, and nothing is done", in: `{"StackName":"s"}`, says: []said{made, stackIs("CREATE_FAILED", "because")}, fails: "CREATE_FAILED: because", stage: automation.PostVerification, typ: verification, detail: map[string][]string{"StackStatus": {"CREATE_FAILED"}}},
		{name: "fails, and is deleted", in: `{"StackName":"s"}`, took: 3 * time.Second, says: []said{made, stackIs("DELETE_IN_PROGRESS", "because"), stackIs("DELETE_COMPLETE", "")}, fails: "DELETE_COMPLETE: because", stage: automation.PostVerification, typ: verification},
		{name: "is not known yet", in: `{"StackName":"s"}`, took: 15 * time.Second, says: []said{made, {op: "cloudformation:DescribeStacks", err: no("ValidationError", "Stack with id arn:s does not exist")}, {op: "cloudformation:DescribeStacks", err: no("Throttling", "")}, stackIs("CREATE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"CREATE_COMPLETE"}`},
		{name: "there is one", in: `{"StackName":"s"}`, says: []said{{op: "cloudformation:CreateStack", err: no("AlreadyExistsException", "Stack [s] already exists")}}, fails: "AlreadyExistsException"},
		bad("no name", `{"StackName":""}`, "StackName must be given"),
		bad("two templates", `{"StackName":"s","TemplateBody":"x","TemplateURL":"y"}`, "not both"),
		bad("two ways of failing", `{"StackName":"s","OnFailure":"DELETE","DisableRollback":true}`, "not both"),
		bad("a template that is too large", `{"StackName":"s","TemplateBody":"`+strings.Repeat("x", 51_201)+`"}`, "51201 bytes"),
		bad("a policy that is too large", `{"StackName":"s","StackPolicyBody":"`+strings.Repeat("x", 16_385)+`"}`, "16384 bytes"),
		bad("too many tags", `{"StackName":"s","Tags":[`+strings.Repeat(`{"Key":"a"},`, 10)+`{"Key":"b"}]}`, "11 Tags"),
	})
	play(t, "aws:createStack", true, []row{
		{name: "as many tags as the host lets", o: &api.Options{Tags: 50}, in: `{"StackName":"s","Tags":[` + strings.Repeat(`{"Key":"a"},`, 49) + `{"Key":"b"}]}`, says: []said{made, stackIs("CREATE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"CREATE_COMPLETE"}`},
		{name: "the largest template", in: `{"StackName":"s","TemplateBody":"` + strings.Repeat("x", 51_200) + `"}`, says: []said{made, stackIs("CREATE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"CREATE_COMPLETE"}`},
	})
}

func TestUpdateStack(t *testing.T) {
	asked := said{"cloudformation:UpdateStack", `{"StackName":"s","UsePreviousTemplate":true,"ClientRequestToken":"` + token + `"}`, `{"StackId":"arn:s"}`, nil}
	const in = `{"StackName":"s","UsePreviousTemplate":true}`
	play(t, "aws:updateStack", true, []row{
		{name: "waits until it is cleaned up, too", in: in, took: 9 * time.Second, says: []said{asked, stackIs("UPDATE_IN_PROGRESS", ""), stackIs("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", ""), stackIs("UPDATE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"UPDATE_COMPLETE"}`},
		{name: "is as it was when it is looked at first", in: in, took: 3 * time.Second, says: []said{asked, stackIs("CREATE_COMPLETE", ""), stackIs("UPDATE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"UPDATE_COMPLETE"}`},
		{name: "rolls back", in: in, took: 3 * time.Second, says: []said{asked, stackIs("UPDATE_ROLLBACK_IN_PROGRESS", "because"), stackIs("UPDATE_ROLLBACK_COMPLETE", "")}, fails: "UPDATE_ROLLBACK_COMPLETE: because", stage: automation.PostVerification, typ: verification},
		{name: "nothing to do", in: in, says: []said{{op: "cloudformation:UpdateStack", err: no("ValidationError", "No updates are to be performed.")}}, fails: "No updates are to be performed."},
		{name: "no name", in: `{}`, fails: "StackName must be given", stage: automation.InputValidation, typ: verification},
	})
}

func TestDeleteStack(t *testing.T) {
	asked := said{"cloudformation:DeleteStack", `{"StackName":"s","ClientRequestToken":"` + token + `"}`, "", nil}
	none := said{op: "cloudformation:DescribeStacks", err: no("ValidationError", "Stack with id s does not exist")}
	const in = `{"StackName":"s"}`
	play(t, "aws:deleteStack", true, []row{
		{name: "is looked at by its id, as the name may be used again", in: in, took: 9 * time.Second, says: []said{{"cloudformation:DescribeStacks", `{"StackName":"s"}`, `{"Stacks":[{"StackId":"arn:s","StackStatus":"CREATE_COMPLETE"}]}`, nil}, asked, {"cloudformation:DescribeStacks", `{"StackName":"arn:s"}`, `{"Stacks":[{"StackStatus":"CREATE_COMPLETE"}]}`, nil},
			stackIs("DELETE_IN_PROGRESS", ""), stackIs("DELETE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"DELETE_COMPLETE"}`},
		{name: "all inputs", in: `{"StackName":"s","RoleARN":"r","RetainResources":["a"],"ClientRequestToken":"mine"}`, says: []said{stackIs("DELETE_FAILED", "x"), {"cloudformation:DeleteStack", `{"StackName":"s","RoleARN":"r","RetainResources":["a"],"ClientRequestToken":"mine"}`, "", nil}, none}, want: `{"StackId":"arn:s","StackStatus":"DELETE_COMPLETE"}`},
		{name: "there is none", in: in, says: []said{none}, want: `{"StackId":"s","StackStatus":"DELETE_COMPLETE"}`},
		{name: "is deleted already", in: `{"StackName":"arn:s"}`, says: []said{stackIs("DELETE_COMPLETE", "")}, want: `{"StackId":"arn:s","StackStatus":"DELETE_COMPLETE"}`},
		{name: "cannot be deleted", in: in, says: []said{stackIs("CREATE_COMPLETE", ""), asked, stackIs("DELETE_FAILED", "a bucket is not empty")}, fails: "DELETE_FAILED: a bucket is not empty", stage: automation.PostVerification, typ: verification, detail: map[string][]string{"StackId": {"arn:s"}}},
		{name: "is protected", in: in, says: []said{stackIs("CREATE_COMPLETE", ""), {op: "cloudformation:DeleteStack", err: no("ValidationError", "TerminationProtection is enabled")}}, fails: "TerminationProtection is enabled"},
		{name: "may not be looked at", in: in, says: []said{{op: "cloudformation:DescribeStacks", err: no("AccessDenied", "no")}}, fails: "DescribeStacks", typ: automation.PermissionFailure},
		{name: "no name", in: `{}`, fails: "StackName must be given", stage: automation.InputValidation, typ: verification},
	})
}
