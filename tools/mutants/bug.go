package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// bug is one file of the folder bugs.
type bug struct {
	name     string
	what     string // in words
	rule     string // the promise that it breaks
	survives string // why no test sees it; "" when one must
	tests    []tests
	files    []string // that it changes, from the repository's root
	patch    []byte
}

// tests are those of one package whose names match.
type tests struct{ pkg, run string }

func (t tests) String() string { return t.pkg + " " + t.run }

// read returns the bugs of a folder, in the order of their names.
func read(dir string, only *regexp.Regexp) ([]bug, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	var out []bug
	for _, p := range paths {
		name := strings.TrimSuffix(filepath.Base(p), ".patch")
		if !only.MatchString(name) {
			continue
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		b, err := parse(name, data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		out = append(out, b)
	}
	return out, nil
}

// parse reads one bug.
func parse(name string, data []byte) (bug, error) {
	b := bug{name: name}
	at := bytes.Index(data, []byte("diff --git "))
	if at < 0 {
		return b, fmt.Errorf("there is no diff in it (a line that begins with diff --git)")
	}
	for n, line := range strings.Split(string(data[:at]), "\n") {
		if line == "" {
			continue
		}
		k, v, ok := strings.Cut(line, ": ")
		if !ok {
			return b, fmt.Errorf("line %d: want What:, Rule:, Tests: or Survives:", n+1)
		}
		switch k {
		case "What":
			b.what = v
		case "Rule":
			b.rule = v
		case "Survives":
			b.survives = v
		case "Tests":
			pkg, run, ok := strings.Cut(v, " ")
			if _, err := regexp.Compile(run); !ok || err != nil {
				return b, fmt.Errorf("line %d: want a package and a regular expression over names of tests", n+1)
			}
			b.tests = append(b.tests, tests{pkg, run})
		default:
			return b, fmt.Errorf("line %d: %q is none of What, Rule, Tests, Survives", n+1, k)
		}
	}
	if b.what == "" || b.rule == "" || len(b.tests) == 0 {
		return b, fmt.Errorf("What, Rule and Tests are required")
	}
	b.patch = data[at:]
	for _, line := range strings.Split(string(b.patch), "\n") {
		if f, ok := strings.CutPrefix(line, "--- a/"); ok {
			if !filepath.IsLocal(f) || strings.HasSuffix(f, "_test.go") {
				return b, fmt.Errorf("it changes %s: only the project's own code may be changed, and no test", f)
			}
			b.files = append(b.files, f)
		}
	}
	return b, nil
}
