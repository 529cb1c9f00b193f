package ssmops

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/patchstore"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/target"
)

// things are what a world holds when the table is walked.
type things struct{ node, command, activation, policy, policyHash, baseline, spare, execution string }

// samples has for every operation a request that succeeds for who may send it. An operation without one fails TestR01.
func samples() map[string]func(things) any {
	type m = map[string]any
	query := m{"Type": "TAG_FILTERS_1_0", "Query": `{"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Key":"Role"}]}`}
	send := func(x things) any { return m{"DocumentName": "Greet", "InstanceIds": []string{x.node}} }
	invocation := func(x things) any { return m{"CommandId": x.command, "InstanceId": x.node} }
	ofCommand := func(x things) any { return m{"CommandId": x.command} }
	document := func(things) any { return m{"Name": "Greet"} }
	nothing := func(things) any { return m{} }
	baseline := func(x things) any { return m{"BaselineId": x.baseline} }
	patchGroup := func(things) any { return m{"PatchGroup": "web"} }
	inventoryType := func(x things) any { return m{"InstanceId": x.node, "TypeName": "Custom:Rack"} }
	parameterName := func(things) any { return m{"Name": "/app/secret"} }
	execution := func(x things) any { return m{"AutomationExecutionId": x.execution} }
	group := func(things) any { return m{"Name": "webs"} }
	return map[string]func(things) any{
		"SendCommand": send, "PlanCommand": send, "CancelCommand": ofCommand, "ListCommands": ofCommand, "ListCommandInvocations": ofCommand, "WatchCommand": ofCommand,
		"GetCommandInvocation": invocation, "GetCommandOutput": invocation,
		"CreateDocument": func(things) any { return m{"Name": "Other", "Content": strings.Replace(greet, "canary", "words", 1)} },
		"UpdateDocument": func(things) any {
			return m{"Name": "Greet", "Content": strings.Replace(greet, "hello", "bye", 1), "DocumentVersion": "$LATEST"}
		},
		"UpdateDocumentDefaultVersion": func(things) any { return m{"Name": "Greet", "DocumentVersion": "1"} },
		"GetDocument":                  document, "DescribeDocument": document, "ListDocumentVersions": document, "DeleteDocument": document, "ListDocuments": nothing,
		"CreateActivation": nothing, "DescribeActivations": nothing, "DescribeInstanceInformation": nothing,
		"DeleteActivation":          func(x things) any { return m{"ActivationId": x.activation} },
		"UpdateManagedInstanceRole": func(x things) any { return m{"InstanceId": x.node, "IamRole": "r"} },
		"UpdateInstanceName":        func(x things) any { return m{"InstanceId": x.node, "Name": "n"} },
		"DeregisterManagedInstance": func(x things) any { return m{"InstanceId": x.node} },
		"AddTagsToResource": func(x things) any {
			return m{"ResourceType": "ManagedInstance", "ResourceId": x.node, "Tags": []m{{"Key": "a", "Value": "b"}}}
		},
		"RemoveTagsFromResource": func(x things) any {
			return m{"ResourceType": "ManagedInstance", "ResourceId": x.node, "TagKeys": []string{"a"}}
		},
		"ListTagsForResource": func(x things) any { return m{"ResourceType": "ManagedInstance", "ResourceId": x.node} },
		"CreateGroup":         func(things) any { return m{"Name": "fresh", "ResourceQuery": query} },
		"UpdateGroupQuery":    func(things) any { return m{"Name": "webs", "ResourceQuery": query} },
		"GetGroup":            group, "DeleteGroup": group, "ListGroupResources": group, "ListGroups": nothing,
		"PutParameter":  func(things) any { return m{"Name": "/fresh", "Value": "v", "Type": "String"} },
		"GetParameter":  func(things) any { return m{"Name": "/app/secret", "WithDecryption": true} },
		"GetParameters": func(things) any { return m{"Names": []string{"/app/secret"}, "WithDecryption": true} }, "GetParametersByPath": func(things) any { return m{"Path": "/app", "WithDecryption": true} },
		"GetParameterHistory": parameterName, "DeleteParameter": parameterName, "DescribeParameters": nothing,
		"DeleteParameters":        func(things) any { return m{"Names": []string{"/app/secret"}} },
		"LabelParameterVersion":   func(things) any { return m{"Name": "/app/secret", "Labels": []string{"two"}} },
		"UnlabelParameterVersion": func(things) any { return m{"Name": "/app/secret", "ParameterVersion": 1, "Labels": []string{"one"}} },
		"PutResourcePolicy":       func(things) any { return m{"ResourceArn": canaryARN, "Policy": canaryPolicy} },
		"GetResourcePolicies":     func(things) any { return m{"ResourceArn": canaryARN} },
		"DeleteResourcePolicy": func(x things) any {
			return m{"ResourceArn": canaryARN, "PolicyId": x.policy, "PolicyHash": x.policyHash}
		},
		"CreatePatchBaseline": func(things) any { return m{"Name": "other", "OperatingSystem": "DEBIAN"} },
		"UpdatePatchBaseline": func(x things) any { return m{"BaselineId": x.baseline, "Description": "new"} },
		"GetPatchBaseline":    baseline, "DeletePatchBaseline": func(x things) any { return m{"BaselineId": x.spare} }, "RegisterDefaultPatchBaseline": baseline,
		"DescribeEffectivePatchesForPatchBaseline": baseline, "DescribePatchBaselines": nothing, "DescribePatchGroups": nothing, "DescribeAvailablePatches": nothing, "GetDefaultPatchBaseline": nothing,
		"RegisterPatchBaselineForPatchGroup":   func(x things) any { return m{"BaselineId": x.baseline, "PatchGroup": "db"} },
		"DeregisterPatchBaselineForPatchGroup": func(x things) any { return m{"BaselineId": x.baseline, "PatchGroup": "web"} },
		"GetPatchBaselineForPatchGroup":        patchGroup, "DescribePatchGroupState": patchGroup, "DescribeInstancePatchStatesForPatchGroup": patchGroup,
		"DescribePatchProperties":     func(things) any { return m{"OperatingSystem": "DEBIAN", "Property": "PRODUCT"} },
		"DescribeInstancePatches":     func(x things) any { return m{"InstanceId": x.node} },
		"DescribeInstancePatchStates": func(x things) any { return m{"InstanceIds": []string{x.node}} },
		"GetDeployablePatchSnapshotForInstance": func(x things) any {
			return m{"InstanceId": x.node, "SnapshotId": "9a2cba1d-4b1e-4b0a-8f2e-0123456789ab"}
		},
		"PutInventory": func(x things) any {
			return m{"InstanceId": x.node, "Items": []m{{"TypeName": "Custom:Rack", "SchemaVersion": "1.0", "CaptureTime": "2026-03-01T00:00:00Z", "Content": []m{{"Place": "b"}}}}}
		},
		"GetInventory": nothing, "GetInventorySchema": nothing, "DescribeInventoryDeletions": nothing,
		"ListInventoryEntries": inventoryType, "ListInventoryChanges": func(x things) any { return m{"InstanceId": x.node} },
		"DeleteInventory": func(things) any { return m{"TypeName": "Custom:Rack"} },
		"PutComplianceItems": func(x things) any {
			return m{"ResourceId": x.node, "ResourceType": "ManagedInstance", "ComplianceType": "Custom:Backup", "ExecutionSummary": m{"ExecutionTime": 1772323200}, "Items": []m{}}
		},
		"ListComplianceItems": func(x things) any { return m{"ResourceIds": []string{x.node}} },
		"GetComplianceAt": func(x things) any {
			return m{"ResourceId": x.node, "ComplianceType": "Custom:Canary", "At": "2027-01-01T00:00:00Z"}
		},
		"ListComplianceHistory":   func(x things) any { return m{"ResourceId": x.node, "ComplianceType": "Custom:Canary"} },
		"ListComplianceSummaries": nothing, "ListResourceComplianceSummaries": nothing,
		"StartAutomationExecution": func(things) any { return m{"DocumentName": "Wait"} }, "DescribeAutomationExecutions": nothing,
		"PreviewAutomationExecution": func(things) any { return m{"DocumentName": "Wait"} },
		"GetAutomationExecution":     execution, "StopAutomationExecution": execution, "DescribeAutomationStepExecutions": execution,
		"SendAutomationSignal": func(x things) any { return m{"AutomationExecutionId": x.execution, "SignalType": "Resume"} },
		"ListAudit":            nothing,
	}
}

// furnish fills a world. Everything in it that nobody else may see has the word canary in it.
func furnish(w *world) things {
	x := things{node: w.register(map[string]string{"Role": "web", "canary": "canary"})}
	w.create("Greet", greet)
	x.command = w.run(x.node).ID
	a, err := w.nodes.CreateActivation(w.ctx, node.ActivationRequest{Description: "canary"})
	require.NoError(w.t, err)
	x.activation = a.ID
	require.NoError(w.t, w.nodes.CreateGroup(w.ctx, node.Group{Name: "webs", Description: "canary", Query: node.Query{TagFilters: []target.TagFilter{{Key: "canary"}}}}))
	_, err = w.parameters.PutParameter(w.ctx, parameter.PutParameterRequest{Name: "/app/secret", Tier: parameter.Advanced, Type: parameter.SecureString, Value: parameter.Secret(secret.String("canary"))})
	require.NoError(w.t, err)
	_, err = w.parameters.LabelParameterVersion(w.ctx, parameter.LabelParameterVersionRequest{Name: "/app/secret", Labels: []string{"one"}})
	require.NoError(w.t, err)
	shared, err := w.parameters.PutResourcePolicy(w.ctx, parameter.PutResourcePolicyRequest{ResourceARN: canaryARN, Policy: canaryPolicy})
	require.NoError(w.t, err)
	for _, to := range []*string{&x.baseline, &x.spare} {
		made, err := w.patches.CreatePatchBaseline(w.ctx, patchstore.CreatePatchBaselineRequest{Baseline: patch.Baseline{Name: "canary", OperatingSystem: patch.Debian, Description: "canary"}})
		require.NoError(w.t, err)
		*to = made.BaselineID
	}
	_, err = w.patches.RegisterPatchBaselineForPatchGroup(w.ctx, patchstore.GroupRequest{BaselineID: x.baseline, PatchGroup: "web"})
	require.NoError(w.t, err)
	at := time.Now()
	require.NoError(w.t, w.patches.Report(w.ctx, "default", x.node, patch.Report{Operation: patch.Scan, BaselineID: x.baseline, PatchGroup: "web", OperatingSystem: patch.Debian, Started: at, Ended: at,
		Patches: []patch.Patch{{Key: patch.Key{Name: "canary", Arch: "all"}, State: patch.StateMissing, Wanted: "2"}}}))
	_, err = w.inventory.PutInventory(w.ctx, inventory.Report{InstanceID: x.node, Items: []inventory.Item{{TypeName: "Custom:Rack", SchemaVersion: "1.0", CaptureTime: "2026-03-01T00:00:00Z", Content: []inventory.Entry{{"Place": "canary"}}}}})
	require.NoError(w.t, err)
	require.NoError(w.t, w.compliance.Report(w.ctx, "default", x.node, compliance.PutComplianceItemsRequest{ComplianceType: "Custom:Canary", ExecutionSummary: compliance.ExecutionSummary{ExecutionTime: at},
		Items: []compliance.ItemEntry{{ID: "canary", Severity: "HIGH", Status: "COMPLIANT"}}}))
	_, err = w.docs.CreateDocument(w.ctx, library.CreateDocumentRequest{Name: "Wait", DocumentType: "Automation", Content: `{"schemaVersion":"0.3","description":"canary","mainSteps":[{"name":"hold","action":"aws:pause","inputs":{}}]}`})
	require.NoError(w.t, err)
	x.execution = call1[StartAutomationExecutionResult](w, "StartAutomationExecution", map[string]any{"DocumentName": "Wait"}).AutomationExecutionID
	for e, err := range w.automations.Events(w.ctx, x.execution, 0) {
		require.NoError(w.t, err)
		if e.Kind == "ExecutionWaiting" {
			break
		}
	}
	x.policy, x.policyHash = shared.PolicyID, shared.PolicyHash
	return x
}

const (
	canaryARN    = "arn:aws:ssm:local:default:parameter/app/secret"
	canaryPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"reader"},"Action":["ssm:GetParameter"],"Resource":"` + canaryARN + `"}]}`
)

// judgeTable returns what is wrong with a table of operations.
func judgeTable(ops []Operation, samples map[string]func(things) any) (out []string) {
	actions := map[string]bool{}
	for _, a := range access.Actions() {
		actions[a.Name] = true
	}
	seen := map[string]bool{}
	for _, o := range ops {
		bad := func(format string, args ...any) { out = append(out, o.Name+": "+fmt.Sprintf(format, args...)) }
		switch {
		case !regexp.MustCompile(`\A[A-Z][A-Za-z]+\z`).MatchString(o.Name):
			bad("no name of an operation")
		case seen[o.Name]:
			bad("stands twice")
		case o.Permission == "":
			bad("has no permission")
		case !actions[o.Permission]:
			bad("its permission %s is not in access.Actions", o.Permission)
		case !o.Own && o.Permission != "ssm:"+o.Name:
			bad("an operation of AWS asks for AWS's action, not %s", o.Permission)
		case o.Summary == "" || !strings.HasSuffix(o.Summary, "."):
			bad("has no summary")
		case o.Streams && (o.stream == nil || o.call != nil), !o.Streams && (o.call == nil || o.stream != nil):
			bad("has no handler that fits")
		case samples[o.Name] == nil:
			bad("has no sample: add one, so that the walk calls it")
		}
		seen[o.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		if !seen[name] {
			out = append(out, name+": has a sample and no row")
		}
	}
	return out
}

func TestR01_EveryOperationHasARow(t *testing.T) {
	require.Empty(t, judgeTable(Operations(), samples()))
	require.True(t, slices.IsSortedFunc(Operations(), func(a, b Operation) int { return strings.Compare(a.Name, b.Name) }))
	for _, name := range []string{"SendCommand", "CancelCommand", "ListCommands", "ListCommandInvocations", "GetCommandInvocation", "CreateDocument", "UpdateDocument",
		"UpdateDocumentDefaultVersion", "GetDocument", "DescribeDocument", "ListDocuments", "ListDocumentVersions", "DeleteDocument", "CreateActivation", "DescribeActivations",
		"DeleteActivation", "DescribeInstanceInformation", "DeregisterManagedInstance", "AddTagsToResource", "RemoveTagsFromResource", "ListTagsForResource"} {
		require.True(t, slices.ContainsFunc(Operations(), func(o Operation) bool { return o.Name == name && !o.Own }), name)
	}
}

// The judge bites: each planted fault is named.
func TestR01_AnOperationWithoutARowFails(t *testing.T) {
	good := Operations()[0]
	for want, change := range map[string]func(*Operation){
		"has no permission":               func(o *Operation) { o.Permission = "" },
		"not in access.Actions":           func(o *Operation) { o.Permission = "ssm:Invented" },
		"asks for AWS's action":           func(o *Operation) { o.Permission = "ssm:SendCommand" },
		"has no handler that fits":        func(o *Operation) { o.call = nil },
		"has no sample":                   func(o *Operation) { o.Name, o.Permission, o.Own = "Unheard", "ssm:SendCommand", true },
		"no name of an operation":         func(o *Operation) { o.Name = "../x" },
		"has no summary":                  func(o *Operation) { o.Summary = "" },
		"has a sample and no row":         func(o *Operation) { o.Name, o.Permission = "GetDocument", "ssm:GetDocument" },
		"an operation of AWS asks for":    func(o *Operation) { o.Permission = "ssm:GetDocument" },
		"AddTagsToResource: stands twice": func(*Operation) {},
	} {
		o := good
		change(&o)
		ops := []Operation{o}
		if strings.Contains(want, "twice") {
			ops = append(ops, o)
		}
		require.Contains(t, strings.Join(judgeTable(ops, samples()), "\n"), want)
	}
}

// Every operation, called by nobody, by somebody without grants, by another tenant, and by who may do just this.
func TestR01_Walk(t *testing.T) {
	for _, o := range Operations() {
		t.Run(o.Name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				x := furnish(w)
				h := w.api.Handler(byHeader(), nil)
				b, err := json.Marshal(samples()[o.Name](x))
				require.NoError(t, err)
				body := string(b)

				// Nobody learns anything: the same answer as for an operation that does not exist, and another method, and a body that is none.
				got := post(h, "", "", o.Name, body)
				require.Equal(t, http.StatusUnauthorized, got.Code)
				require.Equal(t, `{"__type":"UnrecognizedClientException","message":"the request has no valid credentials"}`, got.Body.String())
				none := post(h, "", "", "NoSuchThing", "{")
				require.Equal(t, got.Code, none.Code)
				require.Equal(t, got.Body.String(), none.Body.String())
				require.Equal(t, without(got.Header(), "X-Amzn-Requestid"), without(none.Header(), "X-Amzn-Requestid"))

				before := state(w, x)
				for _, c := range []struct{ name, tenant string }{{"nobody", ""}, {"admin", "other"}, {"only " + o.Permission, "other"}} {
					got := post(h, c.name, c.tenant, o.Name, body)
					require.NotContains(t, got.Body.String(), "canary", "%v", c)
					if c.name == "nobody" && got.Code == http.StatusOK {
						require.Regexp(t, `^\{"[A-Za-z]+":\[\]\}$`, got.Body.String(), "who has no grant is denied, or sees an empty list")
					}
				}
				require.Equal(t, before, state(w, x), "who may not, changed something")

				require.NoError(t, w.log.Flush(t.Context()))
				denied, _, err := w.log.List(w.ctx, audit.Filter{Principal: "nobody"}, nil)
				require.NoError(t, err)
				require.NotEmpty(t, denied, "the call of who may not is not recorded")

				got = post(h, "only "+o.Permission, "", o.Name, body)
				require.Equal(t, http.StatusOK, got.Code, "%s is what it asks for: %s", o.Permission, got.Body.String())
				require.NoError(t, w.log.Flush(t.Context()))
				es, _, err := w.log.List(w.ctx, audit.Filter{Principal: "only " + o.Permission, Action: o.Permission}, nil)
				require.NoError(t, err)
				require.NotEmpty(t, es, "the call is not recorded")
				require.Equal(t, audit.Success, es[0].Outcome)
			})
		})
	}
}

func without(h http.Header, name string) http.Header {
	h = h.Clone()
	h.Del(name)
	return h
}

// state is everything that admin sees.
func state(w *world, x things) string {
	var b strings.Builder
	for _, op := range []string{"ListCommands", "ListDocuments", "DescribeActivations", "DescribeInstanceInformation", "ListGroups", "DescribeParameters"} {
		out, err := w.api.Call(w.ctx, op, nil)
		require.NoError(w.t, err)
		b.Write(out)
	}
	out, err := w.api.Call(w.ctx, "ListDocumentVersions", []byte(`{"Name":"Greet"}`))
	require.NoError(w.t, err)
	b.Write(out)
	return b.String()
}
