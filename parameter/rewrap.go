package parameter

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/store"
)

// ActionRewrap is the action that Rewrap asks for, on parameter/*; AWS has none.
const ActionRewrap = "fleetwright:RewrapParameters"

// RewrapRequest gives SecureStrings a new key.
type RewrapRequest struct {
	// From selects versions by their KeyId; "" is those of the default key.
	From string
	// To is the key that wraps them from now on; "" is the key service's primary key at the time.
	To string
	// Most is how many parameters are looked at in this call; 0 is all. The next call with the same From and To goes on behind them, in whatever process.
	Most int
}

// RewrapResult says what was done in this call.
type RewrapResult struct {
	Parameters int  // that were looked at
	Rewrapped  int  // versions
	Done       bool // nothing is left
	Failed     []RewrapFailure
}

// RewrapFailure is a version that keeps its former key: its key is lost, or its ciphertext damaged.
type RewrapFailure struct {
	Name    string
	Version int64
	Code    fault.Code
}

// rewrapState is how far a rotation has come.
type rewrapState struct {
	From  string `json:"from"`
	To    string `json:"to"` // as resolved
	After string `json:"after"`
}

// Rewrap wraps the data keys of all versions by another key, without touching the payloads: what a rotation of keys needs. Values stay readable all the time. It is resumable: a crash repeats at most one parameter, whose
// versions have the new key already. One that fails is listed and does not stop the rest; key services that are away do. It needs ActionRewrap. Versions, dates and events do not change.
func (s *Service) Rewrap(ctx context.Context, req RewrapRequest) (out RewrapResult, err error) {
	const op = "parameter.Rewrap"
	if err := access.Check(ctx, s.cfg.Authorizer, ActionRewrap, anything, nil); err != nil {
		s.audited(ctx, ActionRewrap, anything, err)
		return out, fault.Wrap(op, err)
	}
	if req.From == defaultKey {
		req.From = ""
	}
	if req.To == defaultKey {
		req.To = ""
	}
	tenant := access.Tenant(ctx)
	probe, err := s.cfg.Box.Prepare(ctx, req.To, seal.Binding{Tenant: tenant, Kind: "parameter rotation", Name: "-"})
	if err != nil {
		s.audited(ctx, ActionRewrap, anything, err)
		return out, fault.Wrap(op, err)
	}
	state := rewrapState{From: req.From, To: probe.KeyID()}
	k := rewrapKey(tenant)
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		state.After = ""
		b, err := r.Get(ctx, k)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if b, err = s.cfg.Codec.Open(k, b); err != nil {
			return err
		}
		var was rewrapState
		if err := json.Unmarshal(b, &was); err != nil {
			return err
		}
		if was.From == state.From && was.To == state.To {
			state.After = was.After
		}
		return nil
	}); err != nil {
		return out, err
	}
	q := &query{Below: "/", Conds: []cond{{Key: "Type", Option: optEquals, Values: []string{string(SecureString)}}}}
	for {
		page, last, more, _, err := s.candidates(ctx, op, tenant, q, state.After, readAtOnce)
		if err != nil {
			return out, err
		}
		for _, c := range page {
			if req.Most > 0 && out.Parameters == req.Most {
				return out, nil
			}
			state.After = c.canon
			if err := s.rewrapOne(ctx, op, tenant, c.canon, &req, &state, &out); err != nil {
				return out, err
			}
			out.Parameters++
		}
		if state.After = last; !more {
			break
		}
	}
	out.Done = true
	return out, storeFault(op, s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Delete(k) }))
}

// rewrapOne gives the versions of one parameter the new key.
func (s *Service) rewrapOne(ctx context.Context, op, tenant, canon string, req *RewrapRequest, state *rewrapState, out *RewrapResult) error {
	var all []version
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		all = nil
		h, err := s.head(ctx, r, tenant, canon)
		if err != nil || h == nil {
			return err
		}
		all = append(all, *h)
		for it, err := range r.Scan(ctx, pastsKey(tenant, canon).Range()) {
			if err != nil {
				return err
			}
			v, err := s.openVersion(it.Key, it.Value)
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		return nil
	}); err != nil {
		return err
	}
	type swap struct{ was, now string }
	swaps := map[uint64]swap{}
	for _, v := range all {
		if v.KeyID != req.From {
			continue
		}
		if id, err := seal.KeyID([]byte(v.Value)); err == nil && id == state.To && v.KeyID == req.To {
			continue
		}
		b, err := s.cfg.Box.Rewrap(ctx, []byte(v.Value), state.To, binding(tenant, canon, v.Version))
		switch {
		case err == nil:
			swaps[v.Version] = swap{v.Value, string(b)}
		case fault.CodeOf(err) == CodeKeyID, fault.CodeOf(err) == fault.DataCorrupt:
			out.Failed = append(out.Failed, RewrapFailure{Name: v.Name, Version: int64(v.Version), Code: fault.CodeOf(err)})
		default:
			return fault.Wrap(op, err)
		}
	}
	at, err := json.Marshal(state)
	if err != nil {
		return fault.Wrap(op, err)
	}
	n := 0
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		n = 0
		h, err := s.head(ctx, tx, tenant, canon)
		if err != nil {
			return err
		}
		for number, sw := range swaps {
			if h == nil {
				break
			}
			v, err := s.byNumber(ctx, tx, tenant, canon, h, number)
			if err != nil {
				return err
			}
			if v == nil || v.Value != sw.was {
				continue // written, deleted or given a key since
			}
			if v == h {
				old := *h
				h.Value, h.KeyID = sw.now, req.To
				if err := s.reindex(tx, tenant, canon, &old, h); err != nil {
					return err
				}
				if err := s.putHead(tx, tenant, canon, h); err != nil {
					return err
				}
			} else {
				v.Value, v.KeyID = sw.now, req.To
				if err := s.putPast(tx, tenant, canon, v); err != nil {
					return err
				}
			}
			n++
		}
		if err := s.mark(tx, rewrapKey(tenant), at); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: ActionRewrap, Resource: resource(canon), IDs: map[string]string{"key": clip(state.To)}})
	})
	if err != nil {
		return storeFault(op, err)
	}
	out.Rewrapped += n
	return nil
}
