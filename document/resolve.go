package document

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Verdict says what happens with a step on a platform.
type Verdict string

// The verdicts.
const (
	Run  Verdict = "Run"
	Skip Verdict = "Skip" // counts as success, exit code 0 (P4)
	Fail Verdict = "Fail" // the step fails without being started
)

// Resolved is a step with everything interpolated. It is a value: the caller may keep and change it.
type Resolved struct {
	Index     int               `json:"index"`
	Name      string            `json:"name"`
	Action    string            `json:"action"`
	Inputs    map[string]any    `json:"inputs"`              // by the spelling of the action table; values typed (I2), text embedded (I3)
	Env       map[string]string `json:"env,omitempty"`       // SSM_<parameter> of ENV_VAR parameters (I12)
	Verdict   Verdict           `json:"verdict"`             //
	Reason    string            `json:"reason,omitempty"`    // why it does not run
	OnFailure string            `json:"onFailure,omitempty"` // "", "exit", "successAndExit" (P6)
	OnSuccess string            `json:"onSuccess,omitempty"` // "", "exit"
	Finally   bool              `json:"finally,omitempty"`   // runs in any case; only the last step can
	Timeout   time.Duration     `json:"timeout"`             // of this step
	Settings  map[string]any    `json:"settings,omitempty"`
}

// Steps returns the steps as they run on a platform ("Linux", "Windows", "MacOS"), in order (P1 to P6). It is pure: the same bound document
// gives the same steps. Only Command and Policy documents have any.
func (b *Bound) Steps(platform string) []Resolved {
	if !b.doc.scripted() {
		return nil
	}
	env := b.env()
	out := make([]Resolved, len(b.doc.Steps))
	for i := range b.doc.Steps {
		s := &b.doc.Steps[i]
		r := &out[i]
		*r = Resolved{Index: s.Index, Name: s.Name, Action: s.Action, Timeout: b.timeouts[i], Env: cloneStrings(env), Inputs: make(map[string]any, len(s.inputs))}
		r.Verdict, r.Reason = b.verdict(s, platform)
		for _, in := range s.inputs {
			switch in.name {
			case "onFailure", "onSuccess", "finallyStep", "maxAttempts":
				continue
			case "timeoutSeconds":
				if s.spec != nil && s.spec.Input(in.name) == nil {
					continue
				}
			case "runCommand":
				if s.spec != nil && s.spec.Shell != "" && env != nil {
					r.Inputs[in.name] = b.script(s.spec.Shell, in.v)
					continue
				}
			}
			r.Inputs[in.name] = b.fill(in.v)
		}
		r.OnFailure = b.flow(s, "onFailure")
		r.OnSuccess = b.flow(s, "onSuccess")
		if f, _ := asValue(b.fill(s.shared("finallyStep"))).truthy(); f && i == len(b.doc.Steps)-1 {
			r.Finally = true
		}
		if m, ok := b.fill(s.Settings).(map[string]any); ok {
			r.Settings = m
		}
	}
	return out
}

// shared returns an input that every plugin takes, from inputs or, where authors misplace it, from the step.
func (s *Step) shared(name string) *Value {
	if v := s.given(name); v != nil {
		return v
	}
	return s.Source.Get(name)
}

// asValue makes a string or boolean a Value again, to be read leniently.
func asValue(v any) *Value {
	switch v := v.(type) {
	case string:
		return &Value{kind: String, text: v}
	case bool:
		return &Value{kind: Bool, truth: v}
	}
	return nil
}

// flow reads onFailure or onSuccess (P6). What is neither exit nor successAndExit has no meaning in a Command document, as on AWS.
func (b *Bound) flow(s *Step, key string) string {
	text, _ := b.fill(s.shared(key)).(string)
	switch {
	case strings.EqualFold(text, "exit"):
		return "exit"
	case strings.EqualFold(text, "successAndExit") && key == "onFailure":
		return "successAndExit"
	}
	return ""
}

// env returns the variables of the ENV_VAR parameters; nil when there are none.
func (b *Bound) env() map[string]string {
	var out map[string]string
	for i := range b.doc.Parameters {
		if p := &b.doc.Parameters[i]; p.EnvVar {
			if out == nil {
				out = map[string]string{}
			}
			out[EnvName(p.Name)] = b.replaceSSM(b.texts[p.Name])
		}
	}
	return out
}

func cloneStrings(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// fill interpolates a value (I1 to I8): one pass, left to right, over the segments compiled at Parse; keys of maps are not interpolated (I5).
func (b *Bound) fill(v *Value) any {
	switch v.Kind() {
	case String:
		if v.tmpl == nil {
			return v.text
		}
		if name := v.tmpl.whole(); name != "" {
			if val, ok := b.values[name]; ok {
				return b.deep(val)
			}
		}
		return b.replaceSSM(b.expand(v.tmpl))
	case List:
		out := make([]any, len(v.items))
		for i, it := range v.items {
			out[i] = b.fill(it)
		}
		return out
	case Map:
		out := make(map[string]any, len(v.fields))
		for i := range v.fields {
			out[v.fields[i].Key] = b.fill(v.fields[i].Value)
		}
		return out
	}
	return v.Go()
}

// deep copies a parameter's value, with ssm references replaced.
func (b *Bound) deep(v any) any {
	switch v := v.(type) {
	case string:
		return b.replaceSSM(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = b.deep(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = b.deep(v[k])
		}
		return out
	}
	return v
}

// expand gives the text of a template; unknown placeholders remain (I6), values are not expanded again (I4).
func (b *Bound) expand(t *template) string {
	n := 0
	for i := range t.segs {
		if text, ok := b.texts[t.segs[i].name]; ok && t.segs[i].name != "" {
			n += len(text)
		} else {
			n += len(t.segs[i].text)
		}
	}
	var out strings.Builder
	out.Grow(n)
	for i := range t.segs {
		if text, ok := b.texts[t.segs[i].name]; ok && t.segs[i].name != "" {
			out.WriteString(text)
		} else {
			out.WriteString(t.segs[i].text)
		}
	}
	return out.String()
}

// script interpolates runCommand of a script action: placeholders of ENV_VAR parameters become references to their variables.
func (b *Bound) script(shell string, v *Value) any {
	items := v.Items()
	if v.Kind() == String {
		items = []*Value{v}
	} else if v.Kind() != List {
		return b.fill(v)
	}
	head := ""
	if len(items) > 0 {
		head = items[0].Text()
	}
	ref := newReference(shell, head)
	out := make([]any, 0, len(items))
	for i, it := range items {
		if i > 0 {
			ref.feed("\n")
		}
		out = append(out, b.line(ref, it))
	}
	if v.Kind() == String {
		return out[0]
	}
	return out
}

func (b *Bound) line(ref reference, v *Value) any {
	if v.Kind() != String || v.tmpl == nil {
		ref.feed(v.Text())
		return b.fill(v)
	}
	if name := v.tmpl.whole(); name != "" {
		if p, ok := b.doc.Parameter(name); ok && !p.EnvVar {
			val := b.fill(v)
			for _, s := range flatten(nil, val) {
				ref.feed(s)
			}
			return val
		}
	}
	var out strings.Builder
	for i, seg := range v.tmpl.segs {
		text, ok := seg.text, false
		if seg.name != "" {
			var p *Parameter
			if p, ok = b.doc.Parameter(seg.name); ok {
				if p.EnvVar {
					next := ""
					if i+1 < len(v.tmpl.segs) {
						next = v.tmpl.segs[i+1].text
					}
					out.WriteString(ref.refer(seg.name, next))
					continue
				}
				text = b.texts[seg.name]
			}
		}
		ref.feed(text)
		out.WriteString(text)
	}
	return b.replaceSSM(out.String())
}

// verdict decides whether a step runs on a platform (P1 to P5).
func (b *Bound) verdict(s *Step, platform string) (Verdict, string) {
	known, on := s.spec != nil && !s.spec.Internal, s.spec.On(platform)
	if b.doc.SchemaVersion != "2.2" {
		switch {
		case !known:
			return Fail, "action " + s.Action + " is unknown"
		case !on:
			return Fail, "action " + s.Action + " cannot run on " + platform
		case s.Precondition != nil:
			return Fail, "schema " + b.doc.SchemaVersion + " has no preconditions"
		}
		return Run, ""
	}
	var allowed = true
	var why, bad string
	if s.Precondition != nil {
		allowed, why, bad = b.precondition(s.Precondition, platform)
	}
	switch {
	case !known && allowed:
		return Fail, "action " + s.Action + " is unknown"
	case !on:
		return Skip, "action " + s.Action + " cannot run on " + platform
	case !allowed:
		return Skip, why
	case bad != "":
		return Fail, bad
	}
	return Run, ""
}

// precondition evaluates a precondition: whether the step may run, why not, and what is malformed (P1 to P3).
func (b *Bound) precondition(v *Value, platform string) (allowed bool, why, bad string) {
	if v.Kind() != Map {
		return true, "", "the precondition is not a map"
	}
	allowed = true
	for i := range v.fields {
		f := &v.fields[i]
		if f.Key != "StringEquals" {
			bad = "precondition operator " + clip(f.Key) + " is unknown: only StringEquals is"
			continue
		}
		ok, w, m := b.equals(f.Value, platform)
		if !ok {
			allowed, why = false, w
		}
		if m != "" {
			bad = m
		}
	}
	return allowed, why, bad
}

func (b *Bound) equals(v *Value, platform string) (ok bool, why, bad string) {
	if v.Kind() != List || len(v.items) != 2 {
		return true, "", "StringEquals takes exactly two operands"
	}
	first, second := v.items[0].Text(), v.items[1].Text()
	left, right := b.operand(v.items[0]), b.operand(v.items[1])
	switch {
	case first == second:
		return true, "", "the operands of StringEquals are identical"
	case hasSSM(first), hasSSM(second):
		return true, "", "operands of a precondition cannot refer to Parameter Store"
	case first == "platformType" || second == "platformType":
		if second == "platformType" {
			second, right = first, left
		}
		if second != right {
			return true, "", "the operand beside platformType cannot contain parameters"
		}
		if !strings.EqualFold(second, platform) {
			return false, "precondition: platformType is " + platform + ", not " + clip(second), ""
		}
	case first == left && second == right:
		return true, "", "at least one operand of StringEquals must contain a parameter"
	case left != right:
		return false, "precondition StringEquals is not satisfied", ""
	}
	return true, "", ""
}

func (b *Bound) operand(v *Value) string {
	if v.Kind() == String && v.tmpl != nil {
		return b.expand(v.tmpl)
	}
	return v.Text()
}

// Script returns the script of aws:runShellScript or aws:runPowerShellScript: the lines of runCommand, nested lists flattened (I2), joined by
// line feeds, with one at the end (P13). Elements that are neither text nor list are dropped, as on AWS.
func (r *Resolved) Script() (string, error) {
	v, ok := r.Inputs["runCommand"]
	if !ok || v == nil {
		return "", fault.New("document.Script", fault.InvalidDocumentContent, "step %q has no input runCommand", clip(r.Name))
	}
	lines := flatten(nil, v)
	return strings.Join(lines, "\n") + "\n", nil
}

func flatten(out []string, v any) []string {
	switch v := v.(type) {
	case string:
		out = append(out, v)
	case []any:
		for _, it := range v {
			out = flatten(out, it)
		}
	}
	return out
}

// Digest returns a lower-case hexadecimal SHA-256 over the canonical form of steps: equal steps, equal digest.
func Digest(steps []Resolved) string {
	h := sha256.New()
	var buf []byte
	for i := range steps {
		buf = steps[i].append(buf[:0])
		h.Write(buf)
		h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// append writes the canonical form.
func (r *Resolved) append(out []byte) []byte {
	env := make(map[string]any, len(r.Env))
	for k, v := range r.Env {
		env[k] = v
	}
	return appendJSON(out, map[string]any{
		"index": int64(r.Index), "name": r.Name, "action": r.Action, "inputs": r.Inputs, "env": env, "verdict": string(r.Verdict), "reason": r.Reason,
		"onFailure": r.OnFailure, "onSuccess": r.OnSuccess, "finally": r.Finally, "timeout": int64(r.Timeout), "settings": r.Settings,
	})
}
