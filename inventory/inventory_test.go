package inventory_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func entry(kv ...string) inventory.Entry {
	e := inventory.Entry{}
	for i := 0; i < len(kv); i += 2 {
		e[kv[i]] = kv[i+1]
	}
	return e
}

func TestSchemasAreAWSs(t *testing.T) {
	all := inventory.Schemas()
	require.Len(t, all, 18)
	require.True(t, slices.IsSortedFunc(all, func(a, b inventory.Schema) int { return strings.Compare(a.TypeName, b.TypeName) }))
	for _, s := range all {
		require.NotEmpty(t, s.Attributes, s.TypeName)
		require.LessOrEqual(t, len(s.Attributes), 50)
		require.True(t, inventory.ValidSchemaVersion(s.Version))
		got, ok := inventory.SchemaOf(s.TypeName)
		require.True(t, ok)
		require.Equal(t, s, got)
	}
	app, _ := inventory.SchemaOf(inventory.Application)
	require.Equal(t, "1.1", app.Version)
	names := []string{}
	for _, a := range app.Attributes {
		names = append(names, a.Name)
	}
	require.Equal(t, strings.Fields("Name ApplicationType Publisher Version Release Epoch InstalledTime Architecture URL Summary PackageId"), names)
	d, _ := inventory.SchemaOf(inventory.InstanceDetailedInformation)
	a, ok := d.Attribute("CPUCores")
	require.True(t, ok)
	require.Equal(t, inventory.Number, a.DataType)
	_, ok = d.Attribute("KernelVersion")
	require.True(t, ok, "agents send it although the guide has it not")
	all[0].Attributes[0].Name = "changed"
	require.NotEqual(t, "changed", inventory.Schemas()[0].Attributes[0].Name, "the caller owns the result")
}

func TestContentHashIsTheAgentsForCustomTypes(t *testing.T) {
	// A stock agent sent this content with this hash.
	require.Equal(t, "EsdakuYLOQsCVUbJ6ElhSg==", inventory.ContentHash([]inventory.Entry{{"U": "12", "Rack": "B7"}}))
	require.Equal(t, `[{"a":"\u003cb\u003e"},{"b":""}]`, string(inventory.Canonical([]inventory.Entry{{"b": ""}, {"a": "<b>"}})))
	require.Equal(t, "[]", string(inventory.Canonical(nil)))
}

func TestHashOnlyAndEmptyAreTwoThingsInJSON(t *testing.T) {
	full := inventory.NewItem(inventory.File, noon, nil)
	b, err := json.Marshal(full)
	require.NoError(t, err)
	require.Contains(t, string(b), `"Content":[]`)
	b, err = json.Marshal(full.HashOnly())
	require.NoError(t, err)
	require.NotContains(t, string(b), `Content"`)
	require.NotContains(t, string(b), `Delta`)
	var back inventory.Item
	require.NoError(t, json.Unmarshal(b, &back))
	require.Nil(t, back.Content)
	require.Equal(t, "2026-03-01T12:00:00Z", back.CaptureTime)
}

func TestCanonicalTextIsThatOfEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOfN(rapid.String(), rapid.String(), 0, 20).Draw(t, "entry")
		want, err := json.Marshal([]map[string]string{m})
		require.NoError(t, err)
		require.Equal(t, string(want), string(inventory.Canonical([]inventory.Entry{m})))
	})
}

// drawContent draws contents in which entries repeat and values are odd.
func drawContent(t *rapid.T, label string) []inventory.Entry {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) inventory.Entry {
		return rapid.MapOfN(rapid.SampledFrom([]string{"Name", "Version", "X"}), rapid.SampledFrom([]string{"", "a", "b", "<", "\"", "é\n"}), 0, 3).Draw(t, "entry")
	}), 0, 12).Draw(t, label)
}

func TestDeltasLeadFromAnyContentToAny(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawContent(t, "a"), drawContent(t, "b")
		known := inventory.Know(a)
		d := known.Diff(b)
		text, err := json.Marshal(d)
		require.NoError(t, err)
		var sent inventory.Delta
		require.NoError(t, json.Unmarshal(text, &sent))
		shuffled := slices.Clone(a)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		got, err := sent.Apply(shuffled, known.ContentHash, inventory.ContentHash(b))
		require.NoError(t, err)
		require.Equal(t, string(inventory.Canonical(b)), string(inventory.Canonical(got)))
		require.LessOrEqual(t, d.Size(), len(a)+len(b))
		if inventory.ContentHash(a) == inventory.ContentHash(b) {
			require.Zero(t, d.Size())
		}
	})
}

func TestDeltasThatDoNotFitAreRefused(t *testing.T) {
	base := []inventory.Entry{{"Name": "a"}, {"Name": "b"}}
	after := []inventory.Entry{{"Name": "a"}, {"Name": "c"}}
	hash, want := inventory.ContentHash(base), inventory.ContentHash(after)
	d := inventory.Know(base).Diff(after)
	for name, c := range map[string]struct {
		d          inventory.Delta
		base       []inventory.Entry
		hash, want string
	}{
		"another base":           {*d, base, "x", want},
		"the base was damaged":   {*d, base[:1], hash, want},
		"removed is not there":   {inventory.Delta{Base: hash, Removed: append(slices.Clone(d.Removed), "zz"), Added: d.Added}, base, hash, want},
		"another result":         {*d, base, hash, hash},
		"one copy too many":      {inventory.Delta{Base: hash, Removed: append(slices.Clone(d.Removed), d.Removed...), Added: d.Added}, base, hash, want},
		"added something beside": {inventory.Delta{Base: hash, Removed: d.Removed, Added: append(slices.Clone(d.Added), inventory.Entry{})}, base, hash, want},
	} {
		_, err := c.d.Apply(c.base, c.hash, c.want)
		require.Equal(t, inventory.ItemContentMismatch, fault.CodeOf(err), name)
		require.True(t, inventory.NeedsContent(err))
	}
	require.Equal(t, []inventory.Entry{{"Name": "a"}, {"Name": "b"}}, base, "the base stays")
}

func TestTypeNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"AWS:Application": true, "Custom:RackInfo": true, "Custom:A": true, "Custom:Rack Info.v2/é": true,
		"": false, "AWS:application": false, "AWS:Nothing": false, "custom:RackInfo": false, "CUSTOM:RackInfo": false, "Custom:rackInfo": false, "Custom:": false, "Custom:1": false,
		"Custom": false, "Rack": false, "Custom:R\n": false, "Custom:R\u202e": false,
		"Custom:" + strings.Repeat("R", 93): true, "Custom:" + strings.Repeat("R", 94): false,
	} {
		err := (*inventory.Limits)(nil).ValidTypeName(name)
		if ok {
			require.NoError(t, err, name)
		} else {
			require.Equal(t, inventory.InvalidTypeName, fault.CodeOf(err), name)
		}
	}
}

func TestSchemaVersions(t *testing.T) {
	for v, ok := range map[string]bool{"1.0": true, "999999.999999": true, "1": false, "1.": false, ".1": false, "1.0.0": false, "1000000.0": false, "a.b": false, "+1.0": false, "": false} {
		require.Equal(t, ok, inventory.ValidSchemaVersion(v), v)
	}
	require.Negative(t, inventory.CompareSchemaVersions("1.9", "1.10"))
	require.Positive(t, inventory.CompareSchemaVersions("2.0", "1.10"))
	require.Zero(t, inventory.CompareSchemaVersions("1.0", "01.00"))
	require.Negative(t, inventory.CompareSchemaVersions("x", "0.0"))
}

func TestItemsAreChecked(t *testing.T) {
	good := inventory.NewItem(inventory.Application, noon, []inventory.Entry{entry("Name", "a")})
	custom := inventory.NewItem("Custom:RackInfo", noon, []inventory.Entry{entry("Rack", "a")})
	compliance := inventory.NewItem(inventory.ComplianceItem, noon, []inventory.Entry{entry("Id", "a")})
	many := entry()
	for i := range 51 {
		many[fmt.Sprint("A", i)] = ""
	}
	for name, c := range map[string]struct {
		change func(it *inventory.Item)
		of     inventory.Item
		code   fault.Code
	}{
		"as it is":                     {func(*inventory.Item) {}, good, ""},
		"an older minor version":       {func(it *inventory.Item) { it.SchemaVersion = "1.0" }, good, ""},
		"a hash alone":                 {func(it *inventory.Item) { *it = it.HashOnly() }, good, ""},
		"any version of a custom type": {func(it *inventory.Item) { it.SchemaVersion = "7.3" }, custom, ""},
		"a context":                    {func(it *inventory.Item) { it.Context = map[string]string{"ComplianceType": "Patch"} }, compliance, ""},
		"numbers as text":              {func(it *inventory.Item) { it.Content[0] = entry("CPUs", "2", "CPUSpeedMHz", "") }, inventory.NewItem(inventory.InstanceDetailedInformation, noon, []inventory.Entry{{}}), ""},

		"IN3 a newer minor version": {func(it *inventory.Item) { it.SchemaVersion = "1.2" }, good, inventory.UnsupportedSchemaVersion},
		"IN3 another major version": {func(it *inventory.Item) { it.SchemaVersion = "2.0" }, good, inventory.UnsupportedSchemaVersion},
		"IN3 no version":            {func(it *inventory.Item) { it.SchemaVersion = "" }, custom, inventory.UnsupportedSchemaVersion},
		"IN3 a local time":          {func(it *inventory.Item) { it.CaptureTime = "2026-03-01T12:00:00+01:00" }, good, inventory.InvalidItemContent},
		"IN3 fractions":             {func(it *inventory.Item) { it.CaptureTime = "2026-03-01T12:00:00.5Z" }, good, inventory.InvalidItemContent},
		"IN3 another century":       {func(it *inventory.Item) { it.CaptureTime = "1999-03-01T12:00:00Z" }, good, inventory.InvalidItemContent},
		"IN3 no day":                {func(it *inventory.Item) { it.CaptureTime = "2026-02-30T12:00:00Z" }, good, inventory.InvalidItemContent},
		"neither content nor hash":  {func(it *inventory.Item) { it.Content, it.ContentHash = nil, "" }, good, inventory.InvalidItemContent},
		"content and delta":         {func(it *inventory.Item) { it.Delta = &inventory.Delta{} }, good, inventory.InvalidItemContent},
		"an attribute AWS has not":  {func(it *inventory.Item) { it.Content[0] = entry("name", "a") }, good, inventory.InvalidItemContent},
		"the same in a delta": {func(it *inventory.Item) {
			it.Content, it.Delta = nil, &inventory.Delta{Added: []inventory.Entry{{"name": "a"}}}
		}, good, inventory.InvalidItemContent},
		"no number":            {func(it *inventory.Item) { it.Content[0] = entry("CPUs", "two") }, inventory.NewItem(inventory.InstanceDetailedInformation, noon, []inventory.Entry{{}}), inventory.InvalidItemContent},
		"null":                 {func(it *inventory.Item) { it.Content[0] = nil }, good, inventory.InvalidItemContent},
		"IN2 51 attributes":    {func(it *inventory.Item) { it.Content[0] = many }, custom, inventory.InvalidItemContent},
		"IN2 a long name":      {func(it *inventory.Item) { it.Content[0] = entry(strings.Repeat("n", 65), "") }, custom, inventory.InvalidItemContent},
		"IN2 no name":          {func(it *inventory.Item) { it.Content[0] = entry("", "") }, custom, inventory.InvalidItemContent},
		"IN2 a long value":     {func(it *inventory.Item) { it.Content[0] = entry("n", strings.Repeat("v", 4097)) }, custom, inventory.InvalidItemContent},
		"not UTF-8":            {func(it *inventory.Item) { it.Content[0] = entry("n", "\xff") }, custom, inventory.InvalidItemContent},
		"IN2 too many entries": {func(it *inventory.Item) { it.Content = slices.Repeat([]inventory.Entry{{"n": "v"}}, 10_001) }, custom, inventory.ItemSizeLimitExceeded},
		"V9 too large": {func(it *inventory.Item) {
			it.Content = slices.Repeat([]inventory.Entry{{"n": strings.Repeat("v", 4096)}}, 768)
		}, custom, inventory.ItemSizeLimitExceeded},
		"a context where none is allowed": {func(it *inventory.Item) { it.Context = map[string]string{"a": "b"} }, good, inventory.UnsupportedItemContext},
		"a context of something else":     {func(it *inventory.Item) { it.Context = map[string]string{"Title": "b"} }, compliance, inventory.InvalidItemContext},
		"derived types":                   {func(it *inventory.Item) { it.TypeName = inventory.Tag }, good, inventory.InvalidTypeName},
	} {
		it := c.of
		it.Content = slices.Clone(it.Content)
		c.change(&it)
		err := (*inventory.Limits)(nil).ValidateItem(it)
		require.Equal(t, c.code, fault.CodeOf(err), "%s: %v", name, err)
	}
	require.NoError(t, (&inventory.Limits{Entries: -1, ItemBytes: -1}).ValidateItem(inventory.NewItem("Custom:A", noon, slices.Repeat([]inventory.Entry{{"n": "v"}}, 10_001))))
}

func TestReportsAreChecked(t *testing.T) {
	it := func(name string, size int) inventory.Item {
		return inventory.NewItem(name, noon, slices.Repeat([]inventory.Entry{{"n": strings.Repeat("v", 4000)}}, size))
	}
	check := func(items ...inventory.Item) fault.Code {
		return fault.CodeOf((*inventory.Limits)(nil).ValidateReport(inventory.Report{InstanceID: "mi-1", Items: items}))
	}
	require.Equal(t, fault.Validation, check())
	require.Empty(t, check(it("Custom:A", 1), it("Custom:B", 1)))
	require.Equal(t, inventory.InvalidItemContent, check(it("Custom:A", 1), it("Custom:A", 2)))
	require.Equal(t, inventory.TotalSizeLimitExceeded, check(it("Custom:A", 700), it("Custom:B", 700), it("Custom:C", 700), it("Custom:D", 700)))
	var many []inventory.Item
	for i := range 21 {
		many = append(many, it(fmt.Sprint("Custom:A", i), 1))
	}
	require.Empty(t, check(many[:20]...))
	require.Equal(t, inventory.CustomSchemaCountLimit, check(many...))
	for i := range 10 {
		many = append(many, it(fmt.Sprint("Custom:B", i), 1))
	}
	require.Equal(t, fault.Validation, check(many...))
}

func TestCustomSchemasGrowAndKeepTheirSpelling(t *testing.T) {
	var l *inventory.Limits
	item := func(version string, e ...inventory.Entry) inventory.Item {
		it := inventory.NewItem("Custom:Rack", noon, e)
		it.SchemaVersion = version
		return it
	}
	s, err := l.Learn(inventory.Schema{}, item("1.0", entry("B", "", "A", "")))
	require.NoError(t, err)
	require.Equal(t, "Custom:Rack", s.TypeName)
	s2, err := l.Learn(s, item("1.1", entry("C", "", "A", "")))
	require.NoError(t, err)
	require.Equal(t, "1.1", s2.Version)
	require.Len(t, s.Attributes, 2)
	require.Equal(t, "C", s2.Attributes[2].Name)
	for name, it := range map[string]inventory.Item{"another case": item("1.0", entry("a", "")), "two cases in one": item("1.0", entry("x", "", "X", ""))} {
		_, err = l.Learn(s2, it)
		require.Equal(t, inventory.InvalidItemContent, fault.CodeOf(err), name)
	}
	_, err = l.Learn(s, inventory.NewItem("Custom:Other", noon, nil))
	require.Equal(t, inventory.InvalidTypeName, fault.CodeOf(err))
	_, err = (&inventory.Limits{Attributes: 3}).Learn(s2, item("1.0", entry("D", "")))
	require.Equal(t, inventory.InvalidItemContent, fault.CodeOf(err))
}

func TestOperators(t *testing.T) {
	e := entry("Name", "openssl", "Version", "9", "Empty", "")
	for _, c := range []struct {
		attribute string
		op        inventory.Operator
		values    string
		want      bool
	}{
		{"Name", "", "openssl", true}, {"Name", inventory.Equal, "OpenSSL", false}, {"Name", inventory.Equal, "a openssl", true}, {"Name", inventory.NotEqual, "a b", true},
		{"Name", inventory.NotEqual, "a openssl", false}, {"Name", inventory.BeginWith, "open", true}, {"Name", inventory.BeginWith, "ssl x", false},
		{"Version", inventory.LessThan, "10", true}, {"Version", inventory.LessThan, "9", false}, {"Version", inventory.GreaterThan, "8 100", true}, {"Version", inventory.GreaterThan, "9", false},
		{"Gone", inventory.LessThan, "10", false}, {"Gone", inventory.GreaterThan, "", false}, {"Gone", inventory.NotEqual, "x", true}, {"Gone", inventory.Exists, "", false},
		{"Empty", inventory.Exists, "", false}, {"Name", inventory.Exists, "", true}, {"", inventory.Exists, "", true}, {"Name", "Like", "openssl", false},
	} {
		key := "AWS:Application"
		if c.attribute != "" {
			key += "." + c.attribute
		}
		f := inventory.Filter{Key: key, Type: c.op, Values: strings.Fields(c.values)}
		require.Equal(t, c.want, f.Match(e, nil), "%+v", f)
	}
}

func TestFiltersOfOneTypeHoldForOneEntry(t *testing.T) {
	content := func(typeName string) []inventory.Entry {
		if typeName == inventory.Application {
			return []inventory.Entry{entry("Name", "a", "Version", "1"), entry("Name", "b", "Version", "2")}
		}
		return []inventory.Entry{entry("IPV4", "10.0.0.1")}
	}
	f := func(name, version, address string) bool {
		return inventory.MatchNode([]inventory.Filter{{Key: "AWS:Application.Name", Values: []string{name}}, {Key: "AWS:Network.IPV4", Values: []string{address}},
			{Key: "AWS:Application.Version", Values: []string{version}}}, content, nil)
	}
	require.True(t, f("a", "1", "10.0.0.1"))
	require.False(t, f("a", "2", "10.0.0.1"))
	require.False(t, f("a", "1", "10.0.0.2"))
	require.True(t, inventory.MatchNode(nil, content, nil))
}

func TestVersionsCompareByTheirKindOfPackage(t *testing.T) {
	deb := func(a, b string) int { require.Equal(t, "1:2-3", a); require.Equal(t, "9", b); return -1 }
	var rpmSaw []string
	rpm := func(a, b string) int { rpmSaw = append(rpmSaw, a); return 1 }
	order := inventory.VersionOrder(deb, rpm)
	require.Negative(t, order(entry("Version", "1:2-3", "PackageId", "a_1:2-3_amd64.deb"), "Version", "9"))
	r := entry("Version", "2", "Release", "3", "Epoch", "1", "PackageId", "a-2-3.src.rpm")
	require.Positive(t, order(r, "Version", "9"))
	require.Positive(t, order(r, "Version", "9-1"))
	require.Positive(t, order(r, "Version", "0:9-1"))
	delete(r, "Epoch")
	require.Positive(t, order(r, "Version", "0:9-1"))
	require.Equal(t, []string{"2", "2-3", "1:2-3", "2-3"}, rpmSaw)
	require.Negative(t, order(r, "Name", "x"))
	require.Negative(t, order(entry("Version", "2"), "Version", "10"), "numbers as numbers where nothing is known")
	require.Equal(t, "snap", inventory.PackageFormat(entry("PackageId", "pkg:snap/a/b@1")))
}

func TestFiltersAreChecked(t *testing.T) {
	var l *inventory.Limits
	one := inventory.Filter{Key: "AWS:Application.Name", Values: []string{"a"}}
	custom := func(name string) (inventory.Schema, bool) {
		return inventory.Schema{TypeName: name, Attributes: []inventory.Attribute{{Name: "A"}}}, name == "Custom:A.B"
	}
	require.NoError(t, l.ValidateFilters([]inventory.Filter{one, {Key: "Custom:A.B.A", Values: []string{"x"}, Type: inventory.LessThan}}, false, custom))
	require.NoError(t, l.ValidateFilters([]inventory.Filter{{Key: "AWS:PatchSummary", Type: inventory.Exists}}, true, custom))
	for name, f := range map[string][]inventory.Filter{
		"IN5 six":               slices.Repeat([]inventory.Filter{one}, 6),
		"IN5 41 values":         {{Key: one.Key, Values: slices.Repeat([]string{"a"}, 41)}},
		"IN5 Exists in a query": {{Key: one.Key, Type: inventory.Exists}},
		"no values":             {{Key: one.Key}},
		"another operator":      {{Key: one.Key, Values: one.Values, Type: "equal"}},
		"no attribute":          {{Key: "AWS:Application", Values: one.Values}},
		"an unknown attribute":  {{Key: "AWS:Application.Nom", Values: one.Values}},
		"an unknown type":       {{Key: "AWS:App.Name", Values: one.Values}},
		"an unknown custom one": {{Key: "Custom:B.A", Values: one.Values}},
		"nothing":               {{}},
	} {
		require.Equal(t, inventory.InvalidFilter, fault.CodeOf(l.ValidateFilters(f, false, custom)), name)
	}
	agg := inventory.Aggregator{Expression: "AWS:InstanceInformation.PlatformType"}
	nested := agg
	nested.Aggregators = []inventory.Aggregator{agg}
	require.NoError(t, l.ValidateAggregators([]inventory.Aggregator{nested, {Groups: []inventory.Group{{Name: "g", Filters: []inventory.Filter{{Key: "AWS:Service", Type: inventory.Exists}}}}}}, custom))
	deep := nested
	for range 3 {
		deep = inventory.Aggregator{Expression: agg.Expression, Aggregators: []inventory.Aggregator{deep}}
	}
	group := inventory.Group{Name: "g", Filters: []inventory.Filter{one}}
	for name, c := range map[string]struct {
		list []inventory.Aggregator
		code fault.Code
	}{
		"IN5 eleven":           {slices.Repeat([]inventory.Aggregator{agg}, 11), inventory.InvalidAggregator},
		"too deep":             {[]inventory.Aggregator{deep}, inventory.InvalidAggregator},
		"empty":                {[]inventory.Aggregator{{}}, inventory.InvalidAggregator},
		"no attribute":         {[]inventory.Aggregator{{Expression: "AWS:Application"}}, inventory.InvalidAggregator},
		"an unknown attribute": {[]inventory.Aggregator{{Expression: "AWS:Application.Nom"}}, inventory.InvalidAggregator},
		"two groups, one name": {[]inventory.Aggregator{{Groups: []inventory.Group{group, group}}}, inventory.InvalidGroup},
		"no filters":           {[]inventory.Aggregator{{Groups: []inventory.Group{{Name: "g"}}}}, inventory.InvalidGroup},
		"a filter is wrong":    {[]inventory.Aggregator{{Groups: []inventory.Group{{Name: "g", Filters: []inventory.Filter{{}}}}}}, inventory.InvalidFilter},
	} {
		require.Equal(t, c.code, fault.CodeOf(l.ValidateAggregators(c.list, custom)), name)
	}
}

func TestFiltersTakeOneValueForAList(t *testing.T) {
	var f []inventory.Filter
	require.NoError(t, json.Unmarshal([]byte(`[{"Key":"AWS:Application.Name","Values":"a","Type":"BeginWith"},{"Key":"k","Values":["a","b"]},{"Key":"k"}]`), &f))
	require.Equal(t, []inventory.Filter{{Key: "AWS:Application.Name", Values: []string{"a"}, Type: inventory.BeginWith}, {Key: "k", Values: []string{"a", "b"}}, {Key: "k"}}, f)
	require.Error(t, json.Unmarshal([]byte(`[{"Values":1}]`), &f))
}

func TestCustomFiles(t *testing.T) {
	file := func(content string) string {
		return `{"SchemaVersion":"1.0","TypeName":"Custom:Rack","Content":` + content + `}`
	}
	for text, want := range map[string]int{file(`{"a":"b"}`): 1, file(`[{"a":"b"},{"c":""}]`): 2, file(`[]`): 0, file(`{}`): 1, "\xef\xbb\xbf" + file(`{"a":"b"}`): 1} {
		it, err := inventory.ParseCustom([]byte(text), nil)
		require.NoError(t, err, text)
		require.Len(t, it.Content, want)
		require.NotNil(t, it.Content)
		require.Empty(t, it.CaptureTime)
	}
	for text, code := range map[string]fault.Code{
		"":                  inventory.InvalidItemContent,
		"[]":                inventory.InvalidItemContent,
		"null":              inventory.InvalidTypeName,
		file(`{"a":1}`):     inventory.InvalidItemContent,
		file(`{"a":null}`):  inventory.InvalidItemContent,
		file(`{"a":["b"]}`): inventory.InvalidItemContent,
		file(`{"a":{}}`):    inventory.InvalidItemContent,
		file(`["a"]`):       inventory.InvalidItemContent,
		file(`[null]`):      inventory.InvalidItemContent,
		file(`"a"`):         inventory.InvalidItemContent,
		file(`null`):        inventory.InvalidItemContent,
		file(`{"":"b"}`):    inventory.InvalidItemContent,
		`{"SchemaVersion":"1.0","TypeName":"Custom:Rack"}`:                  inventory.InvalidItemContent,
		`{"TypeName":"Custom:Rack","Content":{}}`:                           inventory.InvalidItemContent,
		`{"SchemaVersion":"1","TypeName":"Custom:Rack","Content":{}}`:       inventory.UnsupportedSchemaVersion,
		`{"SchemaVersion":1.0,"TypeName":"Custom:Rack","Content":{}}`:       inventory.InvalidItemContent,
		`{"SchemaVersion":"1.0","Content":{}}`:                              inventory.InvalidTypeName,
		`{"SchemaVersion":"1.0","TypeName":"AWS:Application","Content":{}}`: inventory.InvalidTypeName,
		file(`{"a":"` + strings.Repeat("b", 4097) + `"}`):                   inventory.InvalidItemContent,
	} {
		_, err := inventory.ParseCustom([]byte(text), nil)
		require.Equal(t, code, fault.CodeOf(err), text)
	}
	_, err := inventory.ParseCustom([]byte(file(`{}`)), &inventory.Limits{ItemBytes: 10})
	require.Equal(t, inventory.ItemSizeLimitExceeded, fault.CodeOf(err))
}

// FuzzCustom: what is taken passes the checks of a report, and what it says survives being written and read.
func FuzzCustom(f *testing.F) {
	for _, s := range []string{`{"TypeName":"Custom:A","SchemaVersion":"1.0","Content":{"a":"b"}}`, `{"TypeName":"Custom:A","SchemaVersion":"1.0","Content":[{"a":"\u0000\ud800"},{}]}`,
		`{"typename":"Custom:A","SCHEMAVERSION":"1.0","Content":[{"a":"b","a":"c"}]}`, `{"TypeName":"Custom:A","SchemaVersion":"1.0","Content":[[]]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		it, err := inventory.ParseCustom(data, nil)
		if err != nil {
			require.NotEqual(t, fault.InternalServerError, fault.CodeOf(err))
			return
		}
		it.CaptureTime = inventory.CaptureTime(noon)
		require.NoError(t, (*inventory.Limits)(nil).ValidateReport(inventory.Report{Items: []inventory.Item{it}}))
		_, err = (*inventory.Limits)(nil).Learn(inventory.Schema{}, it)
		if err != nil {
			require.Equal(t, inventory.InvalidItemContent, fault.CodeOf(err))
		}
		b, err := json.Marshal(it)
		require.NoError(t, err)
		again, err := inventory.ParseCustom(b, nil)
		require.NoError(t, err)
		require.Equal(t, it.ContentHash, again.ContentHash)
		require.Equal(t, it.Content, again.Content)
	})
}

// FuzzItem: any JSON of an item is either refused with a code or stays the same when it is written and read; filters likewise never break.
func FuzzItem(f *testing.F) {
	f.Add([]byte(`{"TypeName":"AWS:Application","SchemaVersion":"1.1","CaptureTime":"2026-03-01T12:00:00Z","Content":[{"Name":"a"}]}`), "AWS:Application.Name", "a")
	f.Add([]byte(`{"TypeName":"Custom:A","SchemaVersion":"1.1","CaptureTime":"2026-03-01T12:00:00Z","ContentHash":"x","Delta":{"Base":"y","Removed":["z"]}}`), ".", "")
	f.Fuzz(func(t *testing.T, data []byte, key, value string) {
		filter := inventory.Filter{Key: key, Values: []string{value}, Type: inventory.LessThan}
		_ = (*inventory.Limits)(nil).ValidateFilters([]inventory.Filter{filter}, false, nil)
		var it inventory.Item
		if json.Unmarshal(data, &it) != nil {
			return
		}
		if err := (*inventory.Limits)(nil).ValidateItem(it); err != nil {
			require.NotEqual(t, fault.InternalServerError, fault.CodeOf(err))
			return
		}
		for _, e := range it.Content {
			filter.Match(e, inventory.VersionOrder(strings.Compare, strings.Compare))
		}
		b, err := json.Marshal(it)
		require.NoError(t, err)
		var back inventory.Item
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, inventory.ContentHash(it.Content), inventory.ContentHash(back.Content))
		require.NoError(t, (*inventory.Limits)(nil).ValidateItem(back))
		d := inventory.Know(nil).Diff(it.Content)
		got, err := d.Apply(nil, d.Base, inventory.ContentHash(it.Content))
		require.NoError(t, err)
		require.Len(t, got, len(it.Content))
	})
}
