package patch

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

const dateLayout = "2006-01-02"

// maxDays is far beyond AWS's 360 and keeps dates within what a time can hold.
const maxDays = 100_000

// plan is a baseline made ready for one evaluation. It holds memos, so it belongs to one goroutine.
type plan struct {
	b        *Baseline
	os       OperatingSystem
	family   Family
	node     NodeFacts
	opts     Options
	now      time.Time
	today    int64
	global   group
	rules    []rule
	approved names
	rejected names
	noInfo   bool // N3
	match    matcher
}

type group []filter

// filter is a Filter with its last answer: neighbours in a list mostly have the same property.
type filter struct {
	key    FilterKey
	values []string
	any    bool
	medium bool // F7: Medium also takes Moderate
	loose  bool // spaces do not count: Windows Update writes "Security Updates", baselines SecurityUpdates, and of products both
	known  bool
	last   string
	answer bool
}

type rule struct {
	filters   group
	level     Level
	days      int64
	until     int64
	bounded   bool // by until
	nonsec    bool
	immediate bool // dates do not count (A6)
}

func day(t time.Time) int64 {
	s := t.Unix()
	d := s / 86400
	if s%86400 < 0 {
		d--
	}
	return d
}

func compile(b *Baseline, node NodeFacts, now time.Time, opts Options) (*plan, error) {
	const op = "patch.Evaluate"
	os := b.System()
	f := os.Family()
	if f == FamilyUnknown {
		return nil, fault.New(op, fault.Validation, "%q is no operating system of a baseline", fault.Clean(string(os)))
	}
	if node.OperatingSystem != "" && node.OperatingSystem != os {
		return nil, fault.New(op, fault.Validation, "the baseline is for %s, the node runs %s: choose a baseline of the node's operating system",
			os, fault.Clean(string(node.OperatingSystem)))
	}
	p := &plan{b: b, os: os, family: f, node: node, opts: opts, now: now, today: day(now)}
	p.global = p.compileGroup(b.GlobalFilters)
	p.rules = make([]rule, len(b.Rules))
	for i := range b.Rules {
		r := &b.Rules[i]
		c := rule{filters: p.compileGroup(r.Filters), level: orUnspecified(r.Level), nonsec: r.EnableNonSecurity}
		switch {
		case f == FamilyApt:
			c.immediate = true
		case r.ApproveAfterDays != nil && r.ApproveUntilDate != "":
			return nil, fault.New(op, fault.Validation, "rule %d has both ApproveAfterDays and ApproveUntilDate: choose one", i+1)
		case r.ApproveAfterDays != nil:
			c.days = int64(*r.ApproveAfterDays)
			if c.days < 0 || c.days > maxDays {
				return nil, fault.New(op, fault.Validation, "rule %d: ApproveAfterDays %d is not between 0 and 360", i+1, c.days)
			}
		case r.ApproveUntilDate != "":
			d, err := time.Parse(dateLayout, r.ApproveUntilDate)
			if err != nil {
				return nil, fault.New(op, fault.Validation, "rule %d: ApproveUntilDate %q is no date of the form YYYY-MM-DD", i+1, fault.Clean(r.ApproveUntilDate))
			}
			c.until, c.bounded = day(d), true
		default:
			return nil, fault.New(op, fault.Validation, "rule %d has neither ApproveAfterDays nor ApproveUntilDate: choose one", i+1)
		}
		p.rules[i] = c
	}
	p.approved = compileNames(f, b.ApprovedPatches, true)
	p.rejected = compileNames(f, b.RejectedPatches, false)
	return p, nil
}

func orUnspecified(l Level) Level {
	if l == "" {
		return LevelUnspecified
	}
	return l
}

func (p *plan) compileGroup(g FilterGroup) group {
	out := make(group, len(g))
	for i, f := range g {
		c := filter{key: f.Key, values: f.Values, loose: p.family == FamilyWindows}
		for _, v := range f.Values {
			if v == "*" {
				c.any = true
			}
			if f.Key == KeySeverity && (p.os == AmazonLinux2022 || p.os == AmazonLinux2023) && strings.EqualFold(v, "Medium") {
				c.medium = true
			}
		}
		out[i] = c
	}
	return out
}

// accepts says whether every filter accepts the offer: one version of a package with one of its notices, or without any (F2).
// missing is the index of the first filter that does not.
func (p *plan) accepts(g group, a *Available, n *Advisory) (ok bool, missing int) {
	for i := range g {
		if !p.takes(&g[i], a, n) {
			return false, i
		}
	}
	return true, -1
}

func (p *plan) takes(f *filter, a *Available, n *Advisory) bool {
	if f.any {
		return true
	}
	switch f.key {
	case KeyCVEID:
		if n == nil {
			return a.Update != nil && anyEqual(f, a.Update.CVEs)
		}
		return anyEqual(f, n.CVEs)
	case KeyBugzillaID:
		return n != nil && anyEqual(f, n.Bugzilla)
	}
	v := p.property(f.key, a, n)
	if f.known && f.last == v {
		return f.answer
	}
	f.known, f.last, f.answer = true, v, f.equals(v)
	return f.answer
}

func anyEqual(f *filter, list []string) bool {
	for _, v := range list {
		if f.equals(v) {
			return true
		}
	}
	return false
}

// equals compares with each value; a property that the patch does not have equals none (N2).
func (f *filter) equals(v string) bool {
	if v == "" {
		return false
	}
	for _, w := range f.values {
		if strings.EqualFold(v, w) || f.loose && strings.EqualFold(strings.ReplaceAll(v, " ", ""), strings.ReplaceAll(w, " ", "")) {
			return true
		}
	}
	return f.medium && strings.EqualFold(v, "Moderate")
}

func (p *plan) property(k FilterKey, a *Available, n *Advisory) string {
	u := a.Update
	switch k {
	case KeyProduct: // F4
		if p.family == FamilyWindows && u != nil && u.Product != "" {
			return u.Product
		}
		return p.node.Product
	case KeyProductFamily:
		if u != nil && u.ProductFamily != "" {
			return u.ProductFamily
		}
		return p.node.ProductFamily
	case KeyClassification:
		if u != nil {
			return u.Classification
		}
		if n != nil {
			return n.Type
		}
	case KeySeverity:
		if n != nil {
			return n.Severity
		}
	case KeyMSRCSeverity:
		if u != nil {
			return cmp.Or(u.MSRCSeverity, "Unspecified") // as Windows Update leaves it empty
		}
	case KeyPatchSet:
		return patchSet(a)
	case KeyPriority:
		return a.Priority
	case KeySection:
		return a.Section
	case KeyName:
		return a.Name
	case KeyArch:
		return a.Arch
	case KeyRepository:
		return a.Repo
	case KeyVersion:
		v := withoutEpoch(a.Version)
		if i := strings.LastIndexByte(v, '-'); i >= 0 {
			v = v[:i]
		}
		return v
	case KeyRelease:
		if i := strings.LastIndexByte(a.Version, '-'); i >= 0 {
			return a.Version[i+1:]
		}
	case KeyEpoch:
		if e := len(a.Version) - len(withoutEpoch(a.Version)); e > 0 {
			return a.Version[:e-1]
		}
		return "0"
	case KeyAdvisoryID:
		if n != nil {
			return n.ID
		}
	case KeyPatchID:
		if n != nil {
			return n.ID
		}
		return a.Name
	case KeySecurity:
		return strconv.FormatBool(p.secure(a, n))
	}
	return ""
}

func patchSet(a *Available) string {
	if a.Update == nil || a.Update.PatchSet == "" {
		return "OS"
	}
	return a.Update.PatchSet
}

// names a PATCH_SET filter? A rule without one is about the operating system alone (section 11).
func (g group) names(k FilterKey) bool {
	for i := range g {
		if g[i].key == k {
			return true
		}
	}
	return false
}

// noticed says whether n makes its packages candidates while non-security patches are off (N1): only a notice with
// classification, severity and date does; a SUSE patch always does (N8).
func (p *plan) noticed(n *Advisory) bool {
	if n == nil {
		return false
	}
	return p.family == FamilyZypper || n.Type != "" && n.Severity != "" && !n.dated().IsZero()
}

func (n *Advisory) dated() time.Time {
	if !n.Updated.IsZero() {
		return n.Updated
	}
	return n.Issued
}

// secure says whether the offer passes a rule or a list that keeps non-security patches out, seen alone; for apt one security archive that
// offers the same version is enough, which the caller knows (N7).
func (p *plan) secure(a *Available, n *Advisory) bool {
	switch p.family {
	case FamilyYum, FamilyZypper:
		return p.noticed(n)
	case FamilyApt:
		return a.Security
	}
	return true
}

// date is the date of A1 to A7 and where it comes from; zero means that no date bounds the patch.
func (p *plan) date(a *Available, n *Advisory) (t time.Time, from string) {
	if a.Update != nil {
		if a.Update.Released.IsZero() {
			return time.Time{}, "no date"
		}
		return a.Update.Released, "release"
	}
	if n != nil && !n.Updated.IsZero() {
		return n.Updated, "updated"
	}
	if n != nil && !n.Issued.IsZero() {
		return n.Issued, "issued"
	}
	if !a.Built.IsZero() {
		return a.Built, "build time"
	}
	return time.Time{}, "no date"
}

// due is the first instant at which the rule's date condition holds: zero for always, ok false for never.
func (p *plan) due(r *rule, a *Available, n *Advisory) (at time.Time, ok bool) {
	if r.immediate {
		return time.Time{}, true
	}
	t, _ := p.date(a, n)
	if t.IsZero() {
		return time.Time{}, true
	}
	if r.bounded {
		return time.Time{}, day(t) <= r.until
	}
	if p.opts.Exact {
		return t.Add(time.Duration(r.days) * 24 * time.Hour), true
	}
	return time.Unix((day(t)+r.days)*86400, 0).UTC(), true
}

func (p *plan) old(r *rule, a *Available, n *Advisory) bool {
	if r.immediate {
		return true
	}
	at, ok := p.due(r, a, n)
	return ok && !p.now.Before(at)
}

// inScope says whether rule r speaks of the patch set of a at all.
func (p *plan) inScope(r *rule, a *Available) bool {
	return p.family != FamilyWindows || r.filters.names(KeyPatchSet) || p.global.names(KeyPatchSet) || patchSet(a) == "OS"
}
