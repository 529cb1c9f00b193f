package parameter

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// version is one version of a parameter, as it is kept: the newest under "head", with what belongs to the parameter as a whole, the others under "past".
type version struct {
	Name     string // as it was first written
	Type     Type
	Tier     Tier
	DataType string
	Version  uint64
	Modified time.Time
	User     string
	KeyID    string // as asked for; "" is the primary key
	Value    string // of a SecureString the ciphertext
	Desc     string
	Pattern  string
	Policies string // the JSON text, "" for none
	Labels   []string
	Write    string // id of the change that wrote this version

	// Of heads only.
	Created time.Time
	Oldest  uint64 // the lowest version that is kept
	Tags    map[string]string
	Shared  bool     // there is a resource policy
	Done    []string // policies that did their work since the last write, by dueID
}

const recordFormat = 1

// encode writes a version: the format's number; the fields as below, texts with their length before them, numbers as uvarint. A newer release adds fields at the end.
func (v *version) encode() []byte {
	b := make([]byte, 0, 160+len(v.Value)+len(v.Desc)+len(v.Policies))
	b = append(b, recordFormat)
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	list := func(l []string) {
		b = binary.AppendUvarint(b, uint64(len(l)))
		for _, s := range l {
			text(s)
		}
	}
	text(v.Name)
	text(string(v.Type))
	text(string(v.Tier))
	text(v.DataType)
	b = binary.AppendUvarint(b, v.Version)
	b = binary.AppendVarint(b, v.Modified.UnixNano())
	text(v.User)
	text(v.KeyID)
	text(v.Value)
	text(v.Desc)
	text(v.Pattern)
	text(v.Policies)
	list(v.Labels)
	text(v.Write)
	if v.Created.IsZero() {
		return b
	}
	b = binary.AppendVarint(b, v.Created.UnixNano())
	b = binary.AppendUvarint(b, v.Oldest)
	flat := make([]string, 0, 2*len(v.Tags))
	for _, k := range slices.Sorted(maps.Keys(v.Tags)) {
		flat = append(flat, k, v.Tags[k])
	}
	list(flat)
	shared := byte(0)
	if v.Shared {
		shared = 1
	}
	b = append(b, shared)
	list(v.Done)
	return b
}

// reading takes fields off a payload. All texts share the one string.
type reading struct {
	rest string
	bad  bool
}

func (r *reading) uint() uint64 {
	var x uint64
	for i := 0; i < len(r.rest) && i < binary.MaxVarintLen64; i++ {
		c := r.rest[i]
		x |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.rest = r.rest[i+1:]
			return x
		}
	}
	r.bad = true
	return 0
}

func (r *reading) int() int64 {
	u := r.uint()
	x := int64(u >> 1)
	if u&1 != 0 {
		x = ^x
	}
	return x
}

func (r *reading) text() string {
	n := r.uint()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *reading) list() []string {
	n := r.uint()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	out := make([]string, 0, n)
	for range n {
		out = append(out, r.text())
	}
	return out
}

// decodeVersion reads what encode wrote; false for anything else.
func decodeVersion(payload []byte) (v version, ok bool) {
	if len(payload) == 0 || payload[0] != recordFormat {
		return v, false
	}
	r := reading{rest: string(payload[1:])}
	v.Name = r.text()
	v.Type = Type(r.text())
	v.Tier = Tier(r.text())
	v.DataType = r.text()
	v.Version = r.uint()
	v.Modified = time.Unix(0, r.int()).UTC()
	v.User = r.text()
	v.KeyID = r.text()
	v.Value = r.text()
	v.Desc = r.text()
	v.Pattern = r.text()
	v.Policies = r.text()
	v.Labels = r.list()
	v.Write = r.text()
	if r.bad || r.rest == "" {
		return v, !r.bad
	}
	v.Created = time.Unix(0, r.int()).UTC()
	v.Oldest = r.uint()
	if flat := r.list(); len(flat) > 0 {
		if len(flat)%2 != 0 {
			return v, false
		}
		v.Tags = make(map[string]string, len(flat)/2)
		for i := 0; i < len(flat); i += 2 {
			v.Tags[flat[i]] = flat[i+1]
		}
	}
	if r.rest == "" {
		return v, false
	}
	v.Shared = r.rest[0] != 0
	r.rest = r.rest[1:]
	v.Done = r.list()
	return v, !r.bad
}

func (s *Service) openVersion(k, framed []byte) (version, error) {
	payload, err := s.cfg.Codec.Open(k, framed)
	if err != nil {
		return version{}, err
	}
	v, ok := decodeVersion(payload)
	if !ok {
		return version{}, &record.CorruptError{Key: slices.Clone(k), Reason: "it is no version of a parameter, or of a newer release"}
	}
	return v, nil
}

func root(tenant string) key.K           { return key.New(tenant).Str("parameter") }
func headsKey(tenant string) key.K       { return root(tenant).Str("head") }
func headKey(tenant, canon string) key.K { return headsKey(tenant).Str(canon) }
func pastsKey(tenant, canon string) key.K {
	return root(tenant).Str("past").Str(canon)
}
func pastKey(tenant, canon string, n uint64) key.K { return pastsKey(tenant, canon).Uint(n) }
func labelsKey(tenant, canon string) key.K         { return root(tenant).Str("lb").Str(canon) }
func labelKey(tenant, canon, label string) key.K {
	return labelsKey(tenant, canon).Str(short(label, 9))
}
func timesKey(tenant string) key.K { return root(tenant).Str("time") }
func timeKey(tenant string, t time.Time, canon string) key.K {
	return timesKey(tenant).Time(t).Str(canon)
}
func duesKey(tenant string) key.K { return root(tenant).Str("due") }
func dueKey(tenant string, t time.Time, canon, id string) key.K {
	return duesKey(tenant).Time(t).Str(canon).Str(id)
}
func goneKey(tenant, canon string) key.K     { return root(tenant).Str("gone").Str(canon) }
func countsKey(tenant string) key.K          { return root(tenant).Str("count") }
func topicKey(tenant string) key.K           { return root(tenant).Str("events") }
func pendingsKey(tenant string) key.K        { return root(tenant).Str("pending") }
func rewrapKey(tenant string) key.K          { return root(tenant).Str("rewrap") }
func policiesKey(tenant, canon string) key.K { return root(tenant).Str("pol").Str(canon) }
func sharedKey(consumer string) key.K        { return root(consumer).Str("sh") }

// short stands for a text in a key, where a name of the longest must still fit.
func short(text string, bytes int) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:bytes])
}

// byKey is the index of one value: its names stand below it in order.
func byKey(tenant, index, value string) key.K {
	return root(tenant).Str(index + short(value, 12))
}

// The indexes, by the letter that their keys begin with.
const (
	byType  = "T"
	byKeyID = "K"
	byTier  = "A" // Advanced only: Standard is nearly all
	byData  = "D" // all but text
	byTag   = "V" // key and value of a tag
	byTags  = "G" // key of a tag
	byLabel = "L"
)

func tagValue(k, v string) string { return k + "\x00" + v }

// shownKey is the key id as answers have it.
func (v *version) shownKey() string {
	if v.Type != SecureString {
		return ""
	}
	if v.KeyID == "" {
		return defaultKey
	}
	return v.KeyID
}

// defaultKey is AWS's name for the key of a SecureString that names none (S27): here the key service's primary key.
const defaultKey = "alias/aws/ssm"

// entries are the keys of the indexes that a head stands in, but for its labels and its time.
func (v *version) entries(tenant, canon string) []string {
	at := func(index, value string) string { return string(byKey(tenant, index, value).Str(canon)) }
	out := []string{at(byType, string(v.Type))}
	if v.Type == SecureString {
		out = append(out, at(byKeyID, v.shownKey()))
	}
	if v.Tier == Advanced {
		out = append(out, at(byTier, string(v.Tier)))
	}
	if v.DataType != DataText {
		out = append(out, at(byData, v.DataType))
	}
	for k, val := range v.Tags {
		out = append(out, at(byTag, tagValue(k, val)), at(byTags, k))
	}
	return out
}

// reindex moves a head from the index entries of its former state to those of its new one; nil is a parameter that is not there.
func (s *Service) reindex(tx store.Tx, tenant, canon string, before, after *version) error {
	var old, now []string
	if before != nil {
		old = before.entries(tenant, canon)
		if after == nil || !before.Modified.Equal(after.Modified) {
			old = append(old, string(timeKey(tenant, before.Modified, canon)))
		}
	}
	if after != nil {
		now = after.entries(tenant, canon)
		if before == nil || !before.Modified.Equal(after.Modified) {
			now = append(now, string(timeKey(tenant, after.Modified, canon)))
		}
	}
	slices.Sort(old)
	slices.Sort(now)
	for _, k := range old {
		if _, stays := slices.BinarySearch(now, k); !stays {
			if err := tx.Delete([]byte(k)); err != nil {
				return err
			}
		}
	}
	for _, k := range now {
		if _, there := slices.BinarySearch(old, k); !there {
			if err := s.mark(tx, key.K(k), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// mark writes a small record.
func (s *Service) mark(tx store.Tx, k key.K, payload []byte) error {
	return tx.Put(k, s.cfg.Codec.Seal(k, payload))
}

// lastName takes the name off the end of a key, which has so many elements before it.
func lastName(k []byte, before int) (string, error) {
	r := key.Read(k)
	for range before {
		r.Str()
	}
	name := r.Str()
	return name, r.Err()
}

// shards is how many counters a tenant has: parameters are counted by name, so that no counter is everybody's.
const shards = 16

func shardOf(canon string) uint64 {
	h := uint32(2166136261)
	for i := range len(canon) {
		h = (h ^ uint32(canon[i])) * 16777619
	}
	return uint64(h % shards)
}

// tally is how many parameters there are.
type tally struct{ standard, advanced uint64 }

func (s *Service) openTally(k key.K, framed []byte) (t tally, err error) {
	if framed == nil {
		return t, nil
	}
	p, err := s.cfg.Codec.Open(k, framed)
	if err != nil {
		return t, err
	}
	r := reading{rest: string(p)}
	t.standard, t.advanced = r.uint(), r.uint()
	return t, nil
}

func (t tally) encode() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, t.standard), t.advanced)
}

// cutAfter returns what follows prefix in the order of names: the end of the range of the names that begin so.
func cutAfter(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return strings.Repeat("\xff", 8)
}
