package document

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestWalkAgreesWithRegexp: what is matched without compiling is what Go's engine matches.
func TestWalkAgreesWithRegexp(t *testing.T) {
	atoms := []string{"a", "b", "é", ".", "[a-c]", "[^b]", `\d`, `\w`, `\s`, "(?i)A", "(?s).", "^", "$", `\b`, `\B`, `\A`, `\z`, "(?m)^", "(?m)$", "", "(?i:é)", "-"}
	quants := []string{"", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?"}
	var gen func(depth int) *rapid.Generator[string]
	gen = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			if depth == 0 {
				return rapid.SampledFrom(atoms).Draw(t, "atom")
			}
			parts := rapid.SliceOfN(gen(depth-1), 1, 3).Draw(t, "parts")
			join := rapid.SampledFrom([]string{"", "|"}).Draw(t, "join")
			return "(" + strings.Join(parts, join) + ")" + rapid.SampledFrom(quants).Draw(t, "q")
		})
	}
	value := rapid.StringOfN(rapid.SampledFrom([]rune("aabbAé1 \n-")), 0, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		pat, s := gen(3).Draw(t, "pattern"), value.Draw(t, "value")
		re, err := regexp.Compile(`\A(?:` + pat + `)\z`)
		if err != nil {
			t.Skip()
		}
		tree, err := syntax.Parse(pat, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := walk(tree, s)
		if want := re.MatchString(s); ok && got != want {
			t.Fatalf("%q on %q: %v, want %v", pat, s, got, want)
		}
		m, err := newPattern(pat).match(s)
		if err != nil || m != re.MatchString(s) {
			t.Fatalf("match: %v %v", m, err)
		}
	})
}

func TestWalkEffortIsBounded(t *testing.T) {
	tree, err := syntax.Parse("((((a*)*)*)*|((a+)+)+)*b", syntax.Perl)
	require.NoError(t, err)
	match, _ := walk(tree, strings.Repeat("a", longest))
	require.False(t, match)
	p := newPattern("((((a{1,9}){1,9}){1,9}){1,9}|x)*b")
	m, err := p.match(strings.Repeat("a", longest) + "b")
	require.NoError(t, err)
	require.True(t, m, "the compiled engine takes over")
	m, err = newPattern("a*").match(strings.Repeat("a", 5000))
	require.NoError(t, err)
	require.True(t, m)
}

func TestExcludes(t *testing.T) {
	for pat, want := range map[string]bool{
		"^[a-z]+$": true, "[a-z;]": false, "a;b": false, ".": false, `\S+`: false, `\w+`: true, "(?i)abc": true, "[^a]": false, "^(?!x)[a-z]{1,9}$": true,
		"[a-z]++": true, "(?<!a)b": true, "(?<=;)b": true, "x|;": false, `\d{1,2000}`: false, "(": false, `[\w-/]+`: true, "(?=;).": false,
	} {
		require.Equal(t, want, newPattern(pat).excludes(";"), pat)
	}
}

func TestJavaDialect_T14(t *testing.T) {
	for _, c := range []struct {
		pat, yes, no string
	}{
		{`^[A-Z\.\-\_\#\/]{1,1024}\:\*$`, "A_#/:*", "a:*"},
		{`^(?!aws\/)[0-9a-z\-\_\/#.]{1,512}$`, "a_b", "aws/x"},
		{`[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*`, "a😀", "\x00"},
		{`(?=a)[\u0041-\u005a\u0061]+`, "aB", "Ba"},
		{`[a-z&&[^b]]+`, "ac", "abc"},
		{`\u0041`, "A", "u0041"},
		{`a*+b`, "aab", "a"},
		{`(ab)?+c{2}+`, "abcc", "abc"},
		{`(?<=x)y|xy`, "xy", "y"},
		{`(a)(b)\2\1`, "abba", "abab"},
		{`[\w-.]{0,100}`, "a-.", "a b"},
		{`^\p{L}+$`, "é", "1"},
		{`(?i)^/sub$`, "/SUB", "/x"},
	} {
		p := newPattern(c.pat)
		require.NoError(t, p.err, c.pat)
		m, err := p.match(c.yes)
		require.NoError(t, err)
		require.True(t, m, "%s on %q", c.pat, c.yes)
		m, err = p.match(c.no)
		require.NoError(t, err)
		require.False(t, m, "%s on %q", c.pat, c.no)
	}
}
