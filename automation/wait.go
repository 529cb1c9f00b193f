package automation

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// mostSleep is how long aws:sleep can last: 604,799 s.
const mostSleep = 604_799 * time.Second

// sleep waits for a time to pass, or to come; one in the past is over.
func (r *run) sleep(i int) {
	rec := &r.x.Steps[i]
	var until time.Time
	if v, ok := rec.Inputs["Duration"]; ok && text(v) != "" {
		d, err := isoDuration(text(v))
		if err != nil {
			r.failed(i, Failed, invalid("Duration: %s", err), false)
			return
		}
		until = r.now.Add(d)
	} else {
		at := strings.TrimSpace(text(rec.Inputs["Timestamp"]))
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			t, err = time.Parse("2006-01-02T15:04:05", at) // without a zone it is UTC
		}
		if err != nil {
			r.failed(i, Failed, invalid("Timestamp must be a time such as 2020-01-01T01:00:00Z"), false)
			return
		}
		until = t
	}
	if until.Sub(r.now) > mostSleep {
		r.failed(i, Failed, invalid("a sleep lasts at most 604,799 seconds"), false)
		return
	}
	if !until.After(r.now) {
		r.finish(i, Success, nil)
		return
	}
	rec.Until = until
}

// isoDuration reads a duration of ISO 8601 in days, hours, minutes and seconds (weeks too): P1DT2H3M4.5S. It cannot be negative.
func isoDuration(s string) (time.Duration, error) {
	bad := errors.New("it must be a duration of ISO 8601 such as PT10M")
	s = strings.ToUpper(strings.TrimSpace(s))
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || rest == "" {
		return 0, bad
	}
	var sum float64
	units, inTime := "WD", false
	for rest != "" {
		if rest[0] == 'T' {
			if inTime || len(rest) == 1 {
				return 0, bad
			}
			units, inTime, rest = "HMS", true, rest[1:]
			continue
		}
		j := 0
		for j < len(rest) && (rest[j] >= '0' && rest[j] <= '9' || rest[j] == '.' || rest[j] == ',') {
			j++
		}
		if j == 0 || j == len(rest) {
			return 0, bad
		}
		k := strings.IndexByte(units, rest[j])
		n, err := strconv.ParseFloat(strings.Replace(rest[:j], ",", ".", 1), 64)
		if k < 0 || err != nil || rest[j] != 'S' && n != math.Trunc(n) {
			return 0, bad
		}
		sum += n * map[byte]float64{'W': 604_800, 'D': 86_400, 'H': 3600, 'M': 60, 'S': 1}[rest[j]]
		units, rest = units[k+1:], rest[j+1:]
	}
	if sum > longest {
		return 0, fmt.Errorf("it is too long")
	}
	return time.Duration(math.Round(sum * 1e9)), nil
}

// woken goes on with a step that waited for a time.
func (r *run) woken(i int) {
	rec := &r.x.Steps[i]
	rec.Until = time.Time{}
	if rec.Action == "aws:sleep" {
		r.finish(i, Success, nil)
		return
	}
	if rec.Deadline.IsZero() || rec.Deadline.After(r.now) { // else that is next
		r.askProperty(i)
	}
}
