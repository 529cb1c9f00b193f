package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// dirDisk is a directory of this agent alone. All files are opened below it, none through a symlink, none is ever readable by others (rule R-05).
type dirDisk struct{ root *os.Root }

// openDir opens a directory of mode 0700, making it when there is none. One that others may write is refused.
func openDir(path string) (*dirDisk, error) {
	root, err := openRoot(path)
	if err != nil {
		return nil, err
	}
	return &dirDisk{root}, nil
}

func openRoot(path string) (*os.Root, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		// Parents are made too, closed to others like the directory itself.
		if err := os.MkdirAll(filepath.Clean(path), 0o700); err != nil {
			return nil, err
		}
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", path)
	}
	if err := private(path, info); err != nil {
		return nil, err
	}
	return os.OpenRoot(path)
}

// openFile opens a name below the directory that is no link: os.Root sees to it that nothing leads out, and follows what leads to another name inside, which is no less another's file.
func openFile(r *os.Root, name string, flag int, mode os.FileMode) (*os.File, error) {
	if err := noLink(r, name); err != nil {
		return nil, err
	}
	f, err := r.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	if err := noLink(r, name); err != nil { // put there in between
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func noLink(r *os.Root, name string) error {
	info, err := r.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return &fs.PathError{Op: "open", Path: name, Err: errLink}
	}
	return nil
}

var errLink = errors.New("it is a link, and the agent makes none: another program has put it there")

func (d *dirDisk) Names() ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return f.Readdirnames(-1)
}

func (d *dirDisk) Read(name string) ([]byte, error) {
	f, err := openFile(d.root, name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return io.ReadAll(f)
}

func (d *dirDisk) Create(name string, data []byte) error {
	f, err := openFile(d.root, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (d *dirDisk) Append(name string, offset int64, data []byte) error {
	f, err := openFile(d.root, name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, offset)
	if err == nil {
		err = f.Truncate(offset + int64(len(data)))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (d *dirDisk) Rename(from, to string) error { return d.root.Rename(from, to) }

func (d *dirDisk) Remove(name string) error { return d.root.Remove(name) }

func (d *dirDisk) Sync() error { return syncDir(d.root) }

// writeFile makes a small file durable under its name, all or nothing.
func writeFile(d disk, name string, data []byte) error {
	temp := name + journalTemp
	if err := ignoreMissing(d.Remove(temp)); err != nil {
		return err
	}
	if err := d.Create(temp, data); err != nil {
		return errors.Join(err, ignoreMissing(d.Remove(temp)))
	}
	if err := d.Rename(temp, name); err != nil {
		return err
	}
	return d.Sync()
}
