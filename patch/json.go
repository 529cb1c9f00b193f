package patch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
)

// maxJSON bounds the text of baselines: AWS's largest is below 200 KB.
const maxJSON = 4 << 20

// ParseBaseline reads a baseline in the JSON form of AWS's GetPatchBaseline and CreatePatchBaseline. All that is wrong is reported at
// once, with its path (Findings): a field that AWS does not have, one that is there twice, a value of the wrong kind. It does not look at AWS's
// limits; Validate does. Fields of the requests that are not of the baseline (ClientToken, Tags, PatchGroups …) are passed over.
func ParseBaseline(text []byte) (*Baseline, error) {
	var fs Findings
	if err := wellFormed(text); err != nil {
		return nil, err
	}
	b := baselineFrom(&fs, json.RawMessage(text), "$")
	return b, fs.err()
}

// ParseBaselineOverride reads the JSON of a BaselineOverride: a list of baselines, of which each operating system has at most one.
func ParseBaselineOverride(text []byte) (BaselineOverrides, error) {
	var fs Findings
	if err := wellFormed(text); err != nil {
		return nil, err
	}
	out := BaselineOverrides{}
	have := map[OperatingSystem]bool{}
	for i, raw := range list(&fs, text, "$") {
		path := "$[" + strconv.Itoa(i) + "]"
		b := baselineFrom(&fs, raw, path)
		if b == nil {
			continue
		}
		if have[b.System()] {
			fs.add(path+".OperatingSystem", "a second entry for %s: one baseline for each operating system", quote(string(b.System())))
		}
		have[b.System()] = true
		out = append(out, *b)
	}
	if err := fs.err(); err != nil {
		return nil, err
	}
	return out, nil
}

// UnmarshalJSON is ParseBaseline.
func (b *Baseline) UnmarshalJSON(text []byte) error {
	n, err := ParseBaseline(text)
	if err != nil {
		return err
	}
	*b = *n
	return nil
}

// wellFormed checks size, syntax and what follows.
func wellFormed(text []byte) error {
	const op = "patch.ParseBaseline"
	if len(text) > maxJSON {
		return fault.New(op, fault.Validation, "the text has %d bytes, more than %d", len(text), maxJSON)
	}
	if !utf8.Valid(text) {
		return fault.New(op, fault.Validation, "the text is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	var raw json.RawMessage
	err := d.Decode(&raw)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			return fault.New(op, fault.Validation, "the JSON ends at byte %d, but text follows", d.InputOffset())
		}
	}
	var bad *json.SyntaxError
	if errors.As(err, &bad) {
		line := 1 + bytes.Count(text[:min(int(bad.Offset), len(text))], []byte{'\n'})
		return fault.New(op, fault.Validation, "line %d: this is no JSON: %s", line, fault.Clean(bad.Error()))
	}
	return fault.New(op, fault.Validation, "this is no JSON: %s", fault.Clean(err.Error()))
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// object calls field for each member that is not null, known names only; it reports the others and repetitions.
func object(fs *Findings, raw json.RawMessage, path string, field func(name string, v json.RawMessage, path string) bool) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	t, err := d.Token()
	if err != nil || t != json.Delim('{') {
		fs.add(path, "this must be an object")
		return false
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var v json.RawMessage
		if err != nil || !ok || d.Decode(&v) != nil {
			fs.add(path, "this object cannot be read")
			return false
		}
		at := path + "." + fault.Clean(name)
		if seen[name] {
			fs.add(at, "the field is there twice")
			continue
		}
		seen[name] = true
		if isNull(v) {
			v = nil
		}
		if !field(name, v, at) {
			fs.add(at, "AWS knows no such field here: check its spelling")
		}
	}
	return true
}

func list(fs *Findings, raw json.RawMessage, path string) []json.RawMessage {
	if isNull(raw) {
		return nil
	}
	var out []json.RawMessage
	if json.Unmarshal(raw, &out) != nil {
		fs.add(path, "this must be a list")
	}
	return out
}

func text(fs *Findings, raw json.RawMessage, path string) string {
	if isNull(raw) {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		fs.add(path, "this must be a string")
	}
	return s
}

func texts(fs *Findings, raw json.RawMessage, path string) []string {
	var out []string
	for i, v := range list(fs, raw, path) {
		at := path + "[" + strconv.Itoa(i) + "]"
		if isNull(v) {
			fs.add(at, "this must be a string")
			continue
		}
		out = append(out, text(fs, v, at))
	}
	return out
}

func truth(fs *Findings, raw json.RawMessage, path string) bool {
	if isNull(raw) {
		return false
	}
	var b bool
	if json.Unmarshal(raw, &b) != nil {
		fs.add(path, "this must be true or false")
	}
	return b
}

func instant(fs *Findings, raw json.RawMessage, path string) time.Time {
	if isNull(raw) {
		return time.Time{}
	}
	var seconds float64
	if json.Unmarshal(raw, &seconds) == nil && math.Abs(seconds) < 1e11 {
		return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return t.UTC().Truncate(time.Millisecond)
		}
	}
	fs.add(path, "this must be a time: seconds since 1970, or like 2024-07-14T12:00:00Z")
	return time.Time{}
}

func baselineFrom(fs *Findings, raw json.RawMessage, path string) *Baseline {
	b := &Baseline{}
	ok := object(fs, raw, path, func(name string, v json.RawMessage, at string) bool {
		switch name {
		case "BaselineId":
			b.ID = text(fs, v, at)
		case "Name":
			b.Name = text(fs, v, at)
		case "Description":
			b.Description = text(fs, v, at)
		case "OperatingSystem":
			b.OperatingSystem = OperatingSystem(text(fs, v, at))
		case "GlobalFilters":
			b.GlobalFilters = filtersFrom(fs, v, at)
		case "ApprovalRules":
			if isNull(v) {
				return true
			}
			object(fs, v, at, func(name string, v json.RawMessage, at string) bool {
				if name != "PatchRules" {
					return false
				}
				for i, r := range list(fs, v, at) {
					b.Rules = append(b.Rules, ruleFrom(fs, r, at+"["+strconv.Itoa(i)+"]"))
				}
				return true
			})
		case "ApprovedPatches":
			b.ApprovedPatches = texts(fs, v, at)
		case "ApprovedPatchesComplianceLevel":
			b.ApprovedComplianceLevel = Level(text(fs, v, at))
		case "ApprovedPatchesEnableNonSecurity":
			b.ApprovedNonSecurity = truth(fs, v, at)
		case "RejectedPatches":
			b.RejectedPatches = texts(fs, v, at)
		case "RejectedPatchesAction":
			b.RejectedAction = RejectedAction(text(fs, v, at))
		case "Sources":
			for i, s := range list(fs, v, at) {
				b.Sources = append(b.Sources, sourceFrom(fs, s, at+"["+strconv.Itoa(i)+"]"))
			}
		case "AvailableSecurityUpdatesComplianceStatus":
			b.AvailableSecurityUpdates = Compliance(text(fs, v, at))
		case "CreatedDate":
			b.Created = instant(fs, v, at)
		case "ModifiedDate":
			b.Modified = instant(fs, v, at)
		case "PatchGroups", "Tags", "ClientToken", "Replace", "BaselineName", "BaselineDescription", "DefaultBaseline", "ResponseMetadata", "ResultMetadata":
		default:
			return false
		}
		return true
	})
	if !ok {
		return nil
	}
	return b
}

func filtersFrom(fs *Findings, raw json.RawMessage, path string) FilterGroup {
	if isNull(raw) {
		return nil
	}
	var g FilterGroup
	object(fs, raw, path, func(name string, v json.RawMessage, at string) bool {
		if name != "PatchFilters" {
			return false
		}
		for i, f := range list(fs, v, at) {
			var x Filter
			object(fs, f, at+"["+strconv.Itoa(i)+"]", func(name string, v json.RawMessage, at string) bool {
				switch name {
				case "Key":
					x.Key = FilterKey(text(fs, v, at))
				case "Values":
					x.Values = texts(fs, v, at)
				default:
					return false
				}
				return true
			})
			g = append(g, x)
		}
		return true
	})
	return g
}

func ruleFrom(fs *Findings, raw json.RawMessage, path string) PatchRule {
	var r PatchRule
	object(fs, raw, path, func(name string, v json.RawMessage, at string) bool {
		switch name {
		case "PatchFilterGroup":
			r.Filters = filtersFrom(fs, v, at)
		case "ComplianceLevel":
			r.Level = Level(text(fs, v, at))
		case "ApproveAfterDays":
			if isNull(v) {
				return true
			}
			var n int
			if json.Unmarshal(v, &n) != nil {
				fs.add(at, "this must be a whole number")
				return true
			}
			r.ApproveAfterDays = &n
		case "ApproveUntilDate":
			r.ApproveUntilDate = text(fs, v, at)
		case "EnableNonSecurity":
			r.EnableNonSecurity = truth(fs, v, at)
		default:
			return false
		}
		return true
	})
	return r
}

func sourceFrom(fs *Findings, raw json.RawMessage, path string) Source {
	var s Source
	object(fs, raw, path, func(name string, v json.RawMessage, at string) bool {
		switch name {
		case "Name":
			s.Name = text(fs, v, at)
		case "Products":
			s.Products = texts(fs, v, at)
		case "Configuration":
			s.Configuration = text(fs, v, at)
		default:
			return false
		}
		return true
	})
	return s
}

// MarshalJSON writes the form of GetPatchBaseline: defaults are spelled out, lists are never null, dates are seconds since 1970.
// ParseBaseline reads it back to an equal baseline.
func (b Baseline) MarshalJSON() ([]byte, error) {
	type filters struct {
		PatchFilters []jsonFilter
	}
	group := func(g FilterGroup) filters {
		out := filters{[]jsonFilter{}}
		for _, f := range g {
			out.PatchFilters = append(out.PatchFilters, jsonFilter{f.Key, orEmpty(f.Values)})
		}
		return out
	}
	type rule struct {
		PatchFilterGroup  filters
		ComplianceLevel   Level
		ApproveAfterDays  *int   `json:",omitempty"`
		ApproveUntilDate  string `json:",omitempty"`
		EnableNonSecurity bool
	}
	type source struct {
		Name          string
		Products      []string
		Configuration string
	}
	form := struct {
		BaselineId                               string `json:",omitempty"`
		Name                                     string `json:",omitempty"`
		OperatingSystem                          OperatingSystem
		GlobalFilters                            filters
		ApprovalRules                            struct{ PatchRules []rule }
		ApprovedPatches                          []string
		ApprovedPatchesComplianceLevel           Level
		ApprovedPatchesEnableNonSecurity         bool
		RejectedPatches                          []string
		RejectedPatchesAction                    RejectedAction
		CreatedDate                              json.RawMessage `json:",omitempty"`
		ModifiedDate                             json.RawMessage `json:",omitempty"`
		Description                              string          `json:",omitempty"`
		Sources                                  []source
		AvailableSecurityUpdatesComplianceStatus Compliance `json:",omitempty"`
	}{
		BaselineId: b.ID, Name: b.Name, OperatingSystem: b.System(), GlobalFilters: group(b.GlobalFilters),
		ApprovedPatches: orEmpty(b.ApprovedPatches), ApprovedPatchesComplianceLevel: orUnspecified(b.ApprovedComplianceLevel),
		ApprovedPatchesEnableNonSecurity: b.ApprovedNonSecurity, RejectedPatches: orEmpty(b.RejectedPatches), RejectedPatchesAction: b.rejectedAction(),
		CreatedDate: seconds(b.Created), ModifiedDate: seconds(b.Modified), Description: b.Description, Sources: []source{},
		AvailableSecurityUpdatesComplianceStatus: b.AvailableSecurityUpdates,
	}
	form.ApprovalRules.PatchRules = []rule{}
	for _, r := range b.Rules {
		form.ApprovalRules.PatchRules = append(form.ApprovalRules.PatchRules,
			rule{group(r.Filters), orUnspecified(r.Level), r.ApproveAfterDays, r.ApproveUntilDate, r.EnableNonSecurity})
	}
	for _, s := range b.Sources {
		form.Sources = append(form.Sources, source{s.Name, orEmpty(s.Products), s.Configuration})
	}
	return json.Marshal(form)
}

type jsonFilter struct {
	Key    FilterKey
	Values []string
}

func (b *Baseline) rejectedAction() RejectedAction {
	if b.RejectedAction == "" {
		return AllowAsDependency
	}
	return b.RejectedAction
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// seconds writes a time as AWS does: seconds since 1970, to the millisecond.
func seconds(t time.Time) json.RawMessage {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return json.RawMessage(strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64))
}
