package httptransport_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

func TestEnroll(t *testing.T) {
	const most = 64 << 10
	var answer func(body []byte) ([]byte, error)
	w := newWorld(t, func(c *httptransport.ServerConfig) {
		c.Enroll = func(_ context.Context, remote string, body []byte) ([]byte, error) {
			if !strings.HasPrefix(remote, "127.0.0.1:") {
				return nil, errors.New("remote is " + remote)
			}
			return answer(body)
		}
	})
	cfg := httptransport.ClientConfig{URL: w.url, RootCAs: w.files.CA} // no key, no address

	answer = func(body []byte) ([]byte, error) { return append([]byte("welcome, "), body...), nil }
	b, err := httptransport.Enroll(t.Context(), cfg, []byte("code"))
	require.NoError(t, err)
	require.Equal(t, "welcome, code", string(b))

	answer = func(body []byte) ([]byte, error) { return body, nil }
	full := bytes.Repeat([]byte("x"), most)
	b, err = httptransport.Enroll(t.Context(), cfg, full)
	require.NoError(t, err)
	require.True(t, bytes.Equal(full, b))
	_, err = httptransport.Enroll(t.Context(), cfg, append(full, 'x'))
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	resp, _ := newStranger(t, w).post("enroll", append(full, 'x'), "")
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)

	for _, code := range []fault.Code{fault.InvalidActivation, fault.InvalidActivationID, fault.AccessDenied, fault.Throttling, fault.AlreadyExists, fault.DuplicateInstanceID, fault.ServiceUnavailable} {
		answer = func([]byte) ([]byte, error) {
			return nil, fault.New("node.Enroll", code, "that is wrong, do this: \x1b[2J")
		}
		_, err = httptransport.Enroll(t.Context(), cfg, nil)
		require.Equal(t, code, fault.CodeOf(err))
		require.ErrorContains(t, err, `that is wrong, do this: \x1b[2J`)
	}
	for _, secret := range []error{errors.New("password hunter2"), fault.New("node.Enroll", fault.InternalServerError, "password hunter2"), fault.Wrap("x", errors.New("password hunter2"))} {
		answer = func([]byte) ([]byte, error) { return nil, secret }
		_, err = httptransport.Enroll(t.Context(), cfg, nil)
		require.Equal(t, fault.InternalServerError, fault.CodeOf(err))
		require.NotContains(t, err.Error(), "hunter2")
	}
	answer = func([]byte) ([]byte, error) { return append(full, 'x'), nil }
	_, err = httptransport.Enroll(t.Context(), cfg, nil)
	require.Equal(t, fault.InternalServerError, fault.CodeOf(err))
}

func TestEnrollmentsHaveALimitOfTheirOwn(t *testing.T) {
	var calls atomic.Int32
	w := newWorld(t, func(c *httptransport.ServerConfig) {
		c.EnrollRate, c.EnrollBurst = 0.0001, 3
		c.Enroll = func(context.Context, string, []byte) ([]byte, error) { calls.Add(1); return nil, nil }
	})
	cfg := httptransport.ClientConfig{URL: w.url, RootCAs: w.files.CA}
	for range 3 {
		_, err := httptransport.Enroll(t.Context(), cfg, nil)
		require.NoError(t, err)
	}
	for range 5 {
		_, err := httptransport.Enroll(t.Context(), cfg, nil)
		require.Equal(t, fault.Throttling, fault.CodeOf(err))
	}
	require.Equal(t, int32(3), calls.Load())
	w.dial(addr(1), nil) // connecting is not held up
}

func TestEnrollWithoutAControlPlane(t *testing.T) {
	_, err := httptransport.Enroll(t.Context(), httptransport.ClientConfig{URL: "https://127.0.0.1:1/"}, nil)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	other := httptest.NewTLSServer(http.NotFoundHandler()) // something else answers
	defer other.Close()
	_, err = httptransport.Enroll(t.Context(), httptransport.ClientConfig{URL: other.URL, Pins: []string{pinOf(t, other.Certificate())}}, nil)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	require.ErrorContains(t, err, "is this the control plane's address?")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = httptransport.Enroll(ctx, httptransport.ClientConfig{URL: other.URL}, nil)
	require.Equal(t, fault.RequestCanceled, fault.CodeOf(err))
	w := newWorld(t, nil)
	_, err = httptransport.Enroll(t.Context(), httptransport.ClientConfig{URL: w.url, RootCAs: w.files.CA}, nil)
	require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(err))
}
