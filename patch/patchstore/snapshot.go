package patchstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// digest tells requests apart for ever, unlike the audit log's.
func (s *Service) digest(req CreatePatchBaselineRequest) string {
	req.ClientToken = ""
	b, err := json.Marshal(req)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Snapshot returns what a node is to be patched by, for the node itself: whoever calls it has proven that, and no authorizer is asked. With a SnapshotID all nodes of one patch group and
// operating system get the same baseline for three days, whatever becomes of it (B25); without, a new one. Errors: InvalidInstanceId, UnsupportedOperatingSystem, ValidationException.
func (s *Service) Snapshot(ctx context.Context, tenant, node string, req patch.Request) (out patch.Snapshot, err error) {
	c := &call{s: s, op: "patchstore.Snapshot", tenant: tenant}
	tags, err := c.node(ctx, node)
	if err != nil {
		return out, err
	}
	return s.snapshot(ctx, c, tags, req)
}

func (s *Service) snapshot(ctx context.Context, c *call, tags map[string]string, req patch.Request) (out patch.Snapshot, err error) {
	os := req.OperatingSystem
	if os.Family() == patch.FamilyUnknown {
		return out, fault.New(c.op, fault.UnsupportedOperatingSystem, "%q is no operating system that can be patched", clip(string(os)))
	}
	fresh := req.SnapshotID == ""
	if fresh {
		if req.SnapshotID, err = s.uuid(); err != nil {
			return out, fault.Wrap(c.op, err)
		}
	} else if err := patch.CheckSnapshotID(req.SnapshotID); err != nil {
		return out, c.findings(err)
	}
	group, _ := patch.GroupOf(tags)
	now := s.cfg.Now().UTC()
	k := snapshotKey(c.tenant, group, os, req.SnapshotID)
	err = c.update(ctx, func(ctx context.Context, tx store.Tx) error {
		have, err := s.snapshots.Get(ctx, tx, k)
		switch {
		case err == nil && !have.Expired(now):
			out = have
			return nil
		case err != nil && !notFound(err):
			return err
		}
		id, err := s.chosen(ctx, tx, c.tenant, group, os)
		if err != nil {
			return err
		}
		b, err := s.load(ctx, tx, c.tenant, id)
		if notFound(err) {
			return c.absent(id)
		}
		if err != nil {
			return err
		}
		out = patch.Snapshot{ID: req.SnapshotID, Group: group, OperatingSystem: os, Baseline: b.Baseline, Created: now}
		if fresh {
			return nil // nobody else knows its id
		}
		return s.snapshots.Put(tx, k, out)
	})
	return out, err
}

func (s *Service) uuid() (string, error) {
	id, err := s.newID()
	if err != nil {
		return "", err
	}
	return patch.SnapshotIDOf(id), nil
}

// GetDeployablePatchSnapshotForInstance returns the snapshot of an id for a node, or the BaselineOverride's entry for the node's operating system in its place. The operating system is that of the node's last
// report. It needs ssm:GetDeployablePatchSnapshotForInstance on the node. Errors: InvalidInstanceId, UnsupportedOperatingSystem when the node has not reported yet, ValidationException.
func (s *Service) GetDeployablePatchSnapshotForInstance(ctx context.Context, req SnapshotRequest) (out SnapshotResult, err error) {
	c := s.begin(ctx, "GetDeployablePatchSnapshotForInstance", "node/"+clip(req.InstanceID), req)
	defer func() { c.end(ctx, false, err) }()
	tags, err := c.node(ctx, req.InstanceID)
	if err != nil && fault.CodeOf(err) != fault.InvalidInstanceID {
		return out, err
	}
	if err := c.may(ctx, tags); err != nil {
		return out, err
	}
	if err != nil {
		return out, err
	}
	if err := patch.CheckSnapshotID(req.SnapshotID); err != nil {
		return out, c.findings(err)
	}
	var st state
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		st, err = s.states.Get(ctx, r, stateKey(c.tenant, req.InstanceID))
		if notFound(err) {
			return fault.New(c.op, fault.UnsupportedOperatingSystem, "node %s has never reported patches, so that its operating system is not known here: run a Scan first", req.InstanceID).About(req.InstanceID)
		}
		return err
	})
	if err != nil {
		return out, err
	}
	var snap patch.Snapshot
	if len(req.BaselineOverride) > 0 {
		if snap, err = c.overridden(&req, &st, s.cfg.Now().UTC()); err != nil {
			return out, err
		}
	} else if snap, err = s.snapshot(ctx, c, tags, patch.Request{SnapshotID: req.SnapshotID, OperatingSystem: st.OperatingSystem, Product: st.Product}); err != nil {
		return out, err
	}
	b, err := json.Marshal(snap)
	if err != nil {
		return out, fault.Wrap(c.op, err)
	}
	return SnapshotResult{InstanceID: req.InstanceID, SnapshotID: req.SnapshotID, Product: st.Product,
		SnapshotDownloadURL: "data:application/json;base64," + base64.StdEncoding.EncodeToString(b)}, nil
}

// overridden makes the snapshot of a BaselineOverride: AWS's API takes one baseline, documents a list.
func (c *call) overridden(req *SnapshotRequest, st *state, now time.Time) (out patch.Snapshot, err error) {
	list := req.BaselineOverride
	if len(list) > 0 && list[0] == '{' {
		list = append(append([]byte{'['}, list...), ']')
	}
	all, err := patch.ParseBaselineOverride(list)
	if err != nil {
		return out, c.findings(err)
	}
	b := all.For(st.OperatingSystem)
	if b == nil {
		return out, c.bad("BaselineOverride has no baseline for %s", st.OperatingSystem)
	}
	return patch.Snapshot{ID: req.SnapshotID, Group: st.PatchGroup, OperatingSystem: st.OperatingSystem, Baseline: *b, Created: now}, nil
}

// Sweep removes snapshots whose content has expired and returns how many went. It is for the host's retention, for the tenant, and asks no authorizer.
func (s *Service) Sweep(ctx context.Context, tenant string) (n int, err error) {
	c := &call{s: s, op: "patchstore.Sweep", tenant: tenant}
	now := s.cfg.Now()
	rng := snapshotsKey(tenant).Range()
	rng.Limit = 500
	for {
		var last key.K
		gone, seen := 0, 0
		err := c.update(ctx, func(ctx context.Context, tx store.Tx) error {
			gone, seen = 0, 0
			var keys [][]byte
			for e, err := range s.snapshots.Scan(ctx, tx, rng) {
				if err != nil {
					return err
				}
				seen++
				last = e.Key
				if e.Value.Expired(now) {
					keys = append(keys, e.Key)
				}
			}
			for _, k := range keys {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			gone = len(keys)
			return nil
		})
		n += gone
		if err != nil || seen < rng.Limit {
			return n, err
		}
		rng.Start = append(append([]byte(nil), last...), 0)
	}
}
