package dirblob

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/blob"
)

var _ blob.Walker = (*Store)(nil)

// Walk implements blob.Walker. A blob whose key has a segment that is too long for a file's name, with its upper-case letters, has no key that could be told: it is left out.
func (s *Store) Walk(ctx context.Context, fn func(key string, size int64, modified time.Time) error) error {
	err := fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // removed meanwhile
		case err != nil:
			return failed("dirblob.Walk", "reading the directory", err)
		case ctx.Err() != nil:
			return ctx.Err()
		case d.IsDir() && name == tmp:
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		key, ok := unlocate(name)
		if !ok {
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return failed("dirblob.Walk", "reading the directory", err)
		}
		return fn(key, info.Size(), info.ModTime())
	})
	return err
}

// unlocate returns the key of a file.
func unlocate(name string) (key string, ok bool) {
	if name, ok = strings.CutSuffix(name, "="); !ok {
		return "", false
	}
	segments := strings.Split(name, "/")
	for i, seg := range segments {
		if segments[i], ok = unescape(seg); !ok {
			return "", false
		}
	}
	key = path.Join(segments...)
	return key, blob.CheckKey(key) == nil
}

// unescape undoes escape.
func unescape(seg string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(seg); i++ {
		if seg[i] != '=' {
			b.WriteByte(seg[i])
			continue
		}
		if i++; i == len(seg) || seg[i] < 'a' || seg[i] > 'z' {
			return "", false
		}
		b.WriteByte(seg[i] - 'a' + 'A')
	}
	return b.String(), true
}
