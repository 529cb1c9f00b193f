package patch

import "strings"

// CompareRPM orders two RPM versions, [epoch:]version[-release], as librpm does: -1 when a is older than b, 0 when they are
// equal, 1 when a is newer. A missing epoch is 0; a missing release is older than any. A tilde sorts before the end of the
// text, a caret after it but before anything else. It allocates nothing and answers for every string.
func CompareRPM(a, b string) int {
	if a == b {
		return 0
	}
	ae, av, ar, ah := splitRPM(a)
	be, bv, br, bh := splitRPM(b)
	if ae != be {
		if c := number(ae, be); c != 0 {
			return c
		}
	}
	if c := rpmPart(av, bv); c != 0 {
		return c
	}
	switch {
	case ah && bh:
		return rpmPart(ar, br)
	case ah:
		return 1
	case bh:
		return -1
	}
	return 0
}

// splitRPM cuts at a colon that only digits precede, and at the last hyphen behind it.
func splitRPM(s string) (epoch, version, release string, has bool) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	if i < len(s) && s[i] == ':' {
		epoch, s = s[:i], s[i+1:]
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		return epoch, s[:i], s[i+1:], true
	}
	return epoch, s, "", false
}

// number compares two runs of digits of any length.
func number(a, b string) int {
	for len(a) > 0 && a[0] == '0' {
		a = a[1:]
	}
	for len(b) > 0 && b[0] == '0' {
		b = b[1:]
	}
	if len(a) != len(b) {
		return sign(len(a) - len(b))
	}
	return strings.Compare(a, b)
}

func letter(c byte) bool { return (c|0x20)-'a' <= 'z'-'a' }

// rpmSkips says whether c only separates.
func rpmSkips(c byte) bool { return !digit(c) && !letter(c) && c != '~' && c != '^' }

func rpmPart(a, b string) int {
	// What both begin with decides nothing: go on at the start of the word in which they part.
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	if i == len(a) && i == len(b) {
		return 0
	}
	for i > 0 && (digit(a[i-1]) || letter(a[i-1])) {
		i--
	}
	j := i
	for i < len(a) || j < len(b) {
		for i < len(a) && rpmSkips(a[i]) {
			i++
		}
		for j < len(b) && rpmSkips(b[j]) {
			j++
		}
		var x, y byte // 0 at the end
		if i < len(a) {
			x = a[i]
		}
		if j < len(b) {
			y = b[j]
		}
		if x == '~' || y == '~' {
			if x != '~' {
				return 1
			}
			if y != '~' {
				return -1
			}
			i++
			j++
			continue
		}
		if x == '^' || y == '^' {
			switch {
			case i >= len(a):
				return -1
			case j >= len(b):
				return 1
			case x != '^':
				return 1
			case y != '^':
				return -1
			}
			i++
			j++
			continue
		}
		if i >= len(a) || j >= len(b) {
			break
		}
		si, sj := i, j
		if digit(x) {
			if !digit(y) {
				return 1 // a number is newer than letters
			}
			for i < len(a) && digit(a[i]) {
				i++
			}
			for j < len(b) && digit(b[j]) {
				j++
			}
			if c := number(a[si:i], b[sj:j]); c != 0 {
				return c
			}
			continue
		}
		if !letter(y) {
			return -1
		}
		for i < len(a) && letter(a[i]) {
			i++
		}
		for j < len(b) && letter(b[j]) {
			j++
		}
		if c := strings.Compare(a[si:i], b[sj:j]); c != 0 {
			return c
		}
	}
	switch {
	case i < len(a):
		return 1
	case j < len(b):
		return -1
	}
	return 0
}
