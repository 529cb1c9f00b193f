// Ssmlint reads SSM documents and says what is wrong with them, with the place, as a good compiler does:
//
//	go run ./examples/ssmlint [-format text|json|sarif] [-min error|warning|advice] [-fix] [-upgrade] FILE|DIR|-…
//
// In a directory it looks at .json, .yaml, .yml and .ics files that have the mark of a document. With -fix it applies the fixes of the findings that
// it would print and leaves the rest of each file byte for byte; with -upgrade it rewrites Command documents of schema 1.2 and 2.0 in schema 2.2.
// Documents that run each other and lie in one directory are checked together: a document is found by the name of its file, without the ending.
//
// It exits with 0 when there is no finding of severity error, with 1 when there is one, and with 2 when something could not be read or written. All
// codes are in docs/codes.md.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

const (
	exitClean = iota
	exitFindings
	exitUnread
)

// awsSize is what AWS takes from users; its own documents are larger.
const awsSize = 64 << 10

// file is a document and what is to be said of it.
type file struct {
	name     string
	src      []byte
	doc      *document.Document // nil when the text could not be read
	findings document.Findings
	fixed    document.Findings
}

// lint is one run of the program.
type lint struct {
	least        document.Severity
	fix, upgrade bool
	files        []*file
	failed       bool
	stderr       io.Writer
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	l := &lint{stderr: stderr}
	flags := flag.NewFlagSet("ssmlint", flag.ContinueOnError)
	flags.SetOutput(stderr)
	format := flags.String("format", "text", "`form` of the output: text, json (one object a line) or sarif")
	least := flags.String("min", "warning", "least `severity` that is told: error, warning or advice")
	flags.BoolVar(&l.fix, "fix", false, "apply the mechanical fixes of what is told, in the files")
	flags.BoolVar(&l.upgrade, "upgrade", false, "rewrite Command documents of schema 1.2 and 2.0 in schema 2.2 (comments are lost)")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: ssmlint [flags] FILE|DIR|-…   (- is the standard input)")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitClean
	} else if err != nil {
		return exitUnread
	}
	printers := map[string]func(io.Writer, *lint) error{"text": printText, "json": printJSON, "sarif": printSARIF}
	severities := map[string]document.Severity{"error": document.Error, "warning": document.Warning, "advice": document.Advice}
	show, ok := printers[*format]
	severity, known := severities[*least]
	switch {
	case !ok:
		fmt.Fprintf(stderr, "ssmlint: -format %s: it is text, json or sarif\n", fault.Clean(*format))
		return exitUnread
	case !known:
		fmt.Fprintf(stderr, "ssmlint: -min %s: it is error, warning or advice\n", fault.Clean(*least))
		return exitUnread
	case flags.NArg() == 0:
		flags.Usage()
		return exitUnread
	}
	l.least = severity
	for _, name := range flags.Args() {
		if name == "-" {
			src, err := io.ReadAll(stdin)
			if l.ok("standard input", err) {
				l.add("-", src)
			}
			continue
		}
		l.walk(name)
	}
	l.check()
	if err := show(stdout, l); err != nil {
		l.ok("output", err)
	}
	switch {
	case l.failed:
		return exitUnread
	case l.count(document.Error) > 0:
		return exitFindings
	}
	return exitClean
}

// ok tells of an error and remembers that there was one.
func (l *lint) ok(what string, err error) bool {
	if err != nil {
		l.failed = true
		fmt.Fprintf(l.stderr, "ssmlint: %s: %s\n", fault.Clean(what), fault.Clean(err.Error()))
	}
	return err == nil
}

// walk reads a file, or the documents of a directory.
func (l *lint) walk(root string) {
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			l.ok(path, err)
			return nil
		case e.IsDir() && path != root && strings.HasPrefix(e.Name(), "."):
			return fs.SkipDir
		case e.IsDir():
			return nil
		}
		named := path == root
		if !named {
			switch strings.ToLower(filepath.Ext(path)) {
			case ".json", ".yaml", ".yml", ".ics":
			default:
				return nil
			}
		}
		src, err := os.ReadFile(path)
		if l.ok(path, err) && (named || marked(src)) {
			l.add(path, src)
		}
		return nil
	})
	l.ok(root, err)
}

// marked reports whether a text says that it is a document.
func marked(src []byte) bool {
	return bytes.Contains(src, []byte("schemaVersion")) || bytes.Contains(src, []byte("BEGIN:VCALENDAR")) || bytes.Contains(src, []byte(`"sections"`))
}

func (l *lint) add(name string, src []byte) { l.files = append(l.files, &file{name: name, src: src}) }

// check reads all documents, then looks at each with the others at hand.
func (l *lint) check() {
	for _, f := range l.files {
		l.change(f)
		f.parse()
	}
	shelves := map[string]shelf{}
	for _, f := range l.files {
		if f.doc == nil || f.name == "-" {
			continue
		}
		dir, base := filepath.Split(f.name)
		if shelves[dir] == nil {
			shelves[dir] = shelf{}
		}
		shelves[dir].put(strings.TrimSuffix(base, filepath.Ext(base)), f.doc)
	}
	for _, f := range l.files {
		if f.doc != nil && f.findings.Errors() == nil {
			dir, _ := filepath.Split(f.name)
			f.findings = append(f.findings, f.doc.CheckWith(&document.CheckOptions{Children: shelves[dir]})...)
		}
		if len(f.src) > awsSize {
			f.findings = append(document.Findings{{Code: "too-large", Severity: document.Warning, File: f.name, Line: 1, Column: 1,
				Message: fmt.Sprintf("the document has %d bytes: AWS takes at most %d from its users", len(f.src), awsSize)}}, f.findings...)
		}
		told := f.findings[:0:0]
		for _, found := range f.findings {
			if l.told(found) {
				told = append(told, found)
			}
		}
		f.findings = told
	}
}

// told reports whether a finding is printed. Documents that are not among the files are not looked for.
func (l *lint) told(f document.Finding) bool {
	return f.Severity <= l.least && f.Code != "child-unknown"
}

func (f *file) options() *document.Options { return &document.Options{File: f.name, MaxSize: -1} }

func (f *file) parse() {
	f.findings = nil
	d, err := document.Parse(f.src, f.options())
	if err != nil && !errors.As(err, &f.findings) {
		f.findings = document.Findings{{Code: "syntax", File: f.name, Message: err.Error()}}
	}
	f.doc = d
}

// change applies fixes and upgrades, and writes the file when something came of it.
func (l *lint) change(f *file) {
	src := f.src
	if l.fix {
		src, f.fixed = document.Fix(src, f.options(), l.told)
	}
	if l.upgrade {
		if d, err := document.Parse(src, f.options()); err == nil {
			if up, err := d.Upgrade(); err == nil {
				src = up
				f.fixed = append(f.fixed, document.Finding{File: f.name, Line: 1, Column: 1, Message: "schema " + d.SchemaVersion + " became 2.2"})
			}
		}
	}
	if bytes.Equal(src, f.src) {
		return
	}
	if f.name == "-" || l.ok(f.name, replace(f.name, src)) {
		f.src = src
	} else {
		f.fixed = nil
	}
}

// replace writes a file whole or not at all, with the rights that it had.
func replace(name string, src []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".ssmlint-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(src)
	err = errors.Join(err, tmp.Chmod(info.Mode().Perm()), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// count returns how many findings of a severity there are.
func (l *lint) count(s document.Severity) (n int) {
	for _, f := range l.files {
		n += f.count(s)
	}
	return n
}

func (f *file) count(s document.Severity) (n int) {
	for _, found := range f.findings {
		if found.Severity == s {
			n++
		}
	}
	return n
}

// shelf has the documents of a directory by name; nil where two files have one name.
type shelf map[string]*document.Document

func (s shelf) put(name string, d *document.Document) {
	if _, twice := s[name]; twice {
		d = nil
	}
	s[name] = d
}

// Child implements document.Children: whatever the version, the file counts.
func (s shelf) Child(name, _ string) *document.Document { return s[name] }
