package patchbaseline

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// tracking is what is remembered between runs: what was installed by us since which start of the machine.
type tracking struct {
	Version  int       `json:"version"`
	Packages []tracked `json:"packages,omitempty"`
	// Open is a transaction that was begun and whose end was not noted down: what came since then is ours.
	Open         *opened   `json:"open,omitempty"`
	LastNoReboot time.Time `json:"lastNoReboot,omitzero"`
	Run          *begun    `json:"run,omitempty"`
}

type tracked struct {
	Name    string `json:"name"`
	Arch    string `json:"arch,omitempty"`
	Version string `json:"version"`
	Boot    string `json:"boot"`
}

type opened struct {
	Boot  string    `json:"boot"`
	Since time.Time `json:"since"`
}

// begun is an Install that has asked for a reboot, and goes on behind it.
type begun struct {
	Command  string          `json:"command"`
	Attempt  int             `json:"attempt"`
	Step     int             `json:"step"`
	Name     string          `json:"name"`
	Started  time.Time       `json:"started"`
	Snapshot *patch.Snapshot `json:"snapshot"`
	Override bool            `json:"override,omitempty"`
	Plan     *patch.Plan     `json:"plan"`
	Why      []reason        `json:"why,omitempty"`
}

type reason struct {
	patch.Key
	Why string `json:"why"`
}

const (
	trackingVersion = 1
	mostTracking    = 64 << 20
)

var errDamaged = errors.New("damaged")

// loadTracking reads the file; one that is not there is empty, one that cannot be understood gives errDamaged.
func loadTracking(name string) (*tracking, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &tracking{Version: trackingVersion}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, mostTracking))
	if err != nil {
		return nil, err
	}
	t := &tracking{}
	if json.Unmarshal(b, t) != nil || t.Version != trackingVersion {
		return nil, errDamaged
	}
	return t, nil
}

// save writes the file whole or not at all, and durably.
func (t *tracking) save(name string) (err error) {
	const op = "patchbaseline.Track"
	defer func() {
		if err != nil {
			e := fault.New(op, fault.ServiceUnavailable, "what is installed cannot be noted down, so nothing more is done: look at the disk and at the rights of the tracking file")
			e.Err = err
			err = e
		}
	}()
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".patches-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644) // a Scan without root reads it
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name()) //nolint:errcheck // the first error counts
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	syncErr := d.Sync()
	if cerr := d.Close(); syncErr == nil {
		syncErr = cerr
	}
	if errors.Is(syncErr, errors.ErrUnsupported) {
		return nil
	}
	return syncErr
}

// mark says of what is installed which of it came by us since the machine's last start (C6).
func (t *tracking) mark(installed []patch.Installed, boot string, tracked bool) {
	if !tracked {
		return
	}
	ours := map[[3]string]bool{}
	for _, p := range t.Packages {
		if p.Boot == boot {
			ours[[3]string{p.Name, p.Arch, p.Version}] = true
		}
	}
	for i := range installed {
		p := &installed[i]
		since := t.Open != nil && t.Open.Boot == boot && !p.InstalledAt.IsZero() && !p.InstalledAt.Before(t.Open.Since.Truncate(time.Second))
		if since || ours[[3]string{p.Name, p.Arch, p.Version}] {
			p.ByUs, p.SinceBoot = true, true
		}
	}
}

// begin notes down, before anything happens, what is going to be installed, and forgets what came before this start of the machine.
func (t *tracking) begin(steps []patch.Step, boot string, now time.Time) {
	t.forget(boot)
	for _, s := range steps {
		t.Packages = append(t.Packages, tracked{s.Name, s.Arch, s.To, boot})
	}
	t.Open = &opened{boot, now}
}

func (t *tracking) forget(boot string) {
	var keep []tracked
	for _, p := range t.Packages {
		if p.Boot == boot {
			keep = append(keep, p)
		}
	}
	t.Packages = keep
	if t.Open != nil && t.Open.Boot != boot {
		t.Open = nil
	}
}

// end notes down what a transaction really changed; it returns how many packages that is.
func (t *tracking) end(before, after []patch.Installed, boot string) int {
	type nav [3]string
	was := make(map[nav]bool, len(before))
	for i := range before {
		was[nav{before[i].Name, before[i].Arch, before[i].Version}] = true
	}
	known := map[nav]bool{}
	for _, p := range t.Packages {
		known[nav{p.Name, p.Arch, p.Version}] = true
	}
	n := 0
	for i := range after {
		k := nav{after[i].Name, after[i].Arch, after[i].Version}
		if was[k] {
			continue
		}
		n++
		if !known[k] {
			t.Packages = append(t.Packages, tracked{k[0], k[1], k[2], boot})
		}
	}
	t.Open = nil
	return n
}
