package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/rpm"
)

// patience is how long rpm may take.
const patience = 2 * time.Minute

// query runs a command in the plain locale and returns its standard output.
func query(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	c.WaitDelay = time.Second
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%s is not on this machine", name)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s did not end within %s", name, patience)
	case err != nil:
		first, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return nil, fmt.Errorf("%s: %w: %s", name, err, fault.Clean(first))
	}
	return out, nil
}

func (s *scan) fillRPM(m *machine) error {
	args := []string{"-qa", "--qf", rpm.QueryFormat}
	if s.root != "/" { // not --root, which only root may use
		db := database(m.fsys)
		if db == "" {
			return errors.New("no rpm database: is -root the root of a system of dnf or zypper?")
		}
		root, err := filepath.Abs(s.root)
		if err != nil {
			return err
		}
		args = append(args, "--dbpath", filepath.Join(root, db))
	}
	out, err := s.query(s.ctx, "rpm", args...)
	if err != nil {
		return fmt.Errorf("what is installed cannot be told: %w", err)
	}
	installed, err := rpm.ReadInstalled("rpm -qa", bytes.NewReader(out), nil)
	if err != nil {
		return err
	}
	if len(installed) == 0 {
		return errors.New("rpm says that nothing is installed")
	}
	if locks, err := fs.ReadFile(m.fsys, "etc/dnf/plugins/versionlock.list"); err == nil {
		rpm.Lock(installed, string(locks))
	}
	m.node.Arch = commonest(installed)
	sources, err := repositories(m)
	if err != nil {
		return err
	}
	refresh := "dnf makecache"
	if m.node.OperatingSystem.Family() == patch.FamilyZypper {
		refresh = "zypper refresh"
	}
	if len(sources) == 0 {
		return errors.New("no repositories: none is enabled in etc/yum.repos.d or etc/zypp/repos.d")
	}
	var repos []*rpm.Repo
	for _, src := range sources {
		dir := s.cache(m, src.ID)
		if dir == nil {
			m.note("repository %s has no metadata here, so what it offers is not known: run %s", src.ID, refresh)
			continue
		}
		repo, err := rpm.ReadRepo(dir, &rpm.RepoOptions{ID: src.ID, Priority: src.Priority})
		if err != nil {
			return fmt.Errorf("repository %s: %w; run %s", src.ID, err, refresh)
		}
		for _, d := range repo.Repomd.Data {
			if d.Timestamp.After(m.lists) {
				m.lists = d.Timestamp
			}
		}
		repos = append(repos, repo)
	}
	if len(repos) == 0 {
		return fmt.Errorf("no package lists: run %s", refresh)
	}
	m.sources = len(repos)
	m.node.NoUpdateInfo = !slices.ContainsFunc(repos, func(r *rpm.Repo) bool { return r.HasUpdateinfo })
	m.installed, m.available = rpm.InstalledPackages(installed), rpm.Available(installed, repos...)
	return nil
}

// database finds rpm's database below a root.
func database(fsys fs.FS) string {
	for _, dir := range []string{"usr/lib/sysimage/rpm", "var/lib/rpm"} {
		for _, file := range []string{"rpmdb.sqlite", "Packages.db", "Packages"} {
			if _, err := fs.Stat(fsys, path.Join(dir, file)); err == nil {
				return dir
			}
		}
	}
	return ""
}

// commonest is the architecture that most packages have: the machine's own.
func commonest(installed []rpm.Installed) string {
	count := map[string]int{}
	best := ""
	for i := range installed {
		a := installed[i].Arch
		if a == "noarch" || a == "" {
			continue
		}
		if count[a]++; count[a] > count[best] || count[a] == count[best] && a < best {
			best = a
		}
	}
	return best
}

// repositories reads which repositories are enabled.
func repositories(m *machine) ([]rpm.Source, error) {
	vars := map[string]string{"basearch": m.node.Arch, "arch": m.node.Arch, "releasever": m.version}
	if m.node.OperatingSystem.Family() == patch.FamilyYum && m.node.OperatingSystem != patch.AmazonLinux {
		vars["releasever"], _, _ = strings.Cut(m.version, ".")
	}
	var out []rpm.Source
	seen := map[string]bool{}
	for _, dir := range []string{"etc/yum.repos.d", "etc/distro.repos.d", "etc/zypp/repos.d"} {
		files, err := fs.Glob(m.fsys, dir+"/*.repo")
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			f, err := m.fsys.Open(name)
			if err != nil {
				return nil, err
			}
			all, err := rpm.ParseRepo("/"+name, f, &rpm.RepoDefaults{Vars: vars}, nil)
			f.Close()
			if err != nil {
				return nil, err
			}
			for _, src := range all {
				if src.Enabled && !seen[src.ID] {
					seen[src.ID] = true
					out = append(out, src)
				}
			}
		}
	}
	return out, nil
}

// cache finds the metadata that dnf or zypper fetched of a repository, the newest where there are several; nil when there are none. dnf writes to a
// folder of the repository's name and a hash of its address, of a user's own where it does not run as root.
func (s *scan) cache(m *machine, id string) fs.FS {
	type found struct {
		fsys fs.FS
		at   time.Time
	}
	var best found
	look := func(fsys fs.FS, dir string) {
		entries, err := fs.ReadDir(fsys, dir)
		if err != nil {
			return
		}
		for _, e := range entries {
			rest, ok := strings.CutPrefix(e.Name(), id)
			if !ok || rest != "" && !hashed(rest) {
				continue
			}
			fi, err := fs.Stat(fsys, path.Join(dir, e.Name(), "repodata/repomd.xml"))
			if err != nil || !best.at.IsZero() && !fi.ModTime().After(best.at) {
				continue
			}
			if sub, err := fs.Sub(fsys, path.Join(dir, e.Name())); err == nil {
				best = found{sub, fi.ModTime()}
			}
		}
	}
	for _, dir := range []string{"var/cache/dnf", "var/cache/libdnf5", "var/cache/zypp/raw"} {
		look(m.fsys, dir)
	}
	if s.root == "/" {
		if u, err := user.Current(); err == nil {
			mine, _ := fs.Glob(m.fsys, "var/tmp/dnf-"+u.Username+"-*")
			for _, dir := range mine {
				look(m.fsys, dir)
			}
		}
		if dir, err := os.UserCacheDir(); err == nil {
			look(os.DirFS(dir), "libdnf5")
			look(os.DirFS(dir), "zypp/raw")
		}
	}
	return best.fsys
}

// hashed says whether a text is "-" and 16 hexadecimal digits.
func hashed(s string) bool {
	return len(s) == 17 && s[0] == '-' && strings.Trim(s[1:], "0123456789abcdef") == ""
}
