package target_test

import (
	"encoding/json"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/target"
)

// The patterns of the shapes MaxConcurrency and MaxErrors.
var (
	concurrencyPattern = regexp.MustCompile(`\A([1-9][0-9]*|[1-9][0-9]%|[1-9]%|100%)\z`)
	errorsPattern      = regexp.MustCompile(`\A([1-9][0-9]*|[0]|[1-9][0-9]%|[0-9]%|100%)\z`)
)

func TestT6_RateText(t *testing.T) {
	for _, c := range []struct {
		in                  string
		concurrency, errors bool
	}{
		{"1", true, true}, {"50", true, true}, {"1%", true, true}, {"10%", true, true}, {"99%", true, true}, {"100%", true, true}, {"9999999", true, true},
		{"0", false, true}, {"0%", false, true},
		{"", false, false}, {"%", false, false}, {"101%", false, false}, {"1000%", false, false}, {"00", false, false}, {"05", false, false}, {"05%", false, false},
		{"1.5", false, false}, {"1.5%", false, false}, {"-1", false, false}, {"+1", false, false}, {" 1", false, false}, {"1 ", false, false}, {"10%\n", false, false},
		{"10000000", false, false}, {"٣", false, false}, {"1e3", false, false}, {"10%%", false, false}, {"0x10", false, false},
	} {
		r, err := target.ParseConcurrency(c.in)
		require.Equal(t, c.concurrency, err == nil, "MaxConcurrency %q: %v", c.in, err)
		if err == nil {
			require.Equal(t, c.in, r.String())
		} else {
			require.Equal(t, fault.Validation, fault.CodeOf(err))
			require.ErrorContains(t, err, "MaxConcurrency")
		}
		_, err = target.ParseErrors(c.in)
		require.Equal(t, c.errors, err == nil, "MaxErrors %q: %v", c.in, err)
	}
	var r target.Rate
	require.NoError(t, json.Unmarshal([]byte(`"10%"`), &r))
	b, err := json.Marshal(r)
	require.NoError(t, err)
	require.Equal(t, `"10%"`, string(b))
	require.Error(t, json.Unmarshal([]byte(`"x"`), &r))
}

func FuzzRate(f *testing.F) {
	for _, s := range []string{"0", "1", "10%", "0%", "100%", "101%", "1.5", "9999999", "07"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := target.ParseConcurrency(s)
		require.Equal(t, len(s) <= 7 && concurrencyPattern.MatchString(s), err == nil)
		e, err2 := target.ParseErrors(s)
		require.Equal(t, len(s) <= 7 && errorsPattern.MatchString(s), err2 == nil)
		if err == nil {
			require.Equal(t, s, r.String())
			require.Equal(t, r, e)
		}
	})
}

func TestT1_T2_ErrorLimit(t *testing.T) {
	for _, c := range []struct {
		rate          string
		n, limit      int
		borne, toMany int // errors that are still borne, errors that stop
	}{
		{"10%", 50, 5, 5, 6}, // T1: the sixth
		{"0", 100, 0, 0, 1},  // T2: no error, no failure
		{"0%", 100, 0, 0, 1},
		{"3", 100, 3, 3, 4},
		{"20%", 20, 4, 4, 5}, // T22: recomputed, the guide says five
		{"10%", 9, 0, 0, 1},
		{"10%", 19, 1, 1, 2},
		{"100%", 7, 7, 7, 8},
		{"1%", 100000, 1000, 1000, 1001},
		{"50", 3, 50, 3, 51},
	} {
		r, err := target.ParseErrors(c.rate)
		require.NoError(t, err)
		require.Equal(t, c.limit, r.ErrorLimit(c.n), "%s of %d", c.rate, c.n)
		require.False(t, r.Exceeded(c.borne, c.n))
		require.True(t, r.Exceeded(c.toMany, c.n))
	}
}

func TestR14_Concurrency(t *testing.T) {
	for _, c := range []struct {
		rate    string
		n, want int
	}{
		{"50", 10, 50}, {"10%", 50, 5}, {"10%", 9, 1}, {"10%", 19, 1}, {"10%", 20, 2}, {"1%", 1, 1}, {"1%", 0, 1}, {"100%", 7, 7}, {"33%", 100000, 33000}, {"7%", 99, 6},
	} {
		r, err := target.ParseConcurrency(c.rate)
		require.NoError(t, err)
		require.Equal(t, c.want, r.Concurrency(c.n), "%s of %d", c.rate, c.n)
	}
	for _, s := range []string{target.CommandConcurrency, target.AutomationConcurrency, target.LocationConcurrency, target.AssociationConcurrency} {
		_, err := target.ParseConcurrency(s)
		require.NoError(t, err)
	}
	for _, s := range []string{target.CommandErrors, target.AutomationErrors, target.LocationErrors, target.AssociationErrors} {
		_, err := target.ParseErrors(s)
		require.NoError(t, err)
	}
}

func rates(t *rapid.T, label string, lowest int) target.Rate {
	if rapid.Bool().Draw(t, label+" percent") {
		return target.Rate{N: rapid.IntRange(lowest, 100).Draw(t, label), Percent: true}
	}
	return target.Rate{N: rapid.IntRange(lowest, 5000).Draw(t, label)}
}

func TestRateArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, n := rates(t, "rate", 0), rapid.IntRange(0, 1<<40).Draw(t, "n")
		l := r.ErrorLimit(n)
		if r.Percent && (l*100 > n*r.N || (l+1)*100 <= n*r.N) {
			t.Fatalf("%v of %d is not the floor: %d", r, n, l)
		}
		if r.Concurrency(n) < 1 || r.Concurrency(n) < l {
			t.Fatal("concurrency under one, or under the floor")
		}
		if r.ErrorLimit(n+1) < l {
			t.Fatal("not monotone")
		}
	})
}
