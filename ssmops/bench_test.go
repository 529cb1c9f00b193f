package ssmops

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/library"
)

// BenchmarkHandler compares an operation over the handler (authentication, JSON both ways) with the service called directly and its result written as JSON, in the same run.
func BenchmarkHandler(b *testing.B) {
	w := newWorld(b)
	h := w.api.Handler(byHeader(), nil)
	var direct, handled time.Duration
	const batch = 20
	n := 0
	for b.Loop() {
		n++
		t := time.Now()
		for range batch {
			r, err := w.docs.ListDocuments(w.ctx, library.ListDocumentsRequest{})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := json.Marshal(r); err != nil {
				b.Fatal(err)
			}
		}
		direct += time.Since(t)
		t = time.Now()
		for range batch {
			if got := post(h, "admin", "", "ListDocuments", "{}"); got.Code != http.StatusOK {
				b.Fatal(got.Body)
			}
		}
		handled += time.Since(t)
	}
	b.ReportMetric(float64(handled)/float64(direct), "ratio")
	b.ReportMetric(float64(handled.Microseconds())/float64(n*batch), "µs/call")
}
