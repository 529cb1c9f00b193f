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

// Nobody answers: after seven days the approval ends, and the runbook cleans up behind itself. The test takes microseconds.
func ExampleWorld_Run() {
	rb, err := automation.ParseRunbook([]byte(`
schemaVersion: "0.3"
mainSteps:
- {name: make, action: "aws:createImage", inputs: {InstanceId: i-1, ImageName: before}, outputs: [{Name: Id, Selector: "$.ImageId", Type: String}]}
- {name: ask, action: "aws:approve", onFailure: "step:drop", isEnd: true, inputs: {Approvers: [ann]}}
- {name: drop, action: "aws:deleteImage", inputs: {ImageId: "{{ make.Id }}"}}
`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	w := automationtest.New(rb)
	w.Patient = true // nobody does anything that At does not say
	w.Call("aws:createImage", automationtest.Returns(map[string]any{"ImageId": "ami-1"}))
	x, err := w.Run(automation.Start{})
	if err != nil {
		fmt.Println(err)
		return
	}
	last := w.Calls()[len(w.Calls())-1]
	fmt.Println(x.Status, w.Elapsed(), last.Step, last.Inputs["ImageId"])
	_, err = w.Replay()
	fmt.Println("replayed:", err)
	// Output:
	// TimedOut 168h0m0s drop ami-1
	// replayed: <nil>
}
