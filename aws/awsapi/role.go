package awsapi

import (
	"context"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
)

// AssumeRole returns a function for Options.Credentials that assumes roles by the Security Token Service, whose client the host hands in, with the program's own
// credentials. The session has the name Automation-ID of the execution, so that AWS's own records tell which execution it was. The credentials of the last 256 executions are kept
// and renewed before they end. What is no ARN of a role is refused.
func AssumeRole(client stscreds.AssumeRoleAPIClient) func(context.Context, string, automation.Call) (aws.CredentialsProvider, error) {
	type name struct{ tenant, role, execution string }
	var mu sync.Mutex
	known := map[name]aws.CredentialsProvider{}
	var order []name
	session := func(id string) string {
		id = strings.Map(func(r rune) rune {
			if r < 128 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("_+=,.@-", r)) {
				return r
			}
			return '-'
		}, "Automation-"+id)
		return id[:min(len(id), 64)] // the most that the service takes
	}
	return func(_ context.Context, role string, c automation.Call) (aws.CredentialsProvider, error) {
		if parts := strings.SplitN(role, ":", 6); len(parts) != 6 || parts[0] != "arn" || parts[2] != "iam" || !strings.HasPrefix(parts[5], "role/") {
			return nil, fault.New("awsapi.AssumeRole", fault.Validation, "the role %q is no ARN of a role", clip(role))
		}
		n := name{c.Tenant, role, c.Execution}
		mu.Lock()
		defer mu.Unlock()
		if p := known[n]; p != nil {
			return p, nil
		}
		p := aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(client, role, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = session(c.Execution) }))
		if len(order) >= 256 {
			delete(known, order[0])
			order = order[1:]
		}
		known[n], order = p, append(order, n)
		return p, nil
	}
}
