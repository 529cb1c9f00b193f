package library

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/document"
)

var (
	plainKey  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)
	plainText = regexp.MustCompile(`^[A-Za-z](?:(?:[A-Za-z0-9_./() -]|:[A-Za-z0-9])*[A-Za-z0-9_)])?$`)
	// words that some reader of YAML takes for something else than text
	yamlWords = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"}
)

// yaml renders a value in YAML's block style, maps in the order of the text. Text that any reader could mistake is quoted as in JSON, which YAML reads.
func yaml(v *document.Value) string {
	var b strings.Builder
	block(&b, v, 0, false)
	return b.String()
}

// block writes v at a depth. inline says that the line has begun ("key:" or "-").
func block(b *strings.Builder, v *document.Value, depth int, inline bool) {
	switch {
	case len(v.Fields()) > 0:
		for i, f := range v.Fields() {
			if i > 0 || !inline {
				indent(b, depth)
			}
			b.WriteString(scalarText(f.Key, plainKey))
			b.WriteByte(':')
			child(b, f.Value, depth)
		}
	case len(v.Items()) > 0:
		for i, it := range v.Items() {
			if i > 0 || !inline {
				indent(b, depth)
			}
			b.WriteByte('-')
			if len(it.Fields()) > 0 || len(it.Items()) > 0 {
				b.WriteByte(' ')
				block(b, it, depth+1, true)
			} else {
				child(b, it, depth)
			}
		}
	default:
		if inline {
			b.WriteByte(' ')
		}
		b.WriteString(scalar(v))
		b.WriteByte('\n')
	}
}

// child writes the value after "key:" or "-".
func child(b *strings.Builder, v *document.Value, depth int) {
	if len(v.Fields()) > 0 || len(v.Items()) > 0 {
		b.WriteByte('\n')
		block(b, v, depth+1, false)
		return
	}
	b.WriteByte(' ')
	b.WriteString(scalar(v))
	b.WriteByte('\n')
}

func indent(b *strings.Builder, depth int) {
	for range depth {
		b.WriteString("  ")
	}
}

// scalar writes what fits on a line.
func scalar(v *document.Value) string {
	switch v.Kind() {
	case document.String:
		return scalarText(v.Text(), plainText)
	case document.List:
		return "[]"
	case document.Map:
		return "{}"
	case document.Null:
		return "null"
	}
	return v.Text()
}

func scalarText(s string, plain *regexp.Regexp) string {
	if plain.MatchString(s) && !slices.Contains(yamlWords, strings.ToLower(s)) {
		return s
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	quoted := strings.TrimSuffix(b.String(), "\n")
	if !strings.ContainsFunc(quoted, folded) {
		return quoted
	}
	b.Reset()
	for _, r := range quoted {
		if folded(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// folded are the characters that JSON has as they are and a reader of YAML takes for a line break or refuses.
func folded(r rune) bool {
	return r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff
}
