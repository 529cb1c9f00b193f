package agent

import (
	"crypto"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// keyring is who a node is and whom it obeys, now: its own keys, those that it has asked the control plane to take, and the control plane's. Everything that may not be forgotten is
// durable before it is used. It is a message.Codec.
type keyring struct {
	write func(data []byte) error // makes the node's file durable; nil: nothing is, for nodes that were not loaded

	mu         sync.Mutex
	codec      message.Codec     // own, or Plain
	own, next  *message.Identity // next: pending, perhaps in force at the control plane already
	serial     uint64            // of own
	held       chan struct{}     // while it is not known which of both is in force; closed when it is
	controller message.Peer
	epoch      uint64
	before     message.Peer // the control plane's keys before the present ones: recognised, not obeyed
}

// newKeyring is the ring of a node that was not loaded: it can follow the control plane's keys while it runs, and has nothing of its own to rotate.
func newKeyring(n *Node) *keyring {
	own, _ := n.Codec.(*message.Identity)
	return &keyring{codec: n.Codec, own: own, serial: 1, controller: n.Controller, epoch: n.Epoch}
}

// errUndecided is why a node that has asked for new keys does not sign: the old ones may be refused for good.
var errUndecided = errors.New("agent: new keys of this node were asked for and the answer is not known yet: this connection is tried again")

// hold begins the time in which nobody may use a key towards a transport.
func (k *keyring) hold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = make(chan struct{})
	}
}

// release ends it.
func (k *keyring) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held != nil {
		close(k.held)
		k.held = nil
	}
}

func (k *keyring) identity() *message.Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.own
}

// pending reports whether keys were asked for without an answer that settled it.
func (k *keyring) pending() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.next != nil
}

// pinned returns the control plane's keys and their epoch.
func (k *keyring) pinned() (message.Peer, uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.controller, k.epoch
}

// Seal implements message.Codec with the present keys.
func (k *keyring) Seal(to message.Peer, e message.Envelope) ([]byte, error) {
	k.mu.Lock()
	codec := k.codec
	k.mu.Unlock()
	return codec.Seal(to, e)
}

// seal seals for the control plane.
func (k *keyring) seal(e message.Envelope) ([]byte, error) {
	k.mu.Lock()
	codec, to := k.codec, k.controller
	k.mu.Unlock()
	return codec.Seal(to, e)
}

// Open implements message.Codec: what was sealed for the present keys or for the pending ones opens.
func (k *keyring) Open(data []byte, from func(string) (message.Peer, error), now time.Time, skew time.Duration) (message.Envelope, error) {
	k.mu.Lock()
	codec, next := k.codec, k.next
	k.mu.Unlock()
	e, err := codec.Open(data, from, now, skew)
	if next != nil && errors.Is(err, message.ErrBadSignature) {
		if e, err := next.Open(data, from, now, skew); err == nil {
			return e, nil
		}
	}
	return e, err
}

// errFormer: the message is the control plane's, signed with the keys before those that are pinned.
var errFormer = errors.New("agent: signed with the control plane's former keys")

// open opens a message of the control plane. The engine judges its time.
func (k *keyring) open(data []byte, now time.Time) (message.Envelope, error) {
	k.mu.Lock()
	controller, before := k.controller, k.before
	k.mu.Unlock()
	by := func(p message.Peer) func(string) (message.Peer, error) {
		return func(name string) (message.Peer, error) {
			if name != message.Controller {
				return message.Peer{}, message.ErrUnknownSender
			}
			return p, nil
		}
	}
	e, err := k.Open(data, by(controller), now, anyTime)
	if len(before.SignKey) > 0 && errors.Is(err, message.ErrBadSignature) {
		if _, former := k.Open(data, by(before), now, anyTime); former == nil {
			return message.Envelope{}, errFormer
		}
	}
	return e, err
}

// save makes the state durable; the mutex is held.
func (k *keyring) save(own, next *message.Identity, serial uint64, controller, before message.Peer, epoch uint64) error {
	if k.write == nil {
		return nil
	}
	st := nodeState{Version: 1, Tenant: own.Tenant(), Node: own.Name(), Seed: seedOf(own), Serial: serial, Controller: controller, Epoch: epoch}
	defer func() { clear(st.Seed); clear(st.Next) }()
	if next != nil {
		st.Next = seedOf(next)
	}
	if len(before.SignKey) > 0 {
		st.Before = &before
	}
	b, err := st.encode()
	if err != nil {
		return err
	}
	defer clear(b)
	return k.write(b)
}

func seedOf(id *message.Identity) []byte {
	seed := id.Seed()
	defer seed.Wipe()
	return append([]byte(nil), seed.Reveal()...)
}

// pin makes the control plane's next keys the ones that are obeyed, once they are durable. false: they are known already.
func (k *keyring) pin(next message.Keys) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if next.Epoch <= k.epoch {
		return false, nil
	}
	peer, err := next.Next(k.controller, k.epoch)
	if err != nil {
		return false, err
	}
	if k.own != nil {
		if err := k.save(k.own, k.next, k.serial, peer, k.controller, next.Epoch); err != nil {
			return false, err
		}
	}
	k.before, k.controller, k.epoch = k.controller, peer, next.Epoch
	return true, nil
}

// prepare makes the next keys durable beside the present ones, unless there are some. Whoever loses the answer to what is asked next still has both.
func (k *keyring) prepare() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next != nil {
		return nil
	}
	next, err := message.NewIdentity(k.own.Tenant(), k.own.Name(), nil)
	if err != nil {
		return err
	}
	if err := k.save(k.own, next, k.serial, k.controller, k.before, k.epoch); err != nil {
		return err
	}
	k.next = next
	return nil
}

// request returns the question for the pending keys and the keys that its answer must be signed with.
func (k *keyring) request() (message.RotateRequest, message.Peer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := message.NewRotation(k.own, k.next, k.serial+1)
	return message.RotateRequest{Rotation: &r, Epoch: k.epoch}, k.controller
}

// settle makes the pending keys, which are in force, the only ones. They are, whatever becomes of the file: as long as that names both, the next start asks again.
func (k *keyring) settle() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.own, k.next, k.serial = k.next, nil, k.serial+1
	k.codec = k.own
	return k.save(k.own, nil, k.serial, k.controller, k.before, k.epoch)
}

// signWait is how long a signer waits for the answer to a rotation before it fails, and with it the attempt to connect.
const signWait = 5 * time.Second

// signer is the node's signing key, whichever that is when it is used.
type signer struct{ *keyring }

func (s signer) Public() crypto.PublicKey {
	if id := s.identity(); id != nil {
		return id.Signer().Public()
	}
	return nil
}

func (s signer) Sign(random io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	deadline := time.NewTimer(signWait)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		held, id := s.held, s.own
		s.mu.Unlock()
		switch {
		case id == nil:
			return nil, fault.New("agent.Sign", fault.UnsupportedOperation, "this node has no keys")
		case held == nil:
			return id.Signer().Sign(random, msg, opts)
		}
		select {
		case <-held:
		case <-deadline.C:
			return nil, errUndecided
		}
	}
}
