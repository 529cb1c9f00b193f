// Package localkeys is a key service in a file: a seal.Wrapper for one machine, without a network.
//
//	keys, err := localkeys.Open("/etc/fleetwright/keys.json", nil)
//	if errors.Is(err, fs.ErrNotExist) {
//		keys, err = localkeys.Create("/etc/fleetwright/keys.json", nil) // once: without this file no secret is ever read again
//	}
//	box := seal.NewBox(keys, nil)
//
// The file holds several generations of 256-bit keys, one of which is primary: it wraps what is new, all of them unwrap. Rotate adds a generation; Remove takes one away
// once nothing is wrapped by it any more.
//
// # File
//
// JSON, 0600, refused when others may read or write it, when it is reached through a symbolic link, or when it is not byte for byte as this package wrote it: each
// key carries a check value, and the whole a MAC under its primary key, so that a wrong passphrase, a truncated or a damaged file is an error at the start and not at the
// first secret. It is replaced by writing a temporary file, syncing it, renaming it and syncing the directory: a crash leaves the old file or the new one.
//
// A change by another process, such as a rotation by an operator's tool, is noticed before the next key is wrapped and when a key id is not known: the file is read again. It must be the successor of
// the file that was open, with a key in common and the same protection. Where it is gone, damaged or another, nothing is wrapped any more, since what is wrapped now could not be read
// after the next start; what was wrapped before can still be unwrapped.
//
// With a passphrase (of a person, or the content of a systemd credential: see Credential) the keys are encrypted by AES-256-GCM under PBKDF2-HMAC-SHA-256 of it. Without one, whoever can read the file has the keys.
//
// # Wrapped keys
//
//	0x01 | nonce (12 bytes) | AES-256-GCM(key) with tag
//
// with the associated data "fleetwright/localkeys/v1/wrap" 0x00 | length of the key id (2 bytes) | key id | the caller's. Nonces are random, so rotate before a generation
// has wrapped 2^32 keys.
package localkeys

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/secret"
)

// Options are the choices of Open and Create; nil is the zero value.
type Options struct {
	// Passphrase protects the keys in the file; empty is no protection beyond the file's mode. Open needs the one that Create got.
	Passphrase secret.Value
	// Iterations of PBKDF2 for Create, 0 is 600,000; Open reads them from the file.
	Iterations int
	// Now is the clock for the dates of generations; nil is time.Now.
	Now func() time.Time
}

// Generation describes one key of the file.
type Generation struct {
	ID      string
	Created time.Time
	Primary bool
}

// Keys is the content of a key file, a seal.Wrapper. All methods are safe for concurrent use.
type Keys struct {
	file  *file
	now   func() time.Time
	mu    sync.RWMutex // guards what follows, and changes of the file
	state state
	seen  fs.FileInfo // of the file that the state is of
	aeads map[string]cipher.AEAD
}

var _ seal.Wrapper = (*Keys)(nil)

const (
	keySize     = 32
	contextWrap = "fleetwright/localkeys/v1/wrap\x00"
	wrapVersion = 1
	maxKeys     = 1000
)

// Open reads the key file at path. Errors wrap fs.ErrNotExist when there is none, and say otherwise what is wrong with it.
func Open(path string, o *Options) (*Keys, error) {
	if o == nil {
		o = &Options{}
	}
	f, err := locate(path)
	if err != nil {
		return nil, err
	}
	k := &Keys{file: f, now: o.Now}
	if k.now == nil {
		k.now = time.Now
	}
	raw, info, err := f.read()
	if err != nil {
		return nil, err
	}
	k.seen = info
	if k.state, err = decode(raw, o.Passphrase); err != nil {
		return nil, damaged(path, err)
	}
	return k, k.prepare()
}

// Create makes a key file at path with one new key, and opens it. A file that is there already is an error that wraps fs.ErrExist and stays as it is. The directory must exist.
func Create(path string, o *Options) (*Keys, error) {
	if o == nil {
		o = &Options{}
	}
	f, err := locate(path)
	if err != nil {
		return nil, err
	}
	k := &Keys{file: f, now: o.Now}
	if k.now == nil {
		k.now = time.Now
	}
	if k.state.guard, err = newGuard(o.Passphrase, o.Iterations); err != nil {
		return nil, err
	}
	k.state = k.state.with(newKey(k.now()))
	raw, err := encode(k.state)
	if err != nil {
		return nil, err
	}
	if k.seen, err = f.create(raw); err != nil {
		return nil, err
	}
	return k, k.prepare()
}

// prepare makes the ciphers of the state.
func (k *Keys) prepare() error {
	aeads := make(map[string]cipher.AEAD, len(k.state.keys))
	for _, g := range k.state.keys {
		a, err := newAEAD(g.key.Reveal())
		if err != nil {
			return err
		}
		aeads[g.id] = a
	}
	k.aeads = aeads
	return nil
}

// Format writes the path of the file, whatever the verb: no formatter comes to the keys.
func (k *Keys) Format(f fmt.State, _ rune) { fmt.Fprint(f, "localkeys:"+k.file.path()) } //nolint:errcheck // fmt.State never fails

// refresh reads the file again if another process changed it.
func (k *Keys) refresh(op string) error {
	k.mu.RLock()
	changed, err := k.file.changed(k.seen)
	k.mu.RUnlock()
	if err == nil && !changed {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refreshLocked(op)
}

func (k *Keys) refreshLocked(op string) error {
	changed, err := k.file.changed(k.seen)
	if err != nil {
		return fault.New(op, fault.ServiceUnavailable, "nothing is sealed until the key file is back, since it could not be read after the next start: %w", err)
	}
	if !changed {
		return nil
	}
	raw, info, err := k.file.read()
	if err != nil {
		return fault.New(op, fault.ServiceUnavailable, "the key file was changed by another process: %w", err)
	}
	next, err := decodeAs(raw, k.state.guard)
	if err != nil {
		return damaged(k.file.path(), err)
	}
	if !slices.ContainsFunc(next.keys, func(g generation) bool {
		return slices.ContainsFunc(k.state.keys, func(o generation) bool { return o.id == g.id && o.key.Equal(g.key) })
	}) {
		return damaged(k.file.path(), errors.New("another key file was put in its place: it has no key in common with the one that was open"))
	}
	k.state, k.seen = next, info
	return k.prepare()
}

// Reload reads the file again if another process changed it, as happens by itself before a key is wrapped: for programs that want to tell of a rotation, or of damage, at once.
// An error leaves the keys as they are.
func (k *Keys) Reload(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap("localkeys.Reload", err)
	}
	return k.refresh("localkeys.Reload")
}

// Primary returns the id of the primary key, as the file was when it was last read.
func (k *Keys) Primary() string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.state.primary
}

// Generations returns all keys, the oldest first, as the file was when it was last read.
func (k *Keys) Generations() []Generation {
	k.mu.RLock()
	defer k.mu.RUnlock()
	out := make([]Generation, 0, len(k.state.keys))
	for _, g := range k.state.keys {
		out = append(out, Generation{ID: g.id, Created: g.created, Primary: g.id == k.state.primary})
	}
	return out
}

// Rotate adds a new key, makes it primary, and returns its id once the file is durable. What is wrapped by older keys stays readable; rewrap it with seal.Box.Rewrap. What another process changed
// in the file is taken in before.
func (k *Keys) Rotate(ctx context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refreshLocked("localkeys.Rotate"); err != nil {
		return "", err
	}
	if len(k.state.keys) >= maxKeys {
		return "", fault.New("localkeys.Rotate", fault.Validation, "the key file has %d keys: remove those that nothing is wrapped by", maxKeys)
	}
	g := newKey(k.now())
	if err := k.change(ctx, "localkeys.Rotate", k.state.with(g)); err != nil {
		return "", err
	}
	return g.id, nil
}

// Remove takes the key of that id out of the file, for ever: what is still wrapped by it can never be read again. The primary key cannot be removed.
func (k *Keys) Remove(ctx context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refreshLocked("localkeys.Remove"); err != nil {
		return err
	}
	next, err := k.state.without(id)
	if err != nil {
		return err
	}
	return k.change(ctx, "localkeys.Remove", next)
}

func (k *Keys) change(ctx context.Context, op string, next state) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap(op, err)
	}
	before, err := encode(k.state)
	if err != nil {
		return err
	}
	after, err := encode(next)
	if err != nil {
		return err
	}
	info, err := k.file.replace(before, after)
	if err != nil {
		return err
	}
	k.state, k.seen = next, info
	return k.prepare()
}

// WrapKey implements seal.Wrapper.
func (k *Keys) WrapKey(ctx context.Context, keyID string, key, aad []byte) (seal.Wrapped, error) {
	if err := ctx.Err(); err != nil {
		return seal.Wrapped{}, fault.Wrap("localkeys.WrapKey", err)
	}
	if err := k.refresh("localkeys.WrapKey"); err != nil {
		return seal.Wrapped{}, err
	}
	k.mu.RLock()
	if keyID == "" {
		keyID = k.state.primary
	}
	a, ok := k.aeads[keyID]
	k.mu.RUnlock()
	if !ok {
		return seal.Wrapped{}, unknown("localkeys.WrapKey", keyID)
	}
	data := make([]byte, 1, 1+len(key)+a.Overhead())
	data[0] = wrapVersion
	return seal.Wrapped{KeyID: keyID, Data: a.Seal(data, nil, key, wrapAAD(keyID, aad))}, nil
}

// UnwrapKey implements seal.Wrapper.
func (k *Keys) UnwrapKey(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("localkeys.UnwrapKey", err)
	}
	k.mu.RLock()
	a, ok := k.aeads[w.KeyID]
	k.mu.RUnlock()
	if !ok && validID(w.KeyID) && k.refresh("localkeys.UnwrapKey") == nil {
		k.mu.RLock()
		a, ok = k.aeads[w.KeyID]
		k.mu.RUnlock()
	}
	if !ok {
		return nil, unknown("localkeys.UnwrapKey", w.KeyID)
	}
	if len(w.Data) == 0 || w.Data[0] != wrapVersion {
		return nil, fault.New("localkeys.UnwrapKey", fault.DataCorrupt, "%w: this is no key that a key file wrapped", seal.ErrTampered)
	}
	key, err := a.Open(nil, nil, w.Data[1:], wrapAAD(w.KeyID, aad))
	if err != nil {
		return nil, fault.New("localkeys.UnwrapKey", fault.DataCorrupt, "%w: the data key was changed, or belongs to another record or key file", seal.ErrTampered)
	}
	return key, nil
}

func wrapAAD(id string, aad []byte) []byte {
	b := make([]byte, 0, len(contextWrap)+2+len(id)+len(aad))
	b = binary.BigEndian.AppendUint16(append(b, contextWrap...), uint16(len(id)))
	return append(append(b, id...), aad...)
}

func unknown(op, id string) error {
	if len(id) > 64 {
		id = id[:64] + "…"
	}
	return fault.New(op, seal.InvalidKeyID, "%w: the key file has no key %q: is it the file of this store, and was the key removed?", seal.ErrKeyNotFound, fault.Clean(id))
}

func newKey(now time.Time) generation {
	key := make([]byte, keySize)
	rand.Read(key) //nolint:errcheck // crypto/rand.Read never fails
	g := generation{created: now.UTC().Truncate(time.Second), key: secret.Take(key)}
	var id [8]byte
	rand.Read(id[:]) //nolint:errcheck // crypto/rand.Read never fails
	g.id = "lk-" + hex.EncodeToString(id[:])
	return g
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("localkeys: %w", err)
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("localkeys: %w", err)
	}
	return a, nil
}
