package document

import (
	"context"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// Resolver looks names of Parameter Store up, at most ten at a time: "/a/b", or "/a/b:3" for a version (I10). It returns the value under each
// name as it was asked; a name that is missing from the answer is unknown. For a SecureString it must return an error: a document never sees one.
// A StringList comes as its items joined by commas (I9).
type Resolver interface {
	Parameters(ctx context.Context, names []string) (map[string]string, error)
}

// batch is how many names GetParameters takes (I8).
const batch = 10

// hasSSM reports whether s has a placeholder {{ssm:…}} or {{ssm-secure:…}}.
func hasSSM(s string) bool {
	if !strings.Contains(s, "{{") {
		return false
	}
	found := false
	compile(s).each(func(name string) {
		found = found || strings.HasPrefix(name, "ssm:") || strings.HasPrefix(name, "ssm-secure:")
	})
	return found
}

// ResolveSSM looks up all {{ssm:name}} references that remain after the document's parameters were put in, in batches of ten and each once (I8).
// Any unknown name fails the whole document with InvalidParameters; values that depend on a reference are checked against their declaration
// now. Values are never interpolated again (I4). It must not run beside other methods of b.
func (b *Bound) ResolveSSM(ctx context.Context, r Resolver) error {
	names := b.ssmNames()
	found := make(map[string]string, len(names))
	var unknown []string
	for part := range slices.Chunk(names, batch) {
		got, err := r.Parameters(ctx, part)
		if err != nil {
			return fault.Wrap("document.ResolveSSM", err)
		}
		for _, n := range part {
			if v, ok := got[n]; ok {
				found[n] = v
			} else {
				unknown = append(unknown, n)
			}
		}
	}
	if unknown != nil {
		return fault.New("document.ResolveSSM", fault.InvalidParameters, "Parameter Store does not have %s: create it, or check the name and the right to read it", some(unknown))
	}
	before := b.ssm
	b.ssm = found
	c := &collector{file: b.doc.File, root: b.doc.Root}
	for i := range b.doc.Parameters {
		p := &b.doc.Parameters[i]
		if hasSSM(b.texts[p.Name]) {
			c.allowed(p, b.deep(b.values[p.Name]))
		}
	}
	for i := range b.timeouts {
		b.timeouts[i] = c.timeoutOf(b, &b.doc.Steps[i])
	}
	if c.failed() {
		b.ssm = before
		return c.sorted()
	}
	return nil
}

// ssmNames returns the references of the bound document, sorted.
func (b *Bound) ssmNames() []string {
	seen := map[string]bool{}
	note := func(s string) {
		if strings.Contains(s, "{{") {
			compile(s).each(func(name string) {
				if n, ok := strings.CutPrefix(name, "ssm:"); ok {
					seen[n] = true
				}
			})
		}
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			note(v)
		case []any:
			for _, it := range v {
				walk(it)
			}
		case map[string]any:
			for _, it := range v {
				walk(it)
			}
		}
	}
	for _, v := range b.values {
		walk(v)
	}
	for i := range b.doc.Steps {
		walk(b.fill(b.doc.Steps[i].Inputs))
		walk(b.fill(b.doc.Steps[i].Settings))
	}
	out := make([]string, 0, len(seen))
	for n := range seen {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// replaceSSM puts resolved values in; before ResolveSSM the references remain.
func (b *Bound) replaceSSM(s string) string {
	if b.ssm == nil || !strings.Contains(s, "{{") {
		return s
	}
	t := compile(s)
	if t == nil {
		return s
	}
	var out strings.Builder
	for _, seg := range t.segs {
		if n, ok := strings.CutPrefix(seg.name, "ssm:"); ok {
			if v, ok := b.ssm[n]; ok {
				out.WriteString(v)
				continue
			}
		}
		out.WriteString(seg.text)
	}
	return out.String()
}
