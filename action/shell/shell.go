// Package shell holds the actions aws:runShellScript and aws:runPowerShellScript.
//
// A script's lines (input runCommand) become a file that only its owner may read, named by the agent, and an interpreter runs it: the one of its #! line
// when "#!" are its first two bytes, else sh (spec P13). It runs in a session of its own with an environment as AWS documents it, and when its time is over
// or the command is cancelled the whole session is stopped. Its exit code decides: 0 is Success, 168 and 169 end the document, 194 (3010 on Windows) asks for a
// reboot, everything else is Failed (P7). As on AWS only the last command's code counts (trap T9), unless Strict is set.
//
//	set, err := action.NewSet(shell.New(nil), shell.NewPowerShell(nil))
//
// Beyond AWS, the host chooses an interpreter, strict mode, a user and resource limits in [Options].
package shell

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// The names of the actions.
const (
	Name           = "aws:runShellScript"
	PowerShellName = "aws:runPowerShellScript"
)

// The exit codes that mean something to a document (P7).
const (
	CodeSuccessAndSkip  = 168
	CodeFailureAndSkip  = 169
	CodeReboot          = 194
	CodeRebootOnWindows = 3010
)

// Options are what a host may choose. They hold for every script of the action. nil is the zero value, which is what AWS does.
type Options struct {
	// Interpreter runs scripts that have no #! line: a program, looked up in PATH when it is no path, and its arguments. Empty is sh, or pwsh for PowerShell.
	Interpreter []string
	// Strict makes a script fail at its first failing command: bash -euo pipefail where bash is, else sh -eu; PowerShell stops at its first error. Where that cannot be promised the
	// step fails: with an Interpreter of the host's, a #! line, or a PowerShell script that begins with param or using.
	Strict bool
	// RunAs is the user whom scripts run as; empty is the agent's. The agent must be root. Scripts without a workingDirectory start in the user's home.
	RunAs string
	// Limits bound each script and its children by a control group (version 2); where there is none the script fails and says so.
	Limits action.Limits
	// Grace is the time between SIGTERM and SIGKILL; 0 is action.DefaultGrace.
	Grace time.Duration
	// Environment is added to every script's environment. A step's own input "environment" wins.
	Environment map[string]string
}

// Action is one of the two actions. It is safe for concurrent use.
type Action struct {
	name  string
	power bool
	o     Options
}

// New returns aws:runShellScript.
func New(o *Options) *Action { return newAction(Name, false, o) }

// NewPowerShell returns aws:runPowerShellScript. Where PowerShell is not installed the node does not get the capability, and a step fails with a reason.
func NewPowerShell(o *Options) *Action { return newAction(PowerShellName, true, o) }

func newAction(name string, power bool, o *Options) *Action {
	a := &Action{name: name, power: power}
	if o != nil {
		a.o = *o
		a.o.Environment = maps.Clone(o.Environment)
	}
	return a
}

// Name implements action.Action.
func (a *Action) Name() string { return a.name }

// Capabilities implements action.Capable: nothing when the interpreter is missing.
func (a *Action) Capabilities() []string {
	if _, err := a.interpreter(); err != nil {
		return nil
	}
	return []string{a.name}
}

// interpreter returns the command that runs a script file without a #! line, the file to be added.
func (a *Action) interpreter() ([]string, error) {
	try := func(argv ...string) ([]string, error) {
		path, err := exec.LookPath(argv[0])
		if err != nil {
			return nil, fmt.Errorf("%s is not installed on this node, or not in PATH", argv[0])
		}
		return append([]string{path}, argv[1:]...), nil
	}
	switch {
	case len(a.o.Interpreter) > 0 && a.o.Strict:
		return nil, errors.New("this node asks for strict mode and for an interpreter of its own: put the interpreter's own option for it in its place")
	case len(a.o.Interpreter) > 0:
		return try(a.o.Interpreter...)
	case a.power:
		args := []string{"-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted", "-File"}
		argv, err := try(append([]string{"pwsh"}, args...)...)
		if err != nil && runtime.GOOS == "windows" {
			return try(append([]string{"powershell"}, args...)...)
		}
		return argv, err
	case a.o.Strict:
		if argv, err := try("bash", "-euo", "pipefail"); err == nil {
			return argv, nil
		}
		return try("sh", "-eu")
	}
	return try("sh")
}

// shebang returns the command that the first line asks for, split as Linux does: the program and at most one argument.
func shebang(script string) []string {
	if !strings.HasPrefix(script, "#!") {
		return nil
	}
	line, _, _ := strings.Cut(script[2:], "\n")
	line = strings.Trim(strings.TrimSuffix(line, "\r"), " \t")
	program, arg, _ := strings.Cut(line, " ")
	if i := strings.IndexByte(program, '\t'); i >= 0 {
		program, arg = program[:i], program[i+1:]+" "+arg
	}
	if program == "" {
		return nil
	}
	if arg = strings.Trim(arg, " \t"); arg != "" {
		return []string{program, arg}
	}
	return []string{program}
}

// Run implements action.Action.
func (a *Action) Run(ctx context.Context, c *action.Call) action.Result {
	lines := action.Lines(c.Inputs, "runCommand")
	if len(lines) == 0 {
		return action.Failed("the step has no runCommand")
	}
	script := strings.Join(lines, "\n") + "\n"
	if a.power && a.o.Strict {
		if first := strings.ToLower(strings.TrimSpace(script)); strings.HasPrefix(first, "param") || strings.HasPrefix(first, "using") || strings.HasPrefix(first, "[cmdletbinding") {
			return action.Failed("this node runs scripts in strict mode, which it cannot do for one that begins with param or using")
		}
		script = "$ErrorActionPreference = 'Stop'; " + script // on the first line, so that line numbers stay
	}
	p, err := a.process(c, script)
	if err != nil {
		return action.Failed(err.Error())
	}
	file, err := writeScript(c.Dir, a.power, script, p.User)
	if err != nil {
		return action.Failed("the script could not be written on the node: " + reason(err))
	}
	defer os.Remove(file) //nolint:errcheck // the directory goes with the command
	if p.User != nil {
		// The file's directories are closed to others; an open file is not.
		f, err := os.Open(file)
		if err != nil {
			return action.Failed("the script could not be opened on the node: " + reason(err))
		}
		defer f.Close() //nolint:errcheck // read only
		p.Files, file = []*os.File{f}, "/proc/self/fd/3"
	}
	p.Args = append(p.Args, file)
	p.Path = p.Args[0]
	exit, err := c.Spawner.Spawn(ctx, p)
	if err != nil {
		return notStarted(p, err)
	}
	return a.result(ctx, c, exit)
}

// notStarted says why a process did not start, with the exit codes that shells use for it.
func notStarted(p *action.Process, err error) action.Result {
	r := action.Failed("the script did not start: " + reason(err))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.ExitCode = 127
		r.Reason = fault.Clean(fmt.Sprintf("the script did not start: the interpreter %s or the directory %s does not exist on this node", p.Args[0], p.Dir))
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		r.ExitCode = 126
	}
	return r
}

// process makes the process of a step; Args lack the script's file.
func (a *Action) process(c *action.Call, script string) (*action.Process, error) {
	argv := shebang(script)
	switch {
	case a.power || argv == nil:
		var err error
		if argv, err = a.interpreter(); err != nil {
			return nil, err
		}
	case a.o.Strict:
		return nil, errors.New("this node runs scripts in strict mode, which it cannot do for one that names its own interpreter: remove the #! line")
	}
	env := maps.Clone(a.o.Environment)
	more, err := action.Map(c.Inputs, "environment")
	if err != nil {
		return nil, err
	}
	if env == nil && more != nil {
		env = make(map[string]string, len(more))
	}
	for k := range more {
		if env[k], err = action.Text(more, k); err != nil {
			return nil, fmt.Errorf("input environment: %w", err)
		}
	}
	for _, m := range []map[string]string{env, c.Env} {
		for k, v := range m {
			if !action.ValidVar(k, v) {
				return nil, fmt.Errorf("the variable %q cannot be given to a script: its name is not of [A-Za-z_][A-Za-z0-9_]*, or its value holds a NUL byte", k)
			}
		}
	}
	p := &action.Process{Args: argv, Stdout: c.Stdout, Stderr: c.Stderr, Limits: a.o.Limits, Grace: a.o.Grace, Started: c.Started}
	if a.o.RunAs != "" {
		if p.User, err = action.LookupUser(a.o.RunAs); err != nil {
			return nil, err
		}
	}
	if p.Dir, err = directory(c, p.User); err != nil {
		return nil, err
	}
	p.Env = c.Environ(p.User, env)
	return p, nil
}

// directory returns where the script starts (P13): workingDirectory when it is absolute; below the command's downloads when it is relative and there; else the
// default, which is the downloads directory itself. A relative one that leads out of the downloads is an error.
func directory(c *action.Call, user *action.User) (string, error) {
	dir, err := action.Text(c.Inputs, "workingDirectory")
	if err != nil {
		return "", err
	}
	fallback := c.Downloads
	if user != nil {
		fallback = user.Home
	}
	switch {
	case dir == "":
		return fallback, nil
	case filepath.IsAbs(dir):
		return dir, nil
	case !filepath.IsLocal(dir):
		return "", fmt.Errorf("workingDirectory %q leads out of the command's directory: give an absolute path, or one without ..", dir)
	}
	below := filepath.Join(c.Downloads, dir)
	if info, err := os.Stat(below); err == nil && info.IsDir() {
		return below, nil
	}
	return fallback, nil
}

// writeScript writes the script to a new file of the agent's own naming that only its owner may read, write and execute.
func writeScript(dir string, power bool, script string, user *action.User) (_ string, err error) {
	pattern := "script-*.sh"
	if power {
		pattern = "script-*.ps1"
	}
	f, err := os.CreateTemp(dir, pattern) // O_EXCL, 0600
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(f.Name()) //nolint:errcheck // the write's error counts
		}
	}()
	if err = f.Chmod(0o700); err != nil {
		return "", err
	}
	if user != nil {
		if err = f.Chown(int(user.UID), int(user.GID)); err != nil {
			return "", err
		}
	}
	if power {
		script = "\ufeff" + script // without a byte order mark Windows PowerShell takes UTF-8 for the local code page
	}
	_, err = f.WriteString(script)
	return f.Name(), err
}

// result turns an exit into the step's result.
func (a *Action) result(ctx context.Context, c *action.Call, exit action.Exit) action.Result {
	r := action.Result{Status: message.Failed, ExitCode: exit.Code}
	if exit.Killed {
		var ended bool
		if r.Status, ended = action.Cause(ctx); !ended {
			r.Status = message.Cancelled
		}
		if r.ExitCode == 0 {
			r.ExitCode = 128 + int(syscall.SIGTERM)
		}
		if r.Status == message.TimedOut {
			r.Reason = "stopped: its time was over"
		}
		return r
	}
	switch {
	case exit.OOM:
		r.Reason = "killed: it used more memory than this node allows scripts"
	case exit.Signal != "":
		r.Reason = "ended by the signal " + exit.Signal + ", which did not come from the agent"
	case exit.Code == 0:
		r.Status = message.Success
	case exit.Code == CodeSuccessAndSkip:
		r.Status, r.Flow = message.Success, action.SkipRest
	case exit.Code == CodeFailureAndSkip:
		r.Flow = action.SkipRest
	case runtime.GOOS == "windows" && exit.Code == CodeRebootOnWindows, runtime.GOOS != "windows" && exit.Code == CodeReboot:
		r.Status, r.Flow = message.Success, action.Reboot
	}
	return r
}

// reason shortens an error of the system to what a person needs, without paths of the agent.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
