package storetest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// recorder is a T that remembers.
type recorder struct {
	mu   sync.Mutex
	said []string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) FailNow()            { runtime.Goexit() }
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

// verdict runs a case in a bubble, where nothing waits by the wall clock, and returns what it complained of.
func verdict(t *testing.T, k Case, open func() store.Store) (said []string) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.Check(r, open())
		}()
		<-done
		said = r.said
	})
	return said
}

// failing returns the rules that the store breaks, and for each what was said.
func failing(t *testing.T, open func() store.Store) map[string][]string {
	out := map[string][]string{}
	for _, k := range Cases() {
		if said := verdict(t, k, open); len(said) > 0 {
			out[k.Rule] = append(out[k.Rule], fmt.Sprintf("%s: %s", k.Name, strings.Join(said, "; ")))
		}
	}
	return out
}

func TestRightStoresBreakNoRule(t *testing.T) {
	for name, open := range map[string]func() store.Store{
		"memstore":          func() store.Store { return memstore.New() },
		"optimistic":        rightOptimistic,
		"parts of memstore": func() store.Store { return parts(func(*memstore.Store, *part) {}) },
		"harsh":             func() store.Store { return Harsh(memstore.New()) },
		"harsh optimistic":  func() store.Store { return Harsh(rightOptimistic()) },
	} {
		t.Run(name, func(t *testing.T) { require.Empty(t, failing(t, open)) })
	}
}

func TestWrongStoresBreakExactlyTheirRule(t *testing.T) {
	type k = struct {
		name  string
		open  func() store.Store
		rules []string
	}
	for _, k := range []k{
		{"unordered scan", unordered, []string{"S-ORDER"}},
		{"limit ignored in reverse", limitIgnoredInReverse, []string{"S-ORDER"}},
		{"scan misses own writes", scanMissesOwnWrites, []string{"S-OWN"}},
		{"nil for a missing key", nilForMissing, []string{"S-MISSING"}},
		{"nil for an empty value", nilForEmpty, []string{"S-MISSING"}},
		{"getmany in key order", sortsMany, []string{"S-MANY"}},
		{"early break leaks", breakLeaks, []string{"S-BREAK"}},
		{"one cursor a transaction", oneCursor, []string{"S-NEST-SCAN"}},
		{"results share a buffer", sharedResults, []string{"S-ALIAS"}},
		{"arguments are kept", keepsArguments, []string{"S-ALIAS"}},
		{"dirty reads", dirtyReads, []string{"S-SNAPSHOT"}},
		{"unrepeatable reads", unrepeatable, []string{"S-SNAPSHOT"}},
		{"a stale replica", staleReplica, []string{"S-FRESH"}},
		{"errors are wrapped", wrapsErrors, []string{"S-ERROR"}},
		{"an abort commits", swallowsAbort, []string{"S-ATOMIC"}},
		{"half a commit shows", halfCommits, []string{"S-ATOMIC"}},
		{"a neighbour's error undoes the batch", neighbourUndoes, []string{"S-NEIGHBOUR"}},
		{"watch is deaf", deafWatch, []string{"S-WATCH"}},
		{"a panic is swallowed", swallowsPanic, []string{"S-PANIC"}},
		{"a panic commits", commitsPanic, []string{"S-PANIC"}},
		{"the function runs elsewhere", elsewhere, []string{"S-GOROUTINE"}},
		{"nested deadlock", nestedDeadlocks, []string{"S-NESTED"}},
		{"reads after return", livesOn, []string{"S-DEAD"}},
		{"writes after return", deadWritesSilently, []string{"S-DEAD"}},
		{"update ignores cancel", ignoresCancel, []string{"S-CANCEL"}},
		{"view ignores cancel", viewIgnoresCancel, []string{"S-CANCEL"}},
		{"the context's error after a commit", liesAboutCancel, []string{"S-CANCEL"}},
		{"key limit off by one", limits(func(_, _ int, k, _ []byte) bool { return len(k) == store.MaxKey }), []string{"S-LIMIT"}},
		{"value limit off by one", limits(func(_, _ int, _, v []byte) bool { return len(v) == store.MaxValue }), []string{"S-LIMIT"}},
		{"writes limit off by one", limits(func(n, _ int, _, _ []byte) bool { return n == store.MaxWrites }), []string{"S-LIMIT"}},
		{"bytes limit off by one", limits(func(_, n int, _, _ []byte) bool { return n == store.MaxTxBytes }), []string{"S-LIMIT"}},
		{"an excess does not stick", lenient, []string{"S-LIMIT"}},
		{"a view has no end", everlasting, []string{"S-LONG"}},
		{"lost updates", lostUpdates, []string{"S-SERIAL/lost-update"}},
		{"write skew", writeSkews, []string{"S-SERIAL/write-skew"}},
		{"phantoms", phantoms, []string{"S-SERIAL/phantom"}},
		{"snapshot taken before the lock", newStaleSnapshot, []string{"S-SERIAL/phantom", "S-SERIAL/write-skew"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			got := failing(t, k.open)
			var rules []string
			for r := range got {
				rules = append(rules, r)
			}
			slices.Sort(rules)
			require.Equal(t, k.rules, rules, "%v", got)
			t.Logf("%v", got)
		})
	}
}

func TestCaseNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Cases() {
		name := k.Rule + "/" + k.Name
		require.False(t, seen[name], name)
		seen[name] = true
	}
}
