package node

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/target"
)

// Info is what callers see of a node. The JSON names are those of AWS's InstanceInformation, and fleetwright's own at the end.
type Info struct {
	ID               string     `json:"InstanceId"`
	PingStatus       PingStatus `json:"PingStatus"`
	LastPing         time.Time  `json:"LastPingDateTime,omitzero"`
	AgentVersion     string     `json:"AgentVersion,omitempty"`
	PlatformType     string     `json:"PlatformType,omitempty"`
	PlatformName     string     `json:"PlatformName,omitempty"`
	PlatformVersion  string     `json:"PlatformVersion,omitempty"`
	ActivationID     string     `json:"ActivationId,omitempty"`
	IamRole          string     `json:"IamRole,omitempty"`
	RegistrationDate time.Time  `json:"RegistrationDate,omitzero"`
	ResourceType     string     `json:"ResourceType"` // ManagedInstance or EC2Instance
	Name             string     `json:"Name,omitempty"`
	IPAddress        string     `json:"IPAddress,omitempty"`
	ComputerName     string     `json:"ComputerName,omitempty"`

	AgentName    string            `json:"AgentName,omitempty"`
	Architecture string            `json:"Architecture,omitempty"`
	BootID       string            `json:"BootId,omitempty"`
	Capabilities []string          `json:"Capabilities,omitempty"`
	Tags         map[string]string `json:"Tags,omitempty"`
	Assurance    target.Assurance  `json:"Assurance"`
	KeySerial    uint64            `json:"KeySerial,omitempty"` // of the node's keys; see Rotation
}

// Filter selects nodes whose field of that key has one of the values; several filters must all hold. Keys are AWS's InstanceIds, AgentVersion, PingStatus, PlatformTypes,
// ActivationIds, IamRole, ResourceType, tag-key, tag:NAME, and also PlatformName, PlatformVersion, ComputerName, IPAddress, AgentName, Name.
type Filter struct {
	Key    string
	Values []string
}

// fields of Info by the key of a filter.
func (i *Info) field(k string) (string, bool) {
	switch k {
	case "AgentVersion":
		return i.AgentVersion, true
	case "PingStatus":
		return string(i.PingStatus), true
	case "PlatformTypes", "PlatformType":
		return i.PlatformType, true
	case "ActivationIds":
		return i.ActivationID, true
	case "IamRole":
		return i.IamRole, true
	case "ResourceType":
		return i.ResourceType, true
	case "PlatformName":
		return i.PlatformName, true
	case "PlatformVersion":
		return i.PlatformVersion, true
	case "ComputerName":
		return i.ComputerName, true
	case "IPAddress", "IpAddress":
		return i.IPAddress, true
	case "AgentName":
		return i.AgentName, true
	case "Name":
		return i.Name, true
	}
	return "", false
}

// legal returns the values of a filter that has few; nil for others.
func legal(k string) []string {
	switch k {
	case "PingStatus":
		return []string{string(Online), string(ConnectionLost), string(Inactive)}
	case "PlatformTypes", "PlatformType":
		return []string{"Linux", "Windows", "MacOS"}
	case "ResourceType":
		return []string{"ManagedInstance", "EC2Instance"}
	}
	return nil
}

// split turns filters into targets, which the indexes answer, and the rest, which is looked up node by node.
func split(op string, filters []Filter) (targets []target.Target, rest []Filter, err error) {
	for _, f := range filters {
		if len(f.Values) == 0 || len(f.Values) > target.MaxValues {
			return nil, nil, fault.New(op, fault.InvalidFilterValue, "filter %s has %d values: give 1 to %d", shown(f.Key), len(f.Values), target.MaxValues)
		}
		if f.Key == target.InstanceIDs || f.Key == target.TagKey || strings.HasPrefix(f.Key, target.TagPrefix) {
			t := target.Target(f)
			if err := target.Validate([]target.Target{t}, nil); err != nil {
				return nil, nil, fault.New(op, fault.InvalidFilterValue, "filter: %s", fault.MessageOf(err))
			}
			targets = append(targets, t)
			continue
		}
		if _, ok := (&Info{}).field(f.Key); !ok {
			return nil, nil, fault.New(op, fault.InvalidFilterKey, "unknown filter %q: use InstanceIds, PingStatus, PlatformTypes, AgentVersion, ActivationIds, IamRole, ResourceType, tag-key or tag:NAME", shown(f.Key))
		}
		for _, v := range f.Values {
			if l := legal(f.Key); l != nil && !slices.Contains(l, v) {
				return nil, nil, fault.New(op, fault.InvalidFilterValue, "filter %s: %q is none of %s", f.Key, shown(v), strings.Join(l, ", "))
			}
		}
		rest = append(rest, f)
	}
	if len(targets) == 0 {
		targets = []target.Target{{Key: target.InstanceIDs, Values: []string{target.All}}}
	}
	return targets, rest, nil
}

// List lists nodes by id. It asks for ssm:DescribeInstanceInformation in general, and for each node, leaving out those that the caller may not see. Filters by tag and id are
// answered from indexes, others by looking at nodes, at most 5,000 a page. Errors: InvalidFilterKey, InvalidFilterValue, InvalidNextToken, Validation.
func (s *Service) List(ctx context.Context, filters []Filter, p *Page) (out []Info, next string, err error) {
	c, err := s.begin(ctx, "node.List", "ssm:DescribeInstanceInformation", "*", nil)
	defer func() { err = c.end(ctx, false, err) }()
	if err != nil {
		return nil, "", err
	}
	targets, rest, err := split(c.op, filters)
	if err != nil {
		return nil, "", err
	}
	limit, cursor, err := p.open(c.op, filters)
	if err != nil {
		return nil, "", err
	}
	tenant := access.Tenant(ctx)
	for seen, more := 0, true; more; {
		var recs []nodeRecord
		var ids []string
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			want := min(200, max(firstRead, limit-len(out)))
			if ids, cursor, more, err = s.resolve(ctx, r, tenant, targets, cursor, want); err != nil {
				return err
			}
			keys := make([][]byte, len(ids))
			for i, id := range ids {
				keys[i] = nodeKey(tenant, id)
			}
			ns, err := s.nodes.GetMany(ctx, r, keys)
			recs = recs[:0]
			for _, n := range ns {
				if n != nil {
					recs = append(recs, *n)
				}
			}
			return err
		})
		if err != nil {
			return nil, "", err
		}
		infos, err := s.infos(ctx, tenant, recs)
		if err != nil {
			return nil, "", err
		}
		for _, i := range infos {
			seen++
			if !i.match(rest) || access.Check(ctx, s.cfg.Authorizer, c.action, "node/"+i.ID, attributes(i.Tags)) != nil {
				continue
			}
			if len(out) == limit {
				return out, token(filters, out[limit-1].ID), nil
			}
			out = append(out, i)
		}
		if more && seen >= budget {
			return out, token(filters, cursor), nil
		}
	}
	return out, "", nil
}

func (i *Info) match(filters []Filter) bool {
	for _, f := range filters {
		if v, _ := i.field(f.Key); !slices.Contains(f.Values, v) {
			return false
		}
	}
	return true
}

// infos adds presence to records.
func (s *Service) infos(ctx context.Context, tenant string, recs []nodeRecord) ([]Info, error) {
	keys := make([][]byte, len(recs))
	for i, n := range recs {
		keys[i] = seenKey(tenant, n.ID)
	}
	var seen []*seenRecord
	err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		seen, err = s.seen.GetMany(ctx, r, keys)
		return err
	})
	if err != nil {
		return nil, err
	}
	now := s.now()
	out := make([]Info, len(recs))
	for i, n := range recs {
		var stored time.Time
		if seen[i] != nil {
			stored = seen[i].Last
		}
		last, facts := s.overlay(tenant, n.ID, stored)
		if facts == nil {
			facts = &n.Facts
		}
		typ := "ManagedInstance"
		if target.ResourceType(n.ID) == target.TypeEC2 {
			typ = "EC2Instance"
		}
		out[i] = Info{
			ID: n.ID, PingStatus: s.status(last, now), LastPing: last, AgentVersion: facts.AgentVersion, PlatformType: facts.PlatformType,
			PlatformName: facts.PlatformName, PlatformVersion: facts.PlatformVersion, ActivationID: n.Activation, IamRole: n.Role, RegistrationDate: n.Registered,
			ResourceType: typ, Name: n.Name, IPAddress: facts.IPAddress, ComputerName: facts.ComputerName,
			AgentName: facts.AgentName, Architecture: facts.Architecture, BootID: facts.BootID, Capabilities: slices.Clone(facts.Capabilities),
			Tags: maps.Clone(n.Tags), Assurance: n.Assurance, KeySerial: n.Serial,
		}
	}
	return out, nil
}
