package parameter

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/paging"
)

// GetAtRequest reads a parameter as it was.
type GetAtRequest struct {
	Name           string
	At             time.Time // the version that was the newest then, one written at that very instant among them
	WithDecryption bool
}

// GetAt reads a parameter as of an instant, as far back as its versions are kept. It needs ssm:GetParameterHistory. Errors: ParameterNotFound if there was none then, ParameterVersionNotFound if that version is not
// kept: it was dropped, or the parameter was deleted since.
func (s *Service) GetAt(ctx context.Context, req GetAtRequest) (p Parameter, err error) {
	const op, action = "parameter.GetAt", "ssm:GetParameterHistory"
	ref, err := refer(op, access.Tenant(ctx), req.Name, false)
	defer func() {
		if err != nil {
			s.audited(ctx, action, resource(canonical(clip(req.Name))), err)
		}
	}()
	if err != nil {
		return p, err
	}
	f := found{ref: ref}
	kept := true
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) (err error) {
		if f.head, err = s.head(ctx, r, ref.tenant, ref.canon); err != nil {
			return err
		}
		f.v, kept, err = s.at(ctx, r, ref.tenant, ref.canon, f.head, req.At)
		return err
	}); err != nil {
		return p, err
	}
	asked := f
	if asked.v == nil && asked.head != nil {
		asked.v = asked.head
	}
	if err := s.permit(ctx, op, action, &asked); err != nil && !(fault.CodeOf(err) == CodeNotFound && !kept && !ref.foreign) {
		return p, err
	}
	switch {
	case !kept:
		return p, fault.New(op, CodeVersionNotFound, "the version that parameter %s had then is not kept any more", clip(ref.canon)).About(ref.canon)
	case f.v == nil:
		return p, fault.New(op, CodeNotFound, "parameter %s did not exist then", clip(ref.canon)).About(ref.canon)
	}
	if p, err = s.show(ctx, op, &f, f.v, req.WithDecryption); err != nil {
		return Parameter{}, err
	}
	if p.Value.secret {
		return p, s.disclosed(ctx, op, action, []disclosure{{ref.canon, f.v.Version}})
	}
	return p, s.recorded(ctx, op, action, ref.canon)
}

// at finds the version of an instant: nil if there was none; kept is false if there was one that is not here any more.
func (s *Service) at(ctx context.Context, r store.Reader, tenant, canon string, head *version, t time.Time) (v *version, kept bool, err error) {
	if head != nil && !head.Modified.After(t) {
		return head, true, nil
	}
	if head != nil && !head.Created.After(t) {
		rng := pastsKey(tenant, canon).Range()
		rng.Reverse = true
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return nil, false, err
			}
			p, err := s.openVersion(it.Key, it.Value)
			if err != nil {
				return nil, false, err
			}
			if !p.Modified.After(t) {
				return &p, true, nil
			}
		}
		return nil, false, nil
	}
	d, err := s.lastDeletion(ctx, r, tenant, canon)
	if err != nil || d == nil {
		return nil, true, err
	}
	return nil, d.created.After(t) || !d.deleted.After(t), nil
}

// ByPathAtRequest reads what was below a path. Members as in GetParametersByPathRequest; MaxResults is 1 to 50, 0 is 50.
type ByPathAtRequest struct {
	Path           string
	Recursive      bool
	At             time.Time
	WithDecryption bool
	MaxResults     int
	NextToken      string
}

// ByPathAtResult is the answer to ByPathAt.
type ByPathAtResult struct {
	Parameters []Parameter
	Lost       []string // names that were there, of which that version is not kept: dropped, or deleted since
	NextToken  string
}

// ByPathAt reads the parameters below a path as of an instant. All pages of one instant agree, as the past does not change, but for what is dropped or deleted between them, which is Lost. It needs
// ssm:GetParameterHistory on each; others are left out. Names that were deleted are Lost on the page that they would stand on, to those who may read the history of any parameter.
func (s *Service) ByPathAt(ctx context.Context, req ByPathAtRequest) (out ByPathAtResult, err error) {
	const op, action = "parameter.ByPathAt", "ssm:GetParameterHistory"
	defer func() {
		if err != nil {
			s.audited(ctx, action, resource(clip(req.Path)), err)
		}
	}()
	tenant := access.Tenant(ctx)
	limit, err := results(op, req.MaxResults, 50, 50)
	if err != nil {
		return out, err
	}
	path, err := checkPath(op, req.Path)
	if err != nil {
		return out, err
	}
	mark := paging.Mark(op, tenant, []any{path, req.Recursive, req.At, req.WithDecryption})
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	q := &query{Below: path, Flat: !req.Recursive}
	page, next, err := s.list(ctx, op, action, q, after, limit, false)
	if err != nil {
		return out, err
	}
	out.Parameters, out.Lost = []Parameter{}, []string{}
	picked := make([]*version, len(page))
	kept := make([]bool, len(page))
	var lost []string
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) (err error) {
		lost = nil
		for i, c := range page {
			if picked[i], kept[i], err = s.at(ctx, r, tenant, c.canon, c.v, req.At); err != nil {
				return err
			}
		}
		lost, err = s.gone(ctx, r, tenant, q, after, next, req.At)
		return err
	}); err != nil {
		return out, err
	}
	if access.Check(ctx, s.cfg.Authorizer, action, anything, nil) == nil {
		out.Lost = append(out.Lost, lost...)
	}
	var told []disclosure
	for i, c := range page {
		if !kept[i] {
			if !slices.Contains(out.Lost, c.v.Name) && !slices.Contains(out.Lost, c.canon) {
				out.Lost = append(out.Lost, c.v.Name)
			}
			continue
		}
		if picked[i] == nil {
			continue
		}
		f := found{ref: reference{tenant: tenant, canon: c.canon}, head: c.v}
		p, err := s.show(ctx, op, &f, picked[i], req.WithDecryption)
		if err != nil {
			return ByPathAtResult{}, err
		}
		if p.Value.secret {
			told = append(told, disclosure{c.canon, picked[i].Version})
		}
		out.Parameters = append(out.Parameters, p)
	}
	slices.Sort(out.Lost)
	if next != "" {
		out.NextToken = paging.Token(mark, next)
	}
	return out, s.toldBelow(ctx, op, action, strings.TrimSuffix(path, "/"), told)
}

// gone returns the names after one, up to another, that were in use at an instant and were deleted since.
func (s *Service) gone(ctx context.Context, r store.Reader, tenant string, q *query, after, through string, t time.Time) (out []string, err error) {
	lo, hi := q.span()
	rng := store.Range{Start: goneKey(tenant, max(lo, after)), End: goneKey(tenant, hi), Limit: mostLooked}
	if through != "" {
		rng.End = goneKey(tenant, through+"\x00")
	}
	for it, err := range r.Scan(ctx, rng) {
		if err != nil {
			return nil, err
		}
		canon, err := lastName(it.Key, 3)
		if err != nil {
			return nil, err
		}
		d, err := s.openGone(it.Key, it.Value)
		if err != nil {
			return nil, err
		}
		if canon > after && below(q.Below, q.Flat, canon) && !d.created.After(t) && d.deleted.After(t) {
			out = append(out, canon)
		}
	}
	return out, nil
}

// Side is one side of a comparison: a path, at an instant or (zero) now.
type Side struct {
	Path string
	At   time.Time
}

// The kinds of a Difference.
const (
	DiffAdded   = "Added"   // only B has it
	DiffRemoved = "Removed" // only A has it
	DiffChanged = "Changed"
	DiffUnknown = "Unknown" // SecureStrings that were not decrypted and are not the same ciphertext
)

// Difference is a parameter that two sides do not have alike.
type Difference struct {
	Name          string // below the path, beginning with a slash
	Kind          string
	Before, After *Parameter // of A and B; nil where there is none. Secret values print as ***
}

// DiffRequest compares what is below two paths, or below one at two times.
type DiffRequest struct {
	A, B           Side
	WithDecryption bool // compare SecureStrings by their values; else by their ciphertexts
}

// Diff compares two sides, all levels below their paths, by type, data type and value. Two paths are not read at one instant, unless both have one. It needs what ByPathAt needs.
func (s *Service) Diff(ctx context.Context, req DiffRequest) ([]Difference, error) {
	now := s.now()
	read := func(side Side) ([]Parameter, error) {
		if side.At.IsZero() {
			side.At = now
		}
		path, err := checkPath("parameter.Diff", side.Path)
		if err != nil {
			return nil, err
		}
		var out []Parameter
		in := ByPathAtRequest{Path: side.Path, Recursive: true, At: side.At, WithDecryption: req.WithDecryption}
		for {
			got, err := s.ByPathAt(ctx, in)
			if err != nil {
				return nil, err
			}
			for _, p := range got.Parameters {
				p.Name = "/" + strings.TrimPrefix(canonical(p.Name), path)
				out = append(out, p)
			}
			if in.NextToken = got.NextToken; in.NextToken == "" {
				return out, nil
			}
		}
	}
	a, err := read(req.A)
	if err != nil {
		return nil, err
	}
	b, err := read(req.B)
	if err != nil {
		return nil, err
	}
	return Diff(a, b), nil
}

// Diff compares two lists of parameters by name, type, data type and value. Neither is changed.
func Diff(a, b []Parameter) []Difference {
	index := func(ps []Parameter) map[string]*Parameter {
		m := make(map[string]*Parameter, len(ps))
		for i := range ps {
			m[ps[i].Name] = &ps[i]
		}
		return m
	}
	left, right := index(a), index(b)
	out := []Difference{}
	for name, p := range left {
		q := right[name]
		switch {
		case q == nil:
			out = append(out, Difference{Name: name, Kind: DiffRemoved, Before: p})
		case p.Type != q.Type || p.DataType != q.DataType:
			out = append(out, Difference{Name: name, Kind: DiffChanged, Before: p, After: q})
		case p.Value.Equal(q.Value):
		case p.Type == SecureString && !(p.Value.secret && q.Value.secret):
			out = append(out, Difference{Name: name, Kind: DiffUnknown, Before: p, After: q})
		default:
			out = append(out, Difference{Name: name, Kind: DiffChanged, Before: p, After: q})
		}
	}
	for name, q := range right {
		if left[name] == nil {
			out = append(out, Difference{Name: name, Kind: DiffAdded, After: q})
		}
	}
	slices.SortFunc(out, func(x, y Difference) int { return strings.Compare(x.Name, y.Name) })
	return out
}
