package parameter

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/paging"
)

const (
	readAtOnce = 200    // names that a list looks at in one View, beyond its first
	mostLooked = 20_000 // names that one call looks at: then it answers what it has, with a token (T21)
	mostSkips  = 2_000  // subtrees that one View steps over
)

// candidate is a parameter that a list looks at.
type candidate struct {
	canon string
	v     *version
	label uint64 // the version that a label filter chose; 0: the newest
	pick  *version
}

// span is the range of names that the query can select, by the paths and names of its conditions.
func (q *query) span() (lo, hi string) {
	lo, hi = q.Below, cutAfter(q.Below)
	narrow := func(a, b string) { lo, hi = max(lo, a), min(hi, b) }
	for _, c := range q.Conds {
		switch {
		case c.Key == "Path":
			narrow(slices.Min(c.Values), cutAfter(slices.Max(c.Values)))
		case c.Key == "Name" && c.Option == optBegins:
			cs := make([]string, len(c.Values))
			for i, v := range c.Values {
				cs[i] = canonical(v)
			}
			narrow(slices.Min(cs), cutAfter(slices.Max(cs)))
		}
	}
	return lo, hi
}

// drivers are the indexes of one condition whose names hold all that the query can select; nil: the names themselves must be walked.
func (q *query) drivers(tenant string) []key.K {
	best, rank := []key.K(nil), 100
	use := func(r int, index string, values []string) {
		if r < rank {
			rank, best = r, nil
			for _, v := range values {
				best = append(best, byKey(tenant, index, v))
			}
		}
	}
	for _, c := range q.Conds {
		tag, isTag := strings.CutPrefix(c.Key, "tag:")
		switch {
		case isTag && len(c.Values) == 0:
			use(5, byTags, []string{tag})
		case isTag:
			vs := make([]string, len(c.Values))
			for i, v := range c.Values {
				vs[i] = tagValue(tag, v)
			}
			use(2, byTag, vs)
		case c.Key == "Label":
			use(1, byLabel, c.Values)
		case c.Key == "KeyId" && c.Option == optEquals:
			use(3, byKeyID, c.Values)
		case c.Key == "DataType" && !slices.Contains(c.Values, DataText):
			use(4, byData, c.Values)
		case c.Key == "Tier" && !slices.Contains(c.Values, string(Standard)):
			use(6, byTier, []string{string(Advanced)})
		case c.Key == "Type" && c.Option == optEquals && !slices.Contains(c.Values, string(String)):
			use(7, byType, c.Values)
		}
	}
	return best
}

// oneLevel returns the only path whose direct children the query wants, to step over what is deeper.
func (q *query) oneLevel() (string, bool) {
	if q.Flat {
		return q.Below, true
	}
	for _, c := range q.Conds {
		if c.Key == "Path" && c.Option == optOneLevel && len(c.Values) == 1 {
			return c.Values[0], true
		}
	}
	return "", false
}

// names are exact names, when the query has them.
func (q *query) names() []string {
	for _, c := range q.Conds {
		if c.Key == "Name" && c.Option == optEquals {
			out := make([]string, len(c.Values))
			for i, v := range c.Values {
				out[i] = canonical(v)
			}
			slices.Sort(out)
			return slices.Compact(out)
		}
	}
	return nil
}

// candidates returns at most n parameters after a name that keep the conditions, where to go on, and whether there may be more.
func (s *Service) candidates(ctx context.Context, op, tenant string, q *query, after string, n int) (page []candidate, last string, more bool, looked int, err error) {
	lo, hi := q.span()
	err = s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		page, last, more, looked = nil, after, false, 0
		keep := func(canon string, v *version) error {
			looked++
			c := candidate{canon: canon, v: v}
			if below(q.Below, q.Flat, canon) {
				ok, err := s.keeps(ctx, r, tenant, q, &c)
				if err != nil {
					return err
				}
				if ok {
					page = append(page, c)
				}
			}
			last = canon
			return nil
		}
		if ns := q.names(); ns != nil {
			return s.exactly(ctx, r, tenant, ns, after, keep)
		}
		if ks := q.drivers(tenant); ks != nil {
			ns, cut, err := indexed(ctx, r, ks, lo, hi, after, n)
			if err != nil {
				return err
			}
			if err := s.exactly(ctx, r, tenant, ns, after, keep); err != nil {
				return err
			}
			if more = cut; cut {
				last = ns[len(ns)-1]
			}
			return nil
		}
		step, flat := q.oneLevel()
		start, skips := lo, 0
		if after >= lo {
			start = after + "\x00"
		}
		for start < hi {
			rng := store.Range{Start: s.headKey(tenant, start), End: s.headKey(tenant, hi), Limit: n - looked + 1}
			skip, scanned := "", 0
			for it, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				canon, err := lastName(it.Key, 3)
				if err != nil {
					return err
				}
				scanned++
				start = canon + "\x00"
				if flat {
					if rest, ok := strings.CutPrefix(canon, step); ok {
						if dir, _, deep := strings.Cut(rest, "/"); deep {
							skip = cutAfter(step + dir + "/")
							break
						}
					}
				}
				if looked == n {
					more = true
					return nil
				}
				v, err := s.openVersion(it.Key, it.Value)
				if err != nil {
					return err
				}
				if err := keep(canon, &v); err != nil {
					return err
				}
			}
			if skip == "" {
				if scanned < rng.Limit {
					return nil
				}
				continue
			}
			if skips++; skips == mostSkips {
				last, more = strings.TrimSuffix(skip, "0")+"/\xff", true
				return nil
			}
			start = skip
		}
		return nil
	})
	return page, last, more, looked, err
}

// exactly looks at given names, those after one.
func (s *Service) exactly(ctx context.Context, r store.Reader, tenant string, names []string, after string, keep func(string, *version) error) error {
	if i, there := slices.BinarySearch(names, after); there {
		names = names[i+1:]
	} else {
		names = names[i:]
	}
	hs, err := s.heads(ctx, r, tenant, names)
	if err != nil {
		return err
	}
	for i, h := range hs {
		if h == nil {
			continue
		}
		if err := keep(names[i], h); err != nil {
			return err
		}
	}
	return nil
}

// indexed merges the names of indexes, at most n, in order. cut says that there may be more after the last.
func indexed(ctx context.Context, r store.Reader, ks []key.K, lo, hi, after string, n int) (names []string, cut bool, err error) {
	end := ""
	for _, k := range ks {
		rng := store.Range{Start: k.Str(lo), End: k.Str(hi), Limit: n}
		if after >= lo {
			rng.Start = k.After(k.Str(after)).Start
		}
		got, last := 0, ""
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return nil, false, err
			}
			if last, err = lastName(it.Key, 3); err != nil {
				return nil, false, err
			}
			names = append(names, last)
			got++
		}
		if got == n { // this index may go on: what others have after its last waits for the next round
			if !cut || last < end {
				end = last
			}
			cut = true
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if cut {
		i, _ := slices.BinarySearch(names, end)
		names = names[:i+1]
	}
	return names, cut, nil
}

// keeps checks a candidate against all conditions; a label chooses its version.
func (s *Service) keeps(ctx context.Context, r store.Reader, tenant string, q *query, c *candidate) (bool, error) {
	for i := range q.Conds {
		cond := &q.Conds[i]
		if cond.Key != "Label" {
			if !cond.holds(c.canon, c.v) {
				return false, nil
			}
			continue
		}
		for _, l := range cond.Values {
			n, err := s.labelled(ctx, r, tenant, c.canon, l)
			if err != nil {
				return false, err
			}
			c.label = max(c.label, n)
		}
		if c.label == 0 {
			return false, nil
		}
		var err error
		if c.pick, err = s.byNumber(ctx, r, tenant, c.canon, c.v, c.label); err != nil || c.pick == nil {
			return false, err
		}
	}
	return true, nil
}

// list walks the parameters that a query selects and the caller may see, up to limit; a token's place when there are more.
func (s *Service) list(ctx context.Context, op, action string, q *query, after string, limit int, all bool) (page []candidate, next string, err error) {
	tenant := access.Tenant(ctx)
	total := 0
	for n, more := limit+1, true; more; n = readAtOnce {
		var got []candidate
		var looked int
		if got, after, more, looked, err = s.candidates(ctx, op, tenant, q, after, n); err != nil {
			return nil, "", err
		}
		for _, c := range got {
			if !all && s.check(ctx, action, c.canon, c.v.Tags) != nil {
				continue
			}
			if len(page) == limit {
				return page, page[limit-1].canon, nil
			}
			page = append(page, c)
		}
		if total += max(1, looked); more && total >= mostLooked {
			return page, after, nil
		}
	}
	return page, "", nil
}

// GetParametersByPath reads the parameters below a path, in order of their names (S21). It needs ssm:GetParametersByPath on each, others are left out; with Config.PathGrants on the path. Who
// gets nothing and has no right to the path is refused. Errors: InvalidFilterKey, InvalidFilterOption, InvalidFilterValue, InvalidNextToken, InvalidKeyId, ValidationException.
func (s *Service) GetParametersByPath(ctx context.Context, req GetParametersByPathRequest) (out GetParametersByPathResult, err error) {
	const op, action = "parameter.GetParametersByPath", "ssm:GetParametersByPath"
	out, err = s.byPath(ctx, op, action, req)
	if err != nil {
		s.audited(ctx, action, resource(clip(req.Path)), err)
		return GetParametersByPathResult{}, err
	}
	return out, nil
}

func (s *Service) byPath(ctx context.Context, op, action string, req GetParametersByPathRequest) (out GetParametersByPathResult, err error) {
	tenant := access.Tenant(ctx)
	if err := s.rate.allow(op, tenant, s.cfg.Now); err != nil {
		return out, err
	}
	limit, err := results(op, req.MaxResults, 10, 10)
	if err != nil {
		return out, err
	}
	path, err := checkPath(op, req.Path)
	if err != nil {
		return out, err
	}
	q := &query{Below: path, Flat: !req.Recursive}
	if q.Conds, err = newConds(op, forPath, req.ParameterFilters); err != nil {
		return out, err
	}
	mark := paging.Mark(op, tenant, struct {
		Q query
		D bool
	}{*q, req.WithDecryption})
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	out.Parameters = []Parameter{}
	top := strings.TrimSuffix(path, "/")
	if top == "" {
		top = "/"
	}
	if path == publicTree || strings.HasPrefix(path, publicTree) {
		return s.publicPath(ctx, op, action, path, q, mark, after, limit)
	}
	covered := false
	if s.cfg.PathGrants {
		if err := s.check(ctx, action, top, nil); err != nil {
			return out, fault.Wrap(op, err)
		}
		covered = true
	}
	page, next, err := s.list(ctx, op, action, q, after, limit, covered)
	if err != nil {
		return out, err
	}
	var told []disclosure
	for _, c := range page {
		f := found{ref: reference{tenant: tenant, canon: c.canon}, head: c.v, v: c.v}
		if c.pick != nil {
			f.v = c.pick
		}
		p, err := s.show(ctx, op, &f, f.v, req.WithDecryption)
		if err != nil {
			return out, err
		}
		if p.Value.secret {
			told = append(told, disclosure{c.canon, f.v.Version})
		}
		out.Parameters = append(out.Parameters, p)
	}
	if len(out.Parameters) == 0 && req.NextToken == "" && !covered {
		if err := s.check(ctx, action, top, nil); err != nil {
			return out, fault.Wrap(op, err)
		}
	}
	if next != "" {
		out.NextToken = paging.Token(mark, next)
	}
	return out, s.toldBelow(ctx, op, action, top, told)
}

// toldBelow records a list: each decryption by itself before the answer, and the path once.
func (s *Service) toldBelow(ctx context.Context, op, action, path string, told []disclosure) error {
	if err := s.disclosed(ctx, op, action, told); err != nil {
		return err
	}
	return s.recorded(ctx, op, action, path)
}

// publicPath lists the public tree (S32).
func (s *Service) publicPath(ctx context.Context, op, action, path string, q *query, mark, after string, limit int) (out GetParametersByPathResult, err error) {
	out.Parameters = []Parameter{}
	if err := s.check(ctx, action, strings.TrimSuffix(path, "/"), nil); err != nil {
		return out, fault.Wrap(op, err)
	}
	if s.cfg.Public == nil {
		return out, nil
	}
	names, err := s.cfg.Public.Names(ctx, path, after, readAtOnce)
	if err != nil {
		return out, fault.Wrap(op, err)
	}
	for _, n := range names {
		if len(out.Parameters) == limit {
			out.NextToken = paging.Token(mark, after)
			return out, nil
		}
		after = n
		if !below(path, q.Flat, n) {
			continue
		}
		p, ok, err := s.cfg.Public.Lookup(ctx, n)
		if err != nil {
			return out, fault.Wrap(op, err)
		}
		if !ok {
			continue
		}
		p = s.public(n, p, "")
		v := version{Type: p.Type}
		if !slices.ContainsFunc(q.Conds, func(c cond) bool { return c.Key == "Label" || !c.holds(n, &v) }) {
			out.Parameters = append(out.Parameters, p)
		}
	}
	if len(names) == readAtOnce {
		out.NextToken = paging.Token(mark, after)
	}
	return out, s.recorded(ctx, op, action, strings.TrimSuffix(path, "/"))
}

// ByPath yields all parameters below a path, page by page, so that nobody stops at a short page (T21). MaxResults and NextToken of the request are where to begin. After an error it ends.
func ByPath(ctx context.Context, s Store, req GetParametersByPathRequest) iter.Seq2[Parameter, error] {
	return func(yield func(Parameter, error) bool) {
		for {
			out, err := s.GetParametersByPath(ctx, req)
			if err != nil {
				yield(Parameter{}, err)
				return
			}
			for _, p := range out.Parameters {
				if !yield(p, nil) {
					return
				}
			}
			if req.NextToken = out.NextToken; req.NextToken == "" {
				return
			}
		}
	}
}

// DescribeParameters lists parameters without their values, in order of their names (S22). It needs ssm:DescribeParameters on each; others are left out. Who gets nothing and has no right to
// parameter/* is refused. Errors: InvalidFilterKey, InvalidFilterOption, InvalidFilterValue, InvalidNextToken, ValidationException.
func (s *Service) DescribeParameters(ctx context.Context, req DescribeParametersRequest) (out DescribeParametersResult, err error) {
	const op, action = "parameter.DescribeParameters", "ssm:DescribeParameters"
	defer func() { s.audited(ctx, action, anything, err) }()
	limit, err := results(op, req.MaxResults, 50, 50)
	if err != nil {
		return out, err
	}
	if len(req.Filters) > 0 && len(req.ParameterFilters) > 0 {
		return out, fault.New(op, fault.Validation, "Filters and ParameterFilters cannot be given together")
	}
	q := &query{Below: "/"}
	if len(req.Filters) > 0 {
		q.Conds, err = older(op, req.Filters)
	} else {
		q.Conds, err = newConds(op, forDescribe, req.ParameterFilters)
	}
	if err != nil {
		return out, err
	}
	if req.Shared {
		return s.describeShared(ctx, op, action, q, req.NextToken, limit)
	}
	return s.described(ctx, op, action, q, req.NextToken, limit)
}

func (s *Service) described(ctx context.Context, op, action string, q *query, token string, limit int) (out DescribeParametersResult, err error) {
	tenant := access.Tenant(ctx)
	mark := paging.Mark(op, tenant, q)
	after, err := paging.Open(op, mark, token)
	if err != nil {
		return out, err
	}
	page, next, err := s.list(ctx, op, action, q, after, limit, false)
	if err != nil {
		return out, err
	}
	out.Parameters = []ParameterMetadata{}
	for _, c := range page {
		out.Parameters = append(out.Parameters, s.metadata(tenant, &c))
	}
	if len(page) == 0 && token == "" {
		if err := access.Check(ctx, s.cfg.Authorizer, action, anything, nil); err != nil {
			return DescribeParametersResult{}, fault.Wrap(op, err)
		}
	}
	if next != "" {
		out.NextToken = paging.Token(mark, next)
	}
	return out, nil
}

func (s *Service) metadata(tenant string, c *candidate) ParameterMetadata {
	v := c.v
	if c.pick != nil {
		v = c.pick
	}
	return ParameterMetadata{Name: c.v.Name, ARN: s.place.arn(tenant, c.canon), Type: v.Type, KeyID: v.shownKey(), LastModifiedDate: v.Modified, LastModifiedUser: v.User, Description: v.Desc,
		AllowedPattern: v.Pattern, Version: int64(v.Version), Tier: v.Tier, Policies: v.inline(), DataType: v.DataType}
}
