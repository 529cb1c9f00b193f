package document_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
)

// noted are the codes and paths of findings.
func noted(fs document.Findings) []string {
	out := []string{}
	for _, f := range fs {
		out = append(out, f.Code+" "+f.Path)
	}
	return out
}

// TestLimits of actions: what AWS bounds is told before it is run.
func TestActionLimits(t *testing.T) {
	for step, want := range map[string][]string{
		`{"action":"aws:sleep","inputs":{"Duration":"10m"}}`:                                                                                                      {"duration $.mainSteps[0].inputs.Duration"},
		`{"action":"aws:sleep","inputs":{"Duration":"P7D"}}`:                                                                                                      {"duration $.mainSteps[0].inputs.Duration"},
		`{"action":"aws:sleep","inputs":{"Duration":"PT"}}`:                                                                                                       {"duration $.mainSteps[0].inputs.Duration"},
		`{"action":"aws:sleep","inputs":{"Duration":"P6DT23H59M59S"}}`:                                                                                            {},
		`{"action":"aws:pause","inputs":{}}`:                                                                                                                      {"no-timeout $.mainSteps[0]"},
		`{"action":"aws:approve","inputs":{"Approvers":["a"],"MinRequiredApprovals":2}}`:                                                                          {"no-timeout $.mainSteps[0]", "approvals $.mainSteps[0].inputs.MinRequiredApprovals"},
		`{"action":"aws:approve","timeoutSeconds":2592001,"inputs":{"Approvers":["a"],"NotificationArn":"arn:aws:sns:x:1:Mine"}}`:                                 {"timeout-cap $.mainSteps[0].timeoutSeconds", "topic-name $.mainSteps[0].inputs.NotificationArn"},
		`{"action":"aws:approve","timeoutSeconds":60,"inputs":{"Approvers":["1","2","3","4","5","6","7","8","9","10","11"]}}`:                                     {"too-many $.mainSteps[0].inputs.Approvers"},
		`{"action":"aws:executeScript","timeoutSeconds":"900","inputs":{"Runtime":"python3.11","Handler":"f","Script":"x"}}`:                                      {"timeout-cap $.mainSteps[0].timeoutSeconds"},
		`{"action":"aws:executeScript","inputs":{"Runtime":"python3.11","Script":"x"}}`:                                                                           {"input-missing $.mainSteps[0].inputs"},
		`{"action":"aws:executeScript","inputs":{"Runtime":"PowerShell 7.4"}}`:                                                                                    {"input-missing $.mainSteps[0].inputs"},
		`{"action":"aws:updateVariable","inputs":{"Name":"x","Value":"1"}}`:                                                                                       {"variable-target $.mainSteps[0].inputs.Name"},
		`{"action":"aws:updateVariable","inputs":{"Name":"variable:y","Value":"1"}}`:                                                                              {"variable-target $.mainSteps[0].inputs.Name"},
		`{"action":"aws:executeAwsApi","inputs":{"Service":"ec2","Api":"X"},"outputs":[{"Name":"A","Selector":"$.A"},{"Name":"B.c","Selector":"$.B"}]}`:           {"output-unused $.mainSteps[0].outputs[0]", "output-unused $.mainSteps[0].outputs[1]"},
		`{"action":"aws:executeAwsApi","inputs":{"Service":"ec2","Api":"X","Env":{"DbPassword":"hunter2","k":"AKIA` + `ABCDEFGHIJKLMNOP"}}}`:                      {"secret-plain $.mainSteps[0].inputs.Env.DbPassword", "secret-plain $.mainSteps[0].inputs.Env.k"},
		`{"action":"aws:executeAwsApi","inputs":{"Service":"ec2","Api":"X","k":"AKIA` + `IOSFODNN7EXAMPLE","AdminPassword":"<password>","Key":"{{ s.Output }}"}}`: {"reference-self $.mainSteps[0].inputs.Key", "reference-output $.mainSteps[0].inputs.Key"},
	} {
		d := parse(t, `{"schemaVersion":"0.3","mainSteps":[{"name":"s",`+step[1:]+`]}`)
		require.Equal(t, want, noted(d.Check()), step)
	}
}

// TestDigests: content that nobody compares with what it was is told.
func TestDigests(t *testing.T) {
	for step, want := range map[string][]string{
		`{"action":"aws:downloadContent","inputs":{"sourceType":"HTTP","sourceInfo":{"url":"https://x/y"}}}`:                                             {"download-digest $.mainSteps[0].inputs.sourceInfo"},
		`{"action":"aws:downloadContent","inputs":{"sourceType":"HTTP","sourceInfo":{"url":"https://x/y","digest":"sha256:00"}}}`:                        {},
		`{"action":"aws:downloadContent","inputs":{"sourceType":"GitHub","sourceInfo":"{\"owner\":\"o\",\"getOptions\":\"branch:main\"}"}}`:              {"download-digest $.mainSteps[0].inputs.sourceInfo"},
		`{"action":"aws:downloadContent","inputs":{"sourceType":"Git","sourceInfo":{"repository":"r","getOptions":"commitID:bbc1"}}}`:                    {},
		`{"action":"aws:downloadContent","inputs":{"sourceType":"S3","sourceInfo":{"path":"https://s3/x"}}}`:                                             {},
		`{"action":"aws:applications","inputs":{"action":"Install","source":"https://x/y.msi"}}`:                                                         {"download-digest $.mainSteps[0].inputs.source"},
		`{"action":"aws:applications","inputs":{"action":"Install","source":"https://x/y.msi","sourceHash":"00"}}`:                                       {},
		`{"action":"aws:runShellScript","inputs":{"runCommand":["curl -sSL https://x/y | sudo -E bash -","curl -o f https://x/y","curl x; echo | sh"]}}`: {"download-digest $.mainSteps[0].inputs.runCommand[0]"},
		`{"action":"aws:runPowerShellScript","inputs":{"runCommand":["iex ((New-Object Net.WebClient).DownloadString('https://x'))"]}}`:                  {"download-digest $.mainSteps[0].inputs.runCommand[0]"},
	} {
		d := parse(t, `{"schemaVersion":"2.2","mainSteps":[{"name":"s",`+step[1:]+`]}`)
		require.Equal(t, want, noted(d.Check()), step)
	}
}

// TestSecretsAreNotRepeated: a message about a secret does not have it.
func TestSecretsAreNotRepeated(t *testing.T) {
	d := parse(t, `{"schemaVersion":"2.2","mainSteps":[{"name":"s","action":"aws:runShellScript","inputs":{"runCommand":["export KEY=AKIA`+`ABCDEFGHIJKLMNOP","-----BEGIN RSA PRIVATE KEY-----"]}}]}`)
	fs := d.Check()
	require.Equal(t, []string{"secret-plain $.mainSteps[0].inputs.runCommand[0]", "secret-plain $.mainSteps[0].inputs.runCommand[1]"}, noted(fs))
	require.NotContains(t, fs.Error(), "ABCDEFGHIJ")
}

// shelf is a resolver of child documents.
type shelf map[string]*document.Document

func (s shelf) Child(name, version string) *document.Document { return s[name+":"+version] }

// TestChildren: what a document that a step runs would refuse is told beforehand, in both directions.
func TestChildren(t *testing.T) {
	book := func(params, steps string) *document.Document {
		return parse(t, `{"schemaVersion":"0.3","parameters":{`+params+`},"mainSteps":[`+steps+`]}`)
	}
	sleep := `{"name":"z","action":"aws:sleep","inputs":{"Duration":"PT1S"}}`
	run := func(doc, params string) string {
		return `{"name":"r","action":"aws:executeAutomation","inputs":{"DocumentName":"` + doc + `"` + params + `}}`
	}
	in := shelf{
		"Child:":  book(`"Instance":{"type":"String","allowedPattern":"^i-[0-9a-f]+$"},"Count":{"type":"Integer","default":1},"Map":{"type":"StringMap","default":{}}`, sleep),
		"Child:7": book(``, sleep),
		"Ping:":   book(``, run("Pong", "")), "Pong:": book(``, run("Ping", "")), "Self:": book(``, run("Self", "")),
		"Shell:": parse(t, `{"schemaVersion":"2.2","parameters":{"commands":{"type":"StringList"}},"mainSteps":[{"name":"s","action":"aws:runShellScript","inputs":{"runCommand":"{{ commands }}"}}]}`),
		"D1:":    book(``, run("D2", "")), "D2:": book(``, run("D3", "")), "D3:": book(``, run("D4", "")), "D4:": book(``, run("D5", "")), "D5:": book(``, run("D6", "")), "D6:": book(``, sleep),
	}
	for _, c := range []struct {
		name, step string
		want       []string
	}{
		{"right", run("Child", `,"RuntimeParameters":{"Instance":["i-1"],"Count":2,"Map":"{{ Tags }}"}`), []string{}},
		{"placeholder of a fitting type", run("Child", `,"RuntimeParameters":{"Instance":"{{ Name }}"}`), []string{}},
		{"missing", run("Child", ""), []string{"child-parameter $.mainSteps[0].inputs.DocumentName"}},
		{"unknown", run("Child", `,"RuntimeParameters":{"Instance":"i-1","Cuont":2}`), []string{"child-parameter $.mainSteps[0].inputs.RuntimeParameters.Cuont"}},
		{"value", run("Child", `,"RuntimeParameters":{"Instance":"x","Count":"many"}`), []string{"child-value $.mainSteps[0].inputs.RuntimeParameters.Instance", "child-value $.mainSteps[0].inputs.RuntimeParameters.Count"}},
		{"type", run("Child", `,"RuntimeParameters":{"Instance":"{{ Tags }}"}`), []string{"child-type $.mainSteps[0].inputs.RuntimeParameters.Instance"}},
		{"swept", run("Child", `,"TargetParameterName":"Instance"`), []string{}},
		{"swept unknown", run("Child", `,"TargetParameterName":"Inst","RuntimeParameters":{"Instance":"i-1"}`), []string{"child-parameter $.mainSteps[0].inputs.TargetParameterName"}},
		{"version", run("Child", `,"DocumentVersion":"7"`), []string{}},
		{"not known", run("Other", ""), []string{"child-unknown $.mainSteps[0].inputs.DocumentName"}},
		{"AWS's", run("AWS-Other", ""), []string{}},
		{"known when it runs", run("{{ Name }}", ""), []string{}},
		{"kind", run("Shell", ""), []string{"child-kind $.mainSteps[0].inputs.DocumentName"}},
		{"circle", run("Ping", ""), []string{"child-cycle $.mainSteps[0].inputs.DocumentName"}},
		{"itself", run("Self", ""), []string{"child-cycle $.mainSteps[0].inputs.DocumentName"}},
		{"deep", run("D1", ""), []string{"child-depth $.mainSteps[0].inputs.DocumentName"}},
		{"less deep", run("D2", ""), []string{}},
		{"command", `{"name":"r","action":"aws:runCommand","inputs":{"DocumentName":"Shell","InstanceIds":["i-1"],"Parameters":{"commands":["date"]}}}`, []string{}},
		{"command without", `{"name":"r","action":"aws:runCommand","inputs":{"DocumentName":"Shell","InstanceIds":["i-1"]}}`, []string{"child-parameter $.mainSteps[0].inputs.DocumentName"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := book(`"Name":{"type":"String"},"Tags":{"type":"StringMap"}`, c.step)
			var got document.Findings
			for _, f := range d.CheckWith(&document.CheckOptions{Children: in}) {
				if f.Code != "parameter-unused" {
					got = append(got, f)
				}
			}
			require.Equal(t, c.want, noted(got))
		})
	}
	d := parse(t, `{"schemaVersion":"2.2","mainSteps":[{"name":"s","action":"aws:runDocument","inputs":{"documentType":"SSMDocument","documentPath":"Shell","documentParameters":{"command":"x"}}}]}`)
	fs := d.CheckWith(&document.CheckOptions{Children: in})
	require.Equal(t, []string{"child-parameter $.mainSteps[0].inputs.documentParameters", "child-parameter $.mainSteps[0].inputs.documentParameters.command"}, noted(fs))
	out, n := document.Apply(d.Source, fs)
	require.Equal(t, 1, n)
	require.Contains(t, string(out), `"documentParameters":{"commands":"x"}`)
}
