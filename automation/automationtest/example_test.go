package automationtest_test

import (
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/automationtest"
)

// A runbook tested with a fake service in a few lines, an approval of six days included.
func Example() {
	rb, err := automation.ParseRunbook([]byte(`
schemaVersion: "0.3"
mainSteps:
- {name: ask, action: "aws:approve", inputs: {Approvers: [ann]}}
- {name: look, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: DescribeInstances}, outputs: [{Name: State, Selector: "$.State", Type: String}]}
- name: choose
  action: aws:branch
  inputs: {Choices: [{NextStep: start, Variable: "{{ look.State }}", StringEquals: stopped}]}
  isEnd: true
- {name: start, action: "aws:changeInstanceState", inputs: {InstanceIds: [i-1], DesiredState: running}}
`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	w := automationtest.New(rb)
	w.Patient = true
	w.Call("ec2:DescribeInstances", automationtest.Returns(map[string]any{"State": "stopped"}))
	w.At(6*24*time.Hour, automation.Event{Signal: &automation.Signal{Type: automation.Approve, By: "ann"}})
	x, err := w.Run(automation.Start{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(x.Status, w.Elapsed())
	for _, c := range w.Calls() {
		fmt.Println(c.Step, c.At)
	}
	// Output:
	// Success 144h0m0s
	// look 144h0m0s
	// start 144h0m0s
}
