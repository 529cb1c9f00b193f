package patch

import (
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Operation is AWS's PatchOperationType.
type Operation string

// The operations. A Scan never installs nor reboots (E8, W4).
const (
	Scan    Operation = "Scan"
	Install Operation = "Install"
)

// RebootOption says when an Install ends with a reboot.
type RebootOption string

// The options; the zero value means RebootIfNeeded, as on AWS.
const (
	// RebootIfNeeded reboots when the run installed anything, or found anything that waits for a reboot. Whether the
	// system needs it is not asked (W1).
	RebootIfNeeded RebootOption = "RebootIfNeeded"
	// NoReboot never reboots (W2).
	NoReboot RebootOption = "NoReboot"
	// RebootIfRequired is ours: it reboots only when the machine itself says that it needs to.
	RebootIfRequired RebootOption = "RebootIfRequired"
)

// Step is one package that an Install is to put on the node.
type Step struct {
	Key
	From string `json:"from,omitempty"` // installed version, empty when nothing is
	To   string `json:"to"`             // exactly this version
	Repo string `json:"repo,omitempty"`
	Why  string `json:"why,omitempty"` // of a step that is left out

	Replaces []string `json:"replaces,omitempty"` // installed packages that go when it comes, as Key.String names them
}

// Plan is what an Install does to a node.
type Plan struct {
	Steps    []Step // by name and architecture
	LeftOut  []Step // approved or listed, but held by the machine, blocked by a rejected package (R4) or by the list itself (O5): they end as Failed
	Pending  bool   // something waits for a reboot already (W1)
	Override bool   // made from an InstallOverrideList
}

// Plan says what an Install does: the missing patches in the version that is wanted, or with a list exactly the installed packages that the list
// names, in the newest version that it allows and never an older one (O1).
func (r *Result) Plan(list OverrideList) *Plan {
	p := &Plan{Override: list != nil}
	for i := range r.Patches {
		x := &r.Patches[i]
		p.Pending = p.Pending || x.State == StateInstalledPendingReboot
		rejectedButNewer := x.State == StateInstalledRejected && x.Wanted != ""
		if list != nil || x.State != StateMissing && !rejectedButNewer {
			continue
		}
		p.add(Step{Key: x.Key, From: x.Installed, To: x.Wanted, Repo: x.Repo, Replaces: x.Replaces}, x)
	}
	if list != nil {
		r.planList(p, list)
	}
	return p
}

func (p *Plan) add(s Step, x *Patch) {
	switch {
	case x != nil && x.Held:
		s.Why = "held: the machine's own package manager is told to leave it alone"
	case x != nil && x.BlockedBy != "" && !p.Override:
		s.Why = "it needs " + x.BlockedBy + ", which is rejected with BLOCK"
	default:
		p.Steps = append(p.Steps, s)
		return
	}
	p.LeftOut = append(p.LeftOut, s)
}

func (r *Result) planList(p *Plan, list OverrideList) {
	in := r.in
	f := r.OperatingSystem.Family()
	e := &evaluation{plan: &plan{family: f}, input: in}
	for n := range in.index.sets {
		g := &in.index.sets[n]
		inst := e.newest(g)
		best := int32(-1)
		for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
			a := &in.available[i]
			if best >= 0 && !e.prefer(i, best) || !slices.ContainsFunc(list, func(o OverrideEntry) bool { return o.Matches(f, a) }) {
				continue
			}
			switch {
			case inst < 0 && !(f == FamilyWindows || f == FamilyMacOS && a.Update != nil && strings.EqualFold(a.Update.Classification, "softwareupdate")):
				continue // a list brings patches to what is there
			case inst < 0 && a.Update != nil && a.Update.NotApplicable:
				continue
			case inst >= 0 && (f == FamilyWindows || f.Compare(in.installed[inst].Version, a.Version) >= 0):
				continue
			}
			best = i
		}
		if best < 0 {
			continue
		}
		a := &in.available[best]
		s := Step{Key: Key{a.Name, a.Arch}, To: a.Version, Repo: a.Repo}
		if inst >= 0 {
			s.Arch, s.From = in.installed[inst].Arch, in.installed[inst].Version
		}
		p.add(s, r.Find(s.Key))
	}
	r.clashes(p)
	byKey := func(a, b Step) int { return a.Key.compare(b.Key) }
	slices.SortFunc(p.Steps, byKey)
	slices.SortFunc(p.LeftOut, byKey)
}

// clashes leaves out what needs another version of a package than the one that the list brings (O5).
func (r *Result) clashes(p *Plan) {
	f := r.OperatingSystem.Family()
	for changed := true; changed; {
		changed = false
		brings := map[string][]string{}
		for _, s := range p.Steps {
			brings[s.Name] = append(brings[s.Name], s.To)
		}
		p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool {
			a := r.offer(s.Key, s.To)
			if a == nil {
				return false
			}
			for _, need := range a.Requires {
				to := brings[need.Name]
				if need.Name == s.Name || len(to) == 0 || slices.ContainsFunc(to, func(v string) bool { return need.satisfies(f, v) }) {
					continue
				}
				s.Why = "it needs another version of " + need.Name + " than " + to[0] + ", which the list brings"
				p.LeftOut = append(p.LeftOut, s)
				changed = true
				return true
			}
			return false
		})
	}
}

// Reboot says whether the machine reboots at the end of an Install that really changed something or not (W1 to W3). required is the
// machine's own word, for RebootIfRequired.
func (p *Plan) Reboot(o RebootOption, changed, required bool) bool {
	switch o {
	case NoReboot:
		return false
	case RebootIfRequired:
		return required
	}
	return changed || p.Pending
}

// Apply returns what would be installed after the plan, each step but those that fail says true for having succeeded. New versions are
// marked as ours and as not yet rebooted into. The list is new; installed is not changed.
func (p *Plan) Apply(installed []Installed, fails func(Step) bool) []Installed {
	out := slices.Clone(installed)
	for _, s := range p.Steps {
		if fails != nil && fails(s) {
			continue
		}
		at := -1
		for i := range out {
			if out[i].Name == s.Name && out[i].Arch == s.Arch && out[i].Version == s.From {
				at = i
			}
		}
		n := Installed{Name: s.Name, Arch: s.Arch, Version: s.To}
		if at < 0 {
			out = append(out, n)
			at = len(out) - 1
		}
		out[at].Version, out[at].ByUs, out[at].SinceBoot, out[at].InstalledAt = s.To, true, true, time.Time{}
		if len(s.Replaces) > 0 {
			out = slices.DeleteFunc(out, func(x Installed) bool { return contains(s.Replaces, Key{x.Name, x.Arch}.String()) })
		}
	}
	return out
}

// Rebooted returns the list as it is after a start of the machine: nothing waits any more (C6).
func Rebooted(installed []Installed) []Installed {
	out := slices.Clone(installed)
	for i := range out {
		out[i].SinceBoot = false
	}
	return out
}

// Settle marks what an Install tried and did not reach: the receiver is the evaluation after the Install, over what is then installed.
// A step whose version is not there is Failed (C3, O6), and so is what was left out of a plan without a list (C12). Counts and compliance follow.
// It returns a new Result.
func (r *Result) Settle(p *Plan) *Result {
	out := *r
	out.Patches = slices.Clone(r.Patches)
	f := r.OperatingSystem.Family()
	fail := func(s Step) {
		x := out.Find(s.Key)
		if x == nil {
			out.Patches = append(out.Patches, Patch{Key: s.Key, State: StateMissing, Level: LevelUnspecified, Wanted: s.To, Repo: s.Repo})
			slices.SortFunc(out.Patches, func(a, b Patch) int { return a.Key.compare(b.Key) })
			x = out.Find(s.Key)
		}
		if x.Installed != "" && (f == FamilyWindows || f.Compare(x.Installed, s.To) >= 0) {
			return // reached
		}
		if x.State != StateMissing {
			x.Wanted, x.Repo = s.To, s.Repo
			if a := r.offer(s.Key, s.To); a != nil {
				noticed(x, a)
			}
		}
		x.State = StateFailed
	}
	for _, s := range p.Steps {
		fail(s)
	}
	for _, s := range p.LeftOut {
		fail(s)
	}
	out.count(r.in.baseline, r.in.opts.NotApplicableLimit)
	return &out
}

func (r *Result) offer(k Key, version string) *Available {
	e := &evaluation{plan: &plan{family: r.OperatingSystem.Family()}, input: r.in}
	return e.offer(k, version)
}

// noticed gives a patch that no rule approved what its notices say.
func noticed(x *Patch, a *Available) {
	for _, n := range a.Advisories {
		x.Advisories = append(x.Advisories, n.ID)
		x.CVEs = append(x.CVEs, n.CVEs...)
		x.Security = x.Security || strings.EqualFold(n.Type, "Security")
		if classRank(n.Type) >= classRank(x.Classification) {
			x.Classification, x.Severity, x.Title = n.Type, n.Severity, n.Title
		}
	}
	slices.Sort(x.Advisories)
	slices.Sort(x.CVEs)
	x.Advisories, x.CVEs = slices.Compact(x.Advisories), slices.Compact(x.CVEs)
}

// Run is what an operation of AWS-RunPatchBaseline is asked to do.
type Run struct {
	Operation    Operation
	RebootOption RebootOption
	List         OverrideList      // InstallOverrideList; a Scan ignores it (O2)
	Override     BaselineOverrides // BaselineOverride; nil for none (B5)
	Hooks        bool              // the document with hooks: Install only, and no list
}

// Check refuses runs that AWS refuses: an unknown operation or reboot option, both overrides at once (B5), a list together with hooks. Nothing is
// scanned then.
func (r *Run) Check() error {
	const op = "patch.Run"
	switch {
	case r.Operation != Scan && r.Operation != Install:
		return fault.New(op, fault.InvalidParameters, "operation %q is none of Scan, Install", fault.Clean(string(r.Operation)))
	case r.RebootOption != "" && r.RebootOption != RebootIfNeeded && r.RebootOption != NoReboot && r.RebootOption != RebootIfRequired:
		return fault.New(op, fault.InvalidParameters, "reboot option %q is none of RebootIfNeeded, NoReboot, RebootIfRequired", fault.Clean(string(r.RebootOption)))
	case r.List != nil && r.Override != nil:
		return fault.New(op, fault.InvalidParameters, "InstallOverrideList and BaselineOverride cannot be used together: leave one out")
	case r.Hooks && r.List != nil:
		return fault.New(op, fault.InvalidParameters, "an InstallOverrideList cannot be used with hooks: leave one out")
	case r.Hooks && r.Operation != Install:
		return fault.New(op, fault.InvalidParameters, "hooks run with operation Install only")
	}
	return nil
}

// Simulation is the imagined end of a run.
type Simulation struct {
	Before *Result // the decision
	Plan   *Plan   // nil on a Scan
	Reboot bool
	After  *Result // what a report says at the end; on a Scan the decision itself
}

// Simulate plays a whole run without touching anything: decide, install but for the steps that fail, reboot as the option says, decide again.
// required is the machine's own word on reboots, for RebootIfRequired.
func (r *Run) Simulate(before *Result, fails func(Step) bool, required bool) (*Simulation, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	s := &Simulation{Before: before, After: before}
	if r.Operation == Scan {
		return s, nil
	}
	s.Plan = before.Plan(r.List)
	changed := false
	installed := s.Plan.Apply(before.in.installed, func(x Step) bool {
		failed := fails != nil && fails(x)
		changed = changed || !failed
		return failed
	})
	if s.Reboot = s.Plan.Reboot(r.RebootOption, changed, required); s.Reboot {
		installed = Rebooted(installed)
	}
	in := *before.in
	after, err := in.opts.Evaluate(in.baseline, in.node, installed, in.available, in.now)
	if err != nil {
		return nil, err
	}
	s.After = after.Settle(s.Plan)
	return s, nil
}
