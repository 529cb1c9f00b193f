package main

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"regexp"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/pgstore"
	"github.com/fleetwright/fleetwright/store/record"
)

// storeFile is the embedded store in its directory.
const storeFile = "params.db"

// where says which store and which keys.
type where struct {
	dir, postgres, name, keys, passphrase, as string
}

func (a *app) flags(fs *flag.FlagSet) {
	w := &a.where
	or := func(now, env, def string) string {
		if now != "" {
			return now
		}
		if v := a.getenv(env); env != "" && v != "" {
			return v
		}
		return def
	}
	fs.StringVar(&w.dir, "dir", or(w.dir, "PARAMS_DIR", "params-data"), "the `DIRECTORY` of the store and the key file")
	fs.StringVar(&w.postgres, "postgres", w.postgres, "keep the store in this PostgreSQL `DATABASE` instead, as postgres://user@host/db; also $PARAMS_POSTGRES")
	fs.StringVar(&w.name, "store", or(w.name, "", "params"), "the `NAME` of the store in the database")
	fs.StringVar(&w.keys, "keys", or(w.keys, "PARAMS_KEYS", ""), "the key `FILE`; without it keys.json in the directory")
	fs.StringVar(&w.passphrase, "key-passphrase-file", w.passphrase, "a `FILE` with the key file's passphrase; else it is asked for")
	fs.StringVar(&w.as, "as", w.as, "the `NAME` of who you are in the history and the audit log; without it your user's name")
	fs.StringVar(&a.format, "o", or(a.format, "", "table"), "`FORM` of the output: table or json")
}

func (w *where) keyFile() string {
	if w.keys != "" {
		return w.keys
	}
	return filepath.Join(w.dir, "keys.json")
}

var passwordInDSN = regexp.MustCompile(`(?i)(^|[\s?&])(ssl)?password\s*=`)

// database returns what -postgres or the environment says, "" for the embedded store.
func (a *app) database() (string, error) {
	dsn := a.where.postgres
	if dsn == "" {
		return a.getenv("PARAMS_POSTGRES"), nil
	}
	u, err := url.Parse(dsn)
	secret := passwordInDSN.MatchString(dsn)
	if err == nil && u.User != nil {
		_, set := u.User.Password()
		secret = secret || set
	}
	if secret {
		return "", bad("-postgres has a password, which every user of this machine can see: put it in PGPASSWORD or ~/.pgpass, or the whole address in PARAMS_POSTGRES")
	}
	return dsn, nil
}

// world is an open store with what stands on it.
type world struct {
	*parameter.Service
	store store.Store
	log   *audit.Log
	keys  *keyring
	ctx   context.Context // the caller's, with who calls
	close func() error
}

// checkKey is where the store keeps by which key file its secrets can be opened.
var checkKey = key.New("").Str("params").Str("key-check")

// check is what the store knows of its key file.
type check struct {
	Value      []byte // opens with the right keys only
	Passphrase bool   // the file is protected by one
}

var checks = record.NewTable[check](nil)

// connect opens the store. With create it is made.
func (a *app) connect(ctx context.Context, create bool) (store.Store, func() error, error) {
	dsn, err := a.database()
	if err != nil {
		return nil, nil, err
	}
	if dsn == "" {
		path := filepath.Join(a.where.dir, storeFile)
		if create {
			if err := os.MkdirAll(a.where.dir, 0o700); err != nil {
				return nil, nil, tell(fault.ServiceUnavailable, "the directory cannot be made: %v", err)
			}
		} else if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil, tell(fault.ResourceNotFound, "there is no store in %s: make one with params init, or say where it is with -dir", a.where.dir)
		}
		s, err := boltstore.Open(ctx, path, nil)
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	}
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, nil, bad("the address of the database cannot be read: write postgres://user@host:5432/database") // the cause may quote a password
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, nil, tell(fault.ServiceUnavailable, "the database cannot be used: %v", err)
	}
	s, err := pgstore.Open(ctx, pool, a.where.name, nil)
	if err != nil {
		pool.Close()
		return nil, nil, tell(fault.ServiceUnavailable, "the database cannot be used: %v", err)
	}
	return s, func() error { s.Close(); pool.Close(); return nil }, nil
}

// open opens the store for one verb. Keys are opened when they are needed.
func (a *app) open(ctx context.Context) (*world, error) {
	who := a.where.as
	if who == "" {
		u, err := user.Current()
		if err != nil {
			return nil, tell(fault.Validation, "who you are cannot be found out; say it with -as: %v", err)
		}
		who = u.Username
	}
	st, closeStore, err := a.connect(ctx, false)
	if err != nil {
		return nil, err
	}
	w := &world{store: st, close: closeStore, ctx: access.With(ctx, access.Principal{Name: who})}
	var known check
	err = st.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		known, err = checks.Get(ctx, r, checkKey)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = tell(fault.ResourceNotFound, "the store is empty and has no key file yet: make it with params init")
	}
	if err != nil {
		return nil, errors.Join(err, closeStore())
	}
	w.keys = &keyring{app: a, check: known}
	// A read that cannot be recorded is not answered: the log is the answer to "who read what".
	w.log = audit.New(audit.Config{Store: st, Writer: "params", Durable: true, Authorize: access.AllowAll{}, Now: a.now})
	w.Service = parameter.New(parameter.Config{Store: st, Box: seal.NewBox(w.keys, nil), Authorizer: access.AllowAll{}, Audit: w.log, Now: a.now})
	// There is no process that waits for policies to fall due: what expired goes before anything is read.
	if err := w.Tick(w.ctx); err != nil {
		return nil, errors.Join(err, closeStore())
	}
	return w, nil
}

// with runs fn over the open store.
func (a *app) with(ctx context.Context, fn func(w *world) error) (err error) {
	w, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if closing := w.close(); err == nil {
			err = closing
		}
	}()
	return fn(w)
}

// remember stores by which keys secrets are opened from now on. The first time, who comes second is refused.
func remember(ctx context.Context, s store.Store, keys seal.Wrapper, protected, first bool) error {
	value, err := seal.NewBox(keys, nil).MakeCheck(ctx)
	if err != nil {
		return err
	}
	return s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		_, err := checks.Get(ctx, tx, checkKey)
		switch {
		case err == nil && first:
			return errThere
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return err
		}
		return checks.Put(tx, checkKey, check{value, protected})
	})
}

var errThere = tell(fault.AlreadyExists, "the store is there already, with a key file of its own: nothing was changed")
