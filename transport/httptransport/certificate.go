package httptransport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// ServerTLS returns the TLS configuration of an http.Server for a Handler: TLS 1.2 or later and HTTP/1.1, with the certificate that get returns. TLS 1.3 is what
// every Client speaks; 1.2 is there for proxies on the way.
func ServerTLS(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: get}
}

// ReloadingCertificate returns a function for tls.Config.GetCertificate that follows the files: when one has changed, both are read again, and used if they are a certificate
// and its key; else the one before stays in use until they are. Live connections are not touched. The error is that of the first reading.
//
// The files are looked at (two stat calls) for each handshake. It is safe for concurrent use.
func ReloadingCertificate(certFile, keyFile string) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	r := &reloader{files: [2]string{certFile, keyFile}}
	if err := r.load(time.Now()); err != nil {
		return nil, fault.New("httptransport.ReloadingCertificate", fault.InvalidParameters, "the certificate in %q with the key in %q: %w", fault.Clean(certFile), fault.Clean(keyFile), err)
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.get(time.Now()), nil }, nil
}

type reloader struct {
	files [2]string // certificate, key

	mu   sync.Mutex
	seen [2]os.FileInfo
	read time.Time // when the files were read last
	cert *tls.Certificate
	from [2][]byte // what cert was made of
}

// get returns the certificate to use now.
func (r *reloader) get(now time.Time) *tls.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed() {
		_ = r.loadLocked(now) // the one before stays
	}
	return r.cert
}

// racy is how long after a file's time stamp its content may change without the stamp doing so, on file systems with coarse stamps.
const racy = 2 * time.Second

func (r *reloader) changed() bool {
	for i, f := range r.files {
		fi, err := os.Stat(f)
		if err != nil {
			continue // between a remove and a rename
		}
		was := r.seen[i]
		if was == nil || !os.SameFile(fi, was) || fi.Size() != was.Size() || !fi.ModTime().Equal(was.ModTime()) || r.read.Sub(fi.ModTime()) < racy {
			return true
		}
	}
	return false
}

func (r *reloader) load(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loadLocked(now)
}

func (r *reloader) loadLocked(now time.Time) error {
	var content [2][]byte
	for i, f := range r.files {
		fi, err := os.Stat(f)
		if err != nil {
			return err
		}
		if content[i], err = os.ReadFile(f); err != nil {
			return err
		}
		r.seen[i] = fi
	}
	r.read = now
	if bytes.Equal(content[0], r.from[0]) && bytes.Equal(content[1], r.from[1]) {
		return nil
	}
	cert, err := tls.X509KeyPair(content[0], content[1])
	if err != nil {
		return err
	}
	r.cert, r.from = &cert, content
	return nil
}

// parseCertificates returns the certificates of a PEM, at least one.
func parseCertificates(b []byte) (certs []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fault.New("httptransport.Pin", fault.InvalidParameters, "a certificate does not parse: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fault.New("httptransport.Pin", fault.InvalidParameters, "there is no certificate in PEM")
	}
	return certs, nil
}
