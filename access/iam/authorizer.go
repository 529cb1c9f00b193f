package iam

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
)

// Names turn this module's tenants, principals and resources into AWS's. The zero value is usable: each tenant is the account of its own name, in the partition aws and the region "local".
type Names struct {
	Partition string // empty is "aws"
	Region    string // empty is "local"
	// Accounts are the account numbers that policies know tenants by; a tenant that stands not here is its own account, unless that is another's.
	Accounts map[string]string
	// Principal replaces the rule for principals: the user of the principal's name in the tenant's account, none for the anonymous.
	Principal func(p access.Principal, account string) Principal

	tenants map[string]string // by account: Accounts turned round
}

// fixed is a copy that nobody changes any more.
func (n Names) fixed() Names {
	n.Accounts = maps.Clone(n.Accounts)
	n.tenants = make(map[string]string, len(n.Accounts))
	for tenant, account := range n.Accounts {
		n.tenants[account] = tenant
	}
	return n
}

// Account returns the account of a tenant; empty for a tenant that can have none: one that is not in Accounts, and whose name is the account of another or no account.
func (n *Names) Account(tenant string) string {
	a, ok := n.Accounts[tenant]
	if !ok {
		a = tenant
		fixed := *n
		if fixed.tenants == nil {
			fixed = n.fixed()
		}
		if _, taken := fixed.tenants[a]; taken {
			return ""
		}
	}
	if !isAccount(a) {
		return ""
	}
	return a
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// ARN returns the ARN of a resource as services name them to access.Check, by the forms of AWS's service authorization reference. "*" stays as it is. Parameters
// have one slash after the type whether their name begins with one or not; documents that AWS's name prefix marks as built in belong to no account; nodes
// whose id is that of an instance are instances of EC2, others managed instances. An ARN stays as it is. A tenant without an account has no resources, which is an error.
func (n *Names) ARN(tenant, resource string) (string, error) {
	account, service := n.Account(tenant), "ssm"
	if account == "" {
		return "", fault.New("iam.ARN", fault.AccessDenied, "a tenant of this name is no account: give it one in Names.Accounts")
	}
	if resource == "*" || isARN(resource) {
		return resource, nil
	}
	kind, name, ok := strings.Cut(resource, "/")
	if !ok || kind == "" || name == "" || strings.ContainsAny(kind, ":*?") {
		return "", fault.New("iam.ARN", fault.AccessDenied, "%q is not the name of a resource", short(resource))
	}
	switch kind {
	case "parameter":
		name = strings.TrimPrefix(name, "/")
	case "document":
		if len(name) > 3 && strings.EqualFold(name[:3], "aws") {
			account = ""
		}
	case "node":
		kind = "managed-instance"
		if strings.HasPrefix(name, "i-") {
			service, kind = "ec2", "instance"
		}
	case "group":
		service = "resource-groups"
	}
	return "arn:" + or(n.Partition, "aws") + ":" + service + ":" + or(n.Region, "local") + ":" + account + ":" + kind + "/" + name, nil
}

func (n *Names) principal(p access.Principal, account string) Principal {
	switch {
	case n.Principal != nil:
		return n.Principal(p, account)
	case p.Name == "" || account == "":
		return Principal{}
	}
	return Principal{ARN: "arn:" + or(n.Partition, "aws") + ":iam::" + account + ":user/" + p.Name}
}

// Config is what an Authorizer asks and knows.
type Config struct {
	// Policies returns what bears on a request of p: required. It may use the network, and is asked on each call: keep what is dear. Its error denies.
	Policies func(ctx context.Context, p access.Principal, q *Request) (Policies, error)
	Names    Names
	// Context gives further keys of the request, as aws:SourceIp; nil gives none. They win over those that are made here.
	Context func(ctx context.Context, p access.Principal, q *Request) Context
	// Now is the clock of aws:CurrentTime and aws:EpochTime; nil is time.Now.
	Now func() time.Time
	// Explained is told of each decision, for a debug log; nil is none. It makes deciding slower.
	Explained func(ctx context.Context, p access.Principal, x *Explanation)
}

// Authorizer is an access.Authorizer by policies. It answers for the caller's side: a service that lets other tenants in by a policy of the resource evaluates that itself, as [Sharing] does,
// and asks here with the ARN. It is safe for concurrent use if the functions of its Config are.
type Authorizer struct{ cfg Config }

var _ access.Authorizer = (*Authorizer)(nil)

// NewAuthorizer returns an authorizer. One without Config.Policies denies everything.
func NewAuthorizer(cfg Config) *Authorizer {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Names = cfg.Names.fixed()
	return &Authorizer{cfg: cfg}
}

// Static returns a Config.Policies that knows the same identity policies of each principal by name, for programs with few of them; "*" are everybody's but the anonymous'.
func Static(byName map[string][]*Policy) func(context.Context, access.Principal, *Request) (Policies, error) {
	return func(_ context.Context, p access.Principal, _ *Request) (Policies, error) {
		if p.Name == "" {
			return Policies{}, nil
		}
		own := slices.Clone(byName["*"])
		if p.Name != "*" {
			own = append(own, byName[p.Name]...)
		}
		return Policies{Identity: own}, nil
	}
}

// Authorize implements access.Authorizer.
func (a *Authorizer) Authorize(ctx context.Context, p access.Principal, action, resource string, attributes map[string]string) error {
	policies, q, err := a.request(ctx, p, action, resource, attributes)
	if err != nil {
		return fault.New("iam.Authorize", fault.AccessDenied, "%w", err)
	}
	var d Decision
	reason := ""
	if a.cfg.Explained != nil {
		x := Explain(policies, q)
		d, reason = x.Decision, x.Reason
		a.cfg.Explained(ctx, p, x)
	} else {
		d = Evaluate(policies, q)
	}
	if d == Allow {
		return nil
	}
	if reason != "" {
		reason = " (" + reason + ")"
	}
	return fault.New("iam.Authorize", fault.AccessDenied, "%s of %s on %s%s", d, short(action), short(q.Resource), reason)
}

// Explain says what Authorize would do and why: for a person who may read the policies.
func (a *Authorizer) Explain(ctx context.Context, p access.Principal, action, resource string, attributes map[string]string) (*Explanation, error) {
	policies, q, err := a.request(ctx, p, action, resource, attributes)
	if err != nil {
		return nil, err
	}
	return Explain(policies, q), nil
}

func (a *Authorizer) request(ctx context.Context, p access.Principal, action, resource string, attributes map[string]string) (Policies, *Request, error) {
	if a.cfg.Policies == nil {
		return Policies{}, nil, fault.New("iam.Authorize", fault.AccessDenied, "there are no policies, so nothing is allowed")
	}
	if p.Tenant == "" {
		p.Tenant = access.DefaultTenant
	}
	arn, err := a.cfg.Names.ARN(p.Tenant, resource)
	if err != nil {
		return Policies{}, nil, err
	}
	account := a.cfg.Names.Account(p.Tenant)
	q := &Request{Principal: a.cfg.Names.principal(p, account), Action: action, Resource: arn, ResourceAccount: account, Context: Context{}}
	a.keys(q, p, account, attributes)
	if a.cfg.Context != nil {
		maps.Copy(q.Context, a.cfg.Context(ctx, p, q))
	}
	policies, err := a.cfg.Policies(ctx, p, q)
	return policies, q, err
}

// keys fills the context with what is known of the caller, the clock and the resource.
//
// The attributes aws:ResourceTag/…, aws:RequestTag/… and aws:TagKeys (with commas) are condition keys: no tag begins so. So are ssm:Overwrite, ssm:Recursive and
// ssm:Policies of parameters. Others that begin with "aws:" are dropped, and what is left are tags of the resource.
func (a *Authorizer) keys(q *Request, p access.Principal, account string, attributes map[string]string) {
	c := q.Context
	clock(c, a.cfg.Now())
	c["aws:ResourceAccount"] = []string{account}
	if isARN(q.Resource) {
		if owner := strings.SplitN(q.Resource, ":", 6)[4]; owner != "" {
			c["aws:ResourceAccount"] = []string{owner}
		}
	}
	if p.Name == "" {
		c["aws:PrincipalType"] = []string{"Anonymous"}
	} else {
		caller(c, p, &q.Principal, account)
	}
	tag := func(k, v string) {
		c["aws:ResourceTag/"+k], c["ssm:resourceTag/"+k] = []string{v}, []string{v}
	}
	for k, v := range attributes {
		low := fold(k)
		switch {
		case strings.HasPrefix(low, "aws:resourcetag/"):
			tag(k[len("aws:resourcetag/"):], v)
		case low == "aws:tagkeys":
			c["aws:TagKeys"] = strings.Split(v, ",")
		case strings.HasPrefix(low, "aws:requesttag/"), strings.Contains(q.Resource, ":parameter/") && (low == "ssm:overwrite" || low == "ssm:recursive" || low == "ssm:policies"):
			c[k] = []string{v}
		case strings.HasPrefix(low, "aws:"):
		default:
			tag(k, v)
		}
	}
}

func clock(c Context, now time.Time) {
	c["aws:CurrentTime"] = []string{now.UTC().Format(time.RFC3339)}
	c["aws:EpochTime"] = []string{strconv.FormatInt(now.Unix(), 10)}
}

// caller fills in what is known of a principal with a name. Its attributes are its tags.
func caller(c Context, p access.Principal, who *Principal, account string) {
	for k, v := range p.Attributes {
		c["aws:PrincipalTag/"+k] = []string{v}
	}
	c["aws:PrincipalType"] = []string{"User"}
	c["aws:username"] = []string{p.Name}
	c["aws:userid"] = []string{p.Name}
	c["aws:PrincipalAccount"] = []string{account}
	c["aws:PrincipalArn"] = []string{who.ARN}
}
