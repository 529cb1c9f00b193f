package document_test

import (
	"fmt"

	"github.com/fleetwright/fleetwright/document"
)

const greet = `
schemaVersion: "2.2"
description: Greets somebody.
parameters:
  Name:
    type: String
    description: Who is greeted.
    interpolationType: ENV_VAR
mainSteps:
  - action: aws:runShellScript
    name: greet
    precondition:
      StringEquals: [platformType, Linux]
    inputs:
      timeoutSeconds: "60"
      runCommand:
        - echo Hello, {{ Name }}
`

// A document is read, given values, and resolved for a platform. The value is data: the script refers to a variable.
func Example() {
	d, err := document.Parse([]byte(greet), &document.Options{File: "greet.yaml"})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := d.Bind(map[string][]string{"Name": {"Ada; rm -rf /"}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, platform := range []string{"Linux", "Windows"} {
		step := b.Steps(platform)[0]
		script, _ := step.Script()
		fmt.Printf("%s: %s %v\n%s%s\n", platform, step.Verdict, step.Env, script, step.Reason)
	}
	// Output:
	// Linux: Run map[SSM_Name:Ada; rm -rf /]
	// echo Hello, "${SSM_Name}"
	//
	// Windows: Skip map[SSM_Name:Ada; rm -rf /]
	// echo Hello, "${SSM_Name}"
	// action aws:runShellScript cannot run on Windows
}

// A bad document gives all its errors at once, each with its place.
func ExampleParse() {
	_, err := document.Parse([]byte(`{
  "schemaVersion": "2.2",
  "mainSteps": [
    {"action": "aws:runshellscript", "name": "a", "inputs": {}},
    {"action": "aws:runShellScript", "inputs": {"runCommand": ["x"], "timeoutSeconds": "1"}}
  ]
}`), &document.Options{File: "bad.json"})
	fmt.Println(err)
	// Output:
	// bad.json:4:16: error: unknown action "aws:runshellscript": did you mean aws:runShellScript? [unknown-action]
	// bad.json:5:5: error: the step has no name: add one of letters, digits, _ and - [step-name]
	// bad.json:5:88: error: timeoutSeconds "1": a whole number from 5 to 172800 is needed [timeout]
}

// Check warns of what runs and may hurt.
func ExampleDocument_Check() {
	d, err := document.Parse([]byte(`{"schemaVersion":"2.2","parameters":{"Dir":{"type":"String"}},
"mainSteps":[{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":["ls {{ Dir }}"]}}]}`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range d.Check() {
		fmt.Println(f.Severity, f.Code, f.Path, f.Fix)
	}
	// Output:
	// warning raw-parameter $.mainSteps[0].inputs.runCommand[0] "interpolationType": "ENV_VAR"
}

// A host adds actions of its own to the table.
func ExampleActions_With() {
	table := document.Builtin().With(document.ActionSpec{
		Name: "acme:deploy", Schemas: []string{"2.2"}, Platforms: []string{"Linux"},
		Inputs: []document.InputSpec{{Name: "version", Type: document.StringInput, Required: true}},
	})
	d, err := document.Parse([]byte(`{"schemaVersion":"2.2","mainSteps":[{"action":"acme:deploy","name":"d","inputs":{"version":"1.4"}}]}`),
		&document.Options{Actions: table})
	fmt.Println(err, d.PlatformTypes())
	// Output:
	// <nil> [Linux]
}

// Fix mends what is mechanical: here a slip in a key, and a parameter that was pasted into a script.
func ExampleFix() {
	src := `schemaVersion: "2.2"
parameters:
  Dir:
    type: String # below /srv
mainSteps:
  - action: aws:runShellScript
    nmae: list
    inputs:
      runCommand: ["ls '{{ Dir }}'"]
`
	out, done := document.Fix([]byte(src), nil, nil)
	for _, f := range done {
		fmt.Println(f)
	}
	fmt.Print(string(out))
	// Output:
	// 7:5: error: unknown key "nmae" in a step: did you mean name? [step-key]
	// 9:20: warning: parameter Dir is pasted into a script, so its value can be any command: declare it with interpolationType ENV_VAR, and the placeholder becomes a reference to SSM_Dir [raw-parameter]
	// schemaVersion: "2.2"
	// parameters:
	//   Dir:
	//     interpolationType: ENV_VAR
	//     type: String # below /srv
	// mainSteps:
	//   - action: aws:runShellScript
	//     name: list
	//     inputs:
	//       runCommand: ["ls \"{{ Dir }}\""]
}
