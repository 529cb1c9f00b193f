package httptransport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

const echoSize = 128

// rawEcho returns a function that sends echoSize bytes over a raw connection and waits for them to come back: the physical limit of a round trip, with or without TLS.
func rawEcho(b *testing.B, withTLS bool) func() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	files := certificates(b)
	get, err := httptransport.ReloadingCertificate(files.CertFile, files.KeyFile)
	require.NoError(b, err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if withTLS {
				c = tls.Server(c, httptransport.ServerTLS(get))
			}
			go func() {
				defer c.Close()
				buf := make([]byte, echoSize)
				for {
					if _, err := io.ReadFull(c, buf); err != nil {
						return
					}
					if _, err := c.Write(buf); err != nil {
						return
					}
				}
			}()
		}
	}()
	var c net.Conn
	if withTLS {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(files.CA)
		c, err = tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool})
	} else {
		c, err = net.Dial("tcp", l.Addr().String())
	}
	require.NoError(b, err)
	b.Cleanup(func() { c.Close() })
	out, in := make([]byte, echoSize), make([]byte, echoSize)
	return func() {
		if _, err := c.Write(out); err != nil {
			b.Error(err)
		}
		if _, err := io.ReadFull(c, in); err != nil {
			b.Error(err)
		}
	}
}

// perSecond measures round trips for a third of a second.
func perSecond(one func()) float64 {
	one()
	start, n := time.Now(), 0
	for time.Since(start) < time.Second/3 {
		one()
		n++
	}
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkEcho: one message down and its echo up, one at a time. ratio is the rate as a share of raw TCP's in the same run, tls-ratio of raw TLS's: the first is the limit of the machine, the
// second of anything that is encrypted.
func BenchmarkEcho(b *testing.B) {
	for _, m := range media {
		b.Run(m.name, func(b *testing.B) {
			w := newWorld(b, nil)
			c := w.dial(addr(1), m.change)
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan struct{}, 2)
			back := make(chan struct{}, 1)
			go func() {
				c.Receive(ctx, func(ctx context.Context, m transport.Message) { c.Send(ctx, plane, m.Data) })
				ended <- struct{}{}
			}()
			go func() {
				w.srv.Receive(ctx, func(context.Context, transport.Message) { back <- struct{}{} })
				ended <- struct{}{}
			}()
			defer func() { stop(); <-ended; <-ended }()
			data := make([]byte, echoSize)
			one := func() {
				if err := w.srv.Send(ctx, addr(1), data); err != nil {
					b.Error(err)
					return
				}
				<-back
			}
			eventually(b, "connected", func() bool { return w.srv.Connected(addr(1)) })
			tcp, over := perSecond(rawEcho(b, false)), perSecond(rawEcho(b, true))
			for b.Loop() {
				one()
			}
			ours := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(ours/tcp, "ratio")
			b.ReportMetric(ours/over, "tls-ratio")
		})
	}
}

// BenchmarkFanOut: a message to each of 100 nodes and an answer from each. ratio is its rate of messages as a share of what 100 raw TLS connections echo, all at once.
func BenchmarkFanOut(b *testing.B) {
	const nodes = 100
	w := newWorld(b, nil)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{}, nodes+1)
	back := make(chan struct{}, nodes)
	for i := range nodes {
		c := w.dial(addr(i), nil)
		go func() {
			c.Receive(ctx, func(ctx context.Context, m transport.Message) { c.Send(ctx, plane, m.Data) })
			ended <- struct{}{}
		}()
	}
	go func() {
		w.srv.Receive(ctx, func(context.Context, transport.Message) { back <- struct{}{} })
		ended <- struct{}{}
	}()
	defer func() {
		stop()
		for range nodes + 1 {
			<-ended
		}
	}()
	eventually(b, "connected", func() bool { return w.srv.Stats().Connected == nodes })
	data := make([]byte, echoSize)
	raw := make([]func(), nodes)
	for i := range raw {
		raw[i] = rawEcho(b, true)
	}
	limit := perSecond(func() {
		for _, one := range raw {
			go func() { one(); back <- struct{}{} }()
		}
		for range nodes {
			<-back
		}
	})
	for b.Loop() {
		for i := range nodes {
			if err := w.srv.Send(ctx, addr(i), data); err != nil {
				b.Fatal(err)
			}
		}
		for range nodes {
			<-back
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/limit, "tls-ratio")
	b.ReportMetric(float64(b.N*nodes)/b.Elapsed().Seconds(), "nodes/s")
}

// BenchmarkConnect: a node connects, shows its key, and goes. ratio is its rate as a share of bare TLS handshakes with the same server and certificate, all that a herd could ever do.
func BenchmarkConnect(b *testing.B) {
	for _, m := range media {
		b.Run(m.name, func(b *testing.B) {
			w := newWorld(b, func(c *httptransport.ServerConfig) { c.Admit, c.AdmitBurst = 1e6, 1e6 })
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(w.files.CA)
			cfg := w.config(addr(1))
			m.change(&cfg)
			limit := perSecond(func() {
				c, err := tls.Dial("tcp", w.host, &tls.Config{RootCAs: pool})
				if err != nil {
					b.Error(err)
					return
				}
				c.Close()
			})
			for b.Loop() {
				c, err := httptransport.Dial(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/limit, "ratio")
		})
	}
}
