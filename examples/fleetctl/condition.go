package main

import (
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

const aboutConditions = `A condition is TYPE.ATTRIBUTE, an operator and a value, in quotes for the shell: = is, != is not, ^= begins with, < and > are less and greater (versions of
packages by the order of deb and rpm), and the word exists without a value. Of several values, a|b, one must hold. All conditions must hold, those of one type
for the same entry.
`

// condition reads TYPE.ATTRIBUTE and an operator: = != ^= < > with values that | separates, or the word exists, which may follow a type alone.
func condition(s string) (inventory.Filter, error) {
	s = strings.TrimSpace(s)
	if key, ok := strings.CutSuffix(s, " exists"); ok && !strings.ContainsAny(key, "=<>") {
		return inventory.Filter{Key: strings.TrimSpace(key), Type: inventory.Exists}, nil
	}
	at := strings.IndexAny(s, "=<>")
	if at <= 0 {
		return inventory.Filter{}, bad("condition %q: write TYPE.ATTRIBUTE=VALUE, with = != ^= < >, or TYPE.ATTRIBUTE exists", fault.Clean(s))
	}
	key, op, rest := s[:at], inventory.Equal, s[at+1:]
	switch {
	case s[at] != '=' && strings.HasPrefix(rest, "="):
		return inventory.Filter{}, bad("condition %q: there is no %s=; write %s, or count both", fault.Clean(s), s[at:at+1], s[at:at+1])
	case s[at] == '<':
		op = inventory.LessThan
	case s[at] == '>':
		op = inventory.GreaterThan
	case strings.HasSuffix(key, "!"):
		key, op = key[:at-1], inventory.NotEqual
	case strings.HasSuffix(key, "^"):
		key, op = key[:at-1], inventory.BeginWith
	}
	if key = strings.TrimSpace(key); key == "" {
		return inventory.Filter{}, bad("condition %q: the attribute is missing", fault.Clean(s))
	}
	return inventory.Filter{Key: key, Type: op, Values: strings.Split(strings.TrimSpace(rest), "|")}, nil
}

func conditions(args []string) ([]inventory.Filter, error) {
	out := []inventory.Filter{}
	for _, s := range args {
		f, err := condition(s)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}
