package node

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/target"
)

// Limits, AWS's where it has one; lengths in characters (rule R-20).
const (
	MaxTags        = 50
	MaxName        = 256
	MaxDescription = 256
	MaxRole        = 64
	MaxToken       = 128
	MinCode        = 20
	MaxCode        = 250
	MaxQuery       = 4096 // bytes of a group's query (RG1)
	MaxFact        = 256
	MaxFacts       = 16 << 10 // bytes of all facts as JSON
	MaxCapability  = 128
	MaxPage        = 1000
)

// tagText is what AWS allows in tags (shapes TagKey, TagValue).
var tagText = regexp.MustCompile(`\A[\p{L}\p{Z}\p{N}_.:/=+\-@]*\z`)

func checkTags(op string, tags map[string]string) error {
	if len(tags) > MaxTags {
		return fault.New(op, fault.TooManyTags, "%d tags, at most %d are allowed", len(tags), MaxTags)
	}
	for k, v := range tags {
		if err := checkTagKey(op, k); err != nil {
			return err
		}
		if n := utf8.RuneCountInString(v); n > target.MaxTagValueLen {
			return fault.New(op, fault.Validation, "the value of tag %s has %d characters, at most %d are allowed", k, n, target.MaxTagValueLen)
		}
		if !tagText.MatchString(v) {
			return fault.New(op, fault.Validation, "the value of tag %s: only letters, digits, blanks and _ . : / = + - @ are allowed", k)
		}
	}
	return nil
}

func checkTagKey(op, k string) error {
	n := utf8.RuneCountInString(k)
	switch {
	case n == 0 || n > target.MaxTagKeyLen:
		return fault.New(op, fault.Validation, "a tag's key has %d characters: give 1 to %d", n, target.MaxTagKeyLen)
	case !tagText.MatchString(k):
		return fault.New(op, fault.Validation, "tag key %q: only letters, digits, blanks and _ . : / = + - @ are allowed", fault.Clean(k))
	case len(k) >= 4 && strings.EqualFold(k[:4], "aws:"):
		return fault.New(op, fault.Validation, "tag key %q: keys that begin with aws: are reserved", k)
	}
	return nil
}

// checkText checks a text of people: at most so many characters, and nothing that would reach a terminal as a command.
func checkText(op, what, s string, most int) error {
	if n := utf8.RuneCountInString(s); n > most {
		return fault.New(op, fault.Validation, "%s has %d characters, at most %d are allowed", what, n, most)
	}
	if fault.Clean(s) != s {
		return fault.New(op, fault.Validation, "%s holds control characters or bytes that are no UTF-8", what)
	}
	return nil
}

// nodeIDText is the form of ids that this service takes: its own (mi- and 17 hex digits), AWS's for machines of EC2, and what a host chose.
var nodeIDText = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\z`)

func checkNodeID(op, id string) error {
	if !nodeIDText.MatchString(id) {
		return fault.New(op, fault.InvalidInstanceID, "%q is no node id", shown(id))
	}
	return nil
}

// shown is a stranger's text, short and clean.
func shown(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "") + "…"
	}
	return fault.Clean(s)
}

// checkFacts checks what a node says of itself and returns it as it is stored: capabilities sorted, each once.
func checkFacts(op string, f message.Facts) (message.Facts, error) {
	for _, p := range [...]struct{ name, value string }{
		{"agentName", f.AgentName}, {"agentVersion", f.AgentVersion}, {"platformType", f.PlatformType}, {"platformName", f.PlatformName}, {"platformVersion", f.PlatformVersion},
		{"architecture", f.Architecture}, {"computerName", f.ComputerName}, {"ipAddress", f.IPAddress}, {"bootId", f.BootID},
	} {
		if err := checkText(op, "fact "+p.name, p.value, MaxFact); err != nil {
			return f, err
		}
	}
	caps := make([]string, 0, len(f.Capabilities))
	for _, c := range f.Capabilities {
		if c == "" || len(c) > MaxCapability || strings.ContainsFunc(c, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsGraphic(r) }) {
			return f, fault.New(op, fault.Validation, "capability %q: 1 to %d printable ASCII characters are allowed", shown(c), MaxCapability)
		}
		caps = append(caps, c)
	}
	slices.Sort(caps)
	if f.Capabilities = slices.Compact(caps); len(f.Capabilities) == 0 {
		f.Capabilities = nil
	}
	if b, err := json.Marshal(f); err != nil || len(b) > MaxFacts {
		return f, fault.New(op, fault.Validation, "the facts are larger than %d bytes", MaxFacts)
	}
	return f, nil
}
