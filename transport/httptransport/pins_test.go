package httptransport

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPinsLookAtTimeNameAndSignature(t *testing.T) {
	f, err := SelfSigned(t.TempDir(), "plane.example")
	require.NoError(t, err)
	b, err := os.ReadFile(f.CertFile)
	require.NoError(t, err)
	chain, err := parseCertificates(b)
	require.NoError(t, err)
	leaf, ca := chain[0], chain[1]
	pin := func(c *x509.Certificate) [][sha256.Size]byte { return [][sha256.Size]byte{sha256.Sum256(c.Raw)} }
	now := time.Now()
	shown := tls.ConnectionState{ServerName: "plane.example", PeerCertificates: chain}
	require.NoError(t, verifyPins(shown, pin(ca), now))
	require.NoError(t, verifyPins(shown, pin(leaf), now))
	other := shown
	other.ServerName = "other.example"
	require.Error(t, verifyPins(other, pin(ca), now), "the authority vouches for a name")
	require.NoError(t, verifyPins(other, pin(leaf), now), "the server's own pin is for that server, whatever it is called")
	for _, at := range []time.Time{now.Add(-48 * time.Hour), now.Add(2 * 365 * 24 * time.Hour)} {
		require.Error(t, verifyPins(shown, pin(ca), at))
		require.Error(t, verifyPins(shown, pin(leaf), at))
	}
	// Somebody who sends the authority's certificate along, which everybody has, with a certificate of their own.
	dir := t.TempDir()
	thief, err := SelfSigned(dir, "plane.example")
	require.NoError(t, err)
	b, err = os.ReadFile(thief.CertFile)
	require.NoError(t, err)
	theirs, err := parseCertificates(b)
	require.NoError(t, err)
	stolen := tls.ConnectionState{ServerName: "plane.example", PeerCertificates: []*x509.Certificate{theirs[0], ca}}
	require.Error(t, verifyPins(stolen, pin(ca), now))
	require.ErrorIs(t, verifyPins(tls.ConnectionState{}, pin(ca), now), errPin)
	require.ErrorIs(t, verifyPins(tls.ConnectionState{PeerCertificates: theirs}, pin(ca), now), errPin)
}

// SelfSigned renews what has less than thirty days left, with the same authority.
func TestSelfSignedRenewsInTime(t *testing.T) {
	dir := t.TempDir()
	f, err := SelfSigned(dir)
	require.NoError(t, err)
	ca, key, err := authority(f.CAFile, dir+"/ca-key.pem", time.Now())
	require.NoError(t, err)
	hosts := []string{"localhost"}
	require.True(t, covers(f, ca, hosts, time.Now()))
	require.True(t, covers(f, ca, hosts, time.Now().Add(leafLife-leafRenew-time.Hour)))
	require.False(t, covers(f, ca, hosts, time.Now().Add(leafLife-leafRenew+time.Hour)))
	other, err := SelfSigned(t.TempDir())
	require.NoError(t, err)
	otherCA, err := parseCertificates(other.CA)
	require.NoError(t, err)
	require.False(t, covers(f, otherCA[0], hosts, time.Now()), "not signed by the authority")
	require.NoError(t, issue(f, ca, key, hosts, time.Now()))
	require.True(t, covers(f, ca, hosts, time.Now()))
}
