package fleetwright

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// The permissions of an operator.
const (
	ActionBackup = "fleetwright:Backup" // of Backup: it reads everything of every tenant
	ActionFsck   = "fleetwright:Fsck"   // of Fsck
	ActionDoctor = "fleetwright:Doctor" // of Health; what Doctor shows of a command needs what reading that command needs
)

// BackupOptions of Backup; nil is the zero value.
type BackupOptions struct {
	NoBlobs bool // leave the output of commands out, and only list it
	// Files are further files of the directory of Open, by their names below it, that belong into the backup; those that are not there are left out. Its certificates always do.
	Files []string
}

// Backup writes a copy of all that the control plane knows to w, while it goes on: every record as of one moment (Manifest.Consistent says whether the store could), the output of commands, and
// the certificates of its directory. Secrets stay sealed as they are, and the files are sealed too: without the key file, which is not in it and must be kept elsewhere, a
// backup is of no use to anybody. What was damaged is copied as it is and counted. [Restore] and [RestoreDir] take it back, also into another kind of store.
//
// Take one after each rotation of the control plane's keys: nodes that obey newer keys than a backup has do not obey what is restored from it.
//
// It needs fleetwright:Backup. When it returns an error, what was written is no backup.
func (f *Fleet) Backup(ctx context.Context, w io.Writer, o *BackupOptions) (m Manifest, err error) {
	const op = "fleetwright.Backup"
	if o == nil {
		o = &BackupOptions{}
	}
	defer func() {
		e := audit.Of(ActionBackup, "*", err)
		e.IDs = map[string]string{"records": strconv.Itoa(m.Records), "sha256": m.SHA256}
		f.Audit.Read(ctx, e) //nolint:errcheck // the outcome stands anyway
		err = fault.Wrap(op, err)
	}()
	if err := access.Check(ctx, f.cfg.Authorizer, ActionBackup, "*", nil); err != nil {
		return m, err
	}
	m = Manifest{Format: 1, Created: f.cfg.Now().UTC().Round(0), Name: f.cfg.Name, Codec: codecCRC}
	if framed := f.cfg.Codec.Seal([]byte("k"), nil); framed[0] != 1 {
		m.Codec = codecHost
		err := f.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			b, err := macTable().Get(ctx, r, macAt())
			if err == nil {
				m.Codec, m.MAC = codecMAC, b
			}
			return err
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return m, err
		}
	}
	fw, err := newFrameWriter(w)
	if err != nil {
		return m, err
	}
	if err := fw.json(frameHead, m); err != nil {
		return m, err
	}
	var blobs []command.Piece
	m.Consistent, err = store.Export(ctx, f.cfg.Store, func(k, v []byte) error {
		if err := inspectRecord(f.cfg.Codec, k, v); err != nil {
			m.Corrupt++
			f.cfg.Log.Error("the backup has a damaged record: it was copied as it is", "key", keyText(k), "error", err)
		} else {
			m.Epoch = max(m.Epoch, epochIn(f.cfg.Codec, k, v))
			blobs = append(blobs, blobsIn(f.cfg.Codec, k, v)...)
		}
		m.Records++
		m.Bytes += int64(len(k) + len(v))
		return fw.named(frameRecord, k, v)
	})
	if err != nil {
		return m, err
	}
	if err := f.backupFiles(ctx, fw, o, &m); err != nil {
		return m, err
	}
	for i := range blobs {
		if err := f.backupBlob(ctx, fw, &blobs[i], o.NoBlobs, &m); err != nil {
			return m, err
		}
	}
	return m, fw.trailer(&m)
}

// epochIn returns the epoch that a lease, a floor or the control plane's keys have; 0 for other records.
func epochIn(c interface {
	Open(key, framed []byte) ([]byte, error)
}, k, v []byte) uint64 {
	p, ok := parseKey(k)
	if !ok || !(p.service == "lease" && p.kind != "session" || p.service == "controller" && p.kind == "key") {
		return 0
	}
	payload, err := c.Open(k, v)
	if err != nil {
		return 0
	}
	var rec struct {
		Epoch uint64 `json:"epoch"`
	}
	if json.Unmarshal(payload, &rec) != nil {
		return 0
	}
	return rec.Epoch
}

// blobsIn returns the blobs that a record names.
func blobsIn(c interface {
	Open(key, framed []byte) ([]byte, error)
}, k, v []byte) []command.Piece {
	p, ok := parseKey(k)
	if !ok || p.service != "command" || p.kind != "stream" || len(p.rest) != 3 {
		return nil
	}
	payload, err := c.Open(k, v)
	if err != nil {
		return nil
	}
	pieces, _ := command.OutputPieces(p.tenant, p.rest[0].text, p.rest[1].text, p.rest[2].text, payload)
	return pieces
}

// fileBinding ties a sealed file to its name.
func fileBinding(name string) seal.Binding {
	return seal.Binding{Tenant: "fleetwright", Kind: "backup file", Name: name, Version: 1, Type: "file"}
}

// backupFiles writes the certificates of the directory, and what the host named.
func (f *Fleet) backupFiles(ctx context.Context, fw *frameWriter, o *BackupOptions, m *Manifest) error {
	if f.dir == "" {
		return nil
	}
	names := slices.Clone(o.Files)
	entries, err := os.ReadDir(filepath.Join(f.dir, "tls"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join("tls", e.Name()))
		}
	}
	box := seal.NewBox(f.cfg.Keys, nil)
	for _, name := range names {
		if !filepath.IsLocal(name) || len(name) > store.MaxKey {
			return fault.New("fleetwright.Backup", fault.Validation, "the file %q lies outside of the directory", fault.Clean(name))
		}
		b, err := os.ReadFile(filepath.Join(f.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if len(b) > store.MaxValue {
			return fault.New("fleetwright.Backup", fault.Validation, "the file %q is larger than %d bytes: keep it elsewhere", fault.Clean(name), store.MaxValue)
		}
		name = filepath.ToSlash(name)
		sealer, err := box.Prepare(ctx, "", fileBinding(name))
		if err != nil {
			return err
		}
		plain := secret.Take(b)
		sealed, err := sealer.Seal(plain)
		plain.Wipe()
		if err != nil {
			return err
		}
		if err := fw.named(frameFile, []byte(name), sealed); err != nil {
			return err
		}
		m.Files++
	}
	return nil
}

// backupBlob writes one blob, or lists it.
func (f *Fleet) backupBlob(ctx context.Context, fw *frameWriter, piece *command.Piece, listOnly bool, m *Manifest) error {
	name := piece.Blob
	list := func() error {
		if len(m.Listed) < maxListed {
			m.Listed = append(m.Listed, name)
		} else {
			m.ListedMore++
		}
		return nil
	}
	if listOnly {
		return list()
	}
	content, err := piece.Read(ctx, f.cfg.Blobs)
	switch {
	case errors.Is(err, blob.ErrNotFound): // it has gone since, or is missing: fsck tells
		return list()
	case fault.KindOf(err) == fault.Corrupt:
		m.Corrupt++
		f.cfg.Log.Error("the backup has damaged output: it was copied as it is", "blob", name, "error", err)
		if content == nil {
			return list()
		}
	case err != nil:
		return err
	}
	r := bytes.NewReader(content)
	if err := fw.frame(frameBlob, []byte(name)); err != nil {
		return err
	}
	sum, buf := sha256.New(), make([]byte, pieceBytes)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			sum.Write(buf[:n])
			m.BlobBytes += int64(n)
			if err := fw.frame(framePiece, buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	m.Blobs++
	return fw.frame(frameBlobEnd, sum.Sum(nil))
}

// macAt is where the store has the key that authenticates its records, sealed. It is the only record that carries no MAC itself.
func macAt() key.K { return key.New("").Str("fleetwright").Str("mac") }
