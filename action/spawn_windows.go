package action

import (
	"context"
	"errors"
	"os/exec"
)

// System is the Spawner that starts real processes. Its zero value is ready. On Windows it stops the process alone, not what that started.
type System struct{ CgroupRoot string }

// Spawn implements Spawner.
func (s System) Spawn(ctx context.Context, p *Process) (Exit, error) {
	switch {
	case ctx.Err() != nil:
		return Exit{}, context.Cause(ctx)
	case p.User != nil || !p.Limits.IsZero() || len(p.Files) > 0:
		return Exit{}, errors.New("users, limits and files of processes are not supported on Windows")
	}
	linger := p.Linger
	if linger == 0 {
		linger = DefaultLinger
	}
	cmd := &exec.Cmd{Path: p.Path, Args: p.Args, Dir: p.Dir, Env: p.Env, Stdout: p.Stdout, Stderr: p.Stderr, WaitDelay: linger}
	if err := cmd.Start(); err != nil {
		return Exit{}, err
	}
	if p.Started != nil {
		p.Started(Child{PID: cmd.Process.Pid})
	}
	ended := make(chan struct{})
	killed := make(chan bool)
	go func() {
		select {
		case <-ended:
			killed <- false
		case <-ctx.Done():
			cmd.Process.Kill() //nolint:errcheck // gone is fine
			killed <- true
		}
	}()
	err := cmd.Wait()
	close(ended)
	exit := Exit{Killed: <-killed}
	if cmd.ProcessState != nil {
		exit.Code = cmd.ProcessState.ExitCode()
	} else if err != nil {
		exit.Code = 1
	}
	return exit, nil
}

// Alive says no: a process that an agent left behind is not looked for on Windows.
func Alive(string, Child) int { return 0 }
