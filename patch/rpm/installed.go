package rpm

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/patch"
)

// QueryFormat is the format for which ReadInstalled reads the output: rpm -qa --qf QueryFormat. One line a package, its fields set
// apart by the unit separator, the last one a mark that the line is whole.
const QueryFormat = "%{NAME}\x1f%|EPOCH?{%{EPOCH}}:{0}|\x1f%{VERSION}\x1f%{RELEASE}\x1f%|ARCH?{%{ARCH}}:{}|\x1f%|INSTALLTIME?{%{INSTALLTIME}}:{0}|\x1f%|BUILDTIME?{%{BUILDTIME}}:{0}|\x1f[%{REQUIRENAME}\x1e]\x1f[%{PROVIDENAME}\x1e]\x1f.\n"

// Installed is one installed package, and what rpm knows of it beyond what the decision needs.
type Installed struct {
	patch.Installed
	Built    time.Time
	Provides []string // names of capabilities
	needs    []string // names of capabilities
}

// ReadInstalled reads what rpm -qa --qf QueryFormat printed and returns the packages by name, architecture and version, those that are no
// packages (gpg-pubkey) left out. Requires holds the names of installed packages that provide what the package needs. Lines
// that do not have the fields of the format are errors, so that a truncated output is not taken for a shorter list.
func ReadInstalled(file string, r io.Reader, lim *Limits) ([]Installed, error) {
	const op = "rpm.ReadInstalled"
	l := lim.orDefault()
	in := bufio.NewReaderSize(r, 64<<10)
	shared := map[string]string{}
	share := func(s string) string {
		if t, ok := shared[s]; ok {
			return t
		}
		s = strings.Clone(s)
		shared[s] = s
		return s
	}
	names := func(s string) []string {
		var all []string
		for n := range strings.SplitSeq(s, "\x1e") {
			if n != "" && !strings.HasPrefix(n, "rpmlib(") {
				if n = share(n); !slices.Contains(all, n) {
					all = append(all, n)
				}
			}
		}
		return all
	}
	var all []Installed
	var total int64
	for line := 1; ; line++ {
		text, err := readLine(in, l.Token)
		if total += int64(len(text)); total > l.Total {
			return nil, tooBig(op, file, line, "the output is longer than %d bytes", l.Total)
		}
		if err == errLong {
			return nil, tooBig(op, file, line, "a line is longer than %d bytes", l.Token)
		}
		if err != nil && err != io.EOF {
			return nil, wrap(op, file, line, err)
		}
		if text = strings.TrimRight(text, "\r\n"); text != "" {
			f := strings.Split(text, "\x1f")
			if len(f) != 10 || f[9] != "." {
				return nil, bad(op, file, line, "the line does not have the ten fields of the query, or is cut off")
			}
			installed, err1 := strconv.ParseInt(f[5], 10, 64)
			built, err2 := strconv.ParseInt(f[6], 10, 64)
			_, err3 := strconv.ParseUint(f[1], 10, 32)
			if f[0] == "" || f[2] == "" || f[3] == "" || err1 != nil || err2 != nil || err3 != nil {
				return nil, bad(op, file, line, "a package has no name, version or release, or a time or an epoch that is no number")
			}
			if f[0] != "gpg-pubkey" {
				p := Installed{Installed: patch.Installed{Name: strings.Clone(f[0]), Arch: share(f[4]), Version: evr(f[1], f[2], f[3])}}
				if installed > 0 {
					p.InstalledAt = time.Unix(installed, 0).UTC()
				}
				if built > 0 {
					p.Built = time.Unix(built, 0).UTC()
				}
				p.needs, p.Provides = names(f[7]), names(f[8])
				all = append(all, p)
			}
		}
		if err == io.EOF {
			break
		}
	}
	resolve(all)
	slices.SortStableFunc(all, func(a, b Installed) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		if c := strings.Compare(a.Arch, b.Arch); c != 0 {
			return c
		}
		return patch.CompareRPM(a.Version, b.Version)
	})
	return all, nil
}

// resolve makes names of packages of what the packages need.
func resolve(all []Installed) {
	by := map[string]string{} // capability -> the first package that provides it
	for i := range all {
		for _, c := range all[i].Provides {
			if _, ok := by[c]; !ok {
				by[c] = all[i].Name
			}
		}
	}
	for i := range all {
		p := &all[i]
		for _, c := range p.needs {
			if n, ok := by[c]; ok && n != p.Name && !slices.Contains(p.Requires, n) {
				p.Requires = append(p.Requires, n)
			}
		}
		slices.Sort(p.Requires)
	}
}

var errLong = strconv.ErrRange

// readLine reads a line with its end, of at most limit bytes.
func readLine(in *bufio.Reader, limit int) (string, error) {
	var b []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(b)+len(part) > limit {
			return "", errLong
		}
		b = append(b, part...)
		if err != bufio.ErrBufferFull {
			return string(b), err
		}
	}
}

// Keep returns a function for RepoOptions.Keep that accepts the installed names and the extra ones.
func Keep(installed []Installed, extra ...string) func(name []byte) bool {
	names := make(map[string]bool, len(installed)+len(extra))
	for i := range installed {
		names[installed[i].Name] = true
	}
	for _, n := range extra {
		names[n] = true
	}
	return func(name []byte) bool { return names[string(name)] }
}
