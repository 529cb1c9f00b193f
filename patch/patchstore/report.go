package patchstore

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// state is the newest operation of a node that is recorded.
type state struct {
	InstancePatchState
	OperatingSystem patch.OperatingSystem `json:"os"`
	Product         string                `json:"product,omitempty"`
	Compliance      patch.Compliance      `json:"compliance"`
	Severity        patch.Level           `json:"severity"`
	CommandID       string                `json:"command,omitempty"`
	Taken           time.Time             `json:"taken"`
	Chunks          int                   `json:"chunks"`
	Tags            map[string]string     `json:"tags,omitempty"` // of the node when it reported, for the authorizer
}

var nodeGrammar = regexp.MustCompile(`^(i-[0-9a-f]{8}([0-9a-f]{9})?|mi-[0-9a-f]{17})$`)

const (
	mostPatches = 50_000 // of a report
	chunkBytes  = 128 << 10
)

// Report takes what an operation found on a node, from the node itself: whoever calls it has proven that, and no authorizer is asked. What is older than the newest report, by the time its operation ended, changes
// nothing; a repeat neither. A report made with a BaselineOverride goes into the history only (B27). Errors: ValidationException, InvalidInstanceId.
func (s *Service) Report(ctx context.Context, tenant, node string, r patch.Report) error {
	c := &call{s: s, op: "patchstore.Report", action: "fleetwright:PutPatchReport", resource: "node/" + clip(node), tenant: tenant}
	tags, err := c.node(ctx, node)
	if err != nil {
		return err
	}
	if err := c.checkReport(&r); err != nil {
		return err
	}
	st := state{InstancePatchState: numbers(node, &r), OperatingSystem: r.OperatingSystem, Product: r.Product, Compliance: r.Compliance, Severity: r.Severity, CommandID: r.CommandID,
		Taken: s.cfg.Now().UTC(), Tags: tags}
	chunks, err := split(r.Patches)
	if err != nil {
		return c.bad("the patches of the report have no JSON")
	}
	return c.update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.remember(ctx, tx, tenant, &st); err != nil {
			return err
		}
		if r.Override {
			return nil
		}
		was, err := s.states.Get(ctx, tx, stateKey(tenant, node))
		switch {
		case notFound(err):
		case err != nil:
			return err
		case !st.OperationEndTime.After(was.OperationEndTime):
			return nil
		}
		if st.LastNoRebootInstallOperationTime.IsZero() {
			st.LastNoRebootInstallOperationTime = was.LastNoRebootInstallOperationTime
		}
		for i, p := range chunks {
			if err := s.chunks.Put(tx, patchesKey(tenant, node).Uint(uint64(i)), p); err != nil {
				return err
			}
		}
		for i := len(chunks); i < was.Chunks; i++ {
			if err := tx.Delete(patchesKey(tenant, node).Uint(uint64(i))); err != nil {
				return err
			}
		}
		st.Chunks = len(chunks)
		if was.PatchGroup != "" && was.PatchGroup != st.PatchGroup {
			if err := tx.Delete(inGroup(tenant, was.PatchGroup).Str(node)); err != nil {
				return err
			}
		}
		if st.PatchGroup != "" {
			if err := s.states.Put(tx, inGroup(tenant, st.PatchGroup).Str(node), st); err != nil {
				return err
			}
		}
		return s.states.Put(tx, stateKey(tenant, node), st)
	})
}

// remember adds an operation to the history of its node, and drops the oldest when there are too many.
func (s *Service) remember(ctx context.Context, tx store.Tx, tenant string, st *state) error {
	k := historyOf(tenant, st.InstanceID).Time(st.OperationEndTime)
	if _, err := tx.Get(ctx, k); err == nil || !notFound(err) {
		return err
	}
	if err := s.states.Put(tx, k, *st); err != nil {
		return err
	}
	var keys [][]byte
	for it, err := range tx.Scan(ctx, historyOf(tenant, st.InstanceID).Range()) {
		if err != nil {
			return err
		}
		keys = append(keys, slices.Clone(it.Key))
	}
	for len(keys) > s.cfg.History {
		if err := tx.Delete(keys[0]); err != nil {
			return err
		}
		keys = keys[1:]
	}
	return nil
}

func (c *call) node(ctx context.Context, id string) (map[string]string, error) {
	if !nodeGrammar.MatchString(id) {
		return nil, fault.New(c.op, fault.InvalidInstanceID, "%q is no id of a node, such as mi- and 17 hex digits", clip(id))
	}
	tags, ok, err := c.s.cfg.Nodes.Registered(ctx, c.tenant, id)
	if err == nil && !ok {
		err = fault.New(c.op, fault.InvalidInstanceID, "there is no node %s", id).About(id)
	}
	return tags, fault.Wrap(c.op, err)
}

func (c *call) checkReport(r *patch.Report) error {
	switch {
	case r.Operation != patch.Scan && r.Operation != patch.Install:
		return c.bad("Operation %q is none of Scan, Install", clip(string(r.Operation)))
	case r.Ended.IsZero() || r.Started.IsZero() || r.Ended.Before(r.Started):
		return c.bad("OperationStartTime and OperationEndTime are missing, or the wrong way round")
	case r.Ended.Year() < 2000 || r.Ended.Year() > 2200:
		return c.bad("OperationEndTime is of the year %d", r.Ended.Year())
	case !slices.Contains(patch.OperatingSystems(), r.OperatingSystem):
		return c.bad("OperatingSystem %q is none", clip(string(r.OperatingSystem)))
	case len(r.Patches) > mostPatches:
		return c.bad("%d patches are reported; at most %d are kept", len(r.Patches), mostPatches)
	case len(r.BaselineID) > 256 || len(r.OverrideList) > 256 || len(r.Product) > 256 || len(r.CommandID) > 64:
		return c.bad("BaselineId, InstallOverrideList or Product is too long")
	}
	if r.SnapshotID != "" {
		if err := patch.CheckSnapshotID(r.SnapshotID); err != nil {
			return c.findings(err)
		}
	}
	if r.PatchGroup != "" {
		if err := patch.CheckGroup(r.PatchGroup); err != nil {
			return c.findings(err)
		}
	}
	for i := range r.Patches {
		p := &r.Patches[i]
		if p.Name == "" || len(p.Name) > 512 || p.State == "" || len(p.State) > 64 || len(p.Title) > 2048 {
			return c.bad("Patches[%d] has no name or state, or one that is too long", i)
		}
	}
	return nil
}

func numbers(node string, r *patch.Report) InstancePatchState {
	n := &r.Counts
	return InstancePatchState{InstanceID: node, PatchGroup: r.PatchGroup, BaselineID: r.BaselineID, SnapshotID: r.SnapshotID, InstallOverrideList: r.OverrideList,
		InstalledCount: n.Installed, InstalledOtherCount: n.InstalledOther, InstalledPendingRebootCount: n.InstalledPendingReboot, InstalledRejectedCount: n.InstalledRejected,
		MissingCount: n.Missing, FailedCount: n.Failed, UnreportedNotApplicableCount: n.UnreportedNotApplicable, NotApplicableCount: n.NotApplicable,
		AvailableSecurityUpdateCount: n.AvailableSecurityUpdates, OperationStartTime: r.Started.UTC(), OperationEndTime: r.Ended.UTC(), Operation: r.Operation,
		LastNoRebootInstallOperationTime: r.LastNoReboot.UTC(), RebootOption: r.RebootOption, CriticalNonCompliantCount: n.CriticalNonCompliant,
		SecurityNonCompliantCount: n.SecurityNonCompliant, OtherNonCompliantCount: n.OtherNonCompliant}
}

// split puts patches into records.
func split(all []patch.Patch) (out [][]patch.Patch, err error) {
	start, size := 0, 0
	for i := range all {
		b, err := json.Marshal(&all[i])
		if err != nil {
			return nil, err
		}
		if size > 0 && size+len(b) > chunkBytes {
			out, start, size = append(out, all[start:i]), i, 0
		}
		size += len(b)
	}
	if start < len(all) {
		out = append(out, all[start:])
	}
	return out, nil
}

// DescribeInstancePatchStates returns a page of what the last operation found on nodes, in numbers, in the order asked for. It needs ssm:DescribeInstancePatchStates on each node; nodes that may not be seen,
// or reported nothing, are left out. Errors: InvalidInstanceId, InvalidNextToken, ValidationException.
func (s *Service) DescribeInstancePatchStates(ctx context.Context, req StatesRequest) (out StatesResult, err error) {
	c := s.begin(ctx, "DescribeInstancePatchStates", "node/*", req)
	defer func() { c.end(ctx, false, err) }()
	if len(req.InstanceIDs) == 0 || len(req.InstanceIDs) > 50 {
		return out, c.bad("InstanceIds has %d ids; give 1 to 50", len(req.InstanceIDs))
	}
	p, err := c.page(req.MaxResults, 10, 100, req.NextToken, req.InstanceIDs)
	if err != nil {
		return out, err
	}
	var keys [][]byte
	ids := slices.Clone(req.InstanceIDs)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if !nodeGrammar.MatchString(id) {
			return out, fault.New(c.op, fault.InvalidInstanceID, "%q is no id of a node", clip(id))
		}
		keys = append(keys, stateKey(c.tenant, id))
	}
	var all []*state
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		all, err = s.states.GetMany(ctx, r, keys)
		return err
	})
	if err != nil {
		return out, err
	}
	var seen []InstancePatchState
	may := false
	for _, st := range all {
		if st != nil && access.Check(ctx, s.cfg.Authorizer, c.action, "node/"+st.InstanceID, st.Tags) == nil {
			seen, may = append(seen, st.InstancePatchState), true
		}
	}
	out.InstancePatchStates, out.NextToken = cut(p, seen, func(st InstancePatchState) string { return st.InstanceID })
	if !may {
		err = c.may(ctx, nil)
	}
	return out, err
}

// counts are what states can be filtered by.
func counts() map[string]func(*InstancePatchState) int {
	return map[string]func(*InstancePatchState) int{
		"InstalledCount":               func(s *InstancePatchState) int { return s.InstalledCount },
		"InstalledOtherCount":          func(s *InstancePatchState) int { return s.InstalledOtherCount },
		"InstalledPendingRebootCount":  func(s *InstancePatchState) int { return s.InstalledPendingRebootCount },
		"InstalledRejectedCount":       func(s *InstancePatchState) int { return s.InstalledRejectedCount },
		"MissingCount":                 func(s *InstancePatchState) int { return s.MissingCount },
		"FailedCount":                  func(s *InstancePatchState) int { return s.FailedCount },
		"UnreportedNotApplicableCount": func(s *InstancePatchState) int { return s.UnreportedNotApplicableCount },
		"NotApplicableCount":           func(s *InstancePatchState) int { return s.NotApplicableCount },
		"AvailableSecurityUpdateCount": func(s *InstancePatchState) int { return s.AvailableSecurityUpdateCount },
		"CriticalNonCompliantCount":    func(s *InstancePatchState) int { return s.CriticalNonCompliantCount },
		"SecurityNonCompliantCount":    func(s *InstancePatchState) int { return s.SecurityNonCompliantCount },
		"OtherNonCompliantCount":       func(s *InstancePatchState) int { return s.OtherNonCompliantCount },
	}
}

// stateFilter returns what keeps a state.
func (c *call) stateFilter(filters []StateFilter) (func(*InstancePatchState) bool, error) {
	if len(filters) > 4 {
		return nil, c.bad("%d filters are given; at most 4 are allowed", len(filters))
	}
	all := counts()
	var tests []func(*InstancePatchState) bool
	for _, f := range filters {
		bad := func(format string, args ...any) error { return fault.New(c.op, fault.InvalidFilter, format, args...) }
		of, ok := all[f.Key]
		if !ok {
			return nil, bad("%q is no count: use %s", clip(f.Key), strings.Join(slices.Sorted(maps.Keys(all)), ", "))
		}
		if len(f.Values) != 1 {
			return nil, bad("filter %s has %d values; give one", f.Key, len(f.Values))
		}
		var want int
		if err := json.Unmarshal([]byte(f.Values[0]), &want); err != nil {
			return nil, bad("filter %s has the value %q: give a number", f.Key, clip(f.Values[0]))
		}
		var test func(int) bool
		switch f.Type {
		case "Equal":
			test = func(c int) bool { return c == 0 }
		case "NotEqual":
			test = func(c int) bool { return c != 0 }
		case "LessThan":
			test = func(c int) bool { return c < 0 }
		case "GreaterThan":
			test = func(c int) bool { return c > 0 }
		default:
			return nil, bad("filter %s has the Type %q: use Equal, NotEqual, LessThan or GreaterThan", f.Key, clip(f.Type))
		}
		tests = append(tests, func(s *InstancePatchState) bool { return test(cmp.Compare(of(s), want)) })
	}
	return func(s *InstancePatchState) bool {
		return !slices.ContainsFunc(tests, func(t func(*InstancePatchState) bool) bool { return !t(s) })
	}, nil
}

// DescribeInstancePatchStatesForPatchGroup returns a page of what the last operation found on nodes that reported as ones of the group, by id. It needs the right of that name on each node; others are left out.
// Errors: InvalidFilter, InvalidNextToken, ValidationException.
func (s *Service) DescribeInstancePatchStatesForPatchGroup(ctx context.Context, req StatesForGroupRequest) (out StatesResult, err error) {
	c := s.begin(ctx, "DescribeInstancePatchStatesForPatchGroup", "node/*", req)
	defer func() { c.end(ctx, false, err) }()
	if err := patch.CheckGroup(req.PatchGroup); err != nil {
		return out, c.findings(err)
	}
	keep, err := c.stateFilter(req.Filters)
	if err != nil {
		return out, err
	}
	p, err := c.page(req.MaxResults, 10, 100, req.NextToken, []any{req.PatchGroup, req.Filters})
	if err != nil {
		return out, err
	}
	out.InstancePatchStates = []InstancePatchState{}
	err = s.ofGroup(ctx, c, req.PatchGroup, p.after, func(st *InstancePatchState) bool {
		if !keep(st) {
			return true
		}
		if n := len(out.InstancePatchStates); n == p.limit {
			out.NextToken = p.token(out.InstancePatchStates[n-1].InstanceID)
			return false
		}
		out.InstancePatchStates = append(out.InstancePatchStates, *st)
		return true
	})
	if err == nil && len(out.InstancePatchStates) == 0 {
		err = c.may(ctx, nil)
	}
	return out, err
}

// DescribeInstancePatches returns a page of the patches of a node, by name. It needs ssm:DescribeInstancePatches on it. A node that reported nothing has none. Errors: InvalidInstanceId,
// InvalidFilter, InvalidNextToken, ValidationException.
func (s *Service) DescribeInstancePatches(ctx context.Context, req PatchesRequest) (out PatchesResult, err error) {
	c := s.begin(ctx, "DescribeInstancePatches", "node/"+clip(req.InstanceID), req)
	defer func() { c.end(ctx, false, err) }()
	tags, err := c.node(ctx, req.InstanceID)
	if err != nil && fault.CodeOf(err) != fault.InvalidInstanceID {
		return out, err
	}
	if err := c.may(ctx, tags); err != nil { // who may not learns not even that there is no such node
		return out, err
	}
	if err != nil {
		return out, err
	}
	if err := c.filters(req.Filters, 5, "Classification", "KBId", "Severity", "State"); err != nil {
		return out, err
	}
	p, err := c.page(req.MaxResults, 10, 100, req.NextToken, []any{req.InstanceID, req.Filters})
	if err != nil {
		return out, err
	}
	var seen []PatchComplianceData
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		seen = nil
		for e, err := range s.chunks.Scan(ctx, r, patchesKey(c.tenant, req.InstanceID).Range()) {
			if err != nil {
				return err
			}
			for i := range e.Value {
				if d := Data(&e.Value[i]); kept(req.Filters, &d, &e.Value[i]) {
					seen = append(seen, d)
				}
			}
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	name := func(d PatchComplianceData) string { return d.KBID + "\x00" + d.Title }
	slices.SortFunc(seen, func(a, b PatchComplianceData) int { return cmp.Compare(name(a), name(b)) })
	out.Patches, out.NextToken = cut(p, seen, name)
	return out, nil
}

// Data returns a patch in AWS's shape: a package is named "name.arch", with its version in the title.
func Data(p *patch.Patch) PatchComplianceData {
	id := p.Key.String()
	title := p.Title
	version := p.Installed
	if p.State == patch.StateMissing || p.State == patch.StateFailed {
		version = p.Wanted
	}
	if p.Arch != "" {
		title = id
		if version != "" {
			title = id + ":" + version
		}
	} else if title == "" {
		title = id
	}
	return PatchComplianceData{Title: title, KBID: id, Classification: p.Classification, Severity: p.Severity, State: p.State.Constant(), InstalledTime: p.InstalledAt, CVEIDs: strings.Join(p.CVEs, ",")}
}

func kept(filters []Filter, d *PatchComplianceData, p *patch.Patch) bool {
	for _, f := range filters {
		if !slices.ContainsFunc(f.Values, func(v string) bool {
			switch f.Key {
			case "Classification":
				return strings.EqualFold(v, d.Classification)
			case "KBId":
				return strings.EqualFold(v, d.KBID)
			case "Severity":
				return strings.EqualFold(v, d.Severity)
			}
			return strings.EqualFold(v, d.State) || strings.EqualFold(v, string(p.State)) // both spellings are in use
		}) {
			return false
		}
	}
	return true
}

// History returns what operations found on a node from one time to another, by when they ended, the newest first; zero times mean all that is kept. It needs ssm:DescribeInstancePatchStates on the node.
// Errors: InvalidInstanceId.
func (s *Service) History(ctx context.Context, node string, from, to time.Time) (out []InstancePatchState, err error) {
	c := s.begin(ctx, "DescribeInstancePatchStates", "node/"+clip(node), node)
	defer func() { c.end(ctx, false, err) }()
	tags, err := c.node(ctx, node)
	if err != nil && fault.CodeOf(err) != fault.InvalidInstanceID {
		return nil, err
	}
	if err := c.may(ctx, tags); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		out = nil
		rng := historyOf(c.tenant, node).Range()
		rng.Reverse = true
		for e, err := range s.states.Scan(ctx, r, rng) {
			if err != nil {
				return err
			}
			at := e.Value.OperationEndTime
			if !at.Before(from) && (to.IsZero() || !at.After(to)) {
				out = append(out, e.Value.InstancePatchState)
			}
		}
		return nil
	})
	return out, err
}

// Remove forgets all that is kept of a node. It is for the host and asks no authorizer.
func (s *Service) Remove(ctx context.Context, tenant, node string) error {
	c := &call{s: s, op: "patchstore.Remove", tenant: tenant}
	return c.update(ctx, func(ctx context.Context, tx store.Tx) error { return s.ForgetNode(ctx, tx, tenant, node) })
}

// ForgetNode forgets all that is kept of a node in the caller's transaction, such as that which removes the node. It asks nobody and records nothing.
func (s *Service) ForgetNode(ctx context.Context, tx store.Tx, tenant, node string) error {
	was, err := s.states.Get(ctx, tx, stateKey(tenant, node))
	if err != nil && !notFound(err) {
		return err
	}
	keys := [][]byte{stateKey(tenant, node)}
	if was.PatchGroup != "" {
		keys = append(keys, inGroup(tenant, was.PatchGroup).Str(node))
	}
	for _, k := range []key.K{patchesKey(tenant, node), historyOf(tenant, node)} {
		for it, err := range tx.Scan(ctx, k.Range()) {
			if err != nil {
				return err
			}
			keys = append(keys, slices.Clone(it.Key))
		}
	}
	for _, k := range keys {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
