package patch

import "time"

// Request is what a node asks with for what it is to be patched by (operation GetDeployablePatchSnapshotForInstance).
type Request struct {
	SnapshotID      string          `json:"SnapshotId,omitempty"` // a UUID; empty: one of the node's own
	OperatingSystem OperatingSystem `json:"OperatingSystem"`
	Product         string          `json:"Product,omitempty"`
}

// Report is what an operation found and did on a node, as the node hands it in when the operation ends (operation PutPatchReport of fleetwright; AWS's agents hand in inventory and compliance).
type Report struct {
	Operation       Operation       `json:"Operation"`
	RebootOption    RebootOption    `json:"RebootOption,omitempty"`
	SnapshotID      string          `json:"SnapshotId,omitempty"`
	BaselineID      string          `json:"BaselineId"`
	PatchGroup      string          `json:"PatchGroup,omitempty"`
	OperatingSystem OperatingSystem `json:"OperatingSystem"`
	Product         string          `json:"Product,omitempty"`
	OverrideList    string          `json:"InstallOverrideList,omitempty"` // where the list came from
	Override        bool            `json:"BaselineOverride,omitempty"`    // decided by a BaselineOverride: what is recorded of the node stays as it is (B27)
	CommandID       string          `json:"CommandId,omitempty"`

	Started      time.Time `json:"OperationStartTime"`
	Ended        time.Time `json:"OperationEndTime"`
	LastNoReboot time.Time `json:"LastNoRebootInstallOperationTime,omitzero"` // the last Install with NoReboot that installed something

	Compliance Compliance `json:"Compliance"`
	Severity   Level      `json:"Severity"`
	Counts     Counts     `json:"Counts"`
	Patches    []Patch    `json:"Patches"`
}

// Report returns a result as a report's last part; the rest is the caller's to fill in.
func (r *Result) Report() Report {
	return Report{OperatingSystem: r.OperatingSystem, Product: r.Product, Compliance: r.Compliance, Severity: r.Severity, Counts: r.Counts, Patches: r.Patches}
}
