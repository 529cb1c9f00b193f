package automation

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// branch takes the first choice that holds; without one the Default, without that the next step (A12).
func (r *run) branch(i int) {
	rec := &r.x.Steps[i]
	s := r.step(rec)
	for j := range s.choices {
		ok, err := r.holds(&s.choices[j].test)
		if err != nil {
			r.failed(i, Failed, invalid("choice %d: %s", j+1, err), false)
			return
		}
		if ok {
			r.finishTo(i, Success, nil, s.choices[j].next)
			return
		}
	}
	r.finishTo(i, Success, nil, s.a.Otherwise)
}

// holds decides a condition; what does not matter any more is not looked at.
func (r *run) holds(t *test) (bool, error) {
	switch t.op {
	case "And", "Or":
		for i := range t.parts {
			ok, err := r.holds(&t.parts[i])
			if err != nil {
				return false, err
			}
			if ok == (t.op == "Or") {
				return ok, nil
			}
		}
		return t.op == "And", nil
	case "Not":
		if len(t.parts) != 1 {
			return false, fmt.Errorf("Not takes one condition")
		}
		ok, err := r.holds(&t.parts[0])
		return !ok, err
	}
	v, err := t.subject.resolve(r.get)
	if err != nil {
		return false, err
	}
	o, err := t.operand.resolve(r.get)
	if err != nil {
		return false, err
	}
	return compare(t.op, v, o)
}

// compare is one operator of aws:branch.
func compare(op string, v, o any) (bool, error) {
	switch op {
	case "StringEquals":
		return text(v) == text(o), nil
	case "EqualsIgnoreCase":
		return strings.EqualFold(text(v), text(o)), nil
	case "StartsWith":
		return strings.HasPrefix(text(v), text(o)), nil
	case "EndsWith":
		return strings.HasSuffix(text(v), text(o)), nil
	case "Contains":
		if list, ok := v.([]any); ok {
			return slices.ContainsFunc(list, func(it any) bool { return text(it) == text(o) }), nil
		}
		return strings.Contains(text(v), text(o)), nil
	case "BooleanEquals":
		a, aok := boolean(v)
		b, bok := boolean(o)
		if !aok || !bok {
			return false, fmt.Errorf("BooleanEquals compares with what is no Boolean")
		}
		return a == b, nil
	}
	a, aok := number(v)
	b, bok := number(o)
	if !aok || !bok {
		return false, fmt.Errorf("%s compares with what is no number", clip(op))
	}
	c := a.Cmp(b)
	switch op {
	case "NumericEquals":
		return c == 0, nil
	case "NumericGreater":
		return c > 0, nil
	case "NumericLesser":
		return c < 0, nil
	case "NumericGreaterOrEquals":
		return c >= 0, nil
	case "NumericLesserOrEquals":
		return c <= 0, nil
	}
	return false, fmt.Errorf("the condition has no operator")
}

func boolean(v any) (b, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		return truth(strings.TrimSpace(v))
	}
	return false, false
}

// number reads a number exactly, also from its text. Texts with long exponents are no numbers here: they would take a machine's memory.
func number(v any) (*big.Rat, bool) {
	switch v := v.(type) {
	case int64:
		return new(big.Rat).SetInt64(v), true
	case json.Number:
		return decimal(string(v))
	case string:
		return decimal(strings.TrimSpace(v))
	}
	return nil, false
}

func decimal(s string) (*big.Rat, bool) {
	if len(s) == 0 || len(s) > 400 || strings.ContainsAny(s, "/_xXpPbBoO") {
		return nil, false
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if n, err := strconv.Atoi(s[i+1:]); err != nil || n > 400 || n < -400 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(s)
}
