package inventory

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// Operator is how a filter compares.
type Operator string

// The operators (IN5). An empty one is Equal.
const (
	Equal       Operator = "Equal"       // the value is one of the filter's
	NotEqual    Operator = "NotEqual"    // the value is none of the filter's
	BeginWith   Operator = "BeginWith"   // the value begins with one of the filter's
	LessThan    Operator = "LessThan"    // the value is less than one of the filter's, by the Order
	GreaterThan Operator = "GreaterThan" // the value is greater than one of the filter's
	Exists      Operator = "Exists"      // the node has the attribute, not empty, or the type; in groups of aggregators alone
)

// Filter is one condition of a query. Field names are AWS's (shape InventoryFilter).
//
// Filters of one query must all hold. Those on one type must hold for the same entry: Name Equal openssl with Version LessThan 3.0.15 finds nodes whose openssl is older, not nodes that
// have an openssl and something else that is older. Letters count.
type Filter struct {
	Key    string // Type.Attribute, as AWS:Application.Name; for Exists also a type alone
	Values []string
	Type   Operator `json:",omitempty"`
}

// Aggregator counts nodes by the values of an attribute, or by groups. Field names are AWS's (shape InventoryAggregator).
type Aggregator struct {
	Expression  string       `json:",omitempty"` // Type.Attribute
	Aggregators []Aggregator `json:",omitempty"` // within each value
	Groups      []Group      `json:",omitempty"`
}

// Group counts the nodes that match all its filters, and those that do not.
type Group struct {
	Name    string
	Filters []Filter
}

// Order compares the value that an entry has of an attribute with value: negative, zero or positive. It sees the whole entry, because the order of versions depends on what kind of package
// it is and, with rpm, on Epoch and Release too.
type Order func(e Entry, attribute, value string) int

// PlainOrder compares numbers as numbers, and otherwise bytes.
func PlainOrder(e Entry, attribute, value string) int {
	a, ok1 := number(e[attribute])
	b, ok2 := number(value)
	if ok1 && ok2 {
		switch {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	}
	return strings.Compare(e[attribute], value)
}

// number reads a decimal number: digits with a sign before and a point within, no exponent and no words such as inf.
func number(s string) (float64, bool) {
	if strings.Trim(s, "+-.0123456789") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// VersionOrder returns an Order that compares attribute Version of packages by deb or rpm, which compare two full versions ([epoch:]version[-release]), and all else as PlainOrder does.
// Either may be nil. With rpm the entry's epoch counts only when value names one, and its release likewise (IN7).
func VersionOrder(deb, rpm func(a, b string) int) Order {
	return func(e Entry, attribute, value string) int {
		if attribute == "Version" {
			switch format := PackageFormat(e); {
			case format == "deb" && deb != nil:
				return deb(e["Version"], value)
			case format == "rpm" && rpm != nil:
				have := e["Version"]
				if strings.Contains(value, "-") && e["Release"] != "" {
					have += "-" + e["Release"]
				}
				if strings.Contains(value, ":") && e["Epoch"] != "" {
					have = e["Epoch"] + ":" + have
				}
				return rpm(have, value)
			}
		}
		return PlainOrder(e, attribute, value)
	}
}

// PackageFormat says what kind of package an entry of AWS:Application is, by its PackageId: deb, rpm, snap or "".
func PackageFormat(e Entry) string {
	switch id := e["PackageId"]; {
	case strings.HasSuffix(id, ".deb"):
		return "deb"
	case strings.HasSuffix(id, ".rpm"):
		return "rpm"
	case strings.HasPrefix(id, "pkg:snap/"):
		return "snap"
	}
	return ""
}

// Split returns the type and the attribute of a key. The attribute is empty for a type alone.
func (f Filter) Split() (typeName, attribute string) { return SplitKey(f.Key) }

// SplitKey splits Type.Attribute at its last dot.
func SplitKey(key string) (typeName, attribute string) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 {
		return key, ""
	}
	return key[:i], key[i+1:]
}

// Match reports whether an entry of the filter's type satisfies it. order may be nil, which is PlainOrder.
func (f Filter) Match(e Entry, order Order) bool {
	_, attribute := f.Split()
	if f.Type == Exists {
		return attribute == "" || e[attribute] != ""
	}
	if order == nil {
		order = PlainOrder
	}
	has := e[attribute]
	for _, v := range f.Values {
		switch f.Type {
		case Equal, "":
			if has == v {
				return true
			}
		case NotEqual:
			if has == v {
				return false
			}
		case BeginWith:
			if strings.HasPrefix(has, v) {
				return true
			}
		case LessThan:
			if _, ok := e[attribute]; ok && order(e, attribute, v) < 0 {
				return true
			}
		case GreaterThan:
			if _, ok := e[attribute]; ok && order(e, attribute, v) > 0 {
				return true
			}
		}
	}
	return f.Type == NotEqual
}

// MatchNode reports whether a node with these contents by type satisfies all filters.
func MatchNode(filters []Filter, content func(typeName string) []Entry, order Order) bool {
	byType := map[string][]Filter{}
	for _, f := range filters {
		t, _ := f.Split()
		byType[t] = append(byType[t], f)
	}
	for t, fs := range byType {
		found := false
	entries:
		for _, e := range content(t) {
			for _, f := range fs {
				if !f.Match(e, order) {
					continue entries
				}
			}
			found = true
			break
		}
		if !found {
			return false
		}
	}
	return true
}

// UnmarshalJSON checks nothing; ValidateFilters does. It exists so that a single string is taken for a list of one, as hand-written files have it.
func (f *Filter) UnmarshalJSON(b []byte) error {
	var raw struct {
		Key    string
		Values json.RawMessage
		Type   Operator
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*f = Filter{Key: raw.Key, Type: raw.Type}
	if len(raw.Values) == 0 {
		return nil
	}
	if raw.Values[0] == '"' {
		f.Values = make([]string, 1)
		return json.Unmarshal(raw.Values, &f.Values[0])
	}
	return json.Unmarshal(raw.Values, &f.Values)
}

// ValidateFilters checks the filters of a query; exists says whether Exists is allowed, which it is in groups of aggregators alone (IN5). custom tells the schemas of custom types and may
// be nil: then any attribute of one is taken. Error: InvalidFilter.
func (l *Limits) ValidateFilters(filters []Filter, exists bool, custom func(typeName string) (Schema, bool)) error {
	const op = "inventory.ValidateFilters"
	lim := l.Resolved()
	if Over(len(filters), lim.Filters) {
		return fault.New(op, InvalidFilter, "the query has %d filters, at most %d are allowed", len(filters), lim.Filters)
	}
	for i, f := range filters {
		bad := func(format string, args ...any) error {
			return fault.New(op, InvalidFilter, "filter %d: "+format, append([]any{i + 1}, args...)...)
		}
		typeName, attribute := f.Split()
		switch f.Type {
		case "", Equal, NotEqual, BeginWith, LessThan, GreaterThan:
		case Exists:
			if !exists {
				return bad("Exists works in the groups of an aggregator only")
			}
		default:
			return bad("the operator is none of Equal, NotEqual, BeginWith, LessThan, GreaterThan and Exists")
		}
		if len(f.Values) == 0 && f.Type != Exists {
			return bad("it has no values")
		}
		if Over(len(f.Values), lim.Values) {
			return bad("it has %d values, at most %d are allowed", len(f.Values), lim.Values)
		}
		if attribute == "" && f.Type != Exists {
			return bad("the key %q names no attribute: write it as AWS:Application.Name", fault.Clean(f.Key))
		}
		if err := knownAttribute(typeName, attribute, custom); err != "" {
			return bad("%s", err)
		}
	}
	return nil
}

// knownAttribute says what is wrong with a type and an attribute of it, or "".
func knownAttribute(typeName, attribute string, custom func(string) (Schema, bool)) string {
	s, ok := SchemaOf(typeName)
	if !ok && strings.HasPrefix(typeName, CustomPrefix) {
		if custom == nil {
			return ""
		}
		s, ok = custom(typeName)
	}
	if !ok {
		return "there is no type " + strconv.Quote(fault.Clean(typeName))
	}
	if _, ok := s.Attribute(attribute); !ok && attribute != "" {
		return typeName + " has no attribute " + strconv.Quote(fault.Clean(attribute))
	}
	return ""
}

// ValidateAggregators checks aggregators and their groups. Errors: InvalidAggregatorException, InvalidInventoryGroupException, InvalidFilter.
func (l *Limits) ValidateAggregators(list []Aggregator, custom func(typeName string) (Schema, bool)) error {
	return l.validateAggregators(list, custom, 1)
}

func (l *Limits) validateAggregators(list []Aggregator, custom func(string) (Schema, bool), depth int) error {
	const op = "inventory.ValidateAggregators"
	lim := l.Resolved()
	if Over(len(list), lim.Aggregators) {
		return fault.New(op, InvalidAggregator, "there are %d aggregators, at most %d are allowed", len(list), lim.Aggregators)
	}
	if len(list) > 0 && Over(depth, lim.Depth) {
		return fault.New(op, InvalidAggregator, "the aggregators are nested deeper than %d", lim.Depth)
	}
	for i, a := range list {
		typeName, attribute := SplitKey(a.Expression)
		switch {
		case a.Expression == "" && len(a.Groups) == 0:
			return fault.New(op, InvalidAggregator, "aggregator %d has neither an expression nor groups", i+1)
		case a.Expression != "" && attribute == "":
			return fault.New(op, InvalidAggregator, "the expression of aggregator %d names no attribute: write it as AWS:Application.Name", i+1)
		case Over(len(a.Groups), lim.Groups):
			return fault.New(op, InvalidGroup, "aggregator %d has %d groups, at most %d are allowed", i+1, len(a.Groups), lim.Groups)
		}
		if a.Expression != "" {
			if err := knownAttribute(typeName, attribute, custom); err != "" {
				return fault.New(op, InvalidAggregator, "aggregator %d: %s", i+1, err)
			}
		}
		seen := map[string]bool{}
		for _, g := range a.Groups {
			if g.Name == "" || Over(len(g.Name), 200) || seen[g.Name] {
				return fault.New(op, InvalidGroup, "aggregator %d has a group without a name of its own, of at most 200 letters", i+1)
			}
			seen[g.Name] = true
			if len(g.Filters) == 0 {
				return fault.New(op, InvalidGroup, "group %q has no filters", fault.Clean(g.Name))
			}
			if err := l.ValidateFilters(g.Filters, true, custom); err != nil {
				return err
			}
		}
		if err := l.validateAggregators(a.Aggregators, custom, depth+1); err != nil {
			return err
		}
	}
	return nil
}
