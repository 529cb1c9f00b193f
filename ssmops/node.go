package ssmops

import (
	"context"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/node"
)

// Tag is a tag of a node, an activation or a document (shape Tag).
type Tag = library.Tag

// tagMap turns AWS's list into a map. A key that stands twice is refused.
func tagMap(op string, tags []Tag) (map[string]string, error) {
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		if _, twice := out[t.Key]; twice {
			return nil, fault.New(op, fault.Validation, "tag %s is given twice", clip(t.Key))
		}
		out[t.Key] = t.Value
	}
	return out, nil
}

// tagsOf turns a map into AWS's list, sorted by key.
func tagsOf(m map[string]string) []Tag {
	out := make([]Tag, 0, len(m))
	for k, v := range m {
		out = append(out, Tag{Key: k, Value: v})
	}
	slices.SortFunc(out, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// CreateActivationRequest is the request of CreateActivation. Everything may be left out: one machine within 24 hours.
type CreateActivationRequest struct {
	Description         string `json:"Description,omitempty"`
	DefaultInstanceName string `json:"DefaultInstanceName,omitempty"`
	IamRole             string `json:"IamRole,omitempty"`
	RegistrationLimit   int    `json:"RegistrationLimit,omitempty"`
	ExpirationDate      Time   `json:"ExpirationDate,omitzero"`
	Tags                []Tag  `json:"Tags,omitempty"`
}

// CreateActivationResult is the answer of CreateActivation. The code cannot be had again.
type CreateActivationResult struct {
	ActivationID   string `json:"ActivationId"`
	ActivationCode string `json:"ActivationCode,omitempty"`
}

func (a *API) createActivation(ctx context.Context, in *CreateActivationRequest) (any, error) {
	tags, err := tagMap("ssmops.CreateActivation", in.Tags)
	if err != nil {
		a.audit(ctx, "ssm:CreateActivation", "activation/*", err)
		return nil, err
	}
	n, err := a.Nodes.CreateActivation(ctx, node.ActivationRequest{Description: in.Description, DefaultName: in.DefaultInstanceName, IamRole: in.IamRole,
		RegistrationLimit: in.RegistrationLimit, Expires: in.ExpirationDate.Time, Tags: tags})
	if err != nil {
		return nil, err
	}
	defer n.Code.Wipe()
	return CreateActivationResult{n.ID, string(n.Code.Reveal())}, nil
}

// ActivationFilter selects activations (shape DescribeActivationsFilter). Keys: ActivationIds, DefaultInstanceName, IamRole.
type ActivationFilter struct {
	FilterKey    string   `json:"FilterKey"`
	FilterValues []string `json:"FilterValues"`
}

// DescribeActivationsRequest is the request of DescribeActivations. MaxResults is 1 to 50, 50 by default.
type DescribeActivationsRequest struct {
	Filters    []ActivationFilter `json:"Filters,omitempty"`
	MaxResults int                `json:"MaxResults,omitempty"`
	NextToken  string             `json:"NextToken,omitempty"`
}

// Activation is one activation of a list (shape Activation).
type Activation struct {
	ActivationID        string `json:"ActivationId"`
	Description         string `json:"Description,omitempty"`
	DefaultInstanceName string `json:"DefaultInstanceName,omitempty"`
	IamRole             string `json:"IamRole,omitempty"`
	RegistrationLimit   int    `json:"RegistrationLimit"`
	RegistrationsCount  int    `json:"RegistrationsCount"`
	ExpirationDate      Time   `json:"ExpirationDate,omitzero"`
	Expired             bool   `json:"Expired"`
	CreatedDate         Time   `json:"CreatedDate,omitzero"`
	Tags                []Tag  `json:"Tags"`
}

// DescribeActivationsResult is the answer of DescribeActivations.
type DescribeActivationsResult struct {
	ActivationList []Activation `json:"ActivationList"`
	NextToken      string       `json:"NextToken,omitempty"`
}

// page checks MaxResults as AWS bounds it, before the service, which allows more.
func page(op string, most, n int, token string) (*node.Page, error) {
	if n < 0 || n > most {
		return nil, fault.New(op, fault.Validation, "MaxResults is %d; it must be 1 to %d", n, most)
	}
	return &node.Page{MaxResults: n, NextToken: token}, nil
}

func (a *API) describeActivations(ctx context.Context, in *DescribeActivationsRequest) (any, error) {
	p, err := page("ssmops.DescribeActivations", 50, in.MaxResults, in.NextToken)
	if err != nil {
		a.audit(ctx, "ssm:DescribeActivations", "*", err)
		return nil, err
	}
	var fs []node.ActivationFilter
	for _, f := range in.Filters {
		fs = append(fs, node.ActivationFilter{Key: f.FilterKey, Values: f.FilterValues})
	}
	as, next, err := a.Nodes.DescribeActivations(ctx, fs, p)
	if err != nil {
		return nil, err
	}
	out := DescribeActivationsResult{ActivationList: []Activation{}, NextToken: next}
	for _, v := range as {
		out.ActivationList = append(out.ActivationList, Activation{v.ID, v.Description, v.DefaultName, v.IamRole, v.RegistrationLimit, v.Registrations, Time{v.Expires}, v.Expired,
			Time{v.Created}, tagsOf(v.Tags)})
	}
	return out, nil
}

// DeleteActivationRequest is the request of DeleteActivation.
type DeleteActivationRequest struct {
	ActivationID string `json:"ActivationId"`
}

func (a *API) deleteActivation(ctx context.Context, in *DeleteActivationRequest) (any, error) {
	return nil, a.Nodes.DeleteActivation(ctx, in.ActivationID)
}

// InstanceFilter selects nodes (shape InstanceInformationStringFilter). Keys are those of node.Filter.
type InstanceFilter struct {
	Key    string   `json:"Key"`
	Values []string `json:"Values"`
}

// OldInstanceFilter is AWS's older form (shape InstanceInformationFilter; its members begin in lower case).
type OldInstanceFilter struct {
	Key      string   `json:"key"`
	ValueSet []string `json:"valueSet"`
}

// DescribeInstanceInformationRequest is the request of DescribeInstanceInformation. MaxResults is 1 to 50 (AWS wants at least 5), 50 by default.
type DescribeInstanceInformationRequest struct {
	InstanceInformationFilterList []OldInstanceFilter `json:"InstanceInformationFilterList,omitempty"`
	Filters                       []InstanceFilter    `json:"Filters,omitempty"`
	MaxResults                    int                 `json:"MaxResults,omitempty"`
	NextToken                     string              `json:"NextToken,omitempty"`
}

// InstanceInformation is node.Info with its times as on the wire.
type InstanceInformation struct {
	node.Info
	LastPingDateTime Time `json:"LastPingDateTime,omitzero"`
	RegistrationDate Time `json:"RegistrationDate,omitzero"`
}

// DescribeInstanceInformationResult is the answer of DescribeInstanceInformation.
type DescribeInstanceInformationResult struct {
	InstanceInformationList []InstanceInformation `json:"InstanceInformationList"`
	NextToken               string                `json:"NextToken,omitempty"`
}

func (a *API) describeInstanceInformation(ctx context.Context, in *DescribeInstanceInformationRequest) (any, error) {
	const op = "ssmops.DescribeInstanceInformation"
	p, err := page(op, 50, in.MaxResults, in.NextToken)
	if err == nil && len(in.Filters)+len(in.InstanceInformationFilterList) > 50 {
		err = fault.New(op, fault.Validation, "more than 50 filters are given")
	}
	if err != nil {
		a.audit(ctx, "ssm:DescribeInstanceInformation", "*", err)
		return nil, err
	}
	var fs []node.Filter
	for _, f := range in.Filters {
		fs = append(fs, node.Filter(f))
	}
	for _, f := range in.InstanceInformationFilterList {
		fs = append(fs, node.Filter{Key: f.Key, Values: f.ValueSet})
	}
	ns, next, err := a.Nodes.List(ctx, fs, p)
	if err != nil {
		return nil, err
	}
	out := DescribeInstanceInformationResult{InstanceInformationList: []InstanceInformation{}, NextToken: next}
	for _, n := range ns {
		out.InstanceInformationList = append(out.InstanceInformationList, InstanceInformation{n, Time{n.LastPing}, Time{n.RegistrationDate}})
	}
	return out, nil
}

// DeregisterManagedInstanceRequest is the request of DeregisterManagedInstance.
type DeregisterManagedInstanceRequest struct {
	InstanceID string `json:"InstanceId"`
}

func (a *API) deregisterManagedInstance(ctx context.Context, in *DeregisterManagedInstanceRequest) (any, error) {
	return nil, a.Nodes.Deregister(ctx, in.InstanceID)
}

// UpdateManagedInstanceRoleRequest is the request of UpdateManagedInstanceRole.
type UpdateManagedInstanceRoleRequest struct {
	InstanceID string `json:"InstanceId"`
	IamRole    string `json:"IamRole"`
}

func (a *API) updateManagedInstanceRole(ctx context.Context, in *UpdateManagedInstanceRoleRequest) (any, error) {
	return nil, a.Nodes.UpdateRole(ctx, in.InstanceID, in.IamRole)
}

// UpdateInstanceNameRequest is the request of UpdateInstanceName (own).
type UpdateInstanceNameRequest struct {
	InstanceID string `json:"InstanceId"`
	Name       string `json:"Name"`
}

func (a *API) updateInstanceName(ctx context.Context, in *UpdateInstanceNameRequest) (any, error) {
	return nil, a.Nodes.UpdateName(ctx, in.InstanceID, in.Name)
}
