package automation_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// A runbook that asks before it acts, stepped by hand: the seven days of an approval take no time.
func Example() {
	rb, err := automation.ParseRunbook([]byte(`
schemaVersion: "0.3"
parameters: {InstanceId: {type: String}}
mainSteps:
- {name: ask, action: "aws:approve", onFailure: "step:tell", inputs: {Approvers: [ann]}}
- {name: stop, action: "aws:changeInstanceState", isEnd: true, inputs: {InstanceIds: ["{{ InstanceId }}"], DesiredState: stopped}}
- {name: tell, action: "aws:invokeWebhook", inputs: {IntegrationName: ops, Body: nobody answered}}
`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	x, err := rb.New(automation.Start{ID: "e-1", Parameters: map[string][]string{"InstanceId": {"i-1"}}}, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	step := func(ev automation.Event, at time.Time) {
		out, err := rb.Step(x, ev, at)
		if err != nil {
			fmt.Println(err)
		}
		for _, e := range out {
			fmt.Println(at.Sub(now), e.Kind, e.Step)
		}
	}
	step(automation.Event{Begin: true}, now)
	due, _ := x.Next()
	step(automation.Event{}, due) // nobody answered
	step(automation.Event{Result: &automation.Result{StepID: x.Steps[1].ID, Attempt: 1}}, due.Add(time.Second))
	fmt.Println(x.Status, x.Failure.Details["StepName"])
	// Output:
	// 0s Ask ask
	// 168h0m0s Invoke tell
	// TimedOut [ask]
}

// What a runbook leaves behind when something goes wrong.
func ExampleRunbook_Explore() {
	rb, err := automation.ParseRunbook([]byte(`
schemaVersion: "0.3"
mainSteps:
- {name: make, action: "aws:createStack", inputs: {StackName: test, TemplateBody: "{}"}}
- {name: check, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: DescribeInstances}}
- {name: drop, action: "aws:deleteStack", inputs: {StackName: test}}
`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := rb.Explore(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, w := range e.Warnings {
		fmt.Println(w.Kind, w.Message)
	}
	// Output:
	// NotCleanedUp the execution can end as Failed after make and without drop
}

// shelfOf is a place where documents come from; library.Service is the usual one.
type shelfOf map[string]string

func (s shelfOf) Fetch(_ context.Context, _, name, _ string) (content []byte, format, resolved, hash string, err error) {
	return []byte(s[name]), "", "1", "", nil
}

// A service over a store, with one action of the host's.
func ExampleNewService() {
	st := memstore.New()
	leases := lease.New(st, nil, lease.Config{Exclusive: true})
	s, err := automation.NewService(automation.Config{
		Store: st, Authorizer: access.AllowAll{}, Leases: leases,
		Documents: shelfOf{"Greet": `{"schemaVersion":"0.3","outputs":["call.Text"],"mainSteps":[
			{"name":"call","action":"aws:executeAwsApi","inputs":{"Service":"greeting","Api":"Get","Name":"fleet"},"outputs":[{"Name":"Text","Selector":"$.Text","Type":"String"}]}]}`},
		Actions: map[string]automation.Action{"aws:executeAwsApi": {Repeat: true, Run: func(_ context.Context, c automation.Call) (any, error) {
			return map[string]any{"Text": fmt.Sprint("hello, ", c.Inputs["Name"])}, nil
		}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- leases.Run(ctx) }()
	go func() { ended <- s.Run(ctx) }()
	id, err := s.Start(ctx, automation.Request{DocumentName: "Greet"})
	if err != nil {
		fmt.Println(err)
		return
	}
	x, err := s.Wait(ctx, id)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(x.Status, x.Outputs["call.Text"])
	cancel()
	<-ended
	<-ended
	// Output:
	// Success hello, fleet
}

// What happened is replayed: the same decisions must come of the same events. A history that somebody changed does not.
func ExampleRunbook_Replay() {
	rb, err := automation.ParseRunbook([]byte(`
schemaVersion: "0.3"
mainSteps:
- {name: rest, action: "aws:sleep", inputs: {Duration: PT1H}}
- {name: hold, action: "aws:pause", inputs: {}}
`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	first, err := rb.New(automation.Start{ID: "e-1"}, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	x := first.Clone()
	var history []automation.Entry
	for _, ev := range []automation.Event{{Begin: true}, {}, {Signal: &automation.Signal{Type: automation.Resume}}} {
		e, _, err := rb.Record(x, ev, now)
		if err != nil {
			fmt.Println(err)
		}
		history = append(history, e)
		now = now.Add(time.Hour)
	}
	again := first.Clone()
	fmt.Println(rb.Replay(again, history), again.Status)
	history[1].At = history[0].At.Add(time.Minute) // somebody says that it slept for a minute
	fmt.Println(rb.Replay(first.Clone(), history) != nil)
	// Output:
	// <nil> Success
	// true
}

// A runbook as a Mermaid flow chart, which many pages show as a drawing; of an execution the steps are coloured by their statuses. SVG draws the same without a tool.
func ExampleRunbook_Mermaid() {
	rb, err := automation.ParseRunbook([]byte(`
schemaVersion: "0.3"
mainSteps:
- {name: stop, action: "aws:changeInstanceState", onFailure: "step:tell", isEnd: true, inputs: {InstanceIds: [i-1], DesiredState: stopped}}
- {name: tell, action: "aws:invokeWebhook", inputs: {IntegrationName: ops}}
`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(rb.Mermaid(nil))
	// Output:
	// flowchart TD
	//   begin(["Start"]) --> s0
	//   s0["stop<br/><small>aws:changeInstanceState</small>"]
	//   s1["tell<br/><small>aws:invokeWebhook</small>"]
	//   s0 --> finish
	//   s0 -.->|"on failure"| s1
	//   s1 --> finish
	//   finish(["End"])
}

// A dry run: what every step would do to the world, and with which inputs, as far as that is known before anything ran.
func ExampleRunbook_Preview() {
	rb, err := automation.ParseRunbook([]byte(`
schemaVersion: "0.3"
parameters: {Id: {type: String}}
mainSteps:
- {name: look, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: DescribeInstances, InstanceIds: ["{{ Id }}"]}, outputs: [{Name: State, Selector: "$.State", Type: String}]}
- {name: stop, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: StopInstances, InstanceIds: ["{{ Id }}"], Was: "{{ look.State }}"}}
`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := rb.Preview(automation.Start{Parameters: map[string][]string{"Id": {"i-1"}}}, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range p.Steps {
		fmt.Println(s.Name, s.Impact, s.Inputs["InstanceIds"], s.Inputs["Was"])
	}
	// Output:
	// look Non_Mutating [i-1] <nil>
	// stop Mutating [i-1] {{ look.State }}
}
