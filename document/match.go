package document

import (
	"math/bits"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// longest is the length of values that walk decides; effort is how many steps it takes at most.
const (
	longest = 255
	effort  = 20_000
)

// positions is a set of offsets into a value.
type positions [longest/64 + 1]uint64

func (s *positions) add(i int)      { s[i>>6] |= 1 << (i & 63) }
func (s *positions) has(i int) bool { return s[i>>6]&(1<<(i&63)) != 0 }

// join adds t and reports whether that made s larger.
func (s *positions) join(t *positions) (grew bool) {
	for i := range s {
		n := s[i] | t[i]
		grew = grew || n != s[i]
		s[i] = n
	}
	return grew
}

// walk decides whether the whole of s matches re by following all ways through the tree at once: no compiling, no backtracking. ok is false
// when the value is long, or the pattern takes too many steps.
func walk(re *syntax.Regexp, s string) (match, ok bool) {
	if len(s) > longest {
		return false, false
	}
	w := walker{s: s, left: effort}
	var from positions
	from.add(0)
	to := w.step(re, from)
	return to.has(len(s)), w.left > 0
}

type walker struct {
	s    string
	left int
}

// step returns where a match of re can end that begins at one of from.
func (w *walker) step(re *syntax.Regexp, from positions) (to positions) {
	if w.left--; w.left <= 0 {
		return to
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
		return from
	case syntax.OpLiteral:
		to = from
		for _, r := range re.Rune {
			to = w.runes(to, func(c rune) bool { return c == r || re.Flags&syntax.FoldCase != 0 && folds(c, r) })
		}
	case syntax.OpCharClass:
		to = w.runes(from, func(c rune) bool {
			for i := 0; i < len(re.Rune); i += 2 {
				if re.Rune[i] <= c && c <= re.Rune[i+1] {
					return true
				}
			}
			return false
		})
	case syntax.OpAnyChar:
		to = w.runes(from, func(rune) bool { return true })
	case syntax.OpAnyCharNotNL:
		to = w.runes(from, func(c rune) bool { return c != '\n' })
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		w.each(from, func(i int) {
			if w.holds(re.Op, i) {
				to.add(i)
			}
		})
	case syntax.OpCapture:
		to = w.step(re.Sub[0], from)
	case syntax.OpConcat:
		to = from
		for _, sub := range re.Sub {
			to = w.step(sub, to)
		}
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			t := w.step(sub, from)
			to.join(&t)
		}
	case syntax.OpQuest:
		to = w.step(re.Sub[0], from)
		to.join(&from)
	case syntax.OpStar:
		to = w.repeat(re.Sub[0], from, 0, -1)
	case syntax.OpPlus:
		to = w.repeat(re.Sub[0], from, 1, -1)
	case syntax.OpRepeat:
		to = w.repeat(re.Sub[0], from, re.Min, re.Max)
	}
	return to
}

// repeat returns where from least to most matches of re in a row can end; most is -1 without a limit.
func (w *walker) repeat(re *syntax.Regexp, from positions, least, most int) positions {
	now := from
	for range least {
		before := now
		if now = w.step(re, now); now == before || w.left <= 0 {
			break // it stays so however often it repeats
		}
	}
	to := now
	for n := least; (most < 0 || n < most) && w.left > 0; n++ {
		now = w.step(re, now)
		if !to.join(&now) {
			break
		}
	}
	return to
}

func (w *walker) each(s positions, f func(i int)) {
	for b, word := range s {
		for ; word != 0; word &= word - 1 {
			f(b<<6 + bits.TrailingZeros64(word))
		}
	}
}

// runes moves each position over one character that is among those wanted.
func (w *walker) runes(from positions, want func(rune) bool) (to positions) {
	w.each(from, func(i int) {
		if w.left--; i < len(w.s) {
			if r, n := utf8.DecodeRuneInString(w.s[i:]); want(r) {
				to.add(i + n)
			}
		}
	})
	return to
}

func (w *walker) holds(op syntax.Op, i int) bool {
	before, after := rune(-1), rune(-1)
	if i > 0 {
		before, _ = utf8.DecodeLastRuneInString(w.s[:i])
	}
	if i < len(w.s) {
		after, _ = utf8.DecodeRuneInString(w.s[i:])
	}
	switch op {
	case syntax.OpBeginLine:
		return before == -1 || before == '\n'
	case syntax.OpEndLine:
		return after == -1 || after == '\n'
	case syntax.OpBeginText:
		return before == -1
	case syntax.OpEndText:
		return after == -1
	case syntax.OpWordBoundary:
		return syntax.IsWordChar(before) != syntax.IsWordChar(after)
	}
	return syntax.IsWordChar(before) == syntax.IsWordChar(after)
}

func folds(a, b rune) bool {
	for r := unicode.SimpleFold(a); r != a; r = unicode.SimpleFold(r) {
		if r == b {
			return true
		}
	}
	return a == b
}
