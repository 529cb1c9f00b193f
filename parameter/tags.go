package parameter

import (
	"context"
	"maps"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// taggable returns the parameter that a tagging request speaks of.
func (s *Service) taggable(ctx context.Context, op, action, resourceType, id string) (ref reference, err error) {
	if resourceType != "Parameter" {
		err = fault.New(op, fault.InvalidResourceType, "resources of type %q are not kept here, only Parameter", clip(resourceType))
	} else if ref, err = refer(op, access.Tenant(ctx), id, false); err != nil || ref.foreign {
		err = fault.New(op, fault.InvalidResourceID, "%q is no parameter name", clip(id))
	}
	if err != nil {
		s.audited(ctx, action, resource(canonical(clip(id))), err)
	}
	return ref, err
}

// asResource gives the error about an unknown parameter the code that tagging operations have.
func asResource(op string, err error) error {
	if fault.CodeOf(err) == CodeNotFound {
		return fault.New(op, fault.InvalidResourceID, "the parameter does not exist")
	}
	return err
}

// AddTagsToResource gives a parameter tags; those of the same key are replaced. It needs ssm:AddTagsToResource. Errors: InvalidResourceType, InvalidResourceId, TooManyTagsError,
// ValidationException.
func (s *Service) AddTagsToResource(ctx context.Context, req AddTagsToResourceRequest) (out AddTagsToResourceResult, err error) {
	const op, action = "parameter.AddTagsToResource", "ssm:AddTagsToResource"
	ref, err := s.taggable(ctx, op, action, req.ResourceType, req.ResourceID)
	if err != nil {
		return out, err
	}
	add, err := checkTags(op, req.Tags, s.limits.Tags)
	if err == nil && len(add) == 0 {
		err = fault.New(op, fault.Validation, "Tags is empty: give at least one")
	}
	if err != nil {
		s.audited(ctx, action, resource(ref.canon), err)
		return out, err
	}
	err = s.amend(ctx, op, action, ref.canon, nil, func(_ context.Context, _ store.Tx, _ string, h *version) ([]Event, error) {
		tags := map[string]string{}
		maps.Copy(tags, h.Tags)
		maps.Copy(tags, add)
		if len(tags) > s.limits.Tags {
			return nil, fault.New(op, fault.TooManyTags, "parameter %s would have %d tags and may have %d", h.Name, len(tags), s.limits.Tags).About(h.Name)
		}
		h.Tags = tags
		return nil, nil
	})
	return out, asResource(op, err)
}

// RemoveTagsFromResource takes tags from a parameter. It needs ssm:RemoveTagsFromResource. Errors: InvalidResourceType, InvalidResourceId, ValidationException.
func (s *Service) RemoveTagsFromResource(ctx context.Context, req RemoveTagsFromResourceRequest) (out RemoveTagsFromResourceResult, err error) {
	const op, action = "parameter.RemoveTagsFromResource", "ssm:RemoveTagsFromResource"
	ref, err := s.taggable(ctx, op, action, req.ResourceType, req.ResourceID)
	if err != nil {
		return out, err
	}
	if len(req.TagKeys) == 0 {
		err = fault.New(op, fault.Validation, "TagKeys is empty: give at least one")
		s.audited(ctx, action, resource(ref.canon), err)
		return out, err
	}
	err = s.amend(ctx, op, action, ref.canon, nil, func(_ context.Context, _ store.Tx, _ string, h *version) ([]Event, error) {
		tags := maps.Clone(h.Tags)
		for _, k := range req.TagKeys {
			delete(tags, k)
		}
		h.Tags = tags
		return nil, nil
	})
	return out, asResource(op, err)
}

// ListTagsForResource returns a parameter's tags, sorted by key. It needs ssm:ListTagsForResource. Errors: InvalidResourceType, InvalidResourceId.
func (s *Service) ListTagsForResource(ctx context.Context, req ListTagsForResourceRequest) (out ListTagsForResourceResult, err error) {
	const op, action = "parameter.ListTagsForResource", "ssm:ListTagsForResource"
	ref, err := s.taggable(ctx, op, action, req.ResourceType, req.ResourceID)
	if err != nil {
		return out, err
	}
	f := found{ref: ref}
	err = s.view(ctx, op, func(ctx context.Context, r store.Reader) (err error) {
		f.head, err = s.head(ctx, r, ref.tenant, ref.canon)
		return err
	})
	f.v = f.head
	if err == nil {
		err = s.permit(ctx, op, action, &f)
	}
	s.audited(ctx, action, resource(ref.canon), err)
	if err != nil {
		return out, asResource(op, err)
	}
	return ListTagsForResourceResult{TagList: tagList(f.head.Tags)}, nil
}
