package parameter

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/store"
)

// PutRequest is a Put beyond AWS.
type PutRequest struct {
	PutParameterRequest
	// Expected is the version that must be the newest, 0 that there must be no parameter; nil asks for nothing. One above 0 stands for Overwrite too.
	Expected *int64
	// SetTags replaces all tags by Tags, on an overwrite too (T19's atomic alternative). It needs ssm:AddTagsToResource as well when the parameter exists.
	SetTags bool
}

// Condition is a parameter that must have a version for a Transaction to be made; 0: it must not exist.
type Condition struct {
	Name    string
	Version int64
}

// Deletion deletes a parameter in a Transaction. Expected is the version that must be the newest; nil asks for nothing. One that is not there is ParameterNotFound.
type Deletion struct {
	Name     string
	Expected *int64
}

// Transaction is a change of several parameters, 1 to 100, each named once, that is made whole or not at all.
type Transaction struct {
	Puts    []PutRequest
	Deletes []Deletion
	If      []Condition
}

// TransactionResult is what a Transaction did.
type TransactionResult struct {
	Puts []PutParameterResult // in the order of the request
}

const mostItems = 100

// item is one parameter of a transaction.
type item struct {
	canon    string
	name     string // of a put, as given
	put      *PutRequest
	rules    []rule
	pattern  *pattern
	tags     map[string]string
	remove   bool
	many     bool // asked for by DeleteParameters
	expected *int64
	seen     *version // when the authorizer was asked
	sealer   *seal.Sealer
	result   PutParameterResult
	created  time.Time // of the parameter that the put made or changed
}

// errMoved says that a parameter is not what it was when the change was prepared.
var errMoved = errors.New("parameter: changed meanwhile")

// PutParameter makes a parameter or, with Overwrite, a new version of it (S8 to S16). It needs ssm:PutParameter on it, with its tags, or those of the request for a new one.
//
// Errors: ParameterAlreadyExists, ParameterLimitExceeded, ParameterMaxVersionLimitExceeded, HierarchyLevelLimitExceededException, HierarchyTypeMismatchException,
// InvalidAllowedPatternException, ParameterPatternMismatchException, UnsupportedParameterType, InvalidKeyId, those of policies, ValidationException, AccessDeniedException for names below
// /aws, TooManyUpdates.
func (s *Service) PutParameter(ctx context.Context, req PutParameterRequest) (PutParameterResult, error) {
	const op = "parameter.PutParameter"
	if req.Overwrite && len(req.Tags) > 0 {
		err := fault.New(op, fault.Validation, "Tags cannot be given with Overwrite (T19): call AddTagsToResource, or Put of a Service, which does both at once")
		s.audited(ctx, putAction, resource(canonical(clip(req.Name))), err)
		return PutParameterResult{}, err
	}
	return s.put(ctx, op, PutRequest{PutParameterRequest: req, SetTags: len(req.Tags) > 0})
}

const putAction = "ssm:PutParameter"

// Put is PutParameter with an expected version (compare and set) and with tags on an overwrite. Errors as PutParameter, and CodeVersionMismatch.
func (s *Service) Put(ctx context.Context, req PutRequest) (PutParameterResult, error) {
	return s.put(ctx, "parameter.Put", req)
}

func (s *Service) put(ctx context.Context, op string, req PutRequest) (PutParameterResult, error) {
	out, err := s.transact(ctx, op, Transaction{Puts: []PutRequest{req}})
	if err != nil {
		return PutParameterResult{}, err
	}
	return out.Puts[0], nil
}

// Transact makes all changes or none. It needs ssm:PutParameter, ssm:DeleteParameter, and ssm:GetParameter for conditions, on each. Parameters of data types that are checked later cannot be
// part of it. Errors as Put and DeleteParameter; About the parameter that refused.
func (s *Service) Transact(ctx context.Context, t Transaction) (TransactionResult, error) {
	return s.transact(ctx, "parameter.Transact", t)
}

func (s *Service) transact(ctx context.Context, op string, t Transaction) (out TransactionResult, err error) {
	tenant := access.Tenant(ctx)
	items, err := s.items(op, tenant, t)
	if err != nil {
		what, action := anything, putAction
		switch {
		case len(t.Puts) == 1:
			what = resource(canonical(clip(t.Puts[0].Name)))
		case len(t.Puts) == 0 && len(t.Deletes) == 1:
			what, action = resource(canonical(clip(t.Deletes[0].Name))), "ssm:DeleteParameter"
		}
		s.audited(ctx, action, what, err)
		return out, err
	}
	if err := s.apply(ctx, op, tenant, items); err != nil {
		for _, it := range items {
			s.audited(ctx, it.action(), resource(it.canon), err)
		}
		return out, err
	}
	for _, it := range items {
		if it.put != nil {
			out.Puts = append(out.Puts, it.result)
		}
	}
	return out, nil
}

func (it *item) action() string {
	switch {
	case it.put != nil:
		return putAction
	case it.remove && it.many:
		return "ssm:DeleteParameters"
	case it.remove:
		return "ssm:DeleteParameter"
	}
	return "ssm:GetParameter"
}

// items checks what can be checked without the store.
func (s *Service) items(op, tenant string, t Transaction) ([]*item, error) {
	n := len(t.Puts) + len(t.Deletes) + len(t.If)
	if n == 0 || n > mostItems {
		return nil, fault.New(op, fault.Validation, "%d parameters are given; a transaction has 1 to %d", n, mostItems)
	}
	out := make([]*item, 0, n)
	for i := range t.Puts {
		it, err := s.putItem(op, tenant, &t.Puts[i])
		if err != nil {
			return nil, err
		}
		out = append(out, it)
	}
	for _, d := range t.Deletes {
		ref, err := refer(op, tenant, d.Name, false)
		if err != nil {
			return nil, err
		}
		if ref.foreign {
			return nil, absent(op, ref.given)
		}
		out = append(out, &item{canon: ref.canon, remove: true, expected: d.Expected})
	}
	for _, c := range t.If {
		ref, err := refer(op, tenant, c.Name, false)
		if err != nil {
			return nil, err
		}
		out = append(out, &item{canon: ref.canon, expected: &c.Version})
	}
	seen := map[string]bool{}
	for _, it := range out {
		if seen[it.canon] {
			return nil, fault.New(op, fault.Validation, "parameter %s is named twice", clip(it.canon)).About(it.canon)
		}
		seen[it.canon] = true
	}
	return out, nil
}

func (s *Service) putItem(op, tenant string, req *PutRequest) (it *item, err error) {
	it = &item{put: req, expected: req.Expected}
	if it.name, err = s.newName(op, tenant, req.Name); err != nil {
		return nil, err
	}
	it.canon = canonical(it.name)
	if err := checkType(op, req.Type); err != nil {
		return nil, err
	}
	if err := checkTier(op, req.Tier); err != nil {
		return nil, err
	}
	if _, err := checkValue(op, it.name, req.Type, req.Value); err != nil {
		return nil, err
	}
	if err := checkText(op, "Description", req.Description); err != nil {
		return nil, err
	}
	if it.pattern, err = newPattern(op, req.AllowedPattern); err != nil {
		return nil, err
	}
	if req.Type != "" && req.Type != SecureString && req.KeyID != "" {
		return nil, fault.New(op, fault.Validation, "KeyId is for parameters of type SecureString, not %s", req.Type).About(it.name)
	}
	if len(req.KeyID) > 256 {
		return nil, fault.New(op, CodeKeyID, "KeyId has more than 256 characters").About(it.name)
	}
	if req.DataType != "" {
		if len(req.DataType) > 128 {
			return nil, fault.New(op, fault.Validation, "DataType has more than 128 characters")
		}
		if _, err := s.dataType(op, req.DataType); err != nil {
			return nil, err
		}
	}
	if req.Policies != "" {
		if it.rules, err = parsePolicies(op, req.Policies); err != nil {
			return nil, err
		}
		for _, r := range it.rules {
			if r.kind == Expiration && !r.at.After(s.cfg.Now()) {
				return nil, fault.New(op, CodePolicyAttribute, "the Expiration of parameter %s is past, so that it would be deleted at once", clip(it.name)).About(it.name)
			}
		}
	}
	if it.tags, err = checkTags(op, req.Tags, s.limits.Tags); err != nil {
		return nil, err
	}
	if e := req.Expected; e != nil && *e < 0 {
		return nil, fault.New(op, fault.Validation, "Expected is %d; a version is 0 or more", *e).About(it.name)
	}
	return it, nil
}

// apply prepares, asks, seals and commits.
func (s *Service) apply(ctx context.Context, op, tenant string, items []*item) error {
	id, err := s.newID(op)
	if err != nil {
		return err
	}
	canons := make([]string, len(items))
	for i, it := range items {
		canons[i] = it.canon
	}
	for tries := 0; ; tries++ {
		var seen []*version
		if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) (err error) {
			seen, err = s.heads(ctx, r, tenant, canons)
			return err
		}); err != nil {
			return err
		}
		later, err := s.prepare(ctx, op, tenant, items, seen, id)
		if err != nil {
			return err
		}
		if later != nil {
			return s.postpone(ctx, op, tenant, items[0], later, id)
		}
		err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			return s.commit(ctx, tx, op, tenant, items, canons, id)
		})
		switch {
		case errors.Is(err, errMoved) && tries < 8:
			continue
		case errors.Is(err, errMoved):
			return fault.New(op, CodeTooManyUpdates, "the parameter changes all the time; try again")
		case errors.Is(err, store.ErrCommitUnknown):
			return s.settle(ctx, op, tenant, items, id, err)
		}
		return storeFault(op, err)
	}
}

// prepare asks the authorizer and makes data keys, all outside of the transaction. A version that must be checked by a validator first comes back.
func (s *Service) prepare(ctx context.Context, op, tenant string, items []*item, seen []*version, id string) (later *version, err error) {
	for i, it := range items {
		it.seen, it.sealer = seen[i], nil
		var tags map[string]string
		switch {
		case it.seen != nil:
			tags = it.seen.Tags
		case it.put != nil:
			tags = it.tags
		}
		if err := s.check(ctx, it.action(), it.canon, tags); err != nil {
			return nil, fault.Wrap(op, err)
		}
		if it.put != nil && it.put.SetTags && it.seen != nil && it.overwrites() {
			if err := s.check(ctx, "ssm:AddTagsToResource", it.canon, tags); err != nil {
				return nil, fault.Wrap(op, err)
			}
		}
	}
	now := s.now()
	for _, it := range items {
		if it.put == nil {
			continue
		}
		next, value, err := s.next(ctx, op, it, it.seen, nil, now, id)
		if err != nil {
			return nil, err
		}
		dt, err := s.dataType(op, next.DataType)
		if err != nil {
			return nil, err
		}
		switch {
		case dt.Async && (len(items) > 1 || next.Type != String || it.put.Expected != nil):
			return nil, fault.New(op, fault.Validation, "parameter %s has the data type %s, which is checked later: only a single String can be written so, without an expected version", clip(it.name), next.DataType).About(it.name)
		case dt.Async:
			next.Value = value.Reveal()
			return &next, nil
		case dt.Check != nil:
			refused, err := s.validate(ctx, op, it.name, next.DataType, dt, value)
			if err != nil {
				return nil, err
			}
			if refused != nil {
				return nil, fault.New(op, fault.Validation, "the value of parameter %s is none of the data type %s", clip(it.name), next.DataType).About(it.name)
			}
		}
		if next.Type != SecureString {
			continue
		}
		keyID := next.KeyID
		if it.sealer, err = s.cfg.Box.Prepare(ctx, keyID, binding(tenant, it.canon, next.Version)); err != nil {
			return nil, fault.Wrap(op, err)
		}
	}
	return nil, nil
}

func (it *item) overwrites() bool {
	return it.put.Overwrite || it.put.Expected != nil && *it.put.Expected > 0
}

// expect checks the expected version of an item.
func (it *item) expect(op string, old *version) error {
	if it.expected == nil {
		return nil
	}
	have := int64(0)
	if old != nil {
		have = int64(old.Version)
	}
	if have != *it.expected {
		return fault.New(op, CodeVersionMismatch, "parameter %s has the version %d and %d was expected: read it again, then decide", clip(it.canon), have, *it.expected).About(it.canon)
	}
	return nil
}

// next makes the version that a put makes after old (nil: there is none), without a sealed value. total is how many parameters there are; nil: the question is not yet asked.
func (s *Service) next(_ context.Context, op string, it *item, old *version, total *tally, now time.Time, id string) (v version, value Value, err error) {
	req := it.put
	if err := it.expect(op, old); err != nil {
		return v, value, err
	}
	if old != nil && !it.overwrites() {
		return v, value, fault.New(op, CodeAlreadyExists, "parameter %s exists: set Overwrite to make a new version of it", clip(it.name)).About(it.name)
	}
	v = version{Name: it.name, Type: req.Type, DataType: req.DataType, Version: 1, Modified: now, KeyID: req.KeyID, Desc: req.Description, Pattern: req.AllowedPattern,
		Write: id, Created: now, Oldest: 1, Tags: it.tags}
	pat := it.pattern
	if old != nil {
		if v.Type == "" {
			v.Type = old.Type
		}
		if v.Type != old.Type {
			return v, value, fault.New(op, CodeTypeMismatch, "parameter %s is a %s and cannot become a %s: delete it and make it again", clip(it.name), old.Type, v.Type).About(it.name)
		}
		v.Name, v.Version, v.Created, v.Oldest, v.Shared = old.Name, old.Version+1, old.Created, old.Oldest, old.Shared
		if !now.After(old.Modified) {
			v.Modified = old.Modified.Add(1)
		}
		if v.DataType == "" {
			v.DataType = old.DataType
		}
		if v.Desc == "" {
			v.Desc = old.Desc
		}
		if !req.SetTags {
			v.Tags = old.Tags
		}
		v.Policies = old.Policies
		for _, id := range old.Done {
			if req.Policies == "" && !strings.HasSuffix(id, "N") {
				v.Done = append(v.Done, id)
			}
		}
		if v.Pattern == "" && old.Pattern != "" {
			v.Pattern = old.Pattern
			if pat, err = newPattern(op, old.Pattern); err != nil {
				return v, value, err
			}
		}
	}
	switch {
	case v.Type == "":
		return v, value, fault.New(op, fault.Validation, "a new parameter needs a Type: String, StringList or SecureString").About(it.name)
	case v.Type != SecureString && v.KeyID != "":
		return v, value, fault.New(op, fault.Validation, "KeyId is for parameters of type SecureString, not %s", v.Type).About(it.name)
	case v.KeyID == defaultKey:
		v.KeyID = ""
	}
	if v.DataType == "" {
		v.DataType = DataText
	}
	if value, err = checkValue(op, it.name, v.Type, req.Value); err != nil {
		return v, value, err
	}
	if err := pat.allows(op, it.name, value); err != nil {
		return v, value, err
	}
	if req.Policies != "" {
		v.Policies = ""
		if len(it.rules) > 0 {
			v.Policies = req.Policies
		}
	}
	return v, value, s.choose(op, it, old, &v, value.Len(), total)
}

// choose settles the tier (S14).
func (s *Service) choose(op string, it *item, old, v *version, size int, total *tally) error {
	want := it.put.Tier
	if want == "" {
		want = s.cfg.DefaultTier
		if old != nil {
			want = old.Tier
		}
	}
	full := func(n uint64, most int) bool { return n >= uint64(most) }
	switch {
	case old != nil && old.Tier == Advanced && it.put.Tier == Standard:
		return fault.New(op, fault.Validation, "parameter %s is of the tier Advanced, which it cannot leave: delete it and make it again", clip(it.name)).About(it.name)
	case old != nil && old.Tier == Advanced:
		v.Tier = Advanced
	case want == IntelligentTiering:
		v.Tier = Standard
		if size > s.limits.StandardValue || v.Policies != "" || old == nil && total != nil && full(total.standard, s.limits.Standard) {
			v.Tier = Advanced
		}
	default:
		v.Tier = want
	}
	most := s.limits.StandardValue
	if v.Tier == Advanced {
		most = s.limits.AdvancedValue
	}
	switch {
	case size > most && v.Tier == Standard:
		return fault.New(op, fault.Validation, "the value of parameter %s has %d bytes; the tier Standard takes %d, Advanced %d", clip(it.name), size, most, s.limits.AdvancedValue).About(it.name)
	case size > most:
		return fault.New(op, fault.Validation, "the value of parameter %s has %d bytes; the tier Advanced takes %d", clip(it.name), size, most).About(it.name)
	case v.Policies != "" && v.Tier == Standard:
		return fault.New(op, fault.Validation, "parameter %s has policies, which need the tier Advanced", clip(it.name)).About(it.name)
	}
	if total == nil || old != nil && old.Tier == v.Tier {
		return nil
	}
	if v.Tier == Standard && full(total.standard, s.limits.Standard) || v.Tier == Advanced && full(total.advanced, s.limits.Advanced) {
		return fault.New(op, CodeLimitExceeded, "there are as many parameters of the tier %s as the quota allows: delete some, or raise Limits", v.Tier).About(it.name)
	}
	return nil
}
