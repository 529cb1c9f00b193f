package main

import (
	"context"
	"flag"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/target"
)

func groupFlags(fs *flag.FlagSet) {
	fs.String("tags", "", "what its nodes have: `Role=web|db,Env=prod`; a NAME alone takes any value")
	fs.String("description", "", "for people")
}

// group reads a group from the arguments.
func group(p *parsed) (*ssmops.GroupRequest, error) {
	args, err := p.arg("NAME")
	if err != nil {
		return nil, err
	}
	var tags []target.TagFilter
	if p.str("tags") == "" {
		return nil, bad("-tags is missing: say which nodes, as -tags Role=web")
	}
	for _, kv := range strings.Split(p.str("tags"), ",") {
		k, v, ok := strings.Cut(kv, "=")
		f := target.TagFilter{Key: k}
		if ok {
			f.Values = strings.Split(v, "|")
		}
		if k == "" {
			return nil, bad("-tags: %q is not NAME=VALUE", fault.Clean(kv))
		}
		tags = append(tags, f)
	}
	q, err := ssmops.NewResourceQuery(tags)
	return &ssmops.GroupRequest{Name: args[0], Description: p.str("description"), ResourceQuery: q}, err
}

func (a *app) createGroup(ctx context.Context, p *parsed) error {
	g, err := group(p)
	if err != nil {
		return err
	}
	return a.call(ctx, "CreateGroup", g, nil)
}

func (a *app) updateGroup(ctx context.Context, p *parsed) error {
	g, err := group(p)
	if err != nil {
		return err
	}
	return a.call(ctx, "UpdateGroupQuery", g, nil)
}

func (a *app) listGroups(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	r := ssmops.ListGroupsRequest{}
	all := []ssmops.Group{}
	for {
		var out ssmops.ListGroupsResult
		if err := a.call(ctx, "ListGroups", r, &out); err != nil {
			return err
		}
		all = append(all, out.Groups...)
		if r.NextToken = out.NextToken; r.NextToken == "" {
			break
		}
	}
	return a.showGroups(ssmops.ListGroupsResult{Groups: all}, all)
}

func (a *app) showGroups(whole any, gs []ssmops.Group) error {
	if a.wantsJSON() {
		return a.json(whole)
	}
	t := a.table("GROUP", "TAGS", "DESCRIPTION")
	for _, g := range gs {
		fs, err := g.ResourceQuery.Filters()
		if err != nil {
			return err
		}
		var tags []string
		for _, f := range fs {
			s := f.Key
			if len(f.Values) > 0 {
				s += "=" + strings.Join(f.Values, "|")
			}
			tags = append(tags, s)
		}
		t.row(g.Name, strings.Join(tags, ","), short(g.Description, 60))
	}
	return t.end()
}

func (a *app) getGroup(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME")
	if err != nil {
		return err
	}
	var out ssmops.GroupResult
	if err := a.call(ctx, "GetGroup", ssmops.GroupName{Name: args[0]}, &out); err != nil {
		return err
	}
	return a.showGroups(out, []ssmops.Group{out.Group})
}

func (a *app) groupNodes(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME")
	if err != nil {
		return err
	}
	r := ssmops.ListGroupResourcesRequest{Name: args[0]}
	all := []string{}
	for {
		var out ssmops.ListGroupResourcesResult
		if err := a.call(ctx, "ListGroupResources", r, &out); err != nil {
			return err
		}
		all = append(all, out.InstanceIDs...)
		if r.NextToken = out.NextToken; r.NextToken == "" {
			break
		}
	}
	if a.wantsJSON() {
		return a.json(ssmops.ListGroupResourcesResult{InstanceIDs: all})
	}
	for _, id := range all {
		if err := a.say("%s", fault.Clean(id)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) deleteGroup(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME")
	if err != nil {
		return err
	}
	return a.call(ctx, "DeleteGroup", ssmops.GroupName{Name: args[0]}, nil)
}

func auditFlags(fs *flag.FlagSet) {
	fs.String("who", "", "only calls of this `caller`")
	fs.String("action", "", "only calls of this `action`, as ssm:SendCommand")
	fs.String("id", "", "only calls that made or meant the thing of this `id`")
	fs.String("outcome", "", "only Success, Denied or Failed")
	fs.Int("limit", 50, "`number` of entries; 0 is all")
}

func (a *app) audit(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	limit := p.num("limit")
	if limit < 0 {
		return bad("-limit %d is negative", limit)
	}
	r := ssmops.ListAuditRequest{Principal: p.str("who"), Action: p.str("action"), ID: p.str("id"), Outcome: audit.Outcome(p.str("outcome"))}
	all := []ssmops.AuditEntry{}
	for more := true; more; more = r.NextToken != "" && (limit == 0 || len(all) < limit) {
		r.MaxResults = 1000
		if limit > 0 {
			r.MaxResults = min(1000, limit-len(all))
		}
		var out ssmops.ListAuditResult
		if err := a.call(ctx, "ListAudit", r, &out); err != nil {
			return err
		}
		all, r.NextToken = append(all, out.Entries...), out.NextToken
	}
	if a.wantsJSON() {
		return a.json(ssmops.ListAuditResult{Entries: all})
	}
	t := a.table("TIME", "WHO", "ACTION", "RESOURCE", "OUTCOME", "IDS")
	for _, e := range all {
		outcome := string(e.Outcome)
		if e.Code != "" {
			outcome += " " + string(e.Code)
		}
		var ids []string
		for k, v := range e.IDs {
			ids = append(ids, k+"="+v)
		}
		slices.Sort(ids)
		t.row(e.Time, e.Principal, e.Action, e.Resource, outcome, strings.Join(ids, ","))
	}
	return t.end()
}
