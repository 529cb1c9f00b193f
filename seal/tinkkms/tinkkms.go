// Package tinkkms makes a key service of package seal out of a KMS that Tink knows: Tink's clients for AWS, Google Cloud, Azure, HashiCorp Vault, …, and any AEAD of Tink's.
//
//	client, err := gcpkms.NewClientWithOptions(ctx, "gcp-kms://")
//	keys, err := tinkkms.New("gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/k", nil, client)
//	box := seal.NewBox(keys, nil)
//
// Keys are named by their URI. A data key is what Tink's Encrypt returns for it, with the associated data
//
//	"fleetwright/tinkkms/v1/key" 0x00 | length of the URI (2 bytes) | URI | the associated data of package seal
//
// so that the record and the key id are authenticated as far as the KMS authenticates Tink's associated data, which all of Tink's clients see to.
//
// Only Tink's interfaces are used (registry.KMSClient, tink.AEAD, tink.AEADWithContext), not its envelope: the envelope is that of package seal.
package tinkkms

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
)

// Options are the choices of New; nil is the zero value.
type Options struct {
	// Keys are the URIs of further keys that stored data keys may name, beside the primary one: those that were primary once. Others are refused, since whoever can write to the store
	// could else put a value there that a key of his own wrapped.
	Keys []string
	// Classify tells what an error of the KMS means, as its client knows: it returns an error that wraps seal.ErrTampered, seal.ErrKeyNotFound or seal.ErrKeyDisabled, or nil where
	// it does not know. Tink's interface has no such words. What is left is an outage where the error says so (Timeout, Temporary, an HTTP status of 429 or from 500), the ctx's where that ended,
	// and else, when unwrapping, seal.ErrTampered.
	Classify func(err error) error
}

// Wrapper is a seal.Wrapper. Its methods are safe for concurrent use, if the clients' are.
type Wrapper struct {
	primary string
	clients []registry.KMSClient
	opt     Options
}

var _ seal.Wrapper = (*Wrapper)(nil)

// New returns a wrapper whose primary key has that URI. Of several clients the first that supports a URI is used. No call is made to the KMS.
// To rotate, make one with the new primary key and the old one in Options.Keys, and rewrap.
func New(primary string, o *Options, clients ...registry.KMSClient) (*Wrapper, error) {
	w := &Wrapper{primary: primary, clients: slices.Clone(clients)}
	if o != nil {
		w.opt = *o
		w.opt.Keys = slices.Clone(o.Keys)
	}
	if primary == "" || slices.Contains(clients, nil) {
		return nil, fault.New("tinkkms.New", fault.Validation, "the URI of a key and a client are needed")
	}
	for _, uri := range append([]string{primary}, w.opt.Keys...) {
		if len(uri) > maxURI {
			return nil, fault.New("tinkkms.New", fault.Validation, "the URI of a key has %d bytes, more than %d", len(uri), maxURI)
		}
		if w.client(uri) == nil {
			return nil, fault.New("tinkkms.New", seal.InvalidKeyID, "%w: no client supports the URI %s", seal.ErrKeyNotFound, shown(uri))
		}
	}
	return w, nil
}

const (
	contextKey = "fleetwright/tinkkms/v1/key\x00"
	maxURI     = 512  // of a key id of package seal
	maxWrapped = 8192 // of a wrapped key of package seal
)

// Format writes the URI of the primary key, whatever the verb.
func (w *Wrapper) Format(f fmt.State, _ rune) { io.WriteString(f, "tinkkms:"+w.primary) } //nolint:errcheck // fmt.State never fails

func shown(uri string) string {
	if len(uri) > 200 {
		uri = strings.ToValidUTF8(uri[:200], "") + "…"
	}
	return fault.Clean(uri)
}

func (w *Wrapper) client(uri string) registry.KMSClient {
	for _, c := range w.clients {
		if c.Supported(uri) {
			return c
		}
	}
	return nil
}

func bind(uri string, aad []byte) []byte {
	b := make([]byte, 0, len(contextKey)+2+len(uri)+len(aad))
	b = binary.BigEndian.AppendUint16(append(b, contextKey...), uint16(len(uri)))
	return append(append(b, uri...), aad...)
}

// aead returns the primitive of a key that is accepted.
func (w *Wrapper) aead(op, uri string) (tink.AEAD, error) {
	if uri != w.primary && !slices.Contains(w.opt.Keys, uri) {
		return nil, fault.New(op, seal.InvalidKeyID, "%w: %q is neither the primary key nor one of Options.Keys", seal.ErrKeyNotFound, shown(uri))
	}
	a, err := w.client(uri).GetAEAD(uri)
	if err != nil {
		return nil, w.failed(op, err, seal.ErrKeyNotFound, seal.InvalidKeyID)
	}
	return a, nil
}

// WrapKey implements seal.Wrapper. A ctx that ends while a client without tink.AEADWithContext is busy is seen when that is done.
func (w *Wrapper) WrapKey(ctx context.Context, keyID string, key, aad []byte) (seal.Wrapped, error) {
	const op = "tinkkms.WrapKey"
	if keyID == "" {
		keyID = w.primary
	}
	out, err := w.call(ctx, op, keyID, key, aad, false)
	if err != nil {
		return seal.Wrapped{}, err
	}
	if len(out) == 0 || len(out) > maxWrapped {
		return seal.Wrapped{}, fault.New(op, fault.ServiceUnavailable, "the KMS answered with a ciphertext of %d bytes, not 1 to %d", len(out), maxWrapped)
	}
	return seal.Wrapped{KeyID: keyID, Data: out}, nil
}

// UnwrapKey implements seal.Wrapper; see WrapKey for ctx.
func (w *Wrapper) UnwrapKey(ctx context.Context, s seal.Wrapped, aad []byte) ([]byte, error) {
	return w.call(ctx, "tinkkms.UnwrapKey", s.KeyID, s.Data, aad, true)
}

func (w *Wrapper) call(ctx context.Context, op, uri string, in, aad []byte, decrypt bool) (out []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap(op, err)
	}
	a, err := w.aead(op, uri)
	if err != nil {
		return nil, err
	}
	ad := bind(uri, aad)
	c, withContext := a.(tink.AEADWithContext)
	switch {
	case withContext && decrypt:
		out, err = c.DecryptWithContext(ctx, in, ad)
	case withContext:
		out, err = c.EncryptWithContext(ctx, in, ad)
	case decrypt:
		out, err = a.Decrypt(in, ad)
	default:
		out, err = a.Encrypt(in, ad)
	}
	cerr := ctx.Err()
	switch {
	case err == nil && cerr == nil:
		return out, nil
	case cerr != nil:
		if decrypt {
			clear(out)
		}
		return nil, fault.Wrap(op, cerr)
	case decrypt:
		return nil, w.failed(op, err, seal.ErrTampered, fault.DataCorrupt)
	}
	return nil, w.failed(op, err, nil, fault.ServiceUnavailable)
}

// failed gives an error of the KMS its code; otherwise is what it means when it does not say. Its text is not shown, since clients put requests into it.
func (w *Wrapper) failed(op string, err, otherwise error, code fault.Code) error {
	if w.opt.Classify != nil {
		switch known := w.opt.Classify(err); {
		case errors.Is(known, seal.ErrTampered):
			return fault.New(op, fault.DataCorrupt, "%w: the KMS refuses the data key", known)
		case errors.Is(known, seal.ErrKeyNotFound), errors.Is(known, seal.ErrKeyDisabled):
			return fault.New(op, seal.InvalidKeyID, "%w: the KMS refuses the key", known)
		case known != nil:
			return fault.New(op, fault.ServiceUnavailable, "the KMS does not do it: %w", known)
		}
	}
	if otherwise == nil || outage(err) {
		return fault.New(op, fault.ServiceUnavailable, "the KMS cannot be asked, try again: %w", err)
	}
	return fault.New(op, code, "%w: the KMS says: %w", otherwise, err)
}

// outage reports whether an error says of itself that it may pass.
func outage(err error) bool {
	var timeout interface{ Timeout() bool }
	var temporary interface{ Temporary() bool }
	var status interface{ HTTPStatusCode() int }
	return errors.As(err, &timeout) && timeout.Timeout() || errors.As(err, &temporary) && temporary.Temporary() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.As(err, &status) && (status.HTTPStatusCode() == 429 || status.HTTPStatusCode() >= 500)
}
