package realworld

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
)

const topic = "arn:aws:sns:eu-west-1:123456789012:Approvals"

// approvals are runbooks that wait for people.
func approvals() []story {
	one := func(a *aws) { a.instance("i-1", "running", nil) }
	stop := params{"InstanceId": {"i-1"}, "Approvers": {"bea", "cem"}, "SNSTopicArn": {topic}}
	workspace := func(state, rebooted, restored string) func(a *aws) {
		return func(a *aws) {
			x := a.put("workspace", "ws-12345678", state, nil)
			a.on("workspaces:DescribeWorkspaces", func(in m) (m, error) {
				_, err := a.get("workspace", texts(in["WorkspaceIds"])[0], "ResourceNotFoundException")
				return m{"Workspaces": l{m{"WorkspaceId": "ws-12345678", "State": x.state}}}, err
			})
			a.says("workspaces:DescribeWorkspaceSnapshots", `{"RebuildSnapshots":[{"SnapshotTime":"t"}],"RestoreSnapshots":[{"SnapshotTime":"t"}]}`)
			a.on("workspaces:RebootWorkspaces", func(m) (m, error) { a.becomes(x, "REBOOTING", 4*time.Minute, rebooted); return m{}, nil })
			a.on("workspaces:RestoreWorkspace", func(m) (m, error) { a.becomes(x, "RESTORING", 20*time.Minute, restored); return m{}, nil })
		}
	}
	recover := params{"WorkspaceId": {"ws-12345678"}, "Acknowledge": {"Yes"}, "Approvers": {"bea", "cem"}, "MinRequiredApprovals": {"2"}, "SNSTopicArn": {topic}, "Restore": {"Yes"}}
	const looked = "getWorkSpaceInitialState=Success assertWorkSpaceInitialState=Success branchOnWorkSpaceInitialState=Success getWorkSpaceSnapshots=Success approval="
	const rebooted = looked + "Success branchOnRebootAllowed=Success rebootWorkSpace=Success waitForRebootWorkSpace=Success waitForRebootWorkSpaceResult=Success getWorkSpaceStateAfterReboot=Success branchOnWorkSpaceStateAfterReboot=Success"
	bucket := func(more m) func(a *aws) { return func(a *aws) { a.put("bucket", "old-logs", "", more) } }
	empty := params{"S3BucketName": {"old-logs"}, "SNSTopicArn": {topic}, "ApproverIAM": {"bea"}, "Acknowledgement": {"Yes, I understand and acknowledge"}, "ExpirationDays": {"30"}}
	code := attachments{
		"checkConcurrency.py": `def check_concurrency_handler(events, context):
    return {"NoExecutionFound": "True"} if events["TargetResourceId"] == "old-logs" else {}
`,
		"configure_s3_bucket.py": `import boto3
from botocore.exceptions import ClientError
def script_handler(events, context):
    s3 = boto3.client("s3")
    try:
        s3.put_bucket_lifecycle_configuration(Bucket=events["BucketName"], LifecycleConfiguration={"Rules": [{"Status": "Enabled", "Expiration": {"Days": events["ExpirationDays"]}}]})
    except ClientError as e:
        return {"executionStatus": "FAILED", "message": e.response["Error"]["Code"]}
    return {"executionStatus": "SUCCESS", "message": "rules for %d days" % events["ExpirationDays"]}
`}
	const asked = "checkConcurrency=Success getBucketVersioningConfiguration=Success branchOnStoppingIfMFADeleteEnabled=Success"
	const emptied = asked + " approvalToMakeChangesToTheProvidedS3Bucket=Success branchOnBucketVersioningStatus=Success suspendBucketVersioning=Success updateBucketPolicyAndLifeCycleConfiguration=Success branchOnFailingIfBucketPropertiesNotUpdated=Success"
	rules := func(a *aws) {
		a.on("s3:PutBucketLifecycleConfiguration", func(in m) (m, error) {
			x, err := a.get("bucket", str(in, "Bucket"), "NoSuchBucket")
			if err == nil && x.more["locked"] == true {
				err = no("AccessDenied", "Access Denied")
			}
			if err == nil {
				x.more["rules"] = text(sub(in, "LifecycleConfiguration")["Rules"])
			}
			return m{}, err
		})
	}
	return []story{
		{runbook: "AWSSupport-EmptyS3Bucket", params: empty, files: code, world: func(a *aws) { bucket(m{"Versioning": "Enabled", "MFADelete": "Disabled"})(a); rules(a) }, approvers: []string{"bea"}, status: automation.Success, steps: emptied, scripts: 2,
			order: "s3:PutBucketVersioning s3:PutBucketLifecycleConfiguration", outputs: map[string]string{"updateBucketPolicyAndLifeCycleConfiguration.Message": `"rules for 30 days"`}, check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.Equal(t, "Suspended", a.things["bucket"]["old-logs"].more["Versioning"])
				require.JSONEq(t, `[{"Status":"Enabled","Expiration":{"Days":30}}]`, a.things["bucket"]["old-logs"].more["rules"].(string))
			}},
		{runbook: "AWSSupport-EmptyS3Bucket", how: "the change is refused: versioning is as before", params: empty, files: code, world: func(a *aws) { bucket(m{"Versioning": "Enabled", "MFADelete": "Disabled", "locked": true})(a); rules(a) }, approvers: []string{"bea"},
			status: automation.Success, steps: emptied + " branchOnFailureOriginalVersioningStatus=Success onFailureRestoreBucketVersioning=Success", scripts: 2, order: "s3:PutBucketVersioning s3:PutBucketLifecycleConfiguration s3:PutBucketVersioning",
			outputs: map[string]string{"updateBucketPolicyAndLifeCycleConfiguration.Message": `"AccessDenied"`}, check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.Equal(t, "Enabled", a.things["bucket"]["old-logs"].more["Versioning"])
			}},
		{runbook: "AWSSupport-EmptyS3Bucket", how: "a bucket whose deletions need a second factor", params: empty, files: code, world: bucket(m{"Versioning": "Enabled", "MFADelete": "Enabled"}), status: automation.Success, steps: asked, scripts: 1},
		{runbook: "AWSSupport-EmptyS3Bucket", how: "nobody approves within an hour", params: empty, files: code, world: bucket(m{"Versioning": "Enabled", "MFADelete": "Disabled"}), status: automation.TimedOut,
			steps: asked + " approvalToMakeChangesToTheProvidedS3Bucket=TimedOut", scripts: 1},
		{runbook: "AWSSupport-EmptyS3Bucket", how: "a bucket that never had versions", params: empty, files: code, world: func(a *aws) { bucket(m{})(a); rules(a) }, approvers: []string{"bea"}, status: automation.Success, scripts: 2,
			steps: asked + " approvalToMakeChangesToTheProvidedS3Bucket=Success branchOnBucketVersioningStatus=Success updateBucketPolicyAndLifeCycleConfiguration=Success branchOnFailingIfBucketPropertiesNotUpdated=Success", order: "s3:PutBucketLifecycleConfiguration"},
		{runbook: "AWS-StopEC2InstanceWithApproval", params: stop, world: one, approvers: []string{"cem"}, status: automation.Success, steps: "approve=Success stopInstances=Success", order: "ec2:StopInstances",
			check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Equal(t, "stopped", a.things["instance"]["i-1"].state)
				require.Equal(t, "Approved", x.Steps[0].Outputs["ApprovalStatus"])
				require.Contains(t, text(x.Steps[0].Outputs["ApproverDecisions"]), "cem")
			}},
		{runbook: "AWS-RestartEC2InstanceWithApproval", how: "it is rejected", params: stop, world: one, approvers: []string{"!bea"}, status: automation.Failed, steps: "approve=Failed", check: func(t *testing.T, a *aws, _ *automation.Execution) {
			require.Empty(t, a.calls)
		}},
		{runbook: "AWS-DeleteCloudFormationStackWithApproval", params: params{"StackNameOrId": {"shop"}, "Approvers": {"bea"}, "SNSTopicArn": {topic}}, world: func(a *aws) { a.put("stack", "shop", "CREATE_COMPLETE", m{"StackId": "arn:shop", "StackName": "shop"}) },
			approvers: []string{"bea"}, status: automation.Success, steps: "approve=Success deleteCloudFormationStack=Success", order: "cloudformation:DeleteStack", check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.Equal(t, "DELETE_COMPLETE", a.things["stack"]["shop"].state)
			}},
		{runbook: "AWS-UpdateCloudFormationStackWithApproval", params: params{"StackNameOrId": {"shop"}, "TemplateUrl": {"https://example.com/t"}, "LambdaAssumeRole": {role}, "Approvers": {"bea"}, "SNSTopicArn": {topic}}, approvers: []string{"bea"}, world: func(a *aws) {
			a.put("function", "UpdateCFTemplate-", "", m{"run": op(func(in m) (m, error) { return m{"got": str(in, "Payload")}, nil })})
		}, status: automation.Success, steps: "approve=Success createDocumentStack=Success updateCloudFormationTemplate=Success deleteCloudFormationTemplate=Success", order: "cloudformation:CreateStack lambda:Invoke cloudformation:DeleteStack",
			check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.JSONEq(t, `{"got":"{\"StackName\": \"shop\", \"TemplateUrl\": \"https://example.com/t\"}"}`, x.Steps[2].Outputs["Payload"].(string))
				require.Equal(t, "DELETE_COMPLETE", a.things["stack"]["UpdateCFTemplateStack"+x.ID].state)
			}},
		{runbook: "AWS-CreateManagedLinuxInstanceWithApproval", params: params{"AmiId": {"ami-1"}, "KeyPairName": {"k"}, "Approvers": {"bea"}, "SNSTopicArn": {topic}, "StackName": {"web"}, "HttpTokens": {"required"}}, approvers: []string{"bea"}, status: automation.Success,
			steps: "approve=Success createManagedInstanceStack=Success deleteManagedInstanceStack=Success", order: "cloudformation:CreateStack cloudformation:DeleteStack", check: func(t *testing.T, a *aws, _ *automation.Execution) {
				in := a.things["stack"]["web"].more["in"].(m)
				require.Equal(t, "ROLLBACK", in["OnFailure"])
				require.Contains(t, text(in["Parameters"]), `{"ParameterKey":"HttpTokens","ParameterValue":"required"}`)
				require.Equal(t, "DELETE_COMPLETE", a.things["stack"]["web"].state)
			}},
		{runbook: "AWS-CreateManagedLinuxInstanceWithApproval", how: "its stack has the name that the runbook says", params: params{"AmiId": {"ami-1"}, "KeyPairName": {"k"}, "Approvers": {"bea"}, "SNSTopicArn": {topic}}, approvers: []string{"bea"}, status: automation.Success,
			steps: "approve=Success createManagedInstanceStack=Success deleteManagedInstanceStack=Success", order: "cloudformation:CreateStack cloudformation:DeleteStack", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Contains(t, a.things["stack"], "CreateManagedInstanceStack"+x.ID)
			}},
		{runbook: "AWSSupport-RecoverWorkSpaceWithApproval", how: "a reboot helps", params: recover, world: workspace("UNHEALTHY", "AVAILABLE", ""), approvers: []string{"bea", "cem"}, status: automation.Success,
			steps: rebooted + " assertWorkSpaceFinalState=Success", order: "workspaces:RebootWorkspaces"},
		{runbook: "AWSSupport-RecoverWorkSpaceWithApproval", how: "it is restored when a reboot did not help", params: recover, world: workspace("ERROR", "UNHEALTHY", "AVAILABLE"), approvers: []string{"bea", "cem"}, status: automation.Success,
			steps: rebooted + " branchOnRestoreAllowed=Success restoreWorkSpace=Success waitForRestoreWorkSpace=Success waitForRestoreWorkSpaceResult=Success getWorkSpaceStateAfterRestore=Success branchOnWorkSpaceStateAfterRestore=Success assertWorkSpaceFinalState=Success",
			order: "workspaces:RebootWorkspaces workspaces:RestoreWorkspace"},
		{runbook: "AWSSupport-RecoverWorkSpaceWithApproval", how: "one of two says no", params: recover, world: workspace("ERROR", "", ""), approvers: []string{"bea", "!cem"}, status: automation.Failed, steps: looked + "Failed"},
	}
}
