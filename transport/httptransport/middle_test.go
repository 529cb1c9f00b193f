package httptransport_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport/httptransport"
)

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
func itoa(n int) string         { return strconv.Itoa(n) }

// middle ends TLS with a certificate of its own and passes the plain bytes on over a TLS connection of its own.
type middle struct {
	url   string
	files *httptransport.SelfSignedFiles
}

func newMiddle(t *testing.T, w *world) *middle {
	m := &middle{files: certificates(t)}
	get, err := httptransport.ReloadingCertificate(m.files.CertFile, m.files.KeyFile)
	require.NoError(t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", httptransport.ServerTLS(get))
	require.NoError(t, err)
	m.url = "https://" + l.Addr().String() + "/v1/node/"
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(w.files.CA))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := tls.Dial("tcp", w.host, &tls.Config{RootCAs: pool})
			if err != nil {
				client.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, client, server)
			mu.Unlock()
			wg.Go(func() { io.Copy(server, client); server.Close() })
			wg.Go(func() { io.Copy(client, server); client.Close() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return m
}
