package parameter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/paging"
)

const (
	mostSharePolicy   = 20 << 10
	mostSharePolicies = 10
	mostPolicyID      = 12
	everybody         = "*"
)

// PolicyDecider evaluates the resource policies by which parameters are shared (S33). Implementations are safe for concurrent use and pure.
type PolicyDecider interface {
	// Check returns an error for a policy that it cannot evaluate, and the tenants that it speaks of, "*" for all.
	Check(policy string) (tenants []string, err error)
	// Allows reports whether a policy that Check took lets the principal do the action on the resource, an ARN. A Deny of the policy beats its Allow. A parameter with several policies is shared when
	// one of them allows it and none denies it; whether one denies is asked by giving it with one more statement, which allows everything.
	Allows(policy string, p access.Principal, action, resource string) bool
}

// sharePolicy is a resource policy as it is kept.
type sharePolicy struct {
	ID      string   `json:"id"`
	Hash    string   `json:"hash"`
	Text    string   `json:"text"`
	Tenants []string `json:"tenants"`
}

func (s *Service) decider() PolicyDecider {
	if s.cfg.Sharing != nil {
		return s.cfg.Sharing
	}
	return plainPolicies{}
}

// policies reads the policies of a parameter, in order of their ids.
func (s *Service) policies(ctx context.Context, r store.Reader, tenant, canon string) ([]sharePolicy, error) {
	var out []sharePolicy
	for it, err := range r.Scan(ctx, policiesKey(tenant, canon).Range()) {
		if err != nil {
			return nil, err
		}
		b, err := s.cfg.Codec.Open(it.Key, it.Value)
		if err != nil {
			return nil, err
		}
		var p sharePolicy
		if err := json.Unmarshal(b, &p); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// reshare writes which tenants a parameter is shared with.
func (s *Service) reshare(tx store.Tx, tenant, canon string, before, after []sharePolicy) error {
	consumers := func(ps []sharePolicy) []string {
		var out []string
		for _, p := range ps {
			out = append(out, p.Tenants...)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	was, now := consumers(before), consumers(after)
	for _, t := range was {
		if !slices.Contains(now, t) {
			if err := tx.Delete(sharedKey(t).Str(tenant).Str(canon)); err != nil {
				return err
			}
		}
	}
	for _, t := range now {
		if !slices.Contains(was, t) {
			if err := s.mark(tx, sharedKey(t).Str(tenant).Str(canon), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// unshareAll removes every policy of a parameter that goes.
func (s *Service) unshareAll(ctx context.Context, tx store.Tx, tenant, canon string) error {
	ps, err := s.policies(ctx, tx, tenant, canon)
	if err != nil {
		return err
	}
	for _, p := range ps {
		if err := tx.Delete(policiesKey(tenant, canon).Str(p.ID)); err != nil {
			return err
		}
	}
	return s.reshare(tx, tenant, canon, ps, nil)
}

// sharedWith decides whether the caller may read another tenant's parameter: both its own authorizer and the owner's policy must allow it.
func (s *Service) sharedWith(ctx context.Context, action string, f *found) (bool, error) {
	arn := s.place.arn(f.ref.tenant, f.ref.canon)
	if access.Check(ctx, s.cfg.Authorizer, action, arn, nil) != nil || f.head == nil || !f.head.Shared || f.head.Tier != Advanced {
		return false, nil
	}
	var ps []sharePolicy
	if err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		ps, err = s.policies(ctx, r, f.ref.tenant, f.ref.canon)
		return err
	}); err != nil {
		return false, err
	}
	p, allowed := access.From(ctx), false
	for _, sp := range ps {
		generous, ok := withAllow(sp.Text)
		if !ok || !s.decider().Allows(generous, p, action, arn) {
			return false, nil // a Deny in one policy beats an Allow in another
		}
		allowed = allowed || s.decider().Allows(sp.Text, p, action, arn)
	}
	return allowed, nil
}

// withAllow returns a policy with one more statement, which allows everything: what it still does not allow it denies.
func withAllow(policy string) (string, bool) {
	const everything = `{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`
	var doc map[string]json.RawMessage
	if json.Unmarshal([]byte(policy), &doc) != nil {
		return "", false
	}
	at, n := "", 0
	for k := range doc {
		if strings.EqualFold(k, "Statement") {
			at, n = k, n+1
		}
	}
	list := strings.TrimSpace(string(doc[at]))
	if n != 1 || list == "" {
		return "", false
	}
	if rest, ok := strings.CutPrefix(list, "["); ok {
		list = strings.TrimSpace(strings.TrimSuffix(rest, "]"))
	}
	if list != "" {
		list += ","
	}
	doc[at] = json.RawMessage("[" + list + everything + "]")
	b, err := json.Marshal(doc)
	return string(b), err == nil
}

// shareable returns the parameter of the caller's own that a policy request speaks of.
func (s *Service) shareable(ctx context.Context, op, action, arn string) (reference, error) {
	ref, err := refer(op, access.Tenant(ctx), arn, false)
	if err != nil || !ref.arn {
		err = fault.New(op, CodePolicyInvalid, "ResourceArn %q is no ARN of a parameter", clip(arn))
	} else if ref.foreign {
		err = fault.New(op, CodeResourceNotFound, "the parameter does not exist")
	}
	if err != nil {
		s.audited(ctx, action, clip(arn), err)
	}
	return ref, err
}

func asShared(op string, err error) error {
	if fault.CodeOf(err) == CodeNotFound {
		return fault.New(op, CodeResourceNotFound, "the parameter does not exist")
	}
	return err
}

func hashPolicy(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// PutResourcePolicy shares a parameter of tier Advanced with other tenants, who read it by its ARN (S33). A policy is replaced by giving its id and hash. It needs ssm:PutResourcePolicy. Errors:
// ResourceNotFoundException, ResourcePolicyInvalidParameterException, ResourcePolicyLimitExceededException, ResourcePolicyConflictException, ResourcePolicyNotFoundException,
// MalformedResourcePolicyDocumentException.
func (s *Service) PutResourcePolicy(ctx context.Context, req PutResourcePolicyRequest) (out PutResourcePolicyResult, err error) {
	const op, action = "parameter.PutResourcePolicy", "ssm:PutResourcePolicy"
	ref, err := s.shareable(ctx, op, action, req.ResourceARN)
	if err != nil {
		return out, err
	}
	id := req.PolicyID
	var tenants []string
	switch {
	case len(req.Policy) > mostSharePolicy:
		err = fault.New(op, CodePolicyLimit, "the policy has %d bytes, and may have %d", len(req.Policy), mostSharePolicy)
	case (req.PolicyID == "") != (req.PolicyHash == ""):
		err = fault.New(op, CodePolicyInvalid, "PolicyId and PolicyHash are given together, to replace a policy, or not at all")
	case id == "":
		if id, err = s.newID(op); err == nil {
			id = id[:mostPolicyID]
		}
	case len(id) > mostPolicyID || !validChars(id):
		err = fault.New(op, CodePolicyNotFound, "there is no policy of that id")
	}
	if err == nil {
		if tenants, err = s.decider().Check(req.Policy); err != nil {
			err = fault.New(op, CodeMalformedPolicy, "the policy cannot be used: %w", err)
		} else if _, ok := withAllow(req.Policy); !ok {
			err = fault.New(op, CodeMalformedPolicy, "the policy cannot be used: it must have one member Statement")
		}
	}
	if err != nil {
		s.audited(ctx, action, resource(ref.canon), err)
		return out, err
	}
	next := sharePolicy{ID: id, Hash: hashPolicy(req.Policy), Text: req.Policy, Tenants: tenants}
	err = s.amend(ctx, op, action, ref.canon, map[string]string{"policy": id}, func(ctx context.Context, tx store.Tx, tenant string, h *version) ([]Event, error) {
		if h.Tier != Advanced {
			return nil, fault.New(op, CodePolicyInvalid, "parameter %s is of the tier Standard; only Advanced ones can be shared", h.Name).About(h.Name)
		}
		ps, err := s.policies(ctx, tx, tenant, ref.canon)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(ps, func(p sharePolicy) bool { return p.ID == id })
		after := slices.Clone(ps)
		switch {
		case i >= 0 && ps[i].Hash != req.PolicyHash && ps[i].Hash != next.Hash:
			return nil, fault.New(op, CodePolicyConflict, "the policy is not the one of that hash any more: read it again")
		case i >= 0:
			after[i] = next
		case req.PolicyID != "":
			return nil, fault.New(op, CodePolicyNotFound, "there is no policy of that id")
		case len(ps) >= mostSharePolicies:
			return nil, fault.New(op, CodePolicyLimit, "the parameter has %d policies and may have no more", len(ps))
		default:
			after = append(after, next)
		}
		b, err := json.Marshal(next)
		if err != nil {
			return nil, err
		}
		if err := s.mark(tx, policiesKey(tenant, ref.canon).Str(id), b); err != nil {
			return nil, err
		}
		h.Shared = true
		return nil, s.reshare(tx, tenant, ref.canon, ps, after)
	})
	if err != nil {
		return out, asShared(op, err)
	}
	return PutResourcePolicyResult{PolicyID: id, PolicyHash: next.Hash}, nil
}

// GetResourcePolicies lists the policies of a parameter. It needs ssm:GetResourcePolicies. Errors: ResourceNotFoundException, ResourcePolicyInvalidParameterException.
func (s *Service) GetResourcePolicies(ctx context.Context, req GetResourcePoliciesRequest) (out GetResourcePoliciesResult, err error) {
	const op, action = "parameter.GetResourcePolicies", "ssm:GetResourcePolicies"
	ref, err := s.shareable(ctx, op, action, req.ResourceARN)
	if err != nil {
		return out, err
	}
	defer func() { s.audited(ctx, action, resource(ref.canon), err) }()
	limit, err := results(op, req.MaxResults, 50, 50)
	if err != nil {
		return out, err
	}
	mark := paging.Mark(op, ref.tenant, ref.canon)
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	f := found{ref: ref}
	var ps []sharePolicy
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) (err error) {
		if f.head, err = s.head(ctx, r, ref.tenant, ref.canon); err != nil {
			return err
		}
		ps, err = s.policies(ctx, r, ref.tenant, ref.canon)
		return err
	}); err != nil {
		return out, err
	}
	f.v = f.head
	if err := s.permit(ctx, op, action, &f); err != nil {
		return out, asShared(op, err)
	}
	out.Policies = []ResourcePolicy{}
	for _, p := range ps {
		if p.ID <= after {
			continue
		}
		if len(out.Policies) == limit {
			out.NextToken = paging.Token(mark, out.Policies[limit-1].PolicyID)
			break
		}
		out.Policies = append(out.Policies, ResourcePolicy{PolicyID: p.ID, PolicyHash: p.Hash, Policy: p.Text})
	}
	return out, nil
}

// DeleteResourcePolicy removes a policy. It needs ssm:DeleteResourcePolicy. Errors: ResourceNotFoundException, ResourcePolicyNotFoundException, ResourcePolicyConflictException.
func (s *Service) DeleteResourcePolicy(ctx context.Context, req DeleteResourcePolicyRequest) (out DeleteResourcePolicyResult, err error) {
	const op, action = "parameter.DeleteResourcePolicy", "ssm:DeleteResourcePolicy"
	ref, err := s.shareable(ctx, op, action, req.ResourceARN)
	if err != nil {
		return out, err
	}
	err = s.amend(ctx, op, action, ref.canon, map[string]string{"policy": clip(req.PolicyID)}, func(ctx context.Context, tx store.Tx, tenant string, h *version) ([]Event, error) {
		ps, err := s.policies(ctx, tx, tenant, ref.canon)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(ps, func(p sharePolicy) bool { return p.ID == req.PolicyID })
		if i < 0 {
			return nil, fault.New(op, CodePolicyNotFound, "there is no policy of that id")
		}
		if ps[i].Hash != req.PolicyHash {
			return nil, fault.New(op, CodePolicyConflict, "the policy is not the one of that hash any more: read it again")
		}
		if err := tx.Delete(policiesKey(tenant, ref.canon).Str(ps[i].ID)); err != nil {
			return nil, err
		}
		after := slices.Delete(slices.Clone(ps), i, i+1)
		h.Shared = len(after) > 0
		return nil, s.reshare(tx, tenant, ref.canon, ps, after)
	})
	return out, asShared(op, err)
}

// describeShared lists what other tenants share with the caller's, by owner and name (S33). Names are ARNs.
func (s *Service) describeShared(ctx context.Context, op, action string, q *query, token string, limit int) (out DescribeParametersResult, err error) {
	tenant := access.Tenant(ctx)
	mark := paging.Mark(op+" shared", tenant, q)
	at, err := paging.Open(op, mark, token)
	if err != nil {
		return out, err
	}
	type entry struct{ owner, canon string }
	var all []entry
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		all = nil
		for _, c := range []string{tenant, everybody} {
			for it, err := range r.Scan(ctx, sharedKey(c).Range()) {
				if err != nil {
					return err
				}
				k := key.Read(it.Key)
				k.Str()
				k.Str()
				k.Str()
				e := entry{k.Str(), k.Str()}
				if err := k.Err(); err != nil {
					return err
				}
				if e.owner != tenant {
					all = append(all, e)
				}
			}
		}
		return nil
	}); err != nil {
		return out, err
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.owner+"\x00"+a.canon, b.owner+"\x00"+b.canon) })
	all = slices.Compact(all)
	out.Parameters = []ParameterMetadata{}
	last := ""
	for _, e := range all {
		place := e.owner + "\x00" + e.canon
		if place <= at {
			continue
		}
		f := found{ref: reference{tenant: e.owner, canon: e.canon, foreign: true}}
		if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) (err error) {
			f.head, err = s.head(ctx, r, e.owner, e.canon)
			return err
		}); err != nil {
			return out, err
		}
		ok, err := s.sharedWith(ctx, action, &f)
		if err != nil {
			return out, storeFault(op, err)
		}
		if !ok || slices.ContainsFunc(q.Conds, func(c cond) bool { return !c.holds(e.canon, f.head) }) {
			continue
		}
		if len(out.Parameters) == limit {
			out.NextToken = paging.Token(mark, last)
			break
		}
		m := s.metadata(e.owner, &candidate{canon: e.canon, v: f.head})
		m.Name = m.ARN
		out.Parameters, last = append(out.Parameters, m), place
	}
	return out, nil
}

// plainPolicies evaluates what RAM's managed permissions of parameters have: Effect, Principal, Action and Resource, without conditions.
type plainPolicies struct{}

type plainStatement struct {
	Sid       string
	Effect    string
	Principal any
	Action    texts
	Resource  texts
}

// texts is a string or a list of strings.
type texts []string

// UnmarshalJSON reads either form.
func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

func parsePlain(text string) ([]plainStatement, error) {
	var doc struct {
		Version   string
		ID        string `json:"Id"`
		Statement []plainStatement
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil || d.More() {
		return nil, fault.New("parameter", fault.Validation, "it must be JSON with Version and Statement; statements have Effect, Principal, Action and Resource, and nothing else without Config.Sharing")
	}
	if doc.Version != "2012-10-17" && doc.Version != "2008-10-17" && doc.Version != "" || len(doc.Statement) == 0 {
		return nil, fault.New("parameter", fault.Validation, "it needs the Version 2012-10-17 and a Statement")
	}
	for i, st := range doc.Statement {
		if st.Effect != "Allow" && st.Effect != "Deny" || len(st.Action) == 0 || len(st.Resource) == 0 || len(tenantsOf(st.Principal)) == 0 {
			return nil, fault.New("parameter", fault.Validation, "statement %d needs Effect Allow or Deny, Principal, Action and Resource", i+1)
		}
	}
	return doc.Statement, nil
}

// tenantsOf returns the tenants of a Principal: "*", {"AWS": "111122223333"}, or ARNs of an account.
func tenantsOf(p any) []string {
	var out []string
	add := func(v any) {
		s, _ := v.(string)
		if rest, ok := strings.CutPrefix(s, "arn:"); ok {
			parts := strings.SplitN(rest, ":", 5)
			if len(parts) != 5 || parts[1] != "iam" || parts[4] != "root" {
				return
			}
			s = parts[3]
		}
		if s != "" {
			out = append(out, s)
		}
	}
	switch p := p.(type) {
	case string:
		if p == everybody {
			return []string{everybody}
		}
	case map[string]any:
		if len(p) != 1 {
			return nil
		}
		switch v := p["AWS"].(type) {
		case string:
			add(v)
		case []any:
			for _, x := range v {
				add(x)
			}
		}
	}
	return out
}

// Check implements PolicyDecider.
func (plainPolicies) Check(text string) ([]string, error) {
	sts, err := parsePlain(text)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, st := range sts {
		if st.Effect == "Allow" {
			out = append(out, tenantsOf(st.Principal)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Allows implements PolicyDecider.
func (plainPolicies) Allows(text string, p access.Principal, action, arn string) bool {
	sts, err := parsePlain(text)
	if err != nil {
		return false
	}
	allowed := false
	for _, st := range sts {
		who := tenantsOf(st.Principal)
		if !slices.Contains(who, everybody) && !slices.Contains(who, p.Tenant) || !slices.ContainsFunc(st.Action, func(a string) bool { return wild(strings.ToLower(a), strings.ToLower(action)) }) ||
			!slices.ContainsFunc(st.Resource, func(r string) bool { return wild(r, arn) }) {
			continue
		}
		if st.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

// wild matches s against a pattern in which * stands for anything.
func wild(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}
