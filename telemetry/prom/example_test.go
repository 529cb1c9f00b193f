package prom_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/telemetry/prom"
)

// A control plane with /metrics beside its endpoint for nodes would mount the handler with Options.Mount; this one serves it on a listener of its own, which is what a host does whose
// Prometheus comes over another network.
func Example() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)

	metrics := prom.New(nil)
	f, err := fleetwright.Open(ctx, dir, &fleetwright.Options{Config: fleetwright.Config{Observer: metrics}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	srv := httptest.NewServer(metrics.Handler(prom.Plane(f)))
	defer srv.Close()

	a, err := f.StartAgent(ctx, "one", &fleetwright.LocalOptions{Observer: metrics})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := f.Commands.Send(ctx, command.SendRequest{DocumentName: "AWS-RunShellScript", InstanceIDs: []string{a.ID}, Parameters: map[string][]string{"commands": {"echo hello"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := f.Commands.Wait(ctx, c.ID); err != nil {
		fmt.Println(err)
		return
	}
	want := []string{
		`fleetwright_commands_ended_total{details="Success"} 1`,
		`fleetwright_node_steps_ended_total{status="Success"} 1`,
		`fleetwright_nodes_connected 1`,
		`fleetwright_store_read_only 0`,
	}
	for _, line := range scrapeUntil(srv.URL, want) {
		fmt.Println(line)
	}
	// Output:
	// fleetwright_commands_ended_total{details="Success"} 1
	// fleetwright_node_steps_ended_total{status="Success"} 1
	// fleetwright_nodes_connected 1
	// fleetwright_store_read_only 0
}

// scrapeUntil reads the metrics until all the lines are there, for at most ten seconds: what happened is told a moment after it is durable.
func scrapeUntil(url string, want []string) (found []string) {
	for range 1000 {
		res, err := http.Get(url)
		if err != nil {
			return nil
		}
		found = nil
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			if line := strings.TrimSpace(s.Text()); slices.Contains(want, line) {
				found = append(found, line)
			}
		}
		res.Body.Close()
		if len(found) == len(want) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return found
}
