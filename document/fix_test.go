package document

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestClosest: a slip of the hand is mended, another name is not.
func TestClosest(t *testing.T) {
	for _, c := range []struct {
		word  string
		names []string
		want  string
	}{
		{"Cuont", []string{"Count"}, "Count"}, {"count", []string{"Count"}, "Count"}, {"Coun", []string{"Count"}, "Count"}, {"InstnceI", []string{"InstanceId"}, "InstanceId"},
		{"directoryOU", []string{"directoryId"}, ""}, {"Check2", []string{"Check1"}, ""}, {"a", []string{"b"}, ""}, {"Stap", []string{"Step", "Stop"}, ""},
		{"Stap", []string{"Step", "Step"}, "Step"}, {"Start", []string{"Stop"}, ""}, {"", []string{"", "abc"}, ""}, {"Count", []string{"Count"}, ""},
	} {
		require.Equal(t, c.want, closest(c.word, c.names), c.word)
	}
}
