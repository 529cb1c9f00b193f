package patch

// OperatingSystem is a family of systems that baselines are made for, as AWS's enumeration OperatingSystem spells it.
type OperatingSystem string

// The operating systems of AWS's API. A baseline that names none is for Windows, as on AWS.
const (
	Windows         OperatingSystem = "WINDOWS"
	AmazonLinux     OperatingSystem = "AMAZON_LINUX"
	AmazonLinux2    OperatingSystem = "AMAZON_LINUX_2"
	AmazonLinux2022 OperatingSystem = "AMAZON_LINUX_2022"
	AmazonLinux2023 OperatingSystem = "AMAZON_LINUX_2023"
	Ubuntu          OperatingSystem = "UBUNTU"
	RedHat          OperatingSystem = "REDHAT_ENTERPRISE_LINUX"
	SUSE            OperatingSystem = "SUSE"
	CentOS          OperatingSystem = "CENTOS"
	OracleLinux     OperatingSystem = "ORACLE_LINUX"
	Debian          OperatingSystem = "DEBIAN"
	MacOS           OperatingSystem = "MACOS"
	Raspbian        OperatingSystem = "RASPBIAN"
	RockyLinux      OperatingSystem = "ROCKY_LINUX"
	AlmaLinux       OperatingSystem = "ALMA_LINUX"
)

// OperatingSystems returns every operating system in the order of AWS's enumeration; the slice is the caller's own.
func OperatingSystems() []OperatingSystem {
	return []OperatingSystem{Windows, AmazonLinux, AmazonLinux2, AmazonLinux2022, Ubuntu, RedHat, SUSE, CentOS, OracleLinux,
		Debian, MacOS, Raspbian, RockyLinux, AlmaLinux, AmazonLinux2023}
}

// Family is how an operating system names, orders and dates its patches.
type Family uint8

// The families. Unknown is that of an operating system which this package does not know.
const (
	FamilyUnknown Family = iota
	FamilyWindows        // KB articles of the Windows Update catalogue
	FamilyYum            // RPM packages described by updateinfo notices (yum, dnf)
	FamilyZypper         // RPM packages bundled in SUSE patches
	FamilyApt            // Debian packages from archives, of which some are security archives
	FamilyMacOS          // softwareupdate, installer, brew and brew cask
)

// Family returns the family of o, FamilyUnknown for a name that is none of AWS's.
func (o OperatingSystem) Family() Family {
	switch o {
	case Windows:
		return FamilyWindows
	case AmazonLinux, AmazonLinux2, AmazonLinux2022, AmazonLinux2023, RedHat, CentOS, OracleLinux, RockyLinux, AlmaLinux:
		return FamilyYum
	case SUSE:
		return FamilyZypper
	case Ubuntu, Debian, Raspbian:
		return FamilyApt
	case MacOS:
		return FamilyMacOS
	}
	return FamilyUnknown
}
