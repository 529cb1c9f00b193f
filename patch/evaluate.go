package patch

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Options change how an evaluation reads the rules. The zero value, and nil, is the reading of AWS's user guide.
type Options struct {
	// Exact compares instants: a patch of 18:00 with ApproveAfterDays 7 is approved at 18:00 seven days later. Without it days in UTC
	// are compared, as all examples of the guide do (A8).
	Exact bool
	// IgnoreObsoletes leaves a package out of Missing that is not installed but obsoletes one that is. dnf would
	// install it in the other's place, and so it is reported, unless this is set.
	IgnoreObsoletes bool
	// NotApplicableLimit bounds NotApplicableCount; what lies beyond is in UnreportedNotApplicableCount. 0 = no bound.
	NotApplicableLimit int
}

// Evaluate decides about every package of a node: what the baseline makes of it at the instant now, and so whether the node is
// compliant. Equal inputs give equal results, in any order of the lists. It reads its arguments and changes none of them;
// it may run on many goroutines at once. It fails with ValidationException when the baseline cannot be interpreted (see
// Validate for all of AWS's limits) or is for another operating system than the node's.
func Evaluate(b *Baseline, node NodeFacts, installed []Installed, available []Available, now time.Time) (*Result, error) {
	return (*Options)(nil).Evaluate(b, node, installed, available, now)
}

// Evaluate is the function Evaluate under o; nil is valid.
func (o *Options) Evaluate(b *Baseline, node NodeFacts, installed []Installed, available []Available, now time.Time) (*Result, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	x := newIndex(b.System().Family(), node.Arch, installed, available)
	return evaluate(&input{baseline: b, node: node, installed: installed, available: available, opts: opts, now: now.UTC(), index: x})
}

func evaluate(in *input) (*Result, error) {
	p, err := compile(in.baseline, in.node, in.now, in.opts)
	if err != nil {
		return nil, err
	}
	p.noInfo = p.withoutNotices(in.available)
	r := &Result{Baseline: in.baseline.Name, OperatingSystem: p.os, Product: in.node.Product, At: in.now, in: in}
	if r.Baseline == "" {
		r.Baseline = in.baseline.ID
	}
	e := &evaluation{plan: p, input: in, result: r}
	e.supersede()
	r.Patches = make([]Patch, 0, in.index.installed+8)
	for _, g := range in.index.order() {
		e.installedSet(g)
	}
	for g := in.index.installed; g < len(in.index.sets); g++ {
		e.absentSet(int32(g))
	}
	e.block()
	if len(in.index.sets) > in.index.installed {
		slices.SortFunc(r.Patches, func(a, b Patch) int { return a.Key.compare(b.Key) })
		if !slices.IsSortedFunc(r.NotApplicable, Key.compare) {
			slices.SortFunc(r.NotApplicable, Key.compare)
		}
	}
	r.count(in.baseline, in.opts.NotApplicableLimit)
	return r, nil
}

// withoutNotices is N3: Red Hat, Rocky and Alma apply nothing while no repository carries notices.
func (p *plan) withoutNotices(available []Available) bool {
	if p.os != RedHat && p.os != RockyLinux && p.os != AlmaLinux {
		return false
	}
	if p.node.NoUpdateInfo {
		return true
	}
	for i := range available {
		if len(available[i].Advisories) > 0 {
			return false
		}
	}
	return true
}

// evaluation is one run of evaluate.
type evaluation struct {
	*plan
	input      *input
	result     *Result
	superseded map[string]string // KB to the one that takes its place (E6)
	byName     map[string][]int32
}

// approval is what made an offer approved.
type approval struct {
	level Level
	rule  int // index, -1 for the approved list
	entry int // index in ApprovedPatches, -1 for a rule
}

// approve decides whether one version with one notice (or none) is approved (E1 to E4). secure is the security condition, decided
// for the version. Several rules may approve: the highest level counts (M6).
func (e *evaluation) approve(a *Available, n *Advisory, secure bool) (approval, bool) {
	got := approval{rule: -1, entry: -1}
	if e.noInfo {
		return got, false
	}
	found := false
	if ok, _ := e.accepts(e.global, a, n); ok {
		for i := range e.rules {
			r := &e.rules[i]
			if !secure && !r.nonsec || !e.inScope(r, a) {
				continue
			}
			if ok, _ := e.accepts(r.filters, a, n); !ok || !e.old(r, a, n) {
				continue
			}
			if !found || r.level.rank() > got.level.rank() {
				got = approval{level: r.level, rule: i, entry: -1}
			}
			found = true
		}
	}
	if len(e.approved.entries) > 0 && (secure || e.b.ApprovedNonSecurity || e.family == FamilyWindows) {
		if i := e.match.find(&e.approved, a.Name, a.Version, a.Arch, n, bulletin(a)); i >= 0 {
			if l := orUnspecified(e.b.ApprovedComplianceLevel); !found || l.rank() > got.level.rank() {
				got = approval{level: l, rule: -1, entry: i}
			}
			found = true
		}
	}
	return got, found
}

func bulletin(a *Available) string {
	if a.Update == nil {
		return ""
	}
	return a.Update.Bulletin
}

// rejects returns the index of the entry that rejects a version on offer, or -1.
func (e *evaluation) rejects(a *Available) int {
	if len(e.rejected.entries) == 0 {
		return -1
	}
	if len(a.Advisories) == 0 {
		return e.match.find(&e.rejected, a.Name, a.Version, a.Arch, nil, bulletin(a))
	}
	for _, n := range a.Advisories {
		if i := e.match.find(&e.rejected, a.Name, a.Version, a.Arch, n, bulletin(a)); i >= 0 {
			return i
		}
	}
	return -1
}

// offered calls yield for each pair of a version and a notice that makes it a candidate, or none.
func offered(a *Available, yield func(*Advisory) bool) {
	if len(a.Advisories) == 0 {
		yield(nil)
		return
	}
	for _, n := range a.Advisories {
		if !yield(n) {
			return
		}
	}
}

// approves says whether a version is approved under any of its notices.
func (e *evaluation) approves(a *Available, versionSecure bool) (got approval, ok bool) {
	if len(a.Advisories) == 0 {
		return e.approve(a, nil, e.security(a, nil, versionSecure))
	}
	for _, n := range a.Advisories {
		g, yes := e.approve(a, n, e.security(a, n, versionSecure))
		if yes && (!ok || g.level.rank() > got.level.rank()) {
			got, ok = g, true
		}
	}
	return got, ok
}

func (e *evaluation) security(a *Available, n *Advisory, versionSecure bool) bool {
	if e.family == FamilyApt {
		return versionSecure
	}
	return e.secure(a, n)
}

// candidate is what apt would take: the version of the highest pin priority, the newest of those, never one older than what is
// installed unless its priority is at least 1000. version is empty when there is none; offered says whether an archive has it.
// A missing or held package has a candidate too.
func (e *evaluation) candidate(g *set) (version string, secure, offered bool) {
	in := e.input
	inst := e.newest(g)
	have, best := false, 0
	consider := func(v string, prio int) {
		switch {
		case prio <= 0:
		case inst >= 0 && prio < 1000 && CompareDeb(v, in.installed[inst].Version) < 0:
		case !have || prio > best, prio == best && CompareDeb(v, version) > 0:
			have, best, version = true, prio, v
		}
	}
	for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
		consider(in.available[i].Version, orPin(in.available[i].Pin, 500))
	}
	if inst >= 0 {
		consider(in.installed[inst].Version, orPin(in.installed[inst].Pin, 100))
	}
	if !have {
		return "", false, false
	}
	for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
		if a := &in.available[i]; CompareDeb(a.Version, version) == 0 {
			offered = true
			secure = secure || a.Security
		}
	}
	return version, secure, offered
}

func orPin(p, def int) int {
	if p == 0 {
		return def
	}
	return p
}

// newest returns the index of the newest installed version of g, -1 when nothing is (C11).
func (e *evaluation) newest(g *set) int32 {
	best := int32(-1)
	for i := g.inst; i >= 0; i = e.input.index.nextInst[i] {
		if best < 0 || e.newer(i, best) {
			best = i
		}
	}
	return best
}

// newer orders installed entries so that their order in the list does not matter.
func (e *evaluation) newer(i, j int32) bool {
	a, b := &e.input.installed[i], &e.input.installed[j]
	if c := e.family.Compare(a.Version, b.Version); c != 0 {
		return c > 0
	}
	if x, y := a.waits(), b.waits(); x != y {
		return x > y
	}
	if a.Version != b.Version {
		return a.Version > b.Version
	}
	return a.InstalledAt.After(b.InstalledAt)
}

// waits weighs what C6 and a hold ask of an entry.
func (p *Installed) waits() (n int) {
	if p.SinceBoot {
		n = 2
		if p.ByUs {
			n = 4
		}
	}
	if p.Held {
		n++
	}
	return n
}

// prefer orders offers of one package: the newer version, then by repository, so that the order of the list does not matter.
func (e *evaluation) prefer(i, j int32) bool {
	a, b := &e.input.available[i], &e.input.available[j]
	if c := e.family.Compare(a.Version, b.Version); c != 0 {
		return c > 0
	}
	if a.Repo != b.Repo {
		return a.Repo < b.Repo
	}
	if a.Version != b.Version {
		return a.Version < b.Version
	}
	return a.Update != nil && b.Update != nil && a.Update.before(b.Update)
}

// before orders two entries of the catalogue for one update: the applicable one first, then the later release, then by their words.
func (u *Update) before(v *Update) bool {
	if u.NotApplicable != v.NotApplicable {
		return v.NotApplicable
	}
	if !u.Released.Equal(v.Released) {
		return u.Released.After(v.Released)
	}
	return cmp.Or(strings.Compare(u.Classification, v.Classification), strings.Compare(u.MSRCSeverity, v.MSRCSeverity), strings.Compare(u.PatchSet, v.PatchSet),
		strings.Compare(u.Product, v.Product), strings.Compare(u.Bulletin, v.Bulletin), strings.Compare(u.Title, v.Title)) < 0
}

// wanted returns the index of the newest approved offer (E5), or -1.
func (e *evaluation) wanted(g *set) int32 {
	in := e.input
	best := int32(-1)
	if e.family == FamilyApt {
		v, secure, ok := e.candidate(g)
		if !ok {
			return -1
		}
		for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
			a := &in.available[i]
			if CompareDeb(a.Version, v) != 0 || e.rejects(a) >= 0 || best >= 0 && !e.prefer(i, best) {
				continue
			}
			if _, ok := e.approves(a, secure); ok {
				best = i
			}
		}
		return best
	}
	for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
		a := &in.available[i]
		if best >= 0 && !e.prefer(i, best) || e.rejects(a) >= 0 {
			continue
		}
		if _, ok := e.approves(a, false); ok {
			best = i
		}
	}
	return best
}

// rejectedInstalled says whether an installed version of g is rejected by name (C5), under its own name or that of an offer of the same version.
func (e *evaluation) rejectedInstalled(g *set) bool {
	if len(e.rejected.entries) == 0 {
		return false
	}
	in := e.input
	for i := g.inst; i >= 0; i = in.index.nextInst[i] {
		p := &in.installed[i]
		if e.match.find(&e.rejected, p.Name, p.Version, p.Arch, nil, "") >= 0 {
			return true
		}
		for j := g.avail; j >= 0; j = in.index.nextAvail[j] {
			if a := &in.available[j]; e.family.Compare(a.Version, p.Version) == 0 && e.rejects(a) >= 0 {
				return true
			}
		}
	}
	return false
}

func (e *evaluation) installedSet(n int32) {
	in := e.input
	g := &in.index.sets[n]
	i := e.newest(g)
	inst := &in.installed[i]
	p := Patch{Key: Key{inst.Name, inst.Arch}, Installed: inst.Version, InstalledAt: inst.InstalledAt.UTC(), Level: LevelUnspecified, Held: inst.Held}
	if inst.InstalledAt.IsZero() {
		p.InstalledAt = time.Time{}
	}
	w := e.wanted(g)
	if w >= 0 && e.superseded[in.available[w].Name] != "" {
		w = -1 // gone from the catalogue (E6)
	}
	newer := false
	if w >= 0 {
		a := &in.available[w]
		p.Wanted, p.Repo = a.Version, a.Repo
		newer = e.older(inst, a)
	}
	switch {
	case e.rejectedInstalled(g) && (e.b.RejectedAction == Block || !newer):
		p.State = StateInstalledOther // R1
		if e.b.RejectedAction == Block {
			p.State = StateInstalledRejected
		}
	case w < 0:
		p.State = StateInstalledOther
	case newer:
		p.State = StateMissing
		e.describe(&p, g, inst.Version, w)
		if e.livePatched(&p) {
			p.State, p.LivePatched, p.InstalledAt = StateInstalled, true, time.Time{}
			p.Advisories, p.CVEs = nil, nil
		}
	default:
		p.State = StateInstalled
		if inst.SinceBoot && (inst.ByUs || e.family == FamilyWindows) { // C6
			p.State = StateInstalledPendingReboot
		}
		e.describe(&p, g, "", w)
		p.Advisories, p.CVEs = nil, nil
	}
	if p.State == StateInstalledOther || p.State == StateInstalledRejected {
		if p.State == StateInstalledOther || !newer {
			p.Wanted, p.Repo = "", ""
		}
	}
	e.result.Patches = append(e.result.Patches, p)
}

// older says whether the wanted offer is newer than what is installed. A Windows update is there or not; an installer of macOS
// knows no update check (section 11).
func (e *evaluation) older(inst *Installed, a *Available) bool {
	switch {
	case e.family == FamilyWindows:
		return false
	case e.family == FamilyMacOS && a.Update != nil && strings.EqualFold(a.Update.Classification, "installer"):
		return false
	}
	return e.family.Compare(inst.Version, a.Version) < 0
}

// absentSet decides about a package that is not installed: not applicable (C7), or missing where the catalogue says that the
// node needs it.
func (e *evaluation) absentSet(n int32) {
	in := e.input
	g := &in.index.sets[n]
	if e.family == FamilyYum || e.family == FamilyZypper { // most of a distribution ends here: one approved version is enough to know
		w := int32(-1)
		for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
			a := &in.available[i]
			if _, ok := e.approves(a, false); ok && e.rejects(a) < 0 {
				w = i
				break
			}
		}
		if w < 0 {
			return
		}
		if e.family == FamilyYum && !in.opts.IgnoreObsoletes && e.obsoleting(g) {
			return
		}
		e.result.NotApplicable = append(e.result.NotApplicable, Key{g.name, in.available[w].Arch})
		return
	}
	w := e.wanted(g)
	if e.family == FamilyApt {
		if w >= 0 {
			e.result.NotApplicable = append(e.result.NotApplicable, Key{g.name, in.available[w].Arch})
		}
		return
	}
	e.absentUpdate(g, w)
}

// absentUpdate is absentSet for Windows and macOS.
func (e *evaluation) absentUpdate(g *set, w int32) {
	in := e.input
	windows := e.family == FamilyWindows
	at := w
	if at < 0 {
		for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
			if at < 0 || e.prefer(i, at) {
				at = i
			}
		}
	}
	a := &in.available[at]
	u := a.Update
	gone := u != nil && u.NotApplicable || e.superseded[a.Name] != ""
	p := Patch{Key: Key{a.Name, a.Arch}, Level: LevelUnspecified}
	switch {
	case w < 0:
		if !windows || gone || e.rejects(a) >= 0 || !securityUpdate(u) || !e.concerns(a) {
			return
		}
		p.State = StateAvailableSecurityUpdate
		p.Classification, p.Severity, p.Title = u.Classification, u.MSRCSeverity, u.Title
	case gone:
		p.State = StateNotApplicable
		e.result.NotApplicable = append(e.result.NotApplicable, p.Key)
		if !windows {
			return
		}
	case windows || u != nil && strings.EqualFold(u.Classification, "softwareupdate"):
		p.State, p.Wanted, p.Repo = StateMissing, a.Version, a.Repo
		e.describe(&p, g, "", w)
	default:
		e.result.NotApplicable = append(e.result.NotApplicable, p.Key)
		return
	}
	e.result.Patches = append(e.result.Patches, p)
}

// concerns says whether the baseline speaks of the patch set of a at all: the operating system's, unless a filter names another.
func (e *evaluation) concerns(a *Available) bool {
	if e.global.names(KeyPatchSet) || len(e.rules) == 0 {
		return e.global.names(KeyPatchSet) || patchSet(a) == "OS"
	}
	for i := range e.rules {
		if e.inScope(&e.rules[i], a) {
			return true
		}
	}
	return false
}

func securityUpdate(u *Update) bool {
	return u != nil && strings.EqualFold(strings.ReplaceAll(u.Classification, " ", ""), "SecurityUpdates")
}

// supersede finds the updates that another one of the catalogue takes the place of (E6).
func (e *evaluation) supersede() {
	if e.family != FamilyWindows {
		return
	}
	for i := range e.input.available {
		a := &e.input.available[i]
		if a.Update == nil {
			continue
		}
		for _, kb := range a.Update.Supersedes {
			if kb == a.Name {
				continue
			}
			if e.superseded == nil {
				e.superseded = map[string]string{}
			}
			if was, ok := e.superseded[kb]; !ok || CompareKB(a.Name, was) > 0 {
				e.superseded[kb] = a.Name
			}
		}
	}
	var loops []string // of updates that name each other in a circle none is gone
	for kb := range e.superseded {
		next := e.superseded[kb]
		for steps := 0; next != "" && next != kb && steps < len(e.superseded); steps++ {
			next = e.superseded[next]
		}
		if next == kb {
			loops = append(loops, kb)
		}
	}
	for _, kb := range loops {
		delete(e.superseded, kb)
	}
}

// obsoleting reports a package that is not installed and whose wanted version takes the place of an installed one as Missing.
func (e *evaluation) obsoleting(g *set) bool {
	in := e.input
	w := e.wanted(g)
	a := &in.available[w]
	if len(a.Obsoletes) == 0 {
		return false
	}
	if e.byName == nil {
		e.byName = make(map[string][]int32, in.index.installed)
		for n := range in.index.installed {
			name := in.index.sets[n].name
			e.byName[name] = append(e.byName[name], int32(n))
		}
	}
	if len(e.byName[a.Name]) > 0 {
		return false // it is there in another architecture already
	}
	var replaced []string
	for _, o := range a.Obsoletes {
		if o.Name == a.Name {
			continue
		}
		for _, n := range e.byName[o.Name] {
			inst := &in.installed[e.newest(&in.index.sets[n])]
			if o.satisfies(e.family, inst.Version) {
				replaced = append(replaced, Key{inst.Name, inst.Arch}.String())
			}
		}
	}
	if len(replaced) == 0 {
		return false
	}
	slices.Sort(replaced)
	p := Patch{Key: Key{a.Name, a.Arch}, State: StateMissing, Level: LevelUnspecified, Wanted: a.Version, Repo: a.Repo, Replaces: slices.Compact(replaced)}
	e.describe(&p, g, "", w)
	e.result.Patches = append(e.result.Patches, p)
	return true
}

// describe fills in level, classification, severity, advisories and CVE ids: of every approved offer that is newer than have and not
// newer than the wanted one, all of which the wanted version brings. Without have only the wanted version counts.
func (e *evaluation) describe(p *Patch, g *set, have string, w int32) {
	in := e.input
	want := in.available[w].Version
	secure := false
	if e.family == FamilyApt {
		_, secure, _ = e.candidate(g)
	}
	rank := -1
	for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
		a := &in.available[i]
		c := e.family.Compare(a.Version, want)
		if c > 0 || c < 0 && (have == "" || e.family.Compare(a.Version, have) <= 0) || c < 0 && e.family == FamilyApt {
			continue
		}
		rejected := e.rejects(a) >= 0
		offered(a, func(n *Advisory) bool {
			if n != nil {
				p.Advisories = append(p.Advisories, n.ID)
				p.CVEs = append(p.CVEs, n.CVEs...)
			} else if a.Update != nil {
				p.CVEs = append(p.CVEs, a.Update.CVEs...)
			}
			got, ok := e.approve(a, n, e.security(a, n, secure))
			if !ok || rejected {
				return true
			}
			p.Level = higher(p.Level, got.level)
			class, severity, title := "", "", ""
			if n != nil {
				class, severity, title = n.Type, n.Severity, n.Title
			} else if a.Update != nil {
				class, severity, title = a.Update.Classification, a.Update.MSRCSeverity, a.Update.Title
			}
			if class == "" && severity == "" {
				return true
			}
			p.Security = p.Security || n != nil && strings.EqualFold(class, "Security")
			if r := classRank(class)*10 + severityRank(severity); r > rank || r == rank && title < p.Title {
				rank, p.Classification, p.Severity, p.Title = r, class, severity, title
			}
			return true
		})
	}
	slices.Sort(p.Advisories)
	p.Advisories = slices.Compact(p.Advisories)
	slices.Sort(p.CVEs)
	p.CVEs = slices.Compact(p.CVEs)
}

func classRank(s string) int {
	switch strings.ToLower(s) {
	case "security", "securityupdates":
		return 4
	case "criticalupdates":
		return 3
	case "bugfix", "recommended":
		return 2
	case "enhancement", "feature", "optional":
		return 1
	}
	return 0
}

func severityRank(s string) int {
	switch strings.ToLower(s) {
	case "critical":
		return 4
	case "important":
		return 3
	case "moderate", "medium":
		return 2
	case "low":
		return 1
	}
	return 0
}

// livePatched is K2: live patches of the running kernel cover every CVE of the newer kernel.
func (e *evaluation) livePatched(p *Patch) bool {
	if len(e.node.KernelLivePatched) == 0 || len(p.CVEs) == 0 {
		return false
	}
	kernel := p.Name == "kernel"
	if e.node.KernelPackages != nil {
		kernel = contains(e.node.KernelPackages, p.Name)
	}
	if !kernel {
		return false
	}
	for _, c := range p.CVEs {
		if !contains(e.node.KernelLivePatched, c) {
			return false
		}
	}
	return true
}
