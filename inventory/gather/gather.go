package gather

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/message"
)

// The defaults of a Config.
const (
	DefaultTimeout  = time.Minute
	DefaultAtOnce   = 4
	maxProgramBytes = 64 << 20
)

// Runner runs a program of the system without input and returns what it wrote to standard output. An error that wraps fs.ErrNotExist or exec.ErrNotFound says that
// there is no such program. It is called by several goroutines at once.
type Runner func(ctx context.Context, program string, args ...string) ([]byte, error)

// Interface is a network interface.
type Interface struct {
	Name     string
	MAC      string
	Loopback bool
	Addrs    []net.IPNet
}

// Config says what is gathered from. The zero Config is this machine.
type Config struct {
	Root     string // of the filesystem; empty is /
	Platform string // Linux, Windows or MacOS; empty is this machine's
	Node     string // its id
	Facts    message.Facts
	// Run runs programs; nil is Exec.
	Run Runner
	// Interfaces lists network interfaces; nil asks the system.
	Interfaces func() ([]Interface, error)
	// PowerShell runs a script and returns its output in UTF-8; nil runs powershell with Run. Only asked for on Windows.
	PowerShell func(ctx context.Context, script string) ([]byte, error)
	// Billing returns the billing products of the machine; nil has none. See IdentityBilling.
	Billing func(ctx context.Context) ([]string, error)
	// Getenv expands variables in the paths of file filters; nil is os.Getenv.
	Getenv func(string) string
	// CustomDir is where custom inventory lies unless the plan says otherwise.
	CustomDir string
	// KeepRemoved lists packages of dpkg that were removed but not purged, as AWS's agent does (V5).
	KeepRemoved bool
	// More are the host's own gatherers. They run with every plan.
	More    []Source
	Timeout time.Duration // of each gatherer; 0 is DefaultTimeout
	AtOnce  int           // gatherers at the same time; 0 is DefaultAtOnce
	Limits  *inventory.Limits
	Zone    *time.Location   // of the times of AWS:File; nil is the local one, as AWS has it (V7)
	Now     func() time.Time // nil is time.Now
	Log     *slog.Logger     // nil logs nothing
}

// Source is a gatherer of the host's own. Gather must end soon after ctx does.
type Source struct {
	TypeName string
	Gather   func(ctx context.Context) ([]inventory.Entry, error)
}

// Plan says what to gather. Types that the platform does not have are skipped silently, as AWS's agent does.
type Plan struct {
	Applications, AWSComponents, Network, Services                        bool
	InstanceInformation, InstanceDetailedInformation, BillingInfo, Custom bool
	WindowsUpdates, WindowsRoles                                          bool
	Files                                                                 []FileFilter
	Registry                                                              []RegistryFilter
	CustomDir                                                             string // empty is the Config's
}

// Failure is a type that could not be gathered, or a part of it that was left out.
type Failure struct {
	TypeName string
	Err      error
	Partial  bool // the type was gathered nevertheless
}

// Found is what a Gather found.
type Found struct {
	Items    []inventory.Item // by type name; each complete, or not there
	Failures []Failure        // by type name
}

// Err returns the failures by which whole types are missing, joined, or nil.
func (f Found) Err() error {
	var errs []error
	for _, x := range f.Failures {
		if !x.Partial {
			errs = append(errs, x.Err)
		}
	}
	return errors.Join(errs...)
}

// Gatherer gathers. It is safe for concurrent use.
type Gatherer struct{ c Config }

// New returns a Gatherer.
func New(c Config) *Gatherer {
	c.Root = cmp.Or(c.Root, "/")
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	if c.AtOnce <= 0 {
		c.AtOnce = DefaultAtOnce
	}
	if c.Platform == "" {
		c.Platform = map[string]string{"windows": "Windows", "darwin": "MacOS"}[runtime.GOOS]
		c.Platform = cmp.Or(c.Platform, "Linux")
	}
	if c.Run == nil {
		c.Run = Exec
	}
	if c.Interfaces == nil {
		c.Interfaces = systemInterfaces
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Zone == nil {
		c.Zone = time.Local
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.PowerShell == nil {
		run := c.Run
		c.PowerShell = func(ctx context.Context, script string) ([]byte, error) {
			return run(ctx, "powershell", "-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted", "-Command", script)
		}
	}
	c.More = slices.Clone(c.More)
	return &Gatherer{c}
}

// task is one gatherer of a plan. It returns items of one type or, for custom inventory, of several, and what it left out.
type task struct {
	name string
	run  func(ctx context.Context) (items []inventory.Item, partial []Failure, err error)
}

// Gather gathers what the plan says. It returns when every gatherer has ended or its time is over; a failure of one leaves the others alone.
func (g *Gatherer) Gather(ctx context.Context, p Plan) Found {
	tasks := g.tasks(p)
	results := make([]Found, len(tasks))
	slots := make(chan struct{}, g.c.AtOnce)
	var wg sync.WaitGroup
	for i, t := range tasks {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			results[i] = g.one(ctx, t)
		})
	}
	wg.Wait()
	var all Found
	for _, r := range results {
		all.Items = append(all.Items, r.Items...)
		all.Failures = append(all.Failures, r.Failures...)
	}
	slices.SortStableFunc(all.Items, func(a, b inventory.Item) int { return cmp.Compare(a.TypeName, b.TypeName) })
	slices.SortStableFunc(all.Failures, func(a, b Failure) int { return cmp.Compare(a.TypeName, b.TypeName) })
	return all
}

func (g *Gatherer) one(ctx context.Context, t task) (f Found) {
	ctx, cancel := context.WithTimeoutCause(ctx, g.c.Timeout, fault.New("gather.Gather", fault.RequestCanceled, "gathering %s took longer than %v", fault.Clean(t.name), g.c.Timeout))
	defer cancel()
	fail := func(err error) Found {
		if c := context.Cause(ctx); c != nil {
			err = c
		}
		err = &fault.Error{Op: "gather.Gather", Code: fault.CodeOf(err), ID: t.name, Err: err}
		g.c.Log.Warn("inventory was not gathered", "type", t.name, "error", err)
		return Found{Failures: []Failure{{TypeName: t.name, Err: err}}}
	}
	defer func() {
		if p := recover(); p != nil {
			f = fail(errors.New("the gatherer broke down (panic)"))
		}
	}()
	items, partial, err := t.run(ctx)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fail(err)
	}
	for _, it := range items {
		if err := g.c.Limits.ValidateItem(it); err != nil {
			return fail(err)
		}
	}
	for _, x := range partial {
		g.c.Log.Warn("a part of the inventory was left out", "type", x.TypeName, "error", x.Err)
	}
	return Found{Items: items, Failures: partial}
}

// tasks returns the gatherers of a plan that the platform has.
func (g *Gatherer) tasks(p Plan) []task {
	var out []task
	add := func(on bool, name string, gather func(context.Context) ([]inventory.Entry, error)) {
		if on {
			out = append(out, task{name, func(ctx context.Context) ([]inventory.Item, []Failure, error) {
				content, err := gather(ctx)
				if err != nil {
					return nil, nil, err
				}
				slices.SortFunc(content, inventory.Entry.Compare)
				return []inventory.Item{inventory.NewItem(name, g.c.Now(), content)}, nil, nil
			}})
		}
	}
	windows := g.c.Platform == "Windows"
	apps := g.applications()
	add(p.Applications, inventory.Application, apps)
	add(p.AWSComponents, inventory.AWSComponent, func(ctx context.Context) ([]inventory.Entry, error) {
		all, err := apps(ctx)
		return components(all), err
	})
	add(p.Network, inventory.Network, g.network)
	add(p.Services && (windows || g.c.Platform == "Linux"), inventory.Service, g.services)
	add(p.InstanceInformation, inventory.InstanceInformation, g.instance)
	add(p.InstanceDetailedInformation, inventory.InstanceDetailedInformation, g.detailed)
	add(p.BillingInfo && g.c.Billing != nil, inventory.BillingInfo, g.billing)
	add(p.WindowsUpdates && windows, inventory.WindowsUpdate, g.updates)
	add(p.WindowsRoles && windows, inventory.WindowsRole, g.roles)
	add(len(p.Registry) > 0 && windows, inventory.WindowsRegistry, func(ctx context.Context) ([]inventory.Entry, error) { return g.registry(ctx, p.Registry) })
	if len(p.Files) > 0 {
		out = append(out, task{inventory.File, func(ctx context.Context) ([]inventory.Item, []Failure, error) { return g.files(ctx, p.Files) }})
	}
	if p.Custom {
		out = append(out, task{"Custom", func(ctx context.Context) ([]inventory.Item, []Failure, error) {
			return g.custom(ctx, cmp.Or(p.CustomDir, g.c.CustomDir))
		}})
	}
	for _, s := range g.c.More {
		add(s.Gather != nil, s.TypeName, s.Gather)
	}
	return out
}

// path returns where a path of the gathered machine is. One with a volume, as Windows has them, is where it says.
func (g *Gatherer) path(elem ...string) string {
	if filepath.VolumeName(elem[0]) != "" {
		return filepath.Join(elem...)
	}
	return filepath.Join(append([]string{g.c.Root}, elem...)...)
}

// here reports whether the machine that is gathered is the one that runs.
func (g *Gatherer) here() bool { return filepath.Clean(g.c.Root) == string(filepath.Separator) }
