package inventory

import (
	"bytes"
	"crypto/md5" //nolint:gosec // AWS's content hash is MD5; it tells contents of one node apart and protects nothing
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// Entry is one row of a type: attribute names and values. All values are strings (V8). An attribute that is absent counts as empty in filters.
type Entry map[string]string

// Item is what one node has of one type at one time. Field names are AWS's (shape InventoryItem).
//
// An item with Content nil tells the hash only: nothing changed since that hash was accepted. Content that is empty and not nil says that there is nothing of the type.
type Item struct {
	TypeName      string
	SchemaVersion string
	CaptureTime   string            // UTC, as CaptureTime formats it
	ContentHash   string            `json:",omitempty"`
	Content       []Entry           `json:",omitzero"`
	Context       map[string]string `json:",omitempty"` // of AWS:ComplianceItem alone

	// Delta is fleetwright's own: the change since a hash that the control plane may still have. Content is nil then, so that a control plane that does not know deltas takes the item
	// for one that tells its hash only, and asks for the content.
	Delta *Delta `json:",omitempty"`
}

// Report is the input of PutInventory: what a node tells about itself. Field names are AWS's.
type Report struct {
	InstanceID string `json:"InstanceId"`
	Items      []Item
}

// Ack is the answer to a Report that was accepted and stored.
type Ack struct {
	Message string `json:",omitempty"`
}

// TimeFormat is how CaptureTime is written, in UTC (IN3).
const TimeFormat = "2006-01-02T15:04:05Z"

// CaptureTime formats a time as items have it.
func CaptureTime(t time.Time) string { return t.UTC().Format(TimeFormat) }

// NewItem returns an item with its schema version, when typeName is one of AWS's, and its hash. A nil content becomes an empty one. The entries are not copied.
func NewItem(typeName string, at time.Time, content []Entry) Item {
	version := "1.0"
	if s, ok := SchemaOf(typeName); ok {
		version = s.Version
	}
	if content == nil {
		content = []Entry{}
	}
	return Item{TypeName: typeName, SchemaVersion: version, CaptureTime: CaptureTime(at), Content: content, ContentHash: ContentHash(content)}
}

// HashOnly returns the item without its content.
func (i Item) HashOnly() Item {
	i.Content, i.Delta = nil, nil
	return i
}

// Canonical returns the one JSON text of a content: attributes by name, entries by their own text, no space. Two contents that are equal but for order have the same text. Letters are
// escaped as AWS's agent does (Go's encoding/json), so that the hash of content that is in order already equals the one that agent would send for a type of Custom:*.
func Canonical(content []Entry) []byte {
	texts := make([][]byte, len(content))
	size := 2
	for i, e := range content {
		texts[i] = e.text()
		size += len(texts[i]) + 1
	}
	slices.SortFunc(texts, bytes.Compare)
	out := make([]byte, 0, size)
	out = append(out, '[')
	for i, t := range texts {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, t...)
	}
	return append(out, ']')
}

// text is the canonical text of an entry: json.Marshal's of the map, made faster.
func (e Entry) text() []byte {
	var few [16]string
	keys := few[:0]
	size := 2
	for k, v := range e {
		keys = append(keys, k)
		size += len(k) + len(v) + 6
	}
	slices.Sort(keys)
	out := make([]byte, 0, size)
	out = append(out, '{')
	for i, k := range keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendString(out, k)
		out = append(out, ':')
		out = appendString(out, e[k])
	}
	return append(out, '}')
}

// appendString appends a JSON string as encoding/json writes it.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			b, _ := json.Marshal(s) // never fails for strings
			return append(out, b...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}

// ContentHash returns base64 of the MD5 of Canonical, the form that AWS's agent uses (IN3). What an agent of another make sends is to be compared, not computed: AWS's own hashes its
// structures in the order of their fields.
func ContentHash(content []Entry) string {
	sum := md5.Sum(Canonical(content))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Compare orders entries by name, publisher, version and then all else, without regard to case first (V6); it returns 0 for equal entries only.
func (e Entry) Compare(o Entry) int {
	for _, k := range [...]string{"Name", "Publisher", "Version", "Architecture"} {
		if c := strings.Compare(strings.ToLower(e[k]), strings.ToLower(o[k])); c != 0 {
			return c
		}
	}
	if maps.Equal(e, o) {
		return 0
	}
	return bytes.Compare(e.text(), o.text())
}

// Clone returns a copy that shares nothing with e.
func (e Entry) Clone() Entry { return maps.Clone(e) }
