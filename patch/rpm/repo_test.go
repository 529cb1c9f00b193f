package rpm_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/rpm"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func pkg(name, epoch, version, release, arch string, more ...string) string {
	return fmt.Sprintf(`<package type="rpm">
  <name>%s</name>
  <arch>%s</arch>
  <version epoch="%s" ver="%s" rel="%s"/>
  <checksum type="sha256" pkgid="YES">AB%062d</checksum>
  <summary>a &amp; b</summary>
  <time file="1795524321" build="1709251200"/>
  <location href="%s.rpm"/>
  <format><rpm:sourcerpm>%s.src.rpm</rpm:sourcerpm>
    <rpm:provides><rpm:entry name="%s" flags="EQ" epoch="%s" ver="%s" rel="%s"/><rpm:entry name="lib%s.so.1()(64bit)"/></rpm:provides>
    %s
  </format>
</package>
`, name, arch, epoch, version, release, 7, name, name, name, epoch, version, release, name, strings.Join(more, "\n"))
}

func requires(entries ...string) string {
	return "<rpm:requires>" + strings.Join(entries, "") + "</rpm:requires>"
}

func primaryXML(packages ...string) string {
	return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"" +
		fmt.Sprint(len(packages)) + "\">\n" + strings.Join(packages, "") + "</metadata>\n"
}

func notice(id, kind, severity, dates, refs string, packages ...string) string {
	return fmt.Sprintf(`<update from="a@example.org" status="final" type="%s" version="3"><id>%s</id><title>%s title</title>%s<severity>%s</severity><release>R</release>
<description>long &lt;text&gt;</description><references>%s</references><pkglist><collection short="c"><name>c</name>%s</collection></pkglist></update>
`, kind, id, id, dates, severity, refs, strings.Join(packages, ""))
}

func listed(name, epoch, version, release, arch, inner string) string {
	return fmt.Sprintf(`<package name="%s" epoch="%s" version="%s" release="%s" arch="%s" src="x"><filename>f</filename>%s</package>`, name, epoch, version, release, arch, inner)
}

func collect(text string, keep func([]byte) bool) ([]rpm.Package, error) {
	var all []rpm.Package
	err := rpm.ReadPrimary("primary.xml", strings.NewReader(text), keep, func(p rpm.Package) error {
		all = append(all, p)
		return nil
	}, nil)
	return all, err
}

func only(names ...string) func([]byte) bool {
	return func(n []byte) bool {
		for _, name := range names {
			if string(n) == name {
				return true
			}
		}
		return false
	}
}

func TestReadPrimary(t *testing.T) {
	text := primaryXML(
		pkg("alpha", "0", "1.0", "1.el9", "x86_64", requires(`<rpm:entry name="libc.so.6()(64bit)" pre="1"/>`, `<rpm:entry name="beta" flags="GE" epoch="1" ver="2.0"/>`)),
		pkg("new", "2", "3.0", "1.el9", "noarch", `<rpm:obsoletes><rpm:entry name="alpha" flags="LT" epoch="0" ver="2" rel="0"/></rpm:obsoletes>`),
		pkg("b&amp;c", "", "1", "1", "x86_64"),
		pkg("other", "0", "1", "1", "x86_64"))
	want := []rpm.Package{{Name: "alpha", Arch: "x86_64", Version: "1.0-1.el9", Built: time.Unix(1709251200, 0).UTC(), Source: "alpha.src.rpm", Location: "alpha.rpm",
		Checksum: rpm.Sum{Type: "sha256", Value: fmt.Sprintf("ab%062d", 7)},
		Provides: []patch.Relation{{Name: "alpha", Flag: "EQ", Version: "1.0-1.el9"}, {Name: "libalpha.so.1()(64bit)"}},
		Requires: []patch.Relation{{Name: "libc.so.6()(64bit)"}, {Name: "beta", Flag: "GE", Version: "1:2.0"}}}}
	got, err := collect(text, only("alpha"))
	require.NoError(t, err)
	require.Len(t, got, 2, "what obsoletes a kept package is kept")
	require.Empty(t, cmp.Diff(want, got[:1]))
	require.Equal(t, "2:3.0-1.el9", got[1].Version)
	require.Equal(t, []patch.Relation{{Name: "alpha", Flag: "LT", Version: "2-0"}}, got[1].Obsoletes)
	all, err := collect(text, nil)
	require.NoError(t, err)
	require.Len(t, all, 4)
	got, err = collect(text, only("b&c"))
	require.NoError(t, err)
	require.Len(t, got, 1, "a name with a reference is found")
	stop := errors.New("stop")
	require.Equal(t, stop, rpm.ReadPrimary("p", strings.NewReader(text), nil, func(rpm.Package) error { return stop }, nil))
}

// Passing packages quickly gives what reading all of them and choosing gives.
func TestReadPrimaryKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"a", "b", "ab", "c-d", "e"})
		var packages []string
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			more := ""
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				more = "<rpm:obsoletes><rpm:entry name=\"" + names.Draw(t, "old") + "\"/></rpm:obsoletes>"
			case 1:
				more = "<!-- </package> <name>a</name> -->"
			case 2:
				more = "<x><![CDATA[</package>]]></x>"
			}
			packages = append(packages, pkg(names.Draw(t, "name"), "0", "1", "1", "noarch", more))
			if rapid.Bool().Draw(t, "comment") {
				packages = append(packages, "<!-- between -->\n")
			}
		}
		text := primaryXML(packages...)
		kept := map[string]bool{names.Draw(t, "kept"): true, names.Draw(t, "kept2"): true}
		keep := func(n []byte) bool { return kept[string(n)] }
		all, err := collect(text, nil)
		require.NoError(t, err)
		var want []rpm.Package
		for _, p := range all {
			take := kept[p.Name]
			for _, o := range p.Obsoletes {
				take = take || kept[o.Name]
			}
			if take {
				want = append(want, p)
			}
		}
		got, err := collect(text, keep)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want, got))
	})
}

func TestReadPrimaryRefuses(t *testing.T) {
	whole := primaryXML(pkg("a", "0", "1", "1", "noarch"), pkg("b", "0", "1", "1", "noarch"))
	for name, tc := range map[string]struct{ text, want string }{
		"another root":         {"<updates/>", "primary.xml:1"},
		"no name":              {primaryXML(pkg("", "0", "1", "1", "noarch")), "primary.xml:3"},
		"no version":           {primaryXML(pkg("a", "0", "", "1", "noarch")), "primary.xml:3"},
		"a name twice":         {strings.Replace(whole, "<name>a</name>", "<name>a</name><name>c</name>", 1), "twice"},
		"a document type":      {"<!DOCTYPE x>" + whole, "document type"},
		"after the root":       {whole + "<x/>", "more than one root"},
		"cut off in a package": {whole[:len(whole)-40], "primary.xml"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, keep := range []func([]byte) bool{nil, only("a", "")} {
				_, err := collect(tc.text, keep)
				require.ErrorContains(t, err, tc.want)
				require.Equal(t, fault.Validation, fault.CodeOf(err))
			}
		})
	}
	for n := range whole[:len(whole)-1] {
		_, err := collect(whole[:n], only("b"))
		require.Error(t, err, "cut off after %d", n)
	}
}

func TestReadUpdateinfo(t *testing.T) {
	refs := `<reference href="h" id="CVE-2024-1" title="t" type="cve"/><reference id="cve-2024-2" type="CVE"/><reference id="CVE-2024-1" type="cve"/><reference id="123" type="bugzilla"/><reference id="x" type="bugzilla"/><reference id="RHSA" type="self"/>`
	text := "<?xml version=\"1.0\"?>\n<updates>\n" +
		notice("A-1", "security", "Important", `<issued date="2024-02-01 10:00:00"/><updated date="2024-02-03"/>`, refs,
			listed("a", "1", "2.0", "3", "x86_64", "<reboot_suggested>True</reboot_suggested>"), listed("b", "", "2.0", "3", "x86_64", "<reboot_suggested>0</reboot_suggested>"), listed("a", "1", "2.0", "3", "src", "")) +
		notice("A-2", "bugfix", "None", `<issued date="1706745600"/>`, "", listed("b", "0", "3", "1", "noarch", "")) +
		notice("A-3", "enhancement", "", `<issued date="soon"/><updated>2024-02-03 00:00:00 UTC</updated>`, "", listed("c", "0", "3", "1", "noarch", "")) +
		"</updates>"
	got, err := rpm.ReadUpdateinfo("u", strings.NewReader(text), nil, nil)
	require.NoError(t, err)
	day := func(d, h int) time.Time { return time.Date(2024, 2, d, h, 0, 0, 0, time.UTC) }
	want := []rpm.Notice{
		{Advisory: patch.Advisory{ID: "A-1", Type: "security", Severity: "Important", Title: "A-1 title", Issued: day(1, 10), Updated: day(3, 0),
			CVEs: []string{"CVE-2024-1", "CVE-2024-2"}, Bugzilla: []string{"123"}, RebootSuggested: true}, Status: "final", From: "a@example.org", Version: "3", Release: "R",
			Packages: []rpm.NoticePackage{{Name: "a", Arch: "x86_64", Version: "1:2.0-3", Reboot: true}, {Name: "b", Arch: "x86_64", Version: "2.0-3"}}},
		{Advisory: patch.Advisory{ID: "A-2", Type: "bugfix", Severity: "None", Title: "A-2 title", Issued: day(1, 0)}, Status: "final", From: "a@example.org", Version: "3", Release: "R",
			Packages: []rpm.NoticePackage{{Name: "b", Arch: "noarch", Version: "3-1"}}},
		{Advisory: patch.Advisory{ID: "A-3", Type: "enhancement", Title: "A-3 title", Updated: day(3, 0)}, Status: "final", From: "a@example.org", Version: "3", Release: "R",
			Packages: []rpm.NoticePackage{{Name: "c", Arch: "noarch", Version: "3-1"}}},
	}
	require.Empty(t, cmp.Diff(want, got))
	got, err = rpm.ReadUpdateinfo("u", strings.NewReader(text), only("b"), nil)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Len(t, got[0].Packages, 1)
	// Passing notices quickly gives what reading all of them and choosing gives.
	for _, name := range []string{"a", "b", "c", "d", ""} {
		all, err := rpm.ReadUpdateinfo("u", strings.NewReader(strings.ReplaceAll(text, "</title>", "!</title>")), only(name), nil) // read by tokens
		require.NoError(t, err)
		for i := range all {
			all[i].Title = strings.TrimSuffix(all[i].Title, "!")
		}
		got, err := rpm.ReadUpdateinfo("u", strings.NewReader(text), only(name), nil)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(all, got))
	}
	for name, tc := range map[string]string{
		"no id":                   strings.Replace(text, "<id>A-1</id>", "", 1),
		"a package with no name":  strings.Replace(text, `name="a"`, "", 1),
		"a package of no release": strings.Replace(text, `release="3"`, "", 1),
	} {
		_, err := rpm.ReadUpdateinfo("u", strings.NewReader(tc), nil, nil)
		require.ErrorContains(t, err, "u:", name)
	}
	for n := range text {
		_, err := rpm.ReadUpdateinfo("u", strings.NewReader(text[:n]), nil, nil)
		require.Error(t, err)
	}
}

// repository builds the files of one, compressed.
func repository(primary, updateinfo string) fstest.MapFS {
	f := fstest.MapFS{}
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>7</revision>\n")
	add := func(kind, name, plain string, packed []byte) {
		f["repodata/"+name] = &fstest.MapFile{Data: packed}
		fmt.Fprintf(&b, "<data type=%q><checksum type=\"sha256\">%x</checksum><open-checksum type=\"sha256\">%x</open-checksum><location href=\"repodata/%s\"/><timestamp>1709251200</timestamp><size>%d</size><open-size>%d</open-size></data>\n",
			kind, sha256.Sum256(packed), sha256.Sum256([]byte(plain)), name, len(packed), len(plain))
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	io.WriteString(w, primary)
	w.Close()
	add("primary", "primary.xml.gz", primary, z.Bytes())
	if updateinfo != "" {
		e, _ := zstd.NewWriter(nil)
		add("updateinfo", "updateinfo.xml.zst", updateinfo, e.EncodeAll([]byte(updateinfo), nil))
	}
	b.WriteString("</repomd>\n")
	f["repodata/repomd.xml"] = &fstest.MapFile{Data: []byte(b.String())}
	return f
}

func small() fstest.MapFS {
	return repository(primaryXML(pkg("a", "0", "1", "1", "x86_64"), pkg("a", "0", "2", "1", "x86_64"), pkg("n", "0", "1", "1", "x86_64", `<rpm:obsoletes><rpm:entry name="a"/></rpm:obsoletes>`), pkg("z", "0", "1", "1", "x86_64")),
		"<updates>"+notice("A-1", "security", "Important", `<issued date="2024-02-01"/>`, "", listed("a", "0", "2", "1", "x86_64", ""))+
			notice("A-2", "security", "Low", `<issued date="2024-02-01"/>`, "", listed("n", "0", "1", "1", "x86_64", ""))+
			notice("A-3", "security", "Low", `<issued date="2024-02-01"/>`, "", listed("z", "0", "1", "1", "x86_64", ""))+"</updates>")
}

func TestReadRepo(t *testing.T) {
	r, err := rpm.ReadRepo(small(), nil)
	require.NoError(t, err)
	require.Len(t, r.Packages, 4)
	require.Len(t, r.Notices, 3)
	require.True(t, r.HasUpdateinfo)
	require.Equal(t, 99, r.Priority)
	require.Equal(t, "7", r.Repomd.Revision)
	r, err = rpm.ReadRepo(small(), &rpm.RepoOptions{ID: "x", Keep: only("a")})
	require.NoError(t, err)
	require.Len(t, r.Packages, 3)
	require.Len(t, r.Notices, 2, "the notice of what obsoletes a kept package is kept")
	r, err = rpm.ReadRepo(repository(primaryXML(), ""), nil)
	require.NoError(t, err)
	require.False(t, r.HasUpdateinfo)
}

func TestReadRepoRefuses(t *testing.T) {
	const md, primary = "repodata/repomd.xml", "repodata/primary.xml.gz"
	replace := func(name, old, new string) func(fstest.MapFS) {
		return func(f fstest.MapFS) {
			before := string(f[name].Data)
			f[name] = &fstest.MapFile{Data: []byte(strings.Replace(before, old, new, 1))}
		}
	}
	for name, tc := range map[string]struct {
		change func(fstest.MapFS)
		limits *rpm.Limits
		want   string
	}{
		"no repomd":            {func(f fstest.MapFS) { delete(f, md) }, nil, "repomd.xml cannot be opened"},
		"no primary":           {replace(md, `type="primary"`, `type="other"`), nil, "names no primary"},
		"no primary file":      {func(f fstest.MapFS) { delete(f, primary) }, nil, "primary.xml.gz cannot be opened"},
		"a byte more":          {func(f fstest.MapFS) { f[primary].Data = append(f[primary].Data, 0) }, nil, "primary.xml.gz"},
		"a byte less":          {func(f fstest.MapFS) { f[primary].Data = f[primary].Data[:len(f[primary].Data)-1] }, nil, "primary.xml.gz"},
		"another checksum":     {replace(md, `<checksum type="sha256">`, `<checksum type="sha256">00`), nil, "repomd.xml:3"},
		"a checksum of md5":    {replace(md, `<checksum type="sha256">`, `<checksum type="md5">`), nil, "repomd.xml:3"},
		"no checksum":          {replace(md, `checksum type="sha256"`, `x type="sha256"`), nil, "repomd.xml"},
		"an absolute location": {replace(md, `href="repodata`, `href="/repodata`), nil, "repomd.xml:3"},
		"a location outside":   {replace(md, `href="repodata`, `href="../repodata`), nil, "repomd.xml:3"},
		"a type twice":         {replace(md, `type="updateinfo"`, `type="primary"`), nil, "repomd.xml:4"},
		"a size that is none":  {replace(md, `<size>`, `<size>-`), nil, "repomd.xml:3"},
		"more than open-size": {func(f fstest.MapFS) {
			f[md].Data = bytes.Replace(f[md].Data, []byte("<open-size>"), []byte("<open-size>1</open-size><x>"), 1)
			f[md].Data = bytes.Replace(f[md].Data, []byte("</open-size></data>"), []byte("</x></data>"), 1)
		}, nil, "decompresses to more than 1 bytes"},
		"more than the limit":  {func(fstest.MapFS) {}, &rpm.Limits{Total: 2000}, "more than 2000 bytes"},
		"a damaged updateinfo": {func(f fstest.MapFS) { f["repodata/updateinfo.xml.zst"].Data[40] ^= 1 }, nil, "updateinfo.xml.zst"},
		"other bytes that fit": {func(f fstest.MapFS) { f[primary].Data[9] ^= 1 }, nil, "another sha256"},
	} {
		t.Run(name, func(t *testing.T) {
			f := small()
			tc.change(f)
			r, err := rpm.ReadRepo(f, &rpm.RepoOptions{Limits: tc.limits})
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, r)
			require.NotEqual(t, fault.InternalServerError, fault.CodeOf(err))
		})
	}
}

func TestReadRepoVerifies(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return at }
	key := func() (*openpgp.Entity, rpm.Verifier) {
		e, err := openpgp.NewEntity("k", "", "k@example.org", &packet.Config{Time: clock, Algorithm: packet.PubKeyAlgoEdDSA})
		require.NoError(t, err)
		var b bytes.Buffer
		require.NoError(t, e.Serialize(&b))
		v, err := rpm.Keyring(clock, &b)
		require.NoError(t, err)
		return e, v
	}
	good, v := key()
	_, stranger := key()
	f := small()
	_, err := rpm.ReadRepo(f, &rpm.RepoOptions{Verifier: v})
	require.ErrorContains(t, err, "repomd.xml.asc", "no signature is an error")
	var sig bytes.Buffer
	require.NoError(t, openpgp.ArmoredDetachSign(&sig, good, bytes.NewReader(f["repodata/repomd.xml"].Data), &packet.Config{Time: clock}))
	f["repodata/repomd.xml.asc"] = &fstest.MapFile{Data: sig.Bytes()}
	r, err := rpm.ReadRepo(f, &rpm.RepoOptions{Verifier: v})
	require.NoError(t, err)
	require.Equal(t, []string{fmt.Sprintf("%X", good.PrimaryKey.Fingerprint)}, r.Signers)
	_, err = rpm.ReadRepo(f, &rpm.RepoOptions{Verifier: stranger})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	f["repodata/repomd.xml"].Data = append(f["repodata/repomd.xml"].Data, '\n')
	_, err = rpm.ReadRepo(f, &rpm.RepoOptions{Verifier: v})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	f["repodata/repomd.xml.asc"].Data = nil
	_, err = rpm.ReadRepo(f, &rpm.RepoOptions{Verifier: v})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
}
