package realworld

import (
	"strings"
	"testing"

	"github.com/fleetwright/fleetwright/automation"
)

// TestRealRunbooks runs runbooks that AWS publishes.
func TestRealRunbooks(t *testing.T) {
	docs := openCorpus(t)
	for _, row := range slicesOf(instances(), scriptsOnly(), flows()) {
		t.Run(strings.TrimSuffix(row.runbook+" "+row.how, " "), func(t *testing.T) {
			t.Parallel()
			row.tell(t, docs)
		})
	}
}

func slicesOf(all ...[]story) (out []story) {
	for _, s := range all {
		out = append(out, s...)
	}
	return out
}

func scriptsOnly() []story {
	return []story{
		{runbook: "AWS-HelloWorld", status: automation.Success, steps: "HelloWorldScriptExecution=Success", scripts: 1},
		{runbook: "AWS-ConfigureCloudWatchOnEC2Instance", params: map[string][]string{"InstanceId": {"i-1"}}, world: func(a *aws) { a.says("ec2:MonitorInstances", `{}`) }, status: automation.Success, steps: "configureCloudWatch=Success", order: "ec2:MonitorInstances", scripts: 1},
	}
}
func instances() []story { return nil }
func flows() []story     { return nil }
