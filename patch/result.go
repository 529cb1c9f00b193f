package patch

import (
	"encoding/json"
	"time"
)

// State is what a patch is on a node, as AWS's enumeration PatchComplianceDataState means it. Text is the guide's spelling; AWS's own
// constant is given by Constant.
type State string

// The states (C1 to C8).
const (
	StateInstalled               State = "Installed"
	StateInstalledOther          State = "InstalledOther"
	StateInstalledPendingReboot  State = "InstalledPendingReboot"
	StateInstalledRejected       State = "InstalledRejected"
	StateMissing                 State = "Missing"
	StateFailed                  State = "Failed"
	StateNotApplicable           State = "NotApplicable"
	StateAvailableSecurityUpdate State = "AvailableSecurityUpdate"
)

// Constant returns the spelling of AWS's API: INSTALLED_PENDING_REBOOT for InstalledPendingReboot.
func (s State) Constant() string {
	out := make([]byte, 0, len(s)+4)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' && i > 0 {
			out = append(out, '_')
		}
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		out = append(out, c)
	}
	return string(out)
}

// demands says whether a patch of this state makes its node non-compliant (M2).
func (s State) demands() bool {
	switch s {
	case StateMissing, StateFailed, StateInstalledRejected, StateInstalledPendingReboot:
		return true
	}
	return false
}

// Patch is the verdict on one package of a node, or one update on Windows.
type Patch struct {
	Key
	State      State      `json:"state"`
	Compliance Compliance `json:"compliance,omitempty"`
	Level      Level      `json:"level"` // of what approved it (M4)

	Installed   string    `json:"installed,omitempty"`   // newest installed version
	InstalledAt time.Time `json:"installedAt,omitzero"`  // zero when unknown, and for a kernel that live patches cover (K2)
	Wanted      string    `json:"wanted,omitempty"`      // newest approved version on offer (E5)
	Repo        string    `json:"repo,omitempty"`        // where the wanted version is
	Replaces    []string  `json:"replaces,omitempty"`    // installed packages that the wanted one obsoletes
	Held        bool      `json:"held,omitempty"`        // the machine's own hold: Install will not touch it
	BlockedBy   string    `json:"blockedBy,omitempty"`   // the rejected package that it needs (R4)
	LivePatched bool      `json:"livePatched,omitempty"` // Installed by live patches only (K2)

	// What the notices say; empty for InstalledOther, InstalledRejected and NotApplicable (C13).
	Classification string   `json:"classification,omitempty"` // the highest of the approved notices between installed and wanted
	Severity       string   `json:"severity,omitempty"`       // likewise; the publisher's word (F5)
	Advisories     []string `json:"advisories,omitempty"`     // ids, Missing and Failed only, sorted
	CVEs           []string `json:"cves,omitempty"`           // of every notice between installed and wanted; Missing and Failed only (C14)
	Title          string   `json:"title,omitempty"`          // of the notice or the Windows update
	Security       bool     `json:"security,omitempty"`       // an advisory of type Security demands it (M3)
}

// Counts are the numbers of InstancePatchState (M1, M3). The three NonCompliant counts overlap.
type Counts struct {
	Installed                int `json:"installedCount"`
	InstalledOther           int `json:"installedOtherCount"`
	InstalledPendingReboot   int `json:"installedPendingRebootCount"`
	InstalledRejected        int `json:"installedRejectedCount"`
	Missing                  int `json:"missingCount"`
	Failed                   int `json:"failedCount"`
	NotApplicable            int `json:"notApplicableCount"`
	UnreportedNotApplicable  int `json:"unreportedNotApplicableCount"`
	AvailableSecurityUpdates int `json:"availableSecurityUpdateCount"`
	CriticalNonCompliant     int `json:"criticalNonCompliantCount"`
	SecurityNonCompliant     int `json:"securityNonCompliantCount"`
	OtherNonCompliant        int `json:"otherNonCompliantCount"`
}

// Result is one evaluation. Its fields may be read by many goroutines; Explain and Plan look at the lists that Evaluate was given,
// which must not be changed while the Result is used.
type Result struct {
	Baseline        string          // name of the baseline, or its id without a name
	OperatingSystem OperatingSystem //
	Product         string          //
	At              time.Time       // the instant of the decision, UTC
	Compliance      Compliance      // of the node (M2)
	Severity        Level           // the overall severity (M5)
	Counts          Counts
	Patches         []Patch // sorted by name and architecture: all but what is not applicable on Linux

	// NotApplicable are the packages that the baseline approves and the node does not have, sorted. On Linux they are
	// counted and never reported by name (C7); on Windows they are among Patches as well.
	NotApplicable []Key

	in *input
}

// input is what a Result was made of, kept for Explain and Plan.
type input struct {
	baseline  *Baseline
	node      NodeFacts
	installed []Installed
	available []Available
	opts      Options
	now       time.Time
	index     *index
}

// MarshalJSON writes the result as canonical JSON: fields in one order, lists sorted, times in UTC; equal inputs give equal
// bytes. What is not applicable on Linux is only counted, as AWS does.
func (r *Result) MarshalJSON() ([]byte, error) {
	type form struct {
		Baseline        string          `json:"baseline,omitempty"`
		OperatingSystem OperatingSystem `json:"operatingSystem"`
		Product         string          `json:"product,omitempty"`
		At              time.Time       `json:"at"`
		Compliance      Compliance      `json:"compliance"`
		Severity        Level           `json:"severity"`
		Counts          Counts          `json:"counts"`
		Patches         []Patch         `json:"patches"`
	}
	patches := r.Patches
	if patches == nil {
		patches = []Patch{}
	}
	return json.Marshal(form{r.Baseline, r.OperatingSystem, r.Product, r.At, r.Compliance, r.Severity, r.Counts, patches})
}

// Find returns the verdict on a package, nil when it has none (not installed and nothing to report).
func (r *Result) Find(k Key) *Patch {
	lo, hi := 0, len(r.Patches)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if r.Patches[m].Key.compare(k) < 0 {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(r.Patches) && r.Patches[lo].Key == k {
		return &r.Patches[lo]
	}
	return nil
}

// count fills counts, compliance and severity from the patches (M1 to M5).
func (r *Result) count(b *Baseline, notApplicableLimit int) {
	c := Counts{}
	r.Severity, r.Compliance = LevelUnspecified, Compliant
	for i := range r.Patches {
		p := &r.Patches[i]
		p.Compliance = Compliant
		switch p.State {
		case StateInstalled:
			c.Installed++
		case StateInstalledOther:
			c.InstalledOther++
		case StateInstalledPendingReboot:
			c.InstalledPendingReboot++
		case StateInstalledRejected:
			c.InstalledRejected++
		case StateMissing:
			c.Missing++
		case StateFailed:
			c.Failed++
		case StateNotApplicable:
			p.Compliance = ""
		case StateAvailableSecurityUpdate:
			c.AvailableSecurityUpdates++
			if b.AvailableSecurityUpdates == NonCompliant {
				p.Compliance, r.Compliance = NonCompliant, NonCompliant
			}
		}
		if !p.State.demands() {
			continue
		}
		p.Compliance, r.Compliance = NonCompliant, NonCompliant
		if p.Level == LevelCritical {
			c.CriticalNonCompliant++
		}
		if p.Security {
			c.SecurityNonCompliant++
		}
		if p.Level != LevelCritical && !p.Security {
			c.OtherNonCompliant++
		}
		r.Severity = higher(r.Severity, p.Level)
	}
	c.NotApplicable = len(r.NotApplicable)
	if notApplicableLimit > 0 && c.NotApplicable > notApplicableLimit {
		c.UnreportedNotApplicable = c.NotApplicable - notApplicableLimit
		c.NotApplicable = notApplicableLimit
	}
	r.Counts = c
}

func (l Level) rank() int {
	switch l {
	case LevelCritical:
		return 5
	case LevelHigh:
		return 4
	case LevelMedium:
		return 3
	case LevelLow:
		return 2
	case LevelInformational:
		return 1
	}
	return 0
}

// higher returns the level that matters more (M5, M6).
func higher(a, b Level) Level {
	if b.rank() > a.rank() {
		return b
	}
	return a
}
