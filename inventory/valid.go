package inventory

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
)

// ValidTypeName checks a name of a type: one of AWS's, or Custom: and a name that begins with a capital letter (IN2). Error: InvalidTypeNameException.
func (l *Limits) ValidTypeName(name string) error {
	const op = "inventory.ValidTypeName"
	lim := l.Resolved()
	bad := func(format string, args ...any) error { return fault.New(op, InvalidTypeName, format, args...) }
	switch rest, custom := strings.CutPrefix(name, CustomPrefix); {
	case name == "":
		return bad("the type has no name")
	case Over(len(name), lim.TypeBytes):
		return bad("the type's name has %d bytes, at most %d are allowed", len(name), lim.TypeBytes)
	case custom:
		if fault.Clean(name) != name {
			return bad("the type name %q has letters that cannot be printed", fault.Clean(name))
		}
		if rest == "" || rest[0] < 'A' || rest[0] > 'Z' {
			return bad("the type name %q must go on with a capital letter after Custom:", fault.Clean(name))
		}
	default:
		if _, ok := SchemaOf(name); !ok {
			return bad("there is no type %q: it must be one of AWS's, or begin with Custom: spelt exactly so", fault.Clean(name))
		}
	}
	return nil
}

// ValidSchemaVersion reports whether a version has the form n.n with up to six digits each (IN3).
func ValidSchemaVersion(v string) bool {
	_, _, ok := parseVersion(v)
	return ok
}

func parseVersion(v string) (major, minor int, ok bool) {
	a, b, found := strings.Cut(v, ".")
	if !found {
		return 0, 0, false
	}
	for _, p := range [...]string{a, b} {
		if p == "" || len(p) > 6 || strings.Trim(p, "0123456789") != "" {
			return 0, 0, false
		}
	}
	major, _ = strconv.Atoi(a)
	minor, _ = strconv.Atoi(b)
	return major, minor, true
}

// CompareSchemaVersions orders versions of the form n.n by their numbers; what has another form comes first.
func CompareSchemaVersions(a, b string) int {
	a1, a2, ok1 := parseVersion(a)
	b1, b2, ok2 := parseVersion(b)
	switch {
	case !ok1 || !ok2:
		return strings.Compare(strconv.FormatBool(ok1), strconv.FormatBool(ok2))
	case a1 != b1:
		return a1 - b1
	}
	return a2 - b2
}

// ValidateReport checks a whole report: the count of its items, each item, no type twice, and the sizes. Errors: those of ValidateItem, TotalSizeLimitExceededException,
// InvalidItemContentException for a type that comes twice and ValidationException for a report without items or with too many.
func (l *Limits) ValidateReport(r Report) error {
	const op = "inventory.ValidateReport"
	lim := l.Resolved()
	if len(r.Items) == 0 {
		return fault.New(op, fault.Validation, "the report has no items")
	}
	if Over(len(r.Items), lim.Items) {
		return fault.New(op, fault.Validation, "the report has %d items, at most %d are allowed in a call", len(r.Items), lim.Items)
	}
	seen := make(map[string]bool, len(r.Items))
	total, custom := 0, 0
	for _, it := range r.Items {
		size, err := l.validateItem(it)
		if err != nil {
			return err
		}
		if seen[it.TypeName] {
			return fault.New(op, InvalidItemContent, "the type %s comes twice in one report", it.TypeName).About(it.TypeName)
		}
		seen[it.TypeName] = true
		total += size
		if strings.HasPrefix(it.TypeName, CustomPrefix) {
			custom++
		}
	}
	if Over(total, lim.TotalBytes) {
		return fault.New(op, TotalSizeLimitExceeded, "the contents have %d bytes, at most %d are allowed in a call", total, lim.TotalBytes)
	}
	if Over(custom, lim.CustomTypes) {
		return fault.New(op, CustomSchemaCountLimit, "the report has %d custom types, at most %d are allowed", custom, lim.CustomTypes)
	}
	return nil
}

// ValidateItem checks one item by its schema and the limits. Errors, each with the type's name as its id: InvalidTypeNameException, UnsupportedInventorySchemaVersionException,
// InvalidItemContentException, ItemSizeLimitExceededException, UnsupportedInventoryItemContextException, InvalidInventoryItemContextException.
func (l *Limits) ValidateItem(it Item) error {
	_, err := l.validateItem(it)
	return err
}

func (l *Limits) validateItem(it Item) (size int, err error) {
	const op = "inventory.ValidateItem"
	lim := l.Resolved()
	bad := func(code fault.Code, format string, args ...any) (int, error) {
		return 0, fault.New(op, code, fault.Clean(it.TypeName)+": "+format, args...).About(fault.Clean(it.TypeName))
	}
	if err := l.ValidTypeName(it.TypeName); err != nil {
		return 0, err
	}
	schema, aws := SchemaOf(it.TypeName)
	if aws && schema.Derived {
		return bad(InvalidTypeName, "the control plane makes this type itself: a node cannot report it")
	}
	if !ValidSchemaVersion(it.SchemaVersion) {
		return bad(UnsupportedSchemaVersion, "the schema version has not the form 1.0")
	}
	if aws {
		major, minor, _ := parseVersion(it.SchemaVersion)
		has, newest, _ := parseVersion(schema.Version)
		if major != has || minor > newest { // agents send an older minor version for a hash alone
			return bad(UnsupportedSchemaVersion, "schema version %s is not known, the newest is %s", it.SchemaVersion, schema.Version)
		}
	}
	if t, err := time.Parse(TimeFormat, it.CaptureTime); err != nil || len(it.CaptureTime) != len(TimeFormat) || t.Year() < 2000 || t.Year() > 2099 {
		return bad(InvalidItemContent, "the capture time has not the form 2006-01-02T15:04:05Z")
	}
	if len(it.ContentHash) > 256 {
		return bad(InvalidItemContent, "the content hash is longer than 256 bytes")
	}
	if it.Content == nil && it.ContentHash == "" {
		return bad(InvalidItemContent, "it has neither a content nor a content hash")
	}
	if it.Content != nil && it.Delta != nil {
		return bad(InvalidItemContent, "it has a content and a delta: one of them is enough")
	}
	if err := l.context(schema, it.Context); err != nil {
		return 0, err
	}
	entries := it.Content
	if it.Delta != nil {
		entries = it.Delta.Added
		if Over(len(it.Delta.Removed), lim.Entries) || slices.ContainsFunc(it.Delta.Removed, func(h string) bool { return len(h) > 64 }) || len(it.Delta.Base) > 256 {
			return bad(InvalidItemContent, "the delta removes too much, or names hashes that are none")
		}
	}
	if Over(len(entries), lim.Entries) {
		return bad(ItemSizeLimitExceeded, "it has %d entries, at most %d are allowed", len(entries), lim.Entries)
	}
	for i, e := range entries {
		n, why := lim.entry(e)
		if why != "" {
			return bad(InvalidItemContent, "entry %d: %s", i+1, why)
		}
		if aws {
			for k, v := range e {
				a, ok := schema.Attribute(k)
				if !ok {
					return bad(InvalidItemContent, "entry %d: the type has no attribute %q", i+1, fault.Clean(k))
				}
				if a.DataType == Number && v != "" {
					if _, ok := number(v); !ok {
						return bad(InvalidItemContent, "entry %d: %s is not a number", i+1, k)
					}
				}
			}
		}
		size += n
	}
	if Over(size, lim.ItemBytes) {
		return bad(ItemSizeLimitExceeded, "the content has %d bytes, at most %d are allowed", size, lim.ItemBytes)
	}
	return size, nil
}

// entry returns the size of an entry's JSON, a little more or less, and what is wrong with it.
func (l Limits) entry(e Entry) (size int, why string) {
	if e == nil {
		return 0, "it is null: write an object"
	}
	if Over(len(e), l.Attributes) {
		return 0, "it has " + strconv.Itoa(len(e)) + " attributes, at most " + strconv.Itoa(l.Attributes) + " are allowed"
	}
	size = 2
	for k, v := range e {
		switch {
		case k == "":
			return 0, "an attribute has no name"
		case Over(len(k), l.NameBytes):
			return 0, "the name of an attribute has " + strconv.Itoa(len(k)) + " bytes, at most " + strconv.Itoa(l.NameBytes) + " are allowed"
		case Over(len(v), l.ValueBytes):
			return 0, "the value of " + strconv.Quote(fault.Clean(k)) + " has " + strconv.Itoa(len(v)) + " bytes, at most " + strconv.Itoa(l.ValueBytes) + " are allowed"
		case !utf8.ValidString(k) || !utf8.ValidString(v):
			return 0, "a name or a value is not UTF-8"
		}
		size += len(k) + len(v) + 6
	}
	return size, ""
}

// context checks an item's context: AWS:ComplianceItem alone has one, of its own attributes.
func (l *Limits) context(s Schema, context map[string]string) error {
	const op = "inventory.ValidateItem"
	if len(context) == 0 {
		return nil
	}
	if !slices.ContainsFunc(s.Attributes, func(a Attribute) bool { return a.Context }) {
		return fault.New(op, UnsupportedItemContext, "this type has no context: leave it out").About(s.TypeName)
	}
	for k := range context {
		if a, ok := s.Attribute(k); !ok || !a.Context {
			return fault.New(op, InvalidItemContext, "the context of %s has no attribute %q", s.TypeName, fault.Clean(k)).About(s.TypeName)
		}
	}
	return nil
}

// Learn returns the schema of a custom type after an item of it: attributes that it did not have are added, in order of their names. The zero Schema is that of a type that is new. An attribute
// whose name differs from a known one by the case of its letters alone is refused, because queries would see two (IN2). Errors: InvalidItemContentException,
// InvalidTypeNameException when the item is of another type or not custom.
func (l *Limits) Learn(s Schema, it Item) (Schema, error) {
	const op = "inventory.Learn"
	lim := l.Resolved()
	if !strings.HasPrefix(it.TypeName, CustomPrefix) || s.TypeName != "" && s.TypeName != it.TypeName {
		return s, fault.New(op, InvalidTypeName, "the item is not of the custom type whose schema it is to extend").About(fault.Clean(it.TypeName))
	}
	out := Schema{TypeName: it.TypeName, Version: s.Version, DisplayName: s.DisplayName, Attributes: slices.Clone(s.Attributes)}
	if out.Version == "" || CompareSchemaVersions(out.Version, it.SchemaVersion) < 0 {
		out.Version = it.SchemaVersion
	}
	folded := make(map[string]string, len(out.Attributes))
	for _, a := range out.Attributes {
		folded[strings.ToLower(a.Name)] = a.Name
	}
	entries := it.Content
	if it.Delta != nil {
		entries = it.Delta.Added
	}
	var fresh []string
	for _, e := range entries {
		for k := range e {
			switch known, ok := folded[strings.ToLower(k)]; {
			case !ok:
				folded[strings.ToLower(k)] = k
				fresh = append(fresh, k)
			case known != k:
				return s, fault.New(op, InvalidItemContent, "%s has the attribute %q already, spelt %q: keep to one spelling", fault.Clean(it.TypeName), fault.Clean(k), fault.Clean(known)).About(fault.Clean(it.TypeName))
			}
		}
	}
	slices.Sort(fresh)
	for _, k := range fresh {
		out.Attributes = append(out.Attributes, Attribute{Name: k, DataType: String, Aggregatable: true})
	}
	if Over(len(out.Attributes), lim.Attributes) {
		return s, fault.New(op, InvalidItemContent, "%s would have %d attributes, at most %d are allowed", fault.Clean(it.TypeName), len(out.Attributes), lim.Attributes).About(fault.Clean(it.TypeName))
	}
	return out, nil
}
