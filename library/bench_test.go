package library_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// BenchmarkFetch reads a document as a command does. The ratio is to reading the same bytes under three keys of the same store in one View.
func BenchmarkFetch(b *testing.B) {
	st := memstore.New()
	s := library.New(library.Config{Store: st, Authorizer: access.AllowAll{}})
	create(b, s, "Say", "x")
	ctx := context.Background()
	want := text("x")
	k := key.New("raw")
	if err := st.Update(ctx, func(_ context.Context, tx store.Tx) error {
		for i := range uint64(3) {
			if err := tx.Put(k.Uint(i), []byte(want)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, _, _, err := s.Fetch(ctx, "acme", "Say", ""); err != nil {
			b.Fatal(err)
		}
	}
	fetched := b.Elapsed()
	began := time.Now()
	for range b.N {
		if err := st.View(ctx, func(ctx context.Context, r store.Reader) error {
			for i := range uint64(3) {
				if _, err := r.Get(ctx, k.Uint(i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(fetched)/float64(time.Since(began)), "ratio")
}

// BenchmarkList reads a page of 50 from 1,000 documents.
func BenchmarkList(b *testing.B) {
	s := library.New(library.Config{Store: memstore.New(), Authorizer: access.AllowAll{}, Limits: library.Limits{Documents: -1}})
	for i := range 1000 {
		create(b, s, fmt.Sprintf("doc-%04d", i), "x")
	}
	for b.Loop() {
		if _, err := s.ListDocuments(ann, library.ListDocumentsRequest{}); err != nil {
			b.Fatal(err)
		}
	}
}
