//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// options are the flags of the whole.
type options struct {
	postgres, nats, conf string
	nodes, rounds        int
	seed                 uint64
	lease, pace          time.Duration
	keep                 bool
	run                  string // names this run in tokens
	patience             time.Duration
}

func showFlags(args []string) (*options, error) {
	o := &options{patience: time.Minute}
	fs := flag.NewFlagSet("ha", flag.ContinueOnError)
	fs.StringVar(&o.postgres, "postgres", "", "`URL` of a PostgreSQL to use, in a schema of its own, instead of one that is started; a password belongs into $FLEETWRIGHT_POSTGRES")
	fs.StringVar(&o.nats, "nats", "", "`URLs` of NATS servers to use instead of one that is started, which include the nats.conf of -conf; off is none")
	fs.StringVar(&o.conf, "conf", "", "`directory` that init made, instead of a fresh one")
	fs.IntVar(&o.nodes, "nodes", 12, "how many agents, 2 to 200: half over HTTPS, half by NATS")
	fs.IntVar(&o.rounds, "rounds", 1, "how often everything is broken; 0 breaks nothing")
	fs.Uint64Var(&o.seed, "seed", 0, "of what is chosen at random; 0 takes one")
	fs.DurationVar(&o.lease, "lease", 3*time.Second, "how long a control plane must be silent to be taken for dead, 500ms at least")
	fs.DurationVar(&o.pace, "pace", 400*time.Millisecond, "how often a command is sent")
	fs.BoolVar(&o.keep, "keep", false, "leave everything running after that, to be broken by hand, until Ctrl-C")
	if err := parse(fs, args); err != nil {
		return nil, err
	}
	switch {
	case o.nodes < 2 || o.nodes > 200:
		return nil, usage("-nodes %d: 2 to 200", o.nodes)
	case o.rounds < 0:
		return nil, usage("-rounds %d cannot be negative", o.rounds)
	case o.rounds == 0 && !o.keep:
		return nil, usage("-rounds 0 belongs to -keep: nothing would happen")
	case o.lease < 500*time.Millisecond:
		return nil, usage("-lease %v: 500ms at least", o.lease)
	case o.nats != "" && o.nats != "off" && o.conf == "":
		return nil, usage("-nats needs -conf: the servers must know the keys of the control planes (ha init makes a nats.conf for them to include)")
	case o.pace < 10*time.Millisecond:
		return nil, usage("-pace %v: 10ms at least", o.pace)
	case hasPassword(o.postgres) && os.Getenv("FLEETWRIGHT_POSTGRES") != o.postgres:
		return nil, usage("-postgres has a password, which every user of this machine can see: put the URL into FLEETWRIGHT_POSTGRES")
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	o.run = fmt.Sprintf("%d-%d", time.Now().UnixNano(), os.Getpid())
	return o, nil
}

// errVerdict: everything was said; the exit code is 1.
var errVerdict = errors.New("the verdict is bad")

// show starts everything, breaks it, and judges.
func show(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := showFlags(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fleetwright-ha-")
	if err != nil {
		return err
	}
	scr := newScreen(stdout, time.Now)
	h := newHouse(o, dir)
	l := newLoad(h)
	scr.source = func() []string { return table(h, l.now()) }
	scr.line = func() string { return line(h, l.now()) }
	defer func() {
		scr.close()
		keepLogs := err != nil && !errors.Is(err, context.Canceled)
		err = errors.Join(err, h.close())
		if !keepLogs {
			os.RemoveAll(dir) //nolint:errcheck // a temporary directory
		} else {
			fmt.Fprintf(stdout, "\nThe logs are in %s\n", filepath.Join(dir, "logs"))
		}
	}()
	fmt.Fprintf(stdout, "%d control planes, %d nodes, a lease of %v, seed %d, everything in %s\n\n", planeCount, o.nodes, o.lease, o.seed, dir)
	if err := h.open(ctx, scr.say); err != nil {
		return err
	}
	nodes, err := nodeIDs(ctx, h)
	if err != nil {
		return err
	}
	live, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch(live, h, l, scr)
	}()
	defer func() { stop(); <-watched }()
	l.run(ctx)
	a := &acts{h: h, l: l, say: scr.say, rand: rand.New(rand.NewPCG(o.seed, 0)), nodes: nodes}
	for r := range o.rounds {
		if o.rounds > 1 {
			scr.say("round %d of %d", r+1, o.rounds)
		}
		if err := a.round(ctx); err != nil {
			l.stop()
			return err
		}
	}
	bad := false
	if o.rounds > 0 {
		l.end()
		scr.say("nothing more is sent; waiting for what runs")
		if err := l.settle(ctx, o.patience); err != nil {
			scr.say("%v", err)
		}
		v, err := judge(ctx, a)
		if err != nil {
			return err
		}
		scr.pause()
		bad = !v.print(stdout)
		scr.unpause()
	}
	if o.keep {
		scr.pause()
		howTo(stdout, h)
		scr.unpause()
		if o.rounds == 0 {
			revive(ctx, h, scr.say)
			l.end()
		} else {
			revive(ctx, h, scr.say)
		}
		scr.say("stopping")
		return nil
	}
	if bad {
		return errVerdict
	}
	return nil
}

// watch keeps the picture fresh until ctx ends.
func watch(ctx context.Context, h *house, l *load, scr *screen) {
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		h.look(ctx)
		l.follow(ctx)
		scr.refresh()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// revive starts again what was killed by hand, until ctx ends.
func revive(ctx context.Context, h *house, say func(string, ...any)) {
	all := append(append([]*process{}, h.planes...), h.agents...)
	if h.broker != nil {
		all = append(all, h.broker)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
		for _, p := range all {
			if p.is() != ended {
				continue
			}
			say("%s is gone (process %d); it is started again in %s", p.name, p.pid(), secs(2*h.o.lease))
			p.setState(killed)
			time.AfterFunc(2*h.o.lease, func() {
				if ctx.Err() == nil {
					p.start() //nolint:errcheck // it shows as killed
					say("%s is started again: process %d", p.name, p.pid())
				}
			})
		}
	}
}

// howTo says what a person can do.
func howTo(w io.Writer, h *house) {
	fmt.Fprintf(w, "\nEverything runs until Ctrl-C. What dies is started again after %s.\n\n", secs(2*h.o.lease))
	var rows [][]string
	for i, p := range h.planes {
		rows = append(rows, []string{p.name, fmt.Sprint(p.pid()), h.urls[i]})
	}
	if h.broker != nil {
		rows = append(rows, []string{h.broker.name, fmt.Sprint(h.broker.pid()), "NATS"})
	}
	for _, p := range h.agents {
		rows = append(rows, []string{p.name, fmt.Sprint(p.pid()), "agent"})
	}
	for _, l := range aligned(append([][]string{{"PROCESS", "PID", ""}}, rows...)) {
		fmt.Fprintln(w, "  "+l)
	}
	pid, profile := h.planes[0].pid(), filepath.Join(h.dir, h.planes[0].name+".json")
	ctl := "fleetctl"
	if _, err := exec.LookPath(ctl); err != nil {
		ctl = "go run ./examples/fleetctl"
	}
	fmt.Fprintf(w, `
  kill -9 %d                       %s dies; the others go on with its work
  kill -STOP %d; sleep %d; kill -CONT %d
  curl -k %s/readyz
  %s nodes -profile %s
  %s run -profile %s -targets Key=tag:Fleet,Values=ha -- uptime
  tail -f %s/*.log

`, pid, h.planes[0].name, pid, int(3*h.o.lease.Seconds()), pid, h.urls[0], ctl, profile, ctl, profile, filepath.Join(h.dir, "logs"))
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func few(all []string) string {
	if len(all) > 3 {
		return strings.Join(all[:3], ", ") + fmt.Sprintf(" and %d more", len(all)-3)
	}
	return strings.Join(all, ", ")
}
