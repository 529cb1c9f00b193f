package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/ssmops"
)

func nodesFlags(fs *flag.FlagSet) {
	fs.String("tag", "", "only nodes with this tag: `NAME=VALUE`, or NAME for any value")
	fs.String("ping", "", "only nodes that are `Online`, ConnectionLost or Inactive")
}

func (a *app) nodes(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	r := ssmops.DescribeInstanceInformationRequest{}
	if t := p.str("tag"); t != "" {
		k, v, ok := strings.Cut(t, "=")
		if ok {
			r.Filters = append(r.Filters, ssmops.InstanceFilter{Key: "tag:" + k, Values: []string{v}})
		} else {
			r.Filters = append(r.Filters, ssmops.InstanceFilter{Key: "tag-key", Values: []string{k}})
		}
	}
	if s := p.str("ping"); s != "" {
		r.Filters = append(r.Filters, ssmops.InstanceFilter{Key: "PingStatus", Values: []string{s}})
	}
	all := []ssmops.InstanceInformation{}
	for {
		var out ssmops.DescribeInstanceInformationResult
		if err := a.call(ctx, "DescribeInstanceInformation", r, &out); err != nil {
			return err
		}
		all = append(all, out.InstanceInformationList...)
		if r.NextToken = out.NextToken; r.NextToken == "" {
			break
		}
	}
	if a.wantsJSON() {
		return a.json(ssmops.DescribeInstanceInformationResult{InstanceInformationList: all})
	}
	t := a.table("NODE", "NAME", "STATUS", "LAST SEEN", "PLATFORM", "COMPUTER", "ADDRESS", "TAGS")
	for _, n := range all {
		t.row(n.ID, n.Name, n.PingStatus, n.LastPingDateTime, strings.TrimSpace(n.PlatformName+" "+n.PlatformVersion), n.ComputerName, n.IPAddress, joined(n.Tags))
	}
	return t.end()
}

func joined(tags map[string]string) string {
	var out []string
	for k, v := range tags {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func (a *app) deleteNode(ctx context.Context, p *parsed) error {
	args, err := p.arg("NODE")
	if err != nil {
		return err
	}
	return a.call(ctx, "DeregisterManagedInstance", ssmops.DeregisterManagedInstanceRequest{InstanceID: args[0]}, nil)
}

func (a *app) renameNode(ctx context.Context, p *parsed) error {
	args, err := p.arg("NODE", "NAME")
	if err != nil {
		return err
	}
	return a.call(ctx, "UpdateInstanceName", ssmops.UpdateInstanceNameRequest{InstanceID: args[0], Name: args[1]}, nil)
}

func activationFlags(fs *flag.FlagSet) {
	fs.Int("limit", 1, "`number` of machines that may register with it, 1 to 1000")
	fs.Duration("expires", 24*time.Hour, "how long from now, at most 720h")
	fs.String("name", "", "the `name` that the nodes get")
	fs.String("tags", "", "the tags that they get, as `Role=web,Env=prod`")
	fs.String("description", "", "for people")
	fs.String("code-file", "", "write the code into this new `file` (mode 0600) instead of printing it")
}

func (a *app) createActivation(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	tags, err := pairs("-tags", p.str("tags"))
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(p.str("expires"))
	if err != nil || d <= 0 {
		return bad("-expires %s: it must lie ahead", p.str("expires"))
	}
	var file *os.File
	name := p.str("code-file")
	if name != "" { // before the code is made: it cannot be had again
		if file, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
			return bad("-code-file: %v", err)
		}
		defer file.Close()
	}
	var out ssmops.CreateActivationResult
	err = a.call(ctx, "CreateActivation", ssmops.CreateActivationRequest{RegistrationLimit: p.num("limit"), ExpirationDate: ssmops.Time{Time: time.Now().Add(d)}, DefaultInstanceName: p.str("name"),
		Description: p.str("description"), Tags: tagList(tags)}, &out)
	if err != nil {
		if file != nil {
			os.Remove(name) //nolint:errcheck // it is empty
		}
		return err
	}
	if file != nil {
		_, err = file.WriteString(out.ActivationCode + "\n")
		if err = errors.Join(err, file.Sync()); err != nil {
			return fmt.Errorf("-code-file: the code of activation %s is lost: %w", out.ActivationID, err)
		}
		out.ActivationCode = ""
	}
	switch {
	case a.wantsJSON():
		return a.json(out)
	case file != nil:
		return a.say("%s", out.ActivationID)
	}
	return a.say("activation %s\ncode       %s", fault.Clean(out.ActivationID), fault.Clean(out.ActivationCode))
}

func (a *app) listActivations(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	r := ssmops.DescribeActivationsRequest{}
	all := []ssmops.Activation{}
	for {
		var out ssmops.DescribeActivationsResult
		if err := a.call(ctx, "DescribeActivations", r, &out); err != nil {
			return err
		}
		all = append(all, out.ActivationList...)
		if r.NextToken = out.NextToken; r.NextToken == "" {
			break
		}
	}
	if a.wantsJSON() {
		return a.json(ssmops.DescribeActivationsResult{ActivationList: all})
	}
	t := a.table("ACTIVATION", "NAME", "USED", "EXPIRES", "TAGS", "DESCRIPTION")
	for _, v := range all {
		expires := when(v.ExpirationDate.Time)
		if v.Expired {
			expires += " (expired)"
		}
		tags := map[string]string{}
		for _, t := range v.Tags {
			tags[t.Key] = t.Value
		}
		t.row(v.ActivationID, v.DefaultInstanceName, fmt.Sprintf("%d/%d", v.RegistrationsCount, v.RegistrationLimit), expires, joined(tags), short(v.Description, 40))
	}
	return t.end()
}

func (a *app) deleteActivation(ctx context.Context, p *parsed) error {
	args, err := p.arg("ACTIVATION")
	if err != nil {
		return err
	}
	return a.call(ctx, "DeleteActivation", ssmops.DeleteActivationRequest{ActivationID: args[0]}, nil)
}

func typeFlag(fs *flag.FlagSet) {
	fs.String("type", "", "`type`: ManagedInstance, Document, Parameter or PatchBaseline (default: by the look of the name)")
}

// resource says what a name is the name of: nodes are mi-… or i-…, baselines pb-…, parameters of a hierarchy begin with a slash.
func resource(p *parsed, id string) (string, error) {
	switch t := p.str("type"); t {
	case "ManagedInstance", "Document", "Parameter", "PatchBaseline":
		return t, nil
	case "":
	default:
		return "", bad("-type %q: ManagedInstance, Document, Parameter or PatchBaseline", fault.Clean(t))
	}
	switch {
	case strings.HasPrefix(id, "mi-"), strings.HasPrefix(id, "i-"):
		return "ManagedInstance", nil
	case strings.HasPrefix(id, "pb-"):
		return "PatchBaseline", nil
	case strings.HasPrefix(id, "/"):
		return "Parameter", nil
	}
	return "Document", nil
}

func (a *app) listTags(ctx context.Context, p *parsed) error {
	args, err := p.arg("RESOURCE")
	if err != nil {
		return err
	}
	kind, err := resource(p, args[0])
	if err != nil {
		return err
	}
	var out library.ListTagsForResourceResult
	if err := a.call(ctx, "ListTagsForResource", library.ListTagsForResourceRequest{ResourceType: kind, ResourceID: args[0]}, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	t := a.table("TAG", "VALUE")
	for _, tag := range out.TagList {
		t.row(tag.Key, tag.Value)
	}
	return t.end()
}

func (a *app) setTags(ctx context.Context, p *parsed) error {
	if len(p.args) < 2 {
		return bad("RESOURCE and NAME=VALUE are needed")
	}
	kind, err := resource(p, p.args[0])
	if err != nil {
		return err
	}
	r := library.AddTagsToResourceRequest{ResourceType: kind, ResourceID: p.args[0]}
	for _, kv := range p.args[1:] {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return bad("%q is not NAME=VALUE", fault.Clean(kv))
		}
		r.Tags = append(r.Tags, library.Tag{Key: k, Value: v})
	}
	return a.call(ctx, "AddTagsToResource", r, nil)
}

func (a *app) removeTags(ctx context.Context, p *parsed) error {
	if len(p.args) < 2 {
		return bad("RESOURCE and NAME are needed")
	}
	kind, err := resource(p, p.args[0])
	if err != nil {
		return err
	}
	return a.call(ctx, "RemoveTagsFromResource", library.RemoveTagsFromResourceRequest{ResourceType: kind, ResourceID: p.args[0], TagKeys: p.args[1:]}, nil)
}
