package parameter

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

func results(op string, n, most, usual int) (int, error) {
	switch {
	case n == 0:
		return usual, nil
	case n < 0 || n > most:
		return 0, fault.New(op, fault.Validation, "MaxResults is %d; it must be 1 to %d", n, most)
	}
	return n, nil
}

// fingerprint tells requests apart, so that the token of one is not taken for another. What a token holds is no secret and gives no right: it is where to go on, by name and not by count, so
// that writes between two pages neither repeat nor lose what was there all the time.
func fingerprint(op, tenant string, request any) string {
	b, err := json.Marshal(request)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(append([]byte(op+"\x00"+tenant+"\x00"), b...))
	return string(sum[:8])
}

func newToken(mark, at string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("1" + mark + at))
}

func badToken(op string) error {
	return fault.New(op, fault.InvalidNextToken, "NextToken is not one that this list gave for the same request: begin again without it")
}

// openToken returns where to go on; "" for the beginning.
func openToken(op, mark, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	if len(token) > 4096 {
		return "", badToken(op)
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	at, ok := strings.CutPrefix(string(b), "1"+mark)
	if err != nil || !ok || at == "" {
		return "", badToken(op)
	}
	return at, nil
}
