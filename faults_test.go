//go:build linux

package fleetwright_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/internal/powercut"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// faultScenarios are what is done while system calls fail, by the names of their figures.
var faultScenarios = []string{"SendCommand", "PutParameter", "an automation of five steps", "key rotation", "an agent runs a step", "enrolment"}

// faultWork opens a fleet and does what its input asks for: "N" is the scenario's operation number N, again and again until it succeeds. What it acknowledges are "did …" after each
// success, "error CODE" after each failure, "unread" when reading does not go on, "reopened FAILED TIMES" (commits that failed, and how often the store's file was opened anew), and "done N".
func faultWork(dir, marks, scenario string) error {
	ctx := context.Background()
	f, err := fleetwright.Open(ctx, dir, powerOptions())
	if err != nil {
		return err
	}
	note := func(id string) error {
		return os.WriteFile(filepath.Join(marks, fmt.Sprint(id, ".", time.Now().UnixNano())), nil, 0o600) // opens, writes nothing
	}
	a, err := powerAgent(ctx, f, note)
	if err != nil {
		return err
	}
	if scenario == "SendCommand" || scenario == "key rotation" {
		if err := a.Stop(); err != nil {
			return err
		}
	}
	keys, err := localkeys.Open(filepath.Join(dir, "keys.json"), nil)
	if err != nil {
		return err
	}
	if _, err := f.Parameters.PutParameter(ctx, parameter.PutParameterRequest{Name: "/steady", Overwrite: true, Type: parameter.String, Value: parameter.Text("steady")}); err != nil {
		return err
	}
	_, err = f.Documents.CreateDocument(ctx, library.CreateDocumentRequest{Name: "five-steps", Content: fiveSteps, DocumentType: "Automation", DocumentFormat: "YAML"})
	if err != nil && fault.CodeOf(err) != "DocumentAlreadyExists" {
		return err
	}
	do := func(ctx context.Context, n string) error {
		switch scenario {
		case "SendCommand", "an agent runs a step":
			req := shell("true")
			req.InstanceIDs, req.ClientToken = []string{a.ID}, "token-"+n
			c, err := f.Commands.Send(ctx, req)
			if err != nil {
				return err
			}
			powercut.Ack("did sent %s %s", c.ID, req.ClientToken)
			if scenario == "SendCommand" {
				return nil
			}
			if c, err = f.Commands.Wait(ctx, c.ID); err != nil {
				return err
			}
			powercut.Ack("did ended %s %s", c.ID, c.StatusDetails)
		case "PutParameter":
			name := "/fault/" + n
			r, err := f.Parameters.PutParameter(ctx, parameter.PutParameterRequest{Name: name, Overwrite: true, Type: parameter.SecureString, Value: parameter.Secret(secret.String(powerValue(name, 1)))})
			if err != nil {
				return err
			}
			powercut.Ack("did put %s %d", name, r.Version)
		case "an automation of five steps":
			sum := sha256.Sum256([]byte(n))
			id, err := f.Automations.Start(ctx, automation.Request{DocumentName: "five-steps", ClientToken: fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])})
			if err != nil {
				return err
			}
			powercut.Ack("did started %s", id)
			x, err := f.Automations.Wait(ctx, id)
			if err != nil {
				return err
			}
			powercut.Ack("did automated %s %s", id, x.Status)
		case "key rotation":
			id, err := keys.Rotate(ctx)
			if err != nil {
				return err
			}
			powercut.Ack("did generation %s", id)
			epoch, err := f.RotateControllerKeys(ctx, access.DefaultTenant, time.Millisecond)
			if err != nil {
				return err
			}
			powercut.Ack("did epoch %d", epoch)
		case "enrolment":
			b, err := f.StartAgent(ctx, "agent-"+n, nil)
			if err != nil {
				return err
			}
			powercut.Ack("did enrolled agent-%s %s", n, b.ID)
			if err := errors.Join(b.RotateKeys(ctx), b.Stop()); err != nil {
				return err
			}
		}
		return nil
	}
	powercut.Ack("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		for try := 0; ; try++ {
			short, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := do(short, in.Text())
			cancel()
			if err == nil {
				break
			}
			powercut.Ack("error %s %s", fault.CodeOf(err), strings.ReplaceAll(err.Error(), "\n", " "))
			p, rerr := f.Parameters.GetParameter(ctx, parameter.GetParameterRequest{Name: "/steady"})
			if rerr != nil || p.Parameter.Value.Reveal() != "steady" {
				powercut.Ack("unread %v", rerr)
			}
			if try == 300 {
				powercut.Ack("stuck %s", in.Text())
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		st := fleetwright.StoreOf(f).(*boltstore.Store).Stats()
		powercut.Ack("reopened %d %d", st.Failed, st.Reopened)
		powercut.Ack("done %s", in.Text())
	}
	return f.Close()
}

// faultCheck opens the fleet without faults and returns what is wrong with what was acknowledged.
func faultCheck(ctx context.Context, dir, marks string, did []string) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	f, err := fleetwright.Open(ctx, dir, powerOptions())
	if err != nil {
		return append(problems, err.Error())
	}
	defer func() {
		if err := f.Close(); err != nil {
			bad("closing: %v", err)
		}
	}()
	if _, err := f.Audit.Verify(ctx, nil); err != nil {
		bad("the audit log: %v", err)
	}
	keys, err := localkeys.Open(filepath.Join(dir, "keys.json"), nil)
	if err != nil {
		return append(problems, err.Error())
	}
	ran := map[string]int{}
	left, err := os.ReadDir(marks)
	if err != nil {
		bad("%v", err)
	}
	for _, e := range left {
		id, _, _ := strings.Cut(e.Name(), ".")
		if ran[id]++; ran[id] == 2 {
			bad("the command %s ran twice (law 4)", id)
		}
	}
	tokens, epoch := map[string]string{}, uint64(0)
	for _, line := range did {
		switch w := strings.Fields(line); w[0] {
		case "sent":
			if was := tokens[w[2]]; was != "" && was != w[1] {
				bad("the token %s gave %s and %s", w[2], was, w[1])
			}
			tokens[w[2]] = w[1]
			if _, err := f.Commands.Get(ctx, w[1]); err != nil {
				bad("the command %s: %v", w[1], err)
			}
		case "ended":
			c, err := f.Commands.Get(ctx, w[1])
			if err != nil || string(c.StatusDetails) != w[2] {
				bad("the command %s ended as %s, now it is %s: %v", w[1], w[2], c.StatusDetails, err)
			}
			if w[2] == "Success" && ran[w[1]] != 1 {
				bad("the command %s succeeded and ran %d times", w[1], ran[w[1]])
			}
		case "put":
			p, err := f.Parameters.GetParameter(ctx, parameter.GetParameterRequest{Name: w[1], WithDecryption: true})
			if v, _ := strconv.ParseInt(w[2], 10, 64); err != nil || p.Parameter.Version < v || p.Parameter.Value.Reveal() != powerValue(w[1], 1) {
				bad("%s version %s: %v", w[1], w[2], err)
			}
		case "started", "automated":
			x, err := f.Automations.Wait(ctx, w[1])
			if err != nil || x.Status != automation.Success {
				bad("the automation %s: %v", w[1], err)
			}
		case "generation":
			if !slices.ContainsFunc(keys.Generations(), func(g localkeys.Generation) bool { return g.ID == w[1] }) {
				bad("the keys %s are gone", w[1])
			}
		case "epoch":
			epoch, _ = strconv.ParseUint(w[1], 10, 64)
		case "enrolled":
			a, err := f.StartAgent(ctx, w[1], nil)
			if err != nil || a.ID != w[2] {
				bad("%s was the node %s: %v", w[1], w[2], err)
				continue
			}
			if err := a.Stop(); err != nil {
				bad("%s: %v", w[1], err)
			}
		}
	}
	if next, err := f.RotateControllerKeys(ctx, access.DefaultTenant, time.Hour); err != nil || next <= epoch {
		bad("after epoch %d comes %d: %v", epoch, next, err)
	}
	for q := (command.ListRequest{Limit: 50}); ; {
		page, next, err := f.Commands.List(ctx, q)
		if err != nil {
			bad("listing commands: %v", err)
		}
		if next == "" || err != nil {
			_ = page
			break
		}
		q.NextToken = next
	}
	return problems
}

// runtimeThrow is what Go's runtime says when a call that it makes for itself fails, such as the write that wakes a thread that polls: no program can go on then.
var runtimeThrow = regexp.MustCompile(`(?m)^fatal error: runtime: `)

// inject lets strace hold the process's n-th call (of each thread), and returns a function that lets go and says how many calls were hit.
func inject(t *testing.T, strace string, pid int, calls, how string, n int) (release func() int) {
	file := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-o", file, "-p", strconv.Itoa(pid), "-e", "trace="+calls, "-e", fmt.Sprintf("inject=%s:%s:when=%d", calls, how, n))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	attached := bufio.NewReader(out)
	line, err := attached.ReadString('\n')
	if !strings.Contains(line, "attached") {
		cmd.Wait() //nolint:errcheck // it says why
		t.Skipf("SKIPPED: strace may not trace here: %s %v", line, err)
	}
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(io.Discard, attached) }() //nolint:errcheck // it ends with strace
	return func() int {
		cmd.Process.Signal(syscall.SIGINT) //nolint:errcheck // it ends with what it traced
		select {
		case <-done:
		case <-time.After(500 * time.Millisecond): // it waits for somebody who was killed
			cmd.Process.Kill() //nolint:errcheck // gone is fine
			<-done
		}
		cmd.Wait() //nolint:errcheck // ended by a signal
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		return strings.Count(string(b), "(INJECTED)") + strings.Count(string(b), "(DELAYED)") + strings.Count(string(b), "+++ killed by SIGKILL")
	}
}

// F4, G2: EIO, ENOSPC, a delay and SIGKILL at each write, sync, rename and truncation of six scenarios. Errors are typed, reading goes on, the process stays up and recovers, what was
// acknowledged is there, and nothing runs twice.
func TestFaultsAtEverySystemCall(t *testing.T) {
	if powercut.Role() != "" {
		args := powercut.Args()
		if err := faultWork(args[0], args[1], args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "the fleet under faults ended:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED: strace is not installed, no system call is made to fail")
	}
	if testing.Short() {
		t.Skip("SKIPPED: system calls are made to fail in full runs only")
	}
	calls := []string{"fdatasync", "pwrite64", "fsync", "write", "/^rename", "ftruncate"}
	modes := map[string]string{"EIO": "error=EIO", "ENOSPC": "error=ENOSPC", "delay": "delay_exit=50000", "KILL": "signal=KILL"}
	order := []string{"EIO", "ENOSPC", "delay", "KILL"}
	most := testenv.Count(t, "FLEETWRIGHT_POINTS", 100) // of one call in one scenario
	scenarios := faultScenarios
	if !testenv.Long() {
		calls, order, most, scenarios = calls[:2], []string{"EIO", "KILL"}, 1, faultScenarios[:3]
	}
	for _, scenario := range scenarios {
		for _, mode := range order {
			t.Run(scenario+"/"+mode, func(t *testing.T) {
				dir, marks := filepath.Join(t.TempDir(), "fleet"), t.TempDir()
				var did, trouble []string
				var w *powercut.Writer
				seen, reopened := 0, 0
				start := func() {
					w, seen, reopened = powercut.Start(t, "faults", dir, marks, scenario), 0, 0
					require.True(t, w.Await(1), "the fleet does not start")
				}
				// news returns what was acknowledged since, and whether the operation came to its end.
				news := func(n string) (ended bool) {
					for seen = seen + 0; w.Await(seen + 1); {
						line := w.Acked()[seen]
						seen++
						kind, rest, _ := strings.Cut(line, " ")
						switch kind {
						case "did":
							did = append(did, rest)
						case "error":
							code, _, _ := strings.Cut(rest, " ")
							if code == "" || code == string(fault.InternalServerError) || code == string(fault.CodeOf(errors.New("x"))) {
								trouble = append(trouble, "no typed error: "+rest)
							}
						case "reopened":
							var failed int
							if _, err := fmt.Sscan(rest, &failed, &reopened); err != nil || reopened < failed {
								trouble = append(trouble, "a commit failed and the file was not opened anew: "+rest)
							}
						case "unread", "stuck":
							trouble = append(trouble, line)
						case "done":
							return true
						}
					}
					return false
				}
				points, hits, failures, throws, anew := 0, 0, 0, 0, 0
				start()
				op := 0
				for _, call := range calls {
					for n, none := 1, 0; n <= most && none < 2; n++ {
						before := reopened
						release := inject(t, strace, w.Pid(), call, modes[mode], n)
						op++
						w.Tell(strconv.Itoa(op))
						alive := news(strconv.Itoa(op))
						hit := release()
						if hit == 0 && alive {
							none++
							continue
						}
						none = 0
						points++
						hits += hit
						if alive && call == "fdatasync" && (mode == "EIO" || mode == "ENOSPC") { // which the store alone calls
							op++
							w.Tell(strconv.Itoa(op)) // what was hit in the last moment has been dealt with when this is done
							if alive = news(strconv.Itoa(op)); alive && reopened == before {
								trouble = append(trouble, "a sync failed and the file was not opened anew")
							}
							anew += reopened - before
						}
						if !alive {
							w.Kill()
							switch said := w.Said(); {
							case mode == "KILL":
							case runtimeThrow.MatchString(said):
								throws++
							default:
								trouble = append(trouble, "the process died: "+said[max(0, len(said)-2000):])
							}
							start()
						}
						if len(trouble) > 0 {
							failures++
							t.Errorf("%s number %d: %s", call, n, strings.Join(trouble, "\n"))
							trouble = nil
						}
					}
				}
				w.Kill()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if problems := faultCheck(ctx, dir, marks, did); len(problems) > 0 {
					failures++
					t.Error(strings.Join(problems, "\n"))
				}
				require.Positive(t, points)
				testenv.Figure(t, mode+" at the system calls of "+scenario, points, failures)
				t.Logf("%d points, %d calls hit, %d acknowledged; the store's file was opened anew %d times; Go's runtime ended the process %d times", points, hits, len(did), anew, throws)
			})
		}
	}
}
