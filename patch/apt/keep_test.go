package apt_test

import (
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/patch/apt"
)

// What is kept of an index is what a reader that decodes every stanza finds of those names, whatever the ends of its lines, and however its bytes arrive.
func TestKeepingAgreesWithDecoding(t *testing.T) {
	fields := []string{"Version: 1.0-1", "Architecture: amd64", "Priority: optional", "Section: utils", "Depends: a (>= 1), b | c, d:any", "Description: x\n more\n .\n and more", "Tag: y", "Pre-Depends: e"}
	stanza := func(t *rapid.T) string {
		lines := rapid.Permutation(fields).Draw(t, "order")
		name := "Package: " + rapid.SampledFrom([]string{"kept", "other", "kept2"}).Draw(t, "name")
		at := rapid.SampledFrom([]int{0, 0, 0, 3}).Draw(t, "place")
		return strings.Join(slices.Insert(slices.Clone(lines), at, name), "\n")
	}
	rapid.Check(t, func(rt *rapid.T) {
		text := strings.Repeat("\n", rapid.IntRange(0, 2).Draw(rt, "before"))
		for _, s := range rapid.SliceOfN(rapid.Custom(stanza), 0, 5).Draw(rt, "stanzas") {
			text += s + strings.Repeat("\n", rapid.IntRange(2, 4).Draw(rt, "after"))
		}
		text = strings.TrimSuffix(text, rapid.SampledFrom([]string{"", "\n", "\n\n"}).Draw(rt, "end"))
		read := func(text string, slow, all bool) (out []apt.Package) {
			keep := func(name []byte) bool { return string(name) == "kept" }
			take := func(p apt.Package) error {
				if p.Name == "kept" {
					out = append(out, p)
				}
				return nil
			}
			if all {
				keep = nil
			}
			r := iotest.DataErrReader(strings.NewReader(text))
			if slow {
				r = iotest.OneByteReader(r)
			}
			require.NoError(rt, apt.ReadPackages("F", r, keep, take, nil), text)
			return out
		}
		want := read(text, false, true)
		for _, text := range []string{text, strings.ReplaceAll(text, "\n", "\r\n")} {
			require.Equal(rt, want, read(text, false, false), "%q", text)
			require.Equal(rt, want, read(text, true, false), "%q", text)
			require.Equal(rt, want, read(text, true, true), "%q", text)
		}
	})
}
