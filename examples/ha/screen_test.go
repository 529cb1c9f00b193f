//go:build unix

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestColumnsAreAligned(t *testing.T) {
	require.Equal(t, []string{"A    B    C", "aaa  ü    1", "b    ccc"}, aligned([][]string{{"A", "B", "C"}, {"aaa", "ü", "1"}, {"b", "ccc", ""}}))
	require.Empty(t, aligned(nil))
}

func TestARowShowsWhatIsKnown(t *testing.T) {
	up := view{status{Shards: []int{1, 2}, HTTPS: 3, NATS: 4, Refused: 5}, time.Now()}
	require.Equal(t, []string{"p", "7", "up", "2", "3", "4", "5"}, planeRow("p", 7, running, up))
	require.Equal(t, []string{"p", "7", "killed", "-", "-", "-", "-"}, planeRow("p", 7, killed, up), "what it said before its death is nothing")
	require.Equal(t, []string{"p", "7", "silent", "-", "-", "-", "-"}, planeRow("p", 7, running, view{}))
	up.Ready = "the store does not answer"
	require.Equal(t, []string{"p", "7", "not ready", "2", "3", "4", "5"}, planeRow("p", 7, running, up))
}

func testScreen(w *bytes.Buffer, paints bool) (*screen, *time.Time) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := newScreen(w, func() time.Time { return now })
	s.paints = paints
	s.source = func() []string { return []string{"one", "two"} }
	s.line = func() string { return "state" }
	return s, &now
}

// The table stands below the lines of what was done, once.
func TestTheTableIsPaintedOver(t *testing.T) {
	var w bytes.Buffer
	s, now := testScreen(&w, true)
	s.say("first")
	s.refresh()
	*now = now.Add(1500 * time.Millisecond)
	s.say("second %d", 2)
	s.close()
	s.refresh()
	const table, over = "\none\ntwo\n", "\x1b[3A\x1b[J"
	require.Equal(t, "   0.0s  first\n"+table+over+table+over+"   1.5s  second 2\n"+table+over, w.String())
}

// Where there is no terminal there is no escape sequence, and no state that was just told.
func TestLinesElsewhere(t *testing.T) {
	var w bytes.Buffer
	s, now := testScreen(&w, false)
	for range 40 {
		s.refresh()
		*now = now.Add(time.Second)
	}
	s.say("done")
	s.close()
	require.Equal(t, 2, strings.Count(w.String(), "\n"), w.String())
	require.Equal(t, 1, strings.Count(w.String(), "state"))
	require.NotContains(t, w.String(), "\x1b")
}
