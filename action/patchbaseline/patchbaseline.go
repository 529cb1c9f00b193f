package patchbaseline

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/download"
	"github.com/fleetwright/fleetwright/patch"
)

// Name is what documents call the action.
const Name = "fleetwright:patchBaseline"

// The operations of the control plane that the action asks for.
const (
	OpSnapshot = "GetDeployablePatchSnapshotForInstance" // patch.Request to patch.Snapshot
	OpReport   = "PutPatchReport"                        // patch.Report
)

// Refresh says when the package manager is told to fetch its metadata anew.
type Refresh uint8

// The choices.
const (
	// RefreshAllowed refreshes when the agent has the right to: as root, and in a tree of its own (Options.Root).
	RefreshAllowed Refresh = iota
	// RefreshNever reads what is there.
	RefreshNever
)

// Options are a host's choices; nil is the zero value, which is this machine.
type Options struct {
	// Root is the root of the tree that is patched; "" is this machine. Another tree is patched by the machine's own tools, pointed at it, or by the tree's with Chroot.
	Root string
	// Chroot runs the tools of the tree inside of it. It needs root.
	Chroot bool
	// State is the file that remembers what was installed since which start of the machine; "" is var/lib/fleetwright/patches.json below Root.
	State string

	// OperatingSystem and Product say what the machine is, where etc/os-release does not say it as baselines do.
	OperatingSystem patch.OperatingSystem
	Product         string

	Refresh Refresh
	// LockWait is how long a package manager that is at work is waited for; 0 is 10 minutes.
	LockWait time.Duration
	// Query bounds each process that only reads, Fetch the one that refreshes metadata, Transaction the one that installs. 0 is 5 minutes, 10 minutes, 90 minutes.
	Query, Fetch, Transaction time.Duration
	// Finish is how long a transaction may go on after the step was stopped; then the package manager is told to end. 0 is 5 minutes.
	Finish time.Duration

	// Guard says which addresses besides public ones an https location of a list may have. Transport makes the requests; nil is one that has the Guard, no proxy and no idle connections.
	Guard     download.Guard
	Transport http.RoundTripper
	// Open reads s3:// locations; nil refuses them. The content is closed by the action.
	Open func(ctx context.Context, location string) (io.ReadCloser, error)

	// Manager makes the package manager of a call; nil finds out: apt, dnf or zypper by the operating system, PowerShell on Windows.
	Manager func(c *action.Call) (Manager, error)

	Now func() time.Time // nil is time.Now
	// BootID returns what changes with each start of the machine, BootTime when that was. nil reads /proc; with a Root, nil means that the tree is none that was started: nothing waits for a reboot
	// then and none is demanded.
	BootID   func() string
	BootTime func() time.Time
}

// Action is fleetwright:patchBaseline. It is safe for concurrent use; runs on one machine come one after another.
type Action struct {
	o    Options
	turn chan struct{}
	http *http.Client
}

// New returns the action.
func New(o *Options) *Action {
	a := &Action{turn: make(chan struct{}, 1)}
	if o != nil {
		a.o = *o
	}
	or := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	or(&a.o.LockWait, 10*time.Minute)
	or(&a.o.Query, 5*time.Minute)
	or(&a.o.Fetch, 10*time.Minute)
	or(&a.o.Transaction, 90*time.Minute)
	or(&a.o.Finish, 5*time.Minute)
	if a.o.Root != "" {
		a.o.Root = filepath.Clean(a.o.Root)
	}
	if a.o.Root == string(filepath.Separator) {
		a.o.Root = ""
	}
	if a.o.Root == "" {
		a.o.Chroot = false
		if a.o.BootID == nil {
			a.o.BootID = bootID
		}
	}
	if a.o.BootTime == nil {
		a.o.BootTime = bootTime
	}
	if a.o.State == "" {
		a.o.State = filepath.Join(a.o.Root, string(filepath.Separator), "var/lib/fleetwright/patches.json")
	}
	if a.o.Now == nil {
		a.o.Now = time.Now
	}
	a.http = a.client()
	return a
}

// Name implements action.Action.
func (*Action) Name() string { return Name }

// bootID returns what the kernel says of this start of the machine; "" where it says nothing.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// bootTime returns when the machine started; zero where the kernel does not say.
func bootTime() time.Time {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(b)) {
		if s, ok := strings.CutPrefix(line, "btime "); ok {
			return unix(strings.TrimSpace(s))
		}
	}
	return time.Time{}
}
