package fleetwright_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// BenchmarkSendToStart measures the time from the call of Send until the script's first line, over HTTPS on loopback with the file store: medians and p99 in milliseconds, and the ratio
// to what cannot be done without: three durable commits (accepted, delivered, journalled) and the start of a shell, in the same run.
func BenchmarkSendToStart(b *testing.B) {
	dir := b.TempDir()
	f, err := fleetwright.Open(b.Context(), dir, &fleetwright.Options{Listen: "127.0.0.1:0"})
	require.NoError(b, err)
	defer f.Close() //nolint:errcheck // the benchmark ends
	act, err := f.Nodes.CreateActivation(b.Context(), node.ActivationRequest{})
	require.NoError(b, err)
	me, err := agent.Register(b.Context(), agent.RegistrarFunc(f.Nodes.Register), filepath.Join(dir, "agent"), act.ID, act.Code, nil)
	require.NoError(b, err)
	conn, err := httptransport.Dial(b.Context(), httptransport.ClientConfig{URL: f.URL(), RootCAs: f.CA(), Address: transport.Address{Tenant: me.Tenant, Name: me.ID}, Key: me.Signer()})
	require.NoError(b, err)
	defer conn.Close() //nolint:errcheck // the benchmark ends
	set, err := fleetwright.Actions()
	require.NoError(b, err)
	a, err := agent.New(agent.Config{Node: me, Transport: conn, Actions: set})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() { cancel(); <-done }()

	var took []time.Duration
	one := func() {
		req := shell("date +%s%N")
		req.InstanceIDs = []string{me.ID}
		began := time.Now()
		_, rs, err := f.Commands.Execute(b.Context(), req)
		require.NoError(b, err)
		n, err := strconv.ParseInt(strings.TrimSpace(rs[0].Steps[0].Stdout.Head), 10, 64)
		require.NoError(b, err, "%+v", rs)
		took = append(took, time.Unix(0, n).Sub(began))
	}
	one() // connects, warms up
	took = nil
	for b.Loop() {
		one()
	}
	b.StopTimer()
	for len(took) < 30 { // a percentile needs some
		one()
	}

	// The floor.
	st, err := boltstore.Open(b.Context(), filepath.Join(dir, "floor.db"), nil)
	require.NoError(b, err)
	defer st.Close() //nolint:errcheck // the benchmark ends
	var floor []time.Duration
	for range 30 {
		began := time.Now()
		for range 2 {
			require.NoError(b, st.Update(b.Context(), func(_ context.Context, tx store.Tx) error { return tx.Put([]byte("k"), make([]byte, 1000)) }))
		}
		w, err := os.CreateTemp(dir, "")
		require.NoError(b, err)
		_, err = w.Write(make([]byte, 1000))
		require.NoError(b, err)
		require.NoError(b, w.Sync())
		require.NoError(b, w.Close())
		out, err := exec.Command("sh", "-c", "date +%s%N").Output()
		require.NoError(b, err)
		n, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		require.NoError(b, err)
		floor = append(floor, time.Unix(0, n).Sub(began))
	}
	slices.Sort(took)
	slices.Sort(floor)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(ms(floor[len(floor)/2]), "floor-ms")
	b.ReportMetric(float64(took[len(took)/2])/float64(floor[len(floor)/2]), "ratio")
}
