package main

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// The exit codes of exec when the program could not be started, as shells have them.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

func execFlags(fs *flag.FlagSet) {
	fs.Bool("pristine", false, "give the program nothing of this environment, only the parameters")
	fs.Bool("one-level", false, "only parameters directly below the paths")
	fs.String("label", "", "the versions that have this label, instead of the newest")
}

func (a *app) exec(ctx context.Context, p *parsed) error {
	switch {
	case p.rest == nil:
		return bad("put the program behind --, as in params exec /web -- ./server")
	case len(p.rest) == 0 || p.rest[0] == "":
		return bad("there is no program behind --")
	case len(p.args) == 0:
		return bad("PATH is missing: it stands before --")
	}
	program, err := exec.LookPath(p.rest[0])
	if err != nil {
		a.note("%v", err)
		if errors.Is(err, fs.ErrPermission) {
			return exit(exitCannotRun)
		}
		return exit(exitNotFound)
	}
	vars := map[string]string{}
	err = a.with(ctx, func(w *world) error { return a.variables(w, p, vars) })
	if err != nil {
		return err
	}
	env := []string{}
	if !p.on("pristine") {
		for _, e := range a.environ() {
			name, _, _ := strings.Cut(e, "=")
			if _, set := vars[name]; !set && !strings.HasPrefix(name, "PARAMS_") {
				env = append(env, e)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		env = append(env, name+"="+vars[name])
	}
	// The store is closed: it is free for others, and nothing of it comes to the program.
	err = a.become(ctx, program, p.rest, env)
	if e := exit(0); err == nil || errors.As(err, &e) {
		return err
	}
	a.note("%s cannot be run: %v", program, err)
	return exit(exitCannotRun)
}

// variables reads the parameters below the paths. Of two paths the later wins, aloud; within a path two parameters of one name are refused, as nobody could say which is meant.
func (a *app) variables(w *world, p *parsed, vars map[string]string) error {
	from := map[string]string{}
	for _, path := range p.args {
		req := parameter.GetParametersByPathRequest{Path: path, Recursive: !p.on("one-level"), WithDecryption: true}
		if l := p.str("label"); l != "" {
			req.ParameterFilters = []parameter.ParameterStringFilter{{Key: "Label", Values: []string{l}}}
		}
		here := map[string]string{}
		for got, err := range parameter.ByPath(w.ctx, w, req) {
			if err != nil {
				return err
			}
			name := variable(got.Name)
			if other, taken := here[name]; taken {
				return bad("%s and %s would both be %s: name a path further down, or use -one-level", fault.Clean(other), fault.Clean(got.Name), name)
			}
			value := got.Value.Reveal()
			if strings.ContainsRune(value, 0) {
				return tell(fault.Validation, "%s has a zero byte, which no environment variable can have", fault.Clean(got.Name))
			}
			here[name] = got.Name
			if other, taken := from[name]; taken {
				a.note("%s: %s instead of %s", name, fault.Clean(got.Name), fault.Clean(other))
			}
			from[name], vars[name] = got.Name, value
		}
		if len(here) == 0 {
			return tell(parameter.CodeNotFound, "there are no parameters below %s: the program was not started", fault.Clean(path))
		}
	}
	return nil
}

// variable is the environment variable of a parameter: the last element of its path in upper case, with an underline for a dash and a dot.
func variable(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}
