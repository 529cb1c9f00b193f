package patchstore

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

func (s *Service) available(ctx context.Context, c *call, os patch.OperatingSystem) ([]patch.Available, error) {
	if s.cfg.Catalog == nil {
		return nil, nil
	}
	all, err := s.cfg.Catalog.Available(ctx, c.tenant, os)
	return all, fault.Wrap(c.op, err)
}

// described returns a patch of the catalogue in AWS's shape.
func described(a *patch.Available, n *patch.Advisory) Patch {
	if u := a.Update; u != nil {
		kb := cmp.Or(u.KB, a.Name)
		return Patch{ID: kb, Title: u.Title, KBNumber: kb, MSRCNumber: u.Bulletin, Classification: u.Classification, MSRCSeverity: u.MSRCSeverity, Product: u.Product,
			ProductFamily: u.ProductFamily, ReleaseDate: u.Released, CVEIDs: u.CVEs, Vendor: "Microsoft"}
	}
	version, release := a.Version, ""
	epoch := 0
	if e, v, ok := strings.Cut(version, ":"); ok {
		version = v
		for _, d := range e {
			epoch = epoch*10 + int(d-'0')
		}
	}
	if i := strings.LastIndexByte(version, '-'); i > 0 {
		version, release = version[:i], version[i+1:]
	}
	p := Patch{ID: patch.Key{Name: a.Name, Arch: a.Arch}.String() + ":" + a.Version, Name: a.Name, Arch: a.Arch, Epoch: epoch, Version: version, Release: release, Repository: a.Repo, ReleaseDate: a.Built}
	if n != nil {
		p.Title, p.Classification, p.Severity, p.AdvisoryIDs, p.BugzillaIDs, p.CVEIDs = n.Title, n.Type, n.Severity, []string{n.ID}, n.Bugzilla, n.CVEs
		if p.ReleaseDate = n.Updated; n.Updated.IsZero() {
			p.ReleaseDate = n.Issued
		}
	}
	return p
}

// offers calls fn for every patch of the catalogue and each of its notices, nil where it has none.
func offers(all []patch.Available, fn func(a *patch.Available, n *patch.Advisory)) {
	for i := range all {
		if len(all[i].Advisories) == 0 {
			fn(&all[i], nil)
		}
		for _, n := range all[i].Advisories {
			fn(&all[i], n)
		}
	}
}

// keys of DescribeAvailablePatches beside OPERATING_SYSTEM, with what they ask for.
func properties(p *Patch) map[string][]string {
	return map[string][]string{"PATCH_ID": {p.ID, p.KBNumber}, "PRODUCT": {p.Product}, "PRODUCT_FAMILY": {p.ProductFamily}, "CLASSIFICATION": {p.Classification}, "MSRC_SEVERITY": {p.MSRCSeverity},
		"SEVERITY": {p.Severity}, "NAME": {p.Name}, "ARCH": {p.Arch}, "VERSION": {p.Version}, "RELEASE": {p.Release}, "REPOSITORY": {p.Repository}, "ADVISORY_ID": p.AdvisoryIDs,
		"BUGZILLA_ID": p.BugzillaIDs, "CVE_ID": p.CVEIDs}
}

// DescribeAvailablePatches returns a page of what the host's catalogue has for an operating system (the filter OPERATING_SYSTEM; WINDOWS without). It needs ssm:DescribeAvailablePatches.
// Errors: InvalidFilter, InvalidNextToken, ValidationException.
func (s *Service) DescribeAvailablePatches(ctx context.Context, req ListRequest) (out AvailableResult, err error) {
	c := s.begin(ctx, "DescribeAvailablePatches", "*", req)
	defer func() { c.end(ctx, false, err) }()
	if err := c.may(ctx, nil); err != nil {
		return out, err
	}
	keys := []string{"OPERATING_SYSTEM"}
	for k := range properties(&Patch{}) {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if err := c.filters(req.Filters, 5, keys...); err != nil {
		return out, err
	}
	p, err := c.page(req.MaxResults, 1, 100, req.NextToken, req.Filters)
	if err != nil {
		return out, err
	}
	os := patch.Windows
	for _, f := range req.Filters {
		if f.Key == "OPERATING_SYSTEM" {
			if os, err = c.os(patch.OperatingSystem(f.Values[0])); err != nil {
				return out, err
			}
		}
	}
	all, err := s.available(ctx, c, os)
	if err != nil {
		return out, err
	}
	var seen []Patch
	offers(all, func(a *patch.Available, n *patch.Advisory) {
		p := described(a, n)
		has := properties(&p)
		for _, f := range req.Filters {
			if f.Key != "OPERATING_SYSTEM" && !slices.ContainsFunc(f.Values, func(v string) bool {
				return slices.ContainsFunc(has[f.Key], func(h string) bool { return strings.EqualFold(h, v) })
			}) {
				return
			}
		}
		seen = append(seen, p)
	})
	name := func(p Patch) string { return p.ID + "\x00" + strings.Join(p.AdvisoryIDs, ",") + "\x00" + p.Repository }
	slices.SortFunc(seen, func(a, b Patch) int { return cmp.Compare(name(a), name(b)) })
	seen = slices.CompactFunc(seen, func(a, b Patch) bool { return name(a) == name(b) })
	out.Patches, out.NextToken = cut(p, seen, name)
	return out, nil
}

// DescribeEffectivePatchesForPatchBaseline returns a page of the patches of the host's catalogue that a baseline approves, will approve, or names (B9). It needs the right of that name on the baseline. Errors:
// DoesNotExistException, InvalidResourceId, InvalidNextToken, ValidationException.
func (s *Service) DescribeEffectivePatchesForPatchBaseline(ctx context.Context, req EffectiveRequest) (out EffectiveResult, err error) {
	c := s.begin(ctx, "DescribeEffectivePatchesForPatchBaseline", "patchbaseline/"+clip(req.BaselineID), req)
	defer func() { c.end(ctx, false, err) }()
	id, b, err := c.see(ctx, req.BaselineID)
	if err != nil {
		return out, err
	}
	p, err := c.page(req.MaxResults, 1, 100, req.NextToken, id)
	if err != nil {
		return out, err
	}
	all, err := s.available(ctx, c, b.Baseline.System())
	if err != nil {
		return out, err
	}
	list, err := patch.Effective(&b.Baseline, patch.NodeFacts{OperatingSystem: b.Baseline.System()}, all, s.cfg.Now().UTC())
	if err != nil {
		return out, c.findings(err)
	}
	var seen []EffectivePatch
	for i := range list {
		e := &list[i]
		seen = append(seen, EffectivePatch{described(e.Patch, e.Advisory), PatchStatus{DeploymentStatus: string(e.Status), ComplianceLevel: e.Level, ApprovalDate: e.Approval}})
	}
	name := func(e EffectivePatch) string {
		return e.Patch.ID + "\x00" + strings.Join(e.Patch.AdvisoryIDs, ",") + "\x00" + e.Patch.Repository
	}
	slices.SortFunc(seen, func(a, b EffectivePatch) int { return cmp.Compare(name(a), name(b)) })
	seen = slices.CompactFunc(seen, func(a, b EffectivePatch) bool { return name(a) == name(b) })
	out.EffectivePatches, out.NextToken = cut(p, seen, name)
	return out, nil
}
