package apt_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch/apt"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

type pair struct{ Name, Value string }

// stanzas reads all stanzas of a text.
func stanzas(r io.Reader, lim *apt.Limits) (all [][]pair, lines []int, err error) {
	s := apt.NewScanner("F", r, lim)
	for s.Scan() {
		fields, err := s.Fields()
		if err != nil {
			return nil, nil, err
		}
		var one []pair
		for n, v := range fields {
			one = append(one, pair{string(n), string(v)})
		}
		all, lines = append(all, one), append(lines, s.Line())
	}
	return all, lines, s.Err()
}

func TestScannerReadsStanzas(t *testing.T) {
	two := [][]pair{{{"A", "1"}, {"B", "x\n y"}}, {{"A", "2"}}}
	for name, tc := range map[string]struct {
		text  string
		want  [][]pair
		lines []int
	}{
		"nothing":                           {"", nil, nil},
		"only empty lines":                  {"\n\n\n", nil, nil},
		"plain":                             {"A: 1\nB: x\n y\n\nA: 2\n", two, []int{1, 5}},
		"no newline at the end":             {"A: 1\nB: x\n y\n\nA: 2", two, []int{1, 5}},
		"many empty lines":                  {"\n\nA: 1\nB: x\n y\n\n\n\nA: 2\n\n\n", two, []int{3, 9}},
		"CRLF":                              {"A: 1\r\nB: x\r\n y\r\n\r\nA: 2\r\n", [][]pair{{{"A", "1"}, {"B", "x\r\n y"}}, {{"A", "2"}}}, []int{1, 5}},
		"blanks around a value":             {"A:1\nB:\t x\n y \n\nA:    2", two, []int{1, 5}},
		"an empty value":                    {"A:\nB: \n", [][]pair{{{"A", ""}, {"B", ""}}}, []int{1}},
		"a value that begins below":         {"A:\n x\n y\n", [][]pair{{{"A", "x\n y"}}}, []int{1}},
		"a colon in a value":                {"A: b: c\n", [][]pair{{{"A", "b: c"}}}, []int{1}},
		"a lone carriage return is a value": {"A: b\rc\n\nA: 2\n", [][]pair{{{"A", "b\rc"}}, {{"A", "2"}}}, []int{1, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{"at once": strings.NewReader(tc.text), "byte by byte": iotest.OneByteReader(strings.NewReader(tc.text)),
				"with the end": iotest.DataErrReader(strings.NewReader(tc.text))} {
				got, lines, err := stanzas(r, nil)
				require.NoError(t, err, how)
				require.Empty(t, cmp.Diff(tc.want, got), how)
				require.Equal(t, tc.lines, lines, how)
			}
		})
	}
}

func TestScannerRefuses(t *testing.T) {
	long := strings.Repeat("x", 300)
	small := &apt.Limits{Line: 100, Stanza: 200, Total: 1000}
	for name, tc := range map[string]struct {
		text  string
		place string
		code  fault.Code
	}{
		"a line without a colon":       {"A: 1\n\nA: 1\nB\n", "F:4", fault.Validation},
		"a continuation before fields": {"A: 1\n\n x\n", "F:3", fault.Validation},
		"a field twice":                {"A: 1\nB: 2\na: 3\n", "F:3", fault.Validation},
		"a name with a blank":          {"A B: 1\n", "F:1", fault.Validation},
		"a name with a control":        {"A\x00: 1\n", "F:1", fault.Validation},
		"no name":                      {": 1\n", "F:1", fault.Validation},
		"a long line":                  {"A: 1\nB: " + long[:120] + "\n", "F:2", fault.MaxDocumentSizeExceeded},
		"a long stanza":                {"A: 1\n\nA: 1\n" + strings.Repeat(" yyyyyyyy\n", 30), "F:3", fault.MaxDocumentSizeExceeded},
		"a line without an end":        {"A: " + long + long, "F:1", fault.MaxDocumentSizeExceeded},
		"a long file":                  {strings.Repeat("A: 1\n\n", 300), "F:", fault.MaxDocumentSizeExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := stanzas(strings.NewReader(tc.text), small)
			require.Error(t, err)
			require.Equal(t, tc.code, fault.CodeOf(err), err)
			require.Contains(t, err.Error(), tc.place)
			_, _, again := stanzas(iotest.OneByteReader(strings.NewReader(tc.text)), small)
			require.Equal(t, fault.CodeOf(err), fault.CodeOf(again))
		})
	}
	t.Run("a reader that fails", func(t *testing.T) {
		_, _, err := stanzas(io.MultiReader(strings.NewReader("A: 1\n\nA: "), iotest.ErrReader(io.ErrUnexpectedEOF)), nil)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Contains(t, err.Error(), "F:3")
	})
	t.Run("an error stays", func(t *testing.T) {
		s := apt.NewScanner("F", strings.NewReader("A\n\nB: 1\n"), nil)
		require.True(t, s.Scan())
		_, err := s.Field("A")
		require.Error(t, err)
		require.False(t, s.Scan())
		require.Equal(t, err, s.Err())
	})
}

func TestScannerComments(t *testing.T) {
	text := "# first\n\n#\nA: 1\n# between\n x\n#\nB: 2 # not one\n\n# alone\n\nA: 2\nbad\n"
	s := apt.NewScanner("F", strings.NewReader(text), nil).AllowComments()
	require.True(t, s.Scan())
	a, err := s.Field("a")
	require.NoError(t, err)
	require.Equal(t, "1\n x", string(a))
	b, _ := s.Field("B")
	require.Equal(t, "2 # not one", string(b))
	none, err := s.Field("C")
	require.NoError(t, err)
	require.Nil(t, none)
	require.True(t, s.Scan())
	_, err = s.Field("A")
	require.ErrorContains(t, err, "F:13", "lines are counted with the comments")
}

// naive is the same reader written for clarity: it splits the whole text.
func naive(text string) [][]pair {
	var all [][]pair
	for _, block := range strings.Split(strings.ReplaceAll(text, "\n\r\n", "\n\n"), "\n\n") {
		var one []pair
		at := -1
		for _, l := range strings.SplitAfter(block, "\n") {
			switch {
			case strings.Trim(l, "\r\n") == "":
			case l[0] == ' ' || l[0] == '\t':
				one[at].Value += l
			default:
				n, v, _ := strings.Cut(l, ":")
				one = append(one, pair{n, v})
				at++
			}
		}
		for i := range one {
			one[i].Value = strings.TrimSpace(one[i].Value)
		}
		if one != nil {
			all = append(all, one)
		}
	}
	return all
}

func FuzzScanner(f *testing.F) {
	f.Add("Package: a\nVersion: 1\n\nPackage: b\nDescription: x\n y\n .\n", uint8(3))
	f.Add("A: 1\r\nB: 2\r\n\r\nC: 3", uint8(1))
	f.Add("\n\n\nA:\n \n\n\n", uint8(0))
	f.Fuzz(func(t *testing.T, text string, step uint8) {
		lim := &apt.Limits{Line: 64, Stanza: 256, Total: 4096}
		got, lines, err := stanzas(strings.NewReader(text), lim)
		again, lines2, err2 := stanzas(&chunks{[]byte(text), int(step%7) + 1}, lim)
		require.Equal(t, err == nil, err2 == nil, "the size of reads must not matter: %v, %v", err, err2)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.Equal(t, got, again)
		require.Equal(t, lines, lines2)
		if len(got) == 0 || strings.Contains(strings.ReplaceAll(text, "\r\n", "\n"), "\r") {
			return
		}
		require.Empty(t, cmp.Diff(naive(strings.TrimLeft(text, "\r\n")), got))
		// What was read is written and read again.
		var b bytes.Buffer
		for _, s := range got {
			for _, p := range s {
				b.WriteString(p.Name + ": " + p.Value + "\n")
			}
			b.WriteString("\n")
		}
		back, _, err := stanzas(&b, nil)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(got, back))
	})
}

// chunks gives its bytes a few at a time.
type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(c.n, len(c.b))])
	c.b = c.b[n:]
	return n, nil
}
