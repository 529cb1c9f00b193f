package patchbaseline

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/fault"
)

// tools starts the machine's programs for one run.
type tools struct {
	c    *action.Call
	o    *Options
	tree *tree
}

// program is a process to start.
type program struct {
	argv  []string
	env   map[string]string
	limit time.Duration
	// lasting: it changes the machine, so it must come to its end. It does not notice that the agent ended, and a step that is stopped waits for it as long as Options.Finish says.
	lasting bool
	ok      []int // exit codes that are no failure, besides 0
}

type output struct {
	stdout, stderr []byte
	code           int
}

const (
	mostOutput = 64 << 20
	mostErrors = 256 << 10
)

// has tells whether a program is there.
func (t *tools) has(name string) bool {
	_, err := t.find(name)
	return err == nil
}

// find returns the path of a program.
func (t *tools) find(name string) (string, error) {
	if !t.o.Chroot {
		return exec.LookPath(name)
	}
	for _, dir := range []string{"usr/sbin", "usr/bin", "sbin", "bin"} {
		if t.tree.exists(path.Join(dir, name)) {
			return "/" + path.Join(dir, name), nil
		}
	}
	return "", exec.ErrNotFound
}

// run runs a program. An exit code that is not expected is an error that says what the program said.
func (t *tools) run(ctx context.Context, p program) (output, error) {
	const op = "patchbaseline.Tool"
	out, err := t.start(ctx, p)
	if err != nil {
		return out, err
	}
	if out.code != 0 && !slices.Contains(p.ok, out.code) {
		return out, fault.New(op, fault.InternalServerError, "%s ended with code %d: %s", p.argv[0], out.code, said(out))
	}
	return out, nil
}

// said returns the last words of a program, made safe to print: its complaints, or its output where it has none.
func said(out output) string {
	text := bytes.TrimSpace(out.stderr)
	if len(text) == 0 {
		text = bytes.TrimSpace(out.stdout)
	}
	lines := strings.Split(string(text), "\n")
	var errs []string
	for _, l := range lines {
		if strings.HasPrefix(l, "E: ") || strings.HasPrefix(strings.ToLower(l), "error") || strings.HasPrefix(l, "dpkg: error") {
			errs = append(errs, strings.TrimSpace(l))
		}
	}
	if len(errs) > 0 {
		lines = errs
	}
	lines = lines[max(0, len(lines)-8):]
	s := fault.Clean(strings.Join(lines, "; "))
	if len(s) > 1500 {
		s = s[:1500] + "…"
	}
	return cmp.Or(s, "it said nothing")
}

func (t *tools) start(ctx context.Context, p program) (out output, err error) {
	const op = "patchbaseline.Tool"
	file, err := t.find(p.argv[0])
	if err != nil {
		return out, fault.New(op, fault.UnsupportedOperation, "%s is not on this machine, or not in PATH", p.argv[0])
	}
	argv := p.argv
	if t.o.Chroot {
		chroot, err := exec.LookPath("chroot")
		if err != nil {
			return out, fault.New(op, fault.UnsupportedOperation, "chroot is not on this machine, or not in PATH")
		}
		argv, file = append([]string{"chroot", t.tree.dir, file}, p.argv[1:]...), chroot
	}
	env := map[string]string{"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "LANGUAGE": "C", "TERM": "dumb", "HOME": "/root"}
	for k, v := range p.env {
		env[k] = v
	}
	// A transaction and the services that it restarts are nobody's leftovers: without the marker an agent that starts anew does not take them for a step's and stop them.
	call := *t.c
	if p.lasting {
		call.Marker = ""
	}
	stdout, stderr := &buffer{left: mostOutput}, &buffer{left: mostErrors}
	proc := &action.Process{Path: file, Args: argv, Dir: cmp.Or(t.c.Dir, os.TempDir()), Env: call.Environ(nil, env), Stdout: stdout, Stderr: stderr, Started: t.c.Started}
	if p.lasting {
		proc.Env = slices.DeleteFunc(proc.Env, func(kv string) bool { return strings.HasPrefix(kv, action.MarkerVar+"=") })
	}
	limit, cancel := context.WithTimeoutCause(ctx, p.limit, errLimit)
	if p.lasting {
		// Files and not pipes: whoever writes to a pipe that nobody reads any more is killed by it.
		for _, s := range []*io.Writer{&proc.Stdout, &proc.Stderr} {
			f, err := os.CreateTemp(t.c.Dir, "output-*")
			if err != nil {
				cancel()
				return out, fault.New(op, fault.InternalServerError, "the output of %s has no place: %w", p.argv[0], err)
			}
			defer os.Remove(f.Name()) //nolint:errcheck // the directory goes with the command
			defer f.Close()           //nolint:errcheck // it was read
			*s = f
		}
		proc.Started = nil
		proc.Grace = min(t.o.Finish, 30*time.Second)
		var stop context.CancelCauseFunc
		limit, stop = context.WithCancelCause(context.WithoutCancel(ctx))
		clock := time.AfterFunc(p.limit, func() { stop(errLimit) })
		told := make(chan struct{})
		after := context.AfterFunc(ctx, func() {
			defer close(told)
			fmt.Fprintf(t.c.Stderr, "The step was stopped while %s was at work; it has %s to come to its end.\n", p.argv[0], t.o.Finish) //nolint:errcheck // never fails
			clock.Reset(t.o.Finish)
		})
		defer clock.Stop()
		defer func() {
			if !after() {
				<-told // what it writes comes before what follows
			}
		}()
		defer stop(nil)
	}
	defer cancel()
	exit, err := t.c.Spawner.Spawn(limit, proc)
	if f, ok := proc.Stdout.(*os.File); ok {
		stdout.take(f)
	}
	if f, ok := proc.Stderr.(*os.File); ok {
		stderr.take(f)
	}
	out = output{stdout.Bytes(), stderr.Bytes(), exit.Code}
	switch {
	case err != nil && ctx.Err() != nil:
		return out, context.Cause(ctx)
	case err != nil:
		e := fault.New(op, fault.InternalServerError, "%s did not start", p.argv[0])
		e.Err = err
		return out, e
	case exit.Killed && ctx.Err() != nil:
		return out, context.Cause(ctx)
	case exit.Killed:
		return out, fault.New(op, fault.InternalServerError, "%s was stopped: it had not ended after %s", p.argv[0], p.limit)
	case exit.OOM, exit.Signal != "":
		return out, fault.New(op, fault.InternalServerError, "%s was ended by the signal %s", p.argv[0], exit.Signal)
	case stdout.over:
		return out, fault.New(op, fault.InternalServerError, "%s wrote more than %d bytes", p.argv[0], mostOutput)
	}
	return out, nil
}

var errLimit = errors.New("its time was over")

// buffer keeps the first bytes.
type buffer struct {
	bytes.Buffer
	left int
	over bool
}

func (b *buffer) Write(p []byte) (int, error) {
	n := len(p)
	if n > b.left {
		p, b.over = p[:b.left], true
	}
	b.left -= len(p)
	b.Buffer.Write(p)
	return n, nil
}

// take reads what a process wrote to a file: its end, where it is too long.
func (b *buffer) take(f *os.File) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return
	}
	from := max(0, size-int64(b.left))
	io.Copy(&b.Buffer, io.NewSectionReader(f, from, size-from)) //nolint:errcheck // what can be read
}

// mostShown is how much of what a transaction said goes to the step's output, so that the summary behind it is not lost.
const mostShown = 6 << 10

// show copies the end of what a transaction said to the step's output.
func (t *tools) show(out output) {
	end := func(w io.Writer, b []byte) {
		if cut := len(b) - mostShown; cut > 0 {
			fmt.Fprintf(w, "[%d bytes before this are left out]\n", cut) //nolint:errcheck // never fails
			b = b[cut:]
			if i := bytes.IndexByte(b, '\n'); i >= 0 {
				b = b[i+1:]
			}
		}
		w.Write(b) //nolint:errcheck // never fails
	}
	end(t.c.Stdout, out.stdout)
	end(t.c.Stderr, out.stderr)
}

// privileged tells whether the agent may change the machine.
func (t *tools) privileged() bool { return os.Geteuid() == 0 || t.tree.dir != "" && !t.o.Chroot }

// poll calls busy until it says "", and returns what it said last when the time is over.
func (t *tools) poll(ctx context.Context, what string, busy func() string) error {
	deadline := time.NewTimer(t.o.LockWait)
	defer deadline.Stop()
	told := false
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		holder := busy()
		if holder == "" {
			return nil
		}
		if !told {
			told = true
			fmt.Fprintf(t.c.Stdout, "%s is at work (%s); waiting for it, at most %s.\n", what, holder, t.o.LockWait) //nolint:errcheck // never fails
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return context.Cause(ctx)
		case <-deadline.C:
			again.Stop()
			return errLocked(what, holder, t.o.LockWait)
		}
	}
}

func errLocked(what, holder string, waited time.Duration) error {
	return fault.New("patchbaseline.Lock", fault.ServiceUnavailable, "%s is still at work after %s (%s): nothing was done; run this again when it has ended", what, waited, holder)
}

// locks returns who holds one of the files of the tree by a lock of fcntl, "" when nobody does.
func (t *tools) locks(names ...string) string {
	for _, name := range names {
		if pid := lockHolder(t.tree.FS, filepath.ToSlash(name)); pid > 0 {
			return fmt.Sprintf("process %d holds /%s", pid, name)
		}
	}
	return ""
}
