package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/ssmops"
)

// stub is a control plane that answers as told and remembers what it was asked.
type stub struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []string
	answers map[string]func(w http.ResponseWriter, body string)
}

func newStub(t *testing.T) *stub {
	s := &stub{answers: map[string]func(http.ResponseWriter, string){}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSSM.")
		s.mu.Lock()
		s.asked = append(s.asked, op+" "+string(b))
		f := s.answers[op]
		s.mu.Unlock()
		if f == nil {
			io.WriteString(w, "{}")
			return
		}
		f(w, string(b))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *stub) says(op, answer string) {
	s.answers[op] = func(w http.ResponseWriter, _ string) { io.WriteString(w, answer) }
}

// ctl runs fleetctl in this process.
func (s *stub) ctl(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, ssmops.NewToken().Reveal(), 0o600))
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}
	code = a.main(t.Context(), append([]string{"-server", s.URL, "-token-file", token}, args...))
	return out.String(), errs.String(), code
}

// What every verb asks for.
func TestVerbsAsk(t *testing.T) {
	s := newStub(t)
	for _, c := range []struct{ args, want string }{
		{"cancel C N1 N2", `CancelCommand {"CommandId":"C","InstanceIds":["N1","N2"]}`},
		{"list -node N -status Failed -document D -after 2026-01-01T00:00:00Z -before 2027-01-01T00:00:00Z", `ListCommands {"InstanceId":"N","Filters":[{"key":"Status","value":"Failed"},{"key":"DocumentName","value":"D"},{"key":"InvokedAfter","value":"2026-01-01T00:00:00Z"},{"key":"InvokedBefore","value":"2027-01-01T00:00:00Z"}],"MaxResults":50}`},
		{"get C N", `ListCommandInvocations {"CommandId":"C","InstanceId":"N","Details":true}`},
		{"output C N -step S -stderr", `GetCommandOutput {"CommandId":"C","InstanceId":"N","PluginName":"S","Stream":"stderr"}`},
		{"nodes -tag Role=web -ping Online", `DescribeInstanceInformation {"Filters":[{"Key":"tag:Role","Values":["web"]},{"Key":"PingStatus","Values":["Online"]}]}`},
		{"nodes -tag Role", `DescribeInstanceInformation {"Filters":[{"Key":"tag-key","Values":["Role"]}]}`},
		{"nodes rename N x", `UpdateInstanceName {"InstanceId":"N","Name":"x"}`},
		{"nodes delete N", `DeregisterManagedInstance {"InstanceId":"N"}`},
		{"activations list", `DescribeActivations {}`},
		{"activations delete A", `DeleteActivation {"ActivationId":"A"}`},
		{"documents create D - -format YAML -tags a=b", `CreateDocument {"Content":"text","Name":"D","DocumentFormat":"YAML","Tags":[{"Key":"a","Value":"b"}]}`},
		{"documents update D - -keep-default", `UpdateDocument {"Content":"text","Name":"D","DocumentVersion":"$LATEST"}`},
		{"documents get D -version 3", `GetDocument {"Name":"D","DocumentVersion":"3"}`},
		{"documents list -own", `ListDocuments {"Filters":[{"Key":"Owner","Values":["Self"]}]}`},
		{"documents versions D", `ListDocumentVersions {"Name":"D"}`},
		{"documents default D 2", `UpdateDocumentDefaultVersion {"Name":"D","DocumentVersion":"2"}`},
		{"documents delete D", `DeleteDocument {"Name":"D"}`},
		{"tags list mi-1", `ListTagsForResource {"ResourceType":"ManagedInstance","ResourceId":"mi-1"}`},
		{"tags list D", `ListTagsForResource {"ResourceType":"Document","ResourceId":"D"}`},
		{"tags list D -type ManagedInstance", `ListTagsForResource {"ResourceType":"ManagedInstance","ResourceId":"D"}`},
		{"tags set mi-1 a=b c=d=e", `AddTagsToResource {"ResourceType":"ManagedInstance","ResourceId":"mi-1","Tags":[{"Key":"a","Value":"b"},{"Key":"c","Value":"d=e"}]}`},
		{"tags remove D a", `RemoveTagsFromResource {"ResourceType":"Document","ResourceId":"D","TagKeys":["a"]}`},
		{"tags list pb-1", `ListTagsForResource {"ResourceType":"PatchBaseline","ResourceId":"pb-1"}`},
		{"tags set /web/x a=b", `AddTagsToResource {"ResourceType":"Parameter","ResourceId":"/web/x","Tags":[{"Key":"a","Value":"b"}]}`},
		{"tags remove x a -type Parameter", `RemoveTagsFromResource {"ResourceType":"Parameter","ResourceId":"x","TagKeys":["a"]}`},
		{"groups create g -tags Role=web|db,Env -description x", `CreateGroup {"Name":"g","Description":"x","ResourceQuery":{"Type":"TAG_FILTERS_1_0","Query":"{\"ResourceTypeFilters\":[\"AWS::AllSupported\"],\"TagFilters\":[{\"Key\":\"Role\",\"Values\":[\"web\",\"db\"]},{\"Key\":\"Env\"}]}"}}`},
		{"groups delete g", `DeleteGroup {"Name":"g"}`},
		{"groups nodes g", `ListGroupResources {"Name":"g"}`},
		{"compliance", `ListComplianceSummaries {}`},
		{"compliance nodes -type Patch -status NON_COMPLIANT -severity HIGH", `ListResourceComplianceSummaries {"Filters":[{"Key":"ComplianceType","Values":["Patch"],"Type":"EQUAL"},{"Key":"Status","Values":["NON_COMPLIANT"],"Type":"EQUAL"},{"Key":"OverallSeverity","Values":["HIGH"],"Type":"EQUAL"}]}`},
		{"compliance items N -type Custom:Backup -status COMPLIANT -severity LOW", `ListComplianceItems {"Filters":[{"Key":"ComplianceType","Values":["Custom:Backup"],"Type":"EQUAL"},{"Key":"Status","Values":["COMPLIANT"],"Type":"EQUAL"},{"Key":"Severity","Values":["LOW"],"Type":"EQUAL"}],"ResourceIds":["N"]}`},
		{"compliance at N Patch 2026-03-01T12:00:00Z", `GetComplianceAt {"ResourceId":"N","ComplianceType":"Patch","At":1772366400}`},
		{"compliance history N Patch -since 2026-03-01T12:00:00Z -until 2026-03-01T13:00:00+01:00", `ListComplianceHistory {"ResourceId":"N","ComplianceType":"Patch","From":1772366400,"To":1772366400}`},
		{"patches nodes", `DescribeInstanceInformation {}`},
		{"patches nodes N1 N2", `DescribeInstancePatchStates {"InstanceIds":["N1","N2"]}`},
		{"patches nodes -group g", `DescribeInstancePatchStatesForPatchGroup {"PatchGroup":"g"}`},
		{"patches list N -state Missing,Failed -severity Critical -classification Security", `DescribeInstancePatches {"InstanceId":"N","Filters":[{"Key":"State","Values":["Missing","Failed"]},{"Key":"Severity","Values":["Critical"]},{"Key":"Classification","Values":["Security"]}]}`},
		{"patches group g", `DescribePatchGroupState {"PatchGroup":"g"}`},
		{"patches groups", `DescribePatchGroups {}`},
		{"patches baselines -own -os DEBIAN", `DescribePatchBaselines {"Filters":[{"Key":"OWNER","Values":["Self"]},{"Key":"OPERATING_SYSTEM","Values":["DEBIAN"]}]}`},
		{"patches baseline pb-1", `GetPatchBaseline {"BaselineId":"pb-1"}`},
		{"patches delete pb-1", `DeletePatchBaseline {"BaselineId":"pb-1"}`},
		{"patches default pb-1", `RegisterDefaultPatchBaseline {"BaselineId":"pb-1"}`},
		{"patches register pb-1 g", `RegisterPatchBaselineForPatchGroup {"BaselineId":"pb-1","PatchGroup":"g"}`},
		{"patches deregister pb-1 g", `DeregisterPatchBaselineForPatchGroup {"BaselineId":"pb-1","PatchGroup":"g"}`},
		{"inventory types AWS:A", `GetInventorySchema {"TypeName":"AWS:A"}`},
		{"inventory find AWS:Application.Name=openssl|libssl3 AWS:Application.Version<3.0.15 AWS:Network.IPV4^=10. AWS:Service.Status!=running AWS:Application.Epoch>0",
			`GetInventory {"Filters":[{"Key":"AWS:Application.Name","Values":["openssl","libssl3"],"Type":"Equal"},{"Key":"AWS:Application.Version","Values":["3.0.15"],"Type":"LessThan"},{"Key":"AWS:Network.IPV4","Values":["10."],"Type":"BeginWith"},{"Key":"AWS:Service.Status","Values":["running"],"Type":"NotEqual"},{"Key":"AWS:Application.Epoch","Values":["0"],"Type":"GreaterThan"}]}`},
		{"inventory count AWS:InstanceInformation.PlatformName AWS:Application.Version -where AWS:Application.Name=openssl",
			`GetInventory {"Filters":[{"Key":"AWS:Application.Name","Values":["openssl"],"Type":"Equal"}],"Aggregators":[{"Expression":"AWS:InstanceInformation.PlatformName","Aggregators":[{"Expression":"AWS:Application.Version"}]}]}`},
		{"inventory entries N AWS:Application Name=openssl", `ListInventoryEntries {"InstanceId":"N","TypeName":"AWS:Application","Filters":[{"Key":"Name","Values":["openssl"],"Type":"Equal"}]}`},
		{"inventory changes N -since 2026-03-01T12:00:00Z -type AWS:Application", `ListInventoryChanges {"InstanceId":"N","TypeName":"AWS:Application","Since":1772366400,"Until":null}`},
		{"inventory delete Custom:X -dry-run -schema disable -client-token T", `DeleteInventory {"TypeName":"Custom:X","SchemaDeleteOption":"DisableSchema","DryRun":true,"ClientToken":"T"}`},
		{"inventory deletions D", `DescribeInventoryDeletions {"DeletionId":"D"}`},
		{"parameters list /web -type String -tag Team=web -flat", `DescribeParameters {"ParameterFilters":[{"Key":"Type","Option":"Equals","Values":["String"]},{"Key":"tag:Team","Values":["web"]},{"Key":"Path","Option":"OneLevel","Values":["/web"]}]}`},
		{"parameters list /web -values -decrypt", `GetParametersByPath {"Path":"/web","Recursive":true,"WithDecryption":true}`},
		{"parameters get /x:prod -decrypt", `GetParameter {"Name":"/x:prod","WithDecryption":true}`},
		{"parameters get /x /y", `GetParameters {"Names":["/x","/y"]}`},
		{"parameters put /x -type SecureString -key-id k -tier Advanced -description d -data-type text -allowed-pattern .* -policies [] -tags a=b",
			`PutParameter {"Name":"/x","Description":"d","Value":"text","Type":"SecureString","KeyId":"k","AllowedPattern":".*","Tags":[{"Key":"a","Value":"b"}],"Tier":"Advanced","Policies":"[]","DataType":"text"}`},
		{"parameters put /x", `PutParameter {"Name":"/x","Value":"text","Type":"String"}`},
		{"parameters put /x -overwrite", `PutParameter {"Name":"/x","Value":"text","Overwrite":true}`},
		{"parameters history /x -decrypt", `GetParameterHistory {"Name":"/x","WithDecryption":true}`},
		{"parameters label /x prod -version 2", `LabelParameterVersion {"Name":"/x","ParameterVersion":2,"Labels":["prod"]}`},
		{"parameters unlabel /x prod -version 2", `UnlabelParameterVersion {"Name":"/x","ParameterVersion":2,"Labels":["prod"]}`},
		{"parameters delete /x", `DeleteParameter {"Name":"/x"}`},
		{"parameters delete /x /y", `DeleteParameters {"Names":["/x","/y"]}`},
		{"audit -who w -action ssm:SendCommand -id i -outcome Denied -limit 7", `ListAudit {"Principal":"w","Action":"ssm:SendCommand","Outcome":"Denied","Id":"i","MaxResults":7}`},
		{"send -targets Key=tag:Role,Values=web,db Key=tag:Env,Values=prod -max-concurrency 10% -max-errors 1 -timeout-seconds 60 -client-token T -no-ramp -require-signed -comment x -- echo a b",
			`SendCommand {"DocumentName":"AWS-RunShellScript","Parameters":{"commands":["echo a b"]},"Targets":[{"Key":"tag:Role","Values":["web","db"]},{"Key":"tag:Env","Values":["prod"]}],"MaxConcurrency":"10%","MaxErrors":"1","TimeoutSeconds":60,"Comment":"x","ClientToken":"T","RequireSigned":true,"NoRamp":true}`},
		{"plan -instance-ids mi-1,mi-2 -document D -document-version 2 -parameters a=b,c=d", `PlanCommand {"DocumentName":"D","DocumentVersion":"2","Parameters":{"a":["b"],"c":["d"]},"InstanceIds":["mi-1","mi-2"]}`},
	} {
		s.asked = nil
		_, errs, code := s.ctl(t, "text", strings.Fields(c.args)...)
		require.Contains(t, []int{exitOK, exitRefused}, code, "%s: %s", c.args, errs) // the stub's answers are empty
		require.Len(t, s.asked, 1, c.args)
		require.Equal(t, c.want, s.asked[0], c.args)
	}
	s.asked = nil
	s.says("CreateActivation", `{"ActivationId":"A","ActivationCode":"SECRET"}`)
	file := filepath.Join(t.TempDir(), "code")
	out, _, code := s.ctl(t, "", "activations", "create", "-limit", "3", "-expires", "2h", "-name", "box", "-tags", "Role=web", "-description", "x", "-code-file", file)
	require.Zero(t, code)
	require.Equal(t, "A\n", out, "the code is in the file only")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "SECRET\n", string(b))
	var in ssmops.CreateActivationRequest
	require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(s.asked[0], "CreateActivation ")), &in))
	require.InDelta(t, 7200, time.Until(in.ExpirationDate.Time).Seconds(), 60)
	out, _, _ = s.ctl(t, "", "activations", "create", "-code-file", file+"2", "-o", "json")
	require.NotContains(t, out, "SECRET")
	out, _, _ = s.ctl(t, "", "activations", "create")
	require.Contains(t, out, "SECRET")
}

// Nothing that others wrote commands a terminal, neither in a table nor in JSON, which stays the same JSON.
func TestR11_OutputIsPrintable(t *testing.T) {
	s := newStub(t)
	evil := "\x1b]52;c;x\x07\u202e\u0085\x7f\r"
	js, err := json.Marshal(evil)
	require.NoError(t, err)
	e := string(js)
	for args, answer := range map[string][2]string{
		"nodes":                        {"DescribeInstanceInformation", `{"InstanceInformationList":[{"InstanceId":` + e + `,"Name":` + e + `,"PlatformName":` + e + `,"ComputerName":` + e + `,"IPAddress":` + e + `,"PingStatus":` + e + `,"Tags":{` + e + `:` + e + `}}]}`},
		"list":                         {"ListCommands", `{"Commands":[{"CommandId":` + e + `,"DocumentName":` + e + `,"StatusDetails":` + e + `,"Comment":` + e + `}]}`},
		"get C N":                      {"ListCommandInvocations", `{"CommandInvocations":[{"CommandId":"C","InstanceId":` + e + `,"DocumentName":` + e + `,"Reason":` + e + `,"StatusDetails":` + e + `,"CommandPlugins":[{"Name":` + e + `,"Status":` + e + `,"Output":` + e + `}]}]}`},
		"activations list":             {"DescribeActivations", `{"ActivationList":[{"ActivationId":` + e + `,"DefaultInstanceName":` + e + `,"Description":` + e + `,"Tags":[{"Key":` + e + `,"Value":` + e + `}]}]}`},
		"documents list":               {"ListDocuments", `{"DocumentIdentifiers":[{"Name":` + e + `,"Owner":` + e + `,"DocumentType":` + e + `,"PlatformTypes":[` + e + `]}]}`},
		"tags list mi-1":               {"ListTagsForResource", `{"TagList":[{"Key":` + e + `,"Value":` + e + `}]}`},
		"groups list":                  {"ListGroups", `{"Groups":[{"Name":` + e + `,"Description":` + e + `,"ResourceQuery":{"Query":"{}"}}]}`},
		"groups nodes g":               {"ListGroupResources", `{"InstanceIds":[` + e + `]}`},
		"audit":                        {"ListAudit", `{"Entries":[{"Principal":` + e + `,"Action":` + e + `,"Resource":` + e + `,"Outcome":` + e + `,"Code":` + e + `,"Ids":{` + e + `:` + e + `}}]}`},
		"documents create D -":         {"CreateDocument", `{"DocumentDescription":{"Name":` + e + `,"DocumentVersion":` + e + `},"Findings":[{"Severity":` + e + `,"Message":` + e + `}]}`},
		"compliance nodes":             {"ListResourceComplianceSummaries", `{"ResourceComplianceSummaryItems":[{"ResourceId":` + e + `,"ComplianceType":` + e + `,"Status":` + e + `,"OverallSeverity":` + e + `}]}`},
		"compliance":                   {"ListComplianceSummaries", `{"ComplianceSummaryItems":[{"ComplianceType":` + e + `}]}`},
		"compliance items N":           {"ListComplianceItems", `{"ComplianceItems":[{"ComplianceType":` + e + `,"Id":` + e + `,"Title":` + e + `,"Status":` + e + `,"Severity":` + e + `,"Details":{` + e + `:` + e + `}}]}`},
		"compliance at N T now":        {"GetComplianceAt", `{"Summary":{"Status":` + e + `,"OverallSeverity":` + e + `,"ExecutionSummary":{"ExecutionId":` + e + `,"ExecutionType":` + e + `}},"Items":[{"Id":` + e + `,"Title":` + e + `,"Details":{` + e + `:` + e + `}}]}`},
		"compliance history N T":       {"ListComplianceHistory", `{"Reports":[{"Summary":{"Status":` + e + `,"OverallSeverity":` + e + `},"ExecutionSummary":{"ExecutionId":` + e + `}}]}`},
		"patches nodes N":              {"DescribeInstancePatchStates", `{"InstancePatchStates":[{"InstanceId":` + e + `,"PatchGroup":` + e + `,"BaselineId":` + e + `,"Operation":` + e + `}]}`},
		"patches list N":               {"DescribeInstancePatches", `{"Patches":[{"Title":` + e + `,"KBId":` + e + `,"Classification":` + e + `,"Severity":` + e + `,"State":` + e + `,"CVEIds":` + e + `}]}`},
		"patches groups":               {"DescribePatchGroups", `{"Mappings":[{"PatchGroup":` + e + `,"BaselineIdentity":{"BaselineId":` + e + `,"BaselineName":` + e + `,"OperatingSystem":` + e + `}}]}`},
		"patches baselines":            {"DescribePatchBaselines", `{"BaselineIdentities":[{"BaselineId":` + e + `,"BaselineName":` + e + `,"OperatingSystem":` + e + `,"BaselineDescription":` + e + `}]}`},
		"inventory types":              {"GetInventorySchema", `{"Schemas":[{"TypeName":` + e + `,"Version":` + e + `,"Attributes":[{"Name":` + e + `}]}]}`},
		"inventory count a.b":          {"GetInventory", `{"Entities":[{"Data":{"a":{"Content":[{"a.b":` + e + `,"Count":` + e + `}]}}}]}`},
		"inventory entries N Custom:T": {"ListInventoryEntries", `{"CaptureTime":"x","Entries":[{` + e + `:` + e + `},{` + e + `:"2"}]}`},
		"inventory entries N Custom:U": {"ListInventoryEntries", `{"CaptureTime":"x","Entries":[{` + e + `:` + e + `}]}`},
		"inventory changes N":          {"ListInventoryChanges", `{"Changes":[{"TypeName":` + e + `,"Added":[{` + e + `:` + e + `}],"Removed":[{` + e + `:"x"}]},{"TypeName":"AWS:Application","Added":[{"Name":` + e + `,"Version":` + e + `}]}]}`},
		"inventory deletions":          {"DescribeInventoryDeletions", `{"InventoryDeletions":[{"DeletionId":` + e + `,"TypeName":` + e + `,"LastStatus":` + e + `,"LastStatusMessage":` + e + `}]}`},
		"inventory delete T":           {"DeleteInventory", `{"DeletionId":` + e + `,"DeletionSummary":{"SummaryItems":[{"Version":` + e + `}]}}`},
		"parameters list":              {"DescribeParameters", `{"Parameters":[{"Name":` + e + `,"Type":` + e + `,"Tier":` + e + `,"LastModifiedUser":` + e + `,"Description":` + e + `}]}`},
		"parameters list / -values":    {"GetParametersByPath", `{"Parameters":[{"Name":` + e + `,"Type":` + e + `,"Value":` + e + `}]}`},
		"parameters get /x":            {"GetParameter", `{"Parameter":{"Name":` + e + `,"Type":` + e + `,"Selector":` + e + `,"Value":` + e + `}}`},
		"parameters history /x":        {"GetParameterHistory", `{"Parameters":[{"Type":` + e + `,"LastModifiedUser":` + e + `,"Labels":[` + e + `],"Value":` + e + `}]}`},
		"parameters put /x":            {"PutParameter", `{"Tier":` + e + `}`},
		"plan -instance-ids mi-1 -- x": {"PlanCommand", `{"DocumentName":` + e + `,"DocumentVersion":` + e + `,"Findings":[{"Severity":` + e + `,"Message":` + e + `}],"Nodes":[{"InstanceId":` + e + `,"Name":` + e + `,"Matched":[` + e + `],"Reason":` + e + `,"Refused":` + e + `}],"Variants":[{"PlatformType":` + e + `,"Digest":` + e + `,"Steps":[{"Name":` + e + `,"Action":` + e + `,"Verdict":` + e + `,"Reason":` + e + `,"Inputs":{"runCommand":[` + e + `]}}]}]}`},
	} {
		s.says(answer[0], answer[1])
		for _, more := range [][]string{nil, {"-o", "json"}} {
			out, errs, _ := s.ctl(t, "x", append(append([]string{}, more...), strings.Fields(args)...)...)
			require.NotEmpty(t, out, args)
			for _, bad := range []string{"\x1b", "\x07", "\u202e", "\u0085", "\x7f", "\r"} {
				require.NotContains(t, out+errs, bad, "%s %v", args, more)
			}
			if more != nil {
				require.Contains(t, out, `\u202e\u0085\u007f\r`, args)
				require.True(t, json.Valid([]byte(out)))
			}
		}
	}
	s.answers["ListCommands"] = func(w http.ResponseWriter, _ string) {
		w.WriteHeader(400)
		io.WriteString(w, `{"__type":`+e+`,"Message":`+e+`}`)
	}
	_, errs, code := s.ctl(t, "", "list")
	require.Equal(t, exitRefused, code)
	require.NotContains(t, errs, "\x1b")
	var b bytes.Buffer
	n, err := printable{&b}.Write([]byte("a\tb\n" + evil + "\xff\nc"))
	require.NoError(t, err)
	require.Equal(t, len("a\tb\n"+evil+"\xff\nc"), n)
	require.Equal(t, "a\tb\n"+`\x1b]52;c;x\x07\u{202e}\x85\x7f\r\xff`+"\nc", b.String())
}

// A command whose answer got lost is sent again with the same token.
func TestSendIsRepeatedWithItsToken(t *testing.T) {
	s := newStub(t)
	n := 0
	s.answers["SendCommand"] = func(w http.ResponseWriter, _ string) {
		if n++; n == 1 {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, `{"Command":{"CommandId":"C"}}`)
	}
	s.Config.ErrorLog = nil
	out, errs, code := s.ctl(t, "", "send", "-instance-ids", "mi-1", "--", "x")
	require.Zero(t, code, errs)
	require.Equal(t, "C\n", out)
	require.Len(t, s.asked, 2)
	require.Equal(t, s.asked[0], s.asked[1])
	require.Regexp(t, `"ClientToken":"[A-Z2-7]{26}"`, s.asked[0])
	s.answers["SendCommand"] = func(w http.ResponseWriter, _ string) {
		w.WriteHeader(400)
		io.WriteString(w, `{"__type":"InvalidDocument","Message":"no"}`)
	}
	s.asked = nil
	_, errs, code = s.ctl(t, "", "send", "-instance-ids", "mi-1", "--", "x")
	require.Equal(t, exitRefused, code)
	require.Equal(t, "fleetctl: InvalidDocument: no\n", errs)
	require.Len(t, s.asked, 1, "a refusal is final")
}

// A stream that breaks is taken up behind its last cursor.
func TestWatchGoesOnBehindItsCursor(t *testing.T) {
	s := newStub(t)
	n := 0
	s.answers["WatchCommand"] = func(w http.ResponseWriter, body string) {
		n++
		switch n {
		case 1:
			require.Equal(t, `{"CommandId":"C"}`, body)
			io.WriteString(w, "\n"+`{"Cursor":5,"StatusDetails":"InProgress","TargetCount":2}`+"\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case 2:
			io.WriteString(w, `{"TargetCount":0,"__type":"ServiceUnavailable","message":"stopping"}`+"\n")
		case 3:
			w.WriteHeader(503)
		default:
			require.Equal(t, `{"CommandId":"C","Cursor":5}`, body)
			io.WriteString(w, `{"Cursor":6,"TargetCount":2,"Done":true,"Changes":[{"InstanceId":"N1","StatusDetails":"Success","ElapsedSeconds":61.2,"FirstLine":"hi"},{"InstanceId":"N2","StatusDetails":"InProgress"}]}`+"\n")
		}
	}
	s.says("ListCommands", `{"Commands":[{"CommandId":"C","Status":"Success","StatusDetails":"Success","TargetCount":1,"CompletedCount":1}]}`)
	s.says("ListCommandInvocations", `{"CommandInvocations":[{"InstanceId":"N1","StatusDetails":"Success","ResponseCode":0,"ElapsedSeconds":61.2,"FirstLine":"hi"},{"InstanceId":"N2","StatusDetails":"DeliveryTimedOut","ResponseCode":-1,"Reason":"gone"}]}`)
	out, errs, code := s.ctl(t, "", "watch", "C")
	require.Zero(t, code, errs)
	require.Equal(t, "N1 Success exit 0 1m1s hi\n", errs)
	require.Equal(t, "NODE  STATUS            EXIT  TIME  OUTPUT\nN1    Success           0     1m1s  hi\nN2    DeliveryTimedOut  -     -     gone\nC: Success, 1 of 1 done, 0 failed\n", out)
	require.Equal(t, 4, n)
}

func TestProgressOnATerminal(t *testing.T) {
	var b bytes.Buffer
	p := &progress{a: &app{stderr: &b, terminal: true}}
	p.show(&ssmops.WatchUpdate{StatusDetails: message.DetailInProgress, TargetCount: 9, CompletedCount: 4, ErrorCount: 1, RunningCount: 3, DelayedCount: 2})
	require.Equal(t, "\r\x1b[KInProgress: 4 of 9 done, 1 failed, 3 running, 2 not connected", b.String())
	p.clear()
	require.True(t, strings.HasSuffix(b.String(), "\r\x1b[K"), "the line goes before the table comes")
	b.Reset()
	p.clear()
	require.Empty(t, b.String())
	p = &progress{a: &app{stderr: &b}, quiet: true}
	p.show(&ssmops.WatchUpdate{Changes: []ssmops.WatchChange{{StatusDetails: message.DetailSuccess}}})
	require.Empty(t, b.String())
	for want, s := range map[string]float64{"": 0, "10ms": 0.0101, "9.99s": 9.99, "12.3s": 12.34, "1m40s": 100.4} {
		require.Equal(t, want, seconds(s))
	}
	require.Equal(t, "ab…", short("abcd", 3))
	require.Equal(t, `a\n`, short("a\n", 3))
	require.Equal(t, "-", fmt.Sprint(when(time.Time{})))
}
