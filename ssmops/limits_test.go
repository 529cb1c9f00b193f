package ssmops

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
)

// members returns every request that differs from in by one string, which f changes.
func members(in any, f func(string) any) (out []any) {
	switch v := in.(type) {
	case string:
		out = append(out, f(v))
	case []any:
		for i := range v {
			for _, c := range members(v[i], f) {
				l := append([]any(nil), v...)
				l[i] = c
				out = append(out, l)
			}
		}
	case map[string]any:
		for k := range v {
			for _, c := range members(v[k], f) {
				m := map[string]any{}
				for k2, v2 := range v {
					m[k2] = v2
				}
				m[k] = c
				out = append(out, m)
			}
		}
	}
	return out
}

// more are members that samples do without.
func more() map[string]map[string]any {
	filter := []m{{"key": "DocumentName", "value": "x"}}
	return map[string]map[string]any{
		"SendCommand":  {"Comment": "x", "DocumentVersion": "1", "DocumentHash": "x", "MaxConcurrency": "1", "MaxErrors": "1", "ClientToken": "x", "Parameters": m{"x": []string{"x"}}},
		"PlanCommand":  {"Targets": []m{{"Key": "tag:x", "Values": []string{"x"}}}},
		"ListCommands": {"InstanceId": "x", "Filters": filter, "NextToken": "x"}, "ListCommandInvocations": {"InstanceId": "x", "Filters": filter, "NextToken": "x"},
		"GetCommandInvocation": {"PluginName": "greet"}, "GetCommandOutput": {"PluginName": "greet", "Stream": "stdout"}, "CancelCommand": {"InstanceIds": []string{"x"}},
		"CreateDocument": {"DisplayName": "x", "VersionName": "xyz", "DocumentType": "Command", "DocumentFormat": "JSON", "TargetType": "/", "Tags": []m{{"Key": "x", "Value": "x"}}},
		"UpdateDocument": {"VersionName": "xyz"}, "GetDocument": {"VersionName": "xyz", "DocumentVersion": "1"}, "DescribeDocument": {"VersionName": "xyz"}, "DeleteDocument": {"VersionName": "xyz"},
		"ListDocuments":        {"Filters": []m{{"Key": "Name", "Values": []string{"x"}}}, "NextToken": "x"},
		"ListDocumentVersions": {"NextToken": "x"},
		"CreateActivation":     {"Description": "x", "DefaultInstanceName": "x", "IamRole": "x", "Tags": []m{{"Key": "x", "Value": "x"}}},
		"DescribeActivations":  {"Filters": []m{{"FilterKey": "IamRole", "FilterValues": []string{"x"}}}, "NextToken": "x"},
		"DescribeInstanceInformation": {"Filters": []m{{"Key": "tag:x", "Values": []string{"x"}}}, "NextToken": "x",
			"InstanceInformationFilterList": []m{{"key": "AgentVersion", "valueSet": []string{"x"}}}},
		"CreateGroup": {"Description": "x"}, "ListGroups": {"NextToken": "x"}, "ListGroupResources": {"NextToken": "x"},
		"ListAudit": {"Principal": "x", "Action": "x", "Resource": "x", "Outcome": "Denied", "Id": "x", "NextToken": "x"},
	}
}

// Whatever a text is, of whatever length, in whatever member of whatever operation: it is refused or of no effect, never an internal error, and what is said about it is short and printable.
func TestR20_NoTextIsAnInternalError(t *testing.T) {
	for _, o := range Operations() {
		t.Run(o.Name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				x := furnish(w)
				h := w.api.Handler(byHeader(), nil)
				b, err := json.Marshal(samples()[o.Name](x))
				require.NoError(t, err)
				full := map[string]any{}
				require.NoError(t, json.Unmarshal(b, &full))
				b, err = json.Marshal(more()[o.Name])
				require.NoError(t, err)
				require.NoError(t, json.Unmarshal(b, &full))
				for name, f := range map[string]func(string) any{
					"long":     func(string) any { return strings.Repeat("x", 2000) },
					"longer":   func(string) any { return strings.Repeat("é", 100_000) },
					"empty":    func(string) any { return "" },
					"controls": func(s string) any { return s + "\x00\x1b[2J\u202e\n" },
					"slashes":  func(s string) any { return "../../" + s },
					"null":     func(string) any { return nil },
					"number":   func(string) any { return 1e300 },
					"list":     func(s string) any { return []any{s} },
					"object":   func(s string) any { return m{"x": s} },
				} {
					for _, in := range members(full, f) {
						b, err := json.Marshal(in)
						require.NoError(t, err)
						got := post(h, "admin", "", o.Name, string(b))
						if got.Code == http.StatusOK {
							continue
						}
						require.NotEqual(t, http.StatusInternalServerError, got.Code, "%s: %.300s: %s", name, b, got.Body)
						require.NotEqual(t, http.StatusServiceUnavailable, got.Code, "%s: %.300s: %s", name, b, got.Body)
						require.Less(t, got.Body.Len(), maxText+200, "%s: %.300s", name, b)
						require.Equal(t, fault.Clean(got.Body.String()), got.Body.String(), name)
					}
				}
			})
		})
	}
}
