package node

import (
	"context"
	"maps"
	"slices"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// attributes is what an authorizer may decide by: the tags, under AWS's condition keys.
func attributes(tags map[string]string) map[string]string {
	out := make(map[string]string, len(tags))
	for k, v := range tags {
		out["aws:ResourceTag/"+k] = v
	}
	return out
}

func (c call) noNode(id string) error {
	return fault.New(c.op, fault.InvalidInstanceID, "node %s does not exist, or you may not know it", shown(id))
}

// load reads a node and asks the authorizer with its tags. It asks with none where there is no node, so that a caller without the right sees no difference.
func (s *Service) load(ctx context.Context, op, action, id string) (c call, n nodeRecord, err error) {
	tenant, found := access.Tenant(ctx), false
	if checkNodeID(op, id) == nil {
		err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			n, err = s.nodes.Get(ctx, r, nodeKey(tenant, id))
			return err
		})
		if found = err == nil; err != nil && !isNotFound(err) {
			return call{s, op, action, "node/" + shown(id)}, n, err
		}
	}
	c, err = s.begin(ctx, op, action, "node/"+shown(id), attributes(n.Tags))
	if err == nil && !found {
		err = c.noNode(id)
	}
	return c, n, err
}

// change reads a node in a transaction, lets f change it, writes it back with its index entries and records the call. f may run again.
func (s *Service) change(ctx context.Context, c call, id string, f func(n *nodeRecord) error) error {
	tenant := access.Tenant(ctx)
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err := s.nodes.Get(ctx, tx, nodeKey(tenant, id))
		if isNotFound(err) {
			return c.noNode(id)
		}
		if err != nil {
			return err
		}
		before := n.Tags
		n.Tags = maps.Clone(n.Tags)
		if err := f(&n); err != nil {
			return err
		}
		if err := s.nodes.Put(tx, nodeKey(tenant, id), n); err != nil {
			return err
		}
		if !maps.Equal(before, n.Tags) {
			add, remove := indexChanges(tagPrefixes(tenant, before), tagPrefixes(tenant, n.Tags))
			if err := s.index(tx, id, add, remove); err != nil {
				return err
			}
		}
		return c.record(ctx, tx, map[string]string{"node": id})
	})
}

// indexChanges returns which prefixes are new and which are gone.
func indexChanges(before, after []key.K) (add, remove []key.K) {
	has := func(ks []key.K, k key.K) bool {
		return slices.ContainsFunc(ks, func(o key.K) bool { return string(o) == string(k) })
	}
	for _, k := range after {
		if !has(before, k) {
			add = append(add, k)
		}
	}
	for _, k := range before {
		if !has(after, k) {
			remove = append(remove, k)
		}
	}
	return add, remove
}

// Get returns a node. It asks for ssm:DescribeInstanceInformation on it. Errors: InvalidInstanceId.
func (s *Service) Get(ctx context.Context, id string) (out Info, err error) {
	c, n, err := s.load(ctx, "node.Get", "ssm:DescribeInstanceInformation", id)
	defer func() { err = c.end(ctx, false, err) }()
	if err != nil {
		return out, err
	}
	infos, err := s.infos(ctx, access.Tenant(ctx), []nodeRecord{n})
	if err != nil {
		return out, err
	}
	return infos[0], nil
}

// UpdateName changes the name under which a node is shown, at most 256 characters. It asks for ssm:UpdateInstanceInformation on the node. Errors: InvalidInstanceId, Validation.
func (s *Service) UpdateName(ctx context.Context, id, name string) (err error) {
	c, _, err := s.load(ctx, "node.UpdateName", "ssm:UpdateInstanceInformation", id)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return err
	}
	if err := checkText(c.op, "the name", name, MaxName); err != nil {
		return err
	}
	return s.change(ctx, c, id, func(n *nodeRecord) error { n.Name = name; return nil })
}

// UpdateRole changes the role that is kept with a node, at most 64 characters. It asks for ssm:UpdateManagedInstanceRole on the node. Errors: InvalidInstanceId, Validation.
func (s *Service) UpdateRole(ctx context.Context, id, role string) (err error) {
	c, _, err := s.load(ctx, "node.UpdateRole", "ssm:UpdateManagedInstanceRole", id)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return err
	}
	if err := checkText(c.op, "IamRole", role, MaxRole); err != nil {
		return err
	}
	return s.change(ctx, c, id, func(n *nodeRecord) error { n.Role = role; return nil })
}

// AddTags sets tags of a node; values of keys that are there are replaced. It asks for ssm:AddTagsToResource on the node. Errors: InvalidInstanceId, TooManyTagsError, Validation.
func (s *Service) AddTags(ctx context.Context, id string, tags map[string]string) (err error) {
	c, _, err := s.load(ctx, "node.AddTags", "ssm:AddTagsToResource", id)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return err
	}
	if err := checkTags(c.op, tags); err != nil {
		return err
	}
	if len(tags) == 0 {
		return fault.New(c.op, fault.Validation, "no tags are given")
	}
	return s.change(ctx, c, id, func(n *nodeRecord) error {
		if n.Tags == nil {
			n.Tags = map[string]string{}
		}
		maps.Copy(n.Tags, tags)
		return checkTags(c.op, n.Tags)
	})
}

// RemoveTags removes tags of a node by key; keys that are not there are no error. It asks for ssm:RemoveTagsFromResource on the node. Errors: InvalidInstanceId, Validation.
func (s *Service) RemoveTags(ctx context.Context, id string, keys []string) (err error) {
	c, _, err := s.load(ctx, "node.RemoveTags", "ssm:RemoveTagsFromResource", id)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return err
	}
	if len(keys) == 0 || len(keys) > MaxTags {
		return fault.New(c.op, fault.Validation, "%d keys are given: give 1 to %d", len(keys), MaxTags)
	}
	for _, k := range keys {
		if err := checkTagKey(c.op, k); err != nil {
			return err
		}
	}
	return s.change(ctx, c, id, func(n *nodeRecord) error {
		for _, k := range keys {
			delete(n.Tags, k)
		}
		return nil
	})
}

// ListTags returns a node's tags. It asks for ssm:ListTagsForResource on the node. Errors: InvalidInstanceId.
func (s *Service) ListTags(ctx context.Context, id string) (tags map[string]string, err error) {
	c, n, err := s.load(ctx, "node.ListTags", "ssm:ListTagsForResource", id)
	defer func() { err = c.end(ctx, false, err) }()
	if err != nil {
		return nil, err
	}
	if n.Tags == nil {
		n.Tags = map[string]string{}
	}
	return n.Tags, nil
}

// Deregister removes a node: its keys are forgotten, so that nothing is taken from it and nothing sent to it any more. Config.Gone says what goes with it; history stays. It asks for
// ssm:DeregisterManagedInstance on the node. Errors: InvalidInstanceId.
func (s *Service) Deregister(ctx context.Context, id string) (err error) {
	c, _, err := s.load(ctx, "node.Deregister", "ssm:DeregisterManagedInstance", id)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return err
	}
	tenant := access.Tenant(ctx)
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err := s.nodes.Get(ctx, tx, nodeKey(tenant, id))
		if isNotFound(err) {
			return c.noNode(id)
		}
		if err != nil {
			return err
		}
		dead := []key.K{nodeKey(tenant, id), seenKey(tenant, id)}
		if n.Token != "" {
			dead = append(dead, tokenKey(tenant, n.Token))
		}
		for _, k := range dead {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		if err := s.index(tx, id, nil, append(tagPrefixes(tenant, n.Tags), allIndex(tenant))); err != nil {
			return err
		}
		if s.cfg.Gone != nil {
			if err := s.cfg.Gone(ctx, tx, tenant, id); err != nil {
				return err
			}
		}
		return c.record(ctx, tx, map[string]string{"node": id})
	})
	if err == nil {
		s.forget(tenant, id)
	}
	return err
}
