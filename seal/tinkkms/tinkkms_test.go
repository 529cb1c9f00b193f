package tinkkms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/testing/fakekms"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/sealtest"
	"github.com/fleetwright/fleetwright/seal/tinkkms"
)

func newURI(t testing.TB) string {
	uri, err := fakekms.NewKeyURI()
	require.NoError(t, err)
	return uri
}

func fakeClient(t testing.TB) registry.KMSClient {
	c, err := fakekms.NewClient("fake-kms://")
	require.NoError(t, err)
	return c
}

var errGone, errOff = errors.New("the key is gone"), errors.New("the key is off")

// service is Tink's own fake KMS with what it lacks: loss of keys, faults, and a look at what is sent.
type service struct {
	registry.KMSClient
	mu   sync.Mutex
	gone map[string]bool
	fail error
	sent [][]byte // associated data
	ctx  bool     // its AEADs take a context
	busy func()   // is called within a call
}

func (s *service) GetAEAD(uri string) (tink.AEAD, error) {
	a, err := s.KMSClient.GetAEAD(uri)
	if err != nil {
		return nil, err
	}
	p := primitive{s, uri, a}
	if s.ctx {
		return withContext{p}, nil
	}
	return p, nil
}

func (s *service) enter(uri string, ad []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, bytes.Clone(ad))
	if s.busy != nil {
		s.busy()
	}
	if s.gone[uri] {
		return errGone
	}
	return s.fail
}

type primitive struct {
	s   *service
	uri string
	a   tink.AEAD
}

func (p primitive) Encrypt(plaintext, ad []byte) ([]byte, error) {
	if err := p.s.enter(p.uri, ad); err != nil {
		return nil, err
	}
	return p.a.Encrypt(plaintext, ad)
}

func (p primitive) Decrypt(ciphertext, ad []byte) ([]byte, error) {
	if err := p.s.enter(p.uri, ad); err != nil {
		return nil, err
	}
	return p.a.Decrypt(ciphertext, ad)
}

type withContext struct{ primitive }

func (p withContext) EncryptWithContext(ctx context.Context, plaintext, ad []byte) ([]byte, error) {
	return p.Encrypt(plaintext, append([]byte(ctx.Value(key{}).(string)), ad...))
}

func (p withContext) DecryptWithContext(ctx context.Context, ciphertext, ad []byte) ([]byte, error) {
	return p.Decrypt(ciphertext, append([]byte(ctx.Value(key{}).(string)), ad...))
}

type key struct{}

func classify(err error) error {
	switch {
	case errors.Is(err, errGone):
		return seal.ErrKeyNotFound
	case errors.Is(err, errOff):
		return seal.ErrKeyDisabled
	}
	return nil
}

// current is the wrapper of a host that rotates: a new one with the old keys behind.
type current struct {
	mu sync.Mutex
	w  *tinkkms.Wrapper
}

func (c *current) get() *tinkkms.Wrapper {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w
}

func (c *current) WrapKey(ctx context.Context, id string, k, aad []byte) (seal.Wrapped, error) {
	return c.get().WrapKey(ctx, id, k, aad)
}

func (c *current) UnwrapKey(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
	return c.get().UnwrapKey(ctx, w, aad)
}

func keys(t testing.TB) sealtest.Keys {
	s := &service{KMSClient: fakeClient(t), gone: map[string]bool{}}
	ids := []string{newURI(t), newURI(t), newURI(t)}
	make := func(primary string, others []string) *tinkkms.Wrapper {
		w, err := tinkkms.New(primary, &tinkkms.Options{Keys: others, Classify: classify}, s)
		require.NoError(t, err)
		return w
	}
	c := &current{w: make(ids[0], ids[1:])}
	known := ids
	return sealtest.Keys{Wrapper: c, IDs: ids,
		Rotate: func(context.Context) (string, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			id := newURI(t)
			c.w, known = make(id, known), append(known, id)
			return id, nil
		},
		Lose: func(_ context.Context, id string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.gone[id] = true
			return nil
		}}
}

func TestWrapper(t *testing.T) { sealtest.RunWrapper(t, keys) }

func TestBox(t *testing.T) {
	sealtest.RunBox(t, func(t testing.TB) sealtest.Subject {
		k := keys(t)
		return sealtest.Subject{Box: sealtest.Of(seal.NewBox(k, nil)), Keys: k}
	})
}

func TestErrorsHaveCodes(t *testing.T) {
	s := &service{KMSClient: fakeClient(t)}
	uri := newURI(t)
	w, err := tinkkms.New(uri, &tinkkms.Options{Classify: classify}, s)
	require.NoError(t, err)
	good, err := w.WrapKey(t.Context(), "", make([]byte, 32), nil)
	require.NoError(t, err)
	for _, c := range []struct {
		fail         error
		wrap, unwrap fault.Code
		is           error
	}{
		{errGone, seal.InvalidKeyID, seal.InvalidKeyID, seal.ErrKeyNotFound},
		{errOff, seal.InvalidKeyID, seal.InvalidKeyID, seal.ErrKeyDisabled},
		{errors.New("aead: decryption failed"), fault.ServiceUnavailable, fault.DataCorrupt, nil},
		{fmt.Errorf("call: %w", context.DeadlineExceeded), fault.ServiceUnavailable, fault.ServiceUnavailable, nil},
		{status(429), fault.ServiceUnavailable, fault.ServiceUnavailable, nil},
		{status(503), fault.ServiceUnavailable, fault.ServiceUnavailable, nil},
		{status(400), fault.ServiceUnavailable, fault.DataCorrupt, nil},
	} {
		s.fail = c.fail
		_, werr := w.WrapKey(t.Context(), "", make([]byte, 32), nil)
		k, uerr := w.UnwrapKey(t.Context(), good, nil)
		require.Nil(t, k)
		require.Equal(t, c.wrap, fault.CodeOf(werr), "%v", c.fail)
		require.Equal(t, c.unwrap, fault.CodeOf(uerr), "%v", c.fail)
		require.Equal(t, c.unwrap == fault.DataCorrupt, errors.Is(uerr, seal.ErrTampered), "%v", c.fail)
		if c.is != nil {
			require.ErrorIs(t, werr, c.is)
			require.ErrorIs(t, uerr, c.is)
		}
	}
}

type status int

func (s status) Error() string       { return fmt.Sprint("status ", int(s)) }
func (s status) HTTPStatusCode() int { return int(s) }

// TestTheContextReachesTheKMS: clients that take a context get it; of others an end is seen after the call.
func TestTheContextReachesTheKMS(t *testing.T) {
	s := &service{KMSClient: fakeClient(t), ctx: true}
	w, err := tinkkms.New(newURI(t), nil, s)
	require.NoError(t, err)
	ctx := context.WithValue(t.Context(), key{}, "mark")
	x, err := w.WrapKey(ctx, "", make([]byte, 32), []byte("aad"))
	require.NoError(t, err)
	_, err = w.UnwrapKey(ctx, x, []byte("aad"))
	require.NoError(t, err)
	for _, ad := range s.sent {
		require.True(t, bytes.HasPrefix(ad, []byte("markfleetwright/tinkkms/v1/key\x00")) && bytes.HasSuffix(ad, []byte(x.KeyID+"aad")), "%q", ad)
	}
	s.ctx = false
	ended, cancel := context.WithCancel(ctx)
	s.busy = cancel
	_, err = w.WrapKey(ended, "", make([]byte, 32), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fault.RequestCanceled, fault.CodeOf(err))
}

// TestAKeyOfAStranger: a stored value that another key of the same KMS wrapped is refused without a call.
func TestAKeyOfAStranger(t *testing.T) {
	s := &service{KMSClient: fakeClient(t)}
	mine, theirs := newURI(t), newURI(t)
	w, err := tinkkms.New(mine, nil, s)
	require.NoError(t, err)
	their, err := tinkkms.New(theirs, nil, s)
	require.NoError(t, err)
	x, err := their.WrapKey(t.Context(), "", make([]byte, 32), nil)
	require.NoError(t, err)
	calls := len(s.sent)
	_, err = w.UnwrapKey(t.Context(), x, nil)
	require.ErrorIs(t, err, seal.ErrKeyNotFound)
	require.Len(t, s.sent, calls)
	w, err = tinkkms.New(mine, &tinkkms.Options{Keys: []string{theirs}}, s)
	require.NoError(t, err)
	_, err = w.UnwrapKey(t.Context(), x, nil)
	require.NoError(t, err)
}

func TestNewRefuses(t *testing.T) {
	c := fakeClient(t)
	for name, f := range map[string]func() (*tinkkms.Wrapper, error){
		"no URI":        func() (*tinkkms.Wrapper, error) { return tinkkms.New("", nil, c) },
		"no client":     func() (*tinkkms.Wrapper, error) { return tinkkms.New("fake-kms://x", nil) },
		"a nil client":  func() (*tinkkms.Wrapper, error) { return tinkkms.New("fake-kms://x", nil, c, nil) },
		"another's URI": func() (*tinkkms.Wrapper, error) { return tinkkms.New("gcp-kms://x", nil, c) },
		"another's old key": func() (*tinkkms.Wrapper, error) {
			return tinkkms.New("fake-kms://x", &tinkkms.Options{Keys: []string{"gcp-kms://x"}}, c)
		},
		"a URI that is long": func() (*tinkkms.Wrapper, error) { return tinkkms.New("fake-kms://"+strings.Repeat("x", 600), nil, c) },
	} {
		w, err := f()
		require.Nil(t, w, name)
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
	}
	w, err := tinkkms.New("fake-kms://damaged", nil, c)
	require.NoError(t, err)
	_, err = w.WrapKey(t.Context(), "", make([]byte, 32), nil)
	require.ErrorIs(t, err, seal.ErrKeyNotFound)
	require.Equal(t, "tinkkms:fake-kms://damaged", fmt.Sprintf("%#v", w))
}
