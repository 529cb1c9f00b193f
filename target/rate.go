package target

import (
	"strconv"

	"github.com/fleetwright/fleetwright/fault"
)

// Rate is a MaxConcurrency or a MaxErrors: a number of nodes, or a percentage of the nodes that were selected. Its text form, also in JSON, is AWS's:
// "50" or "10%". The zero Rate is "0". Rates are comparable.
type Rate struct {
	N       int  // nodes, or percent
	Percent bool // N is a percentage, 0 to 100
}

// AWS's defaults differ by caller (spec T4, T5).
const (
	CommandConcurrency     = "50"
	CommandErrors          = "0"
	AutomationConcurrency  = "10"
	AutomationErrors       = "0"
	LocationConcurrency    = "1" // of one target location of an automation
	LocationErrors         = "0"
	AssociationConcurrency = "50"
	AssociationErrors      = "100%"
)

// maxRateLen is the longest text form (shapes MaxConcurrency, MaxErrors).
const maxRateLen = 7

// ParseConcurrency reads a MaxConcurrency: a number from 1, or 1% to 100%; no decimals, no leading zero, at most seven characters (T6).
func ParseConcurrency(s string) (Rate, error) { return parseRate("MaxConcurrency", s, 1) }

// ParseErrors reads a MaxErrors: as MaxConcurrency, and also 0 and 0% (T6).
func ParseErrors(s string) (Rate, error) { return parseRate("MaxErrors", s, 0) }

func parseRate(what, s string, lowest int) (Rate, error) {
	bad := func(why string) (Rate, error) {
		if len(s) > 32 {
			s = s[:32] + "…"
		}
		return Rate{}, fault.New("target.Rate", fault.Validation, "%s %q: %s: give a number as 10 or a percentage as 10%%", what, fault.Clean(s), why)
	}
	switch {
	case s == "":
		return bad("empty")
	case len(s) > maxRateLen:
		return bad("longer than 7 characters")
	}
	digits, percent := s, s[len(s)-1] == '%'
	if percent {
		digits = s[:len(s)-1]
	}
	if digits == "" {
		return bad("no number")
	}
	for i, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return bad("character " + strconv.Itoa(i+1) + " is no digit")
		}
	}
	if digits[0] == '0' && len(digits) > 1 {
		return bad("leading zero")
	}
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil:
		return bad("not a number")
	case n < lowest:
		return bad("at least 1 is needed")
	case percent && n > 100:
		return bad("over 100%")
	}
	return Rate{n, percent}, nil
}

// String returns the text form.
func (r Rate) String() string {
	if r.Percent {
		return strconv.Itoa(r.N) + "%"
	}
	return strconv.Itoa(r.N)
}

// MarshalText returns the text form.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the text form, by the rules of ParseErrors.
func (r *Rate) UnmarshalText(b []byte) (err error) {
	*r, err = parseRate("rate", string(b), 0)
	return err
}

// Concurrency returns how many of n nodes may work at once: the number, or the percentage of n rounded down, but never less than one (R14).
func (r Rate) Concurrency(n int) int { return max(1, r.of(n)) }

// ErrorLimit returns L, how many errors of n nodes are borne: the number, or the percentage of n rounded down. Nothing new starts once
// there are more than L (T1: with 10% of 50 nodes the sixth error stops, not the fifth; T2: a command with no error and L = 0 has not failed).
func (r Rate) ErrorLimit(n int) int { return max(0, r.of(n)) }

// Exceeded reports whether so many errors on n nodes are too many.
func (r Rate) Exceeded(errors, n int) bool { return errors > r.ErrorLimit(n) }

func (r Rate) of(n int) int {
	if !r.Percent {
		return r.N
	}
	n = max(0, n)
	return n/100*r.N + n%100*r.N/100 // exact, and does not overflow
}
