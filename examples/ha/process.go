//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// childVariable tells a copy of this program that its standard input is its parent's hand: when it is let go, the child ends.
const childVariable = "FLEETWRIGHT_HA_CHILD"

// endWithParent ends this process when its parent is gone, however it went.
func endWithParent() {
	if os.Getenv(childVariable) == "" {
		return
	}
	os.Unsetenv(childVariable) //nolint:errcheck // not for scripts
	go func() {
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is what counts
		os.Exit(1)
	}()
}

// process is a copy of this program that plays a part.
type process struct {
	name string
	env  []string
	args []string
	log  string // file

	mu    sync.Mutex
	cmd   *exec.Cmd
	hand  io.Closer
	done  chan struct{}
	state state
}

// state is what was done to a process, as far as its parent knows.
type state string

const (
	running state = "up"
	killed  state = "killed"
	stopped state = "SIGSTOP"
	ended   state = "ended"
)

// start starts it, or starts it again.
func (p *process) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.log), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	c := exec.Command(self, p.args...)
	c.Env = append(append(os.Environ(), childVariable+"=1"), p.env...)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = attr()
	hand, err := c.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.hand, p.done, p.state = c, hand, done, running
	go func() {
		c.Wait() //nolint:errcheck // its log says why
		p.mu.Lock()
		if p.cmd == c && p.state != killed {
			p.state = ended
		}
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

func (p *process) is() state {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// signal sends a signal and remembers what it made of the process.
func (p *process) signal(s syscall.Signal, becomes state) {
	p.mu.Lock()
	p.state = becomes
	c, done := p.cmd, p.done
	p.mu.Unlock()
	c.Process.Signal(s) //nolint:errcheck // it may have ended
	if s == syscall.SIGKILL {
		<-done
	}
}

func (p *process) kill()   { p.signal(syscall.SIGKILL, killed) }
func (p *process) pause()  { p.signal(syscall.SIGSTOP, stopped) }
func (p *process) resume() { p.signal(syscall.SIGCONT, running) }

// end asks it to stop, and kills it if it does not within the patience.
func (p *process) end(patience <-chan time.Time) {
	p.mu.Lock()
	c, done := p.cmd, p.done
	p.mu.Unlock()
	if c == nil {
		return
	}
	c.Process.Signal(syscall.SIGCONT) //nolint:errcheck // it may have ended
	c.Process.Signal(os.Interrupt)    //nolint:errcheck // it may have ended
	select {
	case <-done:
	case <-patience:
		p.kill()
	}
}

func (p *process) setState(s state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
}
