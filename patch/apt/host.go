package apt

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// Options say what ReadHost cannot see in the files, or is to see otherwise. The zero value is useful.
type Options struct {
	Policy                 // what apt.conf sets; Pins and Native are read from the files (Native only where it is empty)
	Architectures []string // foreign architectures; nil reads var/lib/dpkg/arch

	Limits *Limits

	// Names are packages to read although they are not installed, such as those that a baseline approves by name.
	Names []string

	// Sources replace those of etc/apt; nil reads the files.
	Sources []Source

	// Verify returns the Verifier for the Release file of a source. nil, and a nil Verifier, read the lists without looking at
	// signatures: apt verified them when it fetched them, and only root can have changed them since. What is verified is held against the
	// hashes too, and a source without a Release file is refused.
	Verify func(Source) (Verifier, error)

	// CheckIndexes holds every index against its Release file, by size and hash. It costs about as much again as reading. An index that
	// apt has stored in another compression than the archive's is checked once decompressed.
	CheckIndexes bool

	// Now is when Release files must be valid; zero does not ask.
	Now time.Time
}

// Host is what a machine's apt knows, and what it would decide. It is read-only once made.
type Host struct {
	Native    string
	Sources   []Source
	Pins      []Pin
	Archives  []*Archive
	Status    []Package  // every stanza of the status file with a version
	Decisions []Decision // by name and architecture: for each installed package, and each of Options.Names that an archive has

	// Missing lists the sources that have no lists: never fetched, or fetched in vain. What they would offer is not known.
	Missing []Source

	installedAt map[slot]time.Time
}

const listsDir = "var/lib/apt/lists"

// ReadHost reads the configuration and the lists of a machine (or of a chroot) whose root fsys is, and decides. It reads
// etc/apt/sources.list(.d), etc/apt/preferences(.d), var/lib/apt/lists, var/lib/dpkg/status, var/lib/dpkg/arch and the times of
// var/lib/dpkg/info. Any file that is there and is not as it should be is an error; nothing is decided from half of the truth.
func ReadHost(fsys fs.FS, o *Options) (*Host, error) {
	const op = "apt.ReadHost"
	if o == nil {
		o = &Options{}
	}
	h := &Host{installedAt: map[slot]time.Time{}}
	err := readFile(op, fsys, "var/lib/dpkg/status", func(r io.Reader) (err error) {
		h.Status, err = ReadStatus("/var/lib/dpkg/status", r, o.Limits)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := h.architecture(o); err != nil {
		return nil, err
	}
	if h.Sources = o.Sources; h.Sources == nil {
		if h.Sources, err = readSources(fsys, o.Limits); err != nil {
			return nil, err
		}
	}
	if h.Pins, err = readPreferences(fsys, o.Limits); err != nil {
		return nil, err
	}
	foreign := o.Architectures
	if foreign == nil {
		if foreign, err = readArch(fsys, h.Native); err != nil {
			return nil, err
		}
	}
	offers, err := h.readLists(fsys, o, append([]string{h.Native}, foreign...))
	if err != nil {
		return nil, err
	}
	h.times(fsys)
	pol := o.Policy
	pol.Pins, pol.Native = h.Pins, h.Native
	h.Decisions = pol.decide(h.Status, offers, h.Archives)
	return h, nil
}

// architecture finds the native architecture: that of the option, or of the installed dpkg.
func (h *Host) architecture(o *Options) error {
	h.Native = o.Native
	for i := range h.Status {
		if p := &h.Status[i]; h.Native == "" && p.Name == "dpkg" && p.Installed() {
			h.Native = p.Arch
		}
	}
	if h.Native == "" {
		return fault.New("apt.ReadHost", fault.Validation, "the machine's architecture is not known: dpkg is not among the installed packages, so name it (Policy.Native)")
	}
	return nil
}

func readArch(fsys fs.FS, native string) ([]string, error) {
	b, err := fs.ReadFile(fsys, "var/lib/dpkg/arch")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("apt.ReadHost", "/var/lib/dpkg/arch", 0, err)
	}
	var all []string
	for _, a := range strings.Fields(string(b)) {
		if a != native && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all, nil
}

// readFile opens a file and hands it to read.
func readFile(op string, fsys fs.FS, name string, read func(io.Reader) error) error {
	f, err := fsys.Open(name)
	if err != nil {
		e := fault.New(op, fault.Validation, "/%s cannot be opened", fault.Clean(name))
		e.Err = err
		return e
	}
	defer f.Close()
	return read(f)
}

// readDir yields the files of a folder that apt would read, in its order; none when there is no such folder.
func readDir(op string, fsys fs.FS, dir string, take func(name string) error, ext ...string) error {
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return wrap(op, "/"+dir, 0, err)
	}
	for _, e := range entries { // fs.ReadDir sorts by name
		if e.IsDir() || !sourceFile(e.Name(), ext...) {
			continue
		}
		if err := take(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func readSources(fsys fs.FS, lim *Limits) ([]Source, error) {
	const op = "apt.ReadHost"
	var all []Source
	one := func(name string) error {
		return readFile(op, fsys, name, func(r io.Reader) error {
			parse := ParseSources
			if path.Ext(name) == ".sources" {
				parse = ParseDeb822Sources
			}
			s, err := parse("/"+name, r, lim)
			all = append(all, s...)
			return err
		})
	}
	if _, err := fs.Stat(fsys, "etc/apt/sources.list"); err == nil {
		if err := one("etc/apt/sources.list"); err != nil {
			return nil, err
		}
	}
	return all, readDir(op, fsys, "etc/apt/sources.list.d", one, ".list", ".sources")
}

func readPreferences(fsys fs.FS, lim *Limits) ([]Pin, error) {
	const op = "apt.ReadHost"
	var all []Pin
	one := func(name string) error {
		return readFile(op, fsys, name, func(r io.Reader) error {
			p, err := ParsePreferences("/"+name, r, lim)
			all = append(all, p...)
			return err
		})
	}
	if _, err := fs.Stat(fsys, "etc/apt/preferences"); err == nil {
		if err := one("etc/apt/preferences"); err != nil {
			return nil, err
		}
	}
	return all, readDir(op, fsys, "etc/apt/preferences.d", one, "", ".pref")
}

// readLists reads the indexes of all sources and returns what they have of the packages that matter.
func (h *Host) readLists(fsys fs.FS, o *Options, archs []string) ([]offer, error) {
	wanted := make(map[string]bool, len(h.Status))
	for i := range h.Status {
		if h.Status[i].Installed() {
			wanted[h.Status[i].Name] = true
		}
	}
	for _, n := range o.Names {
		wanted[n] = true
	}
	keep := func(name []byte) bool { return wanted[string(name)] }
	have := map[string]string{} // list file without compression -> with
	entries, err := fs.ReadDir(fsys, listsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, wrap("apt.ReadHost", "/"+listsDir, 0, err)
	}
	exts := Extensions()
	for _, e := range entries {
		name := e.Name()
		if ext := path.Ext(name); slices.Contains(exts, ext) {
			name = strings.TrimSuffix(name, ext)
		}
		if old, ok := have[name]; !ok || len(e.Name()) < len(old) {
			have[name] = e.Name()
		}
	}
	var offers []offer
	seen := map[string]bool{}
	for i := range h.Sources {
		src := &h.Sources[i]
		if src.Type != "deb" {
			continue
		}
		rel, verified, err := readRelease(fsys, o, src, have)
		if err != nil {
			return nil, err
		}
		found := false
		for _, ix := range src.indexes(rel, archs) {
			uri := src.Base() + ix.path
			name, ok := have[ListFile(uri)]
			if !ok || seen[uri] {
				found = found || seen[uri]
				continue
			}
			found, seen[uri] = true, true
			if verified && rel == nil {
				return nil, fault.New("apt.ReadHost", fault.AccessDenied, "%s has no Release file, so nothing proves its packages", fault.Clean(src.Base()))
			}
			r := rel
			if r == nil {
				r = &Release{}
			}
			a := &Archive{ID: archiveID(src, r, ix.component), Source: *src, Release: r, Component: ix.component, Arch: ix.arch, Site: src.Site()}
			h.Archives = append(h.Archives, a)
			take := func(p Package) error {
				offers = append(offers, offer{p, a})
				return nil
			}
			if err := readIndex(fsys, o, verified || o.CheckIndexes, rel, path.Join(listsDir, name), ix.path, keep, take); err != nil {
				return nil, err
			}
		}
		if !found {
			h.Missing = append(h.Missing, *src)
		}
	}
	return offers, nil
}

func archiveID(src *Source, rel *Release, component string) string {
	suite := src.Suite
	if src.Flat() {
		suite = strings.Trim(src.URI+strings.Trim(src.Suite, "./"), "/")
		if i := strings.LastIndexByte(suite, '/'); i >= 0 {
			suite = suite[i+1:]
		}
		if rel.Codename != "" {
			suite = rel.Codename
		} else if rel.Suite != "" {
			suite = rel.Suite
		}
	}
	if component == "" {
		return suite
	}
	return suite + "/" + component
}

type index struct{ path, component, arch string }

// indexes returns the Packages files of a source, relative to its Release file.
func (s *Source) indexes(rel *Release, archs []string) []index {
	if s.Flat() {
		return []index{{path: "Packages"}}
	}
	if len(s.Architectures) > 0 {
		archs = s.Architectures
	}
	archs = append(slices.Clone(archs), s.ArchAdd...)
	archs = slices.DeleteFunc(archs, func(a string) bool { return slices.Contains(s.ArchRemove, a) })
	if !slices.Contains(archs, "all") && (rel == nil || !rel.NoArchAll && (len(rel.Architectures) == 0 || slices.Contains(rel.Architectures, "all"))) {
		archs = append(archs, "all")
	}
	var all []index
	for _, c := range s.Components {
		for _, a := range archs {
			all = append(all, index{c + "/binary-" + a + "/Packages", c, a})
		}
	}
	return all
}

// readRelease reads the Release file of a source, nil when there is none, and says whether the source must be verified.
func readRelease(fsys fs.FS, o *Options, src *Source, have map[string]string) (rel *Release, verified bool, err error) {
	const op = "apt.ReadHost"
	var v Verifier
	if o.Verify != nil && src.Trusted != "yes" {
		if v, err = o.Verify(*src); err != nil {
			return nil, false, err
		}
	}
	inline, plain := ListFile(src.Base()+"InRelease"), ListFile(src.Base()+"Release")
	switch {
	case have[inline] == inline:
		name := path.Join(listsDir, inline)
		err = readFile(op, fsys, name, func(r io.Reader) (err error) {
			if v != nil {
				rel, err = OpenInRelease("/"+name, r, v, o.Limits)
				return err
			}
			b, err := readSigned("/"+name, r, o.Limits)
			if err != nil {
				return err
			}
			if b, err = ClearText("/"+name, b); err != nil {
				return err
			}
			rel, err = ParseRelease("/"+name, bytes.NewReader(b), o.Limits)
			return err
		})
	case have[plain] == plain:
		name := path.Join(listsDir, plain)
		err = readFile(op, fsys, name, func(r io.Reader) (err error) {
			if v == nil {
				rel, err = ParseRelease("/"+name, r, o.Limits)
				return err
			}
			return readFile(op, fsys, name+".gpg", func(sig io.Reader) (err error) {
				rel, err = OpenRelease("/"+name, r, sig, v, o.Limits)
				return err
			})
		})
	}
	if err != nil {
		return nil, false, err
	}
	if rel != nil && src.CheckValidUntil && !o.Now.IsZero() {
		if err := rel.Expired(o.Now); err != nil {
			return nil, false, err
		}
	}
	return rel, v != nil, nil
}

// readIndex reads one index, checked against rel where that is asked for.
func readIndex(fsys fs.FS, o *Options, check bool, rel *Release, name, listed string, keep func([]byte) bool, take func(Package) error) error {
	return readFile("apt.ReadHost", fsys, name, func(r io.Reader) error {
		z, err := Decompress("/"+name, r, o.Limits)
		if err != nil {
			return err
		}
		defer z.Close()
		plain := io.Reader(z)
		if check && rel != nil {
			if plain, err = rel.Check(listed, plain); err != nil {
				return err
			}
		}
		return ReadPackages("/"+name, plain, keep, take, o.Limits)
	})
}

// times notes when dpkg wrote the file list of each installed package, which is when it was installed.
func (h *Host) times(fsys fs.FS) {
	for i := range h.Status {
		p := &h.Status[i]
		if !p.Installed() {
			continue
		}
		for _, n := range [...]string{p.Name, p.Name + ":" + p.Arch} {
			if fi, err := fs.Stat(fsys, "var/lib/dpkg/info/"+n+".list"); err == nil {
				h.installedAt[slot{p.Name, p.Arch}] = fi.ModTime().UTC()
				break
			}
		}
	}
}

// Installed returns the installed packages as Evaluate takes them, by name and architecture. Priority and section are those of the
// status file.
func (h *Host) Installed() []patch.Installed {
	var all []patch.Installed
	for i := range h.Status {
		p := &h.Status[i]
		if !p.Installed() {
			continue
		}
		in := patch.Installed{Name: p.Name, Arch: p.Arch, Version: p.Version, Held: p.Held(), Priority: p.Priority, Section: p.Section,
			InstalledAt: h.installedAt[slot{p.Name, p.Arch}]}
		for _, r := range p.Requires {
			in.Requires = append(in.Requires, r.Name)
		}
		all = append(all, in)
	}
	slices.SortFunc(all, func(a, b patch.Installed) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Arch, b.Arch)
	})
	return all
}

// Available returns what apt would install: for each decision the candidate, once for every archive that has it. Other versions are not
// among them, since neither apt nor Patch Manager takes them (N5: the candidate itself must be in a security archive). A candidate
// that is installed and in no archive gives nothing. Where a candidate has another architecture than the installed package ("all" for
// "amd64"), it is given that of the installed one, so that the two are seen as one package.
func (h *Host) Available() []patch.Available {
	var all []patch.Available
	for i := range h.Decisions {
		d := &h.Decisions[i]
		if d.Candidate == nil {
			continue
		}
		c := d.Candidate
		arch := c.Arch
		if d.Installed != nil {
			arch = d.Installed.Arch
		}
		for _, a := range c.Archives {
			av := patch.Available{Name: c.Name, Arch: arch, Version: c.Version, Repo: a.ID, Security: a.Security(),
				Priority: c.Package.Priority, Section: c.Section, Pin: c.Priority, Requires: c.Requires}
			if c.Source != c.Name {
				av.Source = c.Source
			}
			all = append(all, av)
		}
	}
	return all
}

// Decision returns the decision on a package by name, and by architecture where several are installed; "" takes the first.
func (h *Host) Decision(name, arch string) (*Decision, bool) {
	i, ok := slices.BinarySearchFunc(h.Decisions, slot{name, arch}, func(d Decision, k slot) int {
		if c := strings.Compare(d.Name, k.name); c != 0 {
			return c
		}
		return strings.Compare(d.Arch, k.arch)
	})
	if !ok && (arch != "" || i == len(h.Decisions) || h.Decisions[i].Name != name) {
		return nil, false
	}
	return &h.Decisions[i], true
}
