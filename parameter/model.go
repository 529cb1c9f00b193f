package parameter

import (
	"context"
	"time"
)

// Store is Parameter Store as a program uses it: the operations of AWS under AWS's names. [Service] implements it over a store and a key service, module aws over the real one; both pass
// parametertest. All methods are safe for concurrent use. The caller is access.From(ctx).
//
// Names are taken with spaces around them cut off; "/x" and "x" are one parameter (S1, S3). Where an operation reads, a name may carry a selector, "name:3" or "name:label" (S17), and may be
// an ARN (S33). Errors have AWS's codes (package fault); see each method of Service.
type Store interface {
	PutParameter(ctx context.Context, req PutParameterRequest) (PutParameterResult, error)
	GetParameter(ctx context.Context, req GetParameterRequest) (GetParameterResult, error)
	GetParameters(ctx context.Context, req GetParametersRequest) (GetParametersResult, error)
	GetParametersByPath(ctx context.Context, req GetParametersByPathRequest) (GetParametersByPathResult, error)
	GetParameterHistory(ctx context.Context, req GetParameterHistoryRequest) (GetParameterHistoryResult, error)
	DescribeParameters(ctx context.Context, req DescribeParametersRequest) (DescribeParametersResult, error)
	LabelParameterVersion(ctx context.Context, req LabelParameterVersionRequest) (LabelParameterVersionResult, error)
	UnlabelParameterVersion(ctx context.Context, req UnlabelParameterVersionRequest) (UnlabelParameterVersionResult, error)
	DeleteParameter(ctx context.Context, req DeleteParameterRequest) (DeleteParameterResult, error)
	DeleteParameters(ctx context.Context, req DeleteParametersRequest) (DeleteParametersResult, error)
	AddTagsToResource(ctx context.Context, req AddTagsToResourceRequest) (AddTagsToResourceResult, error)
	RemoveTagsFromResource(ctx context.Context, req RemoveTagsFromResourceRequest) (RemoveTagsFromResourceResult, error)
	ListTagsForResource(ctx context.Context, req ListTagsForResourceRequest) (ListTagsForResourceResult, error)
}

// Sharer is an optional ability of a Store: sharing by resource policy (S33).
type Sharer interface {
	PutResourcePolicy(ctx context.Context, req PutResourcePolicyRequest) (PutResourcePolicyResult, error)
	GetResourcePolicies(ctx context.Context, req GetResourcePoliciesRequest) (GetResourcePoliciesResult, error)
	DeleteResourcePolicy(ctx context.Context, req DeleteResourcePolicyRequest) (DeleteResourcePolicyResult, error)
}

// Type is the type of a parameter (S8).
type Type string

// The types.
const (
	String       Type = "String"
	StringList   Type = "StringList"
	SecureString Type = "SecureString"
)

// Tier is the tier of a parameter (S14).
type Tier string

// The tiers. IntelligentTiering is for requests only: a parameter is Standard or Advanced.
const (
	Standard           Tier = "Standard"
	Advanced           Tier = "Advanced"
	IntelligentTiering Tier = "Intelligent-Tiering"
)

// The data types that are known without the host (S15).
const (
	DataText           = "text"
	DataEC2Image       = "aws:ec2:image"
	DataSSMIntegration = "aws:ssm:integration"
)

// Tag is a tag of a parameter (shape Tag).
type Tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

// PutParameterRequest makes a parameter, or with Overwrite a new version of it (shape PutParameterRequest). Name and Value are required, Type for a new parameter. On an overwrite what is
// empty stays as it is: Description, AllowedPattern, DataType, Tier, Policies ("[{}]" removes them); KeyID does not stay, "" is the default key (S27).
type PutParameterRequest struct {
	Name           string `json:"Name"`
	Description    string `json:"Description,omitempty"`
	Value          Value  `json:"Value"`
	Type           Type   `json:"Type,omitempty"`
	KeyID          string `json:"KeyId,omitempty"` // of SecureString; "" and alias/aws/ssm are the key service's primary key
	Overwrite      bool   `json:"Overwrite,omitempty"`
	AllowedPattern string `json:"AllowedPattern,omitempty"`
	Tags           []Tag  `json:"Tags,omitempty"` // with Overwrite a ValidationException (T19): see Service.Put
	Tier           Tier   `json:"Tier,omitempty"`
	Policies       string `json:"Policies,omitempty"` // a JSON array (S30)
	DataType       string `json:"DataType,omitempty"` // "" is text
}

// PutParameterResult is the answer to PutParameter.
type PutParameterResult struct {
	Version int64 `json:"Version"`
	Tier    Tier  `json:"Tier"`
}

// Parameter is one version of a parameter with its value (shape Parameter).
type Parameter struct {
	Name             string    `json:"Name"`
	Type             Type      `json:"Type"`
	Value            Value     `json:"Value"` // of a SecureString read without decryption: its ciphertext in base64 (S24)
	Version          int64     `json:"Version"`
	Selector         string    `json:"Selector,omitempty"`     // ":3" or ":label", as it was asked for (S17)
	SourceResult     string    `json:"SourceResult,omitempty"` // of /aws/reference/…: the other service's answer (S32)
	LastModifiedDate time.Time `json:"LastModifiedDate,omitzero"`
	ARN              string    `json:"ARN,omitempty"`
	DataType         string    `json:"DataType,omitempty"`
}

// GetParameterRequest reads one parameter. Name may be an ARN and may have a selector.
type GetParameterRequest struct {
	Name           string `json:"Name"`
	WithDecryption bool   `json:"WithDecryption,omitempty"` // without effect on what is no SecureString (S24)
}

// GetParameterResult is the answer to GetParameter.
type GetParameterResult struct {
	Parameter Parameter `json:"Parameter"`
}

// GetParametersRequest reads 1 to 10 parameters (S20).
type GetParametersRequest struct {
	Names          []string `json:"Names"`
	WithDecryption bool     `json:"WithDecryption,omitempty"`
}

// GetParametersResult is the answer to GetParameters: what is there, in alphabetical order, and the names of what is not.
type GetParametersResult struct {
	Parameters        []Parameter `json:"Parameters"`
	InvalidParameters []string    `json:"InvalidParameters"` // as they were asked for
}

// ParameterStringFilter selects parameters (shape of that name): Key is Name, Type, KeyId, Path, Label, Tier, DataType or tag:KEY, Option "" is the key's default.
type ParameterStringFilter struct {
	Key    string   `json:"Key"`
	Option string   `json:"Option,omitempty"` // Equals, BeginsWith, Contains, Recursive, OneLevel
	Values []string `json:"Values,omitempty"` // any of them
}

// ParametersFilter is the older form: Key is Name, Type or KeyId; values of Name are beginnings (shape of that name).
type ParametersFilter struct {
	Key    string   `json:"Key"`
	Values []string `json:"Values"`
}

// GetParametersByPathRequest reads the parameters below a path (S21). Path begins with "/". Filters: Type, KeyId, Label.
type GetParametersByPathRequest struct {
	Path             string                  `json:"Path"`
	Recursive        bool                    `json:"Recursive,omitempty"`
	ParameterFilters []ParameterStringFilter `json:"ParameterFilters,omitempty"`
	WithDecryption   bool                    `json:"WithDecryption,omitempty"`
	MaxResults       int                     `json:"MaxResults,omitempty"` // 1 to 10; 0 is 10
	NextToken        string                  `json:"NextToken,omitempty"`
}

// GetParametersByPathResult is the answer to GetParametersByPath. There may be fewer parameters than MaxResults, even none, with a NextToken (T21).
type GetParametersByPathResult struct {
	Parameters []Parameter `json:"Parameters"`
	NextToken  string      `json:"NextToken,omitempty"`
}

// ParameterInlinePolicy is a policy with its state (shape of that name). PolicyStatus is Pending, Finished, Failed or InProgress.
type ParameterInlinePolicy struct {
	PolicyText   string `json:"PolicyText"`
	PolicyType   string `json:"PolicyType"`
	PolicyStatus string `json:"PolicyStatus"`
}

// ParameterMetadata is what is known of a parameter beside its value (shape of that name).
type ParameterMetadata struct {
	Name             string                  `json:"Name"`
	ARN              string                  `json:"ARN,omitempty"`
	Type             Type                    `json:"Type"`
	KeyID            string                  `json:"KeyId,omitempty"`
	LastModifiedDate time.Time               `json:"LastModifiedDate,omitzero"`
	LastModifiedUser string                  `json:"LastModifiedUser,omitempty"`
	Description      string                  `json:"Description,omitempty"`
	AllowedPattern   string                  `json:"AllowedPattern,omitempty"`
	Version          int64                   `json:"Version"`
	Tier             Tier                    `json:"Tier"`
	Policies         []ParameterInlinePolicy `json:"Policies,omitempty"`
	DataType         string                  `json:"DataType,omitempty"`
}

// DescribeParametersRequest lists parameters without values (S22). Filters and ParameterFilters exclude each other.
type DescribeParametersRequest struct {
	Filters          []ParametersFilter      `json:"Filters,omitempty"`
	ParameterFilters []ParameterStringFilter `json:"ParameterFilters,omitempty"`
	MaxResults       int                     `json:"MaxResults,omitempty"` // 1 to 50; 0 is 50
	NextToken        string                  `json:"NextToken,omitempty"`
	Shared           bool                    `json:"Shared,omitempty"` // those that others share with the caller (S33)
}

// DescribeParametersResult is the answer to DescribeParameters.
type DescribeParametersResult struct {
	Parameters []ParameterMetadata `json:"Parameters"`
	NextToken  string              `json:"NextToken,omitempty"`
}

// ParameterHistory is one version of a parameter with all that is known of it (shape of that name, S23).
type ParameterHistory struct {
	Name             string                  `json:"Name"`
	Type             Type                    `json:"Type"`
	KeyID            string                  `json:"KeyId,omitempty"`
	LastModifiedDate time.Time               `json:"LastModifiedDate,omitzero"`
	LastModifiedUser string                  `json:"LastModifiedUser,omitempty"`
	Description      string                  `json:"Description,omitempty"`
	Value            Value                   `json:"Value"`
	AllowedPattern   string                  `json:"AllowedPattern,omitempty"`
	Version          int64                   `json:"Version"`
	Labels           []string                `json:"Labels"` // sorted
	Tier             Tier                    `json:"Tier"`
	Policies         []ParameterInlinePolicy `json:"Policies,omitempty"`
	DataType         string                  `json:"DataType,omitempty"`
}

// GetParameterHistoryRequest reads the versions that are kept, the oldest first.
type GetParameterHistoryRequest struct {
	Name           string `json:"Name"`
	WithDecryption bool   `json:"WithDecryption,omitempty"`
	MaxResults     int    `json:"MaxResults,omitempty"` // 1 to 50; 0 is 50
	NextToken      string `json:"NextToken,omitempty"`
}

// GetParameterHistoryResult is the answer to GetParameterHistory.
type GetParameterHistoryResult struct {
	Parameters []ParameterHistory `json:"Parameters"`
	NextToken  string             `json:"NextToken,omitempty"`
}

// LabelParameterVersionRequest attaches 1 to 10 labels to a version (S18).
type LabelParameterVersionRequest struct {
	Name             string   `json:"Name"`
	ParameterVersion int64    `json:"ParameterVersion,omitempty"` // 0 is the latest
	Labels           []string `json:"Labels"`
}

// LabelParameterVersionResult is the answer to LabelParameterVersion.
type LabelParameterVersionResult struct {
	InvalidLabels    []string `json:"InvalidLabels"` // those that break the rules of labels; the others are attached
	ParameterVersion int64    `json:"ParameterVersion"`
}

// UnlabelParameterVersionRequest takes labels from a version (S19). All members are required.
type UnlabelParameterVersionRequest struct {
	Name             string   `json:"Name"`
	ParameterVersion int64    `json:"ParameterVersion"`
	Labels           []string `json:"Labels"`
}

// UnlabelParameterVersionResult is the answer to UnlabelParameterVersion.
type UnlabelParameterVersionResult struct {
	RemovedLabels []string `json:"RemovedLabels"`
	InvalidLabels []string `json:"InvalidLabels"` // those that the version does not have
}

// DeleteParameterRequest deletes a parameter with its history.
type DeleteParameterRequest struct {
	Name string `json:"Name"`
}

// DeleteParameterResult is the answer to DeleteParameter.
type DeleteParameterResult struct{}

// DeleteParametersRequest deletes 1 to 10 parameters (S20).
type DeleteParametersRequest struct {
	Names []string `json:"Names"`
}

// DeleteParametersResult is the answer to DeleteParameters.
type DeleteParametersResult struct {
	DeletedParameters []string `json:"DeletedParameters"`
	InvalidParameters []string `json:"InvalidParameters"` // those that are not there
}

// AddTagsToResourceRequest sets tags. ResourceType is Parameter, ResourceID a name.
type AddTagsToResourceRequest struct {
	ResourceType string `json:"ResourceType"`
	ResourceID   string `json:"ResourceId"`
	Tags         []Tag  `json:"Tags"`
}

// AddTagsToResourceResult is the answer to AddTagsToResource.
type AddTagsToResourceResult struct{}

// RemoveTagsFromResourceRequest removes tags; those that are not there are no error.
type RemoveTagsFromResourceRequest struct {
	ResourceType string   `json:"ResourceType"`
	ResourceID   string   `json:"ResourceId"`
	TagKeys      []string `json:"TagKeys"`
}

// RemoveTagsFromResourceResult is the answer to RemoveTagsFromResource.
type RemoveTagsFromResourceResult struct{}

// ListTagsForResourceRequest reads tags.
type ListTagsForResourceRequest struct {
	ResourceType string `json:"ResourceType"`
	ResourceID   string `json:"ResourceId"`
}

// ListTagsForResourceResult is the answer to ListTagsForResource, sorted by key.
type ListTagsForResourceResult struct {
	TagList []Tag `json:"TagList"`
}

// PutResourcePolicyRequest shares a parameter of tier Advanced (S33). PolicyID and PolicyHash are given to replace a policy, not for the first.
type PutResourcePolicyRequest struct {
	ResourceARN string `json:"ResourceArn"`
	Policy      string `json:"Policy"` // an AWS policy in JSON with principals
	PolicyID    string `json:"PolicyId,omitempty"`
	PolicyHash  string `json:"PolicyHash,omitempty"`
}

// PutResourcePolicyResult is the answer to PutResourcePolicy.
type PutResourcePolicyResult struct {
	PolicyID   string `json:"PolicyId"`
	PolicyHash string `json:"PolicyHash"`
}

// GetResourcePoliciesRequest lists the policies of a parameter.
type GetResourcePoliciesRequest struct {
	ResourceARN string `json:"ResourceArn"`
	MaxResults  int    `json:"MaxResults,omitempty"` // 1 to 50; 0 is 50
	NextToken   string `json:"NextToken,omitempty"`
}

// ResourcePolicy is one policy (shape GetResourcePoliciesResponseEntry).
type ResourcePolicy struct {
	PolicyID   string `json:"PolicyId"`
	PolicyHash string `json:"PolicyHash"`
	Policy     string `json:"Policy"`
}

// GetResourcePoliciesResult is the answer to GetResourcePolicies.
type GetResourcePoliciesResult struct {
	Policies  []ResourcePolicy `json:"Policies"`
	NextToken string           `json:"NextToken,omitempty"`
}

// DeleteResourcePolicyRequest removes a policy.
type DeleteResourcePolicyRequest struct {
	ResourceARN string `json:"ResourceArn"`
	PolicyID    string `json:"PolicyId"`
	PolicyHash  string `json:"PolicyHash"`
}

// DeleteResourcePolicyResult is the answer to DeleteResourcePolicy.
type DeleteResourcePolicyResult struct{}
