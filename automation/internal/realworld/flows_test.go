package realworld

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
)

// flows are runbooks with branches, loops, children and scripts that lead from one to the other.
func flows() []story {
	address := func(managed any) func(a *aws) {
		return func(a *aws) {
			a.put("address", "eipalloc-1", "", m{"AllocationId": "eipalloc-1", "ServiceManaged": managed})
			a.on("ec2:DescribeAddresses", func(in m) (m, error) {
				x, err := a.get("address", texts(in["AllocationIds"])[0], "InvalidAllocationID.NotFound")
				if err != nil {
					return nil, err
				}
				return m{"Addresses": l{x.more}}, nil
			})
			a.on("ec2:ReleaseAddress", func(in m) (m, error) { delete(a.things["address"], str(in, "AllocationId")); return m{}, nil })
		}
	}
	rule := func(port int, key string, from m) m {
		return m{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, key: l{from}}
	}
	group := func(a *aws) {
		a.put("group", "sg-1a", "", m{"GroupId": "sg-1a", "IpPermissions": l{rule(22, "IpRanges", m{"CidrIp": "0.0.0.0/0"}), rule(3389, "Ipv6Ranges", m{"CidrIpv6": "::/0"}), rule(443, "IpRanges", m{"CidrIp": "0.0.0.0/0"}),
			rule(22, "PrefixListIds", m{"PrefixListId": "pl-open"}), rule(22, "IpRanges", m{"CidrIp": "192.0.2.0/24"})}})
		a.on("ec2:GetManagedPrefixListEntries", func(in m) (m, error) {
			if in["NextToken"] == "more" {
				return m{"Entries": l{m{"Cidr": "::/0"}}}, nil
			}
			return m{"Entries": l{m{"Cidr": "0.0.0.0/0"}}, "NextToken": "more"}, nil
		})
	}
	logging := func(refuse ...string) func(a *aws) {
		return func(a *aws) {
			a.put("bucket", "logs", "", nil)
			a.on("s3:PutBucketLogging", func(in m) (m, error) {
				enabled := sub(sub(in, "BucketLoggingStatus"), "LoggingEnabled")
				for _, g := range items(enabled["TargetGrants"]) {
					for _, name := range refuse {
						if _, has := sub(g.(m), "Grantee")[name]; has {
							return nil, no("MalformedXML", "a grantee of another kind")
						}
					}
				}
				a.things["bucket"]["logs"].more["logging"] = text(enabled)
				return m{}, nil
			})
		}
	}
	logged := func(want string) func(t *testing.T, a *aws, x *automation.Execution) {
		return func(t *testing.T, a *aws, _ *automation.Execution) {
			require.JSONEq(t, want, a.things["bucket"]["logs"].more["logging"].(string))
		}
	}
	const opened = "CustomIpCheck=Success DisableSSHFromIpV4=Success DisableSSHFromIpV6=Failed DisableRDPFromIpV4=Failed DisableRDPFromIpV6=Success ProcessPrefixLists=Success"
	nodes := attachments{"script.py": `import boto3
def script_handler(events, context):
    kw = {"Filters": events["Filters"]}
    if events["NextToken"]:
        kw["NextToken"] = events["NextToken"]
    page = boto3.client("ssm").list_nodes(**kw)
    token = page.get("NextToken", "")
    boto3.client("s3").put_object(Bucket=events["S3BucketName"], Key="nodes-%s.csv" % (token or "last"), Body="\n".join(n["Id"] for n in page["Nodes"]))
    return {"Completed": not token, "NextToken": token, "S3OutputLink": "s3://" + events["S3BucketName"]}
`}
	alarms := func(a *aws) {
		const plan = "arn:aws:ssm-incidents::123456789012:response-plan/"
		a.put("bucket", "im-migration-logs-123456789012-eu-west-1", "", nil)
		for i := range 30 {
			name := fmt.Sprintf("alarm-%02d", i)
			a.put("alarm", name, "", m{"AlarmName": name, "AlarmArn": "arn:" + name, "StateValue": "OK", "AlarmActions": l{fmt.Sprintf("%sp%d", plan, i%2), "arn:aws:sns:eu-west-1:123456789012:t"}})
		}
		a.put("alarm", "quiet", "", m{"AlarmName": "quiet", "AlarmActions": l{}})
		all := func(names ...string) (out l) {
			for _, n := range names {
				out = append(out, a.things["alarm"][n].more)
			}
			return out
		}
		throttled := false
		a.on("cloudwatch:DescribeAlarms", func(in m) (m, error) {
			if names := texts(in["AlarmNames"]); len(names) > 0 {
				return m{"MetricAlarms": all(names...)}, nil
			}
			if !throttled {
				throttled = true
				return nil, no("Throttling", "Rate exceeded")
			}
			if in["NextToken"] == nil {
				return m{"MetricAlarms": all("quiet", "alarm-00"), "NextToken": "t"}, nil
			}
			var rest []string
			for i := 1; i < 30; i++ {
				rest = append(rest, fmt.Sprintf("alarm-%02d", i))
			}
			return m{"MetricAlarms": all(rest...)}, nil
		})
		a.on("cloudwatch:PutMetricAlarm", func(in m) (m, error) {
			if in["AlarmArn"] != nil || in["StateValue"] != nil {
				return nil, no("ValidationError", "Unknown parameter")
			}
			if in["AlarmName"] == "alarm-07" {
				return nil, no("ValidationError", "it has no metric")
			}
			a.things["alarm"][str(in, "AlarmName")].more["AlarmActions"] = in["AlarmActions"]
			return m{}, nil
		})
		a.on("ssm-incidents:GetResponsePlan", func(in m) (m, error) {
			return m{"incidentTemplate": m{"impact": map[any]int{plan + "p0": 1, plan + "p1": 5}[in["arn"]]}}, nil
		})
		a.on("logs:CreateLogGroup", func(in m) (m, error) {
			if a.things["logs"] != nil {
				return nil, no("ResourceAlreadyExistsException", "The specified log group already exists")
			}
			a.put("logs", str(in, "logGroupName"), "", nil)
			return m{}, nil
		})
		a.says("logs:CreateLogStream", `{}`).says("logs:PutLogEvents", `{}`)
	}
	endpoints := func(vpcs []string, broken ...string) func(a *aws) {
		return func(a *aws) {
			for i, vpc := range vpcs {
				g := fmt.Sprintf("sg-%d", i)
				a.put("group", g, "", m{"GroupId": g, "IpPermissionsEgress": l{}})
				a.put("object", "diag/actions/diagnosis/"+diagnosis+"/output/123456789012/eu-west-1/FindingNetworkingSecurityGroups/"+vpc+".json", "", m{"body": text(m{"SecurityGroupsCounts": l{m{"SecurityGroups": l{g}}}})})
			}
			by := a.ops["ec2:describesecuritygroups"]
			a.on("ec2:DescribeSecurityGroups", func(in m) (m, error) {
				if in["GroupIds"] != nil {
					return by(in)
				}
				for _, vpc := range broken {
					if texts(items(in["Filters"])[0].(m)["Values"])[0] == vpc {
						return nil, no("InternalError", "it is broken")
					}
				}
				return m{"SecurityGroups": l{m{"GroupId": "sg-endpoint"}}}, nil
			})
			a.on("ec2:AuthorizeSecurityGroupEgress", func(in m) (m, error) {
				x, err := a.get("group", str(in, "GroupId"), "InvalidGroup.NotFound")
				if err == nil {
					x.more["IpPermissionsEgress"] = append(items(x.more["IpPermissionsEgress"]), items(in["IpPermissions"])...)
				}
				return m{}, err
			})
		}
	}
	remedy := params{"AutomationAssumeRole": {role}, "BucketName": {"diag"}, "BucketOwner": {"123456789012"}, "DiagnosisExecutionId": {diagnosis}}
	const turn = "CreateBatch=Success UpdateContinuationToken=Success DidFindBatchItems=Success StartRateControlChildExecutions=Success RecordExecutions=Success UpdateAggregatedError=Success UpdateFailedExecutions=Success UpdateTotalExecutions=Success"
	const function = "arn:aws:lambda:eu-west-1:123456789012:function:thumbs"
	lambda := func(a *aws) {
		a.put("bucket", "photos", "", nil)
		a.says("lambda:GetFunction", `{"Configuration":{"FunctionName":"thumbs"}}`)
		a.says("s3:GetBucketNotificationConfiguration", `{"LambdaFunctionConfigurations":[{"Id":"new","LambdaFunctionArn":"`+function+`","Events":["s3:ObjectCreated:*"],"Filter":{"Key":{"FilterRules":[{"Name":"Prefix","Value":"in coming/"}]}}}]}`)
		policy := m{"Statement": l{}}
		a.on("lambda:GetPolicy", func(m) (m, error) { return m{"Policy": text(policy)}, nil })
		a.on("lambda:AddPermission", func(in m) (m, error) {
			policy["Statement"] = append(items(policy["Statement"]), m{"Effect": "Allow", "Action": in["Action"], "Principal": m{"Service": in["Principal"]}, "Condition": m{"ArnLike": m{"AWS:SourceArn": in["SourceArn"]}}})
			return m{}, nil
		})
	}
	batch := func(mains string) attachments {
		a := attachments{"main.py": mains}
		for _, name := range []string{"iam_permission", "job_checks", "ce_checks", "asg_sfr_checks", "results_report"} {
			a[name+"_handler.py"] = "import boto3\ndef " + name + "_handler(events, context):\n    return boto3.client('batch-checks')." + name + "(events=events)\n"
		}
		return a
	}
	checks := func(iam string) func(a *aws) {
		return func(a *aws) {
			a.says("batch-checks:IamPermission", `{"results":"`+iam+`","message":"permissions","info_codes":[]}`).says("batch-checks:JobChecks", `{"results":"SUCCESS","message":"RUNNABLE","info_codes":["a"]}`)
			a.says("batch-checks:CeChecks", `{"results":"SUCCESS","message":"VALID","info_codes":[],"is_fargate_job":"False","compute_env_to_check_infra":"env"}`)
			a.says("batch-checks:AsgSfrChecks", `{"underlying_infra_results":"x","results":"SUCCESS","message":"two do not join","info_codes":[],"run_ecs_automation":"Yes","instances":[{"ClusterName":"c","InstanceId":"i-0123456789abcdef0"},{"ClusterName":"c","InstanceId":"i-0123456789abcdef1"}]}`)
			a.on("batch-checks:ResultsReport", func(in m) (m, error) { return m{"ExecutionLogs": text(sub(in, "events")), "info_codes": l{}}, nil })
		}
	}
	const main = `def script_handler(events, context):
    return {"stdout": events["ClusterName"] + "/" + events["InstanceId"], "info_codes": []}
`
	share := attachments{}
	for _, name := range []string{"validate_resources", "check_resource_permission", "analyze_changes", "execute_changes", "results"} {
		share[name+".py"] = "import boto3\ndef function_handler(events, context):\n    return boto3.client('share')." + name + "(events=events)\n"
	}
	shared := func(a *aws) {
		a.says("share:ValidateResources", `{"encryptionKeyId":"key-1","encryptionKey":{"Arn":"arn:key-1"},"shouldCopyResource":true}`)
		a.says("share:AnalyzeChanges", `{"shouldUpdateKeyPolicy":false,"originalKeyPolicy":"{}","newKeyPolicy":"{}","report":"r","summary":"one copy"}`)
		a.on("share:ExecuteChanges", func(in m) (m, error) {
			a.put("image", "copy", "", m{"by": sub(in, "events")})
			return m{"copiedResourceId": "ami-copy", "changesApplied": m{"copied_resource": true, "added_permission": false, "updated_policy": false}}, nil
		})
		a.on("share:Results", func(in m) (m, error) { return m{"message": text(sub(in, "events")["CopiedResourceId"])}, nil })
	}
	job := params{"JobId": {"01234567-89ab-cdef-0123-456789abcdef"}}
	snapshots := attachments{
		"validate_snapshots.py": `import boto3
def script_handler(events, context):
    found = boto3.client("rds").describe_db_snapshots()["DBSnapshots"]
    secret = [s["DBSnapshotIdentifier"] for s in found if s["DBSnapshotIdentifier"] in events["SnapshotIds"] and s["Encrypted"]]
    if len(secret) == len(events["SnapshotIds"]):
        raise ValueError("all of them are encrypted")
    return {"EncryptedSnaps": ",".join(secret)}
`,
		"share_with_other_accounts.py": `import boto3
def script_handler(events, context):
    for s in events["SnapshotIds"]:
        boto3.client("rds").modify_db_snapshot_attribute(DBSnapshotIdentifier=s, AttributeName="restore", ValuesToAdd=events["AccountIds"])
    return {"Result": "%d snapshots, %s" % (len(events["SnapshotIds"]), events["AccountPermissionOperation"])}
`}
	return []story{
		{runbook: "AWS-ReleaseElasticIP", params: params{"AllocationId": {"eipalloc-1"}}, world: address(false), status: automation.Success, steps: "DescribeElasticIp=Success CheckServiceManaged=Success BranchOnServiceManaged=Success ReleaseElasticIp=Success", scripts: 1,
			order: "ec2:ReleaseAddress", check: func(t *testing.T, a *aws, _ *automation.Execution) { require.Empty(t, a.things["address"]) }},
		{runbook: "AWS-ReleaseElasticIP", how: "a service has it", params: params{"AllocationId": {"eipalloc-1"}}, world: address("alb"), status: automation.Success, steps: "DescribeElasticIp=Success CheckServiceManaged=Success BranchOnServiceManaged=Success", scripts: 1},
		{runbook: "AWS-DisablePublicAccessForSecurityGroup", params: params{"GroupId": {"sg-1a"}}, world: group, status: automation.Success, steps: opened, scripts: 1,
			order: "ec2:RevokeSecurityGroupIngress ec2:RevokeSecurityGroupIngress ec2:RevokeSecurityGroupIngress ec2:RevokeSecurityGroupIngress ec2:RevokeSecurityGroupIngress", check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.JSONEq(t, text(l{rule(443, "IpRanges", m{"CidrIp": "0.0.0.0/0"}), rule(22, "IpRanges", m{"CidrIp": "192.0.2.0/24"})}), text(a.things["group"]["sg-1a"].more["IpPermissions"]))
			}},
		{runbook: "AWS-DisablePublicAccessForSecurityGroup", how: "one network", params: params{"GroupId": {"sg-1a"}, "IpAddressToBlock": {"192.0.2.0/24"}}, world: group, status: automation.Success,
			steps: "CustomIpCheck=Success DisableSSHFromCustomIpV4=Success DisableRDPFromCustomIpV4=Failed ProcessPrefixLists=Success", scripts: 1, order: "ec2:RevokeSecurityGroupIngress ec2:RevokeSecurityGroupIngress", check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.Len(t, a.things["group"]["sg-1a"].more["IpPermissions"], 4)
			}},
		{runbook: "AWS-ConfigureS3BucketLogging", params: params{"BucketName": {"logs"}, "TargetBucket": {"t"}, "TargetObjectKeyPrefix": {"Partitioned"}, "TargetObjectKeyPartitionDateSource": {"EventTime"}, "GrantedPermission": {"READ"}, "GranteeType": {"Group"}, "GranteeUri": {"u"}},
			world: logging(), status: automation.Success, steps: "Branch=Success GetPutBucketLoggingPayload=Success PutBucketLoggingWithTargetObjectKeyPrefix=Success End=Success", scripts: 1, order: "s3:PutBucketLogging",
			check: logged(`{"TargetBucket":"t","TargetPrefix":"/","TargetObjectKeyFormat":{"PartitionedPrefix":{"PartitionDateSource":"EventTime"}},"TargetGrants":[{"Grantee":{"Type":"Group","URI":"u"},"Permission":"READ"}]}`)},
		{runbook: "AWS-ConfigureS3BucketLogging", how: "one form after the other", params: params{"BucketName": {"logs"}, "TargetBucket": {"t"}, "GrantedPermission": {"WRITE"}, "GranteeType": {"AmazonCustomerByEmail"}, "GranteeEmailAddress": {"bea@example.com"}},
			world: logging("URI", "ID"), status: automation.Success, steps: "Branch=Success CheckGrantee=Success PutBucketLoggingByUri=Failed PutBucketLoggingById=Failed PutBucketLoggingByEmailAddress=Success End=Success",
			order: "s3:PutBucketLogging s3:PutBucketLogging s3:PutBucketLogging", check: logged(`{"TargetBucket":"t","TargetPrefix":"/","TargetGrants":[{"Grantee":{"Type":"AmazonCustomerByEmail","EmailAddress":"bea@example.com"},"Permission":"WRITE"}]}`)},
		{runbook: "AWS-ExportNodes", params: params{"AutomationAssumeRole": {role}, "S3BucketName": {"nodes"}, "Filters": {`{"Key":"PlatformType","Values":["Linux"]}`}}, files: nodes, world: func(a *aws) {
			a.on("ssm:ListNodes", func(in m) (m, error) {
				if f := items(in["Filters"]); len(f) != 1 || f[0].(m)["Key"] != "PlatformType" {
					return nil, no("ValidationException", "Filters")
				}
				switch in["NextToken"] {
				case nil:
					return m{"Nodes": l{m{"Id": "i-1"}, m{"Id": "i-2"}}, "NextToken": "a"}, nil
				case "a":
					return m{"Nodes": l{m{"Id": "i-3"}}, "NextToken": "b"}, nil
				}
				return m{"Nodes": l{m{"Id": "i-4"}}}, nil
			})
		}, status: automation.Success, scripts: 3, order: "s3:PutObject s3:PutObject s3:PutObject",
			steps: "RepeatExportReportStepUntilDone=Success ExportReportStep=Success UpdateVariable=Success ExportReportStep=Success UpdateVariable=Success ExportReportStep=Success UpdateVariable=Success", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Len(t, a.things["object"], 3)
				require.Equal(t, "i-1\ni-2", a.things["object"]["nodes/nodes-a.csv"].more["body"])
				require.Equal(t, "i-4", a.things["object"]["nodes/nodes-last.csv"].more["body"])
				require.Equal(t, "", x.Variables["NextToken"])
			}},
		{runbook: "AWS-MigrateIncidentManagerCloudWatchAlarms", params: params{"AutomationAssumeRole": {"arn:aws:iam::123456789012:role/IM-Migration-Automation-Role"}, "ApproverArn": {"arn:aws:iam::123456789012:user/bea"}, "S3BucketName": {"im-migration-logs-123456789012-eu-west-1"},
			"SNSTopicArn": {"arn:aws:sns:eu-west-1:123456789012:Automation-IM-Migration-Approvals"}, "BatchSize": {"25"}}, world: alarms, approvers: []string{"arn:aws:iam::123456789012:user/bea"}, status: automation.Success, scripts: 4,
			steps: "getCloudWatchAlarms=Success CheckIfAlarmsExists=Success CheckApprovalRequirement=Success ApprovalStep=Success ProcessAlarmBatches=Success " +
				"ProcessMigration=Success UpdateSucceededAlarmCount=Success UpdateFailedAlarmCount=Success UpdateSkippedAlarmCount=Success ProcessMigration=Success UpdateSucceededAlarmCount=Success UpdateFailedAlarmCount=Success UpdateSkippedAlarmCount=Success GenerateSummary=Success",
			order: anyOrder, check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Equal(t, m{"MigratedAlarmCount": int64(29), "FailedAlarmCount": int64(1), "SkippedAlarmCount": int64(0)}, x.Variables)
				require.Contains(t, x.Outputs["GenerateSummary.message"], "Status: Completed with errors")
				require.Equal(t, `["arn:aws:ssm:eu-west-1:123456789012:opsitem:4","arn:aws:sns:eu-west-1:123456789012:t"]`, text(a.things["alarm"]["alarm-01"].more["AlarmActions"]))
				require.Equal(t, `["arn:aws:ssm:eu-west-1:123456789012:opsitem:1","arn:aws:sns:eu-west-1:123456789012:t"]`, text(a.things["alarm"]["alarm-28"].more["AlarmActions"]))
				require.Len(t, a.things["object"], 31, "a review and a backup of each alarm")
			}},
		{runbook: "AWS-RemediateSSMAgentHTTPSAccess", params: remedy, world: endpoints([]string{"vpc-0a", "vpc-0b", "vpc-0c"}), status: automation.Success, scripts: 3*2 + 3*3 + 1, children: 3,
			steps: "RunbookMode=Success GetDocumentName=Success BatchingLoop=Success " + turn + " " + turn + " " + turn + " FailRunbookCondition=Success",
			order: "ec2:AuthorizeSecurityGroupEgress ec2:AuthorizeSecurityGroupEgress ec2:AuthorizeSecurityGroupEgress", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Equal(t, int64(3), x.Variables["TotalExecutions"])
				require.Equal(t, int64(0), x.Variables["FailedExecutions"])
				for _, g := range []string{"sg-0", "sg-1", "sg-2"} {
					require.Len(t, a.things["group"][g].more["IpPermissionsEgress"], 1, g)
				}
			}},
		{runbook: "AWS-RemediateSSMAgentHTTPSAccess", how: "a child fails: more failed than may", params: params{"AutomationAssumeRole": {role}, "BucketName": {"diag"}, "BucketOwner": {"123456789012"}, "DiagnosisExecutionId": {diagnosis}, "ExecutionFailurePercentageThreshold": {"50"}},
			world: endpoints([]string{"vpc-0b"}, "vpc-0b"), status: automation.Failed, scripts: 8, children: 1,
			steps: "RunbookMode=Success GetDocumentName=Success BatchingLoop=Success " + strings.Replace(turn, "Executions=Success", "Executions=Failed", 1) + " FailRunbookCondition=Failed", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Equal(t, int64(1), x.Variables["FailedExecutions"])
				require.Contains(t, text(x.Variables["CurrentAggregatedError"]), "vpc-0b")
				require.Equal(t, "Exception: Failed amount of child executions exceeds threshold.", x.Failure.Message)
				require.Empty(t, a.things["group"]["sg-0"].more["IpPermissionsEgress"])
			}},
		{runbook: "AWSSupport-TroubleshootAWSBatchJob", params: job, files: batch(main), world: checks("SUCCESS"), status: automation.Success, scripts: 7, children: 2, order: anyOrder,
			steps: "PreflightPermissionChecks=Success BranchOnUserHasPermission=Success AWSBatchJobEvaluation=Success BranchOnBatchJobExistsAndIsinRunnableState=Success BatchComputeEnvironmentEvaluation=Success " +
				"BranchOnComputeEnvironmentChecksAreOK=Success UnderlyingInfraEvaluation=Success BranchOnInstancesNotJoiningEcsCluster=Success EcsAutomationRunner=Success ExecutionResults=Success", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Equal(t, `["c/i-0123456789abcdef0","c/i-0123456789abcdef1"]`, text(x.Steps[8].Outputs["Output"]))
			}},
		{runbook: "AWSSupport-TroubleshootAWSBatchJob", how: "without a right it only reports", params: job, files: batch(main), world: checks("FAILED"), status: automation.Success, scripts: 2, order: anyOrder,
			steps: "PreflightPermissionChecks=Success BranchOnUserHasPermission=Success ExecutionResults=Success", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Contains(t, x.Outputs["ExecutionResults.message"], `"PreflightPermissionChecksResults":"FAILED"`)
			}},
		{runbook: "AWSSupport-ShareEncryptedAMIOrEBSSnapshot", params: params{"Approvers": {"bea"}, "ResourceId": {"ami-00000000000000aaa"}, "DestinationAccountId": {"210987654321"}}, files: share, world: shared, approvers: []string{"bea"}, status: automation.Success, scripts: 4,
			steps: "ValidateResources=Success BranchOnResourcePermission=Success AnalyzeChanges=Success BranchOnChanges=Success GetApproval=Success ExecuteChanges=Success Results=Success", order: anyOrder, outputs: map[string]string{"Results.Message": `"\"ami-copy\""`},
			check: func(t *testing.T, a *aws, x *automation.Execution) {
				by := sub(a.things["image"]["copy"].more, "by")
				require.Equal(t, "Approved", by["ApprovalStatus"])
				require.Equal(t, true, by["ShouldCopyResource"])
				require.Equal(t, "{{ CheckResourcePermission.ShouldAddPermission }}", by["ShouldAddPermission"], "a step that did not run has no outputs: a name of one stays a name")
			}},
		{runbook: "AWSSupport-RemediateLambdaS3Event", params: params{"LambdaFunctionArn": {function}, "S3BucketName": {"photos"}, "Action": {"Remediate"}}, world: lambda, status: automation.Success, scripts: 3, order: "lambda:AddPermission",
			steps: "BranchOnCheckAction=Success CheckLambdaFunctionExistence=Success CheckS3BucketExistence=Success AnalyzeS3EventConfiguration=Success AnalyzeLambdaFunctionPermissions=Success GenerateReport=Success", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Contains(t, text(x.Outputs["GenerateReport.OutputPayload"]), "Special characters found in the value of the rule")
			}},
		{runbook: "AWSSupport-RemediateLambdaS3Event", how: "a child looks", params: params{"LambdaFunctionArn": {function}, "S3BucketName": {"photos"}, "Action": {"Troubleshoot"}}, world: lambda, status: automation.Success, scripts: 3, children: 1,
			steps: "BranchOnCheckAction=Success TroubleshootLambdaS3Event=Success CheckOutput=Success", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Contains(t, text(x.Outputs["CheckOutput.Output"]), "Special characters")
			}},
		{runbook: "AWSSupport-ModifyRDSSnapshotPermission", params: params{"SnapshotIdentifiers": {"a", "b"}, "Private": {"No"}, "AccountIds": {"210987654321"}, "AccountPermissionOperation": {"Add"}}, files: snapshots, world: func(a *aws) {
			a.says("rds:DescribeDBSnapshots", `{"DBSnapshots":[{"DBSnapshotIdentifier":"a","Encrypted":false},{"DBSnapshotIdentifier":"b","Encrypted":true}]}`)
			a.on("rds:ModifyDBSnapshotAttribute", func(in m) (m, error) {
				a.put("shared", str(in, "DBSnapshotIdentifier"), "", m{"with": in["ValuesToAdd"]})
				return m{}, nil
			})
		}, status: automation.Success, scripts: 2, steps: "ValidateSnapshots=Success BranchOnIsPrivate=Success ShareWithOtherAccounts=Success", order: "rds:ModifyDbSnapshotAttribute rds:ModifyDbSnapshotAttribute",
			outputs: map[string]string{"ValidateSnapshots.EncryptedSnapshots": `"b"`, "ShareWithOtherAccounts.Result": `"2 snapshots, Add"`}, check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.Equal(t, `["210987654321"]`, text(a.things["shared"]["b"].more["with"]))
			}},
		{runbook: "AWSSupport-ModifyRDSSnapshotPermission", how: "all are encrypted", params: params{"SnapshotIdentifiers": {"b"}, "Private": {"No"}}, files: snapshots, world: func(a *aws) {
			a.says("rds:DescribeDBSnapshots", `{"DBSnapshots":[{"DBSnapshotIdentifier":"b","Encrypted":true}]}`)
		}, status: automation.Failed, scripts: 1, steps: "ValidateSnapshots=Failed", check: func(t *testing.T, _ *aws, x *automation.Execution) {
			require.Equal(t, "ValueError: all of them are encrypted", x.Failure.Message)
		}},
	}
}

const (
	diagnosis = "01234567-89ab-cdef-0123-456789abcdef"
	anyOrder  = "*" // too many calls to be told one by one
)

// scripted are runbooks that are scripts, or nearly.
func scripted() []story {
	open := m{"IpProtocol": "-1", "IpRanges": l{m{"CidrIp": "0.0.0.0/0"}}}
	balancer := func(works bool) func(a *aws) {
		return func(a *aws) {
			attrs := l{m{"Key": "routing.http.desync_mitigation_mode", "Value": "monitor"}, m{"Key": "elb.http.desyncmitigationmode", "Value": "monitor"}}
			set := func(all any) {
				for _, kv := range items(all) {
					for i, have := range attrs {
						if works && have.(m)["Key"] == kv.(m)["Key"] {
							attrs[i] = kv
						}
					}
				}
			}
			a.on("elb:ModifyLoadBalancerAttributes", func(in m) (m, error) { set(sub(in, "LoadBalancerAttributes")["AdditionalAttributes"]); return m{}, nil })
			a.on("elb:DescribeLoadBalancerAttributes", func(m) (m, error) { return m{"LoadBalancerAttributes": m{"AdditionalAttributes": attrs}}, nil })
			a.on("elbv2:ModifyLoadBalancerAttributes", func(in m) (m, error) { set(in["Attributes"]); return m{}, nil })
			a.on("elbv2:DescribeLoadBalancerAttributes", func(m) (m, error) { return m{"Attributes": attrs}, nil })
			a.says("elbv2:DescribeLoadBalancers", `{"LoadBalancers":[{"Type":"application"}]}`)
		}
	}
	const alb = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/web/1"
	return []story{
		{runbook: "AWS-HelloWorld", status: automation.Success, steps: "HelloWorldScriptExecution=Success", scripts: 1},
		{runbook: "AWS-CloseSecurityGroup", params: params{"SecurityGroupId": {"sg-1a"}}, world: func(a *aws) {
			a.put("group", "sg-1a", "", m{"GroupId": "sg-1a", "IpPermissions": l{open}, "IpPermissionsEgress": l{open}})
		}, status: automation.Success, steps: "CloseSecurityGroup=Success", scripts: 1, order: "ec2:RevokeSecurityGroupIngress ec2:RevokeSecurityGroupEgress", check: func(t *testing.T, a *aws, _ *automation.Execution) {
			require.Equal(t, m{"GroupId": "sg-1a", "IpPermissions": l{}, "IpPermissionsEgress": l{}}, a.things["group"]["sg-1a"].more)
		}},
		{runbook: "AWS-CloseSecurityGroup", how: "there is none", params: params{"SecurityGroupId": {"sg-1a"}}, status: automation.Failed, steps: "CloseSecurityGroup=Failed", scripts: 1, check: func(t *testing.T, _ *aws, x *automation.Execution) {
			require.Equal(t, "Exception: Unable to close the security group 'sg-1a'. error: 'The security group 'sg-1a' does not exist'.", x.Failure.Message)
		}},
		{runbook: "AWS-ConfigureCloudWatchOnEC2Instance", params: params{"InstanceId": {"i-1"}, "status": {"Disabled"}}, world: func(a *aws) { a.says("ec2:UnmonitorInstances", `{}`) }, status: automation.Success, steps: "configureCloudWatch=Success", scripts: 1, order: "ec2:UnmonitorInstances"},
		{runbook: "AWS-EnableCloudTrailLogFileValidation", params: params{"TrailNames": {"one", "two"}}, world: func(a *aws) {
			a.put("trail", "one", "", m{"LogFileValidationEnabled": true})
			a.put("trail", "two", "", m{"LogFileValidationEnabled": false})
			a.on("cloudtrail:GetTrail", func(in m) (m, error) {
				x, err := a.get("trail", str(in, "Name"), "TrailNotFoundException")
				if err != nil {
					return nil, err
				}
				return m{"Trail": x.more}, nil
			})
			a.on("cloudtrail:UpdateTrail", func(in m) (m, error) {
				a.things["trail"][str(in, "Name")].more["LogFileValidationEnabled"] = in["EnableLogFileValidation"]
				return m{}, nil
			})
		}, status: automation.Success, steps: "EnableLogFileValidation=Success", scripts: 1, order: "cloudtrail:UpdateTrail", check: func(t *testing.T, a *aws, _ *automation.Execution) {
			require.Equal(t, true, a.things["trail"]["two"].more["LogFileValidationEnabled"])
		}},
		{runbook: "AWS-DeleteIAMInlinePolicy", params: params{"IamArns": {"arn:aws:iam::123456789012:user/bea", "arn:aws:iam::123456789012:role/web"}}, world: func(a *aws) {
			a.says("iam:ListUserPolicies", `{"PolicyNames":["x","y"]}`).says("iam:ListRolePolicies", `{"PolicyNames":[]}`)
			a.on("iam:DeleteUserPolicy", func(in m) (m, error) {
				a.put("deleted", str(in, "UserName")+"/"+str(in, "PolicyName"), "", nil)
				return m{}, nil
			})
		}, status: automation.Success, steps: "DeleteIamInlinePolicies=Success", scripts: 1, order: "iam:DeleteUserPolicy iam:DeleteUserPolicy", check: func(t *testing.T, a *aws, _ *automation.Execution) {
			require.Contains(t, a.things["deleted"], "bea/x")
			require.Contains(t, a.things["deleted"], "bea/y")
		}},
		{runbook: "AWS-CreateRdsSnapshot", params: params{"DBInstanceIdentifier": {"db-1"}, "DBSnapshotIdentifier": {"{db-instance-id}-{execution-id}"}, "SnapshotTags": {"Key=of,Value={db-instance-id}"}}, world: func(a *aws) {
			a.on("rds:CreateDBSnapshot", func(in m) (m, error) {
				id := str(in, "DBSnapshotIdentifier")
				a.becomes(a.put("dbsnapshot", id, "", nil), "creating", 3*time.Minute, "available")
				return m{"DBSnapshot": m{"DBSnapshotIdentifier": id, "DBSnapshotArn": "arn:aws:rds:eu-west-1:123456789012:snapshot:" + id}}, nil
			})
			a.on("rds:AddTagsToResource", func(in m) (m, error) {
				a.put("tagged", str(in, "ResourceName"), "", m{"Tags": in["Tags"]})
				return m{}, nil
			})
			a.on("rds:DescribeDBSnapshots", func(in m) (m, error) {
				x, err := a.get("dbsnapshot", str(in, "DBSnapshotIdentifier"), "DBSnapshotNotFound")
				if err != nil {
					return nil, err
				}
				return m{"DBSnapshots": l{m{"Status": x.state}}}, nil
			})
		}, status: automation.Success, steps: "createRDSSnapshot=Success verifyRDSSnapshot=Success", scripts: 2, order: "rds:CreateDbSnapshot rds:AddTagsToResource", check: func(t *testing.T, a *aws, x *automation.Execution) {
			id := "db-1-" + x.ID
			require.Equal(t, id, x.Outputs["createRDSSnapshot.SnapshotId"])
			require.Equal(t, "available", a.things["dbsnapshot"][id].state)
			require.Equal(t, `[{"Key":"of","Value":"db-1"}]`, text(a.things["tagged"]["arn:aws:rds:eu-west-1:123456789012:snapshot:"+id].more["Tags"]))
		}},
		{runbook: "AWS-UpdateCLBDesyncMitigationMode", params: params{"LoadBalancerName": {"web"}, "DesyncMitigationMode": {"strictest"}}, world: balancer(true), status: automation.Success, steps: "ModifyLoadBalancerDesyncMode=Success VerifyLoadBalancerDesyncMitigationMode=Success",
			scripts: 1, order: "elb:ModifyLoadBalancerAttributes", outputs: map[string]string{"VerifyLoadBalancerDesyncMitigationMode.ModificationResult": `"Verification of Desync Mitigation Mode was successfully modified to be strictest."`}},
		{runbook: "AWS-UpdateALBDesyncMitigationMode", how: "it was not taken", params: params{"LoadBalancerArn": {alb}, "DesyncMitigationMode": {"strictest"}}, world: balancer(false), status: automation.Failed,
			steps: "VerifyLoadBalancerType=Success ModifyLoadBalancerDesyncMode=Success VerifyLoadBalancerDesyncMitigationMode=Failed", scripts: 1, order: "elbv2:ModifyLoadBalancerAttributes", check: func(t *testing.T, _ *aws, x *automation.Execution) {
				require.Contains(t, x.Failure.Message, "ValueError: VERIFICATION FAILED")
				require.Contains(t, text(x.Failure.Details), "Traceback")
			}},
		{runbook: "AWS-EnableNeptuneDbBackupRetentionPeriod", params: params{"DbClusterResourceId": {"cluster-ABC"}, "BackupRetentionPeriod": {"14"}}, world: func(a *aws) {
			x := a.put("cluster", "graph", "", m{"DBClusterIdentifier": "graph", "Engine": "neptune", "BackupRetentionPeriod": 1})
			a.becomes(x, "backing-up", 2*time.Minute, "available")
			describe := func(m) (m, error) {
				x, err := a.get("cluster", "graph", "DBClusterNotFoundFault")
				if err != nil {
					return nil, err
				}
				x.more["Status"] = x.state
				return m{"DBClusters": l{x.more}}, nil
			}
			a.on("rds:DescribeDBClusters", describe).on("neptune:DescribeDBClusters", describe)
			a.on("neptune:ModifyDBCluster", func(in m) (m, error) {
				if x.state != "available" {
					return nil, no("InvalidDBClusterStateFault", "it is "+x.state)
				}
				x.more["BackupRetentionPeriod"] = in["BackupRetentionPeriod"]
				return m{"DBCluster": x.more}, nil
			})
		}, status: automation.Success, steps: "GetNeptuneDbClusterIdentifier=Success VerifyNeptuneDbEngine=Success VerifyNeptuneStatus=Success ModifyNeptuneDbRetentionPeriod=Success VerifyNeptuneDbBackupsEnabled=Success", scripts: 1, order: "neptune:ModifyDBCluster",
			outputs: map[string]string{"VerifyNeptuneDbBackupsEnabled.VerifyDbClusterBackupsEnabled": `"Verification of backups enabled for Amazon Neptune DB cluster is successful."`}},
		{runbook: "AWS-UpdateEKSManagedNodegroupVersion", params: params{"ClusterName": {"c"}, "NodeGroupName": {"n"}, "LaunchTemplateVersion": {"8"}, "ForceUpgrade": {"true"}}, world: func(a *aws) {
			x := a.put("nodegroup", "n", "ACTIVE", m{"version": "7"})
			a.on("eks:DescribeNodegroup", func(m) (m, error) {
				return m{"nodegroup": m{"status": x.state, "launchTemplate": m{"id": "lt-1", "version": x.more["version"]}}}, nil
			})
			a.on("eks:UpdateNodegroupVersion", func(in m) (m, error) {
				x.state, x.more = "UPDATING", in
				return m{"update": m{"id": "u-1"}}, nil
			})
		}, status: automation.Success, steps: "UpdateEKSManagedNodegroupVersion=Success", scripts: 1, order: "eks:UpdateNodegroupVersion", check: func(t *testing.T, a *aws, x *automation.Execution) {
			require.JSONEq(t, `{"clusterName":"c","nodegroupName":"n","force":true,"launchTemplate":{"id":"lt-1","version":"8"}}`, text(a.things["nodegroup"]["n"].more))
			require.Contains(t, x.Outputs["UpdateEKSManagedNodegroupVersion.output"], `"Id": "u-1"`)
		}},
	}
}
