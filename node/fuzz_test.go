package node

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
)

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{`{}`, `{"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Key":"Role","Values":["web"]},{"Key":"Env"}]}`, `{"TagFilters":[{"Key":"a","Values":[]}]}`, `{} x`, `[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseQuery(TagFilters, s)
		if err != nil {
			require.Equal(t, fault.Validation, fault.CodeOf(err))
			return
		}
		b, err := json.Marshal(q)
		require.NoError(t, err)
		again, err := ParseQuery(TagFilters, string(b))
		require.NoError(t, err)
		c, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(b), string(c))
	})
}

// A token gives back exactly the id it was made from, and only for its filters; nothing else is taken for one.
func FuzzPageToken(f *testing.F) {
	f.Add("mi-0123456789abcdef0", "x")
	f.Add("", token("filters", "mi-1"))
	f.Fuzz(func(t *testing.T, after, stranger string) {
		p := &Page{NextToken: token("filters", after)}
		if len(after) < 500 {
			_, got, err := p.open("op", "filters")
			require.NoError(t, err)
			require.Equal(t, after, got)
		}
		_, _, err := p.open("op", "others")
		require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err))
		p = &Page{NextToken: stranger}
		if _, got, err := p.open("op", "filters"); err == nil && stranger != "" {
			_, again, err := (&Page{NextToken: token("filters", got)}).open("op", "filters")
			require.NoError(t, err)
			require.Equal(t, got, again)
		}
	})
}
