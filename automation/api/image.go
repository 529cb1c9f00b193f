package api

import (
	"context"
	"strings"

	"github.com/fleetwright/fleetwright/automation"
)

// createImage is aws:createImage: it makes an image of an instance and waits until it is available.
func (a *actions) createImage(ctx context.Context, c *call) (any, error) {
	in := map[string]any{}
	if err := c.take(in, "InstanceId", "InstanceId", "ImageName", "Name"); err != nil {
		return nil, err
	}
	c.pass(in, "ImageDescription", "Description")
	reboot, given, err := c.flag("NoReboot")
	if err != nil {
		return nil, err
	}
	if given {
		in["NoReboot"] = reboot
	}
	switch m := parsed(c.value("BlockDeviceMappings")).(type) {
	case nil:
	case map[string]any:
		in["BlockDeviceMappings"] = []any{m}
	case []any:
		in["BlockDeviceMappings"] = m
	default:
		if m != "" {
			return nil, invalid("BlockDeviceMappings must be a list of maps")
		}
	}
	return a.image(ctx, "CreateImage", in)
}

// copyImage is aws:copyImage: it copies an image from another Region and waits until the copy is available.
func (a *actions) copyImage(ctx context.Context, c *call) (any, error) {
	in := map[string]any{"ClientToken": c.Token}
	if err := c.take(in, "SourceImageId", "SourceImageId", "SourceRegion", "SourceRegion", "ImageName", "Name"); err != nil {
		return nil, err
	}
	c.pass(in, "ImageDescription", "Description", "KmsKeyId", "KmsKeyId", "ClientToken", "ClientToken")
	encrypted, given, err := c.flag("Encrypted")
	if err != nil {
		return nil, err
	}
	if given {
		in["Encrypted"] = encrypted
	}
	return a.image(ctx, "CopyImage", in)
}

// image makes an image and waits for it.
func (a *actions) image(ctx context.Context, api string, in map[string]any) (any, error) {
	out, err := a.call(ctx, "ec2", api, in)
	if err != nil {
		return nil, err
	}
	id := str(out, "ImageId")
	if id == "" {
		return nil, unexpected(api+" named no image", nil)
	}
	var state string
	err = a.watch(ctx, func(n int) (bool, error) {
		out, err := a.ask(ctx, "ec2", "DescribeImages", map[string]any{"ImageIds": []any{id}})
		if has(err, "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable") && n <= settle {
			return false, nil
		}
		if err != nil {
			return false, a.failed(ctx, err)
		}
		list := items(out["Images"])
		if len(list) == 0 && n <= settle {
			return false, nil
		}
		switch state = str(out, "Images"); {
		case len(list) == 0:
			return false, unexpected("the image "+id+" does not exist any more", nil)
		default:
			state = str(list[0], "State")
		}
		switch state {
		case "available":
			return true, nil
		case "pending", "transient", "":
			return false, nil
		}
		text := "the image " + id + " entered the unexpected state " + state
		if reason := str(list[0], "StateReason", "Message"); reason != "" {
			text += ": " + reason
		}
		return false, unexpected(text, map[string][]string{"ImageState": {state}})
	})
	if err != nil {
		return nil, about(err, "ImageId", id)
	}
	return map[string]any{"ImageId": id, "ImageState": state}, nil
}

// deleteImage is aws:deleteImage: it deregisters an image and deletes the snapshots that it was made of. A snapshot that is gone already is fine; one that cannot be
// deleted fails the step, after all others were tried.
func (a *actions) deleteImage(ctx context.Context, c *call) (any, error) {
	in := map[string]any{}
	if err := c.take(in, "ImageId", "ImageId"); err != nil {
		return nil, err
	}
	id := in["ImageId"].(string)
	out, err := a.call(ctx, "ec2", "DescribeImages", map[string]any{"ImageIds": []any{id}})
	if err != nil {
		return nil, err
	}
	var snapshots []string
	for _, img := range items(out["Images"]) {
		for _, m := range items(dig(img, "BlockDeviceMappings")) {
			if s := str(m, "Ebs", "SnapshotId"); s != "" {
				snapshots = append(snapshots, s)
			}
		}
	}
	if _, err := a.call(ctx, "ec2", "DeregisterImage", in); err != nil {
		return nil, err
	}
	var left []string
	var first error
	for _, s := range snapshots {
		_, err := a.call(ctx, "ec2", "DeleteSnapshot", map[string]any{"SnapshotId": s})
		if err == nil || codeIs(err, "InvalidSnapshot.NotFound") {
			continue
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if left = append(left, s); first == nil {
			first = err
		}
	}
	if len(left) > 0 {
		known, ok := first.(*automation.CallError)
		if !ok {
			return nil, first
		}
		f := known.Failure
		f.Message = "the image " + id + " was deregistered, but snapshots of it are left (" + strings.Join(left, ", ") + "): " + f.Message
		f.Details = map[string][]string{"SnapshotIds": left}
		return nil, &automation.CallError{Failure: f}
	}
	return map[string]any{}, nil
}
