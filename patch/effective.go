package patch

import (
	"slices"
	"strings"
	"time"
)

// DeploymentStatus is AWS's PatchDeploymentStatus: what a baseline makes of a patch, whoever has it installed (B9 of the features).
type DeploymentStatus string

// The statuses.
const (
	StatusApproved         DeploymentStatus = "APPROVED"
	StatusPendingApproval  DeploymentStatus = "PENDING_APPROVAL"
	StatusExplicitApproved DeploymentStatus = "EXPLICIT_APPROVED"
	StatusExplicitRejected DeploymentStatus = "EXPLICIT_REJECTED"
)

// EffectivePatch is one row of DescribeEffectivePatchesForPatchBaseline.
type EffectivePatch struct {
	Patch    *Available // an element of the list given
	Advisory *Advisory  // the notice under which it has the status; nil without one
	Status   DeploymentStatus
	Level    Level     // of what approves it
	Approval time.Time // when it was or will be approved; zero where no date bounds it
}

// Effective lists what a baseline approves, will approve, or names in its lists, among what is on offer. What it has nothing to say about is left
// out. A version under several notices has the status of the one that is approved first. Sorted by name, architecture and version.
func Effective(b *Baseline, node NodeFacts, available []Available, now time.Time) ([]EffectivePatch, error) {
	p, err := compile(b, node, now.UTC(), Options{})
	if err != nil {
		return nil, err
	}
	p.noInfo = p.withoutNotices(available)
	in := &input{baseline: b, node: node, available: available, now: now.UTC(), index: newIndex(p.family, node.Arch, nil, available)}
	e := &evaluation{plan: p, input: in, result: &Result{in: in}}
	e.supersede()
	var out []EffectivePatch
	for n := range in.index.sets {
		g := &in.index.sets[n]
		candidate, secure := "", false
		if p.family == FamilyApt {
			candidate, secure, _ = e.candidate(g)
		}
		for i := g.avail; i >= 0; i = in.index.nextAvail[i] {
			if x, ok := e.effective(&available[i], candidate, secure); ok {
				out = append(out, x)
			}
		}
	}
	slices.SortFunc(out, func(x, y EffectivePatch) int {
		a, b := x.Patch, y.Patch
		if c := (Key{a.Name, a.Arch}).compare(Key{b.Name, b.Arch}); c != 0 {
			return c
		}
		if c := p.family.Compare(a.Version, b.Version); c != 0 {
			return c
		}
		return strings.Compare(a.Repo, b.Repo)
	})
	return out, nil
}

func (e *evaluation) effective(a *Available, candidate string, secure bool) (x EffectivePatch, ok bool) {
	x = EffectivePatch{Patch: a, Level: LevelUnspecified}
	if e.rejects(a) >= 0 {
		x.Status = StatusExplicitRejected
		return x, true
	}
	offered(a, func(n *Advisory) bool {
		at, will := e.first(a, n, candidate, secure)
		if !will || ok && !at.Before(x.Approval) {
			return true
		}
		x.Advisory, x.Approval, ok = n, at, true
		got, now := e.approve(a, n, e.security(a, n, secure))
		switch {
		case now && got.entry >= 0, now && e.match.find(&e.approved, a.Name, a.Version, a.Arch, n, bulletin(a)) >= 0:
			x.Status, x.Level = StatusExplicitApproved, got.level
		case now:
			x.Status, x.Level = StatusApproved, got.level
		default:
			x.Status, x.Level = StatusPendingApproval, LevelUnspecified
		}
		return true
	})
	return x, ok
}
