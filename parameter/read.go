package parameter

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/paging"
)

// found is what a name led to.
type found struct {
	ref  reference
	head *version // nil: there is none
	v    *version // nil: the selector means nothing
	arn  string
}

// names fills in the ARN, and returns its end, the resource as the authorizer and the audit record have it: one string for both.
func (f *found) names(s *Service) string {
	if f.arn == "" {
		f.arn = s.place.arn(f.ref.tenant, f.ref.canon)
	}
	return f.arn[len(f.arn)-len("parameter")-len(f.ref.canon):]
}

// find reads what a reference means, within a View.
func (s *Service) find(ctx context.Context, r store.Reader, ref reference, head *version) (f found, err error) {
	f = found{ref: ref, head: head}
	if head == nil {
		return f, nil
	}
	f.v, err = s.pick(ctx, r, ref.tenant, ref.canon, &ref, head)
	return f, err
}

// pick returns the version that a selector means: nil if there is none (S17: never another).
func (s *Service) pick(ctx context.Context, r store.Reader, tenant, canon string, ref *reference, head *version) (*version, error) {
	if !ref.wantsAny {
		return head, nil
	}
	n, ok := ref.number()
	if !ok {
		if !validLabel(ref.chooser) {
			return nil, nil
		}
		var err error
		if n, err = s.labelled(ctx, r, tenant, canon, ref.chooser); err != nil || n == 0 {
			return nil, err
		}
	}
	return s.byNumber(ctx, r, tenant, canon, head, n)
}

func (s *Service) byNumber(ctx context.Context, r store.Reader, tenant, canon string, head *version, n uint64) (*version, error) {
	switch {
	case n == head.Version:
		return head, nil
	case n < head.Oldest || n > head.Version:
		return nil, nil
	}
	return s.past(ctx, r, tenant, canon, n)
}

// labelled returns the version that has a label; 0 if none has.
func (s *Service) labelled(ctx context.Context, r store.Reader, tenant, canon, label string) (uint64, error) {
	k := labelKey(tenant, canon, label)
	b, err := r.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	p, err := s.cfg.Codec.Open(k, b)
	if err != nil {
		return 0, err
	}
	n, was, ok := decodeLabel(p)
	if !ok {
		return 0, fault.New("parameter", fault.DataCorrupt, "the record of a label of parameter %s is damaged", canon)
	}
	if was != label {
		return 0, nil
	}
	return n, nil
}

// decodeLabel reads the record of a label: the version and its text.
func decodeLabel(p []byte) (n uint64, label string, ok bool) {
	n, size := binary.Uvarint(p)
	if size <= 0 {
		return 0, "", false
	}
	return n, string(p[size:]), true
}

func noVersion(op string, ref *reference) error {
	return fault.New(op, CodeVersionNotFound, "parameter %s has no version %s: read its history", clip(ref.canon), clip(ref.chooser)).About(ref.canon)
}

// GetParameter reads one parameter (S17, S20, S24). It needs ssm:GetParameter. Errors: ParameterNotFound, ParameterVersionNotFound, InvalidKeyId, ValidationException.
func (s *Service) GetParameter(ctx context.Context, req GetParameterRequest) (out GetParameterResult, err error) {
	const op, action = "parameter.GetParameter", "ssm:GetParameter"
	tenant := access.Tenant(ctx)
	if err := s.rate.allow(op, tenant, s.cfg.Now); err != nil {
		return out, err
	}
	if id, ok := outside(req.Name); ok {
		out.Parameter, err = s.elsewhere(ctx, op, action, id, req.WithDecryption)
		return out, err
	}
	ref, err := refer(op, tenant, req.Name, true)
	if err != nil {
		s.audited(ctx, action, resource(canonical(clip(req.Name))), err)
		return out, err
	}
	var f found
	if err = s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		h, err := s.head(ctx, r, ref.tenant, ref.canon)
		if err != nil {
			return err
		}
		f, err = s.find(ctx, r, ref, h)
		return err
	}); err == nil {
		err = s.permit(ctx, op, action, &f)
	}
	if err != nil {
		s.audited(ctx, action, resource(ref.canon), err)
		return out, err
	}
	var told [1]disclosure
	var n int
	if out.Parameter, err = s.show(ctx, op, &f, f.v, req.WithDecryption); err != nil {
		s.audited(ctx, action, resource(ref.canon), err)
		return GetParameterResult{}, err
	}
	if out.Parameter.Value.secret {
		told[0] = disclosure{ref.canon, f.v.Version}
		n = 1
	}
	if n == 1 {
		err = s.disclosed(ctx, op, action, told[:])
	} else {
		err = s.recordedAs(ctx, op, action, f.names(s))
	}
	if err != nil {
		return GetParameterResult{}, err
	}
	return out, nil
}

// permit asks for the right to read, then says what is missing: absent and forbidden look alike.
func (s *Service) permit(ctx context.Context, op, action string, f *found) error {
	var tags map[string]string
	if f.head != nil {
		tags = f.head.Tags
	}
	if f.ref.foreign {
		ok, err := s.sharedWith(ctx, action, f)
		if err != nil {
			return storeFault(op, err)
		}
		if !ok {
			return absent(op, f.ref.given)
		}
	} else if err := access.Check(ctx, s.cfg.Authorizer, action, f.names(s), tags); err != nil {
		return fault.Wrap(op, err)
	}
	switch {
	case f.head == nil:
		return absent(op, f.ref.canon)
	case f.v == nil:
		return noVersion(op, &f.ref)
	}
	return nil
}

// show makes the answer of a version, decrypted when asked for.
func (s *Service) show(ctx context.Context, op string, f *found, v *version, decrypt bool) (p Parameter, err error) {
	f.names(s)
	p = Parameter{Name: f.head.Name, Type: v.Type, Version: int64(v.Version), Selector: f.ref.selector(), LastModifiedDate: v.Modified, ARN: f.arn, DataType: v.DataType}
	if f.ref.foreign {
		p.Name = p.ARN
	}
	p.Value, err = s.reveal(ctx, op, f.ref.tenant, f.ref.canon, v, decrypt)
	return p, err
}

// reveal returns the value of a version: open, decrypted, or its ciphertext in base64.
func (s *Service) reveal(ctx context.Context, op, tenant, canon string, v *version, decrypt bool) (Value, error) {
	switch {
	case v.Type != SecureString:
		return Text(v.Value), nil
	case !decrypt:
		return Text(base64.StdEncoding.EncodeToString([]byte(v.Value))), nil
	}
	plain, err := s.cfg.Box.Open(ctx, []byte(v.Value), binding(tenant, canon, v.Version))
	if err != nil {
		return Value{}, fault.Wrap(op, err)
	}
	return Secret(plain), nil
}

// GetParameters reads 1 to 10 parameters: what is there in alphabetical order, the rest as InvalidParameters, what the caller may not read among it (S20). It needs ssm:GetParameters on each;
// who gets nothing and has no right to parameter/* is refused. Errors: InvalidKeyId, ValidationException.
func (s *Service) GetParameters(ctx context.Context, req GetParametersRequest) (GetParametersResult, error) {
	const op = "parameter.GetParameters"
	return s.getMany(ctx, op, "ssm:GetParameters", req)
}

func (s *Service) getMany(ctx context.Context, op, action string, req GetParametersRequest) (out GetParametersResult, err error) {
	defer func() {
		if err != nil {
			s.audited(ctx, action, anything, err)
		}
	}()
	tenant := access.Tenant(ctx)
	if err := s.rate.allow(op, tenant, s.cfg.Now); err != nil {
		return out, err
	}
	if n := len(req.Names); n == 0 || n > 10 {
		return out, fault.New(op, fault.Validation, "%d names are given; give 1 to 10", n)
	}
	out = GetParametersResult{Parameters: []Parameter{}, InvalidParameters: []string{}}
	var refs []reference
	var told []disclosure
	seen := map[string]bool{}
	for _, name := range req.Names {
		if seen[name] {
			continue
		}
		seen[name] = true
		if id, ok := outside(name); ok {
			p, err := s.elsewhere(ctx, op, action, id, req.WithDecryption)
			switch fault.CodeOf(err) {
			case "":
				out.Parameters = append(out.Parameters, p)
			case CodeNotFound, fault.AccessDenied:
				out.InvalidParameters = append(out.InvalidParameters, name)
			default:
				return GetParametersResult{}, err
			}
			continue
		}
		ref, err := refer(op, tenant, name, true)
		if err != nil {
			return GetParametersResult{}, err
		}
		refs = append(refs, ref)
	}
	finds := make([]found, len(refs))
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		keys := make([][]byte, len(refs))
		for i, ref := range refs {
			keys[i] = headKey(ref.tenant, ref.canon)
		}
		bs, err := r.GetMany(ctx, keys)
		if err != nil {
			return err
		}
		for i, b := range bs {
			var h *version
			if b != nil {
				v, err := s.openVersion(keys[i], b)
				if err != nil {
					return err
				}
				h = &v
			}
			if finds[i], err = s.find(ctx, r, refs[i], h); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return GetParametersResult{}, err
	}
	for i := range finds {
		f := &finds[i]
		err := s.permit(ctx, op, action, f)
		switch fault.CodeOf(err) {
		case "":
		case CodeNotFound, CodeVersionNotFound, fault.AccessDenied:
			out.InvalidParameters = append(out.InvalidParameters, f.ref.given)
			continue
		default:
			return GetParametersResult{}, err
		}
		p, err := s.show(ctx, op, f, f.v, req.WithDecryption)
		if err != nil {
			return GetParametersResult{}, err
		}
		if p.Value.secret {
			told = append(told, disclosure{f.ref.canon, f.v.Version})
		}
		out.Parameters = append(out.Parameters, p)
	}
	if len(out.Parameters) == 0 {
		if err := access.Check(ctx, s.cfg.Authorizer, action, anything, nil); err != nil {
			return GetParametersResult{}, fault.Wrap(op, err)
		}
	}
	slices.SortFunc(out.Parameters, func(a, b Parameter) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Selector, b.Selector))
	})
	return out, s.accounted(ctx, op, action, out.Parameters, told)
}

// accounted records what a call that read several parameters gives away.
func (s *Service) accounted(ctx context.Context, op, action string, ps []Parameter, told []disclosure) error {
	if s.cfg.Audit == nil {
		return nil
	}
	if err := s.disclosed(ctx, op, action, told); err != nil {
		return err
	}
	for i := range ps {
		if !ps[i].Value.secret {
			if err := s.recorded(ctx, op, action, canonical(ps[i].Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// outside reports whether a name is below /aws: what others supply (S32).
func outside(name string) (string, bool) {
	name = strings.Trim(name, " ")
	if rest, ok := strings.CutPrefix(name, "arn:"); ok {
		if parts := strings.SplitN(rest, ":", 5); len(parts) == 5 && strings.HasPrefix(parts[4], "parameter/aws/") {
			name = strings.TrimPrefix(parts[4], "parameter")
		}
	}
	return name, strings.HasPrefix(name, publicTree) || strings.HasPrefix(name, referenceTree)
}

// elsewhere reads a parameter that another service supplies.
func (s *Service) elsewhere(ctx context.Context, op, action, name string, decrypt bool) (p Parameter, err error) {
	defer func() {
		if err != nil {
			s.audited(ctx, action, resource(clip(name)), err)
		}
	}()
	if len(name) > mostWire+mostChooser {
		return p, fault.New(op, fault.Validation, "parameter name %q has more than %d characters", clip(name), mostWire)
	}
	if err := s.check(ctx, action, name, nil); err != nil {
		return p, fault.Wrap(op, err)
	}
	if id, ok := strings.CutPrefix(name, referenceTree); ok {
		if !decrypt {
			return p, fault.New(op, fault.Validation, "WithDecryption must be set to read a secret of Secrets Manager").About(clip(name))
		}
		if s.cfg.Secrets == nil || id == "" {
			return p, absent(op, name)
		}
		got, err := s.cfg.Secrets.Secret(ctx, id)
		if err != nil {
			return p, fault.Wrap(op, err)
		}
		p = Parameter{Name: name, Type: SecureString, Value: Secret(got.Value.Secret()), Version: got.Version, SourceResult: got.Source, ARN: got.ARN, DataType: DataText}
		return p, s.disclosed(ctx, op, action, []disclosure{{name, uint64(max(0, got.Version))}})
	}
	ref, err := refer(op, access.Tenant(ctx), name, true)
	if err != nil {
		return p, err
	}
	if s.cfg.Public == nil {
		return p, absent(op, name)
	}
	p, ok, err := s.cfg.Public.Lookup(ctx, ref.canon)
	switch {
	case err != nil:
		return Parameter{}, fault.Wrap(op, err)
	case !ok:
		return Parameter{}, absent(op, ref.canon)
	case ref.wantsAny && ref.chooser != strconv.FormatInt(p.Version, 10):
		return Parameter{}, noVersion(op, &ref)
	}
	return s.public(ref.canon, p, ref.selector()), s.recorded(ctx, op, action, ref.canon)
}

func (s *Service) public(canon string, p Parameter, selector string) Parameter {
	p.Name, p.Selector = canon, selector
	p.ARN = s.place.arn("", canon)
	p.Value = Text(p.Value.Reveal())
	if p.Type == "" {
		p.Type = String
	}
	if p.DataType == "" {
		p.DataType = DataText
	}
	return p
}

// GetParameterHistory reads the versions that are kept of a parameter, the oldest first (S23). It needs ssm:GetParameterHistory. Errors: ParameterNotFound, InvalidNextToken, InvalidKeyId,
// ValidationException.
func (s *Service) GetParameterHistory(ctx context.Context, req GetParameterHistoryRequest) (out GetParameterHistoryResult, err error) {
	const op, action = "parameter.GetParameterHistory", "ssm:GetParameterHistory"
	tenant := access.Tenant(ctx)
	ref, err := refer(op, tenant, req.Name, false)
	defer func() {
		if err != nil {
			s.audited(ctx, action, resource(canonical(clip(req.Name))), err)
		}
	}()
	if err != nil {
		return out, err
	}
	limit, err := results(op, req.MaxResults, 50, 50)
	if err != nil {
		return out, err
	}
	mark := paging.Mark(op, tenant, ref.canon)
	at, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	from := uint64(1)
	if at != "" {
		if from, err = strconv.ParseUint(at, 10, 63); err != nil {
			return out, paging.Bad(op)
		}
	}
	f := found{ref: ref}
	var page []version
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		page = page[:0]
		var err error
		if f.head, err = s.head(ctx, r, ref.tenant, ref.canon); err != nil || f.head == nil {
			return err
		}
		rng := pastsKey(ref.tenant, ref.canon).Range()
		rng.Start, rng.Limit = pastKey(ref.tenant, ref.canon, max(from, f.head.Oldest)), limit+1
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			v, err := s.openVersion(it.Key, it.Value)
			if err != nil {
				return err
			}
			page = append(page, v)
		}
		if len(page) <= limit && f.head.Version >= from {
			page = append(page, *f.head)
		}
		return nil
	}); err != nil {
		return out, err
	}
	f.v = f.head
	if err := s.permit(ctx, op, action, &f); err != nil {
		return out, err
	}
	out.Parameters = []ParameterHistory{}
	var told []disclosure
	for i := range page {
		v := &page[i]
		if i == limit {
			out.NextToken = paging.Token(mark, number(v.Version))
			break
		}
		value, err := s.reveal(ctx, op, ref.tenant, ref.canon, v, req.WithDecryption)
		if err != nil {
			return GetParameterHistoryResult{}, err
		}
		if value.secret {
			told = append(told, disclosure{ref.canon, v.Version})
		}
		labels := slices.Clone(v.Labels)
		if labels == nil {
			labels = []string{}
		}
		out.Parameters = append(out.Parameters, ParameterHistory{Name: f.head.Name, Type: v.Type, KeyID: v.shownKey(), LastModifiedDate: v.Modified, LastModifiedUser: v.User, Description: v.Desc,
			Value: value, AllowedPattern: v.Pattern, Version: int64(v.Version), Labels: labels, Tier: v.Tier, Policies: v.inline(), DataType: v.DataType})
	}
	if err = s.disclosed(ctx, op, action, told); err == nil && len(told) == 0 {
		err = s.recorded(ctx, op, action, ref.canon)
	}
	if err != nil {
		return GetParameterHistoryResult{}, err
	}
	return out, nil
}
