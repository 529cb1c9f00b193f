package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

func number(n int64) string { return strconv.FormatInt(n, 10) }

const (
	lookEvery = time.Second
	lookFor   = 200 * time.Millisecond
)

func watchFlags(fs *flag.FlagSet) {
	fs.Int64("after", -1, "go on behind the change of this number; 0 is all that is remembered. Without it only what comes")
	fs.Int("n", 0, "end after so many changes; 0 does not end")
}

// errEnough ends a watch that saw what it was to see.
var errEnough = errors.New("enough")

func (a *app) watch(ctx context.Context, p *parsed) error {
	args, err := p.arg(0, "PATH")
	if err != nil {
		return err
	}
	req := parameter.WatchRequest{Path: "/", Recursive: true}
	if len(args) == 1 {
		req.Path = args[0]
	}
	cursor, err := strconv.ParseInt(p.str("after"), 10, 64)
	if err != nil || cursor < -1 {
		return bad("-after is the number of a change, from 0")
	}
	left := p.num("n")
	if left < 0 {
		return bad("-n is a number of changes")
	}
	dsn, err := a.database()
	if err != nil {
		return err
	}
	show := func(c parameter.Change) error {
		if err := a.change(c); err != nil {
			return err
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	}
	if dsn != "" {
		err = a.with(ctx, func(w *world) error {
			if cursor >= 0 {
				req.After = new(uint64)
				*req.After = uint64(cursor)
			}
			for c, err := range w.Watch(w.ctx, req) {
				if err == nil {
					err = show(c)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	} else {
		err = a.look(ctx, req, cursor, show)
	}
	if errors.Is(err, errEnough) || ctx.Err() != nil {
		return nil
	}
	return err
}

// look follows a store that one program has at a time: whenever its file has changed it is opened, for as long as it takes to read what is new.
func (a *app) look(ctx context.Context, req parameter.WatchRequest, cursor int64, show func(parameter.Change) error) error {
	silent := cursor < 0 // the first look finds out where the end is
	after := uint64(max(cursor, 0))
	file := filepath.Join(a.where.dir, storeFile)
	var seen os.FileInfo
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		if now, err := os.Stat(file); err != nil || seen == nil || !now.ModTime().Equal(seen.ModTime()) || now.Size() != seen.Size() {
			err := a.with(ctx, func(w *world) error {
				// The look itself is recorded. While the store is open nobody else writes, so that this is the file as it was looked at.
				defer func() { seen, _ = os.Stat(file) }() //nolint:errcheck // nil is looked at again
				return a.glance(ctx, w, req, &after, func(c parameter.Change) error {
					if silent {
						return nil
					}
					return show(c)
				})
			})
			if err != nil {
				return err
			}
			silent = false
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// glance shows the changes after one until no more come.
func (a *app) glance(ctx context.Context, w *world, req parameter.WatchRequest, after *uint64, show func(parameter.Change) error) error {
	from := *after
	req.After = &from
	quiet, stop := context.WithCancel(w.ctx)
	defer stop()
	idle := time.AfterFunc(lookFor, stop)
	defer idle.Stop()
	for c, err := range w.Watch(quiet, req) {
		if quiet.Err() != nil && ctx.Err() == nil {
			return nil
		}
		if err != nil {
			return err
		}
		idle.Reset(lookFor)
		if err := show(c); err != nil {
			return err
		}
		*after = c.Seq
	}
	return nil
}

// change prints one change at once: a line is of no use when it comes later.
func (a *app) change(c parameter.Change) error {
	if a.wantsJSON() {
		return a.json(c)
	}
	what := c.Operation
	if c.Kind == parameter.EventPolicy {
		what = c.PolicyType
	}
	detail := ""
	switch {
	case len(c.Labels) > 0:
		detail = strings.Join(c.Labels, ",")
	case c.Exception != "":
		detail = c.Exception
	case c.ActionStatus != "":
		detail = c.ActionStatus + " " + c.ActionReason
	}
	_, err := fmt.Fprintln(a.stdout, strings.TrimRight(fmt.Sprintf("%6d  %s  %-22s %s  v%d  %s", c.Seq, when(c.Time), fault.Clean(what), fault.Clean(c.Name), c.Version, fault.Clean(detail)), " "))
	return err
}
