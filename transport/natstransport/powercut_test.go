//go:build linux

package natstransport_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/powercut"
	"github.com/fleetwright/fleetwright/internal/testenv"
)

// openStream starts a server with JetStream in the directory.
func openStream(dir string, always bool) (*server.Server, nats.JetStreamContext, error) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir, SyncAlways: always})
	if err != nil {
		return nil, nil, err
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		return nil, nil, fmt.Errorf("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		return nil, nil, err
	}
	js, err := nc.JetStream()
	return s, js, err
}

func publish(dir string, always bool) error {
	_, js, err := openStream(dir, always)
	if err != nil {
		return err
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "commands", Subjects: []string{"c"}, Storage: nats.FileStorage}); err != nil {
		return err
	}
	for i := 1; ; i++ {
		if _, err := js.Publish("c", fmt.Appendf(nil, "message %d", i)); err != nil {
			return err
		}
		powercut.Ack("%d", i)
	}
}

// G18, a control: the harness under which our stores lose nothing sees JetStream lose what it acknowledged with its default settings, and not with SyncAlways. Why a
// transport is never where anything is kept.
func TestPowerCut(t *testing.T) {
	if role := powercut.Role(); role != "" {
		fmt.Fprintln(os.Stderr, "the publisher ended:", publish(powercut.Args()[0], role == "always"))
		os.Exit(1)
	}
	if testing.Short() {
		t.Skip("SKIPPED: power is cut in full runs only")
	}
	n := 2
	if testenv.Long() {
		n = testenv.Count(t, "FLEETWRIGHT_CONTROL_CUTS", 10)
	}
	if !powercut.Enter(t) {
		return
	}
	disk := powercut.NewRig(t).Disk("ext4")
	for _, role := range []string{"default", "always"} {
		losing, lost, acked := 0, 0, 0
		for i := range n {
			name := fmt.Sprint(role, i)
			w := powercut.Start(t, role, filepath.Join(disk.Dir, name))
			require.True(t, w.Await(200), "the publisher died")
			cut := disk.Cut(w)
			w.Kill()
			acked += len(cut.Acked)
			cut.Inspect(func(dir string) {
				s, js, err := openStream(filepath.Join(dir, name), false)
				require.NoError(t, err)
				defer func() { s.Shutdown(); s.WaitForShutdown() }()
				have := 0
				if info, err := js.StreamInfo("commands"); err == nil {
					have = int(info.State.Msgs)
				}
				if have < len(cut.Acked) {
					losing++
					lost += len(cut.Acked) - have
				}
			})
		}
		t.Logf("%s: %d of %d acknowledged messages lost in %d of %d cuts", role, lost, acked, losing, n)
		if role == "always" {
			testenv.Figure(t, "control: power cuts of JetStream with SyncAlways that lost acknowledged messages", n, losing)
			require.Zero(t, losing)
		} else {
			testenv.Figure(t, "control: power cuts of JetStream's default settings that lost nothing, which is not expected", n, n-losing)
			require.Positive(t, losing, "the control must bite")
		}
	}
}
