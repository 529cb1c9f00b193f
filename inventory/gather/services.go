package gather

import (
	"context"
	"strings"

	"github.com/fleetwright/fleetwright/inventory"
)

// services gathers AWS:Service. On Linux that is an extension: the services of systemd, with systemd's own words. StartType is the state of the unit file (enabled, disabled, static,
// masked …); Status is Running or Stopped, and empty where systemd does not run, as in a chroot.
func (g *Gatherer) services(ctx context.Context) ([]inventory.Entry, error) {
	if g.c.Platform == "Windows" {
		return g.windowsServices(ctx)
	}
	args := []string{"list-unit-files", "--type=service", "--no-legend", "--no-pager", "--plain"}
	if !g.here() {
		args = append([]string{"--root=" + g.c.Root}, args...)
	}
	files, err := g.c.Run(ctx, "systemctl", args...)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var units []byte
	if g.here() {
		// Fails where systemd does not run.
		units, _ = g.c.Run(ctx, "systemctl", "list-units", "--type=service", "--all", "--no-legend", "--no-pager", "--plain", "--full")
	}
	return parseUnits(string(files), string(units)), nil
}

// parseUnits joins the tables of list-unit-files (unit, state, preset) and list-units (unit, load, active, sub, description).
func parseUnits(files, units string) []inventory.Entry {
	type live struct{ status, description string }
	alive := map[string]live{}
	for line := range strings.Lines(units) {
		w := strings.Fields(line)
		if len(w) < 4 || w[1] == "not-found" {
			continue
		}
		l := live{status: "Stopped", description: strings.Join(w[4:], " ")}
		if w[2] == "active" || w[2] == "reloading" {
			l.status = "Running"
		}
		alive[w[0]] = l
	}
	var out []inventory.Entry
	add := func(unit, start string) {
		l := alive[unit]
		delete(alive, unit)
		name := strings.TrimSuffix(unit, ".service")
		if l.description == "" {
			l.description = name
		}
		if l.status == "" && units != "" {
			l.status = "Stopped"
		}
		out = append(out, inventory.Entry{"Name": name, "DisplayName": cut(l.description), "ServiceType": "systemd", "Status": l.status, "DependentServices": "", "ServicesDependedOn": "", "StartType": start})
	}
	for line := range strings.Lines(files) {
		if w := strings.Fields(line); len(w) >= 2 && strings.HasSuffix(w[0], ".service") {
			add(w[0], w[1])
		}
	}
	for unit := range alive { // instances of templates and units without a file
		if strings.HasSuffix(unit, ".service") {
			add(unit, "")
		}
	}
	return out
}
