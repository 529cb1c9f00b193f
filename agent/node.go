package agent

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
)

// Node is who an agent is, and whom it obeys. Register makes one and Load reads it again; a test or a simulation fills it in by itself. It is not changed by an agent.
type Node struct {
	Dir        string        // the agent's directory; it alone may use it
	Tenant, ID string        // who it is
	Codec      message.Codec // signs, seals and opens: *message.Identity, or message.Plain where the channel is trusted
	Controller message.Peer  // the control plane's keys, pinned when the node was loaded: an agent that runs follows their rotation
	Epoch      uint64        // of those keys

	ring *keyring // of Load
}

// Identity returns the node's present keys; nil when Codec has none. A transport that authenticates with them takes Signer instead.
func (n *Node) Identity() *message.Identity {
	if n.ring != nil {
		return n.ring.identity()
	}
	id, _ := n.Codec.(*message.Identity)
	return id
}

// Signer returns the node's key for a transport that authenticates with it and asks at each connect, such as httptransport: it signs with the key that is in force then, and with
// none while a rotation is not decided. It is nil when the node has no keys.
func (n *Node) Signer() crypto.Signer {
	switch {
	case n.ring != nil:
		return signer{n.ring}
	case n.Identity() != nil:
		return n.Identity().Signer()
	}
	return nil
}

// Registrar is the seam for registering: one question and one answer. A repeat of a request with the same token and keys must give the same node.
type Registrar interface {
	Register(ctx context.Context, r message.RegisterRequest) (message.RegisterResponse, error)
}

// RegistrarFunc is a function as a Registrar.
type RegistrarFunc func(ctx context.Context, r message.RegisterRequest) (message.RegisterResponse, error)

// Register implements Registrar.
func (f RegistrarFunc) Register(ctx context.Context, r message.RegisterRequest) (message.RegisterResponse, error) {
	return f(ctx, r)
}

// Enroller is what RegisterOver returns: it registers nodes and gives them new keys.
type Enroller interface {
	Registrar
	Rotator
}

// RegisterOver returns a Registrar and Rotator that sends requests and reads answers as JSON over post, such as httptransport.Enroll.
func RegisterOver(post func(ctx context.Context, body []byte) ([]byte, error)) Enroller {
	return over(post)
}

type over func(ctx context.Context, body []byte) ([]byte, error)

// Register implements Registrar.
func (p over) Register(ctx context.Context, r message.RegisterRequest) (out message.RegisterResponse, err error) {
	body, err := json.Marshal(&r)
	if err != nil {
		return out, fault.Wrap("agent.Register", err)
	}
	answer, err := p(ctx, body)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fault.New("agent.Register", fault.Validation, "the control plane's answer is not understood: %w", err)
	}
	return out, nil
}

// RegisterOptions are options of Register; nil is the zero value.
type RegisterOptions struct {
	// Controller, when it has keys, is whom the answer must come from, known beforehand. Without it the keys of the first answer are pinned: whoever the transport reaches then is trusted.
	Controller message.Peer
	// Facts describe the machine; the zero value is what GatherFacts finds.
	Facts message.Facts
	// Retry is the first pause between tries while the control plane is away; 0 is 1 second. It doubles up to 1 minute, until the context ends.
	Retry time.Duration
}

// nodeFile holds a node's keys and what it pinned; pendingFile the keys and the token of a registration that was not answered yet.
const (
	nodeFile    = "node.json"
	pendingFile = "register.json"
	epochFile   = "epoch"
	floorFile   = "floor"
)

type nodeState struct {
	Version    int          `json:"version"`
	Tenant     string       `json:"tenant"`
	Node       string       `json:"node"`
	Seed       []byte       `json:"seed"`
	Controller message.Peer `json:"controller"`
	Epoch      uint64       `json:"epoch"`

	Serial uint64        `json:"serial,omitempty"` // of the seed; 0 is 1
	Next   []byte        `json:"next,omitempty"`   // seed of the keys that the control plane was asked to take, and may have taken
	Before *message.Peer `json:"before,omitempty"` // the control plane's keys before the pinned ones

	Sum string `json:"sum,omitempty"` // CRC-32C, in hex, of the JSON without it; files of older releases have none
}

// encode returns the file's content. It holds seeds.
func (s nodeState) encode() ([]byte, error) {
	sum, err := s.sum()
	if err != nil {
		return nil, err
	}
	s.Sum = sum
	return json.Marshal(&s)
}

// sum returns what Sum must be.
func (s nodeState) sum() (string, error) {
	s.Sum = ""
	b, err := json.Marshal(&s)
	if err != nil {
		return "", err
	}
	defer clear(b)
	return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli)), nil
}

type pendingState struct {
	Activation string `json:"activation"`
	Token      string `json:"token"`
	Seed       []byte `json:"seed"`
}

// Load returns the node that lives in the directory. fault.DoesNotExist means that it is not registered.
func Load(dir string) (*Node, error) {
	const op = "agent.Load"
	if _, err := os.Lstat(filepath.Join(dir, nodeFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(op, fault.DoesNotExist, "there is no registered node in %s: register one with an activation", dir)
	}
	d, err := openDir(dir)
	if err != nil {
		return nil, fault.New(op, fault.ServiceUnavailable, "the agent's directory cannot be used: %w", err)
	}
	defer d.root.Close() //nolint:errcheck // nothing was written
	b, err := d.Read(nodeFile)
	if err != nil {
		return nil, fault.New(op, fault.ServiceUnavailable, "the node's keys cannot be read: %w", err)
	}
	defer clear(b)
	ring, err := ringOf(b, dir)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	ring.write = func(data []byte) error {
		d, err := openDir(dir)
		if err != nil {
			return err
		}
		defer d.root.Close() //nolint:errcheck // what was written was synced
		return writeFile(d, nodeFile, data)
	}
	return &Node{Dir: dir, Tenant: ring.own.Tenant(), ID: ring.own.Name(), Codec: ring, Controller: ring.controller, Epoch: ring.epoch, ring: ring}, nil
}

// ringOf reads a node's file; dir is for errors.
func ringOf(b []byte, dir string) (*keyring, error) {
	const op = "agent.Load"
	var st nodeState
	if err := json.Unmarshal(b, &st); err != nil || st.Version != 1 {
		return nil, fault.New(op, fault.DataCorrupt, "%s in %s is not what an agent writes: restore it, or remove it and register anew", nodeFile, dir)
	}
	if sum, err := st.sum(); st.Sum != "" && (err != nil || sum != st.Sum) {
		return nil, fault.New(op, fault.DataCorrupt, "%s in %s is damaged, its checksum does not match: restore it, or remove it and register anew", nodeFile, dir)
	}
	id, err := message.IdentityFromSeed(st.Tenant, st.Node, secret.New(st.Seed))
	clear(st.Seed)
	if err != nil {
		return nil, fault.New(op, fault.DataCorrupt, "the node's keys in %s are damaged: %w", dir, err)
	}
	if err := st.Controller.Validate(); err != nil {
		return nil, fault.New(op, fault.DataCorrupt, "the pinned keys in %s are damaged: %w", dir, err)
	}
	ring := &keyring{codec: id, own: id, serial: max(1, st.Serial), controller: st.Controller, epoch: st.Epoch}
	if st.Next != nil {
		ring.next, err = message.IdentityFromSeed(st.Tenant, st.Node, secret.New(st.Next))
		clear(st.Next)
		if err != nil {
			return nil, fault.New(op, fault.DataCorrupt, "the node's new keys in %s are damaged: %w", dir, err)
		}
		ring.hold()
	}
	if st.Before != nil {
		ring.before = *st.Before
	}
	return ring, nil
}

// Register returns the node of the directory, registering it first when there is none. Keys are made here and never leave the machine. Before the first try they are stored with a random
// token, so that any crash and any lost answer end in the same node however often Register is called; one file of mode 0600 then holds everything. It tries again while the control
// plane is away, until ctx ends; an error of another kind (a wrong code, a used-up activation) is returned at once. A rotation of a registered node's keys
// that was not answered is settled first, when reg is a Rotator too.
func Register(ctx context.Context, reg Registrar, dir, activationID string, code secret.Value, o *RegisterOptions) (*Node, error) {
	const op = "agent.Register"
	if o == nil {
		o = &RegisterOptions{}
	}
	if n, err := Load(dir); err == nil || fault.CodeOf(err) != fault.DoesNotExist {
		if r, ok := reg.(Rotator); ok && err == nil && n.ring.pending() {
			if err := rotateAt(ctx, r, dir, &RotateOptions{Retry: o.Retry}, false); err != nil {
				return nil, err
			}
			return Load(dir)
		}
		return n, err
	}
	d, err := openDir(dir)
	if err != nil {
		return nil, fault.New(op, fault.ServiceUnavailable, "the agent's directory cannot be used: %w", err)
	}
	defer d.root.Close() //nolint:errcheck // every write was synced
	held, err := lock(d.root)
	if err != nil {
		return nil, fault.New(op, fault.ServiceUnavailable, "%w", err)
	}
	defer held.Close() //nolint:errcheck // it holds nothing
	p, err := pending(d, activationID)
	if err != nil {
		return nil, fault.New(op, fault.ServiceUnavailable, "the node's keys cannot be stored: %w", err)
	}
	defer clear(p.Seed)
	keys, err := message.IdentityFromSeed("pending", "pending", secret.New(p.Seed))
	if err != nil {
		return nil, fault.New(op, fault.DataCorrupt, "%s in %s is damaged: remove it and register anew", pendingFile, dir)
	}
	pub := keys.Public()
	req := message.RegisterRequest{ActivationID: activationID, ActivationCode: string(code.Reveal()), SignKey: pub.SignKey, SealKey: pub.SealKey, Token: p.Token, Facts: o.Facts}
	if req.Facts.PlatformType == "" {
		req.Facts = GatherFacts()
	}
	res, err := ask(ctx, reg, req, o.Retry)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	st := nodeState{Version: 1, Tenant: res.Tenant, Node: res.Node, Seed: p.Seed, Epoch: res.Epoch,
		Controller: message.Peer{Tenant: res.Tenant, Name: message.Controller, SignKey: res.SignKey, SealKey: res.SealKey}}
	switch want := o.Controller; {
	case st.Controller.Validate() != nil || !message.ValidName(st.Node):
		return nil, fault.New(op, fault.Validation, "the control plane's answer has no usable keys or node id")
	case len(want.SignKey) > 0 && (string(want.SignKey) != string(res.SignKey) || string(want.SealKey) != string(res.SealKey)):
		return nil, fault.New(op, fault.AccessDenied, "the control plane that answered has other keys than the one expected: somebody may stand between")
	}
	b, err := st.encode()
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	defer clear(b)
	if err := writeFile(d, nodeFile, b); err != nil {
		return nil, fault.New(op, fault.ServiceUnavailable, "the node's keys cannot be stored: %w", err)
	}
	d.Remove(pendingFile) //nolint:errcheck // without use now, and harmless
	return Load(dir)
}

// pending returns the keys and the token of an unanswered registration with the activation, or makes them durable.
func pending(d *dirDisk, activationID string) (*pendingState, error) {
	var p pendingState
	b, err := d.Read(pendingFile)
	if err == nil && json.Unmarshal(b, &p) == nil && p.Activation == activationID && len(p.Seed) == message.SeedSize {
		clear(b)
		return &p, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	id, err := message.NewIdentity("pending", "pending", nil)
	if err != nil {
		return nil, err
	}
	p = pendingState{Activation: activationID, Token: message.NewID(nil), Seed: append([]byte(nil), id.Seed().Reveal()...)}
	if b, err = json.Marshal(&p); err != nil {
		return nil, err
	}
	defer clear(b)
	return &p, writeFile(d, pendingFile, b)
}

// ask asks until there is an answer that is one.
func ask(ctx context.Context, reg Registrar, req message.RegisterRequest, pause time.Duration) (message.RegisterResponse, error) {
	if pause <= 0 {
		pause = time.Second
	}
	for {
		res, err := reg.Register(ctx, req)
		switch fault.KindOf(err) {
		case fault.Unavailable, fault.Throttled, fault.Unknown:
		default:
			return res, err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return res, fmt.Errorf("%w; the last try: %w", context.Cause(ctx), err)
		case <-t.C:
		}
		pause = min(2*pause, time.Minute)
	}
}

// readFloor returns the latest deadline of what the agent has forgotten; zero when it has forgotten nothing.
func readFloor(d *dirDisk) (time.Time, error) {
	b, err := d.Read(floorFile)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	number, sum, ok := strings.Cut(string(b), " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || sum != fmt.Sprintf("%08x", crc32.Checksum([]byte(number), castagnoli)) {
		return time.Time{}, fmt.Errorf("the file %s is damaged: remove it once no message that was sent to this node can be older than its journal", floorFile)
	}
	return time.UnixMilli(n), nil
}

// readEpoch returns the highest epoch that the agent has remembered in its directory.
func readEpoch(d *dirDisk) (uint64, error) {
	b, err := d.Read(epochFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the file %s is damaged: write the control plane's epoch into it", epochFile)
	}
	return n, nil
}
