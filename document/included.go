package document

import "strings"

// IncludedRef is a document that a step runs or fetches.
type IncludedRef struct {
	Step    int
	Name    string
	Version string // "" is the default version
	// Parameters are the step's documentParameters as [Document.Bind] of the child takes them. It is nil when the step gives none, and when what
	// it gives is neither a map nor a JSON object in a string, which fails on the node. A value may hold {{ssm:}} references until ResolveSSM.
	Parameters map[string][]string
}

// Included returns the documents that aws:runDocument steps name (documentType SSMDocument), and those that aws:downloadContent steps fetch (sourceType SSMDocument, sourceInfo's name), after binding, in the order of the steps, so that
// a control plane can pin and ship them. A fetched one has the documentParameters of the first later step that runs a local document, which is how AWS-RunDocument runs it.
func (b *Bound) Included() []IncludedRef {
	var out []IncludedRef
	for i := range b.doc.Steps {
		s := &b.doc.Steps[i]
		if s.Action == "aws:downloadContent" {
			if ref, ok := b.fetched(i); ok {
				out = append(out, ref)
			}
			continue
		}
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

// fetched returns the document that the step fetches.
func (b *Bound) fetched(i int) (ref IncludedRef, ok bool) {
	s := &b.doc.Steps[i]
	kind, _ := b.fill(s.given("sourceType")).(string)
	info := transport(b.fill(s.given("sourceInfo")))
	if !strings.EqualFold(kind, "SSMDocument") || len(info["name"]) != 1 || info["name"][0] == "" {
		return ref, false
	}
	ref = IncludedRef{Step: i}
	ref.Name, ref.Version = CutVersion(info["name"][0])
	for j := i + 1; j < len(b.doc.Steps); j++ {
		later := &b.doc.Steps[j]
		if kind, _ := b.fill(later.given("documentType")).(string); later.Action == "aws:runDocument" && strings.EqualFold(kind, "LocalPath") {
			ref.Parameters = transport(b.fill(later.given("documentParameters")))
			break
		}
	}
	return ref, true
}

// CutVersion splits the name of a document in a sourceInfo, which may be an ARN, from the version behind its last colon ("Name:3", "Name:$LATEST"); version is "" if it names none.
func CutVersion(s string) (name, version string) {
	at := strings.LastIndexByte(s, ':')
	if at <= strings.LastIndexByte(s, '/') {
		return s, ""
	}
	switch v := s[at+1:]; {
	case v == "$LATEST", v == "$DEFAULT", v != "" && strings.Trim(v, "0123456789") == "":
		return s[:at], v
	}
	return s, ""
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
