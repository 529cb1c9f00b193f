package fleetwright

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/dirblob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/record"
)

// The names in the directory of Open.
const (
	storeFile = "store.db"
	blobsDir  = "blobs"
	keysFile  = "keys.json"
)

// parts are what lies in the directory of Open, opened.
type parts struct {
	store *boltstore.Store
	blobs *dirblob.Store
	keys  *localkeys.Keys
	codec *record.Codec
}

// openParts opens the directory, making what is missing.
func openParts(ctx context.Context, dir string, passphrase secret.Value, log *slog.Logger) (_ *parts, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New("fleetwright.Open", fault.ServiceUnavailable, "the directory cannot be made: %w", err)
	}
	p := &parts{}
	defer func() {
		if err != nil {
			p.close() //nolint:errcheck // the first error is told
		}
	}()
	if p.store, err = boltstore.Open(ctx, filepath.Join(dir, storeFile), &boltstore.Options{Logger: log}); err != nil {
		return nil, err
	}
	if p.blobs, err = dirblob.Open(filepath.Join(dir, blobsDir), nil); err != nil {
		return nil, err
	}
	if p.keys, err = openKeys(filepath.Join(dir, keysFile), passphrase); err != nil {
		return nil, err
	}
	p.codec, err = RecordCodec(ctx, p.store, p.keys)
	return p, err
}

func (p *parts) close() error {
	var errs []error
	if p.blobs != nil {
		errs = append(errs, p.blobs.Close())
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	return errors.Join(errs...)
}

// Inspect opens the directory of a control plane that is stopped without running it: nothing is sent, received or renewed. It is for [Fleet.Backup], [Fleet.Fsck], [Fleet.Doctor] and reading.
// The directory must be one that Open made; another process that has it is named in the error. End it with Close. Of the options Passphrase, Authorizer, Log and Config.Now count.
func Inspect(ctx context.Context, dir string, o *Options) (*Fleet, error) {
	const op = "fleetwright.Inspect"
	if o == nil {
		o = &Options{}
	}
	for _, name := range []string{storeFile, keysFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(op, fault.DoesNotExist, "%s has no %s: it is not the directory of a control plane, or a file of it is lost", dir, name)
		} else if err != nil {
			return nil, fault.New(op, fault.ServiceUnavailable, "the directory cannot be read: %w", err)
		}
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p, err := openParts(ctx, dir, o.Passphrase, log)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	cfg := Config{Store: p.store, Blobs: p.blobs, Keys: p.keys, Codec: p.codec, Authorizer: o.Authorizer, Log: log, Now: o.Config.Now, Name: o.Config.Name}
	if cfg.Authorizer == nil {
		cfg.Authorizer = access.AllowAll{}
	}
	f, err := New(cfg)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	f.dir = dir
	f.stop = func() { f.Audit.Flush(context.WithoutCancel(ctx)) } //nolint:errcheck // what was read is recorded if it can be
	f.closing = []func() error{p.close}
	return f, nil
}

// CompactDir gives back what the store of a stopped control plane does not use any more, and returns the sizes of its file before and after; see boltstore.Compact.
func CompactDir(ctx context.Context, dir string) (before, after int64, err error) {
	before, after, err = boltstore.Compact(ctx, filepath.Join(dir, storeFile), nil)
	return before, after, fault.Wrap("fleetwright.CompactDir", err)
}
