package script

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Isolation keeps a process from what is not its own. [User] and [Namespace] are the ones that there are.
type Isolation interface {
	// wrap makes a command run kept apart. It fails when that cannot be.
	wrap(b *box) error
}

// box is a script about to be started: cmd runs argv in dir, which holds the script and is removed afterwards.
type box struct {
	cmd    *exec.Cmd
	argv   []string // the interpreter and its arguments, paths as they are on the machine
	dir    string
	limits Limits
	lang   string
	ended  chan struct{} // is closed when it has
}

// LocalOptions of NewLocal; nil is the zero value.
type LocalOptions struct {
	// Interpreters are programs by "python3.11", "python" (any other Python 3) and "powershell"; those that are not named are looked for in /usr/local/bin, /usr/bin, /bin and
	// /opt/microsoft/powershell. A Python that is not installed is replaced by another Python 3: newer ones run what older ones ran, with few exceptions.
	Interpreters map[string]string
	// Dir is where a folder is made for each script, and removed; "" is the system's for temporary files.
	Dir string
	// Parallel is how many scripts run at once; 0 is 8. Others wait for their turn, within the time of their step.
	Parallel int
}

// Local runs scripts as processes of this machine. It is safe for concurrent use.
type Local struct {
	iso  Isolation
	o    LocalOptions
	room chan struct{}
}

// NewLocal returns a runtime of this machine. Without an isolation every script fails and says so: there is no way to run one that is not kept apart.
func NewLocal(iso Isolation, o *LocalOptions) *Local {
	if o == nil {
		o = &LocalOptions{}
	}
	n := o.Parallel
	if n <= 0 {
		n = 8
	}
	return &Local{iso: iso, o: *o, room: make(chan struct{}, n)}
}

//go:embed runner.py
var runnerPy []byte

//go:embed runner.ps1
var runnerPs []byte

// interpreter finds the program of a language.
func (l *Local) interpreter(j *Job) (string, error) {
	const op = "script.Interpreter"
	names, last := []string{"pwsh"}, "powershell"
	if j.Language == Python {
		names, last = []string{"python" + j.Version, "python3"}, "python"
	}
	for _, name := range append(slices.Clone(names), last) {
		if p := l.o.Interpreters[name]; p != "" {
			return resolved(op, p)
		}
	}
	for _, name := range names {
		for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin", "/opt/microsoft/powershell/7"} {
			if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				return resolved(op, filepath.Join(dir, name))
			}
		}
	}
	return "", fault.New(op, fault.UnsupportedOperation, "there is no %s on this machine: install it, or name it in LocalOptions.Interpreters", names[len(names)-1])
}

func resolved(op, p string) (string, error) {
	if !filepath.IsAbs(p) {
		return "", fault.New(op, fault.Validation, "the interpreter must be named by its whole path")
	}
	r, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", fault.New(op, fault.UnsupportedOperation, "there is no interpreter at %s", p)
	}
	return r, nil
}

// Run implements Runtime.
func (l *Local) Run(ctx context.Context, j Job) (out Outcome, err error) {
	const op = "script.Run"
	if l.iso == nil {
		return out, fault.New(op, fault.UnsupportedOperation, "scripts are not run here: choose script.User or script.Namespace to keep them apart, or script.NewAgent to run them on a node")
	}
	program, err := l.interpreter(&j)
	if err != nil {
		return out, err
	}
	select {
	case l.room <- struct{}{}:
	case <-ctx.Done():
		return out, ctx.Err()
	}
	defer func() { <-l.room }()
	j.Limits = j.Limits.withDefaults()
	dir, err := os.MkdirTemp(l.o.Dir, "fleetwright-script-")
	if err != nil {
		return out, fault.New(op, fault.ServiceUnavailable, "no folder can be made for the script: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // what is left is the host's temporary folder's matter
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return out, fault.New(op, fault.ServiceUnavailable, "no folder can be made for the script: %w", err)
	}
	argv, err := lay(dir, program, &j)
	if err != nil {
		return out, fault.New(op, fault.ServiceUnavailable, "the script cannot be written to a folder: %w", err)
	}
	var events any = j.Input
	if j.Language == PowerShell {
		events = string(j.Input)
	}
	work, err := json.Marshal(map[string]any{"events": events, "context": j.Context, "handler": j.Handler, "script": j.Script != nil})
	if err != nil {
		return out, fault.New(op, fault.Validation, "the input cannot be written as JSON")
	}
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8",
		"PYTHONDONTWRITEBYTECODE": "1", "POWERSHELL_TELEMETRY_OPTOUT": "1", "POWERSHELL_UPDATECHECK": "Off", "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
		"DOTNET_GCHeapHardLimit": "0x" + strconv.FormatInt(j.Limits.Memory/2, 16)}
	for k, v := range j.Env {
		env[k] = v
	}
	b := &box{ended: make(chan struct{}), argv: argv, dir: dir, limits: j.Limits, lang: j.Language, cmd: &exec.Cmd{Stdin: bytes.NewReader(work), Env: []string{}}}
	for k, v := range env {
		b.cmd.Env = append(b.cmd.Env, k+"="+v)
	}
	slices.Sort(b.cmd.Env)
	return b.run(ctx, l.iso)
}

// lay writes a script with what belongs to it.
func lay(dir, program string, j *Job) (argv []string, err error) {
	put := func(name string, data []byte) {
		if err == nil {
			err = os.WriteFile(name, data, 0o400)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o700); err != nil {
		return nil, err
	}
	for _, f := range j.Files {
		if !plainPath(f.Path) {
			return nil, errors.New("a file of the attachment has a path that leads elsewhere")
		}
		at := filepath.Join(dir, "files", filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return nil, err
		}
		put(at, f.Data)
	}
	if j.Language == PowerShell {
		text := j.Script
		for _, f := range j.Files {
			if text == nil && strings.HasSuffix(strings.ToLower(f.Path), ".ps1") && !strings.Contains(f.Path, "/") {
				text = f.Data
			}
		}
		put(filepath.Join(dir, "script.ps1"), text)
		put(filepath.Join(dir, "runner.ps1"), runnerPs)
		return []string{program, "-NoLogo", "-NoProfile", "-NonInteractive", "-File", filepath.Join(dir, "runner.ps1")}, err
	}
	if j.Script != nil {
		put(filepath.Join(dir, "script.py"), j.Script)
	}
	put(filepath.Join(dir, "runner.py"), runnerPy)
	return []string{program, "-s", "-B", filepath.Join(dir, "runner.py")}, err
}

// tail keeps the last bytes that are written to it.
type tail struct {
	mu   sync.Mutex
	most int
	b    []byte
	lost bool
}

// Write keeps the last of p.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 2*t.most {
		t.b = append(t.b[:0], t.b[len(t.b)-t.most:]...)
		t.lost = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, lost := t.b, t.lost
	if len(b) > t.most {
		b, lost = b[len(b)-t.most:], true
	}
	s := strings.ToValidUTF8(string(b), "\uFFFD")
	if lost {
		return "…" + s
	}
	return s
}

// result is what a runner writes.
type result struct {
	Payload   json.RawMessage `json:"payload"`
	Failure   string          `json:"failure"`
	Traceback string          `json:"traceback"`
}

// run starts the process, kills it when ctx ends, and reads its result. Nothing that it started outlives it.
func (b *box) run(ctx context.Context, iso Isolation) (out Outcome, err error) {
	const op = "script.Run"
	stdout, stderr := &tail{most: b.limits.Output}, &tail{most: b.limits.Output}
	r, w, err := os.Pipe()
	if err != nil {
		return out, fault.New(op, fault.ServiceUnavailable, "no pipe: %w", err)
	}
	defer r.Close() //nolint:errcheck // a reader
	b.cmd.Stdout, b.cmd.Stderr, b.cmd.ExtraFiles = stdout, stderr, []*os.File{w}
	b.cmd.WaitDelay = 2 * time.Second
	err = iso.wrap(b)
	if err == nil {
		err = b.start()
	}
	w.Close() //nolint:errcheck // the process has its own
	if err != nil {
		return out, err
	}
	most := int64(b.limits.Payload) + 64<<10
	read := make(chan []byte, 1)
	go func() {
		data, _ := io.ReadAll(io.LimitReader(r, most+1)) //nolint:errcheck // what came is looked at
		r.Close()                                        //nolint:errcheck // a script that writes more gets an error
		read <- data
	}()
	killed := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			b.kill()
		case <-b.ended:
		}
		close(killed)
	}()
	werr := b.cmd.Wait()
	close(b.ended)
	<-killed
	late := time.AfterFunc(2*time.Second, func() { r.Close() }) //nolint:errcheck // should somebody else have kept the other end
	data := <-read
	late.Stop()
	out.Stdout, out.Stderr = stdout.String(), stderr.String()
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	var res result
	switch {
	case len(data) == 0: // the runner never began
		lines := strings.Split(strings.TrimSpace(out.Stderr), "\n")
		return out, fault.New(op, fault.UnsupportedOperation, "a script cannot be run apart on this machine: %s: %s", how(b.cmd.ProcessState, werr), fault.Clean(clip(lines[len(lines)-1], 300)))
	case int64(len(data)) > most:
		out.Failure = fmt.Sprintf("the script returned more than %d bytes", b.limits.Payload)
	case json.Unmarshal(data, &res) == nil:
		out.Payload, out.Failure, out.Traceback = res.Payload, res.Failure, res.Traceback
		if len(out.Payload) == 0 && out.Failure == "" {
			out.Failure = "the script returned nothing that can be read"
		}
	default:
		out.Failure = "the script ended without returning: " + how(b.cmd.ProcessState, werr)
	}
	return out, nil
}

// how says how a process ended.
func how(st *os.ProcessState, err error) string {
	if st == nil {
		return fault.Clean(fmt.Sprint(err))
	}
	return fault.Clean(st.String())
}
