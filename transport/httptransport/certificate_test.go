package httptransport_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

func pinOf(t *testing.T, c *x509.Certificate) string {
	pin, err := httptransport.Pin(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	require.NoError(t, err)
	sum := sha256.Sum256(c.Raw)
	require.Equal(t, hex.EncodeToString(sum[:]), pin)
	return pin
}

func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "tls")
	f, err := httptransport.SelfSigned(dir, "plane.example", "10.0.0.1")
	require.NoError(t, err)
	fi, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), fi.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 4, "nothing else is left behind")
	for _, e := range entries {
		fi, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), fi.Mode().Perm(), e.Name())
	}
	leaf := func() *x509.Certificate {
		b, err := os.ReadFile(f.CertFile)
		require.NoError(t, err)
		block, rest := pem.Decode(b)
		require.Equal(t, f.CA, rest, "the authority follows, for pins")
		c, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		return c
	}
	first := leaf()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(f.CA))
	for _, host := range []string{"plane.example", "10.0.0.1"} {
		_, err = first.Verify(x509.VerifyOptions{Roots: pool, DNSName: host})
		require.NoError(t, err)
	}
	require.Error(t, first.VerifyHostname("127.0.0.1"))
	require.Equal(t, x509.ECDSA, first.PublicKeyAlgorithm)

	again, err := httptransport.SelfSigned(dir, "10.0.0.1")
	require.NoError(t, err)
	require.Equal(t, f, again)
	require.Equal(t, first.Raw, leaf().Raw, "what covers the hosts stays")
	_, err = httptransport.SelfSigned(dir, "10.0.0.1", "other.example")
	require.NoError(t, err)
	require.NotEqual(t, first.Raw, leaf().Raw, "a host was missing")
	require.NoError(t, leaf().VerifyHostname("other.example"))
	write(t, f.KeyFile, []byte("garbage"))
	_, err = httptransport.SelfSigned(dir, "10.0.0.1")
	require.NoError(t, err)
	_, err = leaf().Verify(x509.VerifyOptions{Roots: pool, DNSName: "10.0.0.1"})
	require.NoError(t, err, "the authority is the same")

	for _, bad := range []string{"ca.pem", "ca-key.pem"} { // an authority is never made anew in silence: every node would lose its trust
		dir := t.TempDir()
		_, err := httptransport.SelfSigned(dir)
		require.NoError(t, err)
		write(t, filepath.Join(dir, bad), []byte("garbage"))
		_, err = httptransport.SelfSigned(dir)
		require.Error(t, err)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
	}
	other := certificates(t)
	write(t, filepath.Join(dir, "ca.pem"), other.CA)
	_, err = httptransport.SelfSigned(dir)
	require.ErrorContains(t, err, "do not belong together")
	_, err = httptransport.SelfSigned(filepath.Join(f.CertFile, "x"))
	require.Error(t, err)
}

func TestReloadingCertificate(t *testing.T) {
	a, b := certificates(t), certificates(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	read := func(f string) []byte { x, err := os.ReadFile(f); require.NoError(t, err); return x }
	_, err := httptransport.ReloadingCertificate(cert, key)
	require.Error(t, err, "there must be one to begin with")
	write(t, cert, read(a.CertFile))
	write(t, key, read(b.KeyFile))
	_, err = httptransport.ReloadingCertificate(cert, key)
	require.Error(t, err, "and its key")
	write(t, key, read(a.KeyFile))
	get, err := httptransport.ReloadingCertificate(cert, key)
	require.NoError(t, err)
	shows := func() string {
		c, err := get(nil)
		require.NoError(t, err)
		return string(c.Certificate[0])
	}
	first := shows()
	require.Equal(t, first, shows())
	write(t, cert, read(b.CertFile)) // half of the change
	require.Equal(t, first, shows())
	write(t, key, read(b.KeyFile)) // the other half
	second := shows()
	require.NotEqual(t, first, second)
	require.NoError(t, os.Remove(cert))
	require.Equal(t, second, shows())
	require.NoError(t, os.WriteFile(cert, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600))
	require.Equal(t, second, shows())
	write(t, cert, read(a.CertFile))
	write(t, key, read(a.KeyFile))
	require.Equal(t, first, shows())
	require.NoError(t, os.Chtimes(cert, time.Now(), time.Now().Add(-time.Hour))) // touched, not changed
	require.Equal(t, first, shows())

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				get(nil)
			}
		})
	}
	for i := range 20 {
		f := []*httptransport.SelfSignedFiles{a, b}[i%2]
		write(t, cert, read(f.CertFile))
		write(t, key, read(f.KeyFile))
	}
	wg.Wait()
}

func TestHowTheServerIsKnown(t *testing.T) {
	w, other := newWorld(t, nil), certificates(t)
	caFile := filepath.Join(t.TempDir(), "ca")
	write(t, caFile, w.files.CA)
	chain, err := os.ReadFile(w.files.CertFile)
	require.NoError(t, err)
	leafPin, err := httptransport.Pin(chain)
	require.NoError(t, err)
	colons := func(s string) string {
		var b strings.Builder
		for i := 0; i < len(s); i += 2 {
			b.WriteString(strings.ToUpper(s[i:i+2]) + ":")
		}
		return strings.TrimSuffix(b.String(), ":")
	}
	for name, c := range map[string]struct {
		good   bool
		change func(*httptransport.ClientConfig)
	}{
		"the authority":           {true, func(c *httptransport.ClientConfig) {}},
		"the authority in a file": {true, func(c *httptransport.ClientConfig) { c.RootCAs = nil; c.CAFile = caFile }},
		"one of two":              {true, func(c *httptransport.ClientConfig) { c.RootCAs = other.CA; c.CAFile = caFile }},
		"the authority's pin":     {true, func(c *httptransport.ClientConfig) { c.RootCAs = nil; c.Pins = []string{w.files.Pin} }},
		"the server's pin":        {true, func(c *httptransport.ClientConfig) { c.RootCAs = nil; c.Pins = []string{leafPin} }},
		"as openssl prints it":    {true, func(c *httptransport.ClientConfig) { c.Pins = []string{other.Pin, colons(leafPin)} }},
		"another authority":       {false, func(c *httptransport.ClientConfig) { c.RootCAs = other.CA }},
		"another pin":             {false, func(c *httptransport.ClientConfig) { c.Pins = []string{other.Pin} }},
		"the system's":            {false, func(c *httptransport.ClientConfig) { c.RootCAs = nil }},
		"another name":            {false, func(c *httptransport.ClientConfig) { c.URL = strings.Replace(c.URL, "127.0.0.1", "127.0.0.2", 1) }},
		"another name, authority's pin": {false, func(c *httptransport.ClientConfig) {
			c.URL = strings.Replace(c.URL, "127.0.0.1", "127.0.0.2", 1)
			c.Pins = []string{w.files.Pin}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := w.config(addr(1))
			c.change(&cfg)
			c2, err := httptransport.NewClient(cfg)
			require.NoError(t, err)
			defer c2.Close()
			if c.good {
				require.NoError(t, c2.Wait(t.Context()))
				return
			}
			eventually(t, "it fails", func() bool { return c2.Err() != nil })
			require.False(t, c2.Connected(plane))
		})
	}
}

func TestAClientSaysWhatIsWrongWithItsConfiguration(t *testing.T) {
	w := newWorld(t, nil)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, change := range map[string]func(*httptransport.ClientConfig){
		"no key":             func(c *httptransport.ClientConfig) { c.Key = nil },
		"an RSA key":         func(c *httptransport.ClientConfig) { c.Key = rsaKey },
		"no address":         func(c *httptransport.ClientConfig) { c.Address = transport.Address{} },
		"a slash in a name":  func(c *httptransport.ClientConfig) { c.Address.Name = "a/b" },
		"the plane's name":   func(c *httptransport.ClientConfig) { c.Address.Name = plane.Name },
		"129 bytes":          func(c *httptransport.ClientConfig) { c.Address.Name = strings.Repeat("n", 129) },
		"no URL":             func(c *httptransport.ClientConfig) { c.URL = "" },
		"http":               func(c *httptransport.ClientConfig) { c.URL = "http://plane.example/" },
		"a password":         func(c *httptransport.ClientConfig) { c.URL = "https://me:secret@plane.example/" },
		"a query":            func(c *httptransport.ClientConfig) { c.URL = "https://plane.example/?a=b" },
		"no URL at all":      func(c *httptransport.ClientConfig) { c.URL = "https://%zz" },
		"a bad alternate":    func(c *httptransport.ClientConfig) { c.Alternates = []string{"ftp://x"} },
		"no PEM":             func(c *httptransport.ClientConfig) { c.RootCAs = []byte("x") },
		"no CA file":         func(c *httptransport.ClientConfig) { c.CAFile = "/nowhere/ca.pem" },
		"a CA file of dross": func(c *httptransport.ClientConfig) { c.CAFile = w.files.KeyFile },
		"a short pin":        func(c *httptransport.ClientConfig) { c.Pins = []string{"abcd"} },
		"no pin":             func(c *httptransport.ClientConfig) { c.Pins = []string{strings.Repeat("x", 64)} },
	} {
		cfg := w.config(addr(1))
		change(&cfg)
		_, err := httptransport.NewClient(cfg)
		require.Error(t, err, name)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err), name)
	}
	cfg := w.config(addr(1))
	cfg.URL = strings.TrimSuffix(cfg.URL, "/")
	c, err := httptransport.Dial(t.Context(), cfg)
	require.NoError(t, err, "a slash at the end is added")
	require.NoError(t, c.Close())
	_, err = httptransport.Pin([]byte("x"))
	require.Error(t, err)
	_, err = httptransport.Pin([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	require.Error(t, err)
}

// A key may be anything that signs; one that rotates behind it is asked at each connect.
func TestTheKeyIsAskedAtEachConnect(t *testing.T) {
	w := newWorld(t, nil)
	c := &changing{key: keyOf(addr(1))}
	cl := w.dial(addr(1), func(cfg *httptransport.ClientConfig) { cfg.Key = c })
	eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
	_, next, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	w.mu.Lock()
	w.known[addr(1)] = next.Public().(ed25519.PublicKey)
	w.mu.Unlock()
	c.set(next)
	accepted := w.srv.Stats().Accepted
	w.srv.Disconnect(addr(1))
	eventually(t, "connected with the new key", func() bool { return w.srv.Stats().Accepted > accepted && cl.Connected(plane) })
}
