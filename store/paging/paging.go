// Package paging makes the NextToken of lists over a store, one kind for all services:
//
//	mark := paging.Mark(op, tenant, request)            // request without its NextToken and MaxResults
//	after, err := paging.Open(op, mark, req.NextToken)  // "" for the beginning
//	… list what comes after …
//	out.NextToken = paging.Token(mark, lastName)
//
// A token says where to go on by name and not by count, so that writes between two pages neither repeat nor lose what was there all the time. It is no secret and gives no right: it is bound to the operation, the
// tenant and the request so that the token of one list is not taken for another's by mistake.
package paging

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// MaxToken is the longest token in bytes.
const MaxToken = 4096

// Mark tells requests apart.
func Mark(op, tenant string, request any) string {
	b, err := json.Marshal(request)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(append([]byte(op+"\x00"+tenant+"\x00"), b...))
	return string(sum[:8])
}

// Token returns the token of a page whose last item is at. at is not empty.
func Token(mark, at string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("1" + mark + at))
}

// Open returns where to go on; "" for the beginning. Errors are InvalidNextToken.
func Open(op, mark, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	if len(token) <= MaxToken {
		b, err := base64.RawURLEncoding.DecodeString(token)
		if at, ok := strings.CutPrefix(string(b), "1"+mark); err == nil && ok && at != "" {
			return at, nil
		}
	}
	return "", Bad(op)
}

// Bad is the error about a token that a list did not give.
func Bad(op string) error {
	return fault.New(op, fault.InvalidNextToken, "NextToken is not one that this list gave for the same request: begin again without it")
}
