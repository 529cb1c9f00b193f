package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// scanYAML reads src into Values with the YAML library's nodes, keeping places. Scalars resolve by the core schema of YAML 1.2; dates stay
// text, and so do yes, no, on and off. Duplicate keys are refused; aliases are allowed within the node limit. It returns the values that have a
// tag besides.
func scanYAML(src []byte, lim *limits) (root *Value, tagged []*Value, bad []trouble) {
	if at := crowded(src); at >= 0 {
		return nil, nil, []trouble{{code: "too-many-values", line: 1 + bytes.Count(src[:at], []byte("\n")), column: 1,
			msg: "the text has too many values for its size: put long lists into strings, or split the document"}}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(src), yaml.WithV4Defaults(), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(lim.depth))))
	if err != nil {
		return nil, nil, []trouble{yamlError(err, src, lim)}
	}
	var docs [2]yaml.Node
	for i := range docs {
		if err := loader.Load(&docs[i]); err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, []trouble{yamlError(err, src, lim)}
		}
	}
	r := &reader{limit: lim}
	if more := top(&docs[1]); more != nil && (more.Kind != yaml.ScalarNode || more.Value != "") {
		return nil, nil, []trouble{{code: "many-documents", line: more.Line, column: more.Column, msg: "a second YAML document in one text: only one is read, remove the other"}}
	}
	if first := top(&docs[0]); first != nil {
		root = r.value(first, 1)
	}
	if r.stop != nil {
		return nil, nil, append(r.bad, *r.stop)
	}
	if root == nil {
		root = &Value{line: 1, column: 1}
	}
	return root, r.tagged, r.bad
}

// top returns the topmost value of a document, nil when there is none.
func top(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	if n.Kind == 0 || n.Kind == yaml.DocumentNode {
		return nil
	}
	return n
}

// crowded finds early, before the library builds anything, a text that would cost much more memory than its size: it counts what a node cannot
// do without, in units of about 300 bytes. Text inside block scalars counts too; real documents stay far below. It returns the offset where the
// budget ends, -1 when it does not.
func crowded(src []byte) int {
	space := func(i int) bool {
		return i < 0 || i >= len(src) || src[i] == ' ' || src[i] == '\t' || src[i] == '\n' || src[i] == '\r'
	}
	cost, budget := 0, 2500+len(src)*3/10
	for i, c := range src {
		switch c {
		case ',', '[', '{':
			cost += 3
		case ':':
			if space(i+1) || i > 0 && (src[i-1] == '"' || src[i-1] == '\'') {
				cost += 2
			}
		case '-':
			if space(i + 1) {
				cost++
			}
		case '?', '*':
			if space(i-1) || space(i+1) {
				cost += 2
			}
		case '&':
			if (space(i-1) || strings.IndexByte(",[{:-", src[i-1]) >= 0) && i+1 < len(src) && nameByte(src[i+1]) {
				cost += 12
			}
		}
		if cost > budget {
			return i
		}
	}
	return -1
}

// yamlError says what the library found wrong, with a place also where it has none, and in words that say what to do.
func yamlError(err error, src []byte, lim *limits) trouble {
	out := trouble{code: "syntax", line: 1, column: 1, msg: "not valid YAML: " + err.Error()}
	var le *yaml.LoadError
	if errors.As(err, &le) {
		if le.Mark.Line > 0 {
			out.line, out.column = le.Mark.Line, max(le.Mark.Column, 1)
		}
		if le.Message != "" {
			out.msg = "not valid YAML: " + le.Message
		}
	}
	if strings.Contains(out.msg, "depth") {
		out.code, out.msg = "too-deep", fmt.Sprintf("values nested deeper than %d", lim.depth)
	}
	switch {
	case strings.Contains(out.msg, "cannot start any token"):
		if lines := bytes.Split(src, []byte("\n")); out.line <= len(lines) && strings.Contains(string(lines[out.line-1][:len(lines[out.line-1])-len(bytes.TrimLeft(lines[out.line-1], " \t"))]), "\t") {
			out.msg = "not valid YAML: the line is indented with a tab: use blanks"
		}
	case strings.Contains(out.msg, "control characters"):
		line, begin := 1, 0
		for i, c := range src {
			switch {
			case c == '\n':
				line, begin = line+1, i+1
			case c < 0x20 && c != '\t' && c != '\r' || c == 0x7f:
				return trouble{code: "syntax", line: line, column: 1 + utf8.RuneCount(src[begin:i]), msg: fmt.Sprintf(`not valid YAML: control character 0x%02x: in double quotes write \x%02x`, c, c)}
			}
		}
	}
	return out
}

type reader struct {
	limit *limits
	nodes int
	open  map[*yaml.Node]bool   // anchors being read, against an alias inside itself
	done  map[*yaml.Node]shared // anchors already read
	arena []Value
	bad   []trouble
	stop  *trouble

	tagged []*Value
}

// shared is the value of an anchor, and how many nodes it stands for.
type shared struct {
	v     *Value
	nodes int
}

func (r *reader) fail(n *yaml.Node, code, format string, args ...any) *Value {
	if r.stop == nil {
		r.stop = &trouble{code: code, line: n.Line, column: n.Column, msg: fmt.Sprintf(format, args...)}
	}
	return nil
}

func (r *reader) node(kind ValueKind, n *yaml.Node) *Value {
	if len(r.arena) == cap(r.arena) {
		r.arena = make([]Value, 0, min(256, max(16, 2*cap(r.arena))))
	}
	r.arena = append(r.arena, Value{kind: kind, line: int32(n.Line), column: int32(n.Column)})
	return &r.arena[len(r.arena)-1]
}

func (r *reader) value(n *yaml.Node, depth int) *Value {
	switch r.nodes++; {
	case r.stop != nil:
		return nil
	case r.nodes > r.limit.nodes:
		return r.fail(n, "too-many-values", "more than %d values in one document, aliases counted as what they stand for: split it", r.limit.nodes)
	case depth > r.limit.depth+1:
		return r.fail(n, "too-deep", "values nested deeper than %d", r.limit.depth)
	}
	if n.Kind == yaml.AliasNode {
		return r.alias(n, depth)
	}
	before := r.nodes
	if n.Anchor != "" {
		if r.open == nil {
			r.open, r.done = map[*yaml.Node]bool{}, map[*yaml.Node]shared{}
		}
		r.open[n] = true
	}
	v := r.plain(n, depth)
	if v != nil && v.tag != "" && len(r.tagged) < mostFindings {
		r.tagged = append(r.tagged, v)
	}
	if n.Anchor != "" {
		delete(r.open, n)
		r.done[n] = shared{v, r.nodes - before + 1}
	}
	return v
}

// alias shares the value of the anchor: what it stands for costs no memory, but counts.
func (r *reader) alias(n *yaml.Node, depth int) *Value {
	s, ok := r.done[n.Alias]
	switch {
	case r.open[n.Alias]:
		return r.fail(n, "alias", "alias *%s stands inside its own anchor", clip(n.Value))
	case !ok:
		return r.fail(n, "alias", "alias *%s has no anchor before it", clip(n.Value))
	}
	if r.nodes += s.nodes; r.nodes > r.limit.nodes {
		return r.fail(n, "too-many-values", "more than %d values in one document, aliases counted as what they stand for: split it", r.limit.nodes)
	}
	if depth+height(s.v) > r.limit.depth+1 {
		return r.fail(n, "too-deep", "values nested deeper than %d", r.limit.depth)
	}
	return s.v
}

func height(v *Value) int {
	h := 0
	for _, it := range v.Items() {
		h = max(h, 1+height(it))
	}
	for _, f := range v.Fields() {
		h = max(h, 1+height(f.Value))
	}
	return h
}

func (r *reader) plain(n *yaml.Node, depth int) *Value {
	switch n.Kind {
	case yaml.ScalarNode:
		return r.scalar(n)
	case yaml.SequenceNode:
		v := r.node(List, n)
		v.tag = custom(n)
		v.items = make([]*Value, 0, len(n.Content))
		for _, c := range n.Content {
			v.items = append(v.items, r.value(c, depth+1))
		}
		return v
	case yaml.MappingNode:
		v := r.node(Map, n)
		v.tag = custom(n)
		v.fields = make([]Field, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind == yaml.AliasNode && k.Alias != nil && k.Alias.Kind == yaml.ScalarNode {
				k = &yaml.Node{Kind: yaml.ScalarNode, Value: k.Alias.Value, Line: k.Line, Column: k.Column}
			}
			if k.Kind != yaml.ScalarNode {
				r.bad = append(r.bad, trouble{code: "key-type", line: k.Line, column: k.Column, msg: "a key must be a plain text, not a list or a map"})
				continue
			}
			if k.Value == "<<" && k.Style == 0 {
				r.bad = append(r.bad, trouble{code: "merge-key", line: k.Line, column: k.Column, msg: "merge keys (<<) are not part of YAML 1.2: write the keys out"})
			}
			v.fields = append(v.fields, Field{Key: k.Value, Line: k.Line, Column: k.Column, Value: r.value(n.Content[i+1], depth+1)})
		}
		r.bad = append(r.bad, duplicates(v.fields)...)
		return v
	}
	return r.fail(n, "syntax", "not valid YAML here")
}

// custom returns the tag of the template kinds (!Sub, !Ref, !GetAtt …), "" for YAML's own.
func custom(n *yaml.Node) string {
	if t := n.Tag; strings.HasPrefix(t, "!") && !strings.HasPrefix(t, "!!") && t != "!" {
		return t
	}
	return ""
}

func (r *reader) scalar(n *yaml.Node) *Value {
	v := r.node(String, n)
	v.text = n.Value
	if v.tag = custom(n); v.tag == "" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		switch n.Tag {
		case "!!str":
		case "!!null":
			v.kind, v.text = Null, ""
		case "!!bool":
			v.kind, v.text, v.truth = Bool, "", strings.EqualFold(n.Value, "true")
		case "!!int", "!!float":
			if lit, ok := literal(n.Value); ok {
				v.kind, v.text = Number, lit
			}
		}
	}
	if v.kind == String {
		if !utf8.ValidString(v.text) {
			v.text = strings.ToValidUTF8(v.text, string(utf8.RuneError))
		}
		v.tmpl = compile(v.text)
	}
	return v
}

// literal gives a YAML number as a JSON literal. Octal (0o17), hexadecimal, infinities and forms of YAML 1.1 that mean different numbers
// to different parsers (017, 1_000, 1:30) stay text: what a person sees is what a script gets.
func literal(s string) (string, bool) {
	t := strings.TrimPrefix(s, "+")
	n := scanner{src: t, line: 1, limit: &limits{}}
	if t == "" || t[0] != '-' && (t[0] < '0' || t[0] > '9') {
		return "", false
	}
	if _, bad := n.number(); bad != nil || n.pos < len(t) {
		return "", false // JSON has no such number
	}
	if f, err := strconv.ParseFloat(t, 64); err != nil || math.IsInf(f, 0) {
		return "", false
	}
	return t, true
}
