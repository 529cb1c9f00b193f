package patch

import (
	"slices"
	"strconv"

	"github.com/fleetwright/fleetwright/fault"
)

// Property is AWS's PatchProperty: what DescribePatchProperties lists the values of.
type Property string

// The properties.
const (
	PropertyProduct        Property = "PRODUCT"
	PropertyProductFamily  Property = "PRODUCT_FAMILY"
	PropertyClassification Property = "CLASSIFICATION"
	PropertyMSRCSeverity   Property = "MSRC_SEVERITY"
	PropertyPriority       Property = "PRIORITY"
	PropertySeverity       Property = "SEVERITY"
)

func allKeys() []FilterKey {
	return []FilterKey{KeyArch, KeyAdvisoryID, KeyBugzillaID, KeyPatchSet, KeyProduct, KeyProductFamily, KeyClassification, KeyCVEID, KeyEpoch,
		KeyMSRCSeverity, KeyName, KeyPatchID, KeySection, KeyPriority, KeyRepository, KeyRelease, KeySeverity, KeySecurity, KeyVersion}
}

// FilterKeys returns the filter keys that a baseline for os may use, nil for an unknown operating system. The other keys of the enumeration are
// search keys of DescribeAvailablePatches.
func FilterKeys(os OperatingSystem) []FilterKey {
	switch os.Family() {
	case FamilyYum, FamilyZypper:
		return []FilterKey{KeyProduct, KeyClassification, KeySeverity}
	case FamilyApt:
		return []FilterKey{KeyProduct, KeyPriority, KeySection}
	case FamilyMacOS:
		return []FilterKey{KeyProduct, KeyClassification}
	case FamilyWindows:
		return []FilterKey{KeyPatchSet, KeyProduct, KeyProductFamily, KeyClassification, KeyMSRCSeverity}
	}
	return nil
}

// Properties is DescribePatchProperties: the values that a property can have. set is "OS" or "APPLICATION" for products and families of Windows,
// "" meaning OS; others pass over it. Lists of products are those known when this was written: a baseline may name any other. It fails with
// ValidationException where the operating system has no such property (SECTION takes any text, so it is none).
func Properties(os OperatingSystem, p Property, set string) ([]string, error) {
	const op = "patch.Properties"
	f := os.Family()
	if f == FamilyUnknown {
		return nil, fault.New(op, fault.Validation, "%s is no operating system", quote(string(os)))
	}
	if set != "" && set != "OS" && set != "APPLICATION" {
		return nil, fault.New(op, fault.Validation, "%s is no patch set: use OS or APPLICATION", quote(set))
	}
	var out []string
	switch {
	case p == PropertyProduct:
		out = products(os, set)
	case p == PropertyProductFamily && f == FamilyWindows:
		out = []string{"Windows"}
		if set == "APPLICATION" {
			out = []string{"Active Directory Rights Management Services Client 2.0", "Developer Tools, Runtimes, and Redistributables", "Exchange", "Office",
				"SQL Server", "Skype for Business", "System Center", "Virtual Server"}
		}
	case p == PropertyClassification:
		out = classifications(os)
	case p == PropertyMSRCSeverity && f == FamilyWindows:
		out = []string{"Critical", "Important", "Moderate", "Low", "Unspecified"}
	case p == PropertyPriority && f == FamilyApt:
		out = []string{"Required", "Important", "Standard", "Optional", "Extra"}
	case p == PropertySeverity && (f == FamilyYum || f == FamilyZypper):
		out = severities(os)
	}
	if out == nil {
		return nil, fault.New(op, fault.Validation, "%s has no property %s", os, quote(string(p)))
	}
	return out, nil
}

func classifications(os OperatingSystem) []string {
	switch os.Family() {
	case FamilyYum:
		return []string{"Security", "Bugfix", "Enhancement", "Recommended", "Newpackage"}
	case FamilyZypper:
		return []string{"Security", "Recommended", "Optional", "Feature", "Document", "Yast"}
	case FamilyMacOS:
		return []string{"softwareupdate", "installer", "brew", "brew_cask"}
	case FamilyWindows:
		return []string{"CriticalUpdates", "DefinitionUpdates", "Drivers", "FeaturePacks", "SecurityUpdates", "ServicePacks", "Tools", "UpdateRollups",
			"Updates", "Upgrades"}
	}
	return nil
}

func severities(os OperatingSystem) []string {
	switch os {
	case SUSE:
		return []string{"Critical", "Important", "Moderate", "Low"}
	case AmazonLinux, AmazonLinux2:
		return []string{"Critical", "Important", "Medium", "Low"}
	case AmazonLinux2022, AmazonLinux2023:
		return []string{"Critical", "Important", "Medium", "Moderate", "Low", "None"}
	}
	return []string{"Critical", "Important", "Moderate", "Medium", "Low", "None"} // the publishers say Moderate, AWS's older text Medium
}

// products are written as the agent names a node's own version (F4).
func products(os OperatingSystem, set string) []string {
	numbered := func(prefix string, versions ...string) []string {
		out := make([]string, len(versions))
		for i, v := range versions {
			out[i] = prefix + v
		}
		return out
	}
	var out []string
	switch os {
	case AmazonLinux:
		out = numbered("AmazonLinux", "2012.03", "2012.09", "2013.03", "2013.09", "2014.03", "2014.09", "2015.03", "2015.09", "2016.03", "2016.09",
			"2017.03", "2017.09", "2018.03")
	case AmazonLinux2:
		out = numbered("AmazonLinux", "2", "2.0")
	case AmazonLinux2022:
		out = numbered("AmazonLinux", "2022")
	case AmazonLinux2023:
		out = numbered("AmazonLinux", "2023")
	case Ubuntu:
		out = numbered("Ubuntu", "14.04", "16.04", "18.04", "20.04", "20.10", "22.04", "23.04", "24.04")
	case Debian:
		out = numbered("Debian", "8", "9", "10", "11", "12")
	case Raspbian:
		out = numbered("Raspbian", "9", "10", "11")
	case RedHat:
		out = releases("RedhatEnterpriseLinux", [][2]int{{6, 10}, {7, 9}, {8, 10}, {9, 5}})
	case CentOS:
		out = append(releases("CentOS", [][2]int{{6, 10}, {7, 9}, {8, 5}}), "CentOS9")
	case OracleLinux:
		out = releases("OracleLinux", [][2]int{{7, 9}, {8, 10}, {9, 5}})
	case RockyLinux:
		out = releases("RockyLinux", [][2]int{{8, 10}, {9, 5}})
	case AlmaLinux:
		out = releases("AlmaLinux", [][2]int{{8, 10}, {9, 5}})
	case SUSE:
		out = numbered("Suse", "12.0", "12.1", "12.2", "12.3", "12.4", "12.5", "15.0", "15.1", "15.2", "15.3", "15.4", "15.5", "15.6")
	case MacOS:
		out = numbered("macOS", "10.14", "10.15", "11", "12", "13", "14")
	case Windows:
		out = []string{"Windows10", "Windows11", "WindowsServer2008", "WindowsServer2008R2", "WindowsServer2012", "WindowsServer2012R2", "WindowsServer2016",
			"WindowsServer2019", "WindowsServer2022", "WindowsServer2025"}
		if set == "APPLICATION" {
			out = []string{"Exchange Server 2016", "Exchange Server 2019", "Microsoft SQL Server 2016", "Microsoft SQL Server 2017",
				"Microsoft SQL Server 2019", "Microsoft SQL Server 2022", "Office 2016", "Office 2019", "Skype for Business Server 2019", "Visual Studio 2019"}
		}
	}
	return slices.Concat([]string{"*"}, out)
}

// releases lists major.0 to major.minor of each pair {major, last minor}.
func releases(prefix string, upTo [][2]int) []string {
	var out []string
	for _, m := range upTo {
		for minor := 0; minor <= m[1]; minor++ {
			out = append(out, prefix+strconv.Itoa(m[0])+"."+strconv.Itoa(minor))
		}
	}
	return out
}
