package api_test

import (
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/automation"
)

// imageRows are what aws:createImage and aws:copyImage have in common: in makes the image, op makes it.
func imageRows(in, op string) []row {
	made := said{op, "", `{"ImageId":"ami-1"}`, nil}
	look := func(state string) said {
		return said{"ec2:DescribeImages", `{"ImageIds":["ami-1"]}`, `{"Images":[{"ImageId":"ami-1","State":"` + state + `","StateReason":{"Message":"no room"}}]}`, nil}
	}
	id := map[string][]string{"ImageId": {"ami-1"}}
	return []row{
		{name: "waits", in: in, took: 21 * time.Second, says: []said{made, {op: "ec2:DescribeImages", err: no("InvalidAMIID.NotFound", "not yet")}, {op: "ec2:DescribeImages", out: `{"Images":[]}`}, look("pending"), look("available")}, want: `{"ImageId":"ami-1","ImageState":"available"}`},
		{name: "slower while it is throttled", in: in, took: (6 + 24) * time.Second, says: []said{made, {op: "ec2:DescribeImages", err: no("Throttling", "")}, {op: "ec2:DescribeImages", err: no("InternalError", "")}, look("available")}, want: `{"ImageId":"ami-1","ImageState":"available"}`},
		{name: "with other pauses", in: in, took: 3 * time.Second, o: shortly, says: []said{made, look("pending"), look("pending"), look("available")}, want: `{"ImageId":"ami-1","ImageState":"available"}`},
		{name: "comes to nothing", in: in, says: []said{made, look("failed")}, fails: "the image ami-1 entered the unexpected state failed: no room", stage: automation.PostVerification, typ: verification, detail: id},
		{name: "is taken away", in: in, took: (3 + 6 + 12 + 24 + 30 + 30) * time.Second, says: []said{made, look("pending"), look("pending"), look("pending"), look("pending"), look("pending"), look("pending"), {op: "ec2:DescribeImages", out: `{}`}}, fails: "does not exist any more", stage: automation.PostVerification, typ: verification, detail: id},
		{name: "may not be looked at", in: in, says: []said{made, {op: "ec2:DescribeImages", err: no("UnauthorizedOperation", "no")}}, fails: "DescribeImages", typ: automation.PermissionFailure, detail: id},
		{name: "refused", in: in, says: []said{{op: op, err: no("InvalidAMIName.Duplicate", "there is one")}}, fails: "InvalidAMIName.Duplicate"},
		{name: "has no name", in: in, says: []said{{op: op, out: `{}`}}, fails: "named no image", stage: automation.PostVerification, typ: verification},
	}
}

func TestCreateImage(t *testing.T) {
	play(t, "aws:createImage", false, imageRows(`{"InstanceId":"i-1","ImageName":"n"}`, "ec2:CreateImage"))
	look := said{op: "ec2:DescribeImages", out: `{"Images":[{"State":"available"}]}`}
	const want = `{"ImageId":"ami-1","ImageState":"available"}`
	play(t, "aws:createImage", false, []row{
		{name: "all inputs", in: `{"InstanceId":"i-1","ImageName":"n","ImageDescription":"d","NoReboot":"True","BlockDeviceMappings":[{"DeviceName":"/dev/sda1"}]}`,
			says: []said{{"ec2:CreateImage", `{"InstanceId":"i-1","Name":"n","Description":"d","NoReboot":true,"BlockDeviceMappings":[{"DeviceName":"/dev/sda1"}]}`, `{"ImageId":"ami-1"}`, nil}, look}, want: want},
		{name: "one mapping", in: `{"InstanceId":"i-1","ImageName":"n","ImageDescription":"","NoReboot":false,"BlockDeviceMappings":{"DeviceName":"/dev/sda1"}}`,
			says: []said{{"ec2:CreateImage", `{"InstanceId":"i-1","Name":"n","NoReboot":false,"BlockDeviceMappings":[{"DeviceName":"/dev/sda1"}]}`, `{"ImageId":"ami-1"}`, nil}, look}, want: want},
		{name: "no instance", in: `{"ImageName":"n"}`, fails: "InstanceId must be given", stage: automation.InputValidation, typ: verification},
		{name: "no name", in: `{"InstanceId":"i-1","ImageName":" "}`, fails: "ImageName must be given", stage: automation.InputValidation, typ: verification},
		{name: "no Boolean", in: `{"InstanceId":"i-1","ImageName":"n","NoReboot":"perhaps"}`, fails: "NoReboot", stage: automation.InputValidation, typ: verification},
		{name: "no mappings", in: `{"InstanceId":"i-1","ImageName":"n","BlockDeviceMappings":"/dev/sda1"}`, fails: "BlockDeviceMappings", stage: automation.InputValidation, typ: verification},
	})
}

func TestCopyImage(t *testing.T) {
	const in = `{"SourceImageId":"ami-0","SourceRegion":"r","ImageName":"n"}`
	play(t, "aws:copyImage", true, imageRows(in, "ec2:CopyImage"))
	look := said{op: "ec2:DescribeImages", out: `{"Images":[{"State":"available"}]}`}
	const want = `{"ImageId":"ami-1","ImageState":"available"}`
	play(t, "aws:copyImage", true, []row{
		{name: "with the call's token", in: in, says: []said{{"ec2:CopyImage", `{"SourceImageId":"ami-0","SourceRegion":"r","Name":"n","ClientToken":"` + token + `"}`, `{"ImageId":"ami-1"}`, nil}, look}, want: want},
		{name: "all inputs", in: `{"SourceImageId":"ami-0","SourceRegion":"r","ImageName":"n","ImageDescription":"d","Encrypted":true,"KmsKeyId":"k","ClientToken":"mine"}`,
			says: []said{{"ec2:CopyImage", `{"SourceImageId":"ami-0","SourceRegion":"r","Name":"n","Description":"d","Encrypted":true,"KmsKeyId":"k","ClientToken":"mine"}`, `{"ImageId":"ami-1"}`, nil}, look}, want: want},
		{name: "no Region", in: `{"SourceImageId":"ami-0","ImageName":"n"}`, fails: "SourceRegion must be given", stage: automation.InputValidation, typ: verification},
		{name: "no Boolean", in: `{"SourceImageId":"ami-0","SourceRegion":"r","ImageName":"n","Encrypted":"no"}`, fails: "Encrypted", stage: automation.InputValidation, typ: verification},
	})
}

func TestDeleteImage(t *testing.T) {
	known := said{"ec2:DescribeImages", `{"ImageIds":["ami-1"]}`, `{"Images":[{"BlockDeviceMappings":[{"Ebs":{"SnapshotId":"snap-1"}},{"VirtualName":"ephemeral0"},{"Ebs":{"SnapshotId":"snap-2"}},{"Ebs":{"SnapshotId":"snap-3"}}]}]}`, nil}
	gone := said{"ec2:DeregisterImage", `{"ImageId":"ami-1"}`, "", nil}
	drop := func(id string, err error) said {
		return said{"ec2:DeleteSnapshot", `{"SnapshotId":"` + id + `"}`, "", err}
	}
	const in = `{"ImageId":"ami-1"}`
	play(t, "aws:deleteImage", false, []row{
		{name: "with its snapshots", in: in, says: []said{known, gone, drop("snap-1", nil), drop("snap-2", no("InvalidSnapshot.NotFound", "")), drop("snap-3", nil)}, want: `{}`},
		{name: "some are left", in: in, says: []said{known, gone, drop("snap-1", no("InvalidSnapshot.InUse", "by another")), drop("snap-2", nil), drop("snap-3", no("UnauthorizedOperation", ""))},
			fails: "the image ami-1 was deregistered, but snapshots of it are left (snap-1, snap-3)", detail: map[string][]string{"SnapshotIds": {"snap-1", "snap-3"}}},
		{name: "there is none", in: in, says: []said{{op: "ec2:DescribeImages", err: no("InvalidAMIID.NotFound", "ami-1")}}, fails: "InvalidAMIID.NotFound"},
		{name: "refused", in: in, says: []said{known, {op: "ec2:DeregisterImage", err: no("UnauthorizedOperation", "no")}}, fails: "UnauthorizedOperation", typ: automation.PermissionFailure},
		{name: "no image", in: `{"ImageId":""}`, fails: "ImageId must be given", stage: automation.InputValidation, typ: verification},
	})
}
