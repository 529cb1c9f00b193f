package fleetwright

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// FsckOptions of Fsck; nil is the zero value.
type FsckOptions struct {
	// Repair mends what can be mended without losing anything: entries of indexes that point at nothing are removed, missing ones are written, parts and output of commands
	// that are gone are removed. Damaged records are never touched.
	Repair  bool
	NoBlobs bool // do not look at the output of commands
	Most    int  // problems that are told; 0 is 1,000. All are counted
}

// Problem is one thing that is not as it should be.
type Problem struct {
	Kind    string `json:"kind"` // corrupt, dangling, missing, orphan, audit, structure
	Where   string `json:"where"`
	Meaning string `json:"meaning"`
	Do      string `json:"do"`
	Safe    bool   `json:"safe"`            // Repair can mend it
	Fixed   bool   `json:"fixed,omitempty"` // and did

	put, del []byte // the key that Repair writes or removes
	blob     string
}

// String is the problem in two lines.
func (p Problem) String() string {
	state := ""
	if p.Fixed {
		state = " (repaired)"
	}
	return fmt.Sprintf("%s: %s: %s%s\n    %s", p.Kind, p.Where, p.Meaning, state, p.Do)
}

// FsckReport is what Fsck found.
type FsckReport struct {
	At         time.Time      `json:"at"`
	Records    int            `json:"records"`
	Bytes      int64          `json:"bytes"`
	Kinds      map[string]int `json:"kinds"`   // records by service/kind
	Foreign    int            `json:"foreign"` // records of services that this release does not know, among Records
	Consistent bool           `json:"consistent"`
	Blobs      int            `json:"blobs"`    // that records name
	Leftover   int            `json:"leftover"` // blobs that belong to a command that is there and that nothing names: they go with the command
	Audit      audit.Report   `json:"audit"`

	Problems []Problem `json:"problems"`
	Found    int       `json:"found"` // all, told or not
	Fixed    int       `json:"fixed"`
}

// OK reports whether nothing is wrong any more.
func (r *FsckReport) OK() bool { return r.Found == r.Fixed }

// String is the report for a person: every problem that is told, then a line of counts.
func (r *FsckReport) String() string {
	var b strings.Builder
	for _, p := range r.Problems {
		fmt.Fprintln(&b, p)
	}
	if n := r.Found - len(r.Problems); n > 0 {
		fmt.Fprintf(&b, "… and %d more problems\n", n)
	}
	safe := 0
	for _, p := range r.Problems {
		if p.Safe && !p.Fixed {
			safe++
		}
	}
	fmt.Fprintf(&b, "%d records (%s), %d blobs, %d audit entries in %d chains: ", r.Records, size(r.Bytes), r.Blobs, r.Audit.Entries, r.Audit.Chains)
	switch left := r.Found - r.Fixed; {
	case r.Found == 0:
		b.WriteString("all is well\n")
	case left == 0:
		fmt.Fprintf(&b, "%d problems, all repaired\n", r.Found)
	default:
		fmt.Fprintf(&b, "%d problems", r.Found)
		if r.Fixed > 0 {
			fmt.Fprintf(&b, ", %d of them repaired", r.Fixed)
		}
		if safe > 0 {
			fmt.Fprintf(&b, "; -repair mends %d", safe)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func size(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// checker is a driver that can look at its own structure, as boltstore's can.
type checker interface {
	Check(ctx context.Context) error
}

// Fsck reads every record of the store, of whatever type, and says what is wrong: records that are not what was written (checksum, MAC, form), entries of indexes that point at nothing and
// records that stand in no index, output that is missing or that nobody names, audit chains that do not hold, and damage to the store's own file. One bad record does not hide the
// others. It may run while the control plane works: what changes meanwhile is looked at again before it is called a problem. It needs fleetwright:Fsck.
func (f *Fleet) Fsck(ctx context.Context, o *FsckOptions) (rep *FsckReport, err error) {
	const op = "fleetwright.Fsck"
	if o == nil {
		o = &FsckOptions{}
	}
	defer func() {
		e := audit.Of(ActionFsck, "*", err)
		if rep != nil {
			e.IDs = map[string]string{"problems": fmt.Sprint(rep.Found), "repaired": fmt.Sprint(rep.Fixed)}
		}
		f.Audit.Read(ctx, e) //nolint:errcheck // the outcome stands anyway
		err = fault.Wrap(op, err)
	}()
	if err := access.Check(ctx, f.cfg.Authorizer, ActionFsck, "*", nil); err != nil {
		return nil, err
	}
	c := &fsck{f: f, o: o, most: o.Most, rep: &FsckReport{At: f.cfg.Now().UTC(), Kinds: map[string]int{}}, named: map[string]named{}, there: map[uint64]bool{}}
	if c.most <= 0 {
		c.most = 1000
	}
	if ck, ok := f.cfg.Store.(checker); ok {
		if err := ck.Check(ctx); fault.KindOf(err) == fault.Corrupt {
			c.found(Problem{Kind: "structure", Where: "the store's file", Meaning: fault.MessageOf(err), Do: "take a backup of what can be read, then restore the newest whole backup"})
		} else if err != nil {
			return nil, err
		}
	}
	if err := c.records(ctx); err != nil {
		return nil, err
	}
	if err := c.references(ctx); err != nil {
		return nil, err
	}
	if !o.NoBlobs {
		if err := c.blobs(ctx); err != nil {
			return nil, err
		}
	}
	if c.rep.Audit, err = f.Audit.Verify(ctx, nil); fault.KindOf(err) == fault.Corrupt {
		c.found(Problem{Kind: "audit", Where: "the audit log", Meaning: fault.MessageOf(err),
			Do: "somebody or something changed the record of calls: keep this copy as evidence, compare with a backup; commands are not affected"})
	} else if err != nil {
		return nil, err
	}
	return c.rep, nil
}

// fsck is one run.
type fsck struct {
	f     *Fleet
	o     *FsckOptions
	most  int
	rep   *FsckReport
	refs  []reference      // what records promise about others, where that is not known to hold
	there map[uint64]bool  // hashes of the keys of main records that were read
	named map[string]named // blobs that records name
}

// named is a blob and the key of the record that names it.
type named struct {
	piece command.Piece
	by    []byte
}

// reference says that because of one record another must be there.
type reference struct {
	of, to  []byte
	unless  []byte // then not; nil is always
	problem Problem
}

func (c *fsck) found(p Problem) {
	c.rep.Found++
	if p.Fixed {
		c.rep.Fixed++
	}
	if len(c.rep.Problems) < c.most {
		c.rep.Problems = append(c.rep.Problems, p)
	}
}

// records reads everything once.
func (c *fsck) records(ctx context.Context) error {
	var err error
	codec := c.f.cfg.Codec
	var damaged error
	c.rep.Consistent, err = store.Export(ctx, c.f.cfg.Store, func(k, v []byte) error {
		c.rep.Records++
		c.rep.Bytes += int64(len(k) + len(v))
		p, ok := parseKey(k)
		space, known := spaces()[p.service]
		if !ok || !known {
			c.rep.Foreign++
		}
		if ok {
			name := p.service
			if p.kind != "" {
				name += "/" + p.kind
			}
			if len(c.rep.Kinds) < 1000 {
				c.rep.Kinds[fault.Clean(name)]++
			}
		}
		if err := inspectRecord(codec, k, v); err != nil {
			if !known && ok { // a host's own, in a form of its own
				return nil
			}
			meaning, do := space.explain(p.kind)
			why := err.Error()
			var ce *record.CorruptError
			if errors.As(err, &ce) {
				why = ce.Reason
			}
			c.found(Problem{Kind: "corrupt", Where: keyText(k), Meaning: why + ": " + meaning, Do: do})
			return nil
		}
		if !ok {
			return nil
		}
		if mainKind(p) {
			c.there[hashOf(k)] = true
		}
		for _, r := range referencesOf(codec, k, v, p) {
			if !c.there[hashOf(r.to)] { // most come after what they speak of
				c.refs = append(c.refs, r)
			}
		}
		var by []byte
		for _, b := range blobsIn(codec, k, v) {
			if by == nil {
				by = bytes.Clone(k)
			}
			c.named[b.Blob] = named{b, by}
		}
		return nil
	})
	if fault.KindOf(err) == fault.Corrupt {
		damaged, err = err, nil
	}
	if damaged != nil && len(c.rep.Problems) == 0 {
		c.found(Problem{Kind: "structure", Where: "the store's file", Meaning: fault.MessageOf(damaged), Do: "restore the newest whole backup"})
	}
	return err
}

// mainKind reports whether other records speak of those of this kind.
func mainKind(p place) bool {
	switch p.service {
	case "command", "node", "library":
		return p.kind == p.service || p.kind == "version" || p.kind == "content" || p.kind == "state"
	}
	return p.service == "automation" && p.kind == "execution"
}

func hashOf(k []byte) uint64 {
	h := fnv.New64a()
	h.Write(k) //nolint:errcheck // a hash never fails
	return h.Sum64()
}

// inspectRecord returns why a record is not what was written, nil for one that is, and for those few that are written without a frame.
func inspectRecord(codec *record.Codec, k, v []byte) error {
	p, ok := parseKey(k)
	if bytes.Equal(k, macAt()) {
		codec = nil
	} else if ok && unframed(p, v) {
		return nil
	}
	payload, err := codec.Open(k, v)
	if err != nil {
		return err
	}
	if len(payload) > 1 && (payload[0] == '{' && payload[len(payload)-1] == '}') && ok && jsonSpaces[p.service] && !json.Valid(payload) {
		return &record.CorruptError{Key: slices.Clone(k), Reason: "it is no JSON"}
	}
	return nil
}

// unframed reports whether the record is one of the marks of the automations' indexes, which are a byte without a frame.
func unframed(p place, v []byte) bool {
	return p.service == "automation" && (p.kind == "time" || p.kind == "active") && bytes.Equal(v, []byte{1})
}

// refsPage is how many references are looked at in one View.
const refsPage = 500

// references looks at what records promise about others, in a fresh state: what was written or removed since is no problem.
func (c *fsck) references(ctx context.Context) error {
	for part := range slices.Chunk(c.refs, refsPage) {
		keys := make([][]byte, 0, 3*len(part))
		for _, r := range part {
			if r.unless == nil {
				r.unless = r.to
			}
			keys = append(keys, r.of, r.to, r.unless)
		}
		var vals [][]byte
		err := c.f.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			got, err := r.GetMany(ctx, keys)
			vals = make([][]byte, len(got))
			for i, v := range got {
				if v != nil {
					vals[i] = []byte{}
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		for i, r := range part {
			if vals[3*i] == nil || vals[3*i+1] != nil || vals[3*i+2] != nil {
				continue
			}
			p := r.problem
			if c.o.Repair && p.Safe {
				if p.Fixed, err = c.mend(ctx, &r); err != nil {
					return err
				}
			}
			c.found(p)
		}
	}
	c.refs = nil
	return nil
}

// mend repairs what a reference misses, if it still does.
func (c *fsck) mend(ctx context.Context, r *reference) (fixed bool, err error) {
	err = c.f.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		fixed = false
		vals, err := tx.GetMany(ctx, [][]byte{r.of, r.to})
		if err != nil || vals[0] == nil || vals[1] != nil {
			return err
		}
		fixed = true
		if r.problem.put != nil {
			return tx.Put(r.problem.put, c.f.cfg.Codec.Seal(r.problem.put, markPayload(r.problem.put)))
		}
		return tx.Delete(r.problem.del)
	})
	return fixed, err
}

// markPayload is what an entry of the index holds.
func markPayload(k []byte) []byte {
	if p, ok := parseKey(k); ok && p.service == "command" {
		return []byte("{}")
	}
	return nil
}

// blobGrace is how old a blob must be to be called an orphan: output is stored before the record that names it.
const blobGrace = time.Hour

// blobs compares what records name with what is there.
func (c *fsck) blobs(ctx context.Context) error {
	c.rep.Blobs = len(c.named)
	var orphans []Problem
	w, walks := c.f.cfg.Blobs.(blob.Walker)
	if walks {
		now := c.f.cfg.Now()
		err := w.Walk(ctx, func(name string, _ int64, at time.Time) error {
			if _, ok := c.named[name]; ok {
				return nil
			}
			if now.Sub(at) < blobGrace || !strings.HasPrefix(name, "output/") {
				return nil
			}
			orphans = append(orphans, Problem{Kind: "orphan", Where: "blob " + name, Meaning: "output of a command that is not there", Do: "it takes room and nothing else: -repair removes it", Safe: true, blob: name})
			return nil
		})
		if err != nil {
			return err
		}
	}
	for name, n := range c.named {
		_, err := n.piece.Read(ctx, c.f.cfg.Blobs)
		if err == nil {
			continue
		}
		if fault.KindOf(err) != fault.Corrupt {
			return err
		}
		still, serr := c.stillNamed(ctx, &n)
		if serr != nil {
			return serr
		}
		if !still { // it has become part of a longer piece, or went with its command
			continue
		}
		p := Problem{Kind: "corrupt", Where: "blob " + name, Meaning: fault.MessageOf(err) + ": it is not served, what comes before it is",
			Do: "the command's status and exit code are right; the output before this place can be read, a backup has the rest; it goes with the command when that is removed"}
		if errors.Is(err, blob.ErrNotFound) {
			p.Kind, p.Meaning = "missing", "the output that a command's record names is not there ("+n.piece.String()+")"
			p.Do = "the command's status and exit code are right, its full output is lost; it goes with the command when that is removed"
		}
		c.found(p)
	}
	live, err := c.liveCommands(ctx, orphans)
	if err != nil {
		return err
	}
	for _, p := range orphans {
		if live[outputOwner(p.blob)] {
			c.rep.Leftover++
			continue
		}
		if c.o.Repair {
			if err := c.f.cfg.Blobs.Delete(ctx, p.blob); err != nil {
				return err
			}
			p.Fixed = true
		}
		c.found(p)
	}
	return nil
}

// stillNamed reads the record that names a blob again, and reports whether it names the same bytes.
func (c *fsck) stillNamed(ctx context.Context, n *named) (bool, error) {
	var v []byte
	err := c.f.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		v, err = r.Get(ctx, n.by)
		v = bytes.Clone(v)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return slices.Contains(blobsIn(c.f.cfg.Codec, n.by, v), n.piece), nil
}

// outputOwner is the part of a blob's key that names tenant and command.
func outputOwner(name string) string {
	parts := strings.SplitN(name, "/", 4)
	if len(parts) < 4 {
		return ""
	}
	return parts[1] + "/" + parts[2]
}

// liveCommands finds which of the blobs' commands are there.
func (c *fsck) liveCommands(ctx context.Context, blobs []Problem) (map[string]bool, error) {
	live := map[string]bool{}
	for _, p := range blobs {
		owner := outputOwner(p.blob)
		if _, ok := live[owner]; ok || owner == "" {
			continue
		}
		tenant, id, _ := strings.Cut(owner, "/")
		if strings.HasPrefix(tenant, ".") { // a tenant whose name is no segment: nobody can say
			live[owner] = true
			continue
		}
		err := c.f.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			_, err := r.Get(ctx, key.New(tenant).Str("command").Str("command").Str(id))
			live[owner] = err == nil
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return live, nil
}
