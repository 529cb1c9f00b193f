package fleetwright

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// controllerKeys holds the control plane's identities for each tenant: the first is made at first use, the next ones by rotation. They lie in the store under seal.
type controllerKeys struct {
	store   store.Store
	records record.Table[controllerRecord]
	pins    record.Table[pinRecord]
	raised  record.Table[restoredRecord]
	box     *seal.Box
	random  io.Reader
	now     func() time.Time

	mu  sync.Mutex
	ids map[string]*controllerSet
}

// controllerKey is one identity.
type controllerKey struct {
	id    *message.Identity
	epoch uint64
	until time.Time    // of a former one: when it ends
	next  message.Keys // of a former one: what follows it, signed by it
	raise uint64       // what restores have added to the epochs that messages carry
}

// controllerSet is what a tenant has: the present identity, and former ones in their grace, newest first. It is not changed.
type controllerSet struct {
	controllerKey
	former []controllerKey
	public []message.Peer // of every epoch there was, newest first: what was signed with them stays verifiable
	fresh  time.Time      // until when it need not be read again
}

// at returns the identity to use towards a node that obeys the epoch: the one of that epoch while there is one, else the present one.
func (s *controllerSet) at(epoch uint64, now time.Time) *controllerKey {
	for i := range s.former {
		if f := &s.former[i]; f.epoch == epoch && now.Before(f.until) {
			return f
		}
	}
	return &s.controllerKey
}

// live returns the identities that messages may be sealed for: the present one, and those in their grace.
func (s *controllerSet) live(now time.Time) []*controllerKey {
	all := []*controllerKey{&s.controllerKey}
	for i := range s.former {
		if now.Before(s.former[i].until) {
			all = append(all, &s.former[i])
		}
	}
	return all
}

type controllerRecord struct {
	Epoch  uint64         `json:"epoch"`
	Sealed []byte         `json:"sealed"` // the seed
	Former []formerRecord `json:"former,omitempty"`
	Public []message.Peer `json:"public,omitempty"` // of the epochs before, newest first
}

type formerRecord struct {
	Epoch  uint64       `json:"epoch"`
	Sealed []byte       `json:"sealed"`
	Until  time.Time    `json:"until"`
	Next   message.Keys `json:"next"`
}

// pinRecord is the epoch that a node obeys. Nodes without one obey the first.
type pinRecord struct {
	Epoch uint64 `json:"epoch"`
}

// keysFresh is how long keys are used without a look at the store, where another control plane may have put newer ones.
const keysFresh = 10 * time.Second

func newControllerKeys(s store.Store, codec *record.Codec, box *seal.Box, random io.Reader, now func() time.Time) *controllerKeys {
	if random == nil {
		random = rand.Reader
	}
	return &controllerKeys{store: s, records: record.NewTable[controllerRecord](codec), pins: record.NewTable[pinRecord](codec), raised: record.NewTable[restoredRecord](codec), box: box, random: random, now: now,
		ids: map[string]*controllerSet{}}
}

func controllerBinding(tenant string, epoch uint64) seal.Binding {
	return seal.Binding{Tenant: tenant, Kind: "controller", Name: "identity", Version: epoch, Type: "seed"}
}

func controllerAt(tenant string) key.K { return key.New(tenant).Str("controller").Str("key") }

func pinAt(tenant, node string) key.K {
	return key.New(tenant).Str("controller").Str("pin").Str(node)
}

// get returns the tenant's identities, making the first when there is none. Two control planes that do so at once end up with the same one.
func (k *controllerKeys) get(ctx context.Context, tenant string) (*controllerSet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	have := k.ids[tenant]
	if have != nil && now.Before(have.fresh) && now.Add(keysFresh).Compare(have.fresh) >= 0 {
		return have, nil
	}
	set, err := k.load(ctx, tenant, have)
	if err != nil {
		return nil, fault.Wrap("fleetwright.keys", err)
	}
	set.fresh = now.Add(keysFresh)
	k.ids[tenant] = set
	return set, nil
}

// doubt makes the next get look at the store, unless what is known is younger than the age.
func (k *controllerKeys) doubt(tenant string, age time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	have := k.ids[tenant]
	if have == nil || k.now().Sub(have.fresh.Add(-keysFresh)).Abs() < age {
		return
	}
	stale := *have
	stale.fresh = time.Time{}
	k.ids[tenant] = &stale
}

func (k *controllerKeys) load(ctx context.Context, tenant string, have *controllerSet) (*controllerSet, error) {
	at := controllerAt(tenant)
	var rec controllerRecord
	var restored restoredRecord
	read := func(ctx context.Context, r store.Reader) (err error) {
		if restored, err = k.raised.Get(ctx, r, restoredAt()); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		rec, err = k.records.Get(ctx, r, at)
		return err
	}
	err := k.store.View(ctx, read)
	if errors.Is(err, store.ErrNotFound) {
		seed, sealer, err := k.seed(ctx, tenant, 1)
		if err != nil {
			return nil, err
		}
		defer clear(seed)
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
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	// Opening a seed may ask a key service: what is known already is kept, and with it what senders remember about their nodes.
	open := func(epoch uint64, sealed []byte) (*message.Identity, error) {
		if have != nil {
			for _, h := range append([]controllerKey{have.controllerKey}, have.former...) {
				if h.epoch == epoch {
					return h.id, nil
				}
			}
		}
		seed, err := k.box.Open(ctx, sealed, controllerBinding(tenant, epoch))
		if err != nil {
			return nil, err
		}
		defer seed.Wipe()
		return message.IdentityFromSeed(tenant, message.Controller, seed)
	}
	set := &controllerSet{controllerKey: controllerKey{epoch: rec.Epoch, raise: restored.Epoch}}
	if set.id, err = open(rec.Epoch, rec.Sealed); err != nil {
		return nil, err
	}
	set.public = append([]message.Peer{set.id.Public()}, rec.Public...)
	now := k.now()
	for _, f := range rec.Former {
		if !now.Before(f.Until) {
			continue
		}
		id, err := open(f.Epoch, f.Sealed)
		if err != nil {
			return nil, err
		}
		set.former = append(set.former, controllerKey{id: id, epoch: f.Epoch, until: f.Until, next: f.Next, raise: restored.Epoch})
	}
	if len(set.former) < len(rec.Former) {
		k.store.Update(ctx, func(ctx context.Context, tx store.Tx) error { //nolint:errcheck // nobody uses them, and it is tried again
			rec, err := k.records.Get(ctx, tx, at)
			if err != nil {
				return err
			}
			rec.Former = slices.DeleteFunc(rec.Former, func(f formerRecord) bool { return !now.Before(f.Until) })
			return k.records.Put(tx, at, rec)
		})
	}
	return set, nil
}

// seed makes the seed of an identity and what seals it within a transaction.
func (k *controllerKeys) seed(ctx context.Context, tenant string, epoch uint64) ([]byte, *seal.Sealer, error) {
	seed := make([]byte, message.SeedSize)
	if _, err := io.ReadFull(k.random, seed); err != nil {
		return nil, nil, fault.New("fleetwright.keys", fault.InternalServerError, "no random bytes: %w", err)
	}
	sealer, err := k.box.Prepare(ctx, "", controllerBinding(tenant, epoch))
	return seed, sealer, err
}

// rotate makes the next identity; record is called in its transaction. The present one is kept for the grace, and signs what makes nodes obey the next.
func (k *controllerKeys) rotate(ctx context.Context, tenant string, grace time.Duration, record func(context.Context, store.Tx, uint64) error) (uint64, error) {
	k.doubt(tenant, 0)
	defer k.doubt(tenant, 0)
	set, err := k.get(ctx, tenant)
	if err != nil {
		return 0, err
	}
	epoch := set.epoch + 1
	seed, sealer, err := k.seed(ctx, tenant, epoch)
	if err != nil {
		return 0, err
	}
	defer clear(seed)
	next, err := message.IdentityFromSeed(tenant, message.Controller, secret.New(slices.Clone(seed)))
	if err != nil {
		return 0, err
	}
	statement, now := message.NewKeys(set.id, next, epoch), k.now().UTC().Round(0)
	return epoch, k.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := k.records.Get(ctx, tx, controllerAt(tenant))
		if err != nil {
			return err
		}
		if rec.Epoch != set.epoch {
			return fault.New("fleetwright.RotateControllerKeys", fault.ServiceUnavailable, "somebody else gave the control plane new keys in this moment: try again if they are to change once more")
		}
		sealed, err := sealer.Seal(secret.New(seed))
		if err != nil {
			return err
		}
		former := []formerRecord{{Epoch: rec.Epoch, Sealed: rec.Sealed, Until: now.Add(grace), Next: statement}}
		for _, f := range rec.Former {
			if now.Before(f.Until) {
				former = append(former, f)
			}
		}
		if len(former) > maxFormer {
			return fault.New("fleetwright.RotateControllerKeys", fault.Validation, "%d former keys are still in their grace: wait until one has ended", maxFormer)
		}
		rec = controllerRecord{Epoch: epoch, Sealed: sealed, Former: former, Public: append([]message.Peer{set.id.Public()}, rec.Public...)}
		if err := k.records.Put(tx, controllerAt(tenant), rec); err != nil {
			return err
		}
		return record(ctx, tx, epoch)
	})
}

// maxFormer is how many former keys may be in their grace at once.
const maxFormer = 16

// pinned returns the epoch that the node is known to obey.
func (k *controllerKeys) pinned(ctx context.Context, tenant, node string) (uint64, error) {
	rec := pinRecord{}
	err := k.store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		rec, err = k.pins.Get(ctx, r, pinAt(tenant, node))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return 1, nil
	}
	return rec.Epoch, err
}

// pin writes it.
func (k *controllerKeys) pin(ctx context.Context, tenant, node string, epoch uint64) error {
	return k.store.Update(ctx, func(_ context.Context, tx store.Tx) error {
		return k.pins.Put(tx, pinAt(tenant, node), pinRecord{epoch})
	})
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
	for _, p := range c.public {
		if p.Verify(auditContext, msg, sig) {
			return nil
		}
	}
	return fault.New("fleetwright.keys", fault.DataCorrupt, "the checkpoint's signature is not this control plane's")
}
