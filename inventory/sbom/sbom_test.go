package sbom_test

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/sbom"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func items() []inventory.Item {
	return []inventory.Item{
		inventory.NewItem(inventory.Application, noon, []inventory.Entry{
			{"Name": "libstdc++6", "Version": "12.2.0-14+deb12u1", "Architecture": "x86_64", "ApplicationType": "libs", "PackageId": "libstdc++6_12.2.0-14+deb12u1_amd64.deb", "Publisher": "Debian <a@b>",
				"URL": "https://gcc.gnu.org/", "Summary": "GNU Standard C++ Library"},
			{"Name": "tzdata", "Version": "2025a-0+deb12u1", "Architecture": "all", "PackageId": "tzdata_2025a-0+deb12u1_all.deb", "URL": "javascript:alert(1)"},
			{"Name": "bind", "Version": "9.16", "Release": "1.el9", "Epoch": "32", "Architecture": "x86_64", "PackageId": "bind-9.16-1.el9.src.rpm", "InstalledTime": "2026-01-01T00:00:00Z"},
			{"Name": "bind", "Version": "9.16", "Release": "1.el9", "Epoch": "32", "Architecture": "x86_64", "PackageId": "bind-9.16-1.el9.src.rpm"},
			{"Name": "core", "Version": "16-2", "PackageId": "pkg:snap/canonical/core@16-2"},
			{"Name": "Some App\x01", "Version": "1 beta"},
		}),
		inventory.NewItem(inventory.InstanceInformation, noon, []inventory.Entry{{"PlatformName": "Debian GNU/Linux", "PlatformVersion": "12", "ComputerName": "box"}}),
		inventory.NewItem(inventory.Network, noon, nil).HashOnly(),
	}
}

func Example() {
	it := inventory.NewItem(inventory.WindowsUpdate, noon, []inventory.Entry{{"HotFixId": "KB1", "Description": "Update, security"}})
	_ = sbom.WriteJSONLines(os.Stdout, "mi-1", it)
	schema, _ := inventory.SchemaOf(inventory.WindowsUpdate)
	c := sbom.NewCSV(os.Stdout, schema, nil)
	_ = c.Write("mi-1", it)
	_ = c.Flush()
	fmt.Println(sbom.PackageURL(items()[0].Content[0], "debian", "12"))
	// Output:
	// {"ResourceId":"mi-1","TypeName":"AWS:WindowsUpdate","SchemaVersion":"1.0","CaptureTime":"2026-03-01T12:00:00Z","Content":{"Description":"Update, security","HotFixId":"KB1"}}
	// ResourceId,CaptureTime,HotFixId,Description,InstalledTime,InstalledBy
	// mi-1,2026-03-01T12:00:00Z,KB1,"Update, security",,
	// pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12
}

func ExampleWriteCycloneDX() {
	var b bytes.Buffer
	err := sbom.WriteCycloneDX(&b, sbom.Node{ID: "mi-1", Distro: "debian", Release: "12"}, items(), nil)
	fmt.Println(err, strings.Contains(b.String(), `"bomFormat": "CycloneDX"`))
	// Output: <nil> true
}

func TestPackageURLs(t *testing.T) {
	content := items()[0].Content
	for i, want := range []string{
		"pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12",
		"pkg:deb/debian/tzdata@2025a-0%2Bdeb12u1?arch=all&distro=debian-12",
		"pkg:rpm/debian/bind@9.16-1.el9?arch=x86_64&distro=debian-12&epoch=32&upstream=bind-9.16-1.el9.src.rpm",
		"pkg:rpm/debian/bind@9.16-1.el9?arch=x86_64&distro=debian-12&epoch=32&upstream=bind-9.16-1.el9.src.rpm",
		"pkg:snap/core@16-2",
		"",
	} {
		require.Equal(t, want, sbom.PackageURL(content[i], "Debian", "12"))
	}
	require.Equal(t, "pkg:deb/tzdata@2025a-0%2Bdeb12u1?arch=all", sbom.PackageURL(content[1], "", ""))
	require.Equal(t, "pkg:rpm/redhat/bind@9.16-1.el9?arch=x86_64&distro=rhel-9&epoch=32&upstream=bind-9.16-1.el9.src.rpm", sbom.PackageURL(content[2], "rhel", "9"))
	require.Equal(t, "32:9.16-1.el9", sbom.FullVersion(content[2]))
	require.Equal(t, "1:2", sbom.FullVersion(inventory.Entry{"Version": "1:2", "Epoch": "0"}))
}

func TestBillOfMaterials(t *testing.T) {
	write := func(o *sbom.Options) []byte {
		var b bytes.Buffer
		require.NoError(t, sbom.WriteCycloneDX(&b, sbom.Node{ID: "mi-1"}, items(), o))
		return b.Bytes()
	}
	text := write(nil)
	require.Equal(t, string(text), string(write(nil)), "the same inventory gives the same bytes")
	for _, o := range []*sbom.Options{nil, {XML: true}, {Compact: true}, {Version: cyclonedx.SpecVersion1_4}} {
		format := cyclonedx.BOMFileFormatJSON
		if o != nil && o.XML {
			format = cyclonedx.BOMFileFormatXML
		}
		var b cyclonedx.BOM
		require.NoError(t, cyclonedx.NewBOMDecoder(bytes.NewReader(write(o)), format).Decode(&b), "the library reads what was written")
		require.Equal(t, "2026-03-01T12:00:00Z", b.Metadata.Timestamp)
		require.Equal(t, "mi-1", b.Metadata.Component.Name)
		require.Regexp(t, `^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, b.SerialNumber)
		c := *b.Components
		require.Len(t, c, 7)
		require.Equal(t, cyclonedx.ComponentTypeOS, c[0].Type)
		require.Equal(t, cyclonedx.ComponentTypeLibrary, c[1].Type)
		require.Equal(t, "pkg:deb/debian/tzdata@2025a-0%2Bdeb12u1?arch=all&distro=debian-12", c[2].PackageURL, "the distribution is known from AWS:InstanceInformation")
		require.Nil(t, c[2].ExternalReferences, "only web addresses become links")
		require.Equal(t, "https://gcc.gnu.org/", (*c[1].ExternalReferences)[0].URL)
		require.Equal(t, `Some App\x01`, c[6].Name)
		refs := map[string]bool{}
		for _, x := range c {
			require.False(t, refs[x.BOMRef], x.BOMRef)
			refs[x.BOMRef] = true
		}
		for _, d := range *(*b.Dependencies)[0].Dependencies {
			require.True(t, refs[d])
		}
	}
	require.NotContains(t, string(text), `\u003c`, "letters stay letters")
	for _, bad := range []struct {
		node  sbom.Node
		items []inventory.Item
	}{{sbom.Node{}, items()}, {sbom.Node{ID: "mi-1"}, items()[1:]}, {sbom.Node{ID: "mi-1"}, []inventory.Item{items()[0].HashOnly()}}} {
		require.Equal(t, fault.Validation, fault.CodeOf(sbom.WriteCycloneDX(&bytes.Buffer{}, bad.node, bad.items, nil)))
	}
	require.Contains(t, string(write(&sbom.Options{Serial: "urn:uuid:x", Edit: func(b *cyclonedx.BOM) { b.Version = 7 }})), `"version": 7`)
}

// Whatever entries hold, lines and tables read back as what was written.
func TestLinesAndTablesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("a,\"\n;=é\u2028<'\t ")))
		content := rapid.SliceOfN(rapid.MapOfN(rapid.StringMatching(`[A-C]`), text, 0, 3), 0, 5).Draw(t, "content")
		entries := make([]inventory.Entry, len(content))
		for i, m := range content {
			entries[i] = m
		}
		it := inventory.NewItem("Custom:A", noon, entries)
		var b bytes.Buffer
		require.NoError(t, sbom.WriteJSONLines(&b, "mi-1", it))
		n := 0
		for s := bufio.NewScanner(&b); s.Scan(); n++ {
			var l sbom.Line
			require.NoError(t, json.Unmarshal(s.Bytes(), &l))
			require.Equal(t, entries[n], l.Content)
			require.Equal(t, "Custom:A", l.TypeName)
		}
		require.Equal(t, len(entries), n)

		b.Reset()
		schema := sbom.Columns("Custom:A", it)
		c := sbom.NewCSV(&b, schema, nil)
		require.NoError(t, c.Write("mi-1", it))
		require.NoError(t, c.Flush())
		rows, err := csv.NewReader(&b).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, len(entries)+1)
		for i, row := range rows[1:] {
			for j, a := range schema.Attributes {
				require.Equal(t, entries[i][a.Name], row[j+2])
			}
		}
	})
}

func TestTables(t *testing.T) {
	s := sbom.Columns(inventory.InstanceDetailedInformation, inventory.NewItem(inventory.InstanceDetailedInformation, noon, []inventory.Entry{{"KernelVersion": "6", "CPUs": "2"}}))
	require.Equal(t, "KernelVersion", s.Attributes[len(s.Attributes)-1].Name)
	var b bytes.Buffer
	c := sbom.NewCSV(&b, sbom.Columns("Custom:A", inventory.NewItem("Custom:A", noon, []inventory.Entry{{"A": ""}})), &sbom.CSVOptions{Spreadsheet: true})
	require.NoError(t, c.Write("=n", inventory.NewItem("Custom:A", noon, []inventory.Entry{{"A": "=1+1"}, {"A": "-"}, {"A": "a=b"}})))
	require.Equal(t, fault.Validation, fault.CodeOf(c.Write("n", inventory.NewItem("Custom:B", noon, nil))))
	require.NoError(t, c.Flush())
	require.Equal(t, "ResourceId,CaptureTime,A\n'=n,2026-03-01T12:00:00Z,'=1+1\n'=n,2026-03-01T12:00:00Z,'-\n'=n,2026-03-01T12:00:00Z,a=b\n", b.String())
	b.Reset()
	require.NoError(t, sbom.NewCSV(&b, s, nil).Flush())
	require.Equal(t, 1, strings.Count(b.String(), "\n"), "a table without entries has its head")
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWritersTellWhatFailed(t *testing.T) {
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(sbom.WriteJSONLines(broken{}, "n", items()...)))
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(sbom.WriteCycloneDX(broken{}, sbom.Node{ID: "n"}, items(), nil)))
	c := sbom.NewCSV(broken{}, sbom.Columns("Custom:A"), nil)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(c.Flush()))
}
