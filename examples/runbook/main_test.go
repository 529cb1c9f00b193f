package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asProgram lets a copy of the test be the program.
const asProgram = "RUNBOOK_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// desktop is a directory with runbooks, and a user.
type desktop struct {
	t     *testing.T
	dir   string
	stdin string
	term  bool
}

func newDesktop(t *testing.T, files map[string]string) *desktop {
	d := &desktop{t: t, dir: t.TempDir()}
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600))
	}
	return d
}

func (d *desktop) file(name string) string { return filepath.Join(d.dir, name) }

// do runs the program in this process, as another process would find things.
func (d *desktop) do(args ...string) (code int, out, errs string) {
	d.t.Helper()
	var o, e bytes.Buffer
	a := &app{stdin: strings.NewReader(d.stdin), stdout: &o, stderr: &e, terminal: d.term, now: time.Now}
	code = a.main(d.t.Context(), append(args, "-dir", d.file("data")))
	return code, o.String(), e.String()
}

// must is do with the exit code that is expected.
func (d *desktop) must(want int, args ...string) string {
	d.t.Helper()
	code, out, errs := d.do(args...)
	require.Equal(d.t, want, code, "%s\n%s%s", strings.Join(args, " "), out, errs)
	return out
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

const asks = `
schemaVersion: "0.3"
parameters: {Id: {type: String}}
outputs: [look.State]
mainSteps:
- {name: look, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: DescribeInstances, InstanceIds: ["{{ Id }}"]}, outputs: [{Name: State, Selector: "$.R[0].State", Type: String}]}
- {name: ask, action: "aws:approve", onFailure: "step:undo", inputs: {Approvers: [ann, bob], MinRequiredApprovals: 2, Message: "It is {{ look.State }}. Stop it?"}}
- {name: stop, action: "aws:executeAwsApi", isEnd: true, inputs: {Service: ec2, Api: StopInstances, InstanceIds: ["{{ Id }}"]}}
- {name: undo, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: CreateTags}}
`

const answers = `{"ec2:DescribeInstances": [{"R":[{"State":"running"}]}], "ec2:StopInstances": {}, "ec2:CreateTags": {}}`

func TestAnApprovalIsGivenByOtherProcesses(t *testing.T) {
	d := newDesktop(t, map[string]string{"a.yaml": asks, "fakes.json": answers})
	out := d.must(exitNot, "run", d.file("a.yaml"), "-parameters", "Id=i-1", "-fake", d.file("fakes.json"))
	require.Contains(t, out, "Step ask waits for an approval")
	id := uuid.FindString(out)
	require.Contains(t, d.must(exitOK, "list"), "Waiting  ask")
	require.Contains(t, d.must(exitNot, "resume", id[:6]), "Waiting", "who goes on with it is told what it waits for")
	require.Contains(t, d.must(exitNot, "approve", id[:6], "ask"), "waits for an approval", "one of two")
	out = d.must(exitOK, "approve", id, "ask", "-comment", "go")
	require.Contains(t, out, "Success")
	require.Contains(t, out, "look.State = running")
	out = d.must(exitOK, "history", id)
	require.Contains(t, out, "Approve by ann")
	require.Contains(t, out, "Approve by bob: go")
	require.Contains(t, d.must(exitOK, "graph", id), "Success")
	require.NoError(t, os.Remove(d.file("a.yaml")), "an execution keeps the runbook that it began with")
	require.Contains(t, d.must(exitOK, "resume", id), "Success")
	require.NoError(t, os.WriteFile(d.file("a.yaml"), []byte(asks), 0o600))

	code, _, errs := d.do("approve", id, "ask")
	require.Equal(t, exitRefused, code)
	require.Contains(t, errs, "has ended")

	out = d.must(exitNot, "fork", id, "-from", "look", "-set", "Api=DescribeNothing")
	require.Contains(t, out, "says nothing of ec2:DescribeNothing")
	out = d.must(exitOK, "fork", id, "-from", "stop", "-set", "Id=i-2")
	require.Contains(t, out, "forked from "+id[:8])
	require.Contains(t, d.must(exitOK, "history", uuid.FindString(out)), "Forked from "+id)
}

func TestTheTerminalIsAsked(t *testing.T) {
	d := newDesktop(t, map[string]string{"a.yaml": asks, "fakes.json": answers})
	d.term, d.stdin = true, "y\nn\n"
	out := d.must(exitNot, "run", d.file("a.yaml"), "-parameters", "Id=i-1", "-fake", d.file("fakes.json"))
	require.Contains(t, out, "It is running. Stop it?")
	require.Contains(t, out, "approve ask as ann?")
	require.Contains(t, out, "approve ask as bob?")
	require.Regexp(t, `ask +aws:approve +Failed`, out)
	require.Regexp(t, `undo +aws:executeAwsApi +Success`, out)
	d.stdin = "y\n\n"
	require.Contains(t, d.must(exitNot, "run", d.file("a.yaml"), "-parameters", "Id=i-1", "-fake", d.file("fakes.json")), "Left waiting")
	d.stdin = ""
	require.Contains(t, d.must(exitOK, "run", d.file("a.yaml"), "-parameters", "Id=i-1", "-fake", d.file("fakes.json"), "-yes"), "Success")
	require.Contains(t, d.must(exitNot, "run", d.file("a.yaml"), "-parameters", "Id=i-1", "-fake", d.file("fakes.json"), "-no"), "rejected")
}

func TestPausesStepsAndStops(t *testing.T) {
	d := newDesktop(t, map[string]string{"p.yaml": `
schemaVersion: "0.3"
mainSteps:
- {name: hold, action: "aws:pause", onCancel: "step:clean", inputs: {}}
- {name: clean, action: "aws:executeAwsApi", inputs: {Service: s, Api: Clean}}
`, "f.json": `{"*": "expected"}`})
	id := uuid.FindString(d.must(exitNot, "run", d.file("p.yaml"), "-fake", d.file("f.json")))
	require.Contains(t, d.must(exitOK, "resume", id, "hold"), "Success")
	id = uuid.FindString(d.must(exitNot, "run", d.file("p.yaml"), "-fake", d.file("f.json")))
	out := d.must(exitOK, "stop", id)
	require.Regexp(t, `clean +aws:executeAwsApi +Success`, out)
	require.Contains(t, out, "Cancelled")
	code, _, errs := d.do("stop", id)
	require.Equal(t, exitRefused, code)
	require.Contains(t, errs, "has ended")
	id = uuid.FindString(d.must(exitNot, "run", d.file("p.yaml"), "-interactive", "-fake", d.file("f.json")))
	require.Contains(t, d.must(exitNot, "resume", id, "hold"), "hold is paused")
	require.Contains(t, d.must(exitNot, "resume", id, "hold"), "The next step is clean")
	require.Contains(t, d.must(exitOK, "resume", id, "clean"), "Success")
}

func TestFakesAnswerInTurn(t *testing.T) {
	d := newDesktop(t, map[string]string{"w.yaml": `
schemaVersion: "0.3"
outputs: [say.Text]
mainSteps:
- {name: wait, action: "aws:waitForAwsResourceProperty", inputs: {Service: ec2, Api: DescribeInstances, PropertySelector: "$.State", DesiredValues: [running]}}
- {name: change, action: "aws:changeInstanceState", onFailure: Continue, inputs: {InstanceIds: [i-1], DesiredState: stopped}}
- {name: say, action: "aws:runCommand", inputs: {DocumentName: AWS-RunShellScript, InstanceIds: [i-1]}, outputs: [{Name: Text, Selector: "$.Said", Type: String}]}
`, "f.json": `{"ec2:DescribeInstances": [{"State":"pending"}, {"$error": "Throttling: slowly"}, {"State":"running"}], "ec2:StopInstances": {"$error": "UnauthorizedOperation: no"}, "aws:runCommand": {"Said": "hello"}}`,
		"child.yaml":  `{"schemaVersion":"0.3","mainSteps":[{"name":"a","action":"aws:sleep","inputs":{"Duration":"PT0S"}}]}`,
		"parent.yaml": `{"schemaVersion":"0.3","mainSteps":[{"name":"run","action":"aws:executeAutomation","inputs":{"DocumentName":"child"}}]}`})
	out := d.must(exitOK, "run", d.file("w.yaml"), "-fake", d.file("f.json"))
	require.Contains(t, out, "say.Text = hello")
	require.Regexp(t, `change +aws:changeInstanceState +Failed`, out)
	out = d.must(exitOK, "run", d.file("parent.yaml"))
	id := uuid.FindString(out)
	child := uuid.FindString(regexp.MustCompile(`child .* ended`).FindString(d.must(exitOK, "history", id)))
	require.Contains(t, d.must(exitOK, "history", id, child), "of child")
	require.Contains(t, d.must(exitNot, "run", d.file("w.yaml")), "calls no AWS")
}

func TestLooksWithoutRunning(t *testing.T) {
	d := newDesktop(t, map[string]string{"a.yaml": asks})
	out := d.must(exitOK, "plan", d.file("a.yaml"), "-parameters", "Id=i-1")
	require.Regexp(t, `stop +aws:executeAwsApi +mutating +likely +end`, out)
	require.Contains(t, out, "4 steps: 2 mutating, 2 not mutating, 0 undetermined")
	out = d.must(exitOK, "explore", d.file("a.yaml"), "-cancel")
	require.Contains(t, out, "ways to an end")
	require.Contains(t, d.must(exitOK, "graph", d.file("a.yaml")), "flowchart TD")
	d.must(exitOK, "graph", d.file("a.yaml"), "-svg", d.file("a.svg"))
	svg, err := os.ReadFile(d.file("a.svg"))
	require.NoError(t, err)
	require.Contains(t, string(svg), "<svg")
	_, err = os.Stat(d.file("data"))
	require.ErrorIs(t, err, os.ErrNotExist, "nothing was begun")
}

func TestArgumentsAndTroubles(t *testing.T) {
	d := newDesktop(t, map[string]string{"a.yaml": asks, "bad.yaml": "schemaVersion: '0.3'\nmainSteps:\n- {name: x, action: 'aws:nope', inputs: {}}\n", "f.json": `{"x": 1}`, "g.json": "[]"})
	for _, c := range []struct {
		code int
		say  string
		args []string
	}{
		{exitArguments, "none of", []string{"frobnicate"}},
		{exitArguments, "FILE is missing", []string{"run"}},
		{exitArguments, "one too many", []string{"plan", "a", "b"}},
		{exitArguments, "flag provided", []string{"run", "-nope"}},
		{exitArguments, "exclude each other", []string{"run", d.file("a.yaml"), "-yes", "-no"}},
		{exitArguments, "parameter Id is required", []string{"run", d.file("a.yaml")}},
		{exitArguments, "column", []string{"run", d.file("a.yaml"), "-parameters", "Id"}},
		{exitRefused, "bad.yaml:3", []string{"run", d.file("bad.yaml")}},
		{exitRefused, "no such file", []string{"run", d.file("none.yaml")}},
		{exitArguments, "neither", []string{"run", d.file("a.yaml"), "-parameters", "Id=x", "-fake", d.file("f.json")}},
		{exitArguments, "no JSON object", []string{"run", d.file("a.yaml"), "-parameters", "Id=x", "-fake", d.file("g.json")}},
		{exitRefused, "there is no execution", []string{"resume", "abc"}},
		{exitArguments, "-from STEP is missing", []string{"fork", "abc"}},
		{exitArguments, "name=value", []string{"fork", "abc", "-set", "x"}},
		{exitRefused, "neither a file nor the id", []string{"graph", "nothing"}},
		{exitArguments, "Node", []string{"demo", "-parameters", "Node=../x"}},
	} {
		code, out, errs := d.do(c.args...)
		require.Equal(t, c.code, code, "%v %s%s", c.args, out, errs)
		require.Contains(t, errs, c.say, c.args)
	}
	code, _, errs := d.do("help")
	require.Zero(t, code)
	require.Contains(t, errs, "approve ID STEP")
	require.Contains(t, d.must(exitOK, "list"), "EXECUTION")
}

// TestTheExampleSurvivesAKill patches the web node, kills the program in the middle of the patch with SIGKILL, and goes on with it.
func TestTheExampleSurvivesAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: with -short no fleet is started")
	}
	d := newDesktop(t, nil)
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(self, "-dir", d.file("data"), "-parameters", "Pace=1,Node=web-2")
	c.Env = append(os.Environ(), asProgram+"=1")
	r, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	var said bytes.Buffer
	for b := make([]byte, 4096); !regexp.MustCompile(`patch +aws:runCommand +InProgress`).Match(said.Bytes()); {
		n, err := r.Read(b)
		require.NoError(t, err, said.String())
		said.Write(b[:n])
	}
	require.NoError(t, c.Process.Kill())
	c.Wait() //nolint:errcheck // it was killed
	out := d.must(exitOK, "resume", uuid.FindString(said.String())[:4], "-yes")
	require.Contains(t, out, "Success")
	require.NotRegexp(t, `drain +aws:runCommand`, out, "what was done is not done again")
	pool, err := os.ReadFile(d.file("data/fleet/machines/lb-1/backends"))
	require.NoError(t, err)
	require.Equal(t, "web-1\nweb-2\nweb-3\n", string(pool))
	release, err := os.ReadFile(d.file("data/fleet/machines/web-2/release"))
	require.NoError(t, err)
	require.Equal(t, "2.5.0\n", string(release))

	out = d.must(exitNot, "demo", "-fail", "-parameters", "Node=web-3,Pace=0")
	require.Regexp(t, `rollback +aws:runCommand +Success .*back to 2.4.0`, out)
	require.Contains(t, out, "HTTP 503")
	release, err = os.ReadFile(d.file("data/fleet/machines/web-3/release"))
	require.NoError(t, err)
	require.Equal(t, "2.4.0\n", string(release))

	require.NoError(t, os.WriteFile(d.file("ssm.yaml"), []byte(`
schemaVersion: "0.3"
outputs: [run.Output]
mainSteps:
- {name: put, action: "aws:executeAwsApi", inputs: {Service: ssm, Api: PutParameter, Name: /web/release, Value: "2.5", Type: String, Overwrite: true}}
- {name: get, action: "aws:executeAwsApi", inputs: {Service: ssm, Api: GetParameter, Name: /web/release}, outputs: [{Name: Value, Selector: "$.Parameter.Value", Type: String}]}
- {name: run, action: "aws:runCommand", inputs: {DocumentName: AWS-RunShellScript, Targets: [{Key: "tag:Name", Values: [web-1]}], Parameters: {commands: ["echo it is {{ get.Value }}"]}}}
`), 0o600))
	require.Contains(t, d.must(exitOK, "run", d.file("ssm.yaml"), "-fleet"), "run.Output = it is 2.5", "the fleet answers for the service ssm")
}

func TestCtrlCLeavesTheExecution(t *testing.T) {
	for name, c := range map[string]struct{ step, until, status string }{
		"while it runs":       {`{"name":"rest","action":"aws:sleep","inputs":{"Duration":"PT1H"}}`, "InProgress", "InProgress"},
		"while somebody asks": {`{"name":"ask","action":"aws:approve","inputs":{"Approvers":["ann"]}}`, "as ann?", "Waiting"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesktop(t, map[string]string{"s.json": `{"schemaVersion":"0.3","mainSteps":[` + c.step + `]}`})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, w, err := os.Pipe()
			require.NoError(t, err)
			keyboard, typed, err := os.Pipe()
			require.NoError(t, err)
			defer typed.Close() //nolint:errcheck // nothing is typed
			var errs bytes.Buffer
			a := &app{stdin: keyboard, stdout: w, stderr: &errs, terminal: true, now: time.Now}
			ended := make(chan int, 1)
			go func() {
				ended <- a.main(ctx, []string{"run", d.file("s.json"), "-dir", d.file("data")})
				w.Close() //nolint:errcheck // a pipe
			}()
			var said bytes.Buffer
			for b := make([]byte, 4096); !strings.Contains(said.String(), c.until); {
				n, err := r.Read(b)
				require.NoError(t, err, said.String())
				said.Write(b[:n])
			}
			cancel()
			require.Equal(t, exitNot, <-ended, errs.String())
			_, err = said.ReadFrom(r)
			require.NoError(t, err)
			require.Contains(t, said.String(), "go on with `resume ")
			require.Contains(t, d.must(exitOK, "list"), c.status)
			require.Contains(t, d.must(exitOK, "stop", uuid.FindString(said.String())), "Cancelled")
		})
	}
}
