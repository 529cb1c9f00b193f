package patch_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/patch"
)

type pair struct {
	a, b string
	want int
}

// oracle reads the pairs of the file that the variable env names, else of the shared material; it skips aloud without either.
func oracle(t testing.TB, env, name string) []pair {
	t.Helper()
	file := os.Getenv(env)
	if file == "" {
		file = filepath.Join("..", "..", "shared", "cases", name)
		if _, err := os.Stat(file); err != nil {
			t.Skipf("SKIPPED: no file of version pairs: set %s to one (a TAB <|=|> TAB b a line)", env)
		}
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var out []pair
	scan := bufio.NewScanner(bytes.NewReader(text))
	scan.Buffer(nil, 1<<20)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSuffix(scan.Text(), "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		require.Lenf(t, f, 3, "%s:%d: want: a TAB operator TAB b", file, n)
		want, ok := map[string]int{"<": -1, "=": 0, ">": 1, "lt": -1, "eq": 0, "gt": 1, "-1": -1, "0": 0, "1": 1}[f[1]]
		require.Truef(t, ok, "%s:%d: operator %q is none of < = >", file, n, f[1])
		out = append(out, pair{f[0], f[2], want})
	}
	require.NotEmpty(t, out, file)
	return out
}

func TestVersionOracle(t *testing.T) {
	for _, o := range []struct {
		name, env, file string
		compare         func(a, b string) int
	}{
		{"deb", "FLEETWRIGHT_DEB_ORACLE", "deb-version-oracle.tsv", patch.CompareDeb},
		{"rpm", "FLEETWRIGHT_RPM_ORACLE", "rpm-version-oracle.tsv", patch.CompareRPM},
	} {
		t.Run(o.name, func(t *testing.T) {
			pairs := oracle(t, o.env, o.file)
			bad := 0
			for _, p := range pairs {
				if got := o.compare(p.a, p.b); got != p.want {
					t.Errorf("compare(%q, %q) = %d, the oracle says %d", p.a, p.b, got, p.want)
					bad++
				}
				if got := o.compare(p.b, p.a); got != -p.want {
					t.Errorf("compare(%q, %q) = %d, the oracle says %d", p.b, p.a, got, -p.want)
				}
			}
			t.Logf("%d pairs, %d differ", len(pairs), bad)
		})
	}
}

// Pairs of our own, so that the order is tested where no oracle file is at hand.
func TestVersionOrder(t *testing.T) {
	for _, c := range []pair{
		{"1.0~rc1-1", "1.0-1", -1}, {"1:1.0-1", "9.0-1", 1}, {"0:1.0", "1.0", 0}, {"1.0", "1.0-0", 0}, {"1.0-", "1.0", 0},
		{"1.0+b1", "1.0", 1}, {"1.0a", "1.0+", -1}, {"1.010", "1.10", 0}, {"1.0~~", "1.0~", -1}, {"2-1-1", "2-1-2", -1},
		{"00001:1", "1:1", 0}, {"18446744073709551616:1", "18446744073709551615:1", 1}, {"", "0", 0}, {"", "~", 1}, {"1.0-1~bpo1", "1.0-1", -1},
	} {
		require.Equal(t, c.want, patch.CompareDeb(c.a, c.b), "deb %s %s", c.a, c.b)
		require.Equal(t, -c.want, patch.CompareDeb(c.b, c.a), "deb %s %s", c.b, c.a)
	}
	for _, c := range []pair{
		{"1.0~rc1-1", "1.0-1", -1}, {"1:1.0-1", "9.0-1", 1}, {"0:1.0-1", "1.0-1", 0}, {"1.0", "1.0-1", -1}, {"1.0^git1-1", "1.0-1", 1},
		{"1.0^git1-1", "1.0.1-1", -1}, {"1.0^git1~pre", "1.0^git1", -1}, {"1.0a", "1.0.1", -1}, {"1.0.", "1.0", 0}, {"1_0", "1.0", 0},
		{"10", "9", 1}, {"1a", "1", 1}, {"a", "1", -1}, {"1.0~^", "1.0~", 1}, {"2.0-1.el9_2", "2.0-1.el9", 1}, {"é1", "1", 0},
	} {
		require.Equal(t, c.want, patch.CompareRPM(c.a, c.b), "rpm %s %s", c.a, c.b)
		require.Equal(t, -c.want, patch.CompareRPM(c.b, c.a), "rpm %s %s", c.b, c.a)
	}
	require.Equal(t, -1, patch.CompareKB("KB9", "kb10"))
	require.Equal(t, 1, patch.CompareKB("MS10-048", "KB10"))
	require.Equal(t, "1:2.0-3", patch.EVR("1", "2.0", "3"))
	require.Equal(t, "2.0", patch.EVR("0", "2.0", ""))
}

func versions(alphabet string) *rapid.Generator[string] {
	return rapid.StringOfN(rapid.RuneFrom([]rune(alphabet)), 0, 9, -1)
}

func TestVersionOrderIsTotal(t *testing.T) {
	for name, o := range map[string]struct {
		compare  func(a, b string) int
		alphabet string
	}{
		"deb": {patch.CompareDeb, "0019aA~+.:-"},
		"rpm": {patch.CompareRPM, "0019aA~^.:-_"},
		"kb":  {patch.CompareKB, "0019KkBb"},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				g := versions(o.alphabet)
				a, b, c := g.Draw(t, "a"), g.Draw(t, "b"), g.Draw(t, "c")
				require.Zero(t, o.compare(a, a))
				require.Equal(t, o.compare(a, b), -o.compare(b, a))
				if o.compare(a, b) <= 0 && o.compare(b, c) <= 0 {
					require.LessOrEqual(t, o.compare(a, c), 0)
				}
				if o.compare(a, b) == 0 {
					require.Equal(t, o.compare(a, c), o.compare(b, c))
				}
			})
		})
	}
}

// long says whether the larger counts run.
func long() bool { return os.Getenv("FLEETWRIGHT_LONG") != "" }

// valid makes versions that dpkg and rpm accept.
func valid(tilde string) *rapid.Generator[string] {
	part := rapid.StringMatching(`[0-9]{1,3}([.+` + tilde + `a-c0-3]{0,6})`)
	return rapid.Custom(func(t *rapid.T) string {
		v := part.Draw(t, "version")
		if rapid.Bool().Draw(t, "release") {
			v += "-" + rapid.StringMatching(`[0-9a-c.+`+tilde+`]{1,4}`).Draw(t, "rel")
		}
		if rapid.IntRange(0, 3).Draw(t, "epoch") == 0 {
			v = rapid.SampledFrom([]string{"0:", "1:", "2:", "10:"}).Draw(t, "e") + v
		}
		return v
	})
}

func TestVersionsAgainstDpkg(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("SKIPPED: no dpkg on this machine")
	}
	n := 60
	if long() {
		n = 3000
	}
	g := valid("~")
	for i := range n {
		a, b := g.Example(2*i), g.Example(2*i+1)
		op := [...]string{"lt", "eq", "gt"}[patch.CompareDeb(a, b)+1]
		out, err := exec.Command(dpkg, "--compare-versions", a, op, b).CombinedOutput()
		require.NoErrorf(t, err, "we say %q %s %q, dpkg does not: %s", a, op, b, out)
	}
	t.Logf("%d pairs agree with dpkg", n)
}

func TestVersionsAgainstRPM(t *testing.T) {
	rpm, err := exec.LookPath("rpm")
	if err != nil {
		t.Skip("SKIPPED: no rpm on this machine")
	}
	n := 2000
	if long() {
		n = 20000
	}
	g := valid("~^")
	type row struct{ a, b string }
	for from := 0; from < n; from += 500 {
		var rows []row
		var lua strings.Builder
		lua.WriteString("%{lua:")
		for i := range min(500, n-from) {
			r := row{g.Example(2 * (from + i)), g.Example(2*(from+i) + 1)}
			rows = append(rows, r)
			fmt.Fprintf(&lua, "print(rpm.vercmp(%q,%q)..' ') ", r.a, r.b)
		}
		lua.WriteString("}")
		out, err := exec.Command(rpm, "--eval", lua.String()).Output()
		if err != nil {
			t.Skipf("SKIPPED: this rpm does not compare versions: %v", err)
		}
		said := strings.Fields(string(out))
		require.Len(t, said, len(rows))
		for i, r := range rows {
			require.Equalf(t, said[i], fmt.Sprint(patch.CompareRPM(r.a, r.b)), "rpm differs on %q %q", r.a, r.b)
		}
	}
	t.Logf("%d pairs agree with rpm", n)
}

// Any text has its place: nothing panics, what is equal to itself stays so, and three versions are never a circle.
func FuzzCompare(f *testing.F) {
	f.Add("1:1.0~rc1-1", "1.0^git2-1.el9", "0:1.0-1")
	f.Add("~", "^", "")
	f.Add("1.0", "1.0a", "1.0.1")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for name, compare := range map[string]func(a, b string) int{"deb": patch.CompareDeb, "rpm": patch.CompareRPM, "kb": patch.CompareKB} {
			ab, bc, ac := compare(a, b), compare(b, c), compare(a, c)
			if compare(a, strings.Clone(a)) != 0 || compare(b, a) != -ab || ab < -1 || ab > 1 {
				t.Fatalf("%s: %q %q", name, a, b)
			}
			if ab <= 0 && bc <= 0 && ac > 0 || ab >= 0 && bc >= 0 && ac < 0 || ab == 0 && ac != bc {
				t.Fatalf("%s: a circle of %q %q %q: %d %d %d", name, a, b, c, ab, bc, ac)
			}
		}
	})
}
