package parameter_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// R-13, G12: secrets over every outcome of a call are looked for in the store's files, logs at debug level, errors, the audit record, events and what formatters print, in common encodings.
func TestR13_CanariesAreNowhere(t *testing.T) {
	dir := t.TempDir()
	db, err := boltstore.Open(t.Context(), filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	var logs bytes.Buffer
	w := newWorld(t, func(c *parameter.Config) {
		c.Store, c.Limits = db, parameter.NoLimits()
		c.Log = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Authorizer = deny{"*": "parameter/denied"}
	})
	w.st = db
	n := 200
	var canaries []string
	sink := &bytes.Buffer{}
	say := func(x ...any) {
		for _, v := range x {
			fmt.Fprintf(sink, "%v %+v %#v\n", v, v, v)
			if b, err := json.Marshal(v); err == nil {
				sink.Write(b)
			}
			slog.New(slog.NewJSONHandler(&logs, nil)).Info("x", "v", v)
		}
	}
	bob := as("bob")
	for i := range n {
		c := fmt.Sprintf("canary<%03d>&%x\"%d", i, i*7919, i*104729)
		canaries = append(canaries, c)
		req := parameter.PutParameterRequest{Name: fmt.Sprint("/c/", i), Type: parameter.SecureString, Value: parameter.Secret(secret.String(c)), Overwrite: true}
		ctx := bob
		switch i % 8 {
		case 1: // denied
			req.Name = fmt.Sprint("/denied/", i)
		case 2: // validation
			req.AllowedPattern = "^never$"
		case 3:
			req.Value = parameter.Secret(secret.String("{{" + c + "}}"))
		case 4: // no such key
			req.KeyID = "nope"
		case 5: // canceled
			canceled, cancel := context.WithCancel(bob)
			cancel()
			ctx = canceled
		case 6: // the key service is away
			w.keys.fail = func() error { return errors.New("away") }
		case 7: // tags that are no tags
			req.Overwrite, req.Tags = false, []parameter.Tag{{Key: "aws:x", Value: "y"}}
		}
		out, err := w.PutParameter(ctx, req)
		w.keys.fail = nil
		say(req, out, err)
		if i%8 == 0 {
			require.NoError(t, err)
			got, err := w.GetParameter(bob, parameter.GetParameterRequest{Name: req.Name, WithDecryption: true})
			require.NoError(t, err)
			require.Equal(t, c, got.Parameter.Value.Reveal())
			say(got)
			hist, err := w.GetParameterHistory(bob, parameter.GetParameterHistoryRequest{Name: req.Name, WithDecryption: true})
			say(hist, err)
			desc, err := w.DescribeParameters(bob, parameter.DescribeParametersRequest{MaxResults: 1})
			say(desc, err)
		} else {
			require.Error(t, err)
		}
	}
	func() {
		defer func() { say(recover()) }()
		panic(fmt.Sprintf("%+v", parameter.PutParameterRequest{Value: parameter.Secret(secret.String(canaries[0]))}))
	}()
	diff, err := w.Diff(bob, parameter.DiffRequest{A: parameter.Side{Path: "/c"}, B: parameter.Side{Path: "/none"}, WithDecryption: true})
	require.NoError(t, err)
	require.Len(t, diff, n/8)
	for _, d := range diff {
		say(d, *d.Before)
	}
	exp, err := w.Export(bob, parameter.ExportRequest{Path: "/c", Format: parameter.FormatJSON, Passphrase: secret.String("passphrase of a test"), Rounds: 1000})
	require.NoError(t, err)
	sink.Write(exp.Data)
	require.NoError(t, w.log.Flush(admin))
	es, _, err := w.log.List(admin, audit.Filter{}, &audit.Page{MaxResults: 1000})
	require.NoError(t, err)
	require.NotEmpty(t, es)
	say(es, w.events())
	require.NoError(t, db.View(admin, func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
			sink.Write(it.Key)
			sink.Write(it.Value)
		}
		return nil
	}))
	require.NoError(t, db.Close())
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		sink.Write(b)
		return err
	}))
	sink.Write(logs.Bytes())
	all := sink.Bytes()
	require.Greater(t, len(all), 100_000)
	for _, c := range canaries {
		j, err := json.Marshal(c)
		require.NoError(t, err)
		for _, e := range []string{c, base64.StdEncoding.EncodeToString([]byte(c)), base64.RawURLEncoding.EncodeToString([]byte(c)), hex.EncodeToString([]byte(c)), url.QueryEscape(c), string(j[1 : len(j)-1]), fmt.Sprintf("%q", c)[1:]} {
			require.False(t, bytes.Contains(all, []byte(e)), "%q was found", e)
		}
	}
	t.Logf("%d canaries over 8 outcomes, %d bytes searched in 7 encodings: none found", n, len(all))
}
