package patchbaseline

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/rpm"
)

// zypperManager is zypper.
type zypperManager struct{ rpmBase }

func newZypper(t *tools) (*zypperManager, error) {
	base, err := newRpmBase(t)
	if err != nil {
		return nil, err
	}
	if !t.has("zypper") {
		return nil, fault.New("patchbaseline.Rpm", fault.UnsupportedOperation, "zypper is not on this machine, or not in PATH")
	}
	return &zypperManager{base}, nil
}

// The exit codes of zypper(8) that tell something.
const (
	zypperLocked    = 7
	zypperReboot    = 102
	zypperRestart   = 103
	zypperSkipped   = 106 // some repositories were left out
	zypperNoPackage = 104
)

func (m *zypperManager) argv(args ...string) []string {
	argv := []string{"zypper", "--non-interactive"}
	if m.home != "" {
		argv = append(argv, "--root", m.tree.dir)
	}
	if m.alt != nil {
		argv = append(argv, "--reposd-dir", m.alt.inside+"/repos", "--cache-dir", m.alt.inside+"/cache", "--raw-cache-dir", m.alt.inside+"/raw", "--solv-cache-dir", m.alt.inside+"/solv")
	}
	return append(argv, args...)
}

// do runs a command of zypper once nobody else is at work.
func (m *zypperManager) do(ctx context.Context, p program) (out output, err error) {
	began := false
	perr := m.poll(ctx, "zypper or rpm", func() string {
		if holder := m.locked(); holder != "" {
			return holder
		}
		began = true
		if out, err = m.start(ctx, p); err == nil && out.code == zypperLocked {
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
func (m *zypperManager) Refresh(ctx context.Context) error {
	out, err := m.do(ctx, program{argv: m.argv("--quiet", "refresh"), env: m.env(), limit: m.o.Fetch})
	if err == nil && out.code != 0 {
		err = fault.New("patchbaseline.Refresh", fault.InternalServerError, "zypper refresh ended with code %d: %s", out.code, said(out))
	}
	return err
}

// Read implements Manager.
func (m *zypperManager) Read(ctx context.Context, names []string) (*Machine, error) {
	installed, err := m.installed(ctx)
	if err != nil {
		return nil, err
	}
	text, err := m.tree.readText("etc/zypp/locks")
	if err != nil {
		return nil, fault.New("patchbaseline.Read", fault.Validation, "/etc/zypp/locks cannot be read")
	}
	for _, l := range zypperLocks(text) {
		for i := range installed {
			if ok, err := path.Match(l, installed[i].Name); ok && err == nil {
				installed[i].Held = true
			}
		}
	}
	sources, err := m.configured(nil, "etc/zypp/repos.d")
	if err != nil {
		return nil, err
	}
	out := &Machine{}
	return out, m.offered(installed, names, sources, func(s rpm.Source) string {
		dir := path.Join("var/cache/zypp/raw", s.ID)
		if m.alt != nil {
			dir = path.Join("raw", s.ID)
		}
		if _, err := fs.Stat(m.repositories(), path.Join(dir, "repodata/repomd.xml")); err != nil {
			return ""
		}
		return dir
	}, out)
}

// zypperLocks returns the names, or patterns of names, of packages that are locked.
func zypperLocks(text string) (out []string) {
	for block := range strings.SplitSeq(text, "\n\n") {
		name, kind := "", "package"
		for line := range strings.Lines(block) {
			key, v, _ := strings.Cut(strings.TrimSpace(line), ":")
			switch v = strings.TrimSpace(v); key {
			case "solvable_name":
				name = v
			case "type":
				kind = v
			}
		}
		if name != "" && kind == "package" {
			out = append(out, name)
		}
	}
	return out
}

// Install implements Manager.
func (m *zypperManager) Install(ctx context.Context, steps []patch.Step, refused func(patch.Available) bool) (map[patch.Key]string, error) {
	why := map[patch.Key]string{}
	argv := func(dry bool, steps []patch.Step) []string {
		args := []string{"install", "--no-recommends", "--no-force-resolution", "--auto-agree-with-licenses"}
		if dry {
			args = append([]string{"--xmlout"}, append(args, "--dry-run")...)
		}
		for _, s := range steps {
			args = append(args, s.Name+"."+m.arch(s)+"="+s.To)
		}
		return m.argv(args...)
	}
	fine := []int{zypperReboot, zypperRestart, zypperSkipped}
	simulate := func(ctx context.Context, steps []patch.Step) (refusal, error) {
		out, err := m.do(ctx, program{argv: argv(true, steps), env: m.env(), limit: m.o.Query})
		switch {
		case err != nil:
			return refusal{}, err
		case out.code != 0 && !slices.Contains(fine, out.code):
			return refusal{"zypper cannot do it: " + zypperReason(out), string(out.stdout)}, nil
		}
		t, err := parseZypper(out.stdout)
		if err != nil {
			return refusal{}, err
		}
		for _, n := range t.gone {
			if !slices.ContainsFunc(steps, func(s patch.Step) bool {
				return slices.ContainsFunc(s.Replaces, func(r string) bool { name, _, _ := cutLast(r, "."); return name == n })
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
	out, err := m.do(ctx, program{argv: argv(false, can), env: m.env(), limit: m.o.Transaction, lasting: true})
	m.show(out)
	if err == nil && out.code != 0 && !slices.Contains(fine, out.code) {
		for _, s := range can {
			why[s.Key] = fmt.Sprintf("zypper ended with code %d: %s", out.code, zypperReason(out))
		}
	}
	return why, err
}

// zypperReason is why zypper will not do something.
func zypperReason(out output) string {
	var parts []string
	for line := range strings.Lines(string(out.stdout)) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "nothing provides") || strings.Contains(line, "conflicts with") || strings.Contains(line, "requires") || out.code == zypperNoPackage && strings.Contains(line, "not found") {
			if parts = append(parts, line); len(parts) == 3 {
				break
			}
		}
	}
	if len(parts) > 0 {
		return fault.Clean(strings.Join(parts, "; "))
	}
	return said(out)
}

// parseZypper reads the summary of a transaction in zypper's XML.
func parseZypper(text []byte) (t transaction, err error) {
	section := ""
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return t, fault.New("patchbaseline.Zypper", fault.InternalServerError, "what zypper would do cannot be read from its answer")
		}
		el, ok := tok.(xml.StartElement)
		switch {
		case !ok:
		case el.Name.Local == "install-summary":
			t.whole = true
		case strings.HasPrefix(el.Name.Local, "to-"):
			section = el.Name.Local
		case el.Name.Local == "solvable":
			attr := map[string]string{}
			for _, a := range el.Attr {
				attr[a.Name.Local] = a.Value
			}
			switch {
			case attr["type"] != "" && attr["type"] != "package":
			case section == "to-remove":
				t.gone = append(t.gone, attr["name"])
			default:
				t.comes = append(t.comes, patch.Available{Name: attr["name"], Arch: attr["arch"], Version: attr["edition"]})
			}
		}
	}
}

// RebootRequired implements Manager.
func (m *zypperManager) RebootRequired(ctx context.Context) (bool, error) {
	if m.home != "" {
		return m.needsRestarting(ctx)
	}
	out, err := m.run(ctx, program{argv: m.argv("needs-rebooting"), env: m.env(), limit: m.o.Query, ok: []int{zypperReboot}})
	return out.code == zypperReboot, err
}
