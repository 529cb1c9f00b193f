package patch

import (
	"slices"
	"time"
)

// Predefined returns the baselines that AWS provides, as its API returned them in December 2025: one default for each operating system, and
// two more for Windows. The values are the caller's own. Their ids are their names: AWS's ids are ARNs of each region.
func Predefined() []Baseline {
	security := func(severity ...string) FilterGroup {
		return FilterGroup{{KeyClassification, []string{"Security"}}, {KeySeverity, severity}}
	}
	yum := []FilterGroup{security("Critical", "Important"), {{KeyClassification, []string{"Bugfix"}}}}
	apt := []FilterGroup{{{KeyPriority, []string{"Required", "Important", "Standard", "Optional", "Extra"}}}}
	windows := FilterGroup{{KeyClassification, []string{"CriticalUpdates", "SecurityUpdates"}}, {KeyMSRCSeverity, []string{"Critical", "Important"}}}
	ofOS := slices.Concat(FilterGroup{{KeyPatchSet, []string{"OS"}}}, windows)
	at := func(year int, month time.Month, d int) time.Time {
		return time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
	}
	out := []Baseline{
		predefined("AWS-DefaultPatchBaseline", Windows, at(2018, 5, 1), "", windows),
		predefined("AWS-WindowsPredefinedPatchBaseline-OS", Windows, at(2019, 5, 7),
			"Critical and security updates of Windows Server with an MSRC severity of Critical or Important, seven days after their release.", ofOS),
		predefined("AWS-WindowsPredefinedPatchBaseline-OS-Applications", Windows, at(2019, 5, 7),
			"Critical and security updates of Windows Server with an MSRC severity of Critical or Important, and all updates of Microsoft's applications, seven days after their release.",
			ofOS, FilterGroup{{KeyPatchSet, []string{"APPLICATION"}}}),
		predefined("AWS-AmazonLinuxDefaultPatchBaseline", AmazonLinux, at(2018, 5, 1), "", yum...),
		predefined("AWS-AmazonLinux2DefaultPatchBaseline", AmazonLinux2, at(2018, 6, 21), "", yum...),
		predefined("AWS-AmazonLinux2022DefaultPatchBaseline", AmazonLinux2022, at(2022, 8, 9), "", yum...),
		predefined("AWS-AmazonLinux2023DefaultPatchBaseline", AmazonLinux2023, at(2023, 3, 14), "", yum...),
		predefined("AWS-UbuntuDefaultPatchBaseline", Ubuntu, at(2018, 5, 1), "", apt...),
		predefined("AWS-RedHatDefaultPatchBaseline", RedHat, at(2018, 5, 1), "", yum...),
		predefined("AWS-SuseDefaultPatchBaseline", SUSE, at(2018, 5, 1), "", security("Critical", "Important")),
		predefined("AWS-CentOSDefaultPatchBaseline", CentOS, at(2018, 3, 29), "", FilterGroup{{KeyProduct, []string{"*"}}}),
		predefined("AWS-OracleLinuxDefaultPatchBaseline", OracleLinux, at(2025, 12, 10), "", security("Critical", "Important", "Moderate"),
			FilterGroup{{KeyClassification, []string{"Enhancement", "Bugfix"}}}),
		predefined("AWS-DebianDefaultPatchBaseline", Debian, at(2020, 5, 5), "", apt...),
		predefined("AWS-MacOSDefaultPatchBaseline", MacOS, at(2020, 4, 17), "",
			FilterGroup{{KeyClassification, []string{"softwareupdate", "installer", "brew", "brew_cask"}}}),
		predefined("AWS-RaspbianDefaultPatchBaseline", Raspbian, at(2021, 7, 21), "", apt...),
		predefined("AWS-RockyLinuxDefaultPatchBaseline", RockyLinux, at(2022, 3, 14), "", yum...),
		predefined("AWS-AlmaLinuxDefaultPatchBaseline", AlmaLinux, at(2023, 3, 14), "", yum...),
	}
	for i := range out {
		b := &out[i]
		switch b.OperatingSystem {
		case CentOS:
			b.GlobalFilters = nil
			b.Rules[0].EnableNonSecurity = true
		case Windows:
			b.AvailableSecurityUpdates = NonCompliant
		}
	}
	return out
}

func predefined(name string, os OperatingSystem, created time.Time, description string, rules ...FilterGroup) Baseline {
	if description == "" {
		description = "The default for " + string(os) + ", as AWS provides it."
	}
	b := Baseline{ID: name, Name: name, Description: description, OperatingSystem: os, GlobalFilters: FilterGroup{{KeyProduct, []string{"*"}}},
		ApprovedComplianceLevel: LevelUnspecified, RejectedAction: AllowAsDependency, Created: created, Modified: created}
	for _, g := range rules {
		days := 7
		filters := make(FilterGroup, len(g))
		for i, f := range g {
			filters[i] = Filter{f.Key, append([]string(nil), f.Values...)}
		}
		b.Rules = append(b.Rules, PatchRule{Filters: filters, Level: LevelUnspecified, ApproveAfterDays: &days})
	}
	return b
}

// PredefinedDefault returns the predefined default baseline of an operating system, nil for an unknown one.
func PredefinedDefault(os OperatingSystem) *Baseline {
	all := Predefined()
	for i := range all {
		if all[i].OperatingSystem == os {
			return &all[i] // of Windows the first
		}
	}
	return nil
}
