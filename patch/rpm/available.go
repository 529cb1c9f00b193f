package rpm

import (
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/patch"
)

// Available returns what the repositories offer, as Evaluate takes it: every package with the notices that list exactly its name,
// architecture and version, by name, architecture, version and repository. Of the packages of one name only those of the repositories with
// the best priority stay, as dnf has it; source packages are left out. A notice of one repository counts for the same package in
// another. Where two notices have one id, as in merged repositories, a package that both list has the first only. Requires holds names of packages where the
// installed or offered ones say who provides what is needed, and the bare names of other capabilities.
//
// A package whose architecture changed between "noarch" and a real one is one package for dnf. Where every installed version of a name has
// one architecture, and nothing is offered for it but for the other kind, what is offered is given the installed one's.
func Available(installed []Installed, repos ...*Repo) []patch.Available {
	type nevra struct{ name, arch, version string }
	notices := map[nevra][]*patch.Advisory{}
	best := map[string]int{}
	providers := map[string]string{}
	for i := range installed {
		for _, c := range installed[i].Provides {
			if _, ok := providers[c]; !ok {
				providers[c] = installed[i].Name
			}
		}
	}
	for _, r := range repos {
		for i := range r.Notices {
			n := &r.Notices[i]
			for _, p := range n.Packages {
				k := nevra{p.Name, p.Arch, p.Version}
				if !slices.ContainsFunc(notices[k], func(a *patch.Advisory) bool { return a.ID == n.ID }) {
					notices[k] = append(notices[k], &n.Advisory)
				}
			}
		}
		for i := range r.Packages {
			p := &r.Packages[i]
			if old, ok := best[p.Name]; !ok || r.Priority < old {
				best[p.Name] = r.Priority
			}
			for _, c := range p.Provides {
				if _, ok := providers[c.Name]; !ok {
					providers[c.Name] = p.Name
				}
			}
		}
	}
	arch := oneArch(installed)
	offered := map[[2]string]bool{}
	for _, r := range repos {
		for i := range r.Packages {
			offered[[2]string{r.Packages[i].Name, r.Packages[i].Arch}] = true
		}
	}
	var all []patch.Available
	for _, r := range repos {
		for i := range r.Packages {
			p := &r.Packages[i]
			if r.Priority > best[p.Name] || p.Arch == "src" || p.Arch == "nosrc" {
				continue
			}
			a := patch.Available{Name: p.Name, Arch: p.Arch, Version: p.Version, Repo: r.ID, Source: p.Source, Built: p.Built,
				Advisories: notices[nevra{p.Name, p.Arch, p.Version}], Obsoletes: p.Obsoletes, Requires: requires(p, providers)}
			if is := arch[p.Name]; is != "" && is != p.Arch && (is == "noarch" || p.Arch == "noarch") && !offered[[2]string{p.Name, is}] {
				a.Arch = is
			}
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b patch.Available) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		if c := strings.Compare(a.Arch, b.Arch); c != 0 {
			return c
		}
		return patch.CompareRPM(a.Version, b.Version)
	})
	return all
}

// oneArch returns the architecture of each installed name that has one only.
func oneArch(installed []Installed) map[string]string {
	arch := map[string]string{}
	for i := range installed {
		p := &installed[i]
		if old, ok := arch[p.Name]; ok && old != p.Arch {
			arch[p.Name] = ""
			continue
		}
		arch[p.Name] = p.Arch
	}
	return arch
}

// requires makes names of packages of what a package needs. Needs that it meets itself, and those of rpm, are left out; a bound on the version
// stays where the need names the package.
func requires(p *Package, providers map[string]string) []patch.Relation {
	var all []patch.Relation
	for _, r := range p.Requires {
		if strings.HasPrefix(r.Name, "rpmlib(") || slices.ContainsFunc(p.Provides, func(o patch.Relation) bool { return o.Name == r.Name }) {
			continue
		}
		if n, ok := providers[r.Name]; ok && n != r.Name {
			r = patch.Relation{Name: n}
		}
		if r.Name != p.Name && !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

// InstalledPackages returns the installed packages as Evaluate takes them.
func InstalledPackages(all []Installed) []patch.Installed {
	out := make([]patch.Installed, len(all))
	for i := range all {
		out[i] = all[i].Installed
	}
	return out
}

// Lock sets Held on the packages that a list of locks names, as "dnf versionlock list" prints it: lines "[!]epoch:name-version-release.arch", of
// which each part may be a wildcard. Lines of other shapes, and excluded versions ("!"), hold nothing.
func Lock(installed []Installed, list string) {
	var globs []string
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' || strings.ContainsAny(line, " \t") {
			continue
		}
		globs = append(globs, line)
	}
	for i := range installed {
		p := &installed[i]
		epoch, rest, ok := strings.Cut(p.Version, ":")
		if !ok {
			epoch, rest = "0", p.Version
		}
		nevra := p.Name + "-" + rest + "." + p.Arch
		for _, g := range globs {
			if glob(g, epoch+":"+nevra) || glob(g, p.Name+"-"+epoch+":"+rest+"."+p.Arch) || glob(g, nevra) {
				p.Held = true
			}
		}
	}
}

// glob matches '*' and '?'; everything else stands for itself.
func glob(p, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(p[i:], "*") == ""
}
