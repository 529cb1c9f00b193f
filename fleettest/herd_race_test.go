//go:build race

package fleettest_test

const raceEnabled = true
