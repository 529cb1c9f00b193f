package message

import (
	"bytes"
	"crypto"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
)

// noHash asks crypto.Signer for pure Ed25519.
type noHash struct{}

func (noHash) HashFunc() crypto.Hash { return 0 }

func ephemeralOf(data []byte) [32]byte {
	r := reader{b: data}
	r.magic(magicSealed)
	r.text(MaxName)
	r.text(MaxName)
	return [32]byte(r.bytes(32))
}

func TestEphemeralKeysAreReusedForAWhile(t *testing.T) {
	w := newWorld(t)
	first := ephemeralOf(seal(t, w.controller, w.node, run("m-1")))
	require.Equal(t, first, ephemeralOf(seal(t, w.controller, w.other, run("m-2"))), "receivers share the sender's key, each with a secret of its own")

	later := run("m-3")
	later.NotBefore = start.Add(EphemeralAge)
	require.Equal(t, first, ephemeralOf(seal(t, w.controller, w.node, later)))
	later.NotBefore = start.Add(EphemeralAge + time.Second)
	second := ephemeralOf(seal(t, w.controller, w.node, later))
	require.NotEqual(t, first, second)
	require.NotEqual(t, second, ephemeralOf(seal(t, w.controller, w.node, run("m-4"))), "a clock that goes back far is as good a reason")

	w.controller.own().sealer.now.uses = EphemeralUses
	third := ephemeralOf(seal(t, w.controller, w.node, run("m-5")))
	w.controller.own().sealer.now.uses = EphemeralUses - 1
	require.Equal(t, third, ephemeralOf(seal(t, w.controller, w.node, run("m-6"))))
	require.NotEqual(t, third, ephemeralOf(seal(t, w.controller, w.node, run("m-7"))))
}

func TestEveryMessageHasASaltOfItsOwn(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	for range 100 {
		data := seal(t, w.controller, w.node, run("m-1"))
		h := len(magicSealed) + 2*2 + len("default") + len("mi-1") + 32
		salt := string(data[h : h+32])
		require.False(t, seen[salt])
		seen[salt] = true
		require.NotContains(t, string(data), "command")
	}
}

func TestSharesAreBounded(t *testing.T) {
	s := shares{limit: 10}
	key := func(i int) (k [32]byte) {
		k[0], k[1] = byte(i), byte(i>>8)
		return k
	}
	for i := range 1000 {
		s.add(key(i), key(i+1))
		z, ok := s.get(key(0)) // in constant use, so never forgotten
		require.True(t, ok)
		require.Equal(t, key(1), z)
		require.LessOrEqual(t, s.size(), 20)
	}
	_, ok := s.get(key(500))
	require.False(t, ok)
	z, ok := s.get(key(999))
	require.True(t, ok)
	require.Equal(t, key(1000), z)
	var none shares
	none.add(key(1), key(2))
	_, ok = none.get(key(1))
	require.False(t, ok)
}

func TestOnlyWhatOpensIsRemembered(t *testing.T) {
	w := newWorld(t)
	for range 50 {
		data := reseal(t, "default", w.node, []byte("x"))
		data[len(data)-1] ^= 1
		refused(t, w.node, data, know(w.controller), "garbage")
	}
	require.Zero(t, w.node.own().opened.size())
	_, err := w.node.Open(seal(t, w.controller, w.node, run("m-1")), know(w.controller), start, 0)
	require.NoError(t, err)
	require.Equal(t, 1, w.node.own().opened.size())
}

func TestIdentitiesServeManyGoroutines(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				for _, n := range []*Identity{w.node, w.other} {
					data, err := w.controller.Seal(n.Public(), run("m-1"))
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := n.Open(data, know(w.controller), start, 0); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestSealRefusesWhatCannotBeOpened(t *testing.T) {
	w := newWorld(t)
	for what, c := range map[string]struct {
		peer   func(p *Peer)
		change func(e *Envelope)
	}{
		"another tenant":         {peer: func(p *Peer) { p.Tenant = "elsewhere" }},
		"no name":                {peer: func(p *Peer) { p.Name = "" }},
		"a short seal key":       {peer: func(p *Peer) { p.SealKey = p.SealKey[1:] }},
		"a seal key of order 1":  {peer: func(p *Peer) { p.SealKey = make([]byte, 32) }},
		"no id":                  {change: func(e *Envelope) { e.ID = "" }},
		"no kind":                {change: func(e *Envelope) { e.Kind = "" }},
		"no time":                {change: func(e *Envelope) { e.NotBefore, e.NotAfter = time.Time{}, time.Time{} }},
		"a body over the limit":  {change: func(e *Envelope) { e.Body = make([]byte, MaxBody+1) }},
		"an end before its time": {change: func(e *Envelope) { e.NotAfter = e.NotBefore.Add(-time.Second) }},
	} {
		p, e := w.node.Public(), run("m-1")
		if c.peer != nil {
			c.peer(&p)
		}
		if c.change != nil {
			c.change(&e)
		}
		_, err := w.controller.Seal(p, e)
		require.ErrorIs(t, err, ErrMalformed, what)
		require.Equal(t, fault.Validation, fault.CodeOf(err), what)
	}
}

func TestTheLargestMessageFits(t *testing.T) {
	long := func(c byte) string { return string(bytes.Repeat([]byte{c}, MaxName)) }
	from, to := identity(t, long('t'), long('f')), identity(t, long('t'), Controller)
	e := run(long('i'))
	e.Kind = KindReport
	e.Body = bytes.Repeat([]byte{'b'}, MaxBody)
	data, err := from.Seal(to.Public(), e)
	require.NoError(t, err)
	require.LessOrEqual(t, len(data), MaxEnvelope)
	require.LessOrEqual(t, len(data)-MaxBody+MaxName-len(Controller)+MaxName-len(Controller)+MaxKind-len(KindReport), 1<<10, "also with the longest receiver and kind")
	got, err := to.Open(data, know(from), start, 0)
	require.NoError(t, err)
	require.Len(t, got.Body, MaxBody)
}

type brokenRandom struct{}

func (brokenRandom) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestWithoutRandomnessNothingIsSealed(t *testing.T) {
	w := newWorld(t)
	w.controller.own().sealer.random = brokenRandom{}
	_, err := w.controller.Seal(w.node.Public(), run("m-1"))
	require.ErrorContains(t, err, "no entropy")
	_, err = w.controller.own().sealer.take(start)
	require.Error(t, err)
	_, err = NewIdentity("default", "mi-1", brokenRandom{})
	require.ErrorContains(t, err, "no entropy")

	w.node.own().sealer.random = bytes.NewReader(make([]byte, 33)) // enough for the ephemeral key, too little for the salt
	e := run("m-1")
	e.Kind = KindReady
	_, err = w.node.Seal(w.controller.Public(), e)
	require.Error(t, err)
}
