package fleetwright

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/store"
)

// Checks are what a load balancer and a supervisor ask: the checks of Health that say whether this control plane can take work, without asking who asks. The text of a check names no tenant, command or
// node. It takes at most timeout with a store that heeds its context, and a check that does not end by then is not OK. While loops are stuck, that is the only check: a store that holds its callers is not asked.
func (f *Fleet) Checks(ctx context.Context, timeout time.Duration) []HealthCheck {
	if stuck := f.checkStuck(); stuck != nil {
		return []HealthCheck{*stuck}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return []HealthCheck{f.checkStore(ctx), f.checkWrites(), f.checkKeys(ctx), f.checkLease(ctx), f.Loops()}
}

// checks are all of them.
func (f *Fleet) checks(ctx context.Context) []HealthCheck {
	out := f.Checks(ctx, 5*time.Second)
	var g observe.Gauges
	f.Commands.Gauge(&g)
	box := HealthCheck{Name: "outbox", OK: true, Text: fmt.Sprintf("%d commands here, %d invocations wait for their node, %d run", g.Commands, g.Outbox, g.Running)}
	if g.OldestIn != "" {
		box.Text += fmt.Sprintf("; the oldest for %s", short(g.Oldest))
	}
	if g.Unwritten > 0 {
		box.OK, box.Text, box.Do = false, fmt.Sprintf("%d commands cannot be written down", g.Unwritten), "see the store's check and the log"
	}
	return append(out, box, f.checkDisk(), f.checkCertificate(), f.checkClock())
}

func failed(name string, err error, do string) HealthCheck {
	return HealthCheck{Name: name, Text: err.Error(), Do: do}
}

// checkStore reads.
func (f *Fleet) checkStore(ctx context.Context) HealthCheck {
	began := f.cfg.Now()
	err := f.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		_, err := r.Get(ctx, macAt())
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err != nil {
		return failed("store", err, "look at the disk or the database; fsck when it says damaged")
	}
	return HealthCheck{Name: "store", OK: true, Text: fmt.Sprintf("reads in %s", f.cfg.Now().Sub(began).Round(time.Microsecond))}
}

// checkWrites asks the store whether it takes writes. A store that does not know is taken to.
func (f *Fleet) checkWrites() HealthCheck {
	if err := store.Err(f.cfg.Store); err != nil {
		return failed("writes", err, "make room on the disk: the store goes on by itself; reads work meanwhile")
	}
	return HealthCheck{Name: "writes", OK: true, Text: "the store takes writes"}
}

func (f *Fleet) checkKeys(ctx context.Context) HealthCheck {
	if _, err := f.keys.get(ctx, access.DefaultTenant); err != nil {
		return failed("keys", err, "the key file must be the one that this store was made with")
	}
	return HealthCheck{Name: "keys", OK: true, Text: "the control plane's keys are open"}
}

// checkLease says whether every part of the commands has a living owner, and how many are this one's.
func (f *Fleet) checkLease(ctx context.Context) HealthCheck {
	mine, free, dead := 0, 0, 0
	for n := range command.Shards {
		h, err := f.Leases.Who(ctx, "", fmt.Sprintf("command/%d", n))
		switch {
		case err != nil:
			return failed("leases", err, "see the store's check")
		case h.Owner == "":
			free++
		case h.Dead:
			dead++
		case h.Mine:
			mine++
		}
	}
	c := HealthCheck{Name: "leases", OK: free+dead == 0, Text: fmt.Sprintf("%d of %d parts of the commands are owned here", mine, command.Shards)}
	if !c.OK {
		c.Text = fmt.Sprintf("%d of %d parts of the commands have no owner, %d a dead one", free, command.Shards, dead)
		c.Do = "they are taken within a lease's time; if not, restart this control plane"
	}
	return c
}

// Loops says whether Run runs and each of its loops comes round: those of leases, commands, nodes, audit and parameters. It asks no store and returns at once.
func (f *Fleet) Loops() HealthCheck {
	if stuck := f.checkStuck(); stuck != nil {
		return *stuck
	}
	f.mu.Lock()
	done, stop := f.done, f.stop
	f.mu.Unlock()
	if done == nil {
		return HealthCheck{Name: "loops", OK: true, Text: "run by the host"}
	}
	select {
	case <-done:
		return HealthCheck{Name: "loops", Text: "the control plane's loops have ended", Do: "see the log for what ended them, and restart it"}
	default:
	}
	if stop == nil {
		return HealthCheck{Name: "loops", Text: "the control plane is stopping"}
	}
	return HealthCheck{Name: "loops", OK: true, Text: "they run"}
}

func (f *Fleet) checkDisk() HealthCheck {
	free := store.DiskFree(f.cfg.Store)
	switch {
	case free < 0:
		return HealthCheck{Name: "disk", OK: true, Text: "the store does not tell how much is left"}
	case free < diskLow:
		return HealthCheck{Name: "disk", Text: size(free) + " left", Do: "make room: at zero everything but reading stops; compact, or keep fewer commands"}
	}
	return HealthCheck{Name: "disk", OK: true, Text: size(free) + " left"}
}

// certificateSoon is how long before its end a certificate is called a problem.
const certificateSoon = 14 * 24 * time.Hour

func (f *Fleet) checkCertificate() HealthCheck {
	c := HealthCheck{Name: "certificate", OK: true, Text: "no endpoint of this control plane's own"}
	if f.end == nil || f.end.server == nil {
		return c
	}
	get := f.end.server.TLSConfig.GetCertificate
	if get == nil {
		return c
	}
	cert, err := get(&tls.ClientHelloInfo{})
	if err != nil {
		return failed("certificate", err, "give a certificate and its key that belong together")
	}
	leaf := cert.Leaf
	if leaf == nil && len(cert.Certificate) > 0 {
		leaf, err = x509.ParseCertificate(cert.Certificate[0])
	}
	if err != nil || leaf == nil {
		return failed("certificate", errors.Join(err, errors.New("it is not understood")), "give another one")
	}
	until := leaf.NotAfter
	if ca := f.authority(); ca != nil && ca.NotAfter.Before(until) {
		until = ca.NotAfter
	}
	c.Text = fmt.Sprintf("valid until %s", clock(until))
	if left := until.Sub(f.cfg.Now()); left < certificateSoon {
		c.OK, c.Text, c.Do = false, fmt.Sprintf("it ends %s", in(f.cfg.Now(), until)), "put a new one in its file; it is read again by itself"
	}
	return c
}

// authority is the directory's own; nil without one.
func (f *Fleet) authority() *x509.Certificate {
	if f.end.ca == nil {
		return nil
	}
	block, _ := pem.Decode(f.end.ca)
	if block == nil {
		return nil
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return ca
}

// checkClock compares the clock with the time of what was written last: a clock that was set back stops deadlines and makes messages look as if from the future.
func (f *Fleet) checkClock() HealthCheck {
	now := f.cfg.Now()
	c := HealthCheck{Name: "clock", OK: true, Text: now.UTC().Format(time.RFC3339)}
	if f.dir == "" {
		return c
	}
	info, err := os.Stat(filepath.Join(f.dir, storeFile))
	if err == nil && info.ModTime().Sub(now) > time.Minute {
		c.OK, c.Do = false, "set it right: "+fault.Clean("nodes refuse what comes from another time")
		c.Text = fmt.Sprintf("it is %s behind what was written last", short(info.ModTime().Sub(now)))
	}
	return c
}
