package document_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	src, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return src
}

func TestRunbook(t *testing.T) {
	d, err := document.Parse(file(t, "patch-fleet.yaml"), nil)
	require.NoError(t, err)
	require.Empty(t, d.Check())
	require.Equal(t, document.Automation, d.Kind)
	require.Equal(t, "{{ AutomationAssumeRole }}", d.AssumeRole)
	require.Len(t, d.Parameters, 5)
	require.Equal(t, "State", d.Variables[0].Name)
	require.Equal(t, "Patch.Status", d.Outputs[1].Text())
	var names []string
	for _, s := range d.Steps {
		names = append(names, s.Name)
	}
	require.Equal(t, []string{"FindGroup", "Decide", "Rest", "Patch", "Look", "Report"}, names)
	find, decide, patch, look := d.Steps[0].Automation, d.Steps[1].Automation, d.Steps[3].Automation, d.Steps[4].Automation
	require.Equal(t, "step:Report", find.OnFailure)
	require.True(t, find.Critical, "A3: by default")
	require.Equal(t, document.Output{Name: "States", Selector: "$.AutoScalingInstances..LifecycleState", Type: "StringList", Source: find.Outputs[1].Source}, find.Outputs[1])
	require.False(t, decide.Critical)
	require.Equal(t, "Report", decide.Otherwise)
	require.Equal(t, "And", decide.Choices[0].Condition.Op)
	require.Equal(t, "Not", decide.Choices[0].Condition.Parts[1].Op)
	require.Equal(t, "NumericGreater", decide.Choices[1].Condition.Op)
	require.Equal(t, []any{int64(600), int64(2), false}, []any{patch.TimeoutSeconds, patch.MaxAttempts, patch.Critical}, "A3: not critical with onFailure Continue")
	require.Equal(t, "Look", look.Steps[1].Automation.Loop)
	require.Empty(t, d.PlatformTypes())

	b, err := d.Bind(values{"InstanceId": {"i-0123456789abcdef0"}, "Groups": {"a", "b"}, "Notify": {"false"}, "Retries": {"2"}}, nil)
	require.NoError(t, err)
	require.Equal(t, []any{"a", "b"}, b.Values()["Groups"])
	require.Equal(t, []any{int64(2), false}, []any{b.Values()["Retries"], b.Values()["Notify"]})
	require.Empty(t, b.Steps("Linux"))
	_, err = d.Bind(values{"InstanceId": {"x"}, "Retries": {"9"}}, nil)
	require.Equal(t, []string{"parameter-pattern", "parameter-value"}, codes(err))
}

func TestSession(t *testing.T) {
	d := parse(t, `{"schemaVersion":"1.0","description":"s","sessionType":"InteractiveCommands","parameters":{"path":{"type":"String","allowedPattern":"^[a-z/]+$"}},
"properties":{"linux":{"commands":"tail -f {{ path }}","runAsElevated":true}},"inputs":{"kmsKeyId":"{{path}}"}}`)
	require.Equal(t, document.Session, d.Kind)
	require.Equal(t, "InteractiveCommands", d.Session.Type)
	props, inputs := bound(t, d, values{"path": {"/var/log"}}).Session()
	require.Equal(t, map[string]any{"linux": map[string]any{"commands": "tail -f /var/log", "runAsElevated": true}}, props)
	require.Equal(t, map[string]any{"kmsKeyId": "/var/log"}, inputs)
	_, err := document.Parse([]byte(`{"schemaVersion":"1.0","sessionType":"Telnet","propertys":{}}`), nil)
	require.Equal(t, []string{"session-type", "top-key"}, codes(err))
}

func TestPackage(t *testing.T) {
	src := `{"schemaVersion":"2.0","version":"1.2","publisher":"me","packages":{"ubuntu":{"_any":{"x86_64":{"file":"a.zip"}},"22.04":{"arm64":{"file":"b.zip"}}}},
"files":{"a.zip":{"checksums":{"sha256":"00"},"size":7},"b.zip":{"checksums":{"sha256":"11"}}}}`
	d := parse(t, src)
	require.Equal(t, document.Package, d.Kind)
	require.Equal(t, "1.2", d.Package.Version)
	require.Equal(t, []string{"ubuntu", "22.04", "arm64", "b.zip"}, []string{d.Package.Packages[1].Platform, d.Package.Packages[1].Release, d.Package.Packages[1].Arch, d.Package.Packages[1].File})
	require.Equal(t, int64(7), d.Files[0].Size)
	require.Equal(t, map[string]string{"sha256": "00"}, d.Files[0].Checksums)
	_, err := document.Parse([]byte(strings.Replace(src, `"file":"b.zip"`, `"file":"c.zip"`, 1)), nil)
	require.Equal(t, []string{"package-file"}, codes(err))
}

func TestOtherKinds(t *testing.T) {
	for src, kind := range map[string]document.Kind{
		`{"schemaVersion":"1.0","templateBody":{"Resources":{"A":{"Type":"AWS::S3::Bucket"}}}}`:         document.CloudFormation,
		`{"schemaVersion":"1.0","templateBody":{"Resources":{"A":{"Type":"AWS::Config::ConfigRule"}}}}`: document.ConformancePackTemplate,
		`{"schemaVersion":"1.0","deploymentConfig":{}}`:                                                 document.QuickSetup,
		`{"sections":[]}`: document.ProblemAnalysisTemplate,
		`{"schemaVersion":"0.3","emergencyChange":false,"templateInformation":"x","executableRunBooks":[]}`: document.ChangeTemplate,
	} {
		d := parse(t, src)
		require.Equal(t, kind, d.Kind, src)
	}
	d, err := document.Parse([]byte("a: 1\n"), &document.Options{Kind: document.ApplicationConfiguration})
	require.NoError(t, err)
	require.Equal(t, "1", d.Body.Get("a").Text())
	d, err = document.Parse([]byte("anything: {"), &document.Options{Kind: document.ApplicationConfiguration, Format: document.TEXT})
	require.NoError(t, err)
	require.Equal(t, "anything: {", string(d.Source))
	_, err = document.Parse([]byte(`{"schemaVersion":"2.2","mainSteps":[]}`), &document.Options{Kind: document.Session})
	require.Equal(t, []string{"schema-kind"}, codes(err))
	require.Equal(t, fault.InvalidDocumentSchemaVersion, fault.CodeOf(err))
	_, err = document.Parse([]byte(`{"schemaVersion":"2.2"}`), &document.Options{Kind: "Poem"})
	require.Equal(t, []string{"kind"}, codes(err))
}

func TestCloudFormationTags(t *testing.T) {
	d := parse(t, "schemaVersion: '1.0'\ntemplateBody:\n  Resources:\n    A:\n      Type: AWS::S3::Bucket\n      Properties:\n        Name: !Sub '${x}-y'\n        Z: !GetAtt A.B\n        L: !Join ['-', [a, !Ref b]]\n")
	require.Contains(t, string(d.JSON()), `{"Name":{"Fn::Sub":"${x}-y"},"Z":{"Fn::GetAtt":["A","B"]},"L":{"Fn::Join":["-",["a",{"Ref":"b"}]]}}`)
}

func TestTagsElsewhere(t *testing.T) {
	_, err := document.Parse([]byte("schemaVersion: '2.2'\nmainSteps:\n- action: aws:runShellScript\n  name: s\n  inputs:\n    runCommand:\n    - !Sub x\n"), nil)
	require.Equal(t, []string{"tag"}, codes(err))
	require.Equal(t, 7, asFindings(err)[0].Line)
}

const calendar = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nX-CALENDAR-TYPE:DEFAULT_CLOSED\r\nBEGIN:VEVENT\r\nDTSTART;TZID=\"Europe/Berlin\":20260101T000000\r\nSUMMARY:a long\r\n  story\r\nRRULE:FREQ=WEEKLY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"

func TestCalendar(t *testing.T) {
	d := parse(t, calendar)
	require.Equal(t, document.ChangeCalendar, d.Kind)
	require.Equal(t, document.TEXT, d.Format)
	require.Equal(t, "DEFAULT_CLOSED", d.Calendar.Get("X-CALENDAR-TYPE").Value)
	event := d.Calendar.Components[0]
	require.Equal(t, "a long story", event.Get("SUMMARY").Value)
	require.Equal(t, document.Property{Name: "DTSTART", Params: map[string]string{"TZID": "Europe/Berlin"}, Value: "20260101T000000", Line: 5}, *event.Get("DTSTART"))
	for src, line := range map[string]int{
		strings.Replace(calendar, "END:VEVENT\r\n", "", 1):      9,
		strings.Replace(calendar, "END:VCALENDAR\r\n", "", 1):   1,
		strings.Replace(calendar, "DTSTART", "DTEND", 1):        4,
		strings.Replace(calendar, "VERSION:2.0", "no colon", 1): 2,
		"BEGIN:VCALENDAR\nEND:VCALENDAR\nX:1\n":                 3,
		"BEGIN:VCALENDAR\nX;A:1\nEND:VCALENDAR\n":               2,
		strings.Repeat("BEGIN:VCALENDAR\n", 70):                 65,
	} {
		_, err := document.Parse([]byte(src), nil)
		require.Equal(t, []string{"calendar"}, codes(err), src)
		var fs document.Findings
		require.ErrorAs(t, err, &fs)
		require.Equal(t, line, fs[0].Line, src)
	}
}

// FuzzCalendar: no panic, and every finding has a place.
func FuzzCalendar(f *testing.F) {
	f.Add([]byte(calendar))
	f.Add([]byte("BEGIN:VCALENDAR\nA;B=\"c;d\":e\n f\nEND:VCALENDAR"))
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := document.Parse(src, &document.Options{Format: document.TEXT, Kind: document.ChangeCalendar})
		if err == nil && d.Calendar == nil {
			t.Fatal("no calendar")
		}
		for _, fd := range asFindings(err) {
			if fd.Line < 1 || fd.Column < 1 {
				t.Fatal(fd)
			}
		}
	})
}

func asFindings(err error) document.Findings {
	fs, _ := err.(document.Findings)
	return fs
}

func TestLimits(t *testing.T) {
	big := `{"schemaVersion":"2.2","description":"` + strings.Repeat("x", 64<<10) + `","mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":["x"]}}]}`
	_, err := document.Parse([]byte(big), nil)
	require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err))
	_, err = document.Parse([]byte(big), &document.Options{MaxSize: len(big) - 1})
	require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err))
	for _, n := range []int{-1, len(big)} {
		_, err = document.Parse([]byte(big), &document.Options{MaxSize: n})
		require.NoError(t, err)
	}
	_, err = document.Parse([]byte(`{"a":`+strings.Repeat("[", 100)), nil)
	require.Equal(t, []string{"too-deep"}, codes(err))
	_, err = document.Parse(nil, nil)
	require.Equal(t, []string{"type"}, codes(err))
	_, err = document.Parse([]byte("{}"), &document.Options{Format: "XML"})
	require.Equal(t, []string{"format"}, codes(err))
}

func TestEverythingAtOnce(t *testing.T) {
	src := `{
  "schemaVersion": "2.2",
  "extra": 1,
  "parameters": {"a b": {"type": "String"}, "c": {"typ": "String"}, "d": {"type": "Text", "maxChars": "many"}, "e": {"type": "Integer", "default": "x"}},
  "mainSteps": [
    {"action": "aws:runShelScript", "name": "one"},
    {"action": "aws:runShellScript", "name": "two words", "inputs": {"runCommand": {"a": 1}, "timeoutSeconds": 3}},
    {"name": "three"},
    "four",
    {"action": "aws:runShellScript", "name": "one", "inputs": ["x"], "when": 1}
  ]
}`
	_, err := document.Parse([]byte(src), &document.Options{File: "bad.json"})
	require.Equal(t, []string{"top-key", "parameter-name", "parameter-type", "parameter-key", "parameter-type", "type", "default-type",
		"unknown-action", "step-name", "input-type", "timeout", "step-action", "type", "step-twice", "type", "step-key"}, codes(err))
	require.ErrorContains(t, err, `bad.json:3:3: error: unknown key "extra" in a Command document: remove it [top-key]`)
	require.ErrorContains(t, err, "and 8 more")
	require.Equal(t, fault.InvalidDocumentContent, fault.CodeOf(err))
	fs := asFindings(err)
	require.Equal(t, "$.mainSteps[1].inputs.timeoutSeconds", fs[10].Path)
	require.Equal(t, `$.parameters["a b"]`, fs[1].Path)
	require.Len(t, fs.Errors(), 16)
}

func TestHash(t *testing.T) {
	require.Equal(t, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", (&document.Document{Source: []byte("{}")}).Hash())
}

func TestPackageScripts_Local(t *testing.T) {
	src := []byte(`{"schemaVersion":"2.0.1","mainSteps":[{"action":"aws:runShellScript","name":"install","inputs":{"runCommand":["x"]}}]}`)
	_, err := document.Parse(src, nil)
	require.Equal(t, fault.InvalidDocumentSchemaVersion, fault.CodeOf(err))
	d, err := document.Parse(src, &document.Options{Local: true})
	require.NoError(t, err)
	require.Equal(t, document.Run, bound(t, d, nil).Steps("Linux")[0].Verdict)
}

func TestByteOrderMark(t *testing.T) {
	d := parse(t, "\ufeff"+`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":["x"]}}]}`)
	require.Equal(t, document.JSON, d.Format)
}

func TestSafety(t *testing.T) {
	d := parse(t, `{"schemaVersion":"2.2","parameters":{"m":{"type":"StringMap","default":{}},"c":{"type":"String","default":"x"}},"mainSteps":[
{"action":"aws:downloadContent","name":"a","inputs":{"sourceType":"HTTP","sourceInfo":"{\"url\":\"http://example.com/x\",\"password\":\"{{ssm-secure:p}}\"}"}},
{"action":"aws:runShellScript","name":"b","inputs":{"runCommand":["echo {{ ssm-secure:p }}"],"workingDirectory":"{{ m }}"}},
{"action":"aws:runDocument","name":"d","inputs":{"documentType":"SSMDocument","documentPath":"AWS-RunShellScript","documentParameters":{"commands":["echo {{ c }}"]}}}]}`)
	require.Equal(t, []string{"download-plain", "download-digest", "secure-place", "reference-type", "raw-parameter"}, codes(d.Check()))
	d = parse(t, `{"schemaVersion":"0.3","parameters":{"c":{"type":"String"}},"mainSteps":[{"name":"a","action":"aws:runCommand","inputs":{"DocumentName":"AWS-RunShellScript","Parameters":{"commands":["echo {{ c }}"]}}}]}`)
	require.Equal(t, []string{"raw-parameter"}, codes(d.Check()))
}

// TestEnvVarHints: places where even a reference is not quite data.
func TestEnvVarHints(t *testing.T) {
	for line, code := range map[string]string{
		`echo $((1 + {{ x }}))`:         "env-arithmetic",
		`eval \"echo {{ x }}\"`:         "env-interpreted",
		`bash -c \"echo {{ x }}\"`:      "env-interpreted",
		`echo '{{ x }}'`:                "env-literal",
		`bash -c 'echo \"{{ x }}\"'`:    "",
		`echo \"{{ x }}\"; eval \"$y\"`: "",
	} {
		var want []string
		if code != "" {
			want = []string{code}
		}
		require.Equal(t, want, codes(command(t, `"x":{"type":"String","interpolationType":"ENV_VAR"}`, `"runCommand":["`+line+`"]`).Check()), line)
	}
	require.Equal(t, []string{"env-literal"}, codes(command(t, `"x":{"type":"String","interpolationType":"ENV_VAR"}`, `"runCommand":["#!/usr/bin/env python3","print('{{ x }}')"]`).Check()))
	require.Equal(t, []string{"env-type"}, codes(command(t, `"x":{"type":"StringList","interpolationType":"ENV_VAR"}`, run).Check()))
}
