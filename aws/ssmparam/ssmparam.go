package ssmparam

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// API is what is used of *ssm.Client of AWS's SDK.
type API interface {
	PutParameter(ctx context.Context, in *ssm.PutParameterInput, o ...func(*ssm.Options)) (*ssm.PutParameterOutput, error)
	GetParameter(ctx context.Context, in *ssm.GetParameterInput, o ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
	GetParameters(ctx context.Context, in *ssm.GetParametersInput, o ...func(*ssm.Options)) (*ssm.GetParametersOutput, error)
	GetParametersByPath(ctx context.Context, in *ssm.GetParametersByPathInput, o ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error)
	GetParameterHistory(ctx context.Context, in *ssm.GetParameterHistoryInput, o ...func(*ssm.Options)) (*ssm.GetParameterHistoryOutput, error)
	DescribeParameters(ctx context.Context, in *ssm.DescribeParametersInput, o ...func(*ssm.Options)) (*ssm.DescribeParametersOutput, error)
	LabelParameterVersion(ctx context.Context, in *ssm.LabelParameterVersionInput, o ...func(*ssm.Options)) (*ssm.LabelParameterVersionOutput, error)
	UnlabelParameterVersion(ctx context.Context, in *ssm.UnlabelParameterVersionInput, o ...func(*ssm.Options)) (*ssm.UnlabelParameterVersionOutput, error)
	DeleteParameter(ctx context.Context, in *ssm.DeleteParameterInput, o ...func(*ssm.Options)) (*ssm.DeleteParameterOutput, error)
	DeleteParameters(ctx context.Context, in *ssm.DeleteParametersInput, o ...func(*ssm.Options)) (*ssm.DeleteParametersOutput, error)
	AddTagsToResource(ctx context.Context, in *ssm.AddTagsToResourceInput, o ...func(*ssm.Options)) (*ssm.AddTagsToResourceOutput, error)
	RemoveTagsFromResource(ctx context.Context, in *ssm.RemoveTagsFromResourceInput, o ...func(*ssm.Options)) (*ssm.RemoveTagsFromResourceOutput, error)
	ListTagsForResource(ctx context.Context, in *ssm.ListTagsForResourceInput, o ...func(*ssm.Options)) (*ssm.ListTagsForResourceOutput, error)
	PutResourcePolicy(ctx context.Context, in *ssm.PutResourcePolicyInput, o ...func(*ssm.Options)) (*ssm.PutResourcePolicyOutput, error)
	GetResourcePolicies(ctx context.Context, in *ssm.GetResourcePoliciesInput, o ...func(*ssm.Options)) (*ssm.GetResourcePoliciesOutput, error)
	DeleteResourcePolicy(ctx context.Context, in *ssm.DeleteResourcePolicyInput, o ...func(*ssm.Options)) (*ssm.DeleteResourcePolicyOutput, error)
}

// Options are the choices of New; nil is the zero value.
type Options struct {
	// Timeout is the longest that one call may take with all its tries; 0 is 30 seconds, negative leaves it to ctx.
	Timeout time.Duration
	// Cache keeps what was read; nil keeps nothing.
	Cache *Cache
	Now   func() time.Time // of the cache; nil is time.Now
}

// Store is Parameter Store at AWS. Its methods are safe for concurrent use. Errors have AWS's codes; beside them fault.ServiceUnavailable (AWS could not be asked), fault.OutcomeUnknown (a write
// without an answer), fault.RequestCanceled (ctx ended) and fault.Throttling (after the SDK's tries).
type Store struct {
	api     API
	timeout time.Duration
	cache   *cache // nil keeps nothing
}

var (
	_ parameter.Store  = (*Store)(nil)
	_ parameter.Sharer = (*Store)(nil)
	_ API              = (*ssm.Client)(nil)
)

// New returns a store over a client. It makes no call.
func New(api API, o *Options) (*Store, error) {
	if api == nil {
		return nil, fault.New("ssmparam.New", fault.Validation, "a client is needed")
	}
	if o == nil {
		o = &Options{}
	}
	s := &Store{api: api, timeout: o.Timeout}
	if s.timeout == 0 {
		s.timeout = 30 * time.Second
	}
	if o.Cache != nil {
		now := o.Now
		if now == nil {
			now = time.Now
		}
		s.cache = newCache(*o.Cache, now)
	}
	return s, nil
}

// limit is ctx with the store's own deadline.
func (s *Store) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.timeout < 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.timeout)
}

// method is a method of API.
type method[In, Out any] func(ctx context.Context, in *In, o ...func(*ssm.Options)) (*Out, error)

// read calls what changes nothing.
func read[In, Out any](ctx context.Context, s *Store, op string, m method[In, Out], in *In) (*Out, error) {
	limited, cancel := s.limit(ctx)
	defer cancel()
	out, err := m(limited, in, quiet)
	if err != nil {
		return nil, failed(ctx, op, err, true)
	}
	return out, nil
}

// write calls what changes the parameters of these names.
func write[In, Out any](ctx context.Context, s *Store, op string, quotes bool, m method[In, Out], in *In, names ...string) (*Out, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.New(op, fault.RequestCanceled, "%w", err)
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	s.cache.drop(names)
	defer s.cache.drop(names)
	o := []func(*ssm.Options){quiet, onceOnly}
	if quotes {
		o = append(o, silent)
	}
	out, err := m(limited, in, o...)
	if err == nil {
		return out, nil
	}
	if !answered(err) {
		return nil, unanswered(ctx, op, err)
	}
	return nil, failed(ctx, op, err, !quotes)
}

// PutParameter implements parameter.Store.
func (s *Store) PutParameter(ctx context.Context, req parameter.PutParameterRequest) (parameter.PutParameterResult, error) {
	value := req.Value.Reveal()
	in := &ssm.PutParameterInput{Name: &req.Name, Value: &value, Type: types.ParameterType(req.Type), Tier: types.ParameterTier(req.Tier), Description: given(req.Description), KeyId: given(req.KeyID),
		AllowedPattern: given(req.AllowedPattern), Policies: given(req.Policies), DataType: given(req.DataType), Overwrite: yes(req.Overwrite), Tags: toTags(req.Tags)}
	quotes := req.Value.IsSecret() || req.Type != parameter.String && req.Type != parameter.StringList // an overwrite need not say its type
	out, err := write(ctx, s, "ssmparam.PutParameter", quotes, s.api.PutParameter, in, req.Name)
	if err != nil {
		return parameter.PutParameterResult{}, err
	}
	return parameter.PutParameterResult{Version: out.Version, Tier: parameter.Tier(out.Tier)}, nil
}

// GetParameter implements parameter.Store.
func (s *Store) GetParameter(ctx context.Context, req parameter.GetParameterRequest) (parameter.GetParameterResult, error) {
	p, err := s.cache.get(ctx, req.Name, req.WithDecryption, func() (parameter.Parameter, error) {
		const op = "ssmparam.GetParameter"
		out, err := read(ctx, s, op, s.api.GetParameter, &ssm.GetParameterInput{Name: &req.Name, WithDecryption: yes(req.WithDecryption)})
		if err != nil {
			return parameter.Parameter{}, err
		}
		if out.Parameter == nil {
			return parameter.Parameter{}, fault.New(op, fault.ServiceUnavailable, "AWS answered without a parameter")
		}
		return fromParameter(*out.Parameter, req.WithDecryption), nil
	})
	return parameter.GetParameterResult{Parameter: p}, err
}

// GetParameters implements parameter.Store.
func (s *Store) GetParameters(ctx context.Context, req parameter.GetParametersRequest) (parameter.GetParametersResult, error) {
	return s.cache.getMany(req, func(names []string) (parameter.GetParametersResult, error) {
		out, err := read(ctx, s, "ssmparam.GetParameters", s.api.GetParameters, &ssm.GetParametersInput{Names: some(names), WithDecryption: yes(req.WithDecryption)})
		if err != nil {
			return parameter.GetParametersResult{}, err
		}
		return parameter.GetParametersResult{Parameters: sorted(fromParameters(out.Parameters, req.WithDecryption)), InvalidParameters: some(out.InvalidParameters)}, nil
	})
}

// GetParametersByPath implements parameter.Store.
func (s *Store) GetParametersByPath(ctx context.Context, req parameter.GetParametersByPathRequest) (parameter.GetParametersByPathResult, error) {
	in := &ssm.GetParametersByPathInput{Path: &req.Path, Recursive: yes(req.Recursive), WithDecryption: yes(req.WithDecryption), MaxResults: count(req.MaxResults), NextToken: given(req.NextToken),
		ParameterFilters: toFilters(req.ParameterFilters)}
	out, err := read(ctx, s, "ssmparam.GetParametersByPath", s.api.GetParametersByPath, in)
	if err != nil {
		return parameter.GetParametersByPathResult{}, err
	}
	return parameter.GetParametersByPathResult{Parameters: fromParameters(out.Parameters, req.WithDecryption), NextToken: text(out.NextToken)}, nil
}

// GetParameterHistory implements parameter.Store.
func (s *Store) GetParameterHistory(ctx context.Context, req parameter.GetParameterHistoryRequest) (parameter.GetParameterHistoryResult, error) {
	in := &ssm.GetParameterHistoryInput{Name: &req.Name, WithDecryption: yes(req.WithDecryption), MaxResults: count(req.MaxResults), NextToken: given(req.NextToken)}
	out, err := read(ctx, s, "ssmparam.GetParameterHistory", s.api.GetParameterHistory, in)
	if err != nil {
		return parameter.GetParameterHistoryResult{}, err
	}
	res := parameter.GetParameterHistoryResult{Parameters: make([]parameter.ParameterHistory, len(out.Parameters)), NextToken: text(out.NextToken)}
	for i := range out.Parameters {
		res.Parameters[i] = fromHistory(&out.Parameters[i], req.WithDecryption)
	}
	return res, nil
}

// DescribeParameters implements parameter.Store.
func (s *Store) DescribeParameters(ctx context.Context, req parameter.DescribeParametersRequest) (parameter.DescribeParametersResult, error) {
	in := &ssm.DescribeParametersInput{MaxResults: count(req.MaxResults), NextToken: given(req.NextToken), Shared: yes(req.Shared), ParameterFilters: toFilters(req.ParameterFilters)}
	for _, f := range req.Filters {
		in.Filters = append(in.Filters, types.ParametersFilter{Key: types.ParametersFilterKey(f.Key), Values: some(f.Values)})
	}
	out, err := read(ctx, s, "ssmparam.DescribeParameters", s.api.DescribeParameters, in)
	if err != nil {
		return parameter.DescribeParametersResult{}, err
	}
	res := parameter.DescribeParametersResult{Parameters: make([]parameter.ParameterMetadata, len(out.Parameters)), NextToken: text(out.NextToken)}
	for i := range out.Parameters {
		res.Parameters[i] = fromMetadata(&out.Parameters[i])
	}
	return res, nil
}

// LabelParameterVersion implements parameter.Store.
func (s *Store) LabelParameterVersion(ctx context.Context, req parameter.LabelParameterVersionRequest) (parameter.LabelParameterVersionResult, error) {
	in := &ssm.LabelParameterVersionInput{Name: &req.Name, Labels: some(req.Labels)}
	if req.ParameterVersion != 0 {
		in.ParameterVersion = &req.ParameterVersion
	}
	out, err := write(ctx, s, "ssmparam.LabelParameterVersion", false, s.api.LabelParameterVersion, in, req.Name)
	if err != nil {
		return parameter.LabelParameterVersionResult{}, err
	}
	return parameter.LabelParameterVersionResult{InvalidLabels: some(out.InvalidLabels), ParameterVersion: out.ParameterVersion}, nil
}

// UnlabelParameterVersion implements parameter.Store.
func (s *Store) UnlabelParameterVersion(ctx context.Context, req parameter.UnlabelParameterVersionRequest) (parameter.UnlabelParameterVersionResult, error) {
	in := &ssm.UnlabelParameterVersionInput{Name: &req.Name, ParameterVersion: &req.ParameterVersion, Labels: some(req.Labels)}
	out, err := write(ctx, s, "ssmparam.UnlabelParameterVersion", false, s.api.UnlabelParameterVersion, in, req.Name)
	if err != nil {
		return parameter.UnlabelParameterVersionResult{}, err
	}
	return parameter.UnlabelParameterVersionResult{RemovedLabels: some(out.RemovedLabels), InvalidLabels: some(out.InvalidLabels)}, nil
}

// DeleteParameter implements parameter.Store.
func (s *Store) DeleteParameter(ctx context.Context, req parameter.DeleteParameterRequest) (parameter.DeleteParameterResult, error) {
	_, err := write(ctx, s, "ssmparam.DeleteParameter", false, s.api.DeleteParameter, &ssm.DeleteParameterInput{Name: &req.Name}, req.Name)
	return parameter.DeleteParameterResult{}, err
}

// DeleteParameters implements parameter.Store.
func (s *Store) DeleteParameters(ctx context.Context, req parameter.DeleteParametersRequest) (parameter.DeleteParametersResult, error) {
	out, err := write(ctx, s, "ssmparam.DeleteParameters", false, s.api.DeleteParameters, &ssm.DeleteParametersInput{Names: some(req.Names)}, req.Names...)
	if err != nil {
		return parameter.DeleteParametersResult{}, err
	}
	return parameter.DeleteParametersResult{DeletedParameters: some(out.DeletedParameters), InvalidParameters: some(out.InvalidParameters)}, nil
}

// AddTagsToResource implements parameter.Store.
func (s *Store) AddTagsToResource(ctx context.Context, req parameter.AddTagsToResourceRequest) (parameter.AddTagsToResourceResult, error) {
	in := &ssm.AddTagsToResourceInput{ResourceType: types.ResourceTypeForTagging(req.ResourceType), ResourceId: &req.ResourceID, Tags: append([]types.Tag{}, toTags(req.Tags)...)}
	_, err := write(ctx, s, "ssmparam.AddTagsToResource", false, s.api.AddTagsToResource, in)
	return parameter.AddTagsToResourceResult{}, err
}

// RemoveTagsFromResource implements parameter.Store.
func (s *Store) RemoveTagsFromResource(ctx context.Context, req parameter.RemoveTagsFromResourceRequest) (parameter.RemoveTagsFromResourceResult, error) {
	in := &ssm.RemoveTagsFromResourceInput{ResourceType: types.ResourceTypeForTagging(req.ResourceType), ResourceId: &req.ResourceID, TagKeys: some(req.TagKeys)}
	_, err := write(ctx, s, "ssmparam.RemoveTagsFromResource", false, s.api.RemoveTagsFromResource, in)
	return parameter.RemoveTagsFromResourceResult{}, err
}

// ListTagsForResource implements parameter.Store.
func (s *Store) ListTagsForResource(ctx context.Context, req parameter.ListTagsForResourceRequest) (parameter.ListTagsForResourceResult, error) {
	in := &ssm.ListTagsForResourceInput{ResourceType: types.ResourceTypeForTagging(req.ResourceType), ResourceId: &req.ResourceID}
	out, err := read(ctx, s, "ssmparam.ListTagsForResource", s.api.ListTagsForResource, in)
	if err != nil {
		return parameter.ListTagsForResourceResult{}, err
	}
	return parameter.ListTagsForResourceResult{TagList: fromTags(out.TagList)}, nil
}

// PutResourcePolicy implements parameter.Sharer.
func (s *Store) PutResourcePolicy(ctx context.Context, req parameter.PutResourcePolicyRequest) (parameter.PutResourcePolicyResult, error) {
	in := &ssm.PutResourcePolicyInput{ResourceArn: &req.ResourceARN, Policy: &req.Policy, PolicyId: given(req.PolicyID), PolicyHash: given(req.PolicyHash)}
	out, err := write(ctx, s, "ssmparam.PutResourcePolicy", false, s.api.PutResourcePolicy, in)
	if err != nil {
		return parameter.PutResourcePolicyResult{}, err
	}
	return parameter.PutResourcePolicyResult{PolicyID: text(out.PolicyId), PolicyHash: text(out.PolicyHash)}, nil
}

// GetResourcePolicies implements parameter.Sharer.
func (s *Store) GetResourcePolicies(ctx context.Context, req parameter.GetResourcePoliciesRequest) (parameter.GetResourcePoliciesResult, error) {
	in := &ssm.GetResourcePoliciesInput{ResourceArn: &req.ResourceARN, MaxResults: count(req.MaxResults), NextToken: given(req.NextToken)}
	out, err := read(ctx, s, "ssmparam.GetResourcePolicies", s.api.GetResourcePolicies, in)
	if err != nil {
		return parameter.GetResourcePoliciesResult{}, err
	}
	res := parameter.GetResourcePoliciesResult{Policies: make([]parameter.ResourcePolicy, len(out.Policies)), NextToken: text(out.NextToken)}
	for i, p := range out.Policies {
		res.Policies[i] = parameter.ResourcePolicy{PolicyID: text(p.PolicyId), PolicyHash: text(p.PolicyHash), Policy: text(p.Policy)}
	}
	return res, nil
}

// DeleteResourcePolicy implements parameter.Sharer.
func (s *Store) DeleteResourcePolicy(ctx context.Context, req parameter.DeleteResourcePolicyRequest) (parameter.DeleteResourcePolicyResult, error) {
	in := &ssm.DeleteResourcePolicyInput{ResourceArn: &req.ResourceARN, PolicyId: &req.PolicyID, PolicyHash: &req.PolicyHash}
	_, err := write(ctx, s, "ssmparam.DeleteResourcePolicy", false, s.api.DeleteResourcePolicy, in)
	return parameter.DeleteResourcePolicyResult{}, err
}
