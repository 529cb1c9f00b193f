package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// horizon is how far ahead "when" looks: further than any wait that a baseline can ask for.
const horizon = 400 * 24 * time.Hour

// when tells the day on which what mends a CVE, what a notice brings, or the versions of a package are approved.
func (s *scan) when(name string) (int, error) {
	s.explain = name // its lists are read although it may not be installed
	m, b, err := s.machine(s.baseline)
	if err != nil {
		return 0, err
	}
	s.explain = ""
	match := func(a *patch.Available, n *patch.Advisory) bool {
		if a.Name == name || a.Name+"."+a.Arch == name || a.Name+":"+a.Arch == name {
			return true
		}
		return n != nil && (n.ID == name || slices.Contains(n.CVEs, name) || slices.Contains(n.Bugzilla, name))
	}
	// The lists are taken as if they had always been as they are: the first instant at which they approve is what is asked for.
	archive := []patch.Archive{{At: time.Unix(0, 0).UTC(), Available: m.available}}
	found, err := patch.Sweep(b, m.node, archive, s.instant.Add(horizon), match)
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		if strings.HasPrefix(name, "CVE-") && m.node.OperatingSystem.Family() == patch.FamilyApt {
			return 0, fmt.Errorf("the lists of %s name no CVE ids: ask for the package that mends it", m.node.OperatingSystem)
		}
		return 0, fmt.Errorf("nothing on offer is, or names, %q", name)
	}
	code := exitCompliant
	for i := range found {
		if a := &found[i]; a.Approved.IsZero() || a.Approved.After(s.instant) {
			code = exitNot
		}
	}
	for _, n := range m.notes {
		fmt.Fprintf(s.stderr, "patchscan: %s\n", fault.Clean(n))
	}
	if s.json {
		return code, s.print(found)
	}
	t := newTable(s.stdout, "PACKAGE", "VERSION", "NOTICE", "DATE", "APPROVED")
	for i := range found {
		a := &found[i]
		t.row(a.Key.String(), a.Version, a.Advisory, strings.Join(a.Dates, ", "), s.approval(a))
	}
	return code, t.end()
}

func (s *scan) approval(a *patch.Approval) string {
	switch {
	case a.Approved.IsZero():
		return "never: patchscan -explain " + a.Name + " tells why"
	case a.Approved.Equal(a.Seen):
		return "at once"
	case a.Approved.After(s.instant):
		days := int(a.Approved.Sub(s.instant)/(24*time.Hour)) + 1
		return fmt.Sprintf("%s, in %d days", a.Approved.Format(time.DateOnly), days)
	}
	return a.Approved.Format(time.DateOnly)
}

// diff tells where two baselines differ, and with -effect what that changes on the machine.
func (s *scan) diff(from, to string) (int, error) {
	if from == "-" && to == "-" {
		return 0, fmt.Errorf("only one of the baselines can be the standard input")
	}
	a, err := s.load(from, "")
	if err != nil {
		return 0, err
	}
	b, err := s.load(to, "")
	if err != nil {
		return 0, err
	}
	differences, err := patch.Diff(a, b)
	if err != nil {
		return 0, err
	}
	differences = slices.DeleteFunc(differences, func(d patch.Difference) bool { // which of the two it is, not what it says
		return d.Path == "$.BaselineId" || d.Path == "$.CreatedDate" || d.Path == "$.ModifiedDate"
	})
	code := exitCompliant
	if len(differences) > 0 {
		code = exitNot
	}
	var changes []patch.Change
	if s.effect {
		m, err := s.identify()
		if err != nil {
			return 0, err
		}
		both := *a // so that what either approves by name is read
		both.ApprovedPatches = slices.Concat(a.ApprovedPatches, b.ApprovedPatches)
		if err := s.fill(m, &both); err != nil {
			return 0, err
		}
		x, err := s.evaluate(a, m)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", from, err)
		}
		y, err := s.evaluate(b, m)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", to, err)
		}
		changes = patch.Compare(x, y)
	}
	if s.json {
		type form struct {
			Differences []patch.Difference `json:"differences"`
			Changes     []patch.Change     `json:"changes,omitempty"`
		}
		return code, s.print(form{append([]patch.Difference{}, differences...), changes})
	}
	t := newTable(s.stdout, "PATH", "FROM", "TO")
	for _, d := range differences {
		t.row(d.Path, d.From, d.To)
	}
	if err := t.end(); err != nil {
		return 0, err
	}
	if s.effect {
		t := newTable(s.stdout, "PACKAGE", "STATE", "BECOMES", "WANTED", "BECOMES")
		for _, c := range changes {
			t.row(c.Key.String(), string(c.From), string(c.To), c.FromWanted, c.ToWanted)
		}
		if err := t.end(); err != nil {
			return 0, err
		}
		fmt.Fprintf(s.stdout, "%d packages change\n", len(changes))
	}
	return code, nil
}
