package node

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/target"
)

// TagFilters is the type of queries that groups here have (spec RG1).
const TagFilters = "TAG_FILTERS_1_0"

// Query selects the members of a group: of these types, with all of these tags (spec RG1, RG2). The JSON names are AWS's.
type Query struct {
	ResourceTypeFilters []string           `json:"ResourceTypeFilters"`  // AWS::AllSupported or types; empty is all
	TagFilters          []target.TagFilter `json:"TagFilters,omitempty"` // at most 50 keys of at most 50 values; no values: the tag is there
}

// Group is a resource group.
type Group struct {
	Name        string // [a-zA-Z0-9_.-]{1,300}, not beginning with AWS; it cannot be changed
	Description string // at most 256 characters
	Query       Query
	Created     time.Time // given by CreateGroup
}

// ParseQuery reads a query in the form of AWS's API: its type, and its text as JSON of at most 4,096 bytes. Errors: Validation.
func ParseQuery(typ, text string) (q Query, err error) {
	const op = "node.ParseQuery"
	if typ != TagFilters {
		return q, fault.New(op, fault.Validation, "query type %q: only %s is supported", shown(typ), TagFilters)
	}
	if len(text) > MaxQuery {
		return q, fault.New(op, fault.Validation, "the query has %d bytes, at most %d are allowed", len(text), MaxQuery)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return q, fault.New(op, fault.Validation, "the query, at byte %d: %s", d.InputOffset()+1, fault.Clean(err.Error()))
	}
	if d.More() || len(bytes.TrimSpace([]byte(text[d.InputOffset():]))) > 0 {
		return q, fault.New(op, fault.Validation, "the query, at byte %d: something follows its end", d.InputOffset()+1)
	}
	return q, checkQuery(op, q)
}

func checkQuery(op string, q Query) error {
	if b, err := json.Marshal(q); err != nil || len(b) > MaxQuery {
		return fault.New(op, fault.Validation, "the query is longer than %d bytes as JSON", MaxQuery)
	}
	for _, t := range q.ResourceTypeFilters {
		if !typeText.MatchString(t) {
			return fault.New(op, fault.Validation, "resource type %q: write AWS::AllSupported, AWS::SSM::ManagedInstance or the like", shown(t))
		}
	}
	seen := map[string]bool{}
	for _, f := range q.TagFilters {
		n := utf8.RuneCountInString(f.Key)
		switch {
		case n == 0 || n > target.MaxTagKeyLen || !tagText.MatchString(f.Key):
			return fault.New(op, fault.Validation, "tag key %q of the query: give 1 to %d letters, digits, blanks or _ . : / = + - @", shown(f.Key), target.MaxTagKeyLen)
		case seen[f.Key]:
			return fault.New(op, fault.Validation, "tag key %q stands twice in the query: put alternatives into Values", f.Key)
		case len(f.Values) > target.MaxValues:
			return fault.New(op, fault.Validation, "tag key %q has %d values, at most %d are allowed", f.Key, len(f.Values), target.MaxValues)
		}
		seen[f.Key] = true
		for _, v := range f.Values {
			if utf8.RuneCountInString(v) > target.MaxTagValueLen || !tagText.MatchString(v) {
				return fault.New(op, fault.Validation, "a value of tag key %q is longer than %d characters or holds some that tags cannot", f.Key, target.MaxTagValueLen)
			}
		}
	}
	return nil
}

var (
	groupText = regexp.MustCompile(`\A[a-zA-Z0-9_.-]{1,300}\z`)
	typeText  = regexp.MustCompile(`\A[A-Za-z0-9]{1,64}(::[A-Za-z0-9]{1,64}){1,4}\z`)
)

func checkGroup(op string, g Group) error {
	if !groupText.MatchString(g.Name) || strings.EqualFold(g.Name[:min(3, len(g.Name))], "aws") {
		return fault.New(op, fault.Validation, "group name %q: give 1 to 300 letters, digits or _ . - that do not begin with AWS", shown(g.Name))
	}
	if err := checkText(op, "the description", g.Description, MaxDescription); err != nil {
		return err
	}
	return checkQuery(op, g.Query)
}

func (c call) noGroup(name string) error {
	return fault.New(c.op, fault.DoesNotExist, "group %s does not exist, or you may not know it", shown(name))
}

// CreateGroup stores a group. It asks for resource-groups:CreateGroup on it. Errors: Validation, AlreadyExistsException.
func (s *Service) CreateGroup(ctx context.Context, g Group) (err error) {
	c, err := s.begin(ctx, "node.CreateGroup", "resource-groups:CreateGroup", "group/"+shown(g.Name), nil)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return err
	}
	if err := checkGroup(c.op, g); err != nil {
		return err
	}
	tenant, now := access.Tenant(ctx), s.now()
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Get(ctx, groupKey(tenant, g.Name))
		if err == nil {
			return fault.New(c.op, fault.AlreadyExists, "group %s exists", g.Name)
		}
		if !isNotFound(err) {
			return err
		}
		if err := s.groups.Put(tx, groupKey(tenant, g.Name), groupRecord{g.Name, g.Description, g.Query, now}); err != nil {
			return err
		}
		return c.record(ctx, tx, map[string]string{"group": g.Name})
	})
}

// UpdateGroup replaces a group's query and description. It asks for resource-groups:UpdateGroupQuery on it. Errors: Validation, DoesNotExistException.
func (s *Service) UpdateGroup(ctx context.Context, g Group) (err error) {
	c, err := s.begin(ctx, "node.UpdateGroup", "resource-groups:UpdateGroupQuery", "group/"+shown(g.Name), nil)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return err
	}
	if err := checkGroup(c.op, g); err != nil {
		return err
	}
	tenant := access.Tenant(ctx)
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := s.group(ctx, tx, c, tenant, g.Name)
		if err != nil {
			return err
		}
		rec.Description, rec.Query = g.Description, g.Query
		if err := s.groups.Put(tx, groupKey(tenant, g.Name), rec); err != nil {
			return err
		}
		return c.record(ctx, tx, map[string]string{"group": g.Name})
	})
}

// DeleteGroup removes a group; its members stay. It asks for resource-groups:DeleteGroup on it. Errors: DoesNotExistException.
func (s *Service) DeleteGroup(ctx context.Context, name string) (err error) {
	c, err := s.begin(ctx, "node.DeleteGroup", "resource-groups:DeleteGroup", "group/"+shown(name), nil)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return err
	}
	tenant := access.Tenant(ctx)
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if _, err := s.group(ctx, tx, c, tenant, name); err != nil {
			return err
		}
		if err := tx.Delete(groupKey(tenant, name)); err != nil {
			return err
		}
		return c.record(ctx, tx, map[string]string{"group": name})
	})
}

// GetGroup returns a group. It asks for resource-groups:GetGroup on it. Errors: DoesNotExistException.
func (s *Service) GetGroup(ctx context.Context, name string) (g Group, err error) {
	c, err := s.begin(ctx, "node.GetGroup", "resource-groups:GetGroup", "group/"+shown(name), nil)
	defer func() { err = c.end(ctx, false, err) }()
	if err != nil {
		return g, err
	}
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		rec, err := s.group(ctx, r, c, access.Tenant(ctx), name)
		g = Group(rec)
		return err
	})
	return g, err
}

func (s *Service) group(ctx context.Context, r store.Reader, c call, tenant, name string) (groupRecord, error) {
	if !groupText.MatchString(name) {
		return groupRecord{}, c.noGroup(name)
	}
	rec, err := s.groups.Get(ctx, r, groupKey(tenant, name))
	if isNotFound(err) {
		return rec, c.noGroup(name)
	}
	return rec, err
}

// ListGroups lists groups by name. It asks for resource-groups:ListGroups, and leaves out groups that the caller may not get. Errors: InvalidNextToken.
func (s *Service) ListGroups(ctx context.Context, p *Page) (out []Group, next string, err error) {
	c, err := s.begin(ctx, "node.ListGroups", "resource-groups:ListGroups", "*", nil)
	defer func() { err = c.end(ctx, false, err) }()
	if err != nil {
		return nil, "", err
	}
	limit, after, err := p.open(c.op, "groups")
	if err != nil {
		return nil, "", err
	}
	tenant := access.Tenant(ctx)
	var all []Group
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		all, next = nil, ""
		rng := groupsOf(tenant).Range()
		if after != "" {
			rng = groupsOf(tenant).After(groupKey(tenant, after))
		}
		rng.Limit = limit + 1
		for e, err := range s.groups.Scan(ctx, r, rng) {
			if err != nil {
				return err
			}
			all = append(all, Group(e.Value))
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(all) > limit {
		all = all[:limit]
		next = token("groups", all[limit-1].Name)
	}
	for _, g := range all {
		if access.Check(ctx, s.cfg.Authorizer, "resource-groups:GetGroup", "group/"+g.Name, nil) == nil {
			out = append(out, g)
		}
	}
	return out, next, nil
}

// ListGroupNodes returns the ids of a group's members at present, a page at a time. It asks for resource-groups:ListGroupResources on the group, and leaves out nodes
// that the caller may not describe. Errors: DoesNotExistException, InvalidNextToken.
func (s *Service) ListGroupNodes(ctx context.Context, name string, p *Page) (ids []string, next string, err error) {
	c, err := s.begin(ctx, "node.ListGroupNodes", "resource-groups:ListGroupResources", "group/"+shown(name), nil)
	defer func() { err = c.end(ctx, false, err) }()
	if err != nil {
		return nil, "", err
	}
	limit, after, err := p.open(c.op, name)
	if err != nil {
		return nil, "", err
	}
	tenant := access.Tenant(ctx)
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		_, err := s.group(ctx, r, c, tenant, name)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	all, cursor, err := s.Resolve(ctx, tenant, []target.Target{{Key: target.ResourceGroup, Values: []string{name}}}, after, limit)
	if err != nil {
		return nil, "", err
	}
	nodes, err := s.Nodes(ctx, tenant, all)
	if err != nil {
		return nil, "", err
	}
	for _, n := range nodes {
		if access.Check(ctx, s.cfg.Authorizer, "ssm:DescribeInstanceInformation", "node/"+n.ID, attributes(n.Tags)) == nil {
			ids = append(ids, n.ID)
		}
	}
	if cursor != "" {
		next = token(name, cursor)
	}
	return ids, next, nil
}
