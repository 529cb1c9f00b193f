package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
)

// credential is the name of the systemd credential with the passphrase.
const credential = "params"

// keyring is the key file, opened at the first secret: who reads no secret needs no passphrase, and without the file all else goes on.
type keyring struct {
	app   *app
	check check

	once sync.Once
	keys *localkeys.Keys
	err  error
}

func (k *keyring) open(ctx context.Context) (*localkeys.Keys, error) {
	k.once.Do(func() {
		k.keys, k.err = k.app.openKeys(k.check.Passphrase)
		if k.err != nil {
			return
		}
		if err := seal.NewBox(k.keys, nil).VerifyCheck(ctx, k.check.Value); err != nil {
			k.keys = nil
			if k.err = ctx.Err(); k.err != nil {
				return
			}
			id, _ := seal.KeyID(k.check.Value) //nolint:errcheck // an empty name then
			k.err = tell(seal.InvalidKeyID, "the key file %s has not the key %s that this store uses: it belongs to another store, or is a copy from before the last rotation. Give the right one with -keys, or put its copy back",
				k.app.where.keyFile(), id)
		}
	})
	return k.keys, k.err
}

func (k *keyring) WrapKey(ctx context.Context, keyID string, key, aad []byte) (seal.Wrapped, error) {
	keys, err := k.open(ctx)
	if err != nil {
		return seal.Wrapped{}, err
	}
	return keys.WrapKey(ctx, keyID, key, aad)
}

func (k *keyring) UnwrapKey(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
	keys, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	return keys.UnwrapKey(ctx, w, aad)
}

// openKeys opens the key file, with a passphrase if it needs one.
func (a *app) openKeys(protected bool) (_ *localkeys.Keys, err error) {
	path := a.where.keyFile()
	o := &localkeys.Options{Now: a.now}
	if _, err = os.Stat(path); err == nil {
		if protected || a.where.passphrase != "" {
			if o.Passphrase, err = a.keyPassphrase(false); err != nil {
				return nil, err
			}
		}
		var keys *localkeys.Keys
		if keys, err = localkeys.Open(path, o); err == nil {
			return keys, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, tell(seal.InvalidKeyID, "the key file %s is not there: put its copy back, or say where it is with -keys. Without it no secret can be read or written; all else can", path)
	}
	return nil, tell(seal.InvalidKeyID, "%s", message(err))
}

// keyPassphrase gets the passphrase of the key file from where it is told to, else from a person.
func (a *app) keyPassphrase(twice bool) (secret.Value, error) {
	if f := a.where.passphrase; f != "" {
		return passphraseFile(f)
	}
	if dir := a.getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		v, err := localkeys.Credential(dir, credential)
		if !errors.Is(err, fs.ErrNotExist) {
			return v, err
		}
	}
	return a.ask("passphrase of the key file", twice, "-key-passphrase-file FILE")
}

func initFlags(fs *flag.FlagSet) {
	fs.Bool("passphrase", false, "protect the key file by a passphrase, which is asked for unless -key-passphrase-file has it")
}

func (a *app) init(ctx context.Context, p *parsed) error {
	if _, err := p.arg(0); err != nil {
		return err
	}
	st, closeStore, err := a.connect(ctx, true)
	if err != nil {
		return err
	}
	err = a.initIn(ctx, st, p.on("passphrase") || a.where.passphrase != "")
	return errors.Join(err, closeStore())
}

func (a *app) initIn(ctx context.Context, st store.Store, protect bool) error {
	err := st.View(ctx, func(ctx context.Context, r store.Reader) error {
		_, err := checks.Get(ctx, r, checkKey)
		return err
	})
	if err == nil {
		return errThere
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	path := a.where.keyFile()
	o := &localkeys.Options{Now: a.now, Iterations: a.rounds}
	if protect {
		if o.Passphrase, err = a.keyPassphrase(true); err != nil {
			return err
		}
		if o.Passphrase.IsZero() {
			return bad("the passphrase is empty")
		}
	}
	keys, err := localkeys.Create(path, o)
	switch {
	case errors.Is(err, fs.ErrExist):
		return tell(fault.AlreadyExists, "the key file %s is there already and was left as it is: say another with -keys, or move it away if no store needs it", path)
	case errors.Is(err, fs.ErrNotExist):
		return tell(fault.Validation, "the directory of the key file %s is not there: make it, or say another place with -keys", path)
	case err != nil:
		return err
	}
	if err := remember(ctx, st, keys, protect, true); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(map[string]any{"KeyFile": path, "KeyId": keys.Primary()})
	}
	a.say("made the store and its key file %s (key %s)", path, keys.Primary())
	a.say("keep a copy of the key file where the store is not: without it no secret is ever read again")
	return nil
}

func (a *app) keys(ctx context.Context, p *parsed) error {
	if _, err := p.arg(0); err != nil {
		return err
	}
	return a.with(ctx, func(w *world) error {
		keys, err := w.keys.open(w.ctx)
		if err != nil {
			return err
		}
		if a.wantsJSON() {
			return a.json(map[string]any{"KeyFile": a.where.keyFile(), "Keys": keys.Generations()})
		}
		t := a.table("KEY", "MADE", "USE")
		for _, g := range keys.Generations() {
			use := "opens what it sealed"
			if g.Primary {
				use = "seals what is new"
			}
			t.row(g.ID, g.Created, use)
		}
		return t.end()
	})
}

func rotateFlags(fs *flag.FlagSet) {
	fs.Bool("finish", false, "make no new key: only give the newest to every secret, as after a rotation that was interrupted")
	fs.Bool("drop-old", false, "take the older keys out of the key file once no secret needs them; backups of the store that do are lost then")
}

func (a *app) rotateKey(ctx context.Context, p *parsed) error {
	if _, err := p.arg(0); err != nil {
		return err
	}
	return a.with(ctx, func(w *world) error {
		keys, err := w.keys.open(w.ctx)
		if err != nil {
			return err
		}
		if !p.on("finish") {
			if _, err := keys.Rotate(w.ctx); err != nil {
				return err
			}
		}
		primary := keys.Primary()
		if err := remember(w.ctx, w.store, keys, w.keys.check.Passphrase, false); err != nil {
			return err
		}
		// Secrets of the default key, and those that name an older key.
		from := []string{""}
		for _, g := range keys.Generations() {
			if !g.Primary {
				from = append(from, g.ID)
			}
		}
		var sum parameter.RewrapResult
		for _, id := range from {
			for done := false; !done; {
				out, err := w.Rewrap(w.ctx, parameter.RewrapRequest{From: id, Most: 1000})
				sum.Parameters, sum.Rewrapped, sum.Failed = sum.Parameters+out.Parameters, sum.Rewrapped+out.Rewrapped, append(sum.Failed, out.Failed...)
				if err != nil {
					a.note("the new key %s is in the key file; %s, then go on with params rotate-key -finish", primary, count(sum.Rewrapped, "version has it", "versions have it"))
					return err
				}
				done = out.Done
			}
		}
		var dropped []string
		if p.on("drop-old") && len(sum.Failed) == 0 {
			for _, id := range from[1:] {
				if err := keys.Remove(w.ctx, id); err != nil {
					return err
				}
				dropped = append(dropped, id)
			}
		}
		if a.wantsJSON() {
			if err := a.json(map[string]any{"KeyId": primary, "Rewrapped": sum.Rewrapped, "Failed": sum.Failed, "Dropped": dropped}); err != nil {
				return err
			}
		}
		a.say("key %s seals what is new; %s took it", primary, count(sum.Rewrapped, "version", "versions"))
		for _, f := range sum.Failed {
			a.note("%s version %d keeps its former key: %s", fault.Clean(f.Name), f.Version, f.Code)
		}
		switch {
		case len(sum.Failed) > 0:
			if p.on("drop-old") {
				a.note("no key was dropped")
			}
			return exit(exitRefused)
		case len(dropped) > 0:
			a.say("dropped %s", few(dropped))
		case len(from) > 1:
			a.say("the key file still has %s for backups of the store; drop with params rotate-key -finish -drop-old", count(len(from)-1, "older key", "older keys"))
		}
		a.say("copy the key file %s again", a.where.keyFile())
		return nil
	})
}

var _ fmt.Formatter = (*keyring)(nil)

// Format writes the path of the key file, whatever the verb.
func (k *keyring) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.app.where.keyFile()) }
