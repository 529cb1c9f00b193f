package ssmops

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Time is a time as AWS's JSON protocol writes it: seconds since 1970 as a number, with milliseconds as a fraction. It reads numbers, and RFC 3339 text as people write it.
type Time struct{ time.Time }

// MarshalJSON writes the number; null for the zero time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(t.UnixMilli())/1000, 'f', -1, 64), nil
}

// latestSecond is in the year 9999: later times cannot be written as RFC 3339.
const latestSecond = 253_402_300_799

// UnmarshalJSON reads a number, RFC 3339 text, or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	const op = "ssmops.Time"
	if bytes.Equal(b, []byte("null")) {
		t.Time = time.Time{}
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return fault.New(op, serialization, "%q is no time: write seconds since 1970 or 2006-01-02T15:04:05Z", clip(s))
		}
		t.Time = v
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > latestSecond {
		return fault.New(op, serialization, "%s is no time: write seconds since 1970 or \"2006-01-02T15:04:05Z\"", clip(string(b)))
	}
	t.Time = time.UnixMilli(int64(math.Round(f * 1000))).UTC() // what a double holds of it up to the year 9999
	return nil
}

// stringTime is a time as the few members write it that are text: 2019-01-30T14:16:03.478Z, "" for none (R29).
func stringTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// duration is a duration as GetCommandInvocation writes it: PT1.755S (R29).
func duration(d time.Duration) string {
	d = d.Round(time.Millisecond)
	s := "PT"
	if h := d / time.Hour; h > 0 {
		s += strconv.FormatInt(int64(h), 10) + "H"
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		s += strconv.FormatInt(int64(m), 10) + "M"
	}
	if sec := d % time.Minute; sec > 0 || s == "PT" {
		s += strconv.FormatFloat(sec.Seconds(), 'f', -1, 64) + "S"
	}
	return s
}
