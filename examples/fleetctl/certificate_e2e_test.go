package main

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// A new certificate is served without a restart; agents that are connected go on, those that come anew trust it, and no command fails meanwhile.
func TestACertificateIsReplacedUnderLoad(t *testing.T) {
	f := &lab{t: t, dir: t.TempDir()}
	p := f.plane("127.0.0.1:0")
	agents, _ := f.agents(2, "Role=web")
	serial := func() string {
		c, err := tls.Dial("tcp", strings.TrimPrefix(f.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	seen := map[string]bool{serial(): true}
	for range 3 {
		files, err := httptransport.SelfSigned(f.dir+"/tls", "localhost", "127.0.0.1", "::1")
		require.NoError(t, err)
		require.NoError(t, os.Remove(files.CertFile))
		_, err = httptransport.SelfSigned(f.dir+"/tls", "localhost", "127.0.0.1", "::1")
		require.NoError(t, err)
		for deadline := time.Now().Add(time.Minute); seen[serial()]; {
			f.ok("run", "-q", "-targets", "Key=tag:Role,Values=web", "--", "true")
			require.True(t, time.Now().Before(deadline), "the old certificate is served still")
		}
		seen[serial()] = true
		f.ok("run", "-q", "-targets", "Key=tag:Role,Values=web", "--", "true")
	}
	for _, a := range agents {
		require.NotContains(t, a.log.String(), "disconnected", "who is connected stays")
	}
	_, more := f.agents(1, "Role=web")
	f.online(more...)
	require.Zero(t, p.stop())
}
