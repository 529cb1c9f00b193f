package parameter

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// amend runs fn on a parameter in one transaction, after the authorizer allowed it; fn changes the head and what belongs to it, and amend writes the head. The audit record and the events that fn
// returns are written with it. fn may run many times. Amending twice must be the same as amending once: a commit of unknown outcome is tried again.
func (s *Service) amend(ctx context.Context, op, action, canon string, ids map[string]string, fn func(ctx context.Context, tx store.Tx, tenant string, h *version) ([]Event, error)) (err error) {
	tenant := access.Tenant(ctx)
	defer func() {
		if err != nil {
			s.audited(ctx, action, resource(canon), err)
		}
	}()
	for tries := 0; ; tries++ {
		var seen *version
		if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) (err error) {
			seen, err = s.head(ctx, r, tenant, canon)
			return err
		}); err != nil {
			return err
		}
		var tags map[string]string
		if seen != nil {
			tags = seen.Tags
		}
		if err := s.check(ctx, action, canon, tags); err != nil {
			return fault.Wrap(op, err)
		}
		if seen == nil {
			return absent(op, canon)
		}
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			h, err := s.head(ctx, tx, tenant, canon)
			if err != nil {
				return err
			}
			if h == nil || !maps.Equal(h.Tags, seen.Tags) {
				return errMoved
			}
			old := *h
			old.Tags = maps.Clone(h.Tags)
			events, err := fn(ctx, tx, tenant, h)
			if err != nil {
				return err
			}
			if err := s.reindex(tx, tenant, canon, &old, h); err != nil {
				return err
			}
			if err := s.putHead(tx, tenant, canon, h); err != nil {
				return err
			}
			if len(events) > 0 {
				if err := s.tell(ctx, tx, tenant, s.now(), EventChange, events...); err != nil {
					return err
				}
			}
			return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: action, Resource: resource(canon), IDs: ids})
		})
		switch {
		case (errors.Is(err, errMoved) || errors.Is(err, store.ErrCommitUnknown)) && tries < 8:
			continue
		case errors.Is(err, errMoved):
			return fault.New(op, CodeTooManyUpdates, "parameter %s changes all the time; try again", canon).About(canon)
		}
		return storeFault(op, err)
	}
}

// LabelParameterVersion attaches labels to a version, taking them from the version that had them (S18). Labels that break the rules are listed and the others attached. It needs
// ssm:LabelParameterVersion. Errors: ParameterNotFound, ParameterVersionNotFound, ParameterVersionLabelLimitExceeded, ValidationException.
func (s *Service) LabelParameterVersion(ctx context.Context, req LabelParameterVersionRequest) (out LabelParameterVersionResult, err error) {
	const op, action = "parameter.LabelParameterVersion", "ssm:LabelParameterVersion"
	ref, good, bad, err := s.labels(ctx, op, action, req.Name, req.Labels, req.ParameterVersion)
	if err != nil {
		return out, err
	}
	err = s.amend(ctx, op, action, ref.canon, map[string]string{"version": number(uint64(req.ParameterVersion))}, func(ctx context.Context, tx store.Tx, tenant string, h *version) ([]Event, error) {
		n := uint64(req.ParameterVersion)
		if n == 0 {
			n = h.Version
		}
		out = LabelParameterVersionResult{InvalidLabels: bad, ParameterVersion: int64(n)}
		v, err := s.byNumber(ctx, tx, tenant, ref.canon, h, n)
		if err != nil {
			return nil, err
		}
		if v == nil {
			ref.chooser = number(n)
			return nil, noVersion(op, &ref)
		}
		all := slices.Clone(v.Labels)
		var added []string
		for _, l := range good {
			if !slices.Contains(all, l) {
				all, added = append(all, l), append(added, l)
			}
		}
		if len(all) > mostLabels {
			return nil, fault.New(op, CodeLabelLimit, "version %d of parameter %s would have %d labels and may have %d", n, h.Name, len(all), mostLabels).About(h.Name)
		}
		for _, l := range added {
			was, err := s.labelled(ctx, tx, tenant, ref.canon, l)
			if err != nil {
				return nil, err
			}
			if was != 0 {
				if err := s.relabel(ctx, tx, tenant, ref.canon, h, was, func(ls []string) []string {
					return slices.DeleteFunc(ls, func(x string) bool { return x == l })
				}); err != nil {
					return nil, err
				}
			}
			if err := s.mark(tx, labelKey(tenant, ref.canon, l), append(binary.AppendUvarint(nil, n), l...)); err != nil {
				return nil, err
			}
			if err := s.mark(tx, byKey(tenant, byLabel, l).Str(ref.canon), nil); err != nil {
				return nil, err
			}
		}
		if len(added) == 0 {
			return nil, nil
		}
		slices.Sort(all)
		if err := s.relabel(ctx, tx, tenant, ref.canon, h, n, func([]string) []string { return all }); err != nil {
			return nil, err
		}
		e := s.change(tenant, ref.canon, OpLabel, h)
		e.Version, e.Labels = int64(n), added
		return []Event{e}, nil
	})
	if err != nil {
		return LabelParameterVersionResult{}, err
	}
	return out, nil
}

// labels checks a request about labels.
func (s *Service) labels(ctx context.Context, op, action, name string, labels []string, n int64) (ref reference, good, bad []string, err error) {
	if ref, err = refer(op, access.Tenant(ctx), name, false); err == nil {
		good, bad, err = sortedLabels(op, labels)
	}
	if err == nil && ref.arn {
		err = fault.New(op, fault.Validation, "labels are set by name, not by ARN (S33)")
	}
	if err == nil && n < 0 {
		err = fault.New(op, fault.Validation, "ParameterVersion is %d; versions begin at 1", n)
	}
	if err != nil {
		s.audited(ctx, action, resource(canonical(clip(name))), err)
	}
	return ref, good, bad, err
}

// relabel changes the labels of one version: in the head, or in the past.
func (s *Service) relabel(ctx context.Context, tx store.Tx, tenant, canon string, h *version, n uint64, fn func([]string) []string) error {
	if n == h.Version {
		h.Labels = fn(slices.Clone(h.Labels))
		return nil
	}
	v, err := s.past(ctx, tx, tenant, canon, n)
	if err != nil || v == nil {
		return err
	}
	v.Labels = fn(slices.Clone(v.Labels))
	return s.putPast(tx, tenant, canon, v)
}

// UnlabelParameterVersion takes labels from a version; those that it does not have are listed as invalid (S19). It needs ssm:UnlabelParameterVersion. Errors: ParameterNotFound,
// ParameterVersionNotFound, ValidationException.
func (s *Service) UnlabelParameterVersion(ctx context.Context, req UnlabelParameterVersionRequest) (out UnlabelParameterVersionResult, err error) {
	const op, action = "parameter.UnlabelParameterVersion", "ssm:UnlabelParameterVersion"
	ref, good, bad, err := s.labels(ctx, op, action, req.Name, req.Labels, req.ParameterVersion)
	if err == nil && req.ParameterVersion == 0 {
		err = fault.New(op, fault.Validation, "ParameterVersion is missing: say of which version the labels are")
		s.audited(ctx, action, resource(ref.canon), err)
	}
	if err != nil {
		return out, err
	}
	n := uint64(req.ParameterVersion)
	err = s.amend(ctx, op, action, ref.canon, map[string]string{"version": number(n)}, func(ctx context.Context, tx store.Tx, tenant string, h *version) ([]Event, error) {
		out = UnlabelParameterVersionResult{RemovedLabels: []string{}, InvalidLabels: slices.Clone(bad)}
		v, err := s.byNumber(ctx, tx, tenant, ref.canon, h, n)
		if err != nil {
			return nil, err
		}
		if v == nil {
			ref.chooser = number(n)
			return nil, noVersion(op, &ref)
		}
		for _, l := range good {
			if !slices.Contains(v.Labels, l) {
				out.InvalidLabels = append(out.InvalidLabels, l)
				continue
			}
			out.RemovedLabels = append(out.RemovedLabels, l)
			if err := tx.Delete(labelKey(tenant, ref.canon, l)); err != nil {
				return nil, err
			}
			if err := tx.Delete(byKey(tenant, byLabel, l).Str(ref.canon)); err != nil {
				return nil, err
			}
		}
		if len(out.RemovedLabels) == 0 {
			return nil, nil
		}
		removed := out.RemovedLabels
		if err := s.relabel(ctx, tx, tenant, ref.canon, h, n, func(ls []string) []string {
			return slices.DeleteFunc(ls, func(x string) bool { return slices.Contains(removed, x) })
		}); err != nil {
			return nil, err
		}
		e := s.change(tenant, ref.canon, OpLabel, h)
		e.Version, e.Labels = int64(n), removed
		return []Event{e}, nil
	})
	if err != nil {
		return UnlabelParameterVersionResult{}, err
	}
	return out, nil
}
