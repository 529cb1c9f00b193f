package node

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/target"
)

// nodeRecord is a managed node. See encode.go for how it is stored.
type nodeRecord struct {
	ID         string
	Name       string
	Activation string
	Token      string // name of the registration's token record
	Role       string
	Registered time.Time
	Tags       map[string]string
	Facts      message.Facts
	SignKey    []byte
	SealKey    []byte
	Serial     uint64 // of the keys: 1, then one more with each rotation
	Assurance  target.Assurance
}

// activationRecord is an activation. The code itself is nowhere.
type activationRecord struct {
	ID          string            `json:"id"`
	Code        []byte            `json:"code"` // hash, see codeHash
	Description string            `json:"description,omitempty"`
	Name        string            `json:"name,omitempty"`
	Role        string            `json:"role,omitempty"`
	Limit       int               `json:"limit"`
	Count       int               `json:"count"`
	Created     time.Time         `json:"created"`
	Expires     time.Time         `json:"expires"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// ownerRecord finds an activation's tenant, which a machine does not know; or a token's node.
type ownerRecord struct {
	Tenant string `json:"tenant,omitempty"`
	Node   string `json:"node,omitempty"`
}

type groupRecord struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Query       Query     `json:"query"`
	Created     time.Time `json:"created"`
}

// seenRecord is the last heartbeat that was written. It lies apart from the node, with its neighbours' records, so that batches are adjacent.
type seenRecord struct {
	Last time.Time `json:"last"`
}

func space(tenant string) key.K             { return key.New(tenant).Str("node") }
func nodeKey(tenant, id string) key.K       { return space(tenant).Str("node").Str(id) }
func seenKey(tenant, id string) key.K       { return space(tenant).Str("seen").Str(id) }
func activationKey(tenant, id string) key.K { return space(tenant).Str("activation").Str(id) }
func activations(tenant string) key.K       { return space(tenant).Str("activation") }
func groupKey(tenant, name string) key.K    { return space(tenant).Str("group").Str(name) }
func groupsOf(tenant string) key.K          { return space(tenant).Str("group") }
func tokenKey(tenant, token string) key.K   { return space(tenant).Str("token").Str(token) }

// ownerKey lies outside the tenants: whoever registers knows an activation and no tenant.
func ownerKey(activation string) key.K {
	return key.New("").Str("node").Str("activation").Str(activation)
}

// The indexes: below each of these prefixes lie the ids of nodes, as keys with empty values.
func allIndex(tenant string) key.K { return space(tenant).Str("all") }
func tagIndex(tenant, k, v string) key.K {
	return space(tenant).Str("tag").Str(element(k)).Str(element(v))
}
func tagKeyIndex(tenant, k string) key.K { return space(tenant).Str("tagkey").Str(element(k)) }

// element makes a tag's key or value short enough for a key of the store. Tags hold no zero byte, so that no other tag looks like a shortened one.
func element(s string) string {
	const most = 160
	if len(s) <= most {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:most-65] + "\x00" + hex.EncodeToString(sum[:])
}

// index writes or removes the entries of a node below the given prefixes.
func (s *Service) index(tx store.Tx, id string, add, remove []key.K) error {
	for _, p := range remove {
		if err := tx.Delete(p.Str(id)); err != nil {
			return err
		}
	}
	for _, p := range add {
		k := p.Str(id)
		if err := tx.Put(k, s.cfg.Codec.Seal(k, nil)); err != nil {
			return err
		}
	}
	return nil
}

// tagPrefixes returns the index prefixes under which a node with these tags lies.
func tagPrefixes(tenant string, tags map[string]string) []key.K {
	var out []key.K
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, tagIndex(tenant, k, tags[k]), tagKeyIndex(tenant, k))
	}
	return out
}

// node returns what other services need to know.
func (n *nodeRecord) node(tenant string) target.Node {
	return target.Node{
		Tenant: tenant, ID: n.ID, Name: n.Name, Platform: n.Facts.PlatformType, PlatformName: n.Facts.PlatformName, Capabilities: n.Facts.Capabilities,
		Tags: n.Tags, SignKey: n.SignKey, SealKey: n.SealKey, Assurance: n.Assurance,
	}
}
