package target

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
)

// Target is one condition on nodes: the key says what is looked at, and any one of the values must fit. The JSON names are AWS's.
type Target struct {
	Key    string   `json:"Key"`
	Values []string `json:"Values"`
}

// The keys that are no tag (spec R7). A tag's key is TagPrefix and the tag's name.
const (
	InstanceIDs         = "InstanceIds"                         // node ids, or All
	TagKey              = "tag-key"                             // nodes that have the tag, whatever its value
	TagPrefix           = "tag:"                                // tag:Role
	ResourceGroup       = "resource-groups:Name"                // at most one group
	ResourceTypeFilters = "resource-groups:ResourceTypeFilters" // at most five types
)

// All as the only value of InstanceIds selects every node. AWS documents it for State Manager and Automation (spec R11); here everything takes it.
const All = "*"

// The resource types of nodes.
const (
	TypeManaged = "AWS::SSM::ManagedInstance" // registered by an activation
	TypeEC2     = "AWS::EC2::Instance"        // ids that begin with i-
	TypeAny     = "AWS::AllSupported"         // in a group's query: every type
)

// The limits of AWS (spec R7, R10, T8), lengths in characters.
const (
	MaxTargets       = 5
	MaxValues        = 50
	MaxStrictTagVals = 5 // the user guide's figure for tags, against MaxValues of the API model (T8)
	MaxKeyLen        = 163
	MaxTagKeyLen     = 128
	MaxTagValueLen   = 256
	MaxTypes         = 5
	MaxGroupNameLen  = 300
	MaxNodeIDLen     = 128
)

// Tag returns the tag's name and true for a key of the form tag:Name.
func (t Target) Tag() (name string, ok bool) { return strings.CutPrefix(t.Key, TagPrefix) }

// Options of Validate. nil is AWS's API model.
type Options struct {
	Strict bool // at most five values of a tag, as the user guide has it (T8)
}

// Validate checks a list of targets against AWS's limits and returns the first offence, with its place, as a fault of code InvalidTarget. An
// empty list is valid. Two targets of the same key are allowed: both must hold.
func Validate(ts []Target, opt *Options) error {
	if opt == nil {
		opt = &Options{}
	}
	if len(ts) > MaxTargets {
		return invalid("%d targets are given and at most %d are allowed: put alternatives into Values", len(ts), MaxTargets)
	}
	groups := 0
	for i, t := range ts {
		if err := validate(i+1, t, opt); err != nil {
			return err
		}
		if t.Key == ResourceGroup {
			groups++
		}
	}
	if groups > 1 {
		return invalid("%s is given %d times: a request names one resource group", ResourceGroup, groups)
	}
	return nil
}

func validate(n int, t Target, opt *Options) error {
	if !text(t.Key) {
		return invalid("target %d: the key is empty or holds control characters", n)
	}
	key := fault.Clean(t.Key)
	if c := utf8.RuneCountInString(t.Key); c > MaxKeyLen {
		return invalid("target %d: the key has %d characters, at most %d are allowed", n, c, MaxKeyLen)
	}
	if len(t.Values) == 0 {
		return invalid("target %d (%s): no values: write Key=%s,Values=…", n, key, key)
	}
	limit, each := MaxValues, MaxTagValueLen
	tag, isTag := t.Tag()
	switch {
	case isTag:
		if tag == "" {
			return invalid("target %d: tag: must be followed by the tag's name, as tag:Role", n)
		}
		if c := utf8.RuneCountInString(tag); c > MaxTagKeyLen {
			return invalid("target %d: the tag's name has %d characters, at most %d are allowed", n, c, MaxTagKeyLen)
		}
		if opt.Strict {
			limit = MaxStrictTagVals
		}
	case t.Key == TagKey:
		each = MaxTagKeyLen
	case t.Key == InstanceIDs:
		each = MaxNodeIDLen
		if slices.Contains(t.Values, All) && len(t.Values) > 1 {
			return invalid("target %d (%s): * selects every node and stands alone: remove the other values", n, key)
		}
	case t.Key == ResourceGroup:
		each = MaxGroupNameLen
		if len(t.Values) > 1 {
			return invalid("target %d (%s): %d groups are named, one is allowed", n, key, len(t.Values))
		}
	case t.Key == ResourceTypeFilters:
		limit = MaxTypes
	default:
		return invalid("target %d: unknown key %q: use InstanceIds, tag:NAME, tag-key, resource-groups:Name or resource-groups:ResourceTypeFilters", n, key)
	}
	if len(t.Values) > limit {
		return invalid("target %d (%s): %d values, at most %d are allowed", n, key, len(t.Values), limit)
	}
	for j, v := range t.Values {
		if isTag && v == "" { // a tag may have the empty value
			continue
		}
		if !text(v) {
			return invalid("target %d (%s): value %d is empty or holds control characters", n, key, j+1)
		}
		if c := utf8.RuneCountInString(v); c > each {
			return invalid("target %d (%s): value %d has %d characters, at most %d are allowed", n, key, j+1, c, each)
		}
	}
	return nil
}

// text reports whether s is not empty, valid UTF-8 and free of control characters.
func text(s string) bool {
	if s == "" || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, unicode.IsControl)
}

func invalid(format string, args ...any) error {
	return fault.New("target.Validate", fault.InvalidTarget, format, args...)
}
