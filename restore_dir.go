package fleetwright

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/dirblob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// RestoreOptions of RestoreDir; nil is the zero value.
type RestoreOptions struct {
	KeyFile    string       // of the control plane that was backed up; "" is the keys.json that is in the directory
	Passphrase secret.Value // of the key file
	// Force replaces a directory that is not empty. What was in it is kept beside it.
	Force       bool
	SkipDamaged bool
	Name        string           // of the control plane; "" is as in Config
	Now         func() time.Time // nil is time.Now
	Log         *slog.Logger     // nil discards
}

// incomplete is in a directory that a restore is at work on.
const incomplete = "restore.incomplete"

// RestoreDir makes a directory for Open out of a backup. Everything is built beside it, verified and made durable, and then takes its place in one step: until then the directory is as it was,
// whatever happens, and after that it is whole. The directory must be missing or empty, unless Options.Force; what was in it then lies in Restored.Before. A control plane that has
// the directory is named in the error: stop it first.
func RestoreDir(ctx context.Context, r io.Reader, dir string, o *RestoreOptions) (rep Restored, err error) {
	const op = "fleetwright.RestoreDir"
	if o == nil {
		o = &RestoreOptions{}
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	defer func() { err = fault.Wrap(op, err) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return rep, err
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return rep, fault.New(op, fault.ServiceUnavailable, "the directory cannot be read: %w", err)
	case len(entries) > 0 && !o.Force:
		return rep, fault.New(op, fault.AlreadyExists, "%s is not empty: restore into a new directory, or force it (what is in it is kept beside it)", dir)
	}
	keyFile := o.KeyFile
	if keyFile == "" {
		keyFile = filepath.Join(dir, keysFile)
	}
	keys, err := os.ReadFile(keyFile)
	if err != nil {
		return rep, fault.New(op, fault.Validation, "the key file cannot be read; a backup never has it, give the %s of the control plane that was backed up: %w", keysFile, err)
	}
	defer clear(keys)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return rep, err
	}
	if len(entries) > 0 {
		release, err := boltstore.Lock(ctx, filepath.Join(dir, storeFile), 0)
		if err != nil {
			return rep, err
		}
		defer release()
	}
	work := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".restoring")
	done, err := workDir(ctx, work, now())
	if err != nil {
		return rep, err
	}
	defer done()
	defer func() {
		if err != nil {
			os.RemoveAll(work) //nolint:errcheck // the next restore removes it too
		}
	}()
	if rep, err = restoreInto(ctx, r, work, keys, o); err != nil {
		return rep, err
	}
	if err := os.Remove(filepath.Join(work, incomplete)); err != nil {
		return rep, err
	}
	if err := syncTree(work); err != nil {
		return rep, err
	}
	if len(entries) == 0 {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return rep, err
		}
		if err := os.Rename(work, dir); err != nil {
			return rep, err
		}
		return rep, syncPath(filepath.Dir(dir))
	}
	before := dir + ".before-" + now().UTC().Format("20060102T150405Z")
	if err := exchange(work, dir, before); err != nil {
		return rep, fault.New(op, fault.ServiceUnavailable, "the directory cannot be replaced (is it a mount point? then restore beside it): %w", err)
	}
	rep.Before = before
	return rep, syncPath(filepath.Dir(dir))
}

// workDir makes the directory that a restore works in; done ends the right to it. What a killed restore left there is removed; a directory that is whole, which one that was killed in its last
// step has left, is kept beside.
func workDir(ctx context.Context, work string, now time.Time) (done func(), err error) {
	release, err := boltstore.Lock(ctx, work, time.Second)
	if err != nil {
		return nil, err
	}
	done = func() {
		os.Remove(work + ".lock") //nolint:errcheck // an empty file
		release()
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	if _, err := os.Lstat(work); err == nil {
		if _, err := os.Lstat(filepath.Join(work, incomplete)); err == nil {
			err = os.RemoveAll(work)
			if err != nil {
				return nil, err
			}
		} else if err := os.Rename(work, work[:len(work)-len(".restoring")]+".found-"+now.UTC().Format("20060102T150405Z")); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	return done, os.WriteFile(filepath.Join(work, incomplete), nil, 0o600)
}

// restoreInto builds the directory, closes what it opened, and checks the result.
func restoreInto(ctx context.Context, r io.Reader, dir string, keys []byte, o *RestoreOptions) (rep Restored, err error) {
	path := filepath.Join(dir, keysFile)
	if err := writeDurably(path, keys); err != nil {
		return rep, err
	}
	wrapper, err := localkeys.Open(path, &localkeys.Options{Passphrase: o.Passphrase})
	if err != nil {
		return rep, err
	}
	s, err := boltstore.Open(ctx, filepath.Join(dir, storeFile), &boltstore.Options{Logger: o.Log})
	if err != nil {
		return rep, err
	}
	defer s.Close() //nolint:errcheck // a second Close returns nil
	blobs, err := dirblob.Open(filepath.Join(dir, blobsDir), nil)
	if err != nil {
		return rep, err
	}
	defer blobs.Close() //nolint:errcheck // every Put was durable
	rep, err = Restore(ctx, r, RestoreConfig{Store: s, Blobs: blobs, Keys: wrapper, SkipDamaged: o.SkipDamaged, Name: o.Name, Now: o.Now, Log: o.Log,
		File: func(name string, content secret.Value) error {
			if !filepath.IsLocal(name) {
				return badBackup("it has a file %q outside of the directory", fault.Clean(name))
			}
			file := filepath.Join(dir, filepath.FromSlash(name))
			switch filepath.Base(file) {
			case keysFile, storeFile, incomplete:
				return badBackup("it has a file %q that is none of a backup's", fault.Clean(name))
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				return err
			}
			return writeDurably(file, content.Reveal())
		}})
	if err != nil {
		return rep, err
	}
	if err := s.Close(); err != nil {
		return rep, err
	}
	if err := blobs.Close(); err != nil {
		return rep, err
	}
	f, err := Inspect(ctx, dir, &Options{Passphrase: o.Passphrase, Log: o.Log, Config: Config{Name: o.Name, Now: o.Now}})
	if err != nil {
		return rep, err
	}
	defer f.Close()                                          //nolint:errcheck // it was only read
	if err := f.cfg.Store.(checker).Check(ctx); err != nil { //nolint:forcetypeassert // it is a boltstore
		return rep, err
	}
	_, err = f.keys.get(ctx, access.DefaultTenant) // they open
	return rep, err
}

func writeDurably(file string, b []byte) error {
	w, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// syncTree makes the names in a directory and below durable; the files are already.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncPath(path)
	})
}

func syncPath(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return fmt.Errorf("the directory %s cannot be made durable: %w", dir, err)
	}
	return nil
}

// replaceInTwo is exchange where directories cannot be exchanged: a crash between its two steps leaves no directory, and both beside where it was.
func replaceInTwo(next, dir, before string) error {
	if err := os.Rename(dir, before); err != nil {
		return err
	}
	if err := os.Rename(next, dir); err != nil {
		return errors.Join(err, os.Rename(before, dir))
	}
	return nil
}
