package realworld

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
)

type params = map[string][]string

// instances are runbooks that do something to instances without scripts.
func instances() []story {
	profile := func(a *aws) {
		a.on("ec2:DescribeIamInstanceProfileAssociations", func(in m) (m, error) {
			id := texts(items(in["Filters"])[0].(m)["Values"])[0]
			all := l{}
			for name, x := range a.things["association"] {
				if x.more["InstanceId"] == id {
					all = append(all, m{"AssociationId": name, "IamInstanceProfile": m{"Arn": x.more["Arn"]}})
				}
			}
			return m{"IamInstanceProfileAssociations": all}, nil
		})
		a.on("ec2:DisassociateIamInstanceProfile", func(in m) (m, error) { delete(a.things["association"], str(in, "AssociationId")); return m{}, nil })
		a.on("ec2:AssociateIamInstanceProfile", func(in m) (m, error) {
			p, err := a.get("profile", str(sub(in, "IamInstanceProfile"), "Name"), "InvalidParameterValue")
			if err != nil {
				return nil, err
			}
			if p.more["slow"] == true { // IAM tells EC2 late
				delete(p.more, "slow")
				return nil, no("InvalidParameterValue", "Invalid IAM Instance Profile")
			}
			id := a.id("iip-assoc")
			a.put("association", id, "", m{"InstanceId": in["InstanceId"], "Arn": p.more["Arn"]})
			return m{"IamInstanceProfileAssociation": m{"AssociationId": id}}, nil
		})
		a.on("iam:ListInstanceProfilesForRole", func(in m) (m, error) {
			all := l{}
			for _, x := range a.things["profile"] {
				if x.more["role"] == in["RoleName"] {
					all = append(all, x.more)
				}
			}
			return m{"InstanceProfiles": all}, nil
		})
		a.on("iam:CreateInstanceProfile", func(in m) (m, error) {
			name := str(in, "InstanceProfileName")
			a.put("profile", name, "", m{"InstanceProfileName": name, "Arn": "arn:aws:iam::123456789012:instance-profile/" + name, "slow": true})
			return m{}, nil
		})
		a.on("iam:AddRoleToInstanceProfile", func(in m) (m, error) {
			x, err := a.get("profile", str(in, "InstanceProfileName"), "NoSuchEntity")
			if err == nil {
				x.more["role"] = in["RoleName"]
			}
			return m{}, err
		})
		a.on("iam:GetInstanceProfile", func(in m) (m, error) {
			x, err := a.get("profile", str(in, "InstanceProfileName"), "NoSuchEntity")
			if err != nil {
				return nil, err
			}
			return m{"InstanceProfile": x.more}, nil
		})
	}
	ami := func(a *aws) {
		a.put("image", "ami-00000000000000aaa", "available", m{"ImageId": "ami-00000000000000aaa"})
	}
	byDefault := params{"SourceAmiId": {"ami-00000000000000aaa"}, "AutomationAssumeRole": {role}}
	update := params{"SourceAmiId": {"ami-00000000000000aaa"}, "TargetAmiName": {"web 7"}, "AutomationAssumeRole": {role}}
	asg := func(a *aws) {
		a.instance("i-1", "running", nil)
		a.put("function", "asg-state-change-lambda-", "", m{"run": op(func(in m) (m, error) {
			x := a.things["instance"]["i-1"]
			payload := str(in, "Payload")
			switch {
			case !strings.Contains(payload, `"InstanceId": "i-1"`):
				return nil, no("BadRequest", payload)
			case strings.Contains(payload, "EnterStandby"):
				x.more["group"] = "Standby"
			case strings.Contains(payload, "ExitStandby"):
				x.more["group"] = "InService"
			}
			return m{"done": true}, nil
		})})
	}
	const patched = "createPatchGroupTags=Success EnterStandby=Success installMissingOSUpdates=Success SleepToCompleteInstall=Success ExitStandby=Success CompletePatchGroupTags=Success SleepBeforeNextInstance=Success"
	managed := func(status string) func(a *aws) {
		return func(a *aws) {
			a.says("ssm:DescribeInstanceInformation", `{"InstanceInformationList":[{"PingStatus":"`+status+`"}]}`)
		}
	}
	ssh := params{"InstanceId": {"i-0123456789abcdef0"}, "Action": {"FixAll"}}
	standby := "cloudformation:CreateStack lambda:Invoke cloudformation:DeleteStack"
	return []story{
		{runbook: "AWSSupport-TroubleshootSSH", params: ssh, world: func(a *aws) {
			managed("Online")(a)
			a.answer = func(c command) (string, string, int) { return "Success", c.document + " is done", 0 }
		}, status: automation.Success, steps: "assertInstanceIsManagedInstance=Success installEC2Rescue=Success troubleshootSSH=Success", order: "run:AWS-ConfigureAWSPackage run:AWS-RunShellScript",
			outputs: map[string]string{"troubleshootSSH.Output": `"AWS-RunShellScript is done"`}, check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.Contains(t, text(a.commands[1].in["Parameters"]), `if test \"FixAll\" = \"FixAll\"`)
			}},
		{runbook: "AWSSupport-TroubleshootSSH", how: "it cannot be reached, and nobody said that it may be stopped", params: ssh, world: managed("ConnectionLost"), status: automation.Success, steps: "assertInstanceIsManagedInstance=Failed branchOnAllowOffline=Success"},
		{runbook: "AWS-RestartEC2Instance", params: params{"InstanceId": {"i-1", "i-2"}}, world: func(a *aws) { a.instance("i-1", "running", nil).instance("i-2", "stopped", nil) }, status: automation.Success,
			steps: "stopInstances=Success startInstances=Success", order: "ec2:StopInstances ec2:StartInstances", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Equal(t, l{"running", "running"}, x.Steps[1].Outputs["InstanceStates"])
				require.Equal(t, "running", a.things["instance"]["i-2"].state)
			}},
		{runbook: "AWS-StopEC2Instance", params: params{"InstanceId": {"i-1"}}, world: func(a *aws) { a.instance("i-1", "running", nil) }, status: automation.Success,
			steps: "stopInstances=Success forceStopInstances=Success", order: "ec2:StopInstances ec2:StopInstances", check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.Equal(t, "stopped", a.things["instance"]["i-1"].state)
			}},
		{runbook: "AWS-UpdateLinuxAmi", params: update, world: ami, status: automation.Success,
			steps: "launchInstance=Success verifySsmInstall=Success updateOSSoftware=Success stopInstance=Success createImage=Success terminateInstance=Success",
			order: "ec2:RunInstances run:AWS-RunShellScript run:AWS-RunShellScript ec2:StopInstances ec2:CreateImage ec2:TerminateInstances", check: func(t *testing.T, a *aws, x *automation.Execution) {
				made := a.things["image"][x.Outputs["createImage.ImageId"].(string)]
				require.Equal(t, "available", made.state)
				require.Equal(t, "web 7", made.more["Name"])
				require.Regexp(t, `^AMI Generated by EC2 Automation on 2000-01-01_00\.\d\d\.\d\d from ami-00000000000000aaa$`, made.more["Description"])
				for _, i := range a.things["instance"] {
					require.Equal(t, "terminated", i.state)
				}
				require.Len(t, a.commands, 2)
				require.Equal(t, x.Steps[0].Outputs["InstanceIds"], l{a.commands[0].instances[0]})
				require.Equal(t, map[string]bool{role: true}, a.roles)
			}},
		{runbook: "AWS-UpdateLinuxAmi", how: "its image has the name that the runbook says", params: byDefault, world: ami, status: automation.Success,
			steps: "launchInstance=Success verifySsmInstall=Success updateOSSoftware=Success stopInstance=Success createImage=Success terminateInstance=Success",
			order: "ec2:RunInstances run:AWS-RunShellScript run:AWS-RunShellScript ec2:StopInstances ec2:CreateImage ec2:TerminateInstances", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Regexp(t, `^UpdateLinuxAmi_from_ami-00000000000000aaa_on_2000-01-01_00\.\d\d\.\d\d$`, a.things["image"][x.Outputs["createImage.ImageId"].(string)].more["Name"])
			}},
		{runbook: "AWS-UpdateLinuxAmi", how: "the update fails three times: what was launched is terminated", params: update, world: func(a *aws) {
			ami(a)
			a.answer = func(c command) (string, string, int) {
				if len(a.commands) > 1 {
					return "Failed", "", 1
				}
				return "Success", "", 0
			}
		}, status: automation.Failed, steps: "launchInstance=Success verifySsmInstall=Success updateOSSoftware=Failed terminateInstance=Success",
			order: "ec2:RunInstances run:AWS-RunShellScript run:AWS-RunShellScript run:AWS-RunShellScript run:AWS-RunShellScript ec2:TerminateInstances", check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.Len(t, a.things["image"], 1)
				for _, i := range a.things["instance"] {
					require.NotEqual(t, "running", i.state)
				}
			}},
		{runbook: "AWS-AttachIAMToInstance", params: params{"InstanceId": {"i-1"}, "RoleName": {"web"}}, world: func(a *aws) {
			profile(a)
			a.put("profile", "webs", "", m{"role": "web", "InstanceProfileName": "webs", "Arn": "arn:aws:iam::123456789012:instance-profile/webs"})
			a.put("association", "old", "", m{"InstanceId": "i-1", "Arn": "arn:aws:iam::123456789012:instance-profile/old"})
		}, status: automation.Success, steps: "DescribeInstanceProfile=Success CheckInstanceProfileAssociations=Success DisassociateIamInstanceProfile=Success ListInstanceProfilesForRole=Success CheckInstanceProfileCreated=Success " +
			"AttachIAMProfileToInstance=Success", order: "ec2:DisassociateIamInstanceProfile ec2:AssociateIamInstanceProfile", outputs: map[string]string{"ListInstanceProfilesForRole.InstanceProfileName": `"webs"`},
			check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Len(t, a.things["association"], 1)
				require.Equal(t, "arn:aws:iam::123456789012:instance-profile/webs", a.things["association"][x.Outputs["AttachIAMProfileToInstance.AssociationId"].(string)].more["Arn"])
			}},
		{runbook: "AWS-AttachIAMToInstance", how: "the role has no profile", params: params{"InstanceId": {"i-1"}, "RoleName": {"web"}}, world: func(a *aws) {
			profile(a)
			a.instance("i-1", "running", nil)
			a.put("association", "old", "", m{"InstanceId": "i-1", "Arn": "arn:aws:iam::123456789012:instance-profile/old"})
		}, status: automation.Success, steps: "DescribeInstanceProfile=Success CheckInstanceProfileAssociations=Success DisassociateIamInstanceProfile=Success ListInstanceProfilesForRole=Success CheckInstanceProfileCreated=Success " +
			"CreateInstanceProfileForRole=Success AddRoleToInstanceProfile=Success GetInstanceProfile=Success AttachIAMProfileToInstanceWithRetry=Success",
			order:   "ec2:DisassociateIamInstanceProfile iam:CreateInstanceProfile iam:AddRoleToInstanceProfile ec2:AssociateIamInstanceProfile ec2:AssociateIamInstanceProfile",
			outputs: map[string]string{"GetInstanceProfile.InstanceProfileName": `"web"`},
			check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Len(t, a.things["association"], 1)
				made := a.things["association"][x.Outputs["AttachIAMProfileToInstanceWithRetry.AssociationId"].(string)]
				require.Equal(t, "arn:aws:iam::123456789012:instance-profile/web", made.more["Arn"])
				require.Equal(t, 2, x.Steps[8].Attempt, "IAM was late once")
			}},
		{runbook: "AWS-AttachIAMToInstance", how: "what is there stays", params: params{"InstanceId": {"i-1"}, "RoleName": {"web"}, "ForceReplace": {"false"}}, world: func(a *aws) {
			profile(a)
			a.put("association", "old", "", m{"InstanceId": "i-1", "Arn": "arn:aws:iam::123456789012:instance-profile/old"})
		}, status: automation.Success, steps: "DescribeInstanceProfile=Success CheckInstanceProfileAssociations=Success"},
		{runbook: "AWS-PatchAsgInstance", params: params{"InstanceId": {"i-1"}}, world: asg, status: automation.Success, steps: patched, children: 2,
			order: "ec2:CreateTags " + standby + " run:AWS-RunPatchBaseline " + standby + " ec2:CreateTags", check: func(t *testing.T, a *aws, x *automation.Execution) {
				require.Equal(t, m{"AutoPatchInstanceInASG": "Completed"}, a.tagged("i-1"))
				require.Equal(t, "InService", a.things["instance"]["i-1"].more["group"])
				require.Len(t, a.things["stack"], 2)
				for name, s := range a.things["stack"] {
					require.Equal(t, "DELETE_COMPLETE", s.state, name)
				}
				require.Equal(t, `{"Operation":"Install"}`, text(a.commands[0].in["Parameters"]))
				require.Equal(t, "Success", x.Steps[1].Outputs["Status"])
			}},
		{runbook: "AWS-PatchAsgInstance", how: "its child fails: nothing is patched", params: params{"InstanceId": {"i-1"}}, world: func(a *aws) { a.instance("i-1", "running", nil) }, status: automation.Failed,
			steps: "createPatchGroupTags=Success EnterStandby=Failed", children: 1, order: "ec2:CreateTags cloudformation:CreateStack lambda:Invoke", check: func(t *testing.T, a *aws, _ *automation.Execution) {
				require.Equal(t, m{"AutoPatchInstanceInASG": "InProgress"}, a.tagged("i-1"))
				require.Empty(t, a.commands)
			}},
	}
}
