package action

import (
	"context"
	"io"
	"os"
	"time"
)

// Spawner is the seam through which actions start processes. It is safe for concurrent use. [System] is the real one; [SpawnerFunc] makes one for tests.
//
// Spawn starts p in a session and process group of its own, with standard input empty, and blocks until it ended and its output was copied. When ctx ends it
// stops the whole group and session: first SIGTERM, after p.Grace SIGKILL, and then returns with Exit.Killed. An error means that nothing was started; p.Started was not called then.
type Spawner interface {
	Spawn(ctx context.Context, p *Process) (Exit, error)
}

// SpawnerFunc is a function as a Spawner.
type SpawnerFunc func(ctx context.Context, p *Process) (Exit, error)

// Spawn implements Spawner.
func (f SpawnerFunc) Spawn(ctx context.Context, p *Process) (Exit, error) { return f(ctx, p) }

// Process describes a process to start. The environment is exactly Env: nothing is inherited.
type Process struct {
	Path           string   // of the program, absolute
	Args           []string // from argv[0]
	Dir            string
	Env            []string
	Stdout, Stderr io.Writer
	Files          []*os.File    // become file descriptors 3 and up
	User           *User         // nil: the agent's own
	Limits         Limits        // by cgroup where there are any
	Grace          time.Duration // between SIGTERM and SIGKILL; 0 is DefaultGrace
	// Linger is how long to wait, after the process ended, for the end of output that a process it left in the background may still write; 0 is
	// DefaultLinger. Such processes live on, without an output.
	Linger  time.Duration
	Started func(Child) // called once, right after the start; may be nil
}

// The defaults of a Process.
const (
	DefaultGrace  = 5 * time.Second
	DefaultLinger = 2 * time.Second
)

// User is who a process runs as.
type User struct {
	Name     string
	UID, GID uint32
	Groups   []uint32
	Home     string
}

// Limits bound the resources of a process and all its children. Zero fields are no limit.
type Limits struct {
	Memory int64   // bytes
	CPU    float64 // processors, such as 0.5
	PIDs   int     // processes and threads
}

// IsZero reports whether nothing is limited.
func (l Limits) IsZero() bool { return l == Limits{} }

// Child is what identifies a started process for as long as the machine is up: ids are used again, but not with the same start time.
type Child struct {
	PID   int    `json:"pid"`   // also its process group and session
	Start uint64 `json:"start"` // in clock ticks since the machine started, 0 where the platform does not tell
}

// Exit says how a process ended.
type Exit struct {
	Code   int    // its exit code, or 128 and the signal's number
	Signal string // the signal's name when one ended it
	Killed bool   // Spawn stopped it because the context ended
	OOM    bool   // it ended because of Limits.Memory
}
