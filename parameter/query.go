package parameter

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/paging"
)

// QueryRequest asks for parameters by more than AWS: filters as DescribeParameters has them, Label too, and the time of the last change.
type QueryRequest struct {
	ParameterFilters []ParameterStringFilter
	ModifiedSince    time.Time // inclusive; not zero: the answer is ordered by time of change, not by name
	MaxResults       int       // 1 to 50; 0 is 50
	NextToken        string
}

// Query lists parameters without their values. What a Label filter chooses is described in the version that has the label. Filters by tag, label, key, data type, tier and type, and ModifiedSince, read indexes: they
// cost what they select. It needs ssm:DescribeParameters on each. Errors as DescribeParameters.
func (s *Service) Query(ctx context.Context, req QueryRequest) (out DescribeParametersResult, err error) {
	const op, action = "parameter.Query", "ssm:DescribeParameters"
	defer func() { s.audited(ctx, action, anything, err) }()
	limit, err := results(op, req.MaxResults, 50, 50)
	if err != nil {
		return out, err
	}
	q := &query{Below: "/"}
	if q.Conds, err = newConds(op, forQuery, req.ParameterFilters); err != nil {
		return out, err
	}
	if req.ModifiedSince.IsZero() {
		return s.described(ctx, op, action, q, req.NextToken, limit)
	}
	tenant := access.Tenant(ctx)
	mark := paging.Mark(op+" since", tenant, []any{q, req.ModifiedSince})
	at, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	start := timesKey(tenant).Time(req.ModifiedSince)
	if at != "" {
		start = key.K(at)
	}
	out.Parameters = []ParameterMetadata{}
	looked := 0
	for {
		page, last, err := s.changedSince(ctx, op, tenant, q, start)
		if err != nil {
			return DescribeParametersResult{}, err
		}
		for _, c := range page {
			if s.check(ctx, action, c.canon, c.v.Tags) != nil {
				continue
			}
			if len(out.Parameters) == limit {
				out.NextToken = paging.Token(mark, string(timeKey(tenant, c.v.Modified, c.canon)))
				return out, nil
			}
			out.Parameters = append(out.Parameters, s.metadata(tenant, &c))
		}
		if last == nil {
			return out, nil
		}
		start = append(last, 0)
		if looked += readAtOnce; looked >= mostLooked {
			out.NextToken = paging.Token(mark, string(start))
			return out, nil
		}
	}
}

// changedSince looks at some parameters by the time of their change; last is where it stopped, nil at the end.
func (s *Service) changedSince(ctx context.Context, op, tenant string, q *query, start []byte) (page []candidate, last key.K, err error) {
	if !slices.Equal(start[:min(len(start), len(timesKey(tenant)))], timesKey(tenant)) {
		return nil, nil, paging.Bad(op)
	}
	err = s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		page, last = nil, nil
		rng := timesKey(tenant).Range()
		rng.Start, rng.Limit = start, readAtOnce
		var names []string
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			k := key.Read(it.Key)
			k.Str()
			k.Str()
			k.Str()
			k.Time()
			names = append(names, k.Str())
			if err := k.Err(); err != nil {
				return err
			}
			last = append(last[:0], it.Key...)
		}
		hs, err := s.heads(ctx, r, tenant, names)
		if err != nil {
			return err
		}
		for i, h := range hs {
			if h == nil {
				return errors.New("parameter: the index of times names a parameter that is not there")
			}
			c := candidate{canon: names[i], v: h}
			ok, err := s.keeps(ctx, r, tenant, q, &c)
			if err != nil {
				return err
			}
			if ok {
				page = append(page, c)
			}
		}
		if len(names) < readAtOnce {
			last = nil
		}
		return nil
	})
	return page, last, err
}
