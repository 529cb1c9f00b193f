package message

import "time"

// Plain is a Codec that neither signs nor seals: canonical envelopes as they are. It gives what its channel gives (assurance Channel), so it belongs where no stranger can
// write: inside one process, above all in simulations of large fleets. It checks everything that an Identity checks except for the cryptography.
type Plain struct {
	Tenant, Name string
}

// Seal implements Codec.
func (p Plain) Seal(to Peer, e Envelope) ([]byte, error) {
	if to.Tenant != p.Tenant {
		return nil, malformed("the receiver is of tenant %s, the sender of %s", show(to.Tenant), show(p.Tenant))
	}
	e.Tenant, e.From, e.To = p.Tenant, p.Name, to.Name
	return Encode(e)
}

// Open implements Codec. It refuses sealed messages as ErrMalformed.
func (p Plain) Open(data []byte, from func(name string) (Peer, error), now time.Time, skew time.Duration) (Envelope, error) {
	e, err := Decode(data)
	if err != nil {
		return Envelope{}, err
	}
	if err := addressed(&e, p.Tenant, p.Name); err != nil {
		return Envelope{}, err
	}
	if _, err := resolve(&e, from); err != nil {
		return Envelope{}, err
	}
	if err := inTime(&e, now, skew); err != nil {
		return Envelope{}, err
	}
	return e, nil
}

var (
	_ Codec = (*Identity)(nil)
	_ Codec = Plain{}
)
