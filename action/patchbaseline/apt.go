package patchbaseline

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/apt"
)

// aptManager is apt and dpkg.
type aptManager struct {
	*tools
	conf   string // a configuration that points apt at another tree; "" where it is not needed
	points string // what it says
	native string
	alt    *alternative // repositories that take the place of the machine's own
	other  []apt.Source
}

func newApt(t *tools) (*aptManager, error) {
	m := &aptManager{tools: t}
	if t.tree.dir == "" || t.o.Chroot {
		return m, nil
	}
	arch, err := statusArch(t.tree)
	if err != nil {
		return nil, err
	}
	root := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(filepath.ToSlash(t.tree.dir))
	text := fmt.Sprintf("Dir \"%s\";\nDir::State::status \"%[1]s/var/lib/dpkg/status\";\nDPkg::Options:: \"--root=%[1]s\";\n", root)
	if arch != "" {
		text += fmt.Sprintf("APT::Architecture \"%s\";\nAPT::Architectures:: \"%[1]s\";\n", arch)
	}
	if os.Geteuid() != 0 {
		text += "DPkg::Options:: \"--force-not-root\";\n"
	}
	m.points, m.conf = text, filepath.Join(t.c.Dir, "apt.conf")
	if err := os.WriteFile(m.conf, []byte(text), 0o600); err != nil {
		return nil, fault.New("patchbaseline.Apt", fault.InternalServerError, "the configuration for apt cannot be written: %w", err)
	}
	return m, nil
}

// Use implements Alternate.
func (m *aptManager) Use(sources []patch.Source) (func() error, error) {
	var list strings.Builder
	for _, s := range sources {
		list.WriteString(strings.TrimSpace(s.Configuration) + "\n")
	}
	other, err := apt.ParseSources("the baseline's sources", strings.NewReader(list.String()), nil)
	if err != nil {
		return nil, err
	}
	a, err := m.alternate(map[string]string{"sources.list": list.String()}, "lists/partial")
	if err != nil {
		return nil, err
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(filepath.ToSlash(a.inside))
	text := m.points + fmt.Sprintf("Dir::Etc::sourcelist \"%s/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\nDir::State::lists \"%[1]s/lists/\";\nDir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\nAPT::Sandbox::User \"root\";\n", quoted)
	if err := os.WriteFile(filepath.Join(a.dir, "apt.conf"), []byte(text), 0o600); err != nil {
		a.done() //nolint:errcheck // the first error counts
		return nil, fault.New("patchbaseline.Sources", fault.ServiceUnavailable, "the configuration for apt cannot be written: %w", err)
	}
	was := m.conf
	m.alt, m.other, m.conf = a, other, path.Join(filepath.ToSlash(a.inside), "apt.conf")
	return func() error {
		m.alt, m.other, m.conf = nil, nil, was
		return a.done()
	}, nil
}

// statusArch returns the architecture of the dpkg of a tree.
func statusArch(t *tree) (string, error) {
	f, err := t.Open("var/lib/dpkg/status")
	if err != nil {
		e := fault.New("patchbaseline.Apt", fault.Validation, "/var/lib/dpkg/status cannot be read: there is no Debian or Ubuntu system")
		e.Err = err
		return "", e
	}
	defer f.Close() //nolint:errcheck // read only
	all, err := apt.ReadStatus("/var/lib/dpkg/status", f, nil)
	if err != nil {
		return "", err
	}
	for i := range all {
		if all[i].Name == "dpkg" && all[i].Installed() {
			return all[i].Arch, nil
		}
	}
	return "", nil
}

func (m *aptManager) env() map[string]string {
	env := map[string]string{"DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none", "APT_LISTBUGS_FRONTEND": "none", "UCF_FORCE_CONFFOLD": "1", "NEEDRESTART_MODE": "l", "NEEDRESTART_SUSPEND": "1"}
	if m.conf != "" {
		env["APT_CONFIG"] = m.conf
	}
	return env
}

const (
	aptLists    = "var/lib/apt/lists/lock"
	aptArchives = "var/cache/apt/archives/lock"
	dpkgFront   = "var/lib/dpkg/lock-frontend"
	dpkgLock    = "var/lib/dpkg/lock"
)

// busy tells whether a program of apt failed because another one held a lock that was taken after it was looked at.
func aptBusy(out output) bool {
	return bytes.Contains(out.stderr, []byte("Could not get lock")) || bytes.Contains(out.stderr, []byte("is another process using it")) || bytes.Contains(out.stderr, []byte("is locked by another process"))
}

// locked runs a program that takes locks, once they are free.
func (m *aptManager) locked(ctx context.Context, p program, locks ...string) (out output, err error) {
	busy := func() string { return m.locks(locks...) }
	for range 1000 {
		if err := m.poll(ctx, "apt or dpkg", busy); err != nil {
			return output{}, err
		}
		if out, err = m.start(ctx, p); err != nil || out.code == 0 || !aptBusy(out) {
			break
		}
	}
	if err == nil && out.code != 0 && aptBusy(out) {
		err = errLocked("apt or dpkg", said(out), m.o.LockWait)
	}
	return out, err
}

// Refresh implements Manager.
func (m *aptManager) Refresh(ctx context.Context) error {
	argv := []string{"apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=2"}
	locks := []string{aptLists}
	if m.alt != nil {
		locks = nil
	}
	out, err := m.locked(ctx, program{argv: argv, env: m.env(), limit: m.o.Fetch}, locks...)
	if err == nil && out.code != 0 {
		err = fault.New("patchbaseline.Refresh", fault.InternalServerError, "apt-get update ended with code %d: %s", out.code, said(out))
	}
	return err
}

// Read implements Manager.
func (m *aptManager) Read(ctx context.Context, names []string) (*Machine, error) {
	o := &apt.Options{Names: names}
	if err := m.policy(ctx, o); err != nil {
		return nil, err
	}
	fsys := fs.FS(m.tree)
	if m.alt != nil {
		lists, err := fs.Sub(m.alt, "lists")
		if err != nil {
			return nil, fault.Wrap("patchbaseline.Read", err)
		}
		o.Sources, fsys = m.other, overlay{m.tree, "var/lib/apt/lists", lists}
	}
	h, err := apt.ReadHost(fsys, o)
	if err != nil {
		return nil, err
	}
	m.native = h.Native
	out := &Machine{Facts: patch.NodeFacts{Arch: h.Native}, Installed: h.Installed(), Available: h.Available()}
	var missing []string
	binary := 0
	for _, s := range h.Sources {
		if s.Type == "deb" {
			binary++
		}
	}
	for i := range h.Missing {
		s := &h.Missing[i]
		if s.Type != "deb" {
			continue
		}
		missing = append(missing, s.Suite)
		if strings.Contains(s.Suite, "security") || strings.Contains(s.URI, "security") {
			return nil, fault.New("patchbaseline.Read", fault.DoesNotExist, "the machine has no package list of the security archive %s (%s:%d), so that what is missing cannot be told: run apt-get update, or repair the source",
				fault.Clean(s.Suite), fault.Clean(s.File), s.Line)
		}
		out.Warnings = append(out.Warnings, fmt.Sprintf("The machine has no package list of %s (%s:%d): what it offers is not known.", s.Suite, s.File, s.Line))
	}
	if binary > 0 && len(missing) == binary {
		return nil, fault.New("patchbaseline.Read", fault.DoesNotExist, "the machine has no package lists at all, so that nothing can be told: run apt-get update")
	}
	return out, m.unfinished(out)
}

// policy reads what apt.conf says that changes the decision.
func (m *aptManager) policy(ctx context.Context, o *apt.Options) error {
	if id, err := m.tree.readText("etc/machine-id"); err == nil {
		o.MachineID = strings.TrimSpace(id)
	}
	if !m.has("apt-config") {
		return nil
	}
	out, err := m.run(ctx, program{argv: []string{"apt-config", "dump"}, env: m.env(), limit: m.o.Query})
	if err != nil {
		return err
	}
	yes := func(v string) bool { b, err := strconv.ParseBool(v); return err == nil && b || v == "yes" }
	for s := bufio.NewScanner(bytes.NewReader(out.stdout)); s.Scan(); {
		key, value, ok := strings.Cut(s.Text(), " ")
		if !ok {
			continue
		}
		value = strings.Trim(strings.TrimSuffix(value, ";"), `"`)
		switch strings.ToLower(key) {
		case "apt::architecture":
			o.Native = value
		case "apt::default-release":
			o.DefaultRelease = value
		case "apt::machine-id":
			o.MachineID = value
		case "apt::get::always-include-phased-updates":
			o.AlwaysPhased = yes(value)
		case "apt::get::never-include-phased-updates":
			o.NeverPhased = yes(value)
		case "apt::get::phase-policy":
			o.PhasePolicy = yes(value)
		}
	}
	return nil
}

// unfinished finds what dpkg began and did not end. A package that is not configured counts with the version that was configured last.
func (m *aptManager) unfinished(out *Machine) error {
	const op = "patchbaseline.Read"
	if entries, err := fs.ReadDir(m.tree, "var/lib/dpkg/updates"); err == nil {
		for _, e := range entries {
			if n := e.Name(); n != "" && strings.Trim(n, "0123456789") == "" {
				out.Broken = "dpkg was interrupted and has not put its records in order: run \"dpkg --configure -a\" on the machine, look at what it says, and run this again"
				break
			}
		}
	}
	f, err := m.tree.Open("var/lib/dpkg/status")
	if err != nil {
		e := fault.New(op, fault.Validation, "/var/lib/dpkg/status cannot be read")
		e.Err = err
		return e
	}
	defer f.Close() //nolint:errcheck // read only
	type state struct{ what, configured string }
	odd := map[patch.Key]state{}
	sc := apt.NewScanner("/var/lib/dpkg/status", f, nil)
	for sc.Scan() {
		field := func(n string) string { b, _ := sc.Field(n); return string(b) }
		status := strings.Fields(field("Status"))
		if len(status) != 3 {
			continue
		}
		switch what := status[2]; {
		case what == "unpacked", what == "half-installed", what == "half-configured", status[1] == "reinstreq":
			odd[patch.Key{Name: field("Package"), Arch: field("Architecture")}] = state{strings.TrimPrefix(status[1]+" ", "ok ") + what, field("Config-Version")}
		}
	}
	if err := sc.Err(); err != nil {
		return err
	}
	if len(odd) == 0 {
		return nil
	}
	out.Installed = slices.DeleteFunc(out.Installed, func(p patch.Installed) bool {
		s, ok := odd[patch.Key{Name: p.Name, Arch: p.Arch}]
		if ok && s.configured == "" {
			out.Warnings = append(out.Warnings, fmt.Sprintf("Package %s %s is not whole (%s) and was never configured: it does not count as installed. \"dpkg --audit\" tells more.", p.Name, p.Version, s.what))
			return true
		}
		return false
	})
	for i := range out.Installed {
		p := &out.Installed[i]
		if s, ok := odd[patch.Key{Name: p.Name, Arch: p.Arch}]; ok {
			out.Warnings = append(out.Warnings, fmt.Sprintf("Package %s %s is not whole (%s): it counts with version %s, which was configured last. \"dpkg --audit\" tells more.", p.Name, p.Version, s.what, s.configured))
			p.Version = s.configured
		}
	}
	return nil
}

// spec names a step for apt-get.
func (m *aptManager) spec(s patch.Step) string {
	if s.Arch == "all" || s.Arch == m.native || s.Arch == "" {
		return s.Name + "=" + s.To
	}
	return s.Name + ":" + s.Arch + "=" + s.To
}

func (m *aptManager) argv(simulate bool, steps []patch.Step) []string {
	argv := []string{"apt-get", "install", "-y", "-q", "--no-remove", "--no-install-recommends", "-o", "APT::Install-Suggests=false", "-o", "Dpkg::Use-Pty=0", "-o", "APT::Get::Show-Upgraded=true",
		"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "-o", "APT::Get::AutomaticRemove=false", "-o", "APT::Color=false"}
	if simulate {
		argv = append(argv, "-s", "-o", "Debug::NoLocking=true")
	} else {
		argv = append(argv, "-o", fmt.Sprintf("DPkg::Lock::Timeout=%d", max(1, int(m.o.LockWait.Seconds()))))
	}
	argv = append(argv, "--")
	for _, s := range steps {
		argv = append(argv, m.spec(s))
	}
	return argv
}

// inst is a line of apt's simulation: Inst name[:arch] [old] (new origin [arch]) …
var inst = regexp.MustCompile(`^Inst ([^ :]+)(?::([^ ]+))? (?:\[[^\]]*\] )?\(([^ ]+) .*\[([^\]]+)\]\)`)

// simulate asks apt whether the steps can be done together, and why not.
func (m *aptManager) simulate(ctx context.Context, steps []patch.Step, refused func(patch.Available) bool) (refusal, error) {
	out, err := m.start(ctx, program{argv: m.argv(true, steps), env: m.env(), limit: m.o.Query})
	if err != nil {
		return refusal{}, err
	}
	if out.code != 0 {
		return refusal{aptReason(out), string(out.stdout)}, nil
	}
	if refused == nil {
		return refusal{}, nil
	}
	decided := map[string]bool{}
	for _, s := range steps {
		decided[s.Name] = true
	}
	for line := range strings.Lines(string(out.stdout)) {
		f := inst.FindStringSubmatch(strings.TrimSpace(line))
		if f == nil || decided[f[1]] {
			continue
		}
		if refused(patch.Available{Name: f[1], Version: f[3], Arch: f[4]}) {
			return refusal{reason: "it needs " + f[1] + ", which is rejected with BLOCK"}, nil
		}
	}
	return refusal{}, nil
}

// aptReason is why apt will not do something.
func aptReason(out output) string {
	var parts []string
	in := false
	for line := range strings.Lines(string(out.stdout)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "The following packages have unmet dependencies"):
			in = true
		case strings.HasPrefix(line, "The following"), line == "":
			in = false
		case in && len(parts) < 4:
			parts = append(parts, strings.Join(strings.Fields(line), " "))
		}
	}
	if len(parts) > 0 {
		return fault.Clean("apt cannot do it: " + strings.Join(parts, "; "))
	}
	return "apt will not do it: " + said(out)
}

// Install implements Manager.
func (m *aptManager) Install(ctx context.Context, steps []patch.Step, refused func(patch.Available) bool) (map[patch.Key]string, error) {
	if err := m.poll(ctx, "apt or dpkg", func() string { return m.locks(dpkgFront, dpkgLock, aptArchives) }); err != nil {
		return nil, err
	}
	why := map[patch.Key]string{}
	can, err := solve(ctx, steps, why, func(ctx context.Context, s []patch.Step) (refusal, error) { return m.simulate(ctx, s, refused) })
	if err != nil || len(can) == 0 {
		return why, err
	}
	// What is fetched first leaves the transaction short.
	fetch := append(m.argv(false, can), "")
	copy(fetch[2:], fetch[1:])
	fetch[1] = "--download-only"
	out, err := m.locked(ctx, program{argv: fetch, env: m.env(), limit: m.o.Transaction}, dpkgFront, dpkgLock, aptArchives)
	if err == nil && out.code != 0 {
		err = fault.New("patchbaseline.Install", fault.ServiceUnavailable, "nothing was installed: the packages could not all be fetched: %s", said(out))
	}
	if err != nil {
		return why, err
	}
	out, err = m.locked(ctx, program{argv: m.argv(false, can), env: m.env(), limit: m.o.Transaction, lasting: true}, dpkgFront, dpkgLock, aptArchives)
	m.show(out)
	if err == nil && out.code != 0 {
		for _, s := range can { // those that are there nevertheless are not Failed, and nobody reads this
			why[s.Key] = fmt.Sprintf("apt-get ended with code %d: %s", out.code, said(out))
		}
	}
	return why, err
}

// RebootRequired implements Manager: packages of Debian and Ubuntu leave a file.
func (m *aptManager) RebootRequired(context.Context) (bool, error) {
	for _, name := range []string{"run/reboot-required", "var/run/reboot-required"} {
		_, err := fs.Stat(m.tree, path.Clean(name))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && name == "run/reboot-required" {
			return false, err
		}
	}
	return false, nil
}
