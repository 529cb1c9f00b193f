//go:build unix

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// good is a run in which everything is as promised.
func good() (*acts, books, int64) {
	a := &acts{h: &house{o: &options{lease: time.Second}}, kills: 1, killHandover: 1500 * time.Millisecond, freezes: 1, freezeHandover: time.Second, refused: 3, breaks: 1,
		reconnect: time.Second, rightOutput: 2, askOutput: 2}
	return a, books{sent: 5, ended: 5, success: 5, starts: 20, expected: 20}, 0
}

func TestVerdict(t *testing.T) {
	a, b, broken := good()
	v := sentence(a, b, broken)
	var w bytes.Buffer
	require.True(t, v.print(&w), w.String())
	require.Contains(t, w.String(), "Everything is as promised.")
	require.NotContains(t, w.String(), "BAD")
	for name, c := range map[string]struct {
		spoil func(a *acts, b *books, broken *int64)
		says  string
	}{
		"nothing was sent":          {func(a *acts, b *books, _ *int64) { b.sent = 0 }, "0 accepted"},
		"a command was refused":     {func(a *acts, b *books, _ *int64) { b.unaccepted = 1 }, "5 sent, 4 accepted"},
		"one did not end":           {func(a *acts, b *books, _ *int64) { b.ended, b.success, b.running = 4, 4, 1 }, "4 of 5, 1 still run"},
		"one failed":                {func(a *acts, b *books, _ *int64) { b.success, b.other = 4, []string{"x Failed"} }, "4 of 5: x Failed"},
		"a start was lost":          {func(a *acts, b *books, _ *int64) { b.lost = []string{"c0001 mi-1"} }, "19 of 20 starts: c0001 mi-1"},
		"no start at all":           {func(a *acts, b *books, _ *int64) { b.starts = 0 }, "nothing is lost"},
		"a start was doubled":       {func(a *acts, b *books, _ *int64) { b.starts, b.doubled = 21, []string{"c0001 mi-1 (2 times)"} }, "21 lines for 20 starts: c0001 mi-1 (2 times)"},
		"a start nobody asked for":  {func(a *acts, b *books, _ *int64) { b.strange = []string{"c0009 mi-1"} }, "c0009"},
		"output is not everywhere":  {func(a *acts, b *books, _ *int64) { a.rightOutput = 1 }, "1 of 2 answers"},
		"a hand-over took too long": {func(a *acts, b *books, _ *int64) { a.killHandover = 3 * time.Second }, "after 3.0 s at most"},
		"so did the other":          {func(a *acts, b *books, _ *int64) { a.freezeHandover = 5 * time.Second }, "after 5.0 s at most"},
		"nothing stale was refused": {func(a *acts, b *books, _ *int64) { a.refused = 0 }, "0 refused"},
		"a stale write was taken":   {func(a *acts, b *books, broken *int64) { *broken = 1 }, "1 taken"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, broken := good()
			c.spoil(a, &b, &broken)
			v := sentence(a, b, broken)
			var w bytes.Buffer
			require.False(t, v.print(&w), w.String())
			require.Contains(t, w.String(), c.says)
			require.Contains(t, w.String(), "BAD")
			require.Contains(t, w.String(), "NOT everything is as promised.")
		})
	}
}
