package ssmops

import (
	"context"
	"encoding/json"

	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/target"
)

// ResourceQuery is the query of a group as AWS writes it: its text is JSON in a string.
type ResourceQuery struct {
	Type  string `json:"Type"`  // TAG_FILTERS_1_0
	Query string `json:"Query"` // {"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Key":"Role","Values":["web"]}]}
}

// NewResourceQuery returns the query for nodes that have all of these tags.
func NewResourceQuery(tags []target.TagFilter) (ResourceQuery, error) {
	b, err := encode(node.Query{ResourceTypeFilters: []string{target.TypeAny}, TagFilters: tags})
	return ResourceQuery{node.TagFilters, string(b)}, err
}

// GroupRequest is the request of CreateGroup and UpdateGroupQuery.
type GroupRequest struct {
	Name          string        `json:"Name"`
	Description   string        `json:"Description,omitempty"`
	ResourceQuery ResourceQuery `json:"ResourceQuery"`
}

// Group is a group of an answer, with its query (at AWS asked for by GetGroupQuery).
type Group struct {
	Name          string        `json:"Name"`
	Description   string        `json:"Description,omitempty"`
	ResourceQuery ResourceQuery `json:"ResourceQuery"`
	CreatedDate   Time          `json:"CreatedDate,omitzero"`
}

// GroupResult is the answer of GetGroup, CreateGroup and UpdateGroupQuery.
type GroupResult struct {
	Group Group `json:"Group"`
}

func groupShape(g node.Group) (Group, error) {
	b, err := encode(g.Query)
	return Group{g.Name, g.Description, ResourceQuery{node.TagFilters, string(b)}, Time{g.Created}}, err
}

func (a *API) group(ctx context.Context, action string, in *GroupRequest) (node.Group, error) {
	q, err := node.ParseQuery(in.ResourceQuery.Type, in.ResourceQuery.Query)
	if err != nil {
		a.audit(ctx, action, "group/"+clip(in.Name), err)
	}
	return node.Group{Name: in.Name, Description: in.Description, Query: q}, err
}

func (a *API) createGroup(ctx context.Context, in *GroupRequest) (any, error) {
	g, err := a.group(ctx, "resource-groups:CreateGroup", in)
	if err == nil {
		g.Created = a.now().UTC()
		err = a.Nodes.CreateGroup(ctx, g)
	}
	if err != nil {
		return nil, err
	}
	s, err := groupShape(g)
	return GroupResult{s}, err
}

func (a *API) updateGroupQuery(ctx context.Context, in *GroupRequest) (any, error) {
	g, err := a.group(ctx, "resource-groups:UpdateGroupQuery", in)
	if err == nil {
		err = a.Nodes.UpdateGroup(ctx, g)
	}
	if err != nil {
		return nil, err
	}
	s, err := groupShape(g)
	return GroupResult{s}, err
}

// GroupName is the request of GetGroup and DeleteGroup.
type GroupName struct {
	Name string `json:"Name"`
}

func (a *API) getGroup(ctx context.Context, in *GroupName) (any, error) {
	g, err := a.Nodes.GetGroup(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	s, err := groupShape(g)
	return GroupResult{s}, err
}

func (a *API) deleteGroup(ctx context.Context, in *GroupName) (any, error) {
	return nil, a.Nodes.DeleteGroup(ctx, in.Name)
}

// ListGroupsRequest is the request of ListGroups. MaxResults is 1 to 50, 50 by default.
type ListGroupsRequest struct {
	MaxResults int    `json:"MaxResults,omitempty"`
	NextToken  string `json:"NextToken,omitempty"`
}

// ListGroupsResult is the answer of ListGroups.
type ListGroupsResult struct {
	Groups    []Group `json:"Groups"`
	NextToken string  `json:"NextToken,omitempty"`
}

func (a *API) listGroups(ctx context.Context, in *ListGroupsRequest) (any, error) {
	p, err := page("ssmops.ListGroups", 50, in.MaxResults, in.NextToken)
	if err != nil {
		a.audit(ctx, "resource-groups:ListGroups", "*", err)
		return nil, err
	}
	gs, next, err := a.Nodes.ListGroups(ctx, p)
	if err != nil {
		return nil, err
	}
	out := ListGroupsResult{Groups: []Group{}, NextToken: next}
	for _, g := range gs {
		s, err := groupShape(g)
		if err != nil {
			return nil, err
		}
		out.Groups = append(out.Groups, s)
	}
	return out, nil
}

// ListGroupResourcesRequest is the request of ListGroupResources. MaxResults is 1 to 50, 50 by default.
type ListGroupResourcesRequest struct {
	Name       string `json:"Name"`
	MaxResults int    `json:"MaxResults,omitempty"`
	NextToken  string `json:"NextToken,omitempty"`
}

// ListGroupResourcesResult is the answer of ListGroupResources: ids of nodes where AWS has ARNs.
type ListGroupResourcesResult struct {
	InstanceIDs []string `json:"InstanceIds"`
	NextToken   string   `json:"NextToken,omitempty"`
}

func (a *API) listGroupResources(ctx context.Context, in *ListGroupResourcesRequest) (any, error) {
	p, err := page("ssmops.ListGroupResources", 50, in.MaxResults, in.NextToken)
	if err != nil {
		a.audit(ctx, "resource-groups:ListGroupResources", "group/"+clip(in.Name), err)
		return nil, err
	}
	ids, next, err := a.Nodes.ListGroupNodes(ctx, in.Name, p)
	if err != nil {
		return nil, err
	}
	if ids == nil {
		ids = []string{}
	}
	return ListGroupResourcesResult{ids, next}, nil
}

// Filters reads the tags of a group's query, for programs that show it.
func (q ResourceQuery) Filters() ([]target.TagFilter, error) {
	var n node.Query
	err := json.Unmarshal([]byte(q.Query), &n)
	return n.TagFilters, err
}
