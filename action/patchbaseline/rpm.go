package patchbaseline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/rpm"
)

// rpmBase is what dnf and zypper have in common.
type rpmBase struct {
	*tools
	home   string                 // of programs that work on another tree: their rpm reads there where the database lies
	arches map[[2]string][]string // name and version to the architectures on offer
	alt    *alternative           // repositories that take the place of the machine's own
}

// Use implements Alternate.
func (b *rpmBase) Use(sources []patch.Source) (func() error, error) {
	a, err := b.alternate(repoFiles(sources), "repos", "cache", "raw", "solv")
	if err != nil {
		return nil, err
	}
	b.alt = a
	return func() error {
		b.alt = nil
		return a.done()
	}, nil
}

// repositories is the file system in which .repo files and metadata lie.
func (b *rpmBase) repositories() fs.FS {
	if b.alt != nil {
		return b.alt
	}
	return b.tree
}

func newRpmBase(t *tools) (rpmBase, error) {
	b := rpmBase{tools: t}
	if t.tree.dir == "" || t.o.Chroot {
		return b, nil
	}
	b.home = filepath.Join(t.c.Dir, "rpm-home")
	err := os.MkdirAll(b.home, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.home, ".rpmmacros"), []byte("%_dbpath /"+b.database()+"\n"), 0o600)
	}
	if err != nil {
		return b, fault.New("patchbaseline.Rpm", fault.InternalServerError, "the configuration for rpm cannot be written: %w", err)
	}
	return b, nil
}

// database returns where the rpm database lies.
func (b *rpmBase) database() string {
	for _, dir := range []string{"usr/lib/sysimage/rpm", "usr/share/rpm", "var/lib/rpm"} {
		for _, name := range []string{"rpmdb.sqlite", "Packages.db", "Packages"} {
			if b.tree.exists(path.Join(dir, name)) {
				return dir
			}
		}
	}
	return "var/lib/rpm"
}

func (b *rpmBase) env() map[string]string {
	env := map[string]string{}
	if b.home != "" {
		env["HOME"] = b.home
	}
	return env
}

func (b *rpmBase) locked() string {
	return b.locks("var/lib/rpm/.rpm.lock", "usr/lib/sysimage/rpm/.rpm.lock")
}

// installed asks rpm.
func (b *rpmBase) installed(ctx context.Context) ([]rpm.Installed, error) {
	argv := []string{"rpm"}
	if b.home != "" {
		argv = append(argv, "--root", b.tree.dir, "--dbpath", "/"+b.database())
	}
	out, err := b.run(ctx, program{argv: append(argv, "-qa", "--qf", rpm.QueryFormat), env: b.env(), limit: b.o.Query})
	if err != nil {
		return nil, err
	}
	return rpm.ReadInstalled("rpm -qa", bytes.NewReader(out.stdout), nil)
}

// configured reads the enabled repositories of folders of .repo files.
func (b *rpmBase) configured(vars map[string]string, dirs ...string) ([]rpm.Source, error) {
	var all []rpm.Source
	from := b.repositories()
	if b.alt != nil {
		dirs = []string{"repos"}
	}
	for _, dir := range dirs {
		entries, err := fs.ReadDir(from, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			e := fault.New("patchbaseline.Read", fault.Validation, "/%s cannot be read", dir)
			e.Err = err
			return nil, e
		}
		for _, e := range entries {
			if e.IsDir() || path.Ext(e.Name()) != ".repo" {
				continue
			}
			text, err := fs.ReadFile(from, path.Join(dir, e.Name()))
			if err != nil {
				e := fault.New("patchbaseline.Read", fault.Validation, "a .repo file in /%s cannot be read", dir)
				e.Err = err
				return nil, e
			}
			s, err := rpm.ParseRepo("/"+path.Join(dir, e.Name()), bytes.NewReader(text), &rpm.RepoDefaults{Vars: vars}, nil)
			if err != nil {
				return nil, err
			}
			all = append(all, s...)
		}
	}
	return slices.DeleteFunc(all, func(s rpm.Source) bool { return !s.Enabled }), nil
}

// offered reads the metadata of the repositories that the package manager keeps; where says in which folder those of a repository lie, "" when it has none.
func (b *rpmBase) offered(installed []rpm.Installed, names []string, sources []rpm.Source, where func(rpm.Source) string, out *Machine) error {
	const op = "patchbaseline.Read"
	var repos []*rpm.Repo
	var extra []string
	for _, n := range names { // full names: the name is what stands before the version
		if p := strings.Split(n, "-"); len(p) > 2 {
			extra = append(extra, strings.Join(p[:len(p)-2], "-"))
		}
		extra = append(extra, n)
	}
	for _, s := range sources {
		dir := where(s)
		if dir == "" {
			out.Warnings = append(out.Warnings, fmt.Sprintf("The machine has no metadata of the repository %s (%s:%d): what it offers is not known.", s.ID, s.File, s.Line))
			continue
		}
		sub, err := fs.Sub(b.repositories(), dir)
		if err != nil {
			return fault.Wrap(op, err)
		}
		r, err := rpm.ReadRepo(sub, &rpm.RepoOptions{ID: s.ID, Priority: s.Priority, Keep: rpm.Keep(installed, extra...)})
		if err != nil {
			return fault.New(op, fault.CodeOf(err), "repository %s: %s", fault.Clean(s.ID), fault.MessageOf(err))
		}
		repos = append(repos, r)
	}
	if len(sources) > 0 && len(repos) == 0 {
		return fault.New(op, fault.DoesNotExist, "the machine has no metadata of any of its %d repositories, so that nothing can be told: let the package manager fetch them (dnf makecache, zypper refresh)", len(sources))
	}
	b.arches = map[[2]string][]string{}
	for _, r := range repos {
		for i := range r.Packages {
			p := &r.Packages[i]
			k := [2]string{p.Name, p.Version}
			b.arches[k] = append(b.arches[k], p.Arch)
		}
	}
	out.Installed, out.Available = rpm.InstalledPackages(installed), rpm.Available(installed, repos...)
	if out.Facts.Arch = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686"}[runtime.GOARCH]; out.Facts.Arch == "" {
		out.Facts.Arch = runtime.GOARCH
	}
	return nil
}

// arch returns the architecture under which a step's package is on offer.
func (b *rpmBase) arch(s patch.Step) string {
	all := b.arches[[2]string{s.Name, s.To}]
	if len(all) == 0 || slices.Contains(all, s.Arch) {
		return s.Arch
	}
	return all[0]
}

// needsRestarting asks dnf-utils, where they are.
func (b *rpmBase) needsRestarting(ctx context.Context) (bool, error) {
	if b.tree.exists("run/reboot-required") {
		return true, nil
	}
	if !b.has("needs-restarting") {
		return false, nil
	}
	out, err := b.run(ctx, program{argv: []string{"needs-restarting", "-r"}, env: b.env(), limit: b.o.Query, ok: []int{1}})
	return out.code == 1, err
}

// dnfManager is dnf, and yum where it is dnf by another name.
type dnfManager struct {
	rpmBase
	program string
	release string
}

func newDnf(t *tools, s system) (*dnfManager, error) {
	base, err := newRpmBase(t)
	if err != nil {
		return nil, err
	}
	if base.home != "" && strings.ContainsAny(t.tree.dir, ", \t\n") {
		return nil, fault.New("patchbaseline.Rpm", fault.Validation, "the path of the tree has a comma or a blank in it, at which dnf would split it: give it another name")
	}
	m := &dnfManager{rpmBase: base, release: s.release}
	for _, p := range []string{"dnf5", "dnf", "dnf-3", "yum"} {
		if t.has(p) {
			m.program = p
			break
		}
	}
	if m.program == "" {
		return nil, fault.New("patchbaseline.Rpm", fault.UnsupportedOperation, "neither dnf nor yum is on this machine, or not in PATH")
	}
	return m, nil
}

// argv is a command of dnf.
func (m *dnfManager) argv(args ...string) []string {
	argv := []string{m.program, "-y", "-q"}
	if m.home != "" {
		root := m.tree.dir
		argv = append(argv, "--installroot="+root, "--setopt=reposdir="+filepath.Join(root, "etc/yum.repos.d"), "--setopt=cachedir="+filepath.Join(root, "var/cache/dnf"),
			"--setopt=logdir="+filepath.Join(root, "var/log"), "--setopt=persistdir="+filepath.Join(root, "var/lib/dnf"))
		release := m.release
		if release == "" {
			release = "1"
		}
		argv = append(argv, "--releasever="+release)
	}
	if m.alt != nil {
		argv = append(argv, "--setopt=reposdir="+m.alt.inside+"/repos", "--setopt=cachedir="+m.alt.inside+"/cache")
	}
	return append(argv, args...)
}

// dnfLocked is the exit code of dnf when another one is at work and it was told not to wait (exit_on_lock).
const dnfLocked = 200

// start runs a command of dnf once nobody else is at work.
func (m *dnfManager) do(ctx context.Context, p program) (out output, err error) {
	if m.home != "" { // dnf makes the folder of its log only on its own machine
		if err := os.MkdirAll(filepath.Join(m.tree.dir, "var/log"), 0o755); err != nil {
			return out, fault.New("patchbaseline.Rpm", fault.InternalServerError, "the tree has no place for logs: %w", err)
		}
	}
	began := false
	perr := m.poll(ctx, "dnf or rpm", func() string {
		if holder := m.rpmBase.locked(); holder != "" {
			return holder
		}
		began = true
		out, err = m.start(ctx, p)
		if err == nil && (out.code == dnfLocked || out.code != 0 && bytes.Contains(out.stderr, []byte("transaction lock"))) {
			return said(out)
		}
		return ""
	})
	if perr != nil && (!began || err == nil) {
		return out, perr
	}
	return out, err
}

// Refresh implements Manager.
func (m *dnfManager) Refresh(ctx context.Context) error {
	if m.old(ctx) != nil {
		return nil // Read tells
	}
	out, err := m.do(ctx, program{argv: m.argv("--setopt=exit_on_lock=1", "--refresh", "makecache"), env: m.env(), limit: m.o.Fetch})
	if err == nil && out.code != 0 {
		err = fault.New("patchbaseline.Refresh", fault.InternalServerError, "%s makecache ended with code %d: %s", m.program, out.code, said(out))
	}
	return err
}

// old refuses yum 3, the program before dnf: it keeps its metadata in databases and not as the repositories publish them.
func (m *dnfManager) old(ctx context.Context) error {
	if m.program != "yum" {
		return nil
	}
	out, err := m.run(ctx, program{argv: []string{"yum", "--version"}, env: m.env(), limit: m.o.Query})
	if err == nil && bytes.HasPrefix(bytes.TrimSpace(out.stdout), []byte("3.")) {
		err = fault.New("patchbaseline.Rpm", fault.UnsupportedOperation, "this machine has yum 3, whose metadata cannot be read here: install dnf (on Amazon Linux 2: yum install dnf)")
	}
	return err
}

// Read implements Manager.
func (m *dnfManager) Read(ctx context.Context, names []string) (*Machine, error) {
	if err := m.old(ctx); err != nil {
		return nil, err
	}
	installed, err := m.installed(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"etc/dnf/plugins/versionlock.list", "etc/yum/pluginconf.d/versionlock.list"} {
		text, err := m.tree.readText(name)
		if err != nil {
			return nil, fault.New("patchbaseline.Read", fault.Validation, "/%s cannot be read", name)
		}
		rpm.Lock(installed, text)
	}
	sources, err := m.configured(m.vars(), "etc/yum.repos.d", "etc/dnf/repos.d")
	if err != nil {
		return nil, err
	}
	caches := []string{"var/cache/dnf", "var/cache/libdnf5"}
	if m.program == "dnf5" {
		slices.Reverse(caches)
	}
	if m.alt != nil {
		caches = []string{"cache"}
	}
	out := &Machine{}
	return out, m.offered(installed, names, sources, func(s rpm.Source) string { return m.cache(s, caches) }, out)
}

// vars are the variables of .repo files.
func (m *dnfManager) vars() map[string]string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}[runtime.GOARCH]
	vars := map[string]string{"basearch": arch, "arch": arch, "releasever": m.release}
	if major, _, ok := strings.Cut(m.release, "."); ok && major != "" {
		vars["releasever"] = major // what the release package of these systems provides
	}
	for _, dir := range []string{"etc/yum/vars", "etc/dnf/vars"} {
		entries, err := fs.ReadDir(m.tree, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if v, err := m.tree.readText(path.Join(dir, e.Name())); err == nil {
				vars[e.Name()], _, _ = strings.Cut(strings.TrimSpace(v), "\n")
			}
		}
	}
	return vars
}

// cache returns the folder in which dnf keeps a repository's metadata: its id and the beginning of the SHA-256 of its location. Where the location is written in a way that is not known here, it
// is the youngest folder of the id.
func (m *dnfManager) cache(s rpm.Source, caches []string) string {
	where := s.MetaLink
	if where == "" {
		where = s.MirrorList
	}
	if where == "" && len(s.BaseURLs) > 0 {
		where = s.BaseURLs[0]
	}
	sum := sha256.Sum256([]byte(where))
	exact := s.ID + "-" + hex.EncodeToString(sum[:8])
	from := m.repositories()
	for _, dir := range caches {
		if _, err := fs.Stat(from, path.Join(dir, exact, "repodata/repomd.xml")); err == nil {
			return path.Join(dir, exact)
		}
	}
	best, age := "", time.Time{}
	for _, dir := range caches {
		entries, err := fs.ReadDir(from, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			hash, ok := strings.CutPrefix(e.Name(), s.ID+"-")
			if !ok || len(hash) != 16 || strings.Trim(hash, "0123456789abcdef") != "" {
				continue
			}
			if fi, err := fs.Stat(from, path.Join(dir, e.Name(), "repodata/repomd.xml")); err == nil && (best == "" || fi.ModTime().After(age)) {
				best, age = path.Join(dir, e.Name()), fi.ModTime()
			}
		}
	}
	return best
}

// Install implements Manager. dnf leaves out by itself what cannot be done.
func (m *dnfManager) Install(ctx context.Context, steps []patch.Step, refused func(patch.Available) bool) (map[patch.Key]string, error) {
	why := map[patch.Key]string{}
	common := []string{"--setopt=install_weak_deps=0", "--setopt=best=0", "--setopt=exit_on_lock=1", "--setopt=clean_requirements_on_remove=0"}
	specs := func(steps []patch.Step) (all []string) {
		for _, s := range steps {
			all = append(all, s.Name+"-"+s.To+"."+m.arch(s))
		}
		return all
	}
	// The transaction is looked at before it is made: nothing is removed but what a step takes the place of, and nothing comes along that is rejected with BLOCK.
	simulate := func(ctx context.Context, steps []patch.Step) (refusal, error) {
		argv := m.argv(append(append(append([]string{"install", "--assumeno"}, common...), "--setopt=strict=1"), specs(steps)...)...)
		out, err := m.do(ctx, program{argv: slices.DeleteFunc(argv, func(s string) bool { return s == "-y" || s == "-q" }), env: m.env(), limit: m.o.Query})
		if err != nil {
			return refusal{}, err
		}
		t := parseDnf(out.stdout)
		if !t.whole {
			if bytes.Contains(out.stdout, []byte("Nothing to do")) {
				return refusal{reason: "dnf has nothing to do for it"}, nil
			}
			return refusal{"dnf cannot do it: " + dnfReason(out), string(out.stderr)}, nil
		}
		for _, n := range t.gone {
			if !slices.ContainsFunc(steps, func(s patch.Step) bool {
				return slices.ContainsFunc(s.Replaces, func(r string) bool { name, _, _ := cutLast(r, "."); return name == n || r == n })
			}) {
				return refusal{reason: "it would remove " + fault.Clean(n)}, nil
			}
		}
		for _, p := range t.comes {
			if refused != nil && !slices.ContainsFunc(steps, func(s patch.Step) bool { return s.Name == p.Name }) && refused(p) {
				return refusal{reason: "it needs " + p.Name + ", which is rejected with BLOCK"}, nil
			}
		}
		return refusal{}, nil
	}
	can, err := solve(ctx, steps, why, simulate)
	if err != nil || len(can) == 0 {
		return why, err
	}
	argv := m.argv(append(append(append([]string{"install"}, common...), "--setopt=strict=1"), specs(can)...)...)
	out, err := m.do(ctx, program{argv: slices.DeleteFunc(argv, func(s string) bool { return s == "-q" }), env: m.env(), limit: m.o.Transaction, lasting: true})
	m.show(out)
	if err == nil && out.code != 0 {
		for _, s := range can {
			why[s.Key] = fmt.Sprintf("%s ended with code %d: %s", m.program, out.code, dnfReason(out))
		}
	}
	return why, err
}

// dnfReason is why dnf will not do something.
func dnfReason(out output) string {
	var parts []string
	for line := range strings.Lines(string(out.stderr)) {
		line = strings.TrimSpace(line)
		if l, ok := strings.CutPrefix(line, "- "); ok || strings.HasPrefix(line, "Problem") {
			if parts = append(parts, strings.TrimPrefix(l, "- ")); len(parts) == 5 {
				break
			}
		}
	}
	if len(parts) > 0 {
		return fault.Clean(strings.Join(parts, "; "))
	}
	return said(output{stdout: out.stderr})
}

func cutLast(s, sep string) (string, string, bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// transaction is what dnf says that it would do.
type transaction struct {
	whole bool
	comes []patch.Available
	gone  []string // names
}

// parseDnf reads the table that dnf shows before it asks.
func parseDnf(text []byte) (t transaction) {
	removing := false
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		head := strings.ToLower(strings.TrimSpace(line))
		switch {
		case strings.HasPrefix(head, "transaction summary"):
			t.whole = true
			return t
		case !strings.HasPrefix(line, " ") && strings.HasSuffix(head, ":"):
			removing = strings.HasPrefix(head, "remov")
		case len(f) > 1 && f[0] == "Package" && strings.HasPrefix(f[1], "Arch"): // the head of the table
		case len(f) >= 2 && f[0] == "replacing":
			name, _, _ := cutLast(f[1], ".")
			t.gone = append(t.gone, name)
		case strings.HasPrefix(line, " ") && len(f) >= 4:
			if removing {
				t.gone = append(t.gone, f[0])
			} else {
				t.comes = append(t.comes, patch.Available{Name: f[0], Arch: f[1], Version: f[2]})
			}
		}
	}
	return t
}

// RebootRequired implements Manager.
func (m *dnfManager) RebootRequired(ctx context.Context) (bool, error) { return m.needsRestarting(ctx) }
