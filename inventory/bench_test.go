package inventory_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/inventory"
)

// packages makes a content of n applications of an everyday size, about 320 bytes of JSON each.
func packages(n int) []inventory.Entry {
	all := make([]inventory.Entry, n)
	for i := range all {
		name := fmt.Sprintf("libexample-data%04d-perl", i)
		version := fmt.Sprintf("1.%d.%d-%d+deb12u1", i%17, i%31, i%5)
		all[i] = inventory.Entry{"Name": name, "Version": version, "Architecture": "x86_64", "ApplicationType": "libs", "Publisher": "Debian Example Maintainers <example@lists.example.org>",
			"URL": "https://www.example.org/projects/" + name, "Summary": "a library that stands for many others of its kind", "PackageId": name + "_" + version + "_amd64.deb"}
	}
	return all
}

// BenchmarkDeltaOfOnePackage makes the report of one changed package among 1,000, applies it, and compares with making the JSON of the full content: bytes and time, as ratios.
func BenchmarkDeltaOfOnePackage(b *testing.B) {
	before := packages(1000)
	after := slices.Clone(before)
	after[500] = after[500].Clone()
	after[500]["Version"] = "2.0-1"
	known := inventory.Know(before)
	var delta, full []byte
	var deltaTime, fullTime, applyTime time.Duration
	for b.Loop() {
		start := time.Now()
		it := inventory.NewItem(inventory.Application, noon, after)
		it.Delta, it.Content = known.Diff(after), nil
		delta, _ = json.Marshal(inventory.Report{InstanceID: "mi-0123456789abcdef0", Items: []inventory.Item{it}})
		deltaTime += time.Since(start)

		start = time.Now()
		whole := inventory.NewItem(inventory.Application, noon, after)
		full, _ = json.Marshal(inventory.Report{InstanceID: "mi-0123456789abcdef0", Items: []inventory.Item{whole}})
		fullTime += time.Since(start)

		start = time.Now()
		got, err := it.Delta.Apply(before, known.ContentHash, it.ContentHash)
		applyTime += time.Since(start)
		require.NoError(b, err)
		require.Len(b, got, 1000)
	}
	b.ReportMetric(float64(len(delta)), "delta-bytes")
	b.ReportMetric(float64(len(full))/float64(len(delta)), "full/delta-bytes")
	b.ReportMetric(float64(deltaTime.Nanoseconds())/float64(b.N), "delta-ns")
	b.ReportMetric(float64(deltaTime)/float64(fullTime), "ratio")
	b.ReportMetric(float64(applyTime)/float64(fullTime), "apply-ratio")
}
