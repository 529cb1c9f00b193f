//go:build !linux

package fleetwright

// exchange puts next in dir's place, and what was there under the name before.
func exchange(next, dir, before string) error { return replaceInTwo(next, dir, before) }
