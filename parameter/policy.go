package parameter

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

const (
	mostPolicyText = 4096
	mostPolicies   = 10
)

// The types of parameter policies (S30).
const (
	Expiration             = "Expiration"
	ExpirationNotification = "ExpirationNotification"
	NoChangeNotification   = "NoChangeNotification"
)

// The states of a policy in answers.
const (
	policyPending  = "Pending"
	policyFinished = "Finished"
)

// rule is one parameter policy.
type rule struct {
	kind string
	text string        // as it was given, compact
	at   time.Time     // of Expiration
	span time.Duration // Before or After
}

// id tells the policies of a parameter apart: its place, and E, B (before) or N for its kind.
func (r *rule) id(i int) string {
	switch r.kind {
	case Expiration:
		return strconv.Itoa(i) + "E"
	case ExpirationNotification:
		return strconv.Itoa(i) + "B"
	}
	return strconv.Itoa(i) + "N"
}

// parsePolicies reads the member Policies (S30). No rules means that the text removes them all.
func parsePolicies(op, text string) ([]rule, error) {
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > mostPolicyText {
		return nil, fault.New(op, fault.Validation, "Policies has more than %d characters, or is no UTF-8", mostPolicyText)
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fault.New(op, fault.Validation, "Policies is no JSON array of objects with Type, Version and Attributes")
	}
	if len(list) > mostPolicies {
		return nil, fault.New(op, CodePoliciesLimit, "%d policies are given; a parameter has at most %d", len(list), mostPolicies)
	}
	if len(list) == 1 && string(bytes.Join(bytes.Fields(list[0]), nil)) == "{}" {
		return nil, nil
	}
	out := make([]rule, 0, len(list))
	for i, raw := range list {
		r, err := parseRule(op, i+1, raw)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, compatible(op, out)
}

func parseRule(op string, n int, raw json.RawMessage) (r rule, err error) {
	bad := func(format string, args ...any) error {
		return fault.New(op, CodePolicyAttribute, "policy %d: "+format, append([]any{n}, args...)...)
	}
	var p struct {
		Type       string
		Version    string
		Attributes map[string]any
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(&p); err != nil {
		return r, bad("it must be an object with Type, Version and Attributes")
	}
	r.kind = p.Type
	text := func(name string) (string, bool) {
		switch v := p.Attributes[name].(type) {
		case string:
			return v, true
		case json.Number:
			return v.String(), true
		}
		return "", false
	}
	var want []string
	switch p.Type {
	case Expiration:
		want = []string{"Timestamp"}
		s, _ := text("Timestamp")
		if r.at, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return r, bad("Timestamp %q is no instant: write 2030-12-31T21:34:33Z or 2030-12-31T21:34:33+02:00", clip(s))
		}
		if y := r.at.Year(); y < 1970 || y > 2261 {
			return r, bad("Timestamp %q is out of range", clip(s))
		}
		r.at = r.at.UTC()
	case ExpirationNotification, NoChangeNotification:
		name := "Before"
		if p.Type == NoChangeNotification {
			name = "After"
		}
		want = []string{name, "Unit"}
		s, _ := text(name)
		amount, err := strconv.ParseUint(s, 10, 16)
		if err != nil || amount == 0 {
			return r, bad("%s must be a whole number from 1 to 65535", name)
		}
		switch u, _ := text("Unit"); u {
		case "Days":
			r.span = time.Duration(amount) * 24 * time.Hour
		case "Hours":
			r.span = time.Duration(amount) * time.Hour
		default:
			return r, bad("Unit is %q; it is Days or Hours", clip(u))
		}
	default:
		return r, fault.New(op, CodePolicyType, "policy %d has the type %q; use Expiration, ExpirationNotification or NoChangeNotification", n, clip(p.Type))
	}
	for k := range p.Attributes {
		if !slices.Contains(want, k) {
			return r, bad("%s has no attribute %q", p.Type, clip(k))
		}
	}
	if p.Version != "" && p.Version != "1.0" {
		return r, bad("Version is %q; it is 1.0", clip(p.Version))
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return r, bad("it is no JSON")
	}
	r.text = b.String()
	return r, nil
}

// compatible refuses two expirations, and a notice of an expiration that is not there.
func compatible(op string, rules []rule) error {
	n, notices := 0, 0
	for i := range rules {
		switch rules[i].kind {
		case Expiration:
			n++
		case ExpirationNotification:
			notices++
		}
	}
	switch {
	case n > 1:
		return fault.New(op, CodeIncompatiblePolicy, "Policies has %d Expiration policies; a parameter expires once", n)
	case notices > 0 && n == 0:
		return fault.New(op, CodeIncompatiblePolicy, "Policies has an ExpirationNotification and no Expiration, so that it would never come")
	}
	return nil
}

// rules reads the policies of a version. What was stored was checked.
func (v *version) rules() []rule {
	if v.Policies == "" {
		return nil
	}
	rs, err := parsePolicies("parameter", v.Policies)
	if err != nil {
		return nil
	}
	return rs
}

// inline returns the policies as answers have them.
func (v *version) inline() []ParameterInlinePolicy {
	var out []ParameterInlinePolicy
	for i, r := range v.rules() {
		state := policyPending
		if slices.Contains(v.Done, r.id(i)) {
			state = policyFinished
		}
		out = append(out, ParameterInlinePolicy{PolicyText: r.text, PolicyType: r.kind, PolicyStatus: state})
	}
	return out
}

// due is when a policy acts.
type due struct {
	at time.Time
	id string
	rule
}

// dues returns what the policies of a head have yet to do.
func (v *version) dues() []due {
	rs := v.rules()
	var expires time.Time
	for i := range rs {
		if rs[i].kind == Expiration {
			expires = rs[i].at
		}
	}
	var out []due
	for i, r := range rs {
		d := due{id: r.id(i), rule: r}
		if slices.Contains(v.Done, d.id) {
			continue
		}
		switch r.kind {
		case Expiration:
			d.at = r.at
		case ExpirationNotification:
			d.at = expires.Add(-r.span)
		case NoChangeNotification:
			d.at = v.Modified.Add(r.span)
		}
		out = append(out, d)
	}
	return out
}

// redue moves what is due from a head's former state to its new one; nil is a parameter that is not there.
func (s *Service) redue(tx store.Tx, tenant, canon string, before, after *version) error {
	if before != nil && before.Policies != "" {
		for _, d := range before.dues() {
			if err := tx.Delete(dueKey(tenant, d.at, canon, d.id)); err != nil {
				return err
			}
		}
	}
	if after == nil || after.Policies == "" {
		return nil
	}
	for _, d := range after.dues() {
		if err := s.mark(tx, dueKey(tenant, d.at, canon, d.id), nil); err != nil {
			return err
		}
	}
	return nil
}
