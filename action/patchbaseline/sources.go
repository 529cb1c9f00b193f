package patchbaseline

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// alternative is the repositories of a baseline that take the place of the machine's own for one run (B29): a folder of their own, in which their metadata lie too, so that the machine's stay as they are.
type alternative struct {
	fs.FS
	dir    string // as the agent sees it
	inside string // as programs see it
	done   func() error
}

// Alternate is what a Manager implements that can do with other repositories than the machine's own. Without it a baseline that has Sources for the machine is refused.
type Alternate interface {
	// Use makes the following calls go by these repositories alone; their metadata come with Refresh, which is then needed. The function forgets them.
	Use(sources []patch.Source) (done func() error, err error)
}

// forProduct returns the sources of a baseline that are for a product.
func forProduct(all []patch.Source, product string) (out []patch.Source) {
	for _, s := range all {
		if slices.Contains(s.Products, "*") || slices.Contains(s.Products, product) {
			out = append(out, s)
		}
	}
	return out
}

// alternate makes the folder. files are its content, which may hold credentials.
func (t *tools) alternate(files map[string]string, folders ...string) (_ *alternative, err error) {
	const op = "patchbaseline.Sources"
	a := &alternative{}
	wrap := func(err error) error {
		e := fault.New(op, fault.ServiceUnavailable, "the repositories that the baseline names cannot be set up on this machine")
		e.Err = err
		return e
	}
	parent := t.c.Dir
	if t.o.Chroot { // programs see nothing outside of the tree
		parent = filepath.Join(t.tree.dir, "var/lib/fleetwright")
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return nil, wrap(err)
		}
	}
	if a.dir, err = os.MkdirTemp(parent, "sources-"); err != nil {
		return nil, wrap(err)
	}
	a.inside = a.dir
	if t.o.Chroot {
		a.inside = "/var/lib/fleetwright/" + filepath.Base(a.dir)
	}
	a.FS = os.DirFS(a.dir)
	a.done = func() error { return os.RemoveAll(a.dir) }
	for _, f := range folders {
		if err := os.MkdirAll(filepath.Join(a.dir, f), 0o755); err != nil {
			a.done() //nolint:errcheck // the first error counts
			return nil, wrap(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			a.done() //nolint:errcheck // the first error counts
			return nil, wrap(err)
		}
	}
	return a, nil
}

// overlay shows a folder of another file system at a place of the tree.
type overlay struct {
	fs.FS
	at   string
	with fs.FS
}

// Open implements fs.FS.
func (o overlay) Open(name string) (fs.File, error) {
	if name == o.at {
		return o.with.Open(".")
	}
	if below, ok := strings.CutPrefix(name, o.at+"/"); ok {
		return o.with.Open(below)
	}
	return o.FS.Open(name)
}

// repoFiles are the .repo files of sources: the section that AWS calls main becomes one of the source's name.
func repoFiles(sources []patch.Source) map[string]string {
	files := map[string]string{}
	for i, s := range sources {
		var text strings.Builder
		section := false
		for line := range strings.Lines(s.Configuration) {
			if l := strings.TrimSpace(line); strings.HasPrefix(l, "[") {
				section = true
				if l == "[main]" {
					line = "[" + s.Name + "]\n"
				}
			}
			text.WriteString(strings.TrimLeft(line, " \t"))
		}
		body := text.String()
		if !section {
			body = "[" + s.Name + "]\n" + body
		}
		files[path.Join("repos", fmt.Sprintf("%d.repo", i))] = body + "\n"
	}
	return files
}
