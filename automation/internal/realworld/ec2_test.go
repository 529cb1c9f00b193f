package realworld

import (
	"maps"
	"strings"
	"time"
)

// instance makes an instance.
func (a *aws) instance(id, state string, more m) *aws {
	x := m{"InstanceId": id, "InstanceType": "t3.micro", "PlatformDetails": "Linux/UNIX"}
	maps.Copy(x, more)
	a.put("instance", id, state, x)
	return a
}

// describe answers with a thing under AWS's names.
func (a *aws) describe(x *thing, state any) m {
	out := maps.Clone(x.more)
	if out == nil {
		out = m{}
	}
	out["State"] = state
	return out
}

// ec2 are the operations of EC2 that runbooks use most, strict about states as AWS is.
func (a *aws) ec2() {
	const missing = "InvalidInstanceID.NotFound"
	each := func(in m, f func(id string, x *thing) error) error {
		for _, id := range texts(in["InstanceIds"]) {
			if _, err := a.get("instance", id, missing); err != nil {
				return err
			}
		}
		for _, id := range texts(in["InstanceIds"]) {
			x, err := a.get("instance", id, missing)
			if err == nil {
				err = f(id, x)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	a.on("ec2:StartInstances", func(in m) (m, error) {
		return m{}, each(in, func(id string, x *thing) error {
			switch x.state {
			case "running", "pending":
			case "stopped":
				a.becomes(x, "pending", 20*time.Second, "running")
			default:
				return no("IncorrectInstanceState", "The instance '"+id+"' is "+x.state)
			}
			return nil
		})
	})
	a.on("ec2:StopInstances", func(in m) (m, error) {
		return m{}, each(in, func(id string, x *thing) error {
			switch x.state {
			case "stopped":
			case "running", "pending", "stopping":
				a.becomes(x, "stopping", 35*time.Second, "stopped")
			default:
				return no("IncorrectInstanceState", "The instance '"+id+"' is "+x.state)
			}
			return nil
		})
	})
	a.on("ec2:TerminateInstances", func(in m) (m, error) {
		return m{}, each(in, func(_ string, x *thing) error {
			a.becomes(x, "shutting-down", 40*time.Second, "terminated")
			return nil
		})
	})
	a.on("ec2:RunInstances", func(in m) (m, error) {
		if _, err := a.get("image", str(in, "ImageId"), "InvalidAMIID.NotFound"); err != nil {
			return nil, err
		}
		id := a.id("i")
		a.instance(id, "", m{"ImageId": in["ImageId"], "InstanceType": in["InstanceType"]})
		a.becomes(a.things["instance"][id], "pending", 20*time.Second, "running")
		return m{"Instances": l{m{"InstanceId": id, "State": m{"Name": "pending"}}}}, nil
	})
	a.on("ec2:DescribeInstances", func(in m) (m, error) {
		var all l
		err := each(in, func(_ string, x *thing) error { all = append(all, a.describe(x, m{"Name": x.state})); return nil })
		return m{"Reservations": l{m{"Instances": all}}}, err
	})
	a.on("ec2:DescribeInstanceStatus", func(in m) (m, error) {
		all := l{}
		err := each(in, func(id string, x *thing) error {
			if x.state == "running" {
				ok := m{"Status": "ok"}
				all = append(all, m{"InstanceId": id, "InstanceState": m{"Name": "running"}, "InstanceStatus": ok, "SystemStatus": ok})
			}
			return nil
		})
		return m{"InstanceStatuses": all}, err
	})
	a.on("ec2:CreateTags", func(in m) (m, error) {
		for _, id := range texts(in["Resources"]) {
			x := a.tagged(id)
			for _, t := range items(in["Tags"]) {
				x[str(t.(m), "Key")] = t.(m)["Value"]
			}
		}
		return m{}, nil
	})
	a.on("ec2:DescribeTags", func(in m) (m, error) {
		all := l{}
		for _, f := range items(in["Filters"]) {
			if f := f.(m); f["Name"] == "resource-id" {
				for _, id := range texts(f["Values"]) {
					for k, v := range a.tagged(id) {
						all = append(all, m{"ResourceId": id, "Key": k, "Value": v})
					}
				}
			}
		}
		return m{"Tags": all}, nil
	})
	a.on("ec2:CreateImage", func(in m) (m, error) {
		if _, err := a.get("instance", str(in, "InstanceId"), missing); err != nil {
			return nil, err
		}
		return a.image(in), nil
	})
	a.on("ec2:DescribeImages", func(in m) (m, error) {
		var all l
		for _, id := range texts(in["ImageIds"]) {
			x, err := a.get("image", id, "InvalidAMIID.NotFound")
			if err != nil {
				return nil, err
			}
			all = append(all, a.describe(x, x.state))
		}
		return m{"Images": all}, nil
	})
	a.on("ec2:DescribeSecurityGroups", func(in m) (m, error) {
		var all l
		for _, id := range texts(in["GroupIds"]) {
			x, err := a.get("group", id, "InvalidGroup.NotFound")
			if err != nil {
				return nil, err
			}
			all = append(all, x.more)
		}
		return m{"SecurityGroups": all}, nil
	})
	revoke := func(list string) op {
		return func(in m) (m, error) {
			x, err := a.get("group", str(in, "GroupId"), "InvalidGroup.NotFound")
			if err != nil {
				return nil, err
			}
			for _, want := range items(in["IpPermissions"]) {
				have, found := l{}, false
				for _, rule := range items(x.more[list]) {
					if text(rule) == text(want) {
						found = true
					} else {
						have = append(have, rule)
					}
				}
				if !found {
					return nil, no("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
				}
				x.more[list] = have
			}
			return m{"Return": true}, nil
		}
	}
	a.on("ec2:RevokeSecurityGroupIngress", revoke("IpPermissions"))
	a.on("ec2:RevokeSecurityGroupEgress", revoke("IpPermissionsEgress"))
	a.on("ec2:CreateSnapshot", func(in m) (m, error) {
		id := a.id("snap")
		x := a.put("snapshot", id, "", m{"SnapshotId": id, "VolumeId": in["VolumeId"]})
		a.becomes(x, "pending", time.Minute, "completed")
		return m{"SnapshotId": id, "State": "pending"}, nil
	})
	a.on("ec2:DescribeSnapshots", func(in m) (m, error) {
		var all l
		for _, id := range texts(in["SnapshotIds"]) {
			x, err := a.get("snapshot", id, "InvalidSnapshot.NotFound")
			if err != nil {
				return nil, err
			}
			all = append(all, a.describe(x, x.state))
		}
		return m{"Snapshots": all}, nil
	})
}

// image makes an image that is there after four minutes.
func (a *aws) image(in m) m {
	id := a.id("ami")
	x := a.put("image", id, "", m{"ImageId": id, "Name": in["Name"], "Description": in["Description"]})
	a.becomes(x, "pending", 4*time.Minute, "available")
	return m{"ImageId": id}
}

// tagged are the tags of something.
func (a *aws) tagged(id string) m {
	if x := a.things["tags"][id]; x != nil {
		return x.more
	}
	return a.put("tags", id, "", nil).more
}

// cloudformation makes stacks that come to their end after a minute, and functions of theirs that the test has given by the beginning of the stack's name.
func (a *aws) cloudformation() {
	find := func(in m) (*thing, error) {
		return a.get("stack", strings.TrimPrefix(str(in, "StackName"), "arn:"), "ValidationError")
	}
	a.on("cloudformation:CreateStack", func(in m) (m, error) {
		name := str(in, "StackName")
		x := a.put("stack", name, "", m{"StackId": "arn:" + name, "StackName": name, "in": in})
		a.becomes(x, "CREATE_IN_PROGRESS", time.Minute, "CREATE_COMPLETE")
		return m{"StackId": "arn:" + name}, nil
	})
	a.on("cloudformation:DescribeStacks", func(in m) (m, error) {
		x, err := find(in)
		if err != nil {
			return nil, err
		}
		out := m{"StackId": x.more["StackId"], "StackName": x.more["StackName"], "StackStatus": x.state, "NotificationARNs": x.more["NotificationARNs"], "Outputs": x.more["Outputs"]}
		return m{"Stacks": l{out}}, nil
	})
	a.on("cloudformation:DeleteStack", func(in m) (m, error) {
		if x, err := find(in); err == nil {
			a.becomes(x, "DELETE_IN_PROGRESS", 50*time.Second, "DELETE_COMPLETE")
		}
		return m{}, nil
	})
	a.on("lambda:Invoke", func(in m) (m, error) {
		for prefix, x := range a.things["function"] {
			if strings.HasPrefix(str(in, "FunctionName"), prefix) {
				out, err := x.more["run"].(op)(in)
				if err != nil {
					return nil, err
				}
				return m{"StatusCode": 200, "Payload": text(out)}, nil
			}
		}
		return nil, no("ResourceNotFoundException", "Function not found: "+str(in, "FunctionName"))
	})
}
