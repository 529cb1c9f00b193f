package library

import (
	"context"
	"maps"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// taggable returns the document that a tagging request speaks of.
func taggable(ctx context.Context, op, resourceType, id string) (string, error) {
	if resourceType != "Document" {
		return "", fault.New(op, fault.InvalidResourceType, "resources of type %q are not kept here, only Document", clip(resourceType))
	}
	name, ok := localName(access.Tenant(ctx), id)
	if !ok {
		return "", fault.New(op, fault.InvalidResourceID, "%q is no document name", clip(id))
	}
	return name, nil
}

// asResource gives the error about an unknown document the code that tagging operations have.
func asResource(op, name string, err error) error {
	if fault.CodeOf(err) == fault.InvalidDocument {
		return fault.New(op, fault.InvalidResourceID, "document %s does not exist", name).About(name)
	}
	return err
}

// AddTagsToResource gives a document tags; those of the same key are replaced. It needs ssm:AddTagsToResource. Errors: InvalidResourceType,
// InvalidResourceId, TooManyTagsError, ValidationException, InvalidDocumentOperation for built-in ones.
func (s *Service) AddTagsToResource(ctx context.Context, req AddTagsToResourceRequest) (AddTagsToResourceResult, error) {
	const op, action = "library.AddTagsToResource", "ssm:AddTagsToResource"
	var out AddTagsToResourceResult
	name, err := taggable(ctx, op, req.ResourceType, req.ResourceID)
	var add map[string]string
	if err == nil {
		add, err = s.checkTags(op, req.Tags)
	}
	if err == nil && len(add) == 0 {
		err = fault.New(op, fault.Validation, "Tags is empty: give at least one")
	}
	if err != nil {
		s.audited(ctx, action, "document/"+clip(req.ResourceID), err)
		return out, err
	}
	err = s.apply(ctx, &change{op: op, action: action, name: name, request: req}, func(_ context.Context, _ store.Tx, h *head) error {
		tags := maps.Clone(h.Tags)
		if tags == nil {
			tags = map[string]string{}
		}
		maps.Copy(tags, add)
		if len(tags) > s.cfg.Limits.Tags {
			return fault.New(op, fault.TooManyTags, "document %s would have %d tags and may have %d", name, len(tags), s.cfg.Limits.Tags).About(name)
		}
		h.Tags = tags
		return nil
	})
	return out, asResource(op, name, err)
}

// RemoveTagsFromResource takes tags from a document. It needs ssm:RemoveTagsFromResource. Errors as AddTagsToResource.
func (s *Service) RemoveTagsFromResource(ctx context.Context, req RemoveTagsFromResourceRequest) (RemoveTagsFromResourceResult, error) {
	const op, action = "library.RemoveTagsFromResource", "ssm:RemoveTagsFromResource"
	var out RemoveTagsFromResourceResult
	name, err := taggable(ctx, op, req.ResourceType, req.ResourceID)
	if err == nil && len(req.TagKeys) == 0 {
		err = fault.New(op, fault.Validation, "TagKeys is empty: give at least one")
	}
	if err != nil {
		s.audited(ctx, action, "document/"+clip(req.ResourceID), err)
		return out, err
	}
	err = s.apply(ctx, &change{op: op, action: action, name: name, request: req}, func(_ context.Context, _ store.Tx, h *head) error {
		tags := maps.Clone(h.Tags)
		for _, k := range req.TagKeys {
			delete(tags, k)
		}
		h.Tags = tags
		return nil
	})
	return out, asResource(op, name, err)
}

// ListTagsForResource returns a document's tags, sorted by key. It needs ssm:ListTagsForResource. Errors: InvalidResourceType, InvalidResourceId.
func (s *Service) ListTagsForResource(ctx context.Context, req ListTagsForResourceRequest) (out ListTagsForResourceResult, err error) {
	const op, action = "library.ListTagsForResource", "ssm:ListTagsForResource"
	defer func() { s.audited(ctx, action, "document/"+clip(req.ResourceID), err) }()
	name, err := taggable(ctx, op, req.ResourceType, req.ResourceID)
	if err != nil {
		return out, err
	}
	sub, err := s.look(ctx, op, action, name)
	if err != nil {
		return out, asResource(op, name, err)
	}
	return ListTagsForResourceResult{TagList: tagList(sub.tags())}, nil
}
