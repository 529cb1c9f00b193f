package httptransport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// SelfSignedFiles are what SelfSigned made or found.
type SelfSignedFiles struct {
	CertFile, KeyFile string // the server's: its certificate followed by the authority's, and its key
	CAFile            string
	CA                []byte // PEM of the authority's certificate, for ClientConfig.RootCAs
	Pin               string // of the authority's certificate, for ClientConfig.Pins
}

const (
	leafLife  = 397 * 24 * time.Hour
	leafRenew = 30 * 24 * time.Hour // a certificate with less left is made anew
	caLife    = 10 * 365 * 24 * time.Hour
)

// SelfSigned sees that dir holds a certificate for the hosts (names and IP addresses; none: localhost, 127.0.0.1 and ::1) with an authority of its own, all ECDSA P-256, and makes what
// is missing: for first use, before a real certificate is there. What exists stays, so that nodes that trust the authority go on doing so; the server's
// certificate is made anew when it lacks a host or has less than 30 days left, so that calling this once a day keeps it alive (ReloadingCertificate follows). dir is made with mode 0700, all files have 0600.
//
// The authority's key lies in dir too: whoever reads it can pose as this server to the nodes that trust it, as with the server's own key.
func SelfSigned(dir string, hosts ...string) (*SelfSignedFiles, error) {
	const op = "httptransport.SelfSigned"
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	f := &SelfSignedFiles{CertFile: filepath.Join(dir, "server.pem"), KeyFile: filepath.Join(dir, "server-key.pem"), CAFile: filepath.Join(dir, "ca.pem")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(op, fault.InvalidParameters, "the directory cannot be made: %w", err)
	}
	now := time.Now()
	ca, caKey, err := authority(f.CAFile, filepath.Join(dir, "ca-key.pem"), now)
	if err != nil {
		return nil, fault.New(op, fault.InvalidParameters, "the authority in %q: %w", fault.Clean(dir), err)
	}
	f.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	if f.Pin, err = Pin(f.CA); err != nil {
		return nil, err
	}
	if !covers(f, ca, hosts, now) {
		if err := issue(f, ca, caKey, hosts, now); err != nil {
			return nil, fault.New(op, fault.InvalidParameters, "the certificate in %q: %w", fault.Clean(dir), err)
		}
	}
	return f, nil
}

// authority reads the authority, or makes one where there is none.
func authority(certFile, keyFile string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certPEM, err := os.ReadFile(certFile)
	if os.IsNotExist(err) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		t := &x509.Certificate{
			SerialNumber: serial(), Subject: pkix.Name{CommonName: "fleetwright own authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife),
			IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
		if err != nil {
			return nil, nil, err
		}
		// The key first: a certificate without one would be an error for ever after.
		if err := writeKey(keyFile, key); err != nil {
			return nil, nil, err
		}
		if err := writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
			return nil, nil, err
		}
		cert, err := x509.ParseCertificate(der)
		return cert, key, err
	}
	if err != nil {
		return nil, nil, err
	}
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return nil, nil, err
	}
	key, err := readKey(keyFile)
	if err != nil {
		return nil, nil, err
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, nil, fault.New("httptransport.SelfSigned", fault.InvalidParameters, "ca.pem and ca-key.pem do not belong together")
	}
	return certs[0], key, nil
}

// covers reports whether the server's files are good for the hosts and long enough.
func covers(f *SelfSignedFiles, ca *x509.Certificate, hosts []string, now time.Time) bool {
	b, err := os.ReadFile(f.CertFile)
	if err != nil {
		return false
	}
	certs, err := parseCertificates(b)
	if err != nil || certs[0].CheckSignatureFrom(ca) != nil || certs[0].NotAfter.Sub(now) < leafRenew {
		return false
	}
	key, err := readKey(f.KeyFile)
	if err != nil || !key.PublicKey.Equal(certs[0].PublicKey) {
		return false
	}
	return !slices.ContainsFunc(hosts, func(h string) bool { return certs[0].VerifyHostname(h) != nil })
}

// issue makes the server's key and certificate.
func issue(f *SelfSignedFiles, ca *x509.Certificate, caKey *ecdsa.PrivateKey, hosts []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "fleetwright control plane"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	if err := writeKey(f.KeyFile, key); err != nil {
		return err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return writeFile(f.CertFile, append(chain, f.CA...))
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fault.New("httptransport.SelfSigned", fault.InvalidParameters, "%q has no key in PEM", fault.Clean(filepath.Base(file)))
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fault.New("httptransport.SelfSigned", fault.InvalidParameters, "%q has a %T, not an ECDSA key", fault.Clean(filepath.Base(file)), k)
	}
	return key, nil
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// writeFile puts a file of mode 0600 in place whole: written beside it, synced, renamed.
func writeFile(file string, b []byte) error {
	t, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // 0600 by contract
	if err != nil {
		return err
	}
	defer os.Remove(t.Name())
	if _, err = t.Write(b); err == nil {
		err = t.Sync()
	}
	if cerr := t.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(t.Name(), file)
	}
	return err
}
