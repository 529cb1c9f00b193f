package ssmops

import (
	"context"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/patch/patchstore"
)

// The resource types that can be tagged here.
const (
	typeNode      = "ManagedInstance"
	typeDocument  = "Document"
	typeParameter = "Parameter"
	typeBaseline  = "PatchBaseline"
)

// kind checks the type of a resource that is to be tagged. What it refuses no service sees, so that it is recorded here.
func (a *API) kind(ctx context.Context, op, typ string) error {
	var err error
	switch {
	case typ == typeNode && a.Nodes != nil, typ == typeDocument && a.Documents != nil, typ == typeParameter && a.Parameters != nil, typ == typeBaseline && a.Patches != nil:
		return nil
	case typ == typeNode, typ == typeDocument, typ == typeParameter, typ == typeBaseline:
		err = fault.New("ssmops."+op, fault.UnsupportedOperation, "this control plane keeps no %s", typ)
	default:
		err = fault.New("ssmops."+op, fault.InvalidResourceType, "resources of type %q are not kept here: %s, %s, %s or %s", clip(typ), typeNode, typeDocument, typeParameter, typeBaseline)
	}
	a.audit(ctx, "ssm:"+op, "*", err)
	return err
}

// asResource gives an unknown node the code that tagging operations have.
func asResource(err error) error {
	if fault.CodeOf(err) == fault.InvalidInstanceID {
		return fault.New("ssmops.Tags", fault.InvalidResourceID, "%s", fault.MessageOf(err))
	}
	return err
}

func (a *API) addTagsToResource(ctx context.Context, in *library.AddTagsToResourceRequest) (any, error) {
	if err := a.kind(ctx, "AddTagsToResource", in.ResourceType); err != nil {
		return nil, err
	}
	if in.ResourceType == typeDocument {
		_, err := a.Documents.AddTagsToResource(ctx, *in)
		return nil, err
	}
	if in.ResourceType == typeParameter {
		req := parameter.AddTagsToResourceRequest{ResourceType: in.ResourceType, ResourceID: in.ResourceID}
		for _, t := range in.Tags {
			req.Tags = append(req.Tags, parameter.Tag(t))
		}
		_, err := a.Parameters.AddTagsToResource(ctx, req)
		return nil, err
	}
	if in.ResourceType == typeBaseline {
		req := patchstore.TagsRequest{ResourceType: in.ResourceType, ResourceID: in.ResourceID}
		for _, t := range in.Tags {
			req.Tags = append(req.Tags, patchstore.Tag(t))
		}
		return nil, a.Patches.AddTagsToResource(ctx, req)
	}
	tags, err := tagMap("ssmops.AddTagsToResource", in.Tags)
	if err != nil {
		a.audit(ctx, "ssm:AddTagsToResource", "node/"+clip(in.ResourceID), err)
		return nil, err
	}
	return nil, asResource(a.Nodes.AddTags(ctx, in.ResourceID, tags))
}

func (a *API) removeTagsFromResource(ctx context.Context, in *library.RemoveTagsFromResourceRequest) (any, error) {
	if err := a.kind(ctx, "RemoveTagsFromResource", in.ResourceType); err != nil {
		return nil, err
	}
	if in.ResourceType == typeDocument {
		_, err := a.Documents.RemoveTagsFromResource(ctx, *in)
		return nil, err
	}
	if in.ResourceType == typeParameter {
		_, err := a.Parameters.RemoveTagsFromResource(ctx, parameter.RemoveTagsFromResourceRequest{ResourceType: in.ResourceType, ResourceID: in.ResourceID, TagKeys: in.TagKeys})
		return nil, err
	}
	if in.ResourceType == typeBaseline {
		return nil, a.Patches.RemoveTagsFromResource(ctx, patchstore.TagsRequest{ResourceType: in.ResourceType, ResourceID: in.ResourceID, TagKeys: in.TagKeys})
	}
	return nil, asResource(a.Nodes.RemoveTags(ctx, in.ResourceID, in.TagKeys))
}

func (a *API) listTagsForResource(ctx context.Context, in *library.ListTagsForResourceRequest) (any, error) {
	if err := a.kind(ctx, "ListTagsForResource", in.ResourceType); err != nil {
		return nil, err
	}
	if in.ResourceType == typeDocument {
		r, err := a.Documents.ListTagsForResource(ctx, *in)
		if r.TagList == nil {
			r.TagList = []Tag{}
		}
		return r, err
	}
	if in.ResourceType == typeParameter {
		r, err := a.Parameters.ListTagsForResource(ctx, parameter.ListTagsForResourceRequest{ResourceType: in.ResourceType, ResourceID: in.ResourceID})
		out := library.ListTagsForResourceResult{TagList: []Tag{}}
		for _, t := range r.TagList {
			out.TagList = append(out.TagList, Tag(t))
		}
		return out, err
	}
	if in.ResourceType == typeBaseline {
		list, err := a.Patches.ListTagsForResource(ctx, patchstore.TagsRequest{ResourceType: in.ResourceType, ResourceID: in.ResourceID})
		out := library.ListTagsForResourceResult{TagList: []Tag{}}
		for _, t := range list {
			out.TagList = append(out.TagList, Tag(t))
		}
		return out, err
	}
	tags, err := a.Nodes.ListTags(ctx, in.ResourceID)
	return library.ListTagsForResourceResult{TagList: tagsOf(tags)}, asResource(err)
}
