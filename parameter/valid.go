package parameter

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"

	"github.com/fleetwright/fleetwright/fault"
)

const (
	mostText     = 1024 // characters of a description and of an allowed pattern (S11, S12)
	standardSize = 4 << 10
	advancedSize = 8 << 10
	mostLabels   = 10 // of a version, and of a request (S18)
	mostLabel    = 100
)

// nests reports whether a value refers to another parameter (S10).
func nests(value string) bool {
	_, rest, ok := strings.Cut(value, "{{")
	return ok && strings.Contains(rest, "}}")
}

// checkValue checks what holds of every value, and returns it as it is kept: a list without spaces around its commas (S9, S10).
func checkValue(op, name string, t Type, v Value) (Value, error) {
	text := v.Reveal()
	switch {
	case text == "":
		return v, fault.New(op, fault.Validation, "the value of parameter %s is empty: a value has at least one character", clip(name)).About(name)
	case !utf8.ValidString(text):
		return v, fault.New(op, fault.Validation, "the value of parameter %s is no UTF-8: encode bytes, as in base64", clip(name)).About(name)
	case nests(text):
		return v, fault.New(op, fault.Validation, "the value of parameter %s has {{ }}: parameters cannot be nested", clip(name)).About(name)
	}
	if t == StringList && strings.Contains(text, ",") {
		items := strings.Split(text, ",")
		for i := range items {
			items[i] = strings.TrimSpace(items[i])
		}
		v = Text(strings.Join(items, ","))
	} else if t != SecureString && v.secret {
		v = Text(text)
	}
	return v, nil
}

func checkType(op string, t Type) error {
	switch t {
	case "", String, StringList, SecureString:
		return nil
	}
	return fault.New(op, CodeUnsupportedType, "%q is no type of parameters: use String, StringList or SecureString", clip(string(t)))
}

func checkTier(op string, t Tier) error {
	switch t {
	case "", Standard, Advanced, IntelligentTiering:
		return nil
	}
	return fault.New(op, fault.Validation, "%q is no tier: use Standard, Advanced or Intelligent-Tiering", clip(string(t)))
}

func checkText(op, what, s string) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > mostText {
		return fault.New(op, fault.Validation, "%s has more than %d characters, or is no UTF-8", what, mostText)
	}
	return nil
}

// pattern is an AllowedPattern (S11). It is found anywhere in the value, as AWS's example with its anchors has it. AWS takes Java's dialect: what Go's engine does not know, lookaround
// above all, is matched by one that does, for at most a tenth of a second.
type pattern struct {
	fast *regexp.Regexp
	slow *regexp2.Regexp
}

func newPattern(op, text string) (*pattern, error) {
	if text == "" {
		return nil, nil
	}
	if err := checkText(op, "AllowedPattern", text); err != nil {
		return nil, err
	}
	if re, err := syntax.Parse(text, syntax.Perl); err == nil {
		fast, err := regexp.Compile(re.String())
		if err == nil {
			return &pattern{fast: fast}, nil
		}
	}
	slow, err := regexp2.Compile(text, regexp2.None)
	if err != nil {
		return nil, fault.New(op, CodeAllowedPattern, "AllowedPattern is no regular expression: %q", clip(text))
	}
	slow.MatchTimeout = 100 * time.Millisecond
	return &pattern{slow: slow}, nil
}

// allows returns an error when the value does not match. It never holds the value.
func (p *pattern) allows(op, name string, v Value) error {
	if p == nil {
		return nil
	}
	text := v.Reveal()
	var ok bool
	if p.fast != nil {
		ok = p.fast.MatchString(text)
	} else {
		var err error
		if ok, err = p.slow.MatchString(text); err != nil {
			return fault.New(op, CodePatternMismatch, "AllowedPattern of parameter %s takes too long on this value: write it without nested repetitions", clip(name)).About(name)
		}
	}
	if !ok {
		return fault.New(op, CodePatternMismatch, "the value of parameter %s does not match its AllowedPattern", clip(name)).About(name)
	}
	return nil
}

// checkTags checks tags of a request and returns them as a map; of a repeated key it is an error.
func checkTags(op string, tags []Tag, most int) (map[string]string, error) {
	if len(tags) > 1000 {
		return nil, fault.New(op, fault.Validation, "%d tags are given; a request has at most 1,000", len(tags))
	}
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		if err := checkTag(op, t.Key, t.Value); err != nil {
			return nil, err
		}
		if _, twice := out[t.Key]; twice {
			return nil, fault.New(op, fault.Validation, "tag key %q is given twice", clip(t.Key))
		}
		out[t.Key] = t.Value
	}
	if len(out) > most {
		return nil, fault.New(op, fault.TooManyTags, "%d tags are given; a parameter has at most %d", len(out), most)
	}
	return out, nil
}

func checkTag(op, k, v string) error {
	switch {
	case k == "" || utf8.RuneCountInString(k) > 128 || !tagText(k):
		return fault.New(op, fault.Validation, "tag key %q must have 1 to 128 letters, digits, spaces or _.:/=+-@", clip(k))
	case utf8.RuneCountInString(v) > 256 || !tagText(v):
		return fault.New(op, fault.Validation, "the value of tag %q must have at most 256 letters, digits, spaces or _.:/=+-@", clip(k))
	case len(k) >= 4 && strings.EqualFold(k[:4], "aws:"):
		return fault.New(op, fault.Validation, "tag key %q begins with aws:, which is reserved", clip(k))
	}
	return nil
}

var tagGrammar = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

func tagText(s string) bool { return utf8.ValidString(s) && tagGrammar.MatchString(s) }

// validLabel reports whether a label keeps the rules (S18).
func validLabel(s string) bool {
	if s == "" || len(s) > mostLabel || strings.Contains(s, "/") || !validChars(s) || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	low := strings.ToLower(s)
	return !strings.HasPrefix(low, "aws") && !strings.HasPrefix(low, "ssm")
}

// sortedLabels splits labels of a request: those that keep the rules, each once, and the others.
func sortedLabels(op string, labels []string) (good, bad []string, err error) {
	if len(labels) == 0 || len(labels) > mostLabels {
		return nil, nil, fault.New(op, fault.Validation, "%d labels are given; give 1 to %d", len(labels), mostLabels)
	}
	bad = []string{}
	for _, l := range labels {
		switch {
		case len(l) == 0 || len(l) > mostLabel:
			return nil, nil, fault.New(op, fault.Validation, "a label has %d characters; it has 1 to %d", len(l), mostLabel)
		case slices.Contains(good, l), slices.Contains(bad, l):
		case validLabel(l):
			good = append(good, l)
		default:
			bad = append(bad, l)
		}
	}
	return good, bad, nil
}

func results(op string, n, most, usual int) (int, error) {
	switch {
	case n == 0:
		return usual, nil
	case n < 0 || n > most:
		return 0, fault.New(op, fault.Validation, "MaxResults is %d; it must be 1 to %d", n, most)
	}
	return n, nil
}
