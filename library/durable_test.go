package library_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/record"
)

// What was acknowledged is there after the process ended, under the same MAC key.
func TestDurable(t *testing.T) {
	codec, err := record.NewCodec(secret.New(bytes.Repeat([]byte{7}, 32)))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "store.db")
	open := func() (*library.Service, *boltstore.Store) {
		st, err := boltstore.Open(context.Background(), path, nil)
		require.NoError(t, err)
		return library.New(library.Config{Store: st, Codec: codec, Authorizer: access.AllowAll{}}), st
	}
	s, st := open()
	create(t, s, "Say", "one")
	update(t, s, "Say", "two")
	_, err = s.UpdateDocumentDefaultVersion(ann, library.UpdateDocumentDefaultVersionRequest{Name: "Say", DocumentVersion: "2"})
	require.NoError(t, err)
	before, err := s.DescribeDocument(ann, library.DescribeDocumentRequest{Name: "Say"})
	require.NoError(t, err)
	require.NoError(t, st.Close())
	s, st = open()
	defer st.Close() //nolint:errcheck // of a test
	after, err := s.DescribeDocument(ann, library.DescribeDocumentRequest{Name: "Say"})
	require.NoError(t, err)
	require.Equal(t, before, after)
	content, _, _, _, err := s.Fetch(ann, "acme", "Say", "1")
	require.NoError(t, err)
	require.Equal(t, text("one"), string(content))
}

// The largest document that may be kept fits a record of the store, with the MAC.
func TestLargestContent(t *testing.T) {
	codec, err := record.NewCodec(secret.New(bytes.Repeat([]byte{7}, 32)))
	require.NoError(t, err)
	s := service(func(c *library.Config) { c.Codec, c.Limits.Content = codec, -1 })
	big := text("x")
	big += string(bytes.Repeat([]byte(" "), 240<<10-len(big)))
	_, err = s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Big", Content: big})
	require.NoError(t, err)
	content, _, _, _, err := s.Fetch(ann, "acme", "Big", "")
	require.NoError(t, err)
	require.Equal(t, big, string(content))
	_, err = s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Bigger", Content: big + " "})
	require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err))
}

// A record that was changed behind the service's back, or moved under another key, is named and never served.
func TestTamperedRecords(t *testing.T) {
	codec, err := record.NewCodec(secret.New(bytes.Repeat([]byte{7}, 32)))
	require.NoError(t, err)
	st := memstore.New()
	s := service(func(c *library.Config) { c.Store, c.Codec = st, codec })
	create(t, s, "Say", "one")
	create(t, s, "Other", "two")
	records := map[string][]byte{}
	require.NoError(t, st.View(ann, func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{}) {
			require.NoError(t, err)
			records[string(it.Key)] = bytes.Clone(it.Value)
		}
		return nil
	}))
	put := func(k string, v []byte) {
		require.NoError(t, st.Update(ann, func(_ context.Context, tx store.Tx) error { return tx.Put([]byte(k), v) }))
	}
	seen := 0
	for k, v := range records {
		if !bytes.Contains([]byte(k), []byte("Say")) {
			continue
		}
		seen++
		moved := records[string(bytes.ReplaceAll([]byte(k), []byte("Say"), []byte("Other")))]
		require.NotNil(t, moved)
		flipped := bytes.Clone(v)
		flipped[len(v)/2] ^= 1
		for _, bad := range [][]byte{flipped, moved, v[:3], {}} {
			put(k, bad)
			_, _, _, _, err := s.Fetch(ann, "acme", "Say", "")
			require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), "%q", k)
		}
		put(k, v)
	}
	require.Equal(t, 3, seen, "head, version and content")
	_, _, _, _, err = s.Fetch(ann, "acme", "Say", "")
	require.NoError(t, err)
}
