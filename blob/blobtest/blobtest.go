// Package blobtest checks that a blob.Store keeps its contract.
//
//	func TestStore(t *testing.T) {
//		blobtest.Run(t, func(t testing.TB) blob.Store { return open(t, t.TempDir()) })
//	}
//
// Each case has the name of the rule that it checks, as the comments of blob.Store give them, and a fresh store. B-MODEL runs random operations beside a map.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/blob"
)

// T is what a case needs of a *testing.T.
type T interface{ rapid.TB }

// Case checks one rule on an empty store.
type Case struct {
	Rule string
	Text string // what the rule says
	Run  func(t T, s blob.Store)
}

// Cases returns all cases.
func Cases() []Case {
	return []Case{
		{"B-KEY", "bad keys are ErrBadKey and touch nothing; keys at the limits work", keys},
		{"B-CANCEL", "an ended ctx ends every method, which then changes nothing", cancel},
		{"B-PUT", "Put stores, replaces and counts", put},
		{"B-SIZE", "blobs of any size come back as they were", size},
		{"B-WHOLE", "readers see the old bytes or the new ones", whole},
		{"B-ABORT", "a Put that fails changes nothing and says why", abort},
		{"B-ALIAS", "what the reader's owner does with its buffers later changes nothing", alias},
		{"B-STALL", "a Put whose reader blocks holds up nobody", stall},
		{"B-MISSING", "Open of what is not there is ErrNotFound", missing},
		{"B-READERS", "readers are independent of each other and of Delete", readers},
		{"B-TREE", "a key and one that continues it are two blobs", tree},
		{"B-CASE", "keys that differ in case are two blobs", letterCase},
		{"B-DELETE", "Delete removes a key and what continues it, and nothing else", deletes},
		{"B-RACE", "concurrent calls see whole blobs", race},
		{"B-MODEL", "any sequence of calls does what a map would do", model},
	}
}

// Run runs every case on a store of its own. The factory cleans up with t.Cleanup.
func Run(t *testing.T, factory func(t testing.TB) blob.Store) {
	for _, c := range Cases() {
		t.Run(c.Rule, func(t *testing.T) { c.Run(t, factory(t)) })
	}
}

// patience is how long a case waits for what should happen at once before it calls the store stuck.
const patience = 20 * time.Second

func background() context.Context { return context.Background() }

// mustPut puts b and fails the case when it cannot.
func mustPut(t T, s blob.Store, key string, b []byte) {
	t.Helper()
	if _, err := s.Put(background(), key, bytes.NewReader(b)); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

// mustHave reads key and compares.
func mustHave(t T, s blob.Store, key string, want []byte) {
	t.Helper()
	r, err := s.Open(background(), key)
	if err != nil {
		t.Fatalf("Open(%q): %v", key, err)
	}
	readAll(t, r, key, want)
}

func readAll(t T, r io.ReadCloser, key string, want []byte) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("reading %q: %v", key, err)
	}
	if err := r.Close(); err != nil {
		t.Fatalf("closing %q: %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%q holds %s, want %s", key, brief(got), brief(want))
	}
}

// mustLack fails when key can be opened. Which error says so is the business of B-MISSING.
func mustLack(t T, s blob.Store, key string) {
	t.Helper()
	if r, err := s.Open(background(), key); err == nil {
		b, _ := io.ReadAll(r)
		r.Close()
		t.Fatalf("%q exists and holds %s, want nothing", key, brief(b))
	}
}

func brief(b []byte) string {
	if len(b) > 24 {
		return fmt.Sprintf("%q… (%d bytes)", b[:24], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// await waits for done or calls the store stuck.
func await(t T, done <-chan error, what string) error {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		t.Fatalf("%s is stuck", what)
		return nil
	}
}

// tap is a reader that calls do before its second read.
type tap struct {
	first, rest []byte
	do          func() error
}

func (p *tap) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	if p.do != nil {
		do := p.do
		p.do = nil
		if err := do(); err != nil {
			return 0, err
		}
	}
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

var errReader = errors.New("blobtest: the reader fails")
