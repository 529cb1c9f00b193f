package iam_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/access/iam"
)

// BenchmarkAuthorize decides on one of a long list's items under a policy of twenty statements with conditions and variables, and compares with the least that such a policy can cost: looking for each
// statement's resource at the beginning of the ARN.
func BenchmarkAuthorize(b *testing.B) {
	var all, prefixes []string
	for i := range 20 {
		prefixes = append(prefixes, fmt.Sprintf("arn:aws:ssm:local:default:parameter/team%d/", i))
		all = append(all, fmt.Sprintf(`{"Effect":"Allow","Action":["ssm:GetParameter*","ssm:PutParameter"],"Resource":"arn:aws:ssm:*:*:parameter/team%d/${aws:username}/*","Condition":{"StringEquals":{"aws:ResourceTag/env":["test","prod"]},"IpAddressIfExists":{"aws:SourceIp":"10.0.0.0/8"}}}`, i))
	}
	a := iam.NewAuthorizer(iam.Config{Policies: iam.Static(map[string][]*iam.Policy{"ann": {statements(b, all...)}})})
	p, tags := access.Principal{Name: "ann"}, map[string]string{"env": "prod", "owner": "ann"}
	ours, limit := time.Hour, time.Hour // what an undisturbed call takes
	found := 0
	b.ReportAllocs()
	for b.Loop() {
		t0 := time.Now()
		if err := a.Authorize(b.Context(), p, "ssm:GetParameter", "parameter/team19/ann/db", tags); err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		for _, s := range prefixes {
			if strings.HasPrefix("arn:aws:ssm:local:default:parameter/team19/ann/db", s) {
				found++
			}
		}
		limit, ours = min(limit, time.Since(t1)), min(ours, t1.Sub(t0))
	}
	require.Positive(b, found)
	b.ReportMetric(float64(ours)/float64(limit), "ratio")
	b.ReportMetric(float64(ours.Nanoseconds()), "least-ns")
}
