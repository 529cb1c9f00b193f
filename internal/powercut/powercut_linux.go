package powercut

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	insideEnv = "FLEETWRIGHT_POWERCUT_INSIDE" // the test that runs in its own mount namespace
	roleEnv   = "FLEETWRIGHT_POWERCUT_ROLE"
	argsEnv   = "FLEETWRIGHT_POWERCUT_ARGS"

	ficlone = 0x40049409
)

// Role returns what this process was started for by Start, "" for a test.
func Role() string { return os.Getenv(roleEnv) }

// Args returns what Start was given.
func Args() []string { return strings.Split(os.Getenv(argsEnv), "\x1f") }

// Ack says, in a process that Start started, that something was acknowledged: what was done must be durable by now. It may be called by many goroutines. It ends the process when nobody
// listens any more; a system call that a test made fail is tried again.
func Ack(format string, args ...any) {
	line := []byte("ack " + fmt.Sprintf(format, args...) + "\n")
	for range 3 {
		if _, err := os.Stdout.Write(line); err == nil {
			return
		} else if errors.Is(err, syscall.EPIPE) {
			break
		}
	}
	os.Exit(0)
}

// missing returns why no power can be cut here, "" when it can.
func missing() string {
	if os.Geteuid() != 0 {
		return "it needs root"
	}
	for _, program := range []string{"mount", "mkfs.xfs", "mkfs.ext4"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed (apt packages xfsprogs, e2fsprogs, mount)"
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "there are no loop devices"
	}
	return ""
}

// Enter returns true in a process that has a mount namespace of its own. Called by a test outside, it runs that test again in such a process, takes over its log and its failure, and returns
// false. It skips the test aloud where no power can be cut. It is to be the first call of a test function that is no subtest.
func Enter(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		return true
	}
	if why := missing(); why != "" {
		t.Skip("SKIPPED: no power is cut: " + why)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{"-test.run=^" + t.Name() + "$", "-test.v"}
	if end, ok := t.Deadline(); ok {
		argv = append(argv, "-test.timeout="+max(time.Second, time.Until(end)-5*time.Second).String())
	}
	if testing.Short() {
		argv = append(argv, "-test.short")
	}
	cmd := exec.Command(exe, argv...)
	cmd.Env = append(os.Environ(), insideEnv+"="+t.Name())
	// The copy of the machine's mounts is private (the syscall package sees to that), and goes with the process, as the process goes with this one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	skipped := false
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		if i := strings.Index(line, "FIGURE\t"); i >= 0 {
			t.Log(line[i:])
			continue
		}
		if strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") || line == "PASS" || line == "" {
			continue
		}
		skipped = skipped || strings.Contains(line, "SKIPPED: ")
		t.Log(line)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("the test failed in its own mount namespace: %v", err)
	case err != nil:
		t.Skipf("SKIPPED: no power is cut: a mount namespace cannot be made here: %v", err)
	case skipped:
		t.Skip("SKIPPED: no power is cut, for the reason above")
	}
	return false
}

// Rig is what disks lie on: memory, and in it a file system that clones files. It is taken down when the test ends.
type Rig struct {
	t    testing.TB
	ram  string // a tmpfs
	disk string // the cloning file system in it
	n    int
}

// NewRig builds one. It needs a test that is inside, see Enter; it skips the test aloud where the kernel has no such file system.
func NewRig(t testing.TB) *Rig {
	t.Helper()
	if os.Getenv(insideEnv) == "" {
		t.Fatal("powercut: Enter comes first: nothing is mounted where others see it")
	}
	r := &Rig{t: t, ram: filepath.Join(t.TempDir(), "ram")}
	r.disk = filepath.Join(r.ram, "outer")
	mkdir(t, r.ram)
	r.mount("-t", "tmpfs", "-o", "size=4g,mode=0700", "powercut", r.ram)
	image := filepath.Join(r.ram, "outer.img")
	sparse(t, image, 8<<30)
	r.run("mkfs.xfs", "-q", "-m", "reflink=1", image)
	mkdir(t, r.disk)
	if out, err := exec.Command("mount", "-o", "loop", image, r.disk).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no power is cut: %v: %s", err, bytes.TrimSpace(out))
	}
	t.Cleanup(func() { unmount(t, r.disk) })
	return r
}

// World returns a new directory that no cut reaches: where effects on the world outside of the disks are noted.
func (r *Rig) World() string {
	r.n++
	dir := filepath.Join(r.ram, fmt.Sprint("world", r.n))
	mkdir(r.t, dir)
	return dir
}

// Disk is a file system whose power can be cut.
type Disk struct {
	Dir   string // where it is mounted
	rig   *Rig
	kind  string
	image string
}

// Disk makes one: "ext4" (a journal commit each second), "ext4-5s" (the kernel's default), or "xfs".
func (r *Rig) Disk(kind string) *Disk {
	r.t.Helper()
	r.n++
	d := &Disk{rig: r, kind: kind, Dir: filepath.Join(r.ram, fmt.Sprint(kind, r.n)), image: filepath.Join(r.disk, fmt.Sprint(kind, r.n, ".img"))}
	sparse(r.t, d.image, 384<<20)
	if kind == "xfs" {
		r.run("mkfs.xfs", "-q", d.image)
	} else {
		r.run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	}
	mkdir(r.t, d.Dir)
	r.mount("-o", d.options(), d.image, d.Dir)
	r.t.Cleanup(func() { unmount(r.t, d.Dir) })
	return d
}

func (d *Disk) options() string {
	switch d.kind {
	case "xfs":
		return "loop,nouuid" // clones have the id of what they were cloned from
	case "ext4-5s":
		return "loop"
	}
	return "loop,commit=1"
}

// Cut is what a disk held in one instant.
type Cut struct {
	Acked []string // what had been acknowledged before it
	disk  *Disk
	image string
}

// Cut cuts the power now. What w acknowledged before is in Acked; w itself notices nothing. before, if any, is called with the same duty: what it sees happened before the cut.
func (d *Disk) Cut(w *Writer, before ...func()) *Cut {
	d.rig.t.Helper()
	d.rig.n++
	c := &Cut{disk: d, image: filepath.Join(d.rig.disk, fmt.Sprint("cut", d.rig.n, ".img"))}
	c.Acked = w.Acked()
	for _, f := range before {
		f()
	}
	if err := clone(d.image, c.image); err != nil {
		d.rig.t.Fatalf("powercut: cloning the image: %v", err)
	}
	return c
}

// Inspect starts the machine again: it mounts what the cut left, calls check with the directory that stands for Disk.Dir, and throws everything away.
func (c *Cut) Inspect(check func(dir string)) {
	t := c.disk.rig.t
	t.Helper()
	dir := c.image + ".mnt"
	dir = filepath.Join(c.disk.rig.ram, filepath.Base(dir))
	mkdir(t, dir)
	c.disk.rig.mount("-o", c.disk.options(), c.image, dir)
	defer func() {
		unmount(t, dir)
		if err := errors.Join(os.Remove(dir), os.Remove(c.image)); err != nil {
			t.Error(err)
		}
	}()
	check(dir)
}

func clone(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, _, no := syscall.Syscall(syscall.SYS_IOCTL, dst.Fd(), ficlone, src.Fd()); no != 0 {
		return errors.Join(no, dst.Close())
	}
	return dst.Close()
}

// Writer is a process that writes and acknowledges.
type Writer struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan struct{}

	mu    sync.Mutex
	some  *sync.Cond
	acked []string
	ended bool
	said  bytes.Buffer // the beginning of its standard error
}

// stderr takes what a Writer says on its standard error.
type stderr struct{ w *Writer }

func (e stderr) Write(b []byte) (int, error) {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if e.w.said.Len() < 64<<10 {
		e.w.said.Write(b) //nolint:errcheck // a buffer never fails
	}
	return os.Stderr.Write(b)
}

// Said returns the beginning of what the process said on its standard error; all of it is there once Kill returned.
func (w *Writer) Said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said.String()
}

// Start runs the test function that calls it in a process of its own, in which Role returns role and Args args, until Kill or the end of the test. Its standard input stays open.
func Start(t *testing.T, role string, args ...string) *Writer {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	w := &Writer{cmd: exec.Command(exe, "-test.run=^"+name+"$"), done: make(chan struct{})}
	w.some = sync.NewCond(&w.mu)
	w.cmd.Env = append(os.Environ(), roleEnv+"="+role, argsEnv+"="+strings.Join(args, "\x1f"))
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.cmd.Stderr, w.cmd.WaitDelay = stderr{w}, time.Second
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.done)
		for s := bufio.NewScanner(out); s.Scan(); {
			line, ok := strings.CutPrefix(s.Text(), "ack ")
			if !ok {
				fmt.Fprintln(os.Stderr, "writer:", s.Text())
				continue
			}
			w.mu.Lock()
			w.acked = append(w.acked, line)
			w.mu.Unlock()
			w.some.Broadcast()
		}
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		w.some.Broadcast()
	}()
	t.Cleanup(w.Kill)
	return w
}

// Acked returns what was acknowledged until now, in its order. It is not to be changed.
func (w *Writer) Acked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked[:len(w.acked):len(w.acked)]
}

// Await returns when n things were acknowledged, false when the process ended before.
func (w *Writer) Await(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.acked) < n && !w.ended {
		w.some.Wait()
	}
	return len(w.acked) >= n
}

// Tell writes a line to the process's standard input. It may have ended.
func (w *Writer) Tell(line string) {
	io.WriteString(w.in, line+"\n") //nolint:errcheck // Await tells
}

// Pid returns the process's id.
func (w *Writer) Pid() int { return w.cmd.Process.Pid }

// Rest stops the process until the returned function is called, so that it does not outrun what is looked at.
func (w *Writer) Rest() (wake func()) {
	w.cmd.Process.Signal(syscall.SIGSTOP) //nolint:errcheck // gone is fine
	return func() {
		w.cmd.Process.Signal(syscall.SIGCONT) //nolint:errcheck // likewise
	}
}

// Kill ends the process.
func (w *Writer) Kill() {
	w.cmd.Process.Kill() //nolint:errcheck // gone is fine
	<-w.done
	w.cmd.Wait() //nolint:errcheck // it was killed
}

func (r *Rig) run(name string, args ...string) {
	r.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		r.t.Fatalf("powercut: %s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// mount mounts onto the last argument, whose directory must be new and empty.
func (r *Rig) mount(args ...string) {
	r.t.Helper()
	at := args[len(args)-1]
	if list, err := os.ReadDir(at); err != nil || len(list) > 0 {
		r.t.Fatalf("powercut: %s is no empty directory: %v", at, err)
	}
	r.run("mount", args...)
	if at == r.ram {
		r.t.Cleanup(func() { unmount(r.t, at) })
	}
}

func unmount(t testing.TB, at string) {
	t.Helper()
	var err error
	for range 200 {
		if err = syscall.Unmount(at, 0); err != syscall.EBUSY {
			break
		}
		time.Sleep(10 * time.Millisecond) // whoever was killed there is just being taken apart
	}
	if err != nil {
		syscall.Unmount(at, syscall.MNT_DETACH) //nolint:errcheck // the namespace's end does the rest
		t.Errorf("powercut: %s is still in use: %v", at, err)
	}
}

func mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func sparse(t testing.TB, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
