package message_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
)

func TestIdentitiesComeBackFromTheirSeed(t *testing.T) {
	p := newPair(t)
	again, err := message.IdentityFromSeed("default", p.node.Name(), p.node.Seed())
	require.NoError(t, err)
	require.Equal(t, p.node.Public(), again.Public())
	data, err := p.controller.Seal(p.node.Public(), cancelOf(t))
	require.NoError(t, err)
	_, err = again.Open(data, p.peers, t0, 0)
	require.NoError(t, err)
	require.Equal(t, message.SeedSize, again.Seed().Len())
	require.Equal(t, "default", again.Tenant())
}

func TestIdentitiesNeedNamesAndAWholeSeed(t *testing.T) {
	seed := secret.New(make([]byte, message.SeedSize))
	for _, c := range []struct {
		tenant, name string
		seed         secret.Value
	}{{"", "n", seed}, {"t", "", seed}, {"a/b", "n", seed}, {"t", "a b", seed}, {"t", strings.Repeat("n", 129), seed}, {"t", "n", secret.Value{}},
		{"t", "n", secret.New(make([]byte, 63))}, {"t", "n", secret.New(make([]byte, 65))}} {
		_, err := message.IdentityFromSeed(c.tenant, c.name, c.seed)
		require.ErrorIs(t, err, message.ErrMalformed)
	}
	_, err := message.NewIdentity("default", "n", strings.NewReader("too short"))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = message.NewIdentity("", "n", nil)
	require.ErrorIs(t, err, message.ErrMalformed)
}

// TestR12NoFormatterShowsTheKeys prints an identity in every way and looks for its seed.
func TestR12NoFormatterShowsTheKeys(t *testing.T) {
	p := newPair(t)
	id := p.node
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%z"} {
		fmt.Fprintf(&out, verb, id)
		fmt.Fprintf(&out, verb, []any{id, map[string]any{"id": id}})
		fmt.Fprintf(&out, verb, struct{ I *message.Identity }{id})
		fmt.Fprintf(&out, verb, *id)
		fmt.Fprintf(&out, verb, struct {
			unexported *message.Identity
			value      message.Identity
			any        any
		}{id, *id, id})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "id", id, "any", []any{id})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "id", id, "any", []any{id})
	j, err := json.Marshal(map[string]any{"id": id})
	require.NoError(t, err)
	out.Write(j)
	x, err := xml.Marshal(named{id})
	require.NoError(t, err)
	out.Write(x)
	require.Contains(t, out.String(), "default/mi-0123456789abcdef0")
	seed := id.Seed().Reveal()
	text := strings.ToLower(out.String())
	for at := 0; at+6 <= len(seed); at++ {
		piece := seed[at : at+6]
		require.NotContains(t, text, strings.ToLower(hex.EncodeToString(piece)))
		require.NotContains(t, out.String(), string(piece))
		require.NotContains(t, text, strings.ToLower(strings.Trim(fmt.Sprint(piece), "[]")))
	}
}

type named struct{ ID *message.Identity }

func TestSignaturesHoldUnderTheirContextOnly(t *testing.T) {
	p := newPair(t)
	msg := []byte("challenge")
	sig := p.node.Sign("transport/v1", msg)
	peer := p.node.Public()
	require.True(t, peer.Verify("transport/v1", msg, sig))
	require.False(t, peer.Verify("transport/v2", msg, sig))
	require.False(t, peer.Verify("", msg, sig))
	require.False(t, peer.Verify("transport/v1", append(msg, 0), sig))
	require.False(t, peer.Verify("transport/v1", msg, sig[:63]))
	require.False(t, p.controller.Public().Verify("transport/v1", msg, sig))
	require.Nil(t, p.node.Sign("", msg))
	require.Nil(t, p.node.Sign(strings.Repeat("c", 256), msg))
	require.NotNil(t, p.node.Sign(strings.Repeat("c", 255), msg))
	require.False(t, ed25519.Verify(peer.SignKey, msg, sig), "it is no plain Ed25519 signature")
}

func TestR19PeersHaveOneShape(t *testing.T) {
	p := newPair(t)
	require.NoError(t, p.node.Public().Validate())
	for what, change := range map[string]func(p *message.Peer){
		"no tenant":         func(p *message.Peer) { p.Tenant = "" },
		"no name":           func(p *message.Peer) { p.Name = "" },
		"a path":            func(p *message.Peer) { p.Name = "../x" },
		"no sign key":       func(p *message.Peer) { p.SignKey = nil },
		"a long sign key":   func(p *message.Peer) { p.SignKey = append(p.SignKey, 0) },
		"no seal key":       func(p *message.Peer) { p.SealKey = nil },
		"a long seal key":   func(p *message.Peer) { p.SealKey = append(p.SealKey, 0) },
		"a zero seal key":   func(p *message.Peer) { p.SealKey = make([]byte, 32) },
		"a seal key of one": func(p *message.Peer) { p.SealKey = append([]byte{1}, make([]byte, 31)...) },
		"a seal key p-1": func(p *message.Peer) {
			p.SealKey = unhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
		},
		"a zero sign key":     func(p *message.Peer) { p.SignKey = make([]byte, 32) },
		"the identity as key": func(p *message.Peer) { p.SignKey = append([]byte{1}, make([]byte, 31)...) },
	} {
		peer := p.node.Public()
		change(&peer)
		require.ErrorIs(t, peer.Validate(), message.ErrMalformed, what)
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// TestKeysOfSmallOrderSignForEverybody shows why they are refused: S = 0 and R of small order is a signature of some messages under each of them.
func TestKeysOfSmallOrderSignForEverybody(t *testing.T) {
	p := newPair(t)
	keys := []string{
		"0000000000000000000000000000000000000000000000000000000000000000", "0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	}
	for _, k := range keys {
		peer := p.node.Public()
		peer.SignKey = unhex(k)
		require.ErrorIs(t, peer.Validate(), message.ErrMalformed, k)
		forged := false
		for i := range 200 {
			for _, r := range keys {
				sig := append(unhex(r), make([]byte, 32)...)
				forged = forged || ed25519.Verify(peer.SignKey, fmt.Append(nil, i), sig)
			}
		}
		require.True(t, forged, "the list has a key that is not of small order: %s", k)
	}
}

func TestIDsAreUUIDsAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := message.NewID(nil)
		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
		require.True(t, message.ValidName(id))
		require.False(t, seen[id])
		seen[id] = true
	}
	zero := bytes.NewReader(make([]byte, 16))
	require.Equal(t, "00000000-0000-4000-8000-000000000000", message.NewID(zero), "a given source decides the id")
	require.NotEqual(t, "00000000-0000-4000-8000-000000000000", message.NewID(zero), "one that has run dry does not")
}
