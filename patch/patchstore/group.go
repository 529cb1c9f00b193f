package patchstore

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// RegisterPatchBaselineForPatchGroup gives the nodes of a patch group a baseline, for the baseline's operating system (B23). It needs ssm:RegisterPatchBaselineForPatchGroup on the baseline. Errors:
// AlreadyExistsException when the group has one for that operating system (B10), DoesNotExistException, InvalidResourceId, ResourceLimitExceededException, ValidationException.
func (s *Service) RegisterPatchBaselineForPatchGroup(ctx context.Context, req GroupRequest) (out GroupResult, err error) {
	c := s.begin(ctx, "RegisterPatchBaselineForPatchGroup", "patchbaseline/"+clip(req.BaselineID), req)
	defer func() { c.end(ctx, true, err) }()
	id, _, err := c.see(ctx, req.BaselineID)
	if err == nil {
		err = c.findings(patch.CheckGroup(req.PatchGroup))
	}
	if err != nil {
		return out, err
	}
	err = c.update(ctx, func(ctx context.Context, tx store.Tx) error {
		b, err := s.load(ctx, tx, c.tenant, id)
		if notFound(err) {
			return c.absent(id)
		}
		if err != nil {
			return err
		}
		os := b.Baseline.System()
		k := groupKey(c.tenant, req.PatchGroup, os)
		have, err := s.ids.Get(ctx, tx, k)
		if err == nil {
			return fault.New(c.op, fault.AlreadyExists, "patch group %s has baseline %s for %s already: deregister that first", clip(req.PatchGroup), have, os).About(clip(req.PatchGroup))
		}
		if !notFound(err) {
			return err
		}
		groups, err := s.groupsOf(ctx, tx, c.tenant, id)
		if err != nil {
			return err
		}
		if len(groups) >= s.cfg.Groups {
			return fault.New(c.op, fault.ResourceLimitExceeded, "baseline %s has %d patch groups, as many as the quota allows", id, len(groups)).About(id)
		}
		if err := s.ids.Put(tx, k, id); err != nil {
			return err
		}
		if err := s.ids.Put(tx, ofBaseline(c.tenant, id).Str(req.PatchGroup).Str(string(os)), ""); err != nil {
			return err
		}
		return c.record(ctx, tx, map[string]string{"baseline": id, "group": req.PatchGroup})
	})
	return GroupResult{id, req.PatchGroup}, err
}

// DeregisterPatchBaselineForPatchGroup takes a baseline from a patch group. One that the group does not have is no error, as on AWS. It needs ssm:DeregisterPatchBaselineForPatchGroup on the
// baseline. Errors: InvalidResourceId, ValidationException.
func (s *Service) DeregisterPatchBaselineForPatchGroup(ctx context.Context, req GroupRequest) (out GroupResult, err error) {
	c := s.begin(ctx, "DeregisterPatchBaselineForPatchGroup", "patchbaseline/"+clip(req.BaselineID), req)
	defer func() { c.end(ctx, true, err) }()
	id, _, err := c.see(ctx, req.BaselineID)
	if fault.CodeOf(err) == fault.DoesNotExist {
		err = nil
	}
	if err == nil {
		err = c.findings(patch.CheckGroup(req.PatchGroup))
	}
	if err != nil {
		return out, err
	}
	err = c.update(ctx, func(ctx context.Context, tx store.Tx) error {
		for _, os := range patch.OperatingSystems() {
			have, err := s.ids.Get(ctx, tx, groupKey(c.tenant, req.PatchGroup, os))
			if notFound(err) || err == nil && have != id {
				continue
			}
			if err != nil {
				return err
			}
			if err := tx.Delete(groupKey(c.tenant, req.PatchGroup, os)); err != nil {
				return err
			}
			if err := tx.Delete(ofBaseline(c.tenant, id).Str(req.PatchGroup).Str(string(os))); err != nil {
				return err
			}
		}
		return c.record(ctx, tx, map[string]string{"baseline": id, "group": req.PatchGroup})
	})
	return GroupResult{id, req.PatchGroup}, err
}

// GetPatchBaselineForPatchGroup returns the baseline that nodes of a group have for an operating system: the registered one, else the default. It needs ssm:GetPatchBaselineForPatchGroup.
// Errors: ValidationException.
func (s *Service) GetPatchBaselineForPatchGroup(ctx context.Context, req ForGroupRequest) (out ForGroupResult, err error) {
	c := s.begin(ctx, "GetPatchBaselineForPatchGroup", "*", req)
	defer func() { c.end(ctx, false, err) }()
	if err := c.may(ctx, nil); err != nil {
		return out, err
	}
	os, err := c.os(req.OperatingSystem)
	if err == nil {
		err = c.findings(patch.CheckGroup(req.PatchGroup))
	}
	if err != nil {
		return out, err
	}
	out.PatchGroup, out.OperatingSystem = req.PatchGroup, os
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		out.BaselineID, err = s.chosen(ctx, r, c.tenant, req.PatchGroup, os)
		return err
	})
	return out, err
}

// chosen returns the id of the baseline of a group, "" being none, for an operating system (B1 to B3 of the spec of package patch).
func (s *Service) chosen(ctx context.Context, r store.Reader, tenant, group string, os patch.OperatingSystem) (string, error) {
	if group != "" {
		id, err := s.ids.Get(ctx, r, groupKey(tenant, group, os))
		if err == nil || !notFound(err) {
			return id, err
		}
	}
	return s.defaultOf(ctx, r, tenant, os)
}

// DescribePatchGroups returns a page of the groups with their baselines, by group and operating system. It needs ssm:DescribePatchGroups. Errors: InvalidFilter, InvalidNextToken,
// ValidationException.
func (s *Service) DescribePatchGroups(ctx context.Context, req ListRequest) (out DescribePatchGroupsResult, err error) {
	c := s.begin(ctx, "DescribePatchGroups", "*", req)
	defer func() { c.end(ctx, false, err) }()
	if err := c.may(ctx, nil); err != nil {
		return out, err
	}
	if err := c.filters(req.Filters, 5, "NAME_PREFIX", "OPERATING_SYSTEM"); err != nil {
		return out, err
	}
	p, err := c.page(req.MaxResults, 1, 100, req.NextToken, req.Filters)
	if err != nil {
		return out, err
	}
	var seen []Mapping
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		seen = nil
		all, defaults, err := s.all(ctx, r, c.tenant)
		if err != nil {
			return err
		}
		for e, err := range s.ids.Scan(ctx, r, groupsKey(c.tenant).Range()) {
			if err != nil {
				return err
			}
			k := key.Read(e.Key[len(groupsKey(c.tenant)):])
			group := k.Str()
			i, ok := slices.BinarySearchFunc(all, e.Value, func(b baselineRecord, id string) int { return cmp.Compare(b.Baseline.ID, id) })
			if !ok {
				continue
			}
			b := &all[i].Baseline
			keep := true
			for _, f := range req.Filters {
				keep = keep && slices.ContainsFunc(f.Values, func(v string) bool {
					if f.Key == "NAME_PREFIX" {
						return strings.HasPrefix(group, v)
					}
					return string(b.System()) == v
				})
			}
			if keep {
				seen = append(seen, Mapping{group, identity(b, defaults)})
			}
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	name := func(m Mapping) string { return m.PatchGroup + "\x00" + string(m.BaselineIdentity.OperatingSystem) }
	slices.SortFunc(seen, func(a, b Mapping) int { return cmp.Compare(name(a), name(b)) })
	out.Mappings, out.NextToken = cut(p, seen, name)
	return out, nil
}

// members returns the ids of the nodes that their tags put into a group.
func (s *Service) members(ctx context.Context, tenant, group string) ([]string, error) {
	all, err := s.cfg.Nodes.Tagged(ctx, tenant, "Patch Group", group)
	if err != nil {
		return nil, err
	}
	other, err := s.cfg.Nodes.Tagged(ctx, tenant, "PatchGroup", group)
	if err != nil {
		return nil, err
	}
	for _, id := range other {
		tags, ok, err := s.cfg.Nodes.Registered(ctx, tenant, id)
		if err != nil {
			return nil, err
		}
		if g, in := patch.GroupOf(tags); ok && in && g == group {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// DescribePatchGroupState counts the nodes of a group by what patching found on them (B20). Nodes that have reported nothing count in Instances only. It needs ssm:DescribePatchGroupState.
func (s *Service) DescribePatchGroupState(ctx context.Context, req GroupStateRequest) (out GroupState, err error) {
	c := s.begin(ctx, "DescribePatchGroupState", "*", req)
	defer func() { c.end(ctx, false, err) }()
	if err := c.may(ctx, nil); err != nil {
		return out, err
	}
	if err := patch.CheckGroup(req.PatchGroup); err != nil {
		return out, c.findings(err)
	}
	nodes, err := s.members(ctx, c.tenant, req.PatchGroup)
	if err != nil {
		return out, fault.Wrap(c.op, err)
	}
	all := map[string]bool{}
	for _, id := range nodes {
		all[id] = true
	}
	err = s.ofGroup(ctx, c, req.PatchGroup, "", func(st *InstancePatchState) bool {
		all[st.InstanceID] = true
		for _, n := range []struct {
			to    *int
			count int
		}{
			{&out.InstancesWithInstalledPatches, st.InstalledCount}, {&out.InstancesWithInstalledOtherPatches, st.InstalledOtherCount},
			{&out.InstancesWithInstalledPendingReboot, st.InstalledPendingRebootCount}, {&out.InstancesWithInstalledRejectedPatches, st.InstalledRejectedCount},
			{&out.InstancesWithMissingPatches, st.MissingCount}, {&out.InstancesWithFailedPatches, st.FailedCount},
			{&out.InstancesWithNotApplicablePatches, st.NotApplicableCount}, {&out.InstancesWithUnreportedNotApplicable, st.UnreportedNotApplicableCount},
			{&out.InstancesWithCriticalNonCompliantPatches, st.CriticalNonCompliantCount}, {&out.InstancesWithSecurityNonCompliantPatches, st.SecurityNonCompliantCount},
			{&out.InstancesWithOtherNonCompliantPatches, st.OtherNonCompliantCount}, {&out.InstancesWithAvailableSecurityUpdates, st.AvailableSecurityUpdateCount},
		} {
			if n.count > 0 {
				*n.to++
			}
		}
		return true
	})
	out.Instances = len(all)
	return out, err
}

// ofGroup calls fn for the newest numbers of each node that reported as one of the group, in the order of their ids, until it returns false. Views are of bounded length.
func (s *Service) ofGroup(ctx context.Context, c *call, group, after string, fn func(st *InstancePatchState) bool) error {
	const most = 2000
	space := inGroup(c.tenant, group)
	rng := space.Range()
	if after != "" {
		rng = space.After(space.Str(after))
	}
	rng.Limit = most
	for {
		var batch []state
		var last []byte
		err := c.view(ctx, func(ctx context.Context, r store.Reader) error {
			batch = batch[:0]
			for e, err := range s.states.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				batch, last = append(batch, e.Value), e.Key
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i := range batch {
			if access.Check(ctx, s.cfg.Authorizer, c.action, "node/"+batch[i].InstanceID, batch[i].Tags) == nil && !fn(&batch[i].InstancePatchState) {
				return nil
			}
		}
		if len(batch) < most {
			return nil
		}
		rng.Start = append(append([]byte(nil), last...), 0)
	}
}
