//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/fleetwright/fleetwright/command"
)

const shards = command.Shards

// verdict is what was promised, what was seen, and whether that is the same.
type verdict struct{ rows []finding }

type finding struct {
	what, seen string
	ok         bool
}

func (v *verdict) add(ok bool, what, seen string, args ...any) {
	v.rows = append(v.rows, finding{what, fmt.Sprintf(seen, args...), ok})
}

// passed reports whether everything was as promised.
func (v *verdict) passed() bool {
	for _, f := range v.rows {
		if !f.ok {
			return false
		}
	}
	return true
}

// print prints the table, and returns passed.
func (v *verdict) print(w io.Writer) bool {
	rows := [][]string{{"", "PROMISED", "SEEN"}}
	for _, f := range v.rows {
		mark := "ok"
		if !f.ok {
			mark = "BAD"
		}
		rows = append(rows, []string{mark, f.what, f.seen})
	}
	fmt.Fprintln(w)
	for _, l := range aligned(rows) {
		fmt.Fprintln(w, "  "+l)
	}
	word := "Everything is as promised."
	if !v.passed() {
		word = "NOT everything is as promised."
	}
	fmt.Fprintf(w, "\n  %s\n", word)
	return v.passed()
}

// judge reads the books, and the file that the nodes wrote.
func judge(ctx context.Context, a *acts) (*verdict, error) {
	b, err := a.l.audit(a.nodes)
	if err != nil {
		return nil, err
	}
	a.h.look(ctx)
	broken := int64(0)
	for _, view := range a.h.seen() {
		broken += view.Broken
	}
	return sentence(a, b, broken), nil
}

// look is how long it may take to see what is so: planes look at their leases now and then, and this program at the planes.
const look = time.Second

// sentence makes the verdict.
func sentence(a *acts, b books, broken int64) *verdict {
	v := &verdict{}
	lease := a.h.o.lease
	seen := fmt.Sprintf("%d sent, %d accepted", b.sent, b.sent-b.unaccepted)
	v.add(b.unaccepted == 0 && b.sent > 0, "every command is accepted, whoever is dead", "%s", seen)
	seen = fmt.Sprintf("%d of %d", b.ended, b.sent-b.unaccepted)
	if b.running > 0 {
		seen += fmt.Sprintf(", %d still run", b.running)
	}
	v.add(b.running == 0, "every accepted command ends", "%s", seen)
	seen = fmt.Sprintf("%d of %d", b.success, b.ended)
	if len(b.other) > 0 {
		seen += ": " + few(b.other)
	}
	v.add(len(b.other) == 0, "as Success on every node", "%s", seen)
	v.add(len(b.lost) == 0 && b.starts > 0, "nothing is lost: each node started each command", "%d of %d starts%s", b.expected-len(b.lost), b.expected, named(b.lost))
	v.add(len(b.doubled) == 0 && len(b.strange) == 0, "nothing is doubled: no node started one twice", "%d lines for %d starts%s", b.starts, b.expected-len(b.lost), named(append(b.doubled, b.strange...)))
	if a.askOutput > 0 {
		v.add(a.rightOutput == a.askOutput, "output is whole, whichever plane is asked", "%d of %d answers", a.rightOutput, a.askOutput)
	}
	if a.kills > 0 {
		v.add(a.killHandover <= lease+look, "a killed plane's work is taken over within a lease", "%s killed, after %s at most; the lease is %s", plural(a.kills, "plane"), secs(a.killHandover), secs(lease))
	}
	if a.freezes > 0 {
		v.add(a.freezeHandover <= lease+look+hold(lease), "a frozen plane's too", "%s frozen, after %s at most", plural(a.freezes, "plane"), secs(a.freezeHandover))
		v.add(a.refused > 0 && broken == 0, "its stale writes are refused when it wakes", "%d refused, %d taken", a.refused, broken)
	}
	if a.breaks > 0 {
		v.add(true, "a broker that lost everything costs time only", "%s killed with all it had, nodes back %s after its start", plural(a.breaks, "broker"), secs(a.reconnect))
	}
	return v
}

func named(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return ": " + few(all)
}
