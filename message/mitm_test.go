package message

// T-MITM: an attacker who sees and edits everything that passes starts nothing.

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// world is a control plane and two nodes of one tenant, and the same names in another.
type world struct {
	controller, node, other             *Identity
	foreignController, foreignNode, spy *Identity
}

func identity(t testing.TB, tenant, name string) *Identity {
	t.Helper()
	id, err := NewIdentity(tenant, name, nil)
	require.NoError(t, err)
	return id
}

func newWorld(t testing.TB) world {
	t.Helper()
	return world{identity(t, "default", Controller), identity(t, "default", "mi-1"), identity(t, "default", "mi-2"),
		identity(t, "elsewhere", Controller), identity(t, "elsewhere", "mi-1"), identity(t, "default", "spy")}
}

// know resolves exactly these identities.
func know(ids ...*Identity) func(string) (Peer, error) {
	return func(name string) (Peer, error) {
		for _, id := range ids {
			if id.name == name {
				return id.Public(), nil
			}
		}
		return Peer{}, errors.New("never heard of it")
	}
}

func run(id string) Envelope {
	return Envelope{Kind: KindRun, ID: id, Attempt: 1, Epoch: 3, NotBefore: start, NotAfter: start.Add(time.Hour), Body: []byte(`{"command":"c-1","attempt":1}`)}
}

func seal(t testing.TB, from, to *Identity, e Envelope) []byte {
	t.Helper()
	data, err := from.Seal(to.Public(), e)
	require.NoError(t, err)
	return data
}

// refused fails when the message opens, and returns the error.
func refused(t testing.TB, at *Identity, data []byte, from func(string) (Peer, error), what string) error {
	t.Helper()
	e, err := at.Open(data, from, start, 0)
	require.Error(t, err, what)
	require.Equal(t, Envelope{}, e, what)
	for _, known := range []error{ErrMalformed, ErrNotForMe, ErrBadSignature, ErrUnknownSender, ErrExpired} {
		if errors.Is(err, known) {
			return err
		}
	}
	require.Fail(t, "an error without a type", "%s: %v", what, err)
	return nil
}

func TestT_MITM_EveryBitOfASealedMessage(t *testing.T) {
	w := newWorld(t)
	data := seal(t, w.controller, w.node, run("m-1"))
	for i := range len(data) * 8 {
		flipped := bytes.Clone(data)
		flipped[i/8] ^= 1 << (i % 8)
		refused(t, w.node, flipped, know(w.controller), fmt.Sprintf("bit %d", i))
	}
	_, err := w.node.Open(data, know(w.controller), start, 0)
	require.NoError(t, err, "the message itself")
}

func TestT_MITM_EveryLength(t *testing.T) {
	w := newWorld(t)
	data := seal(t, w.controller, w.node, run("m-1"))
	for n := range data {
		refused(t, w.node, data[:n], know(w.controller), "cut")
	}
	refused(t, w.node, append(bytes.Clone(data), 0), know(w.controller), "one byte more")
	refused(t, w.node, append(bytes.Clone(data), data...), know(w.controller), "twice")
	require.ErrorIs(t, refused(t, w.node, make([]byte, MaxEnvelope+1), know(w.controller), "huge"), ErrMalformed)
}

// reseal is what somebody can do who knows a receiver's public key: seal any bytes for it.
func reseal(t testing.TB, tenant string, to *Identity, plain []byte) []byte {
	t.Helper()
	eph, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	header := appendText(appendText([]byte(magicSealed), tenant), to.name)
	header = append(header, eph.PublicKey().Bytes()...)
	salt := make([]byte, 32)
	rand.Read(salt)
	header = append(header, salt...)
	z, err := exchange(eph, to.Public().SealKey)
	require.NoError(t, err)
	aead, nonce, err := derive(z, eph.PublicKey().Bytes(), to.Public().SealKey, header)
	require.NoError(t, err)
	return aead.Seal(bytes.Clone(header), nonce, plain, header)
}

// inside opens the seal with the receiver's key and returns what was signed with its signature.
func inside(t testing.TB, at *Identity, data []byte) []byte {
	t.Helper()
	r := reader{b: data}
	r.magic(magicSealed)
	r.text(MaxName)
	r.text(MaxName)
	public := r.bytes(32)
	r.bytes(32)
	header := data[:len(data)-len(r.b)]
	z, err := exchange(at.own().seal, public)
	require.NoError(t, err)
	aead, nonce, err := derive(z, public, at.Public().SealKey, header)
	require.NoError(t, err)
	plain, err := aead.Open(nil, nonce, r.b, header)
	require.NoError(t, err)
	return plain
}

// TestT_MITM_EveryBitBelowTheSeal: the signature alone refuses every change by one who can seal, such as a receiver that turns against others.
func TestT_MITM_EveryBitBelowTheSeal(t *testing.T) {
	w := newWorld(t)
	plain := inside(t, w.node, seal(t, w.controller, w.node, run("m-1")))
	e, err := w.node.Open(reseal(t, "default", w.node, plain), know(w.controller), start, 0)
	require.NoError(t, err, "unchanged, another seal does no harm")
	require.Equal(t, "m-1", e.ID)
	for i := range len(plain) * 8 {
		flipped := bytes.Clone(plain)
		flipped[i/8] ^= 1 << (i % 8)
		refused(t, w.node, reseal(t, "default", w.node, flipped), know(w.controller), fmt.Sprintf("bit %d", i))
	}
}

// TestT_MITM_EveryFieldBelowTheSeal changes each field to another valid value, keeping the encoding canonical.
func TestT_MITM_EveryFieldBelowTheSeal(t *testing.T) {
	w := newWorld(t)
	plain := inside(t, w.node, seal(t, w.controller, w.node, run("m-1")))
	signed, sig := plain[:len(plain)-64], plain[len(plain)-64:]
	for what, change := range map[string]func(e *Envelope){
		"tenant":     func(e *Envelope) { e.Tenant = "elsewhere" },
		"from":       func(e *Envelope) { e.From = "spy" },
		"to":         func(e *Envelope) { e.To = "mi-2" },
		"kind":       func(e *Envelope) { e.Kind = KindCancel },
		"id":         func(e *Envelope) { e.ID = "m-2" },
		"attempt":    func(e *Envelope) { e.Attempt = 2 },
		"epoch":      func(e *Envelope) { e.Epoch++ },
		"not before": func(e *Envelope) { e.NotBefore = e.NotBefore.Add(-time.Millisecond) },
		"not after":  func(e *Envelope) { e.NotAfter = e.NotAfter.Add(time.Millisecond) },
		"body":       func(e *Envelope) { e.Body = append(bytes.Clone(e.Body), ' ') },
		"no body":    func(e *Envelope) { e.Body = nil },
	} {
		e, err := Decode(signed)
		require.NoError(t, err)
		change(&e)
		b, err := Encode(e)
		require.NoError(t, err, what)
		refused(t, w.node, reseal(t, "default", w.node, append(b, sig...)), know(w.controller, w.spy), what)
	}
}

// TestT_MITM_CrossSwaps puts every piece of one captured message in the place of the same piece of another.
func TestT_MITM_CrossSwaps(t *testing.T) {
	w := newWorld(t)
	one, two := seal(t, w.controller, w.node, run("m-1")), seal(t, w.controller, w.node, run("m-2"))
	require.Len(t, two, len(one))
	again, err := NewIdentity("default", Controller, nil) // a second ephemeral key
	require.NoError(t, err)
	again.own().sign = w.controller.own().sign
	three := seal(t, again, w.node, run("m-3"))
	h := len(magicSealed) + 2*2 + len("default") + len("mi-1")
	cuts := []int{0, h, h + 32, h + 64, h + 64 + 4, len(one) - 80, len(one) - 16, len(one)}
	for _, pair := range [][2][]byte{{one, two}, {two, one}, {one, three}, {three, one}} {
		for i := range cuts {
			for j := i + 1; j < len(cuts); j++ {
				mixed := bytes.Clone(pair[0])
				copy(mixed[cuts[i]:cuts[j]], pair[1][cuts[i]:cuts[j]])
				if bytes.Equal(mixed, pair[0]) || bytes.Equal(mixed, pair[1]) {
					continue // a piece that both have in common
				}
				refused(t, w.node, mixed, know(w.controller), fmt.Sprintf("bytes %d to %d", cuts[i], cuts[j]))
			}
		}
	}
}

// TestT_MITM_SignaturesDoNotMove: signatures of two messages, swapped below the seal.
func TestT_MITM_SignaturesDoNotMove(t *testing.T) {
	w := newWorld(t)
	one, two := inside(t, w.node, seal(t, w.controller, w.node, run("m-1"))), inside(t, w.node, seal(t, w.controller, w.node, run("m-2")))
	n := len(one) - 64
	err := refused(t, w.node, reseal(t, "default", w.node, append(bytes.Clone(one[:n]), two[n:]...)), know(w.controller), "swapped signature")
	require.ErrorIs(t, err, ErrBadSignature)
}

func TestR03AMessageForOneNodeOpensAtNoOther(t *testing.T) {
	w := newWorld(t)
	data := seal(t, w.controller, w.node, run("m-1"))
	require.ErrorIs(t, refused(t, w.other, data, know(w.controller), "another node"), ErrNotForMe)
	require.ErrorIs(t, refused(t, w.controller, data, know(w.controller), "back to its sender"), ErrNotForMe)
	require.ErrorIs(t, refused(t, w.foreignNode, data, know(w.foreignController), "the node of that name of another tenant"), ErrNotForMe)

	// The outer address rewritten: the seal does not hold.
	moved := bytes.Replace(data, []byte("mi-1"), []byte("mi-2"), 1)
	require.ErrorIs(t, refused(t, w.other, moved, know(w.controller), "readdressed"), ErrBadSignature)

	// A receiver seals what it got for another node: the signed address does not fit.
	plain := inside(t, w.node, data)
	require.ErrorIs(t, refused(t, w.other, reseal(t, "default", w.other, plain), know(w.controller), "passed on"), ErrNotForMe)
	require.ErrorIs(t, refused(t, w.foreignNode, reseal(t, "elsewhere", w.foreignNode, plain), know(w.foreignController), "passed on to another tenant"), ErrNotForMe)
}

func TestR04NodesSignTheirMessagesToo(t *testing.T) {
	w := newWorld(t)
	e := run("m-1")
	e.Kind = KindReport
	// A compromised node reports for another one: it signs with its own key.
	forger := identity(t, "default", "mi-1")
	data := seal(t, forger, w.controller, e)
	require.ErrorIs(t, refused(t, w.controller, data, know(w.node, w.other), "a forged report"), ErrBadSignature)
	require.ErrorIs(t, refused(t, w.controller, seal(t, w.spy, w.controller, e), know(w.node), "an unknown node"), ErrUnknownSender)
}

func TestR04KindsGoOneWay(t *testing.T) {
	w := newWorld(t)
	for _, k := range []Kind{KindOffer, KindRun, KindCancel, KindAck, KindWelcome, KindKeys, KindAnswer} {
		e := run("m-1")
		e.Kind = k
		_, err := w.node.Open(seal(t, w.controller, w.node, e), know(w.controller), start, 0)
		require.NoError(t, err)
		require.ErrorIs(t, refused(t, w.other, seal(t, w.node, w.other, e), know(w.node), "a node that commands"), ErrMalformed)
	}
	for _, k := range []Kind{KindHello, KindReady, KindReport, KindOutput, KindPinned, KindAsk} {
		e := run("m-1")
		e.Kind = k
		_, err := w.controller.Open(seal(t, w.node, w.controller, e), know(w.node), start, 0)
		require.NoError(t, err)
		require.ErrorIs(t, refused(t, w.node, seal(t, w.controller, w.node, e), know(w.controller), "a control plane that reports"), ErrMalformed)
	}
	e := run("m-1")
	e.Kind = "dance"
	require.ErrorIs(t, refused(t, w.node, seal(t, w.controller, w.node, e), know(w.controller), "an unknown kind"), ErrMalformed)
	require.ErrorIs(t, refused(t, w.controller, seal(t, w.node, w.controller, e), know(w.node), "an unknown kind from a node"), ErrMalformed)
}

// TestT_MITM_SealsOfTooLittle: what is sealed well may still be too short to hold a signature.
func TestT_MITM_SealsOfTooLittle(t *testing.T) {
	w := newWorld(t)
	for n := range 140 {
		require.ErrorIs(t, refused(t, w.node, reseal(t, "default", w.node, make([]byte, n)), know(w.controller), "zeros"), ErrMalformed)
	}
}

func TestContextsKeepSignaturesApart(t *testing.T) {
	w := newWorld(t)
	e := run("m-1")
	e.Tenant, e.From, e.To = "default", Controller, "mi-1"
	signed, err := Encode(e)
	require.NoError(t, err)
	for what, sig := range map[string][]byte{
		"another kind's":  w.controller.Sign(contextKind+"cancel", signed),
		"a transport's":   w.controller.Sign("fleetwright/transport/v1", signed),
		"a bad context's": append(w.controller.Sign("", signed), make([]byte, 64)...),
	} {
		require.ErrorIs(t, refused(t, w.node, reseal(t, "default", w.node, append(bytes.Clone(signed), sig...)), know(w.controller), what), ErrBadSignature)
	}
	pure, err := w.controller.Signer().Sign(rand.Reader, signed, noHash{})
	require.NoError(t, err)
	require.ErrorIs(t, refused(t, w.node, reseal(t, "default", w.node, append(bytes.Clone(signed), pure...)), know(w.controller), "a TLS stack's"), ErrBadSignature)
	good := w.controller.Sign(contextKind+"run", signed)
	_, err = w.node.Open(reseal(t, "default", w.node, append(bytes.Clone(signed), good...)), know(w.controller), start, 0)
	require.NoError(t, err)
}

func TestR15UnknownAndForgedTakeTheSamePath(t *testing.T) {
	w := newWorld(t)
	verified := testing.AllocsPerRun(1, func() {}) // warm up
	_ = verified
	e := run("m-1")
	e.Kind = KindReport
	data := seal(t, w.spy, w.controller, e)
	// Both errors come after the signature was looked at: a sender whose keys are found and do not fit, and one that is not known.
	require.ErrorIs(t, refused(t, w.controller, data, know(identity(t, "default", "spy")), "forged"), ErrBadSignature)
	require.ErrorIs(t, refused(t, w.controller, data, know(), "unknown"), ErrUnknownSender)
	require.ErrorIs(t, refused(t, w.controller, data, nil, "no book at all"), ErrUnknownSender)
}

func TestTheBookMustAnswerForTheNameThatWasAsked(t *testing.T) {
	w := newWorld(t)
	data := seal(t, w.controller, w.node, run("m-1"))
	for what, p := range map[string]Peer{"another name": w.other.Public(), "another tenant": w.foreignController.Public(), "nothing": {}} {
		err := refused(t, w.node, data, func(string) (Peer, error) { return p, nil }, what)
		require.ErrorIs(t, err, ErrUnknownSender, what)
	}
	short := w.controller.Public()
	short.SignKey = short.SignKey[:31]
	require.ErrorIs(t, refused(t, w.node, data, func(string) (Peer, error) { return short, nil }, "a short key"), ErrBadSignature)
	down := errors.New("the store is away")
	err := refused(t, w.node, data, func(string) (Peer, error) { return Peer{}, down }, "a failing book")
	require.ErrorIs(t, err, down)
	require.ErrorIs(t, err, ErrUnknownSender)
}

func TestTimeIsCheckedToTheMillisecond(t *testing.T) {
	w := newWorld(t)
	data := seal(t, w.controller, w.node, run("m-1"))
	for _, c := range []struct {
		now  time.Time
		skew time.Duration
		good bool
	}{
		{start, 0, true},
		{start.Add(-DefaultSkew), 0, true},
		{start.Add(-DefaultSkew - time.Millisecond), 0, false},
		{start.Add(time.Hour + DefaultSkew), 0, true},
		{start.Add(time.Hour + DefaultSkew + time.Millisecond), 0, false},
		{start.Add(-time.Second), time.Second, true},
		{start.Add(-2 * time.Second), time.Second, false},
		{start.Add(time.Hour + time.Second), time.Second, true},
		{start.Add(time.Hour + 2*time.Second), time.Second, false},
		{start.AddDate(1, 0, 0), 0, false},
		{time.Time{}, 0, false},
	} {
		_, err := w.node.Open(data, know(w.controller), c.now, c.skew)
		if c.good {
			require.NoError(t, err, "%s", c.now)
		} else {
			require.ErrorIs(t, err, ErrExpired, "%s", c.now)
		}
	}
}

func TestCodecsDoNotReadEachOther(t *testing.T) {
	w := newWorld(t)
	plain := Plain{Tenant: "default", Name: Controller}
	data, err := plain.Seal(w.node.Public(), run("m-1"))
	require.NoError(t, err)
	require.ErrorIs(t, refused(t, w.node, data, know(w.controller), "a plain envelope"), ErrMalformed)
	_, err = Plain{Tenant: "default", Name: "mi-1"}.Open(seal(t, w.controller, w.node, run("m-1")), know(w.controller), start, 0)
	require.ErrorIs(t, err, ErrMalformed)
	e, err := Plain{Tenant: "default", Name: "mi-1"}.Open(data, know(w.controller), start, 0)
	require.NoError(t, err)
	require.Equal(t, KindRun, e.Kind)
}

// TestT_MITM_ManyMutations changes captured messages at random: bits, bytes, pieces moved, cut, repeated, and mixed from several captures (G8).
func TestT_MITM_ManyMutations(t *testing.T) {
	rounds := 20_000
	if testing.Short() {
		rounds = 2_000
	}
	if s := os.Getenv("FLEETWRIGHT_MUTATIONS"); s != "" {
		var err error
		rounds, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	w := newWorld(t)
	var captured [][]byte
	known := map[string]bool{}
	for i := range 16 {
		e := run("m-" + strconv.Itoa(i))
		e.Body = bytes.Repeat([]byte{'a'}, i*7)
		data := seal(t, w.controller, w.node, e)
		captured, known[string(data)] = append(captured, data), true
	}
	r := mathrand.New(mathrand.NewPCG(1, 2))
	book := know(w.controller)
	for range rounds {
		data := bytes.Clone(captured[r.IntN(len(captured))])
		for range 1 + r.IntN(3) {
			i, j := r.IntN(len(data)), r.IntN(len(data))
			i, j = min(i, j), max(i, j)
			other := captured[r.IntN(len(captured))]
			switch r.IntN(7) {
			case 0:
				data[i] ^= 1 << r.IntN(8)
			case 1:
				data[i] = byte(r.Uint32())
			case 2:
				copy(data[i:], data[j:])
			case 3:
				data = append(data[:i:i], data[j:]...)
			case 4:
				data = append(data[:j:j], data[i:]...)
			case 5:
				copy(data[i:j], other[min(i, len(other)):])
			case 6:
				data[i], data[j] = data[j], data[i]
			}
			if len(data) == 0 {
				data = []byte{0}
			}
		}
		e, err := w.node.Open(data, book, start, 0)
		if known[string(data)] {
			require.NoError(t, err)
			continue
		}
		require.Error(t, err, "%x", data)
		require.Equal(t, Envelope{}, e)
	}
}
