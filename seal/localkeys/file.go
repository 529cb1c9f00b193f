package localkeys

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// maxFile is more than maxKeys take.
const maxFile = 1 << 20

// file is the place of a key file.
type file struct {
	dir, name string
}

func locate(path string) (*file, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.New("localkeys.Open", fault.ServiceUnavailable, "finding the key file: %w", err)
	}
	return &file{dir: filepath.Dir(abs), name: filepath.Base(abs)}, nil
}

func (f *file) path() string { return filepath.Join(f.dir, f.name) }

// open opens the directory, which nobody else may write to, unless it is sticky: whoever can rename in it can replace the keys.
func (f *file) open() (*os.Root, error) {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, failed("opening the directory of the key file", err)
	}
	info, err := root.Stat(".")
	if err != nil {
		return nil, errors.Join(failed("looking at the directory of the key file", err), root.Close())
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return nil, errors.Join(fault.New("localkeys.Open", fault.Validation, "the directory %s can be written by other users (mode %04o), who could replace the keys: chmod go-w it",
			f.dir, info.Mode().Perm()), root.Close())
	}
	return root, nil
}

// read returns the bytes of the file after a look at what it is.
func (f *file) read() (raw []byte, info fs.FileInfo, err error) {
	root, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return f.readIn(root)
}

func (f *file) readIn(root *os.Root) ([]byte, fs.FileInfo, error) {
	before, err := root.Lstat(f.name)
	if err != nil {
		return nil, nil, failed("reading the key file "+f.path(), err)
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fault.New("localkeys.Open", fault.Validation, "the key file %s is no regular file (%s): symbolic links and devices are refused", f.path(), before.Mode().Type())
	}
	h, err := root.Open(f.name)
	if err != nil {
		return nil, nil, failed("reading the key file "+f.path(), err)
	}
	defer h.Close() //nolint:errcheck // it was only read
	info, err := h.Stat()
	switch {
	case err != nil:
		return nil, nil, failed("reading the key file "+f.path(), err)
	case !os.SameFile(before, info):
		return nil, nil, fault.New("localkeys.Open", fault.Validation, "the key file %s was replaced while it was opened: try again, and find out who does that", f.path())
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return nil, nil, fault.New("localkeys.Open", fault.Validation, "the key file %s can be read or written by other users (mode %04o): consider its keys stolen, or chmod 0600 it",
			f.path(), info.Mode().Perm())
	case info.Size() > maxFile:
		return nil, nil, damaged(f.path(), fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxFile))
	}
	raw, err := io.ReadAll(io.LimitReader(h, maxFile+1))
	if err != nil {
		return nil, nil, failed("reading the key file "+f.path(), err)
	}
	return raw, info, nil
}

// create writes a new file and never replaces one.
func (f *file) create(raw []byte) (info fs.FileInfo, err error) {
	err = f.write(raw, func(root *os.Root, temp string) error {
		if err := root.Link(temp, f.name); err != nil {
			return failed("making the key file "+f.path(), err)
		}
		info, err = root.Lstat(f.name)
		return err
	})
	return info, err
}

// replace writes after in place of before; it refuses when something else is there.
func (f *file) replace(before, after []byte) (info fs.FileInfo, err error) {
	err = f.write(after, func(root *os.Root, temp string) error {
		raw, _, err := f.readIn(root)
		if err != nil {
			return err
		}
		if !bytes.Equal(raw, before) {
			return fault.New("localkeys.Rotate", fault.Validation, "the key file %s was changed by another process just now: try again", f.path())
		}
		if err := root.Rename(temp, f.name); err != nil {
			return failed("replacing the key file "+f.path(), err)
		}
		info, err = root.Lstat(f.name)
		return err
	})
	return info, err
}

// changed reports whether another file than that of info stands there now, or none.
func (f *file) changed(info fs.FileInfo) (bool, error) {
	now, err := os.Lstat(f.path())
	if err != nil {
		return false, failed("looking at the key file "+f.path(), err)
	}
	return info == nil || !os.SameFile(now, info) || !now.ModTime().Equal(info.ModTime()) || now.Size() != info.Size() || now.Mode() != info.Mode(), nil
}

// write makes a durable temporary file, has it put in place, and makes that durable.
func (f *file) write(raw []byte, place func(root *os.Root, temp string) error) (err error) {
	root, err := f.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	unlock, err := lock(root)
	if err != nil {
		return failed("locking the directory of the key file "+f.path()+" (another process may be changing it: try again)", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := f.sweep(root); err != nil {
		return err
	}
	temp := f.tempPrefix() + strings.ToLower(rand.Text()) + tempSuffix
	h, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failed("writing the key file "+f.path(), err)
	}
	defer func() {
		if rerr := root.Remove(temp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, failed("removing a temporary file of the key file", rerr))
		}
	}()
	_, err = h.Write(raw)
	if err == nil {
		err = h.Sync()
	}
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return failed("writing the key file "+f.path(), err)
	}
	if err := place(root, temp); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // which cannot sync a directory, and writes it through
	}
	d, err := root.Open(".")
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return failed("syncing the directory of the key file "+f.path(), err)
	}
	return nil
}

const tempSuffix = ".tmp"

func (f *file) tempPrefix() string { return "." + f.name + "." }

// sweep removes what a crash left. The lock says that nobody is writing it.
func (f *file) sweep(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return failed("listing the directory of the key file", err)
	}
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, f.tempPrefix()) && strings.HasSuffix(n, tempSuffix) {
			if err := root.Remove(n); err != nil {
				return failed("removing a temporary file of the key file", err)
			}
		}
	}
	return nil
}

func failed(doing string, err error) error {
	code := fault.ServiceUnavailable
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = fault.DoesNotExist
	case errors.Is(err, fs.ErrExist):
		code = fault.AlreadyExists
	}
	return fault.New("localkeys.Open", code, "%s: %w", doing, err)
}

func damaged(path string, err error) error {
	return fault.New("localkeys.Open", fault.DataCorrupt, "the key file %s cannot be used: %w", path, err)
}
