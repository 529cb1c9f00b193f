// Package pins is how drivers judge a server whose certificates were pinned, once for all of them.
package pins

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"
)

// Verify accepts a server whose own certificate is pinned and in time, or whose certificate stands, by name, time and signatures, on a pinned one that it sent along. Else the error is
// none, or why the certificate does not stand.
func Verify(cs tls.ConnectionState, pins [][sha256.Size]byte, now time.Time, none error) error {
	for i, cert := range cs.PeerCertificates {
		if !slices.Contains(pins, sha256.Sum256(cert.Raw)) {
			continue
		}
		if i == 0 {
			if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
				return x509.CertificateInvalidError{Cert: cert, Reason: x509.Expired}
			}
			return nil
		}
		opts := x509.VerifyOptions{DNSName: cs.ServerName, Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
		opts.Roots.AddCert(cert)
		for _, other := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(other)
		}
		_, err := cs.PeerCertificates[0].Verify(opts)
		return err
	}
	return none
}
