package fleetwright_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README's examples are parts of files that compile and run: nobody copies something that does not work.
func TestReadmeExamplesAreReal(t *testing.T) {
	b, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		file string
		most int // lines
	}{"embed": {"examples/embed/main.go", 20}, "fleettest": {"fleettest/example_test.go", 10}} {
		_, rest, ok := strings.Cut(string(b), "<!-- example:"+name+" -->\n```go\n")
		require.True(t, ok, name)
		code, _, ok := strings.Cut(rest, "```")
		require.True(t, ok, name)
		src, err := os.ReadFile(c.file)
		require.NoError(t, err)
		require.Contains(t, string(src), code, "the README's example %s is not what %s has", name, c.file)
		require.LessOrEqual(t, strings.Count(code, "\n"), c.most, name)
	}
}
