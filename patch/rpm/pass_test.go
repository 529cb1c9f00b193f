package rpm_test

import (
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/patch/rpm"
)

// Packages that are passed over without being decoded are those that a reader which decodes all of them would leave out, however the bytes arrive.
func TestPassingAgreesWithDecoding(t *testing.T) {
	pieces := []string{
		`<url>https://example.org/a/b</url>`, "<summary>a / b </summary >", "<description>\n/usr/bin/x\n</description>", `<location href="a/b.rpm"/>`,
		`<format><rpm:obsoletes><rpm:entry name="kept"/></rpm:obsoletes></format>`, `<format><rpm:obsoletes><rpm:entry name="kept"/></rpm:obsoletes ></format>`,
		`<format><rpm:obsoletes><rpm:entry name="other"/></rpm:obsoletes></format>`, `<format><rpm:obsoletes/></format>`,
		`<format><rpm:license>obsoletes</rpm:license><file>/usr/share/obsoletes</file></format>`,
		`<description><![CDATA[</package>]]></description>`, `<!-- </package> -->`, `<packager>x &lt;/package&gt;</packager>`, `<package-like>y</package-like>`,
	}
	one := func(t *rapid.T) string {
		name := rapid.SampledFrom([]string{"kept", "other", "kept&amp;other", "k"}).Draw(t, "name")
		return `<package type="rpm">` + rapid.SampledFrom([]string{"", "\n  "}).Draw(t, "blank") + "<name>" + name + `</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/>` +
			strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 4).Draw(t, "pieces"), "\n") + rapid.SampledFrom([]string{"</package>", "</package>\n", "</package >\n"}).Draw(t, "end")
	}
	keep := func(name string) bool { return name == "kept" }
	rapid.Check(t, func(rt *rapid.T) {
		text := `<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm">` +
			strings.Join(rapid.SliceOfN(rapid.Custom(one), 0, 6).Draw(rt, "packages"), "") + "</metadata>"
		var all, some, slow []rpm.Package
		require.NoError(rt, rpm.ReadPrimary("F", strings.NewReader(text), nil, func(p rpm.Package) error {
			wanted := keep(p.Name)
			for _, o := range p.Obsoletes {
				wanted = wanted || keep(o.Name)
			}
			if wanted {
				all = append(all, p)
			}
			return nil
		}, nil), text)
		few := func(name []byte) bool { return keep(string(name)) }
		require.NoError(rt, rpm.ReadPrimary("F", strings.NewReader(text), few, func(p rpm.Package) error {
			some = append(some, p)
			return nil
		}, nil))
		require.NoError(rt, rpm.ReadPrimary("F", iotest.OneByteReader(strings.NewReader(text)), few, func(p rpm.Package) error {
			slow = append(slow, p)
			return nil
		}, nil))
		require.Equal(rt, all, some, text)
		require.Equal(rt, all, slow, text)
	})
}
