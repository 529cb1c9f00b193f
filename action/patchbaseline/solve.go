package patchbaseline

import (
	"context"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/patch"
)

// refusal is why steps cannot be done together; the zero value says that they can.
type refusal struct {
	reason string // for a person
	text   string // everything that was said: the steps that it names are likely to be the ones in the way
}

// ask asks a package manager whether steps can be done together, without doing anything.
type ask func(context.Context, []patch.Step) (refusal, error)

// solve returns as many of the steps as can be done together, with the reasons of the others in why. What the package manager names as being in the way is taken out first; where that does not help the
// steps are halved.
func solve(ctx context.Context, steps []patch.Step, why map[patch.Key]string, can ask) ([]patch.Step, error) {
	if len(steps) == 0 {
		return nil, nil
	}
	no, err := can(ctx, steps)
	switch {
	case err != nil:
		return nil, err
	case no.reason == "":
		return steps, nil
	case len(steps) == 1:
		why[steps[0].Key] = no.reason
		return nil, nil
	}
	var named, rest []patch.Step
	for _, s := range steps {
		if names(no.text, s) {
			named = append(named, s)
		} else {
			rest = append(rest, s)
		}
	}
	if len(named) > 0 && len(rest) > 0 && len(named) <= 8 {
		if no, err = can(ctx, rest); err != nil {
			return nil, err
		}
		if no.reason == "" {
			for _, s := range named {
				if rest, err = join(ctx, rest, []patch.Step{s}, why, can); err != nil {
					return nil, err
				}
			}
			return rest, nil
		}
	}
	half := len(steps) / 2
	left, err := solve(ctx, steps[:half], why, can)
	if err != nil {
		return nil, err
	}
	right, err := solve(ctx, steps[half:], why, can)
	if err != nil {
		return nil, err
	}
	return join(ctx, left, right, why, can)
}

// join adds to good as many of more, which can be done among themselves, as can be done together with it.
func join(ctx context.Context, good, more []patch.Step, why map[patch.Key]string, can ask) ([]patch.Step, error) {
	both := append(slices.Clone(good), more...)
	if len(more) == 0 {
		return both, nil
	}
	no, err := can(ctx, both)
	switch {
	case err != nil:
		return nil, err
	case no.reason == "":
		return both, nil
	case len(more) == 1:
		why[more[0].Key] = no.reason
		return good, nil
	}
	half := len(more) / 2
	if good, err = join(ctx, good, more[:half], why, can); err != nil {
		return nil, err
	}
	return join(ctx, good, more[half:], why, can)
}

// names tells whether what a package manager said names the package of a step: "name : Depends: …" is apt's way, "name-version-release.arch" that of rpm.
func names(text string, s patch.Step) bool {
	for _, form := range []string{s.Name + " : ", s.Name + ":" + s.Arch + " : ", s.Name + "-" + s.To + ".", s.Name + "-" + s.To[strings.IndexByte(s.To, ':')+1:] + "."} {
		for rest := text; ; {
			at := strings.Index(rest, form)
			if at < 0 {
				break
			}
			if at == 0 || strings.IndexByte(" \t\n", rest[at-1]) >= 0 {
				return true
			}
			rest = rest[at+1:]
		}
	}
	return false
}
