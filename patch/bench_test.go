package patch_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
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

// BenchmarkCompare compares 1,536 pairs an operation. Its ratio is to looking at each byte of both versions once, in the same run, which no order of
// versions can do without; the other to the time of the C library.
func BenchmarkCompare(b *testing.B) {
	for _, k := range []struct {
		name    string
		compare func(a, b string) int
		limit   float64
	}{{"deb", patch.CompareDeb, libdpkgNs}, {"rpm", patch.CompareRPM, librpmNs}} {
		b.Run(k.name, func(b *testing.B) {
			ps := pairs(k.name)
			sum := 0
			pass := func() {
				for i := range ps {
					for _, s := range ps[i] {
						for j := range len(s) {
							if s[j] >= '0' && s[j] <= '9' {
								sum++
							}
						}
					}
				}
			}
			pass()
			begin := time.Now()
			for range 20 {
				pass()
			}
			bytewise := float64(time.Since(begin).Nanoseconds()) / 20
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				for i := range ps {
					sum += k.compare(ps[i][0], ps[i][1])
				}
			}
			per := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
			b.ReportMetric(per/bytewise, "ratio")
			b.ReportMetric(per/float64(len(ps)), "ns/pair")
			b.ReportMetric(per/float64(len(ps))/k.limit, "of-C-library")
			if sum == 0 {
				b.Fatal(sum)
			}
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

// packed makes the metadata of n packages as an archive has them, about 800 bytes each, compressed.
func packed(b *testing.B, n int) []byte {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	require.NoError(b, err)
	for i := range n {
		sum := sha256.Sum256([]byte(strconv.Itoa(i)))
		_, err := fmt.Fprintf(z, "Package: package-%d\nVersion: 1.%d-2\nInstalled-Size: %d\nMaintainer: Somebody <somebody-%d@example.org>\nArchitecture: amd64\n"+
			"Depends: libc6 (>= 2.%d), libgcc-s1 (>= 3.0), libstdc++6 (>= 11), library-%d (>= %d)\nDescription: what package %d is for\nSection: utils\nPriority: optional\n"+
			"Homepage: https://example.org/%x\nDescription-md5: %x\nTag: role::program, implemented-in::c, use::%x\nFilename: pool/main/p/package-%d/package-%d_1.%d-2_amd64.deb\nSize: %d\nMD5sum: %x\nSHA256: %x\n\n",
			i, i%90, i*37, i%500, i%40, i*31%n, i%9, i, sum[:9], sum[9:25], sum[3:8], i, i, i%90, i*977, sum[:16], sum)
		require.NoError(b, err)
	}
	require.NoError(b, z.Close())
	return out.Bytes()
}

// BenchmarkEvaluate holds the decision against merely decompressing the metadata that it decides about: the limit of a scan, of which reading and
// deciding together may take twice.
func BenchmarkEvaluate(b *testing.B) {
	const n = 60_000
	text := packed(b, n)
	begin := time.Now()
	z, err := gzip.NewReader(bytes.NewReader(text))
	require.NoError(b, err)
	size, err := io.Copy(io.Discard, z)
	require.NoError(b, err)
	limit := float64(time.Since(begin).Nanoseconds())
	for _, os := range []patch.OperatingSystem{patch.Debian, patch.AmazonLinux2} {
		b.Run(strings.ToLower(string(os)), func(b *testing.B) {
			installed, available := distribution(os, n, 1_000)
			baseline := patch.PredefinedDefault(os)
			now := date("2024-07-14")
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				r, err := patch.Evaluate(baseline, patch.NodeFacts{Arch: available[0].Arch}, installed, available, now)
				if err != nil || r.Counts.Missing == 0 {
					b.Fatal(err, r)
				}
			}
			per := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
			b.ReportMetric(per/limit, "ratio")
			b.ReportMetric(per/1e6, "ms/op")
			b.ReportMetric(float64(size)/1e6, "MB-decompressed")
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
