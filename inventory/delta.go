package inventory

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"

	"github.com/fleetwright/fleetwright/fault"
)

// Delta is the difference between two contents of one type on one node.
type Delta struct {
	Base    string   // content hash of the content that it starts from
	Added   []Entry  `json:",omitempty"`
	Removed []string `json:",omitempty"` // EntryHash of what is there no more; one for each copy of an entry
}

// Size returns how many entries the delta speaks of.
func (d *Delta) Size() int { return len(d.Added) + len(d.Removed) }

// EntryHash identifies an entry among those of its node and type: base64 of the first half of the SHA-256 of its canonical text.
func EntryHash(e Entry) string {
	sum := sha256.Sum256(e.text())
	return base64.RawStdEncoding.EncodeToString(sum[:16])
}

// Known is what a node remembers of a content that the control plane accepted: enough to tell what changed, not the content itself.
type Known struct {
	ContentHash string
	Entries     []string // EntryHash of each entry, in order
}

// Know returns what is to be remembered of a content.
func Know(content []Entry) Known {
	k := Known{ContentHash: ContentHash(content), Entries: make([]string, len(content))}
	for i, e := range content {
		k.Entries[i] = EntryHash(e)
	}
	slices.Sort(k.Entries)
	return k
}

// Diff returns the delta that leads from what is known to content. The entries are not copied.
func (k Known) Diff(content []Entry) *Delta {
	d := &Delta{Base: k.ContentHash}
	left := make(map[string]int, len(k.Entries))
	for _, h := range k.Entries {
		left[h]++
	}
	for _, e := range content {
		if h := EntryHash(e); left[h] > 0 {
			left[h]--
		} else {
			d.Added = append(d.Added, e)
		}
	}
	for h, n := range left {
		for ; n > 0; n-- {
			d.Removed = append(d.Removed, h)
		}
	}
	slices.Sort(d.Removed)
	return d
}

// Apply returns the content that d makes of base, whose content hash must be baseHash as the node knows it; want is the hash that the item names. base is not changed. Error:
// ItemContentMismatchException, when the base is another one, an entry to be removed is not there, or the result has another hash; then the full content is to be asked for.
func (d *Delta) Apply(base []Entry, baseHash, want string) ([]Entry, error) {
	const op = "inventory.Apply"
	if d.Base != baseHash {
		return nil, fault.New(op, ItemContentMismatch, "the change starts from a content that is not the stored one: send the full content")
	}
	gone := make(map[string]int, len(d.Removed))
	for _, h := range d.Removed {
		gone[h]++
	}
	out := make([]Entry, 0, max(0, len(base)-len(d.Removed))+len(d.Added))
	removed := 0
	for _, e := range base {
		if len(gone) > 0 {
			if h := EntryHash(e); gone[h] > 0 {
				gone[h]--
				removed++
				continue
			}
		}
		out = append(out, e)
	}
	out = append(out, d.Added...)
	if removed != len(d.Removed) || ContentHash(out) != want {
		return nil, fault.New(op, ItemContentMismatch, "the change does not lead to the content whose hash it names: send the full content")
	}
	return out, nil
}
