package library

import (
	"embed"
	"io/fs"
	"path"
	"strings"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

//go:embed builtin/*.yaml
var files embed.FS // never written

const amazon = "Amazon" // the owner of the documents that AWS has under these names

// Builtin is a document that every tenant has and nobody can change. Make it with [NewBuiltin]; it is immutable.
type Builtin struct {
	name, owner string
	doc         *document.Document
	shown       *head
}

// NewBuiltin reads a built-in document of the host's own. The owner is what lists and descriptions show; for names that begin with AWS it is Amazon. The kind is Command. Errors:
// ValidationException for the name, those of document.Parse for the content.
func NewBuiltin(name, owner string, content []byte, actions *document.Actions) (Builtin, error) {
	const op = "library.NewBuiltin"
	if err := oldName(op, name); err != nil {
		return Builtin{}, err
	}
	doc, err := document.Parse(content, &document.Options{File: name, Kind: document.Command, Actions: actions})
	if err != nil {
		return Builtin{}, fault.Wrap(op, err)
	}
	if strings.HasPrefix(name, "AWS") {
		owner = amazon
	}
	v := newVersion(doc, 1, "", "", "")
	h := &head{Type: string(doc.Kind), Latest: 1, Last: 1, Count: 1, Default: 1, Shown: v}
	return Builtin{name: name, owner: owner, doc: doc, shown: h}, nil
}

// Name returns the document's name.
func (b Builtin) Name() string { return b.name }

// Document returns the document.
func (b Builtin) Document() *document.Document { return b.doc }

// head returns what a head of a kept document would say.
func (b Builtin) head() *head { return b.shown }

// Builtins returns the documents that come with this package, sorted by name: AWS's names, parameters and defaults, with content of our own. A host that wants more of
// its own appends them for Config.Builtin.
func Builtins() ([]Builtin, error) {
	names, err := fs.Glob(files, "builtin/*.yaml")
	if err != nil {
		return nil, fault.Wrap("library.Builtins", err)
	}
	var out []Builtin
	for _, file := range names {
		content, err := files.ReadFile(file)
		if err != nil {
			return nil, fault.Wrap("library.Builtins", err)
		}
		b, err := NewBuiltin(strings.TrimSuffix(path.Base(file), ".yaml"), amazon, content, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}
