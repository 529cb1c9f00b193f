package pgstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// DefaultSchema is the schema in which stores lie if Options do not say otherwise.
const DefaultSchema = "fleetwright"

// schemaVersion is what this release makes and understands.
const schemaVersion = 1

var plainName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// statements are the texts of all statements on one store.
type statements struct {
	schema, name string
	lock         int64  // key of the advisory lock
	channel      string // of notifications

	get, many, up, down string
	put, del            string
	mark, marked, fence string
	sweep               string
}

// lastKey is beyond every key that a store may hold.
var lastKey = []byte(strings.Repeat("\xff", store.MaxKey+1))

func newStatements(schema, name string) (*statements, error) {
	for _, n := range []string{schema, name} {
		if !plainName.MatchString(n) {
			return nil, fault.New("pgstore.Open", fault.Validation, "%q is no name of a store or schema; it takes a lower-case letter and up to 39 more letters, digits and underscores", n)
		}
	}
	kv, commits := schema+".kv_"+name, schema+".commits_"+name
	sum := sha256.Sum256([]byte("fleetwright store\x00" + schema + "\x00" + name))
	return &statements{
		schema: schema, name: name,
		lock:    int64(binary.BigEndian.Uint64(sum[:])),
		channel: fmt.Sprintf("fw_%x", sum[:16]),
		get:     "select value from " + kv + " where key = $1",
		many:    "select key, value from " + kv + " where key = any($1::bytea[])",
		up:      "select key, value from " + kv + " where key >= $1 and key < $2 order by key limit $3",
		down:    "select key, value from " + kv + " where key >= $1 and key < $2 order by key desc limit $3",
		put: "insert into " + kv + " as t (key, value) select * from unnest($1::bytea[], $2::bytea[]) " +
			"on conflict (key) do update set value = excluded.value",
		del: "delete from " + kv + " where key = any($1::bytea[])",
		// Fails with a division by zero unless the row has the number it should have.
		mark: "with m as (update " + commits + " set seq = $2, at = now() where handle = $1 and seq = $3 returning 1) " +
			"select 1 / count(*) from m",
		marked: "select seq from " + commits + " where handle = $1",
		fence: "insert into " + commits + " (handle, seq, at) values ($1, $2, now()) " +
			"on conflict (handle) do update set seq = excluded.seq, at = excluded.at",
		sweep: "delete from " + commits + " where at < now() - interval '30 days'", // of processes that ended long ago
	}, nil
}

// steps[i] brings a store from version i to i+1. A step that a release has shipped is never changed.
func (q *statements) steps() [][]string {
	kv, commits := q.schema+".kv_"+q.name, q.schema+".commits_"+q.name
	return [][]string{{
		"create table " + kv + " (key bytea primary key, value bytea not null) with (fillfactor = 80, " +
			"autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0)",
		"create table " + commits + " (handle bytea primary key, seq bigint not null, at timestamptz not null) with (fillfactor = 10, " +
			"autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)",
	}}
}

// migrate makes the schema of the store, or brings it to this release's version. Where it is there already it needs no right but to read.
func (q *statements) migrate(ctx context.Context, pool *pgxpool.Pool) error {
	if v, err := q.version(ctx, pool); err == nil && v == schemaVersion {
		return nil
	} else if err == nil && v > schemaVersion {
		return fault.New("pgstore.Open", fault.UnsupportedOperation, "store %s has version %d of the schema, made by a newer release; this one knows %d", q.name, v, schemaVersion)
	} else if err != nil && !undefined(err) {
		return err
	}
	return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		sum := sha256.Sum256([]byte("fleetwright schema\x00" + q.schema))
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(binary.BigEndian.Uint64(sum[:]))); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, "select to_regclass($1) is not null", q.schema+".stores").Scan(&there); err != nil {
			return err
		}
		if !there {
			if _, err := tx.Exec(ctx, "create schema if not exists "+q.schema); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "create table "+q.schema+".stores (name text primary key, version int not null, at timestamptz not null default now())"); err != nil {
				return err
			}
		}
		v, err := q.version(ctx, tx)
		if err != nil {
			return err
		}
		for _, step := range q.steps()[min(v, schemaVersion):] {
			for _, s := range step {
				if _, err := tx.Exec(ctx, s); err != nil {
					return err
				}
			}
		}
		_, err = tx.Exec(ctx, "insert into "+q.schema+".stores (name, version) values ($1, $2) on conflict (name) do update set version = greatest(excluded.version, stores.version)", q.name, schemaVersion)
		return err
	})
}

// version returns the version that the store has, 0 if there is none.
func (q *statements) version(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}) (v int, err error) {
	err = db.QueryRow(ctx, "select version from "+q.schema+".stores where name = $1", q.name).Scan(&v)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return v, err
}
