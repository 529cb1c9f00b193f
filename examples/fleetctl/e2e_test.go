package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/ssmops"
)

// The three programs, built once and really run, over TLS on loopback.

var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fleetctl-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if runtime.GOOS != "windows" {
		out, err := exec.Command("go", "build", "-o", dir+"/", "../controlplane", "../agent", ".").CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "the programs do not build: %v\n%s", err, out)
			os.Exit(1)
		}
		bin = dir
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// program is a running one.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *bufio.Reader
	log  *text
	done chan struct{}
}

// text collects what a program logs.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(b)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	if bin == "" {
		t.Skip("SKIPPED: signals of unix are needed")
	}
	p := &program{t: t, cmd: exec.Command(filepath.Join(bin, name), args...), log: &text{}, done: make(chan struct{})}
	p.cmd.Stderr = p.log
	p.cmd.Dir = t.TempDir()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	p.cmd.Stdout = w
	p.out = bufio.NewReader(r)
	require.NoError(t, p.cmd.Start())
	w.Close()
	go func() { p.cmd.Wait(); close(p.done) }() //nolint:errcheck // the state tells
	t.Cleanup(func() {
		p.kill()
		r.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, p.log)
		}
	})
	return p
}

// line returns the next line of the program's output.
func (p *program) line() string {
	p.t.Helper()
	s, err := p.out.ReadString('\n')
	require.NoError(p.t, err, p.log.String())
	return strings.TrimSuffix(s, "\n")
}

// stop tells the program to end and returns its exit code.
func (p *program) stop() int {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.t.Fatal("it does not stop: " + p.log.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *program) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-p.done
}

// lab is a control plane and how to talk to it.
type lab struct {
	t   *testing.T
	dir string
	url string
}

// plane starts a control plane in the directory and waits until it is up.
func (f *lab) plane(listen string) *program {
	f.t.Helper()
	p := start(f.t, "controlplane", "-dir", f.dir, "-listen", listen)
	first := p.line()
	f.url = regexp.MustCompile(`https://\S+?:\d+`).FindString(first)
	require.NotEmpty(f.t, f.url, first)
	p.line()
	p.line()
	return p
}

// ctl runs fleetctl.
func (f *lab) ctl(args ...string) (stdout, stderr string, code int) {
	f.t.Helper()
	return f.feed("", args...)
}

// feed runs fleetctl with something on its standard input.
func (f *lab) feed(stdin string, args ...string) (stdout, stderr string, code int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "fleetctl"), args...)
	cmd.Env = append(os.Environ(), "FLEETCTL_PROFILE="+filepath.Join(f.dir, "fleetctl.json"))
	cmd.Dir, cmd.Stdin = f.dir, strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		require.NoError(f.t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (f *lab) ok(args ...string) string {
	f.t.Helper()
	out, errs, code := f.ctl(args...)
	require.Zero(f.t, code, "%v: %s%s", args, out, errs)
	return out
}

// agents starts n agents with a new activation and waits until they are online.
func (f *lab) agents(n int, tags string, more ...string) (ps []*program, ids []string) {
	f.t.Helper()
	code := filepath.Join(f.t.TempDir(), "code")
	act := strings.TrimSpace(f.ok("activations", "create", "-limit", fmt.Sprint(n), "-tags", tags, "-code-file", code))
	for range n {
		p := start(f.t, "agent", append([]string{"-server", f.url, "-ca", filepath.Join(f.dir, "tls", "ca.pem"), "-activation", act, "-code-file", code, "-dir", filepath.Join(f.t.TempDir(), "node")}, more...)...)
		id := regexp.MustCompile(`mi-[0-9a-f]{17}`).FindString(p.line())
		require.NotEmpty(f.t, id)
		ps, ids = append(ps, p), append(ids, id)
	}
	f.online(ids...)
	return ps, ids
}

func (f *lab) online(ids ...string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		out, _, _ := f.ctl("nodes", "-ping", "Online")
		for _, id := range ids {
			if !strings.Contains(out, id) {
				return false
			}
		}
		return true
	}, time.Minute, 50*time.Millisecond)
}

func TestAFleetOfPrograms(t *testing.T) {
	f := &lab{t: t, dir: filepath.Join(t.TempDir(), "data")}
	p := f.plane("127.0.0.1:0")
	require.Equal(t, 1, strings.Count(f.ok("nodes"), "\n"), "a table without rows")
	agents, ids := f.agents(2, "Role=web")

	// run: the table, progress, and exit codes.
	out, progress, code := f.ctl("run", "-targets", "Key=tag:Role,Values=web", "--", "echo", "hello", "$SSM_NOTHING", ";", "printf 'a\\033[2Jb\\n' >&2")
	require.Zero(t, code, progress)
	for _, id := range ids {
		require.Regexp(t, `(?m)^`+id+` +Success +0 +\S+ +hello$`, out)
		require.Regexp(t, `(?m)^`+id+` Success exit 0 `, progress, "plain lines where there is no terminal")
	}
	require.Regexp(t, `(?m)^[0-9a-f-]{36}: Success, 2 of 2 done, 0 failed$`, out)
	first := regexp.MustCompile(`(?m)^[0-9a-f-]{36}`).FindString(out)
	out, _, code = f.ctl("run", "-q", "-targets", "Key=InstanceIds,Values="+ids[0], "--", "exit 7")
	require.Equal(t, exitFailed, code, "what fails is seen by scripts")
	require.Regexp(t, `(?m)^`+ids[0]+` +Failed +7 `, out)
	out, _, code = f.ctl("run", "-q", "-targets", "Key=tag:Role,Values=nobody", "--", "true")
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "no node matched")

	// Output, whole and one stream at a time; a table never commands a terminal.
	require.Equal(t, "hello\n", f.ok("output", first, ids[0]))
	require.Equal(t, "a\x1b[2Jb\n", f.ok("output", first, ids[0], "-stderr"), "a pipe gets the bytes")
	require.NotContains(t, f.ok("get", first, ids[0]), "\x1b")
	require.Contains(t, f.ok("get", first), "2 of 2 done")

	// plan says what would happen, and nothing does.
	out = f.ok("plan", "-targets", "Key=tag:Role,Values=web", "-max-concurrency", "1", "--", "touch", "/nonexistent/x")
	require.Contains(t, out, "touch /nonexistent/x")
	require.Contains(t, out, "2 nodes in 2 waves, 1 at once")

	// A document of one's own.
	doc := filepath.Join(t.TempDir(), "greet.yaml")
	require.NoError(t, os.WriteFile(doc, []byte("schemaVersion: '2.2'\nparameters:\n  who:\n    type: String\n    interpolationType: ENV_VAR\nmainSteps:\n- action: aws:runShellScript\n  name: greet\n  inputs:\n    runCommand:\n    - echo \"hi $SSM_who\"\n"), 0o600))
	require.Contains(t, f.ok("documents", "create", "Greet", doc), "Greet version 1")
	require.Contains(t, f.ok("run", "-q", "-document", "Greet", "-parameters", "who=you", "-targets", "Key=tag:Role,Values=web"), "hi you")
	require.Contains(t, f.ok("run", "-q", "-content", doc, "-parameters", `{"who":["all"]}`, "-targets", "Key=tag:Role,Values=web"), "hi all", "without storing it")
	require.Contains(t, f.ok("documents", "list", "-own"), "Greet")
	require.Contains(t, f.ok("documents", "get", "Greet"), "interpolationType: ENV_VAR")

	// cancel ends what runs.
	id := strings.TrimSpace(f.ok("send", "-targets", "Key=tag:Role,Values=web", "-max-concurrency", "100%", "--", "sleep 300"))
	require.Eventually(t, func() bool { return strings.Count(f.ok("list", "-status", "InProgress"), id) == 1 }, time.Minute, 50*time.Millisecond)
	f.ok("cancel", id)
	out, _, code = f.ctl("watch", id, "-q")
	require.Equal(t, exitFailed, code)
	require.Equal(t, 2, strings.Count(out, "Cancelled  "))

	// Who is interrupted is told that the command goes on.
	cmd := exec.Command(filepath.Join(bin, "fleetctl"), "run", "-profile", filepath.Join(f.dir, "fleetctl.json"), "-comment", "interrupted", "-targets", "Key=InstanceIds,Values="+ids[1], "--", "sleep 300")
	errs := &text{}
	cmd.Stderr = errs
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(f.ok("list", "-status", "InProgress"), "interrupted") }, time.Minute, 50*time.Millisecond)
	id = regexp.MustCompile(`(?m)^[0-9a-f-]{36}`).FindString(f.ok("list", "-status", "InProgress"))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, exitRefused, cmd.ProcessState.ExitCode())
	require.Contains(t, errs.String(), "the command goes on: fleetctl watch "+id)
	require.Contains(t, f.ok("list", "-status", "InProgress"), id)
	f.ok("cancel", id, ids[1])

	// Tags and groups.
	f.ok("tags", "set", ids[1], "Env=prod")
	f.ok("groups", "create", "prod", "-tags", "Env=prod|test,Role")
	require.Equal(t, ids[1]+"\n", f.ok("groups", "nodes", "prod"))
	require.Contains(t, f.ok("run", "-q", "-targets", "Key=resource-groups:Name,Values=prod", "--", "hostname"), "1 of 1 done")

	// The agent stops gracefully and comes back as the same node, without the code.
	require.Zero(t, agents[0].stop(), agents[0].log.String())
	args := agents[0].cmd.Args
	back := start(t, "agent", "-server", f.url, "-ca", filepath.Join(f.dir, "tls", "ca.pem"), "-dir", args[len(args)-1])
	require.Contains(t, back.line(), ids[0])
	f.online(ids...)

	// The control plane stops in the middle of a command and starts again; whoever follows it notices nothing.
	type result struct {
		out, errs string
		code      int
	}
	end := make(chan result, 1)
	go func() {
		out, errs, code := f.ctl("run", "-comment", "through a restart", "-targets", "Key=tag:Role,Values=web", "-no-ramp", "--", "sleep 2; echo survived")
		end <- result{out, errs, code}
	}()
	require.Eventually(t, func() bool { return strings.Contains(f.ok("list", "-status", "InProgress"), "through a restart") }, time.Minute, 50*time.Millisecond)
	address := strings.TrimPrefix(f.url, "https://")
	require.Zero(t, p.stop(), p.log.String())
	p = f.plane(address)
	r := <-end
	require.Zero(t, r.code, r.out+r.errs)
	require.Equal(t, 2, strings.Count(r.out, "survived"), r.out)

	// Killed, it loses nothing that it acknowledged.
	before := f.ok("list", "-limit", "0")
	p.kill()
	p = f.plane(address)
	require.Equal(t, before, f.ok("list", "-limit", "0"))
	f.online(ids...)
	require.Contains(t, f.ok("run", "-q", "-targets", "Key=tag:Role,Values=web", "--", "echo after all"), "2 of 2 done")

	// Every call is in the record, and nobody without credentials learns anything.
	require.Contains(t, f.ok("audit", "-id", id), "ssm:SendCommand")
	secret, err := os.ReadFile(filepath.Join(f.dir, "admin.token"))
	require.NoError(t, err)
	require.NotContains(t, p.log.String()+r.errs, strings.TrimSpace(string(secret)))
	bare := &lab{t: t, dir: f.dir}
	ca, err := os.ReadFile(filepath.Join(f.dir, "tls", "ca.pem"))
	require.NoError(t, err)
	c, err := ssmops.NewClient(f.url, &ssmops.ClientOptions{CA: ca})
	require.NoError(t, err)
	require.ErrorContains(t, c.Call(t.Context(), "ListCommands", nil, nil), "no valid credentials")
	wrong := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(wrong, ssmops.NewToken().Reveal(), 0o600))
	_, said, code := bare.ctl("nodes", "-token-file", wrong)
	require.Equal(t, exitRefused, code)
	require.Equal(t, "fleetctl: UnrecognizedClientException: the request has no valid credentials\n", said)

	// A node that is removed is not obeyed and not sent to any more.
	f.ok("nodes", "delete", ids[1])
	require.NotContains(t, f.ok("nodes"), ids[1])
	require.Contains(t, f.ok("run", "-q", "-targets", "Key=tag:Role,Values=web", "--", "true"), "1 of 1 done")

	var js struct{ Commands []json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(f.ok("list", "-limit", "3", "-o", "json")), &js))
	require.Len(t, js.Commands, 3)
	require.Zero(t, p.stop())
	_, said, code = f.ctl("nodes")
	require.Equal(t, exitRefused, code)
	require.Contains(t, said, "cannot be reached")
	require.Equal(t, 1, strings.Count(said, "\n"), said)
}

// Bad arguments: one line that names the argument, and exit code 2; nothing is sent.
func TestBadArguments(t *testing.T) {
	f := &lab{t: t, dir: t.TempDir()}
	if bin == "" {
		t.Skip("SKIPPED: a POSIX system is needed")
	}
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, "fleetctl.json"), []byte(`{"server":"http://127.0.0.1:1","tokenFile":"`+filepath.Join(f.dir, "token")+`"}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, "token"), ssmops.NewToken().Reveal(), 0o600))
	open := filepath.Join(f.dir, "open")
	require.NoError(t, os.WriteFile(open, []byte("x"), 0o644))
	for _, c := range []struct{ args, want string }{
		{"", "say what to do"},
		{"frobnicate", `"frobnicate" is none of run,`},
		{"-x nodes", "not defined: -x"},
		{"nodes -x", "nodes: flag provided but not defined: -x"},
		{"nodes extra", `"extra" is one too many`},
		{"nodes -o xml", `-o "xml"`},
		{"run", "-targets is missing"},
		{"run -targets Key=tag:a,Values=b", "nothing to run"},
		{"run -targets Key=tag:a,Values=b --", "behind -- is missing"},
		{"run -targets Key=tag:a,Values=b uptime", `"uptime": a command for the shell stands behind --`},
		{"run -targets tag:a=b -- x", "-targets: argument 1, column 1"},
		{"run -targets Key=tag:a -- x", "-targets: argument 1, column 10: Values is missing"},
		{"run -targets Key=color,Values=b -- x", `-targets: target 1: unknown key "color"`},
		{"run -targets Key=tag:a,Values=b -instance-ids mi-1 -- x", "-targets and -instance-ids"},
		{"run -targets Key=tag:a,Values=b -document D -- x", "-- and a document"},
		{"run -targets Key=tag:a,Values=b -document D -parameters a=b,a=c", "-parameters: "},
		{"run -targets Key=tag:a,Values=b -content /nonexistent", "-content: "},
		{"run -targets Key=tag:a,Values=b -timeout-seconds soon -- x", "timeout-seconds"},
		{"watch", "watch: COMMAND is missing"},
		{"output x", "output: NODE is missing"},
		{"cancel", "COMMAND is missing"},
		{"list -limit -1", "-limit -1"},
		{"activations", "say what to do: create, list, delete"},
		{"activations frob", `activations: "frob" is none of create, list, delete`},
		{"activations create -tags Role", `activations create: -tags: "Role" is not NAME=VALUE`},
		{"activations create -expires -1h", "-expires"},
		{"activations create -code-file " + open, "-code-file: "},
		{"documents create X", "FILE is missing"},
		{"documents create X /nonexistent", "FILE: "},
		{"tags set mi-1", "NAME=VALUE"},
		{"tags set mi-1 =x", `"=x" is not NAME=VALUE`},
		{"tags list x -type Bucket", `-type "Bucket"`},
		{"groups create g", "-tags is missing"},
		{"nodes -token-file " + open, "-token-file: " + open + ": its mode is 0644"},
		{"nodes -token-file /nonexistent", "-token-file: "},
		{"nodes -server http://plane -token-file " + f.dir + "/token", "in the clear"},
		{"nodes -server ftp://x -token-file " + f.dir + "/token", "-server: "},
		{"nodes -cert x", "-cert and -key"},
		{"nodes -ca " + open, "authority"},
		{"nodes -profile /nonexistent", "-profile: "},
		{"nodes -profile " + open, "is no profile"},
	} {
		out, errs, code := f.ctl(strings.Fields(c.args)...)
		require.Equal(t, exitArguments, code, "%s: %s", c.args, errs)
		require.Empty(t, out)
		last := strings.TrimSuffix(errs, "\n")
		if i := strings.LastIndexByte(last, '\n'); i >= 0 && !strings.Contains(c.want, "say what to do") {
			t.Errorf("%s: more than a line: %s", c.args, errs)
		} else {
			last = last[i+1:]
		}
		require.Contains(t, last, c.want, c.args)
		require.True(t, strings.HasPrefix(last, "fleetctl: "), last)
	}
	for _, help := range []string{"-h", "run -h", "activations -h", "help"} {
		_, errs, code := f.ctl(strings.Fields(help)...)
		require.Zero(t, code, help)
		require.NotEmpty(t, errs)
	}
}
