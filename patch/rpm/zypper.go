package rpm

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// ZypperUpdate is one entry of what zypper lists: a patch (list-patches) or a package (list-updates).
type ZypperUpdate struct {
	Kind       string // "patch" or "package"
	Name       string // "SUSE-SLE-Module-Basesystem-15-SP5-2024-1" or a package
	Edition    string // version of the patch, or "[epoch:]version-release" of the package
	EditionOld string // what is installed; empty for patches
	Arch       string
	Summary    string
	Repo       string // alias of the repository

	Status         string // patches: "needed", "not-needed", "applied", "optional", "undecided", "unwanted", "retracted"
	Category       string // patches: "security", "recommended", "optional" …
	Severity       string // patches: "critical", "important", "moderate", "low", "unspecified" …
	PackageManager bool   // the patch concerns zypper itself: it is installed first, and alone
	Restart        bool   // the machine wants to be restarted afterwards
	Interactive    bool   // zypper patch --non-interactive leaves it out
	Issued         time.Time
	CVEs           []string
	Bugzilla       []string
}

// ZypperReport is what "zypper --xmlout list-patches" and "list-updates" print.
type ZypperReport struct {
	Updates []ZypperUpdate
	// Warnings are the messages of that kind, made safe to print.
	Warnings []string
}

// ReadZypper reads the XML output of zypper list-patches (lp, with --all for those that are not needed too) or list-updates (lu). An
// output that holds a message of kind error, that is cut off, or that lists no updates at all because the command was another one
// ("zypper patches" prints a table), is an error.
func ReadZypper(file string, r io.Reader, lim *Limits) (*ZypperReport, error) {
	const op = "rpm.ReadZypper"
	x := newXML(op, file, r, lim)
	if !x.root("stream") {
		return nil, x.err
	}
	rep := &ZypperReport{}
	listed := false
	var failed []string
	x.children(func(name string) {
		switch name {
		case "message":
			switch x.attr("type") {
			case "error":
				failed = append(failed, fault.Clean(strings.TrimSpace(x.content())))
			case "warning":
				rep.Warnings = append(rep.Warnings, fault.Clean(strings.TrimSpace(x.content())))
			}
		case "update-status":
			listed = true
			x.children(func(name string) {
				// blocked-update-list holds what an update of zypper itself hides until it is done.
				if name != "update-list" && name != "blocked-update-list" {
					return
				}
				x.children(func(name string) {
					if name == "update" {
						rep.update(x)
					}
				})
			})
		}
	})
	x.finish()
	if x.err != nil {
		return nil, x.err
	}
	if len(failed) > 0 {
		return nil, fault.New(op, fault.ServiceUnavailable, "%s: zypper says: %s", fault.Clean(file), strings.Join(failed, " "))
	}
	if !listed {
		return nil, bad(op, file, 0, "there is no list of updates: run zypper --xmlout list-patches or list-updates")
	}
	return rep, nil
}

func (rep *ZypperReport) update(x *xmlReader) {
	line := x.at
	u := ZypperUpdate{Kind: x.attr("kind"), Name: x.attr("name"), Edition: x.attr("edition"), EditionOld: x.attr("edition-old"), Arch: x.attr("arch"),
		Status: x.attr("status"), Category: x.attr("category"), Severity: x.attr("severity"), PackageManager: x.attr("pkgmanager") == "true",
		Restart: x.attr("restart") == "true", Interactive: x.attr("interactive") == "true"}
	var n Notice
	x.children(func(name string) {
		switch name {
		case "summary":
			u.Summary = x.content()
		case "source":
			u.Repo = x.attr("alias")
		case "issue-date":
			if s, err := strconv.ParseInt(x.attr("time_t"), 10, 64); err == nil && s > 0 && s < 1<<38 {
				u.Issued = time.Unix(s, 0).UTC()
			}
		case "issue-list":
			x.children(func(name string) {
				if name == "issue" {
					n.reference(x.attr("type"), x.attr("id"))
				}
			})
		}
	})
	if x.err != nil {
		return
	}
	if u.Name == "" || u.Kind == "" {
		x.err = bad(x.op, x.file, line, "an update has no name or kind")
		return
	}
	u.CVEs, u.Bugzilla = n.CVEs, n.Bugzilla
	rep.Updates = append(rep.Updates, u)
}

// Advisory returns the patch as the decision takes it. zypper prints one date, the last one.
func (u *ZypperUpdate) Advisory() patch.Advisory {
	return patch.Advisory{ID: u.Name, Type: u.Category, Severity: u.Severity, Title: u.Summary, Issued: u.Issued, Updated: u.Issued,
		CVEs: u.CVEs, Bugzilla: u.Bugzilla, RebootSuggested: u.Restart}
}

// ZypperQuery returns the arguments of zypper for the output that ReadZypper reads: every patch, applied and unneeded ones too.
// The slice is the caller's own.
func ZypperQuery() []string {
	return []string{"--non-interactive", "--xmlout", "list-patches", "--all"}
}

// Needed returns the patches that zypper says are needed, by name.
func (rep *ZypperReport) Needed() map[string]*ZypperUpdate {
	m := map[string]*ZypperUpdate{}
	for i := range rep.Updates {
		if u := &rep.Updates[i]; u.Kind == "patch" && u.Status == "needed" {
			m[u.Name] = u
		}
	}
	return m
}
