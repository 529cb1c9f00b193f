package main

import (
	"context"
	"flag"
	"strings"

	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
)

func whoFlags(fs *flag.FlagSet) {
	fs.String("by", "", "only what this one did")
	fs.String("since", "", "only what happened since: a time, or how long ago, as 90m or 7d")
	fs.Bool("all", false, "what was changed too, not only what was read")
	fs.Int("n", 50, "so many lines at most; 0 is all")
}

// call is one line of who.
type call struct {
	audit.Entry
	Name   string
	Secret bool // a secret was opened
}

func (a *app) who(ctx context.Context, p *parsed) error {
	args, err := p.arg(0, "NAME or PATH")
	if err != nil {
		return err
	}
	below := ""
	if len(args) == 1 {
		below = "/" + strings.Trim(args[0], "/")
	}
	f := audit.Filter{Principal: p.str("by")}
	if f.After, err = a.instant("since", p.str("since")); err != nil {
		return err
	}
	most := p.num("n")
	if most < 0 {
		return bad("-n is a number of lines")
	}
	return a.with(ctx, func(w *world) error {
		calls := []call{}
		more := false
		for page := (audit.Page{MaxResults: 1000}); ; {
			es, next, err := w.log.List(w.ctx, f, &page)
			if err != nil {
				return err
			}
			for _, e := range es {
				c, ok := asked(e, below, p.on("all"))
				if !ok {
					continue
				}
				if more = most > 0 && len(calls) == most; more {
					break
				}
				calls = append(calls, c)
			}
			if page.NextToken = next; next == "" || more {
				break
			}
		}
		if a.wantsJSON() {
			return a.json(map[string]any{"Calls": calls})
		}
		if len(calls) == 0 {
			a.note("nobody did")
			return nil
		}
		t := a.table("TIME", "WHO", "CALL", "SECRET", "PARAMETER", "VERSION", "RESULT")
		for _, c := range calls {
			opened, result := "", string(c.Outcome)
			if c.Secret {
				opened = "opened"
			}
			if c.Code != "" {
				result = string(c.Code)
			}
			_, action, _ := strings.Cut(c.Action, ":")
			t.row(c.Time, c.Principal, action, opened, c.Name, c.IDs["version"], result)
		}
		if err := t.end(); err != nil {
			return err
		}
		if more {
			a.note("there is more: say -n 0")
		}
		return nil
	})
}

// asked makes a line of an entry, if it is one of those that were asked for.
func asked(e audit.Entry, below string, all bool) (call, bool) {
	name, ok := strings.CutPrefix(e.Resource, "parameter")
	if !ok || below != "" && below != "/" && name != below && !strings.HasPrefix(name, strings.TrimSuffix(below, "/")+"/") {
		return call{}, false
	}
	_, action, _ := strings.Cut(e.Action, ":")
	if !all && !strings.HasPrefix(action, "Get") {
		return call{}, false
	}
	return call{e, name, e.IDs["decrypted"] == "true"}, true
}

func (a *app) verify(ctx context.Context, p *parsed) error {
	if _, err := p.arg(0); err != nil {
		return err
	}
	return a.with(ctx, func(w *world) error {
		r, err := w.log.Verify(w.ctx, nil)
		if err != nil {
			return fault.Wrap("params", err)
		}
		if a.wantsJSON() {
			return a.json(r)
		}
		a.say("the audit log is whole: %s, each of which vouches for the one before. Who can write to the store could write another log", count(r.Entries, "entry", "entries"))
		return nil
	})
}
