package action

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Input returns the input of the name, whose letters may differ in case: AWS's agent matches them so, and documents rely on it (runCommand and RunCommand).
// The exact spelling wins; among others the first in order.
func Input(inputs map[string]any, name string) (any, bool) {
	if v, ok := inputs[name]; ok {
		return v, v != nil
	}
	var best string
	found := false
	for k := range inputs {
		if strings.EqualFold(k, name) && (!found || k < best) {
			best, found = k, true
		}
	}
	v := inputs[best]
	return v, found && v != nil
}

// Text returns an input as text: strings as they are, numbers and booleans as JSON writes them. Absent is "". Lists and maps are an error.
func Text(inputs map[string]any, name string) (string, error) {
	v, ok := Input(inputs, name)
	if !ok {
		return "", nil
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case json.Number:
		return v.String(), nil
	case int, int64, uint64, float64:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("input %s is a %T, not a text", name, v)
}

// Bool returns an input as a boolean; AWS's documents write true and "true". Absent is false.
func Bool(inputs map[string]any, name string) (bool, error) {
	s, err := Text(inputs, name)
	if err != nil || s == "" {
		return false, err
	}
	b, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return false, fmt.Errorf("input %s is neither true nor false", name)
	}
	return b, nil
}

// Lines flattens an input to its strings: a string is one, a list gives its elements, nested lists too (I2: runCommand: ["{{ commands }}"] is a list
// within a list). Elements of other types are dropped, as AWS's agent does.
func Lines(inputs map[string]any, name string) []string {
	v, _ := Input(inputs, name)
	return flatten(nil, v, 0)
}

func flatten(to []string, v any, depth int) []string {
	if depth > 8 {
		return to
	}
	switch v := v.(type) {
	case string:
		return append(to, v)
	case []string:
		return append(to, v...)
	case []any:
		for _, e := range v {
			to = flatten(to, e, depth+1)
		}
	}
	return to
}

// Map returns an input that is a map, or a text that holds a JSON object, as some documents pass one. Absent is nil.
func Map(inputs map[string]any, name string) (map[string]any, error) {
	v, ok := Input(inputs, name)
	if !ok {
		return nil, nil
	}
	switch v := v.(type) {
	case map[string]any:
		return v, nil
	case string:
		if strings.TrimSpace(v) == "" {
			return nil, nil
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(v), &m); err != nil {
			return nil, fmt.Errorf("input %s is no JSON object: %w", name, err)
		}
		return m, nil
	}
	return nil, fmt.Errorf("input %s is a %T, not a map", name, v)
}

// Word returns an input that must be one of the words, matched without regard to case, as that word; absent is "".
func Word(inputs map[string]any, name string, words ...string) (string, error) {
	s, err := Text(inputs, name)
	if err != nil || s == "" {
		return "", err
	}
	i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(s, w) })
	if i < 0 {
		return "", fmt.Errorf("input %s is none of %s", name, strings.Join(words, ", "))
	}
	return words[i], nil
}
