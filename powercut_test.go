//go:build linux

package fleetwright_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/internal/powercut"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
)

// The workload of power cuts: a control plane and an agent in one directory do all that is acknowledged anywhere, at once. What a value must be follows from its name and number.

const fiveSteps = `
schemaVersion: "0.3"
variables: {n: {type: String, default: "0"}}
mainSteps:
- {name: one, action: "aws:updateVariable", inputs: {Name: "variable:n", Value: "1"}}
- {name: two, action: "aws:updateVariable", inputs: {Name: "variable:n", Value: "2"}}
- {name: three, action: "aws:updateVariable", inputs: {Name: "variable:n", Value: "3"}}
- {name: four, action: "aws:updateVariable", inputs: {Name: "variable:n", Value: "4"}}
- {name: five, action: "aws:updateVariable", inputs: {Name: "variable:n", Value: "5"}}
`

// noted is an action that leaves its mark outside of every disk before it returns: a line with the command's id.
type noted struct{ note func(command string) error }

func (noted) Name() string { return "aws:runShellScript" }

func (n noted) Run(_ context.Context, c *action.Call) action.Result {
	if err := n.note(c.Command); err != nil {
		return action.Result{Status: message.Failed}
	}
	io.WriteString(c.Stdout, c.Command) //nolint:errcheck // it never fails
	return action.Result{Status: message.Success}
}

func powerOptions() *fleetwright.Options {
	o := &fleetwright.Options{}
	o.Config.Timing = command.Timing{Resend: 30 * time.Millisecond}
	o.Config.Heartbeat = 200 * time.Millisecond
	return o
}

func powerAgent(ctx context.Context, f *fleetwright.Fleet, note func(string) error) (*fleetwright.LocalAgent, error) {
	set, err := fleetwright.Actions(noted{note})
	if err != nil {
		return nil, err
	}
	return f.StartAgent(ctx, "one", &fleetwright.LocalOptions{Actions: set, Tags: map[string]string{"Role": "power"}})
}

const powerNames = 40 // versions of one parameter or document, below what is kept of each

func powerValue(name string, version int64) string {
	return fmt.Sprint(name, "#", version, strings.Repeat("-", int(version)*37%900))
}

func powerDocument(name string, version int) string {
	return fmt.Sprintf("{\"schemaVersion\": \"2.2\", \"description\": \"%s %d%s\", \"mainSteps\": [{\"name\": \"a\", \"action\": \"aws:runShellScript\", \"inputs\": {\"runCommand\": [\"true\"]}}]}",
		name, version, strings.Repeat("-", version*53%1500))
}

// powerWork works until it is killed.
func powerWork(dir, marks string) error {
	ctx := context.Background()
	f, err := fleetwright.Open(ctx, dir, powerOptions())
	if err != nil {
		return err
	}
	out, err := os.OpenFile(marks, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	a, err := powerAgent(ctx, f, func(id string) error {
		_, err := out.WriteString(id + "\n")
		return err
	})
	if err != nil {
		return err
	}
	powercut.Ack("node %s", a.ID)
	if _, err := f.Documents.CreateDocument(ctx, library.CreateDocumentRequest{Name: "five-steps", Content: fiveSteps, DocumentType: "Automation", DocumentFormat: "YAML"}); err != nil {
		return err
	}
	powercut.Ack("node %s", a.ID)
	failed := make(chan error)
	loop := func(do func(i int) error) {
		go func() {
			for i := 0; ; i++ {
				if err := do(i); err != nil {
					failed <- err
					return
				}
				time.Sleep(3 * time.Millisecond) // everything that is written is read again after each cut
			}
		}()
	}
	for w := range 2 {
		loop(func(i int) error {
			req := shell("true")
			req.InstanceIDs, req.ClientToken = []string{a.ID}, fmt.Sprintf("token-%d-%d", w, i)
			c, err := f.Commands.Send(ctx, req)
			if err != nil {
				return err
			}
			powercut.Ack("sent %s %s", c.ID, req.ClientToken)
			if c, err = f.Commands.Wait(ctx, c.ID); err != nil {
				return err
			}
			powercut.Ack("ended %s %s", c.ID, c.StatusDetails)
			return nil
		})
	}
	for w := range 2 {
		loop(func(i int) error {
			name, version := fmt.Sprintf("/power/%d/%d", w, i/powerNames), int64(i%powerNames)+1
			req := parameter.PutParameterRequest{Name: name, Overwrite: version > 1, Type: parameter.String, Value: parameter.Text(powerValue(name, version))}
			if w == 1 {
				req.Type, req.Value = parameter.SecureString, parameter.Secret(secret.String(powerValue(name, version)))
			}
			r, err := f.Parameters.PutParameter(ctx, req)
			if err != nil {
				return err
			}
			powercut.Ack("parameter %s %d", name, r.Version)
			return nil
		})
	}
	loop(func(i int) error {
		name, version := fmt.Sprint("power-", i/powerNames), i%powerNames+1
		if version == 1 {
			_, err = f.Documents.CreateDocument(ctx, library.CreateDocumentRequest{Name: name, Content: powerDocument(name, version)})
		} else {
			_, err = f.Documents.UpdateDocument(ctx, library.UpdateDocumentRequest{Name: name, Content: powerDocument(name, version), DocumentVersion: "$LATEST"})
		}
		if err != nil {
			return err
		}
		powercut.Ack("document %s %d", name, version)
		return nil
	})
	loop(func(int) error {
		id, err := f.Automations.Start(ctx, automation.Request{DocumentName: "five-steps"})
		if err != nil {
			return err
		}
		powercut.Ack("automation %s", id)
		x, err := f.Automations.Wait(ctx, id)
		if err != nil {
			return err
		}
		powercut.Ack("automated %s %s", id, x.Status)
		return nil
	})
	keys, err := localkeys.Open(filepath.Join(dir, "keys.json"), nil)
	if err != nil {
		return err
	}
	loop(func(i int) error {
		time.Sleep(20 * time.Millisecond) // keys that are read by all others in between
		switch turn := i % 3; {
		case turn == 0:
			id, err := keys.Rotate(ctx)
			if err != nil {
				return err
			}
			powercut.Ack("generation %s", id)
		case turn == 1 && i < 3*14: // no more may be in their grace, which must not end before the node is started again
			epoch, err := f.RotateControllerKeys(ctx, access.DefaultTenant, time.Hour)
			if err != nil {
				return err
			}
			powercut.Ack("epoch %d", epoch)
		case turn == 2:
			if err := a.RotateKeys(ctx); err != nil {
				return err
			}
			powercut.Ack("rotated")
		}
		return nil
	})
	return <-failed
}

// afterPower opens what a cut left of the workload's directory and returns all that is wrong with it. marks are the commands that had left their mark before the cut.
func afterPower(ctx context.Context, dir string, acked, marks []string) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	f, err := fleetwright.Open(ctx, dir, powerOptions())
	if err != nil {
		bad("it does not open: %v", err)
		return problems
	}
	defer func() {
		if err := f.Close(); err != nil {
			bad("it does not close: %v", err)
		}
	}()
	// Before anything new happens: each write has its entry in the audit log, and the log is whole.
	if _, err := f.Audit.Verify(ctx, nil); err != nil {
		bad("the audit log: %v", err)
	}
	puts := 0
	for p := (&audit.Page{MaxResults: 1000}); ; {
		list, next, err := f.Audit.List(ctx, audit.Filter{Action: "ssm:PutParameter", Outcome: audit.Success}, p)
		if err != nil {
			bad("the audit log: %v", err)
			break
		}
		if puts += len(list); next == "" {
			break
		}
		p.NextToken = next
	}
	newest := map[string]int64{}
	node := ""
	sent, automations := map[string]string{}, map[string]string{}
	var epoch uint64
	for _, line := range acked {
		words := strings.Fields(line)
		switch words[0] {
		case "node":
			node = words[1]
		case "sent":
			sent[words[1]] = words[2]
		case "parameter":
			newest[words[1]], _ = strconv.ParseInt(words[2], 10, 64)
		case "document":
			version, _ := strconv.Atoi(words[2])
			d, err := f.Documents.GetDocument(ctx, library.GetDocumentRequest{Name: words[1], DocumentVersion: words[2]})
			if err != nil || d.Content != powerDocument(words[1], version) {
				bad("version %d of the document %s was acknowledged: %v", version, words[1], err)
			}
		case "automation":
			automations[words[1]] = ""
		case "automated":
			automations[words[1]] = words[2]
		case "epoch":
			epoch, _ = strconv.ParseUint(words[1], 10, 64)
		case "generation":
			keys, err := localkeys.Open(filepath.Join(dir, "keys.json"), nil)
			if err != nil {
				bad("the key file: %v", err)
			} else if !slices.ContainsFunc(keys.Generations(), func(g localkeys.Generation) bool { return g.ID == words[1] }) {
				bad("the keys %s were acknowledged and are gone", words[1])
			}
		}
	}
	// Parameters: the newest acknowledged version is there, perhaps one more that was being written, and each has the value that was written as it.
	versions := 0
	for w := range 2 {
		for n := 0; ; n++ {
			name := fmt.Sprintf("/power/%d/%d", w, n)
			h, err := f.Parameters.GetParameterHistory(ctx, parameter.GetParameterHistoryRequest{Name: name, WithDecryption: true, MaxResults: 50})
			if err != nil {
				if newest[name] > 0 {
					bad("%s: %v", name, err)
				}
				break
			}
			have := int64(len(h.Parameters))
			versions += len(h.Parameters)
			if have < newest[name] || have > newest[name]+1 {
				bad("%s has %d versions, %d were acknowledged", name, have, newest[name])
			}
			for _, v := range h.Parameters {
				if v.Value.Reveal() != powerValue(name, v.Version) {
					bad("%s version %d is not what was written", name, v.Version)
				}
			}
		}
	}
	if puts != versions {
		bad("%d versions of parameters and %d entries in the audit log", versions, puts)
	}
	if node == "" {
		return problems // it had hardly begun
	}
	// Now the node lives again.
	var mu sync.Mutex
	again := map[string]int{}
	a, err := powerAgent(ctx, f, func(id string) error {
		mu.Lock()
		defer mu.Unlock()
		again[id]++
		return nil
	})
	if err != nil {
		bad("the agent: %v", err)
		return problems
	}
	if a.ID != node {
		bad("the node was %s and is %s", node, a.ID)
	}
	if epoch > 0 {
		if next, err := f.RotateControllerKeys(ctx, access.DefaultTenant, time.Hour); err != nil || next < epoch+1 || next > epoch+2 {
			bad("epoch %d was acknowledged, the next is %d: %v", epoch, next, err)
		}
	}
	var all []command.Command
	for q := (command.ListRequest{Limit: 50}); ; {
		page, next, err := f.Commands.List(ctx, q)
		if err != nil {
			bad("listing commands: %v", err)
			break
		}
		if all = append(all, page...); next == "" {
			break
		}
		q.NextToken = next
	}
	for _, c := range all { // those too that were not acknowledged: they are there whole
		ended := c
		if !c.StatusDetails.Terminal() {
			if ended, err = f.Commands.Wait(ctx, c.ID); err != nil {
				bad("the command %s: %v", c.ID, err)
				continue
			}
		}
		if was := slices.Index(acked, "ended "+c.ID+" Success"); was >= 0 && ended.StatusDetails != "Success" {
			bad("the command %s had ended well and now is %s", c.ID, ended.StatusDetails)
		}
		ran := slices.Contains(marks, c.ID)
		mu.Lock()
		n := again[c.ID]
		mu.Unlock()
		switch {
		case ran && n > 0:
			bad("the command %s ran before the cut and again after it (law 4)", c.ID)
		case n > 1:
			bad("the command %s ran %d times", c.ID, n)
		case ended.StatusDetails == "Success" && !ran && n == 0:
			bad("the command %s never ran and is said to have succeeded", c.ID)
		}
	}
	for id, token := range sent {
		if !slices.ContainsFunc(all, func(c command.Command) bool { return c.ID == id }) {
			bad("the command %s was acknowledged and is gone", id)
			continue
		}
		req := shell("true")
		req.InstanceIDs, req.ClientToken = []string{a.ID}, token
		if c, err := f.Commands.Send(ctx, req); err != nil || c.ID != id {
			bad("the token %s gave %s and now %s: %v", token, id, c.ID, err)
		}
	}
	for id, status := range automations {
		look := f.Automations.Wait
		if status != "" {
			look = func(ctx context.Context, id string) (*automation.Execution, error) {
				x, _, err := f.Automations.Get(ctx, id)
				return x, err
			}
		}
		x, err := look(ctx, id)
		if err != nil || status != "" && string(x.Status) != status || x.Status != automation.Success {
			bad("the automation %s (acknowledged as %q): %v", id, status, err)
		}
	}
	if _, err := f.Audit.Verify(ctx, nil); err != nil {
		bad("the audit log afterwards: %v", err)
	}
	return problems
}

// cuts returns how many times the power is cut.
func cuts(t *testing.T) int {
	if testenv.Long() {
		return testenv.Count(t, "FLEETWRIGHT_CUTS", 100)
	}
	if testing.Short() {
		t.Skip("SKIPPED: power is cut in full runs only")
	}
	return 4
}

// F3, F5, G3: a control plane and an agent lose their power while they do everything at once. What was acknowledged is there, what was not is there whole or not at all, the audit log is
// whole, and no step that left a mark runs again.
func TestPowerCut(t *testing.T) {
	if powercut.Role() != "" {
		args := powercut.Args()
		fmt.Fprintln(os.Stderr, "the workload ended:", powerWork(args[0], args[1]))
		os.Exit(1)
	}
	n := cuts(t)
	if !powercut.Enter(t) {
		return
	}
	rig := powercut.NewRig(t)
	world := rig.World()
	rng := rand.New(rand.NewPCG(uint64(n), 5))
	for _, kind := range []string{"ext4", "xfs"} {
		disk, share, failures, acked := rig.Disk(kind), (n+1)/2, 0, 0
		start := time.Now()
		const life = 6 // cuts of one control plane: what it holds has to be read after each
		var w *powercut.Writer
		var name, file string
		for i := range share {
			if i%life == 0 {
				if w != nil {
					w.Kill()
					require.NoError(t, os.RemoveAll(filepath.Join(disk.Dir, name)))
				}
				name = fmt.Sprint("fleet", i)
				file = filepath.Join(world, kind+name)
				w = powercut.Start(t, "fleet", filepath.Join(disk.Dir, name), file)
				require.True(t, w.Await(2), "the workload died")
			}
			time.Sleep(time.Duration(rng.IntN(120_000)) * time.Microsecond) // the instant of the cut
			var marks []byte
			cut := disk.Cut(w, func() { marks, _ = os.ReadFile(file) })
			wake := w.Rest()
			cut.Inspect(func(dir string) {
				marked := strings.Fields(string(marks[:bytes.LastIndexByte(marks, '\n')+1]))
				if problems := afterPower(t.Context(), filepath.Join(dir, name), cut.Acked, marked); len(problems) > 0 {
					failures++
					t.Errorf("cut %d of %s on %s: %s", i, name, kind, strings.Join(problems, "\n"))
				}
				acked += len(cut.Acked)
			})
			wake()
		}
		w.Kill()
		testenv.Figure(t, "power cuts of a control plane with an agent on "+kind, share, failures)
		t.Logf("%s: %d cuts in %v, %d acknowledged calls looked for", kind, share, time.Since(start), acked)
	}
}
