package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/apt"
)

// machine is what was found out about the system under a root.
type machine struct {
	fsys      fs.FS
	name      string // as it calls itself: "Debian GNU/Linux 12 (bookworm)"
	version   string // VERSION_ID
	node      patch.NodeFacts
	installed []patch.Installed
	available []patch.Available
	lists     time.Time // when the newest of the lists was made
	sources   int       // how many archives or repositories were read
	notes     []string  // what the reader should know: sources without lists, lists that have expired
	phased    map[patch.Key]bool
}

func (m *machine) note(format string, args ...any) {
	m.notes = append(m.notes, fmt.Sprintf(format, args...))
}

// open opens the tree under the root. What a link in it says of a path outside is not followed: that would be another system's file.
func (s *scan) open() (done func(), err error) {
	if fi, err := os.Stat(s.root); err != nil {
		return nil, err
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("-root %s is no directory", s.root)
	}
	if s.root == "/" {
		s.fsys = os.DirFS("/")
		return func() {}, nil
	}
	r, err := os.OpenRoot(s.root)
	if err != nil {
		return nil, err
	}
	s.fsys = r.FS()
	return func() { r.Close() }, nil
}

// identify finds out which system lies under the root.
func (s *scan) identify() (*machine, error) {
	m := &machine{fsys: s.fsys}
	about, err := osRelease(m.fsys)
	if err != nil {
		return nil, err
	}
	m.version = about["VERSION_ID"]
	for _, k := range []string{"PRETTY_NAME", "NAME", "ID"} {
		if m.name == "" {
			m.name = about[k]
		}
	}
	own := systemOf(about["ID"], m.version)
	m.node.OperatingSystem = own
	if own == "" {
		for _, like := range append([]string{about["ID"]}, strings.Fields(about["ID_LIKE"])...) {
			if m.node.OperatingSystem = systemOf(like, ""); like == "fedora" {
				m.node.OperatingSystem = patch.RedHat
			}
			if m.node.OperatingSystem != "" {
				break
			}
		}
	}
	if s.system != "" {
		m.node.OperatingSystem = patch.OperatingSystem(s.system)
	}
	if m.node.OperatingSystem == "" {
		return nil, fmt.Errorf("%s (ID=%s) is no system that has baselines: choose the one whose rules shall count with -os", m.name, about["ID"])
	}
	if own != m.node.OperatingSystem && s.system == "" {
		m.note("%s is none of the systems that AWS has baselines for: it is judged as %s", m.name, m.node.OperatingSystem)
	}
	if own == m.node.OperatingSystem { // the versions of others say nothing here
		m.node.Product = productOf(own, m.version)
	}
	return m, nil
}

// osRelease reads etc/os-release, or usr/lib/os-release: in a chroot the link between them may lead astray.
func osRelease(fsys fs.FS) (map[string]string, error) {
	text, err := fs.ReadFile(fsys, "etc/os-release")
	if err != nil {
		if text, err = fs.ReadFile(fsys, "usr/lib/os-release"); err != nil {
			return nil, errors.New("neither etc/os-release nor usr/lib/os-release can be read, so that the system is not known: is -root the root of a system?")
		}
	}
	out := map[string]string{}
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		if k, v, ok := strings.Cut(strings.TrimSpace(in.Text()), "="); ok && !strings.HasPrefix(k, "#") {
			out[k] = strings.Trim(v, `"'`)
		}
	}
	return out, nil
}

// systemOf maps the ID of os-release, and of Amazon Linux the version, to AWS's name.
func systemOf(id, version string) patch.OperatingSystem {
	switch id {
	case "debian":
		return patch.Debian
	case "raspbian":
		return patch.Raspbian
	case "ubuntu":
		return patch.Ubuntu
	case "rhel":
		return patch.RedHat
	case "centos":
		return patch.CentOS
	case "rocky":
		return patch.RockyLinux
	case "almalinux":
		return patch.AlmaLinux
	case "ol":
		return patch.OracleLinux
	case "sles", "sles_sap", "sled", "suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed":
		return patch.SUSE
	case "amzn":
		switch version {
		case "2":
			return patch.AmazonLinux2
		case "2022":
			return patch.AmazonLinux2022
		case "2023":
			return patch.AmazonLinux2023
		}
		return patch.AmazonLinux
	}
	return ""
}

// productOf writes a version as baselines do (F4).
func productOf(o patch.OperatingSystem, version string) string {
	prefix := map[patch.OperatingSystem]string{patch.Debian: "Debian", patch.Raspbian: "Raspbian", patch.Ubuntu: "Ubuntu", patch.RedHat: "RedhatEnterpriseLinux",
		patch.CentOS: "CentOS", patch.RockyLinux: "RockyLinux", patch.AlmaLinux: "AlmaLinux", patch.OracleLinux: "OracleLinux", patch.SUSE: "Suse",
		patch.AmazonLinux: "AmazonLinux", patch.AmazonLinux2: "AmazonLinux", patch.AmazonLinux2022: "AmazonLinux", patch.AmazonLinux2023: "AmazonLinux"}[o]
	if prefix == "" || version == "" {
		return ""
	}
	if o == patch.SUSE && !strings.Contains(version, ".") {
		version += ".0"
	}
	return prefix + version
}

// fill reads what is installed and what is on offer.
func (s *scan) fill(m *machine, b *patch.Baseline) error {
	done := s.progress("reading the lists of packages")
	defer done()
	switch m.node.OperatingSystem.Family() {
	case patch.FamilyApt:
		return s.fillApt(m, b)
	case patch.FamilyYum, patch.FamilyZypper:
		return s.fillRPM(m)
	}
	return fmt.Errorf("%s cannot be scanned: only systems of apt, dnf and zypper can", m.node.OperatingSystem)
}

func (s *scan) fillApt(m *machine, b *patch.Baseline) error {
	if _, err := fs.Stat(m.fsys, "var/lib/dpkg/status"); err != nil {
		return errors.New("var/lib/dpkg/status cannot be read, so that nothing is known to be installed: is -root the root of a Debian or Ubuntu system?")
	}
	more := slices.Clone(b.ApprovedPatches)
	if s.explain != "" {
		more = append(more, spellings(s.explain)...)
	}
	o := &apt.Options{Names: more}
	if id, err := fs.ReadFile(m.fsys, "etc/machine-id"); err == nil {
		o.MachineID = strings.TrimSpace(string(id))
	}
	if s.root == "/" {
		s.policy(o)
	}
	h, err := apt.ReadHost(m.fsys, o)
	if err != nil {
		return err
	}
	if len(h.Archives) == 0 {
		if len(h.Sources) == 0 {
			return errors.New("no package sources: neither etc/apt/sources.list nor etc/apt/sources.list.d names an archive")
		}
		return errors.New("no package lists: run apt-get update")
	}
	m.node.Arch, m.sources = h.Native, len(h.Archives)
	m.installed, m.available = h.Installed(), h.Available()
	m.phased = map[patch.Key]bool{}
	for i := range h.Decisions {
		if d := &h.Decisions[i]; d.Phasing && d.Installed != nil {
			m.phased[patch.Key{Name: d.Name, Arch: d.Installed.Arch}] = true
		}
	}
	for _, src := range h.Missing {
		if strings.Contains(src.Suite, "security") || strings.Contains(src.URI, "security") {
			return fmt.Errorf("%s %s has no lists, and without those of a security archive nobody can say that nothing is missing: run apt-get update", src.URI, src.Suite)
		}
		m.note("%s %s has no lists, so what it offers is not known: run apt-get update", src.URI, src.Suite)
	}
	seen := map[*apt.Release]bool{}
	for _, a := range h.Archives {
		if seen[a.Release] {
			continue
		}
		seen[a.Release] = true
		if a.Release.Date.After(m.lists) {
			m.lists = a.Release.Date
		}
		if err := a.Release.Expired(s.now()); err != nil && a.Source.CheckValidUntil {
			m.note("the lists of %s expired on %s: run apt-get update", a.ID, a.Release.ValidUntil.UTC().Format(time.DateOnly))
		}
	}
	return nil
}

// policy reads what apt.conf says that changes the decision. Without apt-config its defaults count.
func (s *scan) policy(o *apt.Options) {
	out, err := s.query(s.ctx, "apt-config", "dump")
	if err != nil {
		return
	}
	for in := bufio.NewScanner(bytes.NewReader(out)); in.Scan(); {
		key, value, _ := strings.Cut(in.Text(), " ")
		value = strings.Trim(strings.TrimSuffix(value, ";"), `"`)
		on := value == "1" || strings.EqualFold(value, "true") || strings.EqualFold(value, "yes")
		switch strings.ToLower(key) {
		case "apt::architecture":
			o.Native = value
		case "apt::default-release":
			o.DefaultRelease = value
		case "apt::machine-id":
			o.MachineID = value
		case "apt::get::always-include-phased-updates":
			o.AlwaysPhased = on
		case "apt::get::never-include-phased-updates":
			o.NeverPhased = on
		case "apt::get::phase-policy":
			o.PhasePolicy = on
		}
	}
}

// progress says on a terminal what takes long, and takes it back.
func (s *scan) progress(what string) (done func()) {
	f, ok := s.stderr.(*os.File)
	if !ok {
		return func() {}
	}
	if fi, err := f.Stat(); err != nil || fi.Mode()&fs.ModeCharDevice == 0 {
		return func() {}
	}
	fmt.Fprintf(f, "%s …", what)
	return func() { fmt.Fprint(f, "\r\x1b[K") }
}

// spellings are the names that "name", "name.arch" or "name:arch" may stand for.
func spellings(text string) []string {
	out := []string{text}
	for _, sep := range []string{":", "."} {
		if i := strings.LastIndex(text, sep); i > 0 {
			out = append(out, text[:i])
		}
	}
	return out
}

// named finds the packages that a user means, and explains them.
func (m *machine) named(res *patch.Result, text string) ([]*patch.Explanation, error) {
	var keys []patch.Key
	add := func(k patch.Key, exact bool) {
		if (exact && k.Name == text || !exact && (k.String() == text || k.Name+":"+k.Arch == text)) && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	for _, exact := range []bool{true, false} {
		for i := range m.installed {
			add(patch.Key{Name: m.installed[i].Name, Arch: m.installed[i].Arch}, exact)
		}
		if len(keys) > 0 {
			break // what is on offer for other architectures is no answer
		}
		for i := range m.available {
			add(patch.Key{Name: m.available[i].Name, Arch: m.available[i].Arch}, exact)
		}
		if len(keys) > 0 {
			break
		}
	}
	var out []*patch.Explanation
	for _, k := range keys {
		if x := res.Explain(k); x != nil {
			out = append(out, x)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	var near []string
	for i := range m.installed {
		if n := m.installed[i].Name; strings.Contains(n, text) && len(near) < 5 && !slices.Contains(near, n) {
			near = append(near, n)
		}
	}
	if len(near) > 0 {
		return nil, fmt.Errorf("no package %q is installed or on offer: did you mean %s?", text, strings.Join(near, ", "))
	}
	return nil, fmt.Errorf("no package %q is installed or on offer", text)
}

// newer is a version that the package manager would take, whatever the baseline says.
type newer struct {
	patch.Key
	Installed string `json:"installed"`
	Offered   string `json:"offered"`
	Repo      string `json:"repo,omitempty"`
	Wanted    bool   `json:"wanted"` // the baseline asks for it, or for another newer one
	Phased    bool   `json:"phased,omitempty"`
}

// newer lists the packages of which a newer version is on offer.
func (m *machine) newer(res *patch.Result) []newer {
	f := m.node.OperatingSystem.Family()
	best := map[patch.Key]*patch.Available{}
	fold := func(name, arch string) patch.Key {
		if arch == "all" || arch == "noarch" {
			arch = m.node.Arch
		}
		return patch.Key{Name: name, Arch: arch}
	}
	for i := range m.available {
		a := &m.available[i]
		k := fold(a.Name, a.Arch)
		if b := best[k]; b == nil || f.Compare(a.Version, b.Version) > 0 {
			best[k] = a
		}
	}
	newest := map[patch.Key]*patch.Installed{}
	for i := range m.installed {
		p := &m.installed[i]
		k := patch.Key{Name: p.Name, Arch: p.Arch}
		if q := newest[k]; q == nil || f.Compare(p.Version, q.Version) > 0 {
			newest[k] = p
		}
	}
	out := []newer{}
	for k, p := range newest {
		a := best[fold(p.Name, p.Arch)]
		if a == nil || f.Compare(a.Version, p.Version) <= 0 {
			continue
		}
		x := res.Find(k)
		out = append(out, newer{Key: k, Installed: p.Version, Offered: a.Version, Repo: a.Repo, Phased: m.phased[k],
			Wanted: x != nil && x.State == patch.StateMissing})
	}
	slices.SortFunc(out, func(a, b newer) int { return strings.Compare(a.String(), b.String()) })
	return out
}
