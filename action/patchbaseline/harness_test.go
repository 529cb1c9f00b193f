//go:build linux

package patchbaseline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/patchbaseline"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/patch"
)

// holdLock makes a copy of the test binary a process that holds a lock on the file of that name until its standard input ends.
const holdLock = "FLEETWRIGHT_HOLD_LOCK"

func TestMain(m *testing.M) {
	name := os.Getenv(holdLock)
	if name == "" {
		os.Exit(m.Run())
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err == nil {
		err = syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("held")
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end counts
	os.Exit(0)
}

// hold starts such a process; the function ends it.
func hold(t *testing.T, name string) (release func()) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), holdLock+"="+name)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, 5)
	_, err = io.ReadFull(out, line)
	require.NoError(t, err)
	var once sync.Once
	release = func() {
		once.Do(func() {
			in.Close()  //nolint:errcheck // it ends
			cmd.Wait()  //nolint:errcheck // likewise
			out.Close() //nolint:errcheck // likewise
		})
	}
	t.Cleanup(release)
	return release
}

// plane is a control plane with one baseline.
type plane struct {
	baseline patch.Baseline
	group    string
	asked    []patch.Request
	reports  []patch.Report
	refuse   error // of reports
}

func (p *plane) Ask(ctx context.Context, op string, input []byte) ([]byte, error) {
	switch op {
	case "GetDeployablePatchSnapshotForInstance":
		var r patch.Request
		if err := json.Unmarshal(input, &r); err != nil {
			return nil, err
		}
		p.asked = append(p.asked, r)
		id := r.SnapshotID
		if id == "" {
			id = "0f0f0f0f-0000-4000-8000-00000000000" + fmt.Sprint(len(p.asked)%10)
		}
		return json.Marshal(patch.Snapshot{ID: id, Group: p.group, OperatingSystem: r.OperatingSystem, Baseline: p.baseline})
	case "PutPatchReport":
		var r patch.Report
		if err := json.Unmarshal(input, &r); err != nil {
			return nil, err
		}
		p.reports = append(p.reports, r)
		return []byte("{}"), p.refuse
	}
	return nil, errors.New("another operation")
}

func (p *plane) last(t *testing.T) *patch.Report {
	t.Helper()
	require.NotEmpty(t, p.reports)
	return &p.reports[len(p.reports)-1]
}

// outcome is what a run of the action did.
type outcome struct {
	action.Result
	out, err string
}

// runner runs steps of the action as an agent would.
type runner struct {
	plane   *plane
	spawner action.Spawner
	command string
	reboots int
}

func (r *runner) run(ctx context.Context, t *testing.T, o *patchbaseline.Options, inputs map[string]any) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	s := r.spawner
	if s == nil {
		s = action.System{}
	}
	command := r.command
	if command == "" {
		command = "command"
	}
	c := &action.Call{Tenant: "default", Node: "mi-0123456789abcdef0", Command: command, Attempt: 1, Name: "PatchBaseline", Action: patchbaseline.Name, Reboots: r.reboots, Inputs: inputs,
		Stdout: &out, Stderr: &errs, Dir: t.TempDir(), Marker: "marker", Platform: "Linux", Plane: r.plane, Spawner: s, Log: slog.New(slog.DiscardHandler), Facts: message.Facts{}}
	res := action.Settle(ctx, patchbaseline.New(o).Run(ctx, c))
	return outcome{res, out.String(), errs.String()}
}

func scan() map[string]any { return map[string]any{"Operation": "Scan"} }

func install(reboot patch.RebootOption) map[string]any {
	return map[string]any{"Operation": "Install", "RebootOption": string(reboot)}
}

// in returns the packages of a report that are in a state, as "name version", the version wanted for those that are missing.
func in(r *patch.Report, s patch.State) []string {
	out := []string{}
	for i := range r.Patches {
		p := &r.Patches[i]
		if p.State != s {
			continue
		}
		v := p.Installed
		if s == patch.StateMissing || s == patch.StateFailed {
			v = p.Wanted
		}
		out = append(out, p.Name+" "+v)
	}
	sort.Strings(out)
	return out
}

func names(list []string) []string {
	out := []string{}
	for _, s := range list {
		n, _, _ := strings.Cut(s, " ")
		out = append(out, n)
	}
	return out
}

func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is not on this machine, so nothing is patched with it", tool)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: packages are installed into a private root, which takes root")
	}
}

func fixed(s string) func() time.Time {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return func() time.Time { return at }
}

// when does something as soon as a word was printed.
type when struct {
	bytes.Buffer
	word string
	do   func()
}

func (w *when) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.do != nil && strings.Contains(w.String(), w.word) {
		do := w.do
		w.do = nil
		do()
	}
	return n, err
}

// watch runs like run, with an eye on the output.
func (r *runner) watch(ctx context.Context, t *testing.T, o *patchbaseline.Options, inputs map[string]any, w *when) outcome {
	t.Helper()
	c := &action.Call{Tenant: "default", Node: "mi-0123456789abcdef0", Command: "watched", Attempt: 1, Name: "PatchBaseline", Action: patchbaseline.Name, Inputs: inputs,
		Stdout: w, Stderr: io.Discard, Dir: t.TempDir(), Platform: "Linux", Plane: r.plane, Spawner: action.System{}, Log: slog.New(slog.DiscardHandler)}
	return outcome{action.Settle(ctx, patchbaseline.New(o).Run(ctx, c)), w.String(), ""}
}
