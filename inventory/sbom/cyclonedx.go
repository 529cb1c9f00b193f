package sbom

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

// Node is whom a bill of materials is about.
type Node struct {
	ID string // of the managed node; required
	// Distro and Release are ID and VERSION_ID of os-release, as debian and 12. When they are empty they are guessed from an item of AWS:InstanceInformation; what is not known is
	// left out of package URLs.
	Distro, Release string
}

// Options are options of a bill of materials; nil is the zero value.
type Options struct {
	XML     bool                   // XML instead of JSON
	Compact bool                   // no indentation
	Version cyclonedx.SpecVersion  // of the format; 0 is the newest that the library has
	Serial  string                 // urn:uuid:…; empty makes one of the node and the content, the same for the same
	Tools   []cyclonedx.Component  // who made it, beside fleetwright
	Edit    func(b *cyclonedx.BOM) // may add what the host knows, before it is written
}

// CycloneDX returns the bill of materials of a node: a component for each entry of AWS:Application among the items, with a package URL for packages of deb, rpm and snap. Its time is
// that of the item. Errors: ValidationException without a node's id or without an item of AWS:Application that has content.
func CycloneDX(node Node, items []inventory.Item, o *Options) (*cyclonedx.BOM, error) {
	const op = "sbom.CycloneDX"
	if o == nil {
		o = &Options{}
	}
	if node.ID == "" {
		return nil, fault.New(op, fault.Validation, "the node has no id")
	}
	var apps *inventory.Item
	var info inventory.Entry
	for i, it := range items {
		switch {
		case it.TypeName == inventory.Application && it.Content != nil:
			apps = &items[i]
		case it.TypeName == inventory.InstanceInformation && len(it.Content) > 0:
			info = it.Content[0]
		}
	}
	if apps == nil {
		return nil, fault.New(op, fault.Validation, "there is no content of %s for node %q", inventory.Application, fault.Clean(node.ID))
	}
	if node.Distro == "" {
		node.Distro, node.Release = distro(info["PlatformName"]), info["PlatformVersion"]
	}
	b := cyclonedx.NewBOM()
	b.SerialNumber = o.Serial
	if b.SerialNumber == "" {
		b.SerialNumber = serial(node, apps.Content)
	}
	tools := append([]cyclonedx.Component{{Type: cyclonedx.ComponentTypeApplication, Name: "fleetwright"}}, o.Tools...)
	b.Metadata = &cyclonedx.Metadata{
		Timestamp: apps.CaptureTime,
		Tools:     &cyclonedx.ToolsChoice{Components: &tools},
		Component: &cyclonedx.Component{BOMRef: "node:" + node.ID, Type: cyclonedx.ComponentTypeDevice, Name: node.ID, Description: info["ComputerName"]},
	}
	components := make([]cyclonedx.Component, 0, len(apps.Content)+1)
	seen := make(map[string]int, len(apps.Content))
	ref := func(s string) string {
		seen[s]++
		if n := seen[s]; n > 1 {
			return ref2(s, n)
		}
		return s
	}
	if name := info["PlatformName"]; name != "" {
		components = append(components, cyclonedx.Component{BOMRef: ref("os:" + name + "@" + info["PlatformVersion"]), Type: cyclonedx.ComponentTypeOS, Name: name, Version: info["PlatformVersion"]})
	}
	for _, e := range apps.Content {
		components = append(components, component(e, node, ref))
	}
	b.Components = &components
	all := make([]string, len(components))
	for i, c := range components {
		all[i] = c.BOMRef
	}
	b.Dependencies = &[]cyclonedx.Dependency{{Ref: b.Metadata.Component.BOMRef, Dependencies: &all}}
	if o.Edit != nil {
		o.Edit(b)
	}
	return b, nil
}

// WriteCycloneDX writes the bill of materials of a node.
func WriteCycloneDX(w io.Writer, node Node, items []inventory.Item, o *Options) error {
	const op = "sbom.WriteCycloneDX"
	b, err := CycloneDX(node, items, o)
	if err != nil {
		return err
	}
	if o == nil {
		o = &Options{}
	}
	format := cyclonedx.BOMFileFormatJSON
	if o.XML {
		format = cyclonedx.BOMFileFormatXML
	}
	enc := cyclonedx.NewBOMEncoder(w, format).SetPretty(!o.Compact).SetEscapeHTML(false)
	if o.Version != 0 {
		err = enc.EncodeVersion(b, o.Version)
	} else {
		err = enc.Encode(b)
	}
	if err != nil {
		return fault.New(op, fault.ServiceUnavailable, "writing: %w", err)
	}
	return nil
}

func ref2(s string, n int) string { return fmt.Sprintf("%s#%d", s, n) }

func component(e inventory.Entry, node Node, ref func(string) string) cyclonedx.Component {
	c := cyclonedx.Component{Type: cyclonedx.ComponentTypeApplication, Name: clean(e["Name"]), Version: clean(FullVersion(e)), Description: clean(e["Summary"]), Publisher: clean(e["Publisher"]),
		PackageURL: PackageURL(e, node.Distro, node.Release)}
	if strings.HasPrefix(e["ApplicationType"], "lib") || strings.HasSuffix(e["ApplicationType"], "/libs") || strings.Contains(e["ApplicationType"], "Libraries") {
		c.Type = cyclonedx.ComponentTypeLibrary
	}
	c.BOMRef = c.PackageURL
	if c.BOMRef == "" {
		c.BOMRef = "app:" + c.Name + "@" + c.Version
	}
	c.BOMRef = ref(c.BOMRef)
	if u := clean(e["URL"]); strings.HasPrefix(u, "http://") || strings.HasPrefix(u, "https://") {
		c.ExternalReferences = &[]cyclonedx.ExternalReference{{Type: cyclonedx.ERTypeWebsite, URL: u}}
	}
	var props []cyclonedx.Property
	for _, k := range [...]string{"Architecture", "ApplicationType", "InstalledTime", "PackageId"} {
		if v := clean(e[k]); v != "" {
			props = append(props, cyclonedx.Property{Name: "fleetwright:inventory:" + k, Value: v})
		}
	}
	if props != nil {
		c.Properties = &props
	}
	return c
}

// clean makes control characters visible: XML cannot hold most of them.
func clean(s string) string { return fault.Clean(s) }

// FullVersion returns [epoch:]version[-release] of an entry of AWS:Application, whose parts rpm keeps apart.
func FullVersion(e inventory.Entry) string {
	v := e["Version"]
	if r := e["Release"]; r != "" {
		v += "-" + r
	}
	if p := e["Epoch"]; p != "" && p != "0" {
		v = p + ":" + v
	}
	return v
}

// PackageURL returns the package URL (purl) of an entry of AWS:Application, or "" when it is no package of deb, rpm or snap. distro and release are ID and VERSION_ID of os-release and may
// be empty.
func PackageURL(e inventory.Entry, distro, release string) string {
	name, version := e["Name"], e["Version"]
	if name == "" || version == "" {
		return ""
	}
	var q []string // qualifiers, in the order of their keys
	add := func(k, v string) {
		if v != "" {
			q = append(q, k+"="+escape(v))
		}
	}
	format := inventory.PackageFormat(e)
	space := strings.ToLower(distro)
	if space == "rhel" {
		space = "redhat" // the vendor's name, as scanners expect it
	}
	switch format {
	case "deb":
		// The package's own name of the architecture stands in its id only.
		id := strings.TrimSuffix(e["PackageId"], ".deb")
		add("arch", id[strings.LastIndexByte(id, '_')+1:])
		name = strings.ToLower(name)
	case "rpm":
		if r := e["Release"]; r != "" {
			version += "-" + r
		}
		add("arch", e["Architecture"])
	case "snap":
		return "pkg:snap/" + escape(name) + "@" + escape(version)
	default:
		return ""
	}
	if distro != "" && release != "" {
		add("distro", strings.ToLower(distro)+"-"+release)
	}
	if format == "rpm" {
		if p := e["Epoch"]; p != "0" {
			add("epoch", p)
		}
		add("upstream", e["PackageId"])
	}
	u := "pkg:" + format + "/"
	if space != "" {
		u += escape(space) + "/"
	}
	u += escape(name) + "@" + escape(version)
	if len(q) > 0 {
		u += "?" + strings.Join(q, "&")
	}
	return u
}

// escape percent-encodes all but letters, digits, . - _ ~ and : (purl specification).
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(".-_~:", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// distro returns the ID of os-release for a platform's name, or "".
func distro(platform string) string {
	p := strings.ToLower(platform)
	for _, d := range [...][2]string{{"debian", "debian"}, {"ubuntu", "ubuntu"}, {"raspbian", "raspbian"}, {"red hat", "rhel"}, {"centos", "centos"}, {"rocky", "rocky"}, {"alma", "almalinux"},
		{"oracle", "ol"}, {"amazon", "amzn"}, {"fedora", "fedora"}, {"opensuse", "opensuse"}, {"suse", "sles"}, {"sles", "sles"}} {
		if strings.HasPrefix(p, d[0]) {
			return d[1]
		}
	}
	return ""
}

// serial makes a UUID (version 8) of the node and its content.
func serial(node Node, content []inventory.Entry) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q ", node.ID, node.Distro, node.Release)
	h.Write(inventory.Canonical(content))
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
