package patch

import "strings"

// CompareDeb orders two Debian versions, [epoch:]upstream[-revision], as dpkg does: -1 when a is older than b, 0 when they are
// equal, 1 when a is newer. It allocates nothing and answers for every string: it is a total order also over text that
// dpkg would refuse. A missing epoch is 0, a missing revision equals "0" (Debian policy 5.6.12, deb-version(7)).
func CompareDeb(a, b string) int {
	if a == b {
		return 0
	}
	ae, av, ar := splitDeb(a)
	be, bv, br := splitDeb(b)
	if ae != be {
		if c := debPart(ae, be); c != 0 {
			return c
		}
	}
	if c := debPart(av, bv); c != 0 {
		return c
	}
	return debPart(ar, br)
}

// splitDeb cuts at the first colon and the last hyphen.
func splitDeb(s string) (epoch, version, revision string) {
	if i := strings.IndexByte(s, ':'); i >= 0 {
		epoch, s = s[:i], s[i+1:]
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		return epoch, s[:i], s[i+1:]
	}
	return epoch, s, ""
}

// debOrder weighs one byte of a part that is no number: a tilde before the end, the end (and digits) before letters, letters before the rest.
func debOrder(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return 0
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return int(c)
	case c == '~':
		return -1
	}
	return int(c) + 256
}

func debPart(a, b string) int {
	// What both begin with decides nothing: go on at the start of the number in which they part.
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	if i == len(a) && i == len(b) {
		return 0
	}
	for i > 0 && digit(a[i-1]) {
		i--
	}
	j := i
	for i < len(a) || j < len(b) {
		for i < len(a) && !digit(a[i]) || j < len(b) && !digit(b[j]) {
			x, y := 0, 0
			if i < len(a) {
				x = debOrder(a[i])
			}
			if j < len(b) {
				y = debOrder(b[j])
			}
			if x != y {
				return sign(x - y)
			}
			i++
			j++
		}
		for i < len(a) && a[i] == '0' {
			i++
		}
		for j < len(b) && b[j] == '0' {
			j++
		}
		first := 0
		for i < len(a) && digit(a[i]) && j < len(b) && digit(b[j]) {
			if first == 0 {
				first = int(a[i]) - int(b[j])
			}
			i++
			j++
		}
		if i < len(a) && digit(a[i]) {
			return 1
		}
		if j < len(b) && digit(b[j]) {
			return -1
		}
		if first != 0 {
			return sign(first)
		}
	}
	return 0
}

func digit(c byte) bool { return c-'0' <= 9 }

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
