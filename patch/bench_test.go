package patch_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/patch"
)

// Times of the C libraries on one machine, for the parse and comparison of one pair: what the figures of the benchmarks are held against.
const (
	libdpkgNs = 220.0
	librpmNs  = 84.0
)

// pairs of versions as distributions have them.
func pairs(kind string) [][2]string {
	var out [][2]string
	for i := range 512 {
		n := strconv.Itoa(i)
		switch kind {
		case "deb":
			out = append(out, [2]string{"1." + n + ".3-1+deb12u" + strconv.Itoa(i%7), "1." + n + ".3-1+deb12u" + strconv.Itoa(i%5)},
				[2]string{"2:8." + n + "~rc2+dfsg-4", "2:8." + n + "+dfsg-1"}, [2]string{"0." + n + "-2", "0." + strconv.Itoa(i+1) + "-1"})
		default:
			out = append(out, [2]string{"9.8." + n + "-0.62.rc1.57.amzn1", "9.8." + n + "-0.68.rc1.58.amzn1"},
				[2]string{"1:2.02-0.81." + n + ".el9_2", "1:2.02-0.81." + n + ".el9"}, [2]string{"4.14." + n + "-1.amzn2", "4.14." + strconv.Itoa(i+1) + "-1.amzn2"})
		}
	}
	return out
}

func BenchmarkCompare(b *testing.B) {
	for _, k := range []struct {
		name    string
		compare func(a, b string) int
		limit   float64
	}{{"deb", patch.CompareDeb, libdpkgNs}, {"rpm", patch.CompareRPM, librpmNs}} {
		b.Run(k.name, func(b *testing.B) {
			ps := pairs(k.name)
			b.ReportAllocs()
			b.ResetTimer()
			sum := 0
			for i := range b.N {
				p := &ps[i%len(ps)]
				sum += k.compare(p[0], p[1])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/k.limit, "ratio")
			_ = sum
		})
	}
}

func TestCompareAllocatesNothing(t *testing.T) {
	deb, rpm := pairs("deb"), pairs("rpm")
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for i := range deb {
			patch.CompareDeb(deb[i][0], deb[i][1])
			patch.CompareRPM(rpm[i][0], rpm[i][1])
		}
	}))
}

// distribution makes the lists of a Debian or Amazon Linux system: n packages on offer, of which the first m are installed, every third in an
// older version.
func distribution(os patch.OperatingSystem, n, m int) ([]patch.Installed, []patch.Available) {
	var installed []patch.Installed
	available := make([]patch.Available, 0, n)
	priorities := []string{"optional", "optional", "optional", "optional", "extra", "required"}
	for i := range n {
		name := "package-" + strconv.Itoa(i*7919%n)
		a := patch.Available{Name: name, Arch: "amd64", Version: "1." + strconv.Itoa(i%90) + "-2", Repo: "main", Priority: priorities[i%6], Section: "utils", Security: i%20 == 0}
		if os != patch.Debian {
			a.Arch = "x86_64"
			if i%3 == 0 {
				a.Advisories = []*patch.Advisory{{ID: "ALAS-" + strconv.Itoa(i), Type: "security", Severity: "important", Updated: date("2024-06-01"), CVEs: []string{"CVE-2024-" + strconv.Itoa(i)}}}
			}
		}
		available = append(available, a)
		if i < m {
			p := patch.Installed{Name: name, Arch: a.Arch, Version: a.Version}
			if i%3 == 0 {
				p.Version = "1." + strconv.Itoa(i%90) + "-1"
			}
			installed = append(installed, p)
		}
	}
	return installed, available
}

// The limit is what the decision cannot do without: hashing the name of every package on offer once and looking it up in a map of what is installed.
func BenchmarkEvaluate(b *testing.B) {
	for _, os := range []patch.OperatingSystem{patch.Debian, patch.AmazonLinux2} {
		b.Run(strings.ToLower(string(os)), func(b *testing.B) {
			installed, available := distribution(os, 60_000, 1_000)
			baseline := patch.PredefinedDefault(os)
			now := date("2024-07-14")
			byName := make(map[string]int, len(installed))
			for i := range installed {
				byName[installed[i].Name] = i
			}
			begin, hits := time.Now(), 0
			for range 10 {
				clear(byName)
				for i := range installed {
					byName[installed[i].Name] = i
				}
				for i := range available {
					if _, ok := byName[available[i].Name]; ok {
						hits++
					}
				}
			}
			limit := float64(time.Since(begin).Nanoseconds()) / 10
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				r, err := patch.Evaluate(baseline, patch.NodeFacts{Arch: available[0].Arch}, installed, available, now)
				if err != nil || r.Counts.Missing == 0 {
					b.Fatal(err, r)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/limit, "ratio")
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/op")
		})
	}
}

// A hundred reasons against one evaluation.
func BenchmarkExplain(b *testing.B) {
	installed, available := distribution(patch.AmazonLinux2, 60_000, 1_000)
	r, err := patch.Evaluate(patch.PredefinedDefault(patch.AmazonLinux2), patch.NodeFacts{}, installed, available, date("2024-07-14"))
	require.NoError(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		p := &r.Patches[i%len(r.Patches)]
		if x := r.Explain(p.Key); x == nil || fmt.Sprint(x) == "" {
			b.Fatal(p.Key)
		}
	}
}
