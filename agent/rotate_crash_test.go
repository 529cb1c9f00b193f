package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

var errKilled = errors.New("killed")

// mortalDisk is a disk that dies before one of its operations: what was not synced may be there afterwards or not.
type mortalDisk struct {
	files, durable map[string][]byte
	left           int // operations before its death; negative: it lives
	ops            int
}

func (d *mortalDisk) op() error {
	if d.left == 0 {
		return errKilled
	}
	d.left--
	d.ops++
	return nil
}

func (d *mortalDisk) Names() ([]string, error) { return nil, errKilled }

func (d *mortalDisk) Read(name string) ([]byte, error) {
	if b, ok := d.files[name]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (d *mortalDisk) Create(name string, data []byte) error {
	if err := d.op(); err != nil {
		d.files[name] = data[:len(data)/2]
		return err
	}
	if _, ok := d.files[name]; ok {
		return fs.ErrExist
	}
	d.files[name] = bytes.Clone(data)
	return nil
}

func (d *mortalDisk) Append(string, int64, []byte) error { return errKilled }

func (d *mortalDisk) Rename(from, to string) error {
	if err := d.op(); err != nil {
		return err
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

func (d *mortalDisk) Remove(name string) error {
	if err := d.op(); err != nil {
		return err
	}
	if _, ok := d.files[name]; !ok {
		return fs.ErrNotExist
	}
	delete(d.files, name)
	return nil
}

func (d *mortalDisk) Sync() error {
	if err := d.op(); err != nil {
		return err
	}
	d.durable = maps.Clone(d.files)
	return nil
}

// keyOffice is the control plane's side: which of a node's keys are in force, by the rules of node.Service.RotateKeys.
type keyOffice struct {
	id      *message.Identity
	present message.Peer
	serial  uint64
	asked   int
	lose    map[int]string // by the number of the question: "question" or "answer" is lost; "lie" and "no" are answers of somebody between
	die     func()         // ends the node when something was lost
}

func (o *keyOffice) Rotate(_ context.Context, req message.RotateRequest) (resp message.RotateResponse, err error) {
	o.asked++
	lost := func() error {
		if o.die != nil {
			o.die()
		}
		return fault.New("test", fault.ServiceUnavailable, "lost")
	}
	what := o.lose[o.asked]
	if what == "question" {
		return resp, lost()
	}
	r := req.Rotation
	next := message.Peer{Tenant: r.Tenant, Name: r.Node, SignKey: r.SignKey, SealKey: r.SealKey}
	switch {
	case o.serial == r.Serial && bytes.Equal(o.present.SignKey, r.SignKey):
	case r.Serial != o.serial+1 || !o.present.Verify(message.RotationContext, r.Message(), r.Signature) || !next.Verify(message.RotationContext, r.Message(), r.Proof):
		return resp, fault.New("test", fault.Unauthorized, "refused")
	default:
		o.present, o.serial = next, r.Serial
	}
	switch what {
	case "answer":
		return resp, lost()
	case "lie":
		return message.RotateResponse{Signature: make([]byte, 64)}, nil
	case "no":
		return resp, fault.New("test", fault.Unauthorized, "refused, says somebody")
	}
	return message.RotateResponse{Signature: o.id.Sign(message.RotatedContext, r.Message())}, nil
}

func (o *keyOffice) knows(id *message.Identity) bool {
	return id != nil && bytes.Equal(id.Public().SignKey, o.present.SignKey)
}

func newOffice(t *testing.T) (*keyOffice, map[string][]byte) {
	own, err := message.NewIdentity("default", "mi-1", nil)
	require.NoError(t, err)
	ctrl, err := message.NewIdentity("default", message.Controller, nil)
	require.NoError(t, err)
	b, err := json.Marshal(&nodeState{Version: 1, Tenant: "default", Node: "mi-1", Seed: seedOf(own), Controller: ctrl.Public(), Epoch: 1})
	require.NoError(t, err)
	return &keyOffice{id: ctrl, present: own.Public(), serial: 1}, map[string][]byte{nodeFile: b}
}

// boot is the start of a node from what its disk holds.
func boot(t *testing.T, d *mortalDisk) *keyring {
	b, err := d.Read(nodeFile)
	require.NoError(t, err, "the file of the node's keys is there at every moment")
	k, err := ringOf(bytes.Clone(b), "test")
	require.NoError(t, err, "and whole")
	k.write = func(data []byte) error { return writeFile(d, nodeFile, data) }
	return k
}

// A node that dies at any operation of its disk, or with any question or answer lost, knows the key that is in force when it comes back, and ends with that one alone.
func TestANodeIsNeverLockedOutOfItsKeys(t *testing.T) {
	office, files := newOffice(t)
	whole := &mortalDisk{files: files, durable: files, left: -1}
	require.NoError(t, func() error { k := boot(t, whole); return k.rotate(t.Context(), office, 0, nil) }())
	require.Equal(t, 8, whole.ops, "two files made durable")
	deaths := 0
	for _, lost := range []string{"", "question", "answer"} {
		for dies := 0; dies <= whole.ops; dies++ {
			for _, kept := range []bool{false, true} { // what was not synced
				office, files := newOffice(t)
				d := &mortalDisk{files: maps.Clone(files), durable: files, left: dies}
				ctx, cancel := context.WithCancel(t.Context())
				office.lose, office.die = map[int]string{1: lost}, cancel
				k := boot(t, d)
				err := k.rotate(ctx, office, time.Millisecond, nil)
				cancel()
				if err != nil {
					deaths++
				}
				if !kept {
					d.files = maps.Clone(d.durable)
				}
				d.left = -1
				k = boot(t, d)
				require.True(t, office.knows(k.own) || office.knows(k.next), "lost %q, died at %d, kept %v", lost, dies, kept)
				// While both may be in force, no key is shown to a transport that refuses the wrong one for good.
				require.Equal(t, k.pending(), k.held != nil)
				require.NoError(t, k.rotate(t.Context(), office, time.Millisecond, nil), "lost %q, died at %d, kept %v", lost, dies, kept)
				require.True(t, office.knows(k.own))
				require.False(t, k.pending())
				require.Equal(t, office.serial, k.serial)
				again := boot(t, d)
				require.True(t, office.knows(again.own))
				require.False(t, again.pending(), "the former keys are gone")
				require.NotContains(t, string(d.files[nodeFile]), `"next"`)
			}
		}
	}
	require.Greater(t, deaths, 30)
}

// Whoever stands between can keep a node from new keys, and from nothing else.
func TestLiesAboutARotationLockNobodyOut(t *testing.T) {
	office, files := newOffice(t)
	d := &mortalDisk{files: files, durable: files, left: -1}
	k := boot(t, d)
	office.lose = map[int]string{1: "lie", 2: "lie", 3: "no"}
	require.Equal(t, fault.Unauthorized, fault.CodeOf(k.rotate(t.Context(), office, time.Millisecond, nil)))
	require.Equal(t, 3, office.asked, "an answer that the control plane did not sign is none")
	require.True(t, office.knows(k.next), "the truth is kept")
	require.NoError(t, k.rotate(t.Context(), office, time.Millisecond, nil))
	require.True(t, office.knows(k.own))
}

func TestWhatIsSealedForEitherKeyOpensWhileNobodyKnows(t *testing.T) {
	office, files := newOffice(t)
	d := &mortalDisk{files: files, durable: files, left: -1}
	k := boot(t, d)
	old := k.own.Public()
	require.NoError(t, k.prepare())
	now := time.Now()
	seal := func(to message.Peer) []byte {
		data, err := office.id.Seal(to, message.Envelope{Kind: message.KindAck, ID: "m", NotBefore: now, NotAfter: now, Body: []byte("{}")})
		require.NoError(t, err)
		return data
	}
	next := k.next.Public()
	for _, to := range []message.Peer{old, next} {
		_, err := k.open(seal(to), now)
		require.NoError(t, err)
	}
	require.NoError(t, k.rotate(t.Context(), office, time.Millisecond, nil))
	_, err := k.open(seal(old), now)
	require.ErrorIs(t, err, message.ErrBadSignature)
	_, err = k.open(seal(next), now)
	require.NoError(t, err)
}

// The pinned keys change by a statement of the present ones only, never back, and are durable when they do.
func TestPinnedKeysFollowTheirOwnWordOnly(t *testing.T) {
	office, files := newOffice(t)
	make2 := func() *message.Identity {
		id, err := message.NewIdentity("default", message.Controller, nil)
		require.NoError(t, err)
		return id
	}
	two, three, stranger := make2(), make2(), make2()
	d := &mortalDisk{files: files, durable: files, left: -1}
	k := boot(t, d)
	_, err := k.pin(message.NewKeys(stranger, two, 2))
	require.ErrorIs(t, err, message.ErrBadSignature)
	_, err = k.pin(message.NewKeys(two, three, 3))
	require.ErrorIs(t, err, message.ErrBadSignature, "not before those in between")

	d.left = 1
	_, err = k.pin(message.NewKeys(office.id, two, 2))
	require.ErrorIs(t, err, errKilled)
	_, epoch := k.pinned()
	require.EqualValues(t, 1, epoch, "not what is not durable")
	d.left = -1
	changed, err := k.pin(message.NewKeys(office.id, two, 2))
	require.NoError(t, err)
	require.True(t, changed)
	changed, err = k.pin(message.NewKeys(office.id, two, 2))
	require.NoError(t, err)
	require.False(t, changed, "repeated")
	changed, err = k.pin(message.NewKeys(office.id, stranger, 2))
	require.NoError(t, err)
	require.False(t, changed, "the former keys say something else")
	_, err = k.pin(message.NewKeys(office.id, stranger, 7))
	require.ErrorIs(t, err, message.ErrBadSignature, "the former keys are not obeyed")

	k = boot(t, d)
	peer, epoch := k.pinned()
	require.Equal(t, two.Public(), peer)
	require.EqualValues(t, 2, epoch)
	now := time.Now()
	data, err := office.id.Seal(k.own.Public(), message.Envelope{Kind: message.KindRun, ID: "m", NotBefore: now, NotAfter: now, Body: []byte("{}")})
	require.NoError(t, err)
	_, err = k.open(data, now)
	require.ErrorIs(t, err, errFormer)
}
