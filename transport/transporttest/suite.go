// Package transporttest is the conformance suite of package transport: what every driver of the seam runs in its tests.
//
//	func TestContract(t *testing.T) {
//		transporttest.Run(t, func(t *testing.T) transporttest.Pair { ... })
//	}
//
// Each [Case] has a fresh [Pair] and names the rule of the contract that it checks, in the words of the rule's bracket in package transport. A case knows only what every transport
// promises: it sends again until something arrives, and bears repetitions. What a driver promises besides, it says in [Traits], and that only ever adds checks. The suite is
// tested itself with transports that are wrong on purpose, each of which fails its rule and no other.
package transporttest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
)

// Traits are what a driver promises beyond the contract, on a network without faults.
type Traits struct {
	Reliable bool // what Send took arrives, once, as long as both ends stay connected and a Receive runs
	Ordered  bool // messages of one sender arrive in the order of their Sends
}

// Pair is a transport under test: the control plane's end and a way to make nodes' ends.
type Pair struct {
	Controller transport.Transport
	// Node makes a node's end and returns when it is connected. It is called once for each address; the factory's cleanup closes what it made.
	Node func(a transport.Address) (transport.Transport, error)
	// Disconnect breaks a node's connection and keeps it broken; Reconnect lets it connect again. Neither waits until presence has noticed. Nil: those cases are skipped, aloud.
	Disconnect, Reconnect func(a transport.Address)
	// Close closes an end as its owner would. Nil: those cases are skipped, aloud.
	Close  func(end transport.Transport) error
	Traits Traits
}

// Options are the suite's.
type Options struct {
	// Patience is how long a case waits for what must happen; default 30 s. What must not happen is waited for only as long as it takes to see something later happen.
	Patience time.Duration
}

// Case is one rule, or one side of it.
type Case struct {
	Rule string // as in package transport: "T-WHOLE"
	Name string // of the case
	Says string // what must hold

	needs func(Pair) string // what the pair lacks for the case, "" if nothing
	check func(*bench) error
}

// Skip returns why the case cannot run on p, or "".
func (c Case) Skip(p Pair) string {
	if c.needs == nil {
		return ""
	}
	return c.needs(p)
}

// Check runs the case on a fresh pair and returns what is wrong, or nil. It ends every goroutine that it began.
func (c Case) Check(p Pair, o *Options) error {
	b := &bench{Pair: p, patience: 30 * time.Second}
	if o != nil && o.Patience > 0 {
		b.patience = o.Patience
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	err := c.check(b)
	b.cleanup()
	if err != nil {
		return fmt.Errorf("%s (%s): %w", c.Rule, c.Says, err)
	}
	return nil
}

// Cases returns the suite.
func Cases() []Case {
	var all []Case
	all = append(all, sendCases()...)
	all = append(all, receiveCases()...)
	all = append(all, presenceCases()...)
	all = append(all, closeCases()...)
	return all
}

// Run runs every case of the suite, each on a fresh pair, and the model check.
func Run(t *testing.T, newPair func(t *testing.T) Pair) {
	for _, c := range Cases() {
		t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
			p := newPair(t)
			if why := c.Skip(p); why != "" {
				t.Skipf("SKIPPED: %s", why)
			}
			if err := c.Check(p, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("Model", func(t *testing.T) { Model(t, newPair) })
}

// node returns the i-th node's address.
func node(i int) transport.Address {
	return transport.Address{Tenant: "default", Name: fmt.Sprintf("mi-%017x", i)}
}

// plane returns the control plane's address within a node's tenant.
func plane(a transport.Address) transport.Address {
	return transport.Address{Tenant: a.Tenant, Name: message.Controller}
}

// taken reports whether err is what Send may answer to a good message while the network is whole: taken, or come back later.
func taken(err error) (ok bool, fatal error) {
	switch {
	case err == nil:
		return true, nil
	case transport.IsTemporary(err):
		return false, nil
	}
	return false, fmt.Errorf("the Send answered %w", err)
}

// contractual reports whether err is one of the contract's errors or a context's.
func contractual(err error) bool {
	for _, e := range []error{transport.ErrNotConnected, transport.ErrBusy, transport.ErrTooLarge, transport.ErrRefused, transport.ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return err == nil
}
