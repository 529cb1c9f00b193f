package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

const doc = `{"schemaVersion":"2.2","mainSteps":[
{"action":"aws:runShellScript","name":"one","inputs":{"runCommand":["true"],"timeoutSeconds":"300"}},
{"action":"aws:runShellScript","name":"two","inputs":{"runCommand":["true"],"timeoutSeconds":"300"}}]}`

var docHash = func() string {
	sum := sha256.Sum256([]byte(doc))
	return hex.EncodeToString(sum[:])
}()

// disk is the store that the control planes share. Transactions run one after another, at one moment each: it is serializable. The records of leases are bytes under keys, as package
// lease writes them; the others are values.
type disk struct {
	w        *world
	keys     [][]byte // sorted
	values   map[string][]byte
	commands []*stored
	tokens   map[int]*stored
	home     []int              // by node: the control plane that it was last connected to, -1 for none
	outbox   map[outKey]outMail // messages for nodes that are connected elsewhere, one of a kind
	written  uint64
}

type outKey struct {
	node, cmd int
	kind      message.Kind
}

type outMail struct {
	n    uint64
	send func(*plane)
}

// stored is a command as it is committed.
type stored struct {
	n, token, shard int
	id              string
	state           command.State
	invs            []*command.Invocation // by node
	late            []message.Detail
	outputs         [][4]int64 // bytes kept, by node and stream
	news            bool       // its owner has not heard of it
	cancels         []cancellation
	mail            map[mailKey]letter
	stopped         bool // errors > limit was committed
	offer, run      []byte
	ended           time.Duration // when the end was committed
}

type cancellation struct {
	n     uint64
	nodes []string // nil: all
}

type mailKey struct {
	node int
	kind message.Kind
}

// letter is a message of a node for the owner.
type letter struct {
	n    uint64
	body any
}

func newDisk(w *world) *disk {
	return &disk{w: w, values: map[string][]byte{}, tokens: map[int]*stored{}, outbox: map[outKey]outMail{}, home: slices.Repeat([]int{-1}, w.cfg.Nodes)}
}

// number returns one that was never given before.
func (d *disk) number() uint64 {
	d.written++
	return d.written
}

func (d *disk) command(id string) *stored {
	for _, c := range d.commands {
		if c.id == id {
			return c
		}
	}
	return nil
}

// create writes a command, unless one was made of the token before, which it then returns.
func (d *disk) create(st command.State, token int, known *stored) *stored {
	if known != nil {
		return known
	}
	n := len(d.w.nodes)
	c := &stored{n: len(d.commands), token: token, shard: len(d.commands) % shards, id: st.ID, state: st, news: true, invs: make([]*command.Invocation, n), late: make([]message.Detail, n),
		outputs: make([][4]int64, n), mail: map[mailKey]letter{}}
	ref := message.Ref{Command: c.id, Attempt: 1}
	c.offer = marshal(message.KindOffer, message.Offer{Ref: ref, Document: "sim", ExpiresAt: st.ExpiresAt})
	c.run = marshal(message.KindRun, message.Run{Ref: ref, DocumentName: "sim", DocumentHash: docHash, Document: []byte(doc), Format: "JSON", ExpiresAt: st.ExpiresAt})
	d.commands = append(d.commands, c)
	if d.tokens[token] == nil {
		d.tokens[token] = c
	}
	return c
}

// shards is into how many parts the commands are split, each with a lease of its own.
const shards = 3

var errUnreachable = errors.New("sim: the store does not answer")

// reach is the store as one control plane reaches it.
type reach struct {
	*disk
	p *plane
}

// View is part of store.Store.
func (r reach) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	if r.p.cutOff {
		return errUnreachable
	}
	return fn(ctx, &simTx{d: r.disk})
}

// Update is part of store.Store.
func (r reach) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if r.p.cutOff {
		return errUnreachable
	}
	fate := r.p.w.fate()
	if fate == fails {
		return store.ErrConflict
	}
	if err := r.transact(ctx, fate == vanishes, fn); err != nil {
		return err
	}
	if fate == vanishes || fate == unanswered {
		r.p.w.res.Unknown++
		return store.ErrCommitUnknown
	}
	return nil
}

// transact runs one transaction, and throws it away if it is to vanish.
func (d *disk) transact(ctx context.Context, vanish bool, fn func(context.Context, store.Tx) error) error {
	tx := &simTx{d: d}
	if err := fn(ctx, tx); err != nil {
		return err
	}
	if vanish {
		return nil
	}
	for i, k := range tx.keys {
		d.set(k, tx.values[i])
	}
	return nil
}

// fate is what becomes of a commit.
type fate int

const (
	commits    fate = iota
	fails           // nothing was written, and the caller knows
	vanishes        // nothing was written, and nobody knows
	unanswered      // it was written, and nobody knows
)

func (w *world) fate() fate {
	if !w.chance(w.cfg.StoreFaults) {
		return commits
	}
	return fate(1 + w.rng.IntN(3))
}

func (d *disk) find(k []byte) (int, bool) { return slices.BinarySearchFunc(d.keys, k, bytes.Compare) }

func (d *disk) set(k, v []byte) {
	i, there := d.find(k)
	switch {
	case v == nil && there:
		d.keys = slices.Delete(d.keys, i, i+1)
		delete(d.values, string(k))
		return
	case v == nil:
		return
	case !there:
		d.keys = slices.Insert(d.keys, i, k)
	}
	d.values[string(k)] = v
}

// simTx is a transaction.
type simTx struct {
	d      *disk
	keys   [][]byte
	values [][]byte // nil: deleted
}

func (t *simTx) Get(_ context.Context, k []byte) ([]byte, error) {
	for i := len(t.keys) - 1; i >= 0; i-- {
		if bytes.Equal(t.keys[i], k) {
			if t.values[i] == nil {
				return nil, store.ErrNotFound
			}
			return t.values[i], nil
		}
	}
	if v, ok := t.d.values[string(k)]; ok {
		return v, nil
	}
	return nil, store.ErrNotFound
}

func (t *simTx) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	out := make([][]byte, len(keys))
	for i, k := range keys {
		out[i], _ = t.Get(ctx, k)
	}
	return out, nil
}

// Scan sees what was committed; nobody here scans what it has just written.
func (t *simTx) Scan(_ context.Context, r store.Range) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		i, _ := t.d.find(r.Start)
		for _, k := range slices.Clone(t.d.keys[i:]) {
			if r.End != nil && bytes.Compare(k, r.End) >= 0 || !yield(store.Item{Key: k, Value: t.d.values[string(k)]}, nil) {
				return
			}
		}
	}
}

func (t *simTx) Put(k, v []byte) error {
	t.keys, t.values = append(t.keys, slices.Clone(k)), append(t.values, append([]byte{}, v...))
	return nil
}

func (t *simTx) Delete(k []byte) error {
	t.keys, t.values = append(t.keys, slices.Clone(k)), append(t.values, nil)
	return nil
}

// write is one transaction of a control plane, as it travels: the store carries it out some time after it was sent, whatever became of the sender meanwhile, and the answer takes time
// too. held is checked in the transaction itself; apply is what it writes; done gets the outcome, unless the sender has died.
func (p *plane) write(l label, held *lease.Held, apply func() error, done func(error)) {
	w := p.w
	fate := w.fate()
	if p.cutOff {
		p.after(storeTimeout, l, func() { done(errUnreachable) })
		return
	}
	after := w.after
	if p.stopped { // it had not been sent yet
		after = p.after
	}
	after(w.latency(), l, func() {
		var err error
		switch {
		case fate == fails:
			err = store.ErrConflict
		case p.cutOff && fate != unanswered:
			err = errUnreachable // it never came there
		default:
			err = w.disk.transact(context.Background(), false, func(ctx context.Context, tx store.Tx) error {
				if held != nil && p.w.cfg.plant != plantNoFence {
					if err := held.Check(ctx, tx); err != nil {
						return err
					}
				}
				if fate == vanishes {
					return nil
				}
				return apply()
			})
			switch {
			case errors.Is(err, lease.ErrLost):
				w.res.Fenced++
				w.note(p.about("fenced", l))
			case err == nil && fate == vanishes:
				err = store.ErrCommitUnknown
			case err == nil:
				w.res.Commits++
				w.note(p.about("committed", l))
				if fate != commits {
					err = store.ErrCommitUnknown
				}
			}
		}
		d := w.latency()
		if p.cutOff {
			d = storeTimeout
			if err == nil {
				err = store.ErrCommitUnknown
			}
		}
		if errors.Is(err, store.ErrCommitUnknown) {
			w.res.Unknown++
		}
		p.after(d, p.about("answer of the store", l), func() { done(err) })
	})
}

// storeTimeout is how long a control plane waits for an answer of its store.
const storeTimeout = 5 * time.Second

func (w *world) latency() time.Duration { return time.Millisecond + w.draw(40*time.Millisecond) }
