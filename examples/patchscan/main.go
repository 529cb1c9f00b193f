// Patchscan tells which patches the machine that it runs on lacks, and why, as AWS Patch Manager would: without a control plane, without an agent,
// without root, and without changing anything.
//
//	go run ./examples/patchscan                       what the default baseline of the system demands
//	go run ./examples/patchscan -all                  every installed package, with the reason for its state
//	go run ./examples/patchscan -baseline mine.json   another baseline: AWS's JSON (aws ssm get-patch-baseline), or the name of a predefined one
//	go run ./examples/patchscan -explain openssl      the whole tree of questions and answers about one package, and what would change it
//	go run ./examples/patchscan -at 2026-12-24        the same lists as they will be judged on another day
//	go run ./examples/patchscan -root /srv/chroot     another tree
//	go run ./examples/patchscan -override-list l.yaml what an Install with this InstallOverrideList would bring
//	go run ./examples/patchscan -json                 everything, for scripts
//	go run ./examples/patchscan when CVE-2026-1234    when what mends a CVE, a notice or a package is approved
//	go run ./examples/patchscan diff OLD NEW          how two baselines differ, and with -effect what that does to this machine
//
// It knows Debian, Ubuntu and what descends from them, and systems of dnf and zypper. It reads what the package manager has fetched already (apt's
// lists, the caches of dnf and zypper) and asks rpm for what is installed; it fetches nothing, so refresh first: apt-get update, dnf makecache or
// zypper refresh.
//
// It sees what those files say: no held or locked package changes a verdict, modules of dnf are not known to it, nor metadata that are fetched in the
// zchunk form only or by yum before dnf. Whether something waits for a reboot only an agent knows that installed it.
//
// A scan exits with 0 when the machine is compliant, with 1 when it is not, and with 2 when that could not be found out. "when" exits with 1
// while something is not approved, "diff" when there is a difference.
//
// The table shows what makes the machine non-compliant; -all shows the rest. Newer versions that are on offer but that the baseline does not ask
// for are counted: that is the difference to "apt list --upgradable" and "dnf check-update".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], host{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, now: time.Now, query: query}))
}

const (
	exitCompliant = iota
	exitNot
	exitUnknown
)

// host is what the program has of the world, so that tests can have another.
type host struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
	query          func(ctx context.Context, name string, args ...string) ([]byte, error) // runs a command and returns what it prints
}

// scan is one run of the program.
type scan struct {
	host
	ctx      context.Context
	root     string
	fsys     fs.FS // of root
	baseline string
	at       string
	explain  string
	list     string
	system   string
	all      bool
	json     bool
	effect   bool
	instant  time.Time // of the decision
}

const usage = `usage: patchscan [flags]                        scan this machine
       patchscan when [flags] CVE|NOTICE|PACKAGE  when is it approved
       patchscan diff [flags] BASELINE BASELINE   how do two baselines differ
`

func run(ctx context.Context, args []string, h host) int {
	s := &scan{host: h, ctx: ctx}
	verb := "scan"
	if len(args) > 0 && (args[0] == "when" || args[0] == "diff") {
		verb, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("patchscan", flag.ContinueOnError)
	flags.SetOutput(h.stderr)
	flags.StringVar(&s.root, "root", "/", "`directory` that holds the system to scan")
	flags.StringVar(&s.baseline, "baseline", "", "`file` with a baseline in AWS's JSON (- is the standard input), or the name of a predefined one; default: the one AWS has for the system")
	flags.StringVar(&s.at, "at", "", "`date` of the decision, 2006-01-02 or with a time as RFC 3339; default: now")
	flags.StringVar(&s.explain, "explain", "", "`package` of which to tell why it has its state")
	flags.StringVar(&s.list, "override-list", "", "`file` with an InstallOverrideList: show what an Install with it would bring")
	flags.StringVar(&s.system, "os", "", "operating `system` as AWS names it, where the machine's own name says too little: DEBIAN, ROCKY_LINUX …")
	flags.BoolVar(&s.all, "all", false, "show every package, not only those that demand something")
	flags.BoolVar(&s.json, "json", false, "print one JSON object with everything")
	flags.BoolVar(&s.effect, "effect", false, "with diff: scan the machine with both baselines and show what changes")
	flags.Usage = func() {
		fmt.Fprint(h.stderr, usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitCompliant
	} else if err != nil {
		return exitUnknown
	}
	code, err := s.do(verb, flags.Args())
	if err != nil {
		fmt.Fprintf(h.stderr, "patchscan: %s\n", clean(err))
		return exitUnknown
	}
	return code
}

// do checks the arguments and does what the verb says.
func (s *scan) do(verb string, args []string) (int, error) {
	want := map[string]int{"scan": 0, "when": 1, "diff": 2}[verb]
	switch {
	case verb == "scan" && len(args) > 0:
		return 0, fmt.Errorf("%q is no flag and no command: a scan takes flags only, see patchscan -h", args[0])
	case len(args) != want:
		return 0, fmt.Errorf("%s takes %d arguments, not %d: see patchscan -h", verb, want, len(args))
	case verb != "diff" && s.effect:
		return 0, errors.New("-effect belongs to diff")
	case verb != "scan" && (s.all || s.explain != "" || s.list != ""):
		return 0, fmt.Errorf("-all, -explain and -override-list belong to a scan, not to %s", verb)
	case verb == "diff" && s.baseline != "":
		return 0, errors.New("diff takes its baselines as arguments, not as -baseline")
	case s.root == "":
		return 0, errors.New("-root needs a directory")
	case s.system != "" && patch.OperatingSystem(s.system).Family() == patch.FamilyUnknown:
		return 0, fmt.Errorf("-os %q is none of AWS's: %s", s.system, names(patch.OperatingSystems()))
	}
	s.instant = s.now().UTC()
	if s.at != "" {
		at, err := instant(s.at)
		if err != nil {
			return 0, err
		}
		s.instant = at
	}
	if verb != "diff" || s.effect {
		done, err := s.open()
		if err != nil {
			return 0, err
		}
		defer done()
	}
	switch verb {
	case "when":
		return s.when(args[0])
	case "diff":
		return s.diff(args[0], args[1])
	}
	return s.scan()
}

// scan reads the machine, decides and shows.
func (s *scan) scan() (int, error) {
	var list patch.OverrideList
	if s.list != "" {
		text, err := s.read(s.list)
		if err != nil {
			return 0, err
		}
		if list, err = patch.ParseOverrideList(text); err != nil {
			return 0, fmt.Errorf("%s: %w", s.list, err)
		}
	}
	m, b, err := s.machine(s.baseline)
	if err != nil {
		return 0, err
	}
	res, err := s.evaluate(b, m)
	if err != nil {
		return 0, err
	}
	v := view{scan: s, machine: m, result: res}
	if s.list != "" {
		v.plan = res.Plan(list)
	}
	if s.explain != "" {
		if v.explained, err = m.named(res, s.explain); err != nil {
			return 0, err
		}
	}
	if err := v.show(); err != nil {
		return 0, err
	}
	if res.Compliance != patch.Compliant {
		return exitNot, nil
	}
	return exitCompliant, nil
}

// machine reads the machine and the baseline to judge it by; name is "" for its default one.
func (s *scan) machine(name string) (*machine, *patch.Baseline, error) {
	m, err := s.identify()
	if err != nil {
		return nil, nil, err
	}
	b, err := s.load(name, m.node.OperatingSystem)
	if err != nil {
		return nil, nil, err
	}
	return m, b, s.fill(m, b)
}

// load reads a baseline: a file, or one of those that AWS provides.
func (s *scan) load(name string, os patch.OperatingSystem) (*patch.Baseline, error) {
	if name == "" {
		return patch.PredefinedDefault(os), nil
	}
	text, err := s.read(name)
	if err != nil {
		for _, b := range patch.Predefined() {
			if errors.Is(err, fs.ErrNotExist) && b.Name == name {
				return &b, nil
			}
		}
		return nil, err
	}
	b, err := patch.ParseBaseline(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	named := *b
	if named.Name == "" { // written by hand: nobody else needs to find it
		named.Name = "baseline"
	}
	if err := patch.Validate(&named); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if b.OperatingSystem == "" && os != "" {
		fmt.Fprintf(s.stderr, "patchscan: %s names no OperatingSystem, which stands for WINDOWS\n", fault.Clean(name))
	}
	for _, f := range patch.Lint(b) {
		fmt.Fprintf(s.stderr, "patchscan: %s: %s\n", fault.Clean(name), fault.Clean(f.String()))
	}
	return b, nil
}

func (s *scan) evaluate(b *patch.Baseline, m *machine) (*patch.Result, error) {
	return patch.Evaluate(b, m.node, m.installed, m.available, s.instant)
}

// most is how large a file of the user's may be.
const most = 4 << 20

func (s *scan) read(name string) ([]byte, error) {
	in := s.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("%s is longer than %d bytes", name, most)
	}
	return text, err
}

func instant(text string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("-at %q is no date: write 2006-01-02, or 2006-01-02T15:04:05Z", text)
}

// clean makes an error fit for a terminal: lists and file names are others' words.
func clean(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = fault.Clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

func names(all []patch.OperatingSystem) string {
	out := make([]string, len(all))
	for i, o := range all {
		out[i] = string(o)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
