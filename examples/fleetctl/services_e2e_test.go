package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/ssmops"
)

// A morning with the real programs: inventory, parameters, baselines and compliance.
func TestTheServicesOfAFleet(t *testing.T) {
	f := &lab{t: t, dir: filepath.Join(t.TempDir(), "data")}
	f.plane("127.0.0.1:0")
	custom := t.TempDir()
	rack := func(s string) {
		require.NoError(t, os.WriteFile(filepath.Join(custom, "rack.json"), []byte(`{"SchemaVersion":"1.0","TypeName":"Custom:Rack","Content":{"Rack":"`+s+`"}}`), 0o600))
	}
	rack("B7")
	_, ids := f.agents(2, "Role=web", "-custom-inventory", custom)
	only := "applications=Disabled,services=Disabled"

	// Inventory: gathered, asked, changed, exported, deleted.
	require.Regexp(t, `(?m)^`+ids[0]+` +Success +0 .*Reported \d+ types`, f.ok("inventory", "gather", "-q", "-targets", "Key=tag:Role,Values=web", "-parameters", only))
	out := f.ok("inventory", "find", "Custom:Rack.Rack=B7")
	require.Contains(t, out, ids[0])
	require.Contains(t, out, ids[1])
	require.Contains(t, out, "Rack=B7")
	require.Equal(t, "Rack  B7\n", f.ok("inventory", "entries", ids[0], "Custom:Rack"))
	require.Regexp(t, `(?m)^2 +Linux$`, f.ok("inventory", "count", "AWS:InstanceInformation.PlatformType"))
	require.Regexp(t, `(?m)^them +2 +0$`, f.ok("inventory", "count", "-group", "them: Custom:Rack exists"))
	rack("C1")
	f.ok("inventory", "gather", "-q", "-instance-ids", ids[0], "-parameters", only)
	require.Regexp(t, `Custom:Rack +changed +Rack: B7 → C1`, f.ok("inventory", "changes", ids[0], "-since", "1h"))
	require.Equal(t, ids[1]+"\n", f.ok("inventory", "find", "-q", "Custom:Rack.Rack=B7"))
	require.Contains(t, f.ok("inventory", "export", "-all", "-type", "Custom:Rack"), `"Content":{"Rack":"C1"}`)
	require.Contains(t, f.ok("inventory", "delete", "Custom:Rack", "-dry-run"), "from 2 nodes")
	f.ok("inventory", "delete", "Custom:Rack", "-schema", "delete")
	require.Eventually(t, func() bool { return strings.Contains(f.ok("inventory", "deletions"), "Complete") }, time.Minute, 50*time.Millisecond)
	_, errs, _ := f.ctl("inventory", "find", "Custom:Rack.Rack=B7")
	require.Contains(t, errs, "no node meets that")

	// Parameters: a secret goes in by standard input and comes out only when asked for; what is sent may name the others.
	_, errs, code := f.feed("hunter2-canary\n", "parameters", "put", "/web/password", "-type", "SecureString")
	require.Zero(t, code, errs)
	_, errs, code = f.feed("world\n", "parameters", "put", "/web/who", "-tags", "Team=web")
	require.Zero(t, code, errs)
	for _, args := range []string{"list", "list /web -values", "get /web/password", "history /web/password", "get /web/password -o json"} {
		out := f.ok(append([]string{"parameters"}, strings.Fields(args)...)...)
		require.Contains(t, out, "SecureString", args)
		require.NotContains(t, out, "hunter2", args)
	}
	require.Equal(t, "hunter2-canary\n", f.ok("parameters", "get", "/web/password", "-value", "-decrypt"))
	require.Contains(t, f.ok("run", "-q", "-instance-ids", ids[0], "--", "echo hello {{ssm:/web/who}}"), "hello world")
	require.Regexp(t, `Team +web`, f.ok("tags", "list", "/web/who"))
	f.ok("parameters", "label", "/web/who", "prod")
	require.Equal(t, "world\n", f.ok("parameters", "get", "/web/who:prod", "-value"))
	f.ok("parameters", "delete", "/web/who", "/web/password")
	require.Equal(t, 1, strings.Count(f.ok("parameters", "list"), "\n"))
	require.NotContains(t, f.ok("audit", "-limit", "0", "-o", "json"), "hunter2")

	// Baselines: what is printed can be edited and stored again.
	out, errs, code = f.feed(`{"Name":"web","OperatingSystem":"DEBIAN","RejectedPatches":["nginx*"]}`, "patches", "create", "-")
	require.Zero(t, code, errs)
	id := strings.TrimSpace(out)
	text := f.ok("patches", "baseline", id)
	_, errs, code = f.feed(strings.ReplaceAll(text, "nginx*", "apache2*"), "patches", "update", id, "-", "-replace")
	require.Zero(t, code, errs)
	require.Contains(t, f.ok("patches", "baseline", id), "apache2*")
	f.ok("patches", "register", id, "web")
	require.Regexp(t, `(?m)^web +DEBIAN +`+id, f.ok("patches", "groups"))
	_, errs, code = f.ctl("patches", "delete", id)
	require.Equal(t, exitRefused, code)
	require.Contains(t, errs, "ResourceInUseException")
	f.ok("patches", "deregister", id, "web")
	f.ok("patches", "delete", id)
	require.NotContains(t, f.ok("patches", "baselines", "-own"), id)

	// Compliance, as a monitor of one's own reports it.
	token, err := os.ReadFile(filepath.Join(f.dir, "admin.token"))
	require.NoError(t, err)
	ca, err := os.ReadFile(filepath.Join(f.dir, "tls", "ca.pem"))
	require.NoError(t, err)
	api, err := ssmops.NewClient(f.url, &ssmops.ClientOptions{Token: secret.New(bytes.TrimSpace(token)), CA: ca})
	require.NoError(t, err)
	report := func(status string, at time.Time) {
		require.NoError(t, api.Call(t.Context(), "PutComplianceItems", compliance.PutComplianceItemsRequest{ResourceID: ids[0], ResourceType: "ManagedInstance", ComplianceType: "Custom:Backup",
			ExecutionSummary: compliance.ExecutionSummary{ExecutionTime: at, ExecutionID: "nightly"}, Items: []compliance.ItemEntry{{ID: "disk", Severity: "HIGH", Status: status, Title: "the disk"}}}, nil))
	}
	begin := time.Now().Add(-time.Minute)
	report("NON_COMPLIANT", begin)
	require.Regexp(t, `(?m)^Custom:Backup +1 +0 +1 \(1 high\)$`, f.ok("compliance"))
	require.Regexp(t, `(?m)^`+ids[0]+` +Custom:Backup +NON_COMPLIANT +HIGH +0 +1 \(1 high\)`, f.ok("compliance", "nodes", "-status", "NON_COMPLIANT"))
	between := time.Now()
	report("COMPLIANT", begin.Add(time.Second))
	require.Equal(t, 1, strings.Count(f.ok("compliance", "nodes", "-status", "NON_COMPLIANT"), "\n"))
	require.Regexp(t, `(?m)^disk +NON_COMPLIANT +HIGH +the disk`, f.ok("compliance", "at", ids[0], "Custom:Backup", between.Format(time.RFC3339Nano)))
	require.Contains(t, f.ok("compliance", "at", ids[0], "Custom:Backup", "now"), "status         COMPLIANT")
	require.Equal(t, 3, strings.Count(f.ok("compliance", "history", ids[0], "Custom:Backup"), "\n"))
	_, errs, code = f.ctl("compliance", "at", ids[0], "Custom:Backup", "2d")
	require.Equal(t, exitRefused, code)
	require.Contains(t, errs, "nothing is known")
}
