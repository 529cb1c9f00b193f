package patch

import "time"

// NodeFacts is what the decision needs to know of the machine itself.
type NodeFacts struct {
	OperatingSystem OperatingSystem // selects the entry of a BaselineOverride; empty means that of the baseline
	Product         string          // the version as baselines name it: "RedhatEnterpriseLinux8.4", "Debian12" (F4); empty = unknown, only "*" matches
	ProductFamily   string          // Windows: "Windows", "Office" …

	// Arch is the machine's own architecture, "amd64" or "x86_64". With it a package that became independent of the architecture
	// ("all", "noarch"), or ceased to be, stays one package, as apt and dnf see it. Empty: every architecture is a package of its own.
	Arch string

	// NoUpdateInfo says that no repository of the node carries update notices (N3). The zero value lets Evaluate see for itself:
	// a list of available packages without any advisory counts as such.
	NoUpdateInfo bool

	// KernelLivePatched holds the CVE ids that live patches of the running kernel cover (K2, Amazon Linux 2). Sorted or not.
	KernelLivePatched []string
	// KernelPackages are the names of packages that K2 applies to; nil means "kernel".
	KernelPackages []string
}

// Installed is one package, or Windows update, that is on the node. Several versions of one name and architecture may stand
// side by side (kernels); the newest decides (C11).
type Installed struct {
	Name    string // package name; Windows: "KB1234567"; macOS: the label
	Arch    string // "x86_64", "amd64", "all", "noarch"; empty on Windows and macOS
	Version string // whole: "[epoch:]version[-release]", as dpkg prints it; an rpm epoch of 0 may be left out

	InstalledAt time.Time // zero when unknown
	ByUs        bool      // this library's own Install put it there (C6)
	SinceBoot   bool      // it came after the machine's last start (C6)

	Pin      int      // apt: the pin priority of the installed version; 0 stands for 100, that of dpkg's status file
	Held     bool     // apt: dpkg's selection is "hold"; rpm: versionlocked. The decision stands, Install leaves it alone
	Priority string   // apt, from the status file; what decides is the priority that the archive gives
	Section  string   // apt, as above
	Requires []string // names of packages that it needs, for R2; nil when unknown

	Classification string // Windows and macOS: what the catalogue says of an update that it no longer offers
	MSRCSeverity   string // Windows
}

// Available is one version of a package in one repository, or one update of the Windows catalogue. The same version in two
// repositories is two entries. Strings may be shared with the text that they were read from; Evaluate keeps them as long as its Result lives.
type Available struct {
	Name    string // package name; Windows: "KB1234567"; SUSE: the package, the patch is an Advisory
	Arch    string
	Version string // whole: "[epoch:]version[-release]"

	Repo     string // id of the repository or archive: "amzn2-core", "bookworm-security/main"
	Source   string // apt: name of the source package when it differs
	Security bool   // apt: the archive that offers it is a security archive (N6). Not used by other families
	Priority string // apt: "required" … "extra"
	Section  string // apt: "utils", "contrib/net"
	Pin      int    // apt: the pin priority of this version in this archive; 0 stands for 500. Below 0 = never (see Candidate)

	Built time.Time // rpm build time, zero when unknown (A5)

	Advisories []*Advisory // notices that list exactly this version and architecture; shared between packages
	Obsoletes  []Relation  // rpm: what it takes the place of; apt does not use it
	Requires   []Relation  // what it needs, for R2 and R4; nil when unknown

	Update *Update // Windows and macOS
}

// Advisory is one update notice: an entry of updateinfo.xml, or a SUSE patch.
type Advisory struct {
	ID       string // "ALAS-2018-123", "RHSA-2017:0864", "SUSE-SLE-SERVER-12-2018-123"
	Type     string // security, bugfix, enhancement, recommended, newpackage …, any case: the classification (F7)
	Severity string // Critical, Important, Moderate …, any case
	Title    string
	Issued   time.Time // zero when unknown
	Updated  time.Time // zero when unknown: then Issued is the date of A1
	CVEs     []string  // "CVE-2024-1"
	Bugzilla []string  // digits

	// RebootSuggested is the notice's own remark; the decision does not use it (W1), the option RebootIfRequired may.
	RebootSuggested bool
}

// Relation is a name with an optional bound of its version: Obsoletes and Requires.
type Relation struct {
	Name    string
	Flag    string // "", "LT", "LE", "EQ", "GE", "GT", as rpm's metadata spell it
	Version string // "[epoch:]version[-release]", empty without Flag
}

// Update is what the Windows catalogue (or macOS) says of one update.
type Update struct {
	KB             string    // "KB1234567"; empty: the Name of its Available
	Bulletin       string    // "MS10-048", empty when there is none
	Title          string    //
	Classification string    // "SecurityUpdates"; macOS: "softwareupdate"
	MSRCSeverity   string    // "Critical" … "Unspecified"
	Product        string    // "WindowsServer2022"; empty: that of the node
	ProductFamily  string    // "Windows"; empty: that of the node
	PatchSet       string    // "OS" or "APPLICATION"; empty is OS
	CVEs           []string  //
	Released       time.Time // LastUpdated of the catalogue; zero counts as 1970-01-01 (A7)
	NotApplicable  bool      // Windows Update says that the node does not need it
	Supersedes     []string  // KB numbers that it takes the place of (E6)
	RebootRequired bool      // the update's own remark
}
