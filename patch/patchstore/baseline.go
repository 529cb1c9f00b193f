package patchstore

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

const mostTags = 50

func (c *call) tags(list []Tag) (map[string]string, error) {
	out := map[string]string{}
	for _, t := range list {
		switch _, twice := out[t.Key]; {
		case t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256:
			return nil, c.bad("the tag %q has a key of no or more than 128 characters, or a value of more than 256", clip(t.Key))
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return nil, c.bad("the tag %q begins with aws:, which is AWS's own", clip(t.Key))
		case twice:
			return nil, c.bad("the tag %q is given twice", clip(t.Key))
		}
		out[t.Key] = t.Value
	}
	if len(out) > mostTags {
		return nil, fault.New(c.op, fault.TooManyTags, "%d tags are given; at most %d are kept", len(out), mostTags)
	}
	return out, nil
}

// CreatePatchBaseline stores a baseline. It needs ssm:CreatePatchBaseline on patchbaseline/*, with its tags as attributes. The same ClientToken and request again give the same id. Errors:
// ValidationException with everything that is wrong, IdempotentParameterMismatch, ResourceLimitExceededException, TooManyTagsError.
func (s *Service) CreatePatchBaseline(ctx context.Context, req CreatePatchBaselineRequest) (out CreatePatchBaselineResult, err error) {
	c := s.begin(ctx, "CreatePatchBaseline", "patchbaseline/*", req)
	defer func() { c.end(ctx, true, err) }()
	tags, err := c.tags(req.Tags)
	if err != nil {
		return out, err
	}
	if err := c.may(ctx, tags); err != nil {
		return out, err
	}
	if err := s.cfg.Limits.Validate(&req.Baseline); err != nil {
		return out, c.findings(err)
	}
	if req.ClientToken != "" && !tokenGrammar.MatchString(req.ClientToken) {
		return out, c.bad("ClientToken is not 1 to 64 printable characters")
	}
	id, err := s.newID()
	if err != nil {
		return out, fault.Wrap(c.op, err)
	}
	b := req.Baseline
	now := s.cfg.Now().UTC()
	b.ID, b.OperatingSystem, b.Created, b.Modified = id, b.System(), now, now
	digest := c.s.digest(req)
	err = c.update(ctx, func(ctx context.Context, tx store.Tx) error {
		out.BaselineID = ""
		if req.ClientToken != "" {
			t, err := s.tokens.Get(ctx, tx, tokenKey(c.tenant, req.ClientToken))
			switch {
			case err == nil && t.Digest != digest:
				return fault.New(c.op, fault.IdempotentParameterMismatch, "ClientToken was used for another baseline: use a new one")
			case err == nil:
				out.BaselineID = t.ID
				return c.record(ctx, tx, map[string]string{"baseline": t.ID})
			case !notFound(err):
				return err
			}
		}
		n := 0
		rng := baselinesKey(c.tenant).Range()
		rng.Limit = s.cfg.Baselines
		for _, err := range tx.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			n++
		}
		if n >= s.cfg.Baselines {
			return fault.New(c.op, fault.ResourceLimitExceeded, "there are %d patch baselines, as many as the quota allows: delete some, or raise it", n)
		}
		if err := s.baselines.Put(tx, baselineKey(c.tenant, id), baselineRecord{b, tags}); err != nil {
			return err
		}
		if req.ClientToken != "" {
			if err := s.tokens.Put(tx, tokenKey(c.tenant, req.ClientToken), tokenRecord{id, digest}); err != nil {
				return err
			}
		}
		out.BaselineID = id
		return c.record(ctx, tx, map[string]string{"baseline": id})
	})
	return out, err
}

// GetPatchBaseline returns a baseline with its groups. It needs ssm:GetPatchBaseline on it. Errors: DoesNotExistException, InvalidResourceId.
func (s *Service) GetPatchBaseline(ctx context.Context, req BaselineRequest) (out Baseline, err error) {
	c := s.begin(ctx, "GetPatchBaseline", "patchbaseline/"+clip(req.BaselineID), req)
	defer func() { c.end(ctx, false, err) }()
	id, b, err := c.see(ctx, req.BaselineID)
	if err != nil {
		return out, err
	}
	out.Baseline = b.Baseline
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		out.PatchGroups, err = s.groupsOf(ctx, r, c.tenant, id)
		return err
	})
	return out, err
}

// groupsOf returns the groups that are registered with a baseline, in order.
func (s *Service) groupsOf(ctx context.Context, r store.Reader, tenant, id string) (out []string, err error) {
	for it, err := range r.Scan(ctx, ofBaseline(tenant, id).Range()) {
		if err != nil {
			return nil, err
		}
		k := key.Read(it.Key[len(ofBaseline(tenant, id)):])
		out = append(out, k.Str())
		k.Str()
		if err := k.Err(); err != nil {
			return nil, err
		}
	}
	return slices.Compact(out), nil
}

// UpdatePatchBaseline changes a baseline. It needs ssm:UpdatePatchBaseline on it. Errors: DoesNotExistException, InvalidResourceId also for predefined ones, which cannot be changed,
// ValidationException with everything that is wrong with the baseline as it would be.
func (s *Service) UpdatePatchBaseline(ctx context.Context, req UpdatePatchBaselineRequest) (out Baseline, err error) {
	c := s.begin(ctx, "UpdatePatchBaseline", "patchbaseline/"+clip(req.BaselineID), req)
	defer func() { c.end(ctx, true, err) }()
	id, _, err := c.see(ctx, req.BaselineID)
	if err == nil && predefined(id) != nil {
		err = fault.New(c.op, fault.InvalidResourceID, "%s is predefined and cannot be changed: make one of your own", id).About(id)
	}
	if err == nil && (req.Baseline.OperatingSystem != "" || req.Set["OperatingSystem"]) {
		err = c.bad("the OperatingSystem of a baseline cannot be changed: make another")
	}
	if err != nil {
		return out, err
	}
	now := s.cfg.Now().UTC()
	err = c.update(ctx, func(ctx context.Context, tx store.Tx) error {
		was, err := s.baselines.Get(ctx, tx, baselineKey(c.tenant, id))
		if notFound(err) {
			return c.absent(id)
		}
		if err != nil {
			return err
		}
		b := was.Baseline
		if req.Replace {
			b = req.Baseline
			if b.Name == "" {
				b.Name = was.Baseline.Name // AWS requires none on an update
			}
			b.ID, b.OperatingSystem, b.Created = id, was.Baseline.OperatingSystem, was.Baseline.Created
		} else {
			assign(&b, &req.Baseline, req.Set)
		}
		b.Modified = now
		if err := s.cfg.Limits.Validate(&b); err != nil {
			return c.findings(err)
		}
		was.Baseline = b
		if err := s.baselines.Put(tx, baselineKey(c.tenant, id), was); err != nil {
			return err
		}
		if out.PatchGroups, err = s.groupsOf(ctx, tx, c.tenant, id); err != nil {
			return err
		}
		out.Baseline = b
		return c.record(ctx, tx, map[string]string{"baseline": id})
	})
	return out, err
}

// assign copies the members that set names.
func assign(to, from *patch.Baseline, set map[string]bool) {
	for name, do := range map[string]func(){
		"Name":                             func() { to.Name = from.Name },
		"Description":                      func() { to.Description = from.Description },
		"GlobalFilters":                    func() { to.GlobalFilters = from.GlobalFilters },
		"ApprovalRules":                    func() { to.Rules = from.Rules },
		"ApprovedPatches":                  func() { to.ApprovedPatches = from.ApprovedPatches },
		"ApprovedPatchesComplianceLevel":   func() { to.ApprovedComplianceLevel = from.ApprovedComplianceLevel },
		"ApprovedPatchesEnableNonSecurity": func() { to.ApprovedNonSecurity = from.ApprovedNonSecurity },
		"RejectedPatches":                  func() { to.RejectedPatches = from.RejectedPatches },
		"RejectedPatchesAction":            func() { to.RejectedAction = from.RejectedAction },
		"Sources":                          func() { to.Sources = from.Sources },
		"AvailableSecurityUpdatesComplianceStatus": func() { to.AvailableSecurityUpdates = from.AvailableSecurityUpdates },
	} {
		if set[name] {
			do()
		}
	}
}

// DeletePatchBaseline deletes a baseline. One that does not exist is no error, as on AWS. It needs ssm:DeletePatchBaseline on it. Errors: ResourceInUseException while a patch group or a default
// has it (B10), InvalidResourceId for predefined ones.
func (s *Service) DeletePatchBaseline(ctx context.Context, req BaselineRequest) (out BaselineResult, err error) {
	c := s.begin(ctx, "DeletePatchBaseline", "patchbaseline/"+clip(req.BaselineID), req)
	defer func() { c.end(ctx, true, err) }()
	id, _, err := c.see(ctx, req.BaselineID)
	if fault.CodeOf(err) == fault.DoesNotExist {
		err = nil
	}
	if err == nil && predefined(id) != nil {
		err = fault.New(c.op, fault.InvalidResourceID, "%s is predefined and cannot be deleted", id).About(id)
	}
	if err != nil {
		return out, err
	}
	err = c.update(ctx, func(ctx context.Context, tx store.Tx) error {
		b, err := s.baselines.Get(ctx, tx, baselineKey(c.tenant, id))
		if notFound(err) {
			return c.record(ctx, tx, nil)
		}
		if err != nil {
			return err
		}
		groups, err := s.groupsOf(ctx, tx, c.tenant, id)
		if err != nil {
			return err
		}
		if len(groups) > 0 {
			return fault.New(c.op, fault.ResourceInUse, "baseline %s is registered for %d patch groups, such as %s: deregister them first", id, len(groups), clip(groups[0])).About(id)
		}
		def, err := s.ids.Get(ctx, tx, defaultKey(c.tenant, b.Baseline.System()))
		if err == nil && def == id {
			return fault.New(c.op, fault.ResourceInUse, "baseline %s is the default for %s: make another the default first", id, b.Baseline.System()).About(id)
		}
		if err != nil && !notFound(err) {
			return err
		}
		if err := tx.Delete(baselineKey(c.tenant, id)); err != nil {
			return err
		}
		return c.record(ctx, tx, map[string]string{"baseline": id})
	})
	return BaselineResult{id}, err
}

// all returns every baseline, predefined ones too, sorted by id, and the defaults.
func (s *Service) all(ctx context.Context, r store.Reader, tenant string) (out []baselineRecord, defaults map[patch.OperatingSystem]string, err error) {
	for _, b := range patch.Predefined() {
		out = append(out, baselineRecord{Baseline: b})
	}
	for e, err := range s.baselines.Scan(ctx, r, baselinesKey(tenant).Range()) {
		if err != nil {
			return nil, nil, err
		}
		out = append(out, e.Value)
	}
	slices.SortFunc(out, func(a, b baselineRecord) int { return cmp.Compare(a.Baseline.ID, b.Baseline.ID) })
	defaults = map[patch.OperatingSystem]string{}
	for _, os := range patch.OperatingSystems() {
		if b := patch.PredefinedDefault(os); b != nil {
			defaults[os] = b.ID
		}
	}
	for e, err := range s.ids.Scan(ctx, r, defaultsKey(tenant).Range()) {
		if err != nil {
			return nil, nil, err
		}
		k := key.Read(e.Key[len(defaultsKey(tenant)):])
		defaults[patch.OperatingSystem(k.Str())] = e.Value
	}
	return out, defaults, nil
}

func identity(b *patch.Baseline, defaults map[patch.OperatingSystem]string) BaselineIdentity {
	return BaselineIdentity{BaselineID: b.ID, BaselineName: b.Name, OperatingSystem: b.System(), BaselineDescription: b.Description, DefaultBaseline: defaults[b.System()] == b.ID}
}

// filters checks filters against the keys that a list has.
func (c *call) filters(filters []Filter, most int, keys ...string) error {
	if len(filters) > most {
		return c.bad("%d filters are given; at most %d are allowed", len(filters), most)
	}
	for _, f := range filters {
		if !slices.Contains(keys, f.Key) {
			return fault.New(c.op, fault.InvalidFilter, "%q is no filter here: use %s", clip(f.Key), strings.Join(keys, ", "))
		}
		if len(f.Values) == 0 || len(f.Values) > 20 {
			return fault.New(c.op, fault.InvalidFilter, "filter %s has %d values; give 1 to 20", f.Key, len(f.Values))
		}
	}
	return nil
}

// DescribePatchBaselines returns a page of the baselines that the filters select and the caller may see, by id. It needs ssm:DescribePatchBaselines, on each; others are left out.
func (s *Service) DescribePatchBaselines(ctx context.Context, req ListRequest) (out DescribePatchBaselinesResult, err error) {
	c := s.begin(ctx, "DescribePatchBaselines", "patchbaseline/*", req)
	defer func() { c.end(ctx, false, err) }()
	if err := c.filters(req.Filters, 5, "NAME_PREFIX", "OWNER", "OPERATING_SYSTEM"); err != nil {
		return out, err
	}
	p, err := c.page(req.MaxResults, 1, 100, req.NextToken, req.Filters)
	if err != nil {
		return out, err
	}
	var all []baselineRecord
	var defaults map[patch.OperatingSystem]string
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		all, defaults, err = s.all(ctx, r, c.tenant)
		return err
	})
	if err != nil {
		return out, err
	}
	var seen []BaselineIdentity
	for i := range all {
		b := &all[i].Baseline
		ok := true
		for _, f := range req.Filters {
			ok = ok && slices.ContainsFunc(f.Values, func(v string) bool {
				switch f.Key {
				case "NAME_PREFIX":
					return strings.HasPrefix(b.Name, v)
				case "OWNER":
					return v == "All" || v == "AWS" && predefined(b.ID) != nil || v == "Self" && predefined(b.ID) == nil
				}
				return string(b.System()) == v
			})
		}
		if ok && access.Check(ctx, s.cfg.Authorizer, c.action, "patchbaseline/"+b.ID, all[i].Tags) == nil {
			seen = append(seen, identity(b, defaults))
		}
	}
	out.BaselineIdentities, out.NextToken = cut(p, seen, func(b BaselineIdentity) string { return b.BaselineID })
	if len(seen) == 0 {
		err = c.may(ctx, nil)
	}
	return out, err
}

// RegisterDefaultPatchBaseline makes a baseline the default of its operating system (B24). It needs ssm:RegisterDefaultPatchBaseline on it. Errors: DoesNotExistException, InvalidResourceId.
func (s *Service) RegisterDefaultPatchBaseline(ctx context.Context, req BaselineRequest) (out BaselineResult, err error) {
	c := s.begin(ctx, "RegisterDefaultPatchBaseline", "patchbaseline/"+clip(req.BaselineID), req)
	defer func() { c.end(ctx, true, err) }()
	id, _, err := c.see(ctx, req.BaselineID)
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
		if err := s.ids.Put(tx, defaultKey(c.tenant, b.Baseline.System()), id); err != nil {
			return err
		}
		return c.record(ctx, tx, map[string]string{"baseline": id})
	})
	return BaselineResult{id}, err
}

// GetDefaultPatchBaseline returns the default baseline of an operating system. It needs ssm:GetDefaultPatchBaseline.
func (s *Service) GetDefaultPatchBaseline(ctx context.Context, req DefaultRequest) (out DefaultResult, err error) {
	c := s.begin(ctx, "GetDefaultPatchBaseline", "*", req)
	defer func() { c.end(ctx, false, err) }()
	if err := c.may(ctx, nil); err != nil {
		return out, err
	}
	os, err := c.os(req.OperatingSystem)
	if err != nil {
		return out, err
	}
	out.OperatingSystem = os
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		out.BaselineID, err = s.defaultOf(ctx, r, c.tenant, os)
		return err
	})
	return out, err
}

func (s *Service) defaultOf(ctx context.Context, r store.Reader, tenant string, os patch.OperatingSystem) (string, error) {
	id, err := s.ids.Get(ctx, r, defaultKey(tenant, os))
	if notFound(err) {
		if b := patch.PredefinedDefault(os); b != nil {
			return b.ID, nil
		}
		return "", nil
	}
	return id, err
}

// DescribePatchProperties returns a page of the values that a property can have. It needs ssm:DescribePatchProperties. Errors: ValidationException.
func (s *Service) DescribePatchProperties(ctx context.Context, req PropertiesRequest) (out PropertiesResult, err error) {
	c := s.begin(ctx, "DescribePatchProperties", "*", req)
	defer func() { c.end(ctx, false, err) }()
	if err := c.may(ctx, nil); err != nil {
		return out, err
	}
	p, err := c.page(req.MaxResults, 1, 50, req.NextToken, []any{req.OperatingSystem, req.Property, req.PatchSet})
	if err != nil {
		return out, err
	}
	all, err := patch.Properties(req.OperatingSystem, req.Property, req.PatchSet)
	if err != nil {
		return out, c.findings(err)
	}
	all = slices.Clone(all)
	slices.Sort(all)
	some, next := cut(p, slices.Compact(all), func(v string) string { return v })
	out = PropertiesResult{Properties: []map[string]string{}, NextToken: next}
	for _, v := range some {
		out.Properties = append(out.Properties, map[string]string{"Name": v})
	}
	return out, nil
}

// tagged finds the baseline that a tagging request speaks of, one's own, and asks for the right.
func (s *Service) tagged(ctx context.Context, c *call, req TagsRequest) (id string, b baselineRecord, err error) {
	if req.ResourceType != "PatchBaseline" {
		return "", b, fault.New(c.op, fault.InvalidResourceType, "resources of type %q are not kept here, only PatchBaseline", clip(req.ResourceType))
	}
	id, b, err = c.see(ctx, req.ResourceID)
	if fault.CodeOf(err) == fault.DoesNotExist || err == nil && predefined(id) != nil {
		err = fault.New(c.op, fault.InvalidResourceID, "there is no patch baseline %s of your own", clip(id)).About(clip(id))
	}
	return id, b, err
}

// AddTagsToResource gives a baseline tags. It needs ssm:AddTagsToResource on it. Errors: InvalidResourceType, InvalidResourceId, TooManyTagsError, ValidationException.
func (s *Service) AddTagsToResource(ctx context.Context, req TagsRequest) (err error) {
	c := s.begin(ctx, "AddTagsToResource", "patchbaseline/"+clip(req.ResourceID), req)
	defer func() { c.end(ctx, true, err) }()
	id, _, err := s.tagged(ctx, c, req)
	if err != nil {
		return err
	}
	add, err := c.tags(req.Tags)
	if err == nil && len(add) == 0 {
		err = c.bad("Tags is empty: give at least one")
	}
	if err != nil {
		return err
	}
	return s.retag(ctx, c, id, func(tags map[string]string) error {
		maps.Copy(tags, add)
		if len(tags) > mostTags {
			return fault.New(c.op, fault.TooManyTags, "baseline %s would have %d tags and may have %d", id, len(tags), mostTags).About(id)
		}
		return nil
	})
}

// RemoveTagsFromResource takes tags from a baseline. It needs ssm:RemoveTagsFromResource on it. Errors as AddTagsToResource.
func (s *Service) RemoveTagsFromResource(ctx context.Context, req TagsRequest) (err error) {
	c := s.begin(ctx, "RemoveTagsFromResource", "patchbaseline/"+clip(req.ResourceID), req)
	defer func() { c.end(ctx, true, err) }()
	id, _, err := s.tagged(ctx, c, req)
	if err == nil && len(req.TagKeys) == 0 {
		err = c.bad("TagKeys is empty: give at least one")
	}
	if err != nil {
		return err
	}
	return s.retag(ctx, c, id, func(tags map[string]string) error {
		for _, k := range req.TagKeys {
			delete(tags, k)
		}
		return nil
	})
}

func (s *Service) retag(ctx context.Context, c *call, id string, edit func(tags map[string]string) error) error {
	return c.update(ctx, func(ctx context.Context, tx store.Tx) error {
		b, err := s.baselines.Get(ctx, tx, baselineKey(c.tenant, id))
		if notFound(err) {
			return fault.New(c.op, fault.InvalidResourceID, "there is no patch baseline %s", id).About(id)
		}
		if err != nil {
			return err
		}
		tags := map[string]string{}
		maps.Copy(tags, b.Tags)
		if err := edit(tags); err != nil {
			return err
		}
		b.Tags = tags
		if err := s.baselines.Put(tx, baselineKey(c.tenant, id), b); err != nil {
			return err
		}
		return c.record(ctx, tx, map[string]string{"baseline": id})
	})
}

// ListTagsForResource returns a baseline's tags, sorted by key. It needs ssm:ListTagsForResource on it. Errors: InvalidResourceType, InvalidResourceId.
func (s *Service) ListTagsForResource(ctx context.Context, req TagsRequest) (out []Tag, err error) {
	c := s.begin(ctx, "ListTagsForResource", "patchbaseline/"+clip(req.ResourceID), req)
	defer func() { c.end(ctx, false, err) }()
	_, b, err := s.tagged(ctx, c, req)
	if err != nil {
		return nil, err
	}
	for _, k := range slices.Sorted(maps.Keys(b.Tags)) {
		out = append(out, Tag{k, b.Tags[k]})
	}
	return out, nil
}
