package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/target"
)

// ActionRegister is the action of audit entries of registrations. No authorizer is asked: the code is the right to register.
const ActionRegister = "ssm:RegisterManagedInstance"

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// errActivation is the one answer to everything that may be wrong with an activation (rule R-15): unknown, wrong code, expired, used up, deleted.
func errActivation() error {
	return fault.New("node.Register", fault.InvalidActivation, "the activation's id and code do not belong together, or it expired, was deleted or is used up: create a new one")
}

// Register makes a machine a managed node. The caller needs no principal: the activation's code is its right. A code that may be used n times gives exactly n nodes,
// however many ask at once. A repeat with the same token and the same keys gives the same node, also after the activation expired. Errors: InvalidActivation,
// Validation.
func (s *Service) Register(ctx context.Context, req message.RegisterRequest) (resp message.RegisterResponse, err error) {
	const op = "node.Register"
	resource, tenant := "activation/"+shown(req.ActivationID), access.DefaultTenant
	ctx = access.With(ctx, access.Principal{Name: resource}) // who calls is whoever has the code
	defer func() {
		if err != nil {
			e := audit.Of(ActionRegister, resource, err)
			e.Tenant = tenant
			s.cfg.Audit.Read(ctx, e) //nolint:errcheck // the refusal stands anyway
			err = fault.Wrap(op, err)
		}
	}()
	select {
	case s.registering <- struct{}{}:
		defer func() { <-s.registering }()
	case <-ctx.Done():
		return resp, ctx.Err()
	}
	switch {
	case len(req.ActivationID) == 0 || len(req.ActivationID) > MaxToken || len(req.ActivationCode) < MinCode || len(req.ActivationCode) > MaxCode:
		return resp, errActivation()
	case len(req.Token) == 0 || len(req.Token) > MaxToken:
		return resp, fault.New(op, fault.Validation, "the token has %d bytes: give 1 to %d", len(req.Token), MaxToken)
	}
	if err := (message.Peer{Tenant: "x", Name: "x", SignKey: req.SignKey, SealKey: req.SealKey}).Validate(); err != nil {
		return resp, fault.New(op, fault.Validation, "the node's keys cannot be used: %w", err)
	}
	facts, err := checkFacts(op, req.Facts)
	if err != nil {
		return resp, err
	}
	hash, token := codeHash(req.ActivationID, req.ActivationCode), tokenName(req)

	// Most wrong tries end here, without a transaction that writes.
	var act activationRecord
	var known string
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		owner, err := s.owners.Get(ctx, r, ownerKey(req.ActivationID))
		if err != nil && !isNotFound(err) {
			return err
		}
		t := owner.Tenant // "" has no activations; the same reads follow
		act, known, err = s.activation(ctx, r, t, req.ActivationID, token)
		if err == nil && t != "" {
			tenant = t
		}
		return err
	})
	if err != nil {
		return resp, err
	}
	if subtle.ConstantTimeCompare(act.code(), hash) != 1 {
		return resp, errActivation()
	}
	keys, epoch, err := s.cfg.Controller(ctx, tenant)
	if err != nil {
		return resp, fault.New(op, fault.ServiceUnavailable, "the control plane's keys are not at hand: %w", err)
	}
	var idb [9]byte
	if err := s.random(idb[:]); err != nil {
		return resp, err
	}
	id := "mi-" + hex.EncodeToString(idb[:])[:17]
	now := s.now()
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		act, known, err = s.activation(ctx, tx, tenant, req.ActivationID, token)
		if err != nil {
			return err
		}
		if subtle.ConstantTimeCompare(act.code(), hash) != 1 {
			return errActivation() // deleted since
		}
		if known != "" {
			n, err := s.nodes.Get(ctx, tx, nodeKey(tenant, known))
			if err != nil && !isNotFound(err) {
				return err
			}
			if err != nil || !bytes.Equal(n.SignKey, req.SignKey) || !bytes.Equal(n.SealKey, req.SealKey) {
				return errActivation() // the token was used, by other keys or for a node that is gone
			}
			return nil
		}
		if !now.Before(act.Expires) || act.Count >= act.Limit {
			return errActivation()
		}
		if _, err := tx.Get(ctx, nodeKey(tenant, id)); !isNotFound(err) {
			return errors.Join(err, fault.New(op, fault.InternalServerError, "the random id is taken: try again"))
		}
		act.Count++
		n := nodeRecord{
			ID: id, Name: act.Name, Activation: act.ID, Token: token, Role: act.Role, Registered: now, Tags: act.Tags, Facts: facts,
			SignKey: req.SignKey, SealKey: req.SealKey, Serial: 1, Assurance: target.Signed,
		}
		if err := s.activations.Put(tx, activationKey(tenant, act.ID), act); err != nil {
			return err
		}
		if err := s.owners.Put(tx, tokenKey(tenant, token), ownerRecord{Node: id}); err != nil {
			return err
		}
		if err := s.create(tx, tenant, n); err != nil {
			return err
		}
		return s.cfg.Audit.Record(ctx, tx, audit.Entry{Tenant: tenant, Action: ActionRegister, Resource: resource, IDs: map[string]string{"activation": act.ID, "node": id}})
	})
	if err != nil {
		return resp, err
	}
	if known != "" {
		id = known
	}
	return message.RegisterResponse{Tenant: tenant, Node: id, SignKey: keys.SignKey, SealKey: keys.SealKey, Epoch: epoch}, nil
}

// create writes a new node with its index entries.
func (s *Service) create(tx store.Tx, tenant string, n nodeRecord) error {
	if err := s.nodes.Put(tx, nodeKey(tenant, n.ID), n); err != nil {
		return err
	}
	return s.index(tx, n.ID, append(tagPrefixes(tenant, n.Tags), allIndex(tenant)), nil)
}

// activation reads an activation, the zero one if there is none, and the node that a token gave.
func (s *Service) activation(ctx context.Context, r store.Reader, tenant, id, token string) (act activationRecord, node string, err error) {
	if act, err = s.activations.Get(ctx, r, activationKey(tenant, id)); err != nil && !isNotFound(err) {
		return act, "", err
	}
	o, err := s.owners.Get(ctx, r, tokenKey(tenant, token))
	if err != nil && !isNotFound(err) {
		return act, "", err
	}
	return act, o.Node, nil
}

// code returns the hash to compare with; that of an activation which does not exist is one that no code has, and takes as long.
func (r activationRecord) code() []byte {
	if len(r.Code) != sha256.Size {
		return make([]byte, sha256.Size)
	}
	return r.Code
}

// tokenName is the name under which a registration's token is remembered.
func tokenName(req message.RegisterRequest) string {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(req.ActivationID))))
	h.Write([]byte(req.ActivationID))
	h.Write([]byte(req.Token))
	return hex.EncodeToString(h.Sum(nil))
}

// RotationContext is the context of the signatures of a Rotation.
const RotationContext = message.RotationContext

// Rotation gives a node new keys.
type Rotation = message.Rotation

// NewRotation returns a rotation from one identity of a node to the next, signed by both.
func NewRotation(old, next *message.Identity, serial uint64) Rotation {
	return message.NewRotation(old, next, serial)
}

// ActionRotate is the action of audit entries of rotations. No authorizer is asked: the present key's signature is the right.
const ActionRotate = "ssm:UpdateInstanceInformation"

// RotateKeys replaces a node's keys. It is repeatable: the rotation that was the last one succeeds again. One answer, UnrecognizedClientException, is given to everything that may be wrong
// with the node, the serial or the signatures.
func (s *Service) RotateKeys(ctx context.Context, r Rotation) (err error) {
	const op = "node.RotateKeys"
	ctx = access.With(ctx, access.Principal{Tenant: r.Tenant, Name: "node/" + shown(r.Node)})
	refused := fault.New(op, fault.Unauthorized, "the rotation is not signed by the node's present key and the new one, or comes out of order")
	defer func() {
		if err != nil {
			s.cfg.Audit.Read(ctx, audit.Of(ActionRotate, "node/"+shown(r.Node), err)) //nolint:errcheck // the refusal stands anyway
			err = fault.Wrap(op, err)
		}
	}()
	next := message.Peer{Tenant: r.Tenant, Name: r.Node, SignKey: r.SignKey, SealKey: r.SealKey}
	if next.Validate() != nil || !next.Verify(RotationContext, r.Message(), r.Proof) {
		return refused
	}
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err := s.nodes.Get(ctx, tx, nodeKey(r.Tenant, r.Node))
		if isNotFound(err) {
			return refused
		}
		if err != nil {
			return err
		}
		if n.Serial == r.Serial && bytes.Equal(n.SignKey, r.SignKey) && bytes.Equal(n.SealKey, r.SealKey) {
			return nil // the answer was lost
		}
		present := message.Peer{Tenant: r.Tenant, Name: r.Node, SignKey: n.SignKey, SealKey: n.SealKey}
		if r.Serial != n.Serial+1 || !present.Verify(RotationContext, r.Message(), r.Signature) {
			return refused
		}
		n.SignKey, n.SealKey, n.Serial = r.SignKey, r.SealKey, r.Serial
		if err := s.nodes.Put(tx, nodeKey(r.Tenant, r.Node), n); err != nil {
			return err
		}
		return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: ActionRotate, Resource: "node/" + r.Node, IDs: map[string]string{"node": r.Node}})
	})
}
