// Command mutants plants bugs in fleetwright, one at a time, and sees whether the test that is there for it fails: a check that was never seen failing proves nothing.
//
//	go run ./tools/mutants               # all of them
//	go run ./tools/mutants -run journal  # those whose name matches
//	go run ./tools/mutants -check        # only whether each patch still applies
//
// A bug is a file in tools/mutants/bugs: a unified diff below lines that say what it is and which tests must catch it.
//
//	What: the agent starts the step before its journal has it
//	Rule: R-07
//	Tests: ./agent TestKill|TestJournal
//
// A line "Survives: why" is for a bug that no test can see, and says why that is right. The work tree is not touched: the changed file is handed to the compiler as
// an overlay. The program ends with 1 when a bug survives that should not, or the other way round, or when its tests fail without it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	run := flag.String("run", "", "only the bugs whose name matches this `regexp`")
	check := flag.Bool("check", false, "only see whether each patch still applies")
	verbose := flag.Bool("v", false, "print what the tests said")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := work(ctx, *run, *check, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func work(ctx context.Context, run string, check, verbose bool) error {
	only, err := regexp.Compile(run)
	if err != nil {
		return err
	}
	root, err := repository(ctx)
	if err != nil {
		return err
	}
	bugs, err := read(filepath.Join(root, "tools/mutants/bugs"), only)
	if err != nil {
		return err
	}
	if len(bugs) == 0 {
		return errors.New("no bug has such a name")
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	defer out.Flush()
	l := lab{root: root, sound: map[string]error{}}
	caught, survived, bad := 0, 0, 0
	for _, b := range bugs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		begin := time.Now()
		v := l.try(ctx, b, check)
		switch {
		case v.err != nil:
			bad++
		case v.caught:
			caught++
		case !check:
			survived++
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%.1fs\t%s\n", b.name, v.word(b, check), b.rule, time.Since(begin).Seconds(), b.what)
		out.Flush()
		if verbose || v.err != nil && v.log != "" {
			fmt.Println(indent(v.log))
		}
		if !check && v.err == nil && v.caught == (b.survives != "") {
			bad++
		}
	}
	if check {
		if bad > 0 {
			return fmt.Errorf("%d of %d patches do not apply", bad, len(bugs))
		}
		fmt.Printf("%d patches apply\n", len(bugs))
		return nil
	}
	fmt.Printf("FIGURE\tplanted bugs\t%d\t%d\n%d caught, %d survived", len(bugs), bad, caught, survived)
	fmt.Println()
	if bad > 0 {
		return fmt.Errorf("%d of %d are not as they should be", bad, len(bugs))
	}
	return nil
}

// repository returns the folder of the module that this program belongs to.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOWORK").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOWORK: %w", err)
	}
	path := strings.TrimSpace(string(out))
	if path == "" || path == "off" {
		return "", errors.New("run it in fleetwright's repository, with its go.work")
	}
	return filepath.Dir(path), nil
}

// verdict is what came of a bug.
type verdict struct {
	caught bool
	log    string
	err    error // the bug could not be judged
}

func (v verdict) word(b bug, check bool) string {
	switch {
	case v.err != nil:
		return "ERROR: " + v.err.Error()
	case check:
		return "applies"
	case v.caught && b.survives != "":
		return "CAUGHT, but is said to survive"
	case v.caught:
		return "caught"
	case b.survives != "":
		return "survives, as explained"
	default:
		return "SURVIVED"
	}
}

// lab runs tests, with bugs and without.
type lab struct {
	root  string
	sound map[string]error // whether tests pass without a bug, by package and names
}

func (l *lab) try(ctx context.Context, b bug, check bool) verdict {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return verdict{err: err}
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is in the temporary folder
	overlay, err := l.plant(ctx, b, dir)
	if err != nil || check {
		return verdict{err: err}
	}
	for _, t := range b.tests {
		if _, ok := l.sound[t.String()]; !ok {
			log, err := l.test(ctx, t, "")
			if err != nil {
				err = fmt.Errorf("%s fails without any bug: %w\n%s", t, err, indent(log))
			}
			l.sound[t.String()] = err
		}
		if err := l.sound[t.String()]; err != nil {
			return verdict{err: err}
		}
		log, err := l.test(ctx, t, overlay)
		switch {
		case ctx.Err() != nil:
			return verdict{err: ctx.Err()}
		case strings.Contains(log, "[build failed]") || strings.Contains(log, "[setup failed]"):
			return verdict{err: errors.New("it does not build"), log: log}
		case strings.Contains(log, "no tests to run"):
			return verdict{err: fmt.Errorf("no test of %s matches %s", t.pkg, t.run), log: log}
		case err != nil:
			return verdict{caught: true, log: log}
		}
	}
	return verdict{}
}

// plant writes the changed files to dir and returns the overlay that puts them in their place.
func (l *lab) plant(ctx context.Context, b bug, dir string) (string, error) {
	replace := map[string]string{}
	for _, f := range b.files {
		data, err := os.ReadFile(filepath.Join(l.root, f))
		if err != nil {
			return "", err
		}
		to := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(l.root, f)] = to
	}
	cmd := exec.CommandContext(ctx, "git", "apply", "-C1", "--recount", "-")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(b.patch)
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the patch does not apply: %s", bytes.TrimSpace(out))
	}
	path := filepath.Join(dir, "overlay.json")
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, data, 0o644)
}

// test runs tests of a package, with the overlay unless it is "".
func (l *lab) test(ctx context.Context, t tests, overlay string) (string, error) {
	args := []string{"test", "-timeout", "4m", "-run", t.run}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, t.pkg)...)
	cmd.Dir = l.root
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}
