package target_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/target"
)

func TestParse(t *testing.T) {
	one := func(k string, v ...string) target.Target { return target.Target{Key: k, Values: v} }
	for _, c := range []struct {
		args []string
		want []target.Target
	}{
		{[]string{"Key=tag:Role,Values=web,db"}, []target.Target{one("tag:Role", "web", "db")}},
		{[]string{"Values=web,Key=tag:Role"}, []target.Target{one("tag:Role", "web")}},
		{[]string{"Key=tag:Role,Values=web", "Key=tag:Env,Values=prod"}, []target.Target{one("tag:Role", "web"), one("tag:Env", "prod")}},
		{[]string{"Key=tag:Role,Values=web Key=tag:Env,Values=prod"}, []target.Target{one("tag:Role", "web"), one("tag:Env", "prod")}},
		{[]string{"  Key=tag:Role , Values=[ web , \"a,b\" ]\n Key=tag-key,Values=Owner "}, []target.Target{one("tag:Role", "web", "a,b"), one("tag-key", "Owner")}},
		{[]string{"Key=tag:Name,Values=front end,back end"}, []target.Target{one("tag:Name", "front end", "back end")}},
		{[]string{`Key=tag:Name,Values="a, b",'it''s',"say \"x\"",""`}, []target.Target{one("tag:Name", "a, b", "it's", `say "x"`, "")}},
		{[]string{"Key=tag:Eq,Values=a=b,c"}, []target.Target{one("tag:Eq", "a=b", "c")}},
		{[]string{"Key=InstanceIds,Values=*"}, []target.Target{one("InstanceIds", "*")}},
		{[]string{`{"Key":"tag:Role","Values":["web"]}`}, []target.Target{one("tag:Role", "web")}},
		{[]string{` [{"Values":["web","db"],"Key":"tag:Role"}, {"Key":"tag-key","Values":["é"]}] `, "Key=a,Values=b"},
			[]target.Target{one("tag:Role", "web", "db"), one("tag-key", "é"), one("a", "b")}},
		{[]string{`{"Key":"tag:Role","Values":[]}`}, []target.Target{one("tag:Role")}},
		{nil, nil},
	} {
		got, err := target.Parse(c.args...)
		require.NoError(t, err, "%q", c.args)
		require.Empty(t, cmp.Diff(c.want, got), "%q", c.args)
	}
}

func TestParseNamesThePlace(t *testing.T) {
	for _, c := range []struct {
		in   string
		col  int
		want string
	}{
		{"", 1, "empty"},
		{"   ", 4, "empty"},
		{"tag:Role=web", 1, "no member"},
		{"Key=tag:Role", 13, "Values is missing"},
		{"Key=tag:Role,Value=web", 14, `"Value" is no member`},
		{"Key=,Values=web", 5, "Key is empty"},
		{"Values=web", 1, "Key is missing"},
		{"Key=a,Values=b,Key=c", 16, "Key is given twice"},
		{"Key=a,Values=,b", 14, "a value is empty"},
		{"Key=a,Values=b,", 16, "a value is empty"},
		{"Key=é,Values=", 14, "a value is empty"},
		{`Key=a,Values="b`, 14, "not closed"},
		{`Key=a,Values="b"c`, 17, "follows the end"},
		{"Key=a,Values=[b", 14, "not closed by ]"},
		{`[`, 2, "ends too early"},
		{`[]`, 1, "the list is empty"},
		{`{"Key":"a"}`, 1, "both"},
		{`{"Key":"a","Values":["b"],"Key":"c"}`, 26, "given twice"},
		{`{"key":"a","Values":["b"]}`, 2, "no member"},
		{`{"Key":"a","Values":"b"}`, 20, "list of strings"},
		{`{"Key":"a","Values":[1]}`, 22, "a value as a string"},
		{`{"Key":1}`, 7, "Key as a string"},
		{`["x"]`, 2, "an object"},
		{`{"Key":"a","Values":["b"]} x`, 27, "follows the end"},
		{`{"Key" "a"}`, 7, "bad JSON"},
	} {
		_, err := target.Parse("Key=ok,Values=ok", c.in)
		var se *target.SyntaxError
		require.True(t, errors.As(err, &se), "%q gave %v", c.in, err)
		require.Equal(t, 2, se.Arg)
		require.Equal(t, c.col, se.Column, "%q: %v", c.in, err)
		require.Contains(t, se.Reason, c.want, "%q", c.in)
		require.Equal(t, fault.InvalidTarget, fault.CodeOf(err))
	}
	_, err := target.Parse("Key=a,Values=" + strings.Repeat("x", target.MaxText))
	require.ErrorContains(t, err, "at most")
	_, err = target.Parse("\x1b[2J=x")
	require.NotContains(t, err.Error(), "\x1b", "R-11: what a stranger wrote is escaped")
}

func TestFormatReadsBack(t *testing.T) {
	s := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"Key=", "Values=x", `a"b`, `it's`, `back\slash`, " lead", "trail ", "[x]", "", ",", `\"`, `\\`, "a Key=b"}))
	rapid.Check(t, func(t *rapid.T) {
		var ts []target.Target
		for range rapid.IntRange(1, 4).Draw(t, "n") {
			ts = append(ts, target.Target{Key: s.Filter(func(k string) bool { return k != "" }).Draw(t, "key"), Values: rapid.SliceOfN(s, 1, 4).Draw(t, "values")})
		}
		text := target.Format(ts)
		got, err := target.Parse(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if d := cmp.Diff(ts, got); d != "" {
			t.Fatalf("%q: %s", text, d)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"Key=tag:Role,Values=web,db", `Key=tag:Name,Values="a, b",'c' Key=tag-key,Values=[x,y]`, `[{"Key":"a","Values":["b"]}]`, "Key=é,Values= x y ,z", `{"Key":"a","Values":["b"],"Key":"c"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ts, err := target.Parse(s)
		if err != nil {
			var se *target.SyntaxError
			require.True(t, errors.As(err, &se))
			require.GreaterOrEqual(t, se.Column, 1)
			require.LessOrEqual(t, se.Column, len([]rune(s))+1)
			return
		}
		for _, one := range ts {
			require.NotEmpty(t, one.Key)
			if len(one.Values) == 0 {
				return // JSON may hold an empty list, which the short notation cannot say
			}
		}
		again, err := target.Parse(target.Format(ts))
		require.NoError(t, err)
		require.Equal(t, ts, again)
		b, err := json.Marshal(ts)
		require.NoError(t, err)
		viaJSON, err := target.Parse(string(b))
		require.NoError(t, err)
		require.Equal(t, len(ts), len(viaJSON))
	})
}
