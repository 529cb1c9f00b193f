package audit

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// appendJSON appends what json.Marshal makes of the entry, in a fraction of the time: reads are stored in thousands.
func (e *Entry) appendJSON(b []byte) ([]byte, error) {
	if y := e.Time.Year(); y < 1 || y > 9999 || e.Time.Location() != time.UTC {
		j, err := json.Marshal(e)
		return append(b, j...), err
	}
	b = append(b, `{"time":"`...)
	b = e.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	b = member(b, "tenant", e.Tenant)
	b = optional(b, "principal", e.Principal)
	b = member(b, "action", e.Action)
	b = optional(b, "resource", e.Resource)
	b = member(b, "outcome", string(e.Outcome))
	b = optional(b, "code", string(e.Code))
	b = optional(b, "digest", e.Digest)
	if len(e.IDs) > 0 {
		sep := `,"ids":{`
		for _, k := range slices.Sorted(maps.Keys(e.IDs)) {
			b = append(b, sep...)
			b = text(append(text(b, k), ':'), e.IDs[k])
			sep = ","
		}
		b = append(b, '}')
	}
	b = member(b, "writer", e.Writer)
	b = strconv.AppendUint(append(b, `,"segment":`...), e.Segment, 10)
	b = strconv.AppendUint(append(b, `,"n":`...), e.N, 10)
	b = append(b, `,"hash":`...)
	if e.Hash == nil {
		return append(b, "null}"...), nil
	}
	b = base64.StdEncoding.AppendEncode(append(b, '"'), e.Hash)
	return append(b, `"}`...), nil
}

func optional(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return member(b, name, value)
}

func member(b []byte, name, value string) []byte {
	b = append(append(append(b, `,"`...), name...), `":`...)
	return text(b, value)
}

// text appends a JSON string.
func text(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			j, _ := json.Marshal(s) //nolint:errcheck // a string always has JSON
			return append(b, j...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// plain reports whether a text is printable ASCII, which is safe as it is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
