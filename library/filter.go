package library

import (
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

const (
	mostFilters = 6
	mostValues  = 50
)

var (
	owners    = []string{"Amazon", "Private", "Public", "Self", "ThirdParty"}
	platforms = []string{"Windows", "Linux", "MacOS"}
)

// selection is what a list looks for (V12).
type selection struct {
	Filters []DocumentKeyValuesFilter
}

// newSelection checks filters of both forms.
func newSelection(op string, filters []DocumentKeyValuesFilter, older []DocumentFilter) (*selection, error) {
	w := &selection{Filters: slices.Clone(filters)}
	for _, f := range older {
		w.Filters = append(w.Filters, DocumentKeyValuesFilter{Key: f.Key, Values: []string{f.Value}})
	}
	if len(w.Filters) > mostFilters {
		return nil, fault.New(op, fault.Validation, "%d filters are given; at most %d are allowed", len(w.Filters), mostFilters)
	}
	for _, f := range w.Filters {
		var legal []string
		switch {
		case f.Key == "Name", f.Key == "TargetType":
		case f.Key == "Owner":
			legal = owners
		case f.Key == "PlatformTypes":
			legal = platforms
		case f.Key == "DocumentType":
			for _, t := range types {
				legal = append(legal, string(t))
			}
		case strings.HasPrefix(f.Key, "tag:") && len(f.Key) > len("tag:"):
		default:
			return nil, fault.New(op, fault.InvalidFilterKey, "%q is no filter of documents: use Name, Owner, PlatformTypes, DocumentType, TargetType or tag:KEY", clip(f.Key))
		}
		if len(f.Values) == 0 || len(f.Values) > mostValues {
			return nil, fault.New(op, fault.Validation, "filter %s has %d values; give 1 to %d", clip(f.Key), len(f.Values), mostValues)
		}
		for _, v := range f.Values {
			if legal != nil && !slices.Contains(legal, v) {
				return nil, fault.New(op, fault.Validation, "filter %s cannot be %q; it is one of %s", f.Key, clip(v), strings.Join(legal, ", "))
			}
			if v == "" && !strings.HasPrefix(f.Key, "tag:") {
				return nil, fault.New(op, fault.Validation, "filter %s has an empty value", f.Key)
			}
		}
	}
	return w, nil
}

// selects reports whether every filter holds.
func (w *selection) selects(c *candidate) bool {
	for _, f := range w.Filters {
		if !slices.ContainsFunc(f.Values, func(v string) bool { return holds(f.Key, v, c) }) {
			return false
		}
	}
	return true
}

func holds(key, value string, c *candidate) bool {
	switch key {
	case "Name":
		return strings.HasPrefix(c.name, value)
	case "Owner":
		switch value {
		case "Self", "Private":
			return !c.builtin
		case "Amazon":
			return c.builtin && c.owner == amazon
		case "Public":
			return c.builtin
		}
		return c.builtin && c.owner != amazon
	case "PlatformTypes":
		return slices.Contains(c.head.Shown.Platforms, value)
	case "DocumentType":
		return document.Kind(c.head.Type) == document.Kind(value)
	case "TargetType":
		return c.head.Shown.TargetType == value
	}
	got, ok := c.head.Tags[strings.TrimPrefix(key, "tag:")]
	return ok && got == value
}

// start returns the first name that can be selected: that of the smallest beginning.
func (w *selection) start() string {
	out := ""
	for _, f := range w.Filters {
		if f.Key == "Name" {
			out = max(out, slices.Min(f.Values))
		}
	}
	return out
}

// past reports whether no name after this one can be selected.
func (w *selection) past(name string) bool {
	return slices.ContainsFunc(w.Filters, func(f DocumentKeyValuesFilter) bool {
		return f.Key == "Name" && !slices.ContainsFunc(f.Values, func(v string) bool { return name < v || strings.HasPrefix(name, v) })
	})
}
