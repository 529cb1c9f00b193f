package target

import (
	"slices"
	"strings"
)

// Group is a resource group with a tag query (spec RG1, RG2): a node belongs to it when its type is among Types and all of Tags hold.
type Group struct {
	Name  string
	Types []string // resource types, or TypeAny; empty is TypeAny
	Tags  []TagFilter
}

// TagFilter is one condition of a group's query. Empty Values means that the tag is there, whatever its value (RG2).
type TagFilter struct {
	Key    string   `json:"Key"`
	Values []string `json:"Values,omitempty"`
}

// ResourceType returns the resource type of a node by its id: TypeEC2 for i-…, else TypeManaged.
func ResourceType(id string) string {
	if strings.HasPrefix(id, "i-") {
		return TypeEC2
	}
	return TypeManaged
}

// HasType reports whether a list of resource types covers typ; TypeAny covers all, an empty list too. Case is ignored: AWS's own pages write AWS::EC2::INSTANCE.
func HasType(types []string, typ string) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, typ) || strings.EqualFold(t, TypeAny) })
}

// Contains reports whether the node belongs to the group.
func (g Group) Contains(n Node) bool {
	if !HasType(g.Types, ResourceType(n.ID)) {
		return false
	}
	for _, f := range g.Tags {
		v, ok := n.Tags[f.Key]
		if !ok || len(f.Values) > 0 && !slices.Contains(f.Values, v) {
			return false
		}
	}
	return true
}

// Match reports whether all targets hold for the node (spec R8). No targets match no node: what selects everything is asked for by name. Groups
// are by name; a group that is not there holds for no node, and neither does an unknown key.
func Match(n Node, ts []Target, groups map[string]Group) bool {
	for _, t := range ts {
		if !t.match(n, groups) {
			return false
		}
	}
	return len(ts) > 0
}

func (t Target) match(n Node, groups map[string]Group) bool {
	switch t.Key {
	case InstanceIDs:
		return slices.Contains(t.Values, n.ID) || slices.Contains(t.Values, All)
	case TagKey:
		return slices.ContainsFunc(t.Values, func(k string) bool { _, ok := n.Tags[k]; return ok })
	case ResourceGroup:
		return slices.ContainsFunc(t.Values, func(name string) bool { g, ok := groups[name]; return ok && g.Contains(n) })
	case ResourceTypeFilters:
		return len(t.Values) > 0 && HasType(t.Values, ResourceType(n.ID))
	}
	if tag, ok := t.Tag(); ok {
		v, has := n.Tags[tag]
		return has && slices.Contains(t.Values, v)
	}
	return false
}
