//go:build unix

package action

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// System is the Spawner that starts real processes. Its zero value is ready.
type System struct {
	// CgroupRoot is where control groups of version 2 are mounted, "" for /sys/fs/cgroup. Limits make a group below it named fleetwright-<random>; where that
	// cannot be done, processes with limits do not start.
	CgroupRoot string
}

// Spawn implements Spawner.
func (s System) Spawn(ctx context.Context, p *Process) (Exit, error) {
	if err := ctx.Err(); err != nil {
		return Exit{}, context.Cause(ctx)
	}
	group, err := newCgroup(s.CgroupRoot, p.Limits)
	if err != nil {
		return Exit{}, err
	}
	defer group.remove()
	cmd := &exec.Cmd{Path: p.Path, Args: p.Args, Dir: p.Dir, Env: p.Env, Stdout: p.Stdout, Stderr: p.Stderr, ExtraFiles: p.Files,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, WaitDelay: or(p.Linger, DefaultLinger)}
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	if p.User != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: p.User.UID, Gid: p.User.GID, Groups: p.User.Groups}
	}
	group.apply(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return Exit{}, err
	}
	pid := cmd.Process.Pid
	if p.Started != nil {
		p.Started(Child{PID: pid, Start: startTime(pid)})
	}
	ended, wait := await(cmd)
	var exit Exit
	select {
	case <-ended:
	case <-ctx.Done():
	}
	select {
	case <-ended: // it came first, or at the same moment: the process ended by itself
	default:
		exit.Killed = true
		KillSession(pid, syscall.SIGTERM)
		grace := time.NewTimer(or(p.Grace, DefaultGrace))
		select {
		case <-ended:
		case <-grace.C:
		}
		grace.Stop()
		// The leader may have gone and left its children: it is not reaped yet, so its id still means this session.
		KillSession(pid, syscall.SIGKILL)
		group.kill()
		killStrays(p.Env)
	}
	err = wait()
	exit.OOM = group.oom()
	var bad *exec.ExitError
	if err != nil && !errors.As(err, &bad) && !errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState == nil {
		return exit, nil
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		exit.Signal, exit.Code = ws.Signal().String(), 128+int(ws.Signal())
	} else {
		exit.Code = cmd.ProcessState.ExitCode()
	}
	return exit, nil
}

// killStrays kills what left the session but still carries the run's marker in its environment: daemons of a script that was told to stop.
func killStrays(env []string) {
	for _, kv := range env {
		marker, ok := strings.CutPrefix(kv, MarkerVar+"=")
		if !ok || marker == "" {
			continue
		}
		for range 32 { // each look finds one session; more than these are not a script's, and the next look would find no fewer
			leader := Alive(marker, Child{})
			if leader == 0 || !KillSession(leader, syscall.SIGKILL) {
				return
			}
		}
	}
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
