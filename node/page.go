package node

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"github.com/fleetwright/fleetwright/fault"
)

// Page asks for a part of a list. nil is the first 50. Like AWS's lists, a part may hold fewer than MaxResults, even none, and a token to go on with;
// the list is over when there is no token.
type Page struct {
	MaxResults int    // 1 to 1,000; 0 is 50
	NextToken  string // of the part before; it belongs to the same filters
}

// budget is how many records one part of a list looks at.
const budget = 5000

// open returns the page's size and after which id it begins.
func (p *Page) open(op string, filters any) (limit int, after string, err error) {
	if p == nil {
		return 50, "", nil
	}
	if limit = p.MaxResults; limit == 0 {
		limit = 50
	}
	if limit < 1 || limit > MaxPage {
		return 0, "", fault.New(op, fault.Validation, "MaxResults is %d: give 1 to %d", limit, MaxPage)
	}
	if p.NextToken == "" {
		return limit, "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.NextToken)
	if sum := filterSum(filters); err != nil || len(b) < len(sum) || string(b[:len(sum)]) != sum || len(b) > 512 {
		return 0, "", fault.New(op, fault.InvalidNextToken, "the token is not one of this list with these filters: begin again without it")
	}
	return limit, string(b[8:]), nil
}

// token returns the token with which a list goes on after an id.
func token(filters any, after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(filterSum(filters) + after))
}

func filterSum(filters any) string {
	b, _ := json.Marshal(filters) //nolint:errcheck // lists of strings
	sum := sha256.Sum256(b)
	return string(sum[:8])
}
