package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/inventory"
)

// The verbs of parameters, inventory, patches and compliance.

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		text string
		want inventory.Filter
	}{
		{"AWS:Application.Name=openssl", inventory.Filter{Key: "AWS:Application.Name", Type: inventory.Equal, Values: []string{"openssl"}}},
		{" AWS:Application.Name = a b ", inventory.Filter{Key: "AWS:Application.Name", Type: inventory.Equal, Values: []string{"a b"}}},
		{"A.B!=x|y", inventory.Filter{Key: "A.B", Type: inventory.NotEqual, Values: []string{"x", "y"}}},
		{"A.B^=x", inventory.Filter{Key: "A.B", Type: inventory.BeginWith, Values: []string{"x"}}},
		{"A.B<1:2.0~rc1", inventory.Filter{Key: "A.B", Type: inventory.LessThan, Values: []string{"1:2.0~rc1"}}},
		{"A.B>2", inventory.Filter{Key: "A.B", Type: inventory.GreaterThan, Values: []string{"2"}}},
		{"A.B=c=d", inventory.Filter{Key: "A.B", Type: inventory.Equal, Values: []string{"c=d"}}},
		{"A.B=x exists", inventory.Filter{Key: "A.B", Type: inventory.Equal, Values: []string{"x exists"}}},
		{"A.B=", inventory.Filter{Key: "A.B", Type: inventory.Equal, Values: []string{""}}},
		{"A.B exists", inventory.Filter{Key: "A.B", Type: inventory.Exists}},
		{"AWS:File exists", inventory.Filter{Key: "AWS:File", Type: inventory.Exists}},
	} {
		f, err := condition(c.text)
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, f, c.text)
	}
	for _, text := range []string{"", "A.B", "=x", "!=x", "A.B<=2", "A.B>=2", "exists", "<", "\x1b"} {
		_, err := condition(text)
		require.ErrorAs(t, err, &usage{}, text)
		require.NotContains(t, err.Error(), "\x1b")
	}
	g, err := groupOf("old openssl: A.B=openssl && A.C<3")
	require.NoError(t, err)
	require.Equal(t, inventory.Group{Name: "old openssl", Filters: []inventory.Filter{{Key: "A.B", Type: inventory.Equal, Values: []string{"openssl"}}, {Key: "A.C", Type: inventory.LessThan, Values: []string{"3"}}}}, g)
	for _, text := range []string{"", "x", "AWS:Application.Name=x", "Custom:T.A=x", ": A.B=c", "x: ", "x: A.B=c &&", "a=b: c"} {
		_, err := groupOf(text)
		require.Error(t, err, text)
	}
}

// Whatever attribute and values people write, the condition says the same.
func TestConditionsSayWhatIsWritten(t *testing.T) {
	ops := map[string]inventory.Operator{"=": inventory.Equal, "!=": inventory.NotEqual, "^=": inventory.BeginWith, "<": inventory.LessThan, ">": inventory.GreaterThan}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`(AWS|Custom):[A-Z][A-Za-z]{0,8}\.[A-Z][A-Za-z0-9 _-]{0,8}[a-z]`).Draw(t, "key")
		op := rapid.SampledFrom([]string{"=", "!=", "^=", "<", ">"}).Draw(t, "op")
		values := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9:~+.!^]([ -{}~é]{0,8}[a-z0-9])?`), 1, 3).Draw(t, "values")
		f, err := condition(key + op + strings.Join(values, "|"))
		require.NoError(t, err)
		require.Equal(t, inventory.Filter{Key: key, Type: ops[op], Values: values}, f)
	})
}

func TestInstants(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-03-01T12:00:00Z": time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), "2026-03-01T12:00:00+02:00": time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		"2026-03-01": time.Date(2026, 3, 1, 0, 0, 0, 0, time.Local), "2026-03-01 12:30": time.Date(2026, 3, 1, 12, 30, 0, 0, time.Local), "2026-03-01T12:30:15": time.Date(2026, 3, 1, 12, 30, 15, 0, time.Local),
	} {
		got, err := instant("x", text)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%s: %s", text, got)
	}
	for text, ago := range map[string]time.Duration{"now": 0, "72h": 72 * time.Hour, "0d": 0, "90m": 90 * time.Minute} {
		got, err := instant("x", text)
		require.NoError(t, err, text)
		require.InDelta(t, ago.Seconds(), time.Since(got).Seconds(), 60, text)
	}
	got, err := instant("x", "3d2h")
	require.NoError(t, err)
	require.InDelta(t, time.Since(time.Now().AddDate(0, 0, -3).Add(-2*time.Hour)).Seconds(), time.Since(got).Seconds(), 60)
	for _, text := range []string{"", "tomorrow", "-3h", "-1d", "3", "d", "3dd", "2026-13-01", "999999d", "\x1b"} {
		_, err := instant("-since", text)
		require.ErrorAs(t, err, &usage{}, "%q", text)
		require.NotContains(t, err.Error(), "\x1b")
	}
}

// Bad arguments are told before anything is asked.
func TestBadArgumentsAskNothing(t *testing.T) {
	s := newStub(t)
	for args, want := range map[string]string{
		"inventory find":                                             "CONDITION is missing",
		"inventory find A.B":                                         "write TYPE.ATTRIBUTE=VALUE",
		"inventory find A.B<=1":                                      "there is no <=",
		"inventory find A.B=c -limit -1":                             "negative",
		"inventory find A.B=c -- x":                                  "behind --",
		"inventory count":                                            "ATTRIBUTE is missing",
		"inventory count A.B -group x:A.B=c":                         "give one of them",
		"inventory count -group A.B=c":                               "-group",
		"inventory entries N":                                        "NODE and TYPE",
		"inventory changes N -since x":                               "-since",
		"inventory delete Custom:X -schema no":                       "keep, delete or disable",
		"inventory export":                                           "say whose",
		"inventory export N -all":                                    "say whose",
		"inventory export N M":                                       "one too many",
		"inventory export N -format pdf":                             "jsonl, csv or cyclonedx",
		"inventory export -all -format cyclonedx":                    "-dir is missing",
		"inventory export N -format cyclonedx -type AWS:Foo":         "-type",
		"inventory export N -xml":                                    "-xml",
		"inventory export N -spreadsheet":                            "-spreadsheet",
		"inventory export N -o json":                                 "-o json",
		"inventory gather":                                           "-targets is missing",
		"inventory gather -instance-ids N -- x":                      "is for run",
		"patches scan -instance-ids N -document D":                   "is for run",
		"patches scan -instance-ids N -content F":                    "is for run",
		"patches scan -instance-ids N -parameters Operation=Install": "given by the verb",
		"patches nodes N -group g":                                   "give one of them",
		"patches update pb-1":                                        "FILE is missing",
		"patches register pb-1":                                      "GROUP is missing",
		"patches create /nonexistent":                                "FILE",
		"compliance x":                                               "one too many",
		"compliance nodes -status BAD":                               "NON_COMPLIANT or COMPLIANT",
		"compliance at N T":                                          "TIME is missing",
		"compliance at N T never":                                    "is no time",
		"parameters get":                                             "NAME is missing",
		"parameters get /x /y -value":                                "one NAME",
		"parameters get /x -value -o json":                           "give one of them",
		"parameters list x":                                          "must begin with /",
		"parameters list -values":                                    "PATH is missing",
		"parameters list -decrypt":                                   "-values only",
		"parameters list / -values -tag a":                           "do not go together",
		"parameters put /x the-value":                                "one too many",
		"parameters delete":                                          "NAME is missing",
		"parameters label /x":                                        "NAME and LABEL",
		"parameters label /x l -version -1":                          "negative",
		"parameters unlabel /x l":                                    "-version is missing",
		"tags list x -type Group":                                    "PatchBaseline",
	} {
		_, errs, code := s.ctl(t, "text", strings.Fields(args)...)
		require.Equal(t, exitArguments, code, "%s: %s", args, errs)
		require.Contains(t, errs, want, args)
	}
	_, errs, code := s.ctl(t, "", "parameters", "put", "/x")
	require.Equal(t, exitArguments, code)
	require.Contains(t, errs, "the value is missing")
	for _, text := range []string{"", "[1]", "null", "{", "\x1b"} {
		_, errs, code := s.ctl(t, text, "patches", "create", "-")
		require.Equal(t, exitArguments, code, text)
		require.NotContains(t, errs, "\x1b")
	}
	require.Empty(t, s.asked)
}

// S8, S24: the value of a SecureString comes from standard input, and nothing shows it unless -decrypt says so.
func TestSecretsOfParameters(t *testing.T) {
	s := newStub(t)
	for in, want := range map[string]string{"v\n": `"v"`, "v\r\n": `"v"`, "v\n\n": `"v\n"`, " v": `" v"`, "ü\"<": `"ü\"<"`} {
		s.asked = nil
		_, errs, code := s.ctl(t, in, "parameters", "put", "/x", "-type", "SecureString")
		require.Zero(t, code, errs)
		require.Equal(t, []string{`PutParameter {"Name":"/x","Value":` + want + `,"Type":"SecureString"}`}, s.asked)
	}
	s.asked = nil
	s.ctl(t, "v\n", "parameters", "put", "/x", "-keep-newline")
	require.Equal(t, []string{`PutParameter {"Name":"/x","Value":"v\n","Type":"String"}`}, s.asked)

	one := `{"Name":"/x","Type":"SecureString","Value":"hunter2","Version":2}`
	s.says("GetParameter", `{"Parameter":`+one+`}`)
	s.says("GetParameters", `{"Parameters":[`+one+`],"InvalidParameters":["/y"]}`)
	s.says("GetParametersByPath", `{"Parameters":[`+one+`,{"Name":"/y","Type":"String","Value":"plain"}]}`)
	s.says("GetParameterHistory", `{"Parameters":[`+one+`]}`)
	for args, code := range map[string]int{"get /x": 0, "get /x /y": exitRefused, "list / -values": 0, "history /x": 0, "get /x -value": exitArguments} {
		out, errs, got := s.ctl(t, "", strings.Fields("parameters "+args)...)
		require.Equal(t, code, got, args)
		require.NotContains(t, out+errs, "hunter2", args)
		if args == "get /x -value" {
			require.Empty(t, out)
			continue
		}
		require.Contains(t, out, "***", args)
		out, _, got = s.ctl(t, "", strings.Fields("parameters "+args+" -decrypt")...)
		require.Equal(t, code, got, args)
		require.Contains(t, out, "hunter2", args)
		require.NotContains(t, out, "***", args)
	}
	out, _, code := s.ctl(t, "", "parameters", "get", "/x", "-value", "-decrypt")
	require.Zero(t, code)
	require.Equal(t, "hunter2\n", out)
	out, _, _ = s.ctl(t, "", "parameters", "list", "/", "-values")
	require.Equal(t, "NAME  TYPE          VERSION  MODIFIED  VALUE\n/x    SecureString  2        -         ***\n/y    String        0        -         plain\n", out)
	out, _, _ = s.ctl(t, "", "parameters", "get", "/x", "-decrypt", "-o", "json")
	require.Contains(t, out, `"Value": "hunter2"`, "who asks for JSON and -decrypt is told")
	_, errs, _ := s.ctl(t, "", "parameters", "get", "/x", "/y")
	require.Equal(t, "fleetctl: ParameterNotFound: not there: /y\n", errs)
	s.says("LabelParameterVersion", `{"InvalidLabels":["1x"],"ParameterVersion":2}`)
	_, errs, code = s.ctl(t, "", "parameters", "label", "/x", "1x", "ok")
	require.Equal(t, exitRefused, code)
	require.Contains(t, errs, "1x")
}

// A file that comes from standard input is a terminal's, which would show what is typed, or not.
func TestAValueIsNotTypedVisibly(t *testing.T) {
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close() //nolint:errcheck // read only
	require.False(t, shows(null))
	require.False(t, shows(strings.NewReader("")))
}

// Lists are read page by page, and what is beyond a limit is told.
func TestFindReadsPages(t *testing.T) {
	s := newStub(t)
	s.answers["GetInventory"] = func(w http.ResponseWriter, body string) {
		if strings.Contains(body, `"NextToken":"T"`) {
			io.WriteString(w, `{"Entities":[{"Id":"mi-3","Data":{"AWS:InstanceInformation":{"Content":[{"ComputerName":"c","PlatformName":"Debian","PlatformVersion":"12"}]}}}]}`)
			return
		}
		io.WriteString(w, `{"Entities":[{"Id":"mi-1","Data":{}},{"Id":"mi-2","Data":{}}],"NextToken":"T"}`)
	}
	s.answers["ListInventoryEntries"] = func(w http.ResponseWriter, body string) {
		entries := `{"Name":"openssl","Version":"3.0.1"}`
		if strings.Contains(body, "mi-3") {
			entries += strings.Repeat(`,{"Name":"openssl","Version":"1.0","Release":"2"}`, 4)
		}
		io.WriteString(w, `{"CaptureTime":"t","Entries":[`+entries+`]}`)
	}
	s.says("DescribeInstanceInformation", `{"InstanceInformationList":[{"InstanceId":"mi-2","Name":"db","PlatformName":"Ubuntu","PlatformVersion":"24.04"}]}`)
	out, errs, code := s.ctl(t, "", "inventory", "find", "AWS:Application.Name=openssl", "AWS:Application.Version exists")
	require.Zero(t, code, errs)
	require.Equal(t, `NODE  NAME  PLATFORM      FOUND
mi-1  -     -             openssl 3.0.1
mi-2  db    Ubuntu 24.04  openssl 3.0.1
mi-3  c     Debian 12     openssl 3.0.1, openssl 1.0-2, openssl 1.0-2 and 2 more
`, out)
	require.Contains(t, s.asked[0], `{"Key":"AWS:Application.Version","Values":[""],"Type":"NotEqual"}`, "what exists is not empty")
	require.Contains(t, strings.Join(s.asked, "\n"), `DescribeInstanceInformation {"Filters":[{"Key":"InstanceIds","Values":["mi-1","mi-2"]}]}`)
	out, errs, _ = s.ctl(t, "", "inventory", "find", "AWS:Application.Name=openssl", "-q", "-limit", "2")
	require.Equal(t, "mi-1\nmi-2\n", out)
	require.Equal(t, "fleetctl: there are more than 2 nodes: -limit 0 shows all\n", errs)
	out, errs, _ = s.ctl(t, "", "inventory", "find", "AWS:Application.Name=openssl", "-q", "-limit", "0")
	require.Equal(t, "mi-1\nmi-2\nmi-3\n", out)
	require.Empty(t, errs)
	s.says("GetInventory", `{"Entities":[]}`)
	_, errs, code = s.ctl(t, "", "inventory", "find", "AWS:Application.Name=openssl")
	require.Zero(t, code)
	require.Equal(t, "fleetctl: no node meets that\n", errs)
	s.answers["DescribeInstanceInformation"] = func(w http.ResponseWriter, _ string) {
		w.WriteHeader(400)
		io.WriteString(w, `{"__type":"AccessDeniedException"}`)
	}
	s.says("GetInventory", `{"Entities":[{"Id":"mi-1","Data":{}}]}`)
	out, _, code = s.ctl(t, "", "inventory", "find", "AWS:Application.Name=openssl")
	require.Zero(t, code, "who may not list nodes does without their names")
	require.Contains(t, out, "mi-1  -     -         openssl 3.0.1")
	s.answers["ListInventoryEntries"] = s.answers["DescribeInstanceInformation"]
	out, _, code = s.ctl(t, "", "inventory", "find", "AWS:Application.Name=openssl")
	require.Zero(t, code, "nor does who may not read nodes")
	require.Contains(t, out, "mi-1  -     -         -")
}

func TestHelpTellsTheOperators(t *testing.T) {
	s := newStub(t)
	for args, want := range map[string]string{"inventory find -h": "^= begins with", "compliance at -h": "72h or 3d", "inventory count -h": "-group", "parameters put -h": "standard input", "patches -h": "AWS-RunPatchBaseline"} {
		_, errs, code := s.ctl(t, "", strings.Fields(args)...)
		require.Zero(t, code, args)
		require.Contains(t, errs, want, args)
	}
	require.Empty(t, s.asked)
}

func TestInventoryTables(t *testing.T) {
	s := newStub(t)
	table := func(want string, args ...string) {
		t.Helper()
		out, errs, code := s.ctl(t, "", args...)
		require.Zero(t, code, errs)
		require.Equal(t, want, out)
	}
	s.says("GetInventory", `{"Entities":[{"Data":{"AWS:Application":{"Content":[{"AWS:Application.Name":"a","AWS:Application.Version":"1","Count":"2"},{"AWS:Application.Name":"a","AWS:Application.Version":"2","Count":"12"}]}}}]}`)
	table("NODES  NAME  VERSION\n12     a     2\n2      a     1\n", "inventory", "count", "AWS:Application.Name", "AWS:Application.Version")
	s.says("GetInventory", `{"Entities":[{"Data":{"old":{"Content":[{"notMatchingCount":"5"},{"matchingCount":"3"}]}}}]}`)
	table("GROUP  NODES  OTHER NODES\nold    3      5\n", "inventory", "count", "-group", "old: A.B<3")
	require.Contains(t, s.asked[1], `"Aggregators":[{"Groups":[{"Name":"old","Filters":[{"Key":"A.B","Values":["3"],"Type":"LessThan"}]}]}]`)

	s.says("ListInventoryEntries", `{"CaptureTime":"t","Entries":[{"Name":"b","Version":"2","Summary":"s"},{"Name":"a","Version":"1"}]}`)
	table("NAME  VERSION\nb     2\na     1\n", "inventory", "entries", "N", "AWS:Application")
	table("NAME  VERSION  SUMMARY\nb     2        s\na     1        -\n", "inventory", "entries", "N", "AWS:Application", "-columns", "*")
	table("SUMMARY  NAME\ns        b\n-        a\n", "inventory", "entries", "N", "AWS:Application", "-columns", "Summary,Name")
	s.says("ListInventoryEntries", `{"CaptureTime":"t","Entries":[{"Rack":"B7","Position":"12"}]}`)
	table("Position  12\nRack      B7\n", "inventory", "entries", "N", "Custom:RackInfo")
	s.says("ListInventoryEntries", `{"Entries":[]}`)
	out, errs, code := s.ctl(t, "", "inventory", "entries", "N", "AWS:File")
	require.Zero(t, code)
	require.Equal(t, "fleetctl: the node never reported AWS:File\n", out+errs)

	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	shown := when(at)
	var many []string
	for i := range 25 {
		many = append(many, fmt.Sprintf(`{"Name":"p%02d","Version":"1"}`, i))
	}
	s.says("ListInventoryChanges", fmt.Sprintf(`{"Changes":[{"Time":%d,"TypeName":"AWS:Application","Added":[{"Name":"openssl","Version":"2"},{"Name":"new","Version":"1"}],"Removed":[{"Name":"openssl","Version":"1"},{"Name":"gone","Version":"7"}]},
		{"Time":%[1]d,"TypeName":"Custom:RackInfo","Added":[{"Rack":"C1"}],"Removed":[{"Rack":"B7"}]},{"Time":%[1]d,"TypeName":"AWS:Application","Added":[%s]}]}`, at.Unix(), strings.Join(many, ",")))
	out, _, _ = s.ctl(t, "", "inventory", "changes", "N")
	lines := strings.Split(out, "\n")
	for i, want := range []string{"AWS:Application  changed  openssl 1 → 2", "AWS:Application  added    new 1", "AWS:Application  removed  gone 7", "Custom:RackInfo  changed  Rack: B7 → C1"} {
		require.Equal(t, shown+"  "+want, lines[i+1])
	}
	require.Equal(t, shown+"  AWS:Application  …        and 5 more: -all shows them", lines[25])
	out, _, _ = s.ctl(t, "", "inventory", "changes", "N", "-all")
	require.Contains(t, out, "p24 1")
	require.NotContains(t, out, "-all shows")

	s.says("DeleteInventory", `{"DeletionId":"D","TypeName":"Custom:X","DeletionSummary":{"TotalCount":1,"SummaryItems":[{"Version":"1.0","Count":1}]}}`)
	table("VERSION  NODES\n1.0      1\nCustom:X would go from 1 node\n", "inventory", "delete", "Custom:X", "-dry-run")
	table("VERSION  NODES\n1.0      1\ndeletion D: Custom:X goes from 1 node\n", "inventory", "delete", "Custom:X")
}

func TestExports(t *testing.T) {
	s := newStub(t)
	s.says("GetInventorySchema", `{"Schemas":[{"TypeName":"AWS:Application","Attributes":[{"Name":"Name"},{"Name":"Version"}]},{"TypeName":"Custom:T","Attributes":[{"Name":"A"}]}]}`)
	s.says("GetInventory", `{"Entities":[{"Id":"mi-1","Data":{}},{"Id":"mi-2","Data":{}}]}`)
	s.answers["ListInventoryEntries"] = func(w http.ResponseWriter, body string) {
		switch {
		case strings.Contains(body, "AWS:InstanceInformation"), strings.Contains(body, "mi-2"), strings.Contains(body, "mi-9"):
			io.WriteString(w, `{"Entries":[]}`)
		case strings.Contains(body, "Custom:T"):
			io.WriteString(w, `{"CaptureTime":"2026-03-01T12:00:00Z","SchemaVersion":"1.0","Entries":[{"A":"=1"}]}`)
		default:
			io.WriteString(w, `{"CaptureTime":"2026-03-01T12:00:00Z","SchemaVersion":"1.1","Entries":[{"Name":"openssl","Version":"3","PackageId":"openssl_3_amd64.deb"}]}`)
		}
	}
	s.says("DescribeInstanceInformation", `{"InstanceInformationList":[{"InstanceId":"mi-1","PlatformName":"Debian GNU/Linux","PlatformVersion":"12"}]}`)
	ok := func(args ...string) string {
		t.Helper()
		out, errs, code := s.ctl(t, "", append([]string{"inventory", "export"}, args...)...)
		require.Zero(t, code, errs)
		return out
	}
	require.Equal(t, `{"ResourceId":"mi-1","TypeName":"AWS:Application","SchemaVersion":"1.1","CaptureTime":"2026-03-01T12:00:00Z","Content":{"Name":"openssl","PackageId":"openssl_3_amd64.deb","Version":"3"}}
{"ResourceId":"mi-1","TypeName":"Custom:T","SchemaVersion":"1.0","CaptureTime":"2026-03-01T12:00:00Z","Content":{"A":"=1"}}
`, ok("mi-1"))
	require.Equal(t, ok("mi-1"), ok("-all"), "mi-2 has nothing")
	require.Equal(t, "ResourceId,CaptureTime,Name,Version\nmi-1,2026-03-01T12:00:00Z,openssl,3\n", ok("-all", "-format", "csv"))
	require.Equal(t, "ResourceId,CaptureTime,A\nmi-1,2026-03-01T12:00:00Z,'=1\n", ok("mi-1", "-format", "csv", "-type", "Custom:T", "-spreadsheet"))
	bom := ok("mi-1", "-format", "cyclonedx")
	require.Contains(t, bom, `"purl": "pkg:deb/debian/openssl@3?arch=amd64&distro=debian-12"`, "the distribution is the node's, though it did not report it")
	require.Contains(t, ok("mi-1", "-format", "cyclonedx", "-xml"), "<bom ")
	dir := filepath.Join(t.TempDir(), "out")
	_, errs, code := s.ctl(t, "", "inventory", "export", "-all", "-format", "cyclonedx", "-dir", dir)
	require.Zero(t, code, errs)
	require.Equal(t, "fleetctl: node mi-2 reported no software: it is left out\nfleetctl: 2 nodes\n", errs)
	b, err := os.ReadFile(filepath.Join(dir, "mi-1.cdx.json"))
	require.NoError(t, err)
	require.Equal(t, bom, string(b))
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1)
	_, errs, code = s.ctl(t, "", "inventory", "export", "-all", "-format", "cyclonedx", "-dir", dir)
	require.Equal(t, exitArguments, code, "a directory that is there is left alone")
	require.Contains(t, errs, "-dir")
	_, errs, code = s.ctl(t, "", "inventory", "export", "mi-9")
	require.Equal(t, exitRefused, code)
	require.Contains(t, errs, "reported nothing")
	_, _, code = s.ctl(t, "", "inventory", "export", "mi-1", "-type", "AWS:Nope")
	require.Equal(t, exitArguments, code)
	s.says("GetInventory", `{"Entities":[{"Id":"../evil","Data":{}}]}`)
	s.says("ListInventoryEntries", `{"CaptureTime":"x","Entries":[{"Name":"a"}]}`)
	_, errs, code = s.ctl(t, "", "inventory", "export", "-all", "-dir", dir+"2")
	require.Equal(t, exitRefused, code)
	require.Contains(t, errs, "no name for a file")
	_, err = os.Stat(filepath.Join(filepath.Dir(dir), "evil.jsonl"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// The shortcuts send the documents, follow them, and show the table.
func TestShortcutsRunTheirDocuments(t *testing.T) {
	s := newStub(t)
	s.says("SendCommand", `{"Command":{"CommandId":"C"}}`)
	s.says("WatchCommand", `{"Cursor":1,"Done":true}`+"\n")
	s.says("ListCommands", `{"Commands":[{"CommandId":"C","Status":"Success","StatusDetails":"Success","TargetCount":1,"CompletedCount":1}]}`)
	s.says("ListCommandInvocations", `{"CommandInvocations":[{"InstanceId":"N","StatusDetails":"Success","FirstLine":"done"}]}`)
	for args, want := range map[string]string{
		"inventory gather -instance-ids N":                                                    `{"DocumentName":"AWS-GatherSoftwareInventory","InstanceIds":["N"],"ClientToken":`,
		"inventory gather -targets Key=tag:Role,Values=web -parameters applications=Disabled": `{"DocumentName":"AWS-GatherSoftwareInventory","Parameters":{"applications":["Disabled"]},"Targets":[{"Key":"tag:Role","Values":["web"]}],"ClientToken":`,
		"patches scan -instance-ids N":                                                        `{"DocumentName":"AWS-RunPatchBaseline","Parameters":{"Operation":["Scan"]},"InstanceIds":["N"],"ClientToken":`,
		"patches install -instance-ids N -reboot NoReboot":                                    `{"DocumentName":"AWS-RunPatchBaseline","Parameters":{"Operation":["Install"],"RebootOption":["NoReboot"]},"InstanceIds":["N"],"ClientToken":`,
		"patches install -instance-ids N -parameters RebootOption=NoReboot":                   `{"DocumentName":"AWS-RunPatchBaseline","Parameters":{"Operation":["Install"],"RebootOption":["NoReboot"]},"InstanceIds":["N"],"ClientToken":`,
	} {
		s.asked = nil
		out, errs, code := s.ctl(t, "", strings.Fields(args)...)
		require.Zero(t, code, errs)
		require.True(t, strings.HasPrefix(s.asked[0], "SendCommand "+want), "%s\n%s", args, s.asked[0])
		require.Equal(t, "NODE  STATUS   EXIT  TIME  OUTPUT\nN     Success  0     -     done\nC: Success, 1 of 1 done, 0 failed\n", out)
	}
}

// What baseline prints, update takes back; what cannot be changed must be what it is.
func TestBaselineFiles(t *testing.T) {
	s := newStub(t)
	text := `{"BaselineId":"pb-1","Name":"n","OperatingSystem":"DEBIAN","CreatedDate":1,"ModifiedDate":2,"PatchGroups":["g"],"Description":"<&>"}`
	s.says("GetPatchBaseline", text)
	for _, format := range []string{"table", "json"} {
		out, errs, code := s.ctl(t, "", "-o", format, "patches", "baseline", "pb-1")
		require.Zero(t, code, errs)
		require.JSONEq(t, text, out)
		s.asked = nil
		_, errs, code = s.ctl(t, out, "patches", "update", "pb-1", "-", "-replace")
		require.Zero(t, code, errs)
		require.Equal(t, `UpdatePatchBaseline {"BaselineId":"pb-1","Description":"<&>","Name":"n","Replace":true}`, s.asked[1])
	}
	for in, want := range map[string]string{`{"BaselineId":"pb-2"}`: "is of baseline pb-2", `{"OperatingSystem":"UBUNTU"}`: "is for DEBIAN", `{"OperatingSystem":7}`: "is for DEBIAN", `{"BaselineId":[]}`: "is of baseline"} {
		s.asked = nil
		_, errs, code := s.ctl(t, in, "patches", "update", "pb-1", "-")
		require.Equal(t, exitArguments, code, in)
		require.Contains(t, errs, want)
		require.NotContains(t, strings.Join(s.asked, ""), "UpdatePatchBaseline")
	}
	s.asked = nil
	s.says("CreatePatchBaseline", `{"BaselineId":"pb-3"}`)
	out, errs, code := s.ctl(t, `{"Name":"n"}`, "patches", "create", "-", "-tags", "a=b")
	require.Zero(t, code, errs)
	require.Equal(t, "pb-3\n", out)
	require.Equal(t, []string{`CreatePatchBaseline {"Name":"n","Tags":[{"Key":"a","Value":"b"}]}`}, s.asked)
	_, _, code = s.ctl(t, `{"Name":"n","Tags":[]}`, "patches", "create", "-", "-tags", "a=b")
	require.Equal(t, exitArguments, code)
}

func TestPatchTables(t *testing.T) {
	s := newStub(t)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s.says("DescribeInstancePatchStates", fmt.Sprintf(`{"InstancePatchStates":[{"InstanceId":"N","PatchGroup":"g","BaselineId":"pb-1","Operation":"Scan","OperationEndTime":%d,"InstalledCount":1,"InstalledOtherCount":2,"MissingCount":3,"CriticalNonCompliantCount":1,"OtherNonCompliantCount":2}]}`, at.Unix()))
	out, _, _ := s.ctl(t, "", "patches", "nodes", "N")
	require.Equal(t, "NODE  GROUP  OPERATION  ENDED                INSTALLED  OTHER  REBOOT  REJECTED  MISSING  FAILED  NON-COMPLIANT        BASELINE\n"+
		"N     g      Scan       "+when(at)+"  1          2      0       0         3        0       1 critical, 2 other  pb-1\n", out)
	ids := make([]string, 120)
	for i := range ids {
		ids[i] = fmt.Sprint("mi-", i)
	}
	s.asked = nil
	s.ctl(t, "", append([]string{"patches", "nodes"}, ids...)...)
	require.Len(t, s.asked, 3, "50 nodes at a time")
	require.Contains(t, s.asked[2], `"mi-119"`)
	s.says("DescribeInstancePatchStates", `{}`)
	_, errs, _ := s.ctl(t, "", "patches", "nodes", "N")
	require.Contains(t, errs, "patches scan")
	s.says("DescribePatchGroupState", `{"Instances":2,"InstancesWithMissingPatches":1}`)
	out, _, _ = s.ctl(t, "", "patches", "group", "g")
	require.Contains(t, out, "nodes                            2\n")
	require.Contains(t, out, "with missing patches             1\n")
}

func TestComplianceTables(t *testing.T) {
	s := newStub(t)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s.says("ListComplianceSummaries", `{"ComplianceSummaryItems":[{"ComplianceType":"Patch","CompliantSummary":{"CompliantCount":2},"NonCompliantSummary":{"NonCompliantCount":3,"SeveritySummary":{"CriticalCount":1,"LowCount":2}}}]}`)
	out, _, _ := s.ctl(t, "", "compliance")
	require.Equal(t, "TYPE   NODES  COMPLIANT  NON-COMPLIANT\nPatch  5      2          3 (1 critical, 2 low)\n", out)
	summary := fmt.Sprintf(`{"ResourceId":"N","ComplianceType":"Patch","Status":"NON_COMPLIANT","OverallSeverity":"HIGH","ExecutionSummary":{"ExecutionTime":%d,"ExecutionId":"E","ExecutionType":"Command"},"CompliantSummary":{"CompliantCount":1},"NonCompliantSummary":{"NonCompliantCount":1,"SeveritySummary":{"HighCount":1}}}`, at.Unix())
	s.says("ListResourceComplianceSummaries", `{"ResourceComplianceSummaryItems":[`+summary+`,{"ResourceId":"M","ComplianceType":"Patch","Status":"COMPLIANT","OverallSeverity":"UNSPECIFIED"}]}`)
	out, _, _ = s.ctl(t, "", "compliance", "nodes")
	require.Equal(t, "NODE  TYPE   STATUS         SEVERITY  COMPLIANT  NON-COMPLIANT  CHECKED\nN     Patch  NON_COMPLIANT  HIGH      1          1 (1 high)     "+when(at)+"\nM     Patch  COMPLIANT      -         0          0              -\n", out)
	s.says("GetComplianceAt", fmt.Sprintf(`{"Summary":%s,"Reported":%[2]d,"Unchanged":%[2]d,"Seq":7,"Items":[{"Id":"bad","Status":"NON_COMPLIANT","Severity":"HIGH","Title":"t","Details":{"b":"2","a":"1","c":""}},{"Id":"fine","Status":"COMPLIANT","Severity":"LOW"}]}`, summary, at.Unix()))
	out, _, code := s.ctl(t, "", "compliance", "at", "N", "Patch", "2026-03-01T12:00:00Z")
	require.Zero(t, code)
	w := when(at)
	require.Equal(t, "node           N\ntype           Patch\nat             "+w+"\nstatus         NON_COMPLIANT\nseverity       HIGH\nnon-compliant  1 (1 high)\ncompliant      1\nso since       "+w+
		"\nreported       "+w+"\nchecked        "+w+"\nexecution      Command E\nreport         7 of the history\n\nITEM  STATUS         SEVERITY  TITLE  DETAILS\nbad   NON_COMPLIANT  HIGH      t      a=1, b=2\n", out)
	out, _, _ = s.ctl(t, "", "compliance", "at", "N", "Patch", "2026-03-01T12:00:00Z", "-all")
	require.Contains(t, out, "\nfine  COMPLIANT      LOW       -      -\n")
}
