package parameter

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
)

func whole() version {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return version{Name: "/a/b", Type: SecureString, Tier: Advanced, DataType: DataText, Version: 7, Modified: at, User: "u", KeyID: "k", Value: "v\x00\xff", Desc: "d", Pattern: "p", Policies: "[]",
		Labels: []string{"l", "m"}, Write: "w", Created: at, Oldest: 2, Tags: map[string]string{"a": "1", "b": ""}, Shared: true, Done: []string{"0N"}}
}

func TestVersionsComeBack(t *testing.T) {
	v := whole()
	got, ok := decodeVersion(v.encode())
	require.True(t, ok)
	require.Empty(t, cmp.Diff(v, got))
	past := v
	past.Created, past.Oldest, past.Tags, past.Shared, past.Done = time.Time{}, 0, nil, false, nil
	got, ok = decodeVersion(past.encode())
	require.True(t, ok)
	require.Empty(t, cmp.Diff(past, got))
	b := v.encode()
	got, ok = decodeVersion(append(b, "of a newer release"...))
	require.True(t, ok, "fields that a newer release adds are left alone")
	require.Empty(t, cmp.Diff(v, got))
	for n := range b {
		require.NotPanics(t, func() { decodeVersion(b[:n]) })
	}
	_, ok = decodeVersion(append([]byte{2}, b[1:]...))
	require.False(t, ok)
}

func FuzzDecodeVersion(f *testing.F) {
	v := whole()
	f.Add(v.encode())
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := decodeVersion(b)
		if !ok {
			return
		}
		again, ok := decodeVersion(v.encode())
		if !ok || !cmp.Equal(v, again) && !v.Created.IsZero() {
			t.Fatalf("%x: %s", b, cmp.Diff(v, again))
		}
	})
}

// FuzzImport reads files of strangers: no panic, errors of one code, none with the file's text, and what is written by Export's own quoting comes back.
func FuzzImport(f *testing.F) {
	f.Add("A=b\n#: /x/y SecureString\nB=\"c\\n\"", uint8(0))
	f.Add(`{"format":"fleetwright-parameters-1","parameters":[{"name":"a","type":"String","value":"v"}]}`, uint8(1))
	f.Add("format: fleetwright-parameters-1\nparameters: [{name: a, type: String, value: v}]", uint8(2))
	f.Add(`{"Parameters":[{"Name":"a","Type":"String","Value":"v"}]}`, uint8(3))
	formats := []Format{FormatDotenv, FormatJSON, FormatYAML, FormatAWS}
	f.Fuzz(func(t *testing.T, text string, kind uint8) {
		_, err := decodeImport("fuzz", ImportRequest{Data: []byte(text), Format: formats[int(kind)%len(formats)], Path: "/"})
		if err != nil && fault.CodeOf(err) != fault.Validation {
			t.Fatal(err)
		}
		line := envQuote(text)
		if strings.ContainsAny(line, "\n\r") {
			t.Fatalf("%q has lines", line)
		}
		back, problem := envUnquote(line)
		if problem != "" || back != text {
			t.Fatalf("%q came back as %q: %s", text, back, problem)
		}
	})
}

func TestPoliciesAreReadFromTheirText(t *testing.T) {
	rs, err := parsePolicies("t", `[ {"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2030-01-01T00:00:00+02:00"}} , {"Type":"ExpirationNotification","Version":"1.0","Attributes":{"Before":2,"Unit":"Hours"}}]`)
	require.NoError(t, err)
	require.Equal(t, time.Date(2029, 12, 31, 22, 0, 0, 0, time.UTC), rs[0].at)
	require.Equal(t, 2*time.Hour, rs[1].span)
	v := version{Policies: `[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"1","Unit":"Days"}}]`, Modified: time.Unix(0, 0)}
	require.Equal(t, time.Unix(86400, 0).UTC(), v.dues()[0].at.UTC())
	for _, bad := range []string{"", "{}", "[1]", `"x"`, "[null]", strings.Repeat(" ", 4097)} {
		_, err := parsePolicies("t", bad)
		require.Error(t, err, bad)
	}
	rs, err = parsePolicies("t", "[ {\n} ]")
	require.NoError(t, err)
	require.Empty(t, rs)
}

func TestWildcards(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{{"*", "", true}, {"a*", "abc", true}, {"a*c", "abc", true}, {"a*c", "abd", false}, {"a*b*c", "aXbYc", true}, {"a*b*c", "acb", false}, {"abc", "abc", true}, {"abc", "abcd", false}, {"*a", "a", true}, {"ab*ba", "aba", false}} {
		require.Equal(t, c.want, wild(c.pattern, c.s), c)
	}
}

func TestTheFirstBytesOfARecordStay(t *testing.T) {
	v := version{Name: "a", Type: String, Tier: Standard, DataType: DataText, Version: 1, Modified: time.Unix(0, 1), Value: "v", Write: "w"}
	require.True(t, bytes.Equal(v.encode(), []byte("\x01\x01a\x06String\x08Standard\x04text\x01\x02\x00\x00\x01v\x00\x00\x00\x00\x01w")), "a store written by an older release opens for ever")
}
