package fleetwright

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
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

// Backup writes a copy of all that the control plane knows to w, while it goes on: every record as of one moment (Manifest.Consistent says whether the store could), the output of commands
// (blobs that lie in the store, as blob/storeblob keeps them, are copied as blobs and not as records too), and the certificates of its directory. Secrets stay sealed as they are, and the files are sealed too: without the key file, which is not in it and must be kept elsewhere, a
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
	keeper, _ := f.cfg.Blobs.(blob.Keeper)
	kept := map[string]bool{} // blobs that lie in the store and are not copied yet
	m.Consistent, err = store.Export(ctx, f.cfg.Store, func(k, v []byte) error {
		if keeper != nil {
			if name, ok := keeper.Keeps(k); ok {
				if name != "" {
					kept[name] = true
				}
				return nil
			}
		}
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
		delete(kept, blobs[i].Blob)
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if err := f.backupKept(ctx, fw, name, o.NoBlobs, &m); err != nil {
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
	if listOnly {
		m.list(name)
		return nil
	}
	content, err := piece.Read(ctx, f.cfg.Blobs)
	switch {
	case errors.Is(err, blob.ErrNotFound): // it has gone since, or is missing: fsck tells
		m.list(name)
		return nil
	case fault.KindOf(err) == fault.Corrupt:
		m.Corrupt++
		m.CorruptBlobs++
		if content == nil {
			f.cfg.Log.Error("the backup lacks output that is damaged", "blob", name, "error", err)
			m.list(name)
			return nil
		}
		f.cfg.Log.Error("the backup has damaged output: it was copied as it is", "blob", name, "error", err)
	case err != nil:
		return err
	}
	return fw.blob(ctx, name, bytes.NewReader(content), m)
}

// backupKept writes a blob that lies in the store and that no record of a command names, or lists it. It is read twice: what turns out to be damaged is not begun.
func (f *Fleet) backupKept(ctx context.Context, fw *frameWriter, name string, listOnly bool, m *Manifest) error {
	if listOnly {
		m.list(name)
		return nil
	}
	r, err := f.cfg.Blobs.Open(ctx, name)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	if err == nil {
		r, err = f.cfg.Blobs.Open(ctx, name)
	}
	switch {
	case errors.Is(err, blob.ErrNotFound): // it has gone since
		m.list(name)
		return nil
	case fault.KindOf(err) == fault.Corrupt:
		m.Corrupt++
		m.CorruptBlobs++
		f.cfg.Log.Error("the backup lacks a blob that is damaged", "blob", name, "error", err)
		m.list(name)
		return nil
	case err != nil:
		return err
	}
	return errors.Join(fw.blob(ctx, name, r, m), r.Close())
}

// list notes a blob that is not in the backup.
func (m *Manifest) list(name string) {
	if len(m.Listed) < maxListed {
		m.Listed = append(m.Listed, name)
	} else {
		m.ListedMore++
	}
}

// blob writes what r yields, and counts it.
func (fw *frameWriter) blob(ctx context.Context, name string, r io.Reader, m *Manifest) error {
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
