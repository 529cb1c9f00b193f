package node

import (
	"context"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/target"
)

// MaxResolve is the most ids that one Resolve returns.
const MaxResolve = 10_000

// candidates is how many ids are looked at in one step, and viewBudget in one View.
const (
	candidates = 1024
	viewBudget = 20_000
)

// Resolve returns the ids of the nodes that all targets select, in ascending order: those after the id after, at most limit (0 is 1,000, the most is 10,000). next is where the
// following page begins, "" at the end. Each page is consistent in itself; nodes that come, go or change tags between pages are seen by the later ones. Unknown node
// ids are left out. It reads about as many index entries as the smallest of the targets has. It asks no authorizer. Errors: InvalidTarget, also for a group that does not exist.
func (s *Service) Resolve(ctx context.Context, tenant string, targets []target.Target, after string, limit int) (ids []string, next string, err error) {
	const op = "node.Resolve"
	if err := target.Validate(targets, nil); err != nil {
		return nil, "", fault.Wrap(op, err)
	}
	if len(targets) == 0 {
		return nil, "", fault.New(op, fault.InvalidTarget, "no targets are given: name what is meant, Key=InstanceIds,Values=* for every node")
	}
	if limit <= 0 {
		limit = 1000
	}
	limit = min(limit, MaxResolve)
	cursor, more := after, true
	var all []string
	for more && len(all) <= limit {
		var page []string
		err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			page, cursor, more, err = s.resolve(ctx, r, tenant, targets, cursor, limit+1-len(all))
			return err
		})
		if err != nil {
			return nil, "", fault.Wrap(op, err)
		}
		all = append(all, page...)
	}
	if len(all) > limit {
		all = all[:limit]
		next = all[limit-1]
	}
	return all, next, nil
}

// resolve does one View's share: at most limit ids after cursor. more says that there may be others after the cursor that it returns.
func (s *Service) resolve(ctx context.Context, r store.Reader, tenant string, targets []target.Target, cursor string, limit int) (ids []string, at string, more bool, err error) {
	srcs, types, err := s.sources(ctx, r, tenant, targets)
	if err != nil {
		return nil, "", false, err
	}
	if err := smallest(ctx, r, srcs, cursor); err != nil {
		return nil, "", false, err
	}
	first, rest := srcs[0], srcs[1:]
	if len(first.prefixes) == 0 { // ids that somebody wrote: do they exist?
		rest = append(rest, source{prefixes: []key.K{allIndex(tenant)}})
	}
	st := first.open(cursor, limit)
	for seen := 0; seen < viewBudget; {
		part, err := st.next(ctx, s, r, min(candidates, pageShare(limit-len(ids), len(rest))))
		if err != nil {
			return nil, "", false, err
		}
		if len(part) == 0 {
			return ids, cursor, false, nil
		}
		seen, cursor = seen+len(part), part[len(part)-1]
		part = slices.DeleteFunc(slices.Clone(part), func(id string) bool { return !hasTypes(types, id) })
		for _, src := range rest {
			if part, err = src.keep(ctx, r, part); err != nil {
				return nil, "", false, err
			}
		}
		if room := limit - len(ids); len(part) >= room {
			ids = append(ids, part[:room]...)
			return ids, ids[len(ids)-1], true, nil
		}
		ids = append(ids, part...)
	}
	return ids, cursor, true, nil
}

// pageShare is how many candidates to look at for so many missing ids: no more than those if every candidate counts, some more if others decide.
func pageShare(missing, others int) int {
	if others == 0 {
		return missing
	}
	return max(firstRead, missing)
}

func hasTypes(types [][]string, id string) bool {
	for _, t := range types {
		if !target.HasType(t, target.ResourceType(id)) {
			return false
		}
	}
	return true
}

// sources turns targets into sets of ids, of which there is at least one, and lists of types.
func (s *Service) sources(ctx context.Context, r store.Reader, tenant string, targets []target.Target) (srcs []source, types [][]string, err error) {
	for _, t := range targets {
		tag, isTag := t.Tag()
		switch {
		case isTag:
			srcs = append(srcs, tagSource(tenant, tag, t.Values))
		case t.Key == target.TagKey:
			var src source
			for _, k := range distinct(t.Values) {
				src.prefixes = append(src.prefixes, tagKeyIndex(tenant, k))
			}
			srcs = append(srcs, src)
		case t.Key == target.InstanceIDs && slices.Contains(t.Values, target.All):
			srcs = append(srcs, source{prefixes: []key.K{allIndex(tenant)}})
		case t.Key == target.InstanceIDs:
			srcs = append(srcs, source{ids: distinct(t.Values)})
		case t.Key == target.ResourceTypeFilters:
			types = append(types, t.Values)
		case t.Key == target.ResourceGroup:
			g, err := s.groups.Get(ctx, r, groupKey(tenant, t.Values[0]))
			if isNotFound(err) {
				return nil, nil, fault.New("node.Resolve", fault.InvalidTarget, "resource group %s does not exist, or you may not know it", shown(t.Values[0]))
			}
			if err != nil {
				return nil, nil, err
			}
			types = append(types, g.Query.ResourceTypeFilters)
			for _, f := range g.Query.TagFilters {
				srcs = append(srcs, tagSource(tenant, f.Key, f.Values))
			}
		}
	}
	if len(srcs) == 0 { // types only
		srcs = append(srcs, source{prefixes: []key.K{allIndex(tenant)}})
	}
	return srcs, types, nil
}

// tagSource is the set of nodes with a tag, of these values or of any.
func tagSource(tenant, k string, values []string) source {
	if len(values) == 0 {
		return source{prefixes: []key.K{tagKeyIndex(tenant, k)}}
	}
	var src source
	for _, v := range distinct(values) {
		src.prefixes = append(src.prefixes, tagIndex(tenant, k, v))
	}
	return src
}

func distinct(values []string) []string {
	out := slices.Clone(values)
	slices.Sort(out)
	return slices.Compact(out)
}

// Nodes returns the nodes of these ids, in the order of ids; unknown ones are left out. It asks no authorizer.
func (s *Service) Nodes(ctx context.Context, tenant string, ids []string) ([]target.Node, error) {
	out := make([]target.Node, 0, len(ids))
	if slices.ContainsFunc(ids, func(id string) bool { return !nodeIDText.MatchString(id) }) { // too long for a key, perhaps
		ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !nodeIDText.MatchString(id) })
	}
	for part := range slices.Chunk(ids, 1000) {
		keys := make([][]byte, len(part))
		for i, id := range part {
			keys[i] = nodeKey(tenant, id)
		}
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			ns, err := s.nodes.GetMany(ctx, r, keys)
			if err != nil {
				return err
			}
			for _, n := range ns {
				if n != nil {
					out = append(out, n.node(tenant))
				}
			}
			return nil
		})
		if err != nil {
			return nil, fault.Wrap("node.Nodes", err)
		}
	}
	for i := range out {
		if _, f := s.overlay(tenant, out[i].ID, time.Time{}); f != nil {
			out[i].Platform, out[i].PlatformName, out[i].Capabilities = f.PlatformType, f.PlatformName, slices.Clone(f.Capabilities)
		}
	}
	return out, nil
}
