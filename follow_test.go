package fleetwright_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/message"
)

// logFile is a log as it lies on a disk.
type logFile struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logFile) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logFile) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type logLine struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Msg     string    `json:"msg"`
	Command string    `json:"command"`
	Node    string    `json:"node"`
	of      string
}

// story is what a person gets who merges logs by time and greps for one id.
func story(t *testing.T, id string, logs map[string]*logFile) (out []logLine) {
	t.Helper()
	for of, l := range logs {
		for _, line := range strings.Split(strings.TrimSpace(l.text()), "\n") {
			if strings.Contains(line, id) {
				x := logLine{of: of}
				require.NoError(t, json.Unmarshal([]byte(line), &x), line)
				require.Equal(t, id, x.Command, "a line that speaks of a command has its id as an attribute: %s", line)
				out = append(out, x)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b logLine) int { return a.Time.Compare(b.Time) })
	return out
}

// The logs of a control plane and of a node, merged and searched for one command's id, tell how it went, in order and with the node's name; what was written into the command, and by it, is in neither.
func TestACommandCanBeFollowedThroughTheLogs(t *testing.T) {
	plane, node := &logFile{}, &logFile{}
	f, err := fleetwright.Open(t.Context(), t.TempDir(), &fleetwright.Options{Log: plane.logger()})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	a, err := f.StartAgent(t.Context(), "one", &fleetwright.LocalOptions{Log: node.logger()})
	require.NoError(t, err)
	hidden := newCanary(77)
	run := func(lines ...string) string {
		req := shell(lines...)
		req.InstanceIDs, req.Comment = []string{a.ID}, hidden.core
		c, err := f.Commands.Send(t.Context(), req)
		require.NoError(t, err)
		c, err = f.Commands.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Failed, c.Status)
		return c.ID
	}
	script := []string{"echo '" + hidden.core + "'", "echo '" + hidden.core + "' >&2", "exit 3"}
	id, other := run(script...), run(script...)
	logs := map[string]*logFile{"plane": plane, "node": node}
	want := []string{
		"plane INFO command accepted",
		"plane DEBUG the node is asked",
		"plane DEBUG the node takes the command",
		"node INFO command accepted",
		"node INFO step begins",
		"node INFO step ended",
		"node INFO command ended",
		"plane DEBUG invocation ended",
		"plane INFO command ended",
	}
	var got []logLine
	eventually(t, "the node knows that it is known", func() bool {
		got = story(t, id, logs)
		return slices.ContainsFunc(got, func(l logLine) bool { return strings.HasPrefix(l.Msg, "command reported") })
	})
	next := 0
	for _, l := range got {
		if next < len(want) && want[next] == l.of+" "+l.Level+" "+l.Msg {
			next++
		}
		if l.Level == "DEBUG" || l.of == "node" {
			require.Equal(t, a.ID, l.Node, "%+v", l)
		}
	}
	require.Equal(t, len(want), next, "the story goes on with %q, got %+v", want[min(next, len(want)-1)], got)
	require.NotEmpty(t, story(t, other, logs))
	finder := newFinder([]canary{hidden})
	for of, l := range logs {
		require.Empty(t, finder.find([]byte(l.text())), of)
	}
}

// However many nodes a command has, at Info it has a bounded number of lines on the control plane.
func TestACommandOfManyNodesIsAFewLines(t *testing.T) {
	var b logFile
	log := slog.New(slog.NewJSONHandler(io.Writer(&b), nil))
	f, err := fleetwright.Open(t.Context(), t.TempDir(), &fleetwright.Options{Log: log})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	var ids []string
	quiet := slog.New(slog.DiscardHandler)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		a, err := f.StartAgent(t.Context(), name, &fleetwright.LocalOptions{Log: quiet})
		require.NoError(t, err)
		ids = append(ids, a.ID)
	}
	req := shell("exit 1")
	req.InstanceIDs, req.MaxErrors, req.MaxConcurrency = ids, "1", "1"
	c, err := f.Commands.Send(t.Context(), req)
	require.NoError(t, err)
	_, err = f.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	var got []string
	eventually(t, "it has ended", func() bool {
		got = got[:0]
		for _, l := range story(t, c.ID, map[string]*logFile{"plane": &b}) {
			got = append(got, l.Msg)
		}
		return slices.Contains(got, "command ended")
	})
	require.Equal(t, []string{"command accepted", "command began: the first nodes are asked", "command closes: nothing more starts", "command ended"}, got)
}
