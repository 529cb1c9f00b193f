//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fleetwright/fleetwright/store/pgstore/pgtest"
)

// database is the PostgreSQL of a run: one of its own, or a schema of its own in somebody's.
type database struct {
	server *pgtest.Server // nil for somebody's
	dsn    string
	schema string
}

const howToInstall = `there is no PostgreSQL on this machine (initdb and postgres are looked for in $FLEETWRIGHT_PGBIN, /usr/lib/postgresql/*/bin and PATH).
Install one (apt install postgresql, dnf install postgresql-server, brew install postgresql), or name one: -postgres postgres://user@host/database`

// startDatabase starts a server, on a socket of its own and as another user when this one is root.
func startDatabase(url string) (*database, error) {
	if url != "" {
		if _, err := pgx.ParseConfig(url); err != nil {
			return nil, usage("-postgres cannot be read: write postgres://user@host:5432/database")
		}
		return &database{dsn: url, schema: "fleetwright_ha_" + strings.ToLower(rand.Text()[:8])}, nil
	}
	s, err := pgtest.New(&pgtest.Options{Fsync: true})
	if errors.Is(err, pgtest.ErrNone) {
		return nil, errors.New(howToInstall)
	}
	if err != nil {
		return nil, err
	}
	return &database{server: s, dsn: s.DSN("postgres"), schema: "fleetwright"}, nil
}

// close ends the server, or drops the schema.
func (d *database) close(ctx context.Context) error {
	if d.server != nil {
		d.server.Close()
		return nil
	}
	c, err := pgx.Connect(ctx, d.dsn)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "drop schema if exists "+pgx.Identifier{d.schema}.Sanitize()+" cascade")
	return errors.Join(err, c.Close(ctx))
}
