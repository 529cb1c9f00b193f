package api_test

import (
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/automation"
)

const verification = automation.VerificationFailure

func reservation(pairs ...string) string {
	s := `{"Reservations":[`
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			s += ","
		}
		s += `{"Instances":[{"InstanceId":"` + pairs[i] + `","State":{"Name":"` + pairs[i+1] + `"},"StateReason":{"Message":"because"}}]}`
	}
	return s + `]}`
}

func statuses(pairs ...string) string {
	s := `{"InstanceStatuses":[`
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			s += ","
		}
		s += `{"InstanceId":"` + pairs[i] + `","InstanceStatus":{"Status":"` + pairs[i+1] + `"},"SystemStatus":{"Status":"ok"}}`
	}
	return s + `]}`
}

func TestChangeInstanceState(t *testing.T) {
	const two = `{"InstanceIds":["i-1","i-2"]}`
	look := func(pairs ...string) said {
		return said{"ec2:DescribeInstances", "", reservation(pairs...), nil}
	}
	play(t, "aws:changeInstanceState", true, []row{
		{name: "stopped", in: `{"InstanceIds":["i-1","i-2"],"DesiredState":"stopped"}`, took: 9 * time.Second,
			says: []said{{"ec2:StopInstances", two, "", nil}, look("i-1", "stopping", "i-2", "running"), look("i-2", "stopping", "i-1", "stopped"), look("i-2", "stopped", "i-1", "stopped")}, want: `{"InstanceStates":["stopped","stopped"]}`},
		{name: "running only after both status checks", in: `{"InstanceIds":"i-1","DesiredState":"running","AdditionalInfo":"x"}`, took: 6 * time.Second,
			says: []said{{"ec2:StartInstances", `{"InstanceIds":["i-1"],"AdditionalInfo":"x"}`, "", nil}, look("i-1", "stopped"), look("i-1", "running"),
				{"ec2:DescribeInstanceStatus", `{"InstanceIds":["i-1"]}`, statuses("i-1", "initializing"), nil}, {"ec2:DescribeInstanceStatus", "", statuses("i-1", "ok"), nil}}, want: `{"InstanceStates":["running"]}`},
		{name: "with force", in: `{"InstanceIds":["i-1"],"DesiredState":"stopped","Force":"true"}`, says: []said{{"ec2:StopInstances", `{"InstanceIds":["i-1"],"Force":true}`, "", nil}, look("i-1", "stopped")}, want: `{"InstanceStates":["stopped"]}`},
		{name: "terminated, and forgotten already", in: `{"InstanceIds":["i-1"],"DesiredState":"terminated"}`, says: []said{{op: "ec2:TerminateInstances"}, {op: "ec2:DescribeInstances", err: no("InvalidInstanceID.NotFound", "")}}, want: `{"InstanceStates":["terminated"]}`},
		{name: "only looking", in: `{"InstanceIds":["i-1"],"DesiredState":"stopped","CheckStateOnly":true}`, took: 9 * time.Second, says: []said{look("i-1", "running"), look("i-1", "stopping"), look("i-1", "stopped")}, want: `{"InstanceStates":["stopped"]}`},
		{name: "pauses grow to half a minute", in: `{"InstanceIds":["i-1"],"DesiredState":"stopped"}`, took: (3 + 6 + 12 + 24 + 30 + 30) * time.Second,
			says: []said{{op: "ec2:StopInstances"}, look("i-1", "x"), look("i-1", "x"), look("i-1", "x"), look("i-1", "x"), look("i-1", "x"), look("i-1", "x"), look("i-1", "stopped")}, want: `{"InstanceStates":["stopped"]}`},
		{name: "a look that was throttled", in: `{"InstanceIds":["i-1"],"DesiredState":"stopped"}`, took: 6 * time.Second, says: []said{{op: "ec2:StopInstances"}, {op: "ec2:DescribeInstances", err: no("RequestLimitExceeded", "")}, look("i-1", "stopped")}, want: `{"InstanceStates":["stopped"]}`},
		{name: "a look that was refused", in: `{"InstanceIds":["i-1"],"DesiredState":"stopped"}`, says: []said{{op: "ec2:StopInstances"}, {op: "ec2:DescribeInstances", err: no("UnauthorizedOperation", "no")}}, fails: "(UnauthorizedOperation) when calling the DescribeInstances", typ: automation.PermissionFailure},
		{name: "what was terminated never stops", in: `{"InstanceIds":["i-1"],"DesiredState":"stopped","CheckStateOnly":true}`, says: []said{look("i-1", "terminated")}, fails: "i-1 entered the unexpected state terminated: because", stage: automation.PostVerification, typ: verification,
			detail: map[string][]string{"InstanceId": {"i-1"}, "InstanceState": {"terminated"}}},
		{name: "one that is not there", in: `{"InstanceIds":["i-1","i-2"],"DesiredState":"stopped","CheckStateOnly":true}`, says: []said{look("i-1", "stopped")}, fails: "i-2 does not exist", stage: automation.PostVerification, typ: verification},
		{name: "stopped while it started", in: `{"InstanceIds":["i-1"],"DesiredState":"running","FailOnUnexpectedStopped":true}`, took: 9 * time.Second, says: []said{{op: "ec2:StartInstances"}, look("i-1", "stopped"), look("i-1", "pending"), look("i-1", "stopped")},
			fails: "unexpected state stopped", stage: automation.PostVerification, typ: verification},
		{name: "one named twice is one", in: `{"InstanceIds":["i-1","i-2","i-1"],"DesiredState":"running"}`, says: []said{{"ec2:StartInstances", two, "", nil}, look("i-1", "running", "i-2", "running"), {"ec2:DescribeInstanceStatus", two, statuses("i-1", "ok", "i-2", "ok"), nil}}, want: `{"InstanceStates":["running","running"]}`},
		{name: "refused", in: `{"InstanceIds":["i-1"],"DesiredState":"running"}`, says: []said{{op: "ec2:StartInstances", err: no("IncorrectInstanceState", "it stops")}, look("i-1", "stopping")}, fails: "it stops"},
		{name: "refused, as one of them is elsewhere", in: `{"InstanceIds":["i-1","i-2"],"DesiredState":"stopped"}`, says: []said{{op: "ec2:StopInstances", err: no("IncorrectInstanceState", "no")}, look("i-1", "stopping", "i-2", "pending")}, fails: "IncorrectInstanceState"},
		{name: "refused, and not to be seen", in: `{"InstanceIds":["i-1"],"DesiredState":"stopped"}`, says: []said{{op: "ec2:StopInstances", err: no("IncorrectInstanceState", "no")}, {op: "ec2:DescribeInstances", err: no("UnauthorizedOperation", "")}}, fails: "IncorrectInstanceState"},
		{name: "refused, as it begins already", in: `{"InstanceIds":["i-1"],"DesiredState":"running"}`, says: []said{{op: "ec2:StartInstances", err: no("IncorrectInstanceState", "pending")}, look("i-1", "pending"), look("i-1", "running"), {op: "ec2:DescribeInstanceStatus", out: statuses("i-1", "ok")}}, want: `{"InstanceStates":["running"]}`},
		{name: "no instance", in: `{"InstanceIds":[],"DesiredState":"running"}`, fails: "InstanceIds", stage: automation.InputValidation, typ: verification},
		{name: "no state", in: `{"InstanceIds":["i-1"],"DesiredState":"paused"}`, fails: "DesiredState", stage: automation.InputValidation, typ: verification},
		{name: "no Boolean", in: `{"InstanceIds":["i-1"],"DesiredState":"stopped","Force":"maybe"}`, fails: "Force must be true or false", stage: automation.InputValidation, typ: verification},
	})
}

func TestRunInstances(t *testing.T) {
	launched := said{"ec2:RunInstances", "", `{"Instances":[{"InstanceId":"i-1"}]}`, nil}
	look := func(state string) said {
		return said{"ec2:DescribeInstances", `{"InstanceIds":["i-1"]}`, reservation("i-1", state), nil}
	}
	play(t, "aws:runInstances", true, []row{
		{name: "the action's own names", took: 9 * time.Second,
			in: `{"ImageId":"ami-1","InstanceType":"t3.micro","MinInstanceCount":"1","MaxInstanceCount":2,"IamInstanceProfileName":"p","SecurityGroupIds":"sg-1","RamDiskId":"r","Monitoring":true,"SubnetId":"","KeyName":null,
				"TagSpecifications":[{"ResourceType":"instance","Tags":[{"Key":"k","Value":"v"}]}],"MetadataOptions":"{\"HttpTokens\":\"required\"}","UserData":"{}","Ipv6AddressCount":1}`,
			says: []said{{"ec2:RunInstances", `{"ImageId":"ami-1","InstanceType":"t3.micro","MinCount":1,"MaxCount":2,"ClientToken":"` + token + `","IamInstanceProfile":{"Name":"p"},"SecurityGroupIds":["sg-1"],"RamdiskId":"r","Monitoring":{"Enabled":true},
				"TagSpecifications":[{"ResourceType":"instance","Tags":[{"Key":"k","Value":"v"}]}],"MetadataOptions":{"HttpTokens":"required"},"UserData":"{}","Ipv6AddressCount":1}`, `{"Instances":[{"InstanceId":"i-1"}]}`, nil},
				{op: "ec2:DescribeInstances", err: no("InvalidInstanceID.NotFound", "not yet")}, look("pending"), look("running")}, want: `{"InstanceIds":["i-1"],"InstanceStates":["running"]}`},
		{name: "one, unless it is said", in: `{"ImageId":"ami-1","ClientToken":"mine"}`, says: []said{{"ec2:RunInstances", `{"ImageId":"ami-1","MinCount":1,"MaxCount":1,"ClientToken":"mine"}`, `{"Instances":[{"InstanceId":"i-1"}]}`, nil}, look("running")}, want: `{"InstanceIds":["i-1"],"InstanceStates":["running"]}`},
		{name: "camel case, and the operation's own names", in: `{"imageId":"ami-1","maxInstanceCount":5,"MinCount":2,"iamInstanceProfileArn":"arn:p","monitoring":"{\"Enabled\":false}"}`, says: []said{{"ec2:RunInstances", `{"ImageId":"ami-1","MinCount":2,"MaxCount":5,"ClientToken":"` + token + `","IamInstanceProfile":{"Arn":"arn:p"},"Monitoring":{"Enabled":false}}`, `{"Instances":[{"InstanceId":"i-1"}]}`, nil}, look("running")}, want: `{"InstanceIds":["i-1"],"InstanceStates":["running"]}`},
		{name: "at least so many are also at most", in: `{"ImageId":"ami-1","MinInstanceCount":3}`, says: []said{{"ec2:RunInstances", `{"ImageId":"ami-1","MinCount":3,"MaxCount":3,"ClientToken":"` + token + `"}`, `{"Instances":[{"InstanceId":"i-1"}]}`, nil}, look("running")}, want: `{"InstanceIds":["i-1"],"InstanceStates":["running"]}`},
		{name: "ends while it begins", in: `{"ImageId":"ami-1"}`, says: []said{launched, look("shutting-down")}, fails: "i-1 entered the unexpected state shutting-down: because", stage: automation.PostVerification, typ: verification, detail: map[string][]string{"InstanceIds": {"i-1"}}},
		{name: "no such image", in: `{"ImageId":"ami-0"}`, says: []said{{op: "ec2:RunInstances", err: no("InvalidAMIID.NotFound", "[ami-0] does not exist")}}, fails: "(InvalidAMIID.NotFound) when calling the RunInstances operation"},
		{name: "not denied for ever", in: `{"ImageId":"ami-1"}`, took: (3 + 6 + 12 + 24 + 30 + 30) * time.Second, says: []said{launched, {op: "ec2:DescribeInstances", out: `{}`}, {op: "ec2:DescribeInstances", out: `{}`}, {op: "ec2:DescribeInstances", out: `{}`}, {op: "ec2:DescribeInstances", out: `{}`},
			{op: "ec2:DescribeInstances", out: `{}`}, {op: "ec2:DescribeInstances", out: `{}`}, {op: "ec2:DescribeInstances", out: `{}`}}, fails: "i-1 does not exist", stage: automation.PostVerification, typ: verification},
		{name: "no image", in: `{"ImageId":""}`, fails: "ImageId", stage: automation.InputValidation, typ: verification},
		{name: "no number", in: `{"ImageId":"ami-1","MaxInstanceCount":"many"}`, fails: "MaxInstanceCount must be a whole number", stage: automation.InputValidation, typ: verification},
		{name: "launched nothing", in: `{"ImageId":"ami-1"}`, says: []said{{op: "ec2:RunInstances", out: `{}`}}, fails: "named no instance", stage: automation.PostVerification, typ: verification},
	})
}

func TestCreateTags(t *testing.T) {
	const tags = `"Tags":[{"Key":"a","Value":"1"},{"key":"b"}]`
	const sent = `"Tags":[{"Key":"a","Value":"1"},{"Key":"b","Value":""}]`
	bad := func(name, in, says string) row {
		return row{name: name, in: in, fails: says, stage: automation.InputValidation, typ: verification}
	}
	play(t, "aws:createTags", true, []row{
		{name: "EC2 when nothing is said", in: `{"ResourceIds":["i-1","ami-1"],` + tags + `}`, says: []said{{"ec2:CreateTags", `{"Resources":["i-1","ami-1"],` + sent + `}`, "", nil}}, want: `{}`},
		{name: "EC2", in: `{"ResourceType":"EC2","ResourceIds":"i-1","Tags":"[{\"Key\":\"a\",\"Value\":1}]"}`, says: []said{{"ec2:CreateTags", `{"Resources":["i-1"],"Tags":[{"Key":"a","Value":"1"}]}`, "", nil}}, want: `{}`},
		{name: "a managed node", in: `{"ResourceType":"ManagedInstance","ResourceIds":["mi-1"],` + tags + `}`, says: []said{{"ssm:AddTagsToResource", `{"ResourceType":"ManagedInstance","ResourceId":"mi-1",` + sent + `}`, "", nil}}, want: `{}`},
		{name: "a window", in: `{"ResourceType":"MaintenanceWindow","ResourceIds":["mw-1"],` + tags + `}`, says: []said{{op: "ssm:AddTagsToResource"}}, want: `{}`},
		{name: "a parameter", in: `{"ResourceType":"parameter","ResourceIds":["/p"],` + tags + `}`, says: []said{{"ssm:AddTagsToResource", `{"ResourceType":"Parameter","ResourceId":"/p",` + sent + `}`, "", nil}}, want: `{}`},
		{name: "refused", in: `{"ResourceIds":["i-1"],` + tags + `}`, says: []said{{op: "ec2:CreateTags", err: no("InvalidID", "no")}}, fails: "InvalidID"},
		bad("one resource only", `{"ResourceType":"Parameter","ResourceIds":["/p","/q"],`+tags+`}`, "one resource"),
		bad("no resource", `{"ResourceIds":[],`+tags+`}`, "ResourceIds"),
		bad("an unknown type", `{"ResourceType":"S3","ResourceIds":["x"],`+tags+`}`, "ResourceType"),
		bad("no tag", `{"ResourceIds":["x"],"Tags":[]}`, "Tags"),
		bad("tags of another form", `{"ResourceIds":["x"],"Tags":[{"Name":"a"}]}`, "Tags"),
		bad("tags that are text", `{"ResourceIds":["x"],"Tags":"a=b"}`, "Tags"),
	})
}
