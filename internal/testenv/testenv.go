// Package testenv is what long tests of all packages share: how much they do, and how they say what they did.
//
//	kills := testenv.Count(t, "FLEETWRIGHT_KILLS", 40)
//	…
//	testenv.Figure(t, "kill -9 of the control plane", kills, lost)
//
// The lines that Figure logs are gathered by .ci/long into the table of docs/long.md.
package testenv

import (
	"os"
	"strconv"
	"testing"
)

// Long reports whether the full counts are wanted: FLEETWRIGHT_LONG=1.
func Long() bool { return os.Getenv("FLEETWRIGHT_LONG") == "1" }

// Count returns the number that the environment's variable name gives, else short. Something that is not a number above 0 fails the test.
func Count(t testing.TB, name string, short int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return short
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: give a number above 0", name, v)
	}
	return n
}

// Figure logs what a run did n times and how many of those went wrong. what is the row's name in the table: the same in each run, and nobody else's.
func Figure(t testing.TB, what string, n, failures int) {
	t.Helper()
	t.Logf("FIGURE\t%s\t%d\t%d", what, n, failures)
}
