package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/script"
)

// working finds out once what works on this machine.
var working = sync.OnceValue(func() map[string]error {
	out := map[string]error{}
	for name, iso := range map[string]script.Isolation{"namespace": &script.Namespace{}, "user": &script.User{UID: 61184, GID: 61184}} {
		_, out[name] = script.NewLocal(iso, nil).Run(context.Background(), script.Job{Language: script.Python, Version: "3.11", Handler: "h", Script: []byte("def h(e, c): pass"),
			Input: json.RawMessage("{}"), Context: json.RawMessage("{}")})
	}
	return out
})

// isolations are those that work on this machine; the others are skipped aloud.
func isolations(t *testing.T, protect ...string) map[string]script.Isolation {
	t.Helper()
	out := map[string]script.Isolation{}
	for name, iso := range map[string]script.Isolation{
		"namespace": &script.Namespace{Protect: protect},
		"user":      &script.User{UID: 61184, GID: 61184, Protect: protect},
	} {
		if err := working()[name]; err != nil {
			t.Logf("SKIPPED: isolation by %s: %v", name, err)
			continue
		}
		out[name] = iso
	}
	return out
}

// each runs a test with every isolation that works here.
func each(t *testing.T, f func(t *testing.T, rt script.Runtime)) {
	t.Helper()
	all := isolations(t)
	if len(all) == 0 {
		t.Skip("SKIPPED: no script can be kept apart on this machine (needs Linux, Python 3, and root or user namespaces)")
	}
	for name, iso := range all {
		t.Run(name, func(t *testing.T) { f(t, script.NewLocal(iso, nil)) })
	}
}

// some runs a test with one isolation that works here: what it is about is the same with each.
func some(t *testing.T, f func(t *testing.T, rt script.Runtime)) {
	t.Helper()
	all := isolations(t)
	for _, name := range []string{"namespace", "user"} {
		if all[name] != nil {
			f(t, script.NewLocal(all[name], nil))
			return
		}
	}
	t.Skip("SKIPPED: no script can be kept apart on this machine (needs Linux, Python 3, and root or user namespaces)")
}

// sparse leaves out most of the cases of a table with -short: every one starts a process.
func sparse(t *testing.T, i int) {
	t.Helper()
	if testing.Short() && i%4 != 0 {
		t.Skip("SKIPPED: -short runs every fourth case")
	}
}

// step runs a step of aws:executeScript.
func step(t *testing.T, rt script.Runtime, o *script.Options, inputs map[string]any) (map[string]any, *automation.Failure) {
	t.Helper()
	out, err := script.New(rt, o).Run(t.Context(), automation.Call{Tenant: "default", Execution: "exec-1", StepID: "s", Step: "run", Action: "aws:executeScript", Attempt: 1, Inputs: inputs, Token: "t"})
	if err != nil {
		var e *automation.CallError
		require.ErrorAs(t, err, &e)
		return nil, &e.Failure
	}
	b, err := json.Marshal(out) // what an engine keeps is JSON
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(b, &m))
	return m, nil
}

func python(text string, more ...any) map[string]any {
	in := map[string]any{"Runtime": "python3.11", "Handler": "handler", "Script": text}
	for i := 0; i < len(more); i += 2 {
		in[more[i].(string)] = more[i+1]
	}
	return in
}

func TestHandler(t *testing.T) {
	type m = map[string]any
	for i, c := range []struct {
		rule   string
		inputs m
		want   any
	}{
		{"what the handler returns is Payload", python("def handler(events, context):\n  return {'sum': events['a'] + events['b'], 'list': [1, None, True, 'ä']}", "InputPayload", m{"a": 2, "b": 3}),
			m{"sum": 5.0, "list": []any{1.0, nil, true, "ä"}}},
		{"without InputPayload events is an empty map", python("def handler(events, context):\n  return events"), m{}},
		{"InputPayload may be a map written as JSON", python("def handler(events, context):\n  return events['x']", "InputPayload", `{"x": [1]}`), []any{1.0}},
		{"context tells of the execution", python("def handler(events, context):\n  return [context['automation:EXECUTION_ID'], context['global:REGION'], context.get('global:ACCOUNT_ID')]"),
			[]any{"exec-1", "eu-central-1", "123456789012"}},
		{"a handler that returns nothing", python("def handler(events, context):\n  pass"), nil},
		{"a bare value", python("def handler(events, context):\n  return 'text'"), "text"},
		{"a handler behind its module's name", python("def handler(events, context):\n  return 1", "Handler", "script.handler"), 1.0},
		{"the names of older runtimes", python("def handler(events, context):\n  return 1", "Runtime", "python3.7"), 1.0},
		{"code outside of the handler runs first", python("x = 4\ndef handler(events, context):\n  return x"), 4.0},
		{"classes find their module", python("import pickle\nclass A: pass\ndef handler(events, context):\n  return type(pickle.loads(pickle.dumps(A()))).__name__"), "A"},
		{"it is not __main__", python("def handler(events, context):\n  return 1\nif __name__ == '__main__':\n  raise SystemExit(4)"), 1.0},
		{"standard input is empty", python("import sys\ndef handler(events, context):\n  return sys.stdin.read()"), ""},
		{"it can write to /tmp", python("import tempfile, os\ndef handler(events, context):\n  f = tempfile.NamedTemporaryFile(delete=False); f.write(b'x'); f.close(); return os.path.getsize(f.name)"), 1.0},
		{"it can start programs", python("import subprocess\ndef handler(events, context):\n  return subprocess.run(['sh', '-c', 'echo hi'], stdout=subprocess.PIPE).stdout.decode()"), "hi\n"},
		{"threads", python("import threading\ndef handler(events, context):\n  r = []; t = threading.Thread(target=lambda: r.append(1)); t.start(); t.join(); return r"), []any{1.0}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			sparse(t, i)
			some(t, func(t *testing.T, rt script.Runtime) {
				out, bad := step(t, rt, &script.Options{System: automation.System{Region: "eu-central-1", AccountID: "123456789012"}}, c.inputs)
				require.Nil(t, bad, "%+v", bad)
				require.Equal(t, c.want, out["Payload"])
			})
		})
	}
}

func TestScriptsThatFail(t *testing.T) {
	for i, c := range []struct{ rule, text, message string }{
		{"an exception gives its last line", "def handler(events, context):\n  print('before')\n  raise ValueError('no such pool')", "ValueError: no such pool"},
		{"one outside of the handler, too", "import nothing_of_that_name\ndef handler(events, context): pass", "ModuleNotFoundError: No module named 'nothing_of_that_name'"},
		{"a text that is no Python", "def handler(events, context)\n  pass", "SyntaxError: expected ':'"},
		{"no such function", "def other(events, context): pass", "LookupError: Handler: there is no function handler"},
		{"a handler of one argument", "def handler(events): pass", "TypeError: handler() takes 1 positional argument but 2 were given"},
		{"what is no JSON", "def handler(events, context): return {1, 2}", "TypeError: Object of type set is not JSON serializable"},
		{"what JSON has no number for", "def handler(events, context): return float('nan')", "ValueError: Out of range float values are not JSON compliant"},
		{"an exit is no return", "import sys\ndef handler(events, context): sys.exit(0)", "SystemExit: 0"},
		{"an exit without a word", "import os\ndef handler(events, context): os._exit(7)", "the script ended without returning: exit status 7"},
		{"more memory than it may have", "def handler(events, context):\n  x = bytearray(600 << 20)", "MemoryError"},
		{"endless recursion", "def handler(events, context): return handler(events, context)", "RecursionError: maximum recursion depth exceeded"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			sparse(t, i)
			some(t, func(t *testing.T, rt script.Runtime) {
				_, bad := step(t, rt, nil, python(c.text))
				require.NotNil(t, bad)
				require.Equal(t, automation.Invocation, bad.Stage)
				require.Equal(t, automation.ActionFailure, bad.Type)
				require.Equal(t, c.message, bad.Message)
				if strings.Contains(c.text, "print") {
					require.Equal(t, []string{"before\n"}, bad.Details["Stdout"])
					require.Contains(t, bad.Details["Traceback"][0], "Traceback (most recent call last):")
					require.Contains(t, bad.Details["Traceback"][0], "raise ValueError('no such pool')")
					require.NotContains(t, bad.Details["Traceback"][0], "runner.py")
				}
			})
		})
	}
}

// What cannot be kept apart is no failure of the script: it never began.
func TestWhatPreventsAScript(t *testing.T) {
	some(t, func(t *testing.T, rt script.Runtime) {
		_, bad := step(t, rt, &script.Options{Limits: script.Limits{Memory: 1 << 20}}, python("def handler(e, c): pass"))
		require.NotNil(t, bad)
		require.Equal(t, automation.PreVerification, bad.Stage)
		require.Equal(t, automation.InternalFailure, bad.Type)
	})
}

func TestInputsThatAreRefused(t *testing.T) {
	never := runtimeFunc(func(context.Context, script.Job) (script.Outcome, error) { panic("it must not run") })
	for _, c := range []struct {
		rule   string
		inputs map[string]any
		stage  automation.Stage
		says   string
	}{
		{"no Runtime", map[string]any{"Script": "x", "Handler": "h"}, automation.InputValidation, "Runtime"},
		{"a Runtime that AWS has no more", python("x", "Runtime", "python2.7"), automation.InputValidation, "python3.11"},
		{"a Runtime that never was", python("x", "Runtime", "nodejs12.x"), automation.InputValidation, "nodejs12.x"},
		{"a Python script without a Handler", python("x", "Handler", ""), automation.InputValidation, "Handler"},
		{"a Handler that is code", python("x", "Handler", "__import__('os').system('x')"), automation.InputValidation, "Handler"},
		{"a Handler that leads elsewhere", python("x", "Handler", "../x.y"), automation.InputValidation, "Handler"},
		{"neither Script nor Attachment", python(""), automation.InputValidation, "Attachment"},
		{"an attachment without a place for them", python("", "Attachment", "a.zip"), automation.PreVerification, "attachments"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, bad := step(t, never, nil, c.inputs)
			require.NotNil(t, bad)
			require.Equal(t, c.stage, bad.Stage)
			require.Contains(t, bad.Message, c.says)
		})
	}
}

type runtimeFunc func(context.Context, script.Job) (script.Outcome, error)

func (f runtimeFunc) Run(ctx context.Context, j script.Job) (script.Outcome, error) { return f(ctx, j) }

// Nothing is run unless the host chose how: the step fails and says so.
func TestNothingRunsByDefault(t *testing.T) {
	for rule, rt := range map[string]script.Runtime{"no runtime": nil, "no isolation": script.NewLocal(nil, nil)} {
		t.Run(rule, func(t *testing.T) {
			_, bad := step(t, rt, nil, python("def handler(e, c): pass"))
			require.NotNil(t, bad)
			require.Equal(t, automation.PreVerification, bad.Stage)
			require.Contains(t, bad.Message, "script")
		})
	}
	for rule, iso := range map[string]script.Isolation{
		"root is no other user":                &script.User{},
		"what is to be protected is not there": &script.User{UID: 61184, GID: 61184, Protect: []string{filepath.Join(t.TempDir(), "gone")}},
		"nor in a namespace":                   &script.Namespace{Protect: []string{filepath.Join(t.TempDir(), "gone")}},
		"what is protected lies in the system": &script.Namespace{Protect: []string{"/usr/lib"}},
		"what is protected holds the system":   &script.Namespace{Protect: []string{"/"}},
		"the root is not shown":                &script.Namespace{Allow: []string{"/"}},
		"the user may read it":                 &script.User{UID: 61184, GID: 61184, Protect: []string{"/usr"}},
	} {
		t.Run(rule, func(t *testing.T) {
			if runtime.GOOS != "linux" {
				t.Skip("SKIPPED: needs Linux")
			}
			_, bad := step(t, script.NewLocal(iso, nil), nil, python("def handler(e, c): pass"))
			require.NotNil(t, bad)
			require.Equal(t, automation.PreVerification, bad.Stage)
		})
	}
}

func TestLimits(t *testing.T) {
	each(t, func(t *testing.T, rt script.Runtime) {
		t.Run("Payload", func(t *testing.T) {
			_, bad := step(t, rt, &script.Options{Limits: script.Limits{Payload: 1000}}, python("def handler(e, c): return 'x' * 999"))
			require.Equal(t, automation.PostVerification, bad.Stage)
			out, bad := step(t, rt, &script.Options{Limits: script.Limits{Payload: 1000}}, python("def handler(e, c): return 'x' * 998"))
			require.Nil(t, bad)
			require.Len(t, out["Payload"], 998)
			_, bad = step(t, rt, nil, python("def handler(e, c): return 'x' * 3000000"))
			require.NotNil(t, bad)
		})
		t.Run("output keeps its end", func(t *testing.T) {
			out, bad := step(t, rt, &script.Options{Limits: script.Limits{Output: 100}}, python("def handler(e, c):\n  for i in range(100000): print(i)"))
			require.Nil(t, bad)
			require.True(t, strings.HasSuffix(out["Stdout"].(string), "99998\n99999\n"))
			require.LessOrEqual(t, len(out["Stdout"].(string)), 104)
		})
		t.Run("processes", func(t *testing.T) {
			_, bad := step(t, rt, &script.Options{Limits: script.Limits{Tasks: 20}}, python("import os, time\ndef handler(e, c):\n  for i in range(200):\n    if os.fork() == 0: time.sleep(60)"))
			require.NotNil(t, bad)
			require.Contains(t, bad.Message, "BlockingIOError")
		})
		t.Run("files", func(t *testing.T) {
			_, bad := step(t, rt, &script.Options{Limits: script.Limits{Disk: 1 << 20}}, python("import os\ndef handler(e, c):\n  with open(os.environ['HOME'] + '/x', 'wb') as f:\n    f.write(b'x' * (2 << 20))"))
			require.NotNil(t, bad)
		})
		t.Run("time, and nothing is left", func(t *testing.T) {
			began := time.Now()
			mark := fmt.Sprintf("left-%d", time.Now().UnixNano())
			_, bad := step(t, rt, &script.Options{Limits: script.Limits{Time: 300 * time.Millisecond}},
				python("import subprocess, time\ndef handler(e, c):\n  subprocess.Popen(['setsid', 'sh', '-c', 'sleep 300; true "+mark+"'])\n  time.sleep(300)"))
			require.NotNil(t, bad)
			require.Less(t, time.Since(began), 100*time.Second)
			requireNoProcess(t, mark)
		})
		t.Run("a script that ended leaves nothing", func(t *testing.T) {
			mark := fmt.Sprintf("left-%d", time.Now().UnixNano())
			_, bad := step(t, rt, nil, python("import subprocess\ndef handler(e, c):\n  subprocess.Popen(['setsid', 'sh', '-c', 'sleep 300; true "+mark+"'])"))
			require.Nil(t, bad)
			requireNoProcess(t, mark)
		})
	})
}

// No more scripts run at once than may; the others wait, as long as their step does.
func TestScriptsWaitForTheirTurn(t *testing.T) {
	for name, iso := range isolations(t) {
		rt := script.NewLocal(iso, &script.LocalOptions{Parallel: 1})
		run := func(ctx context.Context, text string) error {
			_, err := rt.Run(ctx, script.Job{Language: script.Python, Version: "3.11", Handler: "h", Script: []byte(text), Input: json.RawMessage("{}"), Context: json.RawMessage("{}")})
			return err
		}
		ctx, stop := context.WithCancel(t.Context())
		first := make(chan error)
		go func() { first <- run(ctx, "import time\ndef h(e, c): time.sleep(300)") }()
		require.Eventually(t, func() bool {
			short, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			return errors.Is(run(short, "def h(e, c): pass"), context.DeadlineExceeded)
		}, 30*time.Second, time.Millisecond, name)
		stop()
		require.ErrorIs(t, <-first, context.Canceled)
		require.NoError(t, run(t.Context(), "def h(e, c): pass"), "there is room again")
		return
	}
	t.Skip("SKIPPED: no script can be kept apart on this machine")
}

const orphanMark = "FLEETWRIGHT_SCRIPT_ORPHAN"

// A script does not outlive a control plane that is killed: the test starts itself as one, and kills it.
func TestNoScriptOutlivesItsControlPlane(t *testing.T) {
	mark := os.Getenv(orphanMark)
	if mark != "" {
		for _, iso := range isolations(t) {
			go step(t, script.NewLocal(iso, nil), nil, python("import subprocess\ndef handler(e, c): subprocess.run(['sh', '-c', 'sleep 300; true "+mark+"'])"))
		}
		select {}
	}
	n := len(isolations(t))
	if n == 0 {
		t.Skip("SKIPPED: no script can be kept apart on this machine")
	}
	mark = fmt.Sprintf("orphan-%d", os.Getpid())
	cmd := exec.Command(os.Args[0], "-test.run=^TestNoScriptOutlivesItsControlPlane$")
	cmd.Env = append(os.Environ(), orphanMark+"="+mark)
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill() //nolint:errcheck // it may be dead
	count := func() (n int) {
		all, err := filepath.Glob("/proc/[0-9]*/cmdline")
		require.NoError(t, err)
		for _, p := range all {
			if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), "true "+mark) {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return count() >= n }, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	cmd.Wait() //nolint:errcheck // it was killed
	require.Eventually(t, func() bool { return count() == 0 }, 30*time.Second, 10*time.Millisecond)
}

// requireNoProcess fails when a process has a word among its arguments.
func requireNoProcess(t *testing.T, word string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, p := range all {
		b, err := os.ReadFile(p)
		if err == nil {
			require.NotContains(t, string(b), word, p)
		}
	}
}

// attempts is what a script tries against the control plane's own files, its environment, its processes and the network. It says of each whether it got anywhere.
const attempts = `
import glob, os, socket, urllib.request

def tried(f):
    try:
        f()
        return True
    except BaseException as e:
        return False

def read(path):
    with open(path, 'rb') as f:
        assert len(f.read()) > 0

def write(path):
    with open(path, 'ab') as f:
        f.write(b'x')

def connect(addr):
    socket.create_connection(tuple(addr), timeout=3).close()

def unix(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)

def environ(pid):
    with open('/proc/%d/environ' % pid, 'rb') as f:
        assert b'CONTROL_PLANE_SECRET' in f.read()

def through(pid, path):
    read('/proc/%d/root%s' % (pid, path))

def mount():
    # Of a kind that there is not: who may mount is told that, who may not is told EPERM, and nothing ever happens.
    import ctypes, errno
    c = ctypes.CDLL('libc.so.6', use_errno=True)
    c.mount(b'none', b'/tmp', b'no-such-filesystem', 0, None)
    assert ctypes.get_errno() != errno.EPERM

def regain():
    import ctypes
    c = ctypes.CDLL('libc.so.6', use_errno=True)
    assert c.setuid(0) == 0 and c.setgid(0) == 0
    read('/etc/shadow')

def handler(events, context):
    d = events['dir']
    r = {}
    for name in ['store.db', 'keys.json', 'audit.log']:
        p = os.path.join(d, name)
        r['read ' + name] = tried(lambda: read(p))
        r['write ' + name] = tried(lambda: write(p))
        r['read ' + name + ' through /proc'] = tried(lambda: through(events['pid'], p))
    r['list the folder'] = tried(lambda: os.listdir(d))
    r['connect to the control plane'] = tried(lambda: connect(events['addr']))
    r['connect over a file'] = tried(lambda: unix(events['socket']))
    r['read the environment of the control plane'] = tried(lambda: environ(events['pid']))
    r['kill the control plane'] = tried(lambda: os.kill(events['pid'], 0))
    r['mount'] = tried(mount)
    r['become root'] = tried(regain)
    r['inherited descriptors'] = any(tried(lambda: os.fstat(fd)) for fd in range(3, 64) if tried(lambda: os.fstat(fd)) and 'fleet' in os.readlink('/proc/self/fd/%d' % fd))
    r['own environment'] = 'CONTROL_PLANE_SECRET' in os.environ
    return r
`

// A script tries to open the store, the keys and the audit log, and to reach the network. Kept apart it gets nowhere; that it would get there otherwise shows that the attempts are real.
func TestIsolation(t *testing.T) {
	t.Setenv("CONTROL_PLANE_SECRET", "s3cret")
	home, err := os.MkdirTemp("", "fleet")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(home) })
	require.NoError(t, os.Chmod(home, 0o755))
	dir := filepath.Join(home, "data")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for _, name := range []string{"store.db", "keys.json", "audit.log"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("secret"), 0o600))
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	unix, err := net.Listen("unix", filepath.Join(dir, "control.sock"))
	require.NoError(t, err)
	defer unix.Close()
	addr := tcp.Addr().(*net.TCPAddr)
	inputs := python(attempts, "InputPayload", map[string]any{"dir": dir, "addr": []any{"127.0.0.1", addr.Port}, "socket": unix.Addr().String(), "pid": os.Getpid()})

	if runtime.GOOS == "linux" {
		t.Run("without isolation", func(t *testing.T) {
			out, bad := step(t, script.NewLocal(script.Open{}, nil), nil, inputs)
			if bad != nil && strings.Contains(bad.Message, "there is no python") {
				t.Skip("SKIPPED: " + bad.Message)
			}
			require.Nil(t, bad, "%+v", bad)
			got := out["Payload"].(map[string]any)
			for _, what := range []string{"read store.db", "read keys.json", "read audit.log", "write store.db", "list the folder", "connect to the control plane", "connect over a file", "kill the control plane"} {
				require.Equal(t, true, got[what], "%s: the attempt itself does not work", what)
			}
			require.Equal(t, false, got["own environment"], "the environment is never handed on")
			require.Equal(t, false, got["inherited descriptors"])
		})
	}
	all := isolations(t, dir)
	if len(all) == 0 {
		t.Skip("SKIPPED: no script can be kept apart on this machine (needs Linux, Python 3, and root or user namespaces)")
	}
	for name, iso := range all {
		t.Run(name, func(t *testing.T) {
			out, bad := step(t, script.NewLocal(iso, nil), nil, inputs)
			require.Nil(t, bad, "%+v", bad)
			got := out["Payload"].(map[string]any)
			require.Len(t, got, 18)
			for what, worked := range got {
				require.Equal(t, false, worked, what)
			}
		})
		t.Run(name+", what is left of its rights", func(t *testing.T) {
			out, bad := step(t, script.NewLocal(iso, nil), nil, python(`
import os
def handler(events, context):
    with open('/proc/self/status') as f:
        s = dict(l.split(':\t', 1) for l in f if ':\t' in l)
    return {k: s[k].strip() for k in ['CapEff', 'CapPrm', 'CapInh', 'CapAmb', 'NoNewPrivs']}`))
			require.Nil(t, bad)
			none := "0000000000000000"
			require.Equal(t, map[string]any{"CapEff": none, "CapPrm": none, "CapInh": none, "CapAmb": none, "NoNewPrivs": "1"}, out["Payload"])
		})
	}
	for _, name := range []string{"store.db", "keys.json", "audit.log"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(b), "secret"))
	}
}

// The network is there when it is granted, and only that.
func TestNetworkThatIsGranted(t *testing.T) {
	if len(isolations(t)) == 0 {
		t.Skip("SKIPPED: no script can be kept apart on this machine")
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	for name, iso := range map[string]script.Isolation{"namespace": &script.Namespace{Network: true}, "user": &script.User{UID: 61184, GID: 61184, Network: true}} {
		t.Run(name, func(t *testing.T) {
			if isolations(t)[name] == nil {
				t.Skip("SKIPPED: not on this machine")
			}
			out, bad := step(t, script.NewLocal(iso, nil), nil, python("import socket\ndef handler(e, c):\n  socket.create_connection(('127.0.0.1', e['port']), timeout=5).close()\n  return True",
				"InputPayload", map[string]any{"port": tcp.Addr().(*net.TCPAddr).Port}))
			require.Nil(t, bad, "%+v", bad)
			require.Equal(t, true, out["Payload"])
		})
	}
}

// In a namespace a script cannot change the machine's programs, nor see any file but the system's and what was allowed.
func TestNamespaceShowsOnlyWhatIsAllowed(t *testing.T) {
	if isolations(t)["namespace"] == nil {
		t.Skip("SKIPPED: no namespaces on this machine")
	}
	lib, err := os.MkdirTemp("", "lib")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(lib) })
	require.NoError(t, os.Chmod(lib, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(lib, "helper.py"), []byte("answer = 42"), 0o644))
	out, bad := step(t, script.NewLocal(&script.Namespace{Allow: []string{lib}}, nil), nil, python(`
import os, subprocess, sys
def can(f):
    try:
        f()
        return True
    except OSError:
        return False
def handler(events, context):
    sys.path.append(events['lib'])
    import helper
    return {'answer': helper.answer, 'root': sorted(os.listdir('/')), 'etc': 'passwd' in os.listdir('/etc'), 'processes': [p for p in os.listdir('/proc') if p.isdigit()],
        'write': [can(lambda: open(p + '/x', 'w')) for p in ['/usr/bin', '/', '/etc', '/var/task', events['lib'], '/dev']], 'unshare': subprocess.run(['unshare', '-U', 'true'], stderr=subprocess.PIPE).stderr.decode()}`,
		"InputPayload", map[string]any{"lib": lib}))
	require.Nil(t, bad, "%+v", bad)
	got := out["Payload"].(map[string]any)
	require.Equal(t, 42.0, got["answer"])
	require.Equal(t, false, got["etc"])
	for _, name := range got["root"].([]any) {
		require.Contains(t, []any{"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "opt", "proc", "sbin", "tmp", "usr", "var"}, name)
	}
	require.Equal(t, []any{false, false, false, false, false, false}, got["write"])
	require.LessOrEqual(t, len(got["processes"].([]any)), 1)
	require.Contains(t, got["unshare"], "No space left on device", "no namespaces within")
}

func TestPowerShellIsReportedWhenItIsNotThere(t *testing.T) {
	some(t, func(t *testing.T, rt script.Runtime) {
		out, bad := step(t, rt, nil, map[string]any{"Runtime": "PowerShell Core 6.0", "Script": "$in = $env:InputPayload | ConvertFrom-Json\nWrite-Host 'hello'\nreturn @{ sum = $in.a + 1 }", "InputPayload": map[string]any{"a": 2}})
		if bad != nil && strings.Contains(bad.Message, "there is no pwsh") {
			require.Equal(t, automation.PreVerification, bad.Stage)
			t.Skip("SKIPPED: no PowerShell on this machine; the step said so")
		}
		require.Nil(t, bad, "%+v", bad)
		require.Equal(t, map[string]any{"sum": 3.0}, out["Payload"])
		require.Contains(t, out["Stdout"], "hello")
	})
}

func TestEnvironmentThatIsGranted(t *testing.T) {
	some(t, func(t *testing.T, rt script.Runtime) {
		text := "import os\ndef handler(e, c): return os.environ.get('GRANTED')"
		out, bad := step(t, rt, &script.Options{Env: func(_ context.Context, c automation.Call) (map[string]string, error) {
			return map[string]string{"GRANTED": c.Execution}, nil
		}}, python(text))
		require.Nil(t, bad)
		require.Equal(t, "exec-1", out["Payload"])
		_, bad = step(t, rt, &script.Options{Env: func(context.Context, automation.Call) (map[string]string, error) { return nil, errors.New("no role") }}, python(text))
		require.Equal(t, automation.PermissionFailure, bad.Type)
		_, bad = step(t, rt, &script.Options{Env: func(context.Context, automation.Call) (map[string]string, error) {
			return map[string]string{"A=B": "c"}, nil
		}}, python(text))
		require.Equal(t, automation.PreVerification, bad.Stage)
	})
}
