package apt_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/apt"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// metadata writes n stanzas of the shape and size that Debian's have (about 790 bytes each).
func metadata(n int, version string, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := strings.Fields("library tool runtime development files for the of and documentation common data python perl module client server daemon kernel graphical interface")
	var b bytes.Buffer
	hex := func(n int) {
		for range n / 16 {
			fmt.Fprintf(&b, "%016x", r.Uint64())
		}
	}
	for i := range n {
		name := fmt.Sprintf("lib%s-%s%d", words[i%len(words)], words[i/7%len(words)], i)
		fmt.Fprintf(&b, "Package: %s\nSource: %s-src\nVersion: %d.%d.%d-%s\nInstalled-Size: %d\nMaintainer: Debian %s Team <pkg-%s@lists.example.org>\nArchitecture: %s\nDepends: ",
			name, name, r.IntN(20), r.IntN(30), i%17, version, r.IntN(100000), words[i%9], words[i%11], []string{"amd64", "all"}[i%2])
		for d := range 3 + r.IntN(9) {
			if d > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "lib%s-%s%d (>= %d.%d)", words[r.IntN(len(words))], words[r.IntN(len(words))], r.IntN(n), r.IntN(20), r.IntN(30))
		}
		fmt.Fprintf(&b, "\nDescription: %s %s %s\nHomepage: https://%s.example.org/\nDescription-md5: ", words[r.IntN(len(words))], words[r.IntN(len(words))], words[r.IntN(len(words))], name)
		hex(32)
		fmt.Fprintf(&b, "\nTag: implemented-in::c, role::shared-lib,\n uitoolkit::ncurses, use::gameplaying\nSection: %s\nPriority: optional\nFilename: pool/main/l/%s/%s_%s_amd64.deb\nSize: %d\nMD5sum: ",
			words[i%5], name, name, version, r.IntN(1<<24))
		hex(32)
		b.WriteString("\nSHA256: ")
		hex(64)
		b.WriteString("\n\n")
	}
	return b.Bytes()
}

// fleetNode is a machine of 1,000 packages over the metadata.
func fleetNode(b testing.TB, main, security []byte, ext string, pack func(io.Writer) (io.WriteCloser, error)) fstest.MapFS {
	put := func(text []byte) *fstest.MapFile {
		var out bytes.Buffer
		w, err := pack(&out)
		require.NoError(b, err)
		_, err = w.Write(text)
		require.NoError(b, err)
		require.NoError(b, w.Close())
		return &fstest.MapFile{Data: out.Bytes()}
	}
	var status bytes.Buffer
	status.WriteString("Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n")
	n, count := 0, bytes.Count(main, []byte("\n\n"))
	s := apt.NewScanner("main", bytes.NewReader(main), nil)
	for i := 0; s.Scan(); i++ {
		if i%max(1, count/1000) != 0 || n == 1000 {
			continue
		}
		n++
		arch, err := s.Field("Architecture")
		require.NoError(b, err)
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nPriority: optional\nSection: libs\nInstalled-Size: 1\nMaintainer: x\nArchitecture: %s\nVersion: 0.1-1\nDepends: libc6 (>= 2.3), dpkg\nDescription: a package\n that is installed\n\n", s.Name(), arch)
	}
	f := fstest.MapFS{
		"etc/apt/sources.list":                                                          {Data: []byte("deb http://d.org/debian stable main\ndeb http://d.org/security stable-security main\n")},
		"var/lib/dpkg/status":                                                           {Data: status.Bytes()},
		lists + "d.org_debian_dists_stable_InRelease":                                   {Data: []byte("Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: trixie\n")},
		lists + "d.org_security_dists_stable-security_InRelease":                        {Data: []byte("Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: trixie-security\n")},
		lists + "d.org_debian_dists_stable_main_binary-amd64_Packages" + ext:            put(main),
		lists + "d.org_security_dists_stable-security_main_binary-amd64_Packages" + ext: put(security),
	}
	return f
}

// inflate decompresses all lists and nothing else.
func inflate(b testing.TB, fsys fs.FS) (n int64) {
	names, err := fs.Glob(fsys, lists+"*_Packages*")
	require.NoError(b, err)
	for _, name := range names {
		f, err := fsys.Open(name)
		require.NoError(b, err)
		z, err := apt.Decompress(path.Base(name), f, nil)
		require.NoError(b, err)
		buf := make([]byte, 256<<10)
		for {
			k, err := z.Read(buf)
			n += int64(k)
			if err == io.EOF {
				break
			}
			require.NoError(b, err)
		}
		require.NoError(b, z.Close())
		require.NoError(b, f.Close())
	}
	return n
}

// scan reads a machine and evaluates it against the default baseline; it returns how many packages are missing a patch.
func scan(b testing.TB, fsys fs.FS) int {
	h, err := apt.ReadHost(fsys, nil)
	require.NoError(b, err)
	res, err := patch.Evaluate(patch.PredefinedDefault(patch.Debian), patch.NodeFacts{OperatingSystem: patch.Debian, Product: "Debian12"}, h.Installed(), h.Available(), signedAt)
	require.NoError(b, err)
	return res.Counts.Missing
}

// The limit is 2: a whole distribution read and evaluated for 1,000 installed packages, over decompressing the same bytes.
func BenchmarkScan(b *testing.B) {
	main, security := metadata(60000, "1", 1), metadata(3000, "2", 1)
	formats := []struct {
		ext  string
		open func(io.Writer) (io.WriteCloser, error)
	}{
		{".gz", func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, 1) }},
		{".lz4", func(w io.Writer) (io.WriteCloser, error) { return lz4.NewWriter(w), nil }},
		{".zst", func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
		}},
	}
	if os.Getenv("FLEETWRIGHT_LONG") != "" {
		formats = append(formats, struct {
			ext  string
			open func(io.Writer) (io.WriteCloser, error)
		}{".xz", func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }})
	}
	for _, f := range formats {
		b.Run(f.ext[1:], func(b *testing.B) {
			fsys := fleetNode(b, main, security, f.ext, f.open)
			require.Equal(b, int64(len(main)+len(security)), inflate(b, fsys)) // and warms up
			require.Positive(b, scan(b, fsys))
			compare(b, fsys)
		})
	}
}

// BenchmarkThisMachine is the same over the lists that apt keeps on this machine.
func BenchmarkThisMachine(b *testing.B) {
	fsys := os.DirFS("/")
	if names, _ := fs.Glob(fsys, lists+"*_Packages*"); len(names) == 0 {
		b.Skip("SKIPPED: this machine has no lists of packages; apt-get update fetches them")
	}
	compare(b, fsys)
}

func compare(b *testing.B, fsys fs.FS) {
	b.ReportAllocs()
	var alone, whole time.Duration
	var n int64
	for b.Loop() {
		t0 := time.Now()
		n = inflate(b, fsys)
		t1 := time.Now()
		scan(b, fsys)
		alone, whole = alone+t1.Sub(t0), whole+time.Since(t1)
	}
	b.ReportMetric(float64(whole)/float64(alone), "ratio")
	b.ReportMetric(float64(n)*float64(b.N)/whole.Seconds()/1e6, "MB/s")
	b.ReportMetric(float64(n)*float64(b.N)/alone.Seconds()/1e6, "MB/s-inflate")
}
