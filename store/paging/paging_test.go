package paging_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store/paging"
)

func Example() {
	mark := paging.Mark("library.ListDocuments", "default", map[string]string{"Owner": "Self"})
	after, err := paging.Open("library.ListDocuments", mark, paging.Token(mark, "Restart-Web"))
	fmt.Println(after, err)
	// Output: Restart-Web <nil>
}

func TestATokenIsOfItsOwnListOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.StringN(1, 200, 400).Draw(t, "at")
		mark := paging.Mark("op", "default", "request")
		token := paging.Token(mark, at)
		got, err := paging.Open("op", mark, token)
		require.NoError(t, err)
		require.Equal(t, at, got)
		for _, other := range []string{paging.Mark("other", "default", "request"), paging.Mark("op", "tenant", "request"), paging.Mark("op", "default", "another")} {
			_, err := paging.Open("op", other, token)
			require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err))
		}
	})
	mark := paging.Mark("op", "default", nil)
	after, err := paging.Open("op", mark, "")
	require.NoError(t, err)
	require.Empty(t, after)
	for _, bad := range []string{"x", "====", paging.Token(mark, ""), strings.Repeat("A", paging.MaxToken+1)} {
		_, err := paging.Open("op", mark, bad)
		require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err), bad)
	}
}
