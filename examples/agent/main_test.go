package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/ssmops"
)

var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "agent-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if runtime.GOOS != "windows" {
		if out, err := exec.Command("go", "build", "-o", dir+"/", "../controlplane", ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "the programs do not build: %v\n%s", err, out)
			os.Exit(1)
		}
		bin = dir
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
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

// program is a running one.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *bufio.Reader
	log  *text
	done chan struct{}
}

func start(t *testing.T, env []string, stdin, name string, args ...string) *program {
	t.Helper()
	if bin == "" {
		t.Skip("SKIPPED: signals of unix are needed")
	}
	p := &program{t: t, cmd: exec.Command(filepath.Join(bin, name), args...), log: &text{}, done: make(chan struct{})}
	p.cmd.Stderr, p.cmd.Stdin, p.cmd.Env = p.log, strings.NewReader(stdin), append(os.Environ(), env...)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	p.cmd.Stdout, p.out = w, bufio.NewReader(r)
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

func (p *program) line() string {
	p.t.Helper()
	s, err := p.out.ReadString('\n')
	require.NoError(p.t, err, p.log.String())
	return s
}

func (p *program) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-p.done
}

func (p *program) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.t.Fatal("it does not stop: " + p.log.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// plane is a control plane and a client of it.
type plane struct {
	*program
	*ssmops.Client
	dir, url string
}

func startPlane(t *testing.T, dir, listen string) *plane {
	t.Helper()
	p := &plane{program: start(t, nil, "", "controlplane", "-dir", dir, "-listen", listen), dir: dir}
	p.url = regexp.MustCompile(`https://\S+?:\d+`).FindString(p.line())
	p.line()
	p.line()
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	require.NoError(t, err)
	ca, err := os.ReadFile(p.ca())
	require.NoError(t, err)
	p.Client, err = ssmops.NewClient(p.url, &ssmops.ClientOptions{Token: secret.New(bytes.TrimSpace(token)), CA: ca})
	require.NoError(t, err)
	return p
}

func (p *plane) ca() string { return filepath.Join(p.dir, "tls", "ca.pem") }

func (p *plane) activation() (id, code string) {
	p.t.Helper()
	var a ssmops.CreateActivationResult
	require.NoError(p.t, p.Call(p.t.Context(), "CreateActivation", ssmops.CreateActivationRequest{RegistrationLimit: 10}, &a))
	return a.ActivationID, a.ActivationCode
}

// online waits until so many nodes are.
func (p *plane) online(n int) (nodes []ssmops.InstanceInformation) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		var out ssmops.DescribeInstanceInformationResult
		err := p.Call(p.t.Context(), "DescribeInstanceInformation", ssmops.DescribeInstanceInformationRequest{Filters: []ssmops.InstanceFilter{{Key: "PingStatus", Values: []string{"Online"}}}}, &out)
		nodes = out.InstanceInformationList
		return err == nil && len(nodes) == n
	}, time.Minute, 50*time.Millisecond)
	return nodes
}

// sh runs a script on a node and returns what it wrote and its status.
func (p *plane) sh(node, script string) ssmops.GetCommandInvocationResult {
	p.t.Helper()
	var sent ssmops.SendCommandResult
	require.NoError(p.t, p.Call(p.t.Context(), "SendCommand", ssmops.SendCommandRequest{SendRequest: sendRequest(node, script)}, &sent))
	var out ssmops.GetCommandInvocationResult
	require.Eventually(p.t, func() bool {
		err := p.Call(p.t.Context(), "GetCommandInvocation", ssmops.GetCommandInvocationRequest{CommandID: sent.Command.ID, InstanceID: node}, &out)
		return err == nil && out.Status.Terminal()
	}, time.Minute, 50*time.Millisecond)
	return out
}

func sendRequest(node, script string) command.SendRequest {
	return command.SendRequest{DocumentName: "AWS-RunShellScript", InstanceIDs: []string{node}, Parameters: map[string][]string{"commands": {script}}}
}

func TestTheCodeComesFromFileInputOrEnvironment(t *testing.T) {
	p := startPlane(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	id, code := p.activation()
	file := filepath.Join(t.TempDir(), "code")
	require.NoError(t, os.WriteFile(file, []byte(code+"\n"), 0o600))
	base := []string{"-server", p.url, "-ca", p.ca(), "-activation", id}
	var agents []*program
	for i, c := range []struct {
		env, args []string
		stdin     string
	}{{args: []string{"-code-file", file}}, {args: []string{"-code-file", "-"}, stdin: code + "\n"}, {env: []string{codeVariable + "=" + code}}} {
		dir := filepath.Join(t.TempDir(), "node")
		a := start(t, c.env, c.stdin, "agent", append(append(base, c.args...), "-dir", dir, "-name", fmt.Sprint("box", i))...)
		require.Regexp(t, `^node mi-[0-9a-f]{17} obeys https://`, a.line())
		require.NotContains(t, strings.Join(a.cmd.Args, " "), code)
		require.NotContains(t, a.log.String(), code)
		agents = append(agents, a)
	}
	nodes := p.online(3)
	for _, n := range nodes {
		require.Regexp(t, `^box[0-2]$`, n.ComputerName)
		out := p.sh(n.ID, "env; id -u")
		require.Equal(t, "Success", string(out.Status))
		require.NotContains(t, out.StandardOutputContent, code, "no script inherits the code")
		require.NotContains(t, out.StandardOutputContent, codeVariable)
	}
	// Graceful: exit code 0, and the control plane hears of it.
	for _, a := range agents {
		require.NoError(t, a.cmd.Process.Signal(syscall.SIGTERM))
		require.Zero(t, a.exit(), a.log.String())
	}
}

func TestReconnectsForEver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := startPlane(t, dir, "127.0.0.1:0")
	id, code := p.activation()
	a := start(t, []string{codeVariable + "=" + code}, "", "agent", "-server", p.url, "-ca", p.ca(), "-activation", id, "-dir", filepath.Join(t.TempDir(), "node"), "-log", "json")
	a.line()
	n := p.online(1)[0]
	address := strings.TrimPrefix(p.url, "https://")
	p.program.kill()
	p = startPlane(t, dir, address)
	out := p.sh(n.ID, "echo back")
	require.Equal(t, "back\n", out.StandardOutputContent)
	select {
	case <-a.done:
		t.Fatal("the agent gave up: " + a.log.String())
	default:
	}
	// A killed agent comes back as the same node, without activation and code.
	args := a.cmd.Args
	node := ""
	for i, arg := range args {
		if arg == "-dir" {
			node = args[i+1]
		}
	}
	a.kill()
	b := start(t, nil, "", "agent", "-server", p.url, "-ca", p.ca(), "-dir", node)
	require.Contains(t, b.line(), n.ID)
	require.Equal(t, "again\n", p.sh(n.ID, "echo again").StandardOutputContent)
	for _, line := range strings.Split(strings.TrimSpace(a.log.String()), "\n") {
		require.True(t, json.Valid([]byte(line)), line)
	}
	second := start(t, nil, "", "agent", "-server", p.url, "-ca", p.ca(), "-dir", node)
	require.Equal(t, 1, second.exit(), "one process has the directory at a time")
}

// TestMemory measures what the built program has resident when it is connected over TLS and idle: at most 15 MiB. It waits 20 s, in short mode 5 s.
func TestMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: /proc is needed")
	}
	p := startPlane(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	id, code := p.activation()
	a := start(t, []string{codeVariable + "=" + code}, "", "agent", "-server", p.url, "-ca", p.ca(), "-activation", id, "-dir", filepath.Join(t.TempDir(), "node"))
	a.line()
	n := p.online(1)[0]
	require.Equal(t, "x\n", p.sh(n.ID, "echo x").StandardOutputContent, "one that has worked")
	idle := 20 * time.Second
	if testing.Short() {
		idle = 5 * time.Second
	}
	most, last := 0, 0
	for end := time.Now().Add(idle); time.Now().Before(end); {
		last = rss(t, a.cmd.Process.Pid)
		most = max(most, last)
		select {
		case <-a.done:
			t.Fatal(a.log.String())
		case <-time.After(250 * time.Millisecond):
		}
	}
	t.Logf("connected over TLS and idle for %v: VmRSS %.1f MiB, %.1f MiB at most", idle, float64(last)/1024, float64(most)/1024)
	require.Less(t, last, 15<<10, "KiB resident")
	require.NotEmpty(t, p.online(1))
}

// rss returns the resident memory of a process in KiB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(b)
	require.NotNil(t, m)
	n, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	return n
}

func TestBadArguments(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "-server is missing"},
		{"-x", 2, "-x"},
		{"-server https://127.0.0.1:1 extra", 2, `"extra"`},
		{"-server https://127.0.0.1:1 -log xml", 2, `-log "xml"`},
		{"-server https://127.0.0.1:1 -code-file x", 2, "-activation is missing"},
		{"-server https://127.0.0.1:1", 1, "give -activation and -code-file"},
		{"-server https://127.0.0.1:1 -activation x", 1, "-code-file is missing"},
		{"-server https://127.0.0.1:1 -activation x -code-file /nonexistent", 1, "-code-file: "},
		{"-server http://plane.example.com:1 -activation x -code-file -", 1, "http"},
		{"-config /nonexistent", 2, "-config"},
		{"-server https://127.0.0.1:1 -download-from lab", 2, `-download-from "lab"`},
		{"-server https://127.0.0.1:1 -download-from 10.0.0.0/33", 2, "-download-from"},
	} {
		var out, errs bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		got := run(ctx, append([]string{"-dir", filepath.Join(dir, "node")}, strings.Fields(c.args)...), strings.NewReader("code"), &out, &errs)
		cancel()
		require.Equal(t, c.code, got, "%s: %s", c.args, errs.String())
		require.Contains(t, errs.String(), c.want, c.args)
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		require.True(t, strings.HasPrefix(lines[len(lines)-1], "agent: "), errs.String())
	}
}

// Where a control plane does not answer, the next that -server names is asked, for the registration too.
func TestTheNextServerIsTried(t *testing.T) {
	p := startPlane(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	id, code := p.activation()
	a := start(t, []string{codeVariable + "=" + code}, "", "agent", "-server", "https://127.0.0.1:1, "+p.url, "-ca", p.ca(), "-activation", id, "-dir", filepath.Join(t.TempDir(), "node"))
	require.Contains(t, a.line(), "obeys https://127.0.0.1:1/v1/node/,"+p.url+"/v1/node/")
	n := p.online(1)[0]
	require.Equal(t, "x\n", p.sh(n.ID, "echo x").StandardOutputContent)
}

func TestServers(t *testing.T) {
	o, err := parse([]string{"-server", "https://a:1, https://b:2/,https://c:3/v1/node,"})
	require.NoError(t, err)
	require.Equal(t, []string{"https://a:1/v1/node/", "https://b:2/v1/node/", "https://c:3/v1/node/"}, o.servers)
	for _, s := range []string{"", " ", " , "} {
		_, err := parse([]string{"-server", s})
		require.ErrorContains(t, err, "-server is missing", "%q", s)
	}
}

func TestNetworks(t *testing.T) {
	for s, want := range map[string]string{"": "[]", "10.1.0.0/16": "[10.1.0.0/16]", "loopback": "[127.0.0.0/8 ::1/128]",
		"private, 198.51.100.7/32": "[10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 198.51.100.7/32]"} {
		o, err := parse([]string{"-server", "https://x", "-download-from", s})
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprint(o.allow), s)
	}
	o, err := parse([]string{"-server", "https://x", "-dir", "/a/node"})
	require.NoError(t, err)
	require.Equal(t, filepath.Join("/a/node", "inventory", "custom"), o.customDir)
}

// documents download from loopback only where -download-from says so. Inventory is gathered, the owner's own too, and what did not change is not sent again.
func TestWhatDocumentsMayDoHere(t *testing.T) {
	p := startPlane(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("a file")) })) //nolint:errcheck // a test
	defer files.Close()
	id, code := p.activation()
	var dirs []string
	for _, more := range [][]string{nil, {"-download-from", "loopback"}} {
		dir := filepath.Join(t.TempDir(), "node")
		dirs = append(dirs, dir)
		a := start(t, []string{codeVariable + "=" + code}, "", "agent", append([]string{"-server", p.url, "-ca", p.ca(), "-activation", id, "-dir", dir, "-name", fmt.Sprint("box", len(dirs))}, more...)...)
		a.line()
	}
	nodes := p.online(2)
	byName := map[string]string{}
	for _, n := range nodes {
		byName[n.ComputerName] = n.ID
	}
	run := func(node, document string) ssmops.GetCommandInvocationResult {
		t.Helper()
		var sent ssmops.SendCommandResult
		require.NoError(t, p.Call(t.Context(), "SendCommand", ssmops.SendCommandRequest{SendRequest: command.SendRequest{Content: []byte(document), InstanceIDs: []string{node}}}, &sent))
		var out ssmops.GetCommandInvocationResult
		require.Eventually(t, func() bool {
			err := p.Call(t.Context(), "GetCommandInvocation", ssmops.GetCommandInvocationRequest{CommandID: sent.Command.ID, InstanceID: node}, &out)
			return err == nil && out.Status.Terminal()
		}, time.Minute, 50*time.Millisecond)
		return out
	}
	fetch := fmt.Sprintf(`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:downloadContent","name":"get","inputs":{"sourceType":"HTTP","sourceInfo":"{\"url\":\"%s/f\",\"allowInsecureDownload\":true}"}}]}`, files.URL)
	require.Equal(t, message.Failed, run(byName["box1"], fetch).Status)
	out := run(byName["box2"], fetch)
	require.Equal(t, message.Success, out.Status, out.StandardOutputContent+out.StandardErrorContent)

	custom := filepath.Join(dirs[0], "inventory", "custom")
	require.NoError(t, os.MkdirAll(custom, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(custom, "rack.json"), []byte(`{"SchemaVersion":"1.0","TypeName":"Custom:Rack","Content":{"Rack":"B7"}}`), 0o600))
	gather := `{"schemaVersion":"2.2","mainSteps":[{"action":"aws:softwareInventory","name":"gather","inputs":{"customInventory":"Enabled"}}]}`
	require.Contains(t, run(byName["box1"], gather).StandardOutputContent, "Reported 2 types with 2 entries: 2 in full")
	require.Contains(t, run(byName["box1"], gather).StandardOutputContent, "2 unchanged")
	require.FileExists(t, filepath.Join(dirs[0], "inventory", "reported.json"))
}

func TestAWrongCodeEndsAtOnce(t *testing.T) {
	p := startPlane(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	id, _ := p.activation()
	a := start(t, nil, strings.Repeat("z", 26), "agent", "-server", p.url, "-ca", p.ca(), "-activation", id, "-code-file", "-", "-dir", filepath.Join(t.TempDir(), "node"))
	require.Equal(t, 1, a.exit())
	require.Contains(t, a.log.String(), "do not belong together")
	require.NotContains(t, a.log.String(), "zzzz")
	// A server that the authority did not sign is not told the code.
	other := startPlane(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	a = start(t, nil, strings.Repeat("z", 26), "agent", "-server", p.url, "-ca", other.ca(), "-activation", id, "-code-file", "-", "-dir", filepath.Join(t.TempDir(), "node"))
	require.Eventually(t, func() bool {
		return strings.Contains(a.log.String(), "unknown authority") // said while it goes on trying, so that a person sees the wrong -ca
	}, time.Minute, 20*time.Millisecond)
}
