package patch

import "time"

// Baseline says which patches a node of one operating system must have. The zero value with an OperatingSystem approves nothing.
// It is plain data: Evaluate never changes it, so one Baseline may serve many goroutines. Shape: AWS's GetPatchBaselineResult.
type Baseline struct {
	ID              string          // BaselineId, "pb-…" or an ARN; empty for one that was never stored
	Name            string          // 3 to 128 of a-z A-Z 0-9 _ - .
	Description     string          // up to 1,024 characters
	OperatingSystem OperatingSystem // empty means Windows, as on AWS

	GlobalFilters FilterGroup // a patch that they do not accept leaves the pipeline before any rule (E1)
	Rules         []PatchRule // ApprovalRules.PatchRules: one that accepts is enough (E2)

	ApprovedPatches         []string // names, in the formats of the operating system (L1 to L6)
	ApprovedComplianceLevel Level    // ApprovedPatchesComplianceLevel, "" as UNSPECIFIED
	ApprovedNonSecurity     bool     // ApprovedPatchesEnableNonSecurity (N9)

	RejectedPatches []string // names; they win over every approval (E4)
	RejectedAction  RejectedAction

	Sources []Source // alternative repositories; they replace the configured ones for a run (Linux only)

	// AvailableSecurityUpdates is AvailableSecurityUpdatesComplianceStatus: what a security update that waits for its approval
	// makes of a Windows node (C8). "" counts as COMPLIANT.
	AvailableSecurityUpdates Compliance

	Created  time.Time // CreatedDate, zero when unknown
	Modified time.Time // ModifiedDate, zero when unknown
}

// System returns the operating system, WINDOWS where the baseline names none.
func (b *Baseline) System() OperatingSystem {
	if b.OperatingSystem == "" {
		return Windows
	}
	return b.OperatingSystem
}

// PatchRule approves the patches that its filters accept, once they are old enough. Exactly one of ApproveAfterDays and
// ApproveUntilDate is set, on Debian, Raspbian and Ubuntu none needs to be and both are ignored (A6, A8).
type PatchRule struct {
	Filters           FilterGroup // PatchFilterGroup
	Level             Level       // ComplianceLevel of what it approves, "" as UNSPECIFIED
	ApproveAfterDays  *int        // 0 to 360
	ApproveUntilDate  string      // YYYY-MM-DD, inclusive
	EnableNonSecurity bool        // let patches in that no notice or security archive offers (N1, N5)
}

// FilterGroup is AWS's PatchFilterGroup: every filter must accept (F2). Empty accepts everything (F3).
type FilterGroup []Filter

// Filter accepts a patch whose property Key equals one of Values, without regard to case, or when a value is "*" (F1, F7).
type Filter struct {
	Key    FilterKey
	Values []string
}

// FilterKey is a property that a filter asks for, as AWS's enumeration PatchFilterKey spells it.
type FilterKey string

// The filter keys of AWS's API. Which of them a baseline may use depends on the operating system: see Validate.
const (
	KeyArch           FilterKey = "ARCH"
	KeyAdvisoryID     FilterKey = "ADVISORY_ID"
	KeyBugzillaID     FilterKey = "BUGZILLA_ID"
	KeyPatchSet       FilterKey = "PATCH_SET"
	KeyProduct        FilterKey = "PRODUCT"
	KeyProductFamily  FilterKey = "PRODUCT_FAMILY"
	KeyClassification FilterKey = "CLASSIFICATION"
	KeyCVEID          FilterKey = "CVE_ID"
	KeyEpoch          FilterKey = "EPOCH"
	KeyMSRCSeverity   FilterKey = "MSRC_SEVERITY"
	KeyName           FilterKey = "NAME"
	KeyPatchID        FilterKey = "PATCH_ID"
	KeySection        FilterKey = "SECTION"
	KeyPriority       FilterKey = "PRIORITY"
	KeyRepository     FilterKey = "REPOSITORY"
	KeyRelease        FilterKey = "RELEASE"
	KeySeverity       FilterKey = "SEVERITY"
	KeySecurity       FilterKey = "SECURITY"
	KeyVersion        FilterKey = "VERSION"
)

// Level is AWS's PatchComplianceLevel: how much it matters that an approved patch is missing.
type Level string

// The levels, from the highest to the lowest (M5).
const (
	LevelCritical      Level = "CRITICAL"
	LevelHigh          Level = "HIGH"
	LevelMedium        Level = "MEDIUM"
	LevelLow           Level = "LOW"
	LevelInformational Level = "INFORMATIONAL"
	LevelUnspecified   Level = "UNSPECIFIED"
)

// RejectedAction is AWS's PatchAction: what becomes of a rejected patch.
type RejectedAction string

// The actions. The zero value means AllowAsDependency, as on AWS.
const (
	AllowAsDependency RejectedAction = "ALLOW_AS_DEPENDENCY" // installed only when another package needs it (R1)
	Block             RejectedAction = "BLOCK"               // never installed, nor what needs it (R2)
)

// Compliance is whether something is as the baseline demands.
type Compliance string

// The two answers; "" is that of a patch for which the question does not arise (NotApplicable).
const (
	Compliant    Compliance = "COMPLIANT"
	NonCompliant Compliance = "NON_COMPLIANT"
)

// Source is AWS's PatchSource: a repository used instead of the configured ones for the nodes of some products.
type Source struct {
	Name          string   // 3 to 50 of a-z A-Z 0-9 _ - .
	Products      []string // 1 to 20 products, or "*"
	Configuration string   // the text of a .repo section, or a line of sources.list; up to 1,024 characters; may hold credentials
}
