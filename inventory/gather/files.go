package gather

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

// FileFilter says which files AWS:File has (V7).
type FileFilter struct {
	Path         string   // a directory; $VAR and ${VAR}, on Windows %VAR%, are expanded
	Pattern      []string // of base names, as filepath.Match has them; a file matches any
	Recursive    bool
	DirScanLimit *int // directories to scan at most; nil is the limit of AWS:File
}

// RegistryFilter says which values AWS:WindowsRegistry has.
type RegistryFilter struct {
	Path       string // such as HKEY_LOCAL_MACHINE\SOFTWARE\Amazon
	Recursive  bool
	ValueNames []string // empty is all
}

// ParseFileFilters reads the input files of aws:softwareInventory: a JSON list, where backslashes of paths need not be doubled; empty text has none.
// Error: ValidationException.
func ParseFileFilters(text string) ([]FileFilter, error) {
	var list []FileFilter
	if err := parseFilters(text, &list); err != nil {
		return nil, fault.New("gather.ParseFileFilters", fault.Validation, "the file filters are no JSON list like [{\"Path\":\"/etc\",\"Pattern\":[\"*.conf\"],\"Recursive\":false}]")
	}
	for i, f := range list {
		if f.Path == "" {
			return nil, fault.New("gather.ParseFileFilters", fault.Validation, "file filter %d has no Path", i+1)
		}
	}
	return list, nil
}

// ParseRegistryFilters reads the input windowsRegistry of aws:softwareInventory, like ParseFileFilters.
func ParseRegistryFilters(text string) ([]RegistryFilter, error) {
	var list []RegistryFilter
	if err := parseFilters(text, &list); err != nil {
		return nil, fault.New("gather.ParseRegistryFilters", fault.Validation, `the registry filters are no JSON list like [{"Path":"HKEY_LOCAL_MACHINE\\SOFTWARE\\Amazon","Recursive":true}]`)
	}
	for i, f := range list {
		if f.Path == "" {
			return nil, fault.New("gather.ParseRegistryFilters", fault.Validation, "registry filter %d has no Path", i+1)
		}
		list[i].Path = strings.ReplaceAll(f.Path, "/", `\`)
	}
	return list, nil
}

func parseFilters(text string, to any) error {
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	err := json.Unmarshal([]byte(text), to)
	if err != nil {
		// A path as Windows writes it: AWS's agent turns all backslashes first.
		err = json.Unmarshal([]byte(strings.ReplaceAll(text, `\`, `/`)), to)
	}
	return err
}

var (
	errFiles = fault.New("gather.Gather", inventory.ItemSizeLimitExceeded, "File Count Limit Exceeded: the filters match more files than are allowed; make them narrower")
	errDirs  = fault.New("gather.Gather", inventory.ItemSizeLimitExceeded, "Directory Scan Limit Exceeded: a filter scans more directories than it may; make it narrower or raise its DirScanLimit")
)

// files gathers AWS:File. Paths that are not there are left out and told.
func (g *Gatherer) files(ctx context.Context, filters []FileFilter) ([]inventory.Item, []Failure, error) {
	lim := g.c.Limits.Resolved()
	var partial []Failure
	found := map[string]bool{}
	for _, f := range filters {
		path := g.expand(f.Path)
		dirs := lim.Directories
		if f.DirScanLimit != nil {
			dirs = max(0, *f.DirScanLimit)
		}
		err := g.match(ctx, path, f, dirs, lim.Files, found)
		switch {
		case errors.Is(err, errFiles), errors.Is(err, errDirs), ctx.Err() != nil:
			return nil, nil, err
		case err != nil:
			partial = append(partial, Failure{inventory.File, fault.New("gather.Gather", fault.Validation, "%q cannot be listed: %v", fault.Clean(path), plain(err)), true})
		}
	}
	content := make([]inventory.Entry, 0, len(found))
	for path := range found {
		info, err := os.Stat(g.path(path))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				partial = append(partial, Failure{inventory.File, fault.New("gather.Gather", fault.Validation, "%q cannot be read: %v", fault.Clean(path), plain(err)), true})
			}
			continue
		}
		if info.IsDir() { // a link to a directory
			continue
		}
		content = append(content, inventory.Entry{"Name": valid(info.Name()), "Size": strconv.FormatInt(info.Size(), 10), "ModificationTime": info.ModTime().In(g.c.Zone).Format(time.RFC3339),
			"InstalledDir": valid(filepath.Dir(path)), "Description": "", "FileVersion": "", "InstalledDate": "", "LastAccessTime": "", "ProductName": "", "ProductLanguage": "", "CompanyName": "",
			"ProductVersion": ""})
		if name := filepath.Base(path); name != info.Name() {
			content[len(content)-1]["Name"] = valid(name)
		}
	}
	slices.SortFunc(content, func(a, b inventory.Entry) int {
		if c := strings.Compare(a["InstalledDir"], b["InstalledDir"]); c != 0 {
			return c
		}
		return strings.Compare(a["Name"], b["Name"])
	})
	return []inventory.Item{inventory.NewItem(inventory.File, g.c.Now(), content)}, partial, nil
}

// match adds the files below path that match to found, which may not get larger than most. Links are not followed into directories.
func (g *Gatherer) match(ctx context.Context, path string, f FileFilter, dirs, most int, found map[string]bool) error {
	add := func(dir string, e fs.DirEntry) error {
		if e.IsDir() || !slices.ContainsFunc(f.Pattern, func(p string) bool { ok, err := filepath.Match(p, e.Name()); return ok && err == nil }) {
			return nil
		}
		found[filepath.Join(dir, e.Name())] = true
		if inventory.Over(len(found), most) {
			return errFiles
		}
		return nil
	}
	scanned := 0
	var walk func(dir string) error
	walk = func(dir string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if scanned++; inventory.Over(scanned, dirs) && f.Recursive {
			return errDirs
		}
		list, err := os.ReadDir(g.path(dir))
		if err != nil {
			if dir == path {
				return err
			}
			g.c.Log.Info("a directory cannot be listed", "path", fault.Clean(dir))
			return nil
		}
		for _, e := range list {
			if err := add(dir, e); err != nil {
				return err
			}
			if e.IsDir() && f.Recursive {
				if err := walk(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(path)
}

// expand replaces variables, and cleans the path.
func (g *Gatherer) expand(path string) string {
	if g.c.Platform != "Windows" {
		return filepath.Clean(os.Expand(path, g.c.Getenv))
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(path, "%")
		name, after, closed := strings.Cut(rest, "%")
		if !ok || !closed {
			b.WriteString(path)
			return filepath.Clean(b.String())
		}
		b.WriteString(before)
		b.WriteString(g.c.Getenv(name))
		path = after
	}
}

// valid replaces what is not UTF-8, which names of files may hold.
func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// plain returns an error of the system without its path.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
