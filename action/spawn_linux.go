package action

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"
)

// await returns a channel that is closed when the process ended, and what then reaps it. Until it is reaped its id keeps its meaning.
func await(cmd *exec.Cmd) (<-chan struct{}, func() error) {
	ended := make(chan struct{})
	go func() { awaitExit(cmd.Process.Pid); close(ended) }()
	return ended, func() error { <-ended; return cmd.Wait() }
}

// awaitExit blocks until the process ended without reaping it.
func awaitExit(pid int) {
	const pPID, wExited, wNoWait = 1, 4, 0x1000000
	var info [128]byte
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pPID, uintptr(pid), uintptr(unsafe.Pointer(&info)), wExited|wNoWait, 0, 0)
		if errno != syscall.EINTR {
			return
		}
	}
}

// stat is what /proc/<pid>/stat tells.
type stat struct {
	state         byte
	pgrp, session int
	start         uint64
}

func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	f := bytes.Fields(b[i+1:])
	if i < 0 || len(f) < 20 || len(f[0]) != 1 {
		return stat{}, false
	}
	pgrp, _ := strconv.Atoi(string(f[2]))
	session, _ := strconv.Atoi(string(f[3]))
	start, _ := strconv.ParseUint(string(f[19]), 10, 64)
	return stat{f[0][0], pgrp, session, start}, true
}

// startTime returns when the process started, in clock ticks since the machine did; 0 when it is gone.
func startTime(pid int) uint64 {
	s, _ := readStat(pid)
	return s.start
}

// processes calls f for each process id.
func processes(f func(pid int)) {
	d, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(256)
		for _, n := range names {
			if pid, err := strconv.Atoi(n); err == nil {
				f(pid)
			}
		}
		if err != nil {
			return
		}
	}
}

// session returns the living members of a session.
func session(sid int) []int {
	var all []int
	processes(func(pid int) {
		if s, ok := readStat(pid); ok && s.session == sid && s.state != 'Z' && s.state != 'X' {
			all = append(all, pid)
		}
	})
	return all
}

// KillSession sends the signal to the process group and to every process of the session that a Spawner started with this leader. It reports whether any was alive.
func KillSession(leader int, sig syscall.Signal) bool {
	if leader <= 1 {
		return false
	}
	members := session(leader)
	alive := len(members) > 0
	syscall.Kill(-leader, sig) //nolint:errcheck // gone is fine
	for again := 0; again < 10 && len(members) > 0; again++ {
		for _, pid := range members {
			syscall.Kill(pid, sig) //nolint:errcheck // gone is fine
		}
		if sig != syscall.SIGKILL {
			break
		}
		members = session(leader) // who forked while being looked at
	}
	return alive
}

// Alive returns the leader of a session in which something of the run with this marker still lives, or 0. The child, when it is known, is looked for first: it counts only with
// its start time, or when a process of its session carries the marker.
func Alive(marker string, child Child) int {
	if child.PID > 1 {
		if s, ok := readStat(child.PID); ok && s.start == child.Start && s.state != 'Z' && s.state != 'X' {
			return child.PID
		}
		for _, pid := range session(child.PID) {
			if carries(pid, marker) {
				return child.PID
			}
		}
		return 0
	}
	var oldest stat
	processes(func(pid int) {
		if carries(pid, marker) {
			if s, ok := readStat(pid); ok && s.state != 'Z' && s.state != 'X' && (oldest.start == 0 || s.start < oldest.start) {
				oldest = s
			}
		}
	})
	return oldest.session
}

// carries reports whether a process has the marker in its environment.
func carries(pid int, marker string) bool {
	if marker == "" {
		return false
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && bytes.Contains(b, []byte(MarkerVar+"="+marker+"\x00"))
}

var errNoCgroup = errors.New("resource limits need control groups of version 2, which this machine does not have or this agent may not write")

// cgroup is a control group made for one process; nil limits nothing.
type cgroup struct {
	dir string
	fd  *os.File
}

func newCgroup(root string, l Limits) (*cgroup, error) {
	if l.IsZero() {
		return nil, nil
	}
	if root == "" {
		root = "/sys/fs/cgroup"
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
		return nil, errNoCgroup
	}
	dir, err := os.MkdirTemp(root, "fleetwright-*")
	if err != nil {
		return nil, errors.Join(errNoCgroup, err)
	}
	g := &cgroup{dir: dir}
	set := func(name, value string) error { return os.WriteFile(filepath.Join(dir, name), []byte(value), 0) }
	var errs []error
	if l.Memory > 0 {
		errs = append(errs, set("memory.max", strconv.FormatInt(l.Memory, 10)))
		set("memory.oom.group", "1") //nolint:errcheck // not everywhere
		set("memory.swap.max", "0")  //nolint:errcheck // not everywhere
	}
	if l.PIDs > 0 {
		errs = append(errs, set("pids.max", strconv.Itoa(l.PIDs)))
	}
	if l.CPU > 0 {
		errs = append(errs, set("cpu.max", strconv.FormatInt(int64(l.CPU*100000), 10)+" 100000"))
	}
	fd, err := os.Open(dir)
	g.fd = fd
	if err := errors.Join(append(errs, err)...); err != nil {
		g.remove()
		return nil, errors.Join(errNoCgroup, err)
	}
	return g, nil
}

func (g *cgroup) apply(a *syscall.SysProcAttr) {
	if g != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(g.fd.Fd())
	}
}

func (g *cgroup) kill() {
	if g != nil {
		os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) //nolint:errcheck // the session was killed already
	}
}

func (g *cgroup) oom() bool {
	if g == nil {
		return false
	}
	b, err := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	return err == nil && bytes.Contains(b, []byte("oom_kill ")) && !bytes.Contains(b, []byte("oom_kill 0\n"))
}

func (g *cgroup) remove() {
	if g != nil {
		if g.fd != nil {
			g.fd.Close() //nolint:errcheck // read only
		}
		os.Remove(g.dir) //nolint:errcheck // a process that lives on keeps it
	}
}
