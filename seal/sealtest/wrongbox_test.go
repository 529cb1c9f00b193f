package sealtest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/sealtest"
	"github.com/fleetwright/fleetwright/secret"
)

// faulty is a box with methods replaced.
type faulty struct {
	sealtest.Box
	seal   func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error)
	open   func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error)
	rewrap func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error)
}

func (f *faulty) Seal(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
	if f.seal != nil {
		return f.seal(ctx, id, b, p, n)
	}
	return f.Box.Seal(ctx, id, b, p, n)
}

func (f *faulty) Open(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
	if f.open != nil {
		return f.open(ctx, c, b)
	}
	return f.Box.Open(ctx, c, b)
}

func (f *faulty) Rewrap(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
	if f.rewrap != nil {
		return f.rewrap(ctx, c, id, b)
	}
	return f.Box.Rewrap(ctx, c, id, b)
}

// bound makes a box whose binding loses something.
func bound(change func(b *seal.Binding)) func(x sealtest.Box, f *faulty, k sealtest.Keys) {
	return func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			change(&b)
			return x.Seal(ctx, id, b, p, n)
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			change(&b)
			return x.Open(ctx, c, b)
		}
		f.rewrap = func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
			change(&b)
			return x.Rewrap(ctx, c, id, b)
		}
	}
}

var wrongBoxes = []struct {
	name  string
	rules []string
	plant func(x sealtest.Box, f *faulty, k sealtest.Keys)
}{
	{"binds without the version", []string{"S-BIND", "S-SWAP", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Version = 0 })},
	{"binds half of the version", []string{"S-BIND", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Version = uint64(uint32(b.Version)) })},
	{"binds without the type", []string{"S-BIND", "S-SWAP", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Type = "" })},
	{"binds without the tenant", []string{"S-BIND", "S-SWAP", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Tenant = "-" })},
	{"binds texts without their lengths", []string{"S-BIND", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Tenant, b.Kind = b.Tenant+b.Kind, "-" })},
	{"uses a nonce again", []string{"S-FRESH"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, 1)
			if err != nil {
				return nil, err
			}
			return slices.Repeat(c, n), nil
		}
	}},
	{"uses a data key again", []string{"S-FRESH"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		var spare [][]byte
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			if string(p) != "the same value" {
				return x.Seal(ctx, id, b, p, n)
			}
			if spare == nil {
				var err error
				if spare, err = x.Seal(ctx, id, b, p, 64); err != nil {
					return nil, err
				}
			}
			out := spare[:n]
			spare = spare[n:]
			return out, nil
		}
	}},
	{"ignores the key id", []string{"S-KEYID"}, func(x sealtest.Box, f *faulty, k sealtest.Keys) {
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			if len(p) == 1 { // of S-KEYID; elsewhere the cases need several keys
				id = ""
			}
			return x.Seal(ctx, id, b, p, n)
		}
	}},
	{"rewraps without a look at the payload", []string{"S-REWRAP"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.rewrap = func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
			out, err := x.Rewrap(ctx, c, id, b)
			if errors.Is(err, seal.ErrTampered) {
				return c, nil
			}
			return out, err
		}
	}},
	{"seals anew instead of rewrapping", []string{"S-REWRAP", "S-ROTATE"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.rewrap = func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
			v, err := x.Open(ctx, c, b)
			if err != nil {
				return nil, err
			}
			out, err := x.Seal(ctx, id, b, v.Reveal(), 1)
			if err != nil {
				return nil, err
			}
			return out[0], nil
		}
	}},
	{"remembers values by ciphertext alone", []string{"S-BIND", "S-SWAP", "S-CANCEL", "S-REWRAP", "S-ROTATE"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		known := map[string]secret.Value{}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			if v, ok := known[string(c)]; ok {
				return v, nil
			}
			v, err := x.Open(ctx, c, b)
			if err == nil {
				known[string(c)] = v
			}
			return v, err
		}
	}},
	{"opens by whatever key fits, not by the one that is named", []string{"S-HEADER", "S-FLIP"}, func(x sealtest.Box, f *faulty, k sealtest.Keys) {
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			v, err := x.Open(ctx, c, b)
			if named, kerr := seal.KeyID(c); err != nil && kerr == nil {
				for _, id := range k.IDs {
					if len(id) != len(named) {
						continue
					}
					d := append(append(bytes.Clone(c[:6]), id...), c[6+len(named):]...)
					if v, err := x.Open(ctx, d, b); err == nil {
						return v, nil
					}
				}
			}
			return v, err
		}
	}},
	{"rewraps what is done already", []string{"S-ROTATE"}, func(x sealtest.Box, f *faulty, k sealtest.Keys) {
		f.rewrap = func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
			if id != "" {
				return x.Rewrap(ctx, c, id, b)
			}
			named, err := seal.KeyID(c)
			if err != nil {
				return nil, err
			}
			for _, other := range k.IDs { // away and back
				if other != named {
					if c, err = x.Rewrap(ctx, c, other, b); err != nil {
						return nil, err
					}
					break
				}
			}
			return x.Rewrap(ctx, c, id, b)
		}
	}},
	{"does not rewrap for the primary key", []string{"S-ROTATE"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.rewrap = func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
			if id == "" {
				return c, nil
			}
			return x.Rewrap(ctx, c, id, b)
		}
	}},
	{"does not look at ctx", []string{"S-CANCEL"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			return x.Open(context.WithoutCancel(ctx), c, b)
		}
	}},
	{"ignores what follows", []string{"S-LENGTH"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		sizes := map[int]bool{}
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, n)
			for i := range c {
				sizes[len(c[i])] = true
			}
			return c, err
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			if !sizes[len(c)] && len(c) > 0 && sizes[len(c)-1] {
				c = c[:len(c)-1]
			}
			return x.Open(ctx, c, b)
		}
	}},
	{"does not check its magic", []string{"S-FLIP"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			if len(c) > 4 {
				c = append([]byte("fwc"), c[3:]...)
			}
			return x.Open(ctx, c, b)
		}
	}},
	{"shows the beginning of the value", []string{"S-HIDE"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		strip := func(c []byte) []byte {
			if n := len(c) - 8; n > 0 && bytes.Equal(c[n:], []byte("canary-6")) {
				return c[:n]
			}
			return c
		}
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, n)
			for i := range c {
				if bytes.HasPrefix(p, []byte("canary")) {
					c[i] = append(c[i], p[:8]...)
				}
			}
			return c, err
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			return x.Open(ctx, strip(c), b)
		}
	}},
	{"cannot seal nothing", []string{"S-ROUND"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			if len(p) == 0 {
				return nil, errors.New("empty")
			}
			return x.Seal(ctx, id, b, p, n)
		}
	}},
	{"keeps values of lost keys", []string{"S-LOST", "S-ROTATE"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		kept := map[string]secret.Value{}
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, n)
			for i := range c {
				kept[string(c[i])] = secret.New(p)
			}
			return c, err
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			v, err := x.Open(ctx, c, b)
			if errors.Is(err, seal.ErrKeyNotFound) && !kept[string(c)].IsZero() {
				return kept[string(c)], nil
			}
			return v, err
		}
	}},
	{"takes the payload of another value of the record", []string{"S-SPLICE", "S-HEADER"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		// As if one data key served all: the payload decides, whatever header stands before it.
		whole := map[string][]byte{}
		tail := func(c []byte) string { return string(c[max(0, len(c)-33):]) }
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, n)
			for i := range c {
				whole[tail(c[i])] = bytes.Clone(c[i])
			}
			return c, err
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			w, ok := whole[tail(c)]
			if id, err := seal.KeyID(c); ok && err == nil && len(w) == len(c) {
				if o, err := seal.KeyID(w); err == nil && o == id && bits(w, c) > 1 {
					c = w
				}
			}
			return x.Open(ctx, c, b)
		}
	}},
}

// bits counts how many bits differ.
func bits(a, b []byte) (n int) {
	for i := range a {
		for x := a[i] ^ b[i]; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}

func TestWrongBoxesFailTheirRules(t *testing.T) {
	for _, w := range wrongBoxes {
		t.Run(w.name, func(t *testing.T) {
			var failed []string
			text := map[string][]string{}
			for _, c := range sealtest.BoxCases() {
				k := newToy().subject()
				f := &faulty{Box: sealtest.Of(seal.NewBox(k, nil))}
				w.plant(f.Box, f, k)
				r := &recorder{T: t}
				if r.run(func(rt sealtest.T) { c.Run(rt, sealtest.Subject{Box: f, Keys: k}) }) {
					failed, text[c.Rule] = append(failed, c.Rule), r.text
				}
			}
			require.ElementsMatch(t, w.rules, failed, "%v", text)
		})
	}
}

// TestWrongWrappersAreCaughtThroughTheBox: the suite of boxes sees what a wrapper gets wrong, where that matters to values.
func TestWrongWrappersAreCaughtThroughTheBox(t *testing.T) {
	k := newToy()
	k.lose = func(string) { clear(k.keys) }
	s := k.subject()
	for _, c := range sealtest.BoxCases() {
		if c.Rule == "S-LOST" {
			r := &recorder{T: t}
			require.True(t, r.run(func(rt sealtest.T) { c.Run(rt, sealtest.Subject{Box: sealtest.Of(seal.NewBox(s, nil)), Keys: s}) }))
		}
	}
}
