package parameter

import (
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

const (
	mostFilters = 50
	mostValues  = 50
)

// The options of filters.
const (
	optEquals    = "Equals"
	optBegins    = "BeginsWith"
	optContains  = "Contains"
	optRecursive = "Recursive"
	optOneLevel  = "OneLevel"
)

// query is what a list looks for: names of a range, below a path, that keep every condition.
type query struct {
	Below string // "/a/": names below it; "/" is all
	Flat  bool   // only one level below
	Conds []cond
}

// cond is a condition; one of the values must hold.
type cond struct {
	Key, Option string
	Values      []string
}

// purpose is which list a filter is for: each takes other keys.
type purpose struct {
	name string
	keys []string
	tags bool
}

var (
	forDescribe = purpose{"DescribeParameters", []string{"Name", "Type", "KeyId", "Path", "Tier", "DataType"}, true}
	forPath     = purpose{"GetParametersByPath", []string{"Type", "KeyId", "Label"}, false}
	forQuery    = purpose{"Query", []string{"Name", "Type", "KeyId", "Path", "Tier", "DataType", "Label"}, true}
)

// optionsOf returns the options of a key, the default first.
func optionsOf(p purpose, key string) []string {
	switch key {
	case "Name":
		return []string{optEquals, optBegins, optContains}
	case "Path":
		return []string{optOneLevel, optRecursive}
	case "Label", "Tier", "DataType":
		return []string{optEquals}
	case "Type", "KeyId":
		return []string{optEquals, optBegins}
	}
	return []string{optEquals} // tag:…
}

// newConds checks filters (S21, S22).
func newConds(op string, p purpose, filters []ParameterStringFilter) ([]cond, error) {
	if len(filters) > mostFilters {
		return nil, fault.New(op, fault.Validation, "%d filters are given; give at most %d", len(filters), mostFilters)
	}
	var out []cond
	seen := map[string]bool{}
	for _, f := range filters {
		tag, isTag := strings.CutPrefix(f.Key, "tag:")
		switch {
		case isTag && p.tags && tag != "" && len(f.Key) <= 132:
		case slices.Contains(p.keys, f.Key):
		default:
			return nil, fault.New(op, fault.InvalidFilterKey, "%q is no filter of %s: use %s", clip(f.Key), p.name, p.list())
		}
		if seen[f.Key] {
			return nil, fault.New(op, fault.InvalidFilter, "the filter %s is given twice: put all values into one", clip(f.Key))
		}
		seen[f.Key] = true
		opts := optionsOf(p, f.Key)
		option := f.Option
		if option == "" {
			option = opts[0]
		}
		if !slices.Contains(opts, option) {
			return nil, fault.New(op, CodeFilterOption, "the filter %s has no option %q: use %s", clip(f.Key), clip(option), strings.Join(opts, ", "))
		}
		if len(f.Values) == 0 && !isTag || len(f.Values) > mostValues {
			return nil, fault.New(op, fault.InvalidFilterValue, "the filter %s has %d values; give 1 to %d", clip(f.Key), len(f.Values), mostValues)
		}
		c := cond{Key: f.Key, Option: option}
		for _, v := range f.Values {
			if v == "" && !isTag || len(v) > 1024 {
				return nil, fault.New(op, fault.InvalidFilterValue, "a value of the filter %s has %d characters; it has 1 to 1,024", clip(f.Key), len(v))
			}
			v, err := condValue(op, f.Key, option, v)
			if err != nil {
				return nil, err
			}
			c.Values = append(c.Values, v)
		}
		out = append(out, c)
	}
	return out, nil
}

func condValue(op, key, option, v string) (string, error) {
	bad := func(legal string) (string, error) {
		return "", fault.New(op, fault.InvalidFilterValue, "the filter %s cannot be %q; it is one of %s", key, clip(v), legal)
	}
	switch key {
	case "Type":
		if option == optEquals && v != string(String) && v != string(StringList) && v != string(SecureString) {
			return bad("String, StringList, SecureString")
		}
	case "Tier":
		if v != string(Standard) && v != string(Advanced) && v != string(IntelligentTiering) {
			return bad("Standard, Advanced, Intelligent-Tiering")
		}
	case "Path":
		p, err := checkPath(op, v)
		if err != nil {
			return "", fault.New(op, fault.InvalidFilterValue, "the path %q of the filter Path is none: it begins with a slash and has at most %d levels", clip(v), mostLevels)
		}
		return p, nil
	}
	return v, nil
}

func (p purpose) list() string {
	s := strings.Join(p.keys, ", ")
	if p.tags {
		s += ", tag:KEY"
	}
	return s
}

// older turns the older form of filters into conditions (S22): values of Name are beginnings.
func older(op string, filters []ParametersFilter) ([]cond, error) {
	fs := make([]ParameterStringFilter, 0, len(filters))
	for _, f := range filters {
		switch f.Key {
		case "Name":
			fs = append(fs, ParameterStringFilter{Key: f.Key, Option: optBegins, Values: f.Values})
		case "Type", "KeyId":
			fs = append(fs, ParameterStringFilter{Key: f.Key, Values: f.Values})
		default:
			return nil, fault.New(op, fault.InvalidFilterKey, "%q is no filter here: use Name, Type or KeyId", clip(f.Key))
		}
	}
	return newConds(op, forDescribe, fs)
}

// holds reports whether a parameter keeps a condition. Labels are looked up by the caller.
func (c *cond) holds(canon string, v *version) bool {
	if tag, ok := strings.CutPrefix(c.Key, "tag:"); ok {
		got, has := v.Tags[tag]
		return has && (len(c.Values) == 0 || slices.Contains(c.Values, got))
	}
	return slices.ContainsFunc(c.Values, func(want string) bool {
		switch c.Key {
		case "Name":
			return nameHolds(c.Option, want, canon)
		case "Type":
			return textHolds(c.Option, want, string(v.Type))
		case "KeyId":
			return v.Type == SecureString && textHolds(c.Option, want, v.shownKey())
		case "Tier":
			return want == string(v.Tier)
		case "DataType":
			return want == v.DataType
		case "Path":
			return below(want, c.Option == optOneLevel, canon)
		}
		return true
	})
}

func textHolds(option, want, got string) bool {
	if option == optBegins {
		return strings.HasPrefix(got, want)
	}
	return got == want
}

// nameHolds compares names by their key form, as "/x" and "x" are one: "/tan" is contained in "tango" too (S22).
func nameHolds(option, want, canon string) bool {
	switch option {
	case optBegins:
		return strings.HasPrefix(canon, want) || strings.HasPrefix(canon[1:], want)
	case optContains:
		return strings.Contains(canon, want)
	}
	return canonical(want) == canon
}

// below reports whether a name lies below a path that ends with a slash.
func below(path string, oneLevel bool, canon string) bool {
	rest, ok := strings.CutPrefix(canon, path)
	return ok && rest != "" && (!oneLevel || !strings.Contains(rest, "/"))
}
