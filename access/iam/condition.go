package iam

import (
	"bytes"
	"encoding/base64"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operator is how values are compared.
type operator struct {
	name    string // as AWS spells it
	family  family
	negated bool
	like    bool // wildcards
	fold    bool
	accept  func(order int) bool // of ordered families
}

type family uint8

const (
	texts family = iota
	numbers
	dates
	bools
	binaries
	addresses
	arns
	null
)

// operators returns the table by names in lower case.
func operators() map[string]operator {
	all := []operator{
		{name: "StringEquals"}, {name: "StringNotEquals", negated: true},
		{name: "StringEqualsIgnoreCase", fold: true}, {name: "StringNotEqualsIgnoreCase", fold: true, negated: true},
		{name: "StringLike", like: true}, {name: "StringNotLike", like: true, negated: true},
		{name: "Bool", family: bools}, {name: "BinaryEquals", family: binaries}, {name: "Null", family: null},
		{name: "IpAddress", family: addresses}, {name: "NotIpAddress", family: addresses, negated: true},
		{name: "ArnEquals", family: arns, like: true}, {name: "ArnNotEquals", family: arns, like: true, negated: true},
		{name: "ArnLike", family: arns, like: true}, {name: "ArnNotLike", family: arns, like: true, negated: true},
	}
	for name, f := range map[string]family{"Numeric": numbers, "Date": dates} {
		equal := func(o int) bool { return o == 0 }
		all = append(all, operator{name: name + "Equals", family: f, accept: equal}, operator{name: name + "NotEquals", family: f, accept: equal, negated: true},
			operator{name: name + "LessThan", family: f, accept: func(o int) bool { return o < 0 }}, operator{name: name + "LessThanEquals", family: f, accept: func(o int) bool { return o <= 0 }},
			operator{name: name + "GreaterThan", family: f, accept: func(o int) bool { return o > 0 }}, operator{name: name + "GreaterThanEquals", family: f, accept: func(o int) bool { return o >= 0 }})
	}
	m := make(map[string]operator, len(all))
	for _, o := range all {
		m[fold(o.name)] = o
	}
	return m
}

type setKind uint8

const (
	noSet setKind = iota
	forAll
	forAny
)

// clause is one operator with one key and its values: they must all be met.
type clause struct {
	op       operator
	set      setKind
	ifExists bool
	key      string
	values   []operand
}

// shown is the operator as AWS writes it.
func (c *clause) shown() string {
	s := c.op.name
	switch c.set {
	case forAll:
		s = "ForAllValues:" + s
	case forAny:
		s = "ForAnyValue:" + s
	}
	if c.ifExists {
		s += "IfExists"
	}
	return s
}

// operand is a value of a policy, made ready.
type operand struct {
	pattern pattern
	number  *big.Rat
	date    time.Time
	truth   bool
	bytes   []byte
	prefix  netip.Prefix
}

func (r *parser) conditions(v *value) []clause {
	if v.kind != '{' {
		r.badValue(v, "this is "+v.what()+" where an object of operators belongs")
		return nil
	}
	table, out := operators(), []clause(nil)
	twice := map[string]bool{}
	for i := range v.object {
		m := &v.object[i]
		c, ok := readOperator(table, m.name)
		switch {
		case !ok:
			r.bad(m.value.path, m.offset, "no such operator")
			continue
		case twice[fold(m.name)]:
			r.bad(m.value.path, m.offset, "this operator stands here twice: write its keys together")
			continue
		case m.value.kind != '{':
			r.badValue(&m.value, "this is "+m.value.what()+" where an object of keys belongs")
			continue
		}
		twice[fold(m.name)] = true
		keys := map[string]bool{}
		for j := range m.value.object {
			k := &m.value.object[j]
			c := c
			c.key = k.name
			if k.name == "" || keys[fold(k.name)] {
				r.bad(k.value.path, k.offset, "the key is empty or stands here twice (their case does not count)")
				continue
			}
			keys[fold(k.name)] = true
			all := []value{k.value}
			if k.value.kind == '[' {
				all = k.value.list
			}
			for n := range all {
				if o, ok := r.operand(&all[n], &c); ok {
					c.values = append(c.values, o)
				}
			}
			out = append(out, c)
		}
	}
	return out
}

func readOperator(table map[string]operator, name string) (clause, bool) {
	var c clause
	name = fold(name)
	if s, ok := strings.CutPrefix(name, "forallvalues:"); ok {
		c.set, name = forAll, s
	} else if s, ok := strings.CutPrefix(name, "foranyvalue:"); ok {
		c.set, name = forAny, s
	}
	o, ok := table[name]
	if !ok {
		name, c.ifExists = strings.CutSuffix(name, "ifexists")
		o, ok = table[name]
	}
	c.op = o
	return c, ok && (o.family != null || !c.ifExists)
}

func (r *parser) operand(v *value, c *clause) (o operand, ok bool) {
	var s string
	switch {
	case v.str != nil:
		s = *v.str
	case v.literal != "":
		s = v.literal
	default:
		r.badValue(v, "this is "+v.what()+" where a text, a number or a boolean belongs")
		return o, false
	}
	problem := ""
	withVariables := r.policy.version != Version2008 && (c.op.family == texts || c.op.family == arns)
	if o.pattern, problem = split(s, c.op.like, withVariables); problem == "" {
		problem = o.ready(c.op.family, s)
	}
	if problem != "" {
		r.badValue(v, problem)
	}
	return o, problem == ""
}

func (o *operand) ready(f family, s string) string {
	ok := true
	switch f {
	case numbers:
		if o.number, ok = number(s); !ok {
			return "this is no number"
		}
	case dates:
		if o.date, ok = date(s); !ok {
			return "this is no date of ISO 8601, as 2026-01-02T03:04:05Z, and no number of seconds since 1970"
		}
	case bools, null:
		if o.truth, ok = truth(s); !ok {
			return "this is neither true nor false"
		}
	case binaries:
		var err error
		if o.bytes, err = base64.StdEncoding.Strict().DecodeString(s); err != nil {
			return "this is not base64"
		}
	case addresses:
		if o.prefix, ok = prefix(s); !ok {
			return "this is no IP address and no range as 203.0.113.0/24 or 2001:db8::/32"
		}
	}
	return ""
}

// number reads a decimal number without an exponent, so that its size is that of its text.
func number(s string) (*big.Rat, bool) {
	t := strings.TrimLeft(s, "+-")
	whole, fraction, point := strings.Cut(t, ".")
	if len(s) > 100 || len(s)-len(t) > 1 || strings.Trim(whole+fraction, "0123456789") != "" || whole == "" || point && fraction == "" {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

func truth(s string) (is, ok bool) {
	return strings.EqualFold(s, "true"), strings.EqualFold(s, "true") || strings.EqualFold(s, "false")
}

// date reads the forms of ISO 8601 that the W3C's note has, and seconds since 1970. Four digits are a year.
func date(s string) (time.Time, bool) {
	for _, layout := range []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z07:00", time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	whole, fraction, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < -1<<40 || n > 1<<40 || strings.Trim(fraction, "0123456789") != "" || strings.HasSuffix(s, ".") {
		return time.Time{}, false
	}
	return time.Unix(n, 0), true
}

func prefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), true
}

// verdict is how one value of the request compares with one of the policy.
type verdict uint8

const (
	differs verdict = iota
	matches
	unresolved // a variable of the policy has no value
	malformed  // the request's value is not of the operator's type
)

func (c *clause) compare(o *operand, s string, ctx *lookup) verdict {
	is := func(b bool) verdict {
		if b {
			return matches
		}
		return differs
	}
	switch c.op.family {
	case texts, arns:
		parts, ok := o.pattern.resolve(ctx)
		switch {
		case !ok:
			return unresolved
		case c.op.family == arns:
			return is(arnLike(parts, s) || len(parts) == 1 && parts[0].kind == many)
		case c.op.like:
			return is(glob(parts, s))
		case c.op.fold:
			return is(strings.EqualFold(text(parts), s))
		}
		return is(text(parts) == s)
	case numbers:
		n, ok := number(s)
		if !ok {
			return malformed
		}
		return is(c.op.accept(n.Cmp(o.number)))
	case dates:
		d, ok := date(s)
		if !ok {
			return malformed
		}
		return is(c.op.accept(d.Compare(o.date)))
	case bools:
		b, ok := truth(s)
		if !ok {
			return malformed
		}
		return is(b == o.truth)
	case binaries:
		b, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			return malformed
		}
		return is(bytes.Equal(b, o.bytes))
	case addresses:
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return malformed
		}
		return is(o.prefix.Contains(a.Unmap()))
	}
	return differs
}

// one compares one value of the request with all of the policy: any may match; a negated operator wants none to.
func (c *clause) one(s string, ctx *lookup, deny bool) bool {
	unsure := false
	for i := range c.values {
		switch c.compare(&c.values[i], s, ctx) {
		case matches:
			return !c.op.negated
		case malformed:
			unsure = true
		case unresolved:
			unsure = unsure || c.op.negated
		}
	}
	if unsure {
		return deny
	}
	return c.op.negated
}

// met decides the clause; why says how, for people.
func (c *clause) met(ctx *lookup, deny bool) (ok bool, why string) {
	got := ctx.values(c.key)
	if c.op.family == null {
		absent := !present(got)
		for i := range c.values {
			if c.values[i].truth == absent {
				return true, "as asked for"
			}
		}
		if absent {
			return false, "the request has no such key"
		}
		return false, "the request has the key"
	}
	switch {
	case c.set == forAll && !present(got):
		return true, "the request has no values, which meets ForAllValues"
	case c.set == forAny && !present(got):
		return false, "the request has no values"
	case len(got) == 0 && c.ifExists:
		return true, "the request has no such key, which meets IfExists"
	case len(got) == 0:
		return c.op.negated, "the request has no such key"
	}
	n := 0
	for _, s := range got {
		if c.one(s, ctx, deny) {
			n++
		}
	}
	switch {
	case c.set == forAll, c.set == noSet && c.op.negated:
		return n == len(got), strconv.Itoa(n) + " of " + strconv.Itoa(len(got)) + " values meet it"
	}
	return n > 0, strconv.Itoa(n) + " of " + strconv.Itoa(len(got)) + " values meet it"
}

// present reports whether there is a value that is not empty.
func present(values []string) bool {
	for _, v := range values {
		if v != "" {
			return true
		}
	}
	return false
}
