package patchstore

import (
	"encoding/json"
	"time"

	"github.com/fleetwright/fleetwright/patch"
)

// Tag is a tag of a baseline.
type Tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

// CreatePatchBaselineRequest is AWS's: a baseline with a token and tags. The baseline's ID and dates are not looked at.
type CreatePatchBaselineRequest struct {
	Baseline    patch.Baseline
	ClientToken string // a repeat with the same token and baseline gives the same id
	Tags        []Tag
}

// UnmarshalJSON reads AWS's form, in which the members of the baseline stand beside the others.
func (r *CreatePatchBaselineRequest) UnmarshalJSON(b []byte) error {
	var more struct {
		ClientToken string
		Tags        []Tag
	}
	if err := json.Unmarshal(b, &more); err != nil {
		return err
	}
	base, err := patch.ParseBaseline(b)
	if err != nil {
		return err
	}
	*r = CreatePatchBaselineRequest{*base, more.ClientToken, more.Tags}
	return nil
}

// CreatePatchBaselineResult is AWS's.
type CreatePatchBaselineResult struct {
	BaselineID string `json:"BaselineId"`
}

// UpdatePatchBaselineRequest is AWS's. With Replace the baseline takes the place of the old one whole; without, only the members that Set names do.
type UpdatePatchBaselineRequest struct {
	BaselineID string
	Replace    bool
	Baseline   patch.Baseline
	Set        map[string]bool // AWS's names: Name, GlobalFilters, ApprovalRules, ApprovedPatches, …
}

// UnmarshalJSON reads AWS's form; the members that stand there are Set.
func (r *UpdatePatchBaselineRequest) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	out := UpdatePatchBaselineRequest{Set: map[string]bool{}}
	for name, to := range map[string]any{"BaselineId": &out.BaselineID, "Replace": &out.Replace} {
		if raw, ok := members[name]; ok {
			if err := json.Unmarshal(raw, to); err != nil {
				return err
			}
			delete(members, name)
		}
	}
	for name, raw := range members {
		if string(raw) != "null" {
			out.Set[name] = true
		}
	}
	rest, err := json.Marshal(members)
	if err != nil {
		return err
	}
	base, err := patch.ParseBaseline(rest)
	if err != nil {
		return err
	}
	out.Baseline = *base
	*r = out
	return nil
}

// Baseline is a stored baseline with the groups that are registered with it (AWS: GetPatchBaselineResult, UpdatePatchBaselineResult).
type Baseline struct {
	patch.Baseline
	PatchGroups []string
}

// MarshalJSON writes AWS's form.
func (b Baseline) MarshalJSON() ([]byte, error) {
	base, err := json.Marshal(b.Baseline)
	if err != nil {
		return nil, err
	}
	groups := b.PatchGroups
	if groups == nil {
		groups = []string{}
	}
	more, err := json.Marshal(struct{ PatchGroups []string }{groups})
	if err != nil {
		return nil, err
	}
	return append(append(base[:len(base)-1], ','), more[1:]...), nil
}

// BaselineRequest names a baseline by its id, or the ARN that ends with it.
type BaselineRequest struct {
	BaselineID string `json:"BaselineId"`
}

// BaselineResult names the baseline that an operation was about.
type BaselineResult struct {
	BaselineID string `json:"BaselineId"`
}

// Filter keeps what has one of Values for Key (AWS: PatchOrchestratorFilter).
type Filter struct {
	Key    string   `json:"Key"`
	Values []string `json:"Values"`
}

// ListRequest is that of DescribePatchBaselines (filters NAME_PREFIX, OWNER, OPERATING_SYSTEM), DescribePatchGroups (NAME_PREFIX, OPERATING_SYSTEM) and DescribeAvailablePatches.
type ListRequest struct {
	Filters    []Filter `json:"Filters,omitempty"`
	MaxResults int      `json:"MaxResults,omitempty"` // 1 to 100; 0 is 100
	NextToken  string   `json:"NextToken,omitempty"`
}

// BaselineIdentity is a baseline in a list (AWS: PatchBaselineIdentity).
type BaselineIdentity struct {
	BaselineID          string                `json:"BaselineId"`
	BaselineName        string                `json:"BaselineName"`
	OperatingSystem     patch.OperatingSystem `json:"OperatingSystem"`
	BaselineDescription string                `json:"BaselineDescription,omitempty"`
	DefaultBaseline     bool                  `json:"DefaultBaseline"`
}

// DescribePatchBaselinesResult is AWS's.
type DescribePatchBaselinesResult struct {
	BaselineIdentities []BaselineIdentity `json:"BaselineIdentities"`
	NextToken          string             `json:"NextToken,omitempty"`
}

// DefaultRequest asks for the default baseline of an operating system; WINDOWS when it names none.
type DefaultRequest struct {
	OperatingSystem patch.OperatingSystem `json:"OperatingSystem,omitempty"`
}

// DefaultResult is AWS's GetDefaultPatchBaselineResult.
type DefaultResult struct {
	BaselineID      string                `json:"BaselineId"`
	OperatingSystem patch.OperatingSystem `json:"OperatingSystem"`
}

// GroupRequest registers or deregisters a patch group.
type GroupRequest struct {
	BaselineID string `json:"BaselineId"`
	PatchGroup string `json:"PatchGroup"`
}

// GroupResult is its answer.
type GroupResult struct {
	BaselineID string `json:"BaselineId"`
	PatchGroup string `json:"PatchGroup"`
}

// ForGroupRequest asks for the baseline of a group for an operating system; WINDOWS when it names none.
type ForGroupRequest struct {
	PatchGroup      string                `json:"PatchGroup"`
	OperatingSystem patch.OperatingSystem `json:"OperatingSystem,omitempty"`
}

// ForGroupResult is AWS's GetPatchBaselineForPatchGroupResult.
type ForGroupResult struct {
	BaselineID      string                `json:"BaselineId"`
	PatchGroup      string                `json:"PatchGroup"`
	OperatingSystem patch.OperatingSystem `json:"OperatingSystem"`
}

// Mapping is a patch group with a baseline (AWS: PatchGroupPatchBaselineMapping).
type Mapping struct {
	PatchGroup       string           `json:"PatchGroup"`
	BaselineIdentity BaselineIdentity `json:"BaselineIdentity"`
}

// DescribePatchGroupsResult is AWS's.
type DescribePatchGroupsResult struct {
	Mappings  []Mapping `json:"Mappings"`
	NextToken string    `json:"NextToken,omitempty"`
}

// PropertiesRequest is AWS's DescribePatchPropertiesRequest.
type PropertiesRequest struct {
	OperatingSystem patch.OperatingSystem `json:"OperatingSystem"`
	Property        patch.Property        `json:"Property"`
	PatchSet        string                `json:"PatchSet,omitempty"`
	MaxResults      int                   `json:"MaxResults,omitempty"` // 1 to 50; 0 is 50
	NextToken       string                `json:"NextToken,omitempty"`
}

// PropertiesResult has one map for each value, as AWS answers: {"Name": value}.
type PropertiesResult struct {
	Properties []map[string]string `json:"Properties"`
	NextToken  string              `json:"NextToken,omitempty"`
}

// InstancePatchState is what the last operation found on a node, in numbers. The shape is AWS's.
type InstancePatchState struct {
	InstanceID                       string             `json:"InstanceId"`
	PatchGroup                       string             `json:"PatchGroup"`
	BaselineID                       string             `json:"BaselineId"`
	SnapshotID                       string             `json:"SnapshotId,omitempty"`
	InstallOverrideList              string             `json:"InstallOverrideList,omitempty"`
	OwnerInformation                 string             `json:"OwnerInformation,omitempty"`
	InstalledCount                   int                `json:"InstalledCount"`
	InstalledOtherCount              int                `json:"InstalledOtherCount"`
	InstalledPendingRebootCount      int                `json:"InstalledPendingRebootCount"`
	InstalledRejectedCount           int                `json:"InstalledRejectedCount"`
	MissingCount                     int                `json:"MissingCount"`
	FailedCount                      int                `json:"FailedCount"`
	UnreportedNotApplicableCount     int                `json:"UnreportedNotApplicableCount"`
	NotApplicableCount               int                `json:"NotApplicableCount"`
	AvailableSecurityUpdateCount     int                `json:"AvailableSecurityUpdateCount"`
	OperationStartTime               time.Time          `json:"OperationStartTime"`
	OperationEndTime                 time.Time          `json:"OperationEndTime"`
	Operation                        patch.Operation    `json:"Operation"`
	LastNoRebootInstallOperationTime time.Time          `json:"LastNoRebootInstallOperationTime,omitzero"`
	RebootOption                     patch.RebootOption `json:"RebootOption,omitempty"`
	CriticalNonCompliantCount        int                `json:"CriticalNonCompliantCount"`
	SecurityNonCompliantCount        int                `json:"SecurityNonCompliantCount"`
	OtherNonCompliantCount           int                `json:"OtherNonCompliantCount"`
}

// StatesRequest is AWS's DescribeInstancePatchStatesRequest.
type StatesRequest struct {
	InstanceIDs []string `json:"InstanceIds"`          // 1 to 50
	MaxResults  int      `json:"MaxResults,omitempty"` // 10 to 100; 0 is 100
	NextToken   string   `json:"NextToken,omitempty"`
}

// StateFilter compares a count (AWS: InstancePatchStateFilter).
type StateFilter struct {
	Key    string   `json:"Key"` // InstalledCount, MissingCount, FailedCount, …
	Values []string `json:"Values"`
	Type   string   `json:"Type"` // Equal, NotEqual, LessThan, GreaterThan
}

// StatesForGroupRequest is AWS's DescribeInstancePatchStatesForPatchGroupRequest.
type StatesForGroupRequest struct {
	PatchGroup string        `json:"PatchGroup"`
	Filters    []StateFilter `json:"Filters,omitempty"` // at most 4
	MaxResults int           `json:"MaxResults,omitempty"`
	NextToken  string        `json:"NextToken,omitempty"`
}

// StatesResult is the answer to both.
type StatesResult struct {
	InstancePatchStates []InstancePatchState `json:"InstancePatchStates"`
	NextToken           string               `json:"NextToken,omitempty"`
}

// PatchesRequest is AWS's DescribeInstancePatchesRequest. Filters are Classification, KBId, Severity and State.
type PatchesRequest struct {
	InstanceID string   `json:"InstanceId"`
	Filters    []Filter `json:"Filters,omitempty"`
	MaxResults int      `json:"MaxResults,omitempty"` // 10 to 100; 0 is 100
	NextToken  string   `json:"NextToken,omitempty"`
}

// PatchComplianceData is a patch of a node. The shape is AWS's.
type PatchComplianceData struct {
	Title          string    `json:"Title"`
	KBID           string    `json:"KBId"`
	Classification string    `json:"Classification"`
	Severity       string    `json:"Severity"`
	State          string    `json:"State"` // AWS's constants, such as INSTALLED_PENDING_REBOOT
	InstalledTime  time.Time `json:"InstalledTime,omitzero"`
	CVEIDs         string    `json:"CVEIds,omitempty"` // separated by commas
}

// PatchesResult is AWS's DescribeInstancePatchesResult.
type PatchesResult struct {
	Patches   []PatchComplianceData `json:"Patches"`
	NextToken string                `json:"NextToken,omitempty"`
}

// GroupStateRequest asks for the numbers of a group.
type GroupStateRequest struct {
	PatchGroup string `json:"PatchGroup"`
}

// GroupState counts nodes of a group (AWS: DescribePatchGroupStateResult): each number is of nodes for which the count of that name is over zero (B20).
type GroupState struct {
	Instances                                int `json:"Instances"`
	InstancesWithInstalledPatches            int `json:"InstancesWithInstalledPatches"`
	InstancesWithInstalledOtherPatches       int `json:"InstancesWithInstalledOtherPatches"`
	InstancesWithInstalledPendingReboot      int `json:"InstancesWithInstalledPendingRebootPatches"`
	InstancesWithInstalledRejectedPatches    int `json:"InstancesWithInstalledRejectedPatches"`
	InstancesWithMissingPatches              int `json:"InstancesWithMissingPatches"`
	InstancesWithFailedPatches               int `json:"InstancesWithFailedPatches"`
	InstancesWithNotApplicablePatches        int `json:"InstancesWithNotApplicablePatches"`
	InstancesWithUnreportedNotApplicable     int `json:"InstancesWithUnreportedNotApplicablePatches"`
	InstancesWithCriticalNonCompliantPatches int `json:"InstancesWithCriticalNonCompliantPatches"`
	InstancesWithSecurityNonCompliantPatches int `json:"InstancesWithSecurityNonCompliantPatches"`
	InstancesWithOtherNonCompliantPatches    int `json:"InstancesWithOtherNonCompliantPatches"`
	InstancesWithAvailableSecurityUpdates    int `json:"InstancesWithAvailableSecurityUpdates"`
}

// SnapshotRequest is AWS's GetDeployablePatchSnapshotForInstanceRequest.
type SnapshotRequest struct {
	InstanceID       string          `json:"InstanceId"`
	SnapshotID       string          `json:"SnapshotId"`
	BaselineOverride json.RawMessage `json:"BaselineOverride,omitempty"`
}

// SnapshotResult is AWS's. The URL is one that holds the snapshot itself (data:application/json;base64,…), for there is no bucket that a link could lead to.
type SnapshotResult struct {
	InstanceID          string `json:"InstanceId"`
	SnapshotID          string `json:"SnapshotId"`
	SnapshotDownloadURL string `json:"SnapshotDownloadUrl"`
	Product             string `json:"Product,omitempty"`
}

// EffectiveRequest is AWS's DescribeEffectivePatchesForPatchBaselineRequest.
type EffectiveRequest struct {
	BaselineID string `json:"BaselineId"`
	MaxResults int    `json:"MaxResults,omitempty"`
	NextToken  string `json:"NextToken,omitempty"`
}

// EffectivePatch is a patch with what a baseline says of it.
type EffectivePatch struct {
	Patch       Patch       `json:"Patch"`
	PatchStatus PatchStatus `json:"PatchStatus"`
}

// PatchStatus is AWS's.
type PatchStatus struct {
	DeploymentStatus string      `json:"DeploymentStatus"` // APPROVED, PENDING_APPROVAL, EXPLICIT_APPROVED, EXPLICIT_REJECTED
	ComplianceLevel  patch.Level `json:"ComplianceLevel,omitempty"`
	ApprovalDate     time.Time   `json:"ApprovalDate,omitzero"`
}

// EffectiveResult is AWS's.
type EffectiveResult struct {
	EffectivePatches []EffectivePatch `json:"EffectivePatches"`
	NextToken        string           `json:"NextToken,omitempty"`
}

// Patch is a patch of the catalogue (AWS: Patch).
type Patch struct {
	ID             string    `json:"Id,omitempty"`
	ReleaseDate    time.Time `json:"ReleaseDate,omitzero"`
	Title          string    `json:"Title,omitempty"`
	Description    string    `json:"Description,omitempty"`
	ContentURL     string    `json:"ContentUrl,omitempty"`
	Vendor         string    `json:"Vendor,omitempty"`
	ProductFamily  string    `json:"ProductFamily,omitempty"`
	Product        string    `json:"Product,omitempty"`
	Classification string    `json:"Classification,omitempty"`
	MSRCSeverity   string    `json:"MsrcSeverity,omitempty"`
	KBNumber       string    `json:"KbNumber,omitempty"`
	MSRCNumber     string    `json:"MsrcNumber,omitempty"`
	Language       string    `json:"Language,omitempty"`
	AdvisoryIDs    []string  `json:"AdvisoryIds,omitempty"`
	BugzillaIDs    []string  `json:"BugzillaIds,omitempty"`
	CVEIDs         []string  `json:"CVEIds,omitempty"`
	Name           string    `json:"Name,omitempty"`
	Epoch          int       `json:"Epoch,omitempty"`
	Version        string    `json:"Version,omitempty"`
	Release        string    `json:"Release,omitempty"`
	Arch           string    `json:"Arch,omitempty"`
	Severity       string    `json:"Severity,omitempty"`
	Repository     string    `json:"Repository,omitempty"`
}

// AvailableResult is AWS's DescribeAvailablePatchesResult.
type AvailableResult struct {
	Patches   []Patch `json:"Patches"`
	NextToken string  `json:"NextToken,omitempty"`
}

// TagsRequest sets or removes tags of a baseline.
type TagsRequest struct {
	ResourceType string   `json:"ResourceType"` // PatchBaseline
	ResourceID   string   `json:"ResourceId"`
	Tags         []Tag    `json:"Tags,omitempty"`
	TagKeys      []string `json:"TagKeys,omitempty"`
}
