package parameter

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/record"
)

// DeleteParameter deletes a parameter with its versions, labels and policies. The name may be used again at once, beginning at version 1 (S13). It needs ssm:DeleteParameter. Errors:
// ParameterNotFound, ValidationException.
func (s *Service) DeleteParameter(ctx context.Context, req DeleteParameterRequest) (DeleteParameterResult, error) {
	_, err := s.transact(ctx, "parameter.DeleteParameter", Transaction{Deletes: []Deletion{{Name: req.Name}}})
	return DeleteParameterResult{}, err
}

// DeleteParameters deletes 1 to 10 parameters, each by itself: what is not there, or what the caller may not delete, is listed as invalid (S20). It needs ssm:DeleteParameters on each; who
// deletes nothing and has no right to parameter/* is refused. Errors: ValidationException.
func (s *Service) DeleteParameters(ctx context.Context, req DeleteParametersRequest) (out DeleteParametersResult, err error) {
	const op, action = "parameter.DeleteParameters", "ssm:DeleteParameters"
	tenant := access.Tenant(ctx)
	refs := make([]reference, 0, len(req.Names))
	if n := len(req.Names); n == 0 || n > 10 {
		err = fault.New(op, fault.Validation, "%d names are given; give 1 to 10", n)
	}
	for _, n := range req.Names {
		if err != nil {
			break
		}
		var ref reference
		ref, err = refer(op, tenant, n, false)
		refs = append(refs, ref)
	}
	if err != nil {
		s.audited(ctx, action, anything, err)
		return out, err
	}
	out = DeleteParametersResult{DeletedParameters: []string{}, InvalidParameters: []string{}}
	seen := map[string]bool{}
	for _, ref := range refs {
		if seen[ref.canon] {
			continue
		}
		seen[ref.canon] = true
		it := &item{canon: ref.canon, remove: true, many: true}
		err := absent(op, ref.given)
		if !ref.foreign {
			err = s.apply(ctx, op, tenant, []*item{it})
		}
		if err != nil {
			s.audited(ctx, action, resource(ref.canon), err)
		}
		switch fault.CodeOf(err) {
		case "":
			out.DeletedParameters = append(out.DeletedParameters, ref.given)
		case CodeNotFound, fault.AccessDenied:
			out.InvalidParameters = append(out.InvalidParameters, ref.given)
		default:
			return out, err
		}
	}
	if len(out.DeletedParameters) == 0 {
		if err := access.Check(ctx, s.cfg.Authorizer, action, anything, nil); err != nil {
			return DeleteParametersResult{}, fault.Wrap(op, err)
		}
	}
	return out, nil
}

// deletion is what is known of a name that was deleted: from when to when it was in use, and the id of the change.
type deletion struct {
	created, deleted time.Time
	id               string
}

func encodeGone(created, deleted time.Time, id string) []byte {
	return append(binary.AppendVarint(binary.AppendVarint(nil, created.UnixNano()), deleted.UnixNano()), id...)
}

func (s *Service) openGone(k, framed []byte) (*deletion, error) {
	p, err := s.cfg.Codec.Open(k, framed)
	if err != nil {
		return nil, err
	}
	r := reading{rest: string(p)}
	d := &deletion{created: time.Unix(0, r.int()).UTC(), deleted: time.Unix(0, r.int()).UTC(), id: r.rest}
	if r.bad {
		return nil, &record.CorruptError{Key: slices.Clone(k), Reason: "it is no deletion of a parameter"}
	}
	return d, nil
}

// lastDeletion reads the deletion of a name; nil if it was never deleted.
func (s *Service) lastDeletion(ctx context.Context, r store.Reader, tenant, canon string) (*deletion, error) {
	k := goneKey(tenant, canon)
	b, err := r.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.openGone(k, b)
}
