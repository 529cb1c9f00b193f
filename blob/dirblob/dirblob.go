// Package dirblob keeps blobs as files below one directory.
//
//	blobs, err := dirblob.Open("/var/lib/fleetwright/blobs", nil)
//	defer blobs.Close()
//
// # Layout
//
// The segments of a key are directories, the last one is a file with "=" after its name, so that a blob and the tree below it live side by side:
// "default/command/c-1/stdout" is the file default/command/c-1/stdout=. An upper-case letter X is written =x, so that keys which differ in case only stay apart
// on file systems that do not tell case; a segment that becomes longer than 200 bytes by this is "=-" and its SHA-256. The directory ",tmp" holds what is being written or removed.
//
// # Safety
//
// Everything is opened beneath the directory with os.Root: no key and no symbolic link leads out of it. Files are 0600 and directories 0700, whatever the umask. Put writes a
// temporary file, syncs it, renames it and syncs the directory, so that a crash or a power cut at any point leaves the old blob or the new one. Delete
// of a tree is one rename, too. What a crash leaves in ",tmp" is removed by the next Open.
package dirblob

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/fault"
)

// Options are the choices of Open; nil is the zero value.
type Options struct {
	// Shared says that other processes may have the directory open: leftovers are then removed only when they are older than a day.
	Shared bool
	// NoSync leaves out every fsync: a power cut may lose acknowledged blobs. For tests.
	NoSync bool
	// Now is the clock that leftovers are compared with; nil is time.Now.
	Now func() time.Time
}

// Store is a blob.Store of files. All methods are safe for concurrent use.
type Store struct {
	root *os.Root
	sync bool
}

var _ blob.Store = (*Store)(nil)

const (
	tmp       = ",tmp"
	leftovers = 24 * time.Hour
	attempts  = 100 // of Put and Delete that get into each other's way in one directory
)

// Open opens the directory, making it (0700) when it is missing; its parent must exist. A directory that other users may write to is refused: what they put there
// would be served as ours.
func Open(dir string, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, failed("dirblob.Open", "making the directory", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, failed("dirblob.Open", "opening the directory", err)
	}
	s := &Store{root: root, sync: !o.NoSync}
	if err := s.prepare(o); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

func (s *Store) prepare(o *Options) error {
	info, err := s.root.Stat(".")
	if err != nil {
		return failed("dirblob.Open", "looking at the directory", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fault.New("dirblob.Open", fault.Validation, "the directory %s can be written by other users (mode %04o): chmod 0700 it, after a look at what it holds", s.root.Name(),
			info.Mode().Perm())
	}
	if err := s.root.Mkdir(tmp, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return failed("dirblob.Open", "making the directory for temporary files", err)
	}
	old, err := fs.ReadDir(s.root.FS(), tmp)
	if err != nil {
		return failed("dirblob.Open", "listing temporary files", err)
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	for _, e := range old {
		if o.Shared {
			if i, err := e.Info(); err != nil || now().Sub(i.ModTime()) < leftovers {
				continue
			}
		}
		if err := s.root.RemoveAll(path.Join(tmp, e.Name())); err != nil {
			return failed("dirblob.Open", "removing a temporary file", err)
		}
	}
	return s.syncDir(".")
}

// Close releases the directory. Readers that are open stay so.
func (s *Store) Close() error { return s.root.Close() }

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) (n int64, err error) {
	if err := check(ctx, "dirblob.Put", key); err != nil {
		return 0, err
	}
	t := s.temp()
	f, err := s.root.OpenFile(t, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, failed("dirblob.Put", "making a temporary file for "+key, err)
	}
	moved := false
	defer func() {
		if !moved {
			err = errors.Join(err, s.root.Remove(t))
		}
	}()
	n, err = io.Copy(f, contextReader{ctx, r})
	if err == nil && s.sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, failed("dirblob.Put", "writing "+key, err)
	}
	dir, name := locate(key)
	for try := 0; ; try++ {
		if err = s.mkdirAll(dir); err == nil {
			err = s.root.Rename(t, path.Join(dir, name))
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == attempts {
			break // else Delete removed the directory in between
		}
	}
	if err != nil {
		return 0, failed("dirblob.Put", "renaming the file of "+key, err)
	}
	moved = true
	if err = s.syncUp(dir); err != nil {
		return 0, failed("dirblob.Put", "syncing the directory of "+key, err)
	}
	return n, nil
}

// Open implements blob.Store. The reader is an *os.File opened for reading, and so an io.Seeker too.
func (s *Store) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := check(ctx, "dirblob.Open", key); err != nil {
		return nil, err
	}
	f, err := s.root.Open(path.Join(locate(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("dirblob.Open", fault.DoesNotExist, "%w: %s", blob.ErrNotFound, key)
	}
	if err != nil {
		return nil, failed("dirblob.Open", "opening "+key, err)
	}
	return f, nil
}

// Delete implements blob.Store. Once it returned nil the removal is durable too.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, "dirblob.Delete", key); err != nil {
		return err
	}
	dir, name := locate(key)
	if err := s.root.Remove(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("dirblob.Delete", "removing "+key, err)
	}
	t := s.temp()
	err := s.root.Rename(path.Join(dir, strings.TrimSuffix(name, "=")), t)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("dirblob.Delete", "removing what is below "+key, err)
	}
	tree := err == nil
	if err := s.syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("dirblob.Delete", "syncing the directory of "+key, err)
	}
	if tree {
		err := s.root.RemoveAll(t)
		for try := 0; errors.Is(err, fs.ErrExist) && try < attempts; try++ { // not empty: a Put that had its directory open came in
			err = s.root.RemoveAll(t)
		}
		if err != nil {
			return failed("dirblob.Delete", "removing what was below "+key, err)
		}
	}
	for ; dir != "."; dir = path.Dir(dir) { // what has become empty; it fails, rightly, where something else is left
		if s.root.Remove(dir) != nil {
			break
		}
	}
	return nil
}

// mkdirAll makes dir and what is missing above it.
func (s *Store) mkdirAll(dir string) error {
	if dir == "." {
		return nil
	}
	err := s.root.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.mkdirAll(path.Dir(dir)); err != nil {
			return err
		}
		err = s.root.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// syncUp makes dir's entries durable, and those of every directory above it: another Put may have made them and not come to its sync yet. A directory that nobody
// changed since its last sync costs next to nothing. One that is gone was deleted after the file came into it.
func (s *Store) syncUp(dir string) error {
	for {
		if err := s.syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
}

func (s *Store) syncDir(dir string) error {
	if !s.sync || runtime.GOOS == "windows" { // which has no such call, and writes directories through
		return nil
	}
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) temp() string { return path.Join(tmp, strings.ToLower(rand.Text())) }

// locate returns the directory of a key's file and the file's name.
func locate(key string) (dir, name string) {
	segments := strings.Split(key, "/")
	for i, seg := range segments {
		segments[i] = escape(seg)
	}
	last := len(segments) - 1
	return path.Join(append([]string{"."}, segments[:last]...)...), segments[last] + "="
}

// escape gives each segment a file name of its own, also where file names have no case.
func escape(seg string) string {
	var b strings.Builder
	for i := 0; i < len(seg); i++ {
		if c := seg[i]; 'A' <= c && c <= 'Z' {
			b.WriteByte('=')
			b.WriteByte(c + 'a' - 'A')
		} else {
			b.WriteByte(c)
		}
	}
	if b.Len() > 200 {
		h := sha256.Sum256([]byte(seg))
		return "=-" + hex.EncodeToString(h[:])
	}
	return b.String()
}

func check(ctx context.Context, op, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	return fault.Wrap(op, ctx.Err())
}

// failed keeps the code of a cause that has one and calls everything else, such as a full disk, ServiceUnavailable.
func failed(op, doing string, err error) error {
	code := fault.CodeOf(err)
	if code == fault.InternalServerError {
		code = fault.ServiceUnavailable
	}
	return fault.New(op, code, "%s: %w", doing, err)
}

// contextReader ends with ctx.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
