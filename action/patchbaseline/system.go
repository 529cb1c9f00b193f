package patchbaseline

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

func unix(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

// openTree opens the file system of the machine. Links within a tree lead where the programs that work on it go: those of the tree stay in it.
func openTree(dir string, chroot bool) (*tree, error) {
	if dir == "" {
		dir = string(filepath.Separator)
		return &tree{FS: os.DirFS(dir), done: func() error { return nil }}, nil
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		e := fault.New("patchbaseline.Run", fault.Validation, "the tree that is to be patched cannot be opened")
		e.Err = err
		return nil, e
	}
	if !chroot {
		return &tree{FS: os.DirFS(dir), dir: dir, done: r.Close}, nil
	}
	return &tree{FS: inside{r}, dir: dir, done: r.Close}, nil
}

// inside is the file system of a tree as a program sees it whose root the tree is: absolute links begin there.
type inside struct{ root *os.Root }

// mostLinks is how many links may follow each other, as Linux has it.
const mostLinks = 40

// Open implements fs.FS.
func (f inside) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	done, rest, links := ".", name, 0
	for rest != "" && rest != "." {
		first, more, _ := strings.Cut(rest, "/")
		rest = more
		switch first {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, first)
		target, err := f.root.Readlink(next)
		if err != nil { // no link, or nothing there: opening it will tell
			done = next
			continue
		}
		if links++; links > mostLinks {
			return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("too many links")}
		}
		if path.IsAbs(target) {
			done = "."
		}
		rest = path.Join(strings.TrimPrefix(target, "/"), rest)
		if path.IsAbs(target) {
			rest = strings.TrimPrefix(path.Clean("/"+rest), "/")
		}
	}
	return f.root.Open(done)
}

func (t *tree) exists(name string) bool {
	_, err := fs.Stat(t, name)
	return err == nil
}

// system is what a machine is, as baselines name it.
type system struct {
	os      patch.OperatingSystem
	product string
	release string // VERSION_ID
}

// findSystem reads os-release(5).
func findSystem(t *tree) (system, error) {
	const op = "patchbaseline.System"
	switch {
	case t.dir == "" && runtime.GOOS == "windows":
		return system{os: patch.Windows}, nil
	case t.dir == "" && runtime.GOOS == "darwin":
		return system{os: patch.MacOS}, nil
	}
	var text []byte
	err := fs.ErrNotExist
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		if text, err = fs.ReadFile(t, name); err == nil {
			break
		}
	}
	if err != nil {
		e := fault.New(op, fault.UnsupportedOperatingSystem, "what this machine is cannot be told: /etc/os-release cannot be read; the host can name it in Options.OperatingSystem and Options.Product")
		e.Err = err
		return system{}, e
	}
	s := fromRelease(osRelease(text))
	if s.os == "" {
		return s, fault.New(op, fault.UnsupportedOperatingSystem, "%q is no operating system that baselines are made for; the host can name one in Options.OperatingSystem and Options.Product", fault.Clean(osRelease(text)["ID"]))
	}
	return s, nil
}

// fromRelease tells the operating system of an os-release file, "" when it is none of AWS's.
func fromRelease(r map[string]string) system {
	v := r["VERSION_ID"]
	s := system{release: v}
	major, _, _ := strings.Cut(v, ".")
	name := func(os patch.OperatingSystem, prefix, version string) system {
		s.os = os
		if version != "" {
			s.product = prefix + version
		}
		return s
	}
	ids := append([]string{r["ID"]}, strings.Fields(r["ID_LIKE"])...)
	for i, id := range ids {
		if i > 0 && id != "ubuntu" && id != "debian" && !strings.HasPrefix(id, "suse") && id != "sles" {
			continue // what is merely like RHEL has notices and versions of its own
		}
		exact := i == 0
		switch id {
		case "debian":
			if !exact {
				major = ""
			}
			return name(patch.Debian, "Debian", major)
		case "raspbian":
			return name(patch.Raspbian, "Raspbian", major)
		case "ubuntu":
			if !exact {
				v = ""
			}
			return name(patch.Ubuntu, "Ubuntu", v)
		case "amzn":
			switch {
			case major == "2023":
				return name(patch.AmazonLinux2023, "AmazonLinux", major)
			case major == "2022":
				return name(patch.AmazonLinux2022, "AmazonLinux", major)
			case v == "2" || v == "2.0":
				return name(patch.AmazonLinux2, "AmazonLinux", v)
			}
			return name(patch.AmazonLinux, "AmazonLinux", v)
		case "rhel":
			return name(patch.RedHat, "RedhatEnterpriseLinux", v)
		case "centos":
			return name(patch.CentOS, "CentOS", v)
		case "ol":
			return name(patch.OracleLinux, "OracleLinux", v)
		case "rocky":
			return name(patch.RockyLinux, "RockyLinux", v)
		case "almalinux":
			return name(patch.AlmaLinux, "AlmaLinux", v)
		case "sles", "sles_sap", "suse", "opensuse", "opensuse-leap", "sle_hpc":
			if !strings.Contains(v, ".") && v != "" {
				v += ".0"
			}
			return name(patch.SUSE, "Suse", v)
		}
	}
	return s
}

// osRelease reads shell assignments, values bare or quoted.
func osRelease(text []byte) map[string]string {
	out := map[string]string{}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		key, value, ok := strings.Cut(strings.TrimSpace(s.Text()), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			if u, err := strconv.Unquote(value); err == nil && value[0] == '"' {
				value = u
			} else {
				value = value[1 : n-1]
			}
		}
		out[key] = value
	}
	return out
}

// readText returns a small file of the tree, "" when it is not there.
func (t *tree) readText(name string) (string, error) {
	b, err := fs.ReadFile(t, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}
