package fleetwright

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// ActionRestore is the action under which a restore stands in the audit log.
const ActionRestore = "fleetwright:Restore"

// RestoreConfig says where Restore restores to. Store, Blobs and Keys are required.
type RestoreConfig struct {
	// Store is empty, and used by nobody else. If Codec is given it may have the one record that RecordCodec writes, so that Blobs can lie in it too (blob/storeblob).
	Store store.Store
	Blobs blob.Store
	Keys  seal.Wrapper // those of the control plane whose backup it is: they must open its secrets
	// Codec is that of Config.Codec of who will use the store; nil is RecordCodec's, as of stores of Open. It may differ from the one that the backup's records have.
	Codec *record.Codec
	// From is the codec of the backup's records when it was a host's own (Manifest.Codec is "host").
	From *record.Codec
	// SkipDamaged leaves records out that were damaged when the backup was made, instead of refusing it.
	SkipDamaged bool
	// File takes a file of the backed up directory; nil leaves them out.
	File func(name string, content secret.Value) error

	Name string           // of the control plane in whose audit log the restore stands; "" is as in Config
	Now  func() time.Time // nil is time.Now
	Log  *slog.Logger     // nil discards
}

// Restored says what a restore did.
type Restored struct {
	Backup  Manifest `json:"backup"`
	Epoch   uint64   `json:"epoch"`   // every epoch that is given from now on is larger
	Skipped int      `json:"skipped"` // damaged records that were left out
	Lost    int      `json:"lost"`    // outputs that the backup does not have
	Before  string   `json:"before,omitempty"`
}

// restoredRecord is what a store remembers of being restored.
type restoredRecord struct {
	Epoch  uint64    `json:"epoch"` // added to those of the control plane's keys
	At     time.Time `json:"at"`
	Backup time.Time `json:"backup"` // when the backup was made
	SHA256 string    `json:"sha256"`
}

func restoredAt() key.K { return key.New("").Str("controller").Str("restored") }

// epochStep is how far a restore raises epochs at least above those of the backup. What it raises them to is the time in milliseconds, so that of two restores of one
// backup the later one has the higher epoch too.
const epochStep = 1 << 20

// Restore reads a backup into an empty store. Every frame, every record and the whole are verified; nothing of it may be used before it returned nil, and when it returns an error the store is
// to be thrown away ([RestoreDir] does that). Ownership is free afterwards, and epochs are raised above all that the lost state may have given: what a control plane of before the restore
// still says, nodes do not obey. The restore is recorded in the audit log.
//
// What was accepted after the backup is lost, and is found out when nodes come back: they report once more on all that they remember, and what the store does not know is
// named in the log and by Doctor. Nodes that registered after the backup are refused until they register anew.
func Restore(ctx context.Context, r io.Reader, cfg RestoreConfig) (rep Restored, err error) {
	const op = "fleetwright.Restore"
	if cfg.Store == nil || cfg.Blobs == nil || cfg.Keys == nil {
		return rep, fault.New(op, fault.Validation, "RestoreConfig.Store, Blobs and Keys are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Name == "" {
		cfg.Name = "control-plane"
	}
	err = cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{Limit: 2}) {
			if err == nil && cfg.Codec != nil && bytes.Equal(it.Key, macAt()) {
				continue
			}
			if err == nil {
				err = fault.New(op, fault.AlreadyExists, "the store is not empty: restore into an empty one")
			}
			return err
		}
		return nil
	})
	if err != nil {
		return rep, fault.Wrap(op, err)
	}
	im := &importer{cfg: &cfg, rep: &rep}
	if err := im.run(ctx, r); err != nil {
		return rep, fault.Wrap(op, err)
	}
	return rep, fault.Wrap(op, im.raise(ctx))
}

// importer reads one backup.
type importer struct {
	cfg      *RestoreConfig
	rep      *Restored
	fr       *frameReader
	from, to *record.Codec
	same     bool // records are taken as they are
	last     []byte
	batch    []store.Item
	size     int
	seen     Manifest // counts of what was read
}

func (im *importer) run(ctx context.Context, r io.Reader) (err error) {
	if im.fr, err = newFrameReader(r); err != nil {
		return err
	}
	kind, payload, err := im.fr.next()
	if err != nil {
		return err
	}
	if kind != frameHead {
		return badBackup("it does not begin with its manifest")
	}
	head, err := im.fr.manifest(payload, false)
	if err != nil {
		return err
	}
	if err := im.codecs(ctx, &head); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if kind, payload, err = im.fr.next(); err != nil {
			return err
		}
		switch kind {
		case frameRecord:
			err = im.record(ctx, payload)
		case frameFile:
			err = im.file(ctx, payload)
		case frameBlob:
			err = im.blob(ctx, string(payload))
		case frameTrailer:
			if err := im.flush(ctx); err != nil {
				return err
			}
			return im.end(payload)
		default:
			err = fault.New("fleetwright.Restore", fault.UnsupportedOperation, "the backup has parts (%q) that this release does not know: restore it with a newer one", kind)
		}
		if err != nil {
			return err
		}
	}
}

// codecs finds what the records are framed with, and what they are to be.
func (im *importer) codecs(ctx context.Context, m *Manifest) (err error) {
	switch m.Codec {
	case codecCRC:
		im.from = nil
	case codecMAC:
		if im.from, err = openMAC(ctx, seal.NewBox(im.cfg.Keys, nil), m.MAC); err != nil {
			return fault.New("fleetwright.Restore", fault.CodeOf(err), "the key file does not open the backup: give the one of the control plane that was backed up: %w", err)
		}
	case codecHost:
		if im.from = im.cfg.From; im.from == nil {
			return fault.New("fleetwright.Restore", fault.Validation, "the backup's records carry a MAC under a key of the host's: give RestoreConfig.From")
		}
	default:
		return fault.New("fleetwright.Restore", fault.UnsupportedOperation, "the backup's records are framed in a way (%q) that this release does not know", fault.Clean(m.Codec))
	}
	switch {
	case im.cfg.Codec != nil:
		im.to = im.cfg.Codec
	case m.Codec == codecMAC:
		im.to, im.same = im.from, true // with the key's own record
	default:
		if im.to, err = RecordCodec(ctx, im.cfg.Store, im.cfg.Keys); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) record(ctx context.Context, payload []byte) error {
	k, v, ok := split(payload)
	switch {
	case !ok || len(k) == 0:
		return badBackup("a record in it has no key")
	case im.last != nil && bytes.Compare(im.last, k) >= 0:
		return badBackup("its records are out of order at %s", keyText(k))
	}
	im.last = k
	im.seen.Records++
	im.seen.Bytes += int64(len(k) + len(v))
	p, known := parseKey(k)
	if err := inspectRecord(im.from, k, v); err != nil {
		im.seen.Corrupt++
		if !im.cfg.SkipDamaged {
			return fault.New("fleetwright.Restore", fault.DataCorrupt, "the record %s was damaged before it was backed up: take an older backup, or skip what is damaged: %w", keyText(k), err)
		}
		im.rep.Skipped++
		im.cfg.Log.Error("a damaged record was left out", "key", keyText(k), "error", err)
		return nil
	}
	im.seen.Epoch = max(im.seen.Epoch, epochIn(im.from, k, v))
	switch {
	case known && p.tenant == "" && p.service == "lease" && p.kind == "session":
		return nil // of processes that are not there: all that they held is free
	case im.same:
	case bytes.Equal(k, macAt()):
		return nil // the key of another codec
	case known && unframed(p, v):
	default:
		b, err := im.from.Open(k, v)
		if err != nil {
			return err
		}
		v = im.to.Seal(k, b)
	}
	im.batch, im.size = append(im.batch, store.Item{Key: k, Value: v}), im.size+len(k)+len(v)
	if len(im.batch) >= store.MaxWrites/4 || im.size >= store.MaxTxBytes/2 {
		return im.flush(ctx)
	}
	return nil
}

func (im *importer) flush(ctx context.Context) error {
	if len(im.batch) == 0 {
		return nil
	}
	err := im.cfg.Store.Update(ctx, func(_ context.Context, tx store.Tx) error {
		for _, it := range im.batch {
			if err := tx.Put(it.Key, it.Value); err != nil {
				return err
			}
		}
		return nil
	})
	im.batch, im.size = im.batch[:0], 0
	return err
}

func (im *importer) file(ctx context.Context, payload []byte) error {
	name, sealed, ok := split(payload)
	if !ok {
		return badBackup("a file in it has no name")
	}
	im.seen.Files++
	if im.cfg.File == nil {
		return nil
	}
	content, err := seal.NewBox(im.cfg.Keys, nil).Open(ctx, sealed, fileBinding(string(name)))
	if err != nil {
		return fault.New("fleetwright.Restore", fault.CodeOf(err), "the key file does not open the file %q of the backup: %w", fault.Clean(string(name)), err)
	}
	defer content.Wipe()
	return im.cfg.File(string(name), content)
}

// blob stores one blob, whose pieces follow.
func (im *importer) blob(ctx context.Context, name string) error {
	r := &blobReader{fr: im.fr, name: name}
	n, err := im.cfg.Blobs.Put(ctx, name, r)
	if err != nil {
		return err
	}
	im.seen.Blobs++
	im.seen.BlobBytes += n
	return nil
}

// blobReader reads a blob out of its frames, and fails instead of ending when it is not whole.
type blobReader struct {
	fr   *frameReader
	name string
	rest []byte
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
	err error
}

func (b *blobReader) Read(p []byte) (int, error) {
	if b.sum == nil {
		b.sum = sha256.New()
	}
	for len(b.rest) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		kind, payload, err := b.fr.next()
		switch {
		case err != nil:
			b.err = err
		case kind == framePiece:
			b.rest = payload
			b.sum.Write(payload) //nolint:errcheck // a hash never fails
		case kind == frameBlobEnd && bytes.Equal(payload, b.sum.Sum(nil)):
			b.err = io.EOF
		default:
			b.err = badBackup("the output %s in it is damaged", fault.Clean(b.name))
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// end compares what was read with what the backup says that it is.
func (im *importer) end(payload []byte) error {
	m, err := im.fr.manifest(payload, true)
	if err != nil {
		return err
	}
	s := im.seen
	if s.Records != m.Records || s.Bytes != m.Bytes || s.Blobs != m.Blobs || s.BlobBytes != m.BlobBytes || s.Files != m.Files || s.Corrupt != m.Corrupt-m.CorruptBlobs || s.Epoch != m.Epoch {
		return badBackup("its manifest counts %d records and %d blobs, and it has %d and %d", m.Records, m.Blobs, s.Records, s.Blobs)
	}
	im.rep.Backup, im.rep.Lost = m, len(m.Listed)+m.ListedMore
	return nil
}

// raise makes every epoch that is given from now on larger than any that was given before, and records the restore.
func (im *importer) raise(ctx context.Context) error {
	now := im.cfg.Now().UTC().Round(0)
	m := &im.rep.Backup
	epoch := max(m.Epoch+epochStep, uint64(max(0, now.UnixMilli())))
	im.rep.Epoch = epoch
	leases := lease.New(im.cfg.Store, im.to, lease.Config{Owner: im.cfg.Name, Now: im.cfg.Now})
	log := audit.New(audit.Config{Store: im.cfg.Store, Codec: im.to, Writer: im.cfg.Name, Now: im.cfg.Now})
	e := audit.Of(ActionRestore, "*", nil)
	e.Tenant = access.DefaultTenant
	if access.From(ctx).Name == "" {
		e.Principal = "operator"
	}
	e.IDs = map[string]string{"epoch": strconv.FormatUint(epoch, 10), "backup": m.Created.Format(time.RFC3339), "sha256": m.SHA256, "records": fmt.Sprint(m.Records)}
	return im.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := leases.Raise(ctx, tx, epoch); err != nil {
			return err
		}
		if err := record.NewTable[restoredRecord](im.to).Put(tx, restoredAt(), restoredRecord{Epoch: epoch, At: now, Backup: m.Created, SHA256: m.SHA256}); err != nil {
			return err
		}
		return log.Record(ctx, tx, e)
	})
}

// openMAC returns the codec of the key that is stored so: framed or, in a manifest, sealed alone.
func openMAC(ctx context.Context, box *seal.Box, sealed []byte) (*record.Codec, error) {
	if len(sealed) == 0 {
		return nil, errors.New("the backup lacks it")
	}
	k, err := box.Open(ctx, sealed, macBinding())
	if err != nil {
		return nil, err
	}
	defer k.Wipe()
	return record.NewCodec(k)
}

func macBinding() seal.Binding {
	return seal.Binding{Tenant: "fleetwright", Kind: "store", Name: "mac", Version: 1, Type: "key"}
}

// VerifyBackup reads a backup to its end and returns its manifest when every frame and the whole are as they were written. It needs no key, and says nothing about whether the records are
// right: Restore does.
func VerifyBackup(ctx context.Context, r io.Reader) (Manifest, error) {
	fr, err := newFrameReader(r)
	for err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		var kind byte
		var payload []byte
		if kind, payload, err = fr.next(); err == nil && kind == frameTrailer {
			return fr.manifest(payload, true)
		}
	}
	return Manifest{}, fault.Wrap("fleetwright.VerifyBackup", err)
}
