package api_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// corpus is a folder of real runbooks, which is not part of the project.
type corpus string

func openCorpus(t *testing.T) corpus {
	dir := os.Getenv("FLEETWRIGHT_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(filepath.Join(dir, "MANIFEST.tsv")); err != nil {
		t.Skipf("SKIPPED: no corpus of real documents at %s (set FLEETWRIGHT_CORPUS)", dir)
	}
	return corpus(dir)
}

// Fetch finds a document by its name, wherever it lies.
func (c corpus) Fetch(_ context.Context, _, name, _ string) ([]byte, string, string, string, error) {
	for _, path := range []string{"ceshihao+ssm-public-documents/documents/" + name + ".json", "yasser-alhawary+SSM-Documents/Data/Automation/" + name + "/" + name + ".yaml"} {
		if b, err := os.ReadFile(filepath.Join(string(c), "documents", path)); err == nil {
			return b, "", "1", "", nil
		}
	}
	return nil, "", "", "", fault.New("corpus", fault.InvalidDocument, "no document %s", name)
}

var ann = access.With(context.Background(), access.Principal{Name: "ann"})

// plane starts a control plane over a store and returns it with the function that ends it.
func plane(t *testing.T, st store.Store, docs automation.Documents, name string, c api.Caller) (*automation.Service, func()) {
	leases := lease.New(st, nil, lease.Config{Owner: name})
	s, err := automation.NewService(automation.Config{Store: st, Documents: docs, Authorizer: access.AllowAll{}, Leases: leases, Actions: api.Actions(c, nil), System: automation.System{AccountID: "123456789012", Region: "eu-west-1"}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { leases.Run(ctx) }) //nolint:errcheck // it ends with ctx
	wg.Go(func() { s.Run(ctx) })      //nolint:errcheck // likewise
	return s, func() { cancel(); wg.Wait() }
}

// steps is what ran, as name=status.
func steps(x *automation.Execution) string {
	var out []string
	for _, s := range x.Steps {
		out = append(out, s.Name+"="+string(s.Status))
	}
	return strings.Join(out, " ")
}

// Real runbooks run on the durable service with these actions over a small AWS whose things change with time.
func TestRealRunbooks(t *testing.T) {
	docs := openCorpus(t)
	const role = "arn:aws:iam::123456789012:role/runbooks"
	two := map[string][]string{"InstanceId": {"i-1", "i-2"}}
	one := map[string][]string{"InstanceId": {"i-1"}}
	db := map[string][]string{"InstanceId": {"db-1"}}
	migrate := map[string][]string{"InstanceId": {"i-0123456789abcdef0"}, "VpcId": {"vpc-01234567"}, "SubnetA": {"subnet-01234567"}, "SubnetB": {"subnet-89abcdef"}, "KeyName": {"k"}, "HealthCheckPath": {"/ok"}}
	for _, row := range []struct {
		runbook, how string
		params       map[string][]string
		cloud        func(c *cloud)
		status       automation.Status
		steps        string        // what ran
		order        string        // the calls that changed something
		least, most  time.Duration // how long it took
		check        func(t *testing.T, c *cloud, x *automation.Execution)
	}{
		{runbook: "AWS-StartEC2Instance", params: two, cloud: func(c *cloud) { c.instance("i-1", "stopped").instance("i-2", "running") }, status: automation.Success,
			steps: "startInstances=Success", order: "ec2:StartInstances", least: 90 * time.Second, most: 2 * time.Minute, check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Equal(t, []any{"running", "running"}, x.Steps[0].Outputs["InstanceStates"])
			}},
		{runbook: "AWS-StartEC2Instance", how: "no such instance", params: one, status: automation.Failed, steps: "startInstances=Failed", order: "ec2:StartInstances", check: func(t *testing.T, c *cloud, x *automation.Execution) {
			require.Equal(t, automation.ActionFailure, x.Failure.Type)
			require.Contains(t, x.Failure.Message, "(InvalidInstanceID.NotFound) when calling the StartInstances operation: The instance ID 'i-1' does not exist")
		}},
		{runbook: "AWS-StopEC2Instance", params: two, cloud: func(c *cloud) { c.instance("i-1", "running").instance("i-2", "running") }, status: automation.Success,
			steps: "stopInstances=Success forceStopInstances=Success", order: "ec2:StopInstances ec2:StopInstances", least: 35 * time.Second, most: time.Minute},
		{runbook: "AWS-StopEC2Instance", how: "an instance that does not stop is forced after an hour", params: one, cloud: func(c *cloud) { c.instance("i-1", "running").stuck["i-1"] = true }, status: automation.Success,
			steps: "stopInstances=TimedOut forceStopInstances=Success", order: "ec2:StopInstances ec2:StopInstances", least: time.Hour, most: time.Hour + 2*time.Minute},
		{runbook: "AWS-RestartEC2Instance", params: two, cloud: func(c *cloud) { c.instance("i-1", "running").instance("i-2", "running") }, status: automation.Success,
			steps: "stopInstances=Success startInstances=Success", order: "ec2:StopInstances ec2:StartInstances", least: 2 * time.Minute, most: 4 * time.Minute, check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Equal(t, "running", c.instances["i-1"].now())
			}},
		{runbook: "AWS-RestartEC2Instance", how: "as a role", params: map[string][]string{"InstanceId": {"i-1"}, "AutomationAssumeRole": {role}}, cloud: func(c *cloud) { c.instance("i-1", "running") }, status: automation.Success,
			steps: "stopInstances=Success startInstances=Success", order: "ec2:StopInstances ec2:StartInstances", check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Equal(t, map[string]bool{role: true}, c.roles)
			}},
		{runbook: "AWS-TerminateEC2Instance", params: one, cloud: func(c *cloud) { c.instance("i-1", "running") }, status: automation.Success, steps: "stopInstances=Success", order: "ec2:TerminateInstances", least: 40 * time.Second, most: time.Minute},
		{runbook: "AWS-RestartEC2InstanceWithApproval", params: map[string][]string{"InstanceId": {"i-1"}, "Approvers": {"ann"}, "SNSTopicArn": {"arn:aws:sns:eu-west-1:123456789012:AutomationApprovals"}}, cloud: func(c *cloud) { c.instance("i-1", "running") }, status: automation.Success,
			steps: "approve=Success stopInstances=Success startInstances=Success", order: "ec2:StopInstances ec2:StartInstances"},
		{runbook: "AWS-CreateImage", params: map[string][]string{"InstanceId": {"i-1"}, "NoReboot": {"true"}}, cloud: func(c *cloud) { c.instance("i-1", "running") }, status: automation.Success, steps: "createImage=Success", order: "ec2:CreateImage", least: 4 * time.Minute, most: 5 * time.Minute,
			check: func(t *testing.T, c *cloud, x *automation.Execution) {
				id := x.Outputs["createImage.ImageId"].(string)
				require.Equal(t, "i-1_"+x.ID, c.images[id].more["Name"])
				require.Equal(t, "available", x.Steps[0].Outputs["ImageState"])
			}},
		{runbook: "AWS-DeleteImage", params: map[string][]string{"ImageId": {"ami-1"}}, cloud: func(c *cloud) {
			c.snapshots["snap-1"], c.snapshots["snap-2"] = &thing{state: "completed"}, &thing{state: "completed"}
			c.images["ami-1"] = &thing{state: "available", more: map[string]any{"BlockDeviceMappings": []any{map[string]any{"Ebs": map[string]any{"SnapshotId": "snap-1"}}}}}
		}, status: automation.Success, steps: "deleteImage=Success", order: "ec2:DeregisterImage ec2:DeleteSnapshot", check: func(t *testing.T, c *cloud, x *automation.Execution) {
			require.Empty(t, c.images)
			require.Contains(t, c.snapshots, "snap-2")
			require.NotContains(t, c.snapshots, "snap-1")
		}},
		{runbook: "AWS-ResizeInstance", params: map[string][]string{"InstanceId": {"i-1"}, "InstanceType": {"m5.large"}}, cloud: func(c *cloud) { c.instance("i-1", "running") }, status: automation.Success,
			steps: "assertInstanceType=Failed stopInstance=Success resizeInstance=Success wait=Success startInstance=Success", order: "ec2:StopInstances ec2:ModifyInstanceAttribute ec2:StartInstances", check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Equal(t, "m5.large", c.instances["i-1"].more["InstanceType"])
			}},
		{runbook: "AWS-ResizeInstance", how: "it has the size", params: map[string][]string{"InstanceId": {"i-1"}, "InstanceType": {"t3.micro"}}, cloud: func(c *cloud) { c.instance("i-1", "running") }, status: automation.Success, steps: "assertInstanceType=Success"},
		{runbook: "AWS-CreateSnapshot", params: map[string][]string{"VolumeId": {"vol-1"}}, status: automation.Success, steps: "createSnapshot=Success verifySnapshot=Success", order: "ec2:CreateSnapshot", least: 95 * time.Second, most: 3 * time.Minute,
			check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Contains(t, c.snapshots, x.Outputs["createSnapshot.Payload"])
			}},
		{runbook: "AWS-DeleteSnapshot", params: map[string][]string{"SnapshotId": {"snap-1"}}, cloud: func(c *cloud) { c.snapshots["snap-1"] = &thing{state: "completed"} }, status: automation.Success, steps: "DeleteSnapshot=Success", order: "ec2:DeleteSnapshot"},
		{runbook: "AWS-CopySnapshot", params: map[string][]string{"SnapshotId": {"snap-1"}, "SourceRegion": {"us-east-1"}}, cloud: func(c *cloud) {
			c.functions["*"] = func(payload string) string {
				var in map[string]string
				if json.Unmarshal([]byte(payload), &in) != nil || in["SnapshotId"] != "snap-1" || in["SourceRegion"] != "us-east-1" {
					return `{"bad":true}`
				}
				return `{"SnapshotId":"snap-2"}`
			}
		}, status: automation.Success, steps: "createDocumentStack=Success copySnapshot=Success deleteCloudFormationTemplate=Success", order: "cloudformation:CreateStack lambda:Invoke cloudformation:DeleteStack", least: 110 * time.Second, most: 5 * time.Minute,
			check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Equal(t, `{"SnapshotId":"snap-2"}`, x.Outputs["copySnapshot.Payload"])
				require.Equal(t, "DELETE_COMPLETE", c.stacks["CopySnapshotStack"+x.ID].now())
			}},
		{runbook: "AWS-CopySnapshot", how: "its stack cannot be made", params: map[string][]string{"SnapshotId": {"snap-1"}, "SourceRegion": {"us-east-1"}}, cloud: func(c *cloud) { c.stackEnds["CopySnapshotStack"] = "ROLLBACK_COMPLETE" }, status: automation.Failed,
			steps: "createDocumentStack=Failed", order: "cloudformation:CreateStack", check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Equal(t, automation.PostVerification, x.Failure.Stage)
				require.Contains(t, x.Failure.Message, "ROLLBACK_COMPLETE: a resource failed to create")
			}},
		{runbook: "AWS-UpdateCloudFormationStack", params: map[string][]string{"StackNameOrId": {"s"}, "TemplateUrl": {"https://x/y"}, "LambdaAssumeRole": {role}}, cloud: func(c *cloud) {
			c.functions["*"] = func(payload string) string { return payload }
		}, status: automation.Success, steps: "createDocumentStack=Success updateCloudFormationTemplate=Success deleteCloudFormationTemplate=Success", order: "cloudformation:CreateStack lambda:Invoke cloudformation:DeleteStack",
			check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.JSONEq(t, `{"StackName":"s","TemplateUrl":"https://x/y"}`, x.Steps[1].Outputs["Payload"].(string))
			}},
		{runbook: "AWS-DeleteCloudFormationStack", params: map[string][]string{"StackNameOrId": {"s"}}, cloud: func(c *cloud) { c.stacks["s"] = &thing{state: "CREATE_COMPLETE"} }, status: automation.Success, steps: "deleteCloudFormationStack=Success", order: "cloudformation:DeleteStack",
			least: 50 * time.Second, most: 2 * time.Minute},
		{runbook: "AWS-CreateManagedLinuxInstance", params: map[string][]string{"AmiId": {"ami-1"}, "KeyPairName": {"k"}}, cloud: func(c *cloud) { c.stackEnds["CreateManagedInstanceStack"] = "ROLLBACK_COMPLETE" }, status: automation.Failed, steps: "createManagedInstanceStack=Failed", order: "cloudformation:CreateStack"},
		{runbook: "AWS-StopRdsInstance", params: db, cloud: func(c *cloud) { c.dbs["db-1"] = &thing{state: "available"} }, status: automation.Success, steps: "AssertNotStopped=Failed StopInstance=Success CheckStop=Success", order: "rds:StopDBInstance", least: 3 * time.Minute, most: 5 * time.Minute},
		{runbook: "AWS-StopRdsInstance", how: "it stops already", params: db, cloud: func(c *cloud) {
			x := &thing{}
			x.becomes("stopping", time.Minute, "stopped")
			c.dbs["db-1"] = x
		}, status: automation.Success, steps: "AssertNotStopped=Success CheckStop=Success"},
		{runbook: "AWS-StartRdsInstance", params: db, cloud: func(c *cloud) { c.dbs["db-1"] = &thing{state: "stopped"} }, status: automation.Success, steps: "AssertNotStartingOrAvailable=Failed StartInstance=Success CheckStart=Success", order: "rds:StartDBInstance"},
		{runbook: "AWS-RebootRdsInstance", params: db, cloud: func(c *cloud) { c.dbs["db-1"] = &thing{state: "available"} }, status: automation.Success, steps: "AssertNotRebooting=Failed RebootInstance=Success WaitForAvailableState=Success", order: "rds:RebootDBInstance"},
		{runbook: "AWS-AttachIAMToInstance", params: map[string][]string{"InstanceId": {"i-1"}, "RoleName": {"r"}}, cloud: func(c *cloud) {
			says := func(s string) func(map[string]any) (map[string]any, error) {
				return func(map[string]any) (m map[string]any, err error) { return m, json.Unmarshal([]byte(s), &m) }
			}
			c.other["ec2:DescribeIamInstanceProfileAssociations"] = says(`{"IamInstanceProfileAssociations":[{"AssociationId":"old","IamInstanceProfile":{"Arn":"arn:old"}}]}`)
			c.other["iam:ListInstanceProfilesForRole"] = says(`{"InstanceProfiles":[{"Arn":"arn:new","InstanceProfileName":"new"}]}`)
			c.other["ec2:DisassociateIamInstanceProfile"] = func(in map[string]any) (map[string]any, error) {
				if in["AssociationId"] != "old" {
					return nil, no("InvalidAssociationID.NotFound", "")
				}
				return map[string]any{}, nil
			}
			c.other["ec2:AssociateIamInstanceProfile"] = says(`{"IamInstanceProfileAssociation":{"AssociationId":"fresh"}}`)
		}, status: automation.Success, steps: "DescribeInstanceProfile=Success CheckInstanceProfileAssociations=Success DisassociateIamInstanceProfile=Success ListInstanceProfilesForRole=Success CheckInstanceProfileCreated=Success AttachIAMProfileToInstance=Success",
			order: "ec2:DisassociateIamInstanceProfile ec2:AssociateIamInstanceProfile", check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Equal(t, "fresh", x.Outputs["AttachIAMProfileToInstance.AssociationId"])
			}},
		{runbook: "AWSMigration-CreateLoadBalanceAutoScaleGroup", params: migrate, cloud: func(c *cloud) { c.instance("i-0123456789abcdef0", "running") }, status: automation.Success, steps: "CreateAMI=Success CreateLBASGStack=Success End=Success",
			order: "ec2:CreateImage cloudformation:CreateStack", check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Equal(t, "arn:CreateLBASG-i-0123456789abcdef0", x.Outputs["CreateLBASGStack.StackId"])
			}},
		{runbook: "AWSMigration-CreateLoadBalanceAutoScaleGroup", how: "its stack fails: the image is taken back", params: migrate, cloud: func(c *cloud) {
			c.instance("i-0123456789abcdef0", "running").stackEnds["CreateLBASG"] = "DELETE_COMPLETE"
		}, status: automation.Failed, steps: "CreateAMI=Success CreateLBASGStack=Failed DeleteAMI=Success End=Success", order: "ec2:CreateImage cloudformation:CreateStack ec2:DeregisterImage ec2:DeleteSnapshot",
			check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Empty(t, c.images)
				require.Empty(t, c.snapshots)
			}},
		{runbook: "AWS-StopEC2InstanceWithApproval", params: map[string][]string{"InstanceId": {"i-1"}, "Approvers": {"ann"}, "SNSTopicArn": {"arn:aws:sns:eu-west-1:123456789012:AutomationApprovals"}}, cloud: func(c *cloud) { c.instance("i-1", "running") }, status: automation.Success,
			steps: "approve=Success stopInstances=Success", order: "ec2:StopInstances"},
		{runbook: "AWS-DeleteCloudFormationStackWithApproval", params: map[string][]string{"StackNameOrId": {"s"}, "Approvers": {"ann"}, "SNSTopicArn": {"arn:aws:sns:eu-west-1:123456789012:AutomationApprovals"}}, status: automation.Success,
			steps: "approve=Success deleteCloudFormationStack=Success", check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.Equal(t, "DELETE_COMPLETE", x.Steps[1].Outputs["StackStatus"])
			}},
		{runbook: "AWS-SetupInventory", params: map[string][]string{"InstanceIds": {"i-1"}}, cloud: func(c *cloud) {
			c.functions["*"] = func(payload string) string {
				var in map[string]any
				if json.Unmarshal([]byte(payload), &in) != nil {
					return `"the payload is no JSON"`
				}
				if setup, ok := in["Setup"]; ok {
					b, _ := json.Marshal(setup) //nolint:errcheck // it was JSON
					return string(b)
				}
				return `{"InstanceIds":"` + str(in, "InstanceIds") + `","AssociationId":"a"}`
			}
		}, status: automation.Success, steps: "createDocumentStack=Success setupInventory=Success SleepToCompleteAssociation=Success verifyInventory=Success deleteCloudFormationTemplate=Success",
			order: "cloudformation:CreateStack lambda:Invoke lambda:Invoke cloudformation:DeleteStack", least: 6 * time.Minute, most: 10 * time.Minute, check: func(t *testing.T, c *cloud, x *automation.Execution) {
				require.JSONEq(t, `{"AssociationId":"a","InstanceIds":"i-1"}`, x.Steps[3].Outputs["Payload"].(string))
			}},
		{runbook: "AWSConfigRemediation-DetachAndDeleteVirtualPrivateGateway", params: map[string][]string{"AutomationAssumeRole": {role}, "VpnGatewayId": {"vgw-1"}}, cloud: func(c *cloud) { c.gateway("vgw-1") }, status: automation.Success,
			steps: "WaitUntilVPNGatewayIsAvailable=Success GetVPNGatewayDetails=Success BranchOnVpcAttachmentStatus=Success WaitUntilAttachedState=Success DetachVPNGateway=Success WaitUntilDetachedState=Success DeleteVPNGateway=Success VerifyVPNGatewayDeletion=Success",
			order: "ec2:DetachVpnGateway ec2:DeleteVpnGateway", least: 6 * time.Minute, most: 12 * time.Minute},
		{runbook: "AWS-DisableSageMakerNotebookRootAccess", params: map[string][]string{"NotebookInstanceName": {"nb"}}, cloud: func(c *cloud) { c.notebook() }, status: automation.Success,
			steps: "VerifyNotebookInstanceStatus=Success CheckNotebookStatus=Success StopOrUpdateNotebookStatus=Success StopNotebookInstance=Success WaitForInstanceToStop=Success UpdateNotebookInstance=Success WaitForNotebookUpdate=Success ChooseInstanceStart=Success StartNotebookInstance=Success VerifyNotebookInstanceRootAccess=Success",
			order: "sagemaker:StopNotebookInstance sagemaker:UpdateNotebookInstance sagemaker:StartNotebookInstance", least: 8 * time.Minute, most: 12 * time.Minute},
		{runbook: "AWSConfigRemediation-DeleteRDSInstance", params: map[string][]string{"AutomationAssumeRole": {role}, "DbiResourceId": {"db-ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, "SkipFinalSnapshot": {"true"}}, cloud: func(c *cloud) { c.dbs["db-abcdefghijklmnopqrstuvwxyz"] = &thing{state: "available"} }, status: automation.Success,
			steps: "GetDBInstanceIdentifier=Success DBInstanceCreateSnapshotCheck=Success DeleteDBInstanceWithoutSnapShot=Success VerifyDBInstanceState=Success", order: "rds:DeleteDBInstance"},
		{runbook: "AWSConfigRemediation-EnableKeyRotation", params: map[string][]string{"AutomationAssumeRole": {role}, "KeyId": {"k-1"}}, cloud: func(c *cloud) {
			on := false
			c.other["kms:EnableKeyRotation"] = func(map[string]any) (map[string]any, error) { on = true; return map[string]any{}, nil }
			c.other["kms:GetKeyRotationStatus"] = func(map[string]any) (map[string]any, error) { return map[string]any{"KeyRotationEnabled": on}, nil }
		}, status: automation.Success, steps: "EnableKeyRotation=Success VerifyKeyRotation=Success", order: "kms:EnableKeyRotation"},
	} {
		t.Run(strings.TrimSuffix(row.runbook+" "+row.how, " "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCloud()
				if row.cloud != nil {
					row.cloud(c)
				}
				s, end := plane(t, memstore.New(), docs, "one", c)
				defer end()
				id, err := s.Start(ann, automation.Request{DocumentName: row.runbook, Parameters: row.params})
				require.NoError(t, err)
				if strings.Contains(row.runbook, "Approval") {
					time.Sleep(6 * time.Hour)
					require.Empty(t, c.calls, "something was done before the approval")
					require.NoError(t, s.Signal(ann, id, automation.Signal{Type: automation.Approve}))
				}
				x, err := s.Wait(ann, id)
				require.NoError(t, err)
				c.mu.Lock()
				defer c.mu.Unlock()
				require.Equal(t, row.steps, steps(x), "%+v", x.Failure)
				require.Equal(t, row.status, x.Status)
				require.Equal(t, row.order, strings.Join(c.order(), " "))
				if row.most > 0 {
					took := x.End.Sub(x.Start)
					require.GreaterOrEqual(t, took, row.least)
					require.LessOrEqual(t, took, row.most)
				}
				if row.check != nil {
					row.check(t, c, x)
				}
				_, _, err = s.History(ann, id)
				require.NoError(t, err, "the history is not what was decided")
				time.Sleep(time.Minute) // what a pattern of a parameter was matched with counts its own time, and ends it then
			})
		})
	}
}

// shelf is documents of the tests' own.
type shelf map[string]string

func (s shelf) Fetch(_ context.Context, _, name, _ string) ([]byte, string, string, string, error) {
	text, ok := s[name]
	if !ok {
		return nil, "", "", "", fault.New("shelf", fault.InvalidDocument, "no document %s", name)
	}
	return []byte(text), "", "1", "", nil
}

// single is a runbook of one step.
func single(action, inputs string) string {
	return `{"schemaVersion":"0.3","mainSteps":[{"name":"only","action":"` + action + `","inputs":` + inputs + `}]}`
}

// A control plane that ends while something is made loses nothing: the other asks for the same with the same token and waits on. What cannot be asked for twice is
// Interrupted.
func TestCrash(t *testing.T) {
	for _, row := range []struct {
		action, inputs, first string
		status                automation.Status
		again                 int // how often the first call was made
	}{
		{"aws:createStack", `{"StackName":"new","TemplateBody":"{}"}`, "cloudformation:CreateStack", automation.Success, 2},
		{"aws:deleteStack", `{"StackName":"s"}`, "cloudformation:DeleteStack", automation.Success, 2},
		{"aws:changeInstanceState", `{"InstanceIds":["i-1"],"DesiredState":"stopped"}`, "ec2:StopInstances", automation.Success, 2},
		{"aws:changeInstanceState", `{"InstanceIds":["i-2"],"DesiredState":"running"}`, "ec2:StartInstances", automation.Success, 2},
		{"aws:waitForAwsResourceProperty", `{"Service":"ec2","Api":"DescribeImages","ImageIds":["ami-1"],"PropertySelector":"$.Images[0].State","DesiredValues":["available"]}`, "ec2:DescribeImages", automation.Success, 5},
		{"aws:createImage", `{"InstanceId":"i-1","ImageName":"n"}`, "ec2:CreateImage", automation.Failed, 1},
	} {
		t.Run(row.action, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCloud().instance("i-1", "running").instance("i-2", "stopped")
				c.stacks["s"] = &thing{state: "CREATE_COMPLETE"}
				c.images["ami-1"] = &thing{}
				c.images["ami-1"].becomes("pending", 50*time.Second, "available")
				st, docs := memstore.New(), shelf{"d": single(row.action, row.inputs)}
				s, end := plane(t, st, docs, "one", c)
				id, err := s.Start(ann, automation.Request{DocumentName: "d"})
				require.NoError(t, err)
				for c.mu.Lock(); c.times(row.first) == 0; c.mu.Lock() {
					c.mu.Unlock()
					time.Sleep(time.Second)
				}
				c.mu.Unlock()
				end()
				s, end = plane(t, st, docs, "two", c)
				defer end()
				x, err := s.Wait(ann, id)
				require.NoError(t, err)
				require.Equal(t, row.status, x.Status, "%+v", x.Failure)
				require.Equal(t, row.again, c.times(row.first))
				if row.status == automation.Failed {
					require.Equal(t, []string{"Interrupted"}, x.Failure.Details["Reason"])
				}
			})
		})
	}
}

// Who stops an execution ends the looking; the world stays as it is.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud().instance("i-1", "running")
		c.stuck["i-1"] = true
		s, end := plane(t, memstore.New(), shelf{"d": single("aws:changeInstanceState", `{"InstanceIds":["i-1"],"DesiredState":"stopped"}`)}, "one", c)
		defer end()
		id, err := s.Start(ann, automation.Request{DocumentName: "d"})
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		require.NoError(t, s.Stop(ann, id, automation.Cancel))
		x, err := s.Wait(ann, id)
		require.NoError(t, err)
		require.Equal(t, automation.Cancelled, x.Status)
		synctest.Wait()
		n := len(c.calls)
		time.Sleep(time.Hour)
		require.Len(t, c.calls, n, "it goes on looking")
		require.Equal(t, "ec2:StopInstances", strings.Join(c.order(), " "))
	})
}
