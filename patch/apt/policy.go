package apt

import (
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/patch"
)

// Archive is one index of packages: an archive's Packages file of one component and architecture, or dpkg's status file.
type Archive struct {
	ID        string // "bookworm-security/main": suite or codename, and component
	Source    Source
	Release   *Release // never nil; empty for the status file
	Component string
	Arch      string // "amd64" or "all"
	Site      string // host of the URI, "" for local archives

	now      bool // the status file
	priority int
}

// Security reports whether the archive is a security archive (rule N6).
func (a *Archive) Security() bool { return !a.now && a.Release.Security() }

// Version is one version of a package, with every archive that has it.
type Version struct {
	*Package
	Archives []*Archive // in the order of the sources; the status file is not among them
	Priority int        // what apt's policy gives it
	Current  bool       // it is the installed one

	inStatus *Archive // the status file when it has this version
}

// Security reports whether a security archive has this version; that another archive has it too does not matter (rule N7).
func (v *Version) Security() bool {
	return slices.ContainsFunc(v.Archives, (*Archive).Security)
}

// Decision is what apt's policy says of one package name and architecture.
type Decision struct {
	Name      string
	Arch      string    // of the slot: the native architecture for "all" packages too
	Versions  []Version // newest first
	Installed *Version  // one of Versions; nil when the package is not installed
	Candidate *Version  // one of Versions; nil when none may be installed
	Held      bool      // dpkg's selection is hold: apt does not upgrade it by itself
	Phasing   bool      // the candidate is being rolled out, and this machine's turn has not come: apt upgrade leaves it for now
}

// Upgradable reports what "apt list --upgradable" reports: the candidate is newer than what is installed. Packages that are held,
// phased or whose dependencies cannot be met are upgradable too.
func (d *Decision) Upgradable() bool {
	return d.Installed != nil && d.Candidate != nil && patch.CompareDeb(d.Candidate.Version, d.Installed.Version) > 0
}

// Policy is the configuration that decides which version is the candidate.
type Policy struct {
	Pins           []Pin  // in the order of the files
	DefaultRelease string // APT::Default-Release; its archives have priority 990
	Native         string // the machine's architecture

	MachineID    string // of /etc/machine-id or APT::Machine-ID, decides phased updates; empty: all are taken
	AlwaysPhased bool   // APT::Get::Always-Include-Phased-Updates
	NeverPhased  bool   // APT::Get::Never-Include-Phased-Updates
	PhasePolicy  bool   // APT::Get::Phase-Policy: a phased version has priority 1, as in apt 2.1.16 to 2.2; else it is an ordinary candidate that upgrade keeps back
}

// decide returns the decisions over the packages of the status file and the offers of the archives, in the order of name and architecture.
func (pol *Policy) decide(status []Package, offers []offer, archives []*Archive) []Decision {
	now := &Archive{ID: "now", Release: &Release{}, Component: "now", now: true}
	pol.prioritise(append(slices.Clip(archives), now))
	slots := map[slot]*Decision{}
	at := func(p *Package) *Decision {
		k := slot{p.Name, p.Arch}
		if k.arch == "all" {
			k.arch = pol.Native
		}
		d := slots[k]
		if d == nil {
			d = &Decision{Name: k.name, Arch: k.arch}
			slots[k] = d
		}
		return d
	}
	for i := range status {
		p := &status[i]
		if p.Version == "" || !p.Installed() {
			continue
		}
		d := at(p)
		d.Held = d.Held || p.Held()
		d.Versions = append(d.Versions, Version{Package: p, Current: true, inStatus: now})
	}
	for i := range offers {
		o := &offers[i]
		d := at(&o.Package)
		n := slices.IndexFunc(d.Versions, func(v Version) bool { return v.Version == o.Version })
		if n < 0 {
			n = len(d.Versions)
			d.Versions = append(d.Versions, Version{Package: &o.Package})
		}
		v := &d.Versions[n]
		if v.Current && len(v.Archives) == 0 { // the archive knows more of it than the status file
			p := o.Package
			p.Want, p.State, p.Flag = v.Want, v.State, v.Flag
			v.Package = &p
		}
		if !slices.Contains(v.Archives, o.archive) {
			v.Archives = append(v.Archives, o.archive)
		}
	}
	all := make([]Decision, 0, len(slots))
	for _, d := range slots {
		pol.choose(d)
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b Decision) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Arch, b.Arch)
	})
	return all
}

type slot struct{ name, arch string }

// offer is a package in an archive.
type offer struct {
	Package
	archive *Archive
}

// prioritise gives each archive its priority: the default, or that of the first general pin that matches it.
func (pol *Policy) prioritise(archives []*Archive) {
	general := []Pin{}
	if pol.DefaultRelease != "" {
		if m, err := compileMatch("release", pol.DefaultRelease); err == nil {
			general = append(general, Pin{Priority: 990, match: m})
		}
	}
	for _, p := range pol.Pins {
		if p.Packages == nil {
			general = append(general, p)
		}
	}
	for _, a := range archives {
		switch {
		case a.now:
			a.priority = 100
		case a.Release.NotAutomatic && a.Release.ButAutomaticUpgrades:
			a.priority = 100
		case a.Release.NotAutomatic:
			a.priority = 1
		default:
			a.priority = 500
		}
		fixed := false
		for i := range general {
			p := &general[i]
			if (!fixed || p.Priority == NeverPin) && a.priority != NeverPin && p.match.archive(a) {
				a.priority, fixed = p.Priority, true
			}
		}
	}
}

// choose sorts the versions, gives them their priorities and picks the candidate.
func (pol *Policy) choose(d *Decision) {
	slices.SortStableFunc(d.Versions, func(a, b Version) int { return patch.CompareDeb(b.Version, a.Version) })
	for i := range d.Versions {
		v := &d.Versions[i]
		v.Priority = pol.priority(d, v)
		if v.Current {
			d.Installed = v
		}
	}
	best := -1
	for i := range d.Versions {
		v := &d.Versions[i]
		if v.Priority == 0 || v.Priority <= best {
			continue
		}
		if d.Installed != nil && v.Priority < 1000 && patch.CompareDeb(v.Version, d.Installed.Version) < 0 {
			continue // a downgrade
		}
		best, d.Candidate = v.Priority, v
	}
	if d.Candidate != nil && d.Installed != nil && !d.Candidate.Current && !pol.PhasePolicy {
		d.Phasing = !d.hasSecurityBelow() && pol.excluded(d.Candidate.Package)
	}
}

// hasSecurityBelow reports whether a version between the installed one and the candidate came from a security archive: such an
// upgrade is not phased.
func (d *Decision) hasSecurityBelow() bool {
	below := false
	for i := range d.Versions {
		v := &d.Versions[i]
		if v.Current {
			break
		}
		if below && slices.ContainsFunc(v.Archives, func(a *Archive) bool { return strings.HasSuffix(a.Release.Suite, "-security") }) {
			return true
		}
		below = below || v == d.Candidate
	}
	return false
}

// priority is the policy's value of a version: that of the first specific pin, else the best of its archives.
func (pol *Policy) priority(d *Decision, v *Version) int {
	ceiling := 1 << 30
	if pol.PhasePolicy && pol.excluded(v.Package) {
		ceiling = 1
	}
	files := v.Archives
	if v.inStatus != nil {
		files = append(slices.Clip(files), v.inStatus)
	}
	probe := Version{Package: v.Package, Archives: files}
	for i := range pol.Pins {
		p := &pol.Pins[i]
		if p.Packages == nil || !p.match.selects(&probe) {
			continue
		}
		if !slices.ContainsFunc(p.names, func(m nameMatcher) bool { return m.matches(v.Package, d.Arch, pol.Native) }) {
			continue
		}
		if slices.ContainsFunc(files, func(a *Archive) bool { return a.priority != NeverPin }) {
			return min(p.Priority, ceiling)
		}
		break
	}
	best := NeverPin
	for _, a := range files {
		best = max(best, a.priority)
	}
	return min(best, ceiling)
}
