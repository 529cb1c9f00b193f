package fleetwright

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// controllerKeys holds the control plane's identity for each tenant: made at first use, kept in the store under seal, read once.
type controllerKeys struct {
	store   store.Store
	records record.Table[controllerRecord]
	box     *seal.Box
	random  io.Reader

	mu  sync.Mutex
	ids map[string]controllerKey
}

type controllerKey struct {
	id    *message.Identity
	epoch uint64
}

type controllerRecord struct {
	Epoch  uint64 `json:"epoch"`
	Sealed []byte `json:"sealed"` // the seed
}

func newControllerKeys(s store.Store, codec *record.Codec, box *seal.Box, random io.Reader) *controllerKeys {
	if random == nil {
		random = rand.Reader
	}
	return &controllerKeys{store: s, records: record.NewTable[controllerRecord](codec), box: box, random: random, ids: map[string]controllerKey{}}
}

func controllerBinding(tenant string, epoch uint64) seal.Binding {
	return seal.Binding{Tenant: tenant, Kind: "controller", Name: "identity", Version: epoch, Type: "seed"}
}

// get returns the tenant's identity, making it when there is none. Two control planes that do so at once end up with the same one.
func (k *controllerKeys) get(ctx context.Context, tenant string) (controllerKey, error) {
	const op = "fleetwright.keys"
	k.mu.Lock()
	defer k.mu.Unlock()
	if id, ok := k.ids[tenant]; ok {
		return id, nil
	}
	at := key.New(tenant).Str("controller").Str("key")
	var rec controllerRecord
	read := func(ctx context.Context, r store.Reader) (err error) {
		rec, err = k.records.Get(ctx, r, at)
		return err
	}
	err := k.store.View(ctx, read)
	if errors.Is(err, store.ErrNotFound) {
		seed := make([]byte, message.SeedSize)
		if _, err := io.ReadFull(k.random, seed); err != nil {
			return controllerKey{}, fault.New(op, fault.InternalServerError, "no random bytes: %w", err)
		}
		sealer, err := k.box.Prepare(ctx, "", controllerBinding(tenant, 1))
		if err != nil {
			return controllerKey{}, fault.Wrap(op, err)
		}
		err = k.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			err := read(ctx, tx)
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
			sealed, err := sealer.Seal(secret.New(seed))
			if err != nil {
				return err
			}
			rec = controllerRecord{Epoch: 1, Sealed: sealed}
			return k.records.Put(tx, at, rec)
		})
		clear(seed)
		if err != nil {
			return controllerKey{}, fault.Wrap(op, err)
		}
	} else if err != nil {
		return controllerKey{}, fault.Wrap(op, err)
	}
	seed, err := k.box.Open(ctx, rec.Sealed, controllerBinding(tenant, rec.Epoch))
	if err != nil {
		return controllerKey{}, fault.Wrap(op, err)
	}
	defer seed.Wipe()
	id, err := message.IdentityFromSeed(tenant, message.Controller, seed)
	if err != nil {
		return controllerKey{}, fault.Wrap(op, err)
	}
	k.ids[tenant] = controllerKey{id, rec.Epoch}
	return k.ids[tenant], nil
}

// public is what a new node pins.
func (k *controllerKeys) public(ctx context.Context, tenant string) (message.Peer, uint64, error) {
	c, err := k.get(ctx, tenant)
	if err != nil {
		return message.Peer{}, 0, err
	}
	return c.id.Public(), c.epoch, nil
}

const auditContext = "fleetwright/audit/v1/checkpoint"

// signAudit signs checkpoints of the audit log with the default tenant's identity.
func (k *controllerKeys) signAudit(msg []byte) ([]byte, error) {
	c, err := k.get(context.Background(), access.DefaultTenant)
	if err != nil {
		return nil, err
	}
	return c.id.Sign(auditContext, msg), nil
}

func (k *controllerKeys) verifyAudit(_ string, msg, sig []byte) error {
	c, err := k.get(context.Background(), access.DefaultTenant)
	if err != nil {
		return err
	}
	if !c.id.Public().Verify(auditContext, msg, sig) {
		return fault.New("fleetwright.keys", fault.DataCorrupt, "the checkpoint's signature is not this control plane's")
	}
	return nil
}
