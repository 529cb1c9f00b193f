package httptransport_test

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// heard is a slog.Handler that hands on what it is told.
type heard chan string

func (heard) Enabled(context.Context, slog.Level) bool { return true }
func (h heard) Handle(_ context.Context, r slog.Record) error {
	text := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	h <- text
	return nil
}
func (h heard) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h heard) WithGroup(string) slog.Handler      { return h }

// A client that cannot connect says why in its log, once for each reason, while it goes on trying: an operator must see a wrong address or authority.
func TestFailedAttemptsAreLoggedOnce(t *testing.T) {
	said, tries := make(heard, 100), 0
	third := make(chan struct{})
	c, err := httptransport.NewClient(httptransport.ClientConfig{
		URL: "https://127.0.0.1:1/v1/node/", Address: transport.Address{Tenant: "t", Name: "n"}, Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
		Logger: slog.New(said), ForcePoll: true, BackoffBase: time.Millisecond, BackoffCap: time.Millisecond,
		Rand: func() float64 { // asked for the wait after each attempt
			if tries++; tries == 3 {
				close(third)
			}
			return 0.5
		},
	})
	require.NoError(t, err)
	<-third
	require.NoError(t, c.Close())
	close(said)
	var all []string
	for text := range said {
		all = append(all, text)
	}
	require.Len(t, all, 1)
	require.Contains(t, all[0], "WARN no connection to the control plane")
	require.Contains(t, all[0], "refused")
}
