package document

import "strings"

// IncludedRef is a document that a step runs.
type IncludedRef struct {
	Step    int
	Name    string
	Version string // "" is the default version
	// Parameters are the step's documentParameters as [Document.Bind] of the child takes them. It is nil when the step gives none, and when what
	// it gives is neither a map nor a JSON object in a string, which fails on the node. A value may hold {{ssm:}} references until ResolveSSM.
	Parameters map[string][]string
}

// Included returns the documents that aws:runDocument steps name (documentType SSMDocument), after binding, in the order of the steps, so that
// a control plane can pin and ship them.
func (b *Bound) Included() []IncludedRef {
	var out []IncludedRef
	for i := range b.doc.Steps {
		s := &b.doc.Steps[i]
		if s.Action != "aws:runDocument" {
			continue
		}
		kind, _ := b.fill(s.given("documentType")).(string)
		name, _ := b.fill(s.given("documentPath")).(string)
		if !strings.EqualFold(kind, "SSMDocument") || name == "" {
			continue
		}
		ref := IncludedRef{Step: i, Name: name, Parameters: transport(b.fill(s.given("documentParameters")))}
		ref.Version, _ = b.fill(s.given("documentVersion")).(string)
		out = append(out, ref)
	}
	return out
}

// transport puts documentParameters into the form of SendCommand (D19): a text is itself, everything else compact JSON, a list its elements.
func transport(v any) map[string][]string {
	if text, ok := v.(string); ok {
		root, bad := scanJSON([]byte(text), &limits{depth: defaultDepth, nodes: defaultNodes})
		if root == nil || len(bad) > 0 {
			return nil
		}
		v = root.Go()
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	out := make(map[string][]string, len(m))
	for k, v := range m {
		switch v := v.(type) {
		case nil:
		case []any:
			list := make([]string, len(v))
			for i := range v {
				list[i] = asText(v[i])
			}
			out[k] = list
		default:
			out[k] = []string{asText(v)}
		}
	}
	return out
}
