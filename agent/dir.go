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

func (d *dirDisk) Names() ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return f.Readdirnames(-1)
}

func (d *dirDisk) Read(name string) ([]byte, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return io.ReadAll(f)
}

func (d *dirDisk) Create(name string, data []byte) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
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
	f, err := d.root.OpenFile(name, os.O_WRONLY|noFollow, 0)
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
