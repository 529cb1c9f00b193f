package api

import (
	"context"
	"strings"
)

// createTags is aws:createTags: EC2's tags of any number of resources, or Systems Manager's of one. Tags that are there already get the new value.
func (a *actions) createTags(ctx context.Context, c *call) (any, error) {
	ids := c.list("ResourceIds")
	if len(ids) == 0 {
		return nil, invalid("ResourceIds must name at least one resource")
	}
	tags := items(parsed(c.value("Tags")))
	if m, ok := parsed(c.value("Tags")).(map[string]any); ok {
		tags = []any{m}
	}
	if len(tags) == 0 {
		return nil, invalid("Tags must be a list of a Key and a Value each")
	}
	list := make([]any, len(tags))
	for i, t := range tags {
		m, ok := t.(map[string]any)
		key := ""
		var value any = ""
		for k, v := range m {
			switch strings.ToLower(k) {
			case "key":
				key = textOf(v)
			case "value":
				value = textOf(v)
			default:
				ok = false
			}
		}
		if !ok || key == "" {
			return nil, invalid("Tags must be a list of a Key and a Value each")
		}
		list[i] = map[string]any{"Key": key, "Value": value}
	}
	kind := strings.TrimSpace(c.text("ResourceType"))
	for _, known := range []string{"EC2", "ManagedInstance", "MaintenanceWindow", "Parameter"} {
		if strings.EqualFold(kind, known) {
			kind = known
		}
	}
	switch kind {
	case "", "EC2":
		_, err := a.call(ctx, "ec2", "CreateTags", map[string]any{"Resources": ids, "Tags": list})
		if err != nil {
			return nil, err
		}
	case "ManagedInstance", "MaintenanceWindow", "Parameter":
		if len(ids) > 1 {
			return nil, invalid("ResourceIds can name one resource when ResourceType is " + kind)
		}
		if _, err := a.call(ctx, "ssm", "AddTagsToResource", map[string]any{"ResourceType": kind, "ResourceId": ids[0], "Tags": list}); err != nil {
			return nil, err
		}
	default:
		return nil, invalid("ResourceType must be EC2, ManagedInstance, MaintenanceWindow or Parameter")
	}
	return map[string]any{}, nil
}
