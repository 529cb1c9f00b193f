package rpm_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/rpm"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// distribution makes a repository of n packages and n/10 notices of real shape, and the installed packages: every 40th.
func distribution(b testing.TB, n int) (fstest.MapFS, []rpm.Installed) {
	r := rand.New(rand.NewPCG(1, 2))
	var primary, info, installed bytes.Buffer
	fmt.Fprintf(&primary, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"%d\">\n", n)
	info.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<updates>\n")
	for i := range n {
		name := fmt.Sprintf("package-%x", uint32(i*2654435761))
		fmt.Fprintf(&primary, `<package type="rpm">
  <name>%s</name>
  <arch>x86_64</arch>
  <version epoch="0" ver="%d.%d" rel="2.el9"/>
  <checksum type="sha256" pkgid="YES">%016x%016x%016x%016x</checksum>
  <summary>A tool and a library of number %d</summary>
  <description>The %s package holds what is needed to do things,
and &lt;more&gt; of it in several lines of text that say so.</description>
  <packager>Builder &lt;builder@example.org&gt;</packager>
  <url>https://example.org/%s</url>
  <time file="1709251200" build="1709250000"/>
  <size package="%d" installed="%d" archive="%d"/>
  <location href="Packages/%s.rpm"/>
  <format>
    <rpm:license>GPLv2+</rpm:license>
    <rpm:vendor>Example</rpm:vendor>
    <rpm:group>Unspecified</rpm:group>
    <rpm:buildhost>build.example.org</rpm:buildhost>
    <rpm:sourcerpm>%s.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="4504" end="15481"/>
    <rpm:provides>
      <rpm:entry name="%s" flags="EQ" epoch="0" ver="2.0" rel="2.el9"/>
      <rpm:entry name="%s(x86-64)" flags="EQ" epoch="0" ver="2.0" rel="2.el9"/>
    </rpm:provides>
    <rpm:requires>
`, name, 2, i%30, r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64(), i, name, name, r.IntN(1<<24), r.IntN(1<<26), r.IntN(1<<26), name, name, name, name)
		for range 4 + r.IntN(10) {
			fmt.Fprintf(&primary, "      <rpm:entry name=\"lib%x.so.%d()(64bit)\"/>\n", r.IntN(n), r.IntN(9))
		}
		primary.WriteString("    </rpm:requires>\n    <file>/usr/bin/tool</file>\n  </format>\n</package>\n")
		if i%10 == 0 {
			info.WriteString(notice(fmt.Sprintf("FX-2024:%04d", i), "security", "Important", `<issued date="2024-02-01 00:00:00"/><updated date="2024-02-01 00:00:00"/>`,
				fmt.Sprintf(`<reference href="https://example.org/CVE-2024-%d" id="CVE-2024-%d" title="CVE" type="cve"/>`, i, i), listed(name, "0", fmt.Sprintf("2.%d", i%30), "2.el9", "x86_64", "")))
		}
		if i%max(1, n/1000) == 0 {
			installed.WriteString(line(name, "0", "1.0", "1.el9", "x86_64", "1704067200", "1704060000", "", name+"\x1e"))
		}
	}
	primary.WriteString("</metadata>\n")
	info.WriteString("</updates>\n")
	in, err := rpm.ReadInstalled("rpm -qa", &installed, nil)
	require.NoError(b, err)
	return repository(primary.String(), info.String()), in
}

// The limit is 2: a distribution read and evaluated for 1,000 installed packages, over decompressing the same bytes.
func BenchmarkScan(b *testing.B) {
	fsys, installed := distribution(b, 40000)
	now := time.Date(2024, 7, 1, 0, 0, 0, 0, time.UTC)
	inflate := func() (n int64) {
		buf := make([]byte, 256<<10)
		f, err := fsys.Open("repodata/primary.xml.gz")
		require.NoError(b, err)
		z, err := gzip.NewReader(f)
		require.NoError(b, err)
		n, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{z}, buf)
		require.NoError(b, err)
		g, err := fsys.Open("repodata/updateinfo.xml.zst")
		require.NoError(b, err)
		u, err := zstd.NewReader(g, zstd.WithDecoderConcurrency(1))
		require.NoError(b, err)
		defer u.Close()
		m, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{u}, buf)
		require.NoError(b, err)
		return n + m
	}
	scan := func() int {
		repo, err := rpm.ReadRepo(fsys, &rpm.RepoOptions{ID: "fx", Keep: rpm.Keep(installed)})
		require.NoError(b, err)
		res, err := patch.Evaluate(patch.PredefinedDefault(patch.AmazonLinux2023), patch.NodeFacts{}, rpm.InstalledPackages(installed), rpm.Available(installed, repo), now)
		require.NoError(b, err)
		return res.Counts.Missing
	}
	inflate()
	require.Positive(b, scan())
	var alone, whole time.Duration
	var n int64
	b.ReportAllocs()
	for b.Loop() {
		t0 := time.Now()
		n = inflate()
		t1 := time.Now()
		scan()
		alone, whole = alone+t1.Sub(t0), whole+time.Since(t1)
	}
	b.ReportMetric(float64(whole)/float64(alone), "ratio")
	b.ReportMetric(float64(n)*float64(b.N)/whole.Seconds()/1e6, "MB/s")
	b.ReportMetric(float64(n)*float64(b.N)/alone.Seconds()/1e6, "MB/s-inflate")
}

// BenchmarkUpdateinfo reads notices whole; the metric is how many bytes a second.
func BenchmarkUpdateinfo(b *testing.B) {
	fsys, _ := distribution(b, 20000)
	repo, err := rpm.ReadRepo(fsys, nil)
	require.NoError(b, err)
	text := plain(b, fsys)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		got, err := rpm.ReadUpdateinfo("u", strings.NewReader(text), nil, nil)
		require.NoError(b, err)
		require.Len(b, got, len(repo.Notices))
	}
}

func plain(b testing.TB, fsys fs.FS) string {
	f, err := fsys.Open("repodata/updateinfo.xml.zst")
	require.NoError(b, err)
	text, err := io.ReadAll(unzst(b, f))
	require.NoError(b, err)
	return string(text)
}

func unzst(b testing.TB, r io.Reader) io.Reader {
	z, err := zstd.NewReader(r)
	require.NoError(b, err)
	b.Cleanup(z.Close)
	return z
}
